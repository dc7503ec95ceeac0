"""The transform that restores an attribute of a `Data`."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch_geometric.transforms import BaseTransform

from .._checks import mistake
from .._typing import Mask
from ..graph import Graph, from_pyg
from ..graph.statistics import components, determined
from ..operators import SamplingMask
from ..problems import DataTerm, LeastSquares, Prior, Problem, start
from ..solvers import ADMM, ConjugateGradient, Solution
from .reading import attribute, check_one_kind, signal


class RestoreSignal(BaseTransform):
    r"""Replaces an attribute $y$ of nodes by the solution of a problem on the graph of the `Data`.

    $$x=\arg\min_x\;\tfrac12\|H(x-y)\|^2+g(x)$$

    $H$ keeps what was observed, $g$ is the prior. The graph has the weights of `edge_weight`, of an
    `edge_attr` of one number per edge, or ones; `LearnGraph` may have set them. Nothing else of
    the `Data` changes. Each graph of a batch is a problem of its own.

    A warning says so if the solver did not reach its tolerance, and if a connected part of the
    graph has no value at all: there stands the mean, which is a guess (`restore` leaves NaN).

    Args:
        prior: `graph -> Prior`: a class such as `GTV`, with its weight as
            `functools.partial(GTV, lam=0.1)`, or a function that adds some up.
        attr: the attribute, `(nodes, channels)` or `(nodes,)`.
        mask: name of a bool attribute, True where `attr` was observed; None for wherever it is
            not NaN.
        data_term: `LeastSquares` for noisy values, `Interpolation` to keep them as they are.
        solver: `ADMM(...)`, or for a quadratic prior `ConjugateGradient(...)`; None for whichever
            suits the prior.
        directed: True keeps each column of `edge_index` as a one-way edge, for priors on directed
            graphs.

    Raises:
        ValueError: a prior that was given its graph already; on call: a `HeteroData`, a missing
            attribute, one that is not floating-point, NaN or infinity where it was observed, or
            what `from_pyg` refuses.

    Example:
        >>> import torch
        >>> from functools import partial
        >>> from gsp_unroll import GLR, Interpolation
        >>> from gsp_unroll.pyg import RestoreSignal
        >>> from torch_geometric.data import Data
        >>> edge_index = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
        >>> y = torch.tensor([1.0, torch.nan, 3.0])
        >>> data = Data(edge_index=edge_index, y=y, num_nodes=3)
        >>> RestoreSignal(GLR, attr="y", data_term=Interpolation)(data).y
        tensor([1., 2., 3.])
    """

    def __init__(
        self,
        prior: Callable[[Graph], Prior],
        attr: str = "x",
        *,
        mask: str | None = None,
        data_term: type[DataTerm] = LeastSquares,
        solver: ADMM | ConjugateGradient | None = None,
        directed: bool = False,
    ) -> None:
        if isinstance(prior, Prior):
            raise mistake(
                f"a {type(prior).__name__} on a graph of its own",
                "a function that makes the prior of each Data's graph",
                f"Pass the class, {type(prior).__name__}, with its weight in functools.partial.",
            )
        if not callable(prior):
            raise mistake(
                f"prior={prior!r}",
                "a function that makes the prior of each Data's graph",
                "Pass a class such as GLR, with its weight in functools.partial(GLR, mu=0.3).",
            )
        self.prior, self.attr, self.mask = prior, attr, mask
        self.data_term, self.solver, self.directed = data_term, solver, directed

    @torch.no_grad()
    def forward(self, data: Any) -> Any:
        check_one_kind(data, "RestoreSignal")
        y = signal(data, self.attr)
        H = SamplingMask(~y.isnan() if self.mask is None else attribute(data, self.mask))
        graph = from_pyg(data, directed=self.directed).to(y.dtype)
        problem = Problem(self.data_term(H, y), self.prior(graph))
        solution = self._solve(problem, graph)
        self._warn_of_guesses(H.observed.expand_as(y), graph)
        if not solution.converged:
            warnings.warn(
                f"{self.attr} was restored to less than the tolerance. {solution.status.value}",
                UserWarning,
                stacklevel=3,
            )
        data[self.attr] = solution.x.reshape(data[self.attr].shape)
        return data

    def _warn_of_guesses(self, known: Mask, graph: Graph) -> None:
        if bool(known.all()):
            return
        guesses = int((~determined(components(graph), known)).sum())
        if guesses:
            warnings.warn(
                f"{guesses} values of {self.attr} lie in parts of the graph without any that was "
                "observed. They were set to the mean of their graph, or to 0 where it has none. "
                "Join more neighbours, or drop these nodes.",
                UserWarning,
                stacklevel=4,
            )

    def _solve(self, problem: Problem, graph: Graph) -> Solution:
        solver = self.solver
        if solver is None:
            solver = ADMM() if problem.prior.Q is None else ConjugateGradient()
        # a start at the level of the samples: where none are, it is what a solver keeps
        x0 = start(problem.data, graph.topology)
        if isinstance(solver, ConjugateGradient):
            return solver.solve(*problem.system(), x0)
        return solver.solve(problem, x0)

    def __repr__(self) -> str:
        options = f"attr={self.attr!r}, mask={self.mask!r}, data_term={self.data_term.__name__}"
        return (
            f"{type(self).__name__}({self.prior!r}, {options}, solver={self.solver!r}, "
            f"directed={self.directed})"
        )
