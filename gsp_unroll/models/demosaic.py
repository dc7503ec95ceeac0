"""Colour from a mosaic: green first, then the differences to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from torch import nn

from .._typing import Signal
from ..features import BilateralFeatures, GridCNN, OnGrid, Reach
from ..graph import Graph, Topology
from ..learners import MahalanobisLearner
from ..operators import SamplingMask
from ..problems import DataTerm, start
from ..unroll import GTVUnroll
from ._grids import known_grid
from .block import UnrolledBlock
from .image import ImageNetwork
from .network import UnrolledNetwork
from .tiling import samples_of

Data = TypeVar("Data", bound=DataTerm)


def green_first(interpolate: Callable[[Data], Signal], data: Data, reference: int = 1) -> Signal:
    r"""Interpolates one channel, then the differences of all channels to it.

    $$\hat g=\mathrm{interpolate}(y_g),\qquad
      \hat x=\hat g+\mathrm{interpolate}\big(y-H(\hat g,\dots,\hat g)\big) .$$

    Colours have their edges in common, so the difference of two is smoother than either.

    Args:
        interpolate: fills an observation, `data -> signal`; called for the reference channel
            alone, then for all differences at once.
        data: the mosaic.
        reference: the channel that is sampled most, green in a Bayer mosaic.

    Shapes:
        - **output:** `(*batch, nodes, channels)`

    Example:
        >>> import torch
        >>> from gsp_unroll import BayerMosaic, Interpolation, grid_graph, start
        >>> from gsp_unroll.models import green_first
        >>> H, window = BayerMosaic(4, 4), grid_graph((4, 4), window=3)
        >>> data = Interpolation(H, H @ torch.full((16, 3), 0.5))
        >>> green_first(lambda d: start(d, window), data).unique()
        tensor([0.5000])
    """
    channel = slice(reference, reference + 1)
    samples, mask = samples_of(data)
    mask = mask.expand(*mask.shape[:-1], samples.shape[-1])  # that of all channels may be one
    observed = SamplingMask(mask[..., channel])
    green = interpolate(type(data).unchecked(observed, samples[..., channel]))
    base = green.expand_as(samples)
    return base + interpolate(data.around(base))


def bilinear(data: DataTerm, shape: tuple[int, int]) -> Signal:
    """Every missing colour as the tent-weighted mean of its 3x3 neighbours, channel by channel:
    what a Bayer mosaic calls bilinear.

    Args:
        data: the mosaic, or any values of single pixels and channels.
        shape: height and width in pixels.

    Shapes:
        - **returns:** `(*batch, height * width, channels)`

    Example:
        >>> import torch
        >>> from gsp_unroll import BayerMosaic, Interpolation
        >>> from gsp_unroll.models import bilinear
        >>> H = BayerMosaic(4, 6)
        >>> bilinear(Interpolation(H, torch.full((24, 1), 0.5)), (4, 6)).unique()
        tensor([0.5000])
    """
    return start(data, known_grid(shape, window=3), sweeps=1)


def bilateral_graph(
    x: Signal, topology: Topology, value_scale: float = 5.0, position_scale: float = 1.6
) -> Graph:
    """A graph nobody trained: bilateral weights of the image `x`, both directions merged.

    Args:
        x: the image, values in [0, 1].
        topology: its pixels, as `grid_graph` joins them.
        value_scale: factor of colours before they are compared, above 0; see `BilateralFeatures`.
        position_scale: the same of row and column.

    Shapes:
        - **x:** `(*batch, pixels, channels)`

    Example:
        >>> import torch
        >>> from gsp_unroll import grid_graph
        >>> from gsp_unroll.models import bilateral_graph
        >>> bilateral_graph(torch.rand(20, 3), grid_graph((4, 5), window=3)).weight.shape
        torch.Size([80])
    """
    features = BilateralFeatures(value_scale, position_scale)(x, topology)
    learner = MahalanobisLearner(features.shape[-1], init=1.0).to(features)
    return learner(features, topology).detach()  # type: ignore[no-any-return]


class DemosaicNetwork(ImageNetwork):
    r"""A small trained demosaicker: colour differences, a base, and one or more graph solves.

    $x^0$ interpolates colour differences (`green_first` of the bilinear start). Each block then
    adds a convolutional base to it, draws a graph per head, and spreads over it by unrolled total
    variation what the samples say beyond the base. Samples are kept exactly.

    Args:
        num_blocks: stages, each with parameters of its own.
        heads: graphs per stage.
        features: features per head.
        width: maps between the convolutions.
        num_iterations: ADMM iterations per stage.
        cg_steps: steps of each linear solve.
        window: neighbourhood of a pixel, odd.

    Shapes:
        - **data.y:** `(*batch, pixels, 1)`, through a `BayerMosaic` or `ColorMosaic`
        - **output:** `(*batch, pixels, 3)`

    Raises:
        ValueError: on call, a `BayerMosaic` of another shape than the image's.

    Example:
        >>> import torch
        >>> from gsp_unroll import BayerMosaic, DemosaicNetwork, Interpolation
        >>> H = BayerMosaic(8, 8)
        >>> data = Interpolation(H, H @ torch.rand(2, 64, 3))
        >>> DemosaicNetwork(heads=2, width=8)(data, (8, 8)).shape
        torch.Size([2, 64, 3])
    """

    #: green looks at its neighbours, the differences to it at theirs
    start_reach = Reach(2)

    def __init__(
        self,
        num_blocks: int = 1,
        *,
        heads: int = 2,
        features: int = 4,
        width: int = 16,
        num_iterations: int = 2,
        cg_steps: int = 4,
        window: int = 5,
    ) -> None:
        super().__init__(
            UnrolledNetwork(
                UnrolledBlock(
                    GridCNN(3, heads * features, num_layers=2, width=width, heads=heads),
                    MahalanobisLearner(features, heads=heads),
                    GTVUnroll(num_iterations, cg_steps, heads=heads),
                    correction=OnGrid(_small_cnn(6, width, 3)),
                    sweeps=1,
                )
                for _ in range(num_blocks)
            ),
            window,
        )

    def x0(self, data: DataTerm, shape: tuple[int, int]) -> Signal:
        """Colour differences filled from their neighbours, samples kept."""
        return green_first(lambda d: bilinear(d, shape), data)

    def without_graph(self, data: DataTerm, shape: tuple[int, int]) -> Signal:
        """What the first stage's convolutions propose, samples kept: the control that says how much
        the graph adds."""
        block = self.network.blocks[0]
        assert isinstance(block, UnrolledBlock)
        x0 = self.x0(data, shape)
        return data.feasible(block.base(data, self.topology(shape), x0))


def _small_cnn(in_channels: int, width: int, out_channels: int) -> nn.Sequential:
    """Three 3x3 convolutions; the last starts at zero, so that training starts from `x^0`.

    It has no bias: the solver takes any constant out of a base again.
    """
    last = nn.Conv2d(width, out_channels, 3, padding=1, padding_mode="replicate", bias=False)
    nn.init.zeros_(last.weight)
    return nn.Sequential(
        nn.Conv2d(in_channels, width, 3, padding=1, padding_mode="replicate"),
        nn.GELU(),
        nn.Conv2d(width, width, 3, padding=1, padding_mode="replicate"),
        nn.GELU(),
        last,
    )
