"""Linear operators on graph signals: `A @ x`, `A @ B`, `A + B`, `A.scaled(s)`, `A.T`, `A.gram`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple, overload

from torch import Tensor

from .._checks import check_full_precision, check_same_device, check_signal, mistake
from .._typing import Mask
from ..graph import Graph, Systems


class Split(NamedTuple):
    r"""An operator as $h+\rho L$: a diagonal and a multiple of one combinatorial Laplacian.

    Where `fixed` is True it is the identity instead, and sees zeros there elsewhere.
    """

    h: Tensor | float = 0.0
    rho: Tensor | float = 0.0
    graph: Graph | None = None
    fixed: Mask | None = None


class LinearOperator(ABC):
    r"""A linear map between signals, with its exact adjoint.

    A subclass writes `_apply` and `_apply_adjoint`; all else follows. Two facts may be told beside
    the map, and each turns something on:

    - `diagonal()` is $\mathrm{diag}(A)$. A solver that knows it uses the Jacobi preconditioner.
    - `majorizer()` is a diagonal $D\ge0$ with $0\preceq A\preceq 2D$. The bounded learned solve
      needs it. For a Laplacian or a mask it is the diagonal itself; in general it is not.

    Both broadcast against `(*batch, nodes, channels)` and are None when not known.

    Shapes:
        - **x:** `(*batch, nodes, channels)`
        - **A @ x:** as the subclass says; `(*batch, nodes, channels)` unless it leads to other
          nodes

    Raises:
        ValueError: on call, a signal on other nodes or not of floating-point numbers; an adjoint
            that was asked for and not written.

    Example:
        >>> import torch
        >>> from gsp_unroll import LinearOperator
        >>> class Reversed(LinearOperator):
        ...     def _apply(self, x):
        ...         return x.flip(-2)
        ...
        ...     def _apply_adjoint(self, y):
        ...         return y.flip(-2)
        >>> A = Reversed()
        >>> ((A + A.scaled(2.0)) @ torch.tensor([[1.0], [2.0]])).flatten()
        tensor([6., 3.])
    """

    #: Nodes of the input and of the output; None when any number will do.
    num_inputs: int | None = None
    num_outputs: int | None = None
    #: True when one channel of the output depends on another channel of the input.
    couples_channels: bool = False

    @abstractmethod
    def _apply(self, x: Tensor) -> Tensor:
        """`A x` for a checked signal."""

    def _apply_adjoint(self, y: Tensor) -> Tensor:
        """`A' y` for a checked signal."""
        raise mistake(
            f"{type(self).__name__}, which has no adjoint",
            "an operator with `_apply_adjoint`",
            "Write the method, or pass the adjoint to MatrixFree(apply, adjoint).",
        )

    @property
    def systems(self) -> Systems:
        """Which inputs belong to one independent system."""
        return Systems(couples_channels=self.couples_channels)

    def diagonal(self) -> Tensor | None:
        """The diagonal of a square operator, or None when it is not known."""
        return None

    def majorizer(self) -> Tensor | None:
        r"""A diagonal $D\ge0$ with $0\preceq A\preceq2D$, or None when it is not known."""
        return None

    def split(self) -> Split | None:
        r"""The operator as $h+\rho L$ where it is of that form: a solver may then run it in one
        piece."""
        return None

    def __call__(self, x: Tensor) -> Tensor:
        """`A(x)`, the same as `A @ x`.

        The library itself writes `A(x)`: `torch.compile` cannot trace an `@` between an object
        and a tensor.
        """
        check_signal(x, self.num_inputs, f"input of {type(self).__name__}")
        check_full_precision(x, f"an input of {type(self).__name__}")
        return self._apply(x)

    @overload
    def __matmul__(self, other: Tensor) -> Tensor: ...
    @overload
    def __matmul__(self, other: LinearOperator) -> LinearOperator: ...
    def __matmul__(self, other: Tensor | LinearOperator) -> Tensor | LinearOperator:
        return Composition(self, other) if isinstance(other, LinearOperator) else self(other)

    def __add__(self, other: LinearOperator) -> LinearOperator:
        return Sum(self, other)

    def scaled(self, factor: float | Tensor) -> LinearOperator:
        """`factor * A`; a tensor must broadcast against signals, e.g. `(heads, 1, 1)`."""
        return Scaled(self, factor)

    def per_head(self) -> LinearOperator:
        """The operator for signals with a head axis before the nodes: numbers of its own that carry
        batch axes move those in front of it."""
        return self

    @property
    def T(self) -> LinearOperator:
        """The adjoint."""
        return Adjoint(self)

    @property
    def gram(self) -> LinearOperator:
        """`A'A`; an operator that knows its diagonal or a majorizer returns a form that tells."""
        return Gram(self)


class SelfAdjoint(LinearOperator):
    """An operator that is its own adjoint.

    A subclass writes `_apply` and `diagonal` or `majorizer` where they are known; see
    `LinearOperator`.

    Shapes:
        - **x, A @ x:** `(*batch, nodes, channels)`

    Raises:
        ValueError: on call, a signal on other nodes or not of floating-point numbers.

    Example:
        >>> import torch
        >>> from gsp_unroll.operators import SelfAdjoint
        >>> class Swapped(SelfAdjoint):
        ...     def _apply(self, x):
        ...         return x.flip(-2)
        >>> Swapped().T @ torch.tensor([[1.0], [2.0]])
        tensor([[2.],
                [1.]])
    """

    def _apply_adjoint(self, y: Tensor) -> Tensor:
        return self._apply(y)

    @property
    def T(self) -> LinearOperator:
        return self


class Selection(LinearOperator):
    r"""An operator that picks values: $HH^\top=I$ on its range, and $H^\top H$ is a 0/1 mask.

    Only such an operator can be a hard constraint (`Interpolation`), because only then "keep the
    observed values" names entries of the signal.

    A subclass writes `_apply`, `_apply_adjoint` and `observed`.

    Shapes:
        - **x:** `(*batch, nodes, channels)`
        - **H @ x:** as the subclass says
        - **observed:** broadcasts against `(*batch, nodes, channels)`

    Raises:
        ValueError: on call, a signal on other nodes or not of floating-point numbers.

    Example:
        >>> import torch
        >>> from gsp_unroll import Downsample, Selection
        >>> H = Downsample((4,), 2)
        >>> isinstance(H, Selection), H.observed.flatten()
        (True, tensor([ True, False,  True, False]))
    """

    @property
    @abstractmethod
    def observed(self) -> Mask:
        """`H'H` as a bool mask that broadcasts against signals, True where observed."""

    @property
    def gram(self) -> LinearOperator:
        from .sampling import SamplingMask  # a mask is itself a selection

        return SamplingMask(self.observed)


@dataclass(frozen=True, eq=False)
class Adjoint(LinearOperator):
    r"""`A.T`: the adjoint $A^\top$ of an operator, which applies what `A._apply_adjoint` says.

    Args:
        A: any operator.

    Shapes:
        - **y:** `(*batch, outputs of A, channels)`
        - **A.T @ y:** `(*batch, inputs of A, channels)`

    Raises:
        ValueError: on call, a signal on other nodes or not of floating-point numbers; an operator
            that has no adjoint.

    Example:
        >>> import torch
        >>> from gsp_unroll import Gradient, path_graph
        >>> (Gradient(path_graph(3)).T @ torch.tensor([[1.0], [2.0], [0.0]])).flatten()
        tensor([-1., -1.,  2.])
    """

    A: LinearOperator

    def __post_init__(self) -> None:
        object.__setattr__(self, "num_inputs", self.A.num_outputs)
        object.__setattr__(self, "num_outputs", self.A.num_inputs)
        object.__setattr__(self, "couples_channels", self.A.couples_channels)

    @property
    def systems(self) -> Systems:
        return self.A.systems

    def per_head(self) -> LinearOperator:
        return Adjoint(self.A.per_head())

    def _apply(self, x: Tensor) -> Tensor:
        return self.A._apply_adjoint(x)

    def _apply_adjoint(self, y: Tensor) -> Tensor:
        return self.A._apply(y)

    def diagonal(self) -> Tensor | None:
        return self.A.diagonal()

    def majorizer(self) -> Tensor | None:
        return self.A.majorizer()

    @property
    def T(self) -> LinearOperator:
        return self.A


@dataclass(frozen=True, eq=False)
class Composition(LinearOperator):
    """`A @ B`: first `B`, then `A`.

    Args:
        A: what is applied last.
        B: what is applied first.

    Shapes:
        - **x:** `(*batch, inputs of B, channels)`
        - **(A @ B) @ x:** `(*batch, outputs of A, channels)`

    Raises:
        ValueError: `A` has other inputs than `B` has outputs; on call, a signal on other nodes or
            not of floating-point numbers.

    Example:
        >>> import torch
        >>> from gsp_unroll import Diagonal, Gradient, path_graph
        >>> AB = Gradient(path_graph(2)) @ Diagonal(torch.tensor([[1.0], [3.0]]))
        >>> (AB @ torch.ones(2, 1)).flatten()
        tensor([2., 0.])
    """

    A: LinearOperator
    B: LinearOperator

    def __post_init__(self) -> None:
        inner, outer = self.A.num_inputs, self.B.num_outputs
        if inner is not None and outer is not None and inner != outer:
            raise mistake(
                f"{type(self.A).__name__} of {inner} inputs after {type(self.B).__name__} of "
                f"{outer} outputs",
                "equal numbers",
                "Check the order: (A @ B) @ x applies B first.",
            )
        couples = self.A.couples_channels or self.B.couples_channels
        object.__setattr__(self, "num_inputs", self.B.num_inputs)
        object.__setattr__(self, "num_outputs", self.A.num_outputs)
        object.__setattr__(self, "couples_channels", couples)

    @property
    def systems(self) -> Systems:
        inner, outer = self.B.systems, self.A.systems
        keeps_nodes = isinstance(self.B, SelfAdjoint) or self.A.num_inputs == self.B.num_inputs
        if inner.batch is None and keeps_nodes:
            inner = outer  # only A knows which graph each node belongs to
        return inner.coupled() if self.couples_channels else inner

    def per_head(self) -> LinearOperator:
        return Composition(self.A.per_head(), self.B.per_head())

    def _apply(self, x: Tensor) -> Tensor:
        return self.A._apply(self.B._apply(x))

    def _apply_adjoint(self, y: Tensor) -> Tensor:
        return self.B._apply_adjoint(self.A._apply_adjoint(y))

    @property
    def gram(self) -> LinearOperator:
        # what a selection leaves out only takes away: (SB)'(SB) <= B'B
        return Gram(self, self.B.gram.majorizer() if isinstance(self.A, Selection) else None)


@dataclass(frozen=True, eq=False)
class Gram(SelfAdjoint):
    r"""`A.gram`: $A^\top A$, with a majorizer where somebody vouches for one.

    Args:
        A: any operator with an adjoint.
        bound: a diagonal $D\ge0$ with $A^\top A\preceq2D$, or None.

    Shapes:
        - **x, A.gram @ x:** `(*batch, inputs of A, channels)`
        - **bound:** broadcasts against signals

    Raises:
        ValueError: on call, a signal on other nodes or not of floating-point numbers.

    Example:
        >>> import torch
        >>> from gsp_unroll import Gradient, path_graph
        >>> (Gradient(path_graph(3)).gram @ torch.tensor([[0.0], [1.0], [4.0]])).flatten()
        tensor([-1., -2.,  3.])
    """

    A: LinearOperator
    bound: Tensor | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "num_inputs", self.A.num_inputs)
        object.__setattr__(self, "num_outputs", self.A.num_inputs)
        object.__setattr__(self, "couples_channels", self.A.couples_channels)

    @property
    def systems(self) -> Systems:
        return self.A.systems

    def _apply(self, x: Tensor) -> Tensor:
        return self.A._apply_adjoint(self.A._apply(x))

    def majorizer(self) -> Tensor | None:
        return self.bound

    def per_head(self) -> LinearOperator:
        return Gram(self.A.per_head(), None if self.bound is None else with_head_axis(self.bound))


@dataclass(frozen=True, eq=False)
class Sum(LinearOperator):
    """`A + B`.

    Args:
        A: an operator.
        B: another one on the same nodes.

    Shapes:
        - **x:** `(*batch, inputs, channels)`
        - **(A + B) @ x:** `(*batch, outputs, channels)`

    Raises:
        ValueError: operators on different numbers of nodes; on call, a signal on other nodes or not
            of floating-point numbers.

    Example:
        >>> import torch
        >>> from gsp_unroll import Diagonal, Identity
        >>> A = Identity() + Diagonal(torch.tensor([[1.0], [2.0]]))
        >>> (A @ torch.ones(2, 1)).flatten()
        tensor([2., 3.])
    """

    A: LinearOperator
    B: LinearOperator

    def __post_init__(self) -> None:
        for ours, theirs in (
            (self.A.num_inputs, self.B.num_inputs),
            (self.A.num_outputs, self.B.num_outputs),
        ):
            if ours is not None and theirs is not None and ours != theirs:
                raise mistake(
                    f"a sum of operators on {ours} and {theirs} nodes",
                    "equal numbers",
                    "Build both on the same graph.",
                )
        couples = self.A.couples_channels or self.B.couples_channels
        object.__setattr__(self, "num_inputs", self.A.num_inputs or self.B.num_inputs)
        object.__setattr__(self, "num_outputs", self.A.num_outputs or self.B.num_outputs)
        object.__setattr__(self, "couples_channels", couples)

    @property
    def systems(self) -> Systems:
        return self.A.systems.joined(self.B.systems)

    def per_head(self) -> LinearOperator:
        return Sum(self.A.per_head(), self.B.per_head())

    def _apply(self, x: Tensor) -> Tensor:
        return self.A._apply(x) + self.B._apply(x)

    def _apply_adjoint(self, y: Tensor) -> Tensor:
        return self.A._apply_adjoint(y) + self.B._apply_adjoint(y)

    def split(self) -> Split | None:
        a, b = self.A.split(), self.B.split()
        if a is None or b is None or a.fixed is not None or b.fixed is not None:
            return None
        if a.graph is not None and b.graph is not None and a.graph is not b.graph:
            return None
        return Split(a.h + b.h, a.rho + b.rho, a.graph or b.graph)

    def diagonal(self) -> Tensor | None:
        return _add(self.A.diagonal(), self.B.diagonal())

    def majorizer(self) -> Tensor | None:
        return _add(self.A.majorizer(), self.B.majorizer())


@dataclass(frozen=True, eq=False)
class Scaled(LinearOperator):
    """`A.scaled(s)`: $sA$ for a number, or a tensor that broadcasts against signals (one number per
    system).

    Args:
        A: an operator.
        factor: $s$. A majorizer is known where it is not negative; a tensor is taken to be
            positive.

    Shapes:
        - **factor:** a number, or for example `(heads, 1, 1)`
        - **x:** `(*batch, inputs, channels)`
        - **A.scaled(s) @ x:** `(*batch, outputs, channels)`

    Raises:
        ValueError: on call, a signal on other nodes or not of floating-point numbers.

    Example:
        >>> import torch
        >>> from gsp_unroll import Identity
        >>> (Identity().scaled(3.0) @ torch.ones(2, 1)).flatten()
        tensor([3., 3.])
    """

    A: LinearOperator
    factor: float | Tensor

    def __post_init__(self) -> None:
        object.__setattr__(self, "num_inputs", self.A.num_inputs)
        object.__setattr__(self, "num_outputs", self.A.num_outputs)
        object.__setattr__(self, "couples_channels", self.A.couples_channels)

    @property
    def systems(self) -> Systems:
        return self.A.systems

    def per_head(self) -> LinearOperator:
        factor = self.factor
        return Scaled(
            self.A.per_head(), with_head_axis(factor) if isinstance(factor, Tensor) else factor
        )

    def _apply(self, x: Tensor) -> Tensor:
        return self.factor * self.A._apply(x)

    def _apply_adjoint(self, y: Tensor) -> Tensor:
        return self.A._apply_adjoint(self.factor * y)

    def split(self) -> Split | None:
        a = self.A.split()
        if a is None or a.fixed is not None:
            return None
        return Split(self.factor * a.h, self.factor * a.rho, a.graph)

    def diagonal(self) -> Tensor | None:
        d = self.A.diagonal()
        return None if d is None else self.factor * d

    def majorizer(self) -> Tensor | None:
        # a tensor is a learned weight, positive by construction
        negative = not isinstance(self.factor, Tensor) and self.factor < 0
        d = self.A.majorizer()
        return None if d is None or negative else self.factor * d


def with_head_axis(numbers: Tensor) -> Tensor:
    """`(*batch, nodes, channels)` to `(*batch, 1, nodes, channels)`; without a batch, as it is."""
    return numbers.unsqueeze(-3) if numbers.ndim > 2 else numbers


def _add(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    if a is None or b is None:
        return None
    if a.ndim and b.ndim:  # a scalar joins any device
        check_same_device(a, b, "an operator", "the one it is added to")
    return a + b
