"""How learned numbers are stored: one per iteration, and per head where there are heads."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TypeVar

import torch
from torch import Tensor, nn

State = TypeVar("State")


def per_head(value: Tensor, heads: int | None) -> Tensor:
    """`value` with a last axis that repeats it for each head, or as it is without heads."""
    return value if heads is None else value.unsqueeze(-1).repeat(*[1] * value.ndim, heads)


def as_coefficient(value: Tensor, heads: int | None) -> Tensor:
    """A parameter slice as a factor of signals: `()` or `(heads, 1, 1)`."""
    return value if heads is None else value.view(heads, 1, 1)


def log_parameter(value: float, num_iterations: int, heads: int | None) -> nn.Parameter:
    """A positive number per iteration (and head), learned as its logarithm."""
    return nn.Parameter(per_head(torch.full((num_iterations,), math.log(value)), heads))


def positive(log_value: Tensor, heads: int | None) -> Tensor:
    """The positive number that a slice of `log_parameter` stands for, as a factor of signals."""
    return as_coefficient(log_value.exp(), heads)


def last(iterates: Iterator[State]) -> State:
    """The last state, the others let go as they pass."""
    for state in iterates:  # noqa: B007
        pass
    return state
