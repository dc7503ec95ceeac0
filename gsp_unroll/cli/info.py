"""What is installed, and what is known of a network."""

from __future__ import annotations

import contextlib
import io
import json
import platform
from pathlib import Path
from typing import Any

import torch

from .. import __version__
from .._safetensors import foreign, read_tensors
from .._tables import markdown_table
from ..kernels import show_backends
from ..models.named import ADVICE, FORMAT, load_network
from ..models.pretrained import WEIGHTS, find_weights, pretrained_names


def info(network: str | None = None) -> str:
    """About the installation, or about one network.

    Args:
        network: name of a packaged one, file of weights, or folder of a training.

    Raises:
        ValueError: an unknown name, a damaged file.
    """
    return about_network(network) if network else about_installation()


def about_installation() -> str:
    """Versions, kernels, and the networks of the package."""
    versions = (
        f"gsp_unroll {__version__}, torch {torch.__version__}, Python {platform.python_version()}"
    )
    with contextlib.redirect_stdout(io.StringIO()) as backends:
        show_backends()
    rows = []
    for name in pretrained_names():
        path = find_weights(name)
        plan = _metadata(path)["about"]["plan"]
        rows.append((name, plan["task"], f"{_parameters(path)}", f"{plan['steps']}"))
    names = ("network", "task", "parameters", "steps")
    table = markdown_table(names, rows, (False, False, True, True))
    return (
        f"{versions}\n\n{backends.getvalue()}\n{table}\n"
        "gsp-unroll info NETWORK tells what it was trained on, how good it is and where its limits "
        "are."
    )


def about_network(name: str) -> str:
    """How a network is built, how it was trained, and its card where it has one."""
    path = find_weights(name)
    metadata = _metadata(path)
    text = (
        f"{path}\nnetwork {metadata['network']}, arguments {json.dumps(metadata['arguments'])}, "
        f"{_parameters(path)} parameters\n"
    )
    about = dict(metadata["about"])
    plan = about.pop("plan", {})
    text += "".join(f"  {key}: {json.dumps(value)}\n" for key, value in {**about, **plan}.items())
    card = path.with_suffix(".md")
    if path.parent == WEIGHTS and card.exists():
        text += "\n" + card.read_text(encoding="utf-8")
    return text.rstrip()


def _metadata(path: Path) -> dict[str, Any]:
    _, metadata = read_tensors(path, FORMAT, ADVICE)
    try:
        known = {key: json.loads(metadata[key]) for key in ("arguments", "about")}
        return {"network": metadata["network"], **known, "about": dict(known["about"])}
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise foreign(path, f"its description is none: {error}", FORMAT, ADVICE) from error


def _parameters(path: Path) -> int:
    return sum(p.numel() for p in load_network(path).parameters())
