"""ConvTranspose1d, 2d and 3d for inference: torch.nn's, computed by this library.

Same arguments, same initial weights from the same random numbers, same state_dict. A module of
torch.nn becomes one of these by a change of its class, which is what `phaseconv.convert` does.
"""

import torch

from .functional import conv_transpose1d, conv_transpose2d, conv_transpose3d


class _Forward:
    """The one method in which these modules differ from torch.nn's."""

    _function = None

    def forward(self, input, output_size=None):
        """input [n, ic, *i] or [ic, *i]; `output_size` picks one of the sizes that the stride makes
        ambiguous, as in torch.nn. Raises what torch.nn's module raises.
        """
        if self.padding_mode != "zeros":
            raise ValueError(f"padding_mode is {self.padding_mode!r}; it must be 'zeros'")
        output_padding = self.output_padding
        if output_size is not None:
            output_padding = self._output_padding(
                input,
                output_size,
                self.stride,
                self.padding,
                self.kernel_size,
                len(self.kernel_size),
                self.dilation,
            )
        return self._function(
            input,
            self.weight,
            self.bias,
            self.stride,
            self.padding,
            output_padding,
            self.groups,
            self.dilation,
        )


class ConvTranspose1d(_Forward, torch.nn.ConvTranspose1d):
    """torch.nn.ConvTranspose1d, for inference: input [n, ic, l] or [ic, l]."""

    _function = staticmethod(conv_transpose1d)


class ConvTranspose2d(_Forward, torch.nn.ConvTranspose2d):
    """torch.nn.ConvTranspose2d, for inference: input [n, ic, h, w] or [ic, h, w]."""

    _function = staticmethod(conv_transpose2d)


class ConvTranspose3d(_Forward, torch.nn.ConvTranspose3d):
    """torch.nn.ConvTranspose3d, for inference: input [n, ic, d, h, w] or [ic, d, h, w]."""

    _function = staticmethod(conv_transpose3d)
