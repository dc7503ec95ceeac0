"""What is to be restored: how a photograph is observed, and with how many channels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch

from .._typing import Signal
from ..operators import BayerMosaic, SamplingMask, Selection
from ..problems import DataTerm, Interpolation

Shape = tuple[int, int]

#: Luma of ITU-R BT.601 in studio range: 16 to 235 of 255, the Y of `skimage.color.rgb2ycbcr`.
LUMA = (65.481 / 255, 128.553 / 255, 24.966 / 255)
LUMA_OFFSET = 16 / 255


def luma(photo: Signal) -> Signal:
    """The Y channel of ITU-R BT.601 in studio range, 16 to 235 of 255.

    Args:
        photo: colours in [0, 1].

    Shapes:
        - **photo:** `(*batch, pixels, 3)`
        - **returns:** `(*batch, pixels, 1)`

    Example:
        >>> import torch
        >>> from gsp_unroll.train.tasks import luma
        >>> (255 * luma(torch.tensor([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]))).round().flatten()
        tensor([ 16., 235.])
    """
    return photo @ photo.new_tensor(LUMA).unsqueeze(-1) + LUMA_OFFSET


class Task(ABC):
    """A way to lose part of a photograph.

    A subclass says how many `channels` are wanted, and writes `truth` and `operator`.

    Example:
        >>> import torch
        >>> from gsp_unroll import SamplingMask
        >>> from gsp_unroll.train.tasks import Task
        >>> class LeftHalf(Task):
        ...     channels = 3
        ...
        ...     def truth(self, photo):
        ...         return photo
        ...
        ...     def operator(self, shape, device=None):
        ...         height, width = shape
        ...         return SamplingMask((torch.arange(width) < width // 2).repeat(height))
        >>> LeftHalf().observe(torch.ones(8, 3), (2, 4)).y[:, 0]
        tensor([1., 1., 0., 0., 1., 1., 0., 0.])
    """

    channels: int

    @abstractmethod
    def truth(self, photo: Signal) -> Signal:
        """What is wanted of a photograph, `(*batch, pixels, channels)`."""

    @abstractmethod
    def operator(self, shape: Shape, device: torch.device | None = None) -> Selection:
        """What is known of an image of this height and width."""

    def observe(
        self,
        truth: Signal,
        shape: Shape,
        noise: Signal | None = None,
        data_term: type[DataTerm] = Interpolation,
    ) -> DataTerm:
        """What is known of this one.

        Args:
            truth: the image.
            shape: its height and width.
            noise: added to what is observed.
            data_term: how strictly that binds.
        """
        H = self.operator(shape, truth.device)
        y = H @ truth
        return data_term.unchecked(H, y if noise is None else y + noise)


@dataclass(frozen=True)
class Demosaic(Task):
    """One colour per pixel behind a Bayer filter, all three wanted.

    Args:
        phase: colours of the top left 2x2 pixels.

    Example:
        >>> from gsp_unroll.train.tasks import Demosaic
        >>> Demosaic("GBRG").operator((2, 2)).color
        tensor([1, 2, 0, 1])
    """

    phase: str = "RGGB"
    channels = 3

    def truth(self, photo: Signal) -> Signal:
        return photo

    def operator(self, shape: Shape, device: torch.device | None = None) -> Selection:
        return BayerMosaic(*shape, self.phase, device=device)


@dataclass(frozen=True)
class Interpolate(Task):
    """Every second pixel of every second row of the luma known, no filter before; all wanted.

    Example:
        >>> from gsp_unroll.train.tasks import Interpolate
        >>> Interpolate().operator((3, 3)).observed.reshape(3, 3)
        tensor([[ True, False,  True],
                [False, False, False],
                [ True, False,  True]])
    """

    channels = 1

    def truth(self, photo: Signal) -> Signal:
        return luma(photo)

    def operator(self, shape: Shape, device: torch.device | None = None) -> Selection:
        mask = torch.zeros(shape, dtype=torch.bool, device=device)
        mask[::2, ::2] = True
        return SamplingMask(mask.reshape(-1))


TASKS: dict[str, Task] = {"demosaic": Demosaic(), "interpolate": Interpolate()}
