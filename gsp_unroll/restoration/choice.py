"""How the prior and its weight are chosen: by hidden readings, by known noise, or by hand."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from .._checks import check_positive, check_positive_count, mistake
from .readings import Family, Readings, solved

#: Decades of the weight, relative to the mean degree.
DECADES = (1e-3, 1e-2, 1e-1, 1.0, 1e1, 1e2)
#: Precision of a solve that only ranks candidates.
ROUGH = 1e-4


@dataclass(frozen=True)
class Candidate:
    """A prior, its weight, and how well it did.

    Args:
        prior: `(graph, weight) -> Prior`, such as `GLR` or `GTV`.
        weight: relative to the mean degree of the graph and, for a norm such as `GTV`, to the
            spread of the readings.
        error: estimated root mean square error in units of the spread; below 0 where `SURE` finds
            a square below 0, NaN if nobody asked.

    Example:
        >>> from gsp_unroll import GTV
        >>> from gsp_unroll.restoration import Candidate
        >>> Candidate(GTV, 0.1).name
        'GTV'
    """

    prior: Family
    weight: float
    error: float = math.nan

    @property
    def name(self) -> str:
        """The name of the prior."""
        return getattr(self.prior, "__name__", type(self.prior).__name__)


class Choice(ABC):
    """A way to choose; a subclass writes `candidates`.

    Example:
        >>> import torch
        >>> from gsp_unroll import GLR, path_graph, restore
        >>> from gsp_unroll.restoration import Candidate, Choice
        >>> class Weakest(Choice):
        ...     def candidates(self, readings):
        ...         return (Candidate(GLR, 1e-3),)
        >>> restore(torch.tensor([1.0, torch.nan, 3.0]), path_graph(3), Weakest()).choice.weight
        0.001
    """

    @abstractmethod
    def candidates(self, readings: Readings) -> tuple[Candidate, ...]:
        """What was tried, at least one."""

    def best(self, candidates: tuple[Candidate, ...]) -> Candidate:
        """The candidate of lowest error; the first of equal ones."""
        return min(candidates, key=lambda c: math.inf if math.isnan(c.error) else c.error)


@dataclass(frozen=True)
class Fixed(Choice):
    """Nothing is chosen: this prior at this weight.

    Args:
        prior: `(graph, weight) -> Prior`, such as `GLR` or `GTV`.
        weight: relative, as in `Candidate`; above 0.

    Raises:
        ValueError: a weight that is not above 0.

    Example:
        >>> import torch
        >>> from gsp_unroll import GLR, path_graph, restore
        >>> from gsp_unroll.restoration import Fixed
        >>> restore(torch.tensor([1.0, torch.nan, 3.0]), path_graph(3), Fixed(GLR, 0.01)).x
        tensor([1.0074, 2.0000, 2.9926])
    """

    prior: Family
    weight: float

    def __post_init__(self) -> None:
        check_positive(self.weight, "weight")

    def candidates(self, readings: Readings) -> tuple[Candidate, ...]:
        return (Candidate(self.prior, self.weight),)


@dataclass(frozen=True)
class HoldOut(Choice):
    r"""Some of the readings are hidden, and what restores them best is chosen.

    The readings of a channel are dealt to `folds` piles, one pile is hidden at a time, and the
    error is the root mean square over all hidden readings, those of each channel in units of its
    spread. Each prior is tried at every weight, then half way between its best one and the
    neighbours on the grid. Nothing is known of a reading whose part of the graph has no other: it
    does not count.

    Readings are dealt by how far they are from the mean of their channel. So the choice depends on
    neither the order of the nodes nor the unit of the signal, unless readings are equal.

    Args:
        folds: at least 2.
        seed: of the dealing.
        priors: `(graph, weight) -> Prior` each; by default `GLR`, `GTV` and, where coordinates are
            given, `AboutPlane`.
        weights: to try, ascending, relative as in `Candidate`.
        values: of a signal with more values than this, channels drawn at random are looked at.

    Raises:
        ValueError: a number out of range; on use: too few readings to hide any.

    Source:
        Cross-validation, Stone 1974.

    Example:
        >>> import torch
        >>> from gsp_unroll import path_graph, restore
        >>> from gsp_unroll.restoration import HoldOut
        >>> y = torch.sin(torch.arange(40.0) / 6)
        >>> y[torch.arange(40) % 3 == 1] = torch.nan
        >>> restore(y, path_graph(40), HoldOut(folds=5)).choice.prior.__name__
        'GLR'
    """

    folds: int = 4
    seed: int = 0
    priors: tuple[Family, ...] | None = None
    weights: tuple[float, ...] = DECADES
    values: int = 20_000

    def __post_init__(self) -> None:
        check_positive_count(self.values, "values")
        check_positive_count(self.folds, "folds")
        if self.folds < 2:
            raise mistake(f"folds={self.folds}", "at least 2", "One pile would hide everything.")
        _check_grid(self.priors, self.weights)

    def candidates(self, readings: Readings) -> tuple[Candidate, ...]:
        y = readings.standard[:, _some_channels(readings, self.values, self.seed)]
        known = ~y.isnan()
        fold = self._deal(y)
        hidden = [known & (fold == number) for number in range(self.folds)]
        # the piles stand side by side as channels: one solve for all
        left = torch.cat([known & ~pile for pile in hidden], -1)
        asked = torch.cat(hidden, -1) & readings.determined(left)
        target = y.repeat(1, self.folds)
        if not bool(asked.any()):
            raise mistake(
                f"{int(known.sum())} readings, none of which has another one in its part of the "
                "graph when it is hidden",
                "at least two in one part, to hide one",
                "Name a prior and a weight with Fixed(GLR, 1.0), or join more nodes.",
            )

        def error(family: Family, weight: float) -> float:
            problem = readings.problem(family, weight, target, left)
            off = (solved(problem, ROUGH).x - target)[asked]
            return float(off.square().mean().sqrt())

        families = readings.families if self.priors is None else self.priors
        return tuple(_search(error, families, self.weights))

    def _deal(self, y: torch.Tensor) -> torch.Tensor:
        """The pile of each reading, by its rank among those of its channel."""
        random = torch.Generator().manual_seed(self.seed)
        rounds = -(-y.shape[0] // self.folds)
        pile = torch.cat([torch.randperm(self.folds, generator=random) for _ in range(rounds)])
        # NaN comes last
        rank = y.abs().argsort(dim=0, stable=True).argsort(dim=0)
        return pile.to(y.device)[rank]


@dataclass(frozen=True)
class SURE(Choice):
    r"""For signals without gaps, in noise of known strength: Stein's unbiased risk estimate.

    With a random probe $b$ of $\pm1$ for the divergence of the estimate $f(y)$ it is

    $$\tfrac1n\|f(y)-y\|^2-\sigma^2
      +\tfrac{2\sigma^2}{n}\,b^\top\frac{f(y+\epsilon b)-f(y)}\epsilon .$$

    No reading is hidden, so it judges the very estimate that is returned. It may come out below 0;
    the error is its root with its sign, so that lower is better there too.

    Args:
        sigma: standard deviation of the noise, above 0, in the unit of the signal.
        seed: of the probe.
        priors: `(graph, weight) -> Prior` each; by default `GLR`, `GTV` and, where coordinates are
            given, `AboutPlane`.
        weights: to try, ascending, relative as in `Candidate`.
        values: of a signal with more values than this, channels drawn at random are looked at.

    Raises:
        ValueError: a number out of range; on use: a signal with gaps.

    Source:
        Ramani, Blu and Unser 2008, Monte-Carlo SURE.

    Example:
        >>> import torch
        >>> from gsp_unroll import path_graph, restore
        >>> from gsp_unroll.restoration import SURE
        >>> truth = (torch.arange(60) >= 30).double()
        >>> y = truth + 0.1 * torch.randn(60, generator=torch.Generator().manual_seed(0)).double()
        >>> restore(y, path_graph(60), SURE(0.1)).choice.name
        'GTV'
    """

    sigma: float
    seed: int = 0
    priors: tuple[Family, ...] | None = None
    weights: tuple[float, ...] = DECADES
    values: int = 20_000

    def __post_init__(self) -> None:
        check_positive(self.sigma, "sigma")
        check_positive_count(self.values, "values")
        _check_grid(self.priors, self.weights)

    def candidates(self, readings: Readings) -> tuple[Candidate, ...]:
        gaps = int((~readings.known).sum())
        if gaps:
            raise mistake(
                f"a signal with {gaps} gaps for SURE",
                "a reading everywhere: the estimate knows nothing of the error in a gap",
                "Choose by hidden readings, HoldOut().",
            )
        picked = _some_channels(readings, self.values, self.seed)
        y, known = readings.standard[:, picked], readings.known[:, picked]
        sigma = self.sigma / readings.spread.expand_as(readings.y)[:, picked]
        random = torch.Generator().manual_seed(self.seed)
        b = torch.randint(2, y.shape, generator=random).to(y) * 2 - 1
        epsilon = 0.1 * sigma

        def error(family: Family, weight: float) -> float:
            def f(y: torch.Tensor) -> torch.Tensor:
                return solved(readings.problem(family, weight, y, known), ROUGH**1.5).x

            x = f(y)
            divergence = b * (f(y + epsilon * b) - x) / epsilon
            risk = (x - y).square() - sigma**2 + 2 * sigma**2 * divergence
            mean = float(risk.mean())
            return math.copysign(math.sqrt(abs(mean)), mean)

        families = readings.families if self.priors is None else self.priors
        return tuple(_search(error, families, self.weights))


def _check_grid(priors: tuple[Family, ...] | None, weights: tuple[float, ...]) -> None:
    for name, values in (("priors", priors), ("weights", weights)):
        if values is not None and not isinstance(values, Sequence):
            raise mistake(
                f"{name}={values!r}",
                "several, in a tuple",
                f"Write {name}=(...,) with a comma, also around a single one.",
            )
    if (priors is not None and not priors) or not weights or list(weights) != sorted(set(weights)):
        raise mistake(
            f"{'the usual' if priors is None else len(priors)} priors and the weights {weights}",
            "at least one of each, the weights ascending",
            "Leave them out to try the usual ones over five decades.",
        )
    for weight in weights:
        check_positive(weight, "weights")


def _some_channels(readings: Readings, values: int, seed: int) -> torch.Tensor:
    """Channels that hold so many values, at least one; of those with readings to compare, if any.

    They are drawn at random: a stride may meet the same hour of every day.
    """
    telling = (readings.known.sum(0) > 1).nonzero().squeeze(-1).cpu()
    if not len(telling):
        telling = torch.arange(readings.y.shape[1])
    count = max(1, values // len(readings.y))
    random = torch.Generator().manual_seed(seed)
    drawn = torch.randperm(len(telling), generator=random)[:count].sort().values
    return telling[drawn].to(readings.y.device)


def _search(
    error: Callable[[Family, float], float],
    priors: tuple[Family, ...],
    weights: tuple[float, ...],
) -> Iterator[Candidate]:
    """Every weight of the grid, and those between the best one and its neighbours."""
    for prior in priors:
        tried = [Candidate(prior, weight, error(prior, weight)) for weight in weights]
        yield from tried
        best = min(range(len(tried)), key=lambda i: tried[i].error)
        for near in (best - 1, best + 1):
            if 0 <= near < len(weights):
                weight = math.sqrt(weights[best] * weights[near])
                yield Candidate(prior, weight, error(prior, weight))
