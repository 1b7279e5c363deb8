#!/usr/bin/env python3
"""One emitted file of examples/kernelbench beside the file that it was written from, on a GPU,
under PyTorch's default switches: weights, results and times. Prints JSON. Needs PyTorch, nvcc and a
C++ compiler, and not this library.

usage: emitted.py NAME [--device cuda:N]      for example level1_73_groups4
       emitted.py NAME --build                only builds its kernels, and keeps them
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any

import torch

from common import ROOT

# isort: split
# `common` makes it known, as the package `bench`; nothing of phaseconv itself is imported.
from bench.clock import clock_of, take_turns

EXAMPLES = ROOT / "examples" / "kernelbench"
TOLERANCE = 1e-4  # absolute and relative: KernelBench's for float32
INPUTS = 5
SEED = 42


def load(folder: str, name: str) -> dict[str, Any]:
    """As KernelBench does: the text, in a namespace of its own."""
    path = EXAMPLES / folder / f"{name}.py"
    namespace: dict[str, Any] = {}
    exec(compile(path.read_text("utf-8"), str(path), "exec"), namespace)
    return namespace


def made(model: type[torch.nn.Module], arguments: list[Any]) -> torch.nn.Module:
    torch.manual_seed(SEED)
    return model(*arguments)


def equal_weights(old: torch.nn.Module, new: torch.nn.Module) -> bool:
    ours, theirs = new.state_dict(), old.state_dict()
    return list(ours) == list(theirs) and all(torch.equal(ours[k], theirs[k]) for k in ours)


def difference(found: torch.Tensor, expected: torch.Tensor) -> tuple[float, float]:
    """The largest, and the largest over what is allowed there: NaN where either has one."""
    apart = (found - expected).abs()
    return float(apart.max()), float((apart / (TOLERANCE + TOLERANCE * expected.abs())).max())


def compare(name: str, device: torch.device, seconds: float | None = None) -> dict[str, Any]:
    problem = load("problems", name)
    begin = time.monotonic()
    emitted = load("emitted", name)  # builds, where it is not built yet
    row: dict[str, Any] = {
        "name": name,
        "problems": [kernel.problem for kernel in emitted["_KERNELS"].values()],
        "load_seconds": round(time.monotonic() - begin, 2),
        "inputs": INPUTS,
        "tolerance": TOLERANCE,
    }
    arguments = problem["get_init_inputs"]()
    old, new = made(problem["Model"], arguments), made(emitted["ModelNew"], arguments)
    row["equal_weights"] = equal_weights(old, new)
    old, new = old.to(device).eval(), new.to(device).eval()
    differences = []
    with torch.no_grad():
        for seed in range(INPUTS):
            torch.manual_seed(seed)
            inputs = [x.to(device) for x in problem["get_inputs"]()]
            differences.append(difference(new(*inputs), old(*inputs)))
        absolute, over = torch.tensor(differences).amax(0).tolist()  # NaN where there is one
        row |= {"max_difference": absolute, "max_difference_over_tolerance": over}
        row["pass"] = row["equal_weights"] and over <= 1
        works = [lambda: new(*inputs), lambda: old(*inputs)]
        times = take_turns(clock_of(device), works, seconds)
    row["model_new"], row["model"] = times
    row["ratio"] = times[1]["median_ms"] / times[0]["median_ms"]
    return row


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("name")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--build", action="store_true")
    arguments = parser.parse_args()
    if arguments.build:
        load("emitted", arguments.name)
        return 0
    row = compare(arguments.name, torch.device(arguments.device))
    print(json.dumps(row))
    return 0 if row["pass"] else 1


if __name__ == "__main__":
    sys.exit(main())
