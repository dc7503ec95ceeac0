"""The state of a training in one safetensors file: tensors as they are, the rest as JSON.

Nothing is unpickled, a file that was cut short is noticed, and a new state takes the place of the
old one only when it is whole.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import Tensor

from .._checks import mistake
from .._safetensors import foreign, read_tensors, write_tensors

#: the name of the file in the folder of a training
KEPT = "state.safetensors"
FORMAT = "gsp_unroll training state 1"
ADVICE = "Start in a new folder, or restore the file from a copy; nothing was overwritten."


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Writes a nested dictionary of tensors and plain values; all or nothing.

    Args:
        path: file.
        state: dictionaries, lists, tensors, and what JSON knows. A tuple comes back as a list.

    Raises:
        ValueError: a text that would be read as a tensor, or two tensors of one path.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import torch
        >>> from gsp_unroll.train.checkpoint import load_state, save_state
        >>> path = Path(tempfile.mkdtemp()) / "state.safetensors"
        >>> save_state(path, {"step": 7, "weights": {"a": torch.ones(2)}})
        >>> load_state(path)
        {'step': 7, 'weights': {'a': tensor([1., 1.])}}
    """
    tensors: dict[str, Tensor] = {}
    plain = json.dumps(_take_tensors(state, tensors))
    write_tensors(path, tensors, FORMAT, {"state": plain})


def load_state(path: Path) -> dict[str, Any]:
    """What `save_state` wrote, on the CPU.

    Args:
        path: file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a file that was cut short, or that something else wrote.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from gsp_unroll.train.checkpoint import load_state, save_state
        >>> path = Path(tempfile.mkdtemp()) / "state.safetensors"
        >>> save_state(path, {"seen": [1, 2, 3]})
        >>> load_state(path)["seen"]
        [1, 2, 3]
    """
    tensors, metadata = read_tensors(path, FORMAT, ADVICE)
    try:
        state: dict[str, Any] = _put_tensors(json.loads(metadata["state"]), tensors)
        state.keys()
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise foreign(path, f"its description is none: {error}", FORMAT, ADVICE) from error
    return state


#: Stands in the JSON where a tensor was; a text that begins so is refused.
_MARK = "tensor:"


def _take_tensors(value: Any, tensors: dict[str, Tensor], name: str = "") -> Any:
    """`value` with a mark for each tensor, which goes to `tensors` under its path."""
    if isinstance(value, Tensor):
        if name in tensors:
            raise mistake(
                f"a state with two tensors at {name!r}",
                "one path for each tensor",
                "Name no key like a path (a/b), and no text like a number beside it (1 and '1').",
            )
        # a copy, because two names of one memory are refused
        tensors[name] = value.detach().to("cpu", copy=True).contiguous()
        return _MARK + name
    if isinstance(value, str) and value.startswith(_MARK):
        raise mistake(
            f"the text {value!r} at {name!r}",
            f"texts that do not begin with {_MARK!r}, which stands for a tensor in the file",
            "Write it another way.",
        )
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
