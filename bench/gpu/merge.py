"""One document from two that share the work of a GPU check."""

from __future__ import annotations

from typing import Any

from .check import GROUPS

Document = dict[str, Any]


def is_good(document: Document) -> bool:
    return document["finished"] and not any(step["error"] for step in document["steps"])


def merged(earlier: Document, later: Document) -> Document:
    """The later one, and of the earlier one the groups that did not run again."""
    for what, found in (
        ("kind", [d["kind"] for d in (earlier, later)]),
        ("commit", [d["environment"]["commit"] for d in (earlier, later)]),
        ("GPU", [d["environment"]["gpu"].get("name") for d in (earlier, later)]),
    ):
        if found[0] != found[1]:
            raise ValueError(f"the files differ in their {what}: {found[0]} and {found[1]}")
    again = {step["group"] for step in later["steps"]}
    kept = {key: earlier[key] for group in GROUPS.keys() - again for key in GROUPS[group]}
    result = later | kept
    result["environment"] = earlier["environment"] | later["environment"]
    result["steps"] = [s for s in earlier["steps"] if s["group"] not in again] + later["steps"]
    result["finished"] = earlier["finished"] and later["finished"]
    result["good"] = is_good(result)
    return result
