"""Steps that need a PyTorch that sees the GPU: each a Python program of its own."""

from __future__ import annotations

import json
import os
import statistics
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from common import ROOT, Done, problems

from . import record
from .check import Check, Failed
from .program import NO_DRIVER_CACHE, PREPARED

BENCH = ROOT / "bench"
WARM_PROCESSES = 5  # that make a first call each


def torch_seen(check: Check) -> bool:
    """Whether the package can be imported here, beside a PyTorch that sees the device."""
    code = (
        f"import json, torch, phaseconv; torch.empty(0, device='{check.device}'); "
        "print(json.dumps({'torch': torch.__version__, 'cudnn': torch.backends.cudnn.version()}))"
    )
    done = check.python(["-c", code], 90)
    if done.code == 0:
        check.document["environment"] |= done.document()
    else:
        last = (done.errors.strip().splitlines() or ["stopped at its time limit"])[-1]
        check.document["environment"]["torch"] = f"not used: {last}"
    return done.code == 0


def _ended_well(done: Done) -> None:
    if done.code is None:
        raise TimeoutError(f"stopped after {done.seconds:.0f} s")
    if done.code != 0:
        raise RuntimeError(f"exit code {done.code}: {(done.errors or done.output)[-2000:]}")


# --- tests/python ---------------------------------------------------------------------------------


def pytest(check: Check) -> None:
    check.step("pytest", "pytest", partial(run_pytest, check, ROOT / "tests" / "python"))


def run_pytest(check: Check, tests: Path) -> None:
    written = check.scratch / "tests.jsonl"
    # Kernels are compiled one after the other in each process.
    workers = str(min(os.cpu_count() or 1, 8))
    command = ["-B", "-m", "pytest", "-p", "gpu.record", "-n", workers]
    command += ["-c", ROOT / "pyproject.toml", tests]
    # CI: what would be skipped for want of a part of this library is a failure.
    done = check.python(command, 420, CI="true", **{record.VARIABLE: str(written)})
    found = record.summary(written)
    found |= {"exit_code": done.code, "seconds": round(done.seconds, 1)}
    if done.code not in (0, 1):
        found["output"] = (done.output + done.errors)[-4000:]
    check.document["pytest"] = found
    if found["stopped_in"] or done.code is None:
        raise TimeoutError(f"stopped in {found['stopped_in']}")
    if done.code != 0:
        raise Failed(f"exit code {done.code}, {found['failed']} failed")


# --- the emitted files ----------------------------------------------------------------------------


def emitted(check: Check) -> None:
    # One folder for all, and none of an earlier check: that they build is a part of it.
    os.environ["TORCH_EXTENSIONS_DIR"] = str(check.scratch / "extensions")
    names = sorted(path.stem for path in (ROOT / "examples/kernelbench/emitted").glob("*.py"))
    built: dict[str, Done] = {}
    check.step("emitted", "build the emitted files", lambda: built.update(build(check, names)))
    for name in names:
        work = partial(compare_emitted, check, name, built.get(name))
        check.step("emitted", f"emitted {name}", work)


def build(check: Check, names: list[str]) -> dict[str, Done]:
    """All at once: nvcc uses one core for each."""

    def one(name: str) -> Done:
        return check.python([BENCH / "emitted.py", name, "--build"], 180)

    with ThreadPoolExecutor(min(len(names), os.cpu_count() or 1)) as threads:
        return dict(zip(names, threads.map(one, names), strict=True))


def compare_emitted(check: Check, name: str, built: Done | None) -> None:
    if built is not None:
        _ended_well(built)
    done = check.python([BENCH / "emitted.py", name, "--device", check.device], 90)
    if done.code not in (0, 1) or not done.output.startswith("{"):
        _ended_well(done)
    row = done.document()
    row["build_seconds"] = None if built is None else round(built.seconds, 1)
    check.document["emitted"].append(row)
    if not row["pass"]:
        raise Failed(
            f"weights {'equal' if row['equal_weights'] else 'differ'}, largest difference "
            f"{row['max_difference_over_tolerance']:.3g} of what is allowed"
        )


# --- what a call costs ----------------------------------------------------------------------------


def calls(check: Check) -> None:
    for device in dict.fromkeys(("cpu", check.device)):
        check.step("calls", f"host side of a call, {device}", partial(overhead, check, device))
    check.step("calls", "first calls", partial(first_calls, check))


def overhead(check: Check, device: str) -> None:
    done = check.python([BENCH / "call_overhead.py", "--device", device, "--json"], 90)
    _ended_well(done)
    check.document["calls"].setdefault("overhead", []).append(done.document())


def first_calls(check: Check) -> None:
    """In a new process each time: once with an empty cache, then with what that left in it."""
    command = [BENCH / "first_call.py", *map(_any_layout, PREPARED), "--device", check.device]
    cache = {"PHASECONV_CACHE": str(check.scratch / "first-calls"), **NO_DRIVER_CACHE}
    runs: list[list[dict[str, Any]]] = []
    for _ in range(1 + WARM_PROCESSES):
        done = check.python(command, 90, **cache)
        _ended_well(done)
        runs.append(done.document()["results"])
    check.document["calls"]["first"] = [
        {
            **warm[0],
            "first_ms": statistics.median(row["first_ms"] for row in warm),
            "warm_first_ms": [row["first_ms"] for row in warm],
            "cold_ms": cold["first_ms"],
        }
        for cold, *warm in zip(*runs, strict=True)
    ]


def _any_layout(problem: str) -> str:
    return ",".join(part for part in problem.split(",") if part not in problems.LAYOUTS)


# --- times ----------------------------------------------------------------------------------------


def bench(check: Check, suite: Path, types: list[str]) -> None:
    """python -m phaseconv.bench, which times ours and PyTorch's in turns."""
    output = check.scratch / "pytorch.json"
    command = ["-m", "phaseconv.bench", "--suite", suite, "--device", check.device]
    command += ["--types", ",".join(types), "--limit", f"{check.seconds_left - 30:.0f}"]
    command += ["--commit", check.carried.commit, "--output", output]
    done = check.python(command, 580)
    if output.exists():
        check.document["pytorch"] = json.loads(output.read_text())
    _ended_well(done)
    if left := check.document["pytorch"]["left_out"]:
        raise RuntimeError(f"{len(left)} problems were left out")
