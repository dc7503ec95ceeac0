"""Networks by name, and their weights in files: built again from what the file itself says."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .._checks import mistake
from .._safetensors import check_state_fits, foreign, read_tensors, write_tensors
from .demosaic import DemosaicNetwork
from .image import ImageNetwork
from .mosaic import MosaicNetwork
from .published import PublishedNetwork

#: Constructors of the image networks that a command or a file of weights may name.
NETWORKS: dict[str, Callable[..., ImageNetwork]] = {
    "demosaic": DemosaicNetwork,
    "mosaic": MosaicNetwork,
    "ugtv": PublishedNetwork.ugtv,
    "uglr": PublishedNetwork.uglr,
    "ugtv_splitting": PublishedNetwork.ugtv_splitting,
    "uglr_combinatorial": PublishedNetwork.uglr_combinatorial,
}
FORMAT = "gsp_unroll network 1"
ADVICE = "Download it again, or write it with save_network."


def save_network(
    network: nn.Module,
    path: str | Path,
    name: str,
    arguments: dict[str, Any],
    about: dict[str, Any] | None = None,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Writes the weights and how to build the network around them; all or nothing.

    Args:
        network: the network.
        path: file, usually `*.safetensors`.
        name: of its constructor in `NETWORKS`.
        arguments: of its constructor.
        about: anything else worth knowing, as plain values.
        dtype: of the numbers in the file; `torch.float16` halves its size.

    Raises:
        ValueError: a name that is not known, or arguments with which it builds another network:
            `load_network` would refuse the file.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from gsp_unroll.models import MosaicNetwork, load_network, save_network
        >>> arguments = {"width": 8, "depth": 1}
        >>> path = Path(tempfile.mkdtemp()) / "mine.safetensors"
        >>> save_network(MosaicNetwork(**arguments), path, "mosaic", arguments)
        >>> type(load_network(path)).__name__
        'MosaicNetwork'
    """
    values = network.state_dict().items()
    try:
        _check_shapes(name, arguments, {key: value.shape for key, value in values})
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise mistake(
            f"a {type(network).__name__}, to be written as {name!r} with {arguments!r} ({error})",
            f"one of {', '.join(NETWORKS)}, and the arguments that it was built with",
            "Correct them; nothing was written.",
        ) from error
    metadata = {
        "network": name,
        "arguments": json.dumps(arguments),
        "about": json.dumps(about or {}),
    }
    tensors = {key: value.detach().to(dtype).contiguous() for key, value in values}
    write_tensors(Path(path), tensors, FORMAT, metadata)


def load_network(path: str | Path) -> ImageNetwork:
    """The network that `save_network` wrote, in float32 and ready to restore.

    Nothing is unpickled: the file holds numbers, and names that are looked up in `NETWORKS`.

    Args:
        path: file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a file that was cut short, that something else wrote, or whose weights are not
            those of the network that it names.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from gsp_unroll.models import DemosaicNetwork, load_network, save_network
        >>> path = Path(tempfile.mkdtemp()) / "small.safetensors"
        >>> save_network(DemosaicNetwork(width=4), path, "demosaic", {"width": 4})
        >>> sum(p.numel() for p in load_network(path).parameters())
        938
    """
    tensors, metadata = read_tensors(path, FORMAT, ADVICE)
    name = metadata.get("network", "")
    if name not in NETWORKS:
        raise foreign(path, f"a network {name!r}, which is not known here", FORMAT, ADVICE)
    try:
        arguments = json.loads(metadata["arguments"])
        # before memory is taken for a network that the file may only claim to hold
        _check_shapes(name, arguments, {key: value.shape for key, value in tensors.items()})
        network = NETWORKS[name](**arguments)
        network.load_state_dict({key: value.float() for key, value in tensors.items()})
    except (KeyError, TypeError, ValueError, RuntimeError, RecursionError) as error:
        why = f"its weights do not fit {name!r}: {error}"
        raise foreign(path, why, FORMAT, ADVICE) from error
    return network.eval()


def _check_shapes(name: str, arguments: dict[str, Any], shapes: dict[str, torch.Size]) -> None:
    """That the network so named takes a state of these shapes: see `check_state_fits`."""
    check_state_fits(partial(NETWORKS[name], **arguments), shapes)
