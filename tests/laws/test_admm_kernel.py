"""The kernel of plain ADMM does what `admm_step` says, and its linear solve keeps the guarantee."""

import pytest
import torch

from gsp_unroll import (
    ADMM,
    GTV,
    DampedJacobi,
    Graph,
    Identity,
    Interpolation,
    Laplacian,
    LeastSquares,
    Problem,
    SamplingMask,
    Status,
    VectorGTV,
    backend,
    grid_graph,
    knn_graph,
)
from gsp_unroll.kernels import registry
from gsp_unroll.operators import Diagonal, MatrixFree
from gsp_unroll.solvers.admm import admm_start
from gsp_unroll.solvers.fused import stepper
from tests.registries_operators import weighted

PRIORS = {"l1": GTV, "vector": VectorGTV}
LATTICES = {"plane": ((9, 21), 5), "narrow": ((5, 4), 3), "volume": ((6, 5, 4), 3)}
TOPOLOGIES = (*LATTICES, "scattered")
TOLERANCE = {torch.float64: 1e-11, torch.float32: 1e-4}


def problem(topology, prior, channels, hard, dtype, batch=2):
    draw = torch.Generator().manual_seed(0)
    if topology == "scattered":
        grid = knn_graph(torch.rand(61, 3, generator=draw, dtype=torch.float64), 5)
    else:
        shape, window = LATTICES[topology]
        grid = grid_graph(shape, window=window)
    nodes = grid.num_nodes
    w = grid.mask_edges(torch.rand(batch, grid.num_edges, generator=draw, dtype=dtype))
    mask = torch.rand(nodes, 1 if hard else channels, generator=draw) < 0.5
    y = torch.randn(batch, nodes, channels, generator=draw, dtype=dtype)
    kind = Interpolation if hard else LeastSquares
    data = kind(SamplingMask(mask), torch.where(mask, y, 0))
    return Problem(data, PRIORS[prior](Graph(grid, w), 0.2))


def solver(**settings):
    given = {"rho": 0.7, "max_steps": 23, "check_every": 8, "relaxation": 1.5, "rtol": 1e-14}
    return ADMM(**(given | {"linear_solver": DampedJacobi(2)} | settings))


@pytest.fixture
def calls(monkeypatch):
    """The steps that the kernel was asked for."""
    served = [k for key, k in registry.kernels()["native"].items() if key[0] == "admm"]
    if not served:
        pytest.skip("the C++ kernels are not compiled here")
    seen, kind = [], type(served[0])
    run = kind.__call__

    def count(self, steps):
        seen.append(steps.num_steps)
        return run(self, steps)

    monkeypatch.setattr(kind, "__call__", count)
    return seen


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("channels", [1, 3, 5, 21])
@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_the_kernel_equals_the_steps(topology, prior, channels, hard, dtype, calls):
    task = problem(topology, prior, channels, hard, dtype)
    fast = solver().solve(task)
    # the first step, and the last before each look at 8, 16 and 23, are calls of their own
    assert calls == [1, 6, 1, 7, 1, 6, 1]
    with backend("reference"):
        slow = solver().solve(task)
    torch.testing.assert_close(fast.x, slow.x, rtol=0, atol=TOLERANCE[dtype])
    size = slow.objective.abs().max()
    for part in ("objective", "duality_gap", "primal_residual", "dual_residual"):
        error = (getattr(fast, part) - getattr(slow, part)).abs().max()
        assert error <= 10 * TOLERANCE[dtype] * size, part
    assert fast.num_steps == slow.num_steps == 23


@pytest.mark.parametrize("topology", ["plane", "scattered"])
def test_the_kernel_gives_the_same_bits_on_any_number_of_threads(topology, calls):
    task = problem(topology, "l1", 3, False, torch.float32, batch=5)
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(solver().solve(task).x)
    finally:
        torch.set_num_threads(before)
    assert calls
    assert all(torch.equal(x, results[0]) for x in results)


def test_a_batch_has_a_penalty_for_each_signal(calls):
    task = problem("scattered", "l1", 1, False, torch.float64)
    together = solver(rho=None).solve(task).x
    assert calls
    for i in range(2):
        graph = Graph(task.prior.graph.topology, task.prior.graph.weight[i])
        data = LeastSquares(task.data.H, task.data.y[i])
        alone = solver(rho=None).solve(Problem(data, GTV(graph, 0.2))).x
        torch.testing.assert_close(together[i], alone, rtol=0, atol=1e-12)


@pytest.mark.parametrize("what", ["strength", "weights", "observation"])
def test_gradients_flow_through_the_readable_steps(what, calls):
    task = problem("narrow", "l1", 1, False, torch.float64)
    lam = torch.tensor(0.2, dtype=torch.float64)
    w, y = task.prior.graph.weight.clone(), task.data.y.clone()
    leaf = {"strength": lam, "weights": w, "observation": y}[what].requires_grad_()
    graph = Graph(task.prior.graph.topology, w)
    answer = solver().solve(Problem(LeastSquares(task.data.H, y), GTV(graph, lam))).x
    assert not calls
    (g,) = torch.autograd.grad(answer.square().sum(), leaf)
    assert g.abs().sum() > 0


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_a_channel_has_a_penalty_of_its_own(topology, hard, calls):
    task = problem(topology, "l1", 3, hard, torch.float64)
    scale = torch.tensor([1.0, 100.0, 0.01], dtype=torch.float64)
    data = type(task.data)(task.data.H, task.data.y * scale)
    graph = task.prior.graph
    task = Problem(data, GTV(graph, 0.2 * scale))
    fast = solver(rho=None).solve(task)
    assert calls
    with backend("reference"):
        slow = solver(rho=None).solve(task)
    torch.testing.assert_close(fast.x / scale, slow.x / scale, rtol=0, atol=1e-11)
    for c in range(3):
        observed = data.observed[..., c % data.observed.shape[-1], None]
        y = data.backprojected[..., c, None]
        alone = type(data)(SamplingMask(observed), torch.where(observed, y, 0))
        x = solver(rho=None).solve(Problem(alone, GTV(graph, 0.2 * float(scale[c])))).x
        torch.testing.assert_close(fast.x[..., c] / scale[c], x[..., 0] / scale[c])


@pytest.mark.parametrize("lam", [(3,), (1, 3), (2, 1, 1), (2, 1, 3)], ids=str)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_strength_of_any_shape_that_broadcasts(lam, channels, calls):
    graph = problem("plane", "l1", 1, False, torch.float64).prior.graph
    graph = Graph(graph.topology, graph.weight[0])
    draw = torch.Generator().manual_seed(1)
    y = torch.randn(graph.num_nodes, channels, generator=draw, dtype=torch.float64)
    lam = 0.1 + torch.rand(lam, generator=draw, dtype=torch.float64)
    task = Problem(LeastSquares(Identity(), y), GTV(graph, lam))
    for rho in (None, 0.7):
        fast = solver(rho=rho).solve(task).x
        assert calls
        with backend("reference"):
            slow = solver(rho=rho).solve(task).x
        torch.testing.assert_close(fast, slow, rtol=0, atol=1e-11)
        calls.clear()


def test_a_strength_for_each_node_is_left_to_the_readable_steps(calls):
    task = problem("plane", "l1", 1, False, torch.float64)
    rho = torch.ones(task.num_nodes, 1, dtype=torch.float64)
    state = admm_start(task.prior, task.data.y)
    assert stepper(task, state.x, state.z, rho, (0.5,)) is None


@pytest.mark.parametrize("num_steps", [1, 2, 5])
@pytest.mark.parametrize("topology", ["grid", "knn"])
def test_admm_with_few_jacobi_steps_reaches_the_optimum(topology, num_steps):
    draw = torch.Generator().manual_seed(1)
    nodes = 48
    points = torch.rand(nodes, 3, generator=draw, dtype=torch.float64)
    graph = weighted(grid_graph((6, 8), window=5) if topology == "grid" else knn_graph(points, 5))
    y = torch.randn(nodes, 2, generator=draw, dtype=torch.float64)
    task = Problem(LeastSquares(Identity(), y), GTV(graph, 0.1))
    exact = ADMM(rtol=1e-11, rho=0.5).solve(task)
    found = ADMM(rtol=1e-11, rho=0.5, linear_solver=DampedJacobi(num_steps)).solve(task)
    assert found.status is exact.status is Status.CONVERGED
    torch.testing.assert_close(found.x, exact.x, rtol=0, atol=1e-4)


@pytest.mark.parametrize("num_steps", [1, 2, 3, 7])
def test_the_proximal_term_is_positive(num_steps):
    """What `num_steps` updates leave of an error never changes sign in any direction."""
    graph = weighted(grid_graph((3, 4), window=3))
    h = torch.linspace(0.5, 2, 12, dtype=torch.float64).unsqueeze(-1)
    A = Diagonal(h) + Laplacian(graph).scaled(0.7)
    eye = torch.eye(12, dtype=torch.float64)
    left = DampedJacobi(num_steps)(A, torch.zeros_like(eye), eye)
    root = A.majorizer().sqrt()
    eigenvalues = torch.linalg.eigvalsh(root * left / root.mT)
    assert eigenvalues.min() >= -1e-12
    assert eigenvalues.max() < 1


def test_isolated_nodes_nobody_observed_stay_where_they_are():
    grid = grid_graph((4, 4), window=3)
    mask = torch.arange(16).unsqueeze(-1) < 8
    data = LeastSquares(SamplingMask(mask), torch.where(mask, torch.ones(16, 1), 0))
    graph = Graph(grid, torch.zeros(grid.num_edges))
    x0 = torch.full((16, 1), 3.0)
    x = (
        ADMM(rho=1.0, max_steps=50, linear_solver=DampedJacobi())
        .solve(Problem(data, GTV(graph, 0.1)), x0)
        .x
    )
    torch.testing.assert_close(x[8:], x0[8:])
    torch.testing.assert_close(x[:8], torch.ones(8, 1))


def test_a_system_without_a_majorizer_is_refused():
    with pytest.raises(ValueError, match="without a known majorizer"):
        DampedJacobi()(
            MatrixFree(lambda x: x, lambda x: x, 4, 4), torch.zeros(4, 1), torch.zeros(4, 1)
        )


@pytest.mark.parametrize("num_steps", [0, -1])
def test_no_steps_are_refused(num_steps):
    with pytest.raises(ValueError, match="num_steps"):
        DampedJacobi(num_steps)


@pytest.mark.parametrize("topology", ["plane", "scattered"])
def test_a_signal_without_channels_stays_one(topology):
    task = problem(topology, "l1", 1, False, torch.float32)
    graph, nodes = task.prior.graph, task.num_nodes
    empty = torch.zeros(2, nodes, 0)
    edges = graph.topology.gradient(empty)
    assert graph.topology.divergence(edges).shape == Laplacian(graph)(empty).shape == empty.shape
    again = Problem(LeastSquares(Identity(), empty), GTV(graph, 0.2))
    assert solver().solve(again).x.shape == empty.shape
