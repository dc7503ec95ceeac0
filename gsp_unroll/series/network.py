"""A network that fills the gaps of a window of many series, or continues them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from .._checks import (
    check_count,
    check_positive,
    check_positive_count,
    check_readings,
    check_same_kind,
    mistake,
)
from .._typing import Signal
from ..features import CausalTemporalConv
from ..graph import Graph, MixedGraph, Topology, space_time_graph
from ..learners import MahalanobisLearner, TemporalLearner
from ..operators import Diagonal
from ..problems import LeastSquares
from ..unroll import GuardedCG, MixedUnroll
from .forecast import LinearForecast


class SeriesNetwork(nn.Module):
    r"""Fills gaps, or looks ahead, by unrolled solves on learned graphs in space and in time.

    Each block draws two graphs on the places at all steps of a window and solves

    $$\min_x\;\tfrac12\!\!\sum_{\text{read}}(x_i-y_i)^2+\tfrac12\!\!\sum_{\text{missing}}
      c_t\,(x_i-m_i)^2+\tfrac{\mu_u}2x^\top L^ux+\tfrac{\mu_d}2\|L^d_rx\|_2^2
      +\lambda\|L^d_rx\|_1,$$

    where $m$ is a first estimate and $c_t$ how much it is worth at a step, learned. Filling gaps
    and forecasting are one problem: what is missing is scattered, or it is the last steps.

    - $m$ is 0, or in the future that of `forecast`. So let the signal be a deviation from what is
      usual (`DailyMean`), in units of its size (`Standardization`).
    - In the first block the graph in space falls with the distance of `points`, one per place, by a
      learned metric, and is the same at every step.
    - Later blocks draw both anew at every step: the features are the points, the number of the
      step, and what a causal convolution makes of the signal so far, of what was read and of the
      clock.

    Args:
        space: an undirected structure of the places, such as `knn_graph(points, 8)`.
        points: `(places, D)`, see `correlation_points`; kept with the network, not learned.
        steps: of a window, at least 1.
        forecast: None to fill gaps, or what estimates the last `forecast.ahead` steps of a window
            from the `forecast.past` steps before them.
        num_blocks: at least 1.
        cg_steps: of each solve, at least 1.
        lags: how far back an edge in time reaches, at least 1.
        history: features that the convolution makes, at least 1.
        clock: features of a step that are given on call, see `clock_features`; 0 for none.
        sharpness: above 0: the metric on the points starts at this multiple of the identity.
        confidence: above 0: initial $c$ of all steps.
        mu_u: initial weight in space, above 0.
        mu_d: initial weight in time, above 0.

    Shapes:
        - **y:** `(*batch, steps, places, 1)`, NaN where missing
        - **clock:** `(*batch, steps, clock)`
        - **output:** `(*batch, steps, places, 1)`, at readings too: smoothed as far as the weights
          say

    Raises:
        ValueError: a number out of range, points of other places, a forecast that does not fit; on
            call: another shape, dtype or device, infinite readings, a clock where none was
            announced or none where one was, or one that is not finite.

    Source:
        Qi et al. 2025 for the prior. Differs from it in: (1) the first estimate as a part of the
        data term; (2) the graph in space of the first block.

    Example:
        >>> import torch
        >>> from gsp_unroll import knn_graph
        >>> from gsp_unroll.series import SeriesNetwork
        >>> points = torch.rand(10, 2)
        >>> network = SeriesNetwork(knn_graph(points, 3), points, steps=6)
        >>> y = torch.randn(4, 6, 10, 1)
        >>> y[:, 2:4, 5] = torch.nan
        >>> network(y).isfinite().all()
        tensor(True)
    """

    points: Tensor

    def __init__(
        self,
        space: Topology,
        points: Tensor,
        steps: int,
        *,
        forecast: LinearForecast | None = None,
        num_blocks: int = 2,
        cg_steps: int = 12,
        lags: int = 2,
        history: int = 4,
        clock: int = 0,
        sharpness: float = 3.0,
        confidence: float = 0.01,
        mu_u: float = 0.1,
        mu_d: float = 0.3,
    ) -> None:
        super().__init__()
        check_positive_count(num_blocks, "num_blocks")
        check_positive(confidence, "confidence")
        check_count(clock, "clock")
        space.check_signal(points, "points")
        places = space.num_nodes
        if forecast is not None:
            _check_forecast(forecast, steps, places)
        self.space, self.steps, self.forecast, self.clock = space, steps, forecast, clock
        self.spatial, self.temporal = space_time_graph(space, steps, lags)
        self.register_buffer("points", points)
        self.log_confidence = nn.Parameter(torch.full((steps,), confidence).log())

        def solver() -> MixedUnroll:
            # one solve: the total variation acts through its threshold on the start
            return MixedUnroll(
                1, cg_steps, mu_u=mu_u, mu_d=mu_d, lam=1e-3, rho=0.01, solver=GuardedCG
            )

        size = points.shape[-1]
        self.in_space = MahalanobisLearner(size, init=sharpness, normalization="none")
        self.log_lags = nn.Parameter(-2.0 * torch.arange(lags))
        self.first = solver()
        self.later = nn.ModuleList(
            _Block(size, places, lags, history, 2 + clock, sharpness, solver())
            for _ in range(num_blocks - 1)
        )

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> SeriesNetwork:
        """Whatever moves parameters moves the structures too."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        device = self.points.device
        self.space = self.space.to(device)
        self.spatial, self.temporal = self.spatial.to(device), self.temporal.to(device)
        return self

    def forward(self, y: Signal, clock: Tensor | None = None) -> Signal:
        """The whole window.

        Args:
            y: readings, NaN where missing; of the future all are.
            clock: features of the steps, if the network was built for them.
        """
        self._check(y, clock)
        read = ~y.isnan()
        graph = self.graph
        y = torch.where(read, y, self._first_estimate(y, graph))
        trust = torch.where(read, 1, self.log_confidence.exp()[:, None, None]).sqrt()
        H = Diagonal(trust.flatten(-3, -2))
        data = LeastSquares.unchecked(H, H(y.flatten(-3, -2)))
        x = self.first(data, self._static(graph), y.flatten(-3, -2))
        known = self._known(read, clock).flatten(-3, -2)
        for block in self.later:
            x = block(data, x, known, self.points, self.spatial, self.temporal)
        window: Signal = x.unflatten(-2, y.shape[-3:-1])
        return window

    @property
    def graph(self) -> Graph:
        """The graph of the first block, on the places."""
        graph: Graph = self.in_space(self.points, self.space)
        return graph

    def _static(self, graph: Graph) -> MixedGraph:
        """The places' graph at every step, and a weight for each lag."""
        in_time = torch.cat(
            [
                weight.expand(max(self.steps - lag, 0) * len(self.points))
                for lag, weight in enumerate(self.log_lags.exp(), start=1)
            ]
        )
        return MixedGraph(
            Graph.unchecked(self.spatial, graph.weight.repeat(self.steps)),
            Graph.unchecked(self.temporal, in_time),
        )

    def _first_estimate(self, y: Signal, graph: Graph) -> Signal:
        if self.forecast is None:
            return torch.zeros_like(y)
        ahead, past = self.forecast.ahead, self.forecast.past
        future = self.forecast(y[..., -ahead - past : -ahead, :, :], graph)
        return torch.cat([torch.zeros_like(y[..., :-ahead, :, :]), future], -3)

    def _known(self, read: Tensor, clock: Tensor | None) -> Tensor:
        """What was read, and the clock at every place."""
        flags = read.to(self.points)
        if clock is None:
            return flags
        everywhere = clock.unsqueeze(-2).expand(*flags.shape[:-1], self.clock)
        return torch.cat([flags, everywhere], -1)

    def _check(self, y: Signal, clock: Tensor | None) -> None:
        wanted = (self.steps, len(self.points), 1)
        if y.shape[-3:] != wanted:
            raise mistake(
                f"a window of shape {tuple(y.shape)}",
                f"(*batch, {', '.join(map(str, wanted))})",
                "Cut windows with sliding_windows and add the channel with unsqueeze(-1).",
            )
        check_same_kind(y, self.points, "the window", "the network")
        if (clock is None) != (self.clock == 0) or (
            clock is not None and not self._fits(clock, y.shape[:-3])
        ):
            raise mistake(
                f"a clock of shape {None if clock is None else tuple(clock.shape)} for a window of "
                f"shape {tuple(y.shape)}",
                f"(*batch, {self.steps}, {self.clock})" if self.clock else "none",
                "Build the network with clock= the number of features of a step, and give each "
                "window its own, or all one.",
            )
        if clock is not None:
            check_same_kind(clock, self.points, "the clock", "the network")
        if not torch.compiler.is_compiling():
            self._check_values(y, clock)

    def _fits(self, clock: Tensor, batch: torch.Size) -> bool:
        own = clock.shape[:-2]
        along = zip(reversed(own), reversed(batch), strict=False)
        return (
            clock.shape[-2:] == (self.steps, self.clock)
            and len(own) <= len(batch)
            and all(n in (1, m) for n, m in along)
        )

    def _check_values(self, y: Signal, clock: Tensor | None) -> None:
        check_readings(y, "a window")
        if clock is not None and not bool(clock.isfinite().all()):
            raise mistake(
                f"a clock with {int((~clock.isfinite()).sum())} values that are NaN or infinite",
                "finite ones: the time is known where readings are not",
                "Make it of the times of all steps, e.g. with clock_features.",
            )
        if self.forecast is None or not y.numel():
            return
        ahead = self.forecast.ahead
        if not bool(y[..., -ahead:, :, :].isnan().any()):
            raise mistake(
                f"a window with all readings of the {ahead} steps to be forecast",
                "NaN in what is not known yet",
                "Hide it on a copy: y[..., -ahead:, :, :] = torch.nan.",
            )


class _Block(nn.Module):
    """Graphs from the signal so far, and a solve on them."""

    def __init__(
        self,
        size: int,
        places: int,
        lags: int,
        history: int,
        channels: int,
        sharpness: float,
        solver: MixedUnroll,
    ) -> None:
        super().__init__()
        self.conv = CausalTemporalConv(channels, history, num_layers=2, width=8, places=places)
        self.in_space = MahalanobisLearner(size + history, init=sharpness, normalization="none")
        self.in_time = TemporalLearner(1 + history, lags, places=places, init=1.4)
        self.solver, self.places = solver, places
        with torch.no_grad():  # what no training has made says little yet
            for learner, known in ((self.in_space, size), (self.in_time, 1)):
                learner.factor[..., known:, known:] *= 0.1

    def graph(
        self, x: Signal, known: Tensor, points: Tensor, spatial: Topology, temporal: Topology
    ) -> MixedGraph:
        """The graphs that the block draws."""
        history = self.conv(torch.cat([x, known], -1))
        steps = x.shape[-2] // self.places
        where = points.repeat(steps, 1).expand(*history.shape[:-1], -1)
        when = torch.arange(steps).to(points).repeat_interleave(self.places).unsqueeze(-1)
        when = when.expand(*history.shape[:-1], 1)
        return MixedGraph(
            self.in_space(torch.cat([where, history], -1), spatial),
            self.in_time(torch.cat([when, history], -1), temporal),
        )

    def forward(
        self,
        data: LeastSquares,
        x: Signal,
        known: Tensor,
        points: Tensor,
        spatial: Topology,
        temporal: Topology,
    ) -> Signal:
        """The signal, restored on graphs drawn from what it is so far."""
        restored: Signal = self.solver(data, self.graph(x, known, points, spatial, temporal), x)
        return restored


def _check_forecast(forecast: LinearForecast, steps: int, places: int) -> None:
    if forecast.past + forecast.ahead > steps or forecast.places != places:
        raise mistake(
            f"a forecast of {forecast.ahead} steps from {forecast.past} at {forecast.places} "
            f"places for windows of {steps} steps at {places} places",
            "windows that hold both, and the same places",
            "Set steps to past + ahead or more.",
        )
