"""Laws of every feature network: batches, heads, borders, causality, and no dead parameter."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from gsp_unroll.features import (
    CausalTemporalConv,
    EdgeConvFeatures,
    GridCNN,
    GridUNet,
    OnGrid,
    PointMLP,
    Reach,
    reach_of,
)
from gsp_unroll.graph import EdgeList, grid_graph, knn_graph, path_graph, product_graph
from gsp_unroll.graph.convert import to_edge_list
from gsp_unroll.learners import MahalanobisLearner
from tests.capture import needs_capture
from tests.registries import TOPOLOGIES, cloud

SHAPE = (4, 6)
NODES = 24
IN, OUT, HEADS = 2, 6, 3

# network: its class, and its own arguments; all see the 24 nodes as a grid
NETWORKS = {
    "grid cnn": (GridCNN, {}),
    "grid unet": (GridUNet, {}),
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


FIXED_DEPTH = {"grid unet"}
DEPTHS = [(name, {}) for name in FIXED_DEPTH] + [
    (name, {"num_layers": n}) for name in NETWORKS if name not in FIXED_DEPTH for n in (1, 2, 4)
]


@pytest.mark.parametrize(("name", "depth"), DEPTHS)
def test_every_entry_of_every_parameter_moves_a_learned_graph(name, depth):
    # A distance sees no number that is added to all features: a bias at the very end would fail.
    # The signals are so large and many that no channel stays on one side of a leaky ReLU's bend.
    module, features = build(NETWORKS[name], heads=HEADS, **depth)
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
@needs_capture
def test_compiled_with_a_learner_equals_eager(network):
    module, features = build(network, heads=HEADS)
    if torch.__version__ < "2.12" and isinstance(module, GridCNN):
        pytest.skip("torch 2.11 mistakes the layout of a captured convolution in float64")
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


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_autocast_ends_with_the_features(network, dtype):
    kind, own = network
    torch.manual_seed(1)
    module = kind(IN, OUT, width=5, **own)
    x = signal().to(dtype)
    inner = []
    layers = [m for m in module.modules() if isinstance(m, nn.Conv2d | nn.Conv1d | nn.Linear)]
    for layer in layers:
        layer.register_forward_hook(lambda _module, _inputs, y: inner.append(y.dtype))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        f = module(x, grid_graph(SHAPE))
    assert set(inner) == {torch.bfloat16}
    assert f.dtype == dtype
    torch.testing.assert_close(f, module(x.float(), grid_graph(SHAPE)).to(dtype), rtol=0, atol=0.03)


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


PADDINGS = [("replicate", "replicate"), ("zeros", "constant")]


@pytest.mark.parametrize(("padding", "mode"), PADDINGS)
def test_grid_cnn_sees_its_padding_beyond_the_border(padding, mode):
    network = GridCNN(IN, OUT, num_layers=1, padding=padding).double()
    x = signal()
    (layer,) = network.layers
    padded = functional.pad(x.T.reshape(1, IN, *SHAPE), (1, 1, 1, 1), mode=mode)
    expected = functional.leaky_relu(functional.conv2d(padded, layer.weight, layer.bias))
    assert_same(network(x, grid_graph(SHAPE)), expected.reshape(OUT, NODES).T)


@pytest.mark.parametrize(("padding", "mode"), PADDINGS)
def test_grid_unet_is_the_network_of_its_formula(padding, mode):
    network = GridUNet(IN, OUT, width=5, padding=padding).double()
    shape = (7, 10)  # an odd number of rows, and columns that are odd at half the resolution
    x = signal(nodes=70)

    def conv(layer, image, step=1):
        padded = functional.pad(image, (1, 1, 1, 1), mode=mode)
        return functional.conv2d(padded, layer.weight, layer.bias)[..., ::step, ::step]

    def up(image, like):
        rows, columns = (torch.arange(n) // 2 for n in like.shape[-2:])
        return image[..., rows, :][..., columns]

    sigma = functional.leaky_relu
    a = sigma(conv(network.enter, x.T.reshape(1, IN, *shape)))
    b = sigma(conv(network.to_half, a, 2))
    c = sigma(conv(network.to_quarter, b, 2))
    d = sigma(conv(network.at_quarter, c) + c)
    e = sigma(conv(network.at_half, torch.cat([up(d, b), b], 1)))
    f = sigma(conv(network.leave, torch.cat([up(e, a), a], 1)))
    assert_same(network(x, grid_graph(shape)), f.reshape(OUT, 70).T)


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (2, 3), (4, 4), (5, 9)])
def test_grid_unet_takes_images_of_any_size(shape):
    network = GridUNet(1, 2, width=3)
    nodes = shape[0] * shape[1]
    assert network(torch.rand(2, nodes, 1), grid_graph(shape)).shape == (2, nodes, 2)


def test_grid_unet_has_its_parameters_at_low_resolution():
    network = GridUNet(in_channels=3, out_channels=16, heads=4)
    assert sum(p.numel() for p in network.parameters()) == 80_344
    full = [*network.enter.parameters(), *network.leave.parameters()]
    assert sum(p.numel() for p in full) == 7_600


IMAGE_NETWORKS = {
    "cnn": lambda: GridCNN(2, 3, num_layers=3, width=4),
    "unet": lambda: GridUNet(2, 3, width=4),
    "of your own": lambda: OnGrid(
        nn.Sequential(
            nn.Conv2d(2, 4, (3, 5), dilation=2, padding=(2, 4), padding_mode="replicate"),
            nn.GELU(),
            nn.AvgPool2d(3, stride=1, padding=1),
            nn.Conv2d(4, 3, 4, padding="same"),
        )
    ),
    "nodes alone": lambda: PointMLP(2, 3, width=4),
}


def over_image_networks(test):
    registry = IMAGE_NETWORKS
    return pytest.mark.parametrize("make", registry.values(), ids=registry.keys())(test)


@over_image_networks
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
def test_the_reach_is_how_far_the_features_look(make):
    torch.manual_seed(1)
    network, shape = make().double(), (37, 38)
    x = signal(nodes=37 * 38).requires_grad_()
    f = network(x, grid_graph(shape)).reshape(*shape, -1)
    farthest = 0
    for row, column in [(16 + i, 16 + j) for i in range(4) for j in range(4)]:
        (g,) = torch.autograd.grad(f[row, column].sum(), x, retain_graph=True)
        seen = (g.reshape(*shape, IN).abs().sum(-1) != 0).nonzero()
        farthest = max(farthest, int((seen - torch.tensor([row, column])).abs().max()))
    assert farthest == reach_of(network).pixels


def test_reaches_add_up():
    assert Reach(2) + Reach(14, stride=4) == Reach(16, stride=4)
    told = nn.Conv2d(1, 1, 3, stride=2)
    told.reach = Reach(7, stride=2)
    assert reach_of(nn.Sequential(told, nn.ReLU(), OnGrid(nn.Conv2d(1, 1, 5)))) == Reach(9, 2)


@pytest.mark.parametrize(
    "module",
    [
        nn.Conv2d(1, 1, 3, stride=2),
        nn.Conv2d(1, 1, 3, padding=1, padding_mode="circular"),
        nn.InstanceNorm2d(1),
        nn.MaxPool2d(2),
        EdgeConvFeatures(1, 1),
    ],
    ids=lambda module: type(module).__name__,
)
def test_a_reach_that_is_not_known_is_not_guessed(module):
    with pytest.raises(ValueError, match=r"does not tell how far it looks.*Set it"):
        reach_of(nn.Sequential(nn.ReLU(), module))


@pytest.mark.parametrize("name", ["cnn", "unet"])
@pytest.mark.parametrize("batch", [(), (2, 3)])
def test_convolutions_read_and_write_signals_without_a_change_of_layout(name, batch):
    network, shape = IMAGE_NETWORKS[name](), (6, 7)
    x = torch.rand(*batch, 42, IN)
    inputs, outputs = [], []

    def look(_module, args, y):
        inputs.append(args[0])
        outputs.append(y)

    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(look)
    f = network(x, grid_graph(shape))
    assert inputs[0].data_ptr() == x.data_ptr()
    for image in [*inputs, *outputs]:
        assert image.is_contiguous(memory_format=torch.channels_last)
    assert f.is_contiguous()


# the padded copy too: a convolution that got another layout would copy it once more
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_replicate_padding_keeps_the_channels_last(dtype):
    image = torch.rand(2, 5, 6, 3).to(dtype).permute(0, 3, 1, 2)
    padded = functional.pad(image, (1, 1, 1, 1), mode="replicate")
    assert padded.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("name", ["cnn", "unet"])
def test_weights_in_channels_last_stay_so_and_change_nothing(name):
    network, topology = IMAGE_NETWORKS[name](), grid_graph(SHAPE)
    x = signal().float()
    expected = network(x, topology)
    converted = IMAGE_NETWORKS[name]().to(memory_format=torch.channels_last)
    converted.load_state_dict(network.state_dict())
    weights = [p for p in converted.parameters() if p.ndim == 4]
    assert all(w.is_contiguous(memory_format=torch.channels_last) for w in weights)
    torch.testing.assert_close(converted(x, topology), expected, rtol=0, atol=1e-6)


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
