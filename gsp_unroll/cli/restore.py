"""What each command does to one picture."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from .. import camera
from .._checks import mistake
from ..evaluate.methods import Method, find_method, find_network
from ..metrics import psnr
from ..models import ImageNetwork, restore_mosaic
from ..operators import BayerMosaic
from ..photos import read_photo
from ..problems import DataTerm
from ..train.tasks import LUMA, LUMA_OFFSET, Interpolate
from .denoise import denoise, noise_level


@dataclass(frozen=True)
class Demosaicker:
    """Colours from a camera file, from a mosaic, or from what a mosaic leaves of a picture.

    Args:
        network: with three channels.
        pattern: of the filter array, where a file does not tell.
        simulate: whether pictures are in colours, of which one a pixel is kept.
        device: that computes.
    """

    network: ImageNetwork
    pattern: str
    simulate: bool
    device: torch.device
    scale = 1
    takes_raw = True

    def restore(self, path: Path) -> tuple[np.ndarray, str]:
        if path.suffix.lower() in camera.SUFFIXES:
            frame = camera.read_raw(path)
            image = self.colors(frame.balanced(), frame.pattern)
            return np.rot90(image, frame.quarter_turns), ""
        photo = read_photo(path)
        if not self.simulate:
            if (photo != photo[..., :1]).any():
                raise mistake(
                    "a picture in colours",
                    "a mosaic, one value a pixel",
                    "To try the network on a picture whose colours are known, give --simulate.",
                )
            return self.colors(photo[..., 0], self.pattern), ""
        height, width, _ = photo.shape
        truth = torch.from_numpy(photo).reshape(-1, 3)
        mosaic = (BayerMosaic(height, width, self.pattern) @ truth).reshape(height, width)
        image = self.colors(mosaic.numpy(), self.pattern)
        quality = float(psnr(torch.from_numpy(image).reshape(-1, 3), truth))
        return image, f" ({quality:.2f} dB)"

    def colors(self, mosaic: np.ndarray, pattern: str) -> np.ndarray:
        """`(height, width)` to `(height, width, 3)`."""
        seen = torch.from_numpy(mosaic).float().to(self.device)
        return restore_mosaic(self.network, seen, pattern).cpu().numpy()


def demosaicker(options: argparse.Namespace) -> Demosaicker:
    """What `demosaic` does under its options."""
    device = find_device(options.device)
    network = find_network(options.network, "demosaic").to(device)
    return Demosaicker(network, options.pattern, options.simulate, device)


@dataclass(frozen=True)
class Interpolator:
    r"""Twice the height and width, every pixel kept as the sample at an even row and column.

    With the luma $g=\ell^\top x$ and the doubling $D$ by cubic convolution of each channel,
    $\hat x=\hat g+D(x-g)$ where $\hat g$ is the network's. $D$ keeps samples, and so does $\hat g$.

    Args:
        network: with one channel.
        cubic: doubling of an image with samples at even pixels.
        device: that computes.
    """

    network: ImageNetwork
    cubic: Method
    device: torch.device
    scale = 2
    takes_raw = False

    def restore(self, path: Path) -> tuple[np.ndarray, str]:
        return self.double(read_photo(path)), ""

    def double(self, photo: np.ndarray) -> np.ndarray:
        """`(height, width, 3)` to `(2 height, 2 width, 3)`."""
        grey = photo @ (np.array(LUMA, np.float32) / sum(LUMA))
        doubled = self.luma(_at_even_pixels(grey))
        away = _at_even_pixels(photo - grey[..., None])
        colors = [self.cubic(away[..., c : c + 1], 0.0) for c in range(3)]
        return np.asarray(doubled[..., None] + np.concatenate(colors, -1))

    def luma(self, grey: np.ndarray) -> np.ndarray:
        """The network's, of samples at even pixels. It knows the luma in studio range."""
        shape = (grey.shape[0], grey.shape[1])
        y = torch.from_numpy(grey).reshape(-1, 1).to(self.device) * sum(LUMA) + LUMA_OFFSET
        H = Interpolate().operator(shape, self.device)
        data: DataTerm = self.network.data_term.unchecked(H, y)
        x = (self.network.restore(data, shape) - LUMA_OFFSET) / sum(LUMA)
        return x.reshape(shape).cpu().numpy()


def _at_even_pixels(samples: np.ndarray) -> np.ndarray:
    image = np.zeros((2 * samples.shape[0], 2 * samples.shape[1], *samples.shape[2:]), np.float32)
    image[::2, ::2] = samples
    return image


def interpolator(options: argparse.Namespace) -> Interpolator:
    """What `interpolate` does under its options."""
    device = find_device(options.device)
    network = find_network(options.network, "interpolate").to(device)
    return Interpolator(network, find_method("bicubic_aligned", "interpolate"), device)


@dataclass(frozen=True)
class Denoiser:
    """Less noise, see `denoise`.

    Args:
        sigma: standard deviation of the noise on the scale from 0 to 1; None estimates it.
        device: that computes.
    """

    sigma: float | None
    device: torch.device
    scale = 1
    takes_raw = False

    def restore(self, path: Path) -> tuple[np.ndarray, str]:
        photo = torch.from_numpy(read_photo(path)).to(self.device)
        sigma = noise_level(photo) if self.sigma is None else self.sigma
        note = "" if self.sigma else f" (sigma {255 * sigma:.2f})"
        return denoise(photo, sigma).cpu().numpy(), note


def denoiser(options: argparse.Namespace) -> Denoiser:
    """What `denoise` does under its options."""
    sigma = None if options.sigma is None else options.sigma / 255
    return Denoiser(sigma, find_device(options.device))


def find_device(name: str | None) -> torch.device:
    """The device of this name, or the fastest there is.

    Raises:
        ValueError: none of this name on this machine.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise mistake(
            f"--device {name}", "a device of this machine", "Leave it out, or give cpu."
        ) from error
