"""What the machine reaches with PyTorch's own operators: copies, writes, matrix products."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch

from .clock import Clock, Work
from .precision import DTYPES, precision

Rates = dict[str, Any]

ROUNDS = 7
_MIB = 1 << 20
#: Far beyond any cache.
_COPY_BYTES = {"cpu": 128 * _MIB, "cuda": 1024 * _MIB}
_SMALLEST_PRODUCT = 256
_LARGEST_PRODUCT = {"cpu": 2048, "cuda": 8192}
#: A product that takes as long is large enough: a CPU may have no instructions for a type.
_LONG_PRODUCT_SECONDS = 0.05


def _fastest_ms(clock: Clock, work: Work) -> float:
    sampling = clock.warm_up(work)
    return min(clock.sample(work, sampling) for _ in range(ROUNDS))


def product_rate(clock: Clock, device: torch.device, kind: str) -> float:
    """Operations a second of the largest square product that does not take too long."""

    def product(size: int) -> Work:
        a, b = (torch.randn(size, size, device=device).to(DTYPES[kind]) for _ in range(2))
        return functools.partial(torch.mm, a, b, out=torch.empty_like(a))

    size, largest = _SMALLEST_PRODUCT, _LARGEST_PRODUCT[device.type]
    with precision(kind == "tf32"):
        while size < largest and clock.warm_up(product(size)).seconds < _LONG_PRODUCT_SECONDS:
            size *= 2
        return 2 * size**3 / (_fastest_ms(clock, product(size)) / 1e3)


def moving_rates(clock: Clock, device: torch.device) -> Rates:
    """Bytes a second that are copied (read plus written), written, and written to new memory."""
    size = _COPY_BYTES[device.type]
    if device.type == "cuda":
        size = min(size, torch.cuda.mem_get_info(device)[0] // 8)
    source, target = (torch.ones(size // 4, device=device) for _ in range(2))

    def rate(work: Work, moved: int) -> float:
        return moved / (_fastest_ms(clock, work) / 1e3)

    return {
        "copy_bytes_per_second": rate(lambda: target.copy_(source), 2 * size),
        "write_bytes_per_second": rate(target.zero_, size),
        # As every call does with its output; on a CPU that may mean new pages each time.
        "new_write_bytes_per_second": rate(lambda: torch.ones_like(source), size),
    }


def measure(clock: Clock, device: torch.device, kinds: Sequence[str]) -> Rates:
    """Rates of the fastest of some runs: bytes (read and written) and operations a second."""
    # float32 may be had from TF32 products, and 16 bits by way of float32 (figures.product_rate).
    wanted = dict.fromkeys(["f32", "tf32", *kinds])
    if device.type != "cuda":
        del wanted["tf32"]
    return {
        **moving_rates(clock, device),
        "products": {kind: product_rate(clock, device, kind) for kind in wanted},
    }


def method(device: torch.device) -> str:
    """How the rates were had, for the result file."""
    copied, product = _COPY_BYTES[device.type] // _MIB, _LARGEST_PRODUCT[device.type]
    return (
        f"PyTorch's copy_, zero_ and ones_like of up to {copied} MiB, and mm of up to {product} "
        f"squared: the fastest of {ROUNDS} runs before and {ROUNDS} after the layers"
    )
