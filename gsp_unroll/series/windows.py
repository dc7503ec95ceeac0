"""Windows of a series, its parts in the order of time, and the scale of the earliest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import torch
from torch import Tensor

from .._checks import check_positive_count, check_tensor, mistake
from ..graph import Systems
from ._checks import check_series


def sliding_windows(series: Tensor, length: int, stride: int = 1) -> Tensor:
    r"""All stretches of `length` steps, one every `stride` steps: window $k$ is
    $x_{ks},\dots,x_{ks+l-1}$. A view: nothing is copied.

    Steps at the end that fill no whole window are in none.

    Args:
        series: values, NaN in gaps.
        length: steps of a window, 1 up to those of the series.
        stride: steps from one window to the next, at least 1.

    Shapes:
        - **series:** `(steps, nodes)` or `(steps, nodes, channels)`
        - **output:** `(windows, length, nodes)` or `(windows, length, nodes, channels)`

    Raises:
        ValueError: a series of other axes; a length or stride out of range.

    Example:
        >>> import torch
        >>> from gsp_unroll.series import sliding_windows
        >>> sliding_windows(torch.arange(5.0)[:, None], length=3, stride=2).squeeze(-1)
        tensor([[0., 1., 2.],
                [2., 3., 4.]])
    """
    check_series(series)
    check_positive_count(length, "length")
    check_positive_count(stride, "stride")
    if length > len(series):
        raise mistake(
            f"windows of {length} steps from a series of {len(series)}",
            "windows no longer than the series",
            "Shorten the windows or give a longer series.",
        )
    return series.unfold(0, length, stride).movedim(-1, 1)


def chronological_split(steps: int, shares: Sequence[float]) -> tuple[slice, ...]:
    """Parts of a series one after another, in shares of its length, e.g. to train, choose and test.

    Cut windows from each part by itself, so that no window reaches into the next part.

    Args:
        steps: length of the series, at least 1.
        shares: share of each part, above 0; together at most 1. Borders are rounded.

    Returns:
        A slice of the steps for each part.

    Raises:
        ValueError: shares of 0 or less or beyond 1 together; a part without a step.

    Example:
        >>> from gsp_unroll.series import chronological_split
        >>> chronological_split(10, [0.6, 0.2, 0.2])
        (slice(0, 6, None), slice(6, 8, None), slice(8, 10, None))
    """
    check_positive_count(steps, "steps")
    within = bool(shares) and all(share > 0 for share in shares) and sum(shares) <= 1 + 1e-9
    ends = [round(steps * share) for share in accumulate(shares if within else (), initial=0.0)]
    parts = tuple(slice(begin, end) for begin, end in pairwise(ends))
    if not within or any(part.start >= part.stop for part in parts):
        raise mistake(
            f"shares {tuple(shares)} of {steps} steps",
            "at least one, each above 0 and at least a step long, together at most 1",
            "Give e.g. (0.6, 0.2, 0.2) for a training, a choosing and a testing part.",
        )
    return parts


@dataclass(frozen=True, eq=False)
class Standardization:
    r"""Mean and deviation of every node over its training steps: $z=(x-\bar x)/\sigma$.

    Learn it from the training part alone: the rest is then scaled without having been seen. A gap
    stays a gap. A node that never changed, or was read less than twice, keeps its unit
    ($\sigma=1$); one without any reading has $\bar x=0$.

    Args:
        mean: per node and channel.
        deviation: above 0.

    Shapes:
        - **mean, deviation:** `(nodes,)` or `(nodes, channels)`

    Raises:
        ValueError: shapes that differ; a deviation that is not above 0; infinity.

    Example:
        >>> import torch
        >>> from gsp_unroll.series import Standardization
        >>> training = torch.tensor([[1.0], [torch.nan], [3.0]])
        >>> scale = Standardization.learned_from(training)
        >>> scale(torch.tensor([[4.0], [torch.nan]])).flatten()
        tensor([2., nan])
        >>> scale.inverse(scale(training)).flatten()
        tensor([1., nan, 3.])
    """

    mean: Tensor
    deviation: Tensor

    def __post_init__(self) -> None:
        usable = self.mean.isfinite().all() & self.deviation.isfinite().all()
        usable = usable & (self.deviation > 0).all()
        if self.mean.shape != self.deviation.shape or not bool(usable):
            deviations = self.deviation.flatten().tolist()
            raise mistake(
                f"means of shape {tuple(self.mean.shape)} and deviations of shape "
                f"{tuple(self.deviation.shape)}, the smallest {min(deviations, default=0):.3g} and "
                f"the largest {max(deviations, default=0):.3g}",
                "the same shape, finite values, and deviations above 0",
                "Use Standardization.learned_from(training), where only NaN marks a gap.",
            )

    @classmethod
    def learned_from(cls, training: Tensor) -> Standardization:
        """Of a series `(steps, nodes)` or `(steps, nodes, channels)`, NaN in gaps."""
        check_series(training)
        # in a unit of its own, so that no square overflows or vanishes; infinity stays
        unit = Systems().unit(training.nan_to_num(0, 0, 0).flatten(1)).reshape(training.shape[1:])
        mean = unit * (training / unit).nanmean(0).nan_to_num(0, torch.inf, -torch.inf)
        deviation = unit * ((training - mean) / unit).square().nanmean(0).sqrt().nan_to_num(0)
        changes = deviation > torch.finfo(training.dtype).eps * mean.abs()
        return cls(mean, torch.where(changes, deviation, 1))

    def __call__(self, x: Tensor) -> Tensor:
        """In units of the deviation."""
        self._check(x)
        return (x - self.mean) / self.deviation

    def inverse(self, z: Tensor) -> Tensor:
        """Back in the unit of the series."""
        self._check(z)
        return z * self.deviation + self.mean

    def _check(self, x: Tensor) -> None:
        check_tensor(x, "a series")
        places = tuple(self.mean.shape)
        if tuple(x.shape[-len(places) :]) != places:
            raise mistake(
                f"a series of shape {tuple(x.shape)}",
                f"(*batch, steps, {', '.join(map(str, places))}), the places it was learned from",
                "Give the same places in the same order, or learn from these ones.",
            )
