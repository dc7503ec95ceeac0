"""`torch.compile(fullgraph=True)` captures every layer in one piece and changes no result."""

import pytest
import torch

from gsp_unroll.graph import grid_graph, knn_graph
from gsp_unroll.learners import MahalanobisLearner
from gsp_unroll.problems import Interpolation, LeastSquares
from gsp_unroll.unroll import (
    BoundedMomentum,
    GLRUnroll,
    GTVLinearProgramUnroll,
    GTVUnroll,
    GuardedCG,
    HeavyBall,
    VectorGTVUnroll,
)
from tests.registries import cloud
from tests.registries_layers import Case

pytestmark = [
    pytest.mark.slow,
    # torch.compile itself makes an instance of every autograd function that it traces
    pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning"),
]

# as small as the code paths allow: tracing unrolls every loop
T, K = 2, 3
LAYERS = {
    "GLR, hard": Case(lambda h: GLRUnroll(K, heads=h), Interpolation),
    "GLR sym, soft": Case(
        lambda h: GLRUnroll(K, heads=h, mu=0.7, normalization="sym"), LeastSquares
    ),
    "GLR, heavy ball": Case(lambda h: GLRUnroll(K, heads=h, solver=HeavyBall), Interpolation),
    "GLR, guarded CG": Case(
        lambda h: GLRUnroll(K, heads=h, mu=0.7, solver=GuardedCG), LeastSquares
    ),
    "GTV, hard": Case(lambda h: GTVUnroll(T, K, heads=h), Interpolation),
    "GTV, soft": Case(lambda h: GTVUnroll(T, K, heads=h, rho=0.8), LeastSquares),
    "vector GTV, hard": Case(lambda h: VectorGTVUnroll(T, K, heads=h), Interpolation),
    "linear program": Case(
        lambda h: GTVLinearProgramUnroll(T, K, heads=h), Interpolation, row_weights=True
    ),
    "linear program, bounded": Case(
        lambda h: GTVLinearProgramUnroll(T, K, heads=h, solver=BoundedMomentum), Interpolation
    ),
}
TOPOLOGIES = {
    "grid": lambda: grid_graph((4, 5), window=3),
    "edge list": lambda: knn_graph(cloud(12).float(), 3),
    "batch": lambda: knn_graph(cloud(12).float(), 3, batch=torch.arange(12) // 6),
}


@pytest.fixture(autouse=True)
def fresh_dynamo():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def over(registry):
    return pytest.mark.parametrize("entry", registry.values(), ids=registry.keys())


def check_compiled(case, topology, heads, backend, tolerance):
    layer = case.layer(heads, torch.float32)
    one, head = ((), ()) if heads is None else ((1,), (heads,))
    mask = torch.rand(*one, topology.num_nodes, 2) < 0.5
    y = torch.rand(*one, topology.num_nodes, 2, requires_grad=True)
    w = (0.1 + torch.rand(*head, topology.num_edges)).requires_grad_()
    leaves = [y, w, *layer.parameters()]

    def function(y, w):
        return case(layer, mask, y, topology, w)

    eager = function(y, w)
    compiled = torch.compile(function, fullgraph=True, backend=backend)(y, w)
    along = torch.randn_like(eager)
    torch.testing.assert_close(compiled, eager, rtol=tolerance, atol=tolerance)
    for a, b in zip(*(gradients(x, along, leaves) for x in (compiled, eager)), strict=True):
        torch.testing.assert_close(a, b, rtol=10 * tolerance, atol=10 * tolerance)


def gradients(x, along, leaves):
    return torch.autograd.grad((x * along).sum(), leaves, materialize_grads=True)


@pytest.mark.parametrize("topology", TOPOLOGIES.values(), ids=TOPOLOGIES.keys())
@pytest.mark.parametrize("case", LAYERS.values(), ids=LAYERS.keys())
def test_captured_in_one_piece(case, topology):
    check_compiled(case, topology(), None, "aot_eager", 1e-6)


@pytest.mark.parametrize("name", ["GTV, soft", "linear program"])
def test_captured_with_heads(name):
    check_compiled(LAYERS[name], TOPOLOGIES["grid"](), 2, "aot_eager", 1e-6)
