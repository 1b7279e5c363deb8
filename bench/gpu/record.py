"""A plugin of pytest that writes what happens as it happens, one line of JSON an event, into the
file that PHASECONV_TEST_RECORD names: a run that is stopped leaves its results. And what to make of
that file."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

VARIABLE = "PHASECONV_TEST_RECORD"
FAILURE_TEXT = 4000  # characters kept of each, its end
SLOWEST = 10
_WORST_FIRST = ("failed", "skipped", "passed")


_worker = ""  # of pytest-xdist; empty in the process that started them


def pytest_configure(config: Any) -> None:
    global _worker
    _worker = getattr(config, "workerinput", {}).get("workerid", "")


def _write(**event: Any) -> None:
    with Path(os.environ[VARIABLE]).open("a", encoding="utf-8") as file:
        file.write(json.dumps(event) + "\n")


# The process that started the workers hears of all tests; of what can't be imported or skips itself
# it does not, as each worker collects all of them.


def pytest_runtest_logstart(nodeid: str) -> None:
    if not _worker:
        _write(test=nodeid, outcome="started")


def pytest_runtest_logreport(report: Any) -> None:
    if not _worker and (report.when == "call" or report.outcome != "passed"):
        _report(report, report.duration, "cuda" in report.keywords)  # the tests' mark


def pytest_collectreport(report: Any) -> None:
    if report.outcome != "passed" and _worker in ("", "gw0"):
        _report(report)


def _report(report: Any, seconds: float = 0.0, cuda: bool = False) -> None:
    if report.outcome == "skipped" and isinstance(report.longrepr, tuple):
        text = report.longrepr[2].removeprefix("Skipped: ")  # after file and line
    else:
        text = report.longreprtext
    _write(
        test=report.nodeid,
        outcome=report.outcome,
        cuda=cuda,
        seconds=round(seconds, 2),
        text=text[-FAILURE_TEXT:],
    )


def summary(record: Path) -> dict[str, Any]:
    """Counts, the failures' text, how many were skipped for which reason, and the test that was
    running when the record ended, where it ended early."""
    lines = record.read_text("utf-8").splitlines() if record.exists() else []
    tests: dict[str, dict[str, Any]] = {}
    started = None
    for event in map(json.loads, lines):
        if event["outcome"] == "started":
            started = event["test"]
            continue
        known = tests.get(event["test"])
        order = _WORST_FIRST.index
        if known is None or order(event["outcome"]) < order(known["outcome"]):
            tests[event["test"]] = event  # a test may pass and its clean-up fail
    rows = list(tests.values())
    by_outcome = {name: [r for r in rows if r["outcome"] == name] for name in _WORST_FIRST}
    reasons = [row["text"] for row in by_outcome["skipped"]]
    return {
        **{name: len(by_outcome[name]) for name in ("passed", "failed", "skipped")},
        "passed_on_cuda": sum(row["cuda"] for row in by_outcome["passed"]),
        "stopped_in": started if started not in tests else None,
        "failures": [{"test": r["test"], "text": r["text"]} for r in by_outcome["failed"]],
        "skips": {reason: reasons.count(reason) for reason in dict.fromkeys(reasons)},
        "slowest": [
            {"test": row["test"], "seconds": row["seconds"]}
            for row in sorted(rows, key=lambda row: -row["seconds"])[:SLOWEST]
        ],
    }
