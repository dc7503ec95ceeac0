"""The Cartesian product of two graphs, such as time and space."""

from __future__ import annotations

from typing import overload

import torch
from torch import Tensor

from .._checks import check_same_kind, mistake
from .convert import to_edge_list
from .edge_list import EdgeList
from .graph import Graph
from .topology import Topology


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
    return _product_topology(*_directed_alike(first, second))


def _product(first: Graph, second: Graph) -> Graph:
    check_same_kind(second.weight, first.weight, "the weights of second", "those of first")
    lead = _common_batch(first.weight, second.weight)
    if first.topology.directed != second.topology.directed:
        first, second = (g if g.topology.directed else g.both_directions() for g in (first, second))
    first, second = to_edge_list(first), to_edge_list(second)
    topology = _product_topology(first.topology, second.topology)
    w_1 = first.weight.unsqueeze(-1).expand(*lead, -1, second.num_nodes).flatten(-2)
    w_2 = second.weight.unsqueeze(-2).expand(*lead, first.num_nodes, -1).flatten(-2)
    return Graph.unchecked(topology, torch.cat([w_1, w_2], -1))


def _directed_alike(first: Topology, second: Topology) -> tuple[Topology, Topology]:
    if first.directed == second.directed:
        return first, second
    one, other = (t if t.directed else t.both_directions() for t in (first, second))
    return one, other


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


def _product_topology(first: Topology, second: Topology) -> EdgeList:
    """The edges of the product, those of `first` before those of `second`."""
    if any(factor.systems.batch is not None for factor in (first, second)):
        raise mistake(
            "a factor that is a batch of graphs",
            "one graph in each factor",
            "Build the product of every graph by itself and batch the products.",
        )
    first, second = to_edge_list(first), to_edge_list(second)
    n_1, n_2 = first.num_nodes, second.num_nodes
    # a grid keeps its indices on the CPU and follows the other factor
    e_1, e_2 = first.edge_index, second.edge_index
    device = max((e_1.device, e_2.device), key=lambda d: d.type != "cpu")
    e_1, e_2 = e_1.to(device), e_2.to(device)
    between, within = (e_1.shape[1], n_2), (n_1, e_2.shape[1])
    edges = e_1.new_empty(2, between[0] * between[1] + within[0] * within[1])
    copies, parts = edges.split([between[0] * between[1], within[0] * within[1]], 1)
    t, s = torch.arange(n_1, device=device), torch.arange(n_2, device=device)
    torch.add(s, e_1.unsqueeze(-1), alpha=n_2, out=copies.unflatten(1, between))
    torch.add(e_2.unsqueeze(1), t.unsqueeze(-1), alpha=n_2, out=parts.unflatten(1, within))
    return EdgeList.unchecked(edges, n_1 * n_2, directed=first.directed)
