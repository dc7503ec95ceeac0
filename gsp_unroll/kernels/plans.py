"""What a kernel needs to know of a graph's structure, found once per topology."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import product
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Offset = tuple[int, ...]


@dataclass(frozen=True)
class Stencil:
    r"""A lattice with one edge per node and offset, in **padded storage**.

    The last axis makes the rows. Every other axis but the first is padded by its reach, so that a
    step $o$ is one constant distance in memory, `row_step` rows and `column_step` columns, and
    leads to a row of padding where it leaves the lattice.

    Args:
        shape: nodes per axis.
        offsets: lexicographically positive steps, so that every edge leads to a later node.
    """

    shape: tuple[int, ...]
    offsets: tuple[Offset, ...]

    name = "stencil"

    @property
    def num_nodes(self) -> int:
        """Nodes of the lattice."""
        return math.prod(self.shape)

    @property
    def width(self) -> int:
        """Nodes in a row."""
        return self.shape[-1]

    @property
    def reach(self) -> int:
        """Farthest step along a row."""
        return max(abs(o[-1]) for o in self.offsets)

    @cached_property
    def row_steps(self) -> list[int]:
        """How many padded rows each offset advances."""
        strides: list[int] = []
        step = 1
        for axis in reversed(range(len(self.shape) - 1)):
            strides.insert(0, step)
            step *= self.shape[axis] + max(abs(o[axis]) for o in self.offsets)
        return [sum(d * s for d, s in zip(o[:-1], strides, strict=True)) for o in self.offsets]

    @property
    def lag(self) -> int:
        """Rows that an edge spans at most."""
        return max(self.row_steps)

    @cached_property
    def source_rows(self) -> list[int]:
        """For each padded row its number without padding, or -1."""
        outer = self.shape[:-1]
        if not outer:
            return [0]
        pads = [max(abs(o[a]) for o in self.offsets) if a else 0 for a in range(len(outer))]
        rows, number = [], 0
        for place in product(*(range(n + pad) for n, pad in zip(outer, pads, strict=True))):
            inside = all(i < n for i, n in zip(place, outer, strict=True))
            rows.append(number if inside else -1)
            number += inside
        return rows

    @cached_property
    def tables(self) -> tuple[Tensor, Tensor, Tensor]:
        """`source_rows`, `row_steps` and the steps along a row, as int64 tensors."""
        columns = [o[-1] for o in self.offsets]
        return tuple(torch.tensor(t) for t in (self.source_rows, self.row_steps, columns))  # type: ignore[return-value]


@lru_cache(maxsize=64)
def stencil(shape: tuple[int, ...], offsets: tuple[Offset, ...]) -> Stencil | None:
    """The plan of a lattice, or None where none serves: no edge at all, or one that leads back."""
    forward = all(o > (0,) * len(o) for o in offsets)
    return Stencil(shape, offsets) if offsets and forward and 0 not in shape else None


@dataclass(frozen=True, eq=False)
class Csr:
    """Any graph; each edge is stored once in either orientation, or is one direction of its own.

    Kernels count in 32 bits.

    Args:
        edge_index: `(2, edges)` int64, tails above heads.
        num_nodes: number of nodes.
    """

    edge_index: Tensor
    num_nodes: int

    name = "csr"

    def __reduce__(self) -> tuple[Any, ...]:
        # what is found from these two is not saved with them
        return Csr, (self.edge_index, self.num_nodes)

    @property
    def num_edges(self) -> int:
        """Edges as they are stored."""
        return self.edge_index.shape[1]

    @cached_property
    def ends(self) -> tuple[Tensor, Tensor]:
        """Tails and heads in int32: what one product needs."""
        tail, head = self.edge_index.to(torch.int32).contiguous()
        return tail, head

    @cached_property
    def tables(self) -> tuple[Tensor, ...]:
        """What a whole solve needs, in an order of the nodes of its own: that order, then for each
        row where its entries start and where those to later nodes do, and for each entry the
        neighbour and the edge."""
        order = self._order()
        position = np.empty(self.num_nodes, np.int64)
        position[order] = np.arange(self.num_nodes)
        start, later, neighbour, edge = _rows(position[self.edge_index.numpy()], self.num_nodes)
        found = (order, start, later, neighbour, edge)
        return tuple(torch.from_numpy(np.ascontiguousarray(t, np.int32)) for t in found)

    @cached_property
    def rows(self) -> tuple[Tensor, Tensor, Tensor]:
        """Both directions of every edge by row, for other packages: where each row starts, and for
        each entry the neighbour and the edge; int64."""
        start, _, neighbour, edge = _rows(self.edge_index.numpy(), self.num_nodes)
        return tuple(  # type: ignore[return-value]
            torch.from_numpy(np.ascontiguousarray(t, np.int64)) for t in (start, neighbour, edge)
        )

    def _order(self) -> Integers:
        """Neighbours near each other, so that what a row reads is still in cache; and nodes of
        equal degree side by side, so that the processor guesses where a row ends."""
        from scipy.sparse import csr_matrix
        from scipy.sparse.csgraph import reverse_cuthill_mckee

        ends, count = self.edge_index.numpy(), self.num_nodes
        order = np.arange(count)
        if _mean_span(ends) > FAR:
            start, _, neighbour, _ = _rows(ends, count)
            adjacency = csr_matrix((np.ones(len(neighbour), np.int8), neighbour, start))
            found = reverse_cuthill_mckee(adjacency, symmetric_mode=True)
            position = np.empty(count, np.int64)
            position[found] = order
            if 2 * _mean_span(position[ends]) < _mean_span(ends):
                order = found
        degree = np.bincount(ends.ravel(), minlength=count)
        return order[np.lexsort((degree[order], np.arange(count) // WINDOW))]


Integers = NDArray[np.integer[Any]]

#: Nodes from one end of an edge to the other beyond which a better order is looked for: records of
#: as many nodes leave the second-level cache.
FAR = 4096
#: Nodes among which rows are sorted by their length: few enough to stay near each other.
WINDOW = 256


def csr(edge_index: Tensor, num_nodes: int) -> Csr | None:
    """The plan of a list of edges, or None where none serves: no edge at all, another device than
    the CPU, or more than 32 bits count."""
    most = torch.iinfo(torch.int32).max
    fits = num_nodes <= most and 0 < 2 * edge_index.shape[1] <= most
    return Csr(edge_index, num_nodes) if fits and edge_index.device.type == "cpu" else None


def _mean_span(ends: Integers) -> float:
    return float(np.abs(ends[0] - ends[1]).mean())


def _rows(ends: Integers, num_nodes: int) -> tuple[Integers, Integers, Integers, Integers]:
    """Both directions of every edge, sorted by row: starts of the rows and of their entries to
    later nodes, neighbours and edges. In each half of a row edges keep their order."""
    from scipy.sparse import csr_matrix

    lower, upper = np.minimum(*ends), np.maximum(*ends)
    rows, neighbours = np.concatenate([upper, lower]), np.concatenate([lower, upper])
    each = np.arange(len(rows) + 1, dtype=np.int32)
    # one entry to a line: the transpose is a counting sort that keeps equals in order
    lines = csr_matrix(
        (np.ones(len(rows), np.int8), rows.astype(np.int32), each), (len(rows), num_nodes)
    )
    by_row = lines.tocsc()
    start, entry = by_row.indptr, by_row.indices
    later = start[:-1] + np.bincount(upper, minlength=num_nodes)
    return start, later, neighbours[entry], entry % ends.shape[1]


#: What a kernel may know of a structure.
Plan = Stencil | Csr
