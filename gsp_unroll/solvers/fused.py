"""Hands the loop of a converging solver to one kernel, where there is one for its problem."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .._typing import EdgeSignal, PerSystem, Signal
from ..kernels.native_admm import Steps
from ..kernels.native_cg import Run
from ..kernels.registry import find
from ..operators import LinearOperator
from ..problems import (
    GTV,
    DataTerm,
    GraphPrior,
    Interpolation,
    LeastSquares,
    Prior,
    Problem,
    VectorGTV,
)

HARD: dict[type[DataTerm], bool] = {LeastSquares: False, Interpolation: True}
NORM: dict[type[Prior], str] = {GTV: "l1", VectorGTV: "l2"}


def converge(
    A: LinearOperator,
    x: Signal,
    r: Signal,
    inverse: Tensor,
    square: PerSystem,
    energy: PerSystem | float,
    max_steps: int,
) -> tuple[Signal, int] | None:
    r"""Conjugate gradients from `x` with residual `r` until $\|r\|^2\le$ `square` or
    $\langle r,D^{-1}r\rangle\le$ `energy` in every system: the solution and the number of steps, or
    None where no kernel computes it, or a gradient is to flow through the steps.
    """
    split = A.split()
    if split is None or split.graph is None or A.systems.batch is not None:
        return None
    w = split.graph.weight
    h, rho = (
        torch.as_tensor(t, dtype=None if isinstance(t, Tensor) else x.dtype)
        for t in (split.h, split.rho)
    )
    plan = split.graph.topology.plan
    kernel = find("cg", plan, x)
    per_system = rho.ndim < 2 or rho.shape[-2] == 1
    traced = torch.is_grad_enabled() and any(t.requires_grad for t in (x, r, inverse, h, rho, w))
    if plan is None or kernel is None or not per_system or traced or w.dtype != x.dtype:
        return None
    batch = torch.broadcast_shapes(r.shape[:-2], x.shape[:-2], w.shape[:-1])
    fixed = split.fixed
    if fixed is not None:
        if bool(torch.where(fixed, r, 0).any()):
            return None  # the steps would move what the kernel holds
        inverse = torch.where(fixed, 0, inverse)
    shape = (*batch, *r.shape[-2:])
    result: tuple[Signal, int] = kernel(
        Run(
            plan=plan,
            x=x.expand(shape),
            r=r.expand(shape),
            h=h.to(x.dtype).expand(shape),
            inverse=inverse.to(x.dtype).expand(shape),
            w=w.expand(*batch, w.shape[-1]),
            rho=rho.to(x.dtype),
            square=square,
            energy=torch.as_tensor(energy),
            max_steps=max_steps,
        )
    )
    return result


#: `(x, t, relaxation, n) -> (x, t)`: signal and `t = z + u` after `n` steps of `admm_step`.
Advance = Callable[[Signal, EdgeSignal, float, int], tuple[Signal, EdgeSignal]]


def stepper(
    problem: Problem,
    x: Signal,
    z: EdgeSignal,
    rho: float | Tensor,
    alpha: tuple[float, ...],
) -> Advance | None:
    """Steps of `admm_step` by one kernel, each x-update by Jacobi steps `alpha`; None where no
    kernel computes them, or a gradient is to flow through the steps.

    Args:
        problem: data term and prior.
        x: a signal of the shape that the steps will see.
        z: an edge signal likewise.
        rho: the penalty.
        alpha: steps of the linear solve.
    """
    data, prior = problem.data, problem.prior
    mask = data.observed
    if type(data) not in HARD or type(prior) not in NORM or mask is None:
        return None
    assert isinstance(prior, GraphPrior)
    y, w, plan = data.backprojected, prior.graph.weight, prior.graph.topology.plan
    kernel = find("admm", plan, x)
    if plan is None or kernel is None or w.dtype != x.dtype:
        return None
    tensors = (x, w, rho, prior.strength, data.y)
    if torch.is_grad_enabled() and any(isinstance(t, Tensor) and t.requires_grad for t in tensors):
        return None
    rho_, lam = (torch.as_tensor(v, dtype=x.dtype) for v in (rho, prior.strength))
    if any(v.ndim > 1 and v.shape[-2] != 1 for v in (rho_, lam)):
        return None  # one for each node
    per_channel = any(v.ndim > 0 and v.shape[-1] != 1 for v in (rho_, lam))
    if per_channel and NORM[type(prior)] != "l1":
        return None
    batch = torch.broadcast_shapes(w.shape[:-1], *(v.shape[:-2] for v in (x, z, y, rho_, lam)))
    channels = max(v.shape[-1] for v in (x, y, rho_, lam) if v.ndim > 0)
    # with a number for each channel, every channel is a plane of its own
    deal, collect = (_dealt, _collected) if per_channel else (_as_it_is, _as_it_is)
    planes = (*batch, channels) if per_channel else batch
    shape = (*batch, x.shape[-2], channels)
    penalty, strength = (_per_plane(v, planes, per_channel) for v in (rho_, lam))
    y, observed = deal(y.expand(shape)), deal(mask.to(x.dtype).expand(shape))
    w = (w.unsqueeze(-2) if per_channel else w).expand(*planes, w.shape[-1])
    tau = strength / penalty

    def advance(
        x: Signal, t: EdgeSignal, relaxation: float, num_steps: int
    ) -> tuple[Signal, EdgeSignal]:
        x, t = kernel(
            Steps(
                plan=plan,
                norm=NORM[type(prior)],
                hard=HARD[type(data)],
                x=deal(x.expand(shape)),
                y=y,
                mask=observed,
                w=w,
                state=deal(t.expand(*batch, t.shape[-2], channels)),
                tau=tau,
                rho=penalty,
                alpha=alpha,
                relaxation=relaxation,
                num_steps=num_steps,
            )
        )
        return collect(x), collect(t)

    return advance


def _dealt(x: Signal) -> Signal:
    """`(*batch, nodes, channels)` as `(*batch, channels, nodes, 1)`."""
    return x.mT.unsqueeze(-1)


def _collected(x: Signal) -> Signal:
    """The reverse of `_dealt`."""
    return x.squeeze(-1).mT


def _as_it_is(x: Signal) -> Signal:
    return x


def _per_plane(value: Tensor, planes: tuple[int, ...], per_channel: bool) -> Tensor:
    """A factor of signals, the same on all nodes, as one number for each plane."""
    if value.ndim > 1:
        value = value.squeeze(-2)
    if value.ndim and not per_channel:
        value = value.squeeze(-1)
    return value.expand(planes).reshape(-1)
