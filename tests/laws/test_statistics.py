"""Effective neighbours, roughness and connectivity against their definitions, written densely."""

import networkx as nx
import numpy as np
import pytest
import torch

from gsp_unroll import EdgeList, Graph, grid_graph, path_graph
from gsp_unroll.graph import (
    connectivity,
    effective_neighbors,
    neighbor_distance,
    roughness,
    to_edge_list,
)


def dense(graph, weight):
    W = torch.zeros(graph.num_nodes, graph.num_nodes, dtype=weight.dtype)
    edges = graph.topology.edge_index
    W.index_put_((edges[0], edges[1]), weight, accumulate=True)
    return W + W.T


def grids(*batch, shape=(6, 7), dtype=torch.float64):
    topology = grid_graph(shape, window=3)
    weight = topology.mask_edges(torch.rand(*batch, topology.num_edges, dtype=dtype))
    return Graph(topology, weight)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_definitions(dtype):
    graph, x = grids(2, dtype=dtype), torch.rand(2, 42, 3, dtype=dtype)
    counts, rough, second = effective_neighbors(graph), roughness(graph, x), connectivity(graph)
    for i in range(2):
        W = dense(graph, graph.weight[i])
        d = W.sum(1)
        p = W / d[:, None]
        assert counts[i].item() == pytest.approx(
            torch.special.entr(p).sum(1).exp().mean().item(), rel=1e-5
        )
        centred = x[i] - (d[:, None] * x[i]).sum(0) / d.sum()
        energy = torch.trace(x[i].T @ (torch.diag(d) - W) @ x[i])
        expected = energy / (d[:, None] * centred.square()).sum()
        assert rough[i].item() == pytest.approx(expected.item(), rel=1e-4)
        root = torch.diag(d.rsqrt())
        values = torch.linalg.eigvalsh((torch.eye(42) - root @ W @ root).double())
        assert second[i].item() == pytest.approx(values[1].item(), rel=1e-4)
    assert counts.dtype == rough.dtype == second.dtype == dtype


def test_grid_equals_edge_list_and_large_equals_small():
    graph = grids(2, 2, shape=(12, 13))
    other = to_edge_list(graph)
    x = torch.rand(2, 1, 156, 2, dtype=torch.float64)
    for a, b in (
        (effective_neighbors(graph), effective_neighbors(other)),
        (roughness(graph, x), roughness(other, x)),
        (connectivity(graph), connectivity(other)),
    ):
        assert a.shape == (2, 2)
        torch.testing.assert_close(a, b, rtol=1e-9, atol=0)
    L = np.asarray(
        nx.normalized_laplacian_matrix(
            nx.from_numpy_array(dense(graph, graph.weight[1, 0]).numpy())
        ).todense()
    )
    assert connectivity(graph)[1, 0].item() == pytest.approx(np.linalg.eigvalsh(L)[1], rel=1e-9)


def test_extremes():
    topology = grid_graph((30, 30), window=3)
    even = Graph(topology, topology.mask_edges(torch.ones(topology.num_edges)))
    inner = 28 * 28 * 8 + 4 * 28 * 5 + 4 * 3
    assert effective_neighbors(even).item() == pytest.approx(inner / 900)
    # one neighbour takes all
    sharp = Graph(path_graph(4), torch.tensor([1.0, 1e-12, 1.0, 0.0]))
    assert effective_neighbors(sharp).item() == pytest.approx(1, abs=1e-6)
    assert connectivity(sharp).item() == pytest.approx(0, abs=1e-6)
    # white noise: about 1; alternating signs on a bipartite graph: 2
    noise = torch.randn(200, 900, 1, generator=torch.Generator().manual_seed(0))
    assert roughness(even, noise).mean().item() == pytest.approx(1, abs=0.01)
    alternating = torch.tensor([[1.0], [-1.0], [1.0], [-1.0]])
    assert roughness(Graph(path_graph(4), torch.ones(4)), alternating).item() == pytest.approx(2)


def test_graphs_that_fall_apart_and_nodes_alone():
    edges = EdgeList(torch.tensor([[0, 2], [1, 3]]), 5)
    apart = Graph(edges, torch.tensor([2.0, 3.0]))
    assert connectivity(apart).item() == 0
    assert effective_neighbors(apart).item() == pytest.approx(1)
    assert roughness(apart, torch.tensor([[1.0], [1.0], [2.0], [2.0], [9.0]])).item() == 0
    empty = Graph(EdgeList(torch.zeros(2, 0, dtype=torch.long), 3), torch.zeros(0))
    assert effective_neighbors(empty).isnan()
    assert roughness(empty, torch.rand(3, 1)).isnan()
    assert connectivity(empty).item() == 0
    assert roughness(apart, torch.ones(5, 2)).isnan()


def test_they_are_differentiable_where_they_say_so():
    graph, x = grids(2, shape=(3, 4)), torch.rand(12, 2, dtype=torch.float64, requires_grad=True)
    weight = graph.weight.clone().requires_grad_()
    topology = graph.topology

    def both(weight, x):
        g = Graph.unchecked(topology, topology.mask_edges(weight))
        return effective_neighbors(g), roughness(g, x)

    real = topology.mask_edges(torch.ones_like(weight)) > 0
    weight = torch.where(real, weight, 0.5).detach().requires_grad_()
    assert torch.autograd.gradcheck(both, (weight, x))


def test_mistakes():
    directed = grids().both_directions()
    for call in (
        lambda: roughness(directed, torch.rand(42, 1).double()),
        lambda: connectivity(directed),
    ):
        with pytest.raises(ValueError, match=r"Got a directed graph.* Expected an undirected one"):
            call()
    with pytest.raises(ValueError, match=r"Got a graph of 1 nodes"):
        connectivity(Graph(path_graph(1), torch.zeros(1)))
    with pytest.raises(ValueError, match=r"dtype"):
        roughness(grids(), torch.rand(42, 1))
    with pytest.raises(ValueError, match=r"nodes"):
        roughness(grids(), torch.rand(41, 1).double())


# ---- spacing --------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [1, 3, 40])
def test_the_distance_to_a_neighbour_by_all_pairs(k):
    points = torch.rand(20, 3, dtype=torch.float64)
    expected = torch.cdist(points, points).sort(1).values[:, min(k, 19)]
    torch.testing.assert_close(neighbor_distance(points, k), expected[:, None])
    assert neighbor_distance(points.float(), k).dtype == torch.float32


def test_copies_of_a_point_are_near_and_a_single_one_is_refused():
    points = torch.tensor([[0.0], [0.0], [5.0]])
    assert neighbor_distance(points, 1).flatten().tolist() == [0, 0, 5]
    with pytest.raises(ValueError, match=r"Got 1 points"):
        neighbor_distance(points[:1], 1)
    with pytest.raises(ValueError, match="k"):
        neighbor_distance(points, 0)
