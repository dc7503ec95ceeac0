"""Grids that were made before, so that a crop or a compiled call need not make them again."""

from __future__ import annotations

from ..graph import Topology, grid_graph

_KNOWN: dict[tuple[tuple[int, ...], int], Topology] = {}
#: A grid holds a few numbers per offset; a limit is there for a service that sees every size.
_LIMIT = 256


def known_grid(shape: tuple[int, int], *, window: int) -> Topology:
    """`grid_graph` of the same arguments, made once.

    A plain dictionary: `torch.compile` reads from it what an eager call has left there. It cannot
    trace how a grid is made, and looks through `functools.lru_cache` at that.
    """
    key = (tuple(shape), window)
    grid = _KNOWN.get(key)  # one look: another thread may clear it
    if grid is None:
        if len(_KNOWN) >= _LIMIT:
            _KNOWN.clear()
        grid = _KNOWN[key] = grid_graph(shape, window=window)
    return grid
