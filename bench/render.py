#!/usr/bin/env python3
"""Writes docs/performance.md with its plots, and the README's numbers, from the files in
bench/results: no number is typed by hand. With --check, says whether they are up to date and
changes nothing."""

from __future__ import annotations

import json
import sys

from common import ROOT, environment, page

PAGE = ROOT / "docs" / "performance.md"
README = ROOT / "README.md"
BEGIN, END = "<!-- measured: bench/render.py writes this -->", "<!-- end of measured -->"


def main() -> int:
    results = sorted((ROOT / "bench" / "results").glob("*.json"))
    documents = {path.name: json.loads(path.read_text("utf-8")) for path in results}
    documents = {name: text for name, text in documents.items() if text.get("kind") in page.KINDS}
    files = page.files(documents, PAGE)
    before, rest = README.read_text("utf-8").split(BEGIN)
    after = rest.split(END)[1]
    files[README] = f"{before}{BEGIN}\n{page.headline(documents.values())}\n{END}{after}"

    stale = [p for p, text in files.items() if not p.exists() or p.read_text("utf-8") != text]
    left = [path for path in PAGE.with_suffix("").glob("*.svg") if path not in files]
    if "--check" in sys.argv[1:]:
        for path in [*stale, *left]:
            print(f"{path.relative_to(ROOT)} is out of date: run bench/render.py")
        return 1 if stale or left else 0
    for path in stale:
        path.parent.mkdir(parents=True, exist_ok=True)
        environment.write_text(path, files[path])
    for path in left:
        path.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
