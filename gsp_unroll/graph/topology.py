"""What every graph structure can do; nobody above this folder knows how edges are stored."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .._checks import check_same_kind, check_signal, mistake
from .._typing import EdgeSignal, Signal, Weight
from . import _autograd
from .reciprocal import safe_reciprocal, vanishing
from .systems import Systems

if TYPE_CHECKING:
    from ..kernels.plans import Plan
    from .both_directions import BothDirections


class Topology(ABC):
    r"""Nodes and oriented edges `tail -> head`, without weights.

    An undirected graph stores **each edge once**, in either orientation; nothing depends on which.
    A directed topology stores each direction as an edge of its own. With $T$ and $H$ the matrices
    that pick the tail and the head of every edge,

    $$\mathrm{grad} = H - T,\qquad \mathrm{div} = \mathrm{grad}^\top = H^\top - T^\top .$$

    The divergence is the **exact adjoint** of the gradient, without the minus sign of the
    continuous one. A structure with regular storage may keep *padded slots* that hold no edge
    (`edge_mask` is False there): every method reads and writes zero on them.

    Subclasses give `num_nodes`, `num_edges`, `directed`, `edge_index`, `lift`, `tail_sum` and
    `head_sum`; all else has a general definition here, which a subclass may override with a
    faster one of the same values.

    Shapes:
        - **x:** `(*batch, nodes, channels)`, a signal
        - **z:** `(*batch, edges, channels)`, one value for each edge and channel
        - **w:** `(*batch, edges)`, weights

    Example:
        >>> import torch
        >>> from gsp_unroll import EdgeList, Topology
        >>> triangle = EdgeList(torch.tensor([[0, 1, 2], [1, 2, 0]]), num_nodes=3)
        >>> isinstance(triangle, Topology), triangle.num_edges
        (True, 3)
        >>> triangle.gradient(torch.tensor([[0.0], [1.0], [3.0]])).flatten()
        tensor([ 1.,  2., -3.])
        >>> triangle.divergence(torch.tensor([[1.0], [1.0], [1.0]])).flatten()  # a flow in a ring
        tensor([0., 0., 0.])
    """

    #: True when every edge is one direction of its own.
    directed: bool

    if TYPE_CHECKING:  # a subclass may store these or compute them

        @property
        def num_nodes(self) -> int:
            """Number of nodes."""

        @property
        def num_edges(self) -> int:
            """Length of the edge axis, padded slots included."""

        @property
        def edge_index(self) -> Tensor:
            """`(2, edges)` int64, tails above heads; a padded slot is a self-loop of its tail."""

    @abstractmethod
    def lift(self, x: Signal) -> tuple[EdgeSignal, EdgeSignal]:
        """The values at each edge's tail and head: `(T x, H x)`."""

    @abstractmethod
    def tail_sum(self, z: EdgeSignal) -> Signal:
        """`T' z`: per node, the sum over edges that leave it."""

    @abstractmethod
    def head_sum(self, z: EdgeSignal) -> Signal:
        """`H' z`: per node, the sum over edges that arrive at it."""

    def to(self, device: torch.device | str) -> Topology:
        """The same structure with its index tensors on `device`."""
        return self

    @property
    def edge_mask(self) -> Tensor:
        """`(edges,)` bool, False on padded slots."""
        return torch.ones(self.num_edges, dtype=torch.bool, device=self.edge_index.device)

    def mask_edges(self, w: Weight) -> Weight:
        """`w` with zeros on padded slots."""
        return w

    @property
    def plan(self) -> Plan | None:
        """What kernels need to know of the structure, found once; None where no kernel serves."""
        return None

    @property
    def lattice(self) -> tuple[int, ...] | None:
        """Nodes per axis, last axis fastest, where the nodes form a lattice; else None."""
        return None

    @property
    def radius(self) -> int | None:
        """Rows or columns that an edge spans at most, where the edges of a lattice are the same at
        every node; else None."""
        return None

    def resized(self, shape: tuple[int, ...]) -> Topology:
        """The same edges on a lattice of another size.

        Args:
            shape: nodes per axis.

        Raises:
            ValueError: edges that are not the same at every node, `radius` None.
        """
        raise mistake(
            f"a {type(self).__name__}, whose edges are not the same at every node",
            "a lattice made by grid_graph",
            "Use grid_graph((height, width), window=...) for an image.",
        )

    @property
    def systems(self) -> Systems:
        """One independent system per graph and channel."""
        return Systems()

    def tent(self, reference: Tensor) -> Weight:
        """Weights of the plain neighbourhood average that starts a solver, with the dtype and
        device of `reference`: ones, unless a structure knows how far apart its nodes are."""
        return reference.new_ones(self.num_edges)

    def gradient(self, x: Signal) -> EdgeSignal:
        """`x[head] - x[tail]` on every edge."""
        self.check_signal(x)
        x_tail, x_head = self.lift(x)
        return x_head - x_tail

    def divergence(self, z: EdgeSignal) -> Signal:
        """The exact adjoint of `gradient`."""
        return self.head_sum(z) - self.tail_sum(z)

    def incident_sum(self, z: EdgeSignal) -> Signal:
        """Per node, the sum over all edges that touch it."""
        return self.head_sum(z) + self.tail_sum(z)

    def ends_sum(self, x: Signal) -> EdgeSignal:
        """`x[tail] + x[head]` on every edge, the adjoint of `incident_sum`."""
        x_tail, x_head = self.lift(x)
        return x_tail + x_head

    def laplacian(self, w: Weight, x: Signal) -> Signal:
        r"""`div(w grad x)`: $(Lx)_i=\sum_j w_{ij}(x_i-x_j)$, summed in difference form.

        The backward pass stores `x` and `w` only and recomputes the edge differences.
        """
        self.check_signal(x)
        self.check_weight(w)
        check_same_kind(x, w, "a signal", "the edge weights")
        if x.shape[:-2] != w.shape[:-1]:
            batch = torch.broadcast_shapes(x.shape[:-2], w.shape[:-1])
            x, w = x.expand(*batch, *x.shape[-2:]), w.expand(*batch, w.shape[-1])
        return _autograd.laplacian(self, w, x)

    def edge_energy(self, x: Signal, g: Signal) -> Weight:
        r"""$\sum_c(\mathrm{grad}\,x)_{ec}(\mathrm{grad}\,g)_{ec}$, one value per edge.

        With $g=x$ it is the squared distance between the ends of every edge.

        No edge signal with channels is formed, and the backward pass stores `x` and `g` only.
        """
        self.check_signal(x)
        self.check_signal(g)
        check_same_kind(x, g, "a signal", "the other one")
        if x.shape != g.shape:
            x, g = torch.broadcast_tensors(x, g)
        if g is x:
            g = x.view_as(x)  # torch.compile refuses a Function that is given one tensor twice
        return _autograd.edge_energy(self, x, g)

    def _laplacian(self, w: Weight, x: Signal) -> Signal:
        return self.divergence(w.unsqueeze(-1) * self.gradient(x))

    def _edge_energy(self, x: Signal, g: Signal) -> Weight:
        return (self.gradient(x) * self.gradient(g)).sum(-1)

    def degree(self, w: Weight) -> Tensor:
        """Row sums of the weight matrix, `(*batch, nodes)`: over incident edges, or over arriving
        edges when the topology is directed (row `i` holds what node `i` listens to)."""
        self.check_weight(w)
        z = w.unsqueeze(-1)
        return (self.head_sum(z) if self.directed else self.incident_sum(z)).squeeze(-1)

    def similarity(self, x: Signal, cut: float) -> Weight:
        r"""$w_{ij}=\exp(-\min(\|x_i-x_j\|_2^2,\texttt{cut}))$, the norm taken over channels; 0 on
        padded slots. Beyond the cut the derivative is 0."""
        self.check_signal(x)
        w = _autograd.similarity(self, x, cut)
        if w is None:
            w = self.mask_edges(self.edge_energy(x, x).clamp(max=cut).neg().exp())
        return w

    def over_degrees(self, w: Weight) -> Weight:
        r"""$w_{ij}(1/d_i+1/d_j)$ with $d_i$ the sum over all edges that touch $i$; a vanishing
        degree gives 0 in place of its reciprocal."""
        self.check_weight(w)
        divided = _autograd.over_degrees(self, w, vanishing(w.dtype))
        return self._over_degrees(w) if divided is None else divided

    def _over_degrees(self, w: Weight) -> Weight:
        degree = self.incident_sum(w.unsqueeze(-1))
        return w * self.ends_sum(safe_reciprocal(degree)).squeeze(-1)

    def both_directions(self) -> BothDirections:
        """The directed topology that holds each undirected edge twice, once per direction."""
        from .both_directions import BothDirections

        return BothDirections(self)

    def update_edges(self, learner: Any, features: Signal) -> Tensor:
        """One call of a PyG learner's `edge_update(features_i, features_j)` on all edges.

        `_j` is the tail and `_i` the head, as PyG names source and target.
        """
        return learner.edge_updater(self.edge_index, features=features)  # type: ignore[no-any-return]

    def check_signal(self, x: Tensor, name: str = "signal") -> None:
        """Raise a three-part `ValueError` unless `x` is a signal on these nodes."""
        check_signal(x, self.num_nodes, name)
        self.check_device(x, name)

    def check_edge_signal(self, z: Tensor) -> None:
        """Raise a three-part `ValueError` unless `z` is a signal on these edges."""
        check_signal(z, self.num_edges, "edge signal")
        self.check_device(z, "edge signal")

    def check_device(self, x: Tensor, name: str) -> None:  # noqa: B027
        """Raise a three-part `ValueError` unless `x` can be indexed; a lattice holds no tensor and
        serves every device."""

    def check_weight(self, w: Tensor) -> None:
        """Raise a three-part `ValueError` unless `w` has one value per edge."""
        if w.ndim < 1 or w.shape[-1] != self.num_edges:
            raise mistake(
                f"edge weights of shape {tuple(w.shape)}",
                f"(*batch, {self.num_edges}), one weight per edge",
                "Give one weight for each column of topology.edge_index.",
            )
        if not w.is_floating_point():
            raise mistake(
                f"edge weights of dtype {w.dtype}",
                "float32 or float64",
                "Convert them with weight.float().",
            )
        self.check_device(w, "weight tensor")
