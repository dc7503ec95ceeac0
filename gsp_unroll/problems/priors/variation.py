"""Graph total variation, of each channel and of all together."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..._typing import EdgeSignal
from ...graph import Systems
from ...graph.graph import check_graph
from .base import GraphPrior, check_weight_of_prior
from .thresholds import group_soft_threshold, soft_threshold


@dataclass(frozen=True, eq=False)
class GTV(GraphPrior):
    r"""Graph total variation, $\lambda\sum_{(i,j)}w_{ij}|x_i-x_j|=\lambda\|Cx\|_1$.

    Each undirected edge counts once. Channels are independent.

    Args:
        graph: the weighted graph.
        lam: weight of the prior, at least 0; a tensor must broadcast against signals.

    Shapes:
        - **graph.weight:** `(*batch, edges)`
        - **x:** `(*batch, nodes, channels)`
        - **output:** `(*batch, graphs, channels)`

    Raises:
        ValueError: a `lam` below 0 or not finite; on call a signal of another dtype or device than
            the weights, or on other nodes.

    Source:
        Do et al. 2024, section 3.2.

    Example:
        >>> import torch
        >>> from gsp_unroll import GTV, Graph, path_graph
        >>> prior = GTV(Graph(path_graph(3), torch.tensor([1.0, 2.0, 0.0])), lam=0.5)
        >>> prior(torch.tensor([[0.0], [1.0], [4.0]])).item()
        3.5
    """

    lam: float | Tensor = 1.0
    has_dual_bound = True
    is_norm = True
    keeps_range = True

    def __post_init__(self) -> None:
        check_graph(self.graph)
        check_weight_of_prior(self.lam, "lam")

    @property
    def strength(self) -> float | Tensor:
        return self.lam

    def penalty(self, z: EdgeSignal) -> EdgeSignal:
        return self.lam * self.w * z.abs()

    def prox(self, z: EdgeSignal, step: float | Tensor) -> EdgeSignal:
        return soft_threshold(z, self.lam * step)


@dataclass(frozen=True, eq=False)
class VectorGTV(GTV):
    r"""Vector total variation, $\lambda\sum_{(i,j)}w_{ij}\|x_i-x_j\|_2$: one norm across channels.

    Channels jump together: colours at an edge of the image, coordinates at a crease.
    Otherwise as `GTV`.

    Args:
        graph: the weighted graph.
        lam: weight of the prior, at least 0; a tensor must broadcast against signals.

    Shapes:
        - **x:** `(*batch, nodes, channels)`
        - **output:** `(*batch, graphs, 1)`

    Raises:
        ValueError: as `GTV`.

    Example:
        >>> import torch
        >>> from gsp_unroll import Graph, VectorGTV, path_graph
        >>> prior = VectorGTV(Graph(path_graph(2), torch.tensor([1.0, 0.0])))
        >>> prior(torch.tensor([[0.0, 0.0], [3.0, 4.0]])).item()
        5.0
    """

    @property
    def systems(self) -> Systems:
        return super().systems.coupled()

    def penalty(self, z: EdgeSignal) -> EdgeSignal:
        # vector_norm has the derivative 0 at 0, where the root of a sum of squares has NaN
        norm: Tensor = torch.linalg.vector_norm(z, dim=-1, keepdim=True)
        return self.lam * self.w * norm

    def prox(self, z: EdgeSignal, step: float | Tensor) -> EdgeSignal:
        return group_soft_threshold(z, self.lam * step)
