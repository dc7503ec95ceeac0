"""Back ends of other packages: equal to the readable steps, and never taken unless named."""

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from gsp_unroll import (
    GLR,
    ConjugateGradient,
    EdgeList,
    GLRUnroll,
    Graph,
    GTVUnroll,
    Identity,
    Laplacian,
    LeastSquares,
    backend,
    grid_graph,
    knn_graph,
    show_backends,
)
from gsp_unroll.kernels import external, registry
from tests.registries import TOPOLOGIES, cloud, edges

PACKAGES = external.EXTERNAL
POINTS = knn_graph(cloud(12), 3)


def inputs(topology, *batch, dtype=torch.float64, channels=2):
    w = topology.mask_edges(torch.rand(*batch, topology.num_edges, dtype=dtype))
    return w, torch.randn(*batch, topology.num_nodes, channels, dtype=dtype)


@pytest.fixture
def sums(monkeypatch):
    """A stand-in for either package: the readable steps, and how often they were asked for."""
    calls = []

    def product(plan, w, x):
        calls.append(plan)
        return EdgeList(plan.edge_index, plan.num_nodes)._laplacian(w, x)

    monkeypatch.setattr(external, "installed", lambda package: True)
    keys = [("laplacian", "csr", dtype, "cpu") for dtype in (torch.float32, torch.float64)]
    monkeypatch.setattr(external, "kernels", lambda package: dict.fromkeys(keys, product))
    return calls


# ---- which serves ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", registry.BACKENDS)
def test_they_are_never_taken_unless_named(name, sums):
    w, x = inputs(POINTS)
    with backend(name):
        POINTS.laplacian(w, x)
    POINTS.laplacian(w, x)
    assert not sums


@pytest.mark.parametrize("package", PACKAGES)
def test_they_are_taken_where_named(package, sums):
    w, x = inputs(POINTS)
    with backend(package):
        POINTS.laplacian(w, x)
        assert len(sums) == 1
        grid = grid_graph((3, 4))  # no list of edges
        grid.laplacian(*inputs(grid))
    POINTS.laplacian(w, x)
    assert len(sums) == 1


@pytest.mark.parametrize("package", PACKAGES)
def test_a_layer_takes_them_for_its_products(package, sums):
    w, x = inputs(POINTS)
    graph, layer = Graph(POINTS, w), GLRUnroll(4, mu=1.0).double()
    with backend(package):
        restored = layer(LeastSquares(Identity(), x), graph)
    assert len(sums) >= 3
    torch.testing.assert_close(restored, layer(LeastSquares(Identity(), x), graph))


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_that_is_missing_is_named(package, monkeypatch):
    monkeypatch.setattr(external, "installed", lambda package: False)
    message = rf"Got backend .{package}. without.*Expected {package} to be.*no-build-isolation"
    with pytest.raises(ValueError, match=message), backend(package):
        pass


@pytest.mark.parametrize("found", [True, False])
def test_show_backends_tells_whether_they_are_there(found, monkeypatch, capsys):
    monkeypatch.setattr(external, "installed", lambda package: found)
    show_backends()
    printed, said = capsys.readouterr().out, "installed" if found else "not installed"
    for package in PACKAGES:
        assert f" {said}; only within backend('{package}')" in printed
        assert f"  {package} " in printed


# ---- what they compute ----------------------------------------------------------------------

accel = pytest.mark.accel


def needs(package):
    pytest.importorskip(package)


@accel
@pytest.mark.parametrize("package", PACKAGES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name", TOPOLOGIES)
def test_products_equal_the_reference(name, dtype, package):
    needs(package)
    topology = TOPOLOGIES[name]()
    for batch in ((), (2,), (2, 3), (0,)):
        w, x = inputs(topology, *batch, dtype=dtype)
        with backend("reference"):
            expected = topology.laplacian(w, x)
        with backend(package):
            torch.testing.assert_close(topology.laplacian(w, x), expected)


@accel
@pytest.mark.parametrize("package", PACKAGES)
def test_derivatives_of_both_orders(package):
    needs(package)
    topology = EdgeList(edges((0, 1), (3, 0), (1, 3), (2, 3)), 5)
    w, x = (t.requires_grad_() for t in inputs(topology))
    with backend(package):
        assert gradcheck(topology.laplacian, (w, x))
        assert gradgradcheck(topology.laplacian, (w, x))


@accel
@pytest.mark.parametrize("package", PACKAGES)
@pytest.mark.parametrize("build", [lambda: GLRUnroll(5, mu=1.0), lambda: GTVUnroll(3, 4, rho=1.0)])
def test_layers_and_their_gradients_equal_the_reference(build, package):
    needs(package)
    layer, (w, x) = build().double(), inputs(POINTS)

    def run(name):
        given = [t.clone().requires_grad_() for t in (w, x)]
        with backend(name):
            graph = Graph.unchecked(POINTS, given[0])
            restored = layer(LeastSquares(Identity(), given[1]), graph)
            tensors = (*given, *layer.parameters())
            return restored, *torch.autograd.grad(restored.square().sum(), tensors)

    for ours, theirs in zip(run(package), run("reference"), strict=True):
        torch.testing.assert_close(ours, theirs)


@accel
@pytest.mark.parametrize("package", PACKAGES)
def test_a_convergent_solve_equals_the_reference(package):
    needs(package)
    w, x = inputs(POINTS)
    graph = Graph(POINTS, w)
    A, b = LeastSquares(Identity(), x).system(GLR(graph, 2.0).Q)
    with backend(package):
        solved = ConjugateGradient(1e-12).solve(A, b).x
    torch.testing.assert_close(x, solved + 2 * Laplacian(graph)(solved), rtol=0, atol=1e-9)
