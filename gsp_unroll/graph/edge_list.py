"""Any graph, as a list of edges."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor

from .._checks import check_positive_count, mistake
from .._typing import EdgeSignal, Signal
from ..kernels.plans import Csr, csr
from ._opaque import one_operation, scatter
from .systems import Systems
from .topology import Topology


@dataclass(frozen=True, eq=False)
class EdgeList(Topology):
    """A graph given by its edges, each undirected edge **once**.

    Args:
        edge_index: `(2, edges)` int64, tails above heads. PyG's convention of listing both
            directions is read by `Graph.from_edge_index`.
        num_nodes: number of nodes.
        batch: `(nodes,)` int64, the graph each node belongs to (as in a PyG `Batch`), or None.
        directed: True when each column is one direction of its own.
        num_graphs: how many graphs `batch` names, 1 or more; if absent, its highest number plus
            one, which overlooks graphs without nodes at the end.

    Shapes:
        - **edge_index:** `(2, edges)`
        - **batch:** `(nodes,)`

    Raises:
        ValueError: an index out of range, a self-loop, a duplicated edge, an edge between two
            graphs of the batch, a graph number out of range.

    Example:
        >>> import torch
        >>> from gsp_unroll import EdgeList
        >>> path = EdgeList(torch.tensor([[0, 1], [1, 2]]), num_nodes=3)
        >>> path.gradient(torch.tensor([[0.0], [1.0], [3.0]])).flatten()
        tensor([1., 2.])
    """

    edge_index: Tensor
    num_nodes: int
    batch: Tensor | None = None
    directed: bool = False
    num_graphs: int | None = None
    _systems: Systems = field(init=False, repr=False)

    def __post_init__(self) -> None:
        e, n = self.edge_index, self.num_nodes
        if e.ndim != 2 or e.shape[0] != 2 or e.dtype != torch.int64:
            raise mistake(
                f"edge_index of shape {tuple(e.shape)} and dtype {e.dtype}",
                "(2, edges) of int64",
                "Stack tails above heads: torch.stack([tail, head]).long().",
            )
        first, last = map(int, e.aminmax()) if e.numel() else (0, -1)
        if first < 0 or last >= n:
            raise mistake(
                f"an edge between nodes {first} and {last} at the extremes",
                f"node numbers from 0 to {n - 1}",
                "Check num_nodes, or drop edges to nodes that are not there.",
            )
        loops = e[0] == e[1]
        if bool(loops.any()):
            raise mistake(
                f"{int(loops.sum())} self-loops",
                "edges between two different nodes",
                "Remove them (their gradient is always 0); Graph.from_edge_index does.",
            )
        doubled = count_repeats(edge_keys(e, n, self.directed))
        if doubled:
            raise mistake(
                f"{doubled} duplicated edges",
                "each undirected edge once" if not self.directed else "each direction once",
                "Use Graph.from_edge_index, which merges both directions and can sum duplicates.",
            )
        systems = systems_of(self.batch, n, self.num_graphs)
        check_within_graphs(e, systems)
        object.__setattr__(self, "_systems", systems)

    @classmethod
    def unchecked(
        cls,
        edge_index: Tensor,
        num_nodes: int,
        systems: Systems | None = None,
        directed: bool = False,
    ) -> EdgeList:
        """The edges as given: for code whose edges obey the rules of the class by construction,
        where the search for duplicates would take as long as making them."""
        systems = Systems() if systems is None else systems
        made = object.__new__(cls)
        for name, value in {
            "edge_index": edge_index,
            "num_nodes": num_nodes,
            "batch": systems.batch,
            "directed": directed,
            "num_graphs": None if systems.batch is None else systems.num_graphs,
            "_systems": systems,
        }.items():
            object.__setattr__(made, name, value)
        return made

    def to(self, device: torch.device | str) -> EdgeList:
        systems = self.systems
        if systems.batch is not None:
            systems = replace(systems, batch=systems.batch.to(device))
        edge_index = self.edge_index.to(device)
        return EdgeList.unchecked(edge_index, self.num_nodes, systems, self.directed)

    @property
    def num_edges(self) -> int:
        return self.edge_index.shape[1]

    @cached_property
    def plan(self) -> Csr | None:
        # a subclass may have edges of its own
        return csr(self.edge_index, self.num_nodes) if type(self) is EdgeList else None

    @property
    def systems(self) -> Systems:
        return self._systems

    def check_device(self, x: Tensor, name: str) -> None:
        if x.device != self.edge_index.device:
            raise mistake(
                f"a {name} on {x.device}",
                f"the device of the edges, {self.edge_index.device}",
                f"Move one of them: x.to('{self.edge_index.device}') or graph.to('{x.device}').",
            )

    def lift(self, x: Signal) -> tuple[EdgeSignal, EdgeSignal]:
        self.check_signal(x)
        # index_select, not x[:, tail]: half the cost, and on a CPU its backward always sums in one
        # order (on CUDA the sum is by atomics, whose order varies)
        tail, head = self.edge_index
        return x.index_select(-2, tail), x.index_select(-2, head)

    def tail_sum(self, z: EdgeSignal) -> Signal:
        return self._scatter(z, self.edge_index[0])

    def head_sum(self, z: EdgeSignal) -> Signal:
        return self._scatter(z, self.edge_index[1])

    def _scatter(self, z: EdgeSignal, node: Tensor) -> Signal:
        self.check_edge_signal(z)
        if one_operation():
            summed: Tensor = scatter(z, node, self.num_nodes)
            return summed
        zero = z.new_zeros(*z.shape[:-2], self.num_nodes, z.shape[-1])
        return zero.index_add(-2, node, z)

    def reversed(self) -> EdgeList:
        """The same edges with tails and heads exchanged."""
        flipped = self.edge_index.flip(0)
        return EdgeList.unchecked(flipped, self.num_nodes, self.systems, self.directed)


# ---- shared by all that build edges ---------------------------------------------------------


def edge_keys(edge_index: Tensor, num_nodes: int, directed: bool) -> Tensor:
    """One number per edge, in lexical order: of an undirected edge `lower * nodes + higher`."""
    first, last = edge_index
    if not directed:
        # two rows: a reduction over an axis of length two takes five times as long
        first, last = torch.minimum(first, last), torch.maximum(first, last)
    # in int64, since the square of the number of nodes exceeds 32 bits
    return torch.add(last, first, alpha=num_nodes)


def edges_of_keys(key: Tensor, num_nodes: int) -> Tensor:
    """The `(2, edges)` that belong to `edge_keys`."""
    edge_index = key.new_empty(2, key.numel())
    first, last = edge_index
    torch.div(key, num_nodes, rounding_mode="floor", out=first)
    torch.sub(key, first, alpha=num_nodes, out=last)
    return edge_index


def sort_in_place(key: Tensor) -> None:
    """Ascending order, without the positions that a sort by torch returns as well."""
    if key.device.type == "cpu":
        key.numpy().sort()
    else:
        key.copy_(key.sort().values)


def count_repeats(key: Tensor) -> int:
    """How many entries of `key` stand there a second time; it is left sorted unless there are 0."""
    before, after = key[:-1], key[1:]
    if bool((before < after).all()):
        return 0
    sort_in_place(key)
    return int((before == after).sum())


def systems_of(batch: Tensor | None, num_nodes: int, num_graphs: int | None = None) -> Systems:
    """The graphs that the nodes belong to, after a look at their numbers."""
    if batch is None:
        if num_graphs not in (None, 1):
            raise mistake(
                f"num_graphs={num_graphs!r} without batch",
                "no num_graphs where all nodes form one graph",
                "Pass `batch` too, the graph number of each node.",
            )
        return Systems()
    if batch.shape != (num_nodes,) or batch.dtype != torch.int64:
        raise mistake(
            f"batch of shape {tuple(batch.shape)} and dtype {batch.dtype}",
            f"({num_nodes},) of int64, one graph number per node",
            "Pass the `batch` vector of a PyG Batch.",
        )
    first, last = map(int, batch.aminmax()) if num_nodes else (0, 0)
    if first < 0:
        raise mistake(
            f"a graph number {first} in batch",
            "graph numbers of 0 or more",
            "Renumber the graphs: batch.unique(return_inverse=True)[1].",
        )
    if num_graphs is None:
        return Systems(batch, last + 1)
    check_positive_count(num_graphs, "num_graphs")
    if last >= num_graphs:
        raise mistake(
            f"a graph number {last} in batch",
            f"graph numbers from 0 to {num_graphs - 1}, since num_graphs={num_graphs}",
            "Check num_graphs, or leave it out to have it read from batch.",
        )
    return Systems(batch, num_graphs)


def check_within_graphs(edge_index: Tensor, systems: Systems) -> None:
    """Raise a three-part `ValueError` if an edge joins two graphs of the batch."""
    if systems.batch is None or systems.num_graphs == 1:
        return
    tails, heads = (systems.batch.index_select(0, side) for side in edge_index)
    crossing = int((tails != heads).sum())
    if crossing:
        raise mistake(
            f"{crossing} edges between two graphs of the batch",
            "edges inside one graph",
            "Leave out `batch` if the nodes form one graph.",
        )
