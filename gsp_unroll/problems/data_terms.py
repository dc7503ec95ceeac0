"""How the restored signal must agree with what was observed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from .._checks import check_finite, check_same_device, check_same_kind, check_signal, mistake
from .._typing import Mask, PerSystem, Signal
from ..graph import Systems, safe_reciprocal
from ..operators import Diagonal, LinearOperator, Selection, SelfAdjoint, Split

#: $(lo, hi)$ in any order, numbers or tensors that broadcast against signals.
Box = tuple[Signal, Signal] | tuple[float, float]


@dataclass(frozen=True, eq=False)
class DataTerm(ABC):
    r"""An observation $y$ of a signal $x$ through $H$, and how strictly it binds.

    A subclass writes `system`, which is all a solver needs: the linear system whose solution
    minimises $\tfrac12x^\top Qx-c^\top x$ plus (or subject to) the term.

    Args:
        H: forward operator.
        y: observation, in the range of `H`. Values that `H` never reads (unobserved nodes of a
            `SamplingMask`) may be anything, NaN included.

    Shapes:
        - **y:** `(*batch, nodes, channels)`, or what `H` makes of such a signal

    Raises:
        ValueError: an observation on other nodes, of other channels or on another device than `H`
            wants, or with NaN or infinity where it is read.

    Example:
        >>> import torch
        >>> from gsp_unroll import (
        ...     DataTerm,
        ...     Graph,
        ...     Laplacian,
        ...     LeastSquares,
        ...     SamplingMask,
        ...     path_graph,
        ... )
        >>> y = torch.tensor([[1.0], [torch.nan]])
        >>> data = LeastSquares(SamplingMask(~y.isnan()), y)
        >>> A, b = data.system(Laplacian(Graph(path_graph(2), torch.tensor([2.0, 0.0]))))
        >>> isinstance(data, DataTerm), A.diagonal().flatten(), b.flatten()
        (True, tensor([3., 2.]), tensor([1., 0.]))
    """

    H: LinearOperator
    y: Signal

    def __post_init__(self) -> None:
        check_signal(self.y, self.H.num_outputs, "observation")
        t = self.backprojected  # the adjoint checks channels and device
        if not torch.compiler.is_compiling():
            check_finite(t, "observation")

    @classmethod
    def unchecked(cls, H: LinearOperator, y: Signal) -> Self:
        """The term as given: for layers and networks, where a look at the values would stall the
        device."""
        data = object.__new__(cls)
        object.__setattr__(data, "H", H)
        object.__setattr__(data, "y", y)
        return data

    @abstractmethod
    def system(self, Q: LinearOperator, c: Signal | None = None) -> tuple[LinearOperator, Signal]:
        r"""$(A, b)$ with $Ax=b$ at the minimiser of $\tfrac12x^\top Qx-c^\top x$ and this term."""

    @abstractmethod
    def value(self, x: Signal, systems: Systems) -> PerSystem:
        """What the term adds to the objective at `x`, one number per system."""

    @abstractmethod
    def lower_bound(
        self, v: Signal, systems: Systems, box: Box | None = None, at: Signal | None = None
    ) -> PerSystem | None:
        r"""A lower bound of $\min_x\,\mathrm{data}(x)+\langle v,x\rangle$, or None where none is
        known (`Problem.duality_gap` needs one).

        Args:
            v: a signal.
            systems: of the bound.
            box: $(lo, hi)$, in which a minimiser lies; None where every value is observed.
            at: a point for a tangent, the nearer to the minimiser the better.
        """

    def strong_convexity(self) -> float:
        r"""A number $m\ge0$ with $H^\top H\succeq m$; 0 where no better one is known."""
        return 0.0

    def feasible(self, x: Signal) -> Signal:
        """The signal nearest to `x` that the term allows."""
        return x

    @property
    def backprojected(self) -> Signal:
        """`H'y`: the observation where it belongs, zero elsewhere."""
        return self.H.T(self.y)

    @property
    def observed(self) -> Mask | None:
        """`H'H` as a mask, on the device of `y`; None when `H` is no selection."""
        return self.H.observed.to(self.y.device) if isinstance(self.H, Selection) else None

    def around(self, base: Signal) -> Self:
        """The same term for `x - base`: the observation becomes `y - H base`."""
        check_same_kind(base, self.y, "the base", "the observation")
        return self.unchecked(self.H, self.y - self.H(base))

    def per_head(self) -> Self:
        """The same term with an axis of length 1 for the heads before the nodes."""
        return self.unchecked(self.H.per_head(), self.y.unsqueeze(-3))

    def estimate(self) -> tuple[Signal, Mask]:
        r"""A first value where the observation reaches, $H^\top y\,/\,H^\top H\mathbf 1$, and where
        that is."""
        t = self.backprojected
        mask = self.observed
        if mask is not None:
            return t, mask
        reach = self.H.T(self.H(torch.ones_like(t)))
        return t * safe_reciprocal(reach), reach > torch.finfo(t.dtype).eps


@dataclass(frozen=True, eq=False)
class LeastSquares(DataTerm):
    r"""$\tfrac12\|Hx-y\|_2^2$: noisy observations.

    The term carries the factor one half; weights of priors multiply the prior. Its system is
    $(H^\top H+Q)x=H^\top y+c$.

    Args:
        H: what was measured, any operator.
        y: the observation; what stands where a selection observes nothing is never read.

    Shapes:
        - **y:** `(*batch, nodes, channels)`, or what `H` makes of such a signal

    Raises:
        ValueError: an observation that does not fit `H`, or is not finite where it was observed.

    Example:
        >>> import torch
        >>> from gsp_unroll import Identity, LeastSquares
        >>> data = LeastSquares(Identity(), torch.tensor([[1.0], [3.0]]))
        >>> data.backprojected.flatten()
        tensor([1., 3.])
    """

    def system(self, Q: LinearOperator, c: Signal | None = None) -> tuple[LinearOperator, Signal]:
        b = self.backprojected
        return self.H.gram + Q, b if c is None else b + c

    def value(self, x: Signal, systems: Systems) -> PerSystem:
        mask = self.observed
        if mask is not None:  # H H' = I, so the misfit may be taken on the nodes
            misfit = torch.where(mask, x - self.backprojected, 0)
            return 0.5 * systems.inner(misfit, misfit)
        misfit = self.H(x) - self.y
        if systems.num_graphs > 1 and misfit.shape[-2] != x.shape[-2]:
            raise mistake(
                f"{misfit.shape[-2]} observed values for a batch of {systems.num_graphs} graphs",
                "one observation per node, so that each graph has its own misfit",
                "Solve the graphs one by one, or use a SamplingMask.",
            )
        return 0.5 * systems.inner(misfit, misfit)

    def lower_bound(
        self, v: Signal, systems: Systems, box: Box | None = None, at: Signal | None = None
    ) -> PerSystem | None:
        mask = self.observed
        if mask is not None:
            at_samples = v * self.backprojected - 0.5 * v**2
            return systems.total(torch.where(mask, at_samples, _least(v, box)))
        if box is None or at is None:
            return None
        # a square lies above its tangent, whose least value in a box is at one of its corners
        slope = self.H.T(self.H(at) - self.y)
        tangent = self.value(at, systems) - systems.inner(slope, at)
        return tangent + systems.total(_least(v + slope, box))

    def strong_convexity(self) -> float:
        mask = self.observed
        if mask is not None:
            return float(mask.all())
        return float((self.H.d**2).min()) if isinstance(self.H, Diagonal) else 0.0


@dataclass(frozen=True, eq=False)
class Interpolation(DataTerm):
    r"""$Hx=y$ exactly: noise-free samples, the rest to be filled in.

    With $P=I-H^\top H$, the system is $(PQP+H^\top H)x=P(c-QH^\top y)+H^\top y$. A weight in front
    of the prior has no effect here. A part of the graph without any sample is undetermined up to a
    constant: a solver leaves it at the level of its start.

    Args:
        H: a `Selection`: SamplingMask, BayerMosaic, ColorMosaic, Downsample.
        y: samples.

    Shapes:
        - **y:** `(*batch, nodes, channels)`, or what `H` makes of such a signal

    Raises:
        ValueError: `H` does not select single values; samples that do not fit `H`, or are not
            finite where they are read.

    Example:
        >>> import torch
        >>> from gsp_unroll import Interpolation, SamplingMask
        >>> y = torch.tensor([[1.0], [torch.nan], [3.0]])
        >>> Interpolation(SamplingMask(~y.isnan()), y).backprojected.flatten()
        tensor([1., 0., 3.])
    """

    def __post_init__(self) -> None:
        if not isinstance(self.H, Selection):
            raise mistake(
                f"a hard constraint through {type(self.H).__name__}",
                "an operator that selects values: SamplingMask, ColorMosaic, Downsample",
                "Use LeastSquares(H, y) for any other operator.",
            )
        super().__post_init__()

    @property
    def mask(self) -> Mask:
        """True where a value is given."""
        assert isinstance(self.H, Selection)
        return self.H.observed.to(self.y.device)

    def system(self, Q: LinearOperator, c: Signal | None = None) -> tuple[LinearOperator, Signal]:
        t = self.backprojected
        pull = -Q(t) if c is None else c - Q(t)
        return Pinned(Q, self.mask), torch.where(self.mask, t, pull)

    def value(self, x: Signal, systems: Systems) -> PerSystem:
        return systems.total(torch.zeros_like(x))

    def feasible(self, x: Signal) -> Signal:
        return torch.where(self.mask, self.backprojected, x)

    def lower_bound(
        self, v: Signal, systems: Systems, box: Box | None = None, at: Signal | None = None
    ) -> PerSystem | None:
        at_samples = v * self.backprojected
        return systems.total(torch.where(self.mask, at_samples, _least(v, box)))


@dataclass(frozen=True, eq=False)
class Pinned(SelfAdjoint):
    """`P Q P + H'H`: the identity where a value is given, symmetric `Q` among the others."""

    Q: LinearOperator
    mask: Mask

    def __post_init__(self) -> None:
        object.__setattr__(self, "num_inputs", self.Q.num_inputs)
        object.__setattr__(self, "num_outputs", self.Q.num_outputs)
        object.__setattr__(self, "couples_channels", self.Q.couples_channels)

    @property
    def systems(self) -> Systems:
        return self.Q.systems

    def _apply(self, x: Signal) -> Signal:
        check_same_device(x, self.mask, "a signal", "the observation")
        return torch.where(self.mask, x, self.Q._apply(torch.where(self.mask, 0, x)))

    def split(self) -> Split | None:
        q = self.Q.split()
        return None if q is None or q.fixed is not None else q._replace(fixed=self.mask)

    def diagonal(self) -> Tensor | None:
        return self._pinned(self.Q.diagonal())

    def majorizer(self) -> Tensor | None:
        return self._pinned(self.Q.majorizer())

    def _pinned(self, d: Tensor | None) -> Tensor | None:
        return None if d is None else torch.where(self.mask, torch.ones_like(d), d)


def range_of_samples(data: DataTerm, systems: Systems, level: Signal | None = None) -> Box:
    r"""The box of a prior that no clipping of a signal, or of $x/s$ for a level $s$, can raise.

    Clipping $x/s$ to the range of its samples brings no sample further from its target. So a
    minimiser lies in the box $[s\,lo, s\,hi]$; a channel without samples may be taken as zero.

    Args:
        data: of a selection.
        systems: each graph and channel of which has a range of its own.
        level: $s$; 1 by default.
    """
    t, mask = data.backprojected, data.observed
    assert mask is not None
    if level is not None:
        mask = mask & (level != 0)
        t = t / torch.where(level == 0, 1, level)
    each = systems.separate()
    hi = each.maximum(torch.where(mask, t, -torch.inf))
    lo = -each.maximum(torch.where(mask, -t, -torch.inf))
    none = lo > hi
    hi, lo = (each.spread(torch.where(none, 0, s)) for s in (hi, lo))
    return (lo, hi) if level is None else (level * lo, level * hi)


def _least(v: Signal, box: Box | None) -> Signal:
    """The least value of each `v x` over a box; 0 where none is asked for."""
    return torch.zeros_like(v) if box is None else torch.minimum(v * box[0], v * box[1])
