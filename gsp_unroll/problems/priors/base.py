"""What a prior is: an analysis of the signal, a penalty, and its proximal map."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from ..._checks import check_same_kind, mistake
from ..._typing import EdgeSignal, PerSystem, Signal
from ...graph import Graph, Systems
from ...operators import Gradient, Laplacian, LinearOperator

if TYPE_CHECKING:
    from .sums import SumPrior


class Prior(ABC):
    r"""A penalty $g(Kx)$ on an analysis $Kx$ of the signal.

    A subclass gives `K`, `penalty` and `prox`. ADMM splits $z=Kx$ and penalises the difference in
    the metric $W$ (the identity unless overridden), so it needs

    $$\mathrm{prox}(z,s)=\arg\min_v\;g(v)+\tfrac1{2s}\|v-z\|_W^2,\qquad
      K^\top WK,\qquad K^\top Wz .$$

    Priors add up: `a + b` is a `SumPrior`.

    Shapes:
        - **x:** `(*batch, nodes, channels)`
        - **output:** `(*batch, graphs, channels)`, or one number for all channels where it couples
          them

    Raises:
        ValueError: on call, a signal that does not fit `K`; a batch of graphs where the prior does
            not say which graph its terms belong to.

    Example:
        >>> import torch
        >>> from gsp_unroll import Identity, Prior
        >>> from gsp_unroll.problems import soft_threshold
        >>> class Sparse(Prior):
        ...     K = Identity()
        ...
        ...     def penalty(self, z):
        ...         return z.abs()
        ...
        ...     def prox(self, z, step):
        ...         return soft_threshold(z, step)
        >>> Sparse()(torch.tensor([[1.0], [-2.0]])).item()
        3.0
    """

    #: True when `g` is a norm (positively homogeneous, symmetric) that no clipping of `x` to the
    #: range of its samples can raise: then a duality gap is known.
    has_dual_bound: bool = False
    #: True when `g` is a norm at least: then a gap is known where every value is observed.
    is_norm: bool = False
    #: True when no clipping of `x` to any range raises `g(Kx)`. A norm of which that holds has a
    #: dual bound; a quadratic prior of which it holds leaves that of another prior in a sum alone.
    keeps_range: bool = False
    #: $\omega$ with $g+\tfrac\omega2\|\cdot\|_W^2$ convex, 0 for a convex `g`. A step of ADMM is
    #: well-defined for penalties above it.
    weak_convexity: float | Tensor = 0.0

    @property
    @abstractmethod
    def K(self) -> LinearOperator:
        """The analysis operator."""

    @abstractmethod
    def penalty(self, z: EdgeSignal) -> EdgeSignal:
        """The terms of `g(z)`, one per edge and channel (or per edge)."""

    @abstractmethod
    def prox(self, z: EdgeSignal, step: float | Tensor) -> EdgeSignal:
        """The proximal map of `g` in the metric `W`."""

    @property
    def strength(self) -> float | Tensor:
        """The number that multiplies the penalty; a solver takes the scale of its own from it."""
        return 1.0

    @property
    def Q(self) -> LinearOperator | None:
        r"""The operator of a quadratic prior, $g(Kx)=\tfrac12x^\top Qx$; None for any other."""
        return None

    def quadratic(self, rho: float | Tensor) -> LinearOperator:
        r"""$\rho\,K^\top WK$, the form that an x-update of ADMM adds to the data, and with it
        whatever of the prior is quadratic and not split."""
        return self.normal.scaled(rho)

    @property
    def beside(self) -> LinearOperator | None:
        r"""The form $\tfrac12x^\top(\cdot)x$ that a prior whose $g$ is a norm adds to $g(Kx)$, not
        split; None if nothing (`SumPrior` and `MixedPrior` add something)."""
        return None

    @property
    def level(self) -> Signal | None:
        """A signal such that no clipping of `x / level` to any range raises the prior, for one
        that keeps no plain range; None where there is none."""
        return None

    @property
    def summands(self) -> tuple[Prior, ...]:
        """The priors that this one is the sum of."""
        return (self,)

    @property
    def systems(self) -> Systems:
        """Which nodes and channels one minimisation couples."""
        return self.K.systems

    def total(self, terms: EdgeSignal) -> PerSystem:
        """The sum of edge terms per system."""
        if self.systems.batch is not None:
            raise mistake(
                f"a batch of graphs for {type(self).__name__}",
                "a prior that knows which graph each of its terms belongs to",
                "Derive it from GraphPrior, or write its method `total`.",
            )
        return self.systems.total(terms)

    def weigh(self, z: EdgeSignal) -> EdgeSignal:
        """`Wz`."""
        return z

    @property
    def normal(self) -> LinearOperator:
        """`K'WK`."""
        return self.K.gram

    def pull_back(self, z: EdgeSignal) -> Signal:
        """`K'Wz`."""
        return self.K.T(self.weigh(z))

    def __call__(self, x: Signal) -> PerSystem:
        """`g(Kx)`, one number per system."""
        return self.total(self.penalty(self.K(x)))

    def __add__(self, other: Prior) -> SumPrior:
        from .sums import SumPrior  # which is itself a prior

        return SumPrior((self, other))


@dataclass(frozen=True, eq=False)
class GraphPrior(Prior):
    r"""A prior on the differences along edges, $K=\mathrm{grad}$, split in the metric of the edge
    weights, $W=\mathrm{diag}(w)$: then $K^\top WK=L$ is the very Laplacian that GLR uses, and no
    weight enters the proximal map.

    A subclass writes `penalty` and `prox`, as a new prior of one's own does.

    Args:
        graph: the weighted graph.

    Shapes:
        - **graph.weight:** `(*batch, edges)`
        - **x:** `(*batch, nodes, channels)`
        - **output:** `(*batch, graphs, channels)`

    Raises:
        ValueError: on call, a signal on other nodes, or of another dtype or device than the
            weights.

    Example:
        >>> import torch
        >>> from gsp_unroll import Graph, GraphPrior, path_graph
        >>> class Squares(GraphPrior):
        ...     def penalty(self, z):
        ...         return self.w * z**2 / 2
        ...
        ...     def prox(self, z, step):
        ...         return z / (1 + step)
        >>> prior = Squares(Graph(path_graph(3), torch.tensor([1.0, 2.0, 0.0])))
        >>> prior(torch.tensor([[0.0], [1.0], [4.0]])).item()  # that is GLR
        9.5
    """

    graph: Graph

    @property
    def K(self) -> LinearOperator:
        return Gradient(self.graph.topology)

    def total(self, terms: EdgeSignal) -> PerSystem:
        if self.systems.batch is not None:
            # summed at tails first: that is where an edge learns which graph of a batch it is in
            terms = self.graph.topology.tail_sum(terms)
        return self.systems.total(terms)

    def weigh(self, z: EdgeSignal) -> EdgeSignal:
        check_same_kind(z, self.w, "a signal", "the edge weights")
        return self.w * z

    @property
    def normal(self) -> LinearOperator:
        return Laplacian(self.graph)

    def __call__(self, x: Signal) -> PerSystem:
        check_same_kind(x, self.w, "a signal", "the edge weights")
        return super().__call__(x)

    @property
    def w(self) -> EdgeSignal:
        """Edge weights as an edge signal, `(*batch, edges, 1)`."""
        return self.graph.weight.unsqueeze(-1)


def check_weight_of_prior(value: float | Tensor, name: str) -> None:
    """A plain number is checked; a tensor is a learned one and positive by construction."""
    if not isinstance(value, Tensor) and not 0 <= value <= sys.float_info.max:
        raise mistake(
            f"{name}={value!r}", "a finite number of at least 0", f"Set {name} to 0 or more."
        )
