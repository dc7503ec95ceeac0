"""Graphs of point clouds, by SciPy search trees: no compiled extension is needed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from .._checks import check_positive, check_positive_count, mistake
from .edge_list import EdgeList

#: From a search tree to the pairs of points that it joins, `(2, pairs)`.
FindPairs = Callable[[Any], "np.ndarray[Any, Any]"]


def knn_graph(
    points: Tensor,
    k: int,
    *,
    batch: Tensor | None = None,
    symmetrize: Literal["union", "mutual"] | None = "union",
) -> EdgeList:
    r"""Every point joined to its `k` nearest others, by Euclidean distance.

    A node has $\min(k, n-1)$ neighbours in a graph of $n$ nodes. Copies of a point are neighbours
    at distance 0. Among points at equal distance the search tree chooses, the same way each time.
    The search runs on the CPU in float64 and is meant for few coordinates: beyond about twenty,
    a tree is no faster than comparing all pairs.

    Args:
        points: floating-point coordinates. No gradient flows through the choice of neighbours.
        k: number of neighbours, at least 1.
        batch: the graph that each point belongs to; neighbours come from the same graph.
        symmetrize: `"union"` keeps an edge if either end names the other, `"mutual"` if both do.
            None gives the directed graph to each node (head) from its neighbours (tails), nearest
            first: one row of the weight matrix per node, as PyG's `knn_graph` has it.

    Returns:
        The edges, each undirected edge once, on the device of `points`.

    Shapes:
        - **points:** `(nodes, coordinates)`
        - **batch:** `(nodes,)`, int64

    Raises:
        ValueError: points of another shape, not floating-point or not finite; `k` below 1; a
            batch vector that does not fit; an unknown `symmetrize`.

    Example:
        >>> import torch
        >>> from gsp_unroll import knn_graph
        >>> points = torch.tensor([[0.0], [1.0], [3.0]])
        >>> knn_graph(points, k=1).edge_index
        tensor([[0, 1],
                [1, 2]])
        >>> knn_graph(points, k=1, symmetrize="mutual").edge_index
        tensor([[0],
                [1]])
    """
    check_positive_count(k, "k")
    if symmetrize not in ("union", "mutual", None):
        raise mistake(
            f"symmetrize={symmetrize!r}",
            "'union', 'mutual' or None",
            "Use 'union' for an undirected graph, None for one directed row per node.",
        )
    pairs = _pairs_within_graphs(points, batch, lambda tree: _nearest(tree, k))
    if symmetrize is None:
        return EdgeList(pairs, points.shape[0], batch, directed=True)
    return _undirected(pairs, points.shape[0], batch, named_by=2 if symmetrize == "mutual" else 1)


def radius_graph(points: Tensor, radius: float, *, batch: Tensor | None = None) -> EdgeList:
    r"""Every two points at a Euclidean distance of at most `radius` are joined.

    Distances are taken in float64. The number of edges grows with the square of the number of
    points inside a ball, so try a small radius first.

    Args:
        points: floating-point coordinates. No gradient flows through the choice of neighbours.
        radius: the largest distance, above 0, in the unit of `points`.
        batch: the graph that each point belongs to; only points of one graph are joined.

    Returns:
        The undirected edges, each once, on the device of `points`.

    Shapes:
        - **points:** `(nodes, coordinates)`
        - **batch:** `(nodes,)`, int64

    Raises:
        ValueError: points of another shape, not floating-point or not finite; a radius that is
            not above 0; a batch vector that does not fit.

    Example:
        >>> import torch
        >>> from gsp_unroll import radius_graph
        >>> radius_graph(torch.tensor([[0.0], [1.0], [3.0]]), radius=1.5).edge_index
        tensor([[0],
                [1]])
    """
    check_positive(radius, "radius")
    pairs = _pairs_within_graphs(
        points, batch, lambda tree: tree.query_pairs(radius, output_type="ndarray").T
    )
    return _undirected(pairs, points.shape[0], batch)


def _pairs_within_graphs(points: Tensor, batch: Tensor | None, find: FindPairs) -> Tensor:
    """What `find` returns for the search tree of each graph, in the node numbers of the batch."""
    from scipy.spatial import cKDTree  # takes a third of a second to import

    _check_points(points)
    _check_batch(points, batch)
    host = points.detach().cpu().double()
    found = [torch.empty(2, 0, dtype=torch.int64)]
    for nodes in _nodes_of_graphs(batch, points.shape[0]):
        if nodes.numel() > 1:
            pairs = find(cKDTree(host[nodes].numpy()))
            found.append(nodes[torch.from_numpy(pairs).long()])
    return torch.cat(found, 1).to(points.device)


def _nodes_of_graphs(batch: Tensor | None, num_nodes: int) -> tuple[Tensor, ...]:
    """The nodes of each graph, in ascending order; `batch` need not be sorted."""
    if batch is None:
        return (torch.arange(num_nodes),)
    graph, order = batch.cpu().sort(stable=True)
    _, sizes = graph.unique_consecutive(return_counts=True)
    nodes: tuple[Tensor, ...] = order.split(sizes.tolist())
    return nodes


def _nearest(tree: Any, k: int) -> np.ndarray[Any, Any]:
    """The `min(k, n - 1)` nearest others of each point, nearest first, above the point itself."""
    k = min(k, tree.n - 1)
    node = np.arange(tree.n)
    _, near = tree.query(tree.data, k + 1)
    others = near != node[:, None]
    # among more than k copies of a point, its own number may be missing: then the last one goes
    others[others.all(1), -1] = False
    return np.stack([near[others], node.repeat(k)])


def _undirected(pairs: Tensor, num_nodes: int, batch: Tensor | None, named_by: int = 1) -> EdgeList:
    """The undirected edges that occur `named_by` times or more among the pairs, sorted."""
    # one number per edge: in int64, since the square of the number of nodes exceeds 32 bits
    key = pairs.amin(0) * num_nodes + pairs.amax(0)
    key, count = key.unique(return_counts=True)
    key = key[count >= named_by]
    return EdgeList(torch.stack([key // num_nodes, key % num_nodes]), num_nodes, batch)


def _check_points(points: Tensor) -> None:
    if points.ndim != 2 or points.shape[1] == 0 or not points.is_floating_point():
        raise mistake(
            f"points of shape {tuple(points.shape)} and dtype {points.dtype}",
            "(nodes, coordinates) of a floating-point type",
            "Put one point on each row and convert with points.float().",
        )
    # four times the square bounds every squared distance, which must not overflow either
    usable = (4 * points.detach().double().square()).sum(-1).isfinite()
    if not bool(usable.all()):
        raise mistake(
            f"{int((~usable).sum())} points that are NaN, infinite or too far away to measure",
            "finite coordinates",
            "Drop these points, e.g. points[points.isfinite().all(-1)].",
        )


def _check_batch(points: Tensor, batch: Tensor | None) -> None:
    if batch is None:
        return
    if batch.shape != points.shape[:1] or batch.dtype != torch.int64:
        raise mistake(
            f"batch of shape {tuple(batch.shape)} and dtype {batch.dtype}",
            f"({points.shape[0]},) of int64, one graph number per point",
            "Pass the `batch` vector of a PyG Batch.",
        )
    if batch.device != points.device:
        raise mistake(
            f"batch on {batch.device}",
            f"the device of the points, {points.device}",
            f"Move it with batch.to('{points.device}').",
        )
