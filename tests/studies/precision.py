r"""What float32 costs: its error against float64, over the number of nodes and the conditioning.

GLR denoising, $(I+\mu L)x=y$ on a lattice with weights from 0.1 to 1.1, solved by conjugate
gradients with their default tolerance in float32 and to 1e-13 in float64; the system's condition
number is about $1+8\mu$. Then unrolled layers of fixed length at their initial values, and the
duality gap of a total variation. An error is the largest difference over the largest value.

Run `python -m tests.studies.precision`; it writes the tables of `docs/explanation/trust.md`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gsp_unroll import (
    ADMM,
    GLR,
    GTV,
    ConjugateGradient,
    DampedJacobi,
    GLRUnroll,
    Graph,
    GTVUnroll,
    Identity,
    LeastSquares,
    Problem,
    VectorGTVUnroll,
    grid_graph,
)
from gsp_unroll._tables import markdown_table

SIDES = (10, 32, 100, 316)
MUS = (1e-2, 1.0, 1e2, 1e4)
#: Layers of the second table.
LAYERS = {
    r"`GLRUnroll`, 10 steps, $\mu$ = 1": lambda: GLRUnroll(10, mu=1.0),
    r"`GLRUnroll`, 100 steps, $\mu$ = 100": lambda: GLRUnroll(100, mu=100.0),
    "`GTVUnroll`, 5 x 10": lambda: GTVUnroll(5, 10, rho=1.0),
    "`GTVUnroll`, 50 x 10": lambda: GTVUnroll(50, 10, rho=1.0),
    "`VectorGTVUnroll`, 5 x 10": lambda: VectorGTVUnroll(5, 10, rho=1.0),
}


def scene(side: int, dtype: torch.dtype) -> tuple[Graph, Tensor]:
    """Weights and a noisy step of two channels, the same in both types."""
    topology = grid_graph((side, side), window=3)
    draw = torch.Generator().manual_seed(side)
    w = 0.1 + torch.rand(topology.num_edges, generator=draw)
    y = (torch.arange(side * side) % side >= side // 2).float().unsqueeze(-1)
    y = y + 0.2 * torch.randn(side * side, 2, generator=draw)
    return Graph(topology, w.to(dtype)), y.to(dtype)


def error(single: Tensor, double: Tensor) -> float:
    return float((single.double() - double).abs().max() / double.abs().max())


def of_solve(side: int, mu: float) -> tuple[float, str]:
    """The error of a converged solve, and its status in float32."""
    found = []
    for dtype, rtol in ((torch.float32, 1e-8), (torch.float64, 1e-13)):
        graph, y = scene(side, dtype)
        A, b = Problem(LeastSquares(Identity(), y), GLR(graph, mu)).system()
        found.append(ConjugateGradient(rtol, max_steps=20000).solve(A, b))
    return error(found[0].x, found[1].x), found[0].status.name


def of_layer(side: int, name: str) -> float:
    found = []
    for dtype in (torch.float32, torch.float64):
        graph, y = scene(side, dtype)
        with torch.no_grad():
            found.append(LAYERS[name]().to(dtype)(LeastSquares(Identity(), y), graph))
    return error(*found)


def of_gap(side: int) -> float:
    """How far the gap in float32 is off, over the objective, at a result that is nearly optimal."""
    found = []
    graph, y = scene(side, torch.float64)
    x = (
        ADMM(rtol=1e-3, linear_solver=DampedJacobi(3))
        .solve(Problem(LeastSquares(Identity(), y), GTV(graph, 0.1)))
        .x
    )
    p = 0.1 * torch.randn(graph.topology.num_edges, 2, dtype=torch.float64)
    for dtype in (torch.float32, torch.float64):
        graph, y = scene(side, dtype)
        problem = Problem(LeastSquares(Identity(), y), GTV(graph, 0.1))
        found.append(problem.duality_gap(x.to(dtype), p.to(dtype)))
    objective = problem.objective(x)
    return float(((found[0].double() - found[1]) / objective).abs().max())


def main() -> None:
    torch.manual_seed(0)
    names = ["nodes", *(f"$\\mu$ = {mu:g}" for mu in MUS)]
    rows = [[f"{n * n}", *(f"{of_solve(n, mu)[0]:.0e}" for mu in MUS)] for n in SIDES]
    print(markdown_table(names, rows, [True] * len(names)))
    names = ["nodes", *LAYERS, "gap of GTV over its objective"]
    rows = [
        [f"{n * n}", *(f"{of_layer(n, name):.0e}" for name in LAYERS), f"{of_gap(n):.0e}"]
        for n in SIDES
    ]
    print(markdown_table(names, rows, [True] * len(names)))


if __name__ == "__main__":
    main()
