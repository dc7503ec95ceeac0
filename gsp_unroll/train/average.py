"""The running mean of the weights, which is what is validated and kept."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

#: As `AveragedModel` hands them over.
Tensors = tuple[Tensor, ...] | list[Tensor]


def running_mean(share: float) -> Callable[[Tensors, Tensors, Tensor | int], None]:
    r"""$\bar w\leftarrow s_n\bar w+(1-s_n)w$ with $s_n=\min\big(s,\tfrac{1+n}{10+n}\big)$ after
    $n$ steps.

    With $s$ from the first step on the mean of a short training would be one of where it began:
    after 2000 steps of $s=0.999$ the first weights had a share of 0.14. So it grows: the mean
    reaches back about a tenth of the training, and no further than $1/(1-s)$ steps.

    Args:
        share: $s$, 0 up to below 1.

    Returns:
        The `multi_avg_fn` of `torch.optim.swa_utils.AveragedModel`.

    Example:
        >>> import torch
        >>> from gsp_unroll.train.average import running_mean
        >>> mean = torch.tensor([1.0])
        >>> running_mean(0.999)([mean], [torch.tensor([2.0])], 8)
        >>> mean  # half of either
        tensor([1.5000])
    """

    @torch.no_grad()
    def update(means: Tensors, weights: Tensors, num_averaged: Tensor | int) -> None:
        n = int(num_averaged)
        for mean, w in zip(means, weights, strict=True):
            mean.lerp_(w, 1 - min(share, (1 + n) / (10 + n)))

    return update
