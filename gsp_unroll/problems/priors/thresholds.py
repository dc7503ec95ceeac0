"""Proximal maps of single terms: the soft threshold, and what follows from it."""

from __future__ import annotations

import torch
from torch import Tensor


def soft_threshold(z: Tensor, t: float | Tensor) -> Tensor:
    r"""$\mathrm{soft}(z,t)=\mathrm{sign}(z)\max(|z|-t,0)$, as $z$ minus its projection on
    $[-t,t]$.

    Example:
        >>> import torch
        >>> from gsp_unroll.problems import soft_threshold
        >>> soft_threshold(torch.tensor([-3.0, 0.5, 2.0]), 1.0)
        tensor([-2.,  0.,  1.])
    """
    return z - torch.clamp(z, -t, t)  # type: ignore[arg-type]


def group_soft_threshold(z: Tensor, t: float | Tensor) -> Tensor:
    r"""$z\,\max(1-t/\|z\|_2,0)$, the norm taken over channels.

    Example:
        >>> import torch
        >>> from gsp_unroll.problems import group_soft_threshold
        >>> group_soft_threshold(torch.tensor([[3.0, 4.0], [0.3, 0.4]]), 1.0)
        tensor([[2.4000, 3.2000],
                [0.0000, 0.0000]])
    """
    t = torch.as_tensor(t, dtype=z.dtype, device=z.device)
    square = (z * z).sum(-1, keepdim=True)
    outside = square > t * t
    # the norm is only taken where it is above t: its derivative at 0 is never asked for
    norm = torch.where(outside, square, 1).sqrt()
    return torch.where(outside, 1 - t / norm, 0) * z
