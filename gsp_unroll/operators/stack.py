"""Several operators on one signal, their outputs one after another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add

import torch
from torch import Tensor

from .._checks import mistake
from .._typing import Signal
from ..graph import Systems
from .base import LinearOperator


@dataclass(frozen=True, eq=False)
class Stack(LinearOperator):
    r"""$Ax=(A_1x,\;A_2x,\;\dots)$: one output after another on the axis of nodes or edges.

    Args:
        parts: operators on one signal. At most one may leave its number of outputs open.

    Raises:
        ValueError: no operator, operators on different numbers of nodes, or several that leave
            their number of outputs open.

    Shapes:
        - **A @ x:** `(*batch, nodes, channels)` to `(*batch, sum of outputs, channels)`

    Example:
        >>> import torch
        >>> from gsp_unroll import Gradient, Identity, Stack, path_graph
        >>> A = Stack((Gradient(path_graph(3)), Identity()))
        >>> (A @ torch.tensor([[0.0], [1.0], [4.0]])).flatten()
        tensor([1., 3., 0., 0., 1., 4.])
    """

    parts: tuple[LinearOperator, ...]

    def __post_init__(self) -> None:
        if not self.parts:
            raise mistake("a stack of no operators", "at least one", "Leave the stack out.")
        inputs = {part.num_inputs for part in self.parts} - {None}
        if len(inputs) > 1:
            raise mistake(
                f"a stack of operators on {sorted(inputs)} nodes",  # type: ignore[type-var]
                "equal numbers",
                "Build all of them for one signal.",
            )
        outputs = [part.num_outputs for part in self.parts]
        if outputs.count(None) > 1:
            raise mistake(
                "a stack of several operators that leave their number of outputs open",
                "one such operator at most, so that the outputs can be told apart",
                "Use Diagonal(torch.ones(nodes, 1)) instead of Identity().",
            )
        known = [n for n in outputs if n is not None]
        total = sum(known) if len(known) == len(outputs) else None
        object.__setattr__(self, "num_inputs", inputs.pop() if inputs else None)
        object.__setattr__(self, "num_outputs", total)
        couples = any(part.couples_channels for part in self.parts)
        object.__setattr__(self, "couples_channels", couples)

    @property
    def systems(self) -> Systems:
        return reduce(Systems.joined, (part.systems for part in self.parts))

    def per_head(self) -> LinearOperator:
        return Stack(tuple(part.per_head() for part in self.parts))

    def split_output(self, z: Tensor) -> tuple[Tensor, ...]:
        """The output of each operator, as views of `z`."""
        sizes = [part.num_outputs for part in self.parts]
        rest = z.shape[-2] - sum(n for n in sizes if n is not None)
        pieces: tuple[Tensor, ...] = z.split([rest if n is None else n for n in sizes], -2)
        return pieces

    def _apply(self, x: Signal) -> Tensor:
        return stacked([part._apply(x) for part in self.parts])

    def _apply_adjoint(self, y: Tensor) -> Signal:
        pieces = zip(self.parts, self.split_output(y), strict=True)
        return reduce(add, (part._apply_adjoint(piece) for part, piece in pieces))

    @property
    def gram(self) -> LinearOperator:
        return reduce(add, (part.gram for part in self.parts))


def stacked(pieces: Sequence[Tensor]) -> Tensor:
    """Edge signals one after another; batch axes that only some have are repeated."""
    channels = {z.shape[-1] for z in pieces}
    if len(channels) > 1:
        raise mistake(
            f"outputs of {sorted(channels)} channels to be stacked",
            "equal numbers of channels",
            "Apply the operators one by one.",
        )
    batch = torch.broadcast_shapes(*(z.shape[:-2] for z in pieces))
    return torch.cat([z.expand(*batch, *z.shape[-2:]) for z in pieces], -2)
