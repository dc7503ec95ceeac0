"""What was read, in units in which one grid of weights serves every signal and every graph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from .._checks import check_readings, check_same_device, check_signal, mistake
from .._typing import Mask, Signal
from ..graph import Graph, safe_reciprocal
from ..graph.statistics import components, determined
from ..operators import SamplingMask
from ..problems import GLR, GTV, LeastSquares, Prior, Problem, start
from ..solvers import ADMM, ConjugateGradient, DampedJacobi, Solution
from .trend import AboutPlane, PlaneGLR, tells_plane

#: A prior of a given weight on a graph: `GLR`, `GTV`, or a function of your own.
Family = Callable[[Graph, float], Prior]


@dataclass(frozen=True, eq=False)
class Readings:
    r"""Readings on a graph, and their units: $y\mapsto(y-\mathrm{level})/\mathrm{spread}$, the mean
    and the standard deviation of the readings of each channel.

    Args:
        y: readings, NaN where there is none.
        graph: weighted graph, whose dtype is that of the arithmetic.
        about: the prior about a plane through the places of the nodes, if these are known.

    Shapes:
        - **y:** `(nodes, channels)`

    Raises:
        ValueError: readings that are infinite, or none at all.

    Example:
        >>> import torch
        >>> from gsp_unroll import Graph, path_graph
        >>> from gsp_unroll.restoration import Readings
        >>> y = torch.tensor([[1.0], [torch.nan], [3.0]])
        >>> readings = Readings(y, Graph(path_graph(3), torch.ones(3)))
        >>> readings.level[0].item(), readings.standard.flatten()
        (2.0, tensor([-1., nan, 1.]))
    """

    y: Signal
    graph: Graph
    about: AboutPlane | None = None

    def __post_init__(self) -> None:
        check_readings(self.y, "a signal")
        if not bool(self.known.any()):
            raise mistake(
                f"a signal of shape {tuple(self.y.shape)} without any reading",
                "at least one that is not NaN",
                "Check how missing values are marked, and that the file was read.",
            )

    @classmethod
    def of(cls, y: Signal, graph: Graph, about: AboutPlane | None = None) -> Readings:
        """The readings in the dtype of the graph.

        Raises:
            ValueError: a signal of another shape, number of nodes or device, infinite readings, or
                none.
        """
        check_signal(y, graph.num_nodes, "signal")
        check_same_device(y, graph.weight, "a signal", "the graph")
        if y.ndim != 2:
            raise mistake(
                f"a signal of shape {tuple(y.shape)}",
                "(nodes,) or (nodes, channels)",
                "Put several signals side by side as channels: y.movedim(-2, 0).flatten(1).",
            )
        return cls(y.detach().to(graph.weight.dtype), graph, about)

    @cached_property
    def known(self) -> Mask:
        return ~self.y.isnan()

    @cached_property
    def level(self) -> Signal:
        """The mean of the readings, as a signal."""
        return self._mean(torch.where(self.known, self.y, 0) / self._unit) * self._unit

    @cached_property
    def spread(self) -> Signal:
        """Their standard deviation, as a signal; 1 where it vanishes."""
        off = torch.where(self.known, self.y - self.level, 0) / self._unit
        s = self._mean(off.square()).sqrt() * self._unit
        # what rounding leaves of readings that are all alike is no spread
        return torch.where(s > 100 * torch.finfo(s.dtype).eps * self.level.abs(), s, 1)

    @cached_property
    def _unit(self) -> Signal:
        """The size of the readings, in which no square of them overflows or vanishes."""
        systems = self.graph.topology.systems
        return systems.spread(systems.unit(torch.where(self.known, self.y, 0)))

    def _mean(self, x: Signal) -> Signal:
        systems = self.graph.topology.systems
        count = systems.total(self.known.to(x.dtype))
        return systems.spread(systems.total(x) * safe_reciprocal(count))

    @cached_property
    def standard(self) -> Signal:
        """The readings in these units, NaN where there is none."""
        return (self.y - self.level) / self.spread

    def back(self, x: Signal) -> Signal:
        """A signal in the units of the readings."""
        return self.level + self.spread * x

    @cached_property
    def parts(self) -> Tensor:
        """The number of the connected part that each node is in."""
        return components(self.graph)

    def determined(self, known: Mask) -> Mask:
        """True at nodes whose part of the graph has a known value."""
        return determined(self.parts, known)

    @property
    def families(self) -> tuple[Family, ...]:
        """What is tried unless somebody says otherwise: GLR, GTV, and GLR about a plane if the
        readings of a channel tell one."""
        about = self.about
        if about is None or not bool(tells_plane(about.axes, self.known, self.parts).any()):
            return GLR, GTV
        return GLR, GTV, about

    def problem(self, family: Family, weight: float, y: Signal, known: Mask) -> Problem:
        r"""Readings `y` where `known`, with the prior at a weight that is relative: to the typical
        diagonal entry of $K^\top WK$, the mean degree of the graph for `GLR` and `GTV`."""
        unit = family(self.graph, 1.0).normal.majorizer()
        size = 1.0 if unit is None or not unit.numel() else float(unit.mean())
        prior = family(self.graph, weight / size if size > 0 else weight)
        if isinstance(prior, PlaneGLR):
            prior = prior.seen(known, self.parts)
        return Problem(LeastSquares(SamplingMask(known), y), prior)


def solved(problem: Problem, rtol: float) -> Solution:
    """Conjugate gradients for a quadratic prior, ADMM for any other."""
    prior, data = problem.prior, problem.data
    rtol = max(rtol, 50 * torch.finfo(data.y.dtype).eps)
    if prior.Q is not None:
        graph = getattr(prior.summands[0], "graph", None)
        x0 = None if graph is None else start(data, graph.topology)
        if isinstance(prior, PlaneGLR):
            plane = prior.plane(data)
            x0 = plane + start(data.around(plane), prior.graph.topology)
        return ConjugateGradient(rtol, max_steps=5000).solve(*problem.system(), x0)
    # what lets one kernel take many steps
    linear_solver = DampedJacobi(10) if type(prior) is GTV else None
    return ADMM(rtol=rtol, linear_solver=linear_solver).solve(problem)
