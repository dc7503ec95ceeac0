"""What the properties of this folder once found, one example each."""

import pytest
import torch

from gsp_unroll import (
    ADMM,
    GLR,
    GTV,
    ConjugateGradient,
    DotProductLearner,
    EdgeList,
    Graph,
    Identity,
    Laplacian,
    LeastSquares,
    Problem,
    Status,
    VectorGTV,
    gershgorin_bound,
    path_graph,
    restore,
)
from gsp_unroll.graph import Systems
from gsp_unroll.restoration import Fixed

PATH = Graph(path_graph(4), torch.ones(4, dtype=torch.float64))
Y = torch.tensor([[1.0, -1.0], [2.0, 0.5], [-3.0, 0.0], [0.0, 4.0]], dtype=torch.float64)


def test_a_graph_without_nodes_has_the_bound_zero():
    nothing = Graph(EdgeList(torch.zeros(2, 0, dtype=torch.int64), 0), torch.zeros(0))
    assert gershgorin_bound(Laplacian(nothing)).tolist() == [[0.0]]


@pytest.mark.parametrize("power", [-1000, -500, 500, 1000])
@pytest.mark.parametrize("gradient", ["unrolled", "implicit"])
def test_a_right_hand_side_of_any_size_is_solved(power, gradient):
    """The square of 2^-1000 is 0: such a system was called converged at its start."""
    factor = torch.tensor([2.0**power, 1.0], dtype=torch.float64)  # each channel in its own unit
    A = LeastSquares(Identity(), Y).system(GLR(PATH, 0.5).Q)[0]
    solver = ConjugateGradient(gradient=gradient)
    usual, extreme = solver.solve(A, Y), solver.solve(A, factor * Y)
    assert extreme.status is Status.CONVERGED
    assert torch.equal(extreme.x, factor * usual.x)  # to the last bit
    assert torch.equal(extreme.primal_residual, factor * usual.primal_residual)


@pytest.mark.parametrize("gradient", ["unrolled", "implicit"])
def test_the_gradient_of_an_extreme_solve(gradient):
    A = LeastSquares(Identity(), Y).system(GLR(PATH, 0.5).Q)[0]
    found = []
    for factor in (1.0, 2.0**-1000, 2.0**1000):
        b = (factor * Y).requires_grad_()
        x = ConjugateGradient(gradient=gradient).solve(A, b).x
        found.append(torch.autograd.grad(x[0].sum(), b)[0])
    assert torch.allclose(found[0], found[1], rtol=1e-9)
    assert torch.allclose(found[0], found[2], rtol=1e-9)


@pytest.mark.parametrize("factor", [2.0**-1000, 2.0**1000])
@pytest.mark.parametrize("prior", [GLR, GTV])
def test_readings_of_any_size_are_restored(factor, prior):
    """Their spread was infinite or 0, and the result NaN or another than the promised one."""
    choose = Fixed(prior, 0.5)
    usual, extreme = restore(Y, PATH, choose), restore(factor * Y, PATH, choose)
    assert torch.equal(extreme.x, factor * usual.x)


def test_features_of_any_size_give_weights():
    """Products of them overflowed, and their sum was NaN."""
    f = torch.tensor([[1e30, 1e30], [-1e30, 1e30], [1e30, -1e30]], requires_grad=True)
    w = DotProductLearner(2)(f, path_graph(3)).weight
    assert bool(w.isfinite().all())
    w.sum().backward()
    assert bool(f.grad.isfinite().all())


def test_signals_without_channels():
    y = torch.zeros(4, 0, dtype=torch.float64)
    solution = ADMM(max_steps=3).solve(Problem(LeastSquares(Identity(), y), VectorGTV(PATH, 0.1)))
    assert solution.x.shape == (4, 0)
    assert Systems(couples_channels=True).maximum(y).shape == (1, 1)


def test_a_number_beyond_floats_in_a_table():
    pd = pytest.importorskip("pandas")
    table = pd.DataFrame([[10**400, 1.0, 2.0, "x"]], dtype=object)
    with pytest.raises(ValueError, match=r"Got a DataFrame with values that are no numbers\."):
        restore(table, PATH)


def test_the_unit_of_a_system_is_a_power_of_two():
    x = torch.tensor([[3.0, 0.0], [-5.0, 0.0]], dtype=torch.float64)
    assert Systems().unit(x).tolist() == [[4.0, 1.0]]
    for power in (-1074, -1022, 1023):
        assert float(Systems().unit(2.0**power * x[:1, :1].sign())) == 2.0**power
