"""Priors that are quadratic forms: the graph Laplacian regulariser."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from ..._checks import mistake
from ..._typing import EdgeSignal, Signal
from ...graph import safe_reciprocal
from ...graph.graph import check_graph
from ...operators import Diagonal, Gradient, Laplacian, LinearOperator
from .base import GraphPrior, Prior, check_weight_of_prior


@dataclass(frozen=True, eq=False)
class QuadraticPrior(Prior):
    r"""$\tfrac\mu2\|z\|_W^2$ with $z=Kx$: a quadratic form $\tfrac12x^\top Qx$ with
    $Q=\mu\,K^\top WK$.

    A subclass says what is compared and in which metric: `K`, `weigh` and `normal`.

    Args:
        mu: weight of the prior, at least 0; a tensor must broadcast against signals.
    """

    mu: float | Tensor = 1.0

    def __post_init__(self) -> None:
        check_weight_of_prior(self.mu, "mu")

    @property
    def Q(self) -> LinearOperator:
        return self.normal.scaled(self.mu)

    @property
    def strength(self) -> float | Tensor:
        return self.mu

    def penalty(self, z: EdgeSignal) -> EdgeSignal:
        return 0.5 * self.mu * self.weigh(z) * z

    def prox(self, z: EdgeSignal, step: float | Tensor) -> EdgeSignal:
        return z / (1 + self.mu * step)


@dataclass(frozen=True, eq=False)
class GLR(QuadraticPrior, GraphPrior):
    r"""Graph Laplacian regulariser,
    $\tfrac\mu2\,x^\top Lx=\tfrac\mu2\sum_{(i,j)}w_{ij}(x_i-x_j)^2$.

    With `LeastSquares` the minimiser solves $(H^\top H+\mu L)x=H^\top y$, the same as that of
    $\|Hx-y\|_2^2+\mu\,x^\top Lx$ without the halves.

    Args:
        graph: the weighted graph.
        mu: weight of the prior, at least 0; a tensor must broadcast against signals.
        normalization: `"none"` for the combinatorial $L$, which keeps constants, or `"sym"` for
            $L_n=D^{-1/2}LD^{-1/2}$, as in the paper, which does not.

    Shapes:
        - **graph.weight:** `(*batch, edges)`
        - **x:** `(*batch, nodes, channels)`
        - **output:** `(*batch, graphs, channels)`

    Raises:
        ValueError: a `mu` below 0 or not finite, an unknown `normalization`; on call a signal of
            another dtype or device than the weights, or on other nodes.

    Source:
        Do et al. 2024, section 3.1.

    Example:
        >>> import torch
        >>> from gsp_unroll import GLR, Graph, path_graph
        >>> prior = GLR(Graph(path_graph(3), torch.tensor([1.0, 2.0, 0.0])))
        >>> prior(torch.tensor([[0.0], [1.0], [4.0]])).item()
        9.5
    """

    normalization: Literal["none", "sym"] = "none"

    def __post_init__(self) -> None:
        check_graph(self.graph)
        super().__post_init__()
        if self.normalization not in ("none", "sym"):
            raise mistake(
                f"normalization={self.normalization!r}",
                "'none' or 'sym', the symmetric forms",
                "The random-walk form gives the same interpolant as 'none'.",
            )
        object.__setattr__(self, "keeps_range", self.normalization == "none")

    @property
    def K(self) -> LinearOperator:
        grad = Gradient(self.graph.topology)
        return grad if self.normalization == "none" else grad @ self._inverse_root_degree

    @property
    def _inverse_root_degree(self) -> Diagonal:
        return Diagonal(Laplacian(self.graph, "sym").scale)

    @property
    def normal(self) -> LinearOperator:
        return Laplacian(self.graph, self.normalization)

    @property
    def level(self) -> Signal | None:
        r"""$D^{1/2}\mathbf1$ of the symmetric form, whose differences are those of
        $D^{-1/2}x$."""
        if self.normalization == "none":
            return None
        return safe_reciprocal(self._inverse_root_degree.d)
