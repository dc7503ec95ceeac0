"""How an iteration went: objective or residual against the number of iterations."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .._checks import mistake
from .._typing import PerSystem, Signal
from ..operators import LinearOperator
from ..problems import Problem

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@torch.no_grad()
def objectives(problem: Problem, iterates: Iterable[Any]) -> PerSystem:
    r"""$\mathrm{data}(x_k)+g(Kx_k)$ of every iterate, per independent system.

    Under a hard constraint of the nearest signal that the data allow.

    Args:
        problem: whose objective.
        iterates: signals, or states and solutions that hold one as `x`: what `ADMM.iterates`,
            `ConjugateGradient.iterates` and `iterates` of the unrolled layers give.

    Shapes:
        - **output:** `(iterates, *batch, graphs, channels)`

    Raises:
        ValueError: no iterate; one on other nodes.

    Example:
        >>> import torch
        >>> from gsp_unroll import ADMM, GTV, Graph, Identity, LeastSquares, Problem, path_graph
        >>> from gsp_unroll.viz import objectives
        >>> graph = Graph(path_graph(2), torch.tensor([1.0, 0.0]))
        >>> problem = Problem(LeastSquares(Identity(), torch.tensor([[0.0], [3.0]])), GTV(graph))
        >>> values = objectives(problem, ADMM(check_every=1, max_steps=5).iterates(problem))
        >>> values.shape, bool(values[-1] < values[0])
        (torch.Size([5, 1, 1]), True)
    """
    return _stacked([problem.objective(problem.data.feasible(x)) for x in _signals(iterates)])


@torch.no_grad()
def residuals(A: LinearOperator, b: Signal, iterates: Iterable[Any]) -> PerSystem:
    r"""$\|b-Ax_k\|/\|b\|$ of every iterate, per independent system; $\|b-Ax_k\|$ where $b=0$.

    Args:
        A: matrix of the system.
        b: right-hand side.
        iterates: see `objectives`.

    Shapes:
        - **output:** `(iterates, *batch, graphs, channels)`

    Raises:
        ValueError: no iterate; one on other nodes.

    Example:
        >>> import torch
        >>> from gsp_unroll import ConjugateGradient, Diagonal
        >>> from gsp_unroll.viz import residuals
        >>> A, b = Diagonal(torch.tensor([[2.0], [4.0]])), torch.tensor([[2.0], [2.0]])
        >>> residuals(A, b, ConjugateGradient().iterates(A, b)).flatten()
        tensor([0.])
    """
    size = A.systems.inner(b, b).sqrt()
    size = torch.where(size > 0, size, 1)
    misfits = (b - A(x) for x in _signals(iterates))
    return _stacked([A.systems.inner(r, r).sqrt() / size for r in misfits])


def draw_iterations(
    ax: Axes, values: PerSystem, *, label: str = "objective", first: int = 1, every: int = 1
) -> Axes:
    """Draws a positive number against the iteration on a logarithmic scale: one line for each
    system, zeros left out.

    Args:
        ax: axes to draw on.
        values: from `objectives` or `residuals`. How far an objective is from the optimum is drawn
            by taking the optimum off first.
        label: what the numbers are.
        first: number of the first iterate; 0 where the values begin with a start.
        every: iterations from one value to the next, as `ADMM.check_every`.

    Shapes:
        - **values:** `(iterates, ...)`, at least one

    Returns:
        `ax`.

    Raises:
        ValueError: no values.

    Example:
        >>> import torch
        >>> from matplotlib.figure import Figure
        >>> from gsp_unroll.viz import draw_iterations
        >>> values = torch.tensor([1.0, 0.1, 0.01])
        >>> ax = draw_iterations(Figure().subplots(), values, label="residual")
        >>> ax.lines[0].get_xdata().tolist(), ax.get_yscale()
        ([1, 2, 3], 'log')
    """
    from matplotlib.ticker import MaxNLocator

    if values.ndim == 0 or values.numel() == 0:
        raise mistake(
            f"values of shape {tuple(values.shape)}",
            "(iterates, ...), at least one",
            "Give what objectives or residuals returns.",
        )
    lines = values.detach().cpu().reshape(len(values), -1)
    number = first + every * torch.arange(len(lines))
    ax.set_yscale("log")
    ax.plot(number.numpy(), lines.numpy(), marker="." if len(lines) <= 50 else "", linewidth=1.0)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlabel("iteration")
    ax.set_ylabel(label)
    return ax


def _signals(iterates: Iterable[Any]) -> Iterator[Signal]:
    for iterate in iterates:
        yield iterate if isinstance(iterate, Tensor) else iterate.x


def _stacked(values: list[PerSystem]) -> PerSystem:
    if not values:
        raise mistake(
            "no iterates",
            "at least one",
            "An iterator gives its values once: call iterates(...) again, or keep list(...).",
        )
    return torch.stack(torch.broadcast_tensors(*values))
