"""Which transposed convolutions a model runs: it is run once on tensors without data."""

import contextlib
from typing import NamedTuple

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from phaseconv.emit.transform import LAYERS, NEW_MODEL, EmitError

_FOREIGN = (
    "the model runs a transposed convolution from code outside the problem file (a function of a "
    "library, or a layer made while the model runs); call torch.nn.functional.conv_transpose*d or "
    "make the layer in the file itself, when the model is constructed"
)
# They make their layer when they first run. PyTorch 2.11 can't do that without data.
_LAZY = (
    torch.nn.LazyConvTranspose1d,
    torch.nn.LazyConvTranspose2d,
    torch.nn.LazyConvTranspose3d,
)
TYPES = {torch.float32: "f32", torch.float16: "f16", torch.bfloat16: "bf16"}


class Call(NamedTuple):
    """One transposed convolution as a model asks for it. Sizes are tuples, one entry an axis."""

    dtype: torch.dtype
    input: tuple  # shape, with the batch
    weight: tuple  # shape
    bias: bool
    stride: tuple
    padding: tuple
    output_padding: tuple
    groups: int
    dilation: tuple
    channels_last: bool
    tf32_allowed: bool

    def problem(self, precision):
        """As a problem string; `precision` is "auto", or the type that float32 is computed in."""
        kind = TYPES.get(self.dtype)
        if kind is None:
            raise EmitError(
                f"a transposed convolution of {self.dtype} is not supported; "
                f"{', '.join(map(str, TYPES))} are"
            )
        if kind == "f32" and precision == "auto":
            # As cuDNN: grouped layers are computed in float32 whatever the switch says.
            kind = "tf32" if self.tf32_allowed and self.groups == 1 else "f32"
        elif kind == "f32" and precision in ("f32", "tf32"):
            kind = precision
        batch, channels, *positions = self.input
        per_axis = {
            "i": positions,
            "k": self.weight[2:],
            "s": self.stride,
            "p": self.padding,
            "op": self.output_padding,
            "d": self.dilation,
        }
        fields = [
            f"n{batch}",
            f"ic{channels}",
            f"oc{self.weight[1] * self.groups}",
            f"g{self.groups}",
            *[name + "x".join(map(str, sizes)) for name, sizes in per_axis.items()],
            kind,
            *(["bias"] if self.bias else []),
            *(["cl"] if self.channels_last else []),
        ]
        return ",".join(fields)


def _tf32_allowed():
    """PyTorch's switch for convolutions, by its new interface where it has that."""
    conv = getattr(torch.backends.cudnn, "conv", None)
    if hasattr(conv, "fp32_precision"):
        return conv.fp32_precision == "tf32"
    return torch.backends.cudnn.allow_tf32


class _Others(TorchDispatchMode):
    """Refuses transposed convolutions that the recorder does not know of."""

    def __init__(self):
        super().__init__()
        self.covered = False

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        transposed = func is torch.ops.aten.convolution.default and args[6]
        if transposed and not self.covered:
            raise EmitError(_FOREIGN)
        return func(*args, **(kwargs or {}))


@contextlib.contextmanager
def explained(what):
    """Turns any failure of the problem file's own code into a message that says where it was."""
    try:
        yield
    except EmitError:
        raise
    except Exception as error:
        kind = type(error).__name__
        raise EmitError(f"{what} failed: {kind}: {error}") from error


def converted(values, dtype):
    """Floating tensors of a list in another type, as KernelBench converts them."""
    return [
        value.to(dtype) if isinstance(value, torch.Tensor) and value.is_floating_point() else value
        for value in values
    ]


def construct(namespace, dtype=None):
    """The model of a namespace that a rewritten problem file left."""
    with explained("constructing the model"):
        model = namespace[NEW_MODEL](*namespace["get_init_inputs"]())
        return model if dtype is None else model.to(dtype)


def has_foreign_layers(model):
    """Whether the model holds layers of PyTorch's own classes: made outside the problem file."""
    return any(type(module) in LAYERS for module in model.modules())


def record(namespace, model, dtype=None):
    """Runs the model on fake inputs; returns its transposed convolutions, one Call each, in order.

    `namespace` has the runtime's `_phaseconv_run`, which is replaced for the time being.
    """
    if any(isinstance(module, _LAZY) for module in model.modules()):
        raise EmitError(_FOREIGN)
    calls = []
    others = _Others()

    def run(rank, input, weight, bias, *sizes):
        stride, padding, output_padding, dilation = (
            tuple(map(int, size)) for size in (*sizes[:3], sizes[4])
        )
        groups = int(sizes[3])
        batched = input if input.dim() == rank + 2 else input.unsqueeze(0)
        calls.append(
            Call(
                batched.dtype,
                tuple(map(int, batched.shape)),
                tuple(map(int, weight.shape)),
                bias is not None,
                stride,
                padding,
                output_padding,
                groups,
                dilation,
                not batched.is_contiguous() and batched.movedim(1, -1).is_contiguous(),
                _tf32_allowed(),
            )
        )
        others.covered = True
        function = getattr(torch.nn.functional, f"conv_transpose{rank}d")
        result = function(input, weight, bias, stride, padding, output_padding, groups, dilation)
        others.covered = False
        return result

    own = namespace["_phaseconv_run"]
    namespace["_phaseconv_run"] = run
    with FakeTensorMode(allow_non_fake_inputs=True):
        with explained("get_inputs()"):
            inputs = namespace["get_inputs"]()
            if dtype is not None:
                inputs = converted(inputs, dtype)
        with explained("running the model on tensors without data"), torch.no_grad(), others:
            model(*inputs)
    namespace["_phaseconv_run"] = own
    if not calls:
        raise EmitError("the model runs no transposed convolution")
    return calls
