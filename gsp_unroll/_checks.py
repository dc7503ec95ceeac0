"""Checks at the public doors. Every message has three parts: got, expected, do this."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


def mistake(got: str, expected: str, advice: str) -> ValueError:
    """The one form of our error messages, as an exception to `raise`."""
    return ValueError(f"Got {got}. Expected {expected}. {advice}")


@contextmanager
def plainly() -> Iterator[None]:
    """What a user mistook ends a command with the message alone, without a traceback."""
    try:
        yield
    except (ValueError, FileNotFoundError) as error:
        raise SystemExit(f"{error}") from error


def _a(name: str) -> str:
    """The name with its article."""
    return f"an {name}" if name[0] in "aeiou" else f"a {name}"


def check_tensor(x: object, name: str) -> None:
    """A tensor, not an array or a table."""
    if not isinstance(x, Tensor):
        raise mistake(
            f"{name} as {type(x).__name__}",
            "a tensor",
            "Convert an array with torch.from_numpy(...), a table with .to_numpy() before that.",
        )


def check_signal(x: Tensor, num_nodes: int | None, name: str = "signal") -> None:
    """A floating-point tensor `(*batch, nodes, channels)` on the right number of nodes."""
    check_tensor(x, _a(name))
    if x.ndim < 2:
        raise mistake(
            f"{_a(name)} of shape {tuple(x.shape)}",
            "(*batch, nodes, channels)",
            "Add a channel axis with x.unsqueeze(-1).",
        )
    if not x.is_floating_point():
        raise mistake(
            f"{_a(name)} of dtype {x.dtype}",
            "float32 or float64",
            "Convert it first, e.g. x.float() / 255 for 8-bit images.",
        )
    if num_nodes is None or x.shape[-2] == num_nodes:
        return
    advice = f"Check that the signal and the graph describe the same {num_nodes} nodes."
    if x.shape[-1] == num_nodes:
        advice = "It looks transposed: channels come last. Use x.transpose(-1, -2)."
    raise mistake(f"{_a(name)} of shape {tuple(x.shape)}", f"{num_nodes} on axis -2", advice)


def check_same_device(x: Tensor, reference: Tensor, name: str, reference_name: str) -> None:
    """`x` and `reference` live on one device."""
    if x.device != reference.device:
        raise mistake(
            f"{name} on {x.device}",
            f"the device of {reference_name}, {reference.device}",
            f"Move one of them, e.g. with .to('{reference.device}').",
        )


def check_same_kind(x: Tensor, reference: Tensor, name: str, reference_name: str) -> None:
    """`x` and `reference` live on one device and share a dtype."""
    check_same_device(x, reference, name, reference_name)
    if x.dtype != reference.dtype:
        raise mistake(
            f"{name} of dtype {x.dtype}",
            f"the dtype of {reference_name}, {reference.dtype}",
            f"Convert one of them, e.g. with .to({reference.dtype}).",
        )


def check_full_precision(x: Tensor, name: str) -> None:
    """Float32 or wider: what is solved for is a difference of numbers that are nearly equal."""
    if x.dtype in (torch.float16, torch.bfloat16):
        raise mistake(
            f"{name} of dtype {x.dtype}",
            "float32 or float64: 16 bits are for networks, under autocast, up to the learner",
            "Convert it first, with .float(), or a module with module.float().",
        )


def check_positive_count(count: int, name: str) -> None:
    """A whole number, at least one."""
    _check_count(count, name, least=1)


def check_count(count: int, name: str) -> None:
    """A whole number, 0 or more."""
    _check_count(count, name, least=0)


def _check_count(count: int, name: str, least: int) -> None:
    if not hasattr(count, "__index__") or isinstance(count, bool) or count < least:
        raise mistake(
            f"{name}={count!r}",
            f"a whole number of at least {least}",
            f"Set {name} to {least} or more.",
        )


def check_positive(value: float, name: str) -> None:
    """A finite number above zero."""
    if not 0 < value <= sys.float_info.max:  # whole numbers may be beyond it
        raise mistake(f"{name}={value!r}", "a finite number above 0", f"Set {name} above 0.")


def check_readings(y: Tensor, name: str) -> None:
    """Finite, but for NaN where there is none."""
    infinite = 0 if y.is_meta else int(y.isinf().sum())
    if infinite:
        raise mistake(
            f"{name} with {infinite} infinite readings",
            "finite ones, and NaN where there is none",
            "Replace them, e.g. with y[y.isinf()] = torch.nan.",
        )


def check_finite(x: Tensor, name: str) -> None:
    """Raise a three-part `ValueError` if `x` holds NaN or infinity."""
    if x.is_meta:  # a shape without values
        return
    bad = int((~torch.isfinite(x)).sum())
    if bad:
        raise mistake(
            f"{bad} values of the {name} that are NaN or infinite",
            "finite values",
            "Mark missing values with a SamplingMask: what it leaves out is never read.",
        )
