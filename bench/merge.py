#!/usr/bin/env python3
"""Puts together the files of GPU checks that shared the work: of each group of steps, the last one.

usage: merge.py EARLIER.json LATER.json... --output FILE.json
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
from pathlib import Path

from common import environment
from gpu import report
from gpu.merge import merged


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE.json")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE.json")
    arguments = parser.parse_args()
    documents = (json.loads(path.read_text("utf-8")) for path in arguments.files)
    try:
        document = functools.reduce(merged, documents)
    except ValueError as error:
        parser.error(str(error))
    environment.write_json(arguments.output, document)
    print("\n".join(report.lines(document)))
    return 0 if document["good"] else 1


if __name__ == "__main__":
    sys.exit(main())
