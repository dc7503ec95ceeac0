"""The state of a training in one safetensors file: tensors as they are, the rest as JSON.

Nothing is unpickled, a file that was cut short is noticed, and a new state takes the place of the
old one only when it is whole.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from .._checks import mistake

FORMAT = "gsp_unroll training state 1"


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Writes a nested dictionary of tensors and plain values; all or nothing."""
    tensors: dict[str, Tensor] = {}
    plain = _take_tensors(state, tensors)
    beside = path.with_name(path.name + ".part")
    save_file(tensors, beside, metadata={"format": FORMAT, "state": json.dumps(plain)})
    os.replace(beside, path)


def load_state(path: Path) -> dict[str, Any]:
    """What `save_state` wrote, on the CPU.

    Raises:
        ValueError: a file that was cut short, or that something else wrote.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise _foreign(path, "another kind of file")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise _foreign(path, str(error)) from error
    state: dict[str, Any] = _put_tensors(json.loads(metadata["state"]), tensors)
    return state


def _foreign(path: Path, why: str) -> Exception:
    return mistake(
        f"{path}, which is no training state ({why})",
        f"a whole file of the format {FORMAT!r}",
        "Start in a new folder, or restore the file from a copy; nothing was overwritten.",
    )


#: Stands in the JSON where a tensor was; no plain value of a state looks like it.
_MARK = "tensor:"


def _take_tensors(value: Any, tensors: dict[str, Tensor], name: str = "") -> Any:
    """`value` with a mark for each tensor, which goes to `tensors` under its path."""
    if isinstance(value, Tensor):
        # a copy, because two names of one memory are refused
        tensors[name] = value.detach().to("cpu", copy=True).contiguous()
        return _MARK + name
    if isinstance(value, dict):
        items = [
            [key, _take_tensors(item, tensors, f"{name}/{key}")] for key, item in value.items()
        ]
        return {"dict": items}  # pairs, because JSON has no numbers as keys
    if isinstance(value, (list, tuple)):
        return [_take_tensors(item, tensors, f"{name}/{i}") for i, item in enumerate(value)]
    return value


def _put_tensors(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, str) and value.startswith(_MARK):
        return tensors[value.removeprefix(_MARK)]
    if isinstance(value, dict):
        return {key: _put_tensors(item, tensors) for key, item in value["dict"]}
    if isinstance(value, list):
        return [_put_tensors(item, tensors) for item in value]
    return value
