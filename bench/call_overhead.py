#!/usr/bin/env python3
"""What one call costs beside PyTorch's own operator, on the smallest tensors: medians, in turns.

usage: call_overhead.py [--calls N] [--threads N]
"""

import argparse
import functools
import statistics
import time

import torch

import phaseconv


def microseconds(function) -> float:
    start = time.perf_counter_ns()
    function()
    return (time.perf_counter_ns() - start) / 1e3


def compare(rank: int, calls: int) -> tuple[float, float]:
    """(ours, PyTorch's), for one channel and two elements an axis."""
    x = torch.randn(1, 1, *[2] * rank)
    w, b = torch.randn(1, 1, *[2] * rank), torch.randn(1)
    both = [
        functools.partial(getattr(module, f"conv_transpose{rank}d"), x, w, b)
        for module in (phaseconv, torch.nn.functional)
    ]
    times = [[microseconds(f) for f in both] for _ in range(calls + 200)][200:]
    return tuple(statistics.median(column) for column in zip(*times, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=5000)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"PyTorch {torch.__version__}, {arguments.threads} threads, {arguments.calls} calls")
    with torch.no_grad():
        for rank in (1, 2, 3):
            ours, theirs = compare(rank, arguments.calls)
            print(f"{rank}D: {ours:.1f} us, PyTorch {theirs:.1f} us, {ours - theirs:+.1f} us")


if __name__ == "__main__":
    main()
