"""Ready-made graphs: lattices, sequences, point clouds, products."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from numbers import Integral
from typing import Any, Literal, overload

import numpy as np
import torch
from torch import Tensor

from .._checks import check_positive, check_positive_count, check_same_kind, mistake
from .convert import to_edge_list
from .edge_list import EdgeList
from .graph import Graph
from .grid import Grid, Offset
from .topology import Topology

#: From a search tree to the pairs of points that it joins, `(2, pairs)`.
FindPairs = Callable[[Any], "np.ndarray[Any, Any]"]


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


@overload
def product_graph(first: Topology, second: Topology) -> EdgeList: ...
@overload
def product_graph(first: Graph, second: Graph) -> Graph: ...
def product_graph(first: Topology | Graph, second: Topology | Graph) -> EdgeList | Graph:
    r"""The Cartesian product, e.g. of time and space: one copy of `second` per node of `first`.

    $$W = W_1\otimes I + I\otimes W_2,\qquad L = L_1\otimes I + I\otimes L_2$$

    Node $(t,s)$ has number $tN_2+s$, so a signal `(*batch, times, sites, channels)` becomes one
    on the product by `x.flatten(-3, -2)`. Edges of `first` come before those of `second`. If one
    factor is directed, the other is taken in both directions and the product is directed.

    Args:
        first: a topology, or a graph whose weights are carried along.
        second: the same kind of object.

    Shapes:
        - **first.weight, second.weight:** `(*batch, edges)` with batch axes that broadcast

    Raises:
        ValueError: a topology and a graph; a batched factor; weights of different dtype or
            device, or with batch axes that do not broadcast.

    Source:
        Sandryhaila and Moura 2014, Big data analysis with signal processing on graphs, section
        on product graphs.

    Example:
        >>> from gsp_unroll import path_graph, product_graph
        >>> product_graph(path_graph(2), path_graph(2)).edge_index
        tensor([[0, 1, 0, 2],
                [2, 3, 1, 3]])
    """
    if isinstance(first, Graph) and isinstance(second, Graph):
        return _product(first, second)
    if isinstance(first, Graph) or isinstance(second, Graph):
        raise mistake(
            "one graph with weights and one topology without",
            "two topologies or two graphs",
            "Give the topology weights: Graph(topology, torch.ones(topology.num_edges)).",
        )
    # a grid keeps its indices on the CPU and follows the other factor
    device = max((t.edge_index.device for t in (first, second)), key=lambda d: d.type != "cpu")
    ones = [torch.ones(t.num_edges, device=device) for t in (first, second)]
    product = _product(Graph.unchecked(first, ones[0]), Graph.unchecked(second, ones[1]))
    return to_edge_list(product.topology)


# ---- lattices -------------------------------------------------------------------------------


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


# ---- point clouds ---------------------------------------------------------------------------


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


# ---- products -------------------------------------------------------------------------------


def _product(first: Graph, second: Graph) -> Graph:
    check_same_kind(second.weight, first.weight, "the weights of second", "those of first")
    if any(graph.topology.systems.batch is not None for graph in (first, second)):
        raise mistake(
            "a factor that is a batch of graphs",
            "one graph in each factor",
            "Build the product of every graph by itself and batch the products.",
        )
    lead = _common_batch(first.weight, second.weight)
    if first.topology.directed != second.topology.directed:
        first, second = (g if g.topology.directed else g.both_directions() for g in (first, second))
    first, second = to_edge_list(first), to_edge_list(second)
    n_1, n_2 = first.num_nodes, second.num_nodes
    w_1 = first.weight.unsqueeze(-1).expand(*lead, -1, n_2).flatten(-2)
    w_2 = second.weight.unsqueeze(-2).expand(*lead, n_1, -1).flatten(-2)
    edges = _product_edges(first.topology, second.topology)
    topology = EdgeList(edges, n_1 * n_2, directed=first.topology.directed)
    return Graph.unchecked(topology, torch.cat([w_1, w_2], -1))


def _common_batch(first: Tensor, second: Tensor) -> torch.Size:
    try:
        lead: torch.Size = torch.broadcast_shapes(first.shape[:-1], second.shape[:-1])
        return lead
    except RuntimeError:
        raise mistake(
            f"weights of shape {tuple(first.shape)} and {tuple(second.shape)}",
            "batch axes that broadcast",
            "Give both factors the same batch axes, or one of them none.",
        ) from None


def _product_edges(first: Topology, second: Topology) -> Tensor:
    """Edges of the product, those of `first` before those of `second`."""
    e_1, e_2 = first.edge_index, second.edge_index
    t = torch.arange(first.num_nodes, device=e_2.device).unsqueeze(-1)
    s = torch.arange(second.num_nodes, device=e_1.device)
    between_copies = e_1.unsqueeze(-1) * second.num_nodes + s
    within_copies = t * second.num_nodes + e_2.unsqueeze(1)
    return torch.cat([between_copies.flatten(1), within_copies.flatten(1)], 1)
