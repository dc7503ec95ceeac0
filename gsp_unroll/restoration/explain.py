"""Which readings made a value, and with what weights."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .._checks import mistake
from .._tables import markdown_table
from ..graph import Graph
from ..graph.statistics import components
from ..operators import LinearOperator
from ..problems import GTV, Problem
from ..solvers import ConjugateGradient

#: Values nearer than this, in units of the spread, are one plateau.
SAME = 1e-3
#: Rows that a printed table has at most.
ROWS = 10


@dataclass(frozen=True, eq=False)
class Explanation:
    r"""A restored value as a sum over readings,
    $x_{\mathrm{node}}=\sum_jw_jy_j+\mathrm{pull}$. Prints as a table.

    Args:
        node: whose value.
        value: the restored value.
        nodes: where the readings are, the heaviest first.
        weights: $w$, with sum 1; empty where no reading can be named.
        readings: $y$ at these nodes.
        pull: what is no reading; 0 for a quadratic prior.
        reason: a sentence: where the weights come from.

    Shapes:
        - **nodes, weights, readings:** `(count,)`

    Example:
        >>> import torch
        >>> from gsp_unroll import GLR, path_graph, restore
        >>> from gsp_unroll.restoration import Fixed
        >>> y = torch.tensor([1.0, torch.nan, 3.0])
        >>> print(restore(y, path_graph(3), Fixed(GLR, 0.01)).explain(1))
        Node 1 is 2. A quadratic prior: the value is a weighted sum of the readings.
        | node | weight | reading |
        | ---: | -----: | ------: |
        |    0 | +0.500 |       1 |
        |    2 | +0.500 |       3 |
    """

    node: int
    value: float
    nodes: Tensor
    weights: Tensor
    readings: Tensor
    pull: float
    reason: str

    def __str__(self) -> str:
        lines = f"Node {self.node} is {self.value:.4g}. {self.reason}\n"
        rows = [
            (str(node), f"{w:+.3f}", f"{y:.4g}")
            for node, w, y in zip(
                self.nodes[:ROWS].tolist(),
                self.weights[:ROWS].tolist(),
                self.readings[:ROWS].tolist(),
                strict=True,
            )
        ]
        if rows:
            lines += markdown_table(("node", "weight", "reading"), rows, (True, True, True))
        if len(self.nodes) > ROWS:
            rest = float(self.weights[ROWS:].sum())
            lines += f"and {len(self.nodes) - ROWS} more, with {rest:+.3f} in all\n"
        return lines.rstrip("\n")


def rows_of_inverse(A: LinearOperator, nodes: Tensor, like: Tensor) -> Tensor:
    """The columns (and rows) of `A^-1` that belong to `nodes`, `(nodes, count)`."""
    unit = like.new_zeros(like.shape[-2], len(nodes))
    unit[nodes, torch.arange(len(nodes), device=nodes.device)] = 1
    rtol = max(1e-10, 50 * torch.finfo(like.dtype).eps)
    return ConjugateGradient(rtol, max_steps=5000).solve(A, unit).x


def explained(
    problem: Problem, x: Tensor, value: float, y: Tensor, node: int, graph: Graph
) -> Explanation:
    """The value of one node of one channel.

    Args:
        problem: what was solved, of this channel alone.
        x: its solution in units of the spread, `(nodes,)`.
        value: that at the node in the unit of the readings; NaN where nothing is known.
        y: readings in their unit, NaN where there is none, `(nodes,)`.
        node: its number.
        graph: on which plateaus are looked for.
    """
    if math.isnan(value):
        none = y.new_zeros(0)
        reason = "No reading in its part of the graph: nothing is known of it."
        return Explanation(node, value, none.long(), none, none, value, reason)
    if problem.prior.Q is not None:
        return _linear(problem, value, y, node)
    if type(problem.prior) is GTV:
        return _plateau(x, value, y, node, graph)
    raise mistake(
        f"a value restored with the prior {type(problem.prior).__name__}",
        "a quadratic prior, or GTV",
        "Choose among those: HoldOut(priors=(GLR, GTV)).",
    )


def _linear(problem: Problem, value: float, y: Tensor, node: int) -> Explanation:
    r"""$x=A^{-1}H^\top y$ with a symmetric $A$: its row is a column, by one solve."""
    A, b = problem.system()
    row = rows_of_inverse(A, torch.tensor([node], device=b.device), b).squeeze(-1)
    nodes = (~y.isnan()).nonzero().squeeze(-1)
    nodes = nodes[row[nodes].abs().argsort(descending=True, stable=True)]
    # a part of the graph that the node is not in has a row of zeros
    nodes = nodes[row[nodes] != 0]
    weights, readings = row[nodes], y[nodes].to(row.dtype)
    reason = "A quadratic prior: the value is a weighted sum of the readings."
    return Explanation(node, value, nodes, weights, readings, 0.0, reason)


def _plateau(x: Tensor, value: float, y: Tensor, node: int, graph: Graph) -> Explanation:
    r"""Summed over a plateau $P$ with $K$ readings, the conditions of optimality say
    $x_P=\tfrac1K\sum_{j\in P}y_j-\tfrac\lambda K\sum_{e\in\partial P}w_e\,\mathrm{sign}$: the
    mean of its readings, and what the plateaus around pull."""
    jump = graph.topology.gradient(x.unsqueeze(-1)).squeeze(-1).abs()
    parts = components(Graph.unchecked(graph.topology, graph.weight * (jump < SAME)))
    inside = parts == parts[node]
    nodes = (inside & ~y.isnan()).nonzero().squeeze(-1)
    readings, size = y[nodes].to(x.dtype), f"a plateau of {int(inside.sum())} nodes"
    if not len(nodes):
        tail, head = graph.topology.lift(inside.unsqueeze(-1).to(x.dtype))
        rim = graph.topology.incident_sum((tail != head) * graph.weight.unsqueeze(-1))
        around = ((rim.squeeze(-1) > 0) & ~inside).nonzero().squeeze(-1)[:ROWS].tolist()
        reason = (
            f"GTV: {size} without a reading. No weights exist: it may lie anywhere between its "
            f"neighbours, among them nodes {around}."
        )
        return Explanation(node, value, nodes, readings, readings, value, reason)
    pull = value - float(readings.mean())
    reason = f"GTV: {size}, the mean of its readings, pulled by {pull:+.3g} by those around."
    weights = torch.full_like(readings, 1 / len(nodes))
    return Explanation(node, value, nodes, weights, readings, pull, reason)
