"""A graph from smooth signals: the optimum by another solver, laws of scale, the certificate."""

import cvxpy as cp
import numpy as np
import pytest
import torch

from gsp_unroll.graph import EdgeList, Graph, grid_graph, knn_graph, path_graph, radius_graph
from gsp_unroll.graph.convert import to_edge_list
from gsp_unroll.operators import Laplacian
from gsp_unroll.solvers import Status, log_degree_graph
from tests.registries import cloud, edges

TIGHT = {"tol_gap_abs": 1e-11, "tol_gap_rel": 1e-11, "tol_feas": 1e-11}
POINTS = knn_graph(cloud(20), 5)
TOPOLOGIES = {
    "points": lambda: POINTS,
    "all pairs": lambda: EdgeList(torch.triu_indices(8, 8, 1), 8),
    "image": lambda: grid_graph((4, 5)),
    "tree": lambda: path_graph(9),
    "two parts": lambda: EdgeList(edges((1, 0), (1, 2), (0, 2), (3, 4)), 5),
}
every_topology = pytest.mark.parametrize("build", TOPOLOGIES.values(), ids=TOPOLOGIES.keys())


def parts(got, expected, advice):
    return pytest.raises(ValueError, match=f"(?s)Got {got}.*Expected {expected}.*{advice}")


def signals_on(topology, *batch, count=4, seed=0):
    """Signals that change slowly along the numbers of the nodes, with some noise."""
    draw = torch.Generator().manual_seed(seed)
    n = topology.num_nodes
    noise = torch.randn(*batch, n, count, generator=draw, dtype=torch.float64)
    return torch.arange(n).double().unsqueeze(-1) / n + 0.4 * noise


def objective(W, Z, alpha, beta):
    """As written for matrices."""
    return np.abs(W * Z).sum() - alpha * np.log(W.sum(1)).sum() + 0.5 * beta * np.square(W).sum()


def reference(signals, topology, alpha, beta):
    """The optimal matrix, found by Clarabel on the problem for matrices."""
    n, x = topology.num_nodes, signals.numpy()
    Z = np.square(x[:, None] - x[None]).sum(-1)
    listed = to_edge_list(topology)
    tail, head = listed.edge_index.numpy()
    w = cp.Variable(len(tail))
    place = np.zeros((n * n, len(tail)))  # of an edge in the matrix, at both of its places
    place[tail * n + head, np.arange(len(tail))] = 1
    place[head * n + tail, np.arange(len(tail))] = 1
    W = cp.reshape(place @ w, (n, n), order="C")
    cost = cp.sum(cp.multiply(Z, W)) - alpha * cp.sum(cp.log(cp.sum(W, axis=1)))
    cost += 0.5 * beta * cp.sum_squares(W)
    cp.Problem(cp.Minimize(cost), [w >= 0]).solve(solver=cp.CLARABEL, **TIGHT)
    return W.value, Z


def matrix(topology, weight):
    n = topology.num_nodes
    W = np.zeros((n, n))
    listed = to_edge_list(Graph(topology, weight))
    tail, head = listed.topology.edge_index.numpy()
    W[tail, head] = W[head, tail] = listed.weight.double().numpy()
    return W


# ---- the optimum ----------------------------------------------------------------------------


@every_topology
@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 1.0), (0.1, 0.2), (3.0, 0.01)])
def test_the_optimum_is_that_of_another_solver(build, alpha, beta):
    topology = build()
    signals = signals_on(topology)
    found = log_degree_graph(signals, topology, alpha=alpha, beta=beta, rtol=1e-7)
    assert found.converged
    assert found.num_steps < 5000
    W, (best, Z) = matrix(topology, found.graph.weight), reference(signals, topology, alpha, beta)
    np.testing.assert_allclose(W, best, rtol=0, atol=1e-5 * best.max())
    assert objective(W, Z, alpha, beta) <= objective(best, Z, alpha, beta) + 1e-8
    assert bool((found.graph.degree > 0).all())


def test_its_first_term_is_twice_the_roughness():
    signals = signals_on(POINTS)
    graph = log_degree_graph(signals, POINTS).graph
    W, Z = matrix(POINTS, graph.weight), torch.cdist(signals, signals).square().numpy()
    rough = 2 * (signals * Laplacian(graph)(signals)).sum()
    assert np.abs(W * Z).sum() == pytest.approx(rough.item())


@pytest.mark.parametrize("max_steps", [1, 7, 20, 60])
def test_the_error_is_a_bound_long_before_convergence(max_steps):
    signals = signals_on(POINTS)
    best = log_degree_graph(signals, POINTS, alpha=0.1, beta=0.1, rtol=1e-9).graph.weight
    found = log_degree_graph(signals, POINTS, alpha=0.1, beta=0.1, rtol=1e-9, max_steps=max_steps)
    assert (found.status, found.num_steps) == (Status.MAX_STEPS, max_steps)
    assert not found.converged
    w = found.graph.weight
    assert (w - best).norm() / w.norm() <= found.error.item() + 1e-9


def test_the_error_asked_for_is_reached():
    signals = signals_on(POINTS)
    best = log_degree_graph(signals, POINTS, rtol=1e-10).graph.weight
    steps = []
    for rtol in (1e-1, 1e-3, 1e-5):
        found = log_degree_graph(signals, POINTS, rtol=rtol)
        assert found.converged
        assert found.error.item() <= rtol
        assert (found.graph.weight - best).norm() <= rtol * found.graph.weight.norm()
        steps.append(found.num_steps)
    assert steps == sorted(steps)


# ---- laws of scale --------------------------------------------------------------------------


def weights(signals, alpha, beta):
    found = log_degree_graph(signals, POINTS, alpha=alpha, beta=beta, rtol=1e-9)
    assert found.converged
    return found.graph.weight


@pytest.mark.parametrize("gamma", [0.1, 3.0])
def test_alpha_scales_the_weights_if_alpha_beta_is_kept(gamma):
    signals = signals_on(POINTS)
    one, other = weights(signals, 0.3, 0.5), weights(signals, 0.3 / gamma, 0.5 * gamma)
    torch.testing.assert_close(one, gamma * other, rtol=0, atol=1e-7)
    torch.testing.assert_close(one, 0.3 * weights(signals, 1.0, 0.15), rtol=0, atol=1e-7)


@pytest.mark.parametrize("gamma", [0.1, 3.0])
def test_distances_alpha_and_beta_together_scale_nothing(gamma):
    signals = signals_on(POINTS)
    one, other = weights(signals, 0.3, 0.5), weights(signals * gamma**0.5, 0.3 * gamma, 0.5 * gamma)
    torch.testing.assert_close(one, other, rtol=0, atol=1e-7)


def test_beta_decides_how_many_edges_there_are():
    signals = signals_on(POINTS)
    counts = [int((weights(signals, 1.0, beta) > 1e-6).sum()) for beta in (0.01, 0.1, 1.0, 1e4)]
    assert counts == sorted(counts)
    assert counts[0] < counts[-1] == POINTS.num_edges


def test_without_any_difference_the_weights_are_known():
    # a triangle of equal signals: 2 beta w = 2 alpha / d with d = 2 w
    triangle = EdgeList(edges((0, 1), (1, 2), (0, 2)), 3)
    found = log_degree_graph(torch.zeros(3, 2).double(), triangle, alpha=3.0, beta=2.0, rtol=1e-10)
    expected = torch.full((3,), (3.0 / (2 * 2.0)) ** 0.5).double()
    torch.testing.assert_close(found.graph.weight, expected)


# ---- batches, kinds, structures -------------------------------------------------------------


def test_items_of_a_batch_are_themselves_alone():
    signals = signals_on(POINTS, 2, 3)
    signals[0, 1] *= 3  # which takes more steps
    together = log_degree_graph(signals, POINTS, alpha=0.1, beta=0.1)
    assert together.converged
    assert together.graph.weight.shape == (2, 3, POINTS.num_edges)
    assert together.error.shape == (2, 3, 1, 1)
    for i in np.ndindex(2, 3):
        alone = log_degree_graph(signals[i], POINTS, alpha=0.1, beta=0.1)
        torch.testing.assert_close(together.graph.weight[i], alone.graph.weight, rtol=0, atol=1e-12)
        torch.testing.assert_close(together.error[i], alone.error)


def test_graphs_of_a_batch_are_themselves_alone():
    batch = torch.tensor([0, 2, 0, 2, 2, 0, 2, 0, 2, 0, 0, 2])  # no node is of graph 1
    both = knn_graph(cloud(12), 3, batch=batch)
    signals = signals_on(both)
    together = log_degree_graph(signals, both)
    assert together.converged
    assert together.error.shape == (3, 1)
    assert bool(together.error.isfinite().all())
    for g in (0, 2):
        nodes = (batch == g).nonzero()[:, 0]
        position = torch.full((12,), -1)
        position[nodes] = torch.arange(len(nodes))
        own = batch[both.edge_index[0]] == g
        alone = log_degree_graph(
            signals[nodes], EdgeList(position[both.edge_index[:, own]], len(nodes))
        )
        torch.testing.assert_close(together.graph.weight[own], alone.graph.weight)


def test_a_grid_is_its_edge_list():
    grid = grid_graph((4, 5))
    signals = signals_on(grid)
    on_grid, on_list = (log_degree_graph(signals, t) for t in (grid, to_edge_list(grid)))
    torch.testing.assert_close(on_grid.graph.weight[grid.edge_mask], on_list.graph.weight)
    assert not on_grid.graph.weight[~grid.edge_mask].any()


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_single_precision(scale):
    signals = scale * signals_on(POINTS)
    numbers = {"alpha": 0.2 * scale**2, "beta": 0.2 * scale**2}
    double = log_degree_graph(signals, POINTS, **numbers)
    single = log_degree_graph(signals.float(), POINTS, **numbers)
    assert (single.graph.weight.dtype, single.error.dtype) == (torch.float32, torch.float32)
    assert single.converged
    difference = single.graph.weight.double() - double.graph.weight
    assert difference.norm() <= 5e-4 * double.graph.weight.norm()


def test_a_graph_without_nodes():
    found = log_degree_graph(torch.zeros(0, 2), EdgeList(edges(), 0))
    assert found.converged
    assert found.graph.weight.shape == (0,)
    assert "CONVERGED, num_steps=" in repr(found)


def test_no_gradient_is_recorded():
    signals = signals_on(POINTS).requires_grad_()
    assert not log_degree_graph(signals, POINTS).graph.weight.requires_grad


def test_distances_beyond_the_range_of_the_dtype():
    found = log_degree_graph(1e25 * signals_on(POINTS).float(), POINTS, max_steps=50)
    assert found.status is Status.NOT_FINITE
    assert not found.converged


# ---- wrong use ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["alpha", "beta", "rtol"])
@pytest.mark.parametrize("value", [0.0, -1.0, float("inf"), float("nan")])
def test_numbers_that_are_not_positive(name, value):
    with parts(f"{name}=", "a finite number above 0", f"Set {name} above 0"):
        log_degree_graph(signals_on(POINTS), POINTS, **{name: value})


def test_wrong_inputs():
    signals = signals_on(POINTS)
    with parts("max_steps=0", "a whole number of at least 1", "Set max_steps"):
        log_degree_graph(signals, POINTS, max_steps=0)
    with parts("a signal tensor of shape", "20 on axis -2", ""):
        log_degree_graph(signals[:7], POINTS)
    signals[3, 1] = torch.nan
    with parts("1 values of the signal tensor that are NaN", "finite values", ""):
        log_degree_graph(signals, POINTS)
    with parts("a directed topology of candidate edges", "an undirected one", "union"):
        log_degree_graph(signals_on(POINTS), knn_graph(cloud(20), 5, symmetrize=None))
    lonely = radius_graph(torch.tensor([[0.0], [0.1], [3.0], [9.0]]), 0.5)
    with parts("2 nodes without a candidate edge", "at least one for every node", "knn_graph"):
        log_degree_graph(torch.rand(4, 1), lonely)
