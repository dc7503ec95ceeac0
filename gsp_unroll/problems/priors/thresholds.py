"""Proximal maps of single terms: the soft threshold, and what follows from it."""

from __future__ import annotations

import torch
from torch import Tensor


def soft_threshold(z: Tensor, t: float | Tensor) -> Tensor:
    r"""$\mathrm{soft}(z,t)=\mathrm{sign}(z)\max(|z|-t,0)$: 0 where $|z|\le t$, and
    $z-t\,\mathrm{sign}(z)$ beyond.

    Args:
        z: values.
        t: threshold, at least 0; a number, or a tensor that broadcasts against `z`.

    Shapes:
        - **z, returns:** any, the same

    Example:
        >>> import torch
        >>> from gsp_unroll.problems import soft_threshold
        >>> soft_threshold(torch.tensor([-3.0, 0.5, 2.0]), 1.0)
        tensor([-2.,  0.,  1.])
    """
    # not by torch.clamp, whose derivative at a bound differs between versions of torch
    return torch.where(z.abs() <= t, 0, z - t * z.sign())


def group_soft_threshold(z: Tensor, t: float | Tensor) -> Tensor:
    r"""$z\,\max(1-t/\|z\|_2,0)$, the norm taken over channels.

    Args:
        z: values.
        t: threshold of the norm, at least 0; a number, or a tensor that broadcasts against one
            number for all channels.

    Shapes:
        - **z, returns:** `(..., channels)`
        - **t:** a number, or `(..., 1)`

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


def firm_threshold(z: Tensor, t: float | Tensor, knee: float | Tensor) -> Tensor:
    r"""Zero up to `t`, the value itself beyond `knee`, and a line between:
    $\mathrm{soft}(z,t)\,k/(k-t)$ for $|z|\le k$.

    It is the minimiser of $t\,\varphi_k(v)+\tfrac12(v-z)^2$ with the penalty of `FirmGTV`,
    $\varphi_k(v)=|v|-v^2/2k$ up to $k$ and $k/2$ beyond. For a knee at infinity it is the soft
    threshold. For $k\le t$ no line is left: the minimiser jumps from 0 to $z$ at
    $|z|=\sqrt{tk}$.

    Args:
        z: values.
        t: threshold, at least 0; a number, or a tensor that broadcasts against `z`.
        knee: $k$, above 0, likewise.

    Shapes:
        - **z, returns:** any, the same

    Source:
        Gao and Bruce 1997.

    Example:
        >>> import torch
        >>> from gsp_unroll.problems import firm_threshold
        >>> firm_threshold(torch.tensor([-3.0, 0.5, 1.5, 2.0]), 1.0, 2.0)
        tensor([-3.,  0.,  1.,  2.])
    """
    gap, product = (v if isinstance(v, Tensor) else z.new_full((), v) for v in (knee - t, knee * t))
    line = gap > 0
    # what the outer `where` drops is finite, so that its derivative is 0 and not NaN
    inside = torch.where(line, soft_threshold(z, t) * (knee / torch.where(line, gap, 1)), 0)
    return torch.where(z * z > torch.where(line, product + knee * gap, product), z, inside)
