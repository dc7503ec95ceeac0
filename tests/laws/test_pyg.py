"""Inside PyTorch Geometric: transforms, loaders, Sequential, a classifier on restored features."""

import copy
from functools import partial

import pytest
import torch
from torch import nn
from torch_geometric import EdgeIndex
from torch_geometric.data import Batch, Data, HeteroData, InMemoryDataset
from torch_geometric.loader import DataLoader
from torch_geometric.nn import GCNConv, HeteroConv, Sequential, global_mean_pool
from torch_geometric.transforms import Compose, NormalizeFeatures, ToSparseTensor, ToUndirected
from torch_geometric.utils import is_undirected, stochastic_blockmodel_graph

from gsp_unroll import (
    ADMM,
    GLR,
    GTV,
    ConjugateGradient,
    DotProductLearner,
    GLRUnroll,
    Graph,
    GTVUnroll,
    Identity,
    Interpolation,
    LeastSquares,
    MahalanobisLearner,
    PointMLP,
    SamplingMask,
    UnrolledBlock,
    UnrolledNetwork,
    knn_graph,
)
from gsp_unroll.graph import to_adjacency, to_edge_index, to_edge_weight
from gsp_unroll.pyg import LearnGraph, RestoreFeatures, RestoreSignal
from tests.registries import cloud, edges

F64 = torch.float64
BOTH_WAYS = edges((2, 1), (0, 1), (1, 2), (1, 0))


def graph_of(n, seed=0, **more):
    """Points, their neighbours in a shuffled order of columns, and values with gaps."""
    pos = cloud(n, seed=seed)
    columns = knn_graph(pos, 3).both_directions().edge_index
    draw = torch.Generator().manual_seed(seed)
    columns = columns[:, torch.randperm(columns.shape[1], generator=draw)]
    x = torch.rand(n, 2, generator=draw, dtype=F64)
    seen = torch.rand(n, generator=draw) < 0.6
    return Data(pos=pos, edge_index=columns, x=x, seen=seen, label=torch.tensor([seed]), **more)


def assert_same_data(actual, expected, but=()):
    assert set(actual.keys()) - set(but) == set(expected.keys()) - set(but)
    for name in set(expected.keys()) - set(but):
        a, b = actual[name], expected[name]
        assert torch.equal(a, b) if isinstance(b, torch.Tensor) else a == b, name


def gtv_and_glr(graph):
    return GTV(graph, 0.05) + GLR(graph, 0.1)


TRANSFORMS = {
    "weights": lambda: (LearnGraph(), ["edge_weight"]),
    "learned weights": lambda: (LearnGraph(MahalanobisLearner(2).double()), ["edge_weight"]),
    "directed": lambda: (
        LearnGraph(DotProductLearner(2, normalization="row").double(), directed=True),
        ["edge_weight"],
    ),
    "glr": lambda: (RestoreSignal(partial(GLR, mu=0.5), mask="seen"), ["x"]),
    "gtv": lambda: (
        RestoreSignal(partial(GTV, lam=0.1), mask="seen", solver=ADMM(rtol=1e-9)),
        ["x"],
    ),
    "sum": lambda: (RestoreSignal(gtv_and_glr, solver=ADMM(rtol=1e-9)), ["x"]),
    "exact": lambda: (
        RestoreSignal(GLR, mask="seen", data_term=Interpolation, solver=ConjugateGradient(1e-12)),
        ["x"],
    ),
}
every_transform = pytest.mark.parametrize("name", TRANSFORMS)


# ---- what every transform keeps -------------------------------------------------------------


@every_transform
def test_a_transform_leaves_its_input_and_the_other_attributes_alone(name):
    transform, writes = TRANSFORMS[name]()
    data = graph_of(12, name="a name", strings=["a", "b"])
    data.edge_attr = torch.ones(data.num_edges, 1)
    before = copy.deepcopy(data)
    after = transform(data)
    assert_same_data(data, before)
    assert_same_data(after, before, but=writes)
    assert all(name in after for name in writes)
    assert not any(after[name].requires_grad for name in writes)


@every_transform
def test_a_batch_equals_each_graph_alone(name):
    transform, writes = TRANSFORMS[name]()
    graphs = [graph_of(n, seed=n) for n in (9, 5, 14)]
    alone = [transform(data) for data in graphs]
    together = transform(Batch.from_data_list(graphs))
    for key in writes:
        expected = torch.cat([data[key] for data in alone])
        torch.testing.assert_close(together[key], expected, rtol=0, atol=1e-5)


@every_transform
def test_a_loader_of_transformed_graphs(name, tmp_path):
    transform, writes = TRANSFORMS[name]()

    class Graphs(InMemoryDataset):
        def __init__(self, root):
            super().__init__(root, transform)
            self.data, self.slices = self.collate([graph_of(n, seed=n) for n in (6, 9, 7)])

    loaded = list(DataLoader(Graphs(str(tmp_path)), batch_size=2))
    assert [batch.num_graphs for batch in loaded] == [2, 1]
    for key in writes:
        expected = torch.cat([transform(graph_of(n, seed=n))[key] for n in (6, 9, 7)])
        assert torch.equal(torch.cat([batch[key] for batch in loaded]), expected)


@every_transform
def test_a_hetero_data_is_refused_and_stays_as_it_is(name):
    transform, _ = TRANSFORMS[name]()
    data = HeteroData()
    data["a"].x = torch.rand(3, 2)
    data["a", "to", "a"].edge_index = BOTH_WAYS
    before = copy.deepcopy(data)
    with pytest.raises(ValueError, match=r"Got a HeteroData for .*one kind.*to_homogeneous"):
        transform(data)
    assert data.to_dict().keys() == before.to_dict().keys()
    assert torch.equal(data["a"].x, before["a"].x)


def test_one_kind_of_a_hetero_data_is_restored_and_the_others_untouched():
    data = HeteroData()
    data["paper"].x, data["author"].x = torch.rand(3, 2), torch.rand(4, 5)
    data["paper", "cites", "paper"].edge_index = BOTH_WAYS
    data["author", "writes", "paper"].edge_index = edges((0, 1), (3, 2))
    author = data["author"].x.clone()
    papers = Data(x=data["paper"].x, edge_index=data["paper", "cites", "paper"].edge_index)
    data["paper"].x = RestoreSignal(partial(GLR, mu=1.0))(papers).x
    assert torch.equal(data["author"].x, author)
    assert data.validate()


def test_transforms_stand_among_those_of_pyg():
    data = Data(x=torch.rand(30, 3), pos=torch.rand(30, 3))
    chain = Compose(
        [NormalizeFeatures(), LearnGraph(k=4), RestoreSignal(partial(GLR, mu=1.0)), ToUndirected()]
    )
    after = chain(data)
    assert after.x.shape == (30, 3)
    assert after.edge_index.shape[1] == after.edge_weight.shape[0]


@pytest.mark.parametrize("name", [name for name in TRANSFORMS if name != "sum"])
def test_the_representation_says_what_it_does_and_is_the_same_each_time(name):
    # PyG keeps that of a pre_transform on disk, and compares
    first, second = (repr(TRANSFORMS[name]()[0]) for _ in range(2))
    assert first == second
    assert "attr" in first


# ---- LearnGraph -----------------------------------------------------------------------------


def test_the_default_weights_are_those_of_a_bilateral_filter():
    data = graph_of(12)
    source, target = data.edge_index
    exponent = 0
    for f in (data.pos, data.x):
        square = (f[source] - f[target]).square().sum(-1)
        exponent = exponent + square / (2 * square.mean())
    after = LearnGraph(attrs=["pos", "x"])(data)
    torch.testing.assert_close(after.edge_weight, (-exponent).exp())


@pytest.mark.parametrize("normalization", ["none", "merged", "row"])
def test_weights_come_from_the_learner_for_every_direction_in_order(normalization):
    learner = MahalanobisLearner(2, normalization=normalization).double()
    data = graph_of(12)
    graph = learner(data.x, Graph.from_pyg(data).topology)
    w = LearnGraph(learner)(data).edge_weight
    W = to_adjacency(graph).to_dense()  # row: the node that listens
    assert torch.equal(w, W[data.edge_index[1], data.edge_index[0]])
    both_alike = is_undirected(data.edge_index, w)
    assert both_alike == (normalization != "row")
    if normalization == "row":
        sums = torch.zeros(12, dtype=F64).index_add(0, data.edge_index[1], w)
        torch.testing.assert_close(sums, torch.ones(12, dtype=F64))


def test_neighbours_are_drawn_where_there_are_no_edges():
    pos, x = cloud(15), torch.rand(15, 4, dtype=F64)
    after = LearnGraph(k=3)(Data(pos=pos, x=x))
    assert torch.equal(after.edge_index, knn_graph(pos, 3).both_directions().edge_index)
    assert is_undirected(after.edge_index, after.edge_weight)
    by_features = LearnGraph(k=3)(Data(x=x))
    assert torch.equal(by_features.edge_index, knn_graph(x, 3).both_directions().edge_index)
    rows = LearnGraph(k=3, directed=True)(Data(pos=pos, x=x))
    assert torch.equal(rows.edge_index, knn_graph(pos, 3, symmetrize=None).edge_index)


def test_neighbours_of_a_batch_lie_in_their_graph():
    graphs = [Data(pos=cloud(n, seed=n), x=cloud(n)) for n in (6, 8)]
    batch = LearnGraph(k=2)(Batch.from_data_list(graphs))
    alone = [LearnGraph(k=2)(data) for data in graphs]
    expected = Batch.from_data_list(alone)
    order, order_alone = (
        (b.edge_index[0] * 14 + b.edge_index[1]).argsort() for b in (batch, expected)
    )
    assert torch.equal(batch.edge_index[:, order], expected.edge_index[:, order_alone])
    torch.testing.assert_close(batch.edge_weight[order], expected.edge_weight[order_alone])


def test_a_signal_without_channels_axis_and_equal_values():
    data = Data(x=torch.ones(3), edge_index=BOTH_WAYS)
    assert LearnGraph()(data).edge_weight.tolist() == [1.0] * 4


@pytest.mark.parametrize("n", [0, 1, 2])
def test_graphs_of_few_nodes(n):
    after = LearnGraph(k=3)(Data(x=torch.rand(n, 2)))
    assert after.edge_weight.shape == (n * (n - 1),)
    restored = RestoreSignal(partial(GLR, mu=1.0))(after)
    assert restored.x.shape == (n, 2)
    assert RestoreSignal(partial(GTV, lam=0.1))(after).x.shape == (n, 2)


# ---- RestoreSignal --------------------------------------------------------------------------


def test_the_signal_solves_the_problem():
    data = LearnGraph()(graph_of(14))
    after = RestoreSignal(partial(GLR, mu=0.7), mask="seen", solver=ConjugateGradient(1e-13))(data)
    W = torch.zeros(14, 14, dtype=F64)
    W[data.edge_index[0], data.edge_index[1]] = data.edge_weight
    H, L = data.seen.double().diag(), W.sum(1).diag() - W
    torch.testing.assert_close(after.x, torch.linalg.solve(H + 0.7 * L, H @ data.x))


def test_what_is_nan_is_filled_in_and_the_rest_kept():
    data = graph_of(14)
    data.y = data.x[:, 0].masked_fill(~data.seen, torch.nan)
    after = RestoreSignal(GTV, "y", data_term=Interpolation)(data)
    assert after.y.shape == (14,)
    assert torch.equal(after.y[data.seen], data.y[data.seen])
    assert after.y.isfinite().all()
    assert after.x is data.x


def test_a_mask_hides_what_is_not_to_be_trusted():
    data = graph_of(14)
    spoilt = copy.copy(data)
    spoilt.x = torch.where(data.seen.unsqueeze(-1), data.x, 1e6)
    for prior in (partial(GLR, mu=0.5), partial(GTV, lam=0.1)):
        transform = RestoreSignal(prior, mask="seen")
        torch.testing.assert_close(transform(spoilt).x, transform(data).x)


def test_nodes_that_nothing_is_known_of_keep_the_level_of_the_others():
    data = Data(
        x=torch.tensor([[2.0], [torch.nan], [torch.nan], [torch.nan]]),
        edge_index=edges((0, 1), (1, 0), (2, 3), (3, 2)),
    )
    for prior in (GLR, GTV):
        with pytest.warns(UserWarning, match=r"2 values of x lie in parts .* mean of their graph"):
            found = RestoreSignal(prior)(data).x
        assert found.flatten().tolist() == pytest.approx([2.0] * 4)
    nothing = Data(x=torch.full((3, 1), torch.nan), edge_index=BOTH_WAYS)
    with pytest.warns(UserWarning, match="3 values of x"):
        assert RestoreSignal(GLR)(nothing).x.tolist() == [[0.0]] * 3
    joined = Data(x=data.x, edge_index=edges((0, 1), (1, 0), (1, 2), (2, 1), (2, 3), (3, 2)))
    assert RestoreSignal(GLR)(joined).x.isfinite().all()  # and no warning


def test_a_solver_that_stops_early_is_reported():
    transform = RestoreSignal(partial(GTV, lam=0.1), solver=ADMM(rtol=1e-12, max_steps=2))
    with pytest.warns(UserWarning, match=r"x was restored .* The step budget ran out first"):
        transform(graph_of(14))


def test_weights_are_taken_in_the_precision_of_the_signal():
    data = Data(x=torch.rand(3, 1, dtype=F64), edge_index=BOTH_WAYS, edge_weight=torch.ones(4))
    assert RestoreSignal(GLR)(data).x.dtype == F64


@pytest.mark.accel
@pytest.mark.filterwarnings("ignore:Sparse invariant checks:UserWarning")
def test_a_matrix_in_place_of_edges_is_read():
    data = LearnGraph()(graph_of(10))
    data.x, data.edge_weight = data.x.float(), data.edge_weight.float()
    transform = RestoreSignal(partial(GLR, mu=0.5))
    expected = transform(data).x
    torch.testing.assert_close(transform(ToSparseTensor(attr="edge_weight")(data)).x, expected)


# ---- RestoreFeatures ------------------------------------------------------------------------


def network(channels, features=4):
    return UnrolledNetwork(
        [
            UnrolledBlock(
                PointMLP(channels, features),
                MahalanobisLearner(features, init=0.3),
                GLRUnroll(10, mu=3.0),
            )
        ]
    )


LAYERS = {
    "glr": lambda: RestoreFeatures(GLRUnroll(6, mu=1.0)),
    "gtv": lambda: RestoreFeatures(GTVUnroll(3, 4, rho=1.0)),
    "learned": lambda: RestoreFeatures(network(2)),
}
every_layer = pytest.mark.parametrize("name", LAYERS)


def test_the_layer_is_the_unrolled_layer_on_the_graph_of_pyg():
    data, solver = LearnGraph()(graph_of(12)), GLRUnroll(6, mu=1.0).double()
    layer = RestoreFeatures(solver)
    graph = Graph.from_pyg(data)
    expected = solver(LeastSquares(Identity(), data.x), graph)
    assert torch.equal(layer(data.x, data.edge_index, data.edge_weight), expected)
    assert torch.equal(layer(data.x, graph), expected)
    H = SamplingMask(data.seen)
    assert torch.equal(layer(data.x, graph, mask=data.seen), solver(LeastSquares(H, data.x), graph))
    exact = RestoreFeatures(GLRUnroll(6).double(), data_term=Interpolation)
    assert torch.equal(exact(data.x, graph, mask=data.seen)[data.seen], data.x[data.seen])


def test_every_form_of_the_graph_gives_the_same():
    data = LearnGraph()(graph_of(12))
    graph, layer = Graph.from_pyg(data), RestoreFeatures(GLRUnroll(6, mu=1.0).double())
    expected = layer(data.x, data.edge_index, data.edge_weight)
    edge_index, w = to_edge_index(graph)
    assert isinstance(edge_index, EdgeIndex)
    for form in ((edge_index, w), (to_adjacency(graph),), (graph,)):
        torch.testing.assert_close(layer(data.x, *form), expected)
    unweighted = layer(data.x, data.edge_index)
    torch.testing.assert_close(layer(data.x, graph.topology), unweighted)
    assert not torch.allclose(unweighted, expected)


@every_layer
def test_a_batch_of_a_loader_equals_each_graph_alone_in_a_layer(name):
    layer = LAYERS[name]().double()
    graphs = [graph_of(n, seed=n) for n in (9, 5, 14)]
    alone = torch.cat([layer(data.x, data.edge_index) for data in graphs])
    (batch,) = DataLoader(graphs, batch_size=3)
    torch.testing.assert_close(layer(batch.x, batch.edge_index, batch=batch.batch), alone)


@every_layer
def test_nodes_may_be_renumbered(name):
    layer, data = LAYERS[name]().double(), graph_of(12)
    order = torch.randperm(12)
    place = order.argsort()
    renumbered = layer(data.x[order], place[data.edge_index])
    torch.testing.assert_close(renumbered, layer(data.x, data.edge_index)[order])


@every_layer
def test_masked_features_are_not_read_and_get_no_gradient(name):
    layer, data = LAYERS[name]().double(), graph_of(12)
    x = data.x.masked_fill(~data.seen.unsqueeze(-1), torch.nan).requires_grad_()
    restored = layer(x, data.edge_index, mask=data.seen)
    assert restored.isfinite().all()
    (gradient,) = torch.autograd.grad(restored.square().sum(), x)
    assert not gradient[~data.seen].any()
    assert gradient[data.seen].all()


@every_layer
def test_no_edges_leave_features_as_they_are(name):
    layer, x = LAYERS[name](), torch.rand(3, 2)
    torch.testing.assert_close(layer(x, edges()), x)
    assert layer(torch.rand(0, 2), edges()).shape == (0, 2)


def grads(model):
    return [p.grad is not None and bool(p.grad.any()) for p in model.parameters()]


@every_layer
def test_in_sequential_a_batch_equals_alone_and_gradients_reach_every_parameter(name):
    restore = LAYERS[name]()
    model = Sequential(
        "x, edge_index, edge_weight, batch",
        [
            (restore, "x, edge_index, edge_weight, batch -> x"),
            (GCNConv(2, 4), "x, edge_index -> x"),
            nn.Tanh(),
            (global_mean_pool, "x, batch -> x"),
            nn.Linear(4, 1),
        ],
    )
    graphs = [graph_of(n, seed=n) for n in (9, 14)]
    for data in graphs:
        data.x = data.x.float()
    (batch,) = DataLoader(graphs, batch_size=2)
    out = model(batch.x, batch.edge_index, None, batch.batch)
    for data, row in zip(graphs, out, strict=True):
        one = torch.zeros(data.num_nodes, dtype=torch.int64)
        torch.testing.assert_close(model(data.x, data.edge_index, None, one)[0], row)
    out.square().sum().backward()
    assert all(grads(restore))


def test_the_layer_serves_one_relation_of_a_hetero_conv():
    x = {"paper": torch.rand(3, 2)}
    conv = HeteroConv({("paper", "cites", "paper"): RestoreFeatures(GLRUnroll(mu=1.0))})
    restored = conv(x, {("paper", "cites", "paper"): BOTH_WAYS})["paper"]
    (layer,) = conv.convs.values()
    assert torch.equal(restored, layer(x["paper"], BOTH_WAYS))


def test_a_trained_learner_may_be_taken_into_a_transform():
    data, net = graph_of(12), network(2).double()
    block = net.stages[0]

    def learn(features, topology):
        return block.graph(features, topology)

    w = LearnGraph(learn)(data).edge_weight
    expected = block.graph(data.x, Graph.from_pyg(data).topology)
    assert torch.equal(w, to_edge_weight(expected, data.edge_index))


# ---- a classifier on restored features ------------------------------------------------------

CLASSES, SIZE, CHANNELS, NOISE = 4, 60, 8, 3.0


def communities(seed):
    """A stochastic block model whose nodes know their class only through much noise."""
    torch.manual_seed(seed)
    within, between = 0.15, 0.02
    density = (within - between) * torch.eye(CLASSES) + between
    edge_index = stochastic_blockmodel_graph([SIZE] * CLASSES, density)
    y = torch.arange(CLASSES).repeat_interleave(SIZE)
    x = torch.randn(CLASSES, CHANNELS)[y] + NOISE * torch.randn(len(y), CHANNELS)
    return Data(x=x, edge_index=edge_index, y=y, train_mask=torch.rand(len(y)) < 0.1)


def accuracy(data, *first, epochs=150):
    """Of a GCN, `first` before it, on the nodes that it was not trained on."""
    torch.manual_seed(0)
    convolutions = [
        (GCNConv(CHANNELS, 16), "x, edge_index -> x"),
        nn.ReLU(),
        (GCNConv(16, CLASSES), "x, edge_index -> x"),
    ]
    model = Sequential("x, edge_index", [*first, *convolutions])
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01, weight_decay=5e-4)
    for _ in range(epochs):
        optimizer.zero_grad()
        out = model(data.x, data.edge_index)[data.train_mask]
        nn.functional.cross_entropy(out, data.y[data.train_mask]).backward()
        optimizer.step()
    right = model(data.x, data.edge_index).argmax(1) == data.y
    return right[~data.train_mask].float().mean().item()


def test_a_gcn_is_right_more_often_on_features_that_are_restored_first():
    gains = []
    for seed in (10, 11, 12):
        data = communities(seed)
        restore = RestoreFeatures(network(CHANNELS, features=8))
        before = copy.deepcopy(restore.state_dict())
        gains.append(accuracy(data, (restore, "x, edge_index -> x")) - accuracy(data))
        moved = [not torch.equal(p, before[name]) for name, p in restore.named_parameters()]
        assert all(moved), "trained end to end"
    assert sum(gains) / len(gains) > 0.01
