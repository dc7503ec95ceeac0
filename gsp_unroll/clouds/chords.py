"""A prior on positions that planes and spheres do not pay for."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from .._checks import check_same_kind, mistake
from .._typing import EdgeSignal, Signal
from ..graph import Graph, Systems, Topology
from ..operators import LinearOperator
from ..operators.base import SelfAdjoint
from ..problems.priors import GraphPrior, QuadraticPrior
from .distances import unit_normals


@dataclass(frozen=True, eq=False)
class ChordHeight(LinearOperator):
    r"""How far a chord rises along the normals at its ends, $z_{ij}=m_{ij}^\top(x_j-x_i)$, with the
    mean normal $m_{ij}=(n_i\pm n_j)/\|n_i\pm n_j\|$.

    The sign is the one that makes the sum longer, so it does not matter which way round normals
    are. On a sphere and on a plane every chord is at right angles to the mean normal.

    Args:
        topology: the chords.
        normal: directions across the surface; their length does not matter.

    Shapes:
        - **normal:** `(nodes, 3)`
        - **K @ x:** `(*batch, nodes, 3)` to `(*batch, edges, 1)`

    Raises:
        ValueError: normals of another shape, or without a direction; on call, points of another
            dtype or device than the normals, or on other nodes.

    Example:
        >>> import torch
        >>> from gsp_unroll import EdgeList
        >>> from gsp_unroll.clouds import ChordHeight
        >>> chord = EdgeList(torch.tensor([[0], [1]]), num_nodes=2)
        >>> up = torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
        >>> ChordHeight(chord, up) @ torch.tensor([[0.0, 0.0, 0.0], [3.0, 0.0, 0.5]])
        tensor([[0.5000]])
    """

    topology: Topology
    normal: Tensor
    mean_normal: Tensor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        n = self.topology.num_nodes
        if self.normal.shape != (n, 3) or not self.normal.is_floating_point():
            raise mistake(
                f"normals of shape {tuple(self.normal.shape)} and dtype {self.normal.dtype}",
                f"({n}, 3) of a floating-point type",
                "Give one normal for each node of the topology.",
            )
        tail, head = self.topology.lift(unit_normals(self.normal))
        same_side = (tail * head).sum(-1, keepdim=True) >= 0
        total = tail + torch.where(same_side, head, -head)  # at least sqrt(2) long
        object.__setattr__(self, "mean_normal", total / total.norm(dim=-1, keepdim=True))
        object.__setattr__(self, "num_inputs", n)
        object.__setattr__(self, "num_outputs", self.topology.num_edges)
        object.__setattr__(self, "couples_channels", True)

    @property
    def systems(self) -> Systems:
        return replace(self.topology.systems, couples_channels=True)

    def _apply(self, x: Signal) -> EdgeSignal:
        check_same_kind(x, self.normal, "a signal", "the normals")
        return (self.topology.gradient(x) * self.mean_normal).sum(-1, keepdim=True)

    def _apply_adjoint(self, y: EdgeSignal) -> Signal:
        check_same_kind(y, self.normal, "a signal", "the normals")
        return self.topology.divergence(y * self.mean_normal)


@dataclass(frozen=True, eq=False)
class ChordLaplacian(SelfAdjoint):
    r"""$K^\top\mathrm{diag}(w)K$ with the `ChordHeight` $K$.

    Args:
        graph: the chords and their weights.
        K: of the same topology.
    """

    graph: Graph
    K: ChordHeight

    def __post_init__(self) -> None:
        object.__setattr__(self, "num_inputs", self.K.num_inputs)
        object.__setattr__(self, "num_outputs", self.K.num_inputs)
        object.__setattr__(self, "couples_channels", True)

    @property
    def systems(self) -> Systems:
        return self.K.systems

    def _apply(self, x: Signal) -> Signal:
        return self.K.T(self.graph.weight.unsqueeze(-1) * self.K(x))

    def diagonal(self) -> Tensor:
        w = self.graph.weight.unsqueeze(-1)
        return self.graph.topology.incident_sum(w * self.K.mean_normal.square())

    def majorizer(self) -> Tensor:
        # (m'(x_j - x_i))^2 <= 2 |x_i|^2 + 2 |x_j|^2 for a unit m
        return self.graph.topology.incident_sum(self.graph.weight.unsqueeze(-1))


@dataclass(frozen=True, eq=False)
class ChordGLR(QuadraticPrior, GraphPrior):
    r"""GLR on how far chords rise along the surface,
    $\tfrac\mu2\sum_{(i,j)}w_{ij}\bigl(m_{ij}^\top(x_i-x_j)\bigr)^2$ with the mean normals of
    `ChordHeight`.

    `GLR` on positions pulls neighbours together: clouds shrink, and points clump. Here points move
    along normals only, and a surface that bends evenly costs nothing: to third order in the
    distance the rise of a chord sees only how curvature *changes*.

    Args:
        graph: the weighted graph.
        mu: weight of the prior, at least 0; a tensor must broadcast against signals.
        normals: directions across the surface, either way round; their length does not matter.

    Shapes:
        - **normals:** `(nodes, 3)`
        - **x:** `(*batch, nodes, 3)`

    Raises:
        ValueError: as `GLR`; normals of another shape, or without a direction.

    Example:
        >>> import torch
        >>> from gsp_unroll import Graph, knn_graph
        >>> from gsp_unroll.clouds import ChordGLR
        >>> n = torch.nn.functional.normalize(torch.randn(50, 3), dim=-1)
        >>> topology = knn_graph(n, 5)
        >>> prior = ChordGLR(Graph(topology, torch.ones(topology.num_edges)), normals=n)
        >>> prior(4 + 2 * n).item() < 1e-6  # a sphere, wherever it is and however large
        True
    """

    normals: Tensor = field(kw_only=True)

    @property
    def K(self) -> ChordHeight:
        return ChordHeight(self.graph.topology, self.normals)

    @property
    def normal(self) -> LinearOperator:
        return ChordLaplacian(self.graph, self.K)
