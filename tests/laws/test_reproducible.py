"""The same call gives the same bits on a CPU, and 16 bits go as far as the learner."""

import pytest
import torch

from gsp_unroll.features import GridCNN
from gsp_unroll.graph import Graph, grid_graph, knn_graph
from gsp_unroll.learners import MahalanobisLearner
from gsp_unroll.metrics import psnr
from gsp_unroll.operators import Diagonal, Identity, Laplacian, SamplingMask
from gsp_unroll.problems import GLR, GTV, Interpolation, LeastSquares, Problem
from gsp_unroll.restoration import restore
from gsp_unroll.solvers import ADMM, ConjugateGradient
from gsp_unroll.unroll import GLRUnroll, GTVUnroll, GuardedCG, VectorGTVUnroll
from tests.laws.test_learners import LEARNERS
from tests.registries import cloud
from tests.registries_layers import LAYERS
from tests.registries_operators import IMAGE, numbers, weighted

GRID, POINTS = grid_graph((6, 7), window=5), knn_graph(cloud(40), 4)
either = pytest.mark.parametrize("topology", [GRID, POINTS], ids=["grid", "points"])


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def assert_same_bits(one, other):
    for a, b in zip(one, other, strict=True):
        assert torch.equal(a, b)


def outcome(layer, call, *inputs):
    """A result and all of its gradients."""
    leaves = [t.detach().clone().requires_grad_() for t in inputs]
    x = call(*leaves)
    factors = torch.linspace(-1, 2, x.numel(), dtype=x.dtype).view(x.shape)
    wanted = [*leaves, *layer.parameters()]
    return [x.detach(), *torch.autograd.grad((factors * x).sum(), wanted)]


# ---- the same bits --------------------------------------------------------------------------


@either
@pytest.mark.parametrize("case", LAYERS.values(), ids=LAYERS.keys())
def test_a_layer_repeats_itself_forwards_and_backwards(case, topology):
    layer = case.layer(dtype=torch.float32)
    n = topology.num_nodes
    y, w = numbers(n, 2, dtype=torch.float32), numbers(topology.num_edges, dtype=torch.float32)
    mask = torch.arange(n).unsqueeze(-1) % 3 > 0

    def call(y, w):
        return case(layer, mask, y, topology, w)

    assert_same_bits(outcome(layer, call, y, w), outcome(layer, call, y, w))


@either
@pytest.mark.parametrize("kind", LEARNERS.values(), ids=LEARNERS.keys())
def test_a_learner_repeats_itself_forwards_and_backwards(kind, topology):
    learner, f = kind(3), numbers(topology.num_nodes, 3, dtype=torch.float32)

    def call(f):
        return learner(f, topology).weight

    assert_same_bits(outcome(learner, call, f), outcome(learner, call, f))


def test_training_from_one_seed_gives_the_same_weights():
    def trained():
        torch.manual_seed(5)
        features, learner = GridCNN(1, 4), MahalanobisLearner(4)
        layer = GTVUnroll(2, 4, rho=1.0)
        parameters = [p for m in (features, learner, layer) for p in m.parameters()]
        optimizer = torch.optim.Adam(parameters, 1e-2)
        truth = (torch.arange(42) % 7 > 3).float().unsqueeze(-1)
        for _ in range(3):
            y = truth + 0.1 * torch.randn(42, 1)
            x = layer(LeastSquares(Identity(), y), learner(features(y, GRID), GRID))
            optimizer.zero_grad()
            (x - truth).square().mean().backward()
            optimizer.step()
        return [p.detach().clone() for p in parameters]

    assert_same_bits(trained(), trained())


BIG = {
    "lattice": grid_graph((200, 180), window=3),
    "points": knn_graph(cloud(9000, seed=2), 4),
}


def by_threads(threads, layer, topology, y, w):
    """What comes of one thread, and of two."""

    def call(y, w):
        return layer(LeastSquares.unchecked(Identity(), y), Graph.unchecked(topology, w))

    found = []
    for count in (1, 2):
        threads(count)
        found.append(outcome(layer, call, y, w))
    return found


@pytest.mark.parametrize("name", BIG)
@pytest.mark.parametrize(
    "build",
    [
        lambda: GLRUnroll(4, mu=1.0),
        lambda: GTVUnroll(2, 3, rho=1.0),
        lambda: VectorGTVUnroll(2, 3, rho=1.0),
    ],
    ids=["GLR", "GTV", "vector GTV"],
)
def test_threads_change_no_bit_of_a_kernel(name, build, threads):
    topology, layer = BIG[name], build()
    y = numbers(topology.num_nodes, 2, dtype=torch.float32)
    w = topology.mask_edges(numbers(topology.num_edges, dtype=torch.float32))

    found = by_threads(threads, layer, topology, y, w)
    assert_same_bits(*found)


def test_threads_change_rounding_where_readable_steps_sum_many_numbers(threads):
    topology, layer = BIG["lattice"], GTVUnroll(1, 2, rho=1.0, solver=GuardedCG).double()
    y, w = numbers(topology.num_nodes, 2), topology.mask_edges(numbers(topology.num_edges))

    found = by_threads(threads, layer, topology, y, w)
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


# ---- 16 bits --------------------------------------------------------------------------------

HALF = pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])


def sixteen(dtype):
    """Each door through which people bring numbers to a solver."""
    graph, y = weighted(IMAGE, dtype=torch.float32), numbers(12, 2).to(dtype)
    loose = Graph.unchecked(IMAGE, graph.weight.to(dtype))
    mask = SamplingMask(torch.ones(12, 1, dtype=torch.bool))
    return {
        "a graph": lambda: Graph(IMAGE, graph.weight.to(dtype)),
        "least squares": lambda: LeastSquares(Identity(), y),
        "samples": lambda: Interpolation(mask, y),
        "an operator": lambda: Laplacian(loose)(y),
        "an adjoint": lambda: Diagonal(numbers(12, 1).to(dtype)).T(y),
        "a prior": lambda: GTV(loose)(y),
        "conjugate gradients": lambda: ConjugateGradient().solve(Identity(), y),
        "ADMM": lambda: ADMM().solve(Problem(LeastSquares.unchecked(Identity(), y), GTV(loose))),
        "an objective": lambda: Problem(
            LeastSquares.unchecked(Identity(), y), GLR(loose)
        ).objective(y),
        "a layer": lambda: GTVUnroll(rho=1.0).to(dtype)(
            LeastSquares.unchecked(Identity(), y), loose
        ),
        "a learner": lambda: MahalanobisLearner(2).to(dtype)(y, IMAGE),
    }


@HALF
@pytest.mark.parametrize("door", sixteen(torch.float16))
def test_a_solver_refuses_sixteen_bits(door, dtype):
    expected = "float32 or float64: 16 bits are for networks, under autocast, up to the learner"
    with pytest.raises(ValueError, match=rf"Got .* of dtype {dtype}\. Expected {expected}\. Conv"):
        sixteen(dtype)[door]()


@HALF
def test_a_restoration_of_sixteen_bits_is_that_of_the_same_numbers_in_more(dtype):
    place, y = cloud(40), numbers(40).to(dtype)
    assert torch.equal(restore(y, place).x, restore(y.double(), place).x.to(dtype))


@HALF
def test_psnr_of_sixteen_bits_is_that_of_the_same_numbers_in_32(dtype):
    x, truth = numbers(500, 3).to(dtype), numbers(500, 3, seed=1).to(dtype)
    assert torch.equal(psnr(x, truth), psnr(x.float(), truth.float()))
    assert psnr(x, truth).dtype == torch.float32


@HALF
def test_a_learner_without_parameters_computes_in_32_bits(dtype):
    f = numbers(12, 3).to(dtype)
    weight = LEARNERS["user's own"](3)(f, IMAGE).weight
    assert weight.dtype == torch.float32
    assert torch.equal(weight, LEARNERS["user's own"](3)(f.float(), IMAGE).weight)
