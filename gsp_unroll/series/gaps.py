"""Gaps: those that somebody filled before us, and those made to see how well they are filled."""

from __future__ import annotations

import torch
from torch import Tensor

from .._checks import check_positive, check_positive_count, mistake
from .._typing import Mask
from ._checks import check_series


def collinear_runs(series: Tensor, shortest: int = 2, tolerance: float = 1e-3) -> Mask:
    r"""Where a series runs exactly straight, and so was probably filled by a line.

    Step $t$ is straight when $|x_{t+1}-2x_t+x_{t-1}|\le\epsilon$. A gap of $m$ steps filled by
    linear interpolation makes $m$ straight steps in a row, and a reading that is held makes some
    too. Leave them out of a score: the line through a gap would be its best forecast.

    A quantity that truly stands still, such as no rain, is straight as well.

    Args:
        series: values; a NaN is never straight.
        shortest: steps in a row from which on a run counts, at least 1. Single ones happen by
            chance.
        tolerance: $\epsilon$, above 0, in the unit of the series.

    Shapes:
        - **series:** `(steps, nodes)` or `(steps, nodes, channels)`
        - **output:** the same, bool, True in runs

    Raises:
        ValueError: a series of other axes, a number out of range.

    Example:
        >>> import torch
        >>> from gsp_unroll.series import collinear_runs
        >>> collinear_runs(torch.tensor([[1.0], [4.0], [5.0], [6.0], [7.0], [2.0]])).flatten()
        tensor([False, False,  True,  True, False, False])
    """
    check_series(series)
    check_positive_count(shortest, "shortest")
    check_positive(tolerance, "tolerance")
    straight = torch.zeros_like(series, dtype=torch.bool)
    if len(series) > 2:
        straight[1:-1] = series.diff(dim=0).diff(dim=0).abs() <= tolerance
    if len(series) < shortest:
        return torch.zeros_like(straight)
    # a run is a window that is straight throughout; its steps are those of such windows
    begins = straight.unfold(0, shortest, 1).all(-1)
    runs = torch.zeros_like(straight)
    for offset in range(shortest):
        runs[offset : offset + len(begins)] |= begins
    return runs


def scattered_gaps(
    steps: int, nodes: int, share: float, generator: torch.Generator | None = None
) -> Mask:
    """Each reading is missing by itself, with probability `share`.

    Args:
        steps: at least 1.
        nodes: at least 1.
        share: between 0 and 1.
        generator: source of random numbers; None for the global one.

    Shapes:
        - **output:** `(steps, nodes)`, True where missing

    Raises:
        ValueError: a number out of range.

    Example:
        >>> from gsp_unroll.series import scattered_gaps
        >>> 0.2 < scattered_gaps(100, 100, 0.25).float().mean() < 0.3
        tensor(True)
    """
    _check_gaps(steps, nodes, share)
    return torch.rand(steps, nodes, generator=generator) < share


def block_gaps(
    steps: int,
    nodes: int,
    share: float,
    lengths: tuple[int, int] = (12, 48),
    generator: torch.Generator | None = None,
) -> Mask:
    """Single nodes fail for a while, again and again, until `share` of all readings is missing.

    Node, begin and length of a failure are uniform, independent of the others. Failures overlap,
    and some begin before the first step or end after the last.

    Args:
        steps: at least 1.
        nodes: at least 1.
        share: between 0 and 1; overshot by less than one failure.
        lengths: shortest and longest failure in steps, at least 1.
        generator: source of random numbers; None for the global one.

    Shapes:
        - **output:** `(steps, nodes)`, True where missing

    Raises:
        ValueError: a number out of range.

    Example:
        >>> from gsp_unroll.series import block_gaps
        >>> 0.25 <= block_gaps(100, 100, 0.25).float().mean() < 0.26
        tensor(True)
    """
    _check_gaps(steps, nodes, share)
    shortest, longest = lengths
    if not 1 <= shortest <= longest:
        raise mistake(
            f"lengths={lengths!r}", "the shortest and the longest, 1 or more", "Give e.g. (12, 48)."
        )

    def draw(low: int, high: int) -> int:
        return int(torch.randint(low, high, (1,), generator=generator))

    missing = torch.zeros(steps, nodes, dtype=torch.bool)
    wanted, count = share * missing.numel(), 0
    while count < wanted:
        node, length = draw(0, nodes), draw(shortest, longest + 1)
        begin = draw(1 - length, steps)
        gap = missing[max(begin, 0) : begin + length, node]
        count += gap.numel() - int(gap.sum())
        gap.fill_(True)
    return missing


def _check_gaps(steps: int, nodes: int, share: float) -> None:
    check_positive_count(steps, "steps")
    check_positive_count(nodes, "nodes")
    if not 0 <= share <= 1:
        raise mistake(f"share={share!r}", "a number from 0 to 1", "Give 0.25 for a quarter.")
