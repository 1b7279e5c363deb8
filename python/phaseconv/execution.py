"""One call on real tensors: which prepared convolution it needs, its packed weights, its output."""

import threading
import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from . import library  # noqa: F401  the operators below come from there
from .packing import Gathering, Packing, Prepared, derived, gathering, packing, prepare
from .problem import TYPES, Arguments, Wrong

_run = torch.ops.phaseconv.run.default._op  # what calling an overload calls

_NO_MEMORY = "allocating the output failed"  # operator.cpp

#: Calls that are remembered. One more drops the oldest: what it needs can be made again.
_MOST_CALLS = 1024


@dataclass(frozen=True, slots=True)
class _Call:
    """What calls with the same types, shapes, strides and parameters have in common."""

    handle: int
    weight: Packing
    bias: Gathering | None  # None: it is read as it is
    channels_last: bool
    copies_input: bool


_calls: dict[tuple, _Call | None] = {}
_lock = threading.Lock()


def execute(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    output_padding: tuple[int, ...],
    groups: int,
    dilation: tuple[int, ...],
    mixed_types: bool,
) -> Tensor | None:
    """The output, or None where PyTorch has to compute it (or to say what is wrong).

    input [n, ic, *i] or [ic, *i], weight [ic, oc/g, *k], bias [oc]: strided tensors, all on the CPU
    or all on CUDA devices; no negation is pending in weight and bias. With `mixed_types` these
    are converted to the input's type.
    """
    dtype = input.dtype
    tf32 = input.is_cuda and uses_tf32(input, groups)
    if bias is None or (bias.dtype is dtype and bias.is_contiguous()):
        bias_key = None if bias is None else bias.shape
    else:
        bias_key = bias.shape, bias.stride(), bias.dtype
    key = (
        input.shape,
        input.stride(),
        dtype,
        input.get_device(),
        weight.shape,
        weight.stride(),
        weight.dtype,
        bias_key,
        stride,
        padding,
        output_padding,
        groups,
        dilation,
        tf32,
        mixed_types,
    )
    try:
        call = _calls[key]
    except KeyError:
        arguments = Arguments(
            len(stride), input, weight, bias, stride, padding, output_padding, groups, dilation
        )
        try:
            call = _plan(arguments, mixed_types, tf32)
        except Wrong:  # PyTorch is about to say so
            return None
        with _lock:
            if len(_calls) >= _MOST_CALLS:
                del _calls[next(iter(_calls))]
            _calls[key] = call
    if call is None:
        return None

    packed = derived(weight, call.weight)
    if call.bias is not None:
        bias = derived(bias, call.bias)
    if call.copies_input:
        input = _contiguous(input, call.channels_last, len(stride))
    try:
        return _run(call.handle, input, packed, bias)
    except RuntimeError as error:
        if _NO_MEMORY not in str(error):
            raise
        return None  # PyTorch's own allocation fails as its users expect


def uses_tf32(input: Tensor, groups: int) -> bool:
    """As cuDNN, which computes grouped layers in float32 whatever the switch says."""
    return (
        input.dtype is torch.float32
        and groups == 1
        and input.is_cuda
        and torch.backends.cudnn.conv.fp32_precision == "tf32"
    )


def prepared(arguments: Arguments) -> Prepared | None:
    """What `execute` runs for tensors of one type; None where it leaves the call to PyTorch."""
    call = _plan(arguments, False, uses_tf32(arguments.input, arguments.groups))
    return None if call is None else call.weight.prepared


def _plan(arguments: Arguments, mixed_types: bool, tf32: bool) -> _Call | None:
    """None where the library refuses. Raises Wrong where the call is none of ours at all."""
    rank, input, weight, bias = (
        arguments.rank,
        arguments.input,
        arguments.weight,
        arguments.bias,
    )
    dtype = input.dtype
    if any(t is not None and t.dtype not in TYPES for t in (input, weight, bias)):
        raise Wrong("a type that is PyTorch's")
    try:
        # First whether the call is one at all: what follows takes that for granted.
        torch.ops.phaseconv.check(arguments.problem(mixed_types=mixed_types))
        channels_last = _chooses_channels_last(arguments)
    except RuntimeError as error:
        raise Wrong(str(error)) from error
    layout = "cl" if channels_last else "cf"
    problem = arguments.problem(mixed_types=mixed_types, tf32=tf32, layout=layout)
    try:
        prepared = prepare(problem, input.device)
    except RuntimeError as error:
        warnings.warn(f"phaseconv leaves {problem} to PyTorch: {error}", stacklevel=2)
        return None

    gathers = bias is not None and (bias.dtype != dtype or not bias.is_contiguous())
    return _Call(
        handle=prepared.handle,
        weight=packing(prepared, dtype, weight),
        bias=gathering(dtype, bias) if gathers else None,
        channels_last=channels_last,
        copies_input=not _in_layout(input, channels_last, rank).is_contiguous(),
    )


def _in_layout(input: Tensor, channels_last: bool, rank: int) -> Tensor:
    """The axes in the order of the layout."""
    return input.movedim(-rank - 1, -1) if channels_last else input


def _contiguous(input: Tensor, channels_last: bool, rank: int) -> Tensor:
    return _in_layout(input, channels_last, rank).contiguous()


def _chooses_channels_last(arguments: Arguments) -> bool:
    """Whether PyTorch's own operator would give a channels-last output: it is asked.

    It depends on its backend for the very call: its kernels for float16 in 3D on the CPU, for
    example, know channels first only.
    """
    rank, dtype = arguments.rank, arguments.input.dtype
    input, weight, bias = (
        None if t is None else t.detach().to(dtype)
        for t in (arguments.input, arguments.weight, arguments.bias)
    )
    if input.dim() == rank + 1:
        input = input.unsqueeze(0)
    parameters = (arguments.stride, arguments.padding, arguments.dilation)
    backend = torch._C._select_conv_backend(
        input, weight, bias, *parameters, True, arguments.output_padding, arguments.groups
    )
    if rank == 1:  # computed in 2D, from an input that is made contiguous first
        input, weight = input.contiguous().unsqueeze(2), weight.unsqueeze(2)
    chosen = torch._C._conv_determine_backend_memory_format(input, weight, backend)
    return chosen in (torch.channels_last, torch.channels_last_3d)
