r"""Do gradients agree? Unrolled, implicit and by finite differences, against the exact derivative.

Two problems have a derivative in closed form. GLR is a linear system: that of a dense solve. GTV is
linear while no plateau splits or merges: each plateau $P$ of the solution has the value

$$x_P=\frac1{|P|}\Bigl(\sum_{i\in P}y_i-\lambda\sum_{e\in\partial P}\pm w_e\Bigr).$$

What is compared is the gradient of a random linear function of the solution by the observation, all
edge weights and the weight of the prior, in float64. The disagreement is the norm of the difference
over that of the exact gradient; the worst of several graphs is given.

Run `python -m tests.studies.gradients`; it writes the tables of `docs/explanation/trust.md`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from gsp_unroll import (
    ADMM,
    GLR,
    GTV,
    BoundedMomentum,
    ConjugateGradient,
    GLRUnroll,
    Graph,
    GTVUnroll,
    GuardedCG,
    Identity,
    LeastSquares,
    Problem,
    SamplingMask,
    Topology,
    grid_graph,
    knn_graph,
    path_graph,
)
from gsp_unroll._tables import markdown_table
from gsp_unroll.testing import dense_matrix

#: `(y, w, strength) -> x`
Solve = Callable[[Tensor, Tensor, Tensor], Tensor]

TOPOLOGIES = {
    "grid": grid_graph((4, 5)),
    "points": knn_graph(torch.rand(20, 2, generator=torch.Generator().manual_seed(3)), 3),
    "path": path_graph(20, lags=2),
}


def inputs_on(topology: Topology, strength: float, seed: int = 0) -> tuple[Tensor, ...]:
    """A noisy step, weights, and the weight of the prior."""
    draw = torch.Generator().manual_seed(seed)
    n = topology.num_nodes
    y = (torch.arange(n) >= n // 2).double().unsqueeze(-1)
    y = y + 0.3 * torch.randn(n, 1, generator=draw, dtype=torch.float64)
    w = topology.mask_edges(
        0.5 + torch.rand(topology.num_edges, generator=draw, dtype=torch.float64)
    )
    return y, w, torch.tensor(strength, dtype=torch.float64)


def gradient(solve: Solve, inputs: tuple[Tensor, ...], seed: int = 1) -> Tensor:
    """Of a random linear function of the solution, by all inputs in one vector."""
    leaves = [t.detach().clone().requires_grad_() for t in inputs]
    x = solve(*leaves)
    c = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed), dtype=x.dtype)
    found = torch.autograd.grad((c * x).sum(), leaves)
    return torch.cat([g.flatten() for g in found])


def by_differences(
    solve: Solve, inputs: tuple[Tensor, ...], ways: Tensor | None = None, h: float = 1e-5
) -> Tensor:
    """The products of the same gradient with some directions, by default all axes, by central
    differences of fourth order."""
    sizes = [t.numel() for t in inputs]
    flat = torch.cat([t.flatten() for t in inputs])
    x = solve(*inputs)
    c = torch.randn(x.shape, generator=torch.Generator().manual_seed(1), dtype=x.dtype)

    def value(v: Tensor) -> Tensor:
        parts = v.split(sizes)
        return (c * solve(*(p.view(t.shape) for p, t in zip(parts, inputs, strict=True)))).sum()

    def slope(way: Tensor) -> Tensor:
        near = value(flat + h * way) - value(flat - h * way)
        far = value(flat + 2 * h * way) - value(flat - 2 * h * way)
        return (8 * near - far) / (12 * h)

    with torch.no_grad():
        axes = torch.eye(len(flat), dtype=flat.dtype)
        return torch.stack([slope(way) for way in (axes if ways is None else ways)])


def disagreement(found: Tensor, exact: Tensor) -> float:
    return float((found - exact).norm() / exact.norm())


# ---- GLR ------------------------------------------------------------------------------------

MU = 2.0


def glr_problem(topology: Topology, y: Tensor, w: Tensor, mu: Tensor) -> Problem:
    mask = torch.arange(topology.num_nodes).unsqueeze(-1) % 3 > 0
    graph = Graph.unchecked(topology, topology.mask_edges(w))
    return Problem(LeastSquares.unchecked(SamplingMask(mask), y), GLR(graph, mu))


def glr_exact(topology: Topology) -> Solve:
    def solve(y: Tensor, w: Tensor, mu: Tensor) -> Tensor:
        A, b = glr_problem(topology, y, w, mu).system()
        return torch.linalg.solve(dense_matrix(A, topology.num_nodes), b)

    return solve


def glr_solved(topology: Topology, solver: ConjugateGradient) -> Solve:
    return lambda y, w, mu: solver.solve(*glr_problem(topology, y, w, mu).system()).x


def glr_layer(topology: Topology, steps: int, kind: type) -> Solve:
    layer = GLRUnroll(steps, mu=MU, solver=kind).double()

    def solve(y: Tensor, w: Tensor, mu: Tensor) -> Tensor:
        problem = glr_problem(topology, y, w, mu)
        given = {name: p.detach() for name, p in layer.named_parameters()} | {
            "log_mu": mu.log().reshape(1)
        }
        arguments = problem.data, problem.prior.graph
        result: Tensor = torch.func.functional_call(layer, given, arguments)
        return result

    return solve


# ---- GTV ------------------------------------------------------------------------------------

LAM = 0.15


def gtv_problem(topology: Topology, y: Tensor, w: Tensor, lam: Tensor) -> Problem:
    graph = Graph.unchecked(topology, topology.mask_edges(w))
    return Problem(LeastSquares.unchecked(Identity(), y), GTV(graph, lam))


def gtv_exact(topology: Topology, inputs: tuple[Tensor, ...]) -> Solve:
    """Plateaus and the signs of jumps are those at `inputs`, and held fixed."""
    with torch.no_grad():
        x = ADMM(rho=1.0, rtol=1e-14).solve(gtv_problem(topology, *inputs)).x
    tail, head = topology.edge_index[:, topology.edge_mask]
    jump = x[head, 0] - x[tail, 0]
    # no jump is so low that a plateau could be mistaken
    flat = jump.abs() < 1e-4
    assert not bool(((jump.abs() > 1e-5) & (jump.abs() < 1e-3)).any()), "no smooth point"
    plateau = torch.arange(len(x))
    for _ in range(len(x)):
        low = torch.minimum(plateau[tail[flat]], plateau[head[flat]])
        plateau = plateau.scatter_reduce(0, tail[flat], low, "amin")
        plateau = plateau.scatter_reduce(0, head[flat], low, "amin")
    member = torch.nn.functional.one_hot(plateau, len(x)).double()
    size = member.sum(0).clamp(min=1)

    def solve(y: Tensor, w: Tensor, lam: Tensor) -> Tensor:
        w = w[topology.edge_mask]
        pull = torch.zeros_like(y[:, 0])
        pull = pull.index_add(0, head[~flat], (w * jump.sign())[~flat])
        pull = pull.index_add(0, tail[~flat], -(w * jump.sign())[~flat])
        return (member @ (member.T @ (y[:, 0] - lam * pull) / size)).unsqueeze(-1)

    return solve


def gtv_solved(topology: Topology, steps: int, inner: ConjugateGradient) -> Solve:
    # a tolerance that is never met: all steps are taken
    solver = ADMM(rho=1.0, rtol=1e-300, max_steps=steps, check_every=steps, linear_solver=inner)
    return lambda y, w, lam: solver.solve(gtv_problem(topology, y, w, lam)).x


def gtv_layer(topology: Topology, iterations: int, kind: type = GuardedCG) -> Solve:
    layer = GTVUnroll(iterations, 12, lam=LAM, rho=1.0, solver=kind).double()

    def solve(y: Tensor, w: Tensor, lam: Tensor) -> Tensor:
        problem = gtv_problem(topology, y, w, lam)
        given = {name: p.detach() for name, p in layer.named_parameters()}
        given |= {"log_lam": lam.log().expand(iterations)}
        arguments = problem.data, problem.prior.graph
        result: Tensor = torch.func.functional_call(layer, given, arguments)
        return result

    return solve


# ---- the tables -----------------------------------------------------------------------------

DEPTHS = (5, 10, 20, 40)
ITERATIONS = (10, 50, 200, 500)
TOLERANCES = (1e-2, 1e-4, 1e-6, 1e-8, 1e-10, 1e-12)


def worst(strength: float, exact: Callable[..., Solve], solve: Callable[..., Solve]) -> float:
    """Over the graphs."""
    found = []
    for topology in TOPOLOGIES.values():
        inputs = inputs_on(topology, strength)
        reference = gradient(exact(topology, inputs), inputs)
        found.append(disagreement(gradient(solve(topology), inputs), reference))
    return max(found)


def show(rows: dict[str, list[float]], *names: str) -> None:
    """A table of disagreements; each row begins with its name."""
    cells = [[name, *(f"{value:.0e}" for value in row)] for name, row in rows.items()]
    print(markdown_table(names, cells, [True] * len(names)))


def main() -> None:
    def exact_glr(topology: Topology, inputs: tuple[Tensor, ...]) -> Solve:
        return glr_exact(topology)

    rows = {}
    for k in DEPTHS:
        rows[f"{k}"] = [
            worst(MU, exact_glr, lambda t, k=k: glr_solved(t, ConjugateGradient(1e-15, k))),
            worst(MU, exact_glr, lambda t, k=k: glr_layer(t, k, GuardedCG)),
            worst(MU, exact_glr, lambda t, k=k: glr_layer(t, k, BoundedMomentum)),
        ]
    show(rows, "steps of the solve", "CG, unrolled", "`GLRUnroll`, guarded CG", "bounded momentum")

    rows = {}
    for rtol in TOLERANCES:
        rows[f"{rtol:.0e}"] = [
            worst(
                MU,
                exact_glr,
                lambda t, r=rtol, kind=kind: glr_solved(t, ConjugateGradient(r, gradient=kind)),
            )
            for kind in ("implicit", "unrolled")
        ]
    show(rows, "tolerance of the solve", "implicit", "unrolled")

    rows = {}
    for iterations in ITERATIONS:
        row = [
            worst(
                LAM,
                gtv_exact,
                lambda t, n=iterations, kind=kind: gtv_solved(
                    t, n, ConjugateGradient(1e-13, gradient=kind)
                ),
            )
            for kind in ("unrolled", "implicit")
        ]
        for kind in (GuardedCG, BoundedMomentum):
            row.append(worst(LAM, gtv_exact, lambda t, n=iterations, k=kind: gtv_layer(t, n, k)))
        rows[f"{iterations}"] = row
    solvers = "ADMM, inner solves unrolled", "inner solves implicit"
    show(rows, "iterations", *solvers, "`GTVUnroll`, guarded CG", "bounded momentum")

    differences = []
    for topology in TOPOLOGIES.values():
        inputs = inputs_on(topology, MU)
        found = by_differences(glr_solved(topology, ConjugateGradient(1e-15)), inputs)
        differences.append(disagreement(found, gradient(glr_exact(topology), inputs)))
    print(f"GLR, finite differences of the converged solve: {max(differences):.0e}")
    differences = []
    for topology in TOPOLOGIES.values():
        inputs = inputs_on(topology, LAM)
        solve = gtv_solved(topology, 400, ConjugateGradient(1e-14))
        exact = gradient(gtv_exact(topology, inputs), inputs)
        draw = torch.Generator().manual_seed(2)
        ways = torch.randn(3, len(exact), generator=draw, dtype=exact.dtype)
        differences.append(disagreement(by_differences(solve, inputs, ways), ways @ exact))
    print(f"GTV, finite differences of the converged solve: {max(differences):.0e}")


if __name__ == "__main__":
    main()
