"""What a result file says about where it was measured. Python's standard library only."""

from __future__ import annotations

import errno
import json
import os
import platform
import re
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def first_line(command: Sequence[str]) -> str:
    """Of what a command prints; empty where there is no such command."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return (done.stdout.strip().splitlines() or [""])[0]


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


def gpu(index: int = 0) -> dict[str, str]:
    """Name, driver, memory, power limit and clocks, as nvidia-smi says; empty without one."""
    query = "name,driver_version,memory.total,power.limit,clocks.max.sm,clocks.max.memory"
    line = first_line(
        ["nvidia-smi", f"--id={index}", f"--query-gpu={query}", "--format=csv,noheader"]
    )
    return dict(zip(query.split(","), line.split(", "), strict=False)) if line else {}


def commit(folder: Path) -> str:
    """The commit that is checked out there, "-dirty" where files differ; empty outside of git, and
    in a repository that is not this library's."""
    git = ["git", "-C", str(folder)]
    top = first_line([*git, "rev-parse", "--show-toplevel"])
    if not top or not (Path(top) / "include" / "phaseconv" / "problem.h").is_file():
        return ""
    return first_line([*git, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"])


def write_text(path: Path, text: str) -> None:
    """The whole file or nothing; through symbolic links, and never in place of a device."""
    target = path.resolve()
    if target.exists() and not target.is_file():
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        part.write_text(text, "utf-8", newline="\n")
        part.replace(target)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        part.unlink(missing_ok=True)


def write_json(path: Path, document: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(document, indent=1) + "\n")
