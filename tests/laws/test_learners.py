"""Laws of every learner: what a learned graph may depend on, and what its gradients reach."""

import copy
import math
import pickle

import pytest
import torch
from torch.nn import functional

from gsp_unroll.graph import EdgeList, grid_graph, knn_graph, path_graph
from gsp_unroll.graph.convert import to_edge_list
from gsp_unroll.learners import (
    DotProductLearner,
    GraphLearner,
    LocallyScaledLearner,
    MahalanobisLearner,
    full_precision,
)
from tests.capture import needs_capture
from tests.registries import TOPOLOGIES, UNDIRECTED, cloud

D = 3
HEADS = 2


class L1Similarity(GraphLearner):
    """The shortest learner there is: the base class must do all the rest."""

    def edge_update(self, features_i, features_j):
        return (-(features_i - features_j).abs().sum(-1)).exp()


def locally_scaled(num_features, **options):
    """The last of so many features is the logarithm of the spacing."""
    return LocallyScaledLearner(num_features - 1, **options)


LEARNERS = {
    "mahalanobis": MahalanobisLearner,
    "locally scaled": locally_scaled,
    "dot product": DotProductLearner,
    "user's own": L1Similarity,
}
PARAMETRIC = {name: LEARNERS[name] for name in ("mahalanobis", "locally scaled", "dot product")}


def over(registry):
    return pytest.mark.parametrize("build", registry.values(), ids=registry.keys())


@pytest.fixture(params=LEARNERS.values(), ids=LEARNERS.keys())
def kind(request):
    return request.param


@pytest.fixture(params=PARAMETRIC.values(), ids=PARAMETRIC.keys())
def parametric(request):
    return request.param


def learner_for(kind, topology, heads=None, normalization=None, num_features=D):
    """A learner in float64, its parameters moved off their special starting point."""
    if normalization is None:
        normalization = "row" if topology.directed else "merged"
    learner = kind(num_features, heads=heads, normalization=normalization).double()
    with torch.no_grad():
        for parameter in learner.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return learner


def features_on(topology, *batch, grad=False):
    return torch.randn(*batch, topology.num_nodes, D, dtype=torch.float64).requires_grad_(grad)


def gradients(weight, cotangent, *inputs):
    return torch.autograd.grad((weight * cotangent).sum(), inputs)


def assert_same(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)


def dense(topology, weight):
    """The weight matrix, rows over heads; undirected edges stand in it twice."""
    matrix = weight.new_zeros(topology.num_nodes, topology.num_nodes)
    for (tail, head), w in zip(topology.edge_index.T.tolist(), weight, strict=True):
        matrix[head, tail] += w
        if not topology.directed:
            matrix[tail, head] += w
    return matrix


def adjacency(topology):
    ones = torch.ones(topology.num_edges, dtype=torch.float64)
    return dense(topology, topology.mask_edges(ones)) > 0


# ---- the weights ----------------------------------------------------------------------------


@over(TOPOLOGIES)
@pytest.mark.parametrize("normalization", ["none", None])
def test_weights_are_positive_on_edges_and_zero_on_padding(build, kind, normalization):
    topology = build()
    learner = learner_for(kind, topology, normalization=normalization)
    graph = learner(features_on(topology), topology)
    assert graph.topology is topology
    assert bool((graph.weight[topology.edge_mask] > 0).all())
    assert not graph.weight[~topology.edge_mask].any()


@over(TOPOLOGIES)
def test_mahalanobis_weights_are_at_most_one(build):
    topology = build()
    learner = learner_for(MahalanobisLearner, topology, normalization="none")
    assert bool((learner(features_on(topology), topology).weight <= 1).all())


@pytest.mark.parametrize("normalization", ["none", "sym", "row", "merged"])
def test_normalization_is_that_of_the_graph(kind, normalization):
    topology = grid_graph((3, 4))
    features = features_on(topology)
    plain = learner_for(kind, topology, normalization="none")
    normalized = copy.deepcopy(plain)
    normalized.normalization = normalization
    expected = plain(features, topology).normalized(normalization)
    graph = normalized(features, topology)
    assert graph.topology.directed == (normalization == "row")
    assert_same(graph.weight, expected.weight)


def test_a_node_keeps_its_neighbours_however_far_they_are():
    topology = knn_graph(cloud(9), k=3)
    far = 1e6 * torch.arange(9.0).unsqueeze(-1)
    for kind in PARAMETRIC.values():
        graph = kind(1, normalization="none")(far, topology)
        assert bool((graph.degree > 1e-13).all())
        rows = graph.normalized("row")
        torch.testing.assert_close(rows.degree, torch.ones(9))


# ---- what they may depend on ----------------------------------------------------------------


def test_orientation_of_an_undirected_edge_does_not_matter(kind):
    topology = knn_graph(cloud(9), k=3)
    learner, features = learner_for(kind, topology), features_on(topology)
    weight = learner(features, topology).weight
    assert_same(learner(features, topology.reversed()).weight, weight)


@pytest.mark.parametrize("directed", [False, True])
def test_node_numbers_do_not_matter(kind, directed):
    topology = knn_graph(cloud(9), k=3)
    if directed:
        topology = to_edge_list(topology.both_directions())
    learner, features = learner_for(kind, topology), features_on(topology)
    number, order = torch.randperm(9), torch.randperm(topology.num_edges)
    renumbered = EdgeList(number[topology.edge_index[:, order]], 9, directed=directed)
    moved = torch.empty_like(features)
    moved[number] = features
    weight = learner(features, topology).weight
    assert_same(learner(moved, renumbered).weight, weight[order])


@over(TOPOLOGIES)
def test_every_structure_equals_its_edge_list(build, kind):
    topology = build()
    edge_list = to_edge_list(topology)
    learner = learner_for(kind, topology, HEADS)
    features = features_on(topology, HEADS, grad=True)
    weight = learner(features, topology).weight
    kept = weight[..., topology.edge_mask]
    listed = learner(features, edge_list).weight
    assert_same(kept, listed)
    cotangent = torch.randn_like(listed)
    inputs = [features, *learner.parameters()]
    assert_same(gradients(kept, cotangent, *inputs), gradients(listed, cotangent, *inputs))


def test_the_graphs_of_a_batch_do_not_see_each_other(kind):
    first, second = knn_graph(cloud(5), k=2), knn_graph(cloud(6, seed=1), k=2)
    both = EdgeList(
        torch.cat([first.edge_index, second.edge_index + 5], 1),
        11,
        batch=torch.tensor([0] * 5 + [1] * 6),
    )
    learner, features = learner_for(kind, both), features_on(both)
    alone = [learner(features[:5], first).weight, learner(features[5:], second).weight]
    assert_same(learner(features, both).weight, torch.cat(alone))


def alone(kind, learner, head):
    """The learner of one head."""
    single = kind(D, normalization=learner.normalization).double()
    single.load_state_dict({name: p[head] for name, p in learner.state_dict().items()})
    return single


@pytest.mark.parametrize("structure", [lambda t: t, to_edge_list], ids=["grid", "edge list"])
def test_heads_together_equal_each_head_alone(kind, structure):
    topology = structure(grid_graph((3, 4)))
    learner = learner_for(kind, topology, HEADS)
    features = features_on(topology, 2, HEADS)
    weight = learner(features, topology).weight
    for head in range(HEADS):
        assert_same(alone(kind, learner, head)(features[:, head], topology).weight, weight[:, head])


@pytest.mark.parametrize("batch", [(2,), (2, 3), (0,)])
@pytest.mark.parametrize("structure", [lambda t: t, to_edge_list], ids=["grid", "edge list"])
def test_batch_equals_each_alone(kind, structure, batch):
    topology = structure(grid_graph((3, 4)))
    learner = learner_for(kind, topology)
    features = features_on(topology, *batch)
    weight = learner(features, topology).weight
    assert weight.shape == (*batch, topology.num_edges)
    for row, one in zip(weight.flatten(0, -2), features.flatten(0, -3), strict=True):
        assert_same(learner(one, topology).weight, row)


# ---- gradients ------------------------------------------------------------------------------


@pytest.mark.parametrize("normalization", ["none", "sym", "row", "merged"])
@pytest.mark.parametrize("structure", [lambda t: t, to_edge_list], ids=["grid", "edge list"])
def test_gradients_are_right_twice(parametric, structure, normalization):
    topology = structure(grid_graph((2, 2)))
    learner = learner_for(parametric, topology, normalization=normalization)
    names = [name for name, _ in learner.named_parameters()]

    def weight(features, *values):
        parameters = dict(zip(names, values, strict=True))
        return torch.func.functional_call(learner, parameters, (features, topology)).weight

    inputs = (features_on(topology, grad=True), *learner.parameters())
    assert torch.autograd.gradcheck(weight, inputs)
    assert torch.autograd.gradgradcheck(weight, inputs, fast_mode=True)


@pytest.mark.parametrize("heads", [None, HEADS])
@pytest.mark.parametrize("num_keys", [2, D, 5])
def test_every_entry_of_every_parameter_of_attention_acts_at_the_start(heads, num_keys):
    assert_alive(DotProductLearner(D, heads=heads, num_keys=num_keys), heads)


@pytest.mark.parametrize("heads", [None, HEADS])
def test_every_entry_of_the_factor_acts_at_the_start(heads):
    assert_alive(MahalanobisLearner(D, heads=heads), heads)


@pytest.mark.parametrize("heads", [None, HEADS])
def test_every_entry_of_a_local_scale_acts_at_the_start(heads):
    assert_alive(locally_scaled(D, heads=heads), heads)


def assert_alive(learner, heads):
    topology = grid_graph((3, 4))
    learner = learner.double()
    weight = learner(features_on(topology, *([heads] if heads else [])), topology).weight
    for gradient in gradients(weight, torch.randn_like(weight), *learner.parameters()):
        assert bool((gradient.abs() > 1e-8).all())


@pytest.mark.parametrize("normalization", ["none", "sym", "row", "merged"])
@pytest.mark.parametrize("scale", [0.0, 1e-6, 1.0, 1e3, 1e6])
def test_values_and_gradients_are_finite_at_every_scale(parametric, normalization, scale):
    topology = grid_graph((4, 5), window=5)
    learner = parametric(D, normalization=normalization)
    features = (scale * torch.randn(topology.num_nodes, D)).requires_grad_()
    weight = learner(features, topology).weight
    assert bool(weight.isfinite().all())
    for gradient in gradients(weight, torch.randn_like(weight), features, *learner.parameters()):
        assert bool(gradient.isfinite().all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_autocast_stops_at_the_learner(kind, dtype):
    topology = grid_graph((4, 5), window=5)
    learner = kind(D)
    features = torch.randn(topology.num_nodes, D).to(dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        graph = learner(features, topology)
    assert torch.equal(graph.weight, learner(features.float(), topology).weight)
    assert graph.weight.dtype == torch.float32
    if list(learner.parameters()):
        for gradient in gradients(graph.weight, 1, *learner.parameters()):
            assert gradient.dtype == torch.float32
            assert bool(gradient.isfinite().all())


def test_full_precision_is_only_where_autocast_is():
    x = torch.rand(2, 2)
    with full_precision(x), full_precision(torch.empty(2, device="meta")):
        assert not torch.is_autocast_enabled("cpu")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        with full_precision(x):
            assert not torch.is_autocast_enabled("cpu")
        assert torch.is_autocast_enabled("cpu")


@pytest.mark.parametrize("normalization", ["none", "sym", "row", "merged"])
def test_hops_tell_how_far_a_weight_looks(kind, normalization):
    topology = path_graph(9)
    learner = learner_for(kind, topology, normalization=normalization)
    features = features_on(topology, grad=True)
    weight = learner(features, topology).weight
    # between nodes 4 and 5, in both directions where there are two
    (g,) = gradients(weight[4 :: topology.num_edges], 1, features)
    seen = (g.abs().sum(-1) > 0).nonzero().flatten().tolist()
    assert seen == list(range(4 - learner.hops, 6 + learner.hops))


# ---- against independent formulas -----------------------------------------------------------


def test_metric_is_factor_transposed_times_factor():
    learner = learner_for(MahalanobisLearner, path_graph(2), HEADS)
    for factor, metric in zip(learner.factor, learner.metric, strict=True):
        assert_same(metric, factor.T @ factor)
        assert bool((torch.linalg.eigvalsh(metric) >= 0).all())


def test_factor_starts_at_init_times_the_identity():
    assert_same(MahalanobisLearner(D).factor.data, 1.5 * torch.eye(D))
    learner = MahalanobisLearner(D, heads=HEADS, init=0.25)
    learner.factor.data.normal_()
    learner.reset_parameters()
    assert_same(learner.factor.data, 0.25 * torch.eye(D).expand(HEADS, D, D))


def test_locally_scaled_weights_by_hand():
    topology = grid_graph((3, 4))
    learner = learner_for(locally_scaled, topology, HEADS, normalization="none")
    features = features_on(topology, HEADS)
    weight = learner(features, topology).weight
    for h in range(HEADS):
        for (i, j), w in zip(topology.edge_index.T.tolist(), weight[h], strict=True):
            if w == 0:
                continue  # no edge
            place, spacing = features[h, :, :2], features[h, :, 2].exp()
            square = (learner.factor[h] @ (place[i] - place[j])).square().sum()
            assert_same(w, (-square / (spacing[i] * spacing[j]) ** learner.power[h]).exp())


def test_a_local_scale_of_power_0_is_the_plain_metric_and_of_power_1_knows_no_unit():
    place, topology = torch.rand(12, 2, dtype=torch.float64), grid_graph((3, 4))
    features = torch.cat([place, torch.randn(12, 1, dtype=torch.float64)], -1)
    plain = MahalanobisLearner(2)(place.float(), topology).weight
    scaled = LocallyScaledLearner(2, power=0.0)(features.float(), topology).weight
    torch.testing.assert_close(scaled, plain)
    one = LocallyScaledLearner(2).double()
    other = torch.cat([7 * place, features[:, 2:] + math.log(7)], -1)
    assert_same(one(features, topology).weight, one(other, topology).weight)


def test_scores_start_as_the_plain_inner_product():
    learner = DotProductLearner(D, num_keys=5)
    torch.testing.assert_close(learner.query.mT @ learner.key, torch.eye(D))


@over(TOPOLOGIES)
def test_row_normalized_mahalanobis_is_a_softmax_of_negative_distances(build):
    topology = build()
    learner = learner_for(MahalanobisLearner, topology, normalization="row")
    features = 0.5 * features_on(topology)  # near enough that no distance reaches the limit of 30
    graph = learner(features, topology)
    difference = features.unsqueeze(1) - features
    distance = torch.einsum("ijc,cd,ijd->ij", difference, learner.metric, difference)
    expected = masked_softmax(-distance, adjacency(topology))
    assert_same(dense(graph.topology, graph.weight), expected)


def masked_softmax(score, mask):
    """Row by row; a row without entries is 0."""
    return torch.softmax(score.masked_fill(~mask, -torch.inf), -1).nan_to_num(0.0)


def attention_matrix(learner, features, mask):
    """Attention weights from PyTorch, which gives only their product with the values."""
    values = torch.eye(features.shape[-2], dtype=features.dtype)
    return functional.scaled_dot_product_attention(
        features @ learner.query.mT, features @ learner.key.mT, values, attn_mask=mask
    )


def test_attention_on_a_complete_graph_is_that_of_pytorch():
    n = 6
    tail, head = (~torch.eye(n, dtype=torch.bool)).nonzero().T
    topology = EdgeList(torch.stack([tail, head]), n, directed=True)
    learner = learner_for(DotProductLearner, topology, normalization="none")
    features = features_on(topology)
    expected = attention_matrix(learner, features, adjacency(topology))
    assert_same(dense(topology, learner(features, topology).weight), expected)
    score = (features @ learner.query.mT) @ (features @ learner.key.mT).mT / D**0.5
    assert_same(expected, torch.softmax(score - torch.diag(torch.full((n,), torch.inf)), -1))


@over(TOPOLOGIES)
def test_attention_over_neighbours_is_that_of_pytorch(build):
    topology = build()
    learner = learner_for(DotProductLearner, topology, normalization="none")
    features = features_on(topology)
    expected = attention_matrix(learner, features, adjacency(topology)).nan_to_num(0.0)
    if not topology.directed:
        expected = expected + expected.T  # both directions on the one edge
    assert_same(dense(topology, learner(features, topology).weight), expected)


@over(UNDIRECTED)
def test_undirected_attention_is_the_directed_one_merged(build):
    topology = build()
    learner = learner_for(DotProductLearner, topology, normalization="none")
    features = features_on(topology)
    rows = learner(features, topology.both_directions())
    assert_same(rows.merged().weight, learner(features, topology).weight)


def test_bilateral_filter_is_a_special_case():
    topology = grid_graph((5, 6), window=5)
    position = torch.cartesian_prod(torch.arange(5.0), torch.arange(6.0)).double()
    intensity = torch.rand(30, 1, dtype=torch.float64)
    sigma_d, sigma_r = 1.7, 0.3
    learner = MahalanobisLearner(3, normalization="none").double()
    sigma = torch.tensor([sigma_d, sigma_d, sigma_r], dtype=torch.float64)
    learner.factor.data = torch.diag(1 / sigma)
    weight = learner(torch.cat([position, intensity], -1), topology).weight
    for (i, j), w in zip(topology.edge_index.T.tolist(), weight, strict=True):
        space = (position[i] - position[j]).square().sum() / sigma_d**2
        change = (intensity[i] - intensity[j]).square().sum() / sigma_r**2
        assert_same(w, torch.exp(-space - change) if i != j else w.new_zeros(()))


# ---- PyTorch and PyG ------------------------------------------------------------------------


def test_pyg_has_written_its_fast_edge_updater(kind):
    learner = learner_for(kind, path_graph(2))
    assert f"{type(learner).__name__}_edge_updater" in type(learner).edge_updater.__module__


COMPILED = {
    "grid": lambda: grid_graph((3, 4)),
    "edge list": lambda: knn_graph(cloud(9), k=3),
    "both directions": lambda: grid_graph((3, 4)).both_directions(),
}


# torch's own tracer of autograd functions makes an instance of one, and is warned about it
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
@over(COMPILED)
@needs_capture
def test_compiled_equals_eager(build, parametric):
    topology = build()
    learner = learner_for(parametric, topology, HEADS)
    features = features_on(topology, HEADS, grad=True)
    torch._dynamo.reset()
    compiled = torch.compile(learner, fullgraph=True, backend="aot_eager")
    eager, weight = learner(features, topology).weight, compiled(features, topology).weight
    assert_same(weight, eager)
    cotangent, inputs = torch.randn_like(eager), [features, *learner.parameters()]
    assert_same(gradients(weight, cotangent, *inputs), gradients(eager, cotangent, *inputs))


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_copy_is_equal_and_independent(parametric, clone):
    topology = knn_graph(cloud(9), k=3)
    learner, features = learner_for(parametric, topology), features_on(topology)
    weight, other = learner(features, topology).weight, clone(learner)
    assert_same(other(features, topology).weight, weight)
    for parameter in learner.parameters():
        parameter.data.zero_()
    assert_same(other(features, topology).weight, weight)


def test_the_representation_names_the_arguments():
    learner = MahalanobisLearner(D, heads=HEADS)
    assert repr(learner) == "MahalanobisLearner(num_features=3, heads=2, normalization='merged')"
