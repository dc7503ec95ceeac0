"""Graphs of point clouds, by SciPy search trees: no compiled extension is needed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from .._checks import check_positive, check_positive_count, check_same_device, check_tensor, mistake
from .edge_list import EdgeList, edge_keys, edges_of_keys, sort_in_place, systems_of
from .systems import Systems

Array = np.ndarray[Any, Any]

#: Points looked up at a time, which bounds the memory for distances that nobody reads.
CHUNK = 1 << 17
#: Fewer points than this are looked up before a second thread has started.
MANY = 1 << 12


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
    systems = _checked(points, batch)
    if symmetrize is None:
        return _neighbor_rows(points, systems, k)
    found = (
        torch.from_numpy(np.stack([nodes[near].ravel(), nodes[node].repeat(near.shape[1])]))
        for nodes, tree in _search_trees(points, batch)
        for node, near in _nearest(tree, k)
    )
    key = _keys(found, points.shape[0])
    # an edge is named once or twice, by one of its ends or by both
    again = key[1:] == key[:-1]
    if symmetrize == "mutual":
        key = key[1:][again]
    else:
        key = torch.cat([key[:1], key[1:][~again]])
    return _undirected(key, points, systems)


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
    systems = _checked(points, batch)
    found = (
        torch.from_numpy(nodes[tree.query_pairs(radius, output_type="ndarray")]).T
        for nodes, tree in _search_trees(points, batch)
    )
    return _undirected(_keys(found, points.shape[0]), points, systems)


def neighbor_distance(points: Tensor, k: int) -> Tensor:
    r"""How far the `k`-th nearest other point is: the spacing of the points around each.

    Of fewer than `k` others the farthest counts. Copies of a point are at distance 0, so drop
    repeated points, or take `k` larger, before a logarithm is taken.

    Args:
        points: floating-point coordinates. No gradient flows through.
        k: at least 1.

    Shapes:
        - **points:** `(nodes, coordinates)`, at least 2 nodes
        - **output:** `(nodes, 1)`, in the dtype and on the device of `points`

    Raises:
        ValueError: points of another shape, not floating-point or not finite, or fewer than 2.

    Example:
        >>> import torch
        >>> from gsp_unroll.graph import neighbor_distance
        >>> neighbor_distance(torch.tensor([[0.0], [1.0], [3.0]]), k=1).flatten()
        tensor([1., 1., 2.])
    """
    check_positive_count(k, "k")
    _checked(points, None)
    if len(points) < 2:
        raise mistake(f"{len(points)} points", "at least 2", "A single point has no neighbour.")
    ((_, tree),) = _search_trees(points, None)
    distance, _ = tree.query(tree.data, k=[min(k, len(points) - 1) + 1])  # itself is the first
    return torch.from_numpy(distance).to(points)


def _search_trees(points: Tensor, batch: Tensor | None) -> Iterator[tuple[Array, Any]]:
    """The nodes of each graph of two or more, ascending, and the search tree of their points."""
    from scipy.spatial import cKDTree  # takes a third of a second to import

    host = points.detach().to("cpu", torch.float64).contiguous()
    nodes = torch.arange(points.shape[0])
    sizes = [points.shape[0]]
    if batch is not None:  # which need not be sorted
        graph, nodes = batch.cpu().sort(stable=True)
        sizes = graph.unique_consecutive(return_counts=True)[1].tolist()
        host = host.index_select(0, nodes)
    for own, place in zip(nodes.split(sizes), host.split(sizes), strict=True):
        if own.numel() > 1:
            yield own.numpy(), cKDTree(place.numpy())


def _nearest(tree: Any, k: int) -> Iterator[tuple[Array, Array]]:
    """Points and the `min(k, n - 1)` nearest others of each, nearest first, some rows at a time.

    The rows come in the order of the tree's leaves: points close together read the same branches,
    which halves the time of a million random points and leaves what is found as it is.
    """
    k = min(k, tree.n - 1)
    for start in range(0, tree.n, CHUNK):
        node = tree.indices[start : start + CHUNK]
        workers = torch.get_num_threads() if node.size >= MANY else 1
        _, near = tree.query(tree.data[node], k + 1, workers=workers)
        others = near != node[:, None]
        # among more than k copies of a point, its own number may be missing: then the last one goes
        others[others.all(1), -1] = False
        yield node, near[others].reshape(-1, k)


def _neighbor_rows(points: Tensor, systems: Systems, k: int) -> EdgeList:
    """The directed edges to each node from its neighbours, node by node within each graph."""
    rows = [torch.empty(2, 0, dtype=torch.int64)]
    for nodes, tree in _search_trees(points, systems.batch):
        tails = np.empty((tree.n, min(k, tree.n - 1)), np.int64)
        for node, near in _nearest(tree, k):
            tails[node] = nodes[near]
        rows.append(torch.from_numpy(np.stack([tails.ravel(), nodes.repeat(tails.shape[1])])))
    edge_index = torch.cat(rows, 1).to(points.device)
    return EdgeList.unchecked(edge_index, points.shape[0], systems, directed=True)


def _keys(found: Iterator[Tensor], num_nodes: int) -> Tensor:
    """The sorted keys of the pairs, one number for each."""
    none = torch.empty(0, dtype=torch.int64)
    key = torch.cat([none, *(edge_keys(pairs, num_nodes, directed=False) for pairs in found)])
    sort_in_place(key)
    return key


def _undirected(key: Tensor, points: Tensor, systems: Systems) -> EdgeList:
    edge_index = edges_of_keys(key, points.shape[0]).to(points.device)
    return EdgeList.unchecked(edge_index, points.shape[0], systems)


def _checked(points: Tensor, batch: Tensor | None) -> Systems:
    """The graphs of the points, after a look at both."""
    _check_points(points)
    if batch is not None:
        check_tensor(batch, "batch")
        check_same_device(batch, points, "batch", "the points")
    return systems_of(batch, points.shape[0])


def _check_points(points: Tensor) -> None:
    check_tensor(points, "points")
    if points.ndim != 2 or points.shape[1] == 0 or not points.is_floating_point():
        raise mistake(
            f"points of shape {tuple(points.shape)} and dtype {points.dtype}",
            "(nodes, coordinates) of a floating-point type",
            "Put one point on each row and convert with points.float().",
        )
    # four times the square bounds every squared distance, which must not overflow either
    usable = points.detach().double().square().sum(-1).mul_(4).isfinite()
    if not bool(usable.all()):
        raise mistake(
            f"{int((~usable).sum())} points that are NaN, infinite or too far away to measure",
            "finite coordinates",
            "Drop these points, e.g. points[points.isfinite().all(-1)].",
        )
