"""What networks for images share: the grid of an image's size, tiles."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import nn

from .._checks import check_positive_count, mistake
from .._typing import Mask, Signal
from ..features import Reach
from ..graph import Graph, Topology
from ..operators import BayerMosaic, SamplingMask
from ..problems import DataTerm, Interpolation
from ._grids import known_grid
from .network import UnrolledNetwork
from .tiling import in_tiles, restore_tiled, samples_of

#: Pixels of the longer side above which a photograph is restored in tiles.
WHOLE = 1100


class ImageNetwork(nn.Module, ABC):
    """An `UnrolledNetwork` on the pixels of images of any size, each joined to its window.

    A subclass says where the first stage starts, `x0`.

    Args:
        network: the stages.
        window: neighbourhood of a pixel, odd.

    Shapes:
        - **data.y:** `(*batch, observed pixels, channels)`
        - **output:** `(*batch, pixels, channels)`

    Raises:
        ValueError: on call, a `BayerMosaic` of another shape than the image's.

    Example:
        >>> import torch
        >>> from gsp_unroll import GLRUnroll, GridCNN, Interpolation, MahalanobisLearner
        >>> from gsp_unroll import SamplingMask, UnrolledBlock, UnrolledNetwork, start
        >>> from gsp_unroll.features import Reach
        >>> from gsp_unroll.models import ImageNetwork
        >>> class Inpainter(ImageNetwork):
        ...     start_reach = Reach(8)
        ...
        ...     def x0(self, data, shape):
        ...         return start(data, self.topology(shape))
        >>> block = UnrolledBlock(GridCNN(3, 4), MahalanobisLearner(4), GLRUnroll(cg_steps=5))
        >>> network = Inpainter(UnrolledNetwork([block]))
        >>> data = Interpolation(SamplingMask(torch.rand(80) < 0.5), torch.rand(80, 3))
        >>> network(data, (8, 10)).shape
        torch.Size([80, 3])
    """

    #: how far `x0` looks, in pixels
    start_reach: Reach
    #: how strictly the observation binds: exact samples, or noisy ones
    data_term: type[DataTerm] = Interpolation

    def __init__(self, network: UnrolledNetwork, window: int = 5) -> None:
        super().__init__()
        self.network, self.window = network, window

    @abstractmethod
    def x0(self, data: DataTerm, shape: tuple[int, int]) -> Signal:
        """The start: known values kept or nearly so, the others filled."""

    def graph(self, data: DataTerm, shape: tuple[int, int]) -> Graph:
        """The graphs, one per head, that the first stage draws on the start."""
        self._check(data, shape)
        return self.network.stages[0].graph(self.x0(data, shape), self.topology(shape))

    def topology(self, shape: tuple[int, int]) -> Topology:
        """Pixels of an image, each joined to the others of its window."""
        return known_grid(shape, window=self.window)

    def _check(self, data: DataTerm, shape: tuple[int, int]) -> None:
        """An operator that knows its image is of an image of this shape."""
        seen = data.H.image if isinstance(data.H, BayerMosaic) else shape
        if tuple(seen) != tuple(shape):
            raise mistake(
                f"a mosaic of {seen[0]} x {seen[1]} pixels, and shape={tuple(shape)}",
                "the same height and width",
                "Give shape as (height, width), like BayerMosaic(height, width).",
            )

    def forward(self, data: DataTerm, shape: tuple[int, int]) -> Signal:
        """The restored image.

        Args:
            data: what is known of it.
            shape: height and width in pixels.
        """
        self._check(data, shape)
        x: Signal = self.network(data, self.topology(shape), self.x0(data, shape))
        return x

    @torch.no_grad()
    def restore(
        self, data: DataTerm, shape: tuple[int, int], *, whole: int = WHOLE, tile: int = 256
    ) -> Signal:
        """The image, in one piece or, of a large photograph, tile by tile: the same values.

        Args:
            data: what is known of it.
            shape: height and width in pixels.
            whole: pixels of the longer side up to which it goes in one piece.
            tile: side of a tile in pixels, at least 1.
        """
        check_positive_count(tile, "tile")
        if max(shape) > whole:
            return self.restore_tiled(data, shape, tile=tile)
        x: Signal = self(data, shape)
        return x

    def restore_tiled(self, data: DataTerm, shape: tuple[int, int], *, tile: int = 256) -> Signal:
        """The image, of a photograph that is too large to be restored in one piece: the same values
        tile by tile, see `gsp_unroll.restore_tiled`.

        Args:
            data: what is known of it.
            shape: height and width in pixels.
            tile: side of a tile in pixels, at least 1.
        """
        self._check(data, shape)

        def begin(crop: tuple[int, int], samples: Signal, mask: Mask) -> Signal:
            return self.x0(type(data).unchecked(SamplingMask(mask), samples), crop)

        reach = self.start_reach
        x0 = in_tiles(begin, shape, *samples_of(data), reach=reach, tile=tile, name="start")
        return restore_tiled(self.network, data, self.topology(shape), tile=tile, x0=x0)
