"""Graphs with edges of both signs, if no cycle contradicts itself."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import torch
from torch import Tensor

from .._checks import check_same_device, mistake
from .._typing import Signal, Weight
from .convert import to_edge_list
from .graph import Graph
from .topology import Topology


@dataclass(frozen=True, eq=False)
class BalancedGraph:
    r"""A balanced signed graph: a positive graph and a polarity of its nodes.

    $$w_{ij}=b_ib_j\lvert w_{ij}\rvert,\qquad b_i\in\{+1,-1\}$$

    An edge is negative where the polarities of its ends differ: two camps, alike within and opposed
    across. That is the general form of a signed graph in which every cycle has an even number of
    negative edges (Harary 1953), so nothing is lost by storing it this way, and no unbalanced graph
    can be stored.

    Args:
        positive: the graph of the magnitudes, undirected.
        polarity: +1 or -1 at every node.

    Shapes:
        - **positive.weight:** `(*batch, edges)`
        - **polarity:** `(*batch, nodes, 1)`, in the dtype of the weights

    Raises:
        ValueError: a directed graph; a polarity of another shape, dtype or device, or with other
            values than +1 and -1.

    Source:
        Yao et al. 2025; Harary 1953.

    Example:
        >>> import torch
        >>> from gsp_unroll import BalancedGraph, Graph, path_graph
        >>> positive = Graph(path_graph(3), torch.tensor([1.0, 2.0, 0.0]))
        >>> graph = BalancedGraph(positive, torch.tensor([[1.0], [1.0], [-1.0]]))
        >>> graph.weight
        tensor([ 1., -2.,  0.])
    """

    positive: Graph
    polarity: Signal

    def __post_init__(self) -> None:
        topology, b = self.positive.topology, self.polarity
        _check_undirected(topology)
        topology.check_signal(b, "polarity")
        check_same_device(b, self.positive.weight, "a polarity", "the edge weights")
        if b.shape[-1] != 1 or b.dtype != self.positive.weight.dtype:
            raise mistake(
                f"a polarity of shape {tuple(b.shape)} and dtype {b.dtype}",
                f"(*batch, {topology.num_nodes}, 1) of {self.positive.weight.dtype}: one sign per "
                "node, for all channels",
                "Give it a channel axis with b.unsqueeze(-1), and the dtype of the weights.",
            )
        if not bool((b.abs() == 1).all()):
            raise mistake(
                f"{int((b.abs() != 1).sum())} polarities that are neither +1 nor -1",
                "+1 or -1 at every node",
                "Take the sign of a score that is nowhere 0, or use BalancedGraph.from_signed.",
            )

    @classmethod
    def from_signed(cls, topology: Topology, weight: Weight) -> BalancedGraph:
        r"""The balanced graph of signed weights, with the polarity that they imply.

        In every connected part the node of the lowest number gets the polarity +1; edges of weight
        0 connect nothing.

        Args:
            topology: the edges, undirected.
            weight: signed weights `(edges,)`, without batch axes.

        Raises:
            ValueError: signed weights that are not balanced: the message names a cycle with an odd
                number of negative edges; weights that are not finite, or of another length.

        Example:
            >>> import torch
            >>> from gsp_unroll import BalancedGraph, EdgeList
            >>> triangle = EdgeList(torch.tensor([[0, 1, 0], [1, 2, 2]]), num_nodes=3)
            >>> two_camps = BalancedGraph.from_signed(triangle, torch.tensor([-1.0, 2.0, -1.0]))
            >>> two_camps.polarity.flatten()
            tensor([ 1., -1., -1.])
            >>> BalancedGraph.from_signed(triangle, torch.tensor([-1.0, 2.0, 1.0]))
            Traceback (most recent call last):
            ...
            ValueError: Got signed weights whose cycle 1 - 0 - 2 - 1 has an odd number of ...
        """
        _check_undirected(topology)
        topology.check_weight(weight)
        if weight.ndim != 1:
            raise mistake(
                f"signed weights of shape {tuple(weight.shape)}",
                "(edges,): the polarity of one graph is looked for",
                "Call from_signed for each graph of the batch.",
            )
        positive = Graph(topology, weight.abs())  # which refuses NaN and infinity
        listed = to_edge_list(Graph.unchecked(topology, topology.mask_edges(weight)))
        b = _polarity(listed.topology.edge_index, listed.weight, topology.num_nodes)
        return cls(positive, b.to(weight).unsqueeze(-1))

    @property
    def num_nodes(self) -> int:
        return self.positive.num_nodes

    @property
    def topology(self) -> Topology:
        return self.positive.topology

    @property
    def weight(self) -> Weight:
        r"""The signed weights $b_ib_j\lvert w_{ij}\rvert$, `(*batch, edges)`."""
        at_tail, at_head = self.positive.topology.lift(self.polarity)
        return self.positive.weight * (at_tail * at_head).squeeze(-1)


def _check_undirected(topology: Topology) -> None:
    if topology.directed:
        raise mistake(
            "a balanced graph on a directed topology",
            "an undirected one, each edge stored once",
            "Merge both directions of every edge first.",
        )


def _polarity(edge_index: Tensor, weight: Tensor, num_nodes: int) -> Tensor:
    """+1 or -1 for every node, breadth first; a `ValueError` if a cycle is frustrated."""
    neighbours: list[list[tuple[int, int]]] = [[] for _ in range(num_nodes)]
    for (i, j), w in zip(edge_index.T.tolist(), weight.tolist(), strict=True):
        if w != 0:
            sign = 1 if w > 0 else -1
            neighbours[i].append((j, sign))
            neighbours[j].append((i, sign))
    polarity, parent = [0] * num_nodes, list(range(num_nodes))
    for root in range(num_nodes):
        if polarity[root]:
            continue
        polarity[root], reached = 1, deque([root])
        while reached:
            i = reached.popleft()
            for j, sign in neighbours[i]:
                if not polarity[j]:
                    polarity[j], parent[j] = sign * polarity[i], i
                    reached.append(j)
                elif polarity[j] != sign * polarity[i]:
                    raise _frustrated(i, j, parent)
    return torch.tensor(polarity)


def _frustrated(i: int, j: int, parent: list[int]) -> ValueError:
    """The cycle that the edge between `i` and `j` closes in the tree of `parent`."""
    paths = []
    for node in (i, j):
        path = [node]
        while parent[path[-1]] != path[-1]:
            path.append(parent[path[-1]])
        paths.append(path)
    up, down = paths
    while len(up) > 1 and len(down) > 1 and up[-2] == down[-2]:
        up, down = up[:-1], down[:-1]
    cycle = [*up, *reversed(down[:-1]), i]
    return mistake(
        f"signed weights whose cycle {' - '.join(map(str, cycle))} has an odd number of negative "
        "edges",
        "a balanced graph, in which every cycle has an even number",
        f"Turn the sign of one of its edges, such as that between nodes {i} and {j}, or drop it.",
    )
