"""Features of the pixels of an image, most of them found at lower resolution."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from .._checks import check_positive_count
from .._typing import Signal
from ..graph import Topology
from ._heads import check_heads, split_heads
from ._layers import Activation, Padding, check_input
from .on_grid import as_image, as_signal, image_shape
from .reach import Reach

#: Rows (or columns) from the first to the last.
Span = tuple[int, int]


class GridUNet(nn.Module):
    r"""A convolutional network that looks far: three resolutions, one feature vector per pixel.

    With $\downarrow$ a 3x3 convolution at every second pixel and $\uparrow$ the repetition of
    every pixel to 2x2,

    $$a=\sigma(K_1*x),\quad b=\sigma(K_2*_{\downarrow}a),\quad c=\sigma(K_3*_{\downarrow}b),\quad
      d=\sigma(K_4*c+c),$$

    $$e=\sigma(K_5*[\uparrow d,\,b]),\qquad f=\sigma(K_6*[\uparrow e,\,a]) .$$

    All kernels are 3x3 with biases; $a$ and $e$ have `width` channels, $b$, $c$ and $d$ twice as
    many. Nine tenths of the parameters work at a half or a quarter of the resolution, so this
    network has more parameters than a `GridCNN` of the same run time, and sees up to 14 pixels far.

    Unless `padding="zeros"`, borders repeat the outermost pixel, so a constant image has constant
    features. An image of any size will do: an odd row or column is a pixel of its own at the lower
    resolution. For the activation at the end see `GridCNN`.

    Args:
        in_channels: channels of the image, at least 1.
        out_channels: features per pixel, all heads together; a multiple of `heads`.
        width: channels at full resolution, at least 1.
        heads: None, or the number of heads that the features are dealt out to.
        activation: a function or module applied to each entry.
        padding: what convolutions see beyond the border: the outermost pixel again, which keeps
            constants, or zeros, which take half the time on a CPU.

    Shapes:
        - **signal:** `(*batch, height * width, in_channels)`, rows after each other as
          `image.reshape(-1, channels)` orders them
        - **output:** `(*batch, height * width, out_channels)`, with heads
          `(*batch, heads, height * width, out_channels / heads)`

    Raises:
        ValueError: a count below 1, channels that the heads cannot share; on call: a
            topology that is no image, a signal on other nodes or with other channels or dtype.

    Source:
        Ronneberger et al. 2015, U-Net. Differs from it in: (1) one convolution per resolution and
        direction; (2) strides in place of pooling, repetition in place of transposed
        convolution; (3) borders are padded, so that the image keeps its size.

    Example:
        >>> import torch
        >>> from gsp_unroll import GridUNet, grid_graph
        >>> network = GridUNet(in_channels=3, out_channels=16, heads=4)
        >>> image = torch.rand(7, 9, 3)
        >>> network(image.reshape(-1, 3), grid_graph((7, 9))).shape
        torch.Size([4, 63, 4])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        width: int = 24,
        heads: int | None = None,
        activation: Activation = functional.leaky_relu,
        padding: Padding = "replicate",
    ) -> None:
        super().__init__()
        check_positive_count(in_channels, "in_channels")
        check_positive_count(width, "width")
        check_heads(out_channels, heads)
        self.in_channels = in_channels
        self.heads = heads
        self.activation = activation

        def conv(before: int, after: int, stride: int = 1) -> nn.Conv2d:
            return nn.Conv2d(before, after, 3, stride=stride, padding=1, padding_mode=padding)

        self.enter = conv(in_channels, width)
        self.to_half = conv(width, 2 * width, stride=2)
        self.to_quarter = conv(2 * width, 2 * width, stride=2)
        self.at_quarter = conv(2 * width, 2 * width)
        self.at_half = conv(4 * width, width)
        self.leave = conv(2 * width, out_channels)

    def forward(self, signal: Signal, topology: Topology) -> Tensor:
        check_input(signal, self.in_channels, topology.num_nodes, self)
        sigma = self.activation
        a = sigma(self.enter(as_image(signal, image_shape(topology))))
        b = sigma(self.to_half(a))
        c = sigma(self.to_quarter(b))
        d = sigma(self.at_quarter(c) + c)
        e = sigma(self.at_half(torch.cat([_enlarged(d, b), b], 1)))
        f = sigma(self.leave(torch.cat([_enlarged(e, a), a], 1)))
        return split_heads(as_signal(f, tuple(signal.shape[:-2])), self.heads, signal)

    @property
    def reach(self) -> Reach:
        """How far a feature looks: the farthest of the four rows that share one at a quarter."""
        spans = [(row, *_seen(row)) for row in range(4)]
        return Reach(max(max(row - first, last - row) for row, first, last in spans), stride=4)


def _seen(row: int) -> Span:
    """The rows of the image that one row of the features depends on: `forward` from its end."""
    a = _beside((row, row))
    b = _beside(_halved(a))
    c = _beside(_halved(b))
    b = _hull(b, _read(c))
    a = _hull(a, _read(b))
    return _beside(a)


def _beside(rows: Span) -> Span:
    """What a 3x3 convolution reads."""
    return rows[0] - 1, rows[1] + 1


def _read(rows: Span) -> Span:
    """What a 3x3 convolution at every second row reads."""
    return 2 * rows[0] - 1, 2 * rows[1] + 1


def _halved(rows: Span) -> Span:
    """The rows at half the resolution that are repeated here."""
    return rows[0] // 2, rows[1] // 2


def _hull(rows: Span, others: Span) -> Span:
    return min(rows[0], others[0]), max(rows[1], others[1])


def _enlarged(image: Tensor, like: Tensor) -> Tensor:
    """Pixel `(i // 2, j // 2)` at `(i, j)`; `like` may have an odd number of rows or columns."""
    return functional.interpolate(image, size=like.shape[-2:], mode="nearest")
