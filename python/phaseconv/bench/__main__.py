"""The command line: python -m phaseconv.bench."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

import phaseconv

from ..problem import Wrong
from . import ceilings, environment, figures, page
from .clock import Clock, clock_of
from .measure import SEED, measure
from .problems import TYPES, Problem, read_suite, stated_type, variant

DONE, WRONG, INVALID, UNSUPPORTED, FILE_TROUBLE = range(5)  # exit codes, as those of phaseconv


class Stop(Exception):
    """Ends the command with an exit code and a message."""

    def __init__(self, code: int, message: str):
        super().__init__(message)
        self.code = code


def positive(text: str) -> int:
    """A whole number of at least 1, for argparse."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number of at least 1")
    return int(text)


def parser() -> argparse.ArgumentParser:
    out = argparse.ArgumentParser(
        prog="python -m phaseconv.bench",
        description="Times transposed convolutions beside PyTorch in one run, in turns, channels "
        "first and last, and beside the floor that the machine's own rates set.",
        epilog="Exit codes: 0 done, 1 a result is wrong or could not be had, 2 bad usage or an "
        "invalid problem, 3 no such device, 4 trouble with a file.",
    )
    out.add_argument("problems", nargs="*", metavar="PROBLEM", help="problem strings")
    out.add_argument("--suite", type=Path, metavar="FILE", help="file of problem strings")
    out.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    out.add_argument(
        "--types",
        help="of the problems that state none; default: f32, on CUDA f32,tf32,f16",
    )
    out.add_argument("--threads", type=positive, metavar="N", help="of the CPU; default: PyTorch's")
    out.add_argument("--batch", type=int, metavar="N", help="in place of every problem's own")
    out.add_argument(
        "--max-gflop", type=float, metavar="X", help="leave out problems with more operations"
    )
    out.add_argument(
        "--seconds",
        type=float,
        help="of timed runs for each problem and type; default: 1, CUDA 0.25",
    )
    out.add_argument("--rounds", type=positive, metavar="N", help="exactly so many samples of each")
    out.add_argument(
        "--keep-memory",
        action="store_true",
        help="CPU: freed memory stays with the process, so that outputs, ours and PyTorch's, are "
        "not made of new pages at each call (glibc's malloc gives large ones back)",
    )
    out.add_argument(
        "--limit", type=float, metavar="SECONDS", help="start no problem after this long"
    )
    out.add_argument("--commit", help="that was built; default: what git says here")
    out.add_argument("--output", type=Path, metavar="FILE.json", help="where results are written")
    out.add_argument(
        "--results",
        type=Path,
        nargs="*",
        default=[],
        metavar="FILE.json",
        help="older result files for the page; with no problem, nothing is measured",
    )
    out.add_argument(
        "--page",
        type=Path,
        metavar="FILE.md",
        help="write the page of the results, its plots into a folder of the same name beside it",
    )
    return out


def find_device(text: str) -> torch.device:
    if text == "auto":
        text = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(text)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda"):
        raise Stop(INVALID, f"device '{text}' is not known; it must be auto, cpu, cuda or cuda:N")
    if device.type == "cpu":
        return torch.device("cpu")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    index = device.index or 0
    if index >= count:
        raise Stop(UNSUPPORTED, f"device {text} is not there; PyTorch sees {count} CUDA devices")
    torch.cuda.set_device(index)
    return torch.device("cuda", index)


def keep_memory(words: Sequence[str]) -> None:
    """Starts the command again, in its place, with a malloc that keeps what is freed."""
    if platform.libc_ver()[0] != "glibc":
        raise Stop(UNSUPPORTED, "--keep-memory is glibc's: this C library is another one")
    # Nothing from mmap, nothing given back, and no caches of small pieces: they would keep free
    # ones from growing together.
    wanted = {"mmap_max": 0, "trim_threshold": 1 << 40, "tcache_count": 0, "mxfast": 0}
    tunables = ":".join(f"glibc.malloc.{name}={value}" for name, value in wanted.items())
    if tunables not in os.environ.get("GLIBC_TUNABLES", ""):
        before = os.environ.get("GLIBC_TUNABLES")
        new = os.environ | {"GLIBC_TUNABLES": f"{before}:{tunables}" if before else tunables}
        os.execve(sys.executable, [sys.executable, "-m", "phaseconv.bench", *words], new)


def list_problems(arguments: argparse.Namespace, device: torch.device) -> list[dict[str, Any]]:
    """Problems in each type, canonical, with their costs: {problem, name, bytes, flops}."""
    asked = [(text, "") for text in arguments.problems]
    if arguments.suite:
        asked += read_suite(arguments.suite)
    default = "f32" if device.type == "cpu" else "f32,tf32,f16"
    types = (arguments.types or default).split(",")
    if unknown := set(types) - set(TYPES):
        raise Stop(INVALID, f"types {', '.join(sorted(unknown))}: not among {', '.join(TYPES)}")
    rows = []
    for kind in types:
        for text, name in asked:
            stated = stated_type(text)
            if stated is not None and kind != types[0]:
                continue  # once is enough
            try:
                torch.ops.phaseconv.check(text)
                problem = torch.ops.phaseconv.check(variant(text, stated or kind, arguments.batch))
            except RuntimeError as error:
                raise Stop(INVALID, f"{text}: {error}") from error
            moved, computed = torch.ops.phaseconv.cost(problem)
            rows.append({"problem": problem, "name": name, "bytes": moved, "flops": computed})
    return rows


def about(arguments: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    result = environment.machine() | {
        "commit": environment.commit(Path.cwd()) if arguments.commit is None else arguments.commit,
        "device": str(device),
        "threads": torch.get_num_threads(),
        "phaseconv": phaseconv.__version__,
        "torch": torch.__version__,
        # What the time of making an output depends on.
        "memory": {
            name: os.environ[name]
            for name in ("GLIBC_TUNABLES", "THP_MEM_ALLOC_ENABLE")
            if name in os.environ
        },
    }
    if device.type == "cuda":
        result |= {
            # By PyTorch: nvidia-smi may number devices in another order, or not be there.
            "gpu": environment.gpu(device.index) | {"name": torch.cuda.get_device_name(device)},
            "cudnn": torch.backends.cudnn.version(),
            "cuda": torch.version.cuda,
        }
    return result


def line(row: dict[str, Any]) -> str:
    """For those who wait."""
    best = row["ratios"]["best_layout"]
    mine, share = figures.ours(row), row["floor_share"][figures.FIRST]
    if mine is None or best is None or share is None:
        return f"left to PyTorch  {row['problem']}"
    text = f"{mine:10.4f} ms, {share:4.0%} of the floor, PyTorch's better layout "
    wrong = "" if figures.passed(row) else "  WRONG"
    return f"{text}{figures.theirs(row):10.4f}: {best:6.2f}x  {row['problem']}{wrong}"


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def why_not(
    row: dict[str, Any], arguments: argparse.Namespace, device: torch.device, passed: float
) -> str | None:
    """Why a problem is left out, `passed` seconds after the first; None where it is not."""
    if device.type == "cpu" and Problem.parse(row["problem"]).type == "tf32":
        return "tf32 is CUDA's alone"
    if arguments.max_gflop is not None and row["flops"] > 1e9 * arguments.max_gflop:
        return f"{row['flops'] / 1e9:.0f} GFLOP"
    if arguments.limit is not None and passed > arguments.limit:
        return "no time was left"
    return None


def measure_all(
    arguments: argparse.Namespace, device: torch.device, clock: Clock, rows: list[dict[str, Any]]
) -> dict[str, Any]:
    """The result file's document, written after each problem: a run that ends early leaves it."""
    begin = time.monotonic()
    kinds = list(dict.fromkeys(Problem.parse(row["problem"]).type for row in rows))
    before = ceilings.measure(clock, device, kinds)
    document: dict[str, Any] = {
        "schema_version": 1,
        "kind": "bench",
        "environment": about(arguments, device),
        "settings": {
            "suite": arguments.suite.name if arguments.suite else None,
            "batch": arguments.batch,
            "max_gflop": arguments.max_gflop,
            "seconds": clock.seconds if arguments.seconds is None else arguments.seconds,
            "rounds": arguments.rounds,
            "keep_memory": arguments.keep_memory,
        },
        "ceilings": {**before, "method": ceilings.method(device), "runs": [before]},
        "summary": {},
        "results": [],
        "left_out": [],
        "failed": [],
    }
    for row in rows:
        about_row = {"problem": row["problem"], "name": row["name"]}
        reason = why_not(row, arguments, device, time.monotonic() - begin)
        if reason is not None:
            document["left_out"].append({**about_row, "reason": reason})
            say(f"left out        {row['problem']}: {reason}")
            continue
        try:
            problem = Problem.parse(row["problem"])
            times = measure(problem, device, clock, arguments.seconds, arguments.rounds)
        except (RuntimeError, ValueError, Wrong) as error:  # that problem's result
            reason = f"{type(error).__name__}: {error}"
            document["failed"].append({**about_row, "reason": reason})
            say(f"{row['problem']}: {reason}")
            continue
        document["results"].append({**row, **times})
        figures.finish(document)
        say(line(document["results"][-1]))
        if arguments.output:
            environment.write_json(arguments.output, document)
    after = ceilings.measure(clock, device, kinds)
    document["ceilings"] |= {**figures.merged(before, after), "runs": [before, after]}
    figures.finish(document)
    wrong = [row for row in document["results"] if not figures.passed(row)]
    document["good"] = not wrong and not document["failed"]
    if arguments.output:
        environment.write_json(arguments.output, document)
    return document


def measured(arguments: argparse.Namespace) -> dict[str, Any]:
    device = find_device(arguments.device)
    rows = list_problems(arguments, device)
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    document = measure_all(arguments, device, clock_of(device), rows)
    print(page.summary_table(document), end="")
    for row in document["results"]:
        if not figures.passed(row):
            checks = {name: times["check"] for name, times in row["layouts"].items()}
            say(f"wrong: {row['problem']}, seed {SEED}, on {device}: {json.dumps(checks)}")
    return document


def main(words: Sequence[str] | None = None) -> int:
    """Returns the exit code."""
    out = parser()
    arguments = out.parse_args(words)
    documents, code = {}, DONE
    try:
        if arguments.keep_memory:
            keep_memory(sys.argv[1:] if words is None else words)
        for path in arguments.results:
            documents[path.name] = json.loads(path.read_text("utf-8"))
        if arguments.problems or arguments.suite:
            document = measured(arguments)
            documents[arguments.output.name if arguments.output else "this run"] = document
            code = DONE if document["good"] else WRONG
        elif not documents or not arguments.page:
            raise Stop(INVALID, "name problems or a --suite, or --results for a --page")
        if arguments.page:
            for path, text in page.files(documents, arguments.page).items():
                path.parent.mkdir(parents=True, exist_ok=True)
                environment.write_text(path, text)
    except Stop as stop:
        say(f"phaseconv.bench: {stop}")
        return stop.code
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        say(f"phaseconv.bench: {error}")
        return FILE_TROUBLE
    return code


if __name__ == "__main__":
    sys.exit(main())
