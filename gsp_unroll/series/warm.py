"""From one window to the next: where the solve of the next may begin."""

from __future__ import annotations

import torch

from .._checks import check_positive_count, check_signal, mistake
from .._typing import Signal


def moved_on(x: Signal, places: int, stride: int = 1) -> Signal:
    r"""The solution of one window as a start for the window `stride` steps later.

    $x_t\leftarrow x_{t+s}$, and the last step stands for those that are new. Where two windows
    overlap their solutions nearly agree, so a convergent solver has less to do from here. The
    optimum stays what it is.

    Args:
        x: solution on the nodes of all steps, in the order of `space_time_graph`.
        places: nodes at each step, at least 1.
        stride: steps between the windows, at least 1.

    Shapes:
        - **x, output:** `(*batch, steps * places, channels)`

    Raises:
        ValueError: nodes that do not divide into `places`, a count below 1.

    Example:
        >>> import torch
        >>> from gsp_unroll.series import moved_on
        >>> moved_on(torch.tensor([[1.0], [2.0], [3.0]]), places=1).flatten()
        tensor([2., 3., 3.])
    """
    check_positive_count(places, "places")
    check_positive_count(stride, "stride")
    check_signal(x, None)
    nodes = x.shape[-2]
    if nodes % places or not nodes:
        raise mistake(
            f"a solution on {nodes} nodes for places={places}",
            f"a multiple of {places} nodes, the same places at every step",
            "Order nodes by time first: node t * places + s is place s at step t.",
        )
    steps = nodes // places
    source = (torch.arange(steps, device=x.device) + stride).clamp(max=steps - 1)
    moved: Signal = x.unflatten(-2, (steps, places)).index_select(-3, source).flatten(-3, -2)
    return moved
