"""Places as points: near one another where their series go together."""

from __future__ import annotations

import torch
from torch import Tensor

from .._checks import check_finite, check_positive_count, mistake
from ..graph import Systems, safe_reciprocal
from ._checks import check_series


def correlation_points(training: Tensor, dimensions: int = 16) -> Tensor:
    r"""Points $p_i$ with $\|p_i-p_j\|_2^2\approx2\,(1-r_{ij})$ for the correlations $r$ of the
    nodes: neighbours (`knn_graph`) are those that go together, and $\exp(-\|F(p_i-p_j)\|^2)$ of
    `MahalanobisLearner` begins as a weight that falls with correlation.

    Each correlation is that of the steps at which both nodes were read. The points are the
    eigenvectors of the matrix of correlations, scaled by the roots of its largest eigenvalues
    (negative ones, which gaps can cause, are dropped), so the more dimensions, the nearer.

    Args:
        training: values, NaN in gaps; what all nodes share, such as a daily mean, is best taken
            out before.
        dimensions: of the points, 1 up to the number of nodes.

    Shapes:
        - **training:** `(steps, nodes)` or `(steps, nodes, channels)`, whose correlations are
          averaged over the channels
        - **output:** `(nodes, dimensions)`

    Nodes that were never read, or never change, have no correlation: 0 with every other.

    Raises:
        ValueError: a series of other axes or with infinity, too many dimensions.

    Source:
        Torgerson 1952, Multidimensional scaling, for the distances $\sqrt{2(1-r)}$.

    Example:
        >>> import torch
        >>> from gsp_unroll.series import correlation_points
        >>> x = torch.tensor([[1.0, 3, 0, -1], [0, 1, 1, 0], [-1, -1, 0, 1], [0, 1, -1, 0]])
        >>> points = correlation_points(x, dimensions=2)
        >>> (points - points[0]).square().sum(1)  # itself, alike, unrelated, opposed
        tensor([0., 0., 2., 4.])
    """
    check_series(training)
    check_finite(training.nan_to_num(0, torch.inf, torch.inf), "series")
    check_positive_count(dimensions, "dimensions")
    nodes = training.shape[1]
    if dimensions > nodes:
        raise mistake(
            f"{dimensions} dimensions for {nodes} nodes",
            "at most as many as nodes",
            f"Set dimensions to {nodes} or less.",
        )
    channels = training.reshape(*training.shape[:2], -1).unbind(-1)
    r = torch.stack([_correlations(x.double()) for x in channels]).mean(0)
    values, vectors = torch.linalg.eigh(r)
    axes = vectors * values.clamp(min=0).sqrt()
    points: Tensor = axes[:, -dimensions:].flip(-1).to(training.dtype)
    return points


def _correlations(x: Tensor) -> Tensor:
    """Of the steps that two nodes share; 1 of a node with itself."""
    known = (~x.isnan()).to(x)
    # in a unit of its own, so that no square of a series overflows or vanishes
    x = x / Systems().unit(x.nan_to_num(0))
    x = (x - x.nanmean(0)).nan_to_num(0)
    # sums over the shared steps, of the one (rows) where the other (columns) was read
    count, total, square = known.T @ known, x.T @ known, x.square().T @ known
    covariance = count * (x.T @ x) - total * total.T
    variance = (count * square - total.square()).clamp(min=0)
    # what rounding leaves of a node that never changes is no variance
    variance = torch.where(variance > 1e-12 * count * square, variance, 0)
    r = (covariance * safe_reciprocal((variance * variance.T).sqrt())).clamp(-1, 1)
    r.fill_diagonal_(1)
    return r
