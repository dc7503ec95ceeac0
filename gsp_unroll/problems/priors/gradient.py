"""Priors on slopes: signals that are planes, piece by piece."""

from __future__ import annotations

from dataclasses import dataclass

from ..._typing import EdgeSignal, PerSystem
from ...operators import (
    GradientDifferences,
    GradientGraph,
    GradientLaplacian,
    LinearOperator,
)
from .base import GraphPrior
from .laplacian import QuadraticPrior
from .variation import GTV


@dataclass(frozen=True, eq=False)
class GradientPrior(GraphPrior):
    r"""A prior on the differences of slopes, $K=\mathrm{grad}\,F$, split in the metric of the
    weights: then $K^\top WK=F^\top\bar LF$.

    Args:
        graph: a `GradientGraph`, or a graph on a lattice, whose slopes are along the axes.
    """

    @property
    def slopes(self) -> GradientGraph:
        """The gradient graph."""
        return GradientGraph.of(self.graph)

    @property
    def K(self) -> LinearOperator:
        return GradientDifferences(self.slopes)

    @property
    def normal(self) -> LinearOperator:
        return GradientLaplacian(self.slopes)

    @property
    def w(self) -> EdgeSignal:
        return self.slopes.pair_weight.flatten(-2).unsqueeze(-1)

    def total(self, terms: EdgeSignal) -> PerSystem:
        dimensions = self.slopes.F.dimensions
        return super().total(terms.unflatten(-2, (dimensions, -1)).sum(-3))


@dataclass(frozen=True, eq=False)
class GGLR(QuadraticPrior, GradientPrior):
    r"""Gradient graph Laplacian regulariser, $\tfrac\mu2\,\alpha^\top\bar L\alpha=\tfrac\mu2
    \sum_a\sum_{(i,j)}w_{ij}(\alpha_{a,i}-\alpha_{a,j})^2$ with the slopes $\alpha=Fx$.

    0 for planes, to rounding, at borders too: a pair of slopes counts only where both exist. What
    the data leave open is filled by continuing slopes, where `GLR` continues values.

    Args:
        graph: a `GradientGraph`, or a graph on a lattice, whose slopes are along the axes.
        mu: weight of the prior, at least 0; a tensor must broadcast against signals.

    Shapes:
        - **graph.weight:** `(*batch, edges)`
        - **x:** `(*batch, nodes, channels)`
        - **output:** `(*batch, graphs, channels)`

    Raises:
        ValueError: a graph that is neither; a weight that is negative or not finite; on call, a
            signal of another dtype or device than the weights, or on other nodes.

    Source:
        Chen, Cheung and Zhang 2024.

    Example:
        >>> import torch
        >>> from gsp_unroll import GGLR, Graph, path_graph
        >>> prior = GGLR(Graph(path_graph(5), torch.ones(5)))
        >>> prior(torch.tensor([[0.0], [1.0], [2.0], [3.0], [3.0]])).item()
        0.5
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "graph", self.slopes)


@dataclass(frozen=True, eq=False)
class GGTV(GradientPrior, GTV):
    r"""Gradient graph total variation, $\lambda\|\bar CFx\|_1=\lambda\sum_a\sum_{(i,j)}
    w_{ij}|\alpha_{a,i}-\alpha_{a,j}|$ with the slopes $\alpha=Fx$.

    0 for planes as `GGLR`, and few creases where slopes change. The prior is a norm, but clipping a
    signal may raise it: a duality gap is known where every value is observed or a range is given
    (see `Problem`), and is NaN elsewhere. With exact samples `ADMM` takes thousands of steps to six
    digits of the optimum.

    Args:
        graph: a `GradientGraph`, or a graph on a lattice, whose slopes are along the axes.
        lam: weight of the prior, at least 0; a tensor must broadcast against signals.

    Shapes:
        - **graph.weight:** `(*batch, edges)`
        - **x:** `(*batch, nodes, channels)`
        - **output:** `(*batch, graphs, channels)`

    Raises:
        ValueError: a graph that is neither; a weight that is negative or not finite; on call, a
            signal of another dtype or device than the weights, or on other nodes.

    Source:
        Cai, Cheung and Chen 2024.

    Example:
        >>> import torch
        >>> from gsp_unroll import GGTV, Graph, path_graph
        >>> prior = GGTV(Graph(path_graph(5), torch.ones(5)))
        >>> prior(torch.tensor([[0.0], [1.0], [2.0], [3.0], [3.0]])).item()
        1.0
    """

    has_dual_bound = False
    keeps_range = False

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "graph", self.slopes)
