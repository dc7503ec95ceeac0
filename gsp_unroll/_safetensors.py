"""Files of tensors that say what they are: written whole, read without executing anything."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from ._checks import mistake
from ._files import written_whole


def write_tensors(
    path: Path, tensors: dict[str, Tensor], kind: str, metadata: dict[str, str]
) -> None:
    """Writes a safetensors file of this kind; all or nothing.

    Raises:
        OSError: no room, or no right to write there.
    """
    with written_whole(path) as beside:
        try:
            save_file(tensors, beside, metadata={"format": kind} | metadata)
        except SafetensorError as error:
            raise OSError(
                f"Got {path}, which cannot be written ({error}). Expected room and the right to "
                "write there. Nothing was overwritten; make room and run the same again."
            ) from error
        beside.chmod(0o644)  # it is written for its owner alone, and may be installed for all


def read_tensors(
    path: str | Path, kind: str, advice: str
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors, on the CPU, and the metadata of a file of this kind.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a file that was cut short, or that something else wrote.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != kind:
                raise foreign(path, "another kind of file", kind, advice)
            # a number format that this torch does not have raises whatever torch raises
            return {name: file.get_tensor(name) for name in file.keys()}, metadata  # noqa: SIM118
    except (SafetensorError, AttributeError, KeyError, TypeError) as error:
        raise foreign(path, str(error), kind, advice) from error


def check_state_fits(build: Callable[[], nn.Module], shapes: dict[str, torch.Size]) -> None:
    """That the network so built takes a state of these shapes. It is built without memory, and no
    further than to a few times the values in the file.

    Raises:
        RuntimeError: it does not.
        ValueError: it is far too large.
    """
    here = threading.get_ident()
    taken, room = 0, 2**20 + 4 * sum(shape.numel() for shape in shapes.values())

    def count(_module: nn.Module, _name: str, value: nn.Parameter | None) -> None:
        nonlocal taken
        if value is not None and threading.get_ident() == here:
            taken += value.numel() + 1
            if taken > room:
                raise ValueError(f"it takes more than {room} values, several times those there are")

    watch = register_module_parameter_registration_hook(count)
    try:
        with torch.device("meta"):
            network = build()
            network.load_state_dict({key: torch.empty(shape) for key, shape in shapes.items()})
    finally:
        watch.remove()


def foreign(path: str | Path, why: str, kind: str, advice: str) -> Exception:
    """The error for a file that is not what it should be."""
    return mistake(f"{path}, which cannot be used ({why})", f"a whole file of {kind!r}", advice)
