"""Random crops of photographs, each a function of a seed and a number."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from .._checks import check_positive_count, mistake
from ..photos import find_photos, read_photo


def split_photos(
    folders: Sequence[Path], share: float, seed: int = 0
) -> tuple[list[Path], list[Path]]:
    """The photographs to learn from, and those held out to choose by.

    Tiles of one photograph, `name_r0c1`, stay together: a held-out tile beside a learned one would
    be half known.

    Args:
        folders: each is searched for photographs.
        share: part of the photographs that is held out, from 0 to below 1.
        seed: of the choice.

    Raises:
        ValueError: a share that leaves nothing to learn from.
        FileNotFoundError: a folder without photographs.

    Note:
        A share above 0 holds out one photograph at least. A folder that is named twice counts
        twice, on one side of the split.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from gsp_unroll.train.crops import split_photos
        >>> folder = Path(tempfile.mkdtemp())
        >>> for number in range(10):
        ...     (folder / f"{number}.png").touch()
        >>> learn, held_out = split_photos([folder], share=0.2)
        >>> len(learn), len(held_out)
        (8, 2)
    """
    if not 0 <= share < 1:
        raise mistake(f"holdout={share}", "a share from 0 to below 1", "Hold out 0.03 of all.")
    groups: dict[str, list[Path]] = {}
    called: dict[Path, str] = {}  # a folder named in two ways has the name that came first
    for path in (path for folder in folders for path in find_photos(folder)):
        photo = re.sub(r"_r\d+c\d+$", "", path.stem)
        folder = called.setdefault(path.parent.resolve(), f"{path.parent}")
        groups.setdefault(f"{folder}/{photo}", []).append(path)
    names = sorted(groups)
    order = np.random.default_rng([seed, 0]).permutation(len(names))
    count = max(round(share * len(names)), 1 if share > 0 else 0)
    held = {names[i] for i in order[:count]}
    learn = [path for name in names if name not in held for path in groups[name]]
    if not learn:
        raise mistake(
            f"{len(names)} photographs, of which {count} are held out",
            "at least one to learn from",
            "Give more photographs, or hold out none with holdout=0.",
        )
    return learn, [path for name in sorted(held) for path in groups[name]]


@dataclass(frozen=True)
class Crops:
    """Square crops of photographs: number `i` is the same crop whenever it is asked for.

    So training needs no state of a random generator to go on where it stopped, and any number of
    processes may each take a part.

    Args:
        photos: 8-bit images.
        size: side of a crop in pixels; no photograph is smaller.
        seed: of the positions, the order and the orientation.
        patches: None for a new position with every number; else that many positions, fixed by the
            seed and visited in a new order in each epoch.
        choices: positions drawn for a crop, of which the one with the most detail is taken.

    Shapes:
        - **photos:** `(height, width, 3)` each, of uint8

    Raises:
        ValueError: no photograph, or one that is smaller than a crop.

    Example:
        >>> import numpy as np
        >>> from gsp_unroll.train.crops import Crops
        >>> crops = Crops([np.zeros((20, 30, 3), np.uint8)], size=8)
        >>> crops.batch(range(4)).shape
        torch.Size([4, 64, 3])
    """

    photos: Sequence[np.ndarray]
    size: int
    seed: int = 0
    patches: int | None = None
    choices: int = 1

    def __post_init__(self) -> None:
        check_positive_count(self.size, "size")
        check_positive_count(self.choices, "choices")
        if self.patches is not None:
            check_positive_count(self.patches, "patches")
        if not self.photos:
            raise mistake("no photograph", "at least one to cut from", "Give a list of images.")
        if self.choices > 1 and self.size < 3:
            raise mistake(
                f"crops of {self.size} pixels, and choices={self.choices}",
                "at least 3, across which detail can be told",
                "Ask for larger crops, or set choices to 1.",
            )
        small = [p.shape for p in self.photos if min(p.shape[:2]) < self.size]
        if small:
            raise mistake(
                f"a photograph of {small[0][0]} x {small[0][1]} pixels",
                f"at least {self.size} x {self.size}, the size of a crop",
                "Take it out of the folder, or ask for smaller crops.",
            )

    def batch(self, numbers: range) -> Tensor:
        """The crops of these numbers as signals in [0, 1], `(crops, size * size, 3)`."""
        crops = np.stack([self._crop(number) for number in numbers])
        return torch.from_numpy(crops).reshape(len(numbers), self.size**2, 3).float() / 255

    def noises(self, numbers: range) -> list[np.random.Generator]:
        """What the `white_noise` on each of these crops is drawn from."""
        return [self._random("noise", number) for number in numbers]

    def _crop(self, number: int) -> np.ndarray:
        place = number
        if self.patches is not None:
            epoch, index = divmod(number, self.patches)
            place = int(self._random("order", epoch).permutation(self.patches)[index])
        draw = self._random("place", place)
        crop = max((self._cut(draw) for _ in range(self.choices)), key=self._detail)
        turn = int(self._random("turn", number).integers(0, 8))
        crop = np.rot90(crop, turn % 4)
        return np.fliplr(crop) if turn >= 4 else crop

    @cached_property
    def _areas(self) -> np.ndarray:
        """Pixels of the photographs up to each."""
        return np.cumsum([p.shape[0] * p.shape[1] for p in self.photos])

    def _cut(self, draw: np.random.Generator) -> np.ndarray:
        area = self._areas
        photo = self.photos[int(np.searchsorted(area, draw.integers(area[-1]), side="right"))]
        top, left = (int(draw.integers(n - self.size + 1)) for n in photo.shape[:2])
        return photo[top : top + self.size, left : left + self.size]

    def _detail(self, crop: np.ndarray) -> float:
        """Mean curvature: what a filter array aliases."""
        if self.choices == 1:
            return 0.0
        grey = crop.astype(np.float32).mean(-1)
        across = 2 * grey[:, 1:-1] - grey[:, :-2] - grey[:, 2:]
        down = 2 * grey[1:-1] - grey[:-2] - grey[2:]
        return float(np.abs(across).mean() + np.abs(down).mean())

    def _random(self, purpose: str, number: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, *purpose.encode(), number])


def white_noise(draws: Sequence[np.random.Generator], pixels: int, greatest: float) -> Tensor:
    """White noise of one observation for each draw, `(draws, pixels, 1)`, whose standard deviation
    is drawn evenly between 0 and `greatest`."""
    each = [greatest * d.random() * d.standard_normal((pixels, 1)) for d in draws]
    return torch.from_numpy(np.stack(each)).float()


def with_reduced(
    photos: Sequence[np.ndarray], factors: Sequence[float], size: int
) -> list[np.ndarray]:
    """The photographs, and behind them all of them reduced by each factor, where at least `size`
    pixels are left of either side. Fine patterns, which a filter array aliases, are rare in
    photographs at full size and common in reduced ones.

    Args:
        photos: 8-bit images.
        factors: each at least 1.
        size: least side in pixels.

    Shapes:
        - **photos, returns:** `(height, width, 3)` each, of uint8

    Example:
        >>> import numpy as np
        >>> from gsp_unroll.train.crops import with_reduced
        >>> photo = np.zeros((20, 30, 3), np.uint8)
        >>> [p.shape for p in with_reduced([photo], factors=(2.0, 4.0), size=8)]
        [(20, 30, 3), (10, 15, 3)]
    """
    every = list(photos)
    for factor in factors:
        for photo in photos:
            shape = tuple(int(n / factor) for n in photo.shape[:2])
            if min(shape) >= size:
                every.append(_resized(photo, shape))
    return every


def _resized(photo: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    image = torch.from_numpy(photo).permute(2, 0, 1).unsqueeze(0).float()
    image = functional.interpolate(image, shape, mode="bicubic", antialias=True)
    return image[0].permute(1, 2, 0).round().clamp(0, 255).byte().numpy()


def read_all(paths: Sequence[Path]) -> Iterator[np.ndarray]:
    """Each photograph as 8-bit colours."""
    for path in paths:
        yield np.round(read_photo(path) * 255).astype(np.uint8)
