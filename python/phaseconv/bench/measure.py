"""One layer in one type: ours and PyTorch's, channels first and last, in turns."""

from __future__ import annotations

import functools
import warnings
from typing import Any

import torch
from torch import Tensor

from .. import execution, functional
from ..problem import Arguments
from .clock import Clock, Work, take_turns
from .figures import FIRST, LAST
from .precision import DTYPES, Reference, computed_type, largest_difference, precision
from .problems import Problem

_FORMATS = {2: torch.channels_last, 3: torch.channels_last_3d}  # there is none in 1D
SEED = 20240611


class Layer:
    """Tensors of a problem in both layouts, and the calls on them."""

    def __init__(self, problem: Problem, device: torch.device):
        self.problem = problem
        dtype = DTYPES[problem.type]
        generator = torch.Generator(device).manual_seed(SEED)

        def draw(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, device=device).to(dtype)

        # Outside of inference mode: its tensors count no versions, and such weights are packed at
        # every call.
        x = draw(problem.batch, problem.in_channels, *problem.input)
        w = draw(problem.in_channels, problem.out_channels // problem.groups, *problem.kernel)
        self.bias = draw(problem.out_channels) if problem.bias else None
        self.tensors = {FIRST: (x, w)}
        if problem.rank in _FORMATS:
            memory_format = _FORMATS[problem.rank]
            self.tensors[LAST] = tuple(t.to(memory_format=memory_format) for t in (x, w))

    def operands(self, layout: str) -> tuple:
        """What comes after the function in a call: tensors and geometry."""
        p = self.problem
        geometry = p.stride, p.padding, p.output_padding, p.groups, p.dilation
        return *self.tensors[layout], self.bias, *geometry

    def reference(self, kind: str) -> Reference:
        p = self.problem
        function = getattr(torch.nn.functional, f"conv_transpose{p.rank}d")

        def compute(x: Tensor, w: Tensor, b: Tensor | None, groups: int) -> Tensor:
            return function(x, w, b, p.stride, p.padding, p.output_padding, groups, p.dilation)

        x, w = self.tensors[FIRST]
        return Reference(compute, kind, x, w, self.bias, p.in_channels // p.groups)


def _who_computes(layer: Layer, layout: str) -> dict[str, Any]:
    """The plan taken and its predicted time, or why the call is left to PyTorch."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        prepared = execution.prepared(Arguments(layer.problem.rank, *layer.operands(layout)))
    if prepared is None:
        return {
            "computed_by": "PyTorch",
            "reason": "; ".join(str(warning.message) for warning in caught),
        }
    return {
        "computed_by": "phaseconv",
        "plan": prepared.plan,
        "predicted_ms": 1e3 * prepared.predicted_seconds,
    }


def _check(reference: Reference, ours: Work, theirs: Work) -> dict[str, Any]:
    """PyTorch's own difference is told, and nothing asked of it."""
    result: dict[str, Any] = {"bound": reference.bound}
    result["max_abs_difference"] = largest_difference(ours(), reference.output)
    result["pytorch_max_abs_difference"] = largest_difference(theirs(), reference.output)
    result["pass"] = result["max_abs_difference"] <= reference.bound
    return result


def measure(
    problem: Problem,
    device: torch.device,
    clock: Clock,
    seconds: float | None = None,
    rounds: int | None = None,
) -> dict[str, Any]:
    """The row of a problem in a result file, without what figures.complete adds."""
    layer = Layer(problem, device)
    kind = computed_type(problem.type, problem.groups, device)
    functions = {
        "phaseconv": getattr(functional, f"conv_transpose{problem.rank}d"),
        "pytorch": getattr(torch.nn.functional, f"conv_transpose{problem.rank}d"),
    }
    keys = [(layout, who) for layout in layer.tensors for who in functions]
    works = {
        (layout, who): functools.partial(functions[who], *layer.operands(layout))
        for layout, who in keys
    }
    layouts: dict[str, dict[str, Any]] = {layout: {} for layout in layer.tensors}
    with torch.inference_mode(), precision(tf32=problem.type == "tf32"):
        for layout, measured in layouts.items():
            measured["phaseconv"] = _who_computes(layer, layout)
        for (layout, who), row in zip(
            keys, take_turns(clock, list(works.values()), seconds, rounds), strict=True
        ):
            layouts[layout].setdefault(who, {}).update(row)
        reference = layer.reference(kind)
        for layout, measured in layouts.items():
            ours, theirs = works[layout, "phaseconv"], works[layout, "pytorch"]
            measured["check"] = _check(reference, ours, theirs)
    return {"type": problem.type, "computed_type": kind, "layouts": layouts}
