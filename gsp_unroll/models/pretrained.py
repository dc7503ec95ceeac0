"""Trained networks: in the package, in files, on a hub."""

from __future__ import annotations

from pathlib import Path

from .._checks import mistake
from .image import ImageNetwork
from .named import load_network

WEIGHTS = Path(__file__).resolve().parents[1] / "weights"
#: what a training calls the weights in its folder, and a hub in its repository
FILE = "network.safetensors"


def pretrained_names() -> list[str]:
    """Names of the trained networks that the package brings.

    Example:
        >>> from gsp_unroll.models import pretrained_names
        >>> "mosaic" in pretrained_names()
        True
    """
    return sorted(path.stem for path in WEIGHTS.glob("*.safetensors"))


def from_pretrained(name: str | Path) -> ImageNetwork:
    """A trained network, ready to restore.

    Looked for in this order: a file or folder on disk; a network of the package
    (`pretrained_names`), for which nothing is downloaded; and, for names of the form
    `owner/repository`, `network.safetensors` on the Hugging Face hub (extra `hub`). Weights are
    read as plain numbers: nothing in a file is ever executed.

    A card beside the weights, `gsp_unroll/weights/NAME.md`, tells what a packaged network was
    trained on, how well it does and where its limits are.

    Args:
        name: of a network; a file written by `save_network`; or a folder with a
            `network.safetensors`, such as a training leaves.

    Raises:
        ValueError: an unknown name, a damaged file, or one that something else wrote.

    Example:
        >>> import torch
        >>> from gsp_unroll import BayerMosaic, Interpolation, from_pretrained
        >>> H = BayerMosaic(8, 8)
        >>> from_pretrained("mosaic")(Interpolation(H, torch.rand(64, 1)), (8, 8)).shape
        torch.Size([64, 3])
    """
    return load_network(find_weights(name))


def find_weights(name: str | Path) -> Path:
    """The file that `from_pretrained` reads.

    Args:
        name: see there.

    Raises:
        ValueError: an unknown name.
    """
    path = Path(name)
    if path.is_dir():
        path /= FILE
    if path.is_file():
        return path
    if str(name) in pretrained_names():
        return WEIGHTS / f"{name}.safetensors"
    if str(name).count("/") == 1 and path.suffix != Path(FILE).suffix:
        return _from_hub(str(name))
    raise mistake(
        f"{str(name)!r}, which is no file, no folder with a {FILE} and no known name",
        f"one of {', '.join(pretrained_names())}, a path, or owner/repository on a hub",
        "Correct the name, or train a network: python -m gsp_unroll.train --help.",
    )


def _from_hub(repository: str) -> Path:
    try:
        from huggingface_hub import hf_hub_download
    except ImportError as error:
        raise mistake(
            f"{repository!r}, a name on a hub, without the package that reads hubs",
            "huggingface_hub to be installed",
            "Run pip install 'gsp_unroll[hub]', or give a file on disk.",
        ) from error
    try:
        return Path(hf_hub_download(repository, FILE))
    except (OSError, ValueError) as error:
        raise mistake(
            f"{repository!r}, which is not on disk and could not be fetched ({error})",
            f"a file, a folder with a {FILE}, or owner/repository on the hub",
            "Correct the name.",
        ) from error
