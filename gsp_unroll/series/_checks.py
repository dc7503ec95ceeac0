"""What every function on series asks of a series."""

from __future__ import annotations

from torch import Tensor

from .._checks import check_tensor, mistake


def check_series(series: Tensor) -> None:
    """Floating numbers over `(steps, nodes)` or `(steps, nodes, channels)`."""
    check_tensor(series, "a series")
    if series.ndim not in (2, 3) or not series.is_floating_point() or 0 in series.shape:
        raise mistake(
            f"a series of shape {tuple(series.shape)} and {series.dtype}",
            "floating numbers over (steps, nodes) or (steps, nodes, channels), none of them 0",
            "Put the time first; convert integers with .float().",
        )
