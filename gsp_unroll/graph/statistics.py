"""What a graph looks like from afar: how many neighbours count, how well it holds together, how
well it fits a signal."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .._checks import check_same_kind, check_signal, mistake
from .._typing import Mask, Signal
from .graph import Graph
from .reciprocal import safe_reciprocal


def effective_neighbors(graph: Graph) -> Tensor:
    r"""How many neighbours of a node count, on average: $\exp H_i$ with the entropy
    $H_i=-\sum_jp_{ij}\log p_{ij}$ of the shares $p_{ij}=w_{ij}/d_i$.

    It is the number of neighbours where all weights are equal, and near 1 where one of them takes
    all. Nodes of degree 0 are left out; NaN where there is no other.

    Args:
        graph: weighted graph.

    Shapes:
        - **output:** `(*batch,)`

    Example:
        >>> import torch
        >>> from gsp_unroll import Graph, path_graph
        >>> from gsp_unroll.graph import effective_neighbors
        >>> effective_neighbors(Graph(path_graph(4), torch.ones(4)))  # of 1, 2, 2 and 1
        tensor(1.5000)
    """
    d = graph.degree
    entropy_sum = graph.topology.degree(-torch.special.xlogy(graph.weight, graph.weight))
    count = (torch.log(torch.where(d > 0, d, 1)) + entropy_sum * safe_reciprocal(d)).exp()
    return torch.where(d > 0, count, 0).sum(-1) / (d > 0).sum(-1)


def roughness(graph: Graph, x: Signal) -> Tensor:
    r"""The mean graph frequency of a signal,
    $\sum_{ij}w_{ij}(x_i-x_j)^2\big/\sum_id_i(x_i-\bar x)^2$ with $\bar x$ the mean weighted by
    degrees: the Rayleigh quotient of the normalised Laplacian, from 0 to 2.

    0 where no edge joins different values, and near 1 where edges know nothing of the signal. Of
    several channels numerator and denominator are added up. NaN of a constant signal.

    Args:
        graph: weighted, undirected graph.
        x: signal; batch axes as the graph's, or none.

    Shapes:
        - **x:** `(*batch, nodes, channels)`
        - **output:** `(*batch,)`

    Raises:
        ValueError: a directed graph; a signal on other nodes.

    Example:
        >>> import torch
        >>> from gsp_unroll import Graph, path_graph
        >>> from gsp_unroll.graph import roughness
        >>> graph = Graph(path_graph(4), torch.tensor([1.0, 0.0, 1.0, 0.0]))
        >>> roughness(graph, torch.tensor([[1.0], [1.0], [2.0], [2.0]]))
        tensor(0.)
    """
    _check_undirected(graph)
    check_signal(x, graph.num_nodes)
    check_same_kind(graph.weight, x, "weights", "a signal")
    d = graph.degree.unsqueeze(-1)
    at_tail, at_head = graph.topology.lift(x)
    energy = (graph.weight.unsqueeze(-1) * (at_tail - at_head).square()).sum((-2, -1))
    mean = (d * x).sum(-2, keepdim=True) / d.sum(-2, keepdim=True)
    return energy / (d * (x - mean).square()).sum((-2, -1))


def connectivity(graph: Graph) -> Tensor:
    r"""The second smallest eigenvalue of $I-D^{-1/2}WD^{-1/2}$: 0 where the graph falls apart,
    small where a thin cut divides it, at most $n/(n-1)$.

    By shift and invert in float64 on the CPU, for graphs of up to some ten thousand nodes. Nodes of
    degree 0 are parts of their own. Not differentiable.

    Args:
        graph: weighted, undirected graph of at least 2 nodes.

    Shapes:
        - **output:** `(*batch,)`

    Raises:
        ValueError: a directed graph, or one of fewer than 2 nodes.

    Source:
        Chung 1997, Spectral Graph Theory, lemma 1.7.

    Example:
        >>> import torch
        >>> from gsp_unroll import Graph, path_graph
        >>> from gsp_unroll.graph import connectivity
        >>> connectivity(Graph(path_graph(2), torch.ones(2)))
        tensor(2.)
    """
    _check_undirected(graph)
    if graph.num_nodes < 2:
        raise mistake(
            f"a graph of {graph.num_nodes} nodes", "at least 2", "Nothing can be cut in two here."
        )
    tail, head = graph.topology.edge_index.cpu().numpy()
    weights = graph.weight.detach().double().cpu()
    values = [
        _second_eigenvalue(tail, head, weight.numpy(), graph.num_nodes)
        for weight in weights.reshape(weights.shape[:-1].numel(), weights.shape[-1])
    ]
    return graph.weight.new_tensor(values).reshape(weights.shape[:-1])


def components(graph: Graph) -> Tensor:
    """The number of the connected part of each node, `(nodes,)`; edges of weight 0 join nothing."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    joined = graph.weight > 0
    tail, head = graph.topology.edge_index.to(joined.device)[:, joined].cpu().numpy()
    shape = (graph.num_nodes, graph.num_nodes)
    W = coo_array((np.ones(len(tail)), (tail, head)), shape=shape)
    labels = connected_components(W, directed=False)[1]
    return torch.from_numpy(labels).to(graph.weight.device, torch.int64)


def determined(parts: Tensor, known: Mask) -> Mask:
    """Where something tells the value of a node: its part of the graph has a known one.

    Args:
        parts: of `components`.
        known: where a value is known.

    Shapes:
        - **parts:** `(nodes,)`
        - **known, output:** `(nodes, channels)`
    """
    count = known.new_zeros(len(parts), known.shape[-1], dtype=torch.int64)
    count.index_add_(0, parts, known.to(torch.int64))
    return (count > 0).index_select(0, parts)


def _second_eigenvalue(
    tail: np.ndarray, head: np.ndarray, weight: np.ndarray, num_nodes: int
) -> float:
    import scipy.sparse as sp
    from scipy.sparse.csgraph import connected_components
    from scipy.sparse.linalg import eigsh

    W = sp.coo_array((weight, (tail, head)), shape=(num_nodes, num_nodes)).tocsr()
    W.eliminate_zeros()
    W = W + W.T
    if connected_components(W, directed=False, return_labels=False) > 1:
        return 0.0
    root = sp.diags_array(1 / np.sqrt(W.sum(1)))
    L = sp.eye_array(num_nodes) - root @ W @ root
    if num_nodes <= 64:
        return float(np.linalg.eigvalsh(L.toarray())[1])
    # just below the smallest, so that the matrix to be factored is positive definite
    values = eigsh(L.tocsc(), k=2, sigma=-1e-3, v0=np.ones(num_nodes), return_eigenvectors=False)
    return float(values.max())


def _check_undirected(graph: Graph) -> None:
    if graph.topology.directed:
        raise mistake(
            "a directed graph", "an undirected one", "Add both directions with graph.merged()."
        )
