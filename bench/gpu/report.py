"""The lines that a GPU check prints at its end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Document = dict[str, Any]


def lines(document: Document) -> Iterator[str]:
    yield document["environment"].get("gpu", {}).get("name", "no GPU seen")
    yield from _verified(document)
    yield from _by_pytorch(document)
    yield from _times(document)
    for row in document["steps"]:
        if row["error"]:
            yield f"  {row['name']}: {row['error'].splitlines()[0]}"
    yield "all good" if document["good"] else "NOT all good"


def _verified(document: Document) -> Iterator[str]:
    for row in document["verify"]:
        worst = row["max_error_over_bound"]
        error = f", error/bound {worst:.3f}" if worst is not None else ""
        refused = f", {len(row['unsupported'])} unsupported" if row["unsupported"] else ""
        yield (
            f"  {row['device']:5} {row['plan']:14} {row['suite']:6} {row['mode']:8}"
            f"{row['passed']:4} of {row['checked']} pass{refused}{error}"
        )
        yield from (f"        {failure['reason']}" for failure in row["failures"][:5])
    for row in document["repeat"]:
        yield (
            f"  {row['runs']} runs, the same bits: {row['passed']} of {row['checked']} problems, "
            f"{row['plan']}, {row['problems']}"
        )
        yield from (f"        {failure['reason']}" for failure in row["failures"][:5])
    for row in document["sanitizer"]:
        state = "stopped at its time limit" if row["stopped"] else f"errors: {row['errors']}"
        yield (
            f"  {row['tool']} {row['plan']:14} {row['suite']}: "
            f"{row['passed']} of {row['problems']} pass, {state}"
        )
    for row in document["prepare"]:
        times = f"{row['cold_ms']:8.1f} ms cold, {row['warm_ms']:7.1f} warm"
        yield f"  prepare {times}  {row['problem']}"


def _by_pytorch(document: Document) -> Iterator[str]:
    if found := document["pytest"]:
        counts = ", ".join(f"{found[name]} {name}" for name in ("passed", "failed", "skipped"))
        yield f"  pytest: {counts}; on CUDA {found['passed_on_cuda']} passed"
        for row in found["failures"]:
            text = row["text"].strip().splitlines()
            yield f"        {row['test']}: {text[-1] if text else ''}"
        yield from (f"        skipped {n}: {reason}" for reason, n in found["skips"].items())
    for row in document["emitted"]:
        yield (
            f"  {row['name']}: {row['model_new']['median_ms']:.3f} ms, Model "
            f"{row['model']['median_ms']:.3f} ({row['ratio']:.2f}x), difference "
            f"{row['max_difference_over_tolerance']:.2g} of the tolerance"
        )
    for found in document["calls"].get("overhead", []):
        for row in found["results"]:
            yield (
                f"  a call on {found['device']}, {row['rank']}D: {row['phaseconv_us']:.1f} us, "
                f"PyTorch {row['pytorch_us']:.1f}"
            )
        if graph := found.get("graph"):
            counts = ", ".join(f"{who} {len(kernels)}" for who, kernels in graph.items())
            yield f"  kernels in a CUDA graph of one call: {counts}"
    for row in document["calls"].get("first", []):
        yield (
            f"  first call {row['cold_ms']:.1f} ms with a cold cache, {row['first_ms']:.1f} warm, "
            f"next {row['next_ms']:.2f}: {row['problem']}"
        )


def _times(document: Document) -> Iterator[str]:
    for kind, row in (document["pytorch"] or {}).get("summary", {}).items():
        best, share = row["ratio_best_layout"], row["floor_share"]["channels_first"]
        if best is not None:
            yield f"  {kind}: {best:.2f}x PyTorch's better layout, {share:.0%} of the floor"
    for row in document["bench"]["results"]:
        floor = f"floor {row['floor_ms']:8.3f} ({row['floor_share']:4.0%})"
        yield f"  {row['median_ms']:9.3f} ms, {floor}  {row['problem']}  {row['plan']}"
