"""Identity, diagonal, and a user's own pair of maps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .._checks import check_same_kind, check_signal, check_tensor, mistake
from .._typing import Mask
from ..graph import linear_pair
from .base import Gram, LinearOperator, Selection, SelfAdjoint, Split, with_head_axis


@dataclass(frozen=True, eq=False)
class Identity(SelfAdjoint, Selection):
    """`I`: every node and channel is observed as it is.

    Shapes:
        - **x, I @ x:** `(*batch, nodes, channels)`

    Raises:
        ValueError: on call, a signal without a channel axis or not of floating-point numbers.

    Example:
        >>> import torch
        >>> from gsp_unroll import Identity
        >>> (Identity() @ torch.ones(2, 1)).flatten()
        tensor([1., 1.])
    """

    def _apply(self, x: Tensor) -> Tensor:
        return x

    def split(self) -> Split | None:
        return Split(1.0)

    def diagonal(self) -> Tensor | None:
        return torch.ones(())  # a scalar joins any device and dtype

    def majorizer(self) -> Tensor | None:
        return self.diagonal()

    @property
    def observed(self) -> Mask:
        return torch.ones((), dtype=torch.bool)

    @property
    def gram(self) -> LinearOperator:
        return self


@dataclass(frozen=True, eq=False)
class Diagonal(SelfAdjoint):
    """`diag(d)`, for example one gain per sensor.

    Args:
        d: `(nodes, 1)`, `(nodes, channels)`, or with leading batch axes.

    Shapes:
        - **d:** `(*batch, nodes, 1)` or `(*batch, nodes, channels)`
        - **x, A @ x:** `(*batch, nodes, channels)`

    Raises:
        ValueError: gains without a channel axis, or not floating-point; on call, a signal on other
            nodes, of another dtype or on another device.

    Example:
        >>> import torch
        >>> from gsp_unroll import Diagonal
        >>> (Diagonal(torch.tensor([[2.0], [3.0]])) @ torch.ones(2, 1)).flatten()
        tensor([2., 3.])
    """

    d: Tensor

    def __post_init__(self) -> None:
        check_signal(self.d, None, "diagonal")
        object.__setattr__(self, "num_inputs", self.d.shape[-2])
        object.__setattr__(self, "num_outputs", self.d.shape[-2])

    def per_head(self) -> LinearOperator:
        return Diagonal(with_head_axis(self.d))

    def _apply(self, x: Tensor) -> Tensor:
        check_same_kind(x, self.d, "a signal", "the diagonal")
        return self.d * x

    def split(self) -> Split | None:
        return Split(self.d)

    def diagonal(self) -> Tensor | None:
        return self.d

    def majorizer(self) -> Tensor | None:
        return self.d.abs()  # for gains of 0 or more, the only case in which there is one

    @property
    def gram(self) -> LinearOperator:
        return Diagonal(self.d**2)


@dataclass(frozen=True, eq=False)
class MatrixFree(LinearOperator):
    """A user's own map and its adjoint, as two functions.

    The derivative of the one is the other, so neither has to be differentiable by autograd: they
    may call NumPy, SciPy or a simulator. `testing.check_adjoint` tells whether they fit together.
    Tensors that the functions hold inside get no gradient that way; to learn them, write a
    `LinearOperator` with `_apply` and `_apply_adjoint` in plain torch.

    Args:
        apply: `x -> A x` on `(*batch, nodes, channels)`.
        adjoint: `y -> A' y`.
        num_inputs: nodes of `x`, checked when given.
        num_outputs: nodes of `A x`, checked when given.
        couples_channels: True when the map mixes channels.
        gram_majorizer: a diagonal `D >= 0` with `A'A <= 2 D`, needed by the bounded learned solve
            when this is a forward operator.

    Shapes:
        - **x:** `(*batch, nodes, channels)`
        - **A @ x:** what `apply` returns
        - **gram_majorizer:** `()`, `(nodes, 1)` or `(nodes, channels)`

    Raises:
        ValueError: a majorizer of another shape; on call, a signal on other nodes or not of
            floating-point numbers; an adjoint that was asked for and not given.

    Example:
        >>> import torch
        >>> from gsp_unroll import MatrixFree
        >>> B = torch.tensor([[1.0, 1.0]])
        >>> mean = MatrixFree(lambda x: B @ x, lambda y: B.T @ y)
        >>> (mean.T @ (mean @ torch.ones(2, 1))).flatten()
        tensor([2., 2.])
    """

    apply: Callable[[Tensor], Tensor]
    adjoint: Callable[[Tensor], Tensor] | None = None
    num_inputs: int | None = None
    num_outputs: int | None = None
    couples_channels: bool = False
    gram_majorizer: Tensor | None = None

    def __post_init__(self) -> None:
        bound = self.gram_majorizer
        if bound is None:
            return
        check_tensor(bound, "gram_majorizer")
        n = self.num_inputs
        if bound.ndim == 1 or (bound.ndim and n is not None and bound.shape[-2] not in (1, n)):
            raise mistake(
                f"gram_majorizer of shape {tuple(bound.shape)}",
                "one number, (), or a signal: (nodes, 1) or (nodes, channels)",
                "Add the axis of the channels with .unsqueeze(-1).",
            )

    def _apply(self, x: Tensor) -> Tensor:
        if self.adjoint is None:
            return self.apply(x)
        return linear_pair(self.apply, self.adjoint, x)

    def _apply_adjoint(self, y: Tensor) -> Tensor:
        if self.adjoint is None:
            return super()._apply_adjoint(y)
        return linear_pair(self.adjoint, self.apply, y)

    def per_head(self) -> LinearOperator:
        bound = self.gram_majorizer
        return replace(self, gram_majorizer=None if bound is None else with_head_axis(bound))

    @property
    def gram(self) -> LinearOperator:
        return Gram(self, self.gram_majorizer)
