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
    # a grid keeps its indices on the CPU and follows the other factor
    device = max((t.edge_index.device for t in (first, second)), key=lambda d: d.type != "cpu")
    ones = [torch.ones(t.num_edges, device=device) for t in (first, second)]
    product = _product(Graph.unchecked(first, ones[0]), Graph.unchecked(second, ones[1]))
    return to_edge_list(product.topology)


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
