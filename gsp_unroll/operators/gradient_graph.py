"""A graph on slopes: it says which nodes should have the same slope."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .._checks import check_same_kind, mistake
from .._typing import EdgeSignal, Signal, Weight
from ..graph import Graph, Systems
from .base import LinearOperator, SelfAdjoint
from .node_gradient import AxisGradient, NodeGradient


@dataclass(frozen=True, eq=False)
class GradientGraph(Graph):
    r"""A weighted graph whose edges compare the slopes $\alpha=Fx$ of two nodes, not their values.

    The slope along each coordinate is a signal on the nodes of the graph, and an edge compares
    those of its two ends, where both exist. So a layer is called with it as with any other graph.
    What makes a new graph, such as `normalized`, makes a plain one: give it slopes by `of`.

    Args:
        topology: the edges.
        weight: one non-negative weight per edge, `(*batch, edges)`.
        F: the slope at each node.

    Shapes:
        - **weight:** `(*batch, edges)`

    Raises:
        ValueError: a slope on other nodes than those of the topology, and what `Graph` refuses.

    Example:
        >>> import torch
        >>> from gsp_unroll import GGTV, GradientGraph, PlaneFit, knn_graph
        >>> points = torch.rand(20, 2).double()
        >>> topology = knn_graph(points, 5)
        >>> weight = torch.ones(topology.num_edges).double()
        >>> prior = GGTV(GradientGraph(topology, weight, PlaneFit(topology, points)))
        >>> prior(points.sum(-1, keepdim=True)).item() < 1e-10  # a plane
        True
    """

    F: NodeGradient

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_nodes()

    def _check_nodes(self) -> None:
        if self.F.num_inputs != self.topology.num_nodes:
            raise mistake(
                f"slopes on {self.F.num_inputs} nodes for a graph of {self.topology.num_nodes}",
                "the same nodes",
                "Build F for the nodes of the graph.",
            )

    @classmethod
    def of(cls, graph: Graph, F: NodeGradient | None = None) -> GradientGraph:
        """The gradient graph with the edges and weights of `graph`, whose values are not looked at:
        for the graphs that a learner returns.

        Args:
            graph: who is compared with whom. A `GradientGraph` keeps its own slopes.
            F: the slope at each node; on a lattice `AxisGradient` by default. Under `torch.compile`
                make it beforehand.

        Raises:
            ValueError: no slopes for a graph that is no lattice.
        """
        if F is None and isinstance(graph, GradientGraph):
            return graph
        lattice = graph.topology.lattice
        if F is None and lattice is None:
            raise mistake(
                f"a graph on {type(graph.topology).__name__} for a prior on slopes",
                "a lattice, or slopes beside the graph",
                "Use GradientGraph.of(graph, PlaneFit(graph.topology, points)).",
            )
        made = object.__new__(cls)
        for name, value in {
            "topology": graph.topology,
            "weight": graph.weight,
            "F": AxisGradient(lattice) if F is None else F,  # type: ignore[arg-type]
        }.items():
            object.__setattr__(made, name, value)
        made._check_nodes()
        return made

    def to(self, target: torch.device | torch.dtype | str) -> GradientGraph:
        """The same graph and slopes on another device, or of another dtype."""
        return GradientGraph.of(super().to(target), self.F.to(target))

    def detach(self) -> GradientGraph:
        """The same graph with weights that no gradient flows through."""
        return GradientGraph.of(super().detach(), self.F)

    @property
    def pairs(self) -> Tensor:
        """`(dimensions, edges)`: 1 where the slopes at both ends exist, else 0."""
        w = self.weight
        exists = self.F.exists.to(w.device, w.dtype).reshape(self.F.dimensions, -1, 1)
        at_tail, at_head = self.topology.lift(exists)
        return (at_tail * at_head).squeeze(-1)

    @property
    def pair_weight(self) -> Weight:
        """The weight of each comparison, `(*batch, dimensions, edges)`."""
        return self.weight.unsqueeze(-2) * self.pairs


@dataclass(frozen=True, eq=False)
class GradientDifferences(LinearOperator):
    r"""$\mathrm{grad}\,F$: the difference of slopes along every edge, those of one coordinate after
    those of another; 0 where one of the two does not exist.

    Args:
        graph: the gradient graph.

    Shapes:
        - **K @ x:** `(*batch, nodes, channels)` to `(*batch, dimensions * edges, channels)`

    Raises:
        ValueError: on call, a signal on other nodes or not of floating-point numbers.

    Example:
        >>> import torch
        >>> from gsp_unroll import GradientGraph, Graph, path_graph
        >>> from gsp_unroll.operators import GradientDifferences
        >>> K = GradientDifferences(GradientGraph.of(Graph(path_graph(5), torch.ones(5))))
        >>> (K @ torch.tensor([[0.0], [1.0], [2.0], [3.0], [3.0]])).flatten()
        tensor([ 0.,  0., -1.,  0.,  0.])
    """

    graph: GradientGraph

    def __post_init__(self) -> None:
        topology = self.graph.topology
        object.__setattr__(self, "num_inputs", topology.num_nodes)
        object.__setattr__(self, "num_outputs", self.graph.F.dimensions * topology.num_edges)

    @property
    def systems(self) -> Systems:
        return self.graph.topology.systems

    def _apply(self, x: Signal) -> EdgeSignal:
        F, topology = self.graph.F, self.graph.topology
        slopes = F(x).unflatten(-2, (F.dimensions, topology.num_nodes))
        differences = self.graph.pairs.unsqueeze(-1) * topology.gradient(slopes)
        return differences.flatten(-3, -2)

    def _apply_adjoint(self, y: EdgeSignal) -> Signal:
        F, topology = self.graph.F, self.graph.topology
        compared = self.graph.pairs.unsqueeze(-1) * y.unflatten(-2, (F.dimensions, -1))
        return F.T(topology.divergence(compared).flatten(-3, -2))


@dataclass(frozen=True, eq=False)
class GradientLaplacian(SelfAdjoint):
    r"""$F^\top\bar LF$: the Laplacian of the slopes, for every coordinate.

    With $K=\mathrm{grad}\,F$ it is $K^\top WK\preceq\mathrm{diag}(|K|^\top W|K|\mathbf1)$, by
    Gershgorin; half of that is the majorizer. The diagonal is not known.

    Args:
        graph: the gradient graph.

    Shapes:
        - **x, A @ x:** `(*batch, nodes, channels)`

    Raises:
        ValueError: on call, a signal on other nodes, or of another dtype or device than the
            weights.

    Example:
        >>> import torch
        >>> from gsp_unroll import GradientGraph, Graph, path_graph
        >>> from gsp_unroll.operators import GradientLaplacian
        >>> A = GradientLaplacian(GradientGraph.of(Graph(path_graph(5), torch.ones(5))))
        >>> (A @ torch.tensor([[0.0], [1.0], [2.0], [3.0], [3.0]])).flatten()
        tensor([ 0.,  0., -1.,  2., -1.])
    """

    graph: GradientGraph

    def __post_init__(self) -> None:
        object.__setattr__(self, "num_inputs", self.graph.topology.num_nodes)
        object.__setattr__(self, "num_outputs", self.graph.topology.num_nodes)

    @property
    def systems(self) -> Systems:
        return self.graph.topology.systems

    def _apply(self, x: Signal) -> Signal:
        F, topology = self.graph.F, self.graph.topology
        check_same_kind(x, self.graph.weight, "a signal", "the edge weights")
        slopes = F(x).unflatten(-2, (F.dimensions, topology.num_nodes))
        return F.T(topology.laplacian(self.graph.pair_weight, slopes).flatten(-3, -2))

    def majorizer(self) -> Tensor:
        F, topology, w = self.graph.F, self.graph.topology, self.graph.pair_weight
        ones = w.new_ones(topology.num_nodes, 1)
        reach = topology.ends_sum(F.magnitude(ones).unflatten(-2, (F.dimensions, -1)))
        row_sum = topology.incident_sum(w.unsqueeze(-1) * reach).flatten(-3, -2)
        return 0.5 * F.magnitude.T(row_sum)
