"""Powers of a Laplacian: differences of higher order on a graph."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from .._checks import check_positive_count, check_same_kind
from .._typing import Signal
from ..graph import Graph, Systems
from ..graph.graph import check_graph
from .base import SelfAdjoint


@dataclass(frozen=True, eq=False)
class LaplacianPower(SelfAdjoint):
    r"""$L^m$, the combinatorial Laplacian applied $m$ times.

    By Gershgorin no eigenvalue is above the largest row sum of $|L^m|$, and
    $|L^m|\mathbf1\le(D+W)^m\mathbf1$. Half of that is the majorizer; for $m=1$ it is the degree.
    The diagonal is not known for $m>1$, so conjugate gradients go without a preconditioner there.

    Args:
        graph: the weighted graph.
        power: $m$, at least 1.

    Shapes:
        - **graph.weight:** `(*batch, edges)`
        - **x, A @ x:** `(*batch, nodes, channels)`

    Raises:
        ValueError: a power below 1; on call, a signal on other nodes, or of another dtype or device
            than the weights.

    Example:
        >>> import torch
        >>> from gsp_unroll import Graph, LaplacianPower, path_graph
        >>> L2 = LaplacianPower(Graph(path_graph(5), torch.ones(5)), 2)
        >>> (L2 @ torch.arange(5.0).square().unsqueeze(-1)).flatten()
        tensor([ 1., -1.,  0., -9.,  9.])
    """

    graph: Graph
    power: int = 1

    def __post_init__(self) -> None:
        check_graph(self.graph)
        check_positive_count(self.power, "power")
        object.__setattr__(self, "num_inputs", self.graph.topology.num_nodes)
        object.__setattr__(self, "num_outputs", self.graph.topology.num_nodes)

    @property
    def systems(self) -> Systems:
        return self.graph.topology.systems

    def _apply(self, x: Signal) -> Signal:
        check_same_kind(x, self.graph.weight, "a signal", "the edge weights")
        for _ in range(self.power):
            x = self.graph.topology.laplacian(self.graph.weight, x)
        return x

    def diagonal(self) -> Tensor | None:
        w = self.graph.weight.unsqueeze(-1)
        return self.graph.topology.incident_sum(w) if self.power == 1 else None

    def majorizer(self) -> Tensor:
        topology, w = self.graph.topology, self.graph.weight.unsqueeze(-1)
        row_sum = 2 * topology.incident_sum(w)  # (D + W) 1
        for _ in range(self.power - 1):
            row_sum = topology.incident_sum(w * topology.ends_sum(row_sum))
        return 0.5 * row_sum
