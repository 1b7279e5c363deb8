"""Element types, PyTorch's switches for them, and what results may differ by."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator

import torch
from torch import Tensor

DTYPES = {
    "f32": torch.float32,
    "tf32": torch.float32,
    "f16": torch.float16,
    "bf16": torch.bfloat16,
}
#: Units of docs/precision.md: of a sum, and of the one rounding of the output.
_SUM = {"f32": 2.0**-24, "tf32": 2.0**-22, "f16": 2.0**-22, "bf16": 2.0**-22}
_OUTPUT = {"f32": 0.0, "tf32": 0.0, "f16": 2.0**-11, "bf16": 2.0**-8}


@contextlib.contextmanager
def precision(tf32: bool, benchmark: bool = True) -> Iterator[None]:
    """float32 on CUDA with or without TF32, and cuDNN with or without trying its algorithms."""
    # The switches of old set those of today too; the other way round PyTorch complains of a mix.
    # torch.backends.cudnn.flags would set the same, but knows nothing of matrix products.
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that they are old
        before = cudnn.allow_tf32, matmul.allow_tf32, cudnn.benchmark

        def switch(convolutions: bool, products: bool, trying: bool) -> None:
            cudnn.allow_tf32, matmul.allow_tf32, cudnn.benchmark = convolutions, products, trying

        switch(tf32, tf32, benchmark)
    try:
        yield
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            switch(*before)


def computed_type(kind: str, groups: int, device: torch.device) -> str:
    """TF32 is CUDA's, and grouped layers are computed in float32 whatever the switch says."""
    return "f32" if kind == "tf32" and (groups > 1 or device.type == "cpu") else kind


def round_to_tf32(x: Tensor) -> Tensor:
    """float32 to 10 explicit mantissa bits, to nearest, ties away from zero."""
    bits = x.view(torch.int32)
    return ((bits + (1 << 12)) & ~((1 << 13) - 1)).view(torch.float32)


def largest_difference(a: Tensor, b: Tensor) -> float:
    """NaN where there is one. One batch entry at a time: outputs may fill half of the memory."""
    worst = [(x.float() - y.float()).abs().max() for x, y in zip(a, b, strict=True) if x.numel()]
    return float(torch.stack(worst).max()) if worst else 0.0


class Reference:
    """PyTorch's float32 result for the very operands, and what a result of a type may differ by.

    The bound is one number for all elements: that of docs/precision.md for the largest sum of
    absolute terms, and the same for the float32 sums of the reference. `phaseconv verify` has the
    contract element by element; this is to see that what was timed is the same thing.
    """

    def __init__(self, function, kind: str, x: Tensor, w: Tensor, b: Tensor | None, per_group: int):
        """function(x, w, b, groups) -> y; `per_group`: input channels of a group."""
        groups = x.shape[1] // per_group
        x, w = x.float(), w.float()
        b = None if b is None else b.float()
        if kind == "tf32":
            x, w = round_to_tf32(x), round_to_tf32(w)
        with precision(tf32=False, benchmark=False):
            self.output = function(x, w, b, groups)
            if self.output.numel() == 0:
                self.bound = 0.0
                return
            # The largest input of the batch stands for all of it: one entry costs less.
            largest = x.abs().amax(0, keepdim=True)
            magnitude = function(largest, w.abs(), None if b is None else b.abs(), groups)
            ones = function(torch.ones_like(x[:1, :1]), torch.ones_like(w[:1, :1]), None, 1)
        terms = float(ones.max()) * per_group + (b is not None)
        sums = (terms + 16) * (_SUM[kind] + _SUM["f32"]) * float(magnitude.max())
        self.bound = sums + _OUTPUT[kind] * float(self.output.abs().max())
