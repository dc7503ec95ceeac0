"""A kernel computes what the readable steps compute, whatever it is written in."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from gsp_unroll import (
    BoundedMomentum,
    EdgeList,
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
    knn_graph,
    path_graph,
    show_backends,
)
from gsp_unroll.kernels import compile, registry
from gsp_unroll.kernels.plans import csr

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


def from_pairs(*pairs, num_nodes, **details):
    return EdgeList(torch.tensor(pairs).T, num_nodes, **details)


def cloud(num_points, k=5, **details):
    points = torch.Generator().manual_seed(num_points)
    return knn_graph(torch.rand(num_points, 2, generator=points), k, **details)


def as_edges(topology, shuffled=False):
    """The same edges as a list, in an order of nodes and edges that tells nothing."""
    edge_index, n = topology.edge_index[:, topology.edge_mask], topology.num_nodes
    if shuffled:
        draw = torch.Generator().manual_seed(n)
        edge_index = torch.randperm(n, generator=draw)[edge_index]
        edge_index = edge_index[:, torch.randperm(edge_index.shape[1], generator=draw)]
    return EdgeList(edge_index, n)


def random_regular(num_nodes, degree):
    """Everyone `degree` steps further along as many random rings, at most."""
    draw = torch.Generator().manual_seed(degree)
    rings = [torch.randperm(num_nodes, generator=draw) for _ in range(degree // 2)]
    ends = torch.stack([torch.stack([ring, ring.roll(1)]).sort(0).values for ring in rings], 1)
    return EdgeList(ends.flatten(1).unique(dim=1), num_nodes)


GRAPHS = {
    "points": lambda: cloud(40),
    "two parts and isolated nodes": lambda: from_pairs(
        (1, 2), (4, 2), (5, 6), (9, 1), (6, 7), (7, 5), num_nodes=13
    ),
    "star": lambda: from_pairs(*((30, i) for i in range(60) if i != 30), num_nodes=60),
    "batch": lambda: cloud(30, k=3, batch=torch.arange(30) // 7),
    "one way": lambda: from_pairs(
        (0, 1), (1, 0), (3, 1), (1, 4), (4, 3), num_nodes=6, directed=True
    ),
    "path": lambda: as_edges(path_graph(33)),
    "tree": lambda: from_pairs(*((i, (i - 1) // 2) for i in range(1, 40)), num_nodes=40),
    "random regular": lambda: random_regular(50, 6),
    "shuffled image": lambda: as_edges(grid_graph((7, 8), window=3), shuffled=True),
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


def served(plan, operation="block"):
    """The backends with a kernel for this kind of plan."""
    key = (operation, plan, torch.float64, "cpu")
    return [name for name in BACKENDS if key in registry.kernels()[name]]


#: (topology, backend): a lattice by every backend, and a graph by those that know of any.
IMAGE = [pytest.param(LATTICES["image"], name, id=f"image-{name}") for name in served("stencil")]
POINTS = [pytest.param(GRAPHS["points"], name, id=f"points-{name}") for name in served("csr")]
both_kinds = pytest.mark.parametrize(("build", "name"), IMAGE + POINTS)
by_native = pytest.mark.skipif(not served("csr"), reason="no compiled kernel")


@both_kinds
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("hard", [False, True], ids=["soft", "hard"])
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("kind", LAYERS)
def test_a_kernel_equals_the_steps(kind, solver, hard, dtype, build, name):
    case = Case(kind, build(), solver=solver, hard=hard, dtype=dtype)
    check(case, name, DTYPES[dtype])


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("lattice", LATTICES)
@pytest.mark.parametrize("kind", LAYERS)
def test_on_every_lattice(kind, lattice, name):
    check(Case(kind, LATTICES[lattice](), hard=len(lattice) % 2 == 0), name, 1e-12)


@pytest.mark.parametrize("name", served("csr"))
@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("kind", LAYERS)
def test_on_every_graph(kind, graph, name):
    check(Case(kind, GRAPHS[graph](), hard=len(graph) % 2 == 0), name, 1e-12)


@both_kinds
@pytest.mark.parametrize("channels", [1, 2, 4, 5, 9])
@pytest.mark.parametrize("kind", LAYERS)
def test_with_any_number_of_channels(kind, channels, build, name):
    check(Case(kind, build(), channels=channels), name, 1e-12)


@both_kinds
@pytest.mark.parametrize("heads", [None, 1, 3])
@pytest.mark.parametrize("batch", [(), (1,), (2, 2), (0,)], ids=str)
def test_with_any_batch_and_heads(batch, heads, build, name):
    check(Case("gtv", build(), batch=batch, heads=heads, mask_axes=1), name, 1e-12)


@both_kinds
@pytest.mark.parametrize("kind", LAYERS)
def test_weights_shared_by_a_batch(kind, build, name):
    case = Case(kind, build(), heads=None)
    y, x0, w = case.inputs
    shared = w.detach()[0].requires_grad_()
    case.inputs = (y, x0, shared)
    check(case, name, 1e-12)


SMALL = {
    "stencil": lambda: grid_graph((2, 3), window=3),
    "csr": lambda: from_pairs((0, 1), (3, 0), (1, 3), (2, 3), (4, 2), num_nodes=6),
}


@pytest.mark.parametrize(("plan", "name"), [(p, name) for p in SMALL for name in served(p)])
@pytest.mark.parametrize("hard", [False, True], ids=["soft", "hard"])
@pytest.mark.parametrize("kind", LAYERS)
def test_derivatives_of_both_orders(kind, hard, plan, name):
    case = Case(kind, SMALL[plan](), hard=hard, heads=None, channels=2, batch=())
    with backend(name):
        # entry by entry, then along random directions
        assert gradcheck(case, case.inputs)
        assert gradgradcheck(case, case.inputs, fast_mode=True)


def for_any_number_of_threads(compute):
    """What `compute` returns, a list of tensors, after a check that threads do not change it."""
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 3, 5, 2):
            torch.set_num_threads(threads)
            results.append(compute())
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))
    return results[0]


#: Planes for the threads to share, and one plane with rows enough to be shared.
SHARED = {
    "stencil": lambda: {"topology": grid_graph((17, 19), window=5), "batch": (3,)},
    "csr": lambda: {"topology": cloud(60), "batch": (3,)},
    "csr, one plane": lambda: {
        "topology": random_regular(3500, 20),
        "batch": (),
        "heads": None,
        "channels": 2,
    },
}


@pytest.mark.parametrize(
    ("shared", "name"), [(s, name) for s in SHARED for name in served(s.split(",")[0])]
)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("kind", LAYERS)
def test_bitwise_equal_for_any_number_of_threads(kind, dtype, shared, name):
    case = Case(kind, **SHARED[shared](), dtype=dtype)

    def compute():
        x, gradients = case.value_and_gradients(name)
        return [x, *(g for g in gradients if g is not None)]

    for_any_number_of_threads(compute)


@by_native
@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize(
    "topology",
    [grid_graph((260, 7), window=5), grid_graph((150, 3, 4), neighbors=26), grid_graph((400, 2))],
    ids=["image", "volume", "thin"],
)
def test_runs_of_rows_meet_without_a_seam(topology, kind):
    """One plane on several threads: each run computes what it sees beside it once more."""
    case = Case(kind, topology, heads=None, batch=(), channels=2)
    with torch.no_grad():
        for_any_number_of_threads(lambda: [case(*case.inputs)])


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


@pytest.mark.parametrize("name", served("csr"))
@pytest.mark.parametrize("hard", [False, True], ids=["soft", "hard"])
@pytest.mark.parametrize("kind", LAYERS)
def test_a_nan_stays_within_reach_on_a_graph(kind, hard, name):
    """Two iterations of a gradient and three products reach 8 nodes along a path, and no further
    whatever stands beside them in memory."""
    place = torch.randperm(40, generator=torch.Generator().manual_seed(1))
    topology = EdgeList(place[torch.stack([torch.arange(39), torch.arange(1, 40)])], 40)
    case = Case(kind, topology, hard=hard, channels=3, heads=None, batch=())
    case.layer = {"glr": GLRUnroll(3, mu=None if hard else 1.0)}.get(
        kind,
        (GTVUnroll if kind == "gtv" else VectorGTVUnroll)(2, 3, rho=None if hard else 1.0),
    ).double()
    y, x0, w = (t.detach().clone() for t in case.inputs)
    case.mask[place[20]] = True
    with backend(name):
        clean = case(y, x0, w)
        y[place[20]], x0[place[20]] = torch.nan, torch.nan
        dirty = case(y, x0, w)
    far = place[(torch.arange(40) - 20).abs() > 2 * (1 + 3)]
    assert torch.equal(dirty[far], clean[far])
    assert dirty[place[20]].isnan().all()


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


# ---- single products on any graph ---------------------------------------------------------------


def products(topology, w, x, g):
    """`L x` and the edge energy by the kernels and by the readable steps."""
    plan = topology.plan
    kernels = [registry.find(name, plan, x) for name in ("laplacian", "edge_energy")]
    ours = kernels[0](plan, w, x), kernels[1](plan, x, g)
    return ours, (topology._laplacian(w, x), topology._edge_energy(x, g))


def drawn(topology, batch=(), channels=3, dtype=torch.float64):
    """Weights and two signals."""
    torch.manual_seed(topology.num_nodes + channels)
    n, m = topology.num_nodes, topology.num_edges
    x, g = torch.randn(2, *batch, n, channels, dtype=dtype)
    return torch.rand(*batch, m, dtype=dtype), x, g


@by_native
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("graph", GRAPHS)
def test_products_equal_the_steps(graph, dtype):
    topology = GRAPHS[graph]()
    ours, theirs = products(topology, *drawn(topology, (2,), dtype=dtype))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=DTYPES[dtype], atol=DTYPES[dtype])


@by_native
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("channels", [*range(1, 10), 12, 17, 32])
def test_products_of_any_number_of_channels(channels, dtype):
    topology = GRAPHS["points"]()
    ours, theirs = products(topology, *drawn(topology, channels=channels, dtype=dtype))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=DTYPES[dtype], atol=DTYPES[dtype])


@by_native
@pytest.mark.parametrize("batch", [(), (1,), (2, 3), (0,)], ids=str)
def test_products_of_any_batch_and_memory_layout(batch):
    topology = GRAPHS["tree"]()
    w, x, g = drawn(topology, batch)
    layouts = {
        "in a row": (w, x, g),
        "channels apart": (w, x.mT.contiguous().mT, g),
        "every other number": (w.repeat_interleave(2, -1)[..., ::2], x, g),
    }
    if batch:
        layouts["one for the batch"] = (w[:1].expand_as(w), x, g[:1].expand_as(g))
    for of in layouts.values():
        ours, theirs = products(topology, *of)
        for a, b in zip(ours, theirs, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
            assert a.is_contiguous()


@by_native
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("batch", [(), (5,)], ids=str)
def test_products_are_bitwise_equal_for_any_number_of_threads(batch, dtype):
    topology = random_regular(3500, 20)
    of = drawn(topology, batch, dtype=dtype)
    for_any_number_of_threads(lambda: products(topology, *of)[0])


@by_native
@pytest.mark.parametrize("channels", [1, 3, 8])
@pytest.mark.parametrize("graph", GRAPHS)
def test_a_nan_stays_within_a_hop_of_a_product(graph, channels):
    topology = GRAPHS[graph]()
    w, x, g = drawn(topology, channels=channels)
    clean, _ = products(topology, w, x, g)
    x[1, 0] = torch.nan
    dirty, _ = products(topology, w, x, g)
    touched = (topology.edge_index == 1).any(0)
    hop = torch.zeros(topology.num_nodes, dtype=torch.bool)
    hop[topology.edge_index[:, touched].flatten()] = True
    assert torch.equal(dirty[0][:, 0].isnan(), hop)
    assert torch.equal(dirty[0][~hop], clean[0][~hop])
    assert torch.equal(dirty[0][:, 1:], clean[0][:, 1:])
    assert torch.equal(dirty[1].isnan(), touched)
    assert torch.equal(dirty[1][~touched], clean[1][~touched])


@both_kinds
@pytest.mark.parametrize("hard", [False, True], ids=["soft", "hard"])
@pytest.mark.parametrize("kind", LAYERS)
def test_a_gradient_that_is_differentiated_further_is_the_same(kind, hard, build, name):
    # it comes from the steps, the other one from the kernel; gradgradcheck sees the steps only
    case = Case(kind, build(), hard=hard)
    with backend(name):
        x = case(*case.inputs)
        found, expected = (
            torch.autograd.grad(x, case.inputs, case.g, create_graph=further, retain_graph=True)
            for further in (True, False)
        )
    for a, b in zip(found, expected, strict=True):
        assert a.requires_grad
        assert not b.requires_grad
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("build", [*LATTICES.values(), *GRAPHS.values()])
def test_what_no_channel_writes_is_zero(build, dtype):
    topology = build()
    x = torch.empty(topology.num_nodes, 0, dtype=dtype, requires_grad=True)
    w = torch.rand(topology.num_edges, dtype=dtype, requires_grad=True)
    for _ in range(20):
        left = [torch.full((topology.num_edges,), torch.nan, dtype=dtype) for _ in range(20)]
        del left  # in memory that is handed out again
        assert not topology.edge_energy(x, x).any()
        assert not torch.autograd.grad(topology.laplacian(w, x).sum(), w)[0].any()
        assert torch.equal(topology.similarity(x, 30.0), topology.mask_edges(torch.ones_like(w)))


@by_native
def test_a_product_is_differentiable_twice():
    topology = SMALL["csr"]()
    w, x, _ = (t.requires_grad_() for t in drawn(topology, channels=2))
    assert gradcheck(topology.laplacian, (w, x))
    assert gradgradcheck(topology.laplacian, (w, x))


# ---- the plan of a graph ------------------------------------------------------------------------


@by_native
@pytest.mark.parametrize("kind", LAYERS)
def test_an_order_of_its_own_changes_nothing(kind):
    """A path whose nodes are so far apart that the plan renumbers them."""
    topology = as_edges(path_graph(30_000), shuffled=True)
    check(Case(kind, topology, heads=None, batch=(), channels=1), "native", 1e-12)
    order, start, later, neighbour, edge = topology.plan.tables
    assert torch.equal(order.sort().values, torch.arange(30_000, dtype=torch.int32))
    row = torch.arange(30_000).repeat_interleave(start.diff())
    assert (neighbour - row).abs().float().mean() < 300
    assert torch.equal(neighbour > row, torch.arange(2 * 29_999) >= later[row])
    ends = torch.stack([order[row], order[neighbour.long()]]).sort(0).values
    assert torch.equal(ends.long(), topology.edge_index.sort(0).values[:, edge.long()])


def test_a_plan_is_found_once_and_not_saved():
    topology = cloud(20)
    assert topology.plan is topology.plan
    assert topology.plan.tables is topology.plan.tables
    small = len(pickle.dumps(cloud(20)))
    assert len(pickle.dumps(topology)) < small + 500
    assert torch.equal(pickle.loads(pickle.dumps(topology)).plan.tables[4], topology.plan.tables[4])


def test_no_plan_without_edges_or_beyond_32_bits():
    edge = torch.tensor([[0], [1]])
    assert csr(edge, 2) is not None
    assert EdgeList(edge[:, :0], 3).plan is None
    assert EdgeList(edge[:, :0], 0).plan is None
    assert csr(edge, 2**31) is None
    assert csr(edge.expand(2, 2**30), 2) is None
    assert csr(edge.to("meta"), 2) is None


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


# ---- how they are built ---------------------------------------------------------------------


def test_a_variable_of_the_environment_leaves_them_out(monkeypatch):
    monkeypatch.setenv(compile.SWITCH, "1")
    with pytest.raises(compile.CannotCompile, match="GSP_UNROLL_NO_KERNELS is set"):
        compile.compile_libraries()


def test_libraries_newer_than_their_sources_are_kept(monkeypatch, tmp_path):
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "a.cpp").write_text("")
    compiled = []

    def run(command):
        compiled.append(command)
        Path(command[-1]).write_text("")

    monkeypatch.setattr(compile, "HERE", tmp_path)
    monkeypatch.setattr(compile, "_run", run)
    monkeypatch.setattr(compile, "find_compiler", lambda: "c++")
    monkeypatch.delenv(compile.SWITCH, raising=False)
    made = compile.compile_libraries()
    assert compiled
    assert sorted(tmp_path.glob("*.so")) == sorted(made)
    compiled.clear()
    assert compile.compile_libraries() == made
    assert not compiled
    later = max(path.stat().st_mtime for path in made) + 1
    os.utime(tmp_path / "src" / "a.cpp", (later, later))
    compile.compile_libraries()
    assert compiled


@pytest.mark.parametrize("topology", [grid_graph((4, 5)), knn_graph(torch.rand(12, 2), 3)])
def test_a_derivative_that_is_known_to_be_zero_has_no_memory(topology):
    # autograd makes such a tensor in the second derivative of a magnitude
    w, n = torch.rand(topology.num_edges), topology.num_nodes
    nothing = torch._efficientzerotensor((n, 2))
    assert nothing.data_ptr() == 0
    assert not topology.laplacian(topology.mask_edges(w), nothing).any()
    assert not topology.edge_energy(torch.rand(n, 2), nothing).any()
    for to_edges in (topology.gradient, topology.ends_sum):
        assert not to_edges(nothing).any()
    on_edges = torch._efficientzerotensor((topology.num_edges, 2))
    for to_nodes in (topology.divergence, topology.incident_sum):
        assert not to_nodes(on_edges).any()
