"""Problem 73 as its text means it: with four groups."""

import torch
from torch import nn


class Model(nn.Module):
    """A transposed convolution of volumes."""

    def __init__(
        self,
        in_channels,
        out_channels,
        kernel_size,
        stride=1,
        padding=0,
        output_padding=0,  # not used, as in the original
        groups=1,
        bias=False,
    ):
        super().__init__()
        self.conv_transpose3d = nn.ConvTranspose3d(
            in_channels,
            out_channels,
            (kernel_size,) * 3,
            stride=stride,
            padding=padding,
            groups=groups,
            bias=bias,
        )

    def forward(self, x):
        return self.conv_transpose3d(x)


def get_inputs():
    return [torch.rand(4, 32, 32, 64, 128)]


def get_init_inputs():
    return [32, 32, 3, 2, 1, 0, 4]
