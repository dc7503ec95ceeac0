"""Restoration on a balanced signed graph, and how any problem on one becomes a positive one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from .._checks import check_same_kind
from .._typing import EdgeSignal, PerSystem, Signal
from ..graph import BalancedGraph
from ..operators import BalancedLaplacian, Diagonal, LinearOperator, Polarized, SamplingMask
from .data_terms import DataTerm
from .priors import GLR, Prior


@dataclass(frozen=True, eq=False)
class BalancedGLR(Prior):
    r"""GLR on a balanced signed graph,
    $\tfrac\mu2\,x^\top L^Bx=\tfrac\mu2\sum_{(i,j)}\lvert w_{ij}\rvert\,(x_i-b_ib_jx_j)^2$.

    Neighbours on a positive edge should be alike, those on a negative edge opposite.

    Args:
        graph: the balanced graph.
        mu: weight of the prior, at least 0; a tensor must broadcast against signals.
        normalization: `"none"`, or `"sym"` for $D^{-1/2}L^BD^{-1/2}$; see `GLR`.

    Shapes:
        - **graph.polarity:** `(*batch, nodes, 1)`
        - **x:** `(*batch, nodes, channels)`
        - **output:** `(*batch, graphs, channels)`

    Raises:
        ValueError: a weight that is negative or not finite; an unknown normalization.

    Source:
        Yao et al. 2025.

    Example:
        >>> import torch
        >>> from gsp_unroll import BalancedGLR, BalancedGraph, Graph, path_graph
        >>> positive = Graph(path_graph(3), torch.tensor([1.0, 2.0, 0.0]))
        >>> prior = BalancedGLR(BalancedGraph(positive, torch.tensor([[1.0], [1.0], [-1.0]])))
        >>> prior(torch.tensor([[1.0], [1.0], [-1.0]])).item()
        0.0
    """

    graph: BalancedGraph
    mu: float | Tensor = 1.0
    normalization: Literal["none", "sym"] = "none"
    #: The same prior on the positive graph, which this one is of $Tx$.
    positive: GLR = field(init=False, repr=False)

    def __post_init__(self) -> None:
        positive = GLR(self.graph.positive, self.mu, self.normalization)
        object.__setattr__(self, "positive", positive)

    @property
    def K(self) -> LinearOperator:
        return self.positive.K @ Diagonal(self.graph.polarity)

    @property
    def normal(self) -> LinearOperator:
        return BalancedLaplacian(self.graph, self.normalization)

    def weigh(self, z: EdgeSignal) -> EdgeSignal:
        return self.positive.weigh(z)

    def pull_back(self, z: EdgeSignal) -> Signal:
        return self.graph.polarity * self.positive.pull_back(z)

    @property
    def Q(self) -> LinearOperator:
        r"""$\mu L^B$, the operator of the quadratic form."""
        return self.normal.scaled(self.mu)

    @property
    def level(self) -> Signal:
        r"""$b$, or $TD^{1/2}\mathbf1$: clipped is the signal as the positive graph sees it."""
        level = self.positive.level
        return self.graph.polarity if level is None else self.graph.polarity * level

    @property
    def strength(self) -> float | Tensor:
        return self.mu

    def total(self, terms: EdgeSignal) -> PerSystem:
        return self.positive.total(terms)

    def penalty(self, z: EdgeSignal) -> EdgeSignal:
        return self.positive.penalty(z)

    def prox(self, z: EdgeSignal, step: float | Tensor) -> EdgeSignal:
        return self.positive.prox(z, step)


def polarized(data: DataTerm, polarity: Signal) -> DataTerm:
    r"""The data term of $\tilde x=Tx$, with $T=\mathrm{diag}(b)$: its value at $Tx$ is that of
    `data` at $x$.

    A balanced signed graph is the positive one seen through $T$. So any problem on it, with any
    prior and any solver, is one on the positive graph: restore $\tilde x$ there, and $x=T\tilde x$.

    Args:
        data: the data term.
        polarity: $b$, +1 or -1 at every node.

    Shapes:
        - **polarity:** `(*batch, nodes, 1)`

    Raises:
        ValueError: a polarity of another dtype or device than the observation.

    Example:
        >>> import torch
        >>> from gsp_unroll import Identity, LeastSquares
        >>> from gsp_unroll.problems import polarized
        >>> b = torch.tensor([[1.0], [-1.0]])
        >>> polarized(LeastSquares(Identity(), torch.tensor([[2.0], [3.0]])), b).y.flatten()
        tensor([ 2., -3.])
    """
    check_same_kind(polarity, data.y, "the polarity", "the observation")
    mask = data.observed
    if mask is None:
        return data.unchecked(Polarized(data.H, polarity), data.y)
    # values that are picked one by one change their sign where they stand
    H = data.H if mask.ndim == 0 else SamplingMask(mask)
    return data.unchecked(H, polarity * data.backprojected)
