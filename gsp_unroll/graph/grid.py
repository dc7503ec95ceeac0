"""Lattices of any dimension, whose edges are constant offsets: sequences, images, volumes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from .._checks import mistake
from .._typing import EdgeSignal, Signal, Weight
from ..kernels.plans import Stencil, stencil
from ..kernels.registry import find
from ._autograd import linear_pair
from ._opaque import as_last, on_edges, on_nodes, opaque, per_edge
from .topology import Topology

Offset = tuple[int, ...]
#: An index expression: slices of the lattice axes between `...` and the channel axis.
Region = tuple[Any, ...]


@dataclass(frozen=True, eq=False)
class Grid(Topology):
    r"""A lattice of `shape` where node $i$ is joined to $i+o$ for every offset $o$.

    Nodes are numbered with the last axis fastest, as `image.reshape(-1, channels)` does. The edge
    axis runs over offsets first, then over tails, so edge $(k, i)$ stands at $kN+i$ and joins $i$
    to $i+o_k$. An edge that would leave the lattice keeps its slot as padding: every method reads
    and writes zero there, so that borders need no special case and the adjoint stays exact.

    Args:
        shape: number of nodes on each axis.
        offsets: one integer vector per neighbour. Undirected: one of $o$ and $-o$.
        directed: True when each offset is one direction of its own.

    Raises:
        ValueError: an empty shape, a zero offset, an offset of another dimension, a repeated one.

    Example:
        >>> import torch
        >>> from gsp_unroll import Grid
        >>> row = Grid((3,), ((1,),))
        >>> row.gradient(torch.tensor([[0.0], [1.0], [3.0]])).flatten()
        tensor([1., 2., 0.])
    """

    shape: tuple[int, ...]
    offsets: tuple[Offset, ...]
    directed: bool = False
    # found at construction: torch.compile traces no cached property
    _region_list: tuple[tuple[Region, Region], ...] = field(init=False, repr=False)
    _tent_kernel: tuple[float, ...] = field(init=False, repr=False)
    _plan: Stencil | None = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.shape or any(not isinstance(n, int) or n < 1 for n in self.shape):
            raise mistake(
                f"a grid of shape {self.shape}",
                "at least one axis, each of 1 node or more",
                "Pass e.g. (height, width).",
            )
        if any(len(o) != len(self.shape) or not any(o) for o in self.offsets):
            raise mistake(
                f"offsets {self.offsets}",
                f"non-zero vectors of {len(self.shape)} integers",
                "Give one integer per axis of the grid; a node is no neighbour of itself.",
            )
        seen = set(self.offsets)
        if not self.directed:
            seen = {max(o, tuple(-d for d in o)) for o in self.offsets}
        if len(seen) != len(self.offsets):
            raise mistake(
                f"offsets {self.offsets}, some of them twice",
                "each neighbour direction once",
                "For an undirected grid give one of o and -o.",
            )
        object.__setattr__(self, "_region_list", self._find_regions())
        object.__setattr__(self, "_tent_kernel", self._find_tent_kernel())
        # a subclass may have edges of its own
        plan = stencil(self.shape, self.offsets) if type(self) is Grid else None
        object.__setattr__(self, "_plan", plan)

    @property
    def plan(self) -> Stencil | None:
        return self._plan

    @property
    def lattice(self) -> tuple[int, ...]:
        return self.shape

    @property
    def radius(self) -> int:
        return max((abs(d) for offset in self.offsets for d in offset), default=0)

    def resized(self, shape: tuple[int, ...]) -> Grid:
        return replace(self, shape=shape)

    @property
    def num_nodes(self) -> int:
        return math.prod(self.shape)

    @property
    def num_edges(self) -> int:
        return len(self.offsets) * self.num_nodes

    @property
    def edge_index(self) -> Tensor:
        node = torch.arange(self.num_nodes).reshape(self.shape)
        slots = (len(self.offsets), *self.shape)
        tail = node.expand(slots)
        head = tail.clone()
        for k, (at_tail, at_head) in self._regions():
            head[k][at_tail[1:-1]] = node[at_head[1:-1]]
        return torch.stack([tail.reshape(-1), head.reshape(-1)])

    @property
    def edge_mask(self) -> Tensor:
        return self._keep_edges(torch.ones(self.num_edges)) > 0

    def tent(self, reference: Tensor) -> Weight:
        """`prod over axes of (1 - |o| / (reach + 1))`: linear interpolation on the window."""
        # filled on the device: a copy from the host would stall it
        blocks = [reference.new_full((self.num_nodes,), k) for k in self._tent_kernel]
        return self.mask_edges(torch.cat([reference.new_zeros(0), *blocks]))

    def _find_tent_kernel(self) -> tuple[float, ...]:
        reach = [max((abs(o[a]) for o in self.offsets), default=0) for a in range(len(self.shape))]
        return tuple(
            math.prod(1 - abs(d) / (r + 1) for d, r in zip(o, reach, strict=True))
            for o in self.offsets
        )

    def _find_regions(self) -> tuple[tuple[Region, Region], ...]:
        regions = []
        for o in self.offsets:
            pairs = list(zip(o, self.shape, strict=True))
            at_tail = [slice(min(max(0, -d), n), max(n - max(0, d), 0)) for d, n in pairs]
            at_head = [slice(min(max(0, d), n), max(n - max(0, -d), 0)) for d, n in pairs]
            whole = slice(None)
            regions.append(((..., *at_tail, whole), (..., *at_head, whole)))
        return tuple(regions)

    def _regions(self) -> Iterator[tuple[int, tuple[Region, Region]]]:
        """For each offset: its number, and where on the lattice its tails and heads lie."""
        return enumerate(self._region_list)

    def _slot(self, k: int, at_tail: Region) -> Region:
        """Where offset `k` of an edge signal on the lattice keeps the edges of `at_tail`."""
        return (..., k, *at_tail[1:])

    def _on_lattice(self, x: Signal) -> Tensor:
        return x.reshape(*x.shape[:-2], *self.shape, x.shape[-1])

    def _on_slots(self, z: EdgeSignal) -> Tensor:
        return z.reshape(*z.shape[:-2], len(self.offsets), *self.shape, z.shape[-1])

    def _new_edges(self, x: Signal, channels: int) -> tuple[EdgeSignal, Tensor]:
        """A zero edge signal and its view on the slots."""
        z = x.new_zeros(*x.shape[:-2], self.num_edges, channels)
        return z, self._on_slots(z)

    def _new_nodes(self, z: EdgeSignal) -> tuple[Signal, Tensor]:
        """A zero node signal and its view on the lattice."""
        y = z.new_zeros(*z.shape[:-2], self.num_nodes, z.shape[-1])
        return y, self._on_lattice(y)

    # ---- the definition: lifts and their adjoints -------------------------------------------

    def lift(self, x: Signal) -> tuple[EdgeSignal, EdgeSignal]:
        self.check_signal(x)
        x_tail = linear_pair(self._lift_tail, self._tail_sum, x)
        x_head = linear_pair(self._lift_head, self._head_sum, x)
        return x_tail, x_head

    def tail_sum(self, z: EdgeSignal) -> Signal:
        self.check_edge_signal(z)
        return linear_pair(self._tail_sum, self._lift_tail, z)

    def head_sum(self, z: EdgeSignal) -> Signal:
        self.check_edge_signal(z)
        return linear_pair(self._head_sum, self._lift_head, z)

    def mask_edges(self, w: Weight) -> Weight:
        return linear_pair(self._keep_edges, self._keep_edges, w)

    @opaque(on_edges)
    def _lift_tail(self, x: Signal) -> EdgeSignal:
        lattice, (z, slots) = self._on_lattice(x), self._new_edges(x, x.shape[-1])
        for k, (at_tail, _) in self._regions():
            slots[self._slot(k, at_tail)] = lattice[at_tail]
        return z

    @opaque(on_edges)
    def _lift_head(self, x: Signal) -> EdgeSignal:
        lattice, (z, slots) = self._on_lattice(x), self._new_edges(x, x.shape[-1])
        for k, (at_tail, at_head) in self._regions():
            slots[self._slot(k, at_tail)] = lattice[at_head]
        return z

    @opaque(on_nodes)
    def _tail_sum(self, z: EdgeSignal) -> Signal:
        slots, (y, lattice) = self._on_slots(z), self._new_nodes(z)
        for k, (at_tail, _) in self._regions():
            lattice[at_tail] += slots[self._slot(k, at_tail)]
        return y

    @opaque(on_nodes)
    def _head_sum(self, z: EdgeSignal) -> Signal:
        slots, (y, lattice) = self._on_slots(z), self._new_nodes(z)
        for k, (at_tail, at_head) in self._regions():
            lattice[at_head] += slots[self._slot(k, at_tail)]
        return y

    @opaque(as_last)
    def _keep_edges(self, w: Weight) -> Weight:
        kept = torch.zeros_like(w, memory_format=torch.contiguous_format)
        source, target = self._on_slots(w.unsqueeze(-1)), self._on_slots(kept.unsqueeze(-1))
        for k, (at_tail, _) in self._regions():
            slot = self._slot(k, at_tail)
            target[slot] = source[slot]
        return kept

    # ---- the same values without an intermediate lift ---------------------------------------

    def gradient(self, x: Signal) -> EdgeSignal:
        self.check_signal(x)
        return linear_pair(self._gradient, self._divergence, x)

    def divergence(self, z: EdgeSignal) -> Signal:
        self.check_edge_signal(z)
        return linear_pair(self._divergence, self._gradient, z)

    def incident_sum(self, z: EdgeSignal) -> Signal:
        self.check_edge_signal(z)
        return linear_pair(self._incident_sum, self._ends_sum, z)

    def ends_sum(self, x: Signal) -> EdgeSignal:
        self.check_signal(x)
        return linear_pair(self._ends_sum, self._incident_sum, x)

    @opaque(on_nodes)
    def _incident_sum(self, z: EdgeSignal) -> Signal:
        kernel = find("incident_sum", self.plan, z)
        if kernel is not None:
            return kernel(self.plan, z)  # type: ignore[no-any-return]
        return self._head_sum(z).add_(self._tail_sum(z))

    @opaque(on_edges)
    def _ends_sum(self, x: Signal) -> EdgeSignal:
        kernel = find("ends_sum", self.plan, x)
        if kernel is not None:
            return kernel(self.plan, x)  # type: ignore[no-any-return]
        return self._lift_head(x).add_(self._lift_tail(x))

    @opaque(on_edges)
    def _gradient(self, x: Signal) -> EdgeSignal:
        kernel = find("gradient", self.plan, x)
        if kernel is not None:
            return kernel(self.plan, x)  # type: ignore[no-any-return]
        lattice, (z, slots) = self._on_lattice(x), self._new_edges(x, x.shape[-1])
        for k, (at_tail, at_head) in self._regions():
            slots[self._slot(k, at_tail)] = lattice[at_head] - lattice[at_tail]
        return z

    @opaque(on_nodes)
    def _divergence(self, z: EdgeSignal) -> Signal:
        kernel = find("divergence", self.plan, z)
        if kernel is not None:
            return kernel(self.plan, z)  # type: ignore[no-any-return]
        slots, (y, lattice) = self._on_slots(z), self._new_nodes(z)
        for k, (at_tail, at_head) in self._regions():
            flow = slots[self._slot(k, at_tail)]
            lattice[at_head] += flow
            lattice[at_tail] -= flow
        return y

    @opaque(as_last)
    def _laplacian(self, w: Weight, x: Signal) -> Signal:
        weights = self._on_slots(w.unsqueeze(-1))
        signal, (y, lattice) = self._on_lattice(x), self._new_nodes(x)
        for k, (at_tail, at_head) in self._regions():
            flow = weights[self._slot(k, at_tail)] * (signal[at_head] - signal[at_tail])
            lattice[at_head] += flow
            lattice[at_tail] -= flow
        return y

    @opaque(per_edge)
    def _edge_energy(self, x: Signal, g: Signal) -> Weight:
        first, second = self._on_lattice(x), self._on_lattice(g)
        e, slots = self._new_edges(x, 1)
        for k, (at_tail, at_head) in self._regions():
            product = (first[at_head] - first[at_tail]) * (second[at_head] - second[at_tail])
            slots[self._slot(k, at_tail)] = product.sum(-1, keepdim=True)
        return e.squeeze(-1)

    def update_edges(self, learner: Any, features: Signal) -> Tensor:
        # PyG's own gather would go through edge_index; the hook it calls is the same
        features_tail, features_head = self.lift(features)
        return learner.edge_update(features_i=features_head, features_j=features_tail)  # type: ignore[no-any-return]
