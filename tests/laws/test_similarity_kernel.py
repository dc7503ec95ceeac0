"""Learned weights by a kernel are those of the formulas, derivatives and all."""

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from gsp_unroll import Grid, MahalanobisLearner, backend, grid_graph, path_graph
from gsp_unroll.graph import _autograd
from gsp_unroll.kernels import registry

if ("similarity", "stencil", torch.float64, "cpu") not in registry.kernels()["native"]:
    pytest.skip("no compiled kernels here", allow_module_level=True)

CUT = 30.0
DTYPES = {torch.float32: 1e-5, torch.float64: 1e-12}
LATTICES = {
    "image": lambda: grid_graph((9, 13), window=5),
    "image, rows of whole vectors": lambda: grid_graph((7, 32), window=5),
    "image smaller than its window": lambda: grid_graph((2, 3), window=7),
    "one row": lambda: grid_graph((1, 50), window=3),
    "one column": lambda: grid_graph((21, 1), window=3),
    "sequence": lambda: path_graph(40, lags=3),
    "sequence with a lag beyond its end": lambda: path_graph(4, lags=(1, 7)),
    "volume": lambda: grid_graph((3, 4, 5), neighbors=26),
    "four axes": lambda: grid_graph((2, 3, 2, 4), window=3),
    "one way": lambda: Grid((3, 4), ((0, 1), (1, 0), (1, -1)), directed=True),
}
MAPS = {
    "similarity": lambda topology: lambda x: topology.similarity(x, CUT),
    "over_degrees": lambda topology: topology.over_degrees,
}


def drawn(name, topology, batch=(), channels=4, dtype=torch.float64):
    """What a map is given, and a derivative of its result."""
    torch.manual_seed(topology.num_nodes)
    grad = torch.randn(*batch, topology.num_edges, dtype=dtype)
    if name == "over_degrees":
        given = topology.mask_edges(torch.rand(*batch, topology.num_edges, dtype=dtype))
    else:
        given = torch.randn(*batch, topology.num_nodes, channels, dtype=dtype)
    return given.requires_grad_(), grad


def value_and_gradient(of, given, grad):
    value = of(given)
    return value, torch.autograd.grad(value, given, grad)[0]


def check(name, topology, given, grad, tolerance):
    of = MAPS[name](topology)
    ours = value_and_gradient(of, given, grad)
    with backend("reference"):
        theirs = value_and_gradient(of, given, grad)
    assert type(ours[0].grad_fn) is not type(theirs[0].grad_fn), "no kernel ran"
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)
    assert not ours[0][..., ~topology.edge_mask].any()
    return ours


each_map = pytest.mark.parametrize("name", MAPS)


@each_map
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("lattice", LATTICES)
def test_equals_the_formula(name, lattice, dtype):
    topology = LATTICES[lattice]()
    check(name, topology, *drawn(name, topology, (2,), dtype=dtype), DTYPES[dtype])


@pytest.mark.parametrize("channels", [0, 1, 2, 3, 5, 9])
def test_of_any_number_of_channels(channels):
    topology = LATTICES["image"]()
    check("similarity", topology, *drawn("similarity", topology, (), channels), 1e-12)


@each_map
@pytest.mark.parametrize("batch", [(), (1,), (2, 3), (0,)], ids=str)
def test_of_any_batch(name, batch):
    topology = LATTICES["image"]()
    check(name, topology, *drawn(name, topology, batch), 1e-12)


@each_map
def test_of_any_memory_layout(name):
    topology = LATTICES["image"]()
    given, grad = drawn(name, topology, (3,))
    apart = given.detach().mT.contiguous().mT if name == "similarity" else given.detach()
    shared = given.detach()[:1].expand_as(given)
    for layout in (apart, shared):
        check(name, topology, layout.requires_grad_(), grad, 1e-12)
    check(name, topology, given, torch.ones(()).to(grad).expand_as(grad), 1e-12)


def test_a_distance_is_cut():
    """Beyond the cut a weight stays where it is, and its derivative is zero."""
    topology = path_graph(4)
    given = torch.tensor([[0.0], [5.4], [11.0], [111.0]], dtype=torch.float64).requires_grad_()
    w, slope = check("similarity", topology, given, torch.ones(4, dtype=torch.float64), 1e-12)
    assert w[1] == w[2] > 0
    assert slope[0] == -slope[1] != 0
    assert not slope[2:].any()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_exponential_is_exact_to_rounding(dtype):
    x = torch.linspace(0, 5.47, 4001, dtype=dtype)  # 5.47^2 is below the cut
    steps = torch.stack([torch.zeros_like(x), x], -1).unsqueeze(-1)
    w = path_graph(2).similarity(steps, CUT)[:, 0]
    exact = (-x.double().square()).exp()
    # x * x is rounded once, to half a unit in 30
    allowed = CUT / 2 + 3
    assert ((w - exact).abs() <= allowed * torch.finfo(dtype).eps * exact).all()


def test_nodes_without_weight_keep_none():
    topology = grid_graph((5, 6), window=3)
    w = topology.mask_edges(torch.rand(topology.num_edges, dtype=torch.float64))
    w[(topology.edge_index == 8).any(0)] = 0
    grad = torch.randn(topology.num_edges, dtype=torch.float64)
    check("over_degrees", topology, w.requires_grad_(), grad, 1e-12)


def test_padded_slots_are_not_read():
    topology = grid_graph((4, 5), window=5)
    w, grad = drawn("over_degrees", topology)
    dirty = torch.where(topology.edge_mask, w, torch.nan).detach().requires_grad_()
    clean = value_and_gradient(topology.over_degrees, w, grad)
    ours = value_and_gradient(
        topology.over_degrees, dirty, torch.where(topology.edge_mask, grad, torch.nan)
    )
    for a, b in zip(ours, clean, strict=True):
        assert torch.equal(a, b)


def test_a_nan_stays_within_its_edges():
    topology = grid_graph((9, 32), window=5)
    x, grad = drawn("similarity", topology)
    touched = (topology.edge_index == 40).any(0) & topology.edge_mask
    dirty = x.detach().clone()
    dirty[40, 2] = torch.nan
    w, slope = value_and_gradient(MAPS["similarity"](topology), dirty.requires_grad_(), grad)
    assert torch.equal(w.isnan(), touched)
    near = torch.zeros(topology.num_nodes, dtype=torch.bool)
    near[topology.edge_index[:, touched].flatten()] = True
    assert not slope[~near].isnan().any()


@each_map
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("batch", [(), (5,)], ids=str)
def test_bitwise_equal_for_any_number_of_threads(name, dtype, batch):
    topology = grid_graph((37, 41), window=5)
    given, grad = drawn(name, topology, batch, dtype=dtype)
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(value_and_gradient(MAPS[name](topology), given, grad))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            assert torch.equal(a, b)


@each_map
def test_derivatives_of_both_orders(name):
    topology = grid_graph((3, 4), window=3)
    given, _ = drawn(name, topology, channels=2)
    assert gradcheck(MAPS[name](topology), (given,))
    assert gradgradcheck(MAPS[name](topology), (given,))


def test_the_reverse_kernel_serves_a_learner():
    """No edge signal is stored but the weights before and after the degrees."""
    topology, learner = grid_graph((8, 9), window=5), MahalanobisLearner(3, heads=2)
    features, kept = torch.randn(2, 72, 3, requires_grad=True), []
    pack = lambda t: kept.append(t) or t  # noqa: E731
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        weight = learner(features, topology).weight
    edges = [t for t in kept if topology.num_edges in t.shape]
    assert len({t.data_ptr() for t in edges}) == 1
    assert isinstance(weight.grad_fn, _autograd._OverDegrees._backward_cls)
