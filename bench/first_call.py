#!/usr/bin/env python3
"""How long the first call of a converted layer takes: planning, the kernel from the disk cache or
the compiler, packed weights, output. In a new process each time; the first problem also pays for
what a process does once. Prints JSON.

usage: first_call.py PROBLEM... [--device cuda]
"""

import argparse
import json
import time

import torch

import phaseconv
from common import problems
from phaseconv import execution
from phaseconv.bench.precision import DTYPES
from phaseconv.problem import Arguments


def layer_of(problem: problems.Problem) -> torch.nn.Module:
    kind = getattr(torch.nn, f"ConvTranspose{problem.rank}d")
    return kind(
        problem.in_channels,
        problem.out_channels,
        problem.kernel,
        problem.stride,
        problem.padding,
        problem.output_padding,
        problem.groups,
        problem.bias,
        problem.dilation,
    )


def measure(text: str, device: torch.device) -> dict:
    problem = problems.Problem.parse(text)
    layer = layer_of(problem).to(device, DTYPES[problem.type])
    shape = (problem.batch, problem.in_channels, *problem.input)
    x = torch.randn(shape, device=device, dtype=DTYPES[problem.type])

    def call() -> float:
        begin = time.perf_counter()
        layer(x)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return 1e3 * (time.perf_counter() - begin)

    layer(x)  # PyTorch's own, which loads what PyTorch needs on a GPU
    phaseconv.convert(layer)
    times = {"first_ms": call(), "next_ms": min(call() for _ in range(5))}
    geometry = (layer.stride, layer.padding, layer.output_padding, layer.groups, layer.dilation)
    arguments = Arguments(problem.rank, x, layer.weight, layer.bias, *geometry)
    prepared = execution.prepared(arguments)
    plan = "left to PyTorch" if prepared is None else prepared.plan
    return {"problem": text, "plan": plan, **times}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("problems", nargs="+", metavar="PROBLEM")
    parser.add_argument("--device", type=torch.device, default="cpu", help="cpu or cuda:N")
    arguments = parser.parse_args()
    with torch.inference_mode(False), torch.no_grad():
        rows = [measure(text, arguments.device) for text in arguments.problems]
    document = {"torch": torch.__version__, "device": str(arguments.device), "results": rows}
    print(json.dumps(document))


if __name__ == "__main__":
    main()
