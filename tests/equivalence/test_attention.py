"""When the row-normalised weights of a learned distance are softmax attention, and when not.

The reference is PyTorch's attention with a mask, given the identity as values so that it returns
its weights. The conditions and their proofs: docs/explanation/attention.md.
"""

import pytest
import torch
from torch.nn import functional

from gsp_unroll.graph import EdgeList, Graph, grid_graph, knn_graph
from gsp_unroll.learners import DotProductLearner, MahalanobisLearner
from gsp_unroll.operators import Laplacian, SamplingMask
from gsp_unroll.problems import GLR, Interpolation
from gsp_unroll.solvers import ConjugateGradient
from tests.registries import DIRECTED, UNDIRECTED, cloud

D = 3


def rand(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def assert_same(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=1e-11, atol=1e-13)


def learner_of(heads=None, normalization="row", size=0.4):
    """A learner off its special starting point, whose distances stay below the cut at 30."""
    learner = MahalanobisLearner(D, heads=heads, normalization=normalization).double()
    with torch.no_grad():
        learner.factor.copy_(size * (torch.eye(D) + 0.5 * torch.randn_like(learner.factor)))
    return learner


def dense(graph):
    """The weight matrix from `edge_index`, rows over heads, as attention writes it."""
    topology, n = graph.topology, graph.num_nodes
    (tail, head), kept = topology.edge_index, topology.edge_mask
    matrix = graph.weight.new_zeros(*graph.weight.shape[:-1], n, n)
    matrix[..., head[kept], tail[kept]] = graph.weight[..., kept]
    if topology.directed:
        return matrix
    return matrix + matrix.mT


def neighbourhood(topology):
    """True where row `i` may look at `j`: neighbours, and not the node itself."""
    graph = Graph(topology, torch.ones(topology.num_edges).double())
    return dense(graph) > 0


def attention(queries, keys, mask, scale=None):
    identity = torch.eye(keys.shape[-2]).to(keys).expand(*keys.shape[:-1], -1)
    weights = functional.scaled_dot_product_attention(
        queries, keys, identity, attn_mask=mask, scale=scale
    )
    return weights.nan_to_num(0.0)  # a row without neighbours


def with_lengths(g):
    """Queries and keys that hold $-\\|g_j\\|^2$ as one more coordinate."""
    length = g.square().sum(-1, keepdim=True)
    return torch.cat([2**0.5 * g, torch.ones_like(length)], -1), torch.cat(
        [2**0.5 * g, -length], -1
    )


# ---- always: one more coordinate ------------------------------------------------------------


@pytest.mark.parametrize("build", [*UNDIRECTED.values(), *DIRECTED.values()])
def test_rows_are_attention_with_one_more_coordinate(build):
    topology, learner = build(), learner_of()
    f = rand(topology.num_nodes, D)
    queries, keys = with_lengths(learner.embed(f))
    expected = attention(queries, keys, neighbourhood(topology), scale=1.0)
    assert_same(dense(learner(f, topology)), expected)


@pytest.mark.parametrize("topology", [grid_graph((3, 4), window=5), knn_graph(cloud(9), k=3)])
def test_heads_and_batches_are_those_of_attention(topology):
    learner = learner_of(heads=2)
    f = rand(3, 2, topology.num_nodes, D)
    queries, keys = with_lengths(learner.embed(f))
    expected = attention(queries, keys, neighbourhood(topology), scale=1.0)
    assert_same(dense(learner(f, topology)), expected)


def test_float32_is_attention_too():
    topology, learner = knn_graph(cloud(9), k=3), learner_of().float()
    f = torch.randn(9, D)
    queries, keys = with_lengths(learner.embed(f))
    expected = attention(queries, keys, neighbourhood(topology), scale=1.0)
    torch.testing.assert_close(dense(learner(f, topology)), expected)


# ---- plain queries and keys: keys of equal length in every neighbourhood --------------------


def test_features_of_one_length_give_plain_attention():
    topology, learner = knn_graph(cloud(12), k=4), learner_of()
    with torch.no_grad():
        learner.factor.copy_(0.8 * torch.linalg.qr(rand(D, D)).Q)  # a turn keeps lengths
    f = functional.normalize(rand(12, D), dim=-1)
    g = learner.embed(f)
    both = (2 * D**0.5) ** 0.5 * g  # queries and keys; PyTorch divides by the root of D
    assert_same(dense(learner(f, topology)), attention(both, both, neighbourhood(topology)))


def test_lengths_need_to_agree_among_the_neighbours_of_a_node_only():
    topology, learner = grid_graph((4, 5), neighbors=4), learner_of()
    row, column = torch.arange(20) // 5, torch.arange(20) % 5
    g = functional.normalize(rand(20, D), dim=-1) * (1 + 0.5 * ((row + column) % 2)).unsqueeze(-1)
    f = torch.linalg.solve(learner.factor.detach(), g.mT).mT  # whose embedding is g
    expected = attention(g, g, neighbourhood(topology), scale=2.0)
    assert_same(dense(learner(f, topology)), expected)


def test_the_two_learners_agree_there():
    topology, f = knn_graph(cloud(12), k=4), functional.normalize(rand(12, D), dim=-1)
    turn = torch.linalg.qr(rand(D, D)).Q
    distance = MahalanobisLearner(D, normalization="merged").double()
    product = DotProductLearner(D).double()
    with torch.no_grad():
        distance.factor.copy_(1.2 * turn)
        product.query.copy_((2 * D**0.5) ** 0.5 * 1.2 * turn)
        product.key.copy_(product.query)
    assert_same(distance(f, topology).weight, product(f, topology).weight)


def test_elsewhere_attention_favours_long_keys_by_the_exponential_of_their_square():
    topology, learner = knn_graph(cloud(12), k=4), learner_of()
    f = rand(12, D)
    g, mask = learner.embed(f), neighbourhood(topology)
    ratio = attention(g, g, mask, scale=2.0) / dense(learner(f, topology))
    length = g.square().sum(-1)
    for i in range(12):
        j = mask[i].nonzero().squeeze(-1)
        shift = ratio[i, j].log() - length[j]
        assert_same(shift, shift[:1].expand_as(shift))
    assert bool((ratio[mask] - 1).abs().max() > 0.01)


def test_no_queries_and_keys_serve_all_features():
    """A query of zero looks at all keys alike, whatever the matrices; a distance does not."""
    topology = EdgeList(torch.tensor([[1, 2], [0, 0]]), 3)
    f = torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 2.0, 0.0]]).double()
    for _ in range(3):
        product = DotProductLearner(D).double()
        with torch.no_grad():
            product.query.normal_()
            product.key.normal_()
        rows = dense(product(f, topology.both_directions()))
        assert_same(rows[0, 1:], rows.new_full((2,), 0.5))
    rows = dense(learner_of()(f, topology))
    assert bool((rows[0, 1:] - 0.5).abs().max() > 0.01)


# ---- which attentions a symmetric weight can give -------------------------------------------


def cycle_products(rows):
    """Both ways round every triangle of a complete graph."""
    forth = torch.einsum("ij,jk,ki->ijk", rows, rows, rows)
    return forth, forth.permute(0, 2, 1)


def complete(n):
    tail, head = torch.triu_indices(n, n, offset=1)
    return EdgeList(torch.stack([tail, head]), n)


def test_rows_of_a_symmetric_weight_are_reversible_and_free_attention_is_not():
    topology, f = complete(6), rand(6, D)
    learner = learner_of()
    rows = dense(learner(f, topology))
    degree = learner_of_weights(learner)(f, topology).degree
    flow = degree.unsqueeze(-1) * rows
    assert_same(flow, flow.mT)
    assert_same(*cycle_products(rows))

    product = DotProductLearner(D).double()  # starts with queries equal to keys
    tied = dense(product(f, topology.both_directions()))
    assert_same(*cycle_products(tied))
    with torch.no_grad():
        product.key.normal_()
    free = dense(product(f, topology.both_directions()))
    forth, back = cycle_products(free)
    assert bool((forth / back - 1).abs().nan_to_num(0.0).max() > 0.01)


def learner_of_weights(learner):
    """The same distances, not normalised."""
    plain = MahalanobisLearner(D, normalization="none").double()
    plain.load_state_dict(learner.state_dict())
    return plain


# ---- where the conditions fail --------------------------------------------------------------


def test_symmetric_normalisation_is_a_softmax_on_equal_degrees_only():
    n = 8
    ring = EdgeList(torch.stack([torch.arange(n), (torch.arange(n) + 1) % n]), n)
    angle = 2 * torch.pi * torch.arange(n).double() / n
    f = torch.stack([angle.cos(), angle.sin(), 0 * angle], -1)  # all neighbours equally far
    learner = MahalanobisLearner(D, normalization="none").double()
    plain = learner(f, ring)
    assert_same(dense(plain.normalized("sym")), dense(plain.normalized("row")))

    uneven = learner(f + 0.3 * rand(n, D), ring)
    sums = dense(uneven.normalized("sym")).sum(-1)
    assert bool((sums - 1).abs().max() > 0.01)
    assert_same(dense(uneven.normalized("row")).sum(-1), torch.ones(n).double())


def test_merged_weights_are_the_attention_given_and_received():
    topology, learner = knn_graph(cloud(12), k=3), learner_of()
    f = rand(12, D)
    queries, keys = with_lengths(learner.embed(f))
    rows = attention(queries, keys, neighbourhood(topology), scale=1.0)
    merged = learner_of_weights(learner)(f, topology).normalized("merged")
    assert_same(dense(merged), rows + rows.mT)
    assert_same(merged.degree, 1 + rows.sum(0))


def test_a_self_loop_takes_its_share_of_every_row():
    topology, learner = knn_graph(cloud(12), k=3), learner_of()
    f = rand(12, D)
    queries, keys = with_lengths(learner.embed(f))
    mask = neighbourhood(topology) | torch.eye(12, dtype=torch.bool)
    rows = attention(queries, keys, mask, scale=1.0)
    degree = learner_of_weights(learner)(f, topology).degree
    without = rows - rows.diagonal().diag()
    share = (degree / (1 + degree)).unsqueeze(-1)
    assert_same(without, share * dense(learner(f, topology)))
    assert_same(rows.diagonal(), 1 / (1 + degree))


def test_beyond_the_cut_at_30_far_neighbours_are_alike():
    star = EdgeList(torch.tensor([[1, 2, 3], [0, 0, 0]]), 4)
    learner = MahalanobisLearner(1, init=1.0, normalization="row").double()

    def rows(*squares):
        f = torch.tensor([0.0, *squares]).double().sqrt().unsqueeze(-1)
        softmax = torch.softmax(-torch.tensor(squares).double(), -1)
        return dense(learner(f, star))[0, 1:], softmax

    assert_same(*rows(29.0, 29.5, 30.0))  # none is cut
    assert_same(*rows(36.0, 36.0, 36.0))  # all are, by as much
    cut, softmax = rows(29.0, 36.0, 49.0)
    assert_same(cut[1], cut[2])
    assert bool(cut[2] > 1e8 * softmax[2])


# ---- what attention is to the solver --------------------------------------------------------


def test_the_interpolant_is_a_fixed_point_of_attention_to_its_own_values():
    topology, learner = knn_graph(cloud(30), k=4), learner_of()
    f, y = rand(30, D), rand(30, 2)
    observed = torch.arange(30) % 3 == 0
    weights = learner_of_weights(learner)(f, topology)
    data = Interpolation(SamplingMask(observed), y)
    x = ConjugateGradient(1e-14).solve(*data.system(GLR(weights).Q)).x
    queries, keys = with_lengths(learner.embed(f))
    mask = neighbourhood(topology)
    attended = functional.scaled_dot_product_attention(queries, keys, x, attn_mask=mask, scale=1.0)
    torch.testing.assert_close(attended[~observed], x[~observed], rtol=1e-9, atol=1e-9)
    assert bool((attended[observed] - x[observed]).abs().max() > 0.1)


def test_one_step_of_attention_is_the_random_walk():
    topology, learner = knn_graph(cloud(12), k=3), learner_of()
    f, x = rand(12, D), rand(12, 2)
    queries, keys = with_lengths(learner.embed(f))
    mask = neighbourhood(topology)
    attended = functional.scaled_dot_product_attention(queries, keys, x, attn_mask=mask, scale=1.0)
    assert_same(x - Laplacian(learner_of_weights(learner)(f, topology), "rw")(x), attended)


# ---- how many numbers -----------------------------------------------------------------------


def test_numbers_that_are_stored():
    def count(module):
        return sum(p.numel() for p in module.parameters())

    heads, features = 4, 12
    assert count(MahalanobisLearner(features, heads=heads)) == 576
    assert count(DotProductLearner(features, heads=heads)) == 1152
    assert count(torch.nn.MultiheadAttention(heads * features, heads, bias=False)) == 9216


@pytest.mark.parametrize(("kind", "free"), [(MahalanobisLearner, 6), (DotProductLearner, 9)])
def test_numbers_that_act(kind, free):
    """The rank of the derivative: a turn of the factor, or of queries and keys together, is
    lost."""
    topology = complete(8).both_directions()
    learner = kind(D, normalization="row").double()
    with torch.no_grad():
        for parameter in learner.parameters():
            parameter.copy_(0.5 * torch.randn_like(parameter))
    f, names = 0.5 * rand(8, D), [name for name, _ in learner.named_parameters()]

    def weight(*values):
        parameters = dict(zip(names, values, strict=True))
        return torch.func.functional_call(learner, parameters, (f, topology)).weight

    parts = torch.autograd.functional.jacobian(weight, tuple(learner.parameters()))
    jacobian = torch.cat([part.flatten(1) for part in parts], -1)
    assert int(torch.linalg.matrix_rank(jacobian, rtol=1e-8)) == free
