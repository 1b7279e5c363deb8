#!/usr/bin/env python3
"""What one call costs the host beside PyTorch's own operator, on the smallest tensors: medians, in
turns. On a GPU also the kernels that a CUDA graph of one call holds.

usage: call_overhead.py [--device cpu] [--calls N] [--threads N] [--json]
"""

import argparse
import functools
import json
import statistics
import time

import torch

import phaseconv

MODULES = {"phaseconv": phaseconv, "pytorch": torch.nn.functional}


def microseconds(function) -> float:
    start = time.perf_counter_ns()
    function()
    return (time.perf_counter_ns() - start) / 1e3


def smallest_calls(rank: int, device: torch.device) -> dict:
    """The call of each module, for one channel and two elements an axis."""
    x = torch.randn(1, 1, *[2] * rank, device=device)
    w, b = torch.randn(1, 1, *[2] * rank, device=device), torch.randn(1, device=device)
    return {
        name: functools.partial(getattr(module, f"conv_transpose{rank}d"), x, w, b)
        for name, module in MODULES.items()
    }


def compare(rank: int, device: torch.device, calls: int) -> dict:
    works = smallest_calls(rank, device)
    times = {name: [] for name in works}
    for turn in range(calls + 200):  # the first ones warm up
        if turn % 100 == 0 and device.type == "cuda":
            torch.cuda.synchronize(device)  # no launch ever waits for room in the queue
        for name, work in works.items():
            times[name].append(microseconds(work))
    medians = {f"{name}_us": statistics.median(all[200:]) for name, all in times.items()}
    return {"rank": rank, **medians}


def graph_kernels(device: torch.device) -> dict:
    """Names of what runs on the GPU in each replay of a graph of one call, 3D."""
    found = {}
    for name, work in smallest_calls(3, device).items():
        work()  # packs the weights
        torch.cuda.synchronize(device)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            work()
        graph.replay()
        torch.cuda.synchronize(device)
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
            graph.replay()
            torch.cuda.synchronize(device)
        on_device = torch.autograd.DeviceType.CUDA
        found[name] = [e.name for e in profile.events() if e.device_type == on_device]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--device", type=torch.device, default="cpu", help="cpu or cuda:N")
    parser.add_argument("--calls", type=int, default=5000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    device = arguments.device
    document = {
        "torch": torch.__version__,
        "device": str(device),
        "threads": arguments.threads,
        "calls": arguments.calls,
    }
    with torch.no_grad():
        document["results"] = [compare(rank, device, arguments.calls) for rank in (1, 2, 3)]
        if device.type == "cuda":
            document["graph"] = graph_kernels(device)
    if arguments.json:
        print(json.dumps(document))
        return
    print(f"PyTorch {torch.__version__}, {device}, {arguments.threads} threads")
    for row in document["results"]:
        ours, theirs = row["phaseconv_us"], row["pytorch_us"]
        print(f"{row['rank']}D: {ours:.1f} us, PyTorch {theirs:.1f} us, {ours - theirs:+.1f} us")
    for name, kernels in document.get("graph", {}).items():
        print(f"{name}: {len(kernels)} kernels in a CUDA graph of one call: {', '.join(kernels)}")


if __name__ == "__main__":
    main()
