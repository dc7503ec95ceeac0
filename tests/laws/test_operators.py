"""Laws of every operator: exact adjoints, true Gram products, bounds that hold, no leaks."""

import functools
import math

import networkx as nx
import pytest
import torch

from gsp_unroll.graph import EdgeList, Graph, grid_graph, path_graph
from gsp_unroll.graph.convert import to_edge_list
from gsp_unroll.operators import (
    Adjacency,
    BayerMosaic,
    Blur,
    ColorMosaic,
    Diagonal,
    Downsample,
    Gradient,
    Identity,
    Incidence,
    Laplacian,
    LinearOperator,
    MatrixFree,
    SamplingMask,
    Selection,
)
from gsp_unroll.testing import (
    check_adjoint,
    check_diagonal,
    check_gram,
    check_majorizer,
    check_positive_semidefinite,
    dense_matrix,
)
from tests.registries import DIRECTED, TOPOLOGIES, UNDIRECTED, edges
from tests.registries_operators import (
    GRAPH_OPERATORS,
    IMAGE,
    OPERATORS,
    POINTS,
    POSITIVE,
    SCATTERED,
    X_TRANS,
    bools,
    matrix,
    numbers,
    operator,
    weighted,
)

every_operator = pytest.mark.parametrize("name", OPERATORS)
ONE_INPUT = [name for name in OPERATORS if len(operator(name)[1]) == 2]
PER_ITEM = [name for name in OPERATORS if name not in ONE_INPUT]
SELECTIONS = [name for name in OPERATORS if isinstance(operator(name)[0], Selection)]


def random(*shape, dtype=torch.float64, grad=False):
    return torch.randn(*shape, dtype=dtype, requires_grad=grad)


def assert_same(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)


def channels_kept(name):
    """Whether channel c of the output belongs to channel c of the input."""
    A, shape = operator(name)
    return not A.couples_channels and A(torch.zeros(shape).double()).shape[-1] == shape[-1]


# ---- adjoint, Gram, order -------------------------------------------------------------------


@every_operator
def test_the_adjoint_is_exact(name):
    A, shape = operator(name)
    for x in (shape, (2, *shape), (2, 3, *shape)):
        check_adjoint(A, x)


@every_operator
def test_the_adjoint_of_the_adjoint_is_the_operator(name):
    A, shape = operator(name)
    x = random(*shape)
    y = A(x)
    assert torch.equal(A.T.T(x), y)
    assert_same(A.T.T.T(y), A.T(y))
    check_adjoint(A.T, torch.randn_like(y))
    assert (A.T.num_inputs, A.T.num_outputs) == (A.num_outputs, A.num_inputs)


@every_operator
def test_gram_is_adjoint_times_operator(name):
    A, shape = operator(name)
    check_gram(A, shape)
    check_gram(A, (2, *shape))
    check_adjoint(A.gram, shape)


@every_operator
def test_gram_is_positive_semidefinite(name):
    A, (*_, nodes, channels) = operator(name)
    check_positive_semidefinite(A.gram, nodes, channels)


@pytest.mark.parametrize("name", POSITIVE)
def test_positive_operators(name):
    A, (*_, nodes, channels) = operator(name)
    check_positive_semidefinite(A, nodes, channels)


@every_operator
def test_node_counts_are_those_of_the_map(name):
    A, shape = operator(name)
    assert A.num_inputs in (None, shape[-2])
    for both in (A + Identity(), Identity() + A):  # one that suits any signal hides nothing
        if A.num_inputs == A.num_outputs and not A.couples_channels:
            assert (both.num_inputs, both.num_outputs) == (A.num_inputs, A.num_outputs)
    assert A.num_outputs in (None, A(random(*shape)).shape[-2])


@every_operator
def test_an_at_sign_is_a_call(name):
    A, shape = operator(name)
    x = random(*shape)
    assert torch.equal(A @ x, A(x))


# ---- what an operator tells about itself ----------------------------------------------------

KNOW_DIAGONAL = [name for name in OPERATORS if operator(name)[0].diagonal() is not None]
KNOW_MAJORIZER = [name for name in POSITIVE if operator(name)[0].majorizer() is not None]
GRAMS_THAT_KNOW = [name for name in OPERATORS if operator(name)[0].gram.majorizer() is not None]


def test_those_that_should_know_do():
    laplacians = {name for name in OPERATORS if name.startswith("laplacian")}
    # a power, or what compares slopes, has no diagonal that the edges tell at once
    unknown = ("squared", "cubed", "fourth", "slopes")
    laplacians = {name for name in laplacians if not any(word in name for word in unknown)}
    masks = {name for name in OPERATORS if name.startswith("sampling mask")}
    told = {"identity", "diagonal", "scaled", "scaled per head", "sum with heads"}
    assert laplacians | masks | told <= set(KNOW_DIAGONAL)
    assert (laplacians | masks | told) - {"laplacian rw"} <= set(KNOW_MAJORIZER)
    # the systems of `LeastSquares` are made of these: what learned solves scale by
    forward = {name for name in OPERATORS if name.startswith(("blur", "incidence", "diagonal"))}
    forward -= {"blur, then gains"}  # gains may amplify, so no bound of the blur holds
    assert forward | set(SELECTIONS) | {"matrix-free"} <= set(GRAMS_THAT_KNOW)


@pytest.mark.parametrize("name", KNOW_DIAGONAL)
def test_the_diagonal_is_that_of_the_matrix(name):
    A, (*_, nodes, channels) = operator(name)
    check_diagonal(A, nodes, channels)


@pytest.mark.parametrize("name", KNOW_MAJORIZER)
def test_the_majorizer_bounds_the_operator(name):
    A, (*_, nodes, channels) = operator(name)
    check_majorizer(A, nodes, channels)


@pytest.mark.parametrize("name", GRAMS_THAT_KNOW)
def test_the_majorizer_bounds_the_gram_operator(name):
    A, (*_, nodes, channels) = operator(name)
    check_majorizer(A.gram, nodes, channels)


def test_what_is_not_positive_knows_no_majorizer():
    rw = Laplacian(weighted(IMAGE), "rw")
    for A in (rw, rw.T, rw.scaled(2.0), Identity().scaled(-1.0), Adjacency(weighted(IMAGE))):
        assert A.majorizer() is None


def test_a_diagonal_alone_is_no_bound():
    # all ones: the diagonal is 1, the largest eigenvalue 5
    class Ones(LinearOperator):
        def _apply(self, x):
            return x.sum(-2, keepdim=True).expand_as(x)

        _apply_adjoint = _apply

        def diagonal(self):
            return torch.ones(5, 1, dtype=torch.float64)

    check_diagonal(Ones(), 5)
    assert Ones().majorizer() is None


@every_operator
def test_what_is_told_has_the_shape_of_a_signal(name):
    A, shape = operator(name)
    for told in (A.diagonal(), A.majorizer(), A.gram.diagonal(), A.gram.majorizer()):
        assert told is None or torch.broadcast_shapes(told.shape, shape) == torch.Size(shape)


# ---- algebra --------------------------------------------------------------------------------


def three_operators():
    return (
        SamplingMask(bools(12, 2)),
        Blur((3, 4), numbers(3, 3)),
        Laplacian(weighted(IMAGE)),
    )


def test_composition_is_associative_and_applies_the_last_first():
    A, B, C = three_operators()
    x = random(12, 2)
    assert_same(((A @ B) @ C)(x), A(B(C(x))))
    assert_same((A @ (B @ C))(x), A(B(C(x))))
    assert_same((A @ B @ C).T(x), C.T(B.T(A.T(x))))


def test_sums_are_associative_and_distribute():
    A, B, C = three_operators()
    x = random(12, 2)
    expected = A(x) + B(x) + C(x)
    assert_same(((A + B) + C)(x), expected)
    assert_same((A + (B + C))(x), expected)
    assert_same(((A + B) @ C)(x), A(C(x)) + B(C(x)))
    assert_same((A + B).T(x), A.T(x) + B.T(x))


def test_scaling():
    A, B, _ = three_operators()
    x, per_head = random(2, 12, 2), numbers(2, 1, 1)
    assert_same(B.scaled(-2.0)(x), -2 * B(x))
    assert_same(B.scaled(per_head)(x), per_head * B(x))
    assert_same(B.scaled(2.0).scaled(3.0).gram(x), 36 * B.gram(x))
    assert_same((A @ B.scaled(2.0))(x), (A @ B).scaled(2.0)(x))


def test_an_operator_that_knows_the_diagonal_of_every_part_knows_it_of_the_sum():
    A, B, C = three_operators()
    assert (A + C).diagonal() is not None
    assert (A + B).diagonal() is None
    assert (A + C).scaled(2.0).diagonal() is not None


# ---- batch, heads, channels -----------------------------------------------------------------


@pytest.mark.parametrize("name", ONE_INPUT)
def test_batch_and_head_axes_equal_each_alone(name):
    A, shape = operator(name)
    x = random(2, 3, *shape)
    y = A(x)
    t = A.T(y)
    for i in range(2):
        for j in range(3):
            assert_same(y[i, j], A(x[i, j]))
            assert_same(t[i, j], A.T(y[i, j]))


@pytest.mark.parametrize("name", PER_ITEM)
def test_items_and_heads_of_an_operator_do_not_touch(name):
    A, shape = operator(name)
    x = random(*shape)
    y = A(x)
    for i in range(shape[0]):
        spoiled = torch.full_like(x, torch.nan)
        spoiled[i] = x[i]
        assert torch.equal(A(spoiled)[i], y[i])


def test_each_head_is_the_operator_of_its_own_weights():
    w = numbers(2, IMAGE.num_edges)
    x = random(2, 12, 2)
    for build in GRAPH_OPERATORS.values():
        together = build(Graph(IMAGE, w))
        for head in range(2):
            alone = build(Graph(IMAGE, w[head]))
            assert_same(together(x)[head], alone(x[head]))
            assert_same(together(x[0])[head], alone(x[0]))


def test_each_item_is_the_operator_of_its_own_mask_or_gains():
    mask, d, x = bools(3, 5, 2), numbers(3, 5, 1), random(3, 5, 2)
    for i in range(3):
        assert torch.equal(SamplingMask(mask)(x)[i], SamplingMask(mask[i])(x[i]))
        assert torch.equal(Diagonal(d)(x)[i], Diagonal(d[i])(x[i]))


@pytest.mark.parametrize("name", [name for name in OPERATORS if channels_kept(name)])
def test_channels_together_equal_channels_alone(name):
    A, shape = operator(name)
    x = random(*shape)
    for c in range(shape[-1]):
        alone = torch.full_like(x, torch.nan)
        alone[..., c] = x[..., c]
        assert torch.equal(A(alone)[..., c], A(x)[..., c])


def test_an_operator_that_mixes_channels_says_so():
    mixing = matrix(torch.float64, 3, 3, on_channels=True)
    masked = SamplingMask(bools(4, 1)) @ mixing
    for A in (mixing, mixing.T, mixing.gram, masked, masked.gram, mixing + Identity()):
        assert A.couples_channels
        assert A.systems.couples_channels
        x = random(4, 3)
        moved = x.clone()
        moved[:, 0] += 1
        assert not torch.equal(A(x)[:, 1], A(moved)[:, 1])


def test_operators_on_a_batch_of_graphs_know_which_node_is_whose():
    batch = torch.tensor([0, 1, 1, 0])
    topology = EdgeList(edges((0, 3), (1, 2)), 4, batch)
    L = Laplacian(weighted(topology))
    mask = SamplingMask(bools(4, 1))
    sums, products = (L + mask, mask + L), (mask @ L, L @ mask, L @ Identity(), L.T @ L)
    for A in (L, L.T, L.gram, L.scaled(2.0), Gradient(topology), *sums, *products):
        assert torch.equal(A.systems.batch, batch)
        assert A.systems.num_graphs == 2


# ---- types and derivatives ------------------------------------------------------------------


@every_operator
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtypes_are_kept(name, dtype):
    A, shape = operator(name, dtype)
    x = random(*shape, dtype=dtype)
    y = A(x)
    assert y.dtype == dtype
    assert A.T(y).dtype == dtype
    assert A.gram(x).dtype == dtype
    for told in (A.diagonal(), A.majorizer(), A.gram.majorizer()):
        assert told is None or torch.result_type(told, x) == dtype


@every_operator
def test_single_precision_agrees_with_double(name):
    (A, shape), (B, _) = operator(name, torch.float32), operator(name)
    x = random(*shape)
    torch.testing.assert_close(A(x.float()).double(), B(x), rtol=1e-5, atol=1e-5)


@every_operator
def test_derivatives_by_the_signal(name):
    A, shape = operator(name)
    x = random(*shape, grad=True)
    y = A(x).detach().requires_grad_()
    assert torch.autograd.gradcheck(A, (x,), fast_mode=True)
    assert torch.autograd.gradcheck(A.T, (y,), fast_mode=True)
    # a linear map has no second derivative: its square has
    assert torch.autograd.gradgradcheck(lambda x: A(x) ** 2, (x,), fast_mode=True)


@every_operator
def test_the_derivative_is_the_adjoint(name):
    A, shape = operator(name)
    x = random(*shape, grad=True)
    y = A(x)
    g = torch.randn_like(y)
    (derivative,) = torch.autograd.grad(y, x, g)
    assert_same(derivative, A.T(g))


@pytest.mark.parametrize("build", GRAPH_OPERATORS.values(), ids=GRAPH_OPERATORS.keys())
@pytest.mark.parametrize("topology", [IMAGE, POINTS, SCATTERED], ids=["image", "points", "parts"])
def test_derivatives_by_the_edge_weights(build, topology):
    w = numbers(2, topology.num_edges).requires_grad_()
    x = random(topology.num_nodes, 2, grad=True)

    def product(w, x):
        return build(Graph.unchecked(topology, topology.mask_edges(w)))(x)

    def adjoint(w, y):
        return build(Graph.unchecked(topology, topology.mask_edges(w))).T(y)

    y = product(w, x).detach().requires_grad_()
    for function, inputs in ((product, (w, x)), (adjoint, (w, y))):
        assert torch.autograd.gradcheck(function, inputs, fast_mode=True)
        assert torch.autograd.gradgradcheck(function, inputs, fast_mode=True)


@pytest.mark.parametrize("build", GRAPH_OPERATORS.values(), ids=GRAPH_OPERATORS.keys())
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("faint", [0.0, 1e-37, 1e-25, 1e-12])
def test_derivatives_are_finite_at_weights_of_zero(build, dtype, faint):
    # node 3 hangs on faint edges only, node 5 on none
    topology = EdgeList(edges((0, 1), (1, 2), (2, 3), (3, 4)), 6)
    w = torch.tensor([0.5, 2.0, faint, faint], dtype=dtype, requires_grad=True)
    x = random(6, 2, dtype=dtype, grad=True)
    y = build(Graph.unchecked(topology, w))(x)
    assert y.isfinite().all()
    for derivative in torch.autograd.grad(y, (w, x), torch.randn_like(y)):
        assert derivative.isfinite().all()


@pytest.mark.parametrize("build", GRAPH_OPERATORS.values(), ids=GRAPH_OPERATORS.keys())
def test_a_graph_without_weight_is_no_special_case(build):
    w = torch.zeros(IMAGE.num_edges, dtype=torch.float64, requires_grad=True)
    x = random(12, 2)
    y = build(Graph.unchecked(IMAGE, w))(x)
    assert not y.any()
    (derivative,) = torch.autograd.grad(y.sum(), w)
    assert derivative.isfinite().all()


# ---- the graph operators --------------------------------------------------------------------


def reference_of(graph):
    listed = to_edge_list(graph)
    reference = nx.empty_graph(graph.num_nodes)
    columns = zip(*listed.topology.edge_index.tolist(), listed.weight.tolist(), strict=True)
    reference.add_weighted_edges_from(columns)
    return reference


def dense(A):
    return dense_matrix(A, A.num_inputs)


@pytest.mark.parametrize("build", [b for b in UNDIRECTED.values() if b().num_nodes])
def test_laplacians_are_those_of_networkx(build):
    graph = weighted(build())
    reference = reference_of(graph)
    L = torch.from_numpy(nx.laplacian_matrix(reference).toarray()).double()
    normalized = torch.from_numpy(nx.normalized_laplacian_matrix(reference).toarray()).double()
    assert_same(dense(Laplacian(graph)), L)
    assert_same(dense(Laplacian(graph, "sym")), normalized)
    d = L.diagonal()
    inverse = torch.where(d > 0, 1 / d, 0)
    assert_same(dense(Laplacian(graph, "rw")), inverse.unsqueeze(-1) * L)
    adjacency = torch.from_numpy(nx.adjacency_matrix(reference).toarray()).double()
    assert_same(dense(Adjacency(graph)), adjacency)


@pytest.mark.parametrize("build", [b for b in DIRECTED.values() if b().num_nodes])
def test_row_i_of_a_directed_adjacency_holds_the_edges_that_arrive_at_i(build):
    graph = weighted(build())
    listed = to_edge_list(graph)
    expected = torch.zeros(graph.num_nodes, graph.num_nodes, dtype=torch.float64)
    tail, head = listed.topology.edge_index
    expected[head, tail] = listed.weight
    assert_same(dense(Adjacency(graph)), expected)
    assert_same(dense(Adjacency(graph).T), expected.T)
    assert_same(graph.degree, expected.sum(1))


@pytest.mark.parametrize("normalization", ["none", "sym", "rw"])
def test_nodes_without_edges_have_a_zero_row_and_column(normalization):
    # node 3 has edges of weight 0 only, node 5 no edge at all
    topology = EdgeList(edges((0, 1), (1, 2), (2, 3), (3, 4)), 6)
    w = torch.tensor([0.5, 2.0, 0.0, 0.0], dtype=torch.float64)
    L = Laplacian(Graph(topology, w), normalization)
    M = dense(L)
    assert not M[3:].any()
    assert not M[:, 3:].any()
    assert not L.diagonal()[3:].any()
    check_diagonal(L, 6, 2)


@pytest.mark.parametrize("build", TOPOLOGIES.values(), ids=TOPOLOGIES.keys())
def test_gram_of_incidence_is_the_laplacian_of_the_squared_weights(build):
    graph = weighted(build())
    x = random(graph.num_nodes, 2)
    C = Incidence(graph)
    assert_same(C.T(C(x)), Laplacian(Graph(graph.topology, graph.weight**2))(x))
    assert_same(
        C(x).abs().sum(), (graph.weight.unsqueeze(-1) * Gradient(graph.topology)(x).abs()).sum()
    )


def test_gram_of_incidence_is_not_the_laplacian():
    graph = weighted(IMAGE)
    x = random(12, 1)
    assert (Incidence(graph).gram(x) - Laplacian(graph)(x)).abs().max() > 0.1


def test_constants():
    graph = weighted(IMAGE)
    one = torch.ones(12, 1, dtype=torch.float64)
    assert not Laplacian(graph)(one).any()
    assert not Laplacian(graph, "rw")(one).any()
    sym = Laplacian(graph, "sym")
    assert sym(one).abs().max() > 0.01
    assert_same(sym(graph.degree.sqrt().unsqueeze(-1)), torch.zeros_like(one))


def test_the_laplacian_of_normalized_weights_is_not_the_normalized_laplacian():
    graph = weighted(IMAGE)
    x = random(12, 1)
    assert (Laplacian(graph.normalized("sym"))(x) - Laplacian(graph, "sym")(x)).abs().max() > 0.01


@pytest.mark.parametrize("build", GRAPH_OPERATORS.values(), ids=GRAPH_OPERATORS.keys())
def test_a_grid_is_its_list_of_edges(build):
    graph = weighted(grid_graph((3, 4), window=5))
    listed = to_edge_list(graph)
    x = random(12, 2)
    on_grid, on_list = build(graph), build(listed)
    kept = graph.topology.edge_mask if on_grid.num_outputs != 12 else slice(None)
    assert_same(on_grid(x)[kept], on_list(x))


# ---- selections -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", SELECTIONS)
def test_a_selection_gives_back_what_it_selects(name):
    H, shape = operator(name)
    y = H(random(*shape))
    assert torch.equal(H(H.T(y)), y)


@pytest.mark.parametrize("name", SELECTIONS)
def test_observed_is_the_diagonal_of_the_gram_operator(name):
    H, (*_, nodes, channels) = operator(name)
    M = dense_matrix(H.gram, nodes, channels)
    observed = H.observed.expand(*M.shape[:-2], nodes, channels).flatten(-2).double()
    assert H.observed.dtype == torch.bool
    assert torch.equal(M, torch.diag_embed(observed))
    assert torch.equal(dense_matrix(H.T @ H, nodes, channels), M)


@pytest.mark.parametrize("name", SELECTIONS)
def test_nan_at_unobserved_entries_reaches_nothing(name):
    H, shape = operator(name)
    x = random(*shape)
    observed = H.observed.expand(shape)
    spoiled = x.masked_fill(~observed, torch.nan).requires_grad_()
    y = H(spoiled)
    assert torch.equal(y, H(x))
    assert torch.equal(H.T(y), torch.where(observed, x, 0))
    (derivative,) = torch.autograd.grad((y**2).sum(), spoiled)
    assert_same(derivative, torch.where(observed, 2 * x, 0))


@pytest.mark.parametrize("name", SELECTIONS)
def test_a_nan_that_was_observed_stays_where_it_is(name):
    H, shape = operator(name)
    y = H(random(*shape))
    y[..., -1, -1] = torch.nan
    observed = H(torch.arange(float(math.prod(shape))).reshape(shape) + 1)[..., -1, -1]
    t = H.T(y).flatten()
    spoiled = observed[observed > 0].long().flatten() - 1
    assert torch.equal(t.isnan().nonzero().flatten(), spoiled)


def test_nan_at_unobserved_entries_of_a_zero_filled_observation_is_not_read():
    H = SamplingMask(bools(5, 2))
    y = random(5, 2)
    spoiled = y.masked_fill(~H.observed, torch.nan).requires_grad_()
    t = H.T(spoiled)
    assert torch.equal(t, H.T(y))
    (derivative,) = torch.autograd.grad((t**2).sum(), spoiled)
    assert derivative.isfinite().all()


def test_a_mask_per_node_is_one_for_all_channels():
    kept = bools(5, 1)
    x = random(5, 3)
    assert torch.equal(SamplingMask(kept.squeeze(-1))(x), SamplingMask(kept.expand(5, 3))(x))


@pytest.mark.parametrize(
    ("phase", "rows"), [("RGGB", "RG/GB"), ("BGGR", "BG/GR"), ("GRBG", "GR/BG"), ("GBRG", "GB/RG")]
)
def test_bayer_phases(phase, rows):
    image = torch.arange(4 * 6 * 3.0).reshape(4, 6, 3)
    mosaic = BayerMosaic(4, 6, phase)(image.reshape(-1, 3)).reshape(4, 6)
    for i in range(4):
        for j in range(6):
            channel = "RGB".index(rows.split("/")[i % 2][j % 2])
            assert mosaic[i, j] == image[i, j, channel]


def test_periodic_mosaics():
    image = torch.arange(7 * 8 * 3.0).reshape(7, 8, 3)
    mosaic = ColorMosaic.periodic((7, 8), X_TRANS)(image.reshape(-1, 3)).reshape(7, 8)
    for i in range(7):
        for j in range(8):
            assert mosaic[i, j] == image[i, j, X_TRANS[i % 6][j % 6]]


def test_downsampling_keeps_every_nth_of_each_axis():
    x = torch.arange(4 * 5 * 6.0).reshape(4, 5, 6)
    kept = Downsample((4, 5, 6), (2, 3, 1), (1, 2, 0))(x.reshape(-1, 1))
    assert torch.equal(kept.flatten(), x[1::2, 2::3].flatten())
    sequence = torch.arange(7.0).unsqueeze(-1)
    assert Downsample((7,), 3)(sequence).flatten().tolist() == [0.0, 3.0, 6.0]


# ---- blur -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "sizes"),
    [((6,), (5,)), ((5, 6), (3, 5)), ((2, 3), (5, 7)), ((3, 4, 3), (3, 1, 3)), ((1, 1), (3, 3))],
)
def test_blur_is_correlation_where_a_missing_neighbour_counts_as_the_pixel(shape, sizes):
    kernel = numbers(*sizes)
    x = random(*shape)
    kappa = kernel / kernel.sum()
    expected = torch.zeros_like(x)
    for i in torch.cartesian_prod(*map(torch.arange, shape)).reshape(-1, len(shape)).tolist():
        for o in torch.cartesian_prod(*map(torch.arange, sizes)).reshape(-1, len(sizes)).tolist():
            at = [a + b - s // 2 for a, b, s in zip(i, o, sizes, strict=True)]
            inside = all(0 <= a < n for a, n in zip(at, shape, strict=True))
            expected[tuple(i)] += kappa[tuple(o)] * x[tuple(at) if inside else tuple(i)]
    assert_same(Blur(shape, kernel)(x.reshape(-1, 1)).reshape(shape), expected)


def test_blur_away_from_the_border_is_torch_correlation():
    kernel, x = numbers(3, 5), random(7, 8)
    expected = torch.nn.functional.conv2d(x[None, None], kernel[None, None] / kernel.sum())
    actual = Blur((7, 8), kernel)(x.reshape(-1, 1)).reshape(7, 8)
    assert_same(actual[1:-1, 2:-2], expected[0, 0])


def test_blur_keeps_constants():
    H = Blur((3, 4), numbers(5, 3) - 0.5)
    constant = torch.full((12, 1), 0.7, dtype=torch.float64)
    assert torch.equal(H(constant), constant)


def test_blur_learns_its_kernel():
    x = random(12, 2)
    kernel = numbers(3, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda k: Blur((3, 4), k)(x), (kernel,))


# ---- a user's own ---------------------------------------------------------------------------


def test_a_map_outside_of_torch_is_differentiated_by_its_adjoint():
    M = numbers(3, 5)

    def apply(x):
        return torch.from_numpy(M.numpy() @ x.detach().numpy())

    def adjoint(y):
        return torch.from_numpy(M.numpy().T @ y.detach().numpy())

    A = MatrixFree(apply, adjoint)
    x = random(5, 2, grad=True)
    assert torch.autograd.gradcheck(A, (x,))
    assert torch.autograd.gradgradcheck(lambda x: A(x) ** 2, (x,))
    check_adjoint(A, (4, 5, 2))


def test_a_users_operator_needs_two_methods():
    class Reverse(LinearOperator):
        def _apply(self, x):
            return x.flip(-2)

        def _apply_adjoint(self, y):
            return y.flip(-2)

    x = random(5, 2)
    check_adjoint(Reverse(), (5, 2))
    check_gram(Reverse(), (5, 2))
    check_adjoint(Reverse() @ SamplingMask(bools(5, 1)) + Identity(), (5, 2))
    assert torch.equal((Reverse() @ Reverse())(x), x)


def test_a_stack_of_lags_is_one_gradient_per_lag():
    x = random(6, 1)
    y = Gradient(path_graph(6, lags=2))(x).reshape(2, 6)
    assert_same(y[0, :5], (x[1:] - x[:-1]).squeeze(-1))
    assert_same(y[1, :4], (x[2:] - x[:-2]).squeeze(-1))


def test_operators_are_frozen():
    A = SamplingMask(bools(3, 1))
    with pytest.raises(AttributeError):
        A.mask = bools(3, 1)
    assert functools.reduce(lambda f, g: f @ g, [A, A, A]).num_inputs == 3
