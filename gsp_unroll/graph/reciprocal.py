"""Division by degrees that may be zero."""

from __future__ import annotations

import torch
from torch import Tensor


def vanishing(dtype: torch.dtype) -> float:
    """What counts as zero: the square root of the smallest normal number or less, so that the
    derivative `1 / d^2` of a reciprocal is still finite."""
    smallest: float = torch.finfo(dtype).tiny ** 0.5
    return smallest


def safe_reciprocal(d: Tensor) -> Tensor:
    """$1/d$, and 0 where $d$ vanishes, in value and in gradient.

    Args:
        d: degrees, at least 0. What is below the root of the smallest normal number counts as 0.

    Shapes:
        - **d, returns:** any, the same

    Example:
        >>> import torch
        >>> from gsp_unroll.graph import safe_reciprocal
        >>> safe_reciprocal(torch.tensor([4.0, 0.0]))
        tensor([0.2500, 0.0000])
    """
    positive = d > vanishing(d.dtype)
    return torch.where(positive, 1 / torch.where(positive, d, 1), 0)


def safe_reciprocal_root(d: Tensor) -> Tensor:
    r"""$1/\sqrt d$, and 0 where $d$ vanishes, in value and in gradient.

    Args:
        d: degrees, at least 0. What is below the root of the smallest normal number counts as 0.

    Shapes:
        - **d, returns:** any, the same

    Example:
        >>> import torch
        >>> from gsp_unroll.graph import safe_reciprocal_root
        >>> safe_reciprocal_root(torch.tensor([4.0, 0.0]))
        tensor([0.5000, 0.0000])
    """
    positive = d > vanishing(d.dtype)
    return torch.where(positive, torch.where(positive, d, 1).rsqrt(), 0)
