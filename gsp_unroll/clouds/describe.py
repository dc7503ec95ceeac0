"""What a denoiser sees of a cloud: surfaces of several sizes, whichever way it is turned."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .._checks import mistake
from .fits import SurfaceFits, fit_surfaces

PLANES, QUADRICS = (12, 24, 48), (24, 48, 96, 192, 384)
#: How far from a quadric its neighbours still count, in units of the noise.
TOLERANCE = 1.0
#: Points that a cloud must have. In smaller ones than the largest fit, that has all of them.
LEAST = 192
NUM_FITS = len(PLANES + QUADRICS)
#: The quadric that tells the noise, and whose normal the others are compared with.
MIDDLE = len(PLANES) + 1
#: Entries of what a node is described by: see `describe`.
NUM_FEATURES = 5 * NUM_FITS + 1 + 3 * len(PLANES) + 2 * len(QUADRICS)


@dataclass(frozen=True, eq=False)
class Described:
    r"""A cloud as a stage sees it: in a unit of its own, and without directions.

    Shapes:
        - **x:** `(nodes, 3)`, the cloud so far
        - **move:** `(nodes, 2 * NUM_FITS, 3)`, from each point to the surfaces through the cloud so
          far, then to those through the noisy one
        - **features:** `(nodes, NUM_FEATURES)`
    """

    x: Tensor
    move: Tensor
    features: Tensor


def noise_in(y: Tensor) -> float:
    """Standard deviation of the noise across the surface: the median of what quadrics leave.

    Shapes:
        - **y:** `(nodes, 3)`, 192 nodes or more

    Raises:
        ValueError: as `fit_surfaces`; a cloud without any noise.
    """
    k = QUADRICS[1]
    residual = fit_surfaces(y, PLANES[:1], (k,)).residual[:, 1]
    sigma = float(residual.median()) * math.sqrt(k / (k - 6))
    if not sigma > 0:
        raise mistake(
            "points that lie on planes or quadrics exactly",
            "points with noise",
            "Drop copies with PointCloud.distinct(), or leave the cloud as it is.",
        )
    return sigma


def describe(x: Tensor, y: Tensor) -> Described:
    r"""What planes and quadrics of several sizes say of a cloud that was denoised so far.

    Neighbours and frames are those of the cloud so far, which knows them better than the noisy one;
    surfaces are fitted to both, since the noisy one has not been smoothed yet. Quadrics leave out
    what lies far from them: the other side of a thin part, what is beyond an edge. All numbers are
    free of directions: turning the cloud, or the sign of a normal, changes none. Heights have the
    sign with which large fits lie above small ones.

    Args:
        x: coordinates so far, in units of the noise. Derivatives flow through the points, not
            through the surfaces.
        y: noisy coordinates, in units of the noise.

    Shapes:
        - **x, y:** `(nodes, 3)`, 192 nodes or more

    Raises:
        ValueError: as `fit_surfaces`.
    """
    quadrics = tuple(min(k, max(len(x), LEAST)) for k in QUADRICS)
    fits = fit_surfaces(x, PLANES, quadrics, torch.stack([x, y]), TOLERANCE)
    normal = fits.normal[:, MIDDLE : MIDDLE + 1]
    gone = ((y - x).unsqueeze(-2) * normal).sum(-1)
    move = fits.move.transpose(0, 1).flatten(1, 2)
    return Described(x, move, _features(fits, normal, gone))


def _features(fits: SurfaceFits, normal: Tensor, gone: Tensor) -> Tensor:
    height = (fits.move * normal).sum(-1)
    both = height.sum(0)
    large, small = both[:, -3:].sum(-1), both[:, [0, 1]].sum(-1)
    up = torch.where(large >= small, 1.0, -1.0).to(height).unsqueeze(-1)
    tilt = (fits.normal * normal).sum(-1)
    side = torch.where(tilt[:, len(PLANES) :] >= 0, up, -up).unsqueeze(-1)
    bend = (fits.curvature * side).sort(-1).values * fits.radius[:, 1].view(-1, 1, 1)
    parts = [
        *(height * up),
        gone * up / 2,
        *fits.residual.clamp_min(0.02).log(),
        10 * (1 - tilt.abs()),
        fits.spread.clamp_min(1e-4).log().flatten(1) / 3,
        fits.radius.clamp_min(1e-2).log(),
        bend.flatten(1),
    ]
    return torch.cat(parts, -1).clamp(-5, 5)
