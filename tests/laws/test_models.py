"""Laws of the restoration networks: constants, samples, batches, heads, no dead parameter."""

from functools import partial

import pytest
import torch
from torch import nn

from gsp_unroll import (
    BayerMosaic,
    BilateralFeatures,
    Blur,
    BoundedMomentum,
    ConvergedSolve,
    DemosaicNetwork,
    DotProductLearner,
    GLRUnroll,
    Graph,
    GridCNN,
    GTVLinearProgramUnroll,
    GTVUnroll,
    GuardedCG,
    HeavyBall,
    Interpolation,
    LeastSquares,
    MahalanobisLearner,
    OnGrid,
    PointMLP,
    SamplingMask,
    UnrolledBlock,
    UnrolledNetwork,
    VectorGTVUnroll,
    grid_graph,
    knn_graph,
    path_graph,
    start,
)
from gsp_unroll.features import as_image, as_signal
from gsp_unroll.graph.convert import to_edge_list
from gsp_unroll.models import (
    HeadMixture,
    MosaicNetwork,
    MosaicStage,
    bilateral_graph,
    bilinear,
    green_first,
)
from tests.capture import needs_capture

SHAPE = (6, 8)
NODES = 48


def double(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def block(heads=2, channels=3, features=PointMLP, solver=None, **arguments):
    dealt = heads or 1
    return UnrolledBlock(
        features(channels, 4 * dealt, width=6, heads=heads),
        MahalanobisLearner(4, heads=heads, init=0.5),
        solver or GTVUnroll(num_iterations=2, cg_steps=3, heads=heads, lam=0.05),
        **arguments,
    )


def randomised(module):
    """A zero at the start (the last layer of a correction) hides what comes before it."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return module


def mosaic(*batch):
    H = BayerMosaic(*SHAPE)
    truth = torch.rand(*batch, NODES, 3, dtype=torch.float64)
    return Interpolation(H, H(truth)), truth


def _correction():
    return nn.Conv2d(6, 3, 3, padding=1, padding_mode="replicate", bias=False)


def small_mosaic(stages=2, **arguments):
    sizes = {"width": 5, "depth": 1, "features": 3, "num_iterations": 2, "cg_steps": 3}
    return MosaicNetwork(stages, **sizes | arguments)


def network_of(kind):
    if kind == "demosaic":
        module = DemosaicNetwork(2, heads=2, features=3, width=5, num_iterations=2, cg_steps=3)
        return module.double(), lambda data: module(data, SHAPE)
    if kind in ("mosaic", "control"):
        module = small_mosaic(graph=kind == "mosaic")
        return module.double(), lambda data: module(data, SHAPE)
    heads = {"heads": 2, "one head": 1, "no head": None}.get(kind, 2)
    arguments = {}
    if kind == "residual":
        arguments["residual"] = 0.9
    if kind == "correction":
        arguments["correction"] = OnGrid(_correction())
    module = UnrolledNetwork(
        [block(heads, features=GridCNN, **arguments), block(heads, **arguments)]
    ).double()
    topology = grid_graph(SHAPE, window=5)
    return module, lambda data: module(data, topology)


KINDS = ["heads", "one head", "no head", "residual", "correction", "demosaic", "mosaic", "control"]


@pytest.mark.parametrize("kind", KINDS)
def test_samples_are_kept(kind):
    module, restore = network_of(kind)
    randomised(module)
    data, truth = mosaic(2)
    x = restore(data)
    assert x.shape == truth.shape
    seen = data.mask.expand_as(x)
    torch.testing.assert_close(x[seen], truth[seen], rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", [k for k in KINDS if k != "correction"])
def test_a_constant_is_returned_constant(kind):
    # a correction is free to propose anything; the demosaicker's starts at zero
    _, restore = network_of(kind)
    H = BayerMosaic(*SHAPE)
    constant = torch.full((NODES, 3), 0.37, dtype=torch.float64)
    torch.testing.assert_close(restore(Interpolation(H, H(constant))), constant, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_equals_its_members_alone(kind):
    module, restore = network_of(kind)
    randomised(module)
    data, _ = mosaic(3)
    together = restore(data)
    for one, y in zip(together, data.y, strict=True):
        torch.testing.assert_close(restore(Interpolation(data.H, y)), one, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_every_parameter_entry_moves_the_output(kind):
    module, restore = network_of(kind)
    randomised(module)
    # signals so large and many that no channel stays on one side of a leaky ReLU's bend
    H, truth = BayerMosaic(*SHAPE), 4 * double(16, NODES, 3)
    data = Interpolation(H, H(truth))
    loss = ((restore(data) - truth) * torch.randn_like(truth)).sum()
    names, parameters = zip(*module.named_parameters(), strict=True)
    for name, gradient in zip(names, torch.autograd.grad(loss, parameters), strict=True):
        alive = gradient.abs() > 1e-10
        if kind == "control" and name.endswith("propose.weight"):
            # without a graph to spread it, what is proposed where a sample lies is never seen:
            # red at the first pixel of a cell, green at the second and third, blue at the fourth
            seen = torch.zeros(3, 4, dtype=torch.bool)
            seen[0, 0] = seen[1, 1] = seen[1, 2] = seen[2, 3] = True
            assert not bool(alive[seen.flatten()].any()), name
            alive = alive[~seen.flatten()]
        assert bool(alive.all()), name


@pytest.mark.parametrize("learner", [MahalanobisLearner, DotProductLearner])
def test_grid_equals_edge_list(learner):
    grid = grid_graph(SHAPE, window=5)
    edges = to_edge_list(grid)
    stage = UnrolledBlock(
        PointMLP(3, 8, width=6, heads=2), learner(4, heads=2), GTVUnroll(2, 3, heads=2)
    ).double()
    data, truth = mosaic(2)
    x0 = start(data, grid)
    for x in (truth, x0):
        torch.testing.assert_close(
            stage(data, grid, x), stage(data, edges, x), rtol=1e-12, atol=1e-12
        )


def test_a_point_cloud_is_restored_with_the_same_block():
    points = double(40, 3)
    stage = block(solver=GTVUnroll(2, 3, heads=2, rho=1.0)).double()
    topology = knn_graph(points, k=5)
    data = LeastSquares(SamplingMask(torch.ones(40, dtype=torch.bool)), points)
    x = UnrolledNetwork([stage])(data, topology)
    x.square().sum().backward()
    assert x.shape == points.shape
    assert all(bool(p.grad.isfinite().all()) for p in stage.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_autocast_reaches_the_networks_and_nothing_else(kind):
    module, restore = network_of(kind)
    randomised(module).float()
    double_data, truth = mosaic(2)
    data = Interpolation(double_data.H, double_data.y.float())
    with torch.no_grad():
        expected = restore(data)
    convolved = []
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(lambda _module, _inputs, y: convolved.append(y.dtype))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        x = restore(data)
    assert set(convolved) == {torch.bfloat16}
    assert x.dtype == torch.float32
    seen = data.mask.expand_as(x)
    torch.testing.assert_close(x[seen], truth.float()[seen], rtol=0, atol=1e-6)  # in 32 bits
    torch.testing.assert_close(x, expected, rtol=0, atol=0.02)
    x.square().sum().backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad.dtype == torch.float32, name
        assert bool(parameter.grad.isfinite().all()), name


class Recorder(nn.Module):
    """A solver that notes what it is given, and whether autocast is on."""

    heads = None

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, data, graph, x0):
        self.seen += [data.y.dtype, graph.weight.dtype, x0.dtype]
        self.seen.append(torch.is_autocast_enabled("cpu"))
        return x0


@pytest.mark.parametrize("correction", [None, _correction()], ids=["alone", "correction"])
def test_a_solver_never_sees_autocast(correction):
    # the user's own correction returns what autocast makes of it
    own = correction and (lambda x, _: as_signal(correction(as_image(x, SHAPE)), ()))
    stage = UnrolledBlock(
        OnGrid(nn.Conv2d(3, 4, 3, padding=1)), MahalanobisLearner(4), Recorder(), correction=own
    )
    topology = grid_graph(SHAPE, window=3)
    data = Interpolation(SamplingMask(torch.rand(NODES, 3) < 0.5), torch.rand(NODES, 3))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        x = stage(data, topology, start(data, topology))
    assert stage.solver.seen == [torch.float32] * 3 + [False]
    assert x.dtype == torch.float32


@pytest.mark.slow
# torch's own tracer of autograd functions makes an instance of one, and is warned about it
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
@pytest.mark.parametrize("autocast", [False, True])
@needs_capture
def test_the_demosaicker_compiles_in_one_piece_once_its_grids_are_there(autocast):
    network = DemosaicNetwork(heads=2, features=3, width=4, num_iterations=1, cg_steps=2)
    randomised(network)
    H = BayerMosaic(*SHAPE)
    y = H(torch.rand(NODES, 3))

    def restore(y):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            return network(Interpolation(H, y), SHAPE)

    eager = restore(y)
    torch._dynamo.reset()
    compiled = torch.compile(restore, fullgraph=True, backend="aot_eager")(y)
    torch.testing.assert_close(compiled, eager, rtol=0, atol=1e-6)
    parameters = list(network.parameters())
    for a, b in zip(
        *(torch.autograd.grad(x.square().sum(), parameters) for x in (compiled, eager)),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)


SOLVERS = {
    "GLR": lambda: GLRUnroll(4, heads=3),
    "GLR sym": lambda: GLRUnroll(4, heads=3, normalization="sym", solver=HeavyBall),
    "GLR guarded": lambda: GLRUnroll(4, heads=3, solver=GuardedCG),
    "GLR soft": lambda: GLRUnroll(4, heads=3, mu=0.7),
    "GTV": lambda: GTVUnroll(2, 3, heads=3, lam=0.05),
    "GTV soft": lambda: GTVUnroll(2, 3, heads=3, rho=0.8),
    "vector GTV": lambda: VectorGTVUnroll(2, 3, heads=3, lam=0.05),
    "linear program": lambda: GTVLinearProgramUnroll(2, 3, heads=3, solver=BoundedMomentum),
}


@pytest.fixture
def one_thread(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)


@pytest.fixture
def drawn(monkeypatch):
    """How many heads' graphs were drawn, call by call."""
    calls = []
    embed = MahalanobisLearner.embed

    def noted(self, features):
        calls.append(features.shape[-3])
        return embed(self, features)

    monkeypatch.setattr(MahalanobisLearner, "embed", noted)
    return calls


def recorded_or_not(stage, data, topology):
    """The stage's result while a gradient is recorded, and while none is."""
    x = start(data, topology)
    together = stage(data, topology, x).detach()
    with torch.no_grad():
        return together, stage(data, topology, x)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("learner", [MahalanobisLearner, DotProductLearner])
@pytest.mark.parametrize("solver", SOLVERS)
def test_heads_one_after_another_equal_all_at_once(solver, learner, dtype):
    stage = UnrolledBlock(PointMLP(3, 12, width=6, heads=3), learner(4, heads=3), SOLVERS[solver]())
    randomised(stage).to(dtype)
    H, topology = BayerMosaic(*SHAPE), grid_graph(SHAPE, window=5)
    term = LeastSquares if "soft" in solver else Interpolation
    for batch in (), (2,), (2, 1):
        data = term(H, H(torch.rand(*batch, NODES, 3, dtype=dtype)))
        together, in_turn = recorded_or_not(stage, data, topology)
        torch.testing.assert_close(in_turn, together, rtol=0, atol=50 * torch.finfo(dtype).eps)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("network", [DemosaicNetwork, MosaicNetwork])
def test_networks_solve_heads_one_after_another(network, drawn):
    module = randomised(network(heads=3, width=4)).double()
    data, _ = mosaic(2)
    together = module(data, SHAPE).detach()
    with torch.no_grad():
        in_turn = module(data, SHAPE)
    assert drawn == [3, 1, 1, 1]
    torch.testing.assert_close(in_turn, together, rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    ("threads", "batch", "calls"),
    [(1, (), [1, 1, 1]), (2, (), [2, 1]), (2, (2,), [1, 1, 1]), (3, (2,), [2, 1]), (8, (2,), [3])],
)
def test_heads_are_as_few_as_keep_threads_busy(threads, batch, calls, drawn, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    data, _ = mosaic(*batch)
    together, in_turn = recorded_or_not(block(3).double(), data, grid_graph(SHAPE, window=5))
    assert drawn == [3, *calls]
    torch.testing.assert_close(in_turn, together, rtol=0, atol=1e-13)


@pytest.mark.usefixtures("one_thread")
def test_heads_of_modules_that_do_not_say_are_solved_together(drawn):
    class OwnLearner(MahalanobisLearner):
        pass

    class OwnSolver(GTVUnroll):
        pass

    data, _ = mosaic()
    topology = grid_graph(SHAPE, window=5)
    stage = block(3).double()
    stage.learner = OwnLearner(4, heads=3).double()
    recorded_or_not(stage, data, topology)
    recorded_or_not(block(3, solver=OwnSolver(2, 3, heads=3)).double(), data, topology)
    converged = GLRUnroll(50, heads=3, solver=ConvergedSolve)  # one of its own inside
    recorded_or_not(block(3, solver=converged).double(), data, topology)
    assert drawn == [3] * 6


def test_head_weights_sum_to_one():
    mixture = randomised(HeadMixture(4)).double()
    same = double(1, 5, 2).expand(4, 5, 2)
    torch.testing.assert_close(mixture(same), same[0])


def test_green_first_adds_differences_to_green():
    data, _ = mosaic()
    window = grid_graph(SHAPE, window=3)

    def fill(d):
        return start(d, window)

    x = green_first(fill, data)
    green = fill(data)[:, 1:2]
    torch.testing.assert_close(x[:, 1:2], green)
    red = data.y - green  # red minus green at the pixels that see red
    sees_red = data.mask[:, :1]
    filled = fill(Interpolation(SamplingMask(sees_red), torch.where(sees_red, red, 0)))
    torch.testing.assert_close(x[:, :1], green + filled)


def test_green_first_on_samples_of_all_colours():
    truth, seen = double(30, 3), SamplingMask(torch.arange(30) % 3 > 0)
    path = path_graph(30)
    x = green_first(lambda d: start(d, path), Interpolation(seen, truth))
    torch.testing.assert_close(x[seen.mask[:, 0]], truth[seen.mask[:, 0]])


def test_a_stage_of_a_mosaic_has_a_solver_for_each_of_its_graphs():
    for heads, solvers, message in (
        (None, None, "Got heads=None.* at least 2"),
        (1, 1, "Got heads=1.* at least 2"),
        (2, None, "heads=2 and a solver with heads=None"),
    ):
        parts = MahalanobisLearner(2, heads=heads), GTVUnroll(1, 1, heads=solvers)
        with pytest.raises(ValueError, match=message):
            MosaicStage(3, width=4, depth=1, graph=parts)
    bare = MosaicStage(3, width=4, depth=1, graph=None)
    with pytest.raises(ValueError, match=r"without a graph.* Make it with graph="):
        bare.graph(double(30, 3), grid_graph((5, 6), window=3))


def test_bilinear_is_the_mean_of_the_nearest_samples():
    data, truth = mosaic()
    x = bilinear(data, SHAPE).reshape(*SHAPE, 3)
    image = truth.reshape(*SHAPE, 3)
    torch.testing.assert_close(x[2, 3, 0], (image[2, 2, 0] + image[2, 4, 0]) / 2)
    torch.testing.assert_close(x[3, 3, 0], image[2:5:2, 2:5:2, 0].mean())
    cross = (image[1, 2, 1] + image[3, 2, 1] + image[2, 1, 1] + image[2, 3, 1]) / 4
    torch.testing.assert_close(x[2, 2, 1], cross)


def test_bilateral_graph_is_the_bilateral_weight():
    topology = grid_graph(SHAPE, window=3)
    x = torch.rand(NODES, 3)
    graph = bilateral_graph(x, topology, value_scale=2.0, position_scale=0.5)
    tail, head = topology.edge_index
    at = torch.stack([torch.arange(NODES) // 8, torch.arange(NODES) % 8], -1).float()
    distance = 4 * (x[tail] - x[head]).square().sum(-1) + 0.25 * (at[tail] - at[head]).square().sum(
        -1
    )
    expected = Graph(topology, (-distance).exp()).normalized("merged")
    torch.testing.assert_close(graph.weight, expected.weight)
    assert not graph.weight.requires_grad


def test_iterates_end_with_the_result():
    module, _ = network_of("heads")
    data, _ = mosaic()
    topology = grid_graph(SHAPE, window=5)
    *_, last = module.iterates(data, topology)
    assert torch.equal(last, module(data, topology))


def test_the_control_has_no_graph():
    network = randomised(DemosaicNetwork(heads=2, width=4)).double()
    data, truth = mosaic()
    x = network.without_graph(data, SHAPE)
    seen = data.mask
    assert torch.equal(x[seen], truth[seen])
    block = network.network.blocks[0]
    correction, solver = block.correction.parameters(), block.solver.parameters()
    used = torch.autograd.grad(x.sum(), list(correction), retain_graph=True)
    assert all(bool(g.abs().sum() > 0) for g in used)
    unused = torch.autograd.grad(x.sum(), list(solver), allow_unused=True)
    assert all(g is None for g in unused)


def test_learned_graphs_can_be_looked_at():
    network = DemosaicNetwork(heads=2, width=4).double()
    data, _ = mosaic()
    graph = network.graph(data, SHAPE)
    assert graph.weight.shape == (2, grid_graph(SHAPE, window=5).num_edges)
    assert bool((graph.weight >= 0).all())


# ---- the successor --------------------------------------------------------------------------

SIZES = [(7, 9), (6, 9), (7, 8), (2, 3)]
OPTIONS = [
    {},
    {"graph": False},
    {"prior": "glr"},
    *({"weights": weights} for weights in ("none", "sym", "attention")),
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("shape", SIZES, ids=str)
def test_the_mosaic_network_takes_odd_sizes(shape, options):
    network, nodes = randomised(small_mosaic(**options)).double(), shape[0] * shape[1]
    H, truth = BayerMosaic(*shape), torch.rand(3, nodes, 3, dtype=torch.float64)
    data = Interpolation(H, H(truth))
    x = network(data, shape)
    seen = data.mask.expand_as(x)
    torch.testing.assert_close(x[seen], truth[seen], rtol=0, atol=1e-12)
    for one, y in zip(x, data.y, strict=True):
        alone = network(Interpolation(H, y), shape)
        torch.testing.assert_close(alone, one, rtol=0, atol=1e-12)


@pytest.mark.parametrize("shape", SIZES, ids=str)
def test_a_new_mosaic_network_keeps_constants_of_any_size(shape):
    H, nodes = BayerMosaic(*shape), shape[0] * shape[1]
    constant = torch.tensor([0.2, 0.5, 0.9]).double().expand(nodes, 3)
    x = small_mosaic().double()(Interpolation(H, H(constant)), shape)
    torch.testing.assert_close(x, constant, rtol=0, atol=1e-12)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_noisy_samples_are_changed_and_every_parameter_has_a_say(options):
    network = randomised(small_mosaic(1, noisy=True, **options)).double()
    data, _ = mosaic(2)
    noisy = network.data_term(data.H, data.y + 0.1 * torch.randn_like(data.y))
    assert type(noisy) is LeastSquares
    x = network(noisy, SHAPE)
    assert float((data.H(x.detach()) - noisy.y).abs().min()) > 0
    x.square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.any()), name


def test_a_noisy_network_refuses_exact_samples():
    with pytest.raises(ValueError, match="rho"):
        small_mosaic(1, noisy=True).double()(mosaic()[0], SHAPE)


@pytest.mark.parametrize(("dtype", "atol"), [(torch.float64, 1e-10), (torch.float32, 1e-4)])
@pytest.mark.parametrize("options", [*OPTIONS, {"noisy": True}], ids=str)
@pytest.mark.parametrize("shape", [(33, 46), (40, 37)], ids=str)
def test_tiles_of_a_mosaic_network_give_the_whole(shape, options, dtype, atol):
    # a margin that is too narrow by one pixel would show with tiles this small
    network = small_mosaic(**options, num_iterations=1, cg_steps=2, window=3)
    network = randomised(network).to(dtype)
    H = BayerMosaic(*shape)
    data = network.data_term(H, H(torch.rand(shape[0] * shape[1], 3, dtype=dtype)))
    whole = network(data, shape).detach()
    for tile in (5, 16):
        tiled = network.restore_tiled(data, shape, tile=tile)
        torch.testing.assert_close(tiled, whole, rtol=0, atol=atol)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_the_reach_of_a_mosaic_stage_is_attained_and_not_exceeded(options):
    stage = small_mosaic(1, **options, num_iterations=1, cg_steps=2, window=3).network.blocks[0]
    stage = randomised(stage).double()
    look = 2 * 4 + 1  # four convolutions on cells of two pixels, and the other pixel of a cell
    # three edges on: two products, and the normalisation or the start
    expected = look + (3 if options.get("graph", True) else 0)
    assert (stage.reach(1).pixels, stage.reach(1).stride) == (expected, 2)
    side = 2 * expected + 6
    H, topology = BayerMosaic(side, side), grid_graph((side, side), window=3)
    # small values: a difference above the threshold of the GTV goes no further than it is
    data = Interpolation(H, H(0.01 * torch.rand(side**2, 3, dtype=torch.float64)))
    x = 0.01 * torch.rand(side**2, 3, dtype=torch.float64)
    x.requires_grad_()
    image, farthest = stage(data, topology, x).reshape(side, side, 3), 0
    middle = side // 2
    for row in (middle, middle + 1):
        for column in (middle, middle + 1):
            (g,) = torch.autograd.grad(image[row, column].sum(), x, retain_graph=True)
            seen = (g.reshape(side, side, 3) != 0).any(-1).nonzero()
            at = torch.tensor([row, column])
            farthest = max(farthest, int((seen - at).abs().max()))
    assert farthest == expected


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_derivatives_of_the_mosaic_network(options):
    network = small_mosaic(1, **options, width=3, num_iterations=1, cg_steps=2, window=3)
    network = randomised(network).double()
    names, values = zip(*network.named_parameters(), strict=True)
    H, shape = BayerMosaic(4, 5), (4, 5)
    y = H(torch.rand(20, 3, dtype=torch.float64)).requires_grad_()

    def restore(y, *values):
        arguments = (Interpolation.unchecked(H, y), shape)
        return torch.func.functional_call(network, dict(zip(names, values, strict=True)), arguments)

    assert torch.autograd.gradcheck(restore, (y, *values), fast_mode=True)


def test_mistakes():
    with pytest.raises(ValueError, match=r"Got a learner with heads=2 .* Expected the same number"):
        UnrolledBlock(PointMLP(3, 8, heads=2), MahalanobisLearner(4, heads=2), GLRUnroll(3))
    with pytest.raises(ValueError, match=r"Got no block\. Expected at least one"):
        UnrolledNetwork([])
    blurred = LeastSquares(Blur(SHAPE, torch.ones(3, 3)), torch.rand(NODES, 3))
    stage = UnrolledBlock(
        PointMLP(3, 4),
        MahalanobisLearner(4),
        GTVUnroll(2, 3, rho=1.0),
        correction=OnGrid(nn.Conv2d(6, 3, 1)),
    )
    with pytest.raises(ValueError, match=r"Got data through Blur.* Expected an operator"):
        stage(blurred, grid_graph(SHAPE), torch.rand(NODES, 3))
    with pytest.raises(ValueError, match=r"whose nodes form no lattice"):
        BilateralFeatures(1.0, 1.0)(torch.rand(9, 3), knn_graph(torch.rand(9, 2), k=2))
    plain = UnrolledBlock(PointMLP(3, 4), MahalanobisLearner(4), GLRUnroll(3))
    with pytest.raises(ValueError, match=r"Got a block without a correction"):
        plain.base(blurred, grid_graph(SHAPE), torch.rand(NODES, 3))
    for name in ("width", "depth", "channels"):
        with pytest.raises(ValueError, match=f"Got {name}=0"):
            MosaicNetwork(**{"width": 8, "depth": 1, name: 0})
    with pytest.raises(ValueError, match=r"Build the MosaicStage with channels=3"):
        MosaicNetwork(channels=1, width=8, depth=1).graph(
            Interpolation(SamplingMask(torch.ones(16, dtype=torch.bool)), torch.rand(16, 3)), (4, 4)
        )


def test_a_mosaic_of_another_phase_or_shape_is_refused_and_not_restored_wrongly():
    network = MosaicNetwork(width=8, depth=1)

    def seen(height, width, phase="RGGB"):
        return Interpolation(BayerMosaic(height, width, phase), torch.rand(height * width, 1))

    assert network(seen(4, 6), (4, 6)).shape == (24, 3)
    tiled = partial(network.restore_tiled, tile=4)
    for call in (network, network.graph, network.restore, tiled):
        with pytest.raises(ValueError, match=r"Got a mosaic of 4 x 6 pixels, and shape=\(6, 4\)"):
            call(seen(4, 6), (6, 4))
        with pytest.raises(ValueError, match=r"Got a mosaic of phase GRBG.* restore_mosaic"):
            call(seen(4, 6, "GRBG"), (4, 6))
    # a network whose start and features know no phase takes any
    assert DemosaicNetwork()(seen(4, 6, "BGGR"), (4, 6)).shape == (24, 3)
    with pytest.raises(ValueError, match="Got tile=0"):
        network.restore(seen(4, 6), (4, 6), tile=0)
