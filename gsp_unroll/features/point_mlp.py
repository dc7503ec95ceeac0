"""Features of points: from each node alone, or from its neighbourhood."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch_geometric.nn import EdgeConv

from .._checks import check_positive_count
from .._typing import Signal
from ..graph import Topology
from ._heads import check_heads, split_heads
from ._layers import Activation, check_input, layer_widths
from .reach import Reach


class PointMLP(nn.Module):
    r"""The same multi-layer perceptron at every node.

    $$f_i=A_L\,\sigma(A_{L-1}\cdots\sigma(A_1 x_i+b_1)\cdots+b_{L-1})$$

    The last layer has no bias: it would move all features alike, which a distance between features
    does not see. For the same reason a bias inside acts through the bend of $\sigma$ alone. GELU
    bends nearly everywhere; a leaky ReLU bends at 0, and on positions in a unit cube half of the
    untrained channels stay on one side of it.

    Args:
        in_channels: length of a node's attributes (positions, values, normals), at least 1.
        out_channels: features per node, all heads together; a multiple of `heads`.
        num_layers: affine maps, at least 1.
        width: channels between layers, at least 1.
        heads: None, or the number of heads that the features are dealt out to.
        activation: a function or module applied to each entry.

    Shapes:
        - **signal:** `(*batch, nodes, in_channels)`
        - **output:** `(*batch, nodes, out_channels)`, with heads
          `(*batch, heads, nodes, out_channels / heads)`

    Raises:
        ValueError: a count below 1, channels that the heads cannot share; on call: a signal with
            other channels or dtype.

    Example:
        >>> import torch
        >>> from gsp_unroll import PointMLP
        >>> PointMLP(in_channels=3, out_channels=8, heads=2)(torch.rand(100, 3)).shape
        torch.Size([2, 100, 4])
    """

    reach = Reach(0)

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        num_layers: int = 3,
        width: int = 48,
        heads: int | None = None,
        activation: Activation = functional.gelu,
    ) -> None:
        super().__init__()
        check_heads(out_channels, heads)
        self.in_channels = in_channels
        self.heads = heads
        self.activation = activation
        *inner, last = layer_widths(in_channels, out_channels, width, num_layers)
        self.hidden = nn.ModuleList(nn.Linear(before, after) for before, after in inner)
        self.last = nn.Linear(*last, bias=False)

    def forward(self, signal: Signal, topology: Topology | None = None) -> Tensor:
        """Features of each node; the topology, which other networks need, is not read."""
        check_input(signal, self.in_channels, None, self)
        return split_heads(self._features(signal), self.heads, signal)

    def _features(self, x: Tensor) -> Tensor:
        for layer in self.hidden:
            x = self.activation(layer(x))
        features: Tensor = self.last(x)
        return features


class EdgeConvFeatures(nn.Module):
    r"""The strongest answer among a node's neighbours, and its own.

    $$f_i=\max_{j\in\mathcal N(i)\cup\{i\}}\mathrm{mlp}\big([x_i,\;x_j-x_i]\big)$$

    entry by entry, with PyG's `EdgeConv`. On a directed topology node $i$ listens to the tails of
    the edges that arrive at it.

    Every node also listens to itself, so one without neighbours has features too, and a padded
    slot of a grid, which is listed as a self-loop, repeats a message that is there anyway: a
    maximum does not see the repetition. The last layer of the MLP has no bias, as in `PointMLP`.

    Args:
        in_channels: length of a node's attributes, at least 1.
        out_channels: features per node, all heads together; a multiple of `heads`.
        num_layers: affine maps of the MLP, at least 1.
        width: channels between its layers, at least 1.
        heads: None, or the number of heads that the features are dealt out to.
        activation: a function or module applied to each entry.

    Shapes:
        - **signal:** `(*batch, nodes, in_channels)`
        - **output:** `(*batch, nodes, out_channels)`, with heads
          `(*batch, heads, nodes, out_channels / heads)`

    Raises:
        ValueError: a count below 1, channels that the heads cannot share; on call: a signal on
            other nodes or with other channels or dtype.

    Source:
        Wang et al. 2019, Dynamic Graph CNN for Learning on Point Clouds. Differs from it in:
        (1) the graph is the given one; (2) a node is its own neighbour; (3) no last bias.

    Example:
        >>> import torch
        >>> from gsp_unroll import EdgeConvFeatures, path_graph
        >>> EdgeConvFeatures(in_channels=3, out_channels=8)(torch.rand(5, 3), path_graph(5)).shape
        torch.Size([5, 8])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        num_layers: int = 2,
        width: int = 48,
        heads: int | None = None,
        activation: Activation = functional.gelu,
    ) -> None:
        super().__init__()
        check_positive_count(in_channels, "in_channels")
        check_heads(out_channels, heads)
        self.in_channels = in_channels
        self.heads = heads
        mlp = PointMLP(
            2 * in_channels,
            out_channels,
            num_layers=num_layers,
            width=width,
            activation=activation,
        )
        self.conv = EdgeConv(mlp, aggr="max")

    def forward(self, signal: Signal, topology: Topology) -> Tensor:
        check_input(signal, self.in_channels, topology.num_nodes, self)
        directed = topology if topology.directed else topology.both_directions()
        itself = torch.arange(topology.num_nodes, device=signal.device).expand(2, -1)
        edge_index = torch.cat([directed.edge_index.to(signal.device), itself], 1)
        return split_heads(self.conv(signal, edge_index), self.heads, signal)
