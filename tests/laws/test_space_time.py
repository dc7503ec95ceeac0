"""Structures in space and time: node order, edges, edge cases; and the learner that knows lags."""

import copy
import pickle

import numpy as np
import pytest
import torch

from gsp_unroll.graph import (
    EdgeList,
    Graph,
    grid_graph,
    knn_graph,
    path_graph,
    product_graph,
    space_time_graph,
)
from gsp_unroll.learners import MahalanobisLearner, TemporalLearner
from gsp_unroll.operators import Adjacency, Laplacian
from gsp_unroll.testing import check_learner, check_topology, dense_matrix
from tests.capture import needs_capture
from tests.registries import cloud, edges

SPACES = {
    "points": lambda: knn_graph(cloud(5), 2),
    "image": lambda: grid_graph((2, 3)),
    "one place": lambda: EdgeList(edges(), 1),
    "isolated places": lambda: EdgeList(edges((0, 2)), 4),
    "no places": lambda: EdgeList(edges(), 0),
}
every_space = pytest.mark.parametrize("build", SPACES.values(), ids=SPACES.keys())


def parts(got, expected, advice):
    return pytest.raises(ValueError, match=f"(?s)Got {got}.*Expected {expected}.*{advice}")


def assert_same(actual, expected, tolerance=1e-12):
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


def of_ones(topology):
    return Graph(topology, topology.mask_edges(torch.ones(topology.num_edges).double()))


def per_step(L, steps):
    return torch.from_numpy(np.kron(np.eye(steps), L.numpy()))


# ---- the structures -------------------------------------------------------------------------


@every_space
@pytest.mark.parametrize("steps", [1, 2, 4])
@pytest.mark.parametrize("lags", [1, 2, (1, 3), (2, 9)])
def test_the_matrices_are_kronecker_products(build, steps, lags):
    space = build()
    spatial, temporal = space_time_graph(space, steps, lags)
    places = space.num_nodes
    n = steps * places
    assert (spatial.num_nodes, temporal.num_nodes) == (n, n)
    assert (spatial.directed, temporal.directed) == (False, True)
    if not n:
        return
    L = dense_matrix(Laplacian(of_ones(space)), places)
    assert_same(dense_matrix(Laplacian(of_ones(spatial)), n), per_step(L, steps))
    time = np.zeros((steps, steps))
    for lag in range(1, lags + 1) if isinstance(lags, int) else lags:
        time += np.eye(steps, k=-lag)  # row t listens to t - lag
    expected = np.kron(time, np.eye(places))
    assert_same(dense_matrix(Adjacency(of_ones(temporal)), n), torch.from_numpy(expected))


@every_space
def test_both_are_structures(build):
    if build().num_nodes:
        for structure in space_time_graph(build(), 3, 2):
            check_topology(structure)
            # what was built without a look at its edges would also be accepted with one
            EdgeList(structure.edge_index, structure.num_nodes, directed=structure.directed)


def test_a_signal_over_time_is_flattened_by_time_first():
    x = torch.arange(12.0).reshape(4, 3, 1)  # steps, places, channels
    spatial, temporal = space_time_graph(path_graph(3), 4, lags=2)
    flat = x.flatten(-3, -2)
    assert_same(spatial.gradient(flat), torch.ones(8, 1))
    gradient = temporal.gradient(flat).flatten()
    assert gradient.tolist() == [3.0] * 9 + [6.0] * 6  # lag after lag


def test_both_together_are_the_product_with_a_causal_path():
    space, time = knn_graph(cloud(5), 2), path_graph(4, lags=(1, 2), directed=True)
    spatial, temporal = space_time_graph(space, 4, (1, 2))
    both = dense_matrix(Adjacency(of_ones(product_graph(time, space))), 20)
    split = dense_matrix(Adjacency(of_ones(spatial)), 20)
    assert_same(both, split + dense_matrix(Adjacency(of_ones(temporal)), 20))


def test_edge_weights_of_places_are_repeated_by_steps():
    space = knn_graph(cloud(5), 2)
    w = torch.rand(space.num_edges).double()
    spatial, _ = space_time_graph(space, 3)
    repeated = Graph(spatial, w.repeat(3))
    L = dense_matrix(Laplacian(Graph(space, w)), 5)
    assert_same(dense_matrix(Laplacian(repeated), 15), per_step(L, 3))


def test_the_first_steps_are_sources():
    _, temporal = space_time_graph(path_graph(2), 5, lags=(2, 3))
    degree = of_ones(temporal).degree.reshape(5, 2)
    assert degree.tolist() == [[0, 0], [0, 0], [1, 1], [2, 2], [2, 2]]


def test_wrong_structures():
    with parts("a directed structure of the places", "an undirected one", "undirected"):
        space_time_graph(path_graph(3, directed=True), 4)
    batch = knn_graph(cloud(6), 2, batch=torch.tensor([0, 0, 0, 1, 1, 1]))
    with parts("a factor that is a batch of graphs", "one graph", "by itself"):
        space_time_graph(batch, 4)
    with pytest.raises(ValueError, match=r"(?s)Got .*Expected .*"):
        space_time_graph(path_graph(3), 0)
    with parts(r"lags \(0,\)", "lags of 1 or more", "drop its sign"):
        space_time_graph(path_graph(3), 4, 0)
    with pytest.raises(ValueError, match=r"(?s)Got .*Expected .*"):
        space_time_graph(path_graph(3), 4, (1, 1))


# ---- the learner ----------------------------------------------------------------------------

D, PLACES, LAGS = 3, 2, (1, 3)
TIME = space_time_graph(path_graph(PLACES), 6, LAGS).temporal
N = PLACES * 6


def learner_of(heads=None, normalization="row", seed=0):
    """A learner whose factors are all different."""
    learner = TemporalLearner(
        D, LAGS, places=PLACES, heads=heads, normalization=normalization
    ).double()
    noise = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        p = learner.factor
        p += 0.5 * torch.randn(p.shape, generator=noise, dtype=p.dtype)
    return learner


def features_of(*batch, grad=False):
    return (0.5 * torch.randn(*batch, N, D, dtype=torch.float64)).requires_grad_(grad)


@pytest.mark.parametrize("normalization", ["none", "row"])
def test_every_edge_is_measured_by_the_factor_of_its_lag(normalization):
    learner, f = learner_of(normalization=normalization), features_of()
    graph = learner(f, TIME)
    expected = torch.zeros(N, N).double()
    for j, i in TIME.edge_index.T.tolist():
        M = learner.metric[LAGS.index((i - j) // PLACES)]
        expected[i, j] = (-(f[i] - f[j]) @ M @ (f[i] - f[j])).exp()
    if normalization == "row":
        expected = expected / expected.sum(1, keepdim=True).clamp(min=1e-300)
    assert_same(dense_matrix(Adjacency(graph), N), expected.detach())


def test_rows_sum_to_one_over_all_lags():
    degree = learner_of()(features_of(), TIME).degree.reshape(6, PLACES)
    assert not degree[0].any()
    assert_same(degree[1:], torch.ones(5, PLACES).double())


def test_with_equal_factors_it_is_the_mahalanobis_learner():
    learner = learner_of()
    with torch.no_grad():
        learner.factor[1] = learner.factor[0]
    plain = MahalanobisLearner(D, normalization="row").double()
    plain.load_state_dict({"factor": learner.factor[0]})
    f = features_of()
    assert_same(learner(f, TIME).weight, plain(f, TIME).weight)


@pytest.mark.parametrize("heads", [None, 2])
def test_the_laws_of_learners(heads):
    lead = () if heads is None else (heads,)
    check_learner(learner_of(heads), features_of(*lead), TIME)
    check_learner(learner_of(heads, "none"), features_of(*lead), TIME)
    undirected = product_graph(path_graph(6, LAGS), EdgeList(edges(), PLACES))
    for normalization in ("none", "row", "merged", "sym"):
        check_learner(learner_of(heads, normalization), features_of(*lead), undirected)


@pytest.mark.parametrize("structure", ["grid", "edge list"])
def test_a_single_sequence_has_one_place(structure):
    path = path_graph(N, LAGS, directed=True)  # a grid, with padded slots
    learner = TemporalLearner(D, LAGS).double()
    check_learner(learner, features_of(), path)
    temporal = space_time_graph(EdgeList(edges(), 1), N, LAGS).temporal
    f = features_of()
    kept = learner(f, path).weight[path.edge_mask]
    assert_same(kept, learner(f, temporal).weight)


def test_heads_and_items_equal_each_alone():
    learner, f = learner_of(2), features_of(3, 2)
    together = learner(f, TIME).weight
    for head in range(2):
        alone = learner_of()
        alone.load_state_dict({"factor": learner.factor[head]})
        for item in range(3):
            assert_same(together[item, head], alone(f[item, head], TIME).weight)


def test_a_batch_of_sequences():
    # two sequences of the same places, as the nodes of one structure
    both = EdgeList(
        torch.cat([TIME.edge_index, TIME.edge_index + N], 1),
        2 * N,
        torch.arange(2).repeat_interleave(N),
        directed=True,
    )
    learner, f = learner_of(), torch.randn(2 * N, D).double()
    alone = [learner(f[:N], TIME).weight, learner(f[N:], TIME).weight]
    assert_same(learner(f, both).weight, torch.cat(alone))


@pytest.mark.parametrize("normalization", ["none", "row"])
def test_gradients_are_right_twice(normalization):
    learner = learner_of(normalization=normalization)
    temporal = space_time_graph(path_graph(PLACES), 4, LAGS).temporal

    def weight(features, factor):
        return torch.func.functional_call(learner, {"factor": factor}, (features, temporal)).weight

    inputs = features_of()[: 4 * PLACES].requires_grad_(), learner.factor
    assert torch.autograd.gradcheck(weight, inputs)
    assert torch.autograd.gradgradcheck(weight, inputs)


@pytest.mark.parametrize("heads", [None, 2])
def test_every_entry_of_every_factor_acts_at_the_start(heads):
    learner = TemporalLearner(D, LAGS, places=PLACES, heads=heads).double()
    assert_same(learner.factor.data, 1.5 * torch.eye(D).double().expand_as(learner.factor))
    weight = learner(features_of(*([heads] if heads else [])), TIME).weight
    (gradient,) = torch.autograd.grad((weight * torch.randn_like(weight)).sum(), learner.factor)
    assert bool((gradient.abs() > 1e-8).all())


@pytest.mark.parametrize("scale", [0.0, 1e-6, 1e3, 1e6])
def test_values_and_gradients_are_finite_at_every_scale(scale):
    learner = TemporalLearner(D, LAGS, places=PLACES)
    features = (scale * torch.randn(N, D)).requires_grad_()
    weight = learner(features, TIME).weight
    assert bool(weight.isfinite().all())
    along = torch.randn_like(weight)
    for gradient in torch.autograd.grad((weight * along).sum(), (features, learner.factor)):
        assert bool(gradient.isfinite().all())


def test_no_edges_at_all():
    temporal = space_time_graph(path_graph(PLACES), 1, LAGS).temporal
    graph = learner_of()(features_of()[:PLACES], temporal)
    assert graph.weight.shape == (0,)


def test_lags_are_kept_in_ascending_order():
    learner = TemporalLearner(D, (3, 1), places=PLACES).double()
    assert learner.lags == (1, 3)
    assert TemporalLearner(D, 3).lags == (1, 2, 3)
    learner.load_state_dict({"factor": learner_of().factor})
    f = features_of()
    assert torch.equal(learner(f, TIME).weight, learner_of()(f, TIME).weight)


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_copy_is_equal_and_independent(clone):
    learner, f = learner_of(), features_of()
    weight, other = learner(f, TIME).weight, clone(learner)
    with torch.no_grad():
        learner.factor.zero_()
    assert torch.equal(other(f, TIME).weight, weight)
    learner.reset_parameters()
    assert_same(learner.factor.data[1], 1.5 * torch.eye(D).double())


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
@needs_capture
def test_compiled_equals_eager():
    learner, f = learner_of(2), features_of(2, grad=True)
    torch._dynamo.reset()
    compiled = torch.compile(learner, fullgraph=True, backend="aot_eager")
    assert_same(compiled(f, TIME).weight, learner(f, TIME).weight)


def test_edges_of_other_lags():
    f = features_of()
    with parts("an edge between nodes 4 apart for places=2", "ends that are 2 nodes apart", "lags"):
        learner_of()(f, space_time_graph(path_graph(PLACES), 6, 2).temporal)
    with parts("an edge between nodes 8 apart for places=2", "ends that are 2 nodes apart", "lags"):
        learner_of()(f, space_time_graph(path_graph(PLACES), 6, (*LAGS, 4)).temporal)  # beyond all
    with parts("an edge between nodes 2 apart for places=3", "ends that are 3 nodes apart", "lags"):
        TemporalLearner(D, LAGS, places=3).double()(f, TIME)
    with parts("an edge between nodes 1 apart", "ends that are 2 nodes apart", "time first"):
        learner_of()(f, path_graph(N, directed=True))


def test_wrong_arguments():
    with parts("places=0", "a whole number of at least 1", "Set places"):
        TemporalLearner(D, places=0)
    with parts(r"lags \(0,\)", "lags of 1 or more", "drop its sign"):
        TemporalLearner(D, 0)
    with parts("init=0", "a finite number above 0", "Set init above 0"):
        TemporalLearner(D, init=0)
    with parts("normalization='merged' on a directed graph", "an undirected graph", "'row'"):
        learner_of(normalization="merged")(features_of(), TIME)
    assert "lags=(1, 3), places=2" in repr(learner_of())
