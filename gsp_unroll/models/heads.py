"""Several graphs of one signal: a solve on each, and the average of the results."""

from __future__ import annotations

from functools import reduce

import torch
from torch import Tensor, nn

from .._checks import check_positive_count, mistake
from .._heads import with_heads
from .._typing import Signal
from ..graph import Topology
from ..learners import GraphLearner, full_precision
from ..problems import DataTerm

#: Of a network's heads.
ALL = slice(None)


def check_heads(learner: GraphLearner, solver: nn.Module) -> None:
    """That each graph meets a solver of its own.

    Raises:
        ValueError: another number of solvers than of graphs.
    """
    if getattr(solver, "heads", learner.heads) != learner.heads:
        raise mistake(
            f"a learner with heads={learner.heads} and a solver with heads={solver.heads}",
            "the same number",
            "Build features, learner and solver with one value of heads.",
        )


class HeadMixture(nn.Module):
    r"""$x=\sum_h c_h x_h$ with $c=\mathrm{softmax}(\texttt{logits})$: a learned weighted average.

    The weights sum to one, so that heads that agree are kept: a constant stays constant. (The
    paper's simple weighted average leaves the sum free.)

    Args:
        heads: number of heads, at least 1.

    Shapes:
        - **input:** `(*batch, heads, nodes, channels)`
        - **output:** `(*batch, nodes, channels)`

    Raises:
        ValueError: a number of heads below 1.

    Source:
        Do et al. 2024, section 5.2.

    Example:
        >>> import torch
        >>> from gsp_unroll.models import HeadMixture
        >>> HeadMixture(2)(torch.tensor([[[1.0]], [[3.0]]])).item()  # equal weights to begin with
        2.0
    """

    def __init__(self, heads: int) -> None:
        super().__init__()
        check_positive_count(heads, "heads")
        self.logits = nn.Parameter(torch.zeros(heads))

    def forward(self, x: Tensor, heads: slice = ALL) -> Signal:
        """The average; of some heads alone, what they contribute to it.

        Args:
            x: the signals of these heads.
            heads: which heads they are.
        """
        c = self.logits.softmax(0)[heads].view(-1, 1, 1)
        return (c * x).sum(-3)


def draw_and_solve(
    data: DataTerm,
    topology: Topology,
    features: Signal,
    x0: Signal,
    learner: nn.Module,
    solver: nn.Module,
) -> Signal:
    r"""$\mathrm{solve}(y,\;G(f))$, the solve out of the reach of autocast."""
    graph = learner(features, topology)
    with full_precision(x0):
        x: Signal = solver(data, graph, x0)
    return x


def solve_heads(
    data: DataTerm,
    topology: Topology,
    features: Signal,
    x0: Signal,
    learner: GraphLearner,
    solver: nn.Module,
    mixture: HeadMixture,
) -> Signal:
    r"""$\sum_hc_h\,\mathrm{solve}(y,\;G_h(f_h))$: a graph for each head, and the average of what
    is solved on them.

    While no gradient is recorded, a few heads at a time: only their weights and solutions then
    live together.

    Args:
        data: the term with an axis of length 1 for the heads, `data.per_head()`.
        topology: the edges among which the graphs are drawn.
        features: what they are drawn on.
        x0: start, with an axis of length 1 for the heads.
        learner: of as many heads as the features have.
        solver: of as many.
        mixture: of as many.

    Shapes:
        - **features:** `(*batch, heads, nodes, D)`
        - **x0:** `(*batch, 1, nodes, channels)`
        - **output:** `(*batch, nodes, channels)`
    """
    shares = (
        mixture(draw_and_solve(data, topology, features[..., heads, :, :], x0, *part), heads)
        for heads, *part in _parts(learner, solver, heads_at_once(x0))
    )
    total: Signal = reduce(torch.add, shares)
    return total


def heads_at_once(x0: Signal) -> int | None:
    """How many heads to solve together; None for all, where a gradient is recorded, under
    `torch.compile` and on an accelerator.

    As few as keep every thread busy: threads that share a plane compute some of its rows twice.
    """
    if torch.is_grad_enabled() or torch.compiler.is_compiling() or x0.device.type != "cpu":
        return None
    planes = max(1, x0.shape[:-2].numel())
    return -(-torch.get_num_threads() // planes)


#: Some heads, and the learner and the solver of those alone.
Part = tuple[slice, nn.Module, nn.Module]


def _parts(learner: GraphLearner, solver: nn.Module, at_once: int | None) -> list[Part]:
    """The heads, so many at a time; in one part where None is asked for, or where a module does not
    say which of its numbers are a head's."""
    assert learner.heads is not None
    if at_once is None or at_once >= learner.heads:
        return [(ALL, learner, solver)]
    parts: list[Part] = []
    for first in range(0, learner.heads, at_once):
        heads = slice(first, first + at_once)
        some_learner, some_solver = with_heads(learner, heads), with_heads(solver, heads)
        if some_learner is None or some_solver is None:
            return [(ALL, learner, solver)]
        parts.append((heads, some_learner, some_solver))
    return parts
