"""From the arguments of a call to a problem string, or to what is wrong with them."""

import operator
from dataclasses import dataclass

import torch
from torch import Tensor

#: The types that are computed here, as the problem string names them.
TYPES = {torch.float32: "f32", torch.float16: "f16", torch.bfloat16: "bf16"}

_LEAST = {"stride": 1, "padding": 0, "output_padding": 0, "dilation": 1}


class Wrong(Exception):
    """The arguments make no transposed convolution; the message says why."""


def sizes(value, rank: int) -> tuple[int, ...] | None:
    """One whole number for each axis, from one number or a sequence of 1 or `rank` of them.

    None where PyTorch would not take the value either: booleans, floats, another length.
    """
    if type(value) is int:
        return (value,) * rank
    if (
        type(value) is tuple  # as modules keep them: the first, middle and last are all of them
        and len(value) == rank
        and type(value[0]) is type(value[rank // 2]) is type(value[-1]) is int
    ):
        return value
    if not isinstance(value, (tuple, list)):
        value = (value,)
    found = []
    for size in value:
        if type(size) is int or isinstance(size, torch.SymInt):
            found.append(size)
        elif isinstance(size, bool) or not hasattr(size, "__index__"):
            return None
        else:
            try:
                found.append(operator.index(size))
            except TypeError:
                return None
    if len(found) == 1:
        return tuple(found) * rank
    return tuple(found) if len(found) == rank else None


@dataclass(frozen=True)
class Arguments:
    """One call, as the user made it."""

    rank: int
    input: Tensor
    weight: Tensor
    bias: Tensor | None
    stride: object
    padding: object
    output_padding: object
    groups: object
    dilation: object

    def problem(self, *, mixed_types: bool, tf32: bool = False, layout: str = "cf") -> str:
        """The problem string. `mixed_types`: weight and bias may differ in type from the input.

        Raises Wrong where Python can tell; the library's parser finds the rest.
        """
        self._check_tensors(mixed_types)
        geometry = {name: self._sizes(name) for name in _LEAST}
        groups = sizes(self.groups, 1)
        if groups is None or not isinstance(self.groups, int) or groups[0] < 1:
            raise Wrong(f"groups is {self.groups!r}; it must be a whole number of at least 1")
        batch, channels, *axes = self.input.shape if self._batched() else (1, *self.input.shape)
        oc = self.weight.shape[1] * groups[0]
        if self.bias is not None and tuple(self.bias.shape) != (oc,):
            raise Wrong(
                f"bias has shape {tuple(self.bias.shape)}; it must be ({oc},): one value for each "
                f"output channel, weight.shape[1] * groups"
            )
        if channels != self.weight.shape[0]:
            raise Wrong(
                f"input has {channels} channels, weight is for {self.weight.shape[0]} (shape "
                f"{tuple(self.weight.shape)}); they must be equal"
            )

        def field(name, values):
            return name + "x".join(map(str, values))

        fields = [
            f"n{batch},ic{channels},oc{oc},g{groups[0]}",
            field("i", axes),
            field("k", self.weight.shape[2:]),
            field("s", geometry["stride"]),
            field("p", geometry["padding"]),
            field("op", geometry["output_padding"]),
            field("d", geometry["dilation"]),
            "tf32" if tf32 else TYPES.get(self.input.dtype, "f32"),
            layout,
        ]
        if self.bias is not None:
            fields.append("bias")
        return ",".join(fields)

    def _batched(self) -> bool:
        return self.input.dim() == self.rank + 2

    def _sizes(self, name: str) -> tuple[int, ...]:
        value = getattr(self, name)
        found = sizes(value, self.rank)
        if found is None or min(found) < _LEAST[name]:
            raise Wrong(
                f"{name} is {value!r}; it must be a whole number of at least {_LEAST[name]}, or "
                f"{self.rank} of them"
            )
        return found

    def _check_tensors(self, mixed_types: bool) -> None:
        rank, input, weight = self.rank, self.input, self.weight
        for name in ("input", "weight", "bias"):
            value = getattr(self, name)
            if not isinstance(value, Tensor) and not (name == "bias" and value is None):
                or_none = " or None" if name == "bias" else ""
                raise Wrong(f"{name} is {type(value).__name__}; it must be a Tensor{or_none}")
        if input.dim() not in (rank + 1, rank + 2):
            raise Wrong(
                f"input has {input.dim()} dimensions; it must have {rank + 2}, or {rank + 1} "
                f"without a batch"
            )
        if weight.dim() != rank + 2:
            raise Wrong(f"weight has {weight.dim()} dimensions; it must have {rank + 2}")
        for name in ("weight", "bias"):
            value = getattr(self, name)
            if value is None:
                continue
            if value.dtype != input.dtype and not mixed_types:
                raise Wrong(f"{name} is {value.dtype}; it must be {input.dtype}, as input is")
            if value.device != input.device:
                raise Wrong(
                    f"{name} is on {value.device}; it must be on {input.device}, as input is"
                )
