"""The precision contract (docs/precision.md), for results of PyTorch calls."""

import torch
import torch.nn.functional as F

FUNCTIONS = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
TYPES = (torch.float32, torch.float16, torch.bfloat16)


def round_to_tf32(x: torch.Tensor) -> torch.Tensor:
    """float32 to 10 explicit mantissa bits, to nearest, ties away from zero."""
    bits = x.float().view(torch.int32)
    return ((bits + (1 << 12)) & ~((1 << 13) - 1)).view(torch.float32)


def half_ulp(magnitude: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """The most that rounding a value up to `magnitude` can change it."""
    info = torch.finfo(dtype)
    exponent = torch.frexp(magnitude.clamp(min=info.smallest_normal)).exponent - 1
    return torch.ldexp(torch.full_like(magnitude, info.eps / 2), exponent)


def check(
    output,
    input,
    weight,
    bias=None,
    stride=1,
    padding=0,
    output_padding=0,
    groups=1,
    dilation=1,
    *,
    tf32=None,
):
    """Asserts that every element of `output` is within the bound of its type.

    `tf32`: whether the operands are rounded; None: where PyTorch's switch says so.
    """
    rank = weight.dim() - 2
    arguments = stride, padding, output_padding, groups, dilation
    dtype = output.dtype
    if tf32 is None:
        switched_on = torch.backends.cudnn.conv.fp32_precision == "tf32"
        tf32 = output.is_cuda and dtype is torch.float32 and groups == 1 and switched_on

    def exact(x, w, b):
        return FUNCTIONS[rank](x, w, b, *arguments)

    def wide(t):
        return None if t is None else t.detach().cpu().double()

    x, w, b = wide(input), wide(weight), wide(bias)
    if tf32:
        x, w = round_to_tf32(x).double(), round_to_tf32(w).double()
    reference = exact(x, w, b)
    magnitude = exact(x.abs(), w.abs(), None if b is None else b.abs())
    terms = exact(torch.ones_like(x), torch.ones_like(w), None if b is None else torch.ones_like(b))
    unit = 2.0**-24 if dtype is torch.float32 and not tf32 else 2.0**-22
    bound = (terms + 16) * unit * magnitude
    if dtype is not torch.float32:
        bound = bound + half_ulp(reference.abs() + bound, dtype)
    assert output.shape == reference.shape
    error = (wide(output) - reference).abs()
    wrong = ~(error <= bound)
    assert not wrong.any(), (
        f"{int(wrong.sum())} of {wrong.numel()} outside the bound; largest error over bound "
        f"{(error / bound).max():.3g}; input {tuple(input.shape)} {input.dtype} "
        f"{input.stride()}, weight {tuple(weight.shape)}, stride, padding, output_padding, groups, "
        f"dilation {arguments}, seed {torch.initial_seed()}"
    )
