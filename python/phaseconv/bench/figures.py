"""From times and ceilings to floors, ratios and means. Plain numbers and dictionaries; the fields
are those of the result file (docs/pytorch.md)."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from typing import Any

FIRST, LAST = "channels_first", "channels_last"
#: A kernel that does nothing takes about as long; a CPU has no such step.
LEAST_FLOOR_MS = {"cuda": 0.003, "cpu": 0.0}


def statistics_ms(times_ms: Sequence[float]) -> dict[str, float | int]:
    """Median, fastest, 95th percentile and number of repeated times."""
    ordered = sorted(times_ms)
    last = len(ordered) - 1
    return {
        "median_ms": statistics.median(ordered),
        "min_ms": ordered[0],
        "p95_ms": ordered[-(-last * 95 // 100)],
        "repeats": len(ordered),
    }


def geometric_mean(values: Iterable[float | None]) -> float | None:
    """Of those that are there; None where none is."""
    logarithms = [math.log(value) for value in values if value]
    return math.exp(statistics.fmean(logarithms)) if logarithms else None


def merged(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """The higher of two measurements of each rate: a ceiling is what was reached at all."""
    result = dict(first)
    for name, value in second.items():
        if isinstance(value, dict):
            result[name] = merged(first.get(name, {}), value)
        else:
            result[name] = max(first.get(name, 0), value)
    return result


def product_rate(kind: str, products: dict[str, float]) -> float:
    """Operations a second that a layer of this type can hope for, from those of matrix products.

    float32 may also be had from three TF32 products, and 16-bit types by way of float32, where
    that is faster.
    """
    own, f32 = products.get(kind, 0), products.get("f32", 0)
    if kind == "f32":
        return max(own, products.get("tf32", 0) / 3)
    return own if kind == "tf32" else max(own, f32)


def floor_ms(row: dict[str, Any], ceilings: dict[str, Any], device: str) -> float:
    """The least time that the machine could take. `device`: "cpu" or "cuda"."""
    moving = row["bytes"] / ceilings["copy_bytes_per_second"]
    computing = row["flops"] / product_rate(row["computed_type"], ceilings["products"])
    return max(1e3 * max(moving, computing), LEAST_FLOOR_MS[device])


def ours(row: dict[str, Any], layout: str = FIRST) -> float | None:
    """Median in ms; None where the layout does not exist, or PyTorch computed the call."""
    measured = row["layouts"].get(layout)
    if measured is None or measured["phaseconv"]["computed_by"] != "phaseconv":
        return None
    return measured["phaseconv"]["median_ms"]


def theirs(row: dict[str, Any], layout: str | None = None) -> float | None:
    """PyTorch's median in ms; without a layout, that of its better one."""
    times = {name: measured["pytorch"]["median_ms"] for name, measured in row["layouts"].items()}
    return min(times.values()) if layout is None else times.get(layout)


def _ratio(numerator: float | None, denominator: float | None) -> float | None:
    return numerator / denominator if numerator is not None and denominator else None


def complete(row: dict[str, Any], ceilings: dict[str, Any], device: str) -> None:
    """Adds what follows from the times of a layer: its floor, ratios and shares of the floor."""
    floor = floor_ms(row, ceilings, device)
    row["floor_ms"] = floor
    row["floor_share"] = {name: _ratio(floor, ours(row, name)) for name in row["layouts"]}
    row["ratios"] = {
        "same_layout": {
            name: _ratio(theirs(row, name), ours(row, name)) for name in row["layouts"]
        },
        "best_layout": _ratio(theirs(row), ours(row)),
    }


def prediction(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """How the predicted times of channels-first layers compare with the measured ones."""
    found = [
        row["layouts"][FIRST]["phaseconv"]["predicted_ms"] / ours(row)
        for row in rows
        if row["layouts"][FIRST]["phaseconv"].get("predicted_ms")
    ]
    return {
        "layers": len(found),
        "over_measured": geometric_mean(found),
        "within_25_percent": sum(0.75 <= ratio <= 1.25 for ratio in found),
        "within_30_percent": sum(0.7 <= ratio <= 1.3 for ratio in found),
    }


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Of layers of one type: geometric means, and how many layers PyTorch computes faster."""
    best = [row["ratios"]["best_layout"] for row in rows]
    return {
        "layers": len(rows),
        "left_to_pytorch": sum(ours(row) is None for row in rows),
        "wrong": sum(not passed(row) for row in rows),
        "ratio_channels_first": geometric_mean(row["ratios"]["same_layout"][FIRST] for row in rows),
        "ratio_channels_last": geometric_mean(
            row["ratios"]["same_layout"].get(LAST) for row in rows
        ),
        "ratio_best_layout": geometric_mean(best),
        "slower_than_best_layout": sum(ratio is not None and ratio < 1 for ratio in best),
        "floor_share": {
            layout: geometric_mean(row["floor_share"].get(layout) for row in rows)
            for layout in (FIRST, LAST)
        },
        "prediction": prediction(rows),
    }


def passed(row: dict[str, Any]) -> bool:
    return all(measured["check"]["pass"] for measured in row["layouts"].values())


def finish(document: dict[str, Any]) -> None:
    """Completes every row of a result file, and its summary by type."""
    for row in document["results"]:
        complete(row, document["ceilings"], document["environment"]["device"].split(":")[0])
    kinds = dict.fromkeys(row["type"] for row in document["results"])
    document["summary"] = {
        kind: summary([row for row in document["results"] if row["type"] == kind]) for kind in kinds
    }
