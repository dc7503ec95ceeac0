"""What docs/reference/conventions.md says, one test a line, in its order."""

import pytest
import torch
from torch.testing import assert_close

from gsp_unroll import (
    ADMM,
    GLR,
    GTV,
    Adjacency,
    ConjugateGradient,
    EdgeList,
    GLRUnroll,
    Gradient,
    Graph,
    GTVUnroll,
    Identity,
    Incidence,
    Interpolation,
    Laplacian,
    LeastSquares,
    MahalanobisLearner,
    Problem,
    SamplingMask,
    Systems,
    UnrolledBlock,
    UnrolledNetwork,
    grid_graph,
    knn_graph,
    path_graph,
    start,
)
from gsp_unroll.solvers import ADMMState, admm_step
from gsp_unroll.testing import dense_matrix


def double(*values):
    return torch.tensor(values, dtype=torch.float64)


@pytest.fixture
def graph():
    """A small graph with a node of no edges, its edges in both orientations."""
    edges = torch.tensor([[0, 2, 2, 3, 0], [1, 1, 3, 4, 4]])
    return Graph(EdgeList(edges, num_nodes=6), double(0.5, 2.0, 1.0, 0.25, 3.0))


@pytest.fixture
def x():
    return torch.randn(6, 2, dtype=torch.float64)


def weight_matrix(graph):
    """Dense weights, each edge written at both of its places."""
    W = torch.zeros(graph.num_nodes, graph.num_nodes, dtype=torch.float64)
    for (i, j), w in zip(graph.topology.edge_index.T.tolist(), graph.weight, strict=True):
        W[i, j] = W[j, i] = w
    return W


# ---- symbols --------------------------------------------------------------------------------


def test_an_undirected_topology_stores_each_edge_once_a_directed_one_each_direction(graph):
    topology = graph.topology
    assert topology.num_edges == 5
    assert topology.both_directions().num_edges == 10


def test_a_graph_is_a_topology_and_one_weight_per_edge_with_batch_axes():
    weight = torch.rand(2, 3, 4)
    graph = Graph(grid_graph((2, 2), offsets=[(0, 1)]), weight)
    assert graph.weight.shape == weight.shape


def test_the_degree_is_the_sum_of_weights_at_a_node(graph):
    assert_close(graph.degree, weight_matrix(graph).sum(1))
    assert graph.degree[5] == 0


def test_signals_have_nodes_on_the_last_axis_but_one_and_channels_on_the_last(graph):
    assert Laplacian(graph)(torch.rand(3, 4, 6, 2).double()).shape == (3, 4, 6, 2)
    with pytest.raises(ValueError, match="It looks transposed: channels come last"):
        Laplacian(graph)(torch.rand(2, 6).double())


def test_the_gradient_is_head_minus_tail(graph, x):
    tail, head = graph.topology.edge_index
    assert_close(graph.topology.gradient(x), x[head] - x[tail])


def test_the_divergence_is_the_exact_adjoint_of_the_gradient(graph, x):
    z = torch.randn(5, 2, dtype=torch.float64)
    inner = (graph.topology.gradient(x) * z).sum()
    assert_close(inner, (x * graph.topology.divergence(z)).sum())


def test_c_is_the_weights_times_the_gradient(graph, x):
    assert_close(Incidence(graph) @ x, graph.weight.unsqueeze(-1) * graph.topology.gradient(x))


def test_l_is_degree_minus_weights_and_its_variants_are_scaled_by_degrees(graph):
    W = weight_matrix(graph)
    L, d = W.sum(1).diag() - W, W.sum(1)
    root = torch.where(d > 0, d, 1).rsqrt()
    assert_close(dense_matrix(Laplacian(graph), 6), L)
    assert_close(dense_matrix(Laplacian(graph, "sym"), 6), root.unsqueeze(1) * L * root)
    assert_close(dense_matrix(Laplacian(graph, "rw"), 6), root.unsqueeze(1).square() * L)


def test_w_sums_over_neighbours_and_row_i_holds_the_edges_that_arrive_at_i(graph):
    assert_close(dense_matrix(Adjacency(graph), 6), weight_matrix(graph))
    one_way = Graph(EdgeList(torch.tensor([[0], [1]]), 2, directed=True), double(2.0))
    assert_close(dense_matrix(Adjacency(one_way), 2), double([0, 0], [2, 0]))


def test_h_gives_what_a_perfect_instrument_would_have_measured(x):
    H = SamplingMask(torch.tensor([True, False, True, False, True, False]))
    assert_close((H @ x)[::2], x[::2])


@pytest.mark.parametrize("prior", [lambda g, s: GLR(g, mu=s), lambda g, s: GTV(g, lam=s)])
def test_a_larger_weight_of_the_prior_means_smoother(graph, x, prior):
    rough = [
        prior(graph, 1.0)(
            ADMM(rtol=1e-6).solve(Problem(LeastSquares(Identity(), x), prior(graph, s))).x
        )
        for s in (0.01, 0.1, 1.0)
    ]
    assert bool((rough[0] > rough[1]).all())
    assert bool((rough[1] > rough[2]).all())


def test_the_penalty_changes_the_speed_and_not_the_result(graph, x):
    problem = Problem(LeastSquares(Identity(), x), GTV(graph, lam=0.1))
    slow, fast = (ADMM(rho=rho, rtol=1e-12).solve(problem) for rho in (0.05, 0.5))
    assert slow.num_steps != fast.num_steps
    assert_close(slow.x, fast.x, rtol=0, atol=1e-4)


def test_the_factor_is_f_and_the_metric_is_f_transposed_f():
    learner = MahalanobisLearner(3).double()
    torch.nn.init.normal_(learner.factor)
    assert_close(learner.metric, learner.factor.T @ learner.factor)
    assert bool((torch.linalg.eigvalsh(learner.metric) >= -1e-12).all())
    f, w = torch.randn(2, 3, dtype=torch.float64), learner.metric
    learner.normalization = "none"
    weight = learner(f, path_graph(2)).weight[0]
    assert_close(weight, (-(f[1] - f[0]) @ w @ (f[1] - f[0])).exp())


def test_num_iterations_counts_admm_cg_steps_each_solve_and_blocks_the_graphs(graph, x):
    data = LeastSquares(Identity(), x)
    layer = GTVUnroll(num_iterations=3, cg_steps=4, rho=1.0).double()
    assert len(list(layer.iterates(data, graph))) == 3
    assert len(list(GLRUnroll(cg_steps=4, mu=1.0).double().iterates(data, graph))) == 4
    solve = layer.linear_solves[0]
    A, b = data.system(Laplacian(graph))
    assert len(list(solve.iterates(A, b, x))) == 4
    drawn = []

    class Learner(MahalanobisLearner):
        def embed(self, features):
            drawn.append(features)
            return super().embed(features)

    def block():
        features = torch.nn.Identity()
        features.forward = lambda signal, topology: signal
        return UnrolledBlock(features, Learner(2), GTVUnroll(1, 1, rho=1.0))

    UnrolledNetwork([block(), block()]).double()(data, graph.topology)
    assert len(drawn) == 2


def test_at_and_call_are_the_same(graph, x):
    assert torch.equal(Laplacian(graph) @ x, Laplacian(graph)(x))


# ---- tensors --------------------------------------------------------------------------------


def test_the_head_axis_is_the_one_before_the_nodes():
    features = torch.rand(5, 2, 6, 3)  # 5 images, 2 heads
    graph = MahalanobisLearner(3, heads=2)(features, grid_graph((2, 3)))
    data = LeastSquares(Identity(), torch.rand(5, 6, 1)).per_head()
    assert graph.weight.shape[:-1] == (5, 2)
    assert GTVUnroll(1, 1, heads=2, rho=1.0)(data, graph).shape == (5, 2, 6, 1)


# ---- factors --------------------------------------------------------------------------------


def test_the_data_term_carries_one_half(x):
    data = LeastSquares(Identity(), torch.zeros_like(x))
    assert_close(data.value(x, Systems()), 0.5 * x.square().sum(0, keepdim=True))


def test_glr_is_half_mu_times_the_form_and_both_halves_cancel(graph, x):
    mu, L = 0.7, dense_matrix(Laplacian(graph), 6)
    assert_close(GLR(graph, mu)(x), 0.5 * mu * (x * (L @ x)).sum(0, keepdim=True))
    H = SamplingMask(torch.tensor([True, False, True, True, False, True]))
    A, b = LeastSquares(H, x).system(GLR(graph, mu).Q)
    assert_close(dense_matrix(A, 6), dense_matrix(H, 6) + mu * L)
    assert_close(b, H(x))


def test_glr_without_the_half_of_the_data_needs_twice_the_weight(graph, x):
    # |x - y|^2 + (2 mu / 2) x'Lx, and half of it is the problem of this library
    mu, L = 0.7, dense_matrix(Laplacian(graph), 6)
    A, b = LeastSquares(Identity(), x).system(GLR(graph, mu).Q)
    ours = ConjugateGradient(1e-12).solve(A, b).x
    assert_close(2 * (ours - x) + 2 * mu * (L @ ours), torch.zeros_like(x), rtol=0, atol=1e-9)


def test_lam_multiplies_the_prior(graph, x):
    assert_close(GTV(graph, lam=3.0)(x), 3 * GTV(graph)(x))


def test_a_hard_constraint_leaves_the_weight_of_the_prior_without_effect(graph, x):
    data = Interpolation(SamplingMask(torch.tensor([True, False, True, False, False, True])), x)
    weak, strong = (data.system(GLR(graph, mu).Q) for mu in (0.1, 10.0))
    solve = ConjugateGradient(1e-12).solve
    x0 = start(data, graph.topology)
    assert_close(solve(*weak, x0).x, solve(*strong, x0).x, rtol=0, atol=1e-8)
    with pytest.raises(ValueError, match="under a hard constraint it has no effect"):
        GLRUnroll(mu=1.0).double()(data, graph)
    with pytest.raises(ValueError, match="a layer with a learned rho"):
        GTVUnroll().double()(LeastSquares(Identity(), x), graph)


# ---- edges ----------------------------------------------------------------------------------


def test_an_undirected_edge_is_counted_once(graph, x):
    tail, head = graph.topology.edge_index
    difference, w = x[head] - x[tail], graph.weight.unsqueeze(-1)
    assert_close(2 * GLR(graph)(x), (w * difference.square()).sum(0, keepdim=True))
    assert_close(GTV(graph)(x), (w * difference.abs()).sum(0, keepdim=True))


def test_converters_merge_the_two_directions_of_pyg(graph):
    data = graph.to_pyg()
    assert data.edge_index.shape == (2, 10)
    assert Graph.from_pyg(data).topology.num_edges == 5


def test_the_orientation_of_an_undirected_edge_is_arbitrary(graph, x):
    turned = Graph(graph.topology.reversed(), graph.weight)
    assert torch.equal(turned.topology.gradient(x), -graph.topology.gradient(x))
    assert_close(Laplacian(turned)(x), Laplacian(graph)(x))
    assert_close(GTV(turned)(x), GTV(graph)(x))


def test_a_directed_edge_goes_from_tail_to_head_and_counts_at_its_head():
    rows = knn_graph(torch.rand(7, 2).double(), k=3, symmetrize=None)
    graph = Graph(rows, torch.rand(21).double()).normalized("row")
    head = rows.edge_index[1]
    assert_close(torch.zeros(7).double().index_add(0, head, graph.weight), torch.ones(7).double())
    assert_close(graph.degree, torch.ones(7).double())


def test_a_padded_slot_is_not_an_edge():
    topology = path_graph(3)
    graph = Graph(topology, torch.ones(3))
    assert topology.edge_mask.tolist() == [True, True, False]
    assert graph.weight.tolist() == [1, 1, 0]
    assert topology.gradient(torch.rand(3, 1))[2] == 0


# ---- operators ------------------------------------------------------------------------------


def test_the_divergence_of_calculus_is_the_negative():
    x = torch.arange(7.0).square().unsqueeze(-1)  # its second derivative is 2
    path = path_graph(7)
    inside = path.divergence(path.gradient(x))[1:-1]
    assert_close(inside, torch.full_like(inside, -2))
    assert_close(dense_matrix(Gradient(path).T, 7), dense_matrix(Gradient(path), 7).T)


def test_c_transposed_c_is_the_laplacian_of_w_squared(graph):
    C, squared = Incidence(graph), Graph(graph.topology, graph.weight**2)
    assert_close(dense_matrix(C.gram, 6), dense_matrix(Laplacian(squared), 6))
    assert_close(dense_matrix(C.T @ C, 6), dense_matrix(Laplacian(squared), 6))


def test_a_sampling_mask_keeps_the_length_and_never_reads_what_was_not_observed(x):
    mask = torch.tensor([True, False, True, True, False, True])
    H = SamplingMask(mask)
    matrix = dense_matrix(H, 6)
    assert_close(matrix, dense_matrix(H.T, 6))
    assert_close(matrix, dense_matrix(H.gram, 6))
    y = x.masked_fill(~mask.unsqueeze(-1), torch.nan)
    assert_close(LeastSquares(H, y).backprojected, H(x))


def test_the_laplacian_of_normalised_weights_is_not_the_normalised_laplacian(graph):
    ones = torch.ones(6, 1, dtype=torch.float64)
    of_weights, normalised = Laplacian(graph.normalized("sym")), Laplacian(graph, "sym")
    assert_close(of_weights(ones), 0 * ones)
    assert float(normalised(ones).abs().max()) > 0.1
    assert_close(normalised(graph.degree.sqrt().unsqueeze(-1)), 0 * ones)


def test_merging_adds_the_two_directions_of_an_edge(graph, x):
    rows, merged = graph.normalized("row"), graph.normalized("merged")
    assert_close(rows.merged().weight, merged.weight)
    assert_close(GTV(rows)(x), GTV(merged)(x))
    tail, head = graph.topology.edge_index
    d = graph.degree
    assert_close(merged.weight, graph.weight * (1 / d[tail] + 1 / d[head]))


@pytest.mark.parametrize("normalization", ["none", "sym", "rw"])
def test_a_node_without_edges_has_degree_zero_and_zero_rows(graph, normalization):
    w = graph.weight.clone().requires_grad_()
    L = Laplacian(Graph.unchecked(graph.topology, w), normalization)
    y = L(torch.ones(6, 1, dtype=torch.float64))
    assert y[5] == 0
    (by_w,) = torch.autograd.grad(y.square().sum(), w)
    assert bool(by_w.isfinite().all())


# ---- solvers --------------------------------------------------------------------------------


def test_inner_products_are_per_graph_and_channel(x):
    systems = EdgeList(torch.empty(2, 0).long(), 6, torch.tensor([0, 0, 0, 1, 1, 1])).systems
    assert_close(systems.inner(x, x), x.square().reshape(2, 3, 2).sum(1))


def test_admm_goes_z_u_x_and_rho_u_is_the_multiplier(graph, x):
    prior, data, rho = GTV(graph, lam=0.3), LeastSquares(Identity(), x), 0.5
    z = u = torch.zeros(5, 2, dtype=torch.float64)
    seen = []

    def solve(A, b, x0):
        seen.append(b)
        return ConjugateGradient(1e-12).solve(A, b, x0).x

    new = admm_step(data, prior, ADMMState(x, z, u), rho, solve)
    grad = graph.topology.gradient
    expected_z = prior.prox(grad(x), 1 / rho)  # from the x that was there before the step
    assert_close(new.z, expected_z)
    assert_close(new.u, grad(x) - expected_z)
    assert_close(seen[0], x + rho * prior.pull_back(new.z - new.u))
    assert bool((rho * new.u.abs() <= 0.3 + 1e-12).all())


@pytest.mark.parametrize(("term", "factor"), [(LeastSquares, 4 * 6**0.25), (Interpolation, 10)])
def test_the_default_penalty_is_lam_over_the_range_of_the_observation(graph, x, term, factor):
    H = SamplingMask(torch.tensor([True, False, True, True, False, False]))
    problem = Problem(term(H, x), GTV(graph, lam=0.2))
    default = ADMM(max_steps=7).solve(problem).x
    for channel in range(2):
        y = x[:, channel : channel + 1]
        seen = y[H.mask]
        rho = factor * 0.2 / float(seen.max() - seen.min())
        alone = Problem(term(H, y), GTV(graph, lam=0.2))
        assert_close(default[:, channel : channel + 1], ADMM(rho, max_steps=7).solve(alone).x)


def test_a_start_keeps_known_values_and_constants(graph, x):
    mask = torch.tensor([True, False, False, True, False, False])
    H = SamplingMask(mask)
    assert_close(start(Interpolation(H, x), graph.topology)[mask], x[mask])
    constant = torch.full_like(x, 0.3)
    assert_close(start(Interpolation(H, constant), graph.topology), constant)
