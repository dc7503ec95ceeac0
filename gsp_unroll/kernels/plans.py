"""What a kernel needs to know of a graph's structure, found once per topology."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import product

import torch
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
        strides, step = [], 1
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
    return Stencil(shape, offsets) if offsets and forward and math.prod(shape) else None
