"""Hands a converging solve to one kernel, where there is one for its operator."""

from __future__ import annotations

import torch
from torch import Tensor

from .._typing import PerSystem, Signal
from ..kernels.native_cg import Run
from ..kernels.registry import find
from ..operators import LinearOperator


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
