"""The text of a problem file with its model renamed and PyTorch's transposed convolutions replaced.

Only the names in question change; everything else, comments too, stays as it was written.
"""

import ast
import types
from typing import NamedTuple

import torch
from torch import nn

MODEL = "Model"
NEW_MODEL = "ModelNew"
LAYERS = {getattr(nn, f"ConvTranspose{n}d"): f"PhaseconvTranspose{n}d" for n in (1, 2, 3)}
FUNCTIONS = {
    getattr(torch, f"conv_transpose{n}d"): f"phaseconv_conv_transpose{n}d" for n in (1, 2, 3)
}


class EmitError(ValueError):
    """The problem file is not one that a file can be written for; the message says why."""


class Transformed(NamedTuple):
    """A problem file's text, rewritten."""

    text: str
    future: tuple  # features of its `from __future__` imports, which `text` no longer has
    functional: bool  # it calls one of FUNCTIONS' replacements


def _resolve(node, namespace):
    """The object that a dotted name stands for in the module; None where it is not a plain one."""
    if isinstance(node, ast.Name):
        return namespace.get(node.id)
    if isinstance(node, ast.Attribute):
        base = _resolve(node.value, namespace)
        if isinstance(base, types.ModuleType):
            return getattr(base, node.attr, None)
    return None


def _replacement(thing):
    """What stands in for an object; None for most."""
    for table in (LAYERS, FUNCTIONS):
        for original, name in table.items():
            if thing is original:
                return name
    return None


class _Edits(ast.NodeVisitor):
    """Collects (line, column, end line, end column, new text); columns count bytes, as in ast."""

    def __init__(self, lines, namespace):
        self.lines = lines
        self.namespace = namespace
        self.edits = []
        self.future = []
        self.functional = False

    def _replace(self, node, text):
        self.edits.append(
            (node.lineno, node.col_offset, node.end_lineno, node.end_col_offset, text)
        )

    def _reference(self, node):
        name = None
        if isinstance(node.ctx, ast.Load):
            name = _replacement(_resolve(node, self.namespace))
        if name is None:
            return False
        self.functional = self.functional or name in FUNCTIONS.values()
        self._replace(node, name)
        return True

    def visit_Name(self, node):
        """A plain name: a layer or function that is imported by name, or the model's own."""
        if node.id == MODEL:
            self._replace(node, NEW_MODEL)
        else:
            self._reference(node)

    def visit_Attribute(self, node):
        """A dotted name; where it is none of ours, perhaps what it begins with is."""
        if not self._reference(node):
            self.generic_visit(node)

    def visit_ClassDef(self, node):
        """The model's own definition."""
        if node.name == MODEL:
            at = self.lines[node.lineno - 1].index(MODEL.encode(), node.col_offset)
            self.edits.append((node.lineno, at, node.lineno, at + len(MODEL), NEW_MODEL))
        self.generic_visit(node)

    def visit_ImportFrom(self, node):
        """Imports from __future__ must stand first in a file: they move."""
        if node.module == "__future__":
            self.future += [alias.name for alias in node.names]
            self._replace(node, "")


def transform(text, namespace):
    """Rewrites a problem file's text, given the namespace that it leaves when it is run."""
    tree = ast.parse(text)
    lines = text.encode().splitlines(keepends=True)
    if not isinstance(namespace.get(MODEL), type):
        raise EmitError(f"the problem file defines no class {MODEL}")
    if NEW_MODEL in namespace:
        raise EmitError(f"the problem file defines {NEW_MODEL}, the name of what is to be written")
    visitor = _Edits(lines, namespace)
    visitor.visit(tree)
    for first, start, last, end, new in sorted(visitor.edits, reverse=True):
        merged = lines[first - 1][:start] + new.encode() + lines[last - 1][end:]
        lines[first - 1 : last] = [merged]
    return Transformed(b"".join(lines).decode(), tuple(visitor.future), visitor.functional)
