"""What the clock knows of a series: time of day, day of the week, and what is usual then."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from .._checks import check_positive_count, check_readings, mistake
from ..graph import safe_reciprocal
from ._checks import check_series

DAY = np.timedelta64(1, "D")


def clock_features(times: np.ndarray) -> Tensor:
    r"""The time of day on a circle and the day of the week as a choice of seven:
    $(\sin\omega,\cos\omega,\mathbb 1_{\mathrm{Mon}},\dots,\mathbb 1_{\mathrm{Sun}})$ with
    $\omega=2\pi\cdot$ time of day.

    Args:
        times: NumPy dates and times without a time zone, each later than the one before; all of
            one zone. For pandas: `index.tz_localize(None).to_numpy()`.

    Shapes:
        - **times:** `(steps,)`
        - **output:** `(steps, 9)`, float32

    Raises:
        ValueError: anything but dates and times, none, or some that are missing or out of order.

    Example:
        >>> import numpy as np
        >>> from gsp_unroll.series import clock_features
        >>> clock_features(np.array(["2012-03-01T06:00"], dtype="datetime64[m]"))  # a Thursday
        tensor([[1., 0., 0., 0., 0., 1., 0., 0., 0.]])
    """
    times = np.asarray(times)
    if times.dtype.kind != "M" or times.ndim != 1 or not len(times) or np.isnat(times).any():
        raise mistake(
            f"times of shape {times.shape} and dtype {times.dtype}",
            "one axis of datetime64, none of them missing",
            "Convert them, e.g. np.array(texts, dtype='datetime64[m]'), in one time zone.",
        )
    if bool((times[1:] <= times[:-1]).any()):
        where = int(np.argmax(times[1:] <= times[:-1]))
        raise mistake(
            f"{times[where + 1]} after {times[where]}",
            "times in order, each one once",
            "Sort the series by time and merge doubles; do not mix time zones.",
        )
    days = times.astype("datetime64[D]")
    angle = 2 * torch.pi * torch.from_numpy((times - days) / DAY)
    weekday = torch.from_numpy((days.astype(np.int64) + 3) % 7)  # 1 January 1970: a Thursday
    circle = torch.stack([angle.sin(), angle.cos()], -1).float()
    circle = torch.where(circle.abs() < 1e-6, 0, circle)  # sin(pi) is meant to be 0
    return torch.cat([circle, functional.one_hot(weekday, 7).float()], -1)


@dataclass(frozen=True, eq=False)
class DailyMean:
    r"""What is usual at a time of day: $\bar x_k=\sum_{t\equiv k}q_tx_t\,/\sum_{t\equiv k}q_t$
    over the training steps $t$ that fall into slot $k$ of the day.

    Deviations from it are what space and time have to explain. A slot of a node without readings
    takes the mean of the node, a node without any that of all nodes.

    Args:
        mean: usual values, finite; slot 0 is where the day begins.

    Shapes:
        - **mean:** `(slots, nodes)` or `(slots, nodes, channels)`

    Raises:
        ValueError: a mean of other axes, or not finite.

    Example:
        >>> import torch
        >>> from gsp_unroll.series import DailyMean
        >>> two_days = torch.tensor([[1.0], [5.0], [3.0], [torch.nan]])
        >>> usual = DailyMean.learned_from(two_days, slots=2)
        >>> usual.at(first=1, steps=3).flatten()
        tensor([5., 2., 5.])
    """

    mean: Tensor

    def __post_init__(self) -> None:
        check_series(self.mean)
        if not bool(self.mean.isfinite().all()):
            raise mistake(
                "a daily mean with NaN or infinity",
                "a value in every slot at every node",
                "Use DailyMean.learned_from, which fills slots without readings.",
            )

    @classmethod
    def learned_from(
        cls,
        training: Tensor,
        slots: int,
        *,
        first: int = 0,
        reach: int = 0,
        weight: Tensor | None = None,
    ) -> DailyMean:
        """Of a series, smoothed over neighbouring slots.

        Args:
            training: `(steps, nodes)` or `(steps, nodes, channels)`, NaN in gaps.
            slots: steps of a day, at least 1.
            first: the slot of the first step.
            reach: slots to either side that are averaged with each, around midnight too; 0 or
                more.
            weight: $q$, `(steps,)`, 0 or more: what each step counts, e.g. more on days of the
                kind that is to be forecast. None counts all alike.

        Raises:
            ValueError: no slots, a negative reach, weights of another shape or below 0, a series
                without any reading or with infinite ones.
        """
        check_series(training)
        check_readings(training, "a series")
        check_positive_count(slots, "slots")
        q = torch.ones(len(training)).to(training) if weight is None else weight.to(training)
        if q.shape != (len(training),) or not bool((q >= 0).all()) or reach < 0:
            raise mistake(
                f"weights of shape {tuple(q.shape)} and reach={reach}",
                f"{len(training)} weights and a reach, 0 or more",
                "Give one weight for each step.",
            )
        known = ~training.isnan()
        if not bool(known.any()):
            raise mistake(
                "a series without any reading",
                "some to learn from",
                "Check what marks a gap: only NaN does.",
            )
        flat, known = training.nan_to_num(0).flatten(1), known.flatten(1)
        counts = q[:, None] * known.to(flat)
        slot = (first + torch.arange(len(flat), device=flat.device)) % slots
        zeros = flat.new_zeros(slots, flat.shape[1])
        total = _around(zeros.index_add(0, slot, counts * flat), reach)
        count = _around(zeros.index_add(0, slot, counts), reach)
        number = known.sum(0)
        everywhere = flat.sum() / number.sum()
        of_node = torch.where(number > 0, flat.sum(0) / number.clamp(min=1), everywhere)
        mean = torch.where(count > 0, total * safe_reciprocal(count), of_node)
        return cls(mean.unflatten(1, training.shape[1:]))

    def at(self, first: int, steps: int) -> Tensor:
        """What is usual at `steps` steps from the slot `first` on, `(steps, nodes[, channels])`."""
        check_positive_count(steps, "steps")
        slot = torch.arange(first, first + steps, device=self.mean.device) % len(self.mean)
        return self.mean[slot]


def _around(x: Tensor, reach: int) -> Tensor:
    """Sums over `reach` slots to either side, around midnight."""
    total = x
    for offset in range(1, reach + 1):
        total = total + x.roll(offset, 0) + x.roll(-offset, 0)
    return total
