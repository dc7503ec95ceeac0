"""The race of total variations to a given distance from the optimum, on any graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import scipy.sparse as sp
from _peers import CHOLMOD
from _problems import TotalVariation
from _race import OURS, Candidate, Race, fewest_steps, loosest, need

TITLE = "to 3e-4 of the signal's deviation"
GOAL = 3e-4
FACTORED = "ADMM with one factorisation of CHOLMOD"
FACTORED_SCIPY = "ADMM with one factorisation of SciPy (SuperLU)"
OSQP = "OSQP, setup included"
DUAL = "accelerated dual projection, SciPy, float32"
DUAL_DOUBLE = "accelerated dual projection, SciPy, float64"


def factored_admm(
    problem: TotalVariation, factorise: Callable[[Any], Callable[[Any], Any]]
) -> Callable[[int, float, float], Any]:
    r"""ADMM split in the metric of the weights, as ours, with an exact linear solve in float64."""
    y, C = problem.observation, problem.incidence
    w = abs(C).max(1).toarray().reshape(-1)
    grad = (sp.diags(1 / w) @ C).tocsr()
    back = C.T.tocsr()  # div(w .)

    def run(steps: int, rho: float, relaxation: float) -> Any:
        solve = factorise((sp.identity(y.size) + rho * (back @ grad)).tocsc())
        threshold = problem.lam / rho
        x, z, u = y, grad @ y, np.zeros(C.shape[0])
        for _ in range(steps):
            v = relaxation * (grad @ x) + (1 - relaxation) * z + u
            u = np.clip(v, -threshold, threshold)
            z = v - u
            x = solve(y + rho * (back @ (z - u)))
        return x

    return run


def race(problem: TotalVariation, settings: Mapping[str, Any]) -> Race:
    """Every method at its fewest steps, or loosest tolerance, that reaches `GOAL`; ours is ADMM
    with `settings`."""

    def in_steps(run: Callable[[int], Any], note: str = "") -> Candidate:
        steps, error = fewest_steps(run, problem.error, GOAL)
        return Candidate(lambda: run(steps), f"{steps} steps{note}, error {error:.1e}")

    def factored(factorise: Callable[[Any], Callable[[Any], Any]]) -> Candidate:
        """With the penalty and relaxation that need the fewest steps."""
        run, found = factored_admm(problem, factorise), []
        for rho in (0.15, 0.25, 0.4, 0.6):
            for relaxation in (1.0, 1.8, 1.95):
                steps, _ = fewest_steps(
                    lambda n, r=rho, a=relaxation: run(n, r, a), problem.error, GOAL
                )
                found.append((steps, rho, relaxation))
        _, rho, relaxation = min(found)
        return in_steps(
            lambda n: run(n, rho, relaxation), f" of rho {rho:g}, relaxation {relaxation:g}"
        )

    def cholmod() -> Candidate:
        return factored(need("sksparse.cholmod", CHOLMOD).cholesky)

    def superlu() -> Candidate:
        return factored(lambda A: sp.linalg.splu(A, permc_spec="MMD_AT_PLUS_A").solve)

    def osqp() -> Candidate:
        """min 0.5 |x - y|^2 + lam 1't with -t <= D x <= t."""
        module = need("osqp", "pip install osqp")
        D, y = problem.incidence, problem.observation
        edges, nodes = D.shape
        P = sp.block_diag([sp.identity(nodes), sp.csc_matrix((edges, edges))]).tocsc()
        q = np.r_[-y, np.full(edges, problem.lam)]
        unit, far = sp.identity(edges), np.full(edges, np.inf)
        A = sp.vstack([sp.hstack([D, -unit]), sp.hstack([D, unit])]).tocsc()
        low, high = np.r_[-far, np.zeros(edges)], np.r_[np.zeros(edges), far]

        def solve(tolerance: float) -> Any:
            solver = module.OSQP()
            accuracy = {"eps_abs": tolerance, "eps_rel": tolerance, "max_iter": 20000}
            solver.setup(P, q, A, low, high, verbose=False, **accuracy)
            return solver.solve().x[:nodes]

        tolerances = [1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5]
        tolerance, error = loosest(tolerances, solve, problem.error, GOAL)
        return Candidate(lambda: solve(tolerance), f"eps {tolerance:g}, error {error:.1e}")

    entries = {
        OURS: lambda: in_steps(lambda n: problem.solve(n, **settings)),
        DUAL: lambda: in_steps(problem.dual_projection(np.float32)),
        DUAL_DOUBLE: lambda: in_steps(problem.dual_projection(np.float64)),
        FACTORED: cholmod,
        FACTORED_SCIPY: superlu,
        OSQP: osqp,
    }
    return Race(entries)
