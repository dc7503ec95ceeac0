"""`torch.compile(fullgraph=True)` captures every layer in one piece and changes no result."""

import shutil

import pytest
import torch
from functorch.compile import make_boxed_func
from torch._functorch.aot_autograd import aot_module_simplified

from gsp_unroll import backend
from gsp_unroll.graph import grid_graph, knn_graph
from gsp_unroll.kernels import registry
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
from tests.capture import needs_capture
from tests.registries import cloud
from tests.registries_layers import Case

pytestmark = [
    pytest.mark.slow,
    needs_capture,
    # torch.compile itself makes an instance of every autograd function that it traces
    pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning"),
]

# as small as the code paths allow: tracing unrolls every loop
T, K = 2, 2
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
    "vector GTV, soft": Case(lambda h: VectorGTVUnroll(T, K, heads=h, rho=0.8), LeastSquares),
    "linear program": Case(
        lambda h: GTVLinearProgramUnroll(T, K, heads=h), Interpolation, row_weights=True
    ),
    "linear program, bounded": Case(
        lambda h: GTVLinearProgramUnroll(T, K, heads=h, solver=BoundedMomentum), Interpolation
    ),
}
IMAGE = grid_graph((4, 5), neighbors=4)
POINTS = knn_graph(cloud(12), 3)
BATCH = knn_graph(cloud(12), 3, batch=torch.arange(12) // 6)


@pytest.fixture(autouse=True)
def fresh_dynamo():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def gradients(x, along, leaves):
    return torch.autograd.grad((x * along).sum(), leaves, materialize_grads=True)


def check_compiled(name, topology, heads=None, backend="aot_eager", start_given=True):
    case, n = LAYERS[name], topology.num_nodes
    layer = case.layer(heads, torch.float32)
    one, head = ((), ()) if heads is None else ((1,), (heads,))
    mask = torch.rand(*one, n, 2) < 0.5
    y = torch.rand(*one, n, 2, requires_grad=True)
    w = (0.1 + torch.rand(*head, topology.num_edges)).requires_grad_()
    x0 = torch.rand(*one, n, 2) if start_given else None
    leaves = [y, w, *layer.parameters()]

    def function(y, w):
        return case(layer, mask, y, topology, w, x0)

    eager = function(y, w)
    compiled = torch.compile(function, fullgraph=True, backend=backend)(y, w)
    along = torch.randn_like(eager)
    torch.testing.assert_close(compiled, eager, rtol=0, atol=1e-6)
    for a, b in zip(*(gradients(x, along, leaves) for x in (compiled, eager)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", LAYERS)
def test_on_an_edge_list(name):
    check_compiled(name, POINTS)


@pytest.mark.parametrize("name", ["GLR, guarded CG", "vector GTV, soft"])
def test_on_a_batch_of_graphs(name):
    check_compiled(name, BATCH)


@pytest.mark.parametrize("name", ["GTV, soft", "linear program"])
def test_with_heads(name):
    check_compiled(name, POINTS, heads=2)


@pytest.mark.parametrize("name", ["GTV, hard", "vector GTV, soft", "linear program"])
def test_on_a_grid(name):
    check_compiled(name, IMAGE)


def test_on_a_grid_with_diagonals():
    check_compiled("GLR, hard", grid_graph((3, 4), window=3))


@pytest.mark.parametrize("topology", [IMAGE, BATCH], ids=["grid", "batch"])
def test_with_the_default_start(topology):
    check_compiled("GLR, hard", topology, start_given=False)


needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
# torch itself imports what it has deprecated
quiet = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@quiet
@needs_compiler
def test_with_the_default_backend():
    check_compiled("GTV, soft", IMAGE, backend="inductor")


@quiet
@needs_compiler
def test_with_the_default_backend_on_an_edge_list():
    check_compiled("GLR, guarded CG", POINTS, backend="inductor")


@pytest.mark.skipif(
    ("block", "stencil", torch.float32, "cpu") not in registry.kernels()["native"],
    reason="no compiled kernels here",
)
@pytest.mark.parametrize("heads", [None, 2])
@pytest.mark.parametrize("name", ["GLR, hard", "GTV, soft", "vector GTV, soft"])
def test_a_whole_solve_is_one_operation(name, heads):
    """On a lattice the kernel serves inside a captured graph too, forward and backward."""
    seen = []

    def look(module, inputs):
        graph = aot_module_simplified(module, inputs, fw_compiler=count, bw_compiler=count)
        return graph

    def count(module, _):
        seen.append([str(node.target) for node in module.graph.nodes])
        return make_boxed_func(module.forward)

    check_compiled(name, IMAGE, heads, backend=look)
    forward, backward = seen
    assert sum("gsp_unroll.block.default" in target for target in forward) == 1
    assert sum("gsp_unroll.block_reverse" in target for target in backward) == 1


def test_a_captured_reference_runs_the_steps():
    with backend("reference"):
        check_compiled("GTV, soft", IMAGE)
