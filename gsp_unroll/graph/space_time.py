"""The structures of places that are observed again and again: edges in space, edges in time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch

from .._checks import mistake
from .edge_list import EdgeList
from .lattices import path_graph
from .product import product_graph
from .topology import Topology


class SpaceTime(NamedTuple):
    """Two structures on the nodes of all steps; see `space_time_graph`.

    Attributes:
        spatial: the edges within each step, undirected.
        temporal: the edges from earlier steps to later ones, directed.

    Example:
        >>> from gsp_unroll import path_graph, space_time_graph
        >>> both = space_time_graph(path_graph(2), steps=3)
        >>> both.spatial.directed, both.temporal.directed
        (False, True)
        >>> both.temporal.edge_index.tolist()
        [[0, 1, 2, 3], [2, 3, 4, 5]]
    """

    spatial: EdgeList
    temporal: EdgeList


def space_time_graph(space: Topology, steps: int, lags: int | Iterable[int] = 1) -> SpaceTime:
    r"""The places of `space` at every step: undirected edges within a step, directed ones in time.

    Node $t\,S+s$ is place $s$ of $S$ at step $t$, the order of `product_graph(time, space)` and of
    `CausalTemporalConv(places=S)`: a signal `(*batch, steps, places, channels)` becomes one on
    these nodes by `x.flatten(-3, -2)`.

    - **spatial** joins the places of one step as `space` joins them: step after step, each in the
      order of `space`.
    - **temporal** leads from every place at $t-l$ to the same place at $t$: lag after lag, in each
      the steps in order, in each of these the places.

    A place without edges in `space` keeps its edges in time. With one step there is no edge in
    time, and a lag of as many steps as there are, or more, adds none: the first steps of a signal
    listen to nobody, whichever they are.

    Args:
        space: an undirected structure of the places, of one graph.
        steps: number of steps, at least 1.
        lags: a number $L$ for the lags $1,\dots,L$, or the lags themselves, each at least 1.

    Returns:
        The two structures, as a pair `spatial, temporal`.

    Raises:
        ValueError: a directed `space` or one that is a batch of graphs; steps or lags below 1; a
            lag given twice.

    Source:
        Qi et al. 2025, the mixed graph.

    Example:
        >>> from gsp_unroll import path_graph, space_time_graph
        >>> spatial, temporal = space_time_graph(path_graph(2), steps=3, lags=2)
        >>> spatial.edge_index
        tensor([[0, 2, 4],
                [1, 3, 5]])
        >>> temporal.edge_index
        tensor([[0, 1, 2, 3, 0, 1],
                [2, 3, 4, 5, 4, 5]])
    """
    if space.directed:
        raise mistake(
            "a directed structure of the places",
            "an undirected one: the time is what has a direction",
            "Build it undirected; knn_graph with symmetrize='union' is.",
        )
    time = path_graph(steps, lags, directed=True)
    spatial = product_graph(_without_edges(steps), space)
    temporal = product_graph(time, _without_edges(space.num_nodes))
    return SpaceTime(spatial, temporal.to(spatial.edge_index.device))


def _without_edges(num_nodes: int) -> EdgeList:
    return EdgeList.unchecked(torch.empty(2, 0, dtype=torch.int64), num_nodes)
