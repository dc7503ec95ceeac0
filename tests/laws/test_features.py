"""Laws of every feature network: batches, heads, borders, causality, and no dead parameter."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from gsp_unroll.features import CausalTemporalConv, EdgeConvFeatures, GridCNN, PointMLP
from gsp_unroll.graph import EdgeList, grid_graph, knn_graph, path_graph, product_graph
from gsp_unroll.graph.convert import to_edge_list
from gsp_unroll.learners import MahalanobisLearner
from tests.registries import TOPOLOGIES, cloud

SHAPE = (4, 6)
NODES = 24
IN, OUT, HEADS = 2, 6, 3

# network: its class, and its own arguments; all see the 24 nodes as a grid
NETWORKS = {
    "grid cnn": (GridCNN, {}),
    "point mlp": (PointMLP, {}),
    "edge conv": (EdgeConvFeatures, {}),
    "temporal": (CausalTemporalConv, {"places": 4}),
}


@pytest.fixture(params=NETWORKS.values(), ids=NETWORKS.keys())
def network(request):
    return request.param


def build(network, **arguments):
    """Networks in float64 with the same parameters at every call; signal -> features."""
    kind, own = network
    torch.manual_seed(1)
    module = kind(IN, OUT, width=5, **own, **arguments).double()
    topology = grid_graph(SHAPE)
    return module, lambda x: module(x, topology)


def signal(*batch, nodes=NODES):
    return torch.randn(*batch, nodes, IN, dtype=torch.float64)


def assert_same(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)


# ---- of every network -----------------------------------------------------------------------


@pytest.mark.parametrize("batch", [(2,), (2, 3), (0,)])
def test_batch_equals_each_alone(network, batch):
    _, features = build(network)
    x = signal(*batch)
    together = features(x)
    assert together.shape == (*batch, NODES, OUT)
    for row, one in zip(together.flatten(0, -3), x.flatten(0, -3), strict=True):
        assert_same(features(one), row)


@pytest.mark.parametrize("batch", [(), (2,), (0,)])
def test_a_head_takes_its_run_of_channels(network, batch):
    _, plain = build(network)
    _, split = build(network, heads=HEADS)
    x = signal(*batch)
    assert split(x).shape == (*batch, HEADS, NODES, OUT // HEADS)
    for head in range(HEADS):
        channels = slice(head * OUT // HEADS, (head + 1) * OUT // HEADS)
        assert_same(split(x)[..., head, :, :], plain(x)[..., channels])


def test_constants_stay_constant(network):
    _, features = build(network)
    constant = torch.tensor([0.3, -2.0], dtype=torch.float64).expand(NODES, IN)
    f = features(constant)
    assert_same(f, f[:1].expand_as(f))


@pytest.mark.parametrize("num_layers", [1, 2, 4])
def test_every_entry_of_every_parameter_moves_a_learned_graph(network, num_layers):
    # A distance sees no number that is added to all features: a bias at the very end would fail.
    # The signals are so large and many that no channel stays on one side of a leaky ReLU's bend.
    module, features = build(network, heads=HEADS, num_layers=num_layers)
    topology = grid_graph(SHAPE, window=5)
    learner = MahalanobisLearner(OUT // HEADS, heads=HEADS, init=0.2, normalization="none")
    weight = learner.double()(features(4 * signal(16)), topology).weight
    loss = (weight * torch.randn_like(weight)).sum()
    for gradient in torch.autograd.grad(loss, list(module.parameters())):
        assert bool((gradient.abs() > 1e-12).all())


def test_features_are_differentiable(network):
    _, features = build(network)
    x = signal().requires_grad_()
    assert torch.autograd.gradcheck(features, x)


# torch's own tracer of autograd functions makes an instance of one, and is warned about it
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
def test_compiled_with_a_learner_equals_eager(network):
    module, features = build(network, heads=HEADS)
    topology = grid_graph(SHAPE)
    learner = MahalanobisLearner(OUT // HEADS, heads=HEADS).double()

    def weight(x):
        return learner(features(x), topology).weight

    torch._dynamo.reset()
    compiled = torch.compile(weight, fullgraph=True, backend="aot_eager")
    x = signal(2)
    parameters = list(module.parameters())
    assert_same(compiled(x), weight(x))
    assert_same(
        torch.autograd.grad(compiled(x).square().sum(), parameters),
        torch.autograd.grad(weight(x).square().sum(), parameters),
    )


def test_autocast_runs(network):
    kind, own = network
    module = kind(IN, OUT, width=5, **own)
    x = signal().bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        f = module(x, grid_graph(SHAPE))
    assert bool(f.isfinite().all())


def test_an_activation_with_parameters_is_trained(network):
    module, features = build(network, activation=nn.PReLU())
    assert any("activation" in name for name, _ in module.named_parameters())
    features(signal())


# ---- images ---------------------------------------------------------------------------------


def test_grid_cnn_is_the_network_of_its_formula():
    # as wide as the image has channels: the first layer could have a skip, and has none
    cnn = GridCNN(IN, OUT, num_layers=3, width=IN).double()
    x = signal()
    image = x.T.reshape(1, IN, *SHAPE)
    h = None
    for layer in cnn.layers:
        padded = functional.pad(image if h is None else h, (1, 1, 1, 1), mode="replicate")
        y = functional.conv2d(padded, layer.weight, layer.bias)
        skip = h if h is not None and h.shape == y.shape else 0
        h = functional.leaky_relu(y + skip)
    assert_same(cnn(x, grid_graph(SHAPE)), h.reshape(OUT, NODES).T)


def test_grid_cnn_looks_one_pixel_further_per_layer():
    torch.manual_seed(1)
    cnn = GridCNN(1, 2, num_layers=2, width=3)
    x = torch.randn(7 * 9, 1, requires_grad=True)
    (gradient,) = torch.autograd.grad(cnn(x, grid_graph((7, 9))).reshape(7, 9, 2)[3, 4].sum(), x)
    seen = gradient.reshape(7, 9) != 0
    expected = torch.zeros(7, 9, dtype=torch.bool)
    expected[1:6, 2:7] = True
    assert torch.equal(seen, expected)


def test_grid_cnn_has_the_parameters_of_the_paper():
    # 3 to 48 to 48 to 48 to 48 maps, biases included
    cnn = GridCNN(in_channels=3, out_channels=48, heads=4)
    assert sum(p.numel() for p in cnn.parameters()) == 63_696


# ---- points ---------------------------------------------------------------------------------


def test_point_mlp_looks_at_each_node_alone():
    _, features = build(NETWORKS["point mlp"])
    x, order = signal(), torch.randperm(NODES)
    assert_same(features(x[order]), features(x)[order])
    changed = x.clone()
    changed[0] += 1
    assert_same(features(changed)[1:], features(x)[1:])


def over_topologies(test):
    return pytest.mark.parametrize("make", TOPOLOGIES.values(), ids=TOPOLOGIES.keys())(test)


@over_topologies
def test_edge_conv_is_the_maximum_of_its_formula(make):
    topology = make()
    module, _ = build((EdgeConvFeatures, {}))
    x = signal(nodes=topology.num_nodes)
    neighbours = [{i} for i in range(topology.num_nodes)]
    for tail, head in topology.edge_index.T.tolist():
        neighbours[head].add(tail)
        if not topology.directed:
            neighbours[tail].add(head)
    f = module(x, topology)
    for i, around in enumerate(neighbours):
        messages = [module.conv.nn(torch.cat([x[i], x[j] - x[i]]).unsqueeze(0)) for j in around]
        assert_same(f[i], torch.cat(messages).amax(0))


@over_topologies
def test_edge_conv_on_every_structure_equals_that_on_its_edge_list(make):
    topology = make()
    module, _ = build((EdgeConvFeatures, {}))
    x = signal(nodes=topology.num_nodes).requires_grad_()
    results = []
    for structure in (topology, to_edge_list(topology)):
        f = module(x, structure)
        cotangent = torch.linspace(-1, 1, f.numel(), dtype=f.dtype).reshape(f.shape)
        inputs = [x, *module.parameters()]
        results.append((f, *torch.autograd.grad((f * cotangent).sum(), inputs)))
    assert_same(results[0], results[1])


def test_edge_conv_does_not_depend_on_node_numbers():
    topology = knn_graph(cloud(9), k=3)
    module, _ = build((EdgeConvFeatures, {}))
    x, number = signal(nodes=9), torch.randperm(9)
    moved = torch.empty_like(x)
    moved[number] = x
    renumbered = EdgeList(number[topology.edge_index], 9)
    assert_same(module(moved, renumbered)[number], module(x, topology))


# ---- time -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel_size", [1, 2, 3])
def test_the_past_does_not_depend_on_the_future(kernel_size):
    steps, places = 12, 2
    features, _ = build((CausalTemporalConv, {"places": places}), kernel_size=kernel_size)
    x = signal(nodes=steps * places).requires_grad_()
    f = features(x).reshape(steps, places, OUT)
    reach = (kernel_size - 1) * (1 + 2 + 4)
    for t in range(steps):
        (gradient,) = torch.autograd.grad(f[t, 0].sum(), x, retain_graph=True)
        seen = gradient.reshape(steps, places, IN).abs().sum(-1) > 0
        times = torch.arange(steps)
        assert torch.equal(seen[:, 0], (times <= t) & (times >= t - reach))
        assert not seen[:, 1].any()


def test_every_place_is_treated_alike():
    steps, places = 6, 4
    _, features = build(NETWORKS["temporal"])
    x, order = signal().reshape(steps, places, IN), torch.randperm(places)
    f = features(x.flatten(0, 1)).reshape(steps, places, OUT)
    assert_same(features(x[:, order].flatten(0, 1)).reshape(steps, places, OUT), f[:, order])
    alone = signal()
    single, _ = build((CausalTemporalConv, {"places": 1}))
    double, _ = build((CausalTemporalConv, {"places": 2}))
    assert_same(single(alone), double(alone.repeat_interleave(2, 0))[::2])


def test_nodes_are_ordered_as_in_a_product_of_time_and_space():
    time, space = path_graph(6, directed=True), path_graph(4)
    tail, head = product_graph(time, space).edge_index
    step, place = head // 4 - tail // 4, head % 4 - tail % 4
    assert bool(((step == 1) & (place == 0) | (step == 0) & (place.abs() == 1)).all())
