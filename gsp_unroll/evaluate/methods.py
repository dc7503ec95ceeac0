"""Ways to restore a photograph, by name: baselines, and networks in files.

What they need is imported when they are made: the command lists them without torch, and most need
a package that nothing else does.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

    from ..models import ImageNetwork

#: From an observation `(height, width, 1)`, and the standard deviation of its noise in the same
#: units, to an image `(height, width, channels)`.
Method = Callable[[np.ndarray, float], np.ndarray]

EXTRA = "pip install 'gsp_unroll[evaluate]'"


def needed(module: str, install: str = EXTRA) -> Any:
    """The module of an optional package.

    Raises:
        ValueError: it cannot be imported; the message says what to install.
    """
    try:
        with warnings.catch_warnings():  # what they import in turn is deprecated
            warnings.simplefilter("ignore")
            return importlib.import_module(module)
    except ImportError as error:
        from .._checks import mistake

        raise mistake(
            f"an environment where {module} cannot be imported ({error})",
            "the optional packages that the evaluation needs",
            f"Install them with {install}.",
        ) from error


def find_method(name: str, task: str) -> Method:
    """The baseline of this name, or the network in the file of this name.

    Args:
        name: of a baseline in `BASELINES[task]`, or a path.
        task: what it is to do, "demosaic" or "interpolate".

    Raises:
        ValueError: neither a baseline nor a file; a file that holds no network of this task; a
            package that is missing.

    Example:
        >>> import numpy as np
        >>> from gsp_unroll.evaluate.methods import find_method
        >>> bilinear = find_method("bilinear", "interpolate")
        >>> y = np.zeros((4, 4, 1))
        >>> y[::2, ::2, 0] = [[0.0, 1.0], [2.0, 3.0]]
        >>> bilinear(y, 0.0)[0, :, 0].tolist()  # the last column is that of the last sample
        [0.0, 0.5, 1.0, 1.0]
    """
    if name in BASELINES[task]:
        return BASELINES[task][name]()
    if Path(name).exists() or name in packaged():
        return network_method(name, task)
    from .._checks import mistake

    raise mistake(
        f"the method {name!r}",
        f"a baseline of {task} ({', '.join(BASELINES[task])}), a network of the package "
        f"({', '.join(packaged())}) or a file of weights",
        "Check the name; a training leaves the file network.safetensors in its folder.",
    )


def packaged() -> list[str]:
    """Names of the trained networks in the package."""
    from ..models.pretrained import pretrained_names

    return pretrained_names()


def network_method(name: str | Path, task: str) -> Method:
    """A trained network, see `find_network`; large photographs go through it tile by tile.

    Args:
        name: of a network of the package, or a path.
        task: what it is to do, "demosaic" or "interpolate".

    Raises:
        ValueError: neither a name nor a file; a network of another task.

    Example:
        >>> import numpy as np
        >>> from gsp_unroll.evaluate.methods import network_method
        >>> restore = network_method("small", "demosaic")
        >>> restore(np.full((8, 10, 1), 0.5), 0.0).shape
        (8, 10, 3)
    """
    import torch

    from ..train.tasks import TASKS

    network = find_network(name, task)

    def restore(y: np.ndarray, sigma: float) -> np.ndarray:
        shape = (y.shape[0], y.shape[1])
        samples = torch.from_numpy(y).float().reshape(-1, 1)
        data = network.data_term.unchecked(TASKS[task].operator(shape), samples)
        x = network.restore(data, shape)
        return np.asarray(x.reshape(*shape, -1))

    return restore


def find_network(name: str | Path, task: str) -> ImageNetwork:
    """A trained network, see `from_pretrained`, that has been seen to do this task.

    Args:
        name: of a network of the package, or a path.
        task: what it is to do, "demosaic" or "interpolate".

    Raises:
        ValueError: neither a name nor a file; a network of another task.

    Example:
        >>> from gsp_unroll.evaluate.methods import find_network
        >>> type(find_network("mosaic", "demosaic")).__name__
        'MosaicNetwork'
    """
    import torch

    from .._checks import mistake
    from ..models.pretrained import from_pretrained
    from ..train.tasks import TASKS

    network = from_pretrained(name)
    H = TASKS[task].operator((8, 8))
    try:
        data = network.data_term.unchecked(H, torch.zeros(64, 1))
        channels = network.restore(data, (8, 8)).shape[-1]
    except (RuntimeError, ValueError, IndexError) as error:
        raise _other_task(name, task) from error
    if channels != TASKS[task].channels:
        raise mistake(
            f"{name}, a network of {channels} channels",
            f"{TASKS[task].channels} for {task}",
            "Give a network that was trained for this task.",
        )
    return network


def _other_task(name: str | Path, task: str) -> Exception:
    from .._checks import mistake

    return mistake(
        f"{name}, a network that cannot restore an observation of {task}",
        "one of the same channels",
        "Give a network that was trained for this task.",
    )


def _colour_demosaicing(name: str) -> Method:
    restore = getattr(needed("colour_demosaicing"), f"demosaicing_CFA_Bayer_{name}")
    return lambda y, sigma: np.asarray(restore(y[..., 0].astype(np.float64), "RGGB"))


#: rows and columns from the top left pixel of RGGB to one where the pattern of demosaicnet begins
GRBG_FROM_RGGB = (0, 1)


def demosaicnet(shift: tuple[int, int] = GRBG_FROM_RGGB) -> Method:
    """The Bayer network of Gharbi et al. 2016 with the weights that it ships.

    Args:
        shift: where in the pattern RGGB its own begins. Any but the default is wrong, and there so
            that a test can see it.
    """
    import torch

    from ..operators import BayerMosaic

    package = needed(
        "demosaicnet",
        "pip install --no-deps demosaicnet wget, and 'setuptools<81' for the pkg_resources that "
        "it asks for",
    )
    network = package.BayerDemosaick(pretrained=True).eval()
    # a frame of reflected pixels keeps the pattern, moves its phase by its width, and feeds the 31
    # pixels that the unpadded convolutions take off
    down, right = (32 + s for s in shift)

    def restore(y: np.ndarray, sigma: float) -> np.ndarray:
        height, width, _ = y.shape
        framed = np.pad(y[..., 0], ((down, down), (right, right)), mode="reflect")
        phase = "".join("RGGB"[2 * (i ^ shift[0]) + (j ^ shift[1])] for i in (0, 1) for j in (0, 1))
        mosaic = torch.from_numpy(framed).float()
        H = BayerMosaic(mosaic.shape[0], mosaic.shape[1], phase)
        color = H.observed.reshape(*mosaic.shape, 3)
        with torch.no_grad():
            x = network(torch.where(color, mosaic.unsqueeze(-1), 0).permute(2, 0, 1)[None])[0]
        # an odd side loses its last row or column too
        top, left = ((a - b) // 2 for a, b in zip(framed.shape, x.shape[1:], strict=True))
        inner = x[:, down - top : down - top + height, right - left : right - left + width]
        return np.asarray(inner.permute(1, 2, 0))

    return restore


#: How many times the noise of the mosaic BM3D is told. After Menon the noise is not white, and
#: told its own strength BM3D takes too little away. The best of 1.25, 1.5, 1.75 and 2 at each of
#: sigma 10, 20, 30 and 50, by both protocols, on 12 of the photographs held out from training.
BM3D_TOLD = 1.75


def _menon_bm3d() -> Method:
    menon, bm3d = _colour_demosaicing("Menon2007"), needed("bm3d").bm3d_rgb

    def restore(y: np.ndarray, sigma: float) -> np.ndarray:
        x = menon(y, sigma)
        return np.asarray(bm3d(x, BM3D_TOLD * sigma)) if sigma else x

    return restore


def _menon_nlm() -> Method:
    menon = _colour_demosaicing("Menon2007")
    denoise = needed("skimage.restoration").denoise_nl_means

    def restore(y: np.ndarray, sigma: float) -> np.ndarray:
        x = menon(y, sigma)
        if not sigma:
            return x
        # the settings that the gallery of scikit-image recommends for its fast mode
        return np.asarray(
            denoise(
                x,
                patch_size=5,
                patch_distance=6,
                h=0.8 * sigma,
                sigma=sigma,
                fast_mode=True,
                channel_axis=-1,
            )
        )

    return restore


def _bicubic_misaligned() -> Method:
    from torch import nn

    def double(samples: Tensor) -> Tensor:
        return nn.functional.interpolate(
            samples[None, None], scale_factor=2.0, mode="bicubic", align_corners=False
        )[0, 0]

    return _doubling(double)


def _aligned(a: float) -> Method:
    return _doubling(lambda samples: _doubled(_doubled(samples, a).mT, a).mT)


def _doubling(double: Callable[[Tensor], Tensor]) -> Method:
    """`double` on the samples at even pixels; an odd side drops the last row or column."""
    import torch

    def restore(y: np.ndarray, sigma: float) -> np.ndarray:
        samples = torch.from_numpy(np.ascontiguousarray(y[::2, ::2, 0]))
        return np.asarray(double(samples)[: y.shape[0], : y.shape[1], None])

    return restore


def _doubled(samples: Tensor, a: float) -> Tensor:
    r"""Samples along the last axis, and between them the cubic convolution of Keys 1981.

    $$x_{2k}=s_k,\qquad
      x_{2k+1}=\tfrac{4-a}8(s_k+s_{k+1})+\tfrac a8(s_{k-1}+s_{k+2}),$$

    with the first and the last sample repeated beyond the ends. `a` of 0 is the mean of two.
    """
    import torch

    s = torch.cat([samples[..., :1], samples, samples[..., -1:], samples[..., -1:]], -1)
    before, here, there, beyond = s[..., :-3], s[..., 1:-2], s[..., 2:-1], s[..., 3:]
    between = (4 - a) / 8 * (here + there) + a / 8 * (before + beyond)
    return torch.stack([samples, between], -1).flatten(-2)


BASELINES: dict[str, dict[str, Callable[[], Method]]] = {
    "demosaic": {
        "bilinear": lambda: _colour_demosaicing("bilinear"),
        "malvar2004": lambda: _colour_demosaicing("Malvar2004"),
        "menon2007": lambda: _colour_demosaicing("Menon2007"),
        "menon2007+nlm": _menon_nlm,
        "menon2007+bm3d": _menon_bm3d,
        "demosaicnet": demosaicnet,
    },
    "interpolate": {
        "bilinear": lambda: _aligned(0.0),
        "bicubic_misaligned": _bicubic_misaligned,
        "bicubic_aligned": lambda: _aligned(-0.5),
    },
}
