"""The random-walk Laplacian of a directed graph."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from .._checks import check_same_kind, mistake
from .._typing import EdgeSignal, Signal
from ..graph import Graph, Systems, safe_reciprocal
from ..graph.graph import check_graph
from .base import LinearOperator, SelfAdjoint


@dataclass(frozen=True, eq=False)
class DirectedLaplacian(LinearOperator):
    r"""$L_r^d=I-D_{in}^{-1}W^d$: what a node is beyond the average of those it listens to.

    $$(L_r^dx)_i=\sum_{j\to i}\bar w_{ij}(x_i-x_j),\qquad
      \bar w_{ij}=\frac{w_{ij}}{\sum_{l\to i}w_{il}}$$

    The row of a source, a node at which no weight arrives, is zero, so $L_r^d\mathbf1=0$ in every
    row. The matrix is not symmetric; its Gram matrix is, and joins nodes two edges apart.

    Args:
        graph: weights on a directed topology, edge $j\to i$ from tail to head. Rows are normalised
            here: weights that are already divided by the degree give the same operator.

    Shapes:
        - **graph.weight:** `(*batch, edges)`
        - **input and output:** `(*batch, nodes, channels)`

    Raises:
        ValueError: an undirected topology.

    Source:
        Qi et al. 2025, the random-walk Laplacian of the temporal graph.

    Example:
        >>> import torch
        >>> from gsp_unroll import DirectedLaplacian, Graph, path_graph
        >>> path = path_graph(4, lags=2, directed=True)
        >>> L = DirectedLaplacian(Graph(path, torch.ones(path.num_edges)))
        >>> (L @ torch.tensor([[0.0], [2.0], [4.0], [6.0]])).flatten()
        tensor([0., 2., 3., 3.])
    """

    graph: Graph
    #: $\bar w$ as an edge signal.
    rows: EdgeSignal = field(init=False, repr=False)
    #: The diagonal: 1, and 0 at a source.
    listens: Signal = field(init=False, repr=False)

    def __post_init__(self) -> None:
        check_graph(self.graph)
        topology = self.graph.topology
        if not topology.directed:
            raise mistake(
                "a DirectedLaplacian of an undirected graph",
                "a directed topology, such as path_graph(..., directed=True)",
                "Use Laplacian(graph, 'rw'), or graph.both_directions() if each edge has two rows.",
            )
        degree = self.graph.degree.unsqueeze(-1)
        object.__setattr__(self, "num_inputs", topology.num_nodes)
        object.__setattr__(self, "num_outputs", topology.num_nodes)
        object.__setattr__(self, "rows", self.graph.normalized("row").weight.unsqueeze(-1))
        object.__setattr__(self, "listens", degree * safe_reciprocal(degree))

    @property
    def systems(self) -> Systems:
        return self.graph.topology.systems

    # in difference form, so that constants vanish exactly and not up to the rounding of a row sum
    def _apply(self, x: Signal) -> Signal:
        check_same_kind(x, self.rows, "a signal", "the edge weights")
        return self.graph.topology.head_sum(self.rows * self.graph.topology.gradient(x))

    def _apply_adjoint(self, y: Signal) -> Signal:
        check_same_kind(y, self.rows, "a signal", "the edge weights")
        _, y_head = self.graph.topology.lift(y)
        return self.graph.topology.divergence(self.rows * y_head)

    def diagonal(self) -> Tensor:
        return self.listens

    @property
    def gram(self) -> LinearOperator:
        return DirectedGram(self)


@dataclass(frozen=True, eq=False)
class DirectedGram(SelfAdjoint):
    r"""$\mathcal L_r^d=(L_r^d)^\top L_r^d$, the Gram matrix of a `DirectedLaplacian`.

    With $s$ the diagonal of $L_r^d$, ones and zeros, its own is
    $s_j+\sum_{j\to i}\bar w_{ij}^2$.

    Args:
        L: the Laplacian; `L.gram` makes this.

    Shapes:
        - **x, output:** `(*batch, nodes, channels)`

    Raises:
        ValueError: on call, a signal on other nodes, or of another dtype or device than the
            weights.

    Example:
        >>> import torch
        >>> from gsp_unroll import DirectedLaplacian, Graph, path_graph
        >>> path = path_graph(3, directed=True)
        >>> L = DirectedLaplacian(Graph(path, torch.ones(path.num_edges)))
        >>> L.gram.diagonal().flatten()
        tensor([1., 2., 1.])
    """

    L: DirectedLaplacian

    def __post_init__(self) -> None:
        object.__setattr__(self, "num_inputs", self.L.num_inputs)
        object.__setattr__(self, "num_outputs", self.L.num_inputs)

    @property
    def systems(self) -> Systems:
        return self.L.systems

    def _apply(self, x: Signal) -> Signal:
        return self.L._apply_adjoint(self.L._apply(x))

    def diagonal(self) -> Tensor:
        return self.L.listens + self.L.graph.topology.tail_sum(self.L.rows**2)

    def majorizer(self) -> Tensor:
        # A'A <= diag(|A|'|A| 1), and |A| 1 = 2 s: this is |A|' s, half of that bound
        return self.L.listens + self.L.graph.topology.tail_sum(self.L.rows)
