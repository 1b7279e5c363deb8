"""What the scripts of this folder share. Python's standard library only."""

from __future__ import annotations

import json
import os
import platform
import re
import signal
import statistics
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FIRST_PROBLEM = "n4,ic32,oc32,g4,i32x64x128,k3,s2,p1"


@dataclass
class Problem:
    """A problem string (docs/cli.md), as the arguments that PyTorch wants."""

    text: str
    batch: int = 1
    in_channels: int = 1
    out_channels: int = 1
    groups: int = 1
    axes: dict[str, list[int]] = field(default_factory=dict)
    type: str = "f32"
    channels_last: bool = False
    bias: bool = False

    @staticmethod
    def parse(text: str) -> Problem:
        """The program has validated it, or will: this only reads it."""
        problem = Problem(text)
        numbers = {"n": [1], "g": [1], "s": [1], "p": [0], "op": [0], "d": [1]}
        for part in text.split(","):
            if part in ("f32", "tf32", "f16", "bf16"):
                problem.type = part
            elif part in ("cf", "cl"):
                problem.channels_last = part == "cl"
            elif part == "bias":
                problem.bias = True
            elif match := re.fullmatch(r"([a-z]+?)(\d+(?:x\d+)*)", part):
                numbers[match[1]] = [int(number) for number in match[2].split("x")]
            else:
                raise ValueError(f"{text}: field '{part}'")
        problem.batch, problem.in_channels = numbers["n"][0], numbers["ic"][0]
        problem.out_channels, problem.groups = numbers["oc"][0], numbers["g"][0]
        rank = len(numbers["i"])
        for name in ("i", "k", "s", "p", "op", "d"):
            problem.axes[name] = numbers[name] * (rank if len(numbers[name]) == 1 else 1)
        return problem


def read_suite(path: Path) -> list[str]:
    lines = (line.split("#")[0].strip() for line in path.read_text().splitlines())
    return [line for line in lines if line]


@dataclass
class Done:
    """A command that ran; code is None where it was stopped at its time limit."""

    code: int | None
    output: str
    errors: str
    seconds: float

    def document(self) -> dict[str, Any]:
        return json.loads(self.output)


def run(
    command: Sequence[str | Path], timeout: float = 600, environment: dict[str, str] | None = None
) -> Done:
    """Runs a command in a session of its own, so that a time limit ends all that it started."""
    start = time.monotonic()
    with subprocess.Popen(
        [str(word) for word in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
        errors="replace",
        env={**os.environ, **(environment or {})},
        start_new_session=True,
    ) as process:
        try:
            output, errors = process.communicate(timeout=max(timeout, 1))
            code: int | None = process.returncode
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, errors = process.communicate()
            code = None
    return Done(code, output, errors, time.monotonic() - start)


def summary(times_ms: Sequence[float]) -> dict[str, float | int]:
    ordered = sorted(times_ms)
    last = len(ordered) - 1
    return {
        "median_ms": statistics.median(ordered),
        "min_ms": ordered[0],
        "p95_ms": ordered[-(-last * 95 // 100)],
        "repeats": len(ordered),
    }


def first_line(command: Sequence[str]) -> str:
    try:
        return (run(command, 30).output.strip().splitlines() or [""])[0]
    except OSError:
        return ""


def machine() -> dict[str, Any]:
    cpu = ""
    if Path("/proc/cpuinfo").exists():
        found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
        cpu = found[1] if found else ""
    return {
        "system": platform.platform(),
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }


def commit() -> str:
    """The commit that is checked out, "-dirty" where files differ; empty outside of git."""
    return first_line(["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=40"])


def write_json(path: Path, document: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(document, indent=1) + "\n")
    part.replace(path)
