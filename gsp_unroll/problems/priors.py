"""Graph smoothness priors: what a good signal looks like."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from .._checks import check_same_kind, mistake
from .._typing import EdgeSignal, PerSystem, Signal
from ..graph import Graph, Systems
from ..operators import Diagonal, Gradient, Laplacian, LinearOperator


def soft_threshold(z: Tensor, t: float | Tensor) -> Tensor:
    r"""$\mathrm{soft}(z,t)=\mathrm{sign}(z)\max(|z|-t,0)$, as $z$ minus its projection on
    $[-t,t]$.

    Example:
        >>> import torch
        >>> from gsp_unroll.problems import soft_threshold
        >>> soft_threshold(torch.tensor([-3.0, 0.5, 2.0]), 1.0)
        tensor([-2.,  0.,  1.])
    """
    return z - torch.clamp(z, -t, t)  # type: ignore[arg-type]


def group_soft_threshold(z: Tensor, t: float | Tensor) -> Tensor:
    r"""$z\,\max(1-t/\|z\|_2,0)$, the norm taken over channels.

    Example:
        >>> import torch
        >>> from gsp_unroll.problems import group_soft_threshold
        >>> group_soft_threshold(torch.tensor([[3.0, 4.0], [0.3, 0.4]]), 1.0)
        tensor([[2.4000, 3.2000],
                [0.0000, 0.0000]])
    """
    t = torch.as_tensor(t, dtype=z.dtype, device=z.device)
    square = (z * z).sum(-1, keepdim=True)
    outside = square > t * t
    # the norm is only taken where it is above t: its derivative at 0 is never asked for
    norm = torch.where(outside, square, 1).sqrt()
    return torch.where(outside, 1 - t / norm, 0) * z


class Prior(ABC):
    r"""A penalty $g(Kx)$ on an analysis $Kx$ of the signal.

    A subclass gives `K`, `penalty` and `prox`. ADMM splits $z=Kx$ and penalises the difference in
    the metric $W$ (the identity unless overridden), so it needs

    $$\mathrm{prox}(z,s)=\arg\min_v\;g(v)+\tfrac1{2s}\|v-z\|_W^2,\qquad
      K^\top WK,\qquad K^\top Wz .$$
    """

    #: True when `g` is a norm (positively homogeneous, symmetric) that no clipping of `x` to the
    #: range of its samples can raise: then a duality gap is known.
    has_dual_bound: bool = False

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

    @property
    def normal(self) -> LinearOperator:
        """`K'WK`."""
        return self.K.gram

    def pull_back(self, z: EdgeSignal) -> Signal:
        """`K'Wz`."""
        return self.K.T(z)

    def quadratic(self, rho: float | Tensor) -> LinearOperator:
        r"""$\rho\,K^\top WK$, the form that an x-update of ADMM adds to the data, and with it
        whatever of the prior is quadratic and not split."""
        return self.normal.scaled(rho)

    @property
    def Q(self) -> LinearOperator | None:
        r"""The operator of a prior that is a quadratic form, $\tfrac12x^\top Qx$, else None."""
        return None

    def __call__(self, x: Signal) -> PerSystem:
        """`g(Kx)`, one number per system."""
        return self.total(self.penalty(self.K(x)))


@dataclass(frozen=True, eq=False)
class GraphPrior(Prior):
    r"""A prior on the differences along edges, $K=\mathrm{grad}$, split in the metric of the edge
    weights, $W=\mathrm{diag}(w)$: then $K^\top WK=L$ is the very Laplacian that GLR uses, and no
    weight enters the proximal map.
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

    @property
    def normal(self) -> LinearOperator:
        return Laplacian(self.graph)

    def pull_back(self, z: EdgeSignal) -> Signal:
        check_same_kind(z, self.w, "a signal", "the edge weights")
        return self.graph.topology.divergence(self.w * z)

    def __call__(self, x: Signal) -> PerSystem:
        check_same_kind(x, self.w, "a signal", "the edge weights")
        return super().__call__(x)

    @property
    def w(self) -> EdgeSignal:
        """Edge weights as an edge signal, `(*batch, edges, 1)`."""
        return self.graph.weight.unsqueeze(-1)


@dataclass(frozen=True, eq=False)
class GTV(GraphPrior):
    r"""Graph total variation, $\lambda\sum_{(i,j)}w_{ij}|x_i-x_j|=\lambda\|Cx\|_1$.

    Each undirected edge counts once. Channels are independent.

    Args:
        graph: the weighted graph.
        lam: weight of the prior, at least 0; a tensor must broadcast against signals.

    Source:
        Do et al. 2024, section 3.2.

    Example:
        >>> import torch
        >>> from gsp_unroll import GTV, Graph, path_graph
        >>> prior = GTV(Graph(path_graph(3), torch.tensor([1.0, 2.0, 0.0])), lam=0.5)
        >>> prior(torch.tensor([[0.0], [1.0], [4.0]])).item()
        3.5
    """

    lam: float | Tensor = 1.0
    has_dual_bound = True

    def __post_init__(self) -> None:
        _check_weight_of_prior(self.lam, "lam")

    @property
    def strength(self) -> float | Tensor:
        return self.lam

    def penalty(self, z: EdgeSignal) -> EdgeSignal:
        return self.lam * self.w * z.abs()

    def prox(self, z: EdgeSignal, step: float | Tensor) -> EdgeSignal:
        return soft_threshold(z, self.lam * step)


@dataclass(frozen=True, eq=False)
class VectorGTV(GTV):
    r"""Vector total variation, $\lambda\sum_{(i,j)}w_{ij}\|x_i-x_j\|_2$: one norm across channels.

    Channels jump together: colours at an edge of the image, coordinates at a crease.

    Example:
        >>> import torch
        >>> from gsp_unroll import Graph, VectorGTV, path_graph
        >>> prior = VectorGTV(Graph(path_graph(2), torch.tensor([1.0, 0.0])))
        >>> prior(torch.tensor([[0.0, 0.0], [3.0, 4.0]])).item()
        5.0
    """

    @property
    def systems(self) -> Systems:
        return super().systems.coupled()

    def penalty(self, z: EdgeSignal) -> EdgeSignal:
        # vector_norm has the derivative 0 at 0, where the root of a sum of squares has NaN
        norm: Tensor = torch.linalg.vector_norm(z, dim=-1, keepdim=True)
        return self.lam * self.w * norm

    def prox(self, z: EdgeSignal, step: float | Tensor) -> EdgeSignal:
        return group_soft_threshold(z, self.lam * step)


@dataclass(frozen=True, eq=False)
class GLR(GraphPrior):
    r"""Graph Laplacian regulariser,
    $\tfrac\mu2\,x^\top Lx=\tfrac\mu2\sum_{(i,j)}w_{ij}(x_i-x_j)^2$.

    With `LeastSquares` the minimiser solves $(H^\top H+\mu L)x=H^\top y$, the same as that of
    $\|Hx-y\|_2^2+\mu\,x^\top Lx$ without the halves.

    Args:
        graph: the weighted graph.
        mu: weight of the prior, at least 0; a tensor must broadcast against signals.
        normalization: `"none"` for the combinatorial $L$, which keeps constants, or `"sym"` for
            $L_n=D^{-1/2}LD^{-1/2}$, as in the paper, which does not.

    Source:
        Do et al. 2024, section 3.1.

    Example:
        >>> import torch
        >>> from gsp_unroll import GLR, Graph, path_graph
        >>> prior = GLR(Graph(path_graph(3), torch.tensor([1.0, 2.0, 0.0])))
        >>> prior(torch.tensor([[0.0], [1.0], [4.0]])).item()
        9.5
    """

    mu: float | Tensor = 1.0
    normalization: Literal["none", "sym"] = "none"

    def __post_init__(self) -> None:
        _check_weight_of_prior(self.mu, "mu")
        if self.normalization not in ("none", "sym"):
            raise mistake(
                f"normalization={self.normalization!r}",
                "'none' or 'sym', the symmetric forms",
                "The random-walk form gives the same interpolant as 'none'.",
            )

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

    def pull_back(self, z: EdgeSignal) -> Signal:
        v = super().pull_back(z)
        return v if self.normalization == "none" else self._inverse_root_degree(v)

    @property
    def Q(self) -> LinearOperator:
        r"""$\mu L$, the operator of the quadratic form."""
        return self.normal.scaled(self.mu)

    @property
    def strength(self) -> float | Tensor:
        return self.mu

    def penalty(self, z: EdgeSignal) -> EdgeSignal:
        return 0.5 * self.mu * self.w * z**2

    def prox(self, z: EdgeSignal, step: float | Tensor) -> EdgeSignal:
        return z / (1 + self.mu * step)


def _check_weight_of_prior(value: float | Tensor, name: str) -> None:
    """A plain number is checked; a tensor is a learned one and positive by construction."""
    if not isinstance(value, Tensor) and not 0 <= value < float("inf"):
        raise mistake(
            f"{name}={value!r}", "a finite number of at least 0", f"Set {name} to 0 or more."
        )
