"""Grids and paths: lattices whose edges are constant offsets."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from numbers import Integral
from typing import Any

from .._checks import check_positive_count, mistake
from .grid import Grid, Offset


def grid_graph(
    shape: Sequence[int],
    window: int | Sequence[int] | None = None,
    *,
    neighbors: int | None = None,
    offsets: Iterable[Sequence[int]] | None = None,
    directed: bool = False,
) -> Grid:
    r"""A lattice whose nodes are joined to a window, a disc or a list of neighbours.

    Node $i$ is joined to $i+o$ for every offset $o$ of the neighbourhood, where the lattice has
    such a node. Undirected, one of $o$ and $-o$ is kept, the one whose first non-zero entry is
    positive, so that each edge is stored once.

    Args:
        shape: nodes on each axis, e.g. `(height, width)`; any number of axes.
        window: side of the box of neighbours, an odd number for all axes or one per axis. 3 if
            nothing else is given.
        neighbors: instead of `window`, how many nearest neighbours an inner node has. Neighbours
            at equal Euclidean distance come together: 2, 4, ... in one dimension, 4, 8, 12, 20,
            24, ... in two, 6, 18, 26, ... in three.
        offsets: instead of both, the offsets themselves; undirected, one of $o$ and $-o$ each.
        directed: True keeps each direction as an edge of its own.

    Raises:
        ValueError: more than one neighbourhood, an even window, a number of neighbours that cuts
            through a shell of equal distance, or whatever `Grid` refuses.

    Example:
        >>> from gsp_unroll import grid_graph
        >>> grid_graph((480, 640)).offsets
        ((0, 1), (1, -1), (1, 0), (1, 1))
        >>> grid_graph((480, 640), neighbors=4).offsets
        ((0, 1), (1, 0))
    """
    axes = Grid(_whole_numbers(shape, "shape"), ()).shape  # an empty shape is refused here
    choices = {"window": window, "neighbors": neighbors, "offsets": offsets}
    given = [name for name, value in choices.items() if value is not None]
    if len(given) > 1:
        raise mistake(
            f"both {' and '.join(given)}",
            "at most one of window, neighbors and offsets",
            "Each of them is a neighbourhood of its own: leave the others out.",
        )
    if offsets is not None:
        return Grid(axes, tuple(_whole_numbers(o, "an offset") for o in offsets), directed)
    if neighbors is not None:
        chosen = _complete_shells(len(axes), neighbors)
    else:
        chosen = _box(len(axes), 3 if window is None else window)
    if not directed:
        chosen = [o for o in chosen if o > (0,) * len(axes)]
    return Grid(axes, tuple(chosen), directed)


def path_graph(length: int, lags: int | Iterable[int] = 1, *, directed: bool = False) -> Grid:
    r"""A sequence in which time $t-l$ is joined to time $t$ for every lag $l$.

    Every edge runs from the past to the present, so the gradient is $x_t-x_{t-l}$. A directed
    path is causal: it has no edge back.

    Args:
        length: number of time steps, at least 1.
        lags: a number $L$ for the lags $1,\dots,L$, or the lags themselves, each at least 1.
        directed: True makes each edge a one-way edge from tail $t-l$ to head $t$.

    Raises:
        ValueError: a lag below 1 or given twice, a length below 1.

    Example:
        >>> import torch
        >>> from gsp_unroll import path_graph
        >>> path_graph(4, directed=True).gradient(torch.tensor([[1.0], [2.0], [4.0], [8.0]])).T
        tensor([[1., 2., 4., 0.]])
        >>> path_graph(24 * 7, lags=(1, 24)).offsets
        ((1,), (24,))
    """
    steps = _whole_numbers(lags, "lags")
    if not isinstance(lags, Iterable) and steps[0] > 0:
        steps = tuple(range(1, steps[0] + 1))
    if any(step < 1 for step in steps):
        raise mistake(
            f"lags {steps}", "lags of 1 or more", "A lag counts steps into the past: drop its sign."
        )
    return Grid(_whole_numbers((length,), "length"), tuple((step,) for step in steps), directed)


def _whole_numbers(values: Any, name: str) -> tuple[int, ...]:
    """`values` as Python integers; those of NumPy or a `torch.Size` are welcome."""
    numbers = tuple(values) if isinstance(values, Iterable) else (values,)
    if not all(isinstance(n, Integral) for n in numbers):
        raise mistake(f"{name} {values!r}", "whole numbers", "Round them, e.g. with int(n).")
    return tuple(int(n) for n in numbers)


def _box(dimension: int, window: int | Sequence[int]) -> list[Offset]:
    """All offsets of a box of odd sides, in lexicographic order."""
    sides = _whole_numbers(window, "window")
    if not isinstance(window, Iterable):
        sides *= dimension
    if len(sides) != dimension or any(side < 1 or side % 2 == 0 for side in sides):
        raise mistake(
            f"window={window!r}",
            f"an odd number, or {dimension} of them, one per axis",
            "A window has a node at its centre: use e.g. window=5.",
        )
    reach = (range(-(side // 2), side // 2 + 1) for side in sides)
    return [offset for offset in itertools.product(*reach) if any(offset)]


def _complete_shells(dimension: int, neighbors: int) -> list[Offset]:
    """The `neighbors` shortest offsets, if they fill shells of equal length."""
    check_positive_count(neighbors, "neighbors")
    reach, ball = 1, _ball(dimension, 1)
    while len(ball) < neighbors:
        reach *= 2
        ball = _ball(dimension, reach)
    lengths = sorted(map(_squared_length, ball))
    # a shell is complete where the sorted lengths grow
    complete = [n for n in range(1, len(ball)) if lengths[n] > lengths[n - 1]] + [len(ball)]
    if neighbors not in complete:
        near = [n for n in complete if n < neighbors][-2:] + [n for n in complete if n > neighbors]
        raise mistake(
            f"neighbors={neighbors} on a grid of dimension {dimension}",
            f"a number that fills shells of equal distance, such as {near[:4]}",
            "Choose one of these, or give the offsets themselves with offsets=.",
        )
    return [offset for offset in ball if _squared_length(offset) <= lengths[neighbors - 1]]


def _ball(dimension: int, reach: int) -> list[Offset]:
    """All offsets of length at most `reach`, in lexicographic order: complete shells only."""
    box = _box(dimension, 2 * reach + 1)
    return [offset for offset in box if _squared_length(offset) <= reach**2]


def _squared_length(offset: Offset) -> int:
    return sum(d * d for d in offset)
