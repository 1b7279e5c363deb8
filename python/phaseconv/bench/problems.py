"""Problem strings and suites, for those who run PyTorch on them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

TYPES = ("f32", "tf32", "f16", "bf16")
LAYOUTS = ("cf", "cl")


@dataclass(frozen=True)
class Problem:
    """A valid problem string (docs/cli.md), as the arguments that PyTorch wants."""

    text: str
    batch: int
    in_channels: int
    out_channels: int
    groups: int
    input: tuple[int, ...]  # this and the next: one number an axis
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    output_padding: tuple[int, ...]
    dilation: tuple[int, ...]
    type: str
    bias: bool

    @staticmethod
    def parse(text: str) -> Problem:
        """The library has validated it: this only reads it. Layouts are left aside."""
        numbers = {"n": (1,), "g": (1,), "s": (1,), "p": (0,), "op": (0,), "d": (1,)}
        kind, bias = "f32", False
        for part in text.split(","):
            if part in TYPES:
                kind = part
            elif part == "bias":
                bias = True
            elif part not in LAYOUTS:
                match = re.fullmatch(r"([a-z]+?)(\d+(?:x\d+)*)", part)
                if match is None:
                    raise ValueError(f"{text}: field '{part}'")
                numbers[match[1]] = tuple(int(number) for number in match[2].split("x"))
        rank = len(numbers["i"])
        channels = (numbers[name][0] for name in ("n", "ic", "oc", "g"))
        axes = (
            values * rank if len(values) == 1 else values
            for values in (numbers[name] for name in ("i", "k", "s", "p", "op", "d"))
        )
        return Problem(text, *channels, *axes, kind, bias)

    @property
    def rank(self) -> int:
        return len(self.input)


def read_suite(path: Path) -> list[tuple[str, str]]:
    """(problem string, its comment: a name) of each line that has one."""
    lines = [line.partition("#") for line in path.read_text("utf-8").splitlines()]
    return [(text.strip(), comment.strip()) for text, _, comment in lines if text.strip()]


def stated_type(text: str) -> str | None:
    return next((part for part in text.split(",") if part in TYPES), None)


def variant(text: str, kind: str, batch: int | None = None) -> str:
    """The problem in this type, channels first, and with this batch where one is given."""
    kept = [
        part
        for part in text.split(",")
        if part not in (*TYPES, *LAYOUTS) and (batch is None or not re.fullmatch(r"n\d+", part))
    ]
    return ",".join([*([] if batch is None else [f"n{batch}"]), *kept, kind])
