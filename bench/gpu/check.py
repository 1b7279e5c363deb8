"""One GPU check: its document, its time, and how its steps run programs."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from common import ROOT, Done, environment, run

#: What each group of steps writes into the document, empty until it runs. A group runs whole, so
#: that parts of two runs can be put together (merge.py).
GROUPS: dict[str, dict[str, Any]] = {
    "verify": {"verify": [], "large": []},
    "sanitizer": {"sanitizer": []},
    "repeat": {"repeat": []},
    "prepare": {"prepare": []},
    "pytest": {"pytest": None},
    "emitted": {"emitted": []},
    "calls": {"calls": {}},
    "bench": {"pytorch": None, "bench": {"results": [], "unsupported": [], "left_out": []}},
}


Rows = list[dict[str, Any]]
Steps = Sequence[tuple[str, Callable[[Rows], None]]]  # names, and what puts rows into a list


class Failed(Exception):
    """A check that ran and did not pass; what it found is in the document."""


class Carried:
    """The folder that bench/carry made."""

    def __init__(self, folder: Path):
        folder = folder.resolve()
        self.program = folder / "bin" / "phaseconv"
        self.package = folder / "python"
        self.site = folder / "site"
        self.kernels = folder / "kernels"  # compiled ahead, if somebody did
        self.commit = (folder / "commit").read_text("utf-8").strip()


class Check:
    def __init__(
        self, carried: Carried, device: str, limit: float, output: Path, jobs: int | None = None
    ):
        self.carried = carried
        self.jobs = jobs or min(os.cpu_count() or 1, 8)  # steps at a time that time nothing
        self.output = output  # written after each step: a check that is stopped leaves it
        self.device = device
        self.deadline = time.monotonic() + limit
        self.scratch = Path(tempfile.mkdtemp(prefix="phaseconv-check-"))
        # One cache for the whole check, so that it does not depend on earlier ones.
        os.environ["PHASECONV_CACHE"] = str(self.scratch / "cache")
        if carried.kernels.is_dir():
            shutil.copytree(carried.kernels, self.scratch / "cache")
        self.document: dict[str, Any] = {
            "schema_version": 1,
            "kind": "gpu check",
            "finished": False,  # and neither before the end
            "good": False,
            "environment": {},
            **{key: value for keys in GROUPS.values() for key, value in keys.items()},
            "steps": [],
        }
        self._writing = threading.Lock()

    def together(self, group: str, key: str, chains: Sequence[Steps]) -> None:
        """Chains of steps that time nothing, several chains at a time. Each step puts its rows into
        a list of its own; the document has them in the order of the steps."""
        works = [work for chain in chains for work in chain]
        found: dict[str, Rows] = {name: [] for name, _ in works}

        def one(name: str, work: Callable[[Rows], None]) -> None:
            try:
                work(found[name])
            finally:
                with self._writing:
                    self.document[key] = [row for rows in found.values() for row in rows]

        def follow(chain: Steps) -> None:
            for name, work in chain:
                self.step(group, name, partial(one, name, work))

        with ThreadPoolExecutor(self.jobs) as pool:
            list(pool.map(follow, chains))

    def step(self, group: str, name: str, work: Callable[[], None]) -> None:
        """Does the work; its failure is this step's result and stops no other."""
        start = time.monotonic()
        print(f"  {name} ...", file=sys.stderr, flush=True)
        error = ""
        try:
            if start >= self.deadline:
                raise TimeoutError("no time was left")
            work()
        except Exception as caught:
            error = f"{type(caught).__name__}: {caught}"
            print(f"  {name}: {error}", file=sys.stderr, flush=True)
        seconds = round(time.monotonic() - start, 2)
        row = {"group": group, "name": name, "error": error, "seconds": seconds}
        with self._writing:
            self.document["steps"].append(row)
            environment.write_json(self.output, self.document)

    @property
    def seconds_left(self) -> float:
        return self.deadline - time.monotonic()

    def run(self, command: Sequence[str | Path], limit: float, **environment: str) -> Done:
        return run(command, min(limit, self.seconds_left), environment)

    def phaseconv(self, arguments: Sequence[str | Path], limit: float, **environment: str) -> Done:
        """0, 1 and 3 come with a document that says what was wrong; anything else raises."""
        done = self.run([self.carried.program, *arguments, "--json"], limit, **environment)
        if done.code is None:
            asked = " ".join(map(str, arguments)).replace(f"{ROOT}/", "")
            raise TimeoutError(f"stopped after {done.seconds:.0f} s: {asked}")
        if done.code not in (0, 1, 3) or not done.output.startswith("{"):
            raise RuntimeError(f"exit code {done.code}: {done.errors[-2000:]}")
        return done

    def python(self, arguments: Sequence[str | Path], limit: float, **environment: str) -> Done:
        """A Python program that may import phaseconv and pytest. A process of its own: what it
        wrote before a time limit or a crash is kept."""
        folders = [self.carried.package, self.carried.site, Path(__file__).parent.parent]
        environment["PYTHONPATH"] = os.pathsep.join(map(str, folders))
        return self.run([sys.executable, *arguments], limit, **environment)
