"""Features of nodes in space and time that look back, never ahead."""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn import functional

from .._checks import check_positive_count, mistake
from .._typing import Signal
from ..graph import Topology
from ._heads import check_heads, split_heads
from ._layers import Activation, check_input, layer_widths, residual_chain


class CausalTemporalConv(nn.Module):
    r"""Dilated causal convolutions along time, the same at every place.

    $$h_l(t)=\sigma\Big(b_l+\sum_{k=0}^{K-1}A_{l,k}\,h_{l-1}(t-k\,2^{l-1})+h_{l-1}(t)\Big),
      \qquad h_0=x$$

    The feature at time $t$ depends on the present and the past alone. The last summand, the skip,
    is left out in the first layer and where the number of channels changes. Before the first step
    the signal is taken as what it was then, so a constant signal has constant features. The
    activation ends the network, for the reason given in `GridCNN`.

    Nodes are ordered by time first: node $t\cdot S+s$ is place $s$ of $S$ at step $t$, the order of
    `product_graph(time, space)`.

    Args:
        in_channels: channels of the signal, at least 1.
        out_channels: features per node, all heads together; a multiple of `heads`.
        num_layers: convolutions, at least 1; the dilation doubles from each to the next.
        width: channels between layers, at least 1.
        kernel_size: times $K$ that one convolution looks at, at least 1.
        places: nodes at each step, at least 1; 1 for a single sequence.
        heads: None, or the number of heads that the features are dealt out to.
        activation: a function or module applied to each entry.

    Shapes:
        - **signal:** `(*batch, steps * places, in_channels)`
        - **output:** `(*batch, steps * places, out_channels)`, with heads
          `(*batch, heads, steps * places, out_channels / heads)`

    Raises:
        ValueError: a count below 1, channels that the heads cannot share; on call: nodes that do
            not divide into `places`, a signal with other channels or dtype.

    Example:
        >>> import torch
        >>> from gsp_unroll import CausalTemporalConv
        >>> network = CausalTemporalConv(in_channels=1, out_channels=6, places=5)
        >>> network(torch.rand(12 * 5, 1)).shape
        torch.Size([60, 6])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        num_layers: int = 3,
        width: int = 32,
        kernel_size: int = 2,
        places: int = 1,
        heads: int | None = None,
        activation: Activation = functional.gelu,
    ) -> None:
        super().__init__()
        check_positive_count(places, "places")
        self.places = places
        check_heads(out_channels, heads)
        check_positive_count(kernel_size, "kernel_size")
        self.in_channels = in_channels
        self.heads = heads
        self.activation = activation
        widths = layer_widths(in_channels, out_channels, width, num_layers)
        self.layers = nn.ModuleList(
            _CausalConv(before, after, kernel_size, dilation=2**index)
            for index, (before, after) in enumerate(widths)
        )

    def forward(self, signal: Signal, topology: Topology | None = None) -> Tensor:
        """Features of each node; the topology, which other networks need, is not read."""
        check_input(signal, self.in_channels, None, self)
        batch, num_nodes, places = signal.shape[:-2], signal.shape[-2], self.places
        if num_nodes % places:
            raise mistake(
                f"a signal on {num_nodes} nodes for places={places}",
                f"a multiple of {places} nodes, the same places at every step",
                "Order nodes by time first: node t * places + s is place s at step t.",
            )
        steps = num_nodes // places
        series = signal.unflatten(-2, (steps, places)).movedim(-3, -1)  # (*batch, places, C, t)
        series = series.reshape(math.prod(batch) * places, self.in_channels, steps)
        series = residual_chain(self.layers, self.activation, series)
        features = series.reshape(*batch, places, series.shape[-2], steps).movedim(-1, -3)
        return split_heads(features.flatten(-3, -2), self.heads, signal)


class _CausalConv(nn.Module):
    """A convolution whose kernel ends at the present."""

    def __init__(self, before: int, after: int, kernel_size: int, dilation: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(before, after, kernel_size, dilation=dilation)
        self.reach = (kernel_size - 1) * dilation

    def forward(self, series: Tensor) -> Tensor:
        past = functional.pad(series, (self.reach, 0), mode="replicate")
        convolved: Tensor = self.conv(past)
        return convolved
