#!/usr/bin/env python3
"""Writes docs/performance.md, and the README's number, from the files in bench/results: no number
is typed by hand. With --check, says whether they are up to date and changes nothing."""

from __future__ import annotations

import json
import sys
from typing import Any

from common import ROOT

RESULTS = ROOT / "bench" / "results"
PAGE = ROOT / "docs" / "performance.md"
README = ROOT / "README.md"
BEGIN, END = "<!-- measured: bench/render.py writes this -->", "<!-- end of measured -->"

INTRODUCTION = """# Performance

Every number here comes from a file in `bench/results`, which `bench/gpu_check` (GPU) and
`bench/compare_torch.py` (CPU) wrote; `bench/render.py` writes this page. Times are medians. The
*floor* is the larger of bytes and operations over the rates that the same machine reached in the
same run: copying device memory, and multiply-adds. *Share* is floor over time. *Ratio* is PyTorch's
time over ours, both measured in turns. On a GPU the rate of multiply-adds is that of float32 without
tensor cores, for every type, by the device's attributes: with tensor cores the floor of layers that
arithmetic bounds would be lower, and the share too.
"""


def table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["-"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def ms(value: float) -> str:
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def comparison(rows: list[dict[str, Any]]) -> str:
    header = ["problem", "phaseconv, ms", "PyTorch, ms", "ratio", "floor, ms"]
    lines = []
    for row in rows:
        floor = row["phaseconv"][0]["floor_ms"]
        times = [ms(row["phaseconv_ms"]), ms(row["torch_ms"]), f"{row['ratio']:.2f}", ms(floor)]
        lines.append([f"`{row['problem']}`", *times])
    return table(header, lines)


def gpu(name: str, document: dict[str, Any]) -> str:
    environment = document["environment"]
    device = environment["gpu"].get("name", "GPU")
    torch = ""
    if document["comparison"]:
        torch = f", PyTorch {environment['torch']} with cuDNN {environment['cudnn']}"
    text = f"\n## {device}\n\n"
    text += f"`{name}`: commit `{environment['commit'] or 'unknown'}`, {environment['date']}, "
    text += f"driver {environment['gpu'].get('driver_version', 'unknown')}{torch}.\n\n"
    if document["comparison"]:
        text += comparison(document["comparison"]) + "\n"
    if document["prepare"]:
        lines = [
            [f"`{r['problem']}`", ms(r["cold_ms"]), ms(r["warm_ms"])] for r in document["prepare"]
        ]
        text += table(["prepare", "cold cache, ms", "warm cache, ms"], lines) + "\n"
    if document["bench"]["results"]:
        lines = [
            [f"`{row['problem']}`", f"`{row['plan']}`"]
            + [ms(row["median_ms"]), ms(row["floor_ms"]), f"{row['floor_share']:.0%}"]
            for row in document["bench"]["results"]
        ]
        text += table(["problem", "plan", "time, ms", "floor, ms", "share"], lines) + "\n"
    checked = sum(row["checked"] for row in document["verify"])
    passed = sum(row["passed"] for row in document["verify"])
    text += f"Verified in the same run: {passed} of {checked} checks passed."
    for row in document["sanitizer"]:
        state = "time limit reached" if row["stopped"] else f"{row['errors']} errors"
        text += f" compute-sanitizer {row['tool']} over `{row['suite']}.txt`: {state}."
    return text + "\n"


def cpu(name: str, document: dict[str, Any]) -> str:
    environment = document["environment"]
    machine = environment["cpu"] or environment["system"]
    text = f"\n## {machine}, {environment['threads']} threads\n\n"
    text += f"`{name}`: commit `{environment['commit'] or 'unknown'}`, {environment['date']}, "
    text += f"PyTorch {environment['torch']}.\n\n"
    return text + comparison(document["results"])


def number(documents: list[dict[str, Any]]) -> str:
    """The README's: the first problem beside PyTorch, wherever it was measured."""
    lines = []
    for document in documents:
        environment = document["environment"]
        rows = document.get("comparison") or document.get("results") or []
        if not rows:
            continue
        row, where = rows[0], environment.get("gpu", {}).get("name") or environment["cpu"]
        if "gpu" not in environment:
            where += f", {environment['threads']} threads"
        lines.append(
            f"- {where}: `{row['problem']}` in {ms(row['phaseconv_ms'])} ms, PyTorch "
            f"{environment['torch']} in {ms(row['torch_ms'])} ms: {row['ratio']:.1f} times."
        )
    return "\n".join(lines) if lines else "Nothing measured yet."


def main() -> int:
    kinds = {"gpu check": gpu, "cpu comparison": cpu}
    documents = {path.name: json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))}
    documents = {name: text for name, text in documents.items() if text.get("kind") in kinds}
    page = INTRODUCTION + "".join(kinds[d["kind"]](name, d) for name, d in documents.items())
    readme = README.read_text()
    before, rest = readme.split(BEGIN)
    after = rest.split(END)[1]
    readme = f"{before}{BEGIN}\n{number(list(documents.values()))}\n{END}{after}"

    stale = [
        path
        for path, text in ((PAGE, page), (README, readme))
        if not path.exists() or path.read_text() != text
    ]
    if "--check" in sys.argv[1:]:
        for path in stale:
            print(f"{path.relative_to(ROOT)} is out of date: run bench/render.py")
        return 1 if stale else 0
    PAGE.write_text(page)
    README.write_text(readme)
    return 0


if __name__ == "__main__":
    sys.exit(main())
