"""On a GPU everything computes what it computes on a CPU: values, gradients, and what is refused.

Whatever is registered for other laws is built on the CPU, moved, and run in both places. With
`GSP_UNROLL_DEVICE=cpu` the same tests compare the CPU with itself: that proves nothing but that
they run.
"""

import copy
import dataclasses
import os

import pytest
import torch
from torch import nn
from torch_geometric.data import Data

from gsp_unroll import (
    BayerMosaic,
    Graph,
    GTVUnroll,
    Identity,
    LeastSquares,
    MahalanobisLearner,
    SamplingMask,
    from_pretrained,
    grid_graph,
    knn_graph,
    restore,
)
from gsp_unroll.clouds import (
    CloudDenoiser,
    chamfer_distance,
    fit_surfaces,
    inpaint_attributes,
    plane_distance,
    surface_distance,
)
from gsp_unroll.graph import Topology, path_graph, radius_graph, to_edge_index
from gsp_unroll.kernels import backend
from gsp_unroll.operators import Laplacian, MatrixFree
from gsp_unroll.problems import GLR, GTV, Interpolation, Problem
from gsp_unroll.pyg import LearnGraph, RestoreSignal
from gsp_unroll.restoration import HoldOut
from gsp_unroll.solvers import ADMM, ConjugateGradient, log_degree_graph
from gsp_unroll.unroll import GLRUnroll
from tests.laws.test_learners import LEARNERS, learner_for
from tests.laws.test_states import FILES, part, read, stored_state
from tests.registries import TOPOLOGIES, cloud
from tests.registries_convex import CONVEX
from tests.registries_layers import LAYERS
from tests.registries_operators import IMAGE, OPERATORS, POINTS, bools, numbers, operator, weighted
from tests.registries_states import MODULES
from tests.waiting import nothing_waits

DEVICE = os.environ.get("GSP_UNROLL_DEVICE", "cuda")
pytestmark = pytest.mark.skipif(
    DEVICE == "cuda" and not torch.cuda.is_available(), reason="needs CUDA"
)
#: Of the largest number; sums run in another order.
TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-11}
dtypes = pytest.mark.parametrize("dtype", TOLERANCE, ids=["float32", "float64"])


def moved(value):
    """The same value with all its tensors on the device."""
    if isinstance(value, torch.Tensor | Topology | Graph):
        return value.to(DEVICE)
    if isinstance(value, nn.Module):
        return copy.deepcopy(value).to(DEVICE)
    if isinstance(value, tuple | list):
        return type(value)(map(moved, value))
    if dataclasses.is_dataclass(value):
        there = copy.copy(value)
        there.__dict__.update({name: moved(part) for name, part in vars(value).items()})
        return there
    return value


def assert_same(found, expected, tolerance):
    """On the device, and as near as rounding allows."""
    assert found.device.type == DEVICE
    assert found.dtype == expected.dtype
    scale = float(expected.detach().abs().nan_to_num().max()) if expected.numel() else 1.0
    torch.testing.assert_close(
        found.cpu(), expected, rtol=0, atol=tolerance * max(scale, 1e-3), equal_nan=True
    )


def gradients(x, leaves):
    along = torch.linspace(-1, 2, x.numel(), dtype=x.dtype).view(x.shape).to(x.device)
    return torch.autograd.grad((along * x).sum(), leaves, materialize_grads=True)


def leaf(t):
    return t.detach().clone().requires_grad_()


# ---- graphs ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TOPOLOGIES)
def test_a_topology_keeps_its_edges(name):
    topology = TOPOLOGIES[name]()
    there = moved(topology)
    assert (there.num_nodes, there.num_edges) == (topology.num_nodes, topology.num_edges)
    back = there.to("cpu")
    graphs = (Graph(t, numbers(t.num_edges)) for t in (topology, back))
    first, second = (Laplacian(g) @ numbers(topology.num_nodes, 2) for g in graphs)
    assert torch.equal(first, second)


@dtypes
def test_graphs_of_points_are_made_where_the_points_are(dtype):
    points = cloud(60, 3).to(dtype)
    there = points.to(DEVICE)
    for make in (lambda p: knn_graph(p, 5), lambda p: radius_graph(p, 0.4)):
        here, other = make(points), make(there)
        assert other.edge_index.device.type == DEVICE
        assert torch.equal(other.edge_index.cpu(), here.edge_index)


# ---- operators, priors, solvers -------------------------------------------------------------


@dtypes
@pytest.mark.parametrize("name", OPERATORS)
def test_an_operator_and_its_adjoint(name, dtype):
    A, shape = operator(name, dtype)
    if any(isinstance(part, MatrixFree) for part in parts_of(A)):
        pytest.skip("the user's functions hold matrices of their own")
    x = numbers(*shape, dtype=dtype)
    results = []
    for move in (moved, lambda value: value):
        there, v = move(A), leaf(move(x))
        y = there @ v
        results.append((y, there.T @ y.detach(), *gradients(y, [v])))
    for found, expected in zip(*results, strict=True):
        assert_same(found, expected, TOLERANCE[dtype])


def solved(problem):
    if problem.prior.Q is not None:
        rtol = 1e-5 if problem.data.y.dtype == torch.float32 else 1e-10
        return ConjugateGradient(rtol).solve(*problem.system())
    if problem.data.y.dtype == torch.float32:
        return ADMM(max_steps=30).solve(problem)
    # ADMM solves its systems only as exactly as it needs them, unless it is told otherwise
    return ADMM(max_steps=30, linear_solver=ConjugateGradient(1e-13, 5000)).solve(problem)


def parts_of(value):
    """A value and all that it is made of."""
    yield value
    if dataclasses.is_dataclass(value):
        value = list(vars(value).values())
    if isinstance(value, tuple | list):
        for part in value:
            yield from parts_of(part)


@dtypes
@pytest.mark.parametrize("name", CONVEX)
def test_a_solution_and_its_certificate(name, dtype):
    build, channels = CONVEX[name]
    prior = build(dtype)
    n = prior.K.num_inputs
    y, mask = numbers(n, channels, dtype=dtype), bools(n, channels)
    for H in (Identity(), SamplingMask(mask)):
        problem = Problem(LeastSquares(H, H.T @ (H @ y)), prior)
        there = moved(problem)
        found, expected = solved(there).x, solved(problem).x
        # many steps, and systems whose condition number is up to 1e5 (GTF of order 3)
        tolerance = 1e-2 if dtype == torch.float32 else 1e-7
        if dtype == torch.float64:
            assert_same(found, expected, tolerance)
        assert_same(there.objective(found), problem.objective(expected), tolerance)
        assert_same(there.objective(moved(y)), problem.objective(y), tolerance)
        candidate = 0.1 * prior.K(y)
        gaps = (problem.duality_gap(y, candidate), there.duality_gap(moved(y), moved(candidate)))
        assert_same(gaps[1], gaps[0], tolerance)


@dtypes
def test_implicit_gradients(dtype):
    results = []
    for move in (moved, lambda value: value):
        y, w = (
            leaf(move(numbers(7, 2, dtype=dtype))),
            leaf(move(numbers(POINTS.num_edges, dtype=dtype))),
        )
        A = Identity() + Laplacian(Graph(move(POINTS), w))
        x = ConjugateGradient(1e-9, gradient="implicit").solve(A, y).x
        results.append((x, *gradients(x, [y, w])))
    for found, expected in zip(*results, strict=True):
        assert_same(found, expected, 1e-4 if dtype == torch.float32 else 1e-8)


@dtypes
def test_a_learned_graph_of_smooth_signals(dtype):
    z = numbers(7, 30, dtype=dtype)
    found, expected = log_degree_graph(moved(z), moved(POINTS)), log_degree_graph(z, POINTS)
    assert_same(found.graph.weight, expected.graph.weight, 1e-3)


# ---- layers and learners --------------------------------------------------------------------


@dtypes
@pytest.mark.parametrize("topology", [IMAGE, POINTS], ids=["lattice", "points"])
@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_and_all_its_gradients(name, topology, dtype):
    case, heads = LAYERS[name], 2
    layer, n = case.layer(heads, dtype), topology.num_nodes
    mask = bools(3, 1, n, 2)
    y = torch.where(mask, numbers(3, 1, n, 2, dtype=dtype), 0)
    w = numbers(3, heads, topology.num_edges, dtype=dtype, seed=1)
    results = []
    for move in (moved, lambda value: value):
        there, inputs = move(layer), [leaf(move(y)), leaf(move(w))]
        x = case(there, move(mask), inputs[0], move(topology), inputs[1])
        results.append((x, *gradients(x, [*inputs, *there.parameters()])))
    for found, expected in zip(*results, strict=True):
        assert_same(found, expected, 20 * TOLERANCE[dtype])


@pytest.mark.parametrize("name", ["GTV, soft", "GLR, hard", "vector GTV, hard"])
@pytest.mark.parametrize("topology", [IMAGE, POINTS], ids=["lattice", "points"])
def test_second_derivatives(name, topology):
    case = LAYERS[name]
    layer, n = case.layer(2), topology.num_nodes
    results = []
    for move in (moved, lambda value: value):
        w = leaf(move(numbers(2, topology.num_edges, seed=1)))
        y = move(numbers(1, n, 2))
        x = case(move(layer), move(bools(1, n, 2)), y, move(topology), w)
        (g,) = torch.autograd.grad(x.square().sum(), w, create_graph=True)
        results.append(torch.autograd.grad(g.square().sum(), w))
    for found, expected in zip(*results, strict=True):
        assert_same(found, expected, 1e-9)


@dtypes
@pytest.mark.parametrize("kind", LEARNERS)
@pytest.mark.parametrize("topology", [IMAGE, POINTS], ids=["lattice", "points"])
def test_a_learner_and_all_its_gradients(kind, topology, dtype):
    learner = learner_for(LEARNERS[kind], topology, heads=2).to(dtype)
    features = torch.randn(2, 2, topology.num_nodes, 3, dtype=dtype)
    results = []
    for move in (moved, lambda value: value):
        there, f = move(learner), leaf(move(features))
        w = there(f, move(topology)).weight
        results.append((w, *gradients(w, [f, *there.parameters()])))
    for found, expected in zip(*results, strict=True):
        assert_same(found, expected, 20 * TOLERANCE[dtype])


@dtypes
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_stored_state_computes_what_it_did_on_a_cpu(path, dtype):
    case, (tensors, metadata) = MODULES[path.stem], read(path)
    module = case.module()
    module.load_state_dict(stored_state(tensors, metadata))
    inputs = {
        key: value.to(DEVICE, dtype if value.is_floating_point() else None)
        for key, value in part(tensors, "input.").items()
    }
    with torch.no_grad():
        found = case.call(module.to(DEVICE, dtype), **inputs)
    assert_same(found, tensors["output"].to(dtype), 2e-4 if dtype == torch.float32 else 1e-9)


@pytest.mark.skipif(DEVICE == "cpu", reason="of CUDA's own types")
@pytest.mark.parametrize("low", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("topology", [IMAGE, POINTS], ids=["lattice", "points"])
def test_under_autocast_learner_and_solver_stay_in_float32(topology, low):
    learner, layer = (
        module.to(DEVICE) for module in (MahalanobisLearner(3), GTVUnroll(2, 3, rho=1.0))
    )
    topology, n = moved(topology), topology.num_nodes
    f, y = torch.randn(n, 3, device=DEVICE), torch.randn(n, 2, device=DEVICE)

    def run(f):
        graph = learner(f, topology)
        return layer(LeastSquares(Identity(), y), graph), graph.weight

    exact = run(f)
    with torch.autocast("cuda", low):
        under, from_low = run(f), run(f.to(low))
    for x, w in (under, from_low):
        assert x.dtype == w.dtype == torch.float32
    for found, expected in zip(under, exact, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(from_low, exact, rtol=0.1, atol=0.1)


# ---- compiled -------------------------------------------------------------------------------


@pytest.mark.skipif(DEVICE == "cpu", reason="tests/laws/test_compile.py")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize("name", ["GTV, soft", "GLR, guarded CG"])
@pytest.mark.parametrize("topology", [IMAGE, POINTS], ids=["lattice", "points"])
def test_compiled_it_is_the_same(name, topology):
    torch._dynamo.reset()
    case, n = LAYERS[name], topology.num_nodes
    layer, topology = moved(case.layer(2, torch.float32)), moved(topology)
    mask, y = moved(bools(1, n, 2)), leaf(moved(numbers(1, n, 2, dtype=torch.float32)))
    w = leaf(moved(numbers(2, topology.num_edges, dtype=torch.float32, seed=1)))

    def function(y, w):
        return case(layer, mask, y, topology, w)

    results = []
    for run in (torch.compile(function, fullgraph=True), function):
        x = run(y, w)
        results.append((x, *gradients(x, [y, w, *layer.parameters()])))
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-5)


# ---- whole tasks ----------------------------------------------------------------------------


@dtypes
@pytest.mark.parametrize("name", ["small", "mosaic", "noisy", "ugtv"])
def test_a_trained_network(name, dtype):
    network = from_pretrained(name).to(dtype).eval()
    H = BayerMosaic(24, 32)
    y = H(torch.rand(24 * 32, 3, dtype=dtype))
    with torch.no_grad():
        expected = network(network.data_term(H, y), (24, 32))
        there = moved(network)
        found = there(there.data_term(BayerMosaic(24, 32, device=DEVICE), moved(y)), (24, 32))
    tf32 = torch.backends.cudnn.allow_tf32 and DEVICE == "cuda" and dtype == torch.float32
    assert_same(found, expected, 5e-3 if tf32 else 50 * TOLERANCE[dtype])


@dtypes
@pytest.mark.parametrize("where", ["graph", "points"])
def test_gaps_are_filled(where, dtype):
    points = cloud(50).to(dtype)
    y = points.sin().sum(-1) + 0.05 * torch.randn(50, dtype=dtype)
    y[::4] = torch.nan
    place = {"graph": weighted(knn_graph(points, 4), dtype=dtype), "points": points}[where]
    choose = HoldOut(priors=(GLR, GTV), weights=(0.1, 1.0))
    found, expected = restore(moved(y), moved(place), choose), restore(y, place, choose)
    assert_same(found.x, expected.x, 1e-3 if dtype == torch.float32 else 1e-6)
    assert torch.equal(found.known.cpu(), expected.known)


def test_clouds():
    x = nn.functional.normalize(cloud(1500, 3) - 0.5, dim=-1)
    y = x + 0.02 * torch.randn(1500, 3, dtype=torch.float64)
    there = moved(y)
    for found, expected in (
        (fit_surfaces(there).move, fit_surfaces(y).move),
        (chamfer_distance(there, moved(x)), chamfer_distance(y, x)),
        (plane_distance(there, moved(x), moved(x)), plane_distance(y, x, x)),
    ):
        assert_same(found, expected, 1e-7)
    triangle = torch.tensor([[0, 1, 2]])
    found = surface_distance(there, moved(x[:3]), moved(triangle))
    assert_same(found, surface_distance(y, x[:3], triangle), 1e-9)
    denoiser = CloudDenoiser(rounds=1, width=4, cg_steps=3).double().eval()
    with torch.no_grad():
        assert_same(moved(denoiser)(there), denoiser(y), 1e-7)
    colors = x.abs().clone()
    colors[::3] = torch.nan
    found, expected = inpaint_attributes(there, moved(colors)), inpaint_attributes(y, colors)
    assert_same(found.y, expected.y, 1e-5)


def test_transforms_and_batches_of_pyg():
    data = Data(x=numbers(7, 2, dtype=torch.float32), edge_index=to_edge_index(weighted(POINTS))[0])
    for transform in (RestoreSignal(GLR), RestoreSignal(GTV)):
        assert_same(transform(data.clone().to(DEVICE)).x, transform(data.clone()).x, 1e-4)
    learner = MahalanobisLearner(2)
    for here, there in ((None, None), (learner, moved(learner))):
        found = LearnGraph(there)(data.clone().to(DEVICE)).edge_weight
        assert_same(found, LearnGraph(here)(data.clone()).edge_weight, 1e-5)


# ---- what is refused, and what is not waited for --------------------------------------------


@pytest.mark.skipif(DEVICE == "cpu", reason="needs two devices")
def test_two_devices_are_refused_by_name():
    y, graph = numbers(12, 2), weighted(IMAGE)
    points = weighted(POINTS)
    mistakes = [
        lambda: GTVUnroll(1, 2, rho=1.0)(LeastSquares(Identity(), moved(y)), graph),
        lambda: GLRUnroll(2, mu=1.0)(LeastSquares(Identity(), numbers(7, 1)), moved(points)),
        lambda: Laplacian(moved(graph)) @ y,
        lambda: Laplacian(points) @ moved(numbers(7, 1)),
        lambda: Graph(moved(POINTS), points.weight),
        lambda: MahalanobisLearner(2)(moved(y), IMAGE),
        lambda: MahalanobisLearner(2).to(DEVICE)(moved(numbers(7, 2)), POINTS),
        lambda: restore(moved(numbers(7)), points),
        lambda: Problem(LeastSquares(Identity(), y), GLR(moved(graph))),
        lambda: ConjugateGradient().solve(Laplacian(moved(graph)), y),
    ]
    for number, mistake in enumerate(mistakes):
        with pytest.raises((ValueError, TypeError), match=r"cuda.*cpu|cpu.*cuda") as raised:
            mistake()
        assert "got" in str(raised.value).lower(), (number, raised.value)


@pytest.mark.skipif(DEVICE == "cpu", reason="nothing waits there")
@pytest.mark.parametrize("name", ["GTV, soft", "GLR, soft", "GTV, guarded CG", "vector GTV, hard"])
@pytest.mark.parametrize("topology", [IMAGE, POINTS], ids=["lattice", "points"])
@pytest.mark.parametrize("fastest", ["triton", "reference"])
def test_a_layer_never_waits_for_the_gpu(name, topology, fastest):
    case, n = LAYERS[name], topology.num_nodes
    layer, topology = moved(case.layer(None, torch.float32)), moved(topology)
    mask, y = moved(bools(n, 2)), leaf(moved(numbers(n, 2, dtype=torch.float32)))
    w = leaf(moved(numbers(topology.num_edges, dtype=torch.float32, seed=1)))
    data, graph = case.data(mask, y), case.graph(topology, w)

    def step():
        x = layer(data, graph)
        return torch.autograd.grad(x.square().sum(), [y, w, *layer.parameters()], retain_graph=True)

    with backend(fastest):
        step()  # what is found once per structure may be copied
        with nothing_waits():
            step()


@pytest.mark.skipif(DEVICE == "cpu", reason="a graph of CUDA's")
@pytest.mark.parametrize("name", ["GTV, soft", "GLR, guarded CG", "vector GTV, hard"])
@pytest.mark.parametrize("topology", [IMAGE, POINTS], ids=["lattice", "points"])
def test_a_training_step_is_captured_and_replayed(name, topology):
    case, n = LAYERS[name], topology.num_nodes
    layer, topology = moved(case.layer(None, torch.float32)), moved(topology)
    mask, y = moved(bools(n, 2)), moved(numbers(n, 2, dtype=torch.float32))
    w = leaf(moved(numbers(topology.num_edges, dtype=torch.float32, seed=1)))
    data, leaves = case.data(mask, y), [w, *layer.parameters()]

    def step():
        x = layer(data, case.graph(topology, w))
        return x.detach(), *torch.autograd.grad(x.square().sum(), leaves)

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    captured = torch.cuda.CUDAGraph()
    with torch.cuda.graph(captured):
        replayed = step()
    with torch.no_grad():
        w.mul_(0.5)
    captured.replay()
    torch.testing.assert_close(replayed, step(), rtol=1e-4, atol=1e-5)


def test_a_sequence_far_too_long_for_one_block_of_threads():
    """More nodes than a grid of threads has places along its second axis."""
    n = 200_000
    topology = path_graph(n)
    graph = Graph(topology, topology.mask_edges(torch.ones(topology.num_edges)))
    layer = GTVUnroll(2, 2)
    y = numbers(n, 1, dtype=torch.float32)
    mask = bools(n, 1)
    data = Interpolation(SamplingMask(mask), torch.where(mask, y, 0))
    found = moved(layer)(moved(data), moved(graph))
    assert_same(found.detach(), layer(data, graph).detach(), 1e-4)


def test_a_large_batch():
    topology = grid_graph((8, 8), window=3)
    layer = GTVUnroll(1, 2, heads=2, rho=1.0)
    y = torch.rand(5000, 1, 64, 3)
    w = topology.mask_edges(torch.rand(5000, 2, topology.num_edges))
    data, graph = LeastSquares(Identity(), y), Graph.unchecked(topology, w)
    found = moved(layer)(moved(data), moved(graph))
    assert_same(found.detach(), layer(data, graph).detach(), 1e-4)
