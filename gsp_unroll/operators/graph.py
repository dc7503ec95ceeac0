"""Gradient, incidence, Laplacian and adjacency of a graph."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from .._checks import check_same_kind, mistake
from .._typing import EdgeSignal, Signal
from ..graph import Graph, Systems, Topology, safe_reciprocal, safe_reciprocal_root
from ..graph.graph import check_graph
from .base import LinearOperator, Split


@dataclass(frozen=True, eq=False)
class Gradient(LinearOperator):
    r"""$\mathrm{grad}$: `x[head] - x[tail]`, from nodes to edges; its adjoint is the divergence.

    Args:
        topology: the edges.

    Shapes:
        - **x:** `(*batch, nodes, channels)`
        - **output:** `(*batch, edges, channels)`

    Raises:
        ValueError: on call, a signal on other nodes.

    Example:
        >>> import torch
        >>> from gsp_unroll import Gradient, path_graph
        >>> (Gradient(path_graph(3)) @ torch.tensor([[0.0], [1.0], [4.0]])).flatten()
        tensor([1., 3., 0.])
    """

    topology: Topology

    def __post_init__(self) -> None:
        object.__setattr__(self, "num_inputs", self.topology.num_nodes)
        object.__setattr__(self, "num_outputs", self.topology.num_edges)

    @property
    def systems(self) -> Systems:
        return self.topology.systems

    def _apply(self, x: Signal) -> EdgeSignal:
        return self.topology.gradient(x)

    def _apply_adjoint(self, y: EdgeSignal) -> Signal:
        return self.topology.divergence(y)


@dataclass(frozen=True, eq=False)
class Incidence(LinearOperator):
    r"""$C=\mathrm{diag}(w)\,\mathrm{grad}$, so that $\|Cx\|_1=\sum_{(i,j)}w_{ij}|x_i-x_j|$.

    The weight is not square-rooted: $C^\top C$ is the Laplacian with weights $w_{ij}^2$, not
    $w_{ij}$ (some libraries use the square root; then the sum above changes).

    Args:
        graph: the weighted graph. An undirected edge gives one row, counted once.

    Shapes:
        - **graph.weight:** `(*batch, edges)`
        - **x:** `(*batch, nodes, channels)`
        - **output:** `(*batch, edges, channels)`

    Raises:
        ValueError: on call, a signal of another dtype or device than the weights, or on other
            nodes.

    Source:
        Do et al. 2024, section 3.2.

    Example:
        >>> import torch
        >>> from gsp_unroll import Graph, Incidence, path_graph
        >>> C = Incidence(Graph(path_graph(3), torch.tensor([1.0, 2.0, 0.0])))
        >>> (C @ torch.tensor([[0.0], [1.0], [4.0]])).abs().sum()
        tensor(7.)
    """

    graph: Graph

    def __post_init__(self) -> None:
        check_graph(self.graph)
        object.__setattr__(self, "num_inputs", self.graph.topology.num_nodes)
        object.__setattr__(self, "num_outputs", self.graph.topology.num_edges)

    @property
    def systems(self) -> Systems:
        return self.graph.topology.systems

    def _apply(self, x: Signal) -> EdgeSignal:
        check_same_kind(x, self.graph.weight, "a signal", "the edge weights")
        return self.graph.weight.unsqueeze(-1) * self.graph.topology.gradient(x)

    def _apply_adjoint(self, y: EdgeSignal) -> Signal:
        check_same_kind(y, self.graph.weight, "an edge signal", "the edge weights")
        return self.graph.topology.divergence(self.graph.weight.unsqueeze(-1) * y)

    @property
    def gram(self) -> LinearOperator:
        return Laplacian(Graph.unchecked(self.graph.topology, self.graph.weight**2))


@dataclass(frozen=True, eq=False)
class Laplacian(LinearOperator):
    r"""The graph Laplacian, in one of three forms.

    - `"none"`: combinatorial, $L=\mathrm{div}\,\mathrm{diag}(w)\,\mathrm{grad}=D-W$; $L\mathbf1=0$
    - `"sym"`: $L_n=D^{-1/2}LD^{-1/2}$; does **not** keep constants, its null vector is
      $D^{1/2}\mathbf 1$
    - `"rw"`: $L_{rw}=D^{-1}L$; keeps constants, not symmetric

    A node of degree 0 has a zero row in every form. On a directed topology the combinatorial form
    counts both directions of an edge, $w_{ij}+w_{ji}$, and is symmetric; the other two are
    refused there.

    Args:
        graph: the weighted graph.
        normalization: which form.

    Shapes:
        - **graph.weight:** `(*batch, edges)`
        - **x, L @ x:** `(*batch, nodes, channels)`

    Raises:
        ValueError: `"sym"` or `"rw"` on a directed graph, or an unknown name; on call, a signal on
            other nodes, or of another dtype or device than the weights.

    Example:
        >>> import torch
        >>> from gsp_unroll import Graph, Laplacian, path_graph
        >>> L = Laplacian(Graph(path_graph(3), torch.tensor([1.0, 2.0, 0.0])))
        >>> (L @ torch.tensor([[0.0], [1.0], [4.0]])).flatten()
        tensor([-1., -5.,  6.])
    """

    graph: Graph
    normalization: Literal["none", "sym", "rw"] = "none"
    #: $D^{-1/2}$ for `"sym"`, $D^{-1}$ for `"rw"`, as a node signal; 0 where $d_i=0$.
    scale: Signal = field(init=False, repr=False)

    def __post_init__(self) -> None:
        check_graph(self.graph)
        if self.normalization not in ("none", "sym", "rw"):
            raise mistake(
                f"normalization={self.normalization!r}",
                "'none', 'sym' or 'rw'",
                "Row-normalised *weights* are made by graph.normalized('row').",
            )
        if self.normalization != "none" and self.graph.topology.directed:
            raise mistake(
                f"normalization={self.normalization!r} on a directed graph",
                "an undirected graph",
                "Use graph.merged(), or the combinatorial form.",
            )
        object.__setattr__(self, "num_inputs", self.graph.topology.num_nodes)
        object.__setattr__(self, "num_outputs", self.graph.topology.num_nodes)
        if self.normalization != "none":
            object.__setattr__(self, "scale", self._inverse_degree())

    @property
    def systems(self) -> Systems:
        return self.graph.topology.systems

    def _apply(self, x: Signal) -> Signal:
        if self.normalization == "sym":
            check_same_kind(x, self.scale, "a signal", "the edge weights")
            return self.scale * self._combinatorial(self.scale * x)
        y = self._combinatorial(x)
        return self.scale * y if self.normalization == "rw" else y

    def _apply_adjoint(self, y: Signal) -> Signal:
        if self.normalization == "rw":
            check_same_kind(y, self.scale, "a signal", "the edge weights")
            return self._combinatorial(self.scale * y)
        return self._apply(y)

    def _combinatorial(self, x: Signal) -> Signal:
        return self.graph.topology.laplacian(self.graph.weight, x)

    def _inverse_degree(self) -> Signal:
        """What `scale` holds, found once per operator and not once per product."""
        d = self.graph.degree.unsqueeze(-1)
        return safe_reciprocal_root(d) if self.normalization == "sym" else safe_reciprocal(d)

    def diagonal(self) -> Tensor:
        w = self.graph.weight.unsqueeze(-1)
        d = self.graph.topology.incident_sum(w)
        return d if self.normalization == "none" else d * safe_reciprocal(d)

    def split(self) -> Split | None:
        return Split(0.0, 1.0, self.graph) if self.normalization == "none" else None

    def majorizer(self) -> Tensor | None:
        # Gershgorin: the row sums of |L| are 2 d. For L_rw, not symmetric, there is no such order.
        return None if self.normalization == "rw" else self.diagonal()

    @property
    def T(self) -> LinearOperator:
        return super().T if self.normalization == "rw" else self


@dataclass(frozen=True, eq=False)
class Adjacency(LinearOperator):
    r"""$(Wx)_i=\sum_j w_{ij}x_j$: over neighbours, or over the tails of arriving edges.

    Args:
        graph: the weighted graph; on a directed one, row $i$ holds the edges $j\to i$.

    Shapes:
        - **graph.weight:** `(*batch, edges)`
        - **x, W @ x:** `(*batch, nodes, channels)`

    Raises:
        ValueError: on call, a signal on other nodes, or of another dtype or device than the
            weights.

    Example:
        >>> import torch
        >>> from gsp_unroll import Adjacency, Graph, path_graph
        >>> W = Adjacency(Graph(path_graph(3), torch.tensor([1.0, 2.0, 0.0])))
        >>> (W @ torch.tensor([[0.0], [1.0], [4.0]])).flatten()
        tensor([1., 8., 2.])
    """

    graph: Graph

    def __post_init__(self) -> None:
        check_graph(self.graph)
        object.__setattr__(self, "num_inputs", self.graph.topology.num_nodes)
        object.__setattr__(self, "num_outputs", self.graph.topology.num_nodes)

    @property
    def systems(self) -> Systems:
        return self.graph.topology.systems

    def _apply(self, x: Signal) -> Signal:
        return self._neighbours(x, transposed=False)

    def _apply_adjoint(self, y: Signal) -> Signal:
        return self._neighbours(y, transposed=True)

    def _neighbours(self, x: Signal, transposed: bool) -> Signal:
        topology, w = self.graph.topology, self.graph.weight.unsqueeze(-1)
        check_same_kind(x, w, "a signal", "the edge weights")
        x_tail, x_head = topology.lift(x)
        if not topology.directed:
            return topology.tail_sum(w * x_head) + topology.head_sum(w * x_tail)
        return topology.tail_sum(w * x_head) if transposed else topology.head_sum(w * x_tail)
