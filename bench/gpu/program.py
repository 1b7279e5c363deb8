"""Steps that need the program and no PyTorch."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from common import FIRST_PROBLEM, ROOT, Done, environment, problems, run

from .check import Check, Failed, Rows

FAILURES_IN_FULL = 200
REPEATED_RUNS = 100
#: With the ways in which they are verified. The others are summed in parts on an H100.
LARGE = [
    (FIRST_PROBLEM, ("random", "exact")),
    ("n4,ic12,oc32,i12x24x32,k3,s2,p1", ("random", "exact", "special")),
    ("n4,ic16,oc32,i16x16x32,k3,s2,p1,cl", ("random", "exact", "special")),
]
PREPARED = [
    FIRST_PROBLEM,
    "ic320,oc256,i8x8x8,k2,s2,bias,f16",
    "ic24,oc24,i240x240,k2,s2,bias,tf32",
    "ic256,oc128,i2048,k16,s8,p4,bias,bf16,cl",
]
# NVRTC's own cache lies with the driver's: with it, a cold start is not.
NO_DRIVER_CACHE = {"CUDA_CACHE_DISABLE": "1"}


def suite_file(name: str) -> Path:
    return ROOT / "shapes" / f"{name}.txt"


def about(check: Check) -> None:
    """Where it runs. Needed by every group, so it belongs to none."""

    def look() -> None:
        program = str(check.carried.program)
        check.document["environment"] |= environment.machine() | {
            "commit": check.carried.commit,
            "gpu": environment.gpu(int(check.device.partition(":")[2] or 0)),
            "nvcc": (re.findall(r"release [\d.]+", _text(["nvcc", "--version"])) or [""])[0],
            "program": environment.first_line([program, "--version"]),
        }
        check.document["environment"]["doctor"] = check.phaseconv(["doctor"], 60).document()

    check.step("environment", "environment", look)


def _text(command: list[str]) -> str:
    try:
        return run(command, 30).output
    except OSError:
        return ""


#: Families that stage inputs in two ways, or not: the beginnings of plans of each way.
WAYS = {"phase_stream": ("words", "cells"), "phase_fma": ("words", "fused")}


def families(check: Check) -> list[str]:
    """The beginning of each family's plans, as the program itself lists them, and of both ways in
    which it stages inputs."""
    command = ["explain", FIRST_PROBLEM, "--device", check.device]
    plans = [row["plan"] for row in check.phaseconv(command, 60).document()["candidates"]]
    found = {plan.split(":")[0] for plan in plans}
    return sorted(f"{family}:{way}" for family in found for way in WAYS.get(family, ("",)))


def plans(check: Check, group: str) -> list[str]:
    """The planner's choice, written "", and each family on its own, where there are several."""
    found: list[str] = []
    check.step(group, f"{group}: families", lambda: found.extend(families(check)))
    return ["", *found] if len(found) != 1 else [""]


# --- verify ---------------------------------------------------------------------------------------


def verify(check: Check) -> None:
    devices = [(check.device, plan) for plan in plans(check, "verify")]
    if check.device != "cpu":
        devices.append(("cpu", ""))
    # The modes of a plan share what the first one compiles; what takes longest comes first.
    chains = [
        [
            (
                f"verify {device} {plan}{suite} {mode}",
                partial(verify_suite, check, device, plan, suite, mode),
            )
            for mode in ("random", "exact", "special")
        ]
        for suite in ("edge", "smoke")
        for device, plan in devices
    ]
    check.together("verify", "verify", chains)
    check.step("verify", "verify large problems", partial(verify_large, check))


def verify_suite(check: Check, device: str, plan: str, suite: str, mode: str, rows: Rows) -> None:
    command = ["verify", "--suite", suite_file(suite), "--device", device]
    command += ["--plan", plan] if plan else []
    command += [f"--{mode}"] if mode != "random" else []
    row = {"device": device, "plan": plan or "the planner's", "suite": suite, "mode": mode}
    row |= summary(check.phaseconv(command, 180).document())
    rows.append(row)
    require_all(row, plan)


def summary(document: dict[str, Any]) -> dict[str, Any]:
    """A verify document in short: numbers, the worst, and what failed."""
    if "results" not in document:
        raise RuntimeError(document["error"]["message"])
    results = document["results"]
    failures = [row for row in results if not row["pass"] and not row["unsupported"]]
    passed = [row for row in results if row["pass"]]
    worst = max(passed, key=lambda row: row["max_error_over_bound"], default=None)
    return {
        "checked": len(results),
        "passed": len(passed),
        "failed": len(failures),
        "unsupported": [
            # The first words: a refusal may go through a thousand plans.
            {"problem": row["problem"], "reason": row["reason"][:300]}
            for row in results
            if row["unsupported"]
        ],
        "plans": sorted({row["plan"] for row in passed}),
        "max_error_over_bound": worst["max_error_over_bound"] if worst else None,
        "worst_problem": worst["problem"] if worst else None,
        "max_rms_over_plain": max((row["rms_over_plain"] for row in passed), default=None),
        "failures": failures[:FAILURES_IN_FULL],
    }


def require_all(row: dict[str, Any], plan: str) -> None:
    """One family may refuse a problem; the planner's own choice has no excuse."""
    refused = 0 if plan else len(row["unsupported"])
    if row["failed"] or refused:
        raise Failed(f"{row['failed']} of {row['checked']} failed, {refused} refused")


def verify_large(check: Check) -> None:
    """Not of one plan: problems so large that the planner takes wide ones."""
    for problem, modes in LARGE:
        for mode in modes:
            command = ["verify", problem, "--device", check.device]
            command += [f"--{mode}"] if mode != "random" else []
            row = check.phaseconv(command, 90).document()["results"][0]
            check.document["large"].append({"mode": mode, **row})
            if not row["pass"]:
                raise Failed(row["reason"])


# --- the same bits --------------------------------------------------------------------------------


def repeat(check: Check) -> None:
    large = FIRST_PROBLEM.replace("n4", "n1")  # fills the GPU
    smoke = ["--suite", suite_file("smoke")]
    chains = [[(f"repeat {large}", partial(repeat_all, check, "", [large]))]]
    chains += [
        [(f"repeat {plan}smoke", partial(repeat_all, check, plan, smoke))]
        for plan in plans(check, "repeat")
    ]
    check.together("repeat", "repeat", chains)


def repeat_all(check: Check, plan: str, problem_list: list[str | Path], rows: Rows) -> None:
    command = ["verify", *problem_list, "--device", check.device, "--runs", str(REPEATED_RUNS)]
    command += ["--plan", plan] if plan else []
    found = summary(check.phaseconv(command, 240).document())
    row = {"plan": plan or "the planner's", "problems": str(problem_list[-1]).split("/")[-1]}
    row["runs"] = REPEATED_RUNS
    row |= {key: found[key] for key in ("checked", "passed", "failed", "unsupported", "failures")}
    rows.append(row)
    require_all(row, plan)


# --- compute-sanitizer ----------------------------------------------------------------------------


def sanitizer(check: Check) -> None:
    chains = [
        [(f"{tool} {plan}edge", partial(sanitize, check, tool, plan, "edge"))]
        for plan in plans(check, "sanitizer")
        for tool in ("memcheck", "racecheck", "synccheck")
    ]
    check.together("sanitizer", "sanitizer", chains)


def sanitize(check: Check, tool: str, plan: str, suite: str, rows: Rows) -> None:
    toolkit = os.environ.get("CUDA_PATH", "/usr/local/cuda")
    places = [os.environ.get("PATH", ""), f"{toolkit}/bin"]
    binary = shutil.which("compute-sanitizer", path=os.pathsep.join(places))
    if binary is None:
        raise RuntimeError("compute-sanitizer is not installed")
    command: list[str | Path] = [binary, "--tool", tool, "--error-exitcode", "9"]
    command += [check.carried.program, "verify", "--device", check.device]
    command += ["--suite", suite_file(suite)]
    command += ["--plan", plan] if plan else []
    done = check.run(command, 300)
    row = sanitized(done, refusals=bool(plan))
    count = len(problems.read_suite(suite_file(suite)))
    about = {"tool": tool, "plan": plan or "the planner's", "suite": suite, "problems": count}
    rows.append(about | row)
    if row["report"]:
        raise Failed(f"exit code {done.code}, {row['errors']} errors")


def sanitized(done: Done, refusals: bool) -> dict[str, Any]:
    """What compute-sanitizer said of `phaseconv verify`; with a report where it found something.
    Refused problems are none of its business."""
    errors = re.findall(r"(?:ERROR|RACECHECK) SUMMARY: (\d+)", done.output + done.errors)
    clean = re.sub(r"=+ COMPUTE-SANITIZER|=+ .*SUMMARY: 0 .*", "", done.output)
    fine = (0, None, 3) if refusals else (0, None)
    if done.code == 3 and refusals:
        clean = re.sub(r"=+ Target application returned an error.*", "", clean)
    found = "========= " in clean or done.code not in fine
    return {
        "passed": len(re.findall(r"^pass\b", done.output, re.MULTILINE)),
        "stopped": done.code is None,  # at the time limit: nothing was found until then
        "exit_code": done.code,
        "errors": sum(map(int, errors)) if errors else None,
        "report": report_of(done.output + done.errors) if found else "",
    }


def report_of(output: str) -> str:
    """What compute-sanitizer itself said, from the first of it on, and how it ended."""
    own = "\n".join(line for line in output.splitlines() if line.startswith("========="))
    return own[:6000] + "\n...\n" + output[-2000:]


# --- preparation ----------------------------------------------------------------------------------


def prepare(check: Check) -> None:
    check.step("prepare", "prepare", partial(prepare_all, check))


def prepare_all(check: Check) -> None:
    for problem in PREPARED:
        row: dict[str, Any] = {"problem": problem}
        with tempfile.TemporaryDirectory(dir=check.scratch) as folder:
            for when in ("cold", "warm"):
                command = ["bench", problem, "--device", check.device, "--repeats", "3"]
                document = check.phaseconv(
                    command, 60, PHASECONV_CACHE=f"{folder}/cache", **NO_DRIVER_CACHE
                )
                row[f"{when}_ms"] = document.document()["results"][0]["prepare_ms"]
        check.document["prepare"].append(row)


# --- times without PyTorch ------------------------------------------------------------------------


def compile_ahead(check: Check, suite: Path, types: list[str]) -> None:
    """What a bench runs, by several processes: one after the other it takes as long as the rest."""
    wanted = [
        f"{text},{kind},{layout}"
        for text, _ in problems.read_suite(suite)
        for kind in types
        for layout in problems.LAYOUTS
    ]

    def some(first: int) -> None:
        command = ["bench", *wanted[first :: check.jobs], "--device", check.device]
        check.phaseconv([*command, "--repeats", "1"], 240)

    with ThreadPoolExecutor(check.jobs) as pool:
        list(pool.map(some, range(min(check.jobs, len(wanted)))))


def bench(check: Check, suite: Path, types: list[str]) -> None:
    """A few problems a process: what was measured before the time ran out is kept."""
    left = [
        text if kind == "f32" else f"{text},{kind}"
        for kind in types
        for text, _ in problems.read_suite(suite)
    ]
    measured = check.document["bench"]
    while left and check.seconds_left > 5:
        some, left = left[:4], left[4:]
        try:
            done = check.phaseconv(["bench", *some, "--device", check.device], 100).document()
            measured["results"] += done["results"]
            measured["unsupported"] += done["unsupported"]
        except (RuntimeError, TimeoutError, KeyError) as error:
            measured["left_out"] += [{"problem": text, "reason": str(error)} for text in some]
    measured["left_out"] += [{"problem": text, "reason": "no time was left"} for text in left]
    if measured["left_out"]:
        raise RuntimeError(f"{len(measured['left_out'])} problems were left out")
