"""Transposed convolution for inference in PyTorch, on CUDA GPUs and on CPUs.

    phaseconv.convert(model)                   swaps every transposed convolution of a model
    phaseconv.nn.ConvTranspose1d, 2d, 3d       in place of torch.nn's
    phaseconv.conv_transpose1d, 2d, 3d         in place of torch.nn.functional's

docs/pytorch.md says what is computed here and what is left to PyTorch.
"""

from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as _version

from . import nn
from .conversion import Report, convert
from .functional import conv_transpose1d, conv_transpose2d, conv_transpose3d

try:
    __version__ = _version("phaseconv")
except PackageNotFoundError:  # used from a plain folder
    __version__ = "0+unknown"

__all__ = [
    "Report",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "convert",
    "nn",
]
