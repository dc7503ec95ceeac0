"""A kernel computes what the readable steps compute, whatever it is written in."""

import subprocess
import sys

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from gsp_unroll import (
    BoundedMomentum,
    GLRUnroll,
    Graph,
    Grid,
    GTVUnroll,
    HeavyBall,
    Interpolation,
    LeastSquares,
    SamplingMask,
    VectorGTVUnroll,
    backend,
    grid_graph,
    path_graph,
    show_backends,
)
from gsp_unroll.kernels import registry

BACKENDS = [
    name for name in registry.BACKENDS if name != "reference" and registry.kernels().get(name)
]
DTYPES = {torch.float32: 2e-5, torch.float64: 1e-12}

LATTICES = {
    "image": lambda: grid_graph((9, 13), window=5),
    "image, rows of whole vectors": lambda: grid_graph((7, 32), window=5),
    "image, 4 neighbours": lambda: grid_graph((6, 11)),
    "image smaller than its window": lambda: grid_graph((2, 3), window=5),
    "one row": lambda: grid_graph((1, 50), window=3),
    "one column": lambda: grid_graph((21, 1), window=3),
    "rows without a neighbour": lambda: Grid((5, 9), ((0, 1), (0, 3))),
    "sequence": lambda: path_graph(40, lags=3),
    "sequence with a lag beyond its end": lambda: path_graph(4, lags=(1, 7)),
    "volume": lambda: grid_graph((3, 4, 5), neighbors=26),
    "four axes": lambda: grid_graph((2, 3, 2, 4), window=3),
    "one way": lambda: Grid((3, 4), ((0, 1), (1, 0), (1, -1)), directed=True),
}
LAYERS = {
    "glr": lambda solver, hard, heads: GLRUnroll(
        4, heads=heads, mu=None if hard else 0.7, solver=solver
    ),
    "gtv": lambda solver, hard, heads: GTVUnroll(
        3, 4, heads=heads, lam=0.2, rho=None if hard else 1.3, solver=solver
    ),
    "vector gtv": lambda solver, hard, heads: VectorGTVUnroll(
        2, 3, heads=heads, lam=0.3, rho=None if hard else 1.3, solver=solver
    ),
}
SOLVERS = {"bounded": BoundedMomentum, "heavy ball": lambda k, h: HeavyBall(k, h, alpha=0.1)}


class Case:
    """A layer with drawn parameters, its inputs, and what gradients are compared by."""

    def __init__(
        self,
        kind,
        topology,
        *,
        solver="bounded",
        hard=False,
        heads=2,
        channels=3,
        batch=(2,),
        dtype=torch.float64,
        mask_axes=2,
    ):
        torch.manual_seed(len(kind) + topology.num_nodes)
        head_axis = () if heads is None else (heads,)
        one = () if heads is None else (1,)
        n = topology.num_nodes
        w = topology.mask_edges(torch.rand(*batch, *head_axis, topology.num_edges, dtype=dtype))
        self.topology, self.hard = topology, hard
        self.layer = LAYERS[kind](SOLVERS[solver], hard, heads).to(dtype)
        with torch.no_grad():
            for p in self.layer.parameters():
                p += 0.1 * torch.randn_like(p)
        self.mask = torch.rand(n, channels if mask_axes == 2 else 1) < 0.4
        y = torch.rand(*batch, *one, n, channels, dtype=dtype)
        x0 = torch.rand(*batch, *one, n, channels, dtype=dtype)
        self.inputs = tuple(t.requires_grad_() for t in (y, x0, w))
        self.g = torch.randn(*batch, *head_axis, n, channels, dtype=dtype)

    def __call__(self, y, x0, w):
        kind = Interpolation if self.hard else LeastSquares
        data = kind.unchecked(SamplingMask(self.mask), y)
        return self.layer(data, Graph.unchecked(self.topology, w), x0)

    def value_and_gradients(self, name):
        with backend(name):
            x = self(*self.inputs)
            tensors = (*self.inputs, *self.layer.parameters())
            return x, torch.autograd.grad(x, tensors, self.g, allow_unused=True)


def check(case, name, tolerance):
    x, gradients = case.value_and_gradients(name)
    expected, expected_gradients = case.value_and_gradients("reference")
    assert type(x.grad_fn).__name__ == "_SolveBackward", "no kernel ran"
    assert type(expected.grad_fn).__name__ != "_SolveBackward"
    torch.testing.assert_close(x, expected, rtol=tolerance, atol=tolerance)
    for ours, theirs in zip(gradients, expected_gradients, strict=True):
        theirs = torch.zeros(()) if theirs is None else theirs
        ours = torch.zeros_like(theirs) if ours is None else ours
        # a parameter's gradient is a sum over all nodes, of both signs
        scale = 100 * max(1.0, float(theirs.abs().amax())) if theirs.numel() else 1.0
        torch.testing.assert_close(ours, theirs, rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("hard", [False, True], ids=["soft", "hard"])
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("kind", LAYERS)
def test_a_kernel_equals_the_steps(kind, solver, hard, dtype, name):
    case = Case(kind, LATTICES["image"](), solver=solver, hard=hard, dtype=dtype)
    check(case, name, DTYPES[dtype])


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("lattice", LATTICES)
@pytest.mark.parametrize("kind", LAYERS)
def test_on_every_lattice(kind, lattice, name):
    check(Case(kind, LATTICES[lattice](), hard=len(lattice) % 2 == 0), name, 1e-12)


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("channels", [1, 2, 4, 5, 9])
@pytest.mark.parametrize("kind", LAYERS)
def test_with_any_number_of_channels(kind, channels, name):
    check(Case(kind, LATTICES["image"](), channels=channels), name, 1e-12)


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("heads", [None, 1, 3])
@pytest.mark.parametrize("batch", [(), (1,), (2, 2), (0,)], ids=str)
def test_with_any_batch_and_heads(batch, heads, name):
    check(Case("gtv", LATTICES["image"](), batch=batch, heads=heads, mask_axes=1), name, 1e-12)


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("kind", LAYERS)
def test_weights_shared_by_a_batch(kind, name):
    case = Case(kind, LATTICES["image"](), heads=None)
    y, x0, w = case.inputs
    shared = w.detach()[0].requires_grad_()
    case.inputs = (y, x0, shared)
    check(case, name, 1e-12)


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("hard", [False, True], ids=["soft", "hard"])
@pytest.mark.parametrize("kind", LAYERS)
def test_derivatives_of_both_orders(kind, hard, name):
    case = Case(kind, grid_graph((2, 3), window=3), hard=hard, heads=None, channels=2, batch=())
    with backend(name):
        assert gradcheck(case, case.inputs)
        assert gradgradcheck(case, case.inputs)


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("kind", LAYERS)
def test_bitwise_equal_for_any_number_of_threads(kind, dtype, name):
    case = Case(kind, grid_graph((17, 19), window=5), dtype=dtype, batch=(3,))
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 3, 2):
            torch.set_num_threads(threads)
            x, gradients = case.value_and_gradients(name)
            results.append([x, *(g for g in gradients if g is not None)])
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("width", [32, 29])
@pytest.mark.parametrize("hard", [False, True], ids=["soft", "hard"])
@pytest.mark.parametrize("kind", LAYERS)
def test_a_nan_stays_within_reach(kind, hard, width, name):
    """Two iterations of a gradient and three products on a window of radius 1 reach 8 pixels."""
    topology = grid_graph((25, width), window=3)
    case = Case(kind, topology, hard=hard, channels=2, heads=None, batch=())
    case.layer = {"glr": GLRUnroll(3, mu=None if hard else 1.0)}.get(
        kind,
        (GTVUnroll if kind == "gtv" else VectorGTVUnroll)(2, 3, rho=None if hard else 1.0),
    ).double()
    y, x0, w = (t.detach().clone() for t in case.inputs)
    case.mask[:] = torch.rand(case.mask.shape) < 0.5
    with backend(name):
        clean = case(y, x0, w)
        pixel = 12 * width + width - 1  # at the right border, where a row ends and the next begins
        case.mask[pixel] = True
        clean = case(y, x0, w)
        y[pixel], x0[pixel] = torch.nan, torch.nan
        dirty = case(y, x0, w)
    rows, columns = torch.meshgrid(torch.arange(25), torch.arange(width), indexing="ij")
    far = torch.maximum((rows - 12).abs(), (columns - (width - 1)).abs()) > 2 * (1 + 3)
    assert far.any()
    assert torch.equal(dirty.reshape(25, width, 2)[far], clean.reshape(25, width, 2)[far])


@pytest.mark.parametrize("name", BACKENDS)
def test_padded_slots_are_neither_read_nor_written(name):
    topology = grid_graph((4, 5), window=5)
    case = Case("gtv", topology, heads=None, batch=())
    y, x0, w = case.inputs
    dirty = torch.where(topology.edge_mask, w, torch.nan).detach().requires_grad_()
    with backend(name):
        clean, x = case(y, x0, w), case(y, x0, dirty)
        (g,) = torch.autograd.grad(x, dirty, case.g)
    assert torch.equal(clean, x)
    assert torch.equal(g[~topology.edge_mask], torch.zeros_like(g[~topology.edge_mask]))


def test_nothing_is_stored_for_the_backward_pass_but_the_inputs():
    case = Case("gtv", grid_graph((16, 16), window=5), dtype=torch.float32)
    stored = []

    def note(t):
        stored.append((t.data_ptr(), t.numel()))
        return t

    with torch.autograd.graph.saved_tensors_hooks(note, lambda t: t), backend("torch"):
        case(*case.inputs)
    signal, weights = case.g.numel(), case.inputs[2].numel()
    assert sum(count for _, count in set(stored)) < 3 * signal + 2 * weights


def test_a_subclass_is_not_taken_for_its_parent():
    class Doubled(GTVUnroll):
        def prior(self, graph, lam):
            return super().prior(graph, 2 * lam)

    class Other(VectorGTVUnroll):
        def prior(self, graph, lam):
            class Own(type(super().prior(graph, lam))):
                def prox(self, z, step):
                    return 0 * z

            return Own(graph, lam)

    topology = grid_graph((5, 6))
    case = Case("gtv", topology, heads=None, batch=())
    for kind in (Doubled, Other):
        case.layer = kind(2, 3, rho=1.0).double()
        x, _ = case.value_and_gradients("native")
        expected, _ = case.value_and_gradients("reference")
        torch.testing.assert_close(x, expected)


def test_backend_refuses_an_unknown_name():
    with pytest.raises(ValueError, match="Expected one of native"), backend("fast"):
        pass


def test_show_backends_names_what_serves(capsys):
    show_backends()
    printed = capsys.readouterr().out
    assert "reference" in printed
    assert "block" in printed


def test_without_compiled_kernels_the_package_works():
    program = """
import gsp_unroll.kernels.compile as build, pathlib
build.library = lambda name: pathlib.Path("/nowhere") / name
import torch
from gsp_unroll import GTVUnroll, Graph, LeastSquares, SamplingMask, grid_graph, show_backends
topology = grid_graph((4, 5))
data = LeastSquares(SamplingMask(torch.rand(20, 1) < 0.5), torch.rand(20, 1))
print(GTVUnroll(2, 3, rho=1.0)(data, Graph(topology, torch.ones(topology.num_edges))).shape)
show_backends()
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert "torch.Size([20, 1])" in done.stdout
    assert "no C++ compiler was found" in done.stdout
