"""Transposed convolution for inference in PyTorch, on CUDA GPUs and on CPUs.

    phaseconv.convert(model)                   swaps every transposed convolution of a model
    phaseconv.nn.ConvTranspose1d, 2d, 3d       in place of torch.nn's
    phaseconv.conv_transpose1d, 2d, 3d         in place of torch.nn.functional's

docs/pytorch.md says what is computed here and what is left to PyTorch.
"""

import torch as _torch

from . import nn
from .conversion import Report, convert
from .functional import conv_transpose1d, conv_transpose2d, conv_transpose3d

__version__: str = _torch.ops.phaseconv.version()

__all__ = [
    "Report",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "convert",
    "nn",
]
