"""Balanced signed graphs: recognised or refused, similar to the positive graph in all they do."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from gsp_unroll.graph import BalancedGraph, EdgeList, Graph, grid_graph, knn_graph, path_graph
from gsp_unroll.kernels import backend
from gsp_unroll.operators import (
    BalancedLaplacian,
    Blur,
    Diagonal,
    Downsample,
    Identity,
    Laplacian,
    SamplingMask,
)
from gsp_unroll.problems import (
    GLR,
    GTV,
    BalancedGLR,
    Interpolation,
    LeastSquares,
    Problem,
    polarized,
)
from gsp_unroll.solvers import ADMM, ConjugateGradient
from gsp_unroll.testing import check_adjoint, check_metric, check_prox, dense_matrix
from gsp_unroll.unroll import (
    BalancedUnroll,
    GLRUnroll,
    GTVLinearProgramUnroll,
    GTVUnroll,
    GuardedCG,
    VectorGTVUnroll,
)
from tests.registries import UNDIRECTED, cloud, edges
from tests.registries_operators import (
    BATCH,
    IMAGE,
    POINTS,
    SCATTERED,
    bools,
    numbers,
    signed,
    weighted,
)

SYM = pytest.mark.parametrize("normalization", ["none", "sym"])
topologies = pytest.mark.parametrize(
    "topology", [IMAGE, POINTS, SCATTERED, BATCH], ids=["image", "points", "parts", "batch"]
)
LAYERS = {
    "GLR, hard": (lambda h: GLRUnroll(4, heads=h), Interpolation),
    "GLR sym, soft": (lambda h: GLRUnroll(4, heads=h, mu=0.7, normalization="sym"), LeastSquares),
    "GTV, soft": (lambda h: GTVUnroll(3, 4, heads=h, rho=0.8), LeastSquares),
    "vector GTV, hard": (lambda h: VectorGTVUnroll(3, 4, heads=h), Interpolation),
    "linear program": (lambda h: GTVLinearProgramUnroll(3, 4, heads=h), Interpolation),
}
every_layer = pytest.mark.parametrize(("build", "term"), LAYERS.values(), ids=LAYERS.keys())


def parts(got, expected, advice):
    return pytest.raises(ValueError, match=f"(?s)Got {got}.*Expected {expected}.*{advice}")


def random(*shape, grad=False):
    return torch.randn(*shape, dtype=torch.float64, requires_grad=grad)


def assert_same(actual, expected, tolerance=1e-12):
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


# ---- signed weights -------------------------------------------------------------------------


@pytest.mark.parametrize("build", UNDIRECTED.values(), ids=UNDIRECTED.keys())
def test_signed_weights_of_a_balanced_graph_come_back(build):
    topology = build()
    if not topology.num_nodes:
        return
    graph = signed(topology)
    found = BalancedGraph.from_signed(topology, graph.weight)
    assert_same(found.weight, graph.weight)
    assert_same(found.positive.weight, graph.positive.weight)
    # a part as a whole may have turned
    difference = found.polarity * graph.polarity
    assert not topology.mask_edges(topology.gradient(difference).squeeze(-1)).any()


def test_the_first_node_of_a_part_is_positive_and_edges_of_zero_join_nothing():
    topology = EdgeList(edges((3, 1), (1, 0), (2, 4)), 6)
    found = BalancedGraph.from_signed(topology, torch.tensor([-1.0, 2.0, 0.0]))
    assert found.polarity.flatten().tolist() == [1, 1, 1, -1, 1, 1]
    # a negative cycle that an edge of weight 0 opens
    triangle = EdgeList(edges((0, 1), (1, 2), (0, 2)), 3)
    found = BalancedGraph.from_signed(triangle, torch.tensor([-1.0, -1.0, 0.0]))
    assert found.polarity.flatten().tolist() == [1, -1, 1]


@st.composite
def signed_graphs(draw):
    n = draw(st.integers(2, 8))
    node = st.integers(0, n - 1)
    pairs = draw(st.sets(st.tuples(node, node), max_size=14))
    pairs = sorted({(min(p), max(p)) for p in pairs if p[0] != p[1]})
    signs = draw(st.lists(st.sampled_from([-1.0, 1.0]), min_size=len(pairs), max_size=len(pairs)))
    return EdgeList(edges(*pairs), n), torch.tensor(signs).double()


@given(signed_graphs())
@settings(max_examples=100, deadline=None, derandomize=True)
def test_balanced_or_a_cycle_that_is_frustrated(drawn):
    topology, weight = drawn
    n = topology.num_nodes
    sign_of = {}
    for (i, j), w in zip(topology.edge_index.T.tolist(), weight.tolist(), strict=True):
        sign_of[i, j] = sign_of[j, i] = w
    # every polarity, one after another: the definition
    choices = 1 - 2.0 * ((torch.arange(2**n).unsqueeze(-1) >> torch.arange(n)) & 1).double()
    tail, head = topology.edge_index
    balanced = bool((choices[:, tail] * choices[:, head] == weight).all(1).any())
    try:
        found = BalancedGraph.from_signed(topology, weight)
    except ValueError as error:
        assert not balanced
        cycle = [int(v) for v in str(error).split("cycle ")[1].split(" has")[0].split(" - ")]
        assert cycle[0] == cycle[-1]
        assert len(set(cycle)) == len(cycle) - 1 >= 3
        assert np.prod([sign_of[edge] for edge in pairwise(cycle)]) == -1
    else:
        assert balanced
        assert_same(found.weight, weight)


def test_what_is_no_balanced_graph():
    square = EdgeList(edges((0, 1), (1, 2), (2, 3), (0, 3)), 4)
    with parts(
        "signed weights whose cycle .* has an odd number", "a balanced graph", "between nodes"
    ):
        BalancedGraph.from_signed(square, torch.tensor([1.0, -1.0, 1.0, 1.0]))
    with parts(r"signed weights of shape \(2, 4\)", r"\(edges,\)", "each graph of the batch"):
        BalancedGraph.from_signed(square, torch.ones(2, 4))
    with parts("1 weights that are NaN", "finite weights", ""):
        BalancedGraph.from_signed(square, torch.tensor([1.0, torch.nan, 1.0, 1.0]))
    with parts(r"edge weights of shape \(3,\)", r"\(\*batch, 4\)", ""):
        BalancedGraph.from_signed(square, torch.ones(3))
    causal = path_graph(4, directed=True)
    with parts("a balanced graph on a directed topology", "an undirected one", "Merge"):
        BalancedGraph.from_signed(causal, torch.ones(4))
    positive = Graph(square, torch.ones(4))
    with parts(r"a polarity of shape \(4, 2\)", r"\(\*batch, 4, 1\)", "unsqueeze"):
        BalancedGraph(positive, torch.ones(4, 2))
    with parts(r"a polarity of shape \(4, 1\) and dtype torch.float64", ".*torch.float32", ""):
        BalancedGraph(positive, torch.ones(4, 1).double())
    with parts("2 polarities that are neither", r"\+1 or -1 at every node", "sign of a score"):
        BalancedGraph(positive, torch.tensor([[1.0], [0.0], [-1.0], [0.5]]))
    with parts("a polarity of shape", "4 on axis -2", ""):
        BalancedGraph(positive, torch.ones(5, 1))
    with parts("normalization='rw'", "'none' or 'sym'", ""):
        BalancedLaplacian(BalancedGraph(positive, torch.ones(4, 1)), "rw")


# ---- the operator ---------------------------------------------------------------------------


@SYM
@topologies
def test_the_spectrum_is_that_of_the_positive_graph(topology, normalization):
    graph, n = signed(topology), topology.num_nodes
    signed_matrix = dense_matrix(BalancedLaplacian(graph, normalization), n)
    positive = dense_matrix(Laplacian(graph.positive, normalization), n)
    assert_same(torch.linalg.eigvalsh(signed_matrix), torch.linalg.eigvalsh(positive))
    values, vectors = torch.linalg.eigh(positive)
    turned = graph.polarity * vectors
    assert_same(signed_matrix @ turned, turned * values)


@topologies
def test_the_operator_is_absolute_degrees_minus_signed_weights(topology):
    graph, n = signed(topology), topology.num_nodes
    W = torch.zeros(n, n).double()
    for (i, j), w in zip(topology.edge_index.T.tolist(), graph.weight.tolist(), strict=True):
        if i != j:
            W[i, j] = W[j, i] = w
    assert bool((W < 0).any())
    assert_same(dense_matrix(BalancedLaplacian(graph), n), W.abs().sum(1).diag() - W)


def test_without_negative_edges_it_is_the_laplacian():
    positive = weighted(IMAGE)
    graph, x = BalancedGraph(positive, torch.ones(12, 1).double()), random(12, 2)
    assert torch.equal(BalancedLaplacian(graph)(x), Laplacian(positive)(x))


def test_derivatives_by_weights_and_signal():
    w, x = numbers(2, IMAGE.num_edges).requires_grad_(), random(2, 12, 1, grad=True)
    b = signed(IMAGE).polarity

    def product(w, x):
        graph = BalancedGraph(Graph.unchecked(IMAGE, IMAGE.mask_edges(w)), b)
        return BalancedLaplacian(graph, "sym")(x)

    assert torch.autograd.gradcheck(product, (w, x))
    assert torch.autograd.gradgradcheck(product, (w, x), fast_mode=True)


# ---- the prior ------------------------------------------------------------------------------


@SYM
@topologies
def test_the_laws_of_priors(topology, normalization):
    graph, n = signed(topology), topology.num_nodes
    prior, x = BalancedGLR(graph, 0.7, normalization), random(n, 2)
    check_metric(prior, x)
    check_adjoint(prior.K, x)
    z = random(topology.num_edges, 2)
    check_prox(prior, z, 0.7, metric=graph.positive.weight.unsqueeze(-1))
    assert_same(prior.pull_back(z), prior.K.T(graph.positive.weight.unsqueeze(-1) * z))
    L = BalancedLaplacian(graph, normalization)
    assert_same(prior(x).sum(-2), 0.35 * (x * L(x)).sum(0))
    assert_same(prior(x), GLR(graph.positive, 0.7, normalization)(graph.polarity * x))


@SYM
@pytest.mark.parametrize("term", [LeastSquares, Interpolation])
def test_plain_solvers_agree_with_the_dense_system(term, normalization):
    graph = signed(POINTS)
    data = term(SamplingMask(bools(7, 2)), random(7, 2))
    problem = Problem(data, BalancedGLR(graph, 0.7, normalization))
    exact = ConjugateGradient(1e-13).solve(*problem.system()).x
    L = 0.7 * dense_matrix(BalancedLaplacian(graph, normalization), 7)
    for c in range(2):
        known = data.observed[:, c]
        if term is LeastSquares:
            expected = torch.linalg.solve(known.double().diag() + L, data.backprojected[:, c])
        else:
            expected = data.y[:, c].clone()
            right = -L[~known][:, known] @ expected[known]
            expected[~known] = torch.linalg.solve(L[~known][:, ~known], right)
        assert_same(exact[:, c], expected, 1e-9)
    assert_same(ADMM(1.0, rtol=1e-11).solve(problem).x, exact, 1e-7)


@pytest.mark.parametrize("value", [-1.0, float("inf")])
def test_weights_of_the_prior_are_checked(value):
    with parts("mu=", "a finite number of at least 0", "Set mu"):
        BalancedGLR(signed(IMAGE), value)


# ---- any problem, seen through the polarity --------------------------------------------------

FORWARD = {
    "mask": SamplingMask(bools(12, 2)),
    "identity": Identity(),
    "downsample": Downsample((3, 4), 2),
    "blur": Blur((3, 4), numbers(3, 3)),
}


@pytest.mark.parametrize("H", FORWARD.values(), ids=FORWARD.keys())
def test_the_polarized_term_is_the_term_seen_through_t(H):
    data, b, x = LeastSquares(H, H(random(12, 2))), signed(IMAGE).polarity, random(12, 2)
    systems = IMAGE.systems
    seen = polarized(data, b)
    assert_same(seen.value(b * x, systems), data.value(x, systems))
    A, t = data.system(BalancedGLR(signed(IMAGE)).Q)
    A_seen, t_seen = seen.system(GLR(signed(IMAGE).positive).Q)
    assert_same(b * t_seen, t)
    assert_same(b * A_seen(b * x), A(x))


def test_a_polarized_term_never_reads_what_was_not_observed():
    H, b = SamplingMask(bools(12, 2)), signed(IMAGE).polarity
    y = random(12, 2).masked_fill(~H.mask, torch.nan)
    seen = polarized(Interpolation(H, y), b)
    assert isinstance(seen, Interpolation)
    assert_same(seen.backprojected, b * H(y))


def test_a_polarized_term_per_head_is_the_polarized_term_of_heads():
    H, b = Diagonal(numbers(3, 12, 1)) @ Blur((3, 4), numbers(3, 3)), signed(IMAGE).polarity
    data = LeastSquares(H, H(random(3, 12, 2)))
    Q, x = GLR(Graph(IMAGE, numbers(2, IMAGE.num_edges))).Q, random(3, 2, 12, 2)
    A, t = polarized(data, b.expand(3, 12, 1)).per_head().system(Q)
    expected_A, expected_t = polarized(data.per_head(), b).system(Q)
    assert_same(t, expected_t)
    assert_same(A(x), expected_A(x))
    blurred = LeastSquares(Blur((3, 4), numbers(3, 3)), random(12, 2))
    A, _ = polarized(blurred, b).per_head().system(Q)
    assert A.majorizer() is not None


@every_layer
def test_a_layer_on_two_camps_is_the_layer_on_one(build, term):
    layer = build(None).double()
    graph, mask, y = signed(IMAGE), SamplingMask(bools(12, 2)), random(12, 2)
    b = graph.polarity
    x = BalancedUnroll(layer)(term(mask, y), graph)
    assert_same(b * x, layer(term(mask, b * y), graph.positive))
    x0 = random(12, 2)
    x = BalancedUnroll(layer)(term(mask, y), graph, x0)
    assert_same(b * x, layer(term(mask, b * y), graph.positive, b * x0))


@every_layer
def test_heads_and_items_are_themselves_alone(build, term):
    layer = BalancedUnroll(build(2).double())
    assert layer.heads == 2
    graph, b = signed(IMAGE, 3, 2), signed(IMAGE).polarity
    data = term(SamplingMask(bools(3, 12, 2)), random(3, 12, 2))
    together = layer(data.per_head(), graph)
    assert together.shape == (3, 2, 12, 2)
    for item in range(3):
        one = term(SamplingMask(data.H.mask[item]), data.y[item]).per_head()
        alone = BalancedGraph(Graph(IMAGE, graph.positive.weight[item]), b)
        assert_same(together[item], layer(one, alone))


def test_the_layer_reaches_the_plain_solver():
    graph = signed(POINTS)
    data = LeastSquares(SamplingMask(bools(7, 2)), random(7, 2))
    layer = BalancedUnroll(GLRUnroll(100, mu=0.7, solver=GuardedCG)).double()
    exact = ConjugateGradient(1e-13).solve(*Problem(data, BalancedGLR(graph, 0.7)).system()).x
    assert_same(layer(data, graph).detach(), exact, 1e-6)
    layer = BalancedUnroll(GTVUnroll(300, 30, lam=0.1, rho=0.7, solver=GuardedCG)).double()
    best = ADMM(rtol=1e-10).solve(
        Problem(polarized(data, graph.polarity), GTV(graph.positive, 0.1))
    )
    assert best.converged
    assert_same(layer(data, graph).detach(), graph.polarity * best.x, 1e-4)


def test_two_camps_of_opposite_levels_come_back():
    graph = signed(IMAGE)
    y = 0.7 * graph.polarity.expand(12, 2)
    data = Interpolation(SamplingMask(bools(12, 2)), y)
    for layer in (GLRUnroll(), GTVUnroll(), VectorGTVUnroll()):
        assert_same(BalancedUnroll(layer.double())(data, graph), y)
    blurred = LeastSquares(Blur((3, 4), numbers(3, 3)), random(12, 2))
    assert BalancedUnroll(GLRUnroll(mu=1.0).double())(blurred, graph).isfinite().all()


@every_layer
@pytest.mark.parametrize("heads", [None, 2])
def test_gradients(build, term, heads):
    tiny = grid_graph((2, 3), neighbors=4)
    layer, lead = BalancedUnroll(build(heads).double()), () if heads is None else (heads,)
    b = signed(tiny).polarity
    mask, y = SamplingMask(bools(6, 1)), random(6, 1)
    names = [name for name, _ in layer.named_parameters()]

    def restored(y, w, *values):
        graph = BalancedGraph(Graph.unchecked(tiny, tiny.mask_edges(w)), b)
        data = term(mask, y) if heads is None else term(mask, y).per_head()
        given = dict(zip(names, values, strict=True))
        with backend("reference"):
            return torch.func.functional_call(layer, given, (data, graph))

    inputs = [y, numbers(*lead, tiny.num_edges), *(p.detach() for p in layer.parameters())]
    inputs = [t.clone().requires_grad_() for t in inputs]
    assert torch.autograd.gradcheck(restored, inputs, fast_mode=True)


def test_a_polarity_of_another_dtype():
    graph = signed(IMAGE)
    with parts("the polarity of dtype torch.float64", "the dtype of the observation", "Convert"):
        BalancedUnroll(GLRUnroll())(
            Interpolation(SamplingMask(bools(12, 1)), torch.rand(12, 1)), graph
        )


def test_points_of_three_camps_are_no_balanced_graph():
    # alike within and opposed across works for two camps only
    topology = knn_graph(cloud(9), 8)
    camp = torch.arange(9) % 3
    tail, head = topology.edge_index
    weight = torch.where(camp[tail] == camp[head], 1.0, -1.0)
    with parts("signed weights whose cycle", "a balanced graph", "Turn the sign"):
        BalancedGraph.from_signed(topology, weight)
