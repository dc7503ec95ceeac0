"""How far an unrolled solve looks."""

from __future__ import annotations

from torch import nn

from .._checks import mistake
from ..features import Reach
from ..learners import GraphLearner


def reach_of_solve(learner: GraphLearner, solver: nn.Module, radius: int) -> Reach:
    """How far a solved value depends on the features that its graph is drawn on."""
    hops = num_products(solver) + learner.hops
    if getattr(solver, "normalization", "none") == "sym" or _edges_per_product(solver) != 1:
        hops += 1  # the Laplacian is scaled once more, by the degrees of the graph
    return Reach(hops * radius)


def num_products(solver: nn.Module) -> int:
    """Products with the Laplacian, one after another, in an unrolled solver; a product with a
    matrix that spans several edges counts as so many.

    The right-hand side of an ADMM iteration takes one gradient and one divergence, no further than
    the product that makes the first residual: an iteration of `cg_steps` reaches that many edges.

    Raises:
        ValueError: a solve whose steps depend on inner products, or of another kind.
    """
    solves = getattr(solver, "linear_solves", None) or [getattr(solver, "linear_solve", None)]
    edges = _edges_per_product(solver)
    if edges is None or any(not hasattr(solve, "coefficients") for solve in solves):
        raise mistake(
            f"a {type(solver).__name__} as solver",
            "an unrolled solver whose number of products is known",
            "Use GLRUnroll, GTVUnroll, VectorGTVUnroll or GTVLinearProgramUnroll.",
        )
    if any(alpha is None for solve in solves for alpha in solve.coefficients()[0]):
        raise mistake(
            f"a {type(solver).__name__} whose steps come from inner products over the whole image",
            "coefficients that are the same for every crop",
            "Use BoundedMomentum, the default, or HeavyBall as its linear solve.",
        )
    steps: int = sum(solve.cg_steps for solve in solves)
    return edges * steps


def _edges_per_product(solver: nn.Module) -> int | None:
    """How many edges a product in a linear solve of `solver` moves a value; None if not known."""
    edges: int | None = getattr(solver, "edges_per_product", 1)
    return edges
