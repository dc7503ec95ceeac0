"""GLR about a plane: what a plane through the places explains costs nothing."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from .._checks import mistake
from .._typing import EdgeSignal, Mask, Signal
from ..graph import Graph, Systems
from ..operators import Gradient, Laplacian, LinearOperator
from ..operators.base import SelfAdjoint
from ..problems import DataTerm
from ..problems.priors import GraphPrior, QuadraticPrior
from .places import OnGlobe, Where

#: An axis along which places spread less than this, relative to the widest, is none. On the globe
#: a region is nearly a plane, and how far it bulges is no coordinate.
FLAT, FLAT_ON_GLOBE = 1e-9, 0.1
#: Readings have slopes of their own where they are so many for each slope and the level, and where
#: they spread so much along every axis, relative to all places. Each further connected part of the
#: graph has a level of its own, which takes one reading, and only spread within a part counts.
READINGS, SPREAD = 2, 0.2


@dataclass(frozen=True, eq=False)
class AboutPlane:
    r"""`PlaneGLR` on any graph of these places: a prior for `restore`, which tries it where it is
    given coordinates.

    Args:
        axes: coordinates of mean 0 and variance 1; `AboutPlane.of` makes them.

    Shapes:
        - **axes:** `(nodes, d)`

    Raises:
        ValueError: axes of another shape, or not finite.

    Example:
        >>> import torch
        >>> from gsp_unroll import restore
        >>> from gsp_unroll.restoration import AboutPlane, Fixed
        >>> place = torch.rand(30, 2, dtype=torch.float64)
        >>> truth = 20 - 6.5 * place[:, 0] + place[:, 1]  # a plane
        >>> y = torch.where(torch.arange(30) % 3 > 0, truth, torch.nan)
        >>> x = restore(y, place, Fixed(AboutPlane.of(place), 1.0)).x
        >>> bool((x - truth).abs().max() < 1e-12)
        True
    """

    axes: Tensor

    def __post_init__(self) -> None:
        if self.axes.ndim != 2 or not bool(self.axes.isfinite().all()):
            raise mistake(
                f"axes of shape {tuple(self.axes.shape)}, "
                f"{int((~self.axes.isfinite()).sum())} values of them NaN or infinite",
                "(nodes, d) of finite values",
                "Make them of coordinates with AboutPlane.of(where).",
            )

    @classmethod
    def of(cls, where: OnGlobe | Tensor | np.ndarray) -> AboutPlane:
        """Principal axes of places, without those that the places do not spread along.

        Args:
            where: coordinates `(nodes, d)`, each in a unit of its own, or `OnGlobe`: there the axes
                of the region, and three where it is a good part of the globe.
        """
        globe = isinstance(where, OnGlobe)
        p = (where.points if isinstance(where, OnGlobe) else torch.as_tensor(where)).detach()
        if p.ndim != 2 or not bool(p.isfinite().all()):
            raise mistake(
                f"coordinates of shape {tuple(p.shape)}, "
                f"{int((~p.isfinite()).sum())} values of them NaN or infinite",
                "(nodes, d) of finite values",
                "Give every node a place.",
            )
        rounding = 1e-12 * p.double().abs().amax(0) if len(p) else 0.0
        p = p.double() - p.double().mean(0)
        if not globe:
            spread = p.square().mean(0).sqrt()
            p = torch.where(spread > rounding, p / spread, 0)  # a constant is no axis
        U, s, _ = torch.linalg.svd(p, full_matrices=False)
        least = (FLAT_ON_GLOBE if globe else FLAT) * s.amax() if len(s) else 0.0
        return cls(U[:, s > least] * len(p) ** 0.5)

    def __call__(self, graph: Graph, weight: float | Tensor) -> PlaneGLR:
        """The prior on `graph`."""
        return PlaneGLR(graph, weight, axes=self.axes.to(graph.weight))


def plane_of(where: Where, device: torch.device) -> AboutPlane | None:
    """The prior about a plane where places are known; a graph alone has none."""
    if not isinstance(where, OnGlobe | Tensor | np.ndarray):
        return None
    return AboutPlane(AboutPlane.of(where).axes.to(device))


def tells_plane(u: Tensor, known: Mask, parts: Tensor) -> Tensor:
    """1 for each channel whose readings tell a plane over the axes `u`, 0 for others.

    Args:
        u: axes, `(nodes, d)`.
        known: where there are readings, `(nodes, channels)`.
        parts: number of the connected part of each node, `(nodes,)`.
    """
    m, d = known.to(u), u.shape[1]
    if not d or not len(u):
        return u.new_zeros(known.shape[1])

    def in_parts(x: Tensor) -> Tensor:
        return x.new_zeros(int(parts.max()) + 1, x.shape[1]).index_add_(0, parts, x)

    count = in_parts(m)
    first = torch.stack([in_parts(m * axis.unsqueeze(-1)) for axis in u.mT], -1)
    between = torch.einsum("pci,pcj,pc->cij", first, first, 1 / count.clamp_min(1))
    within = torch.einsum("nc,ni,nj->cij", m, u, u) - between
    total = count.sum(0)
    least: Tensor = torch.linalg.eigvalsh(within / total.clamp_min(1).view(-1, 1, 1))[:, 0]
    more = total - (count > 0).sum(0) + 1  # with one level for all
    told: Tensor = (more >= READINGS * (d + 1)) & (least >= SPREAD**2)
    return told.to(u)


@dataclass(frozen=True, eq=False)
class DetrendedGradient(LinearOperator):
    r"""$K x=\mathrm{grad}(x-U\hat\beta)$ with the plane that leaves least on the graph,
    $\hat\beta=\arg\min_\beta\|\mathrm{grad}(x-U\beta)\|_W^2=(U^\top LU)^+U^\top Lx$.

    Args:
        graph: the weighted graph.
        axes: $U$.
        slopes: 1 for each channel from which a plane is taken, 0 for others.

    Shapes:
        - **axes:** `(nodes, d)`
        - **slopes:** `(channels,)` or `(1,)`
        - **K @ x:** `(nodes, channels)` to `(edges, channels)`
    """

    graph: Graph
    axes: Tensor
    slopes: Tensor
    D: Tensor = field(init=False, repr=False)
    LU: Tensor = field(init=False, repr=False)
    G: Tensor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        LU = Laplacian(self.graph)(self.axes)
        object.__setattr__(self, "D", Gradient(self.graph.topology)(self.axes))
        object.__setattr__(self, "LU", LU)
        G = torch.linalg.pinv(self.axes.mT @ LU, hermitian=True)
        object.__setattr__(self, "G", G)
        object.__setattr__(self, "num_inputs", self.graph.num_nodes)
        object.__setattr__(self, "num_outputs", self.graph.topology.num_edges)

    @property
    def systems(self) -> Systems:
        return self.graph.topology.systems

    def beta(self, x: Signal) -> Tensor:
        r"""The slopes of the plane that is taken from `x`, $\hat\beta$, `(d, channels)`."""
        return self.G @ (self.LU.mT @ x) * self.slopes

    def _apply(self, x: Signal) -> EdgeSignal:
        return self.graph.topology.gradient(x) - self.D @ self.beta(x)

    def _apply_adjoint(self, z: EdgeSignal) -> Signal:
        return self.graph.topology.divergence(z) - self.LU @ (
            self.G @ (self.D.mT @ z) * self.slopes
        )


@dataclass(frozen=True, eq=False)
class DetrendedLaplacian(SelfAdjoint):
    r"""$K^\top WK=L-LU(U^\top LU)^+U^\top L$ with the `DetrendedGradient` $K$.

    Args:
        K: the differences about the plane.
    """

    K: DetrendedGradient

    def __post_init__(self) -> None:
        object.__setattr__(self, "num_inputs", self.K.num_inputs)
        object.__setattr__(self, "num_outputs", self.K.num_inputs)

    @property
    def systems(self) -> Systems:
        return self.K.systems

    def _apply(self, x: Signal) -> Signal:
        K = self.K
        return Laplacian(K.graph)(x) - K.LU @ K.beta(x)

    def diagonal(self) -> Tensor:
        K = self.K
        taken = (K.LU @ K.G * K.LU).sum(-1, keepdim=True) * K.slopes
        return K.graph.degree.unsqueeze(-1) - taken

    def majorizer(self) -> Tensor:
        return self.K.graph.degree.unsqueeze(-1)  # less is taken from L than it has


@dataclass(frozen=True, eq=False)
class PlaneGLR(QuadraticPrior, GraphPrior):
    r"""GLR of what a plane through the places leaves,
    $\min_\beta\tfrac\mu2\sum_{(i,j)}w_{ij}\bigl((x_i-u_i^\top\beta)-(x_j-u_j^\top\beta)\bigr)^2
    =\tfrac\mu2x^\top\bigl(L-LU(U^\top LU)^+U^\top L\bigr)x$.

    Planes cost nothing, so they come back as they are, and a gap takes the slope of all the
    readings and the values of its neighbours. As a probability it is a Gaussian field about an
    unknown plane: the estimate is that of universal kriging.

    Args:
        graph: the weighted graph.
        mu: weight of the prior, at least 0.
        axes: coordinates $U$ of the nodes, as of `AboutPlane`.
        slopes: 1 for each channel that has a plane, 0 for those that have a level only: of few
            readings, or of readings on a line. By default all have one.

    Shapes:
        - **axes:** `(nodes, d)`
        - **slopes:** `(channels,)`
        - **x:** `(nodes, channels)`

    Raises:
        ValueError: axes of another number of nodes; a batch of several graphs.

    Source:
        Matheron 1969, universal kriging; Wahba 1990, partial splines.

    Example:
        >>> import torch
        >>> from gsp_unroll import Graph, path_graph
        >>> from gsp_unroll.restoration import PlaneGLR
        >>> u = torch.arange(5.0).unsqueeze(-1) - 2
        >>> prior = PlaneGLR(Graph(path_graph(5), torch.ones(5)), axes=u)
        >>> prior(3 * u + 7).item()
        0.0
    """

    axes: Tensor = field(kw_only=True)
    slopes: Tensor | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        n = self.graph.num_nodes
        if self.axes.ndim != 2 or len(self.axes) != n:
            raise mistake(
                f"axes of shape {tuple(self.axes.shape)} for {n} nodes",
                f"({n}, d)",
                "Take those of the places that the graph was made of.",
            )
        if self.graph.topology.systems.num_graphs > 1:
            raise mistake(
                f"a batch of {self.graph.topology.systems.num_graphs} graphs",
                "one graph, which has one plane",
                "Restore them one by one, or take GLR or GTV.",
            )

    def seen(self, known: Mask, parts: Tensor) -> PlaneGLR:
        """The prior that leaves those channels a plane whose readings tell one.

        Args:
            known: where there are readings, `(nodes, channels)`.
            parts: number of the connected part of each node, `(nodes,)`, see `components`.
        """
        return replace(self, slopes=tells_plane(self.axes, known, parts))

    @cached_property
    def K(self) -> DetrendedGradient:
        slopes = self.axes.new_ones(1) if self.slopes is None else self.slopes
        return DetrendedGradient(self.graph, self.axes, slopes)

    @cached_property
    def normal(self) -> LinearOperator:
        return DetrendedLaplacian(self.K)

    @property
    def num_slopes(self) -> Tensor:
        """How many slopes each channel has, `(channels,)`."""
        K = self.K
        rank: Tensor = torch.linalg.matrix_rank(K.G, hermitian=True)
        return rank * K.slopes

    def plane(self, data: DataTerm) -> Signal:
        """The plane that fits samples best, for channels that have one as of `seen`; else 0."""
        y, known = data.estimate()
        m = known.expand_as(y).to(y)
        A = torch.cat([torch.ones_like(self.axes[:, :1]), self.axes], -1)
        normal = torch.einsum("nc,ni,nj->cij", m, A, A)
        moments = torch.einsum("nc,ni->ci", m * y, A)
        slopes = self.K.slopes.bool().expand(y.shape[-1])
        normal = torch.where(slopes.view(-1, 1, 1), normal, torch.eye(A.shape[1]).to(A))
        c = torch.linalg.solve(normal, moments.unsqueeze(-1)).squeeze(-1)
        plane: Tensor = A @ torch.where(slopes.unsqueeze(-1), c, 0).mT
        return plane
