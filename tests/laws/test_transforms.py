"""Transforms of `torch.func`: derivatives taken forwards agree with those taken backwards, and a
map over an axis is a batch. No kernel answers in their place without knowing of them."""

import pytest
import torch
from torch.autograd import forward_ad
from torch.func import functional_call, grad, hessian, jacfwd, jacrev, jvp, vjp, vmap

from gsp_unroll.graph import Graph, grid_graph, knn_graph
from gsp_unroll.operators import Identity, Laplacian, SamplingMask
from gsp_unroll.problems import GLR, GTV, LeastSquares, Problem
from gsp_unroll.solvers import ADMM, ConjugateGradient
from tests.laws.test_learners import LEARNERS, features_on, learner_for
from tests.registries import cloud
from tests.registries_layers import LAYERS
from tests.registries_operators import IMAGE, OPERATORS, POINTS, bools, numbers, operator

topologies = pytest.mark.parametrize("topology", [IMAGE, POINTS], ids=["lattice", "points"])


def random(like):
    return torch.randn_like(like)


def assert_same(found, expected, tolerance=1e-10):
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


def check_both_ways(function, *inputs, tolerance=1e-10):
    """`<g, J v> = <J' g, v>` along one random direction, and `J v` by both of torch's doors."""
    along = tuple(map(random, inputs))
    x, forwards = jvp(function, inputs, along)
    g = random(x)
    backwards = vjp(function, *inputs)[1](g)
    sides = (g * forwards).sum(), sum((a * b).sum() for a, b in zip(along, backwards, strict=True))
    assert_same(*sides, tolerance)
    with forward_ad.dual_level():
        duals = map(forward_ad.make_dual, inputs, along)
        tangent = forward_ad.unpack_dual(function(*duals)).tangent
    assert tangent is not None, "a kernel has lost the tangent"
    assert_same(tangent, forwards, tolerance)


@pytest.mark.parametrize("name", OPERATORS)
def test_an_operator_is_its_own_derivative_and_maps_over_a_batch(name):
    A, shape = operator(name)
    x, v = numbers(*shape), numbers(*shape, seed=2) - 0.5
    value, forwards = jvp(A, (x,), (v,))
    assert_same(value, A(x))
    assert_same(forwards, A(v))
    check_both_ways(A, x)
    many = torch.stack([x, v, x - v])
    assert_same(vmap(A)(many), torch.stack([A(one) for one in many]))


@topologies
@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_forwards_and_backwards(name, topology):
    case, n = LAYERS[name], topology.num_nodes
    layer, mask = case.layer(2), bools(1, n, 2)
    names, parameters = zip(*layer.named_parameters(), strict=True)

    def function(y, w, *parameters):
        data = case.data_term.unchecked(SamplingMask(mask), y)
        inputs = data, case.graph(topology, w)
        return functional_call(layer, dict(zip(names, parameters, strict=True)), inputs)

    y, w = mask * numbers(1, n, 2), numbers(2, topology.num_edges, seed=1)
    check_both_ways(function, y, w, *(p.detach() for p in parameters))


@topologies
@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_maps_over_a_batch(name, topology):
    case, n = LAYERS[name], topology.num_nodes
    layer, mask = case.layer(), bools(n, 2)
    y, w = mask * numbers(3, n, 2), numbers(3, topology.num_edges, seed=1)

    def function(y, w):
        data = case.data_term.unchecked(SamplingMask(mask), y)
        return layer(data, case.graph(topology, w))

    with torch.no_grad():
        expected = torch.stack([function(*one) for one in zip(y, w, strict=True)])
        assert_same(vmap(function)(y, w), expected)
        assert_same(vmap(function, (0, None))(y, w[0]), function(y, w[0]))


@topologies
@pytest.mark.parametrize("kind", LEARNERS)
def test_a_learner_forwards_backwards_and_over_a_batch(kind, topology):
    learner = learner_for(LEARNERS[kind], topology, heads=2).requires_grad_(False)

    def weights(f):
        return learner(f, topology).weight

    f = features_on(topology, 2)
    check_both_ways(weights, f)
    many = features_on(topology, 3, 2)
    assert_same(vmap(weights)(many), torch.stack([weights(one) for one in many]))


@pytest.mark.parametrize("gradient", ["unrolled", "implicit"])
@pytest.mark.parametrize(
    "topology",
    [grid_graph((5, 6), window=3), knn_graph(cloud(30), 4)],
    ids=["lattice", "points"],
)
def test_conjugate_gradients_forwards_and_backwards(topology, gradient):
    solver = ConjugateGradient(1e-14, gradient=gradient)

    def solve(b, w):
        graph = Graph.unchecked(topology, topology.mask_edges(w))
        return solver.solve(Identity() + Laplacian(graph), b).x

    b, w = numbers(topology.num_nodes, 2), numbers(topology.num_edges)
    check_both_ways(solve, b, w, tolerance=1e-7)


@pytest.mark.parametrize("gradient", ["unrolled", "implicit"])
def test_gradients_of_a_solve_transformed_again(gradient):
    topology = grid_graph((4, 5))
    solver = ConjugateGradient(1e-14, gradient=gradient)

    b = numbers(topology.num_nodes, 1)

    def energy(w):
        graph = Graph.unchecked(topology, topology.mask_edges(w))
        return solver.solve(Identity() + Laplacian(graph), b).x.square().sum()

    w = numbers(topology.num_edges)
    expected = torch.autograd.functional.hessian(energy, w)
    for transform in (jacfwd(grad(energy)), jacrev(grad(energy))):
        assert_same(transform(w), expected, 1e-7)
    # a tangent of b beside weights that are learned
    w.requires_grad_()
    v = numbers(topology.num_nodes, 1, seed=3)
    A = Identity() + Laplacian(Graph.unchecked(topology, topology.mask_edges(w)))
    with forward_ad.dual_level():
        x = solver.solve(A, forward_ad.make_dual(b, v)).x
        tangent = forward_ad.unpack_dual(x).tangent
    assert_same(tangent, solver.solve(A, v).x, 1e-7)


@topologies
@pytest.mark.parametrize("name", ["GLR, soft", "GTV, soft", "vector GTV, hard"])
def test_a_recorded_gradient_keeps_a_tangent(name, topology):
    """The value comes from a kernel, and its gradient is transformed afterwards."""
    case, n = LAYERS[name], topology.num_nodes
    layer, mask = case.layer(), bools(n, 2)
    y = (mask * numbers(n, 2)).requires_grad_()
    w = numbers(topology.num_edges, seed=1).requires_grad_()
    data = case.data_term.unchecked(SamplingMask(mask), y)
    x = layer(data, case.graph(topology, w))
    one, v = numbers(2, *x.shape)
    with forward_ad.dual_level():
        found = torch.autograd.grad(x, [y, w], forward_ad.make_dual(one, v), retain_graph=True)
        tangents = [forward_ad.unpack_dual(g).tangent for g in found]
    expected = torch.autograd.grad(x, [y, w], v, retain_graph=True)
    for a, b in zip(tangents, expected, strict=True):
        assert_same(a, b)


def test_the_gradient_of_a_learned_weight_keeps_a_tangent():
    learner, f = learner_for(LEARNERS["mahalanobis"], IMAGE), features_on(IMAGE, grad=True)
    w = learner(f, IMAGE).weight
    one, v = numbers(2, *w.shape)
    with forward_ad.dual_level():
        (g,) = torch.autograd.grad(w, f, forward_ad.make_dual(one, v), retain_graph=True)
        tangent = forward_ad.unpack_dual(g).tangent
    (expected,) = torch.autograd.grad(w, f, v)
    assert_same(tangent, expected)


@topologies
@pytest.mark.parametrize("build", [GLR, GTV])
def test_admm_forwards_and_backwards(topology, build):
    inner = ConjugateGradient(1e-13)
    solver = ADMM(1.0, 1e-300, 20, check_every=20, linear_solver=inner)

    def solve(y, w):
        prior = build(Graph.unchecked(topology, topology.mask_edges(w)), 0.1)
        data = LeastSquares.unchecked(Identity(), y)
        if build is GLR:
            return inner.solve(*Problem(data, prior).system()).x
        return solver.solve(Problem(data, prior)).x

    check_both_ways(
        solve, numbers(topology.num_nodes, 2), numbers(topology.num_edges, seed=1), tolerance=1e-7
    )


@topologies
def test_jacobians_and_hessians_of_every_order_of_transforms(topology):
    case = LAYERS["GTV, soft"]
    layer, mask = case.layer().requires_grad_(False), bools(topology.num_nodes, 2)
    y = mask * numbers(topology.num_nodes, 2)

    def energy(w):
        return layer(case.data(mask, y), case.graph(topology, w)).square().sum()

    w = numbers(topology.num_edges, seed=1)
    expected = torch.autograd.functional.hessian(energy, w)
    assert float(expected.abs().max()) > 1e-6
    for transform in (hessian, lambda f: jacrev(jacrev(f)), lambda f: jacfwd(jacfwd(f))):
        assert_same(transform(energy)(w), expected, 1e-8)
    assert_same(jacfwd(energy)(w), jacrev(energy)(w))


@topologies
def test_a_gradient_for_each_item_of_a_batch(topology):
    case, n = LAYERS["GTV, soft"], topology.num_nodes
    layer, mask = case.layer(), bools(n, 2)
    y, w = mask * numbers(4, n, 2), numbers(topology.num_edges, seed=1)
    parameters = {name: p.detach() for name, p in layer.named_parameters()}

    def loss(parameters, y):
        data = case.data_term.unchecked(SamplingMask(mask), y)
        return functional_call(layer, parameters, (data, case.graph(topology, w))).square().mean()

    found = vmap(grad(loss), (None, 0))(parameters, y)
    for number, one in enumerate(y):
        expected = grad(loss)(parameters, one)
        for name, value in expected.items():
            assert_same(found[name][number], value)
