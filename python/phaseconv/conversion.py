"""`convert`: every transposed convolution of a model, computed by this library."""

from dataclasses import dataclass, field

import torch

from . import nn

_OURS = {
    torch.nn.ConvTranspose1d: nn.ConvTranspose1d,
    torch.nn.ConvTranspose2d: nn.ConvTranspose2d,
    torch.nn.ConvTranspose3d: nn.ConvTranspose3d,
}


@dataclass(frozen=True)
class Left:
    """A module that was left as it is."""

    name: str  #: its path in the model; "" is the model itself
    type: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name or '(model)'} ({self.type}): {self.reason}"


@dataclass
class Report:
    """What `convert` did. Print it."""

    converted: list[str] = field(default_factory=list)  #: paths in the model
    left: list[Left] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [f"phaseconv: {len(self.converted)} converted, {len(self.left)} left"]
        lines += [f"  converted {name or '(model)'}" for name in self.converted]
        lines += [f"  left      {one}" for one in self.left]
        lines.append(
            "Calls that need gradients, and types other than float32, float16 and bfloat16, are "
            "still computed by PyTorch: run inference under torch.no_grad() or "
            "torch.inference_mode()."
        )
        return "\n".join(lines)


def convert(model: torch.nn.Module) -> Report:
    """Makes every transposed convolution in `model` one of phaseconv.nn, in place.

    The modules stay the same objects, with their parameters, hooks and state_dict: only their
    class changes. Subclasses and everything else that may compute something of its own is left,
    and the report says why.
    """
    report = Report()
    for name, module in model.named_modules():
        if not _is_transposed_convolution(module):
            continue
        reason = _reason_to_leave(module)
        if reason is None:
            module.__class__ = _OURS[type(module)]
            report.converted.append(name)
        else:
            report.left.append(Left(name, type(module).__qualname__, reason))
    return report


def _is_transposed_convolution(module: torch.nn.Module) -> bool:
    """By name too: quantised ones and compiled ones share no base class with torch.nn's."""
    names = [base.__name__ for base in type(module).__mro__]
    names.append(getattr(module, "original_name", ""))  # of a TorchScript module
    return any(name.startswith(("ConvTranspose", "LazyConvTranspose")) for name in names)


def _reason_to_leave(module: torch.nn.Module) -> str | None:
    kind = type(module)
    if kind in _OURS.values():
        return "it is one of phaseconv.nn already"
    if isinstance(module, torch.nn.modules.lazy.LazyModuleMixin):
        return "it has no weights yet; run the model once, then convert it"
    if torch.nn.utils.parametrize.is_parametrized(module):
        return (
            "its parameters are computed anew at every call; "
            "torch.nn.utils.parametrize.remove_parametrizations makes them plain"
        )
    if isinstance(module, torch.jit.ScriptModule):
        return "it is compiled by TorchScript; convert the model before that"
    if not isinstance(module, tuple(_OURS)):
        return "it is not torch.nn's transposed convolution (quantised ones are not)"
    if kind not in _OURS:
        return "it is a subclass, which may compute something else"
    if "forward" in vars(module):
        return "its forward was replaced on the instance"
    if not isinstance(module.weight, torch.nn.Parameter):
        return (
            "its weight is computed anew by a hook at every call; "
            "torch.nn.utils.remove_weight_norm or remove_spectral_norm makes it plain"
        )
    return None
