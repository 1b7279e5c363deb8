"""conv_transpose1d, 2d and 3d, and the operator phaseconv::conv_transpose behind them.

A call on plain tensors goes straight to `execute`. Whatever traces (torch.compile, torch.export,
fake tensors) is given the operator, whose kernels call `execute` at run time. Everything else,
gradients above all, is PyTorch's: `_hand_over`.
"""

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch._subclasses.functional_tensor import FunctionalTensor
from torch.autograd import forward_ad
from torch.nn import Parameter
from torch.utils.flop_counter import conv_flop_count, register_flop_formula

from .execution import execute
from .problem import TYPES, Arguments, Wrong, sizes

_PYTORCH = {
    1: torch.nn.functional.conv_transpose1d,
    2: torch.nn.functional.conv_transpose2d,
    3: torch.nn.functional.conv_transpose3d,
}
_PLAIN = frozenset((Tensor, Parameter))
# Looked up here, as a call on a small tensor takes a few microseconds in all.
_strided = torch.strided
_is_compiling = torch.compiler.is_compiling
_grad_enabled = torch.is_grad_enabled
_autocast_enabled = torch.is_autocast_enabled
_dispatch_modes = torch._C._len_torch_dispatch_stack
_functorch_level = torch._C._functorch.peek_interpreter_stack
_jit_trace = torch._C._get_tracing_state
_TRACED = (FakeTensor, FunctionalTensor)
_ERRORS = (RuntimeError, TypeError, ValueError, IndexError, NotImplementedError)


def conv_transpose1d(
    input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1
):
    """`torch.nn.functional.conv_transpose1d`, for inference.

    input [n, ic, l] or [ic, l], weight [ic, oc/groups, k], bias [oc] -> [n, oc, L] or [oc, L] with
    L = (l-1)*stride - 2*padding + dilation*(k-1) + output_padding + 1.

    float32, float16 and bfloat16 on the CPU and on CUDA devices; channels-last or contiguous
    tensors are not copied. Every other call, one that needs gradients above all, is computed by
    PyTorch. Wrong arguments raise what PyTorch raises.
    """
    return _conv_transpose(
        1, input, weight, bias, stride, padding, output_padding, groups, dilation
    )


def conv_transpose2d(
    input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1
):
    """`torch.nn.functional.conv_transpose2d`, for inference.

    input [n, ic, h, w] or [ic, h, w], weight [ic, oc/groups, kh, kw], bias [oc] -> [n, oc, H, W] or
    [oc, H, W]; sizes, types and errors as in `conv_transpose1d`.
    """
    return _conv_transpose(
        2, input, weight, bias, stride, padding, output_padding, groups, dilation
    )


def conv_transpose3d(
    input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1
):
    """`torch.nn.functional.conv_transpose3d`, for inference.

    input [n, ic, d, h, w] or [ic, d, h, w], weight [ic, oc/groups, kd, kh, kw], bias [oc] ->
    [n, oc, D, H, W] or [oc, D, H, W]; sizes, types and errors as in `conv_transpose1d`.
    """
    return _conv_transpose(
        3, input, weight, bias, stride, padding, output_padding, groups, dilation
    )


def _conv_transpose(rank, input, weight, bias, stride, padding, output_padding, groups, dilation):
    tracing = _is_compiling()
    if tracing or not _is_plain(input, weight, bias):
        arguments = (input, weight, bias, stride, padding, output_padding, groups, dilation)
        if _is_traced(tracing, rank, arguments):
            return torch.ops.phaseconv.conv_transpose.default(
                input,
                weight,
                bias,
                sizes(stride, rank),
                sizes(padding, rank),
                sizes(output_padding, rank),
                groups,
                sizes(dilation, rank),
            )
        return _hand_over(tracing, rank, arguments)

    s, p = sizes(stride, rank), sizes(padding, rank)
    op, d = sizes(output_padding, rank), sizes(dilation, rank)
    if s and p and op and d and type(groups) is int and weight.dim() == rank + 2:
        device_type = "cuda" if input.is_cuda else "cpu"
        autocast = _autocast_enabled(device_type)
        x = _autocast(input, device_type) if autocast else input
        output = execute(x, weight, bias, s, p, op, groups, d, autocast)
        if output is not None:
            return output
    arguments = (input, weight, bias, stride, padding, output_padding, groups, dilation)
    return _hand_over(tracing, rank, arguments)


def _requires_grad(input, weight, bias) -> bool:
    return _grad_enabled() and (
        input.requires_grad or weight.requires_grad or (bias is not None and bias.requires_grad)
    )


def _is_plain(input, weight, bias) -> bool:
    """Whether the call may go ahead on the tensors' memory: nobody watches or differentiates."""
    if type(input) not in _PLAIN or type(weight) not in _PLAIN:
        return False
    on_cuda = input.is_cuda
    if bias is not None and (
        type(bias) not in _PLAIN
        or not (bias.is_cuda if on_cuda else bias.is_cpu)
        or bias.layout is not _strided
        or bias.is_neg()
    ):
        return False
    return (
        (weight.is_cuda if on_cuda else input.is_cpu and weight.is_cpu)
        and input.layout is _strided
        and weight.layout is _strided
        and not weight.is_neg()  # no version and no address shows that; our operator resolves it
        and not _requires_grad(input, weight, bias)
        and _dispatch_modes() == 0
        and _functorch_level() is None
        and _jit_trace() is None
        and forward_ad._current_level < 0
    )


def _is_traced(compiling: bool, rank: int, arguments: tuple) -> bool:
    """Whether the call belongs into a graph, or before a dispatch mode, as our operator."""
    input, weight, bias, stride, padding, output_padding, groups, dilation = arguments
    if not compiling:
        tensors = (input, weight) if bias is None else (input, weight, bias)
        if (
            any(type(t) not in _PLAIN and not isinstance(t, _TRACED) for t in tensors)
            or _functorch_level() is not None
            or _jit_trace() is not None  # exporters know PyTorch's operator
            or forward_ad._current_level >= 0
        ):
            return False
    if (
        _requires_grad(input, weight, bias)
        or input.device.type not in ("cpu", "cuda")
        or input.layout is not torch.strided
        or weight.layout is not torch.strided
        or weight.dim() != rank + 2
        or not isinstance(groups, int)
        or isinstance(groups, bool)
    ):
        return False
    for parameter in (stride, padding, output_padding, dilation):
        if sizes(parameter, rank) is None:
            return False
    mixed = torch.is_autocast_enabled(input.device.type)
    for tensor in (input, weight) if bias is None else (input, weight, bias):
        if tensor.dtype not in TYPES or (tensor.dtype != input.dtype and not mixed):
            return False
    return True


def _hand_over(compiling: bool, rank: int, arguments: tuple) -> Tensor:
    """PyTorch's own operator. What it refuses is refused with its exception and our message."""
    if compiling:
        return _PYTORCH[rank](*arguments)
    try:
        return _PYTORCH[rank](*arguments)
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        message = _diagnosis(Arguments(rank, *arguments))
        if message is None or type(error) not in _ERRORS:
            raise
        raise type(error)(f"conv_transpose{rank}d: {message}") from error


def _diagnosis(arguments: Arguments) -> str | None:
    """What is wrong with a call, where we know it."""
    mixed = isinstance(arguments.input, Tensor) and torch.is_autocast_enabled(
        arguments.input.device.type
    )
    try:
        torch.ops.phaseconv.check(arguments.problem(mixed_types=mixed))
    except (Wrong, RuntimeError) as error:
        return str(error)
    return None


# --- the operator -------------------------------------------------------------------------------


def _autocast(tensor: Tensor, device_type: str) -> Tensor:
    """As PyTorch's autocast casts an input. Weights are converted as they are packed."""
    if tensor.dtype not in TYPES:
        return tensor
    return tensor.to(torch.get_autocast_dtype(device_type))


def _in_type_of_input(input, weight, bias, *parameters) -> Tensor:
    """PyTorch's operator, where weight and bias may have another type than the input."""
    bias = None if bias is None else bias.to(input.dtype)
    return _PYTORCH[weight.dim() - 2](input, weight.to(input.dtype), bias, *parameters)


def _kernel(input, weight, bias, stride, padding, output_padding, groups, dilation) -> Tensor:
    parameters = tuple(stride), tuple(padding), tuple(output_padding), groups, tuple(dilation)
    output = execute(input, weight, bias, *parameters, mixed_types=True)
    if output is None:
        output = _in_type_of_input(input, weight, bias, *parameters)
    return output


def _autocast_kernel(device_type: str, key: torch._C.DispatchKey):
    excluded = torch._C.DispatchKeySet(key)

    def kernel(input, *arguments):
        with torch._C._ExcludeDispatchKeyGuard(excluded):
            return torch.ops.phaseconv.conv_transpose.default(
                _autocast(input, device_type), *arguments
            )

    return kernel


_library = torch.library.Library("phaseconv", "FRAGMENT")
_library.define(
    "conv_transpose(Tensor input, Tensor weight, Tensor? bias, SymInt[] stride, SymInt[] padding, "
    "SymInt[] output_padding, SymInt groups, SymInt[] dilation) -> Tensor",
    # The strides of the output follow from those of the input.
    tags=(torch.Tag.pt2_compliant_tag, torch.Tag.needs_exact_strides),
)
_library.impl("conv_transpose", _kernel, "CPU")
_library.impl("conv_transpose", _kernel, "CUDA")
_library.impl(
    "conv_transpose", _autocast_kernel("cpu", torch._C.DispatchKey.AutocastCPU), "AutocastCPU"
)
_library.impl(
    "conv_transpose", _autocast_kernel("cuda", torch._C.DispatchKey.AutocastCUDA), "AutocastCUDA"
)
torch.library.register_fake("phaseconv::conv_transpose", _in_type_of_input, lib=_library)


@register_flop_formula(torch.ops.phaseconv.conv_transpose)
def _flops(input_shape, weight_shape, *_, out_shape=None, **__) -> int:
    return conv_flop_count(input_shape, weight_shape, out_shape, transposed=True)
