"""One prior in space and time: smooth among neighbours, carried on from the past."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from .._typing import EdgeSignal, PerSystem, Signal
from ..graph import MixedGraph, Systems
from ..operators import LinearOperator
from .directed import DGTV
from .priors import GLR, Prior
from .priors.base import check_weight_of_prior


@dataclass(frozen=True, eq=False)
class MixedPrior(Prior):
    r"""GLR in space, DGLR and DGTV in time, on one signal.

    $$\tfrac{\mu_u}2\,x^\top L^ux+\tfrac{\mu_d}2\|L_r^dx\|_2^2+\lambda\|L_r^dx\|_1 .$$

    ADMM splits $z=L_r^dx$ for the last term only; both quadratic terms stay in its linear system,

    $$(H^\top H+\mu_uL^u+(\mu_d+\rho)\,\mathcal L_r^d)\,x=H^\top y+\rho\,(L_r^d)^\top(z-u).$$

    The paper gives each quadratic term a copy of $x$ of its own: three systems, three multipliers
    and three penalties per iteration, for the same minimiser. One system is the default here,
    because nothing is gained by splitting what a single linear solve can hold: two auxiliary
    signals, two multipliers and two penalties to choose, or to learn, fall away. (The paper's
    ablation calls this form the simple one.)

    Args:
        graph: the two graphs.
        mu_u: weight of GLR in space, at least 0.
        mu_d: weight of DGLR in time, at least 0.
        lam: weight of DGTV in time, at least 0. All three may be tensors that broadcast against
            signals.

    Shapes:
        - **graph.spatial.weight, graph.temporal.weight:** `(*batch, edges)`
        - **signal:** `(*batch, nodes, channels)`

    Raises:
        ValueError: a weight that is negative or not finite; graphs of different batches.

    Source:
        Qi et al. 2025. It writes no halves: its weights are $\mu_u$, $\mu_{d,2}=\mu_d$ and
        $\mu_{d,1}=2\lambda$.

    Example:
        >>> import torch
        >>> from gsp_unroll import ADMM, Graph, LeastSquares, MixedGraph, MixedPrior, Problem
        >>> from gsp_unroll import SamplingMask, path_graph, space_time_graph
        >>> spatial, temporal = space_time_graph(path_graph(2), steps=3)
        >>> graph = MixedGraph(
        ...     Graph(spatial, torch.ones(spatial.num_edges)),
        ...     Graph(temporal, torch.ones(temporal.num_edges)),
        ... )
        >>> y = torch.tensor([[1.0], [1.0], [1.0], [1.0], [torch.nan], [torch.nan]])
        >>> problem = Problem(LeastSquares(SamplingMask(~y.isnan()), y), MixedPrior(graph))
        >>> ADMM().solve(problem).x.flatten()  # the last step is forecast
        tensor([1., 1., 1., 1., 1., 1.])
    """

    graph: MixedGraph
    mu_u: float | Tensor = 1.0
    mu_d: float | Tensor = 1.0
    lam: float | Tensor = 1.0
    is_norm = True
    #: The summand that ADMM splits, made once: the rows are normalised there.
    split: DGTV = field(init=False, repr=False)

    def __post_init__(self) -> None:
        check_weight_of_prior(self.mu_u, "mu_u")
        check_weight_of_prior(self.mu_d, "mu_d")
        object.__setattr__(self, "split", DGTV(self.graph.temporal, self.lam))

    @property
    def K(self) -> LinearOperator:
        return self.split.K

    @property
    def systems(self) -> Systems:
        return self.graph.systems

    @property
    def strength(self) -> float | Tensor:
        return self.lam

    def penalty(self, z: EdgeSignal) -> EdgeSignal:
        """The terms of DGTV, all of the prior that ADMM splits."""
        return self.split.penalty(z)

    def prox(self, z: EdgeSignal, step: float | Tensor) -> EdgeSignal:
        return self.split.prox(z, step)

    def total(self, terms: EdgeSignal) -> PerSystem:
        return self.systems.total(terms)

    def quadratic(self, rho: float | Tensor) -> LinearOperator:
        in_space = GLR(self.graph.spatial, self.mu_u).Q
        return in_space + self.normal.scaled(self.mu_d + rho)

    @property
    def beside(self) -> LinearOperator:
        r"""$\mu_uL^u+\mu_d\mathcal L_r^d$."""
        return self.quadratic(0.0)

    def __call__(self, x: Signal) -> PerSystem:
        """The sum of all three terms, one number per system."""
        return super().__call__(x) + 0.5 * self.systems.inner(x, self.beside(x))
