"""Graphs in and out of PyTorch Geometric, and out of any structure into an edge list.

Matrices are read and written in `adjacency`.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal, overload

import torch
from torch import Tensor

from .._checks import mistake
from .._typing import Weight
from .both_directions import BothDirections
from .edge_list import (
    EdgeList,
    check_within_graphs,
    count_repeats,
    edge_keys,
    edges_of_keys,
    systems_of,
)
from .graph import Graph, check_graph
from .grid import Grid
from .topology import Topology

if TYPE_CHECKING:
    from torch_geometric import EdgeIndex
    from torch_geometric.data import Batch, Data

#: Relative difference up to which the weights of both directions count as one.
SYMMETRY_TOLERANCE = 1e-6


def from_edge_index(
    edge_index: Tensor,
    edge_weight: Weight | None = None,
    num_nodes: int | None = None,
    *,
    batch: Tensor | None = None,
    directed: bool = False,
    duplicates: Literal["refuse", "sum"] = "refuse",
    num_graphs: int | None = None,
) -> Graph:
    r"""A graph from PyG's `edge_index`, which lists both directions of an undirected edge.

    The columns $(i,j)$ and $(j,i)$ become one edge of weight $w_{ij}=w_{ji}$. Self-loops are
    dropped with a warning, since their gradient is zero; mind that they no longer count in the
    degree. If you list each undirected edge once, build `Graph(EdgeList(edge_index, n), weight)`.

    Args:
        edge_index: sources (our tails) above targets (our heads), plain or as PyG's `EdgeIndex`.
        edge_weight: one non-negative weight per column; ones of the default dtype if absent.
        num_nodes: number of nodes; if absent, that of an `EdgeIndex`, the length of `batch`, or the
            highest node number plus one, which overlooks isolated nodes at the end.
        batch: the graph that each node belongs to.
        directed: True keeps each column as a one-way edge.
        duplicates: `"refuse"` a direction that is listed twice, or `"sum"` its weights.
        num_graphs: how many graphs `batch` names; if absent, its highest number plus one, which
            overlooks graphs without nodes at the end.

    Shapes:
        - **edge_index:** `(2, columns)`, int64
        - **edge_weight:** `(*batch, columns)`
        - **batch:** `(nodes,)`, int64

    Raises:
        ValueError: an edge without its reverse or with another weight there (by more than one
            millionth), duplicates, a node or graph number out of range, an edge between two graphs,
            a weight that is negative or not finite, tensors of another shape or dtype.

    Example:
        >>> import torch
        >>> from gsp_unroll import Graph
        >>> both = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
        >>> graph = Graph.from_edge_index(both, torch.tensor([0.5, 0.5, 2.0, 2.0]))
        >>> graph.topology.edge_index, graph.weight
        (tensor([[0, 1],
                [1, 2]]), tensor([0.5000, 2.0000]))
    """
    if duplicates not in ("refuse", "sum"):
        raise mistake(
            f"duplicates={duplicates!r}", "'refuse' or 'sum'", "Use 'sum' to add their weights."
        )
    num_nodes = _known_nodes(edge_index) if num_nodes is None else num_nodes
    edge_index = _plain(edge_index)
    n = _count_nodes(edge_index, num_nodes, batch)
    systems = systems_of(batch, n, num_graphs)
    w = _weight_per_column(edge_index, edge_weight)
    edge_index, w = _without_self_loops(edge_index, w)
    read = _each_direction_once if directed else _directions_merged
    edge_index, w = read(edge_index, w, n, duplicates)
    check_within_graphs(edge_index, systems)
    return Graph(EdgeList.unchecked(edge_index, n, systems, directed), w)


def from_pyg(data: Data, *, directed: bool = False) -> Graph:
    """A graph from a PyG `Data` or `Batch`; see `from_edge_index` for the rules.

    Reads `edge_index`, `num_nodes`, `batch` and `num_graphs` if there is a batch, and as weights
    `edge_weight` or, if that is absent, an `edge_attr` of one number per edge. Where there is no
    `edge_index`, the matrix `adj_t` that PyG's `ToSparseTensor` leaves is read. Every graph of a
    `Batch` is kept, those without nodes included.

    Args:
        data: the PyG object; it is not changed.
        directed: True keeps each column of `edge_index` as a one-way edge.

    Raises:
        ValueError: no `edge_index`, an `edge_attr` of several features without `edge_weight`, or
            whatever `from_edge_index` refuses.

    Example:
        >>> import torch
        >>> from torch_geometric.data import Data
        >>> from gsp_unroll import Graph
        >>> Graph.from_pyg(Data(edge_index=torch.tensor([[0, 1], [1, 0]]), num_nodes=3)).degree
        tensor([1., 1., 0.])
    """
    edge_index = getattr(data, "edge_index", None)
    batch, num_graphs = batch_of(data)
    adjacency = getattr(data, "adj_t", None)
    if edge_index is None and adjacency is not None:
        from .adjacency import from_adjacency

        return from_adjacency(adjacency, batch=batch, directed=directed, num_graphs=num_graphs)
    if edge_index is None:
        raise mistake(
            f"a {type(data).__name__} without edge_index",
            "a Data or Batch with edge_index",
            "Build one first, e.g. with knn_graph, or call to_homogeneous() on a HeteroData.",
        )
    return from_edge_index(
        edge_index,
        _pyg_weight(data),
        data.num_nodes,
        batch=batch,
        directed=directed,
        num_graphs=num_graphs,
    )


def batch_of(data: Data) -> tuple[Tensor | None, int | None]:
    """The graph of each node and their number, where `data` is several graphs."""
    batch = getattr(data, "batch", None)
    # a Data that was given a batch vector by hand does not know its number of graphs
    return batch, None if batch is None else getattr(data, "num_graphs", None)


def to_pyg(graph: Graph, **attributes: Any) -> Data | Batch:
    """A PyG `Data` with `edge_index`, `edge_weight`, `num_nodes` and the attributes given.

    An undirected graph lists all edges and then all of their reverses, as PyG expects; padded
    slots are left out. A graph with a `batch` vector gives a `Batch`: an attribute is cut up by
    node if it has one row per node, by graph if it has one row per graph, and copied to every
    graph if it is no tensor or a single number.

    Args:
        graph: a graph with one weight per edge.
        **attributes: what else to set, such as `x=` or `y=`. An attribute of edges must follow the
            order above; a `Batch` refuses it.

    Raises:
        ValueError: weights with batch axes; a batch whose nodes are not sorted by graph; an
            attribute that cannot be cut up.

    Example:
        >>> import torch
        >>> from gsp_unroll import Graph, path_graph
        >>> Graph(path_graph(3), torch.ones(3)).to_pyg(x=torch.zeros(3, 8))
        Data(x=[3, 8], edge_index=[2, 4], edge_weight=[4], num_nodes=3)
    """
    from torch_geometric.data import Batch, Data

    edge_index, weight = columns_of(graph)
    n, systems = graph.num_nodes, graph.topology.systems
    if systems.batch is None:
        return Data(edge_index=edge_index, edge_weight=weight, num_nodes=n, **attributes)
    batch = systems.batch.to(weight.device)
    parts = _cut_up(edge_index, weight, batch, systems.num_graphs, attributes)
    return Batch.from_data_list([Data(**part) for part in parts])


def columns_of(graph: Graph) -> tuple[Tensor, Weight]:
    """PyG's `edge_index` and `edge_weight`: all edges of an undirected graph, then all reverses.

    Raises:
        ValueError: weights with batch axes.
    """
    check_graph(graph)
    if graph.weight.ndim != 1:
        raise mistake(
            f"edge weights of shape {tuple(graph.weight.shape)}",
            "(edges,), since PyG holds one graph with one weight per edge",
            "Convert one at a time: Graph(graph.topology, graph.weight[0]).",
        )
    listed = to_edge_list(graph)
    edge_index, weight = listed.topology.edge_index, listed.weight
    if listed.topology.directed:
        return edge_index, weight
    return torch.cat([edge_index, edge_index.flip(0)], 1), weight.repeat(2)


def to_edge_index(graph: Graph) -> tuple[EdgeIndex, Weight]:
    """PyG's `EdgeIndex`, sorted by column, and the weights in its order.

    It knows the number of nodes and whether the graph is undirected; PyG's layers multiply with it
    faster than with a plain `edge_index`.

    Args:
        graph: a graph with one weight per edge.

    Shapes:
        - **edge_index:** `(2, columns)`, **weight:** `(columns,)`; both directions of an
          undirected edge

    Raises:
        ValueError: weights with batch axes.

    Example:
        >>> import torch
        >>> from gsp_unroll import Graph, path_graph
        >>> from gsp_unroll.graph import to_edge_index
        >>> edge_index, weight = to_edge_index(Graph(path_graph(3), torch.tensor([1.0, 2.0, 0.0])))
        >>> edge_index.as_tensor(), weight
        (tensor([[1, 0, 2, 1],
                [0, 1, 1, 2]]), tensor([1., 1., 2., 2.]))
    """
    from torch_geometric import EdgeIndex

    edge_index, weight = columns_of(graph)
    n = graph.num_nodes
    # one number per column, by head first: the key of the reversed direction
    order = edge_keys(edge_index.flip(0), n, directed=True).argsort()
    made = EdgeIndex(
        edge_index.index_select(1, order),
        sparse_size=(n, n),
        sort_order="col",
        is_undirected=not graph.topology.directed,
    )
    return made, weight.index_select(0, order)


def to_edge_weight(graph: Graph, edge_index: Tensor) -> Weight:
    """The weight of `graph` on every column of PyG's `edge_index`, in its order.

    What PyG's layers take beside an `edge_index` that they already have. On an undirected graph
    both directions of an edge have its weight.

    Args:
        graph: a graph with these edges, and perhaps others.
        edge_index: PyG's sources above targets.

    Shapes:
        - **edge_index:** `(2, columns)`, int64
        - **output:** `(*batch, columns)`

    Raises:
        ValueError: a column that is no edge of the graph, such as a self-loop; a node number out
            of range.

    Example:
        >>> import torch
        >>> from gsp_unroll import Graph, path_graph
        >>> from gsp_unroll.graph import to_edge_weight
        >>> graph = Graph(path_graph(3), torch.tensor([0.5, 2.0, 0.0]))
        >>> to_edge_weight(graph, torch.tensor([[2, 1, 0], [1, 0, 1]]))
        tensor([2.0000, 0.5000, 0.5000])
    """
    edge_index = _plain(edge_index)
    listed = to_edge_list(graph)
    n, directed = graph.num_nodes, listed.topology.directed
    _count_nodes(edge_index, n, None)
    key, order = edge_keys(listed.topology.edge_index, n, directed).sort()
    wanted = edge_keys(edge_index, n, directed)
    place = torch.searchsorted(key, wanted)
    found = torch.cat([key, key.new_full((1,), -1)]).index_select(0, place) == wanted
    if not bool(found.all()):
        strange = edge_index[:, ~found]
        raise mistake(
            f"{strange.shape[1]} columns that are no edges of the graph, such as "
            f"{tuple(strange[:, 0].tolist())}",
            "the edges of the graph, without self-loops",
            "Pass the edge_index that the graph was made from; for self-loops see "
            "torch_geometric.utils.remove_self_loops.",
        )
    return listed.weight.index_select(-1, order.index_select(0, place))


@overload
def to_edge_list(structure: Topology) -> EdgeList: ...
@overload
def to_edge_list(structure: Graph) -> Graph: ...
def to_edge_list(structure: Topology | Graph) -> EdgeList | Graph:
    """The same edges as an `EdgeList`, without padded slots, in the same order.

    A directed topology, such as `both_directions()`, gives a directed `EdgeList`. Of a graph, the
    weights of the edges that are kept come along, on their device.

    Args:
        structure: a topology or a graph.

    Shapes:
        - **weight of the result:** `(*batch, edges)`, padded slots not counted

    Example:
        >>> from gsp_unroll import path_graph
        >>> from gsp_unroll.graph.convert import to_edge_list
        >>> to_edge_list(path_graph(3)).edge_index
        tensor([[0, 1],
                [1, 2]])
    """
    if isinstance(structure, Graph):
        topology, w = to_edge_list(structure.topology), structure.weight
        if topology.edge_index.device != w.device:
            topology = topology.to(w.device)
        if topology.num_edges != structure.topology.num_edges:
            kept = structure.topology.edge_mask.nonzero().squeeze(-1).to(w.device)
            w = w.index_select(-1, kept)
        return Graph.unchecked(topology, w)
    if isinstance(structure, EdgeList):
        return structure
    n, systems = structure.num_nodes, structure.systems
    if isinstance(structure, BothDirections):
        e = to_edge_list(structure.undirected).edge_index
        return EdgeList.unchecked(torch.cat([e, e.flip(0)], 1), n, systems, directed=True)
    edge_index, kept = structure.edge_index, structure.edge_mask
    if not bool(kept.all()):
        edge_index = edge_index.index_select(1, kept.nonzero().squeeze(-1))
    if isinstance(structure, Grid):
        return EdgeList.unchecked(edge_index, n, systems, structure.directed)
    # a structure of the user's own is looked at
    return EdgeList(edge_index, n, systems.batch, structure.directed, systems.num_graphs)


# ---- reading columns ------------------------------------------------------------------------


def _plain(edge_index: Tensor) -> Tensor:
    """The plain tensor inside PyG's `EdgeIndex`, whose slices are of special types."""
    as_tensor = getattr(edge_index, "as_tensor", None)
    return edge_index if as_tensor is None else as_tensor()


def _known_nodes(edge_index: Tensor) -> int | None:
    """The number of nodes that PyG's `EdgeIndex` was told."""
    sparse_size = getattr(edge_index, "sparse_size", None)
    if sparse_size is None:
        return None
    known: list[int] = [size for size in sparse_size() if size is not None]
    return max(known, default=None)


def _count_nodes(edge_index: Tensor, num_nodes: int | None, batch: Tensor | None) -> int:
    """The number of nodes, given or inferred, after a look at the node numbers."""
    if edge_index.ndim != 2 or edge_index.shape[0] != 2 or edge_index.dtype != torch.int64:
        raise mistake(
            f"edge_index of shape {tuple(edge_index.shape)} and dtype {edge_index.dtype}",
            "(2, columns) of int64",
            "Stack sources above targets: torch.stack([source, target]).long().",
        )
    first, last = edge_index.aminmax() if edge_index.numel() else (0, -1)
    if num_nodes is None:
        num_nodes = int(last) + 1 if batch is None else batch.numel()
    if first < 0 or last >= num_nodes:
        raise mistake(
            f"an edge between nodes {int(first)} and {int(last)} at the extremes",
            f"node numbers from 0 to {num_nodes - 1}",
            "Check num_nodes, or drop edges to nodes that are not there.",
        )
    return num_nodes


def _weight_per_column(edge_index: Tensor, edge_weight: Tensor | None) -> Weight:
    columns = edge_index.shape[1]
    if edge_weight is None:
        return torch.ones(columns, device=edge_index.device)
    fits = edge_weight.ndim >= 1 and edge_weight.shape[-1] == columns
    if not fits or not edge_weight.is_floating_point():
        raise mistake(
            f"edge_weight of shape {tuple(edge_weight.shape)} and dtype {edge_weight.dtype}",
            f"(*batch, {columns}) of float32 or float64, one weight per column of edge_index",
            "Bring it to this form, e.g. with edge_weight.squeeze(-1).float().",
        )
    return edge_weight


def _pyg_weight(data: Any) -> Weight | None:
    """`edge_weight`, or an `edge_attr` that can only be meant as one."""
    name = "edge_weight" if getattr(data, "edge_weight", None) is not None else "edge_attr"
    values: Tensor | None = getattr(data, name, None)
    if values is None or values.ndim == 1:
        return values
    if values.ndim == 2 and values.shape[1] == 1:
        return values.squeeze(-1)
    raise mistake(
        f"{name} of shape {tuple(values.shape)}",
        "one weight per edge",
        "Set data.edge_weight, e.g. to torch.ones(data.num_edges).",
    )


def _without_self_loops(edge_index: Tensor, w: Weight) -> tuple[Tensor, Weight]:
    loops = edge_index[0] == edge_index[1]
    if not bool(loops.any()):
        return edge_index, w
    kept = (~loops).nonzero().squeeze(-1)
    dropped = int(loops.sum())
    message = f"Dropped {dropped} self-loops: their gradient is zero, and no degree counts them."
    warnings.warn(message, UserWarning, stacklevel=3)
    return edge_index.index_select(1, kept), w.index_select(-1, kept)


def _each_direction_once(
    edge_index: Tensor, w: Weight, n: int, duplicates: str
) -> tuple[Tensor, Weight]:
    """The columns as they are; sorted if weights had to be added."""
    repeated = count_repeats(edge_keys(edge_index, n, directed=True))
    if not repeated:
        return edge_index, w
    _refuse_repeats(repeated, duplicates)
    key, place = edge_keys(edge_index, n, directed=True).unique(return_inverse=True)
    return edges_of_keys(key, n), _summed(w, place, key.numel())


def _directions_merged(
    edge_index: Tensor, w: Weight, n: int, duplicates: str
) -> tuple[Tensor, Weight]:
    """One edge for every pair of columns (i, j) and (j, i), with i below j, sorted."""
    # one sort finds duplicates and partners: after it the edge 2e up stands before 2e + 1 down
    key = edge_keys(edge_index, n, directed=False).mul_(2).add_(edge_index[0] > edge_index[1])
    # stable: on a CPU a radix sort, twice as fast, and weights are added in the order given
    key, order = key.sort(stable=True)
    w = w.index_select(-1, order)
    repeated = int((key[1:] == key[:-1]).sum())
    if repeated:
        _refuse_repeats(repeated, duplicates)
        key, place = key.unique_consecutive(return_inverse=True)
        w = _summed(w, place, key.numel())
    up, down = key[0::2], key[1::2]
    if not torch.equal(up ^ 1, down):
        _refuse_edges(
            key, ~_has_partner(key), n, "without their reverse", "both directions of each edge"
        )
    forth, back = w[..., 0::2], w[..., 1::2]
    if not torch.equal(forth, back):
        # a NaN passes here and is refused, by its name, where the graph is built
        differs = (forth - back).abs() > SYMMETRY_TOLERANCE * torch.maximum(forth.abs(), back.abs())
        differs = differs.unsqueeze(0).flatten(0, -2).any(0).repeat_interleave(2)
        _refuse_edges(
            key, differs, n, "whose reverse has another weight", "one weight for both directions"
        )
    # the mean, in a form that is exact for equal weights and shows a NaN of either side
    return edges_of_keys(up >> 1, n), forth + (back - forth) / 2


def _summed(w: Weight, place: Tensor, size: int) -> Weight:
    return w.new_zeros(*w.shape[:-1], size).index_add(-1, place, w)


def _has_partner(key: Tensor) -> Tensor:
    """Whether the neighbour of each sorted key, before or after, is its reverse."""
    same = key[1:] >> 1 == key[:-1] >> 1
    none = same.new_zeros(1)
    return torch.cat([none, same]) | torch.cat([same, none])


def _refuse_repeats(repeated: int, duplicates: str) -> None:
    if duplicates == "refuse":
        raise mistake(
            f"{repeated} duplicated columns of edge_index",
            "each direction once",
            "Drop them with torch_geometric.utils.coalesce, or add their weights with "
            "duplicates='sum'.",
        )


def _refuse_edges(key: Tensor, wrong: Tensor, n: int, what: str, expected: str) -> None:
    count = int(wrong.sum())
    if count:
        edge, down = divmod(int(key[wrong][0]), 2)
        i, j = divmod(edge, n)
        raise mistake(
            f"{count} edges {what}, such as {(j, i) if down else (i, j)}",
            expected,
            "Call torch_geometric.utils.to_undirected, pass directed=True for a directed graph, or "
            "build EdgeList(edge_index, num_nodes) if each undirected edge is listed once.",
        )


# ---- writing a batch ------------------------------------------------------------------------


def _cut_up(
    edge_index: Tensor, weight: Weight, batch: Tensor, num_graphs: int, attributes: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """The fields of each graph's `Data`."""
    if bool((batch.diff() < 0).any()):
        raise mistake(
            "a batch vector that is not sorted",
            "the nodes of each graph side by side, as PyG keeps them",
            "Renumber the nodes by batch.argsort(stable=True) first.",
        )
    sizes = torch.bincount(batch, minlength=num_graphs).tolist()
    of_edge, order = batch.index_select(0, edge_index[0]).sort(stable=True)
    counts = torch.bincount(of_edge, minlength=num_graphs).tolist()
    edges = edge_index.index_select(1, order).split(counts, 1)
    weights = weight.index_select(0, order).split(counts)
    pieces = {name: _pieces(name, value, sizes) for name, value in attributes.items()}
    start = 0
    for g, size in enumerate(sizes):
        own = {name: piece[g] for name, piece in pieces.items()}
        yield {
            "edge_index": edges[g] - start,
            "edge_weight": weights[g],
            "num_nodes": size,
            **own,
        }
        start += size


def _pieces(name: str, value: Any, sizes: list[int]) -> Any:
    """An attribute for each graph: its nodes' rows, its own row, or a copy."""
    if not isinstance(value, Tensor) or value.ndim == 0:
        return [value] * len(sizes)
    of_edges = name.startswith("edge_")  # as many edges as nodes are no reason to mix them up
    if value.shape[0] == sum(sizes) and not of_edges:
        return value.split(sizes)
    if value.shape[0] == len(sizes) and not of_edges:
        return value.split(1)
    raise mistake(
        f"attribute {name} of shape {tuple(value.shape)}",
        f"one row for each of {sum(sizes)} nodes or of {len(sizes)} graphs",
        f"Set other attributes on the Batch yourself: batch.{name} = ....",
    )
