"""Large images tile by tile: each stage runs on crops whose margin is all that it can see."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import product

import torch
from torch import Tensor
from tqdm import tqdm

from .._checks import check_positive_count, check_same_kind, mistake
from .._typing import Signal
from ..features import Reach, image_shape
from ..graph import Topology
from ..operators import SamplingMask
from ..problems import DataTerm, start
from .network import UnrolledNetwork
from .stage import Stage

#: Work on a crop of height and width `shape`: `(shape, *crops of its inputs) -> signal`.
OnCrop = Callable[..., Signal]
Shape = tuple[int, int]

#: Rounds of filling in the start that a network makes for itself.
SWEEPS = 4
#: From how many tiles on a bar shows the progress, on a terminal.
MANY = 8


@torch.no_grad()
def restore_tiled(
    network: UnrolledNetwork,
    data: DataTerm,
    topology: Topology,
    *,
    tile: int = 256,
    x0: Signal | None = None,
) -> Signal:
    r"""`network(data, topology, x0)` for an image that is too large to be restored in one piece.

    Stage by stage, the image is cut into tiles. Each tile is restored from a crop that extends
    beyond it by the reach of the stage, the largest distance at which a pixel can influence
    another, and the margin is thrown away. So the result is that of the whole image, to rounding:
    no blending, no seams.

    The reach is computed from the parts (`Stage.reach`). Memory beyond a few images is that of one
    crop, whose size you choose.

    Inference only: no gradient is recorded.

    Args:
        network: stages of networks that tell their reach (`GridCNN`, `GridUNet`, `OnGrid`,
            `PointMLP`), a learner, and a solver with fixed or learned coefficients.
        data: observation of single values: `Interpolation` or `LeastSquares` of a `SamplingMask`,
            a mosaic or a decimation.
        topology: the grid of the whole image, made by `grid_graph`.
        tile: side of a tile in pixels, at least 1. A small one needs less memory and spends more
            time on margins.
        x0: start; by default the samples with the gaps filled from neighbours.

    Shapes:
        - **data.y:** `(*batch, observed nodes, channels)`
        - **output:** `(*batch, nodes, channels)`

    Raises:
        ValueError: a topology that is no image; data with no mask; a part whose reach is not known
            (`GuardedCG` looks at the whole image, `BilateralFeatures` at positions in it).

    Note:
        Where no sample lies within the 4 windows that `start` fills from, it takes the mean of all
        samples, here of those in the crop: the one case in which tiles and whole image differ.

    Example:
        >>> import torch
        >>> from gsp_unroll import GridCNN, GTVUnroll, Interpolation, MahalanobisLearner
        >>> from gsp_unroll import SamplingMask, UnrolledBlock, UnrolledNetwork, grid_graph
        >>> from gsp_unroll import restore_tiled
        >>> block = UnrolledBlock(GridCNN(3, 4), MahalanobisLearner(4), GTVUnroll(1, 4))
        >>> data = Interpolation(SamplingMask(torch.rand(1200) < 0.5), torch.rand(1200, 3))
        >>> restore_tiled(UnrolledNetwork([block]), data, grid_graph((30, 40)), tile=16).shape
        torch.Size([1200, 3])
    """
    image = image_shape(topology)
    cropped = lru_cache(maxsize=16)(topology.resized)  # crops come in a handful of sizes
    radius = cropped(image).radius
    assert radius is not None
    samples, mask = samples_of(data)
    topology.check_signal(samples, "restored signal")

    def crop_of(data_crop: Tensor, mask_crop: Tensor) -> DataTerm:
        return type(data).unchecked(SamplingMask(mask_crop), data_crop)

    if x0 is None:

        def first(shape: Shape, y: Tensor, m: Tensor) -> Signal:
            return start(crop_of(y, m), cropped(shape), SWEEPS)

        reach = Reach(SWEEPS * radius)
        x = in_tiles(first, image, samples, mask, reach=reach, tile=tile, name="start")
    else:
        topology.check_signal(x0, "start")
        check_same_kind(x0, samples, "the start x0", "the observation")
        x = x0
    for number, stage in enumerate(network.stages, start=1):

        def on_crop(shape: Shape, x: Tensor, y: Tensor, m: Tensor, stage: Stage = stage) -> Signal:
            restored: Signal = stage(crop_of(y, m), cropped(shape), x)
            return restored

        reach = stage.reach(radius)
        name = f"stage {number} of {len(network.blocks)}"
        x = in_tiles(on_crop, image, x, samples, mask, reach=reach, tile=tile, name=name)
    return x


@torch.no_grad()
def in_tiles(
    stage: OnCrop,
    shape: Shape,
    *signals: Tensor,
    reach: Reach,
    tile: int = 256,
    name: str = "tiles",
) -> Signal:
    """`stage(shape, *signals)`, from crops of the signals.

    Args:
        stage: `(shape of the crop, *crops) -> signal` on the crop; must not look further than its
            reach, nor at where in the image it is.
        shape: height and width of the image.
        signals: what it is cut from, masks included.
        reach: how far the stage looks, and of what a crop's corner must be a multiple.
        tile: side of a tile in pixels, at least 1.
        name: stands beside the progress bar that long work shows on a terminal.

    Shapes:
        - **signals:** `(*batch, height * width, channels)` each
        - **output:** `(*batch, height * width, channels)`, as the stage returns

    Raises:
        ValueError: a tile below 1.

    Example:
        >>> import torch
        >>> from gsp_unroll.features import Reach
        >>> from gsp_unroll.models import in_tiles
        >>> in_tiles(lambda shape, x: 2 * x, (3, 4), torch.ones(12, 1), reach=Reach(0)).sum()
        tensor(24.)
    """
    check_positive_count(tile, "tile")
    for signal in signals:
        if signal.shape[-2] != math.prod(shape):
            raise mistake(
                f"a signal of shape {tuple(signal.shape)} on an image of {shape[0]} x {shape[1]}",
                f"{math.prod(shape)} on axis -2",
                "Give the height and width of the image that the signal was made from.",
            )
    images = [signal.unflatten(-2, shape) for signal in signals]
    corners = list(product(*(_spans(n, tile) for n in shape)))
    result: Tensor | None = None
    for rows, columns in tqdm(corners, name, disable=None if len(corners) >= MANY else True):
        (around_rows, inner_rows), (around_columns, inner_columns) = (
            _with_margin(span, n, reach) for span, n in zip((rows, columns), shape, strict=True)
        )
        crops = [image[..., around_rows, around_columns, :] for image in images]
        crop_shape = (crops[0].shape[-3], crops[0].shape[-2])
        restored = stage(crop_shape, *(crop.flatten(-3, -2) for crop in crops))
        restored = restored.unflatten(-2, crop_shape)[..., inner_rows, inner_columns, :]
        if result is None:
            result = restored.new_empty(*restored.shape[:-3], *shape, restored.shape[-1])
        result[..., rows, columns, :] = restored
    assert result is not None
    return result.flatten(-3, -2)


def _spans(length: int, tile: int) -> Iterator[slice]:
    return (slice(first, min(first + tile, length)) for first in range(0, length, tile))


def _with_margin(span: slice, length: int, reach: Reach) -> tuple[slice, slice]:
    """The span with its margin, as far as the image goes, and where the span lies in that."""
    first = max(span.start - reach.pixels, 0) // reach.stride * reach.stride
    around = slice(first, min(span.stop + reach.pixels, length))
    return around, slice(span.start - first, span.stop - first)


def samples_of(data: DataTerm) -> tuple[Signal, Tensor]:
    """The observed values where they belong, and where that is."""
    mask = data.observed
    if mask is None:
        raise mistake(
            f"data through {type(data.H).__name__}, which has no mask",
            "an operator that selects single values, so that a crop can keep its part",
            "Restore the image in one piece.",
        )
    samples = data.backprojected
    if mask.ndim == 0:  # everything was observed
        mask = mask.expand(samples.shape[-2], 1)
    return samples, mask
