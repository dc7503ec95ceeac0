"""Ways to restore a photograph, by name: baselines, and networks in files."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from ..operators import BayerMosaic

#: From an observation `(height, width, 1)` to an image `(height, width, channels)`.
Method = Callable[[np.ndarray], np.ndarray]
#: pixels of the longer side above which a photograph is restored in tiles
WHOLE = 1100


def _colour_demosaicing(name: str) -> Method:
    import colour_demosaicing

    restore = getattr(colour_demosaicing, f"demosaicing_CFA_Bayer_{name}")
    return lambda mosaic: np.asarray(restore(mosaic[..., 0].astype(np.float64), "RGGB"))


def _demosaicnet() -> Method:
    from demosaicnet import BayerDemosaick

    network = BayerDemosaick(pretrained=True).eval()

    def restore(mosaic: np.ndarray) -> np.ndarray:
        # its pattern is GRBG: one column of reflection turns RGGB into it, and a frame of the
        # same feeds the 30 pixels that its unpadded convolutions take off
        height, width, _ = mosaic.shape
        padded = np.pad(mosaic[..., 0], ((32, 32), (33, 33)), mode="reflect")
        y = torch.from_numpy(padded).float()
        color = BayerMosaic(y.shape[0], y.shape[1], "GRBG").observed.reshape(*y.shape, 3)
        with torch.no_grad():
            x = network(torch.where(color, y.unsqueeze(-1), 0).permute(2, 0, 1)[None])[0]
        top, left = ((a - b) // 2 for a, b in zip(padded.shape, x.shape[1:], strict=True))
        inner = x[:, 32 - top : 32 - top + height, 33 - left : 33 - left + width]
        return np.asarray(inner.permute(1, 2, 0))

    return restore


BASELINES: dict[str, Callable[[], Method]] = {
    "bilinear": lambda: _colour_demosaicing("bilinear"),
    "malvar2004": lambda: _colour_demosaicing("Malvar2004"),
    "menon2007": lambda: _colour_demosaicing("Menon2007"),
    "demosaicnet": _demosaicnet,
}
