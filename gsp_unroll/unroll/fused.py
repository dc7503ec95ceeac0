"""Hands a whole unrolled solve to one kernel, where there is one for it.

A kernel knows the two data terms through a mask, the three priors of the library and the two solves
with given coefficients, each by its exact class: a subclass may mean something else, so its steps
run as they are written. What a kernel computes is what `readable` computes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from .._typing import Signal
from ..graph import Graph, Topology
from ..kernels.block import Block, Norm, solve
from ..operators import LinearOperator, SamplingMask
from ..problems import GLR, GTV, DataTerm, GraphPrior, Interpolation, LeastSquares, VectorGTV
from ..problems.priors import Prior
from ..solvers import admm_start, admm_step
from .linear_solve import BoundedMomentum, HeavyBall, LearnedSolve

HARD: dict[type[DataTerm], bool] = {LeastSquares: False, Interpolation: True}
NORM: dict[type[Prior], Norm] = {GLR: "none", GTV: "l1", VectorGTV: "l2"}
SCALED: dict[type[nn.Module], bool] = {BoundedMomentum: True, HeavyBall: False}


def fused(
    data: DataTerm,
    x0: Signal,
    priors: Sequence[Prior],
    rhos: Sequence[float | Tensor],
    linear_solves: Iterable[nn.Module],
    heads: int | None,
) -> Signal | None:
    """The result of ADMM with these priors, penalties and solves, one of each per iteration, or of
    the one solve of a GLR; None where no kernel computes it.

    Args:
        data: the data term.
        x0: feasible start.
        priors: the prior of each iteration.
        rhos: its penalty; not read for GLR.
        linear_solves: its linear solve.
        heads: length of the head axis, or None.
    """
    solves = list(linear_solves)
    prior, kinds = priors[0], {type(s) for s in solves}
    known = type(data) in HARD and type(prior) in NORM and len(kinds) == 1 and kinds <= set(SCALED)
    if not known or data.observed is None:
        return None
    assert isinstance(prior, GraphPrior)
    same = all(type(p) is type(prior) and p.graph is prior.graph for p in priors)
    if not same or getattr(prior, "normalization", "none") != "none":
        return None
    graph, plan = prior.graph, prior.graph.topology.plan
    if plan is None:
        return None
    steps = [_by_set(s, heads, graph.weight) for s in solves if isinstance(s, LearnedSolve)]
    strengths = [_per_set(p.strength, heads, graph.weight) for p in priors]
    penalties = [_per_set(rho, heads, graph.weight) for rho in rhos]
    if any(v is None for v in (*strengths, *penalties)):
        return None
    lam, penalty = torch.stack(strengths, -1), torch.stack(penalties, -1)  # type: ignore[arg-type]
    if type(prior) is GLR:
        penalty = lam
    w = graph.weight
    if heads is not None:
        w = w.expand(*torch.broadcast_shapes(w.shape[:-1], (heads,)), w.shape[-1])
    mask = data.observed
    block = Block(
        plan=plan,
        norm=NORM[type(prior)],
        hard=HARD[type(data)],
        scaled=SCALED[kinds.pop()],
        x=x0,
        y=data.backprojected,
        mask=mask.to(x0.dtype).expand(*mask.shape[:-2], *x0.shape[-2:]),
        w=w,
        tau=lam / penalty,
        rho=penalty,
        ratio=torch.cat([penalty[:, :1], penalty[:, :-1]], -1) / penalty,
        alpha=torch.stack([alpha for alpha, _ in steps], 1),
        beta=torch.stack([beta for _, beta in steps], 1),
    )
    return solve(block, partial(readable, graph.topology))


def readable(topology: Topology, block: Block) -> Signal:
    """What a block computes, by the steps of the library."""
    data = (Interpolation if block.hard else LeastSquares).unchecked(
        SamplingMask(block.mask > 0), block.y
    )
    graph = Graph.unchecked(topology, block.w)
    rho, lam, ratio = (_as_factors(v) for v in (block.rho, block.tau * block.rho, block.ratio))
    solves = [
        _Given(_as_factors(alpha), _as_factors(beta), block.scaled)
        for alpha, beta in zip(block.alpha.unbind(1), block.beta.unbind(1), strict=True)
    ]
    if block.norm == "none":
        x: Signal = solves[0](*data.system(GLR(graph, rho[0]).Q), block.x)
        return x
    kind = GTV if block.norm == "l1" else VectorGTV
    state = admm_start(kind(graph, lam[0]), block.x)
    for t, linear_solve in enumerate(solves):
        state = state._replace(u=state.u * ratio[t])
        state = admm_step(data, kind(graph, lam[t]), state, rho[t], linear_solve)
    return state.x


class _Given(LearnedSolve):
    """Steps and momenta as they are handed over."""

    def __init__(self, alpha: list[Tensor], beta: list[Tensor], scaled: bool) -> None:
        super().__init__(len(alpha))
        self.alpha, self.beta, self.scaled = alpha, beta, scaled

    def coefficients(self) -> tuple[list[Tensor | None], list[Tensor | None]]:
        return list(self.alpha), list(self.beta)

    def scaling(self, A: LinearOperator) -> Tensor | None:
        return A.majorizer() if self.scaled else None


def _as_factors(numbers: Tensor) -> list[Tensor]:
    """`(sets, n)` to n factors of signals."""
    return [v.view(-1, 1, 1) if v.numel() > 1 else v.view(()) for v in numbers.unbind(-1)]


def _by_set(linear_solve: LearnedSolve, heads: int | None, like: Tensor) -> tuple[Tensor, Tensor]:
    """Steps and momenta as `(sets, J)` and `(sets, J - 1)`."""
    alpha, beta = (
        [_per_set(v, heads, like) for v in given if v is not None]
        for given in linear_solve.coefficients()
    )
    steps = torch.stack(alpha, -1)  # type: ignore[arg-type]
    return steps, torch.stack(beta, -1) if beta else steps[:, :0]  # type: ignore[arg-type]


def _per_set(value: float | Tensor, heads: int | None, like: Tensor) -> Tensor | None:
    """A number per set of coefficients: one for each head, or one for all. None for a tensor that
    varies along anything else."""
    sets = heads or 1
    if not isinstance(value, Tensor):
        return like.new_full((sets,), value)
    if value.numel() == 1:
        return value.reshape(1).expand(sets)
    return value.reshape(sets) if value.shape == (sets, 1, 1) else None
