#!/usr/bin/env python3
"""Times torch.nn.functional.conv_transpose{1,2,3}d on problem strings and prints one JSON document.
A program of its own, so that the scripts that compare can stop it and run it in turns with ours."""

from __future__ import annotations

import argparse
import json
import time

import torch
from common import Problem, summary

TYPES = {"f32": "float32", "tf32": "float32", "f16": "float16", "bf16": "bfloat16"}
FORMATS = {2: torch.channels_last, 3: torch.channels_last_3d}


def measure(problem: Problem, device: torch.device, seconds: float) -> list[float]:
    """Milliseconds of each run, after a warm-up."""
    dtype = getattr(torch, TYPES[problem.type])
    rank = len(problem.axes["i"])
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = problem.type == "tf32"

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, device=device).to(dtype)

    x = draw(problem.batch, problem.in_channels, *problem.axes["i"])
    per_group = problem.out_channels // problem.groups
    w = draw(problem.in_channels, per_group, *problem.axes["k"])
    if problem.channels_last and rank in FORMATS:
        x = x.to(memory_format=FORMATS[rank])
        w = w.to(memory_format=FORMATS[rank])
    bias = draw(problem.out_channels) if problem.bias else None
    stride, padding, extra, dilation = (problem.axes[name] for name in ("s", "p", "op", "d"))
    function = getattr(torch.nn.functional, f"conv_transpose{rank}d")

    def once() -> float:
        if device.type == "cuda":
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            function(x, w, bias, stride, padding, extra, problem.groups, dilation)
            end.record()
            end.synchronize()
            return start.elapsed_time(end)
        begin = time.perf_counter()
        function(x, w, bias, stride, padding, extra, problem.groups, dilation)
        return 1e3 * (time.perf_counter() - begin)

    for _ in range(3):
        warm = once()
    repeats = min(max(int(1e3 * seconds / max(warm, 1e-3)), 5), 200)
    return [once() for _ in range(repeats)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("problems", nargs="+", metavar="PROBLEM")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--seconds", type=float, default=1, help="of timed runs for each problem")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    device = torch.device(arguments.device)
    document = {"torch": torch.__version__, "threads": torch.get_num_threads(), "results": []}
    if device.type == "cuda":
        document["cudnn"] = torch.backends.cudnn.version()
        document["gpu"] = torch.cuda.get_device_name(device)
    with torch.inference_mode():
        for text in arguments.problems:
            times = measure(Problem.parse(text), device, arguments.seconds)
            document["results"].append({"problem": text, **summary(times)})
    print(json.dumps(document))


if __name__ == "__main__":
    main()
