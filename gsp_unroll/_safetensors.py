"""Files of tensors that say what they are: written whole, read without executing anything."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

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


def foreign(path: str | Path, why: str, kind: str, advice: str) -> Exception:
    """The error for a file that is not what it should be."""
    return mistake(f"{path}, which cannot be used ({why})", f"a whole file of {kind!r}", advice)
