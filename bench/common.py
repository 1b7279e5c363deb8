"""What the scripts of this folder share. Python's standard library only.

They take the parts of phaseconv.bench that need no PyTorch from the source tree, as the package
`bench`: to import phaseconv is to import PyTorch.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "python" / "phaseconv"))

from bench import environment, page, problems  # noqa: E402

sys.path.pop(0)

__all__ = ["FIRST_PROBLEM", "ROOT", "Done", "environment", "page", "problems", "run"]

FIRST_PROBLEM = "n4,ic32,oc32,g4,i32x64x128,k3,s2,p1"


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
