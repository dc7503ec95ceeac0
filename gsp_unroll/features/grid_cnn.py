"""Features of the pixels of an image."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from .._typing import Signal
from ..graph import Topology
from ._heads import check_heads, split_heads
from ._layers import Activation, Padding, check_input, layer_widths, residual_chain
from .on_grid import as_image, as_signal, image_shape
from .reach import Reach


class GridCNN(nn.Module):
    r"""A shallow convolutional network, one feature vector per pixel.

    $$h_1=\sigma(K_1*x),\qquad h_l=\sigma(K_l*h_{l-1}+h_{l-1}),\qquad f=h_{\texttt{num\_layers}}$$

    with 3x3 kernels and biases, at full resolution. The skip is left out where the number of
    channels changes. Unless `padding="zeros"`, borders repeat the outermost pixel, so a constant
    image has constant features.
    Each layer looks one pixel further: with 4 layers a feature sees a 9x9 window.

    The activation $\sigma$ also ends the network: a bias behind it would move all features alike,
    which a distance between features does not see. For the same reason the last bias acts through
    the bend of $\sigma$ alone. A leaky ReLU bends at 0, so it acts while its channel takes both
    signs; `functional.gelu` bends nearly everywhere. ReLU lets some channels die early.

    Args:
        in_channels: channels of the image, at least 1.
        out_channels: features per pixel, all heads together; a multiple of `heads`.
        num_layers: convolutions, at least 1.
        width: channels between layers, at least 1.
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
        Do et al. 2024, appendix A.8: 4 layers, 48 maps, 4 heads of 12 features. Differs from it
        in: (1) a leaky ReLU by default, for theirs give `activation=torch.nn.functional.relu`;
        (2) the padding, on which the paper is silent.

    Example:
        >>> import torch
        >>> from gsp_unroll import GridCNN, grid_graph
        >>> cnn = GridCNN(in_channels=3, out_channels=48, heads=4)
        >>> image = torch.rand(6, 8, 3)
        >>> cnn(image.reshape(-1, 3), grid_graph((6, 8))).shape
        torch.Size([4, 48, 12])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        num_layers: int = 4,
        width: int = 48,
        heads: int | None = None,
        activation: Activation = functional.leaky_relu,
        padding: Padding = "replicate",
    ) -> None:
        super().__init__()
        check_heads(out_channels, heads)
        self.in_channels = in_channels
        self.heads = heads
        self.activation = activation
        self.layers = nn.ModuleList(
            nn.Conv2d(before, after, kernel_size=3, padding=1, padding_mode=padding)
            for before, after in layer_widths(in_channels, out_channels, width, num_layers)
        )

    def forward(self, signal: Signal, topology: Topology) -> Tensor:
        check_input(signal, self.in_channels, topology.num_nodes, self)
        image = as_image(signal, image_shape(topology))
        maps = residual_chain(self.layers, self.activation, image)
        return split_heads(as_signal(maps, tuple(signal.shape[:-2])), self.heads, signal)

    @property
    def reach(self) -> Reach:
        """How far a feature looks: one pixel per layer."""
        return Reach(len(self.layers))
