"""A plot of a result file: each layer's times over its floor, as SVG text.

No background, and colours of middle brightness: it reads on white and on dark pages.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any
from xml.sax.saxutils import escape

from .figures import FIRST, LAST, ours, theirs

INK, GRID = "#7d8590", "#7d859055"
SERIES = {  # (whose, layout): legend, colour, filled
    (ours, FIRST): ("phaseconv, channels first", "#2f81f7", True),
    (ours, LAST): ("phaseconv, channels last", "#2f81f7", False),
    (theirs, FIRST): ("PyTorch, channels first", "#db6d28", True),
    (theirs, LAST): ("PyTorch, channels last", "#db6d28", False),
}
WIDTH, RIGHT, TOP, ROW, BOTTOM = 600, 30, 62, 18, 34
LETTER = 6.5  # the width of most
RADIUS = 4.5


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


class Axis:
    """Logarithmic, between steps of 1, 2 and 5 that take in all values."""

    def __init__(self, values: Sequence[float], left: float):
        self.left = left
        lowest, highest = min([1.0, *values]), max([2.0, *values])
        steps = [m * 10.0**e for e in range(-4, 8) for m in (1, 2, 5)]
        first = max(step for step in steps if step <= lowest or step == steps[0])
        last = min(step for step in steps if step >= highest or step == steps[-1])
        self.ticks = [step for step in steps if first <= step <= last]

    def x(self, value: float) -> float:
        low, high = math.log(self.ticks[0]), math.log(self.ticks[-1])
        return self.left + WIDTH * (math.log(value) - low) / (high - low)


def _marker(whose: Any, colour: str, filled: bool, x: float, y: float) -> str:
    paint = f'fill="{colour}"' if filled else f'fill="none" stroke="{colour}" stroke-width="1.5"'
    if whose is ours:
        return f'<circle cx="{_number(x)}" cy="{_number(y)}" r="{RADIUS}" {paint}/>'
    corner = f'x="{_number(x - 4)}" y="{_number(y - 4)}" width="8" height="8"'
    return f"<rect {corner} {paint}/>"


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    place = f'x="{_number(x)}" y="{_number(y)}" text-anchor="{anchor}"'
    return f"<text {place}>{escape(text)}</text>"


def label(row: dict[str, Any]) -> str:
    """The layer's name, or its problem without the type that the whole plot has."""
    return row["name"] or row["problem"].removesuffix("," + row["type"])


def svg(title: str, rows: Sequence[dict[str, Any]]) -> str:
    """Rows are complete ones of a result file (figures.complete)."""
    points = [
        [
            (whose, layout, value / row["floor_ms"])
            for whose, layout in SERIES
            if (value := whose(row, layout)) is not None
        ]
        for row in rows
    ]
    left = max([260, *(int(LETTER * len(label(row))) + 24 for row in rows)])
    axis = Axis([value for row in points for *_, value in row if value > 0], left)
    bottom = TOP + ROW * len(rows)
    height = bottom + BOTTOM
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left + WIDTH + RIGHT} {height}" '
        f'role="img" font-family="system-ui, sans-serif" font-size="12" fill="{INK}">',
        f"<title>{escape(title)}</title>",
        _text(10, 16, title),
    ]
    for i, ((whose, _), (legend, colour, filled)) in enumerate(SERIES.items()):
        x = 18 + 215 * i
        out += [_marker(whose, colour, filled, x, 36), _text(x + 10, 40, legend)]
    for tick in axis.ticks:
        x = _number(axis.x(tick))
        colour, width = (INK, 1.5) if tick == 1 else (GRID, 1)
        out.append(f'<path d="M{x} {TOP - 8}V{bottom}" stroke="{colour}" stroke-width="{width}"/>')
        out.append(_text(axis.x(tick), bottom + 15, f"{tick:g}", "middle"))
    out.append(_text(left + WIDTH / 2, bottom + 30, "time over the floor", "middle"))
    for i, (row, values) in enumerate(zip(rows, points, strict=True)):
        y = TOP + ROW * i + ROW / 2
        out.append(_text(left - 12, y + 4, label(row), "end"))
        places = [axis.x(value) for *_, value in values if value > 0]
        if places:
            span = f"M{_number(min(places))} {_number(y)}H{_number(max(places))}"
            out.append(f'<path d="{span}" stroke="{GRID}" stroke-width="1"/>')
        for whose, layout, value in values:
            if value > 0:
                _, colour, filled = SERIES[whose, layout]
                out.append(_marker(whose, colour, filled, axis.x(value), y))
    return "\n".join([*out, "</svg>"]) + "\n"
