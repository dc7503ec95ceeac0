"""The learned linear solves: what they compute, what bounds them, and that they are plain CG."""

import math
from itertools import product

import numpy as np
import pytest
import torch

from gsp_unroll.graph import EdgeList, Graph, grid_graph, knn_graph, path_graph
from gsp_unroll.learners import MahalanobisLearner
from gsp_unroll.operators import (
    Blur,
    ColorMosaic,
    Diagonal,
    Identity,
    Incidence,
    Laplacian,
    MatrixFree,
    SamplingMask,
)
from gsp_unroll.problems import GLR, GTV, Interpolation, LeastSquares, start
from gsp_unroll.solvers import ConjugateGradient, cg_start, cg_step, jacobi
from gsp_unroll.unroll import BoundedMomentum, GuardedCG, HeavyBall, LearnedSolve
from gsp_unroll.unroll.linear_solve import chebyshev_momentum
from tests.registries import cloud
from tests.registries_layers import learned_problems

K = 10
HEADS = 25
ROUNDING = 1e-12


def rand(*shape, low=0.0, high=1.0):
    return low + (high - low) * torch.rand(*shape, dtype=torch.float64)


def randn(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def randomized(solve):
    """The solve in float64, with parameters from one end of their range to the other."""
    solve = solve.double()
    with torch.no_grad():
        for parameter in solve.parameters():
            parameter.uniform_(-12, 12)
    return solve


def dense(A, batch=()):
    """The matrix of an operator that keeps channels apart, `(*batch, nodes, nodes)`."""
    eye = torch.eye(A.num_inputs, dtype=torch.float64)
    return A(eye.expand(*batch, *eye.shape))


def square_energy(matrix, error):
    """`e'Ae` of every channel, `(*batch, channels)`."""
    return (error * (matrix @ error)).sum(-2)


def exact_solution(matrix, b):
    return torch.linalg.pinv(matrix, rtol=1e-13, hermitian=True) @ b


# ---- the systems that the library solves, HEADS random ones at a time -----------------------

IMAGE = grid_graph((4, 4), window=5)
POINTS = knn_graph(cloud(14), 4)
TWO_PARTS = EdgeList(torch.tensor([[0, 1, 2, 5, 6], [1, 2, 0, 6, 7]]), 9)
SEQUENCE = path_graph(12, lags=2)


def random_graph(topology, heads=HEADS):
    """Weights over six orders of magnitude, normalised in one of the four ways."""
    weight = topology.mask_edges(10 ** rand(heads, topology.num_edges, low=-6, high=0))
    return Graph(topology, weight)


def random_mask(topology, heads=HEADS):
    return SamplingMask(rand(heads, topology.num_nodes, 1) < 0.4)


def penalty(heads=HEADS):
    return 10 ** rand(heads, 1, 1, low=-2, high=2)


def soft(topology, normalization="none", form="none"):
    H, graph = random_mask(topology), random_graph(topology).normalized(normalization)
    return LeastSquares(H, randn(topology.num_nodes, 2)).system(GLR(graph, penalty(), form).Q)


def hard(topology, normalization="none", form="none"):
    H, graph = random_mask(topology), random_graph(topology).normalized(normalization)
    return Interpolation(H, randn(topology.num_nodes, 2)).system(GLR(graph, penalty(), form).Q)


def squared(topology, normalization="row"):
    H, C = random_mask(topology), Incidence(random_graph(topology).normalized(normalization))
    return C.gram + H.gram, C.T(randn(HEADS, C.num_outputs, 2)) + H.T(randn(H.num_outputs, 2))


def through(H, topology):
    y = randn(H.num_outputs or topology.num_nodes, 2)
    return LeastSquares(H, y).system(Laplacian(random_graph(topology)).scaled(penalty()))


def blurred(kernel, shape=(4, 4)):
    return through(Blur(shape, kernel.double()), IMAGE)


def user_operator():
    M = randn(9, POINTS.num_nodes)
    bound = (M.abs().T @ M.abs()).sum(-1, keepdim=True) / 2  # A <= 2 D holds with equality at best
    H = MatrixFree(lambda x: M @ x, lambda y: M.T @ y, POINTS.num_nodes, 9, gram_majorizer=bound)
    return through(H, POINTS)


def mosaic():
    # a mask of its own for every channel
    H = ColorMosaic(torch.randint(0, 2, (POINTS.num_nodes,)), 2)
    data = Interpolation(H, randn(POINTS.num_nodes, 1))
    return data.system(GLR(random_graph(POINTS), penalty()).Q)


SYSTEMS = {
    "H'H + mu L, image": lambda: soft(IMAGE),
    "H'H + mu L, points": lambda: soft(POINTS),
    "H'H + mu L, sequence, merged rows": lambda: soft(SEQUENCE, "merged"),
    "H'H + mu L, sym weights": lambda: soft(POINTS, "sym"),
    "H'H + mu L, both directions": lambda: soft(IMAGE, "row"),
    "H'H + mu Ln": lambda: soft(IMAGE, form="sym"),
    "PLP + H'H, image": lambda: hard(IMAGE),
    "PLP + H'H, points": lambda: hard(POINTS),
    "PLP + H'H, parts without a sample": lambda: hard(TWO_PARTS),
    "PLP + H'H, merged rows": lambda: hard(SEQUENCE, "merged"),
    "P Ln P + H'H": lambda: hard(POINTS, form="sym"),
    "squared weights, both directions": lambda: squared(IMAGE),
    "squared weights, undirected": lambda: squared(POINTS, "none"),
    "everything observed": lambda: through(Identity(), POINTS),
    "box blur": lambda: blurred(torch.ones(3, 3)),
    "lopsided blur": lambda: blurred(torch.tensor([[0.0, 1, 0], [0, 1, 3], [0, 0, 2]])),
    "sharpening": lambda: blurred(torch.tensor([[0.0, -1, 0], [-1, 5, -1], [0, -1, 0]])),
    "a user's operator": user_operator,
}


def check_never_farther(A, b, solve, x0, slack=ROUNDING):
    matrix = dense(A, x0.shape[:-2])
    x_exact = exact_solution(matrix, b)
    at_start = square_energy(matrix, x0 - x_exact).sqrt()
    for k, x in enumerate(solve.iterates(A, b, x0), 1):
        error = square_energy(matrix, x - x_exact).clamp(min=0).sqrt()
        worst = (error / at_start.clamp(min=1e-300)).max().item()
        assert bool((error <= at_start * (1 + slack)).all()), f"step {k}: {worst} times the start"
    return error / at_start


# ---- (a) what the default computes ----------------------------------------------------------


@pytest.mark.parametrize("name", ["H'H + mu L, image", "PLP + H'H, parts without a sample"])
def test_bounded_momentum_is_the_two_line_recursion(name):
    A, b = SYSTEMS[name]()
    solve = randomized(BoundedMomentum(K, HEADS))
    with torch.no_grad():
        solve.theta.uniform_(-4, 4)
        solve.psi.uniform_(-4, 4)
    s = (2 / (2 + solve.theta.detach().exp())).view(-1, 1, 1)
    r = [0.0, *(1 / (1 + (-psi.view(-1, 1, 1)).exp()) for psi in solve.psi.detach())]
    D = A.majorizer().double()
    D_inverse = torch.where(D > 0, 1 / D, 0)
    x0 = randn(HEADS, A.num_inputs, 2)
    before, now = None, x0
    for k, x in enumerate(solve.iterates(A, b, x0)):
        q = now + s * D_inverse * (b - A(now))
        before, now = now, q if k == 0 else q + r[k] * (q - before)
        torch.testing.assert_close(x, now, rtol=0, atol=1e-12 * float(now.abs().max()))
    assert k == K - 1


@pytest.mark.parametrize("kind", [BoundedMomentum, GuardedCG, HeavyBall])
@pytest.mark.parametrize("heads", [None, 2])
def test_a_step_size_for_each_step_and_a_momentum_between_two(kind, heads):
    alpha, beta = kind(K, heads).coefficients()
    assert (len(alpha), len(beta)) == (K, K - 1)


def test_it_starts_at_the_chebyshev_values():
    solve = BoundedMomentum(K).double()
    assert solve.theta.item() == pytest.approx(math.log(0.1))
    published = [0.693, 0.530, 0.456, 0.424, 0.411, 0.406, 0.404, 0.403, 0.403]
    assert solve.psi.sigmoid().tolist() == pytest.approx(published, abs=5e-4)


@pytest.mark.parametrize("smallest", [0.01, 0.1, 0.9])
def test_the_chebyshev_values_give_chebyshev_polynomials(smallest):
    # the smallest possible error on the interval, known in closed form: 1 / T_k(sigma)
    eigenvalues = torch.linspace(smallest, 2, 401, dtype=torch.float64)
    A, steps = Diagonal(eigenvalues.unsqueeze(-1)), 7
    ones = torch.ones(401, 1, dtype=torch.float64)
    solve = BoundedMomentum(steps, smallest_eigenvalue=smallest).double()
    solve.scaling = lambda A: None  # the interval is that of A itself, not of its Jacobi scaling
    with torch.no_grad():  # parameters are made in float32
        solve.theta.fill_(math.log(smallest))
        solve.psi.copy_(torch.tensor(chebyshev_momentum(smallest, steps)).double().logit())
    sigma = (2 + smallest) / (2 - smallest)
    for k, x in enumerate(solve.iterates(A, torch.zeros_like(ones), ones), 1):
        assert x.abs().max().item() == pytest.approx(1 / math.cosh(k * math.acosh(sigma)), rel=1e-6)


@pytest.mark.parametrize("smallest", [0.0, 2.0, -1.0, float("nan")])
def test_an_impossible_interval_is_refused(smallest):
    message = r"Got smallest_eigenvalue=.* Expected a number in \(0, 2\)\. 0\.1 suits"
    with pytest.raises(ValueError, match=message):
        BoundedMomentum(K, smallest_eigenvalue=smallest)


def test_a_system_without_a_majorizer_is_refused_and_guarded_cg_takes_it():
    M = randn(5, 5)
    H = MatrixFree(lambda x: M @ x, lambda y: M.T @ y, 5, 5)
    A, b = LeastSquares(H, randn(5, 1)).system(Laplacian(Graph(path_graph(5), rand(5))))
    with pytest.raises(ValueError, match=r"(?s)Got a system Sum without.*Expected a diag.*Guarded"):
        BoundedMomentum(K)(A, b, torch.zeros_like(b))
    x = GuardedCG(12)(A, b, torch.zeros_like(b))
    torch.testing.assert_close(x, torch.linalg.solve(dense(A), b), rtol=1e-6, atol=1e-8)


# ---- (c) the theorem ------------------------------------------------------------------------


@pytest.mark.parametrize("build", SYSTEMS.values(), ids=SYSTEMS.keys())
def test_no_parameter_moves_the_bounded_solve_away_from_the_solution(build):
    for _ in range(4):
        A, b = build()
        x0 = 10 * randn(HEADS, A.num_inputs, 2)
        check_never_farther(A, b, randomized(BoundedMomentum(K, HEADS)), x0)


def test_the_theorem_with_a_mask_per_channel():
    A, b = mosaic()
    columns = [torch.eye(2, dtype=torch.float64)[c] for c in range(2)]
    for c, pick in enumerate(columns):  # the matrix of the channel alone
        eye = torch.eye(A.num_inputs, dtype=torch.float64)
        matrix = torch.stack(
            [A((e.unsqueeze(-1) * pick).expand(HEADS, -1, -1))[..., c] for e in eye], -1
        )
        exact = exact_solution(matrix, b[..., c : c + 1])
        x0 = randn(HEADS, A.num_inputs, 2)
        at_start = square_energy(matrix, x0[..., c : c + 1] - exact)
        for x in randomized(BoundedMomentum(K, HEADS)).iterates(A, b, x0):
            now = square_energy(matrix, x[..., c : c + 1] - exact)
            assert bool((now <= at_start * (1 + ROUNDING)).all())


@pytest.mark.parametrize("theta", [-200.0, 200.0])
def test_extreme_parameters_still_have_finite_gradients(theta):
    A, b = soft(POINTS)
    solve = BoundedMomentum(K)
    with torch.no_grad():
        solve.theta.fill_(theta)
        solve.psi.copy_(torch.linspace(-200, 200, K - 1))
    x = solve(A, b, torch.zeros_like(b))
    x.square().sum().backward()
    assert bool(torch.isfinite(x).all())
    assert all(bool(torch.isfinite(p.grad).all()) for p in solve.parameters())


# ---- (d) a thousand learned graphs ----------------------------------------------------------


@pytest.mark.parametrize("data_term", [Interpolation, LeastSquares])
def test_a_thousand_learned_graphs_in_float32_stay_finite(data_term):
    count = 0
    for topology, features, learner, H, y in learned_problems(torch.float32):
        solve = BoundedMomentum(K, heads=2)
        inputs = [features.requires_grad_(), y.requires_grad_()]
        graph, data = learner(features, topology), data_term(H, y)
        x = solve(*data.system(GLR(graph).Q), start(data, topology))
        assert bool(torch.isfinite(x).all())
        wanted = [*inputs, *learner.parameters(), *solve.parameters()]
        for gradient in torch.autograd.grad(x.square().sum(), wanted):
            assert bool(torch.isfinite(gradient).all())
        count += graph.weight[..., 0].numel()
    assert count == 1000


@pytest.mark.parametrize("trained", [False, True], ids=["as it starts", "any parameters"])
@pytest.mark.parametrize("data_term", [Interpolation, LeastSquares])
def test_a_thousand_learned_graphs_in_float64_are_never_farther_than_the_start(data_term, trained):
    count, ratios = 0, []
    for topology, features, learner, H, y in learned_problems(torch.float64):
        with torch.no_grad():
            graph, data = learner(features, topology), data_term(H, y)
            A, b = data.system(GLR(graph).Q)
            x0 = start(data, topology).expand(25, 2, -1, -1)
            x0 = x0 + 0.1 * torch.randn_like(x0)  # a start that is exact already would prove little
            solve = BoundedMomentum(K, heads=2).double()
            ratios.append(check_never_farther(A, b, randomized(solve) if trained else solve, x0))
        count += graph.weight[..., 0].numel()
    assert count == 1000
    if not trained:  # it does solve something
        assert torch.cat([r.flatten() for r in ratios]).median() < 0.5


# ---- (e) the published solve ----------------------------------------------------------------


def appendix_a7(matrix, b, x, alpha, beta):
    """The published recursion in NumPy; `beta[k]` is the paper's $\\beta_{k+1}$."""
    g = matrix @ x - b
    v = g
    iterates = []
    for k, a in enumerate(alpha):
        x = x - a * v
        iterates.append(x)
        if k + 1 < len(alpha):
            g = g - a * (matrix @ v)
            v = g + beta[k] * v
    return iterates


def test_heavy_ball_is_appendix_a7():
    H, C = SamplingMask(rand(16) < 0.3), Incidence(random_graph(IMAGE, 1).normalized("row"))
    A, b = C.gram + H.gram, randn(1, 16, 2)
    solve = HeavyBall(K).double()
    with torch.no_grad():
        solve.alpha.uniform_(0.1, 0.6)
        solve.beta.uniform_(0, 0.5)
    x0 = randn(1, 16, 2)
    coefficients = (p.detach().numpy() for p in (solve.alpha, solve.beta))
    wanted = appendix_a7(dense(A, (1,))[0].numpy(), b[0].numpy(), x0[0].numpy(), *coefficients)
    given = list(solve.iterates(A, b, x0))
    assert len(given) == len(wanted) == K
    for x, reference in zip(given, wanted, strict=True):
        np.testing.assert_allclose(x[0].detach().numpy(), reference, rtol=0, atol=1e-12)


def test_heavy_ball_converges_exactly_where_the_theory_says():
    # 0 < alpha lambda < 2 (1 + beta): at the published start, lambda below 5.2
    eigenvalues = torch.tensor([[0.1], [2.0], [5.1], [5.3], [17.0]], dtype=torch.float64)
    ones = torch.ones(5, 1, dtype=torch.float64)
    error = HeavyBall(300).double()(Diagonal(eigenvalues), torch.zeros_like(ones), ones).abs()
    assert bool((error[:3] < 1e-2).all())
    assert error[3] > 1e3
    assert error[4] > 1e100


def hub():
    """A pixel that all 24 others of its window resemble, while they differ from each other."""
    star = EdgeList(torch.stack([torch.zeros(24, dtype=torch.int64), torch.arange(1, 25)]), 25)
    return Graph(star, torch.ones(24, dtype=torch.float64)).normalized("row")


def sharp_features():
    topology = grid_graph((16, 16), window=5)
    learner = MahalanobisLearner(12, init=1.2, normalization="row").double()
    with torch.no_grad():
        return learner(randn(256, 12), topology)


@pytest.mark.parametrize(("graph", "factor"), [(hub, 1e10), (sharp_features, 100)])
def test_heavy_ball_diverges_on_learned_weights_and_the_default_does_not(graph, factor):
    C = Incidence(graph())
    A = C.gram + SamplingMask(torch.arange(C.num_inputs) % 4 == 0)
    matrix = dense(A)
    eigenvalues, modes = torch.linalg.eigh(matrix)
    assert eigenvalues[-1] > 6
    x0, b = modes[:, -1:], torch.zeros(C.num_inputs, 1, dtype=torch.float64)
    assert HeavyBall(K).double()(A, b, x0).norm() > factor * x0.norm()
    check_never_farther(A, b, BoundedMomentum(K).double(), x0)


# ---- (f) the unrolled solve is plain conjugate gradients ------------------------------------


class Fed(LearnedSolve):
    """A learned solve with given coefficients and the plain solver's preconditioner."""

    def __init__(self, alpha, beta):
        super().__init__(len(alpha))
        self.fed = alpha, beta

    def coefficients(self):
        return self.fed

    def scaling(self, A):
        return A.diagonal()


def plain_run(A, b, x0, steps, preconditioner):
    """Iterates of plain CG, and the exact step sizes and momenta by their textbook formulas."""
    systems = A.systems
    state = cg_start(A, b, x0, preconditioner, systems)
    iterates, alpha, beta = [], [], []
    for _ in range(steps):
        _, r, p, *_ = state
        Ap, rp = A(p), systems.inner(r, p)
        alpha.append(systems.spread(rp / systems.inner(p, Ap)))
        r = r - alpha[-1] * Ap
        beta.append(systems.spread(systems.inner(r, preconditioner(r)) / rp))
        state = cg_step(A, state, systems=systems, preconditioner=preconditioner)
        iterates.append(state.x)
    return iterates, alpha, beta


def batched_system():
    batch = torch.arange(24) // 8
    topology = knn_graph(cloud(24), 3, batch=batch)
    data = LeastSquares(SamplingMask(rand(24, 3) < 0.5), randn(4, 24, 3))
    return data.system(GLR(Graph(topology, rand(4, topology.num_edges)), 0.7).Q)


SMALL = {
    "soft, points": lambda: soft(POINTS),
    "hard, image": lambda: hard(IMAGE),
    "both directions, squared": lambda: squared(IMAGE),
    "batch of graphs": batched_system,
}


@pytest.mark.parametrize("build", SMALL.values(), ids=SMALL.keys())
def test_fed_the_coefficients_of_plain_cg_the_unrolled_solve_is_plain_cg(build):
    A, b = build()
    x0, steps = randn(*b.shape), 4
    plain, alpha, beta = plain_run(A, b, x0, steps, jacobi(A.diagonal()))
    fed = list(Fed(alpha, beta[:-1]).iterates(A, b, x0))
    assert all(torch.equal(x, y) for x, y in zip(fed, plain, strict=True))
    solver = ConjugateGradient(rtol=1e-14, max_steps=steps)
    assert torch.equal(fed[-1], solver.solve(A, b, x0).x)
    assert not torch.equal(fed[-1], fed[-2])


def test_heavy_ball_with_the_parameters_of_plain_cg_is_plain_cg():
    A = Laplacian(Graph(POINTS, rand(POINTS.num_edges))) + SamplingMask(rand(14) < 0.3)
    b, x0, steps = randn(14, 1), randn(14, 1), 6
    plain, alpha, beta = plain_run(A, b, x0, steps, jacobi(None))
    solve = HeavyBall(steps).double()
    with torch.no_grad():
        solve.alpha.copy_(torch.cat(alpha).flatten())
        solve.beta.copy_(torch.cat(beta).flatten())
    unrolled = list(solve.iterates(A, b, x0))
    assert all(torch.equal(x, y) for x, y in zip(unrolled, plain, strict=True))


@pytest.mark.parametrize("build", SMALL.values(), ids=SMALL.keys())
def test_guarded_cg_is_plain_cg(build):
    A, b = build()
    x0 = randn(*b.shape)
    plain, *_ = plain_run(A, b, x0, 5, jacobi(A.diagonal()))
    guarded = list(GuardedCG(5).iterates(A, b, x0))
    assert all(torch.equal(x, y) for x, y in zip(guarded, plain, strict=True))


@pytest.mark.parametrize("build", SMALL.values(), ids=SMALL.keys())
def test_guarded_cg_solves(build):
    A, b = build()
    x = GuardedCG(60)(A, b, torch.zeros_like(b))
    assert ((A(x) - b).norm() / b.norm()).item() < 1e-8


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("case", ["converged long ago", "zero", "starts at the solution"])
def test_guarded_cg_stays_finite_after_convergence(case, dtype):
    w = rand(POINTS.num_edges).to(dtype).requires_grad_()
    b = torch.zeros(14, 2, dtype=dtype) if case == "zero" else randn(14, 2).to(dtype)
    x0 = torch.zeros_like(b)
    A = Laplacian(Graph.unchecked(POINTS, w)) + SamplingMask(torch.arange(14) % 3 == 0)
    if case == "starts at the solution":
        x0 = torch.ones_like(b)
        b = A(x0).detach()
    b.requires_grad_()
    x = GuardedCG(80)(A, b, x0)
    gradients = torch.autograd.grad(x.square().sum() + x.sum(), (w, b), create_graph=True)
    second = torch.autograd.grad(sum(g.square().sum() for g in gradients), (w, b))
    for values in (x, *gradients, *second):
        assert bool(torch.isfinite(values).all())
    if case == "converged long ago":  # and the gradient is that of the solution
        matrix = A(torch.eye(14, dtype=dtype))
        exact = torch.linalg.solve(matrix, b)
        wanted = torch.autograd.grad(exact.square().sum() + exact.sum(), (w, b))
        for given, reference in zip(gradients, wanted, strict=True):
            tolerance = 1e-3 if dtype is torch.float32 else 1e-8
            torch.testing.assert_close(given, reference, rtol=tolerance, atol=tolerance)


# ---- every system on its own ----------------------------------------------------------------


def solves(heads=None):
    return {kind.__name__: kind(5, heads) for kind in (BoundedMomentum, HeavyBall, GuardedCG)}


@pytest.mark.parametrize("name", solves())
def test_channels_and_batch_alone(name):
    solve, H = solves()[name].double(), SamplingMask(rand(3, 16, 2) < 0.4)
    graph, y, x0 = random_graph(IMAGE, 3), randn(3, 16, 2), randn(3, 16, 2)
    x = solve(*LeastSquares(H, y).system(GLR(graph).Q), x0)
    for i, c in product(range(3), range(2)):
        one = SamplingMask(H.mask[i, :, c : c + 1])
        data = LeastSquares(one, y[i, :, c : c + 1])
        alone = solve(*data.system(GLR(Graph(IMAGE, graph.weight[i])).Q), x0[i, :, c : c + 1])
        torch.testing.assert_close(x[i, :, c : c + 1], alone, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", solves())
def test_graphs_of_a_batch_alone(name):
    solve = solves()[name].double()
    batch = torch.tensor([0, 1, 0, 1, 1, 0, 2, 1])  # interleaved; graph 2 is a single node
    topology = EdgeList(torch.tensor([[0, 5, 1, 3, 7], [2, 2, 4, 4, 1]]), 8, batch)
    w, y, x0, mask = rand(5), randn(8, 2), randn(8, 2), rand(8) < 0.5
    A, b = LeastSquares(SamplingMask(mask), y).system(GLR(Graph(topology, w)).Q)
    x = solve(A, b, x0)
    number = torch.full((8,), -1)
    for g in range(3):
        nodes = (batch == g).nonzero().flatten()
        number[nodes] = torch.arange(len(nodes))
        kept = batch[topology.edge_index[0]] == g
        alone = EdgeList(number[topology.edge_index[:, kept]], len(nodes))
        data = LeastSquares(SamplingMask(mask[nodes]), y[nodes])
        A, b = data.system(GLR(Graph(alone, w[kept])).Q)
        torch.testing.assert_close(x[nodes], solve(A, b, x0[nodes]), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", solves())
def test_heads_alone(name):
    solve, alone = solves(HEADS)[name].double(), solves()[name].double()
    with torch.no_grad():
        for parameter in solve.parameters():
            parameter.uniform_(-0.5, 0.5)
    A, b = soft(IMAGE)
    x0 = randn(HEADS, 16, 2)
    x = solve(A, b, x0)
    for h in (0, 7):
        alone.load_state_dict({k: v[..., h] for k, v in solve.state_dict().items()})
        # heads the solve does not know of are a batch to it
        torch.testing.assert_close(x[h], alone(A, b, x0)[h], rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", [BoundedMomentum, HeavyBall, GuardedCG])
def test_counts(kind):
    assert len(list(kind(1).double().iterates(Diagonal(rand(3, 1)), randn(3, 1), randn(3, 1)))) == 1
    for bad in (0, -1, 2.0, True):
        message = "(?s)Got {}=.*Expected a whole number of at least 1.*Set {} to 1 or more"
        with pytest.raises(ValueError, match=message.format("cg_steps", "cg_steps")):
            kind(bad)
        with pytest.raises(ValueError, match=message.format("heads", "heads")):
            kind(3, bad)


def test_one_system_serves_glr_and_gtv():
    # with the penalty per edge, GTV's linear system is the matrix that GLR uses
    graph, data = Graph(POINTS, rand(POINTS.num_edges)), LeastSquares(Identity(), randn(14, 1))
    A, _ = data.system(GLR(graph, 0.3).Q)
    B, _ = data.system(GTV(graph).normal.scaled(0.3))
    x = randn(14, 1)
    assert torch.equal(A(x), B(x))
