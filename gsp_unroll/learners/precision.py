"""Where autocast has to stay out."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def full_precision(x: Tensor) -> AbstractContextManager[object]:
    """A context in which autocast, if it is on for the device of `x`, is off.

    Convolutions may run in 16 bits; distances between features and the steps of a solver may not:
    both are differences of numbers that are nearly equal.

    Args:
        x: a tensor on the device that is meant.

    Shapes:
        - **x:** any

    Example:
        >>> import torch
        >>> from gsp_unroll.learners import full_precision
        >>> x = torch.rand(2, 2)
        >>> with torch.autocast("cpu", dtype=torch.bfloat16), full_precision(x):
        ...     print((x @ x).dtype)
        torch.float32
    """
    device = x.device.type
    if _has_autocast(device) and torch.is_autocast_enabled(device):
        return torch.autocast(device, enabled=False)
    return nullcontext()


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _has_autocast(device: str) -> bool:
    """Whether there is an autocast for devices of this type, which some compilers cannot ask."""
    return torch.amp.is_autocast_available(device)
