"""The slope of a signal at each node: along the axes of a lattice, or of a plane through points."""

from __future__ import annotations

from abc import abstractmethod
from copy import copy
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .._checks import check_same_device, check_signal, mistake
from .._typing import Mask, Signal
from ..graph import Systems, Topology, grid_graph
from .base import LinearOperator
from .elementary import MatrixFree


class NodeGradient(LinearOperator):
    r"""$\alpha=Fx$: one slope per node and coordinate, the nodes of one coordinate after those of
    another.

    A subclass writes `_apply` and `_apply_adjoint`, and tells two things besides: where a slope
    exists, and a bound of its coefficients.

    Shapes:
        - **F @ x:** `(*batch, nodes, channels)` to `(*batch, dimensions * nodes, channels)`

    Raises:
        ValueError: on call, a signal on other nodes or not of floating-point numbers.

    Example:
        >>> import torch
        >>> from gsp_unroll.operators import AxisGradient, NodeGradient
        >>> F = AxisGradient((3,))
        >>> isinstance(F, NodeGradient), F.dimensions, F.exists
        (True, 1, tensor([ True,  True, False]))
        >>> (F @ torch.tensor([[0.0], [1.0], [4.0]])).flatten()
        tensor([1., 3., 0.])
    """

    #: Coordinates of the space that the nodes lie in.
    dimensions: int

    @property
    @abstractmethod
    def exists(self) -> Mask:
        """`(dimensions * nodes,)` bool, False where there is no slope and `F x` is zero."""

    @property
    @abstractmethod
    def magnitude(self) -> LinearOperator:
        """A matrix whose entries are at least the magnitudes of those of `F`."""

    @abstractmethod
    def to(self, target: torch.device | torch.dtype | str) -> NodeGradient:
        """The same slopes on another device, or of signals of another dtype."""


@dataclass(frozen=True, eq=False)
class AxisGradient(NodeGradient):
    r"""Forward differences along the axes of a lattice, $\alpha_{a,i}=x_{i+e_a}-x_i$.

    The last node of each row has no slope along that row.

    Args:
        shape: nodes per axis.

    Shapes:
        - **F @ x:** `(*batch, nodes, channels)` to `(*batch, axes * nodes, channels)`

    Raises:
        ValueError: on call, a signal on other nodes or not of floating-point numbers.

    Example:
        >>> import torch
        >>> from gsp_unroll import AxisGradient
        >>> F = AxisGradient((2, 3))
        >>> plane = torch.tensor([0.0, 1.0, 2.0, 10.0, 11.0, 12.0]).unsqueeze(-1)
        >>> (F @ plane).reshape(2, 2, 3)
        tensor([[[10., 10., 10.],
                 [ 0.,  0.,  0.]],
        <BLANKLINE>
                [[ 1.,  1.,  0.],
                 [ 1.,  1.,  0.]]])
        >>> F.exists.reshape(2, 2, 3)[1]
        tensor([[ True,  True, False],
                [ True,  True, False]])
    """

    shape: tuple[int, ...]
    _axes: Topology = field(init=False, repr=False)

    def __post_init__(self) -> None:
        unit = torch.eye(len(self.shape), dtype=torch.int64).tolist()
        object.__setattr__(self, "_axes", grid_graph(self.shape, offsets=unit))
        object.__setattr__(self, "dimensions", len(self.shape))
        object.__setattr__(self, "num_inputs", self._axes.num_nodes)
        object.__setattr__(self, "num_outputs", self._axes.num_edges)

    @property
    def exists(self) -> Mask:
        return self._axes.edge_mask

    def to(self, target: torch.device | torch.dtype | str) -> AxisGradient:
        return self  # coefficients of 1 and -1 suit every signal

    @property
    def magnitude(self) -> LinearOperator:
        return MatrixFree(self._axes.ends_sum, self._axes.incident_sum)

    def _apply(self, x: Signal) -> Signal:
        return self._axes.gradient(x)

    def _apply_adjoint(self, y: Signal) -> Signal:
        return self._axes.divergence(y)


@dataclass(frozen=True, eq=False)
class PlaneFit(NodeGradient):
    r"""The slope of the plane that fits best to the differences between a node and its neighbours.

    $$\alpha_i=\arg\min_a\sum_{j\sim i}\bigl(x_j-x_i-a^\top(p_j-p_i)\bigr)^2
      =G_i^{-1}\sum_{j\sim i}(p_j-p_i)(x_j-x_i),\qquad G_i=\sum_{j\sim i}(p_j-p_i)(p_j-p_i)^\top .$$

    Exact for planes, at nodes on the border too. On a directed topology a node has the tails of the
    arriving edges as neighbours. A node has no slope where its neighbours do not span the space,
    because they are too few or lie on a line.

    A fit does not see what is symmetric about every node: on a regular lattice a checkerboard has
    slope 0. Use `AxisGradient` there. No gradient flows to the points.

    Args:
        topology: who is whose neighbour.
        points: coordinates $p$, one point per node.

    Shapes:
        - **points:** `(nodes, dimensions)`

    Raises:
        ValueError: points of another shape or number than the nodes, or not finite.

    Source:
        The manifold gradient of Chen, Cheung and Zhang 2024, with any neighbourhood in the place of
        a directed acyclic one.

    Example:
        >>> import torch
        >>> from gsp_unroll import PlaneFit, knn_graph
        >>> points = torch.rand(20, 2)
        >>> slope = PlaneFit(knn_graph(points, 5), points) @ (
        ...     points @ torch.tensor([[3.0], [-1.0]])
        ... )
        >>> torch.allclose(slope.reshape(2, 20).T, torch.tensor([3.0, -1.0]), atol=1e-4)
        True
    """

    topology: Topology
    points: Tensor
    _exists: Mask = field(init=False, repr=False)
    #: What an edge adds to the slopes at its tail and at its head, `(dimensions, edges, 1)`.
    _at_tail: Tensor = field(init=False, repr=False)
    _at_head: Tensor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        n, points = self.topology.num_nodes, self.points
        check_signal(points, n, "point cloud")
        if points.ndim != 2 or points.shape[1] < 1 or not bool(points.isfinite().all()):
            raise mistake(
                f"points of shape {tuple(points.shape)}, "
                f"{int((~points.isfinite()).sum())} values of them NaN or infinite",
                f"({n}, dimensions), finite",
                "Give one point for each node of the topology.",
            )
        d = points.shape[1]
        object.__setattr__(self, "dimensions", d)
        object.__setattr__(self, "num_inputs", n)
        object.__setattr__(self, "num_outputs", d * n)
        self._fit(points.detach().double())

    def _fit(self, points: Tensor) -> None:
        n, d = points.shape
        q = self.topology.gradient(points)
        products = (q.unsqueeze(-1) * q.unsqueeze(-2)).flatten(-2)
        around = self.topology.head_sum if self.topology.directed else self.topology.incident_sum
        G = around(products).reshape(n, d, d)
        eigenvalues = torch.linalg.eigvalsh(G)
        # neighbours within a thousandth of a line, or of a plane in space, span nothing
        spans = eigenvalues[:, 0] > 1e-6 * eigenvalues[:, -1]
        eye = torch.eye(d, dtype=G.dtype, device=G.device)
        inverse = torch.linalg.inv(torch.where(spans.view(n, 1, 1), G, eye))
        inverse = inverse * spans.view(n, 1, 1)
        for name, at in zip(("_at_tail", "_at_head"), self._inverses(inverse), strict=True):
            coefficient = (at @ q.unsqueeze(-1)).squeeze(-1).T.unsqueeze(-1)
            object.__setattr__(self, name, coefficient.to(self.points.dtype))
        object.__setattr__(self, "_exists", spans.repeat(d))

    def _inverses(self, inverse: Tensor) -> tuple[Tensor, Tensor]:
        """`G^-1` of the tail and of the head of each edge; 0 for a tail that does not listen."""
        d = inverse.shape[-1]
        at_tail, at_head = (v.unflatten(-1, (d, d)) for v in self.topology.lift(inverse.flatten(1)))
        return torch.zeros_like(at_tail) if self.topology.directed else at_tail, at_head

    @property
    def systems(self) -> Systems:
        return self.topology.systems

    @property
    def exists(self) -> Mask:
        return self._exists

    def to(self, target: torch.device | torch.dtype | str) -> PlaneFit:
        # what was fitted stays: points of fewer digits may fall together
        at_tail, at_head = self._at_tail.to(target), self._at_head.to(target)
        device = at_tail.device
        moved = copy(self)
        for name, value in {
            "topology": self.topology.to(device),
            "points": self.points.to(device),
            "_at_tail": at_tail,
            "_at_head": at_head,
            "_exists": self._exists.to(device),
        }.items():
            object.__setattr__(moved, name, value)
        return moved

    @property
    def magnitude(self) -> LinearOperator:
        at_tail, at_head, topology = self._at_tail.abs(), self._at_head.abs(), self.topology

        def apply(x: Signal) -> Signal:
            check_same_device(x, at_head, "a signal", "the points")
            reach = topology.ends_sum(x).unsqueeze(-3)
            slopes = topology.tail_sum(at_tail * reach) + topology.head_sum(at_head * reach)
            return slopes.flatten(-3, -2)

        def adjoint(y: Signal) -> Signal:
            check_same_device(y, at_head, "a signal", "the points")
            y_tail, y_head = topology.lift(y.unflatten(-2, (self.dimensions, -1)))
            return topology.incident_sum((at_tail * y_tail + at_head * y_head).sum(-3))

        return MatrixFree(apply, adjoint)

    def _apply(self, x: Signal) -> Signal:
        check_same_device(x, self._at_head, "a signal", "the points")
        difference = self.topology.gradient(x).unsqueeze(-3)
        slopes = self.topology.tail_sum(self._at_tail * difference)
        slopes = slopes + self.topology.head_sum(self._at_head * difference)
        return slopes.flatten(-3, -2)

    def _apply_adjoint(self, y: Signal) -> Signal:
        check_same_device(y, self._at_head, "a signal", "the points")
        y_tail, y_head = self.topology.lift(y.unflatten(-2, (self.dimensions, -1)))
        return self.topology.divergence((self._at_tail * y_tail + self._at_head * y_head).sum(-3))
