#!/usr/bin/env python3
"""Times phaseconv beside PyTorch on the CPU: the same problems, the same number of threads, in
turns, so that a machine that speeds up or slows down does so for both. Writes one JSON file."""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path
from typing import Any

from common import Done, commit, machine, read_suite, run, write_json

DEFAULT_PROBLEMS = [
    "ic32,oc32,g4,i32x64x128,k3,s2,p1",
    "ic64,oc64,g64,i48x48x48,k4,s2,p1",
    "ic64,oc32,i64x64x64,k2,s2",
    "ic32,oc64,i16x32x32,k3,s2,p1,d2",
]


def results(done: Done, what: str) -> dict[str, Any]:
    if done.code != 0:
        sys.exit(f"{what}: exit code {done.code}\n{done.errors}")
    return done.document()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("problems", nargs="*", metavar="PROBLEM", help="default: a few layers")
    parser.add_argument("--suite", type=Path, help="file of problem strings")
    parser.add_argument("--program", type=Path, default=Path("build/release/tools/phaseconv"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=Path("bench-out/cpu.json"))
    parser.add_argument("--commit", default=None)
    arguments = parser.parse_args()
    problems = arguments.problems or DEFAULT_PROBLEMS
    if arguments.suite:
        problems = read_suite(arguments.suite)

    where = ["--device", "cpu", "--threads", str(arguments.threads)]
    torch_script = Path(__file__).with_name("time_torch.py")
    rows = []
    versions: dict[str, Any] = {}
    for problem in problems:
        ours, theirs = [], []
        for _ in range(arguments.rounds):
            done = run([arguments.program, "bench", problem, "--json", *where])
            ours.append(results(done, "phaseconv")["results"][0])
            document = results(run([sys.executable, torch_script, problem, *where]), "torch")
            theirs.append(document.pop("results")[0])
            versions = document
        mine = statistics.median(row["median_ms"] for row in ours)
        torch_ms = statistics.median(row["median_ms"] for row in theirs)
        rows.append(
            {
                "problem": problem,
                "phaseconv_ms": mine,
                "torch_ms": torch_ms,
                "ratio": torch_ms / mine,
                "floor_ms": statistics.median(row["floor_ms"] for row in ours),
                "phaseconv": ours,
                "torch": theirs,
            }
        )
        print(f"{mine:9.2f} ms  torch {torch_ms:9.2f} ms  {torch_ms / mine:6.2f}x  {problem}")
    document = {
        "schema_version": 1,
        "kind": "cpu comparison",
        "environment": {
            **machine(),
            **versions,
            "commit": commit() if arguments.commit is None else arguments.commit,
        },
        "results": rows,
    }
    write_json(arguments.output, document)
    print(arguments.output)


if __name__ == "__main__":
    main()
