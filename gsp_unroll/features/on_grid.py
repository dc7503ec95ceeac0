"""Any image network as a network of grid signals."""

from __future__ import annotations

import math

from torch import Tensor, nn

from .._checks import check_signal, mistake
from .._typing import Signal
from ..graph import Topology
from .reach import Reach, reach_of


def image_shape(topology: Topology) -> tuple[int, int]:
    """Height and width of a two-dimensional lattice.

    Args:
        topology: a lattice, as `grid_graph` makes it.

    Raises:
        ValueError: the nodes form no image.

    Example:
        >>> from gsp_unroll import grid_graph
        >>> from gsp_unroll.features import image_shape
        >>> image_shape(grid_graph((4, 6)))
        (4, 6)
    """
    shape = topology.lattice
    if shape is None or len(shape) != 2:
        raise mistake(
            f"a {type(topology).__name__} whose lattice is {shape}",
            "the pixels of an image: a lattice of two axes",
            "Use grid_graph((height, width)), or PointMLP for nodes without a lattice.",
        )
    return shape[0], shape[1]


def as_image(signal: Signal, shape: tuple[int, int]) -> Tensor:
    """`(*batch, height * width, channels)` to `(batch, channels, height, width)`.

    The channels stay last in memory, so nothing is copied.

    Args:
        signal: on the pixels of an image, row by row.
        shape: height and width of the image.

    Shapes:
        - **signal:** `(*batch, height * width, channels)`
        - **returns:** `(batch, channels, height, width)`, the batch axes in one

    Example:
        >>> import torch
        >>> from gsp_unroll.features import as_image
        >>> as_image(torch.rand(24, 3), (4, 6)).shape
        torch.Size([1, 3, 4, 6])
    """
    batch, channels = math.prod(signal.shape[:-2]), signal.shape[-1]
    return signal.reshape(batch, *shape, channels).permute(0, 3, 1, 2)


def as_signal(image: Tensor, batch: tuple[int, ...]) -> Signal:
    """`(batch, channels, height, width)` to `(*batch, height * width, channels)`.

    Args:
        image: what an image network returns.
        batch: the batch axes of the signal.

    Shapes:
        - **image:** `(prod(batch), channels, height, width)`
        - **returns:** `(*batch, height * width, channels)`

    Example:
        >>> import torch
        >>> from gsp_unroll.features import as_signal
        >>> as_signal(torch.rand(1, 3, 4, 6), ()).shape
        torch.Size([24, 3])
    """
    _, channels, height, width = image.shape
    return image.permute(0, 2, 3, 1).reshape(*batch, height * width, channels)


class OnGrid(nn.Module):
    r"""Runs an image module on the pixels of a grid signal.

    The module gets a view of the signal in the memory format `torch.channels_last`, in which
    convolutions are fastest. Nothing is copied, and the result has the dtype of the signal even
    where autocast lets the module compute in another.

    Args:
        module: maps `(batch, channels, height, width)` to the same height and width: any network
            of convolutions.

    Shapes:
        - **signal:** `(*batch, height * width, channels)`
        - **output:** `(*batch, height * width, new channels)`

    Raises:
        ValueError: a topology that is no two-dimensional lattice, a signal on other nodes.

    Example:
        >>> import torch
        >>> from gsp_unroll import OnGrid, grid_graph
        >>> blur = OnGrid(torch.nn.AvgPool2d(3, stride=1, padding=1))
        >>> blur(torch.rand(20, 3), grid_graph((4, 5))).shape
        torch.Size([20, 3])
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, signal: Signal, topology: Topology) -> Signal:
        check_signal(signal, topology.num_nodes)
        image = as_image(signal, image_shape(topology))
        return as_signal(self.module(image), tuple(signal.shape[:-2])).to(signal.dtype)

    @property
    def reach(self) -> Reach:
        """How far the module looks, see `reach_of`."""
        return reach_of(self.module)
