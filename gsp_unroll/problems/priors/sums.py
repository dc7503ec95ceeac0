"""Several priors at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import reduce
from operator import add

from torch import Tensor

from ..._checks import mistake
from ..._typing import EdgeSignal, PerSystem, Signal
from ...graph import Systems
from ...operators import LinearOperator, Stack, stacked
from .base import Prior


@dataclass(frozen=True, eq=False)
class SumPrior(Prior):
    r"""$\sum_kg_k(K_kx)$, written `a + b`: what each prior asks for, in one problem.

    Parts that are no quadratic forms are split by ADMM together, $z=(K_1x,K_2x,\dots)$, each with
    its own proximal map and metric. The quadratic ones are not split beside them: they join the
    linear system, whose matrix is $H^\top H+Q+\rho\sum_kK_k^\top W_kK_k$. A sum of quadratic parts
    only is a quadratic prior itself: `Problem.system()` gives its minimiser, and ADMM splits it.

    A duality gap is known where every part has one alone, and beside quadratic parts that no
    clipping of the signal raises, such as GLR; where every value is observed, or a range is given
    (see `Problem`), it is known for all norms and quadratic forms. Elsewhere it is NaN.

    Args:
        parts: priors on one signal. Those that are sums themselves are opened.

    Shapes:
        - **x:** `(*batch, nodes, channels)`
        - **output:** `(*batch, graphs, channels)`, or `(*batch, graphs, 1)` where a part couples
          channels

    Raises:
        ValueError: no part, or parts on different numbers of nodes.

    Example:
        >>> import torch
        >>> from gsp_unroll import GLR, GTV, Graph, path_graph
        >>> graph = Graph(path_graph(3), torch.tensor([1.0, 2.0, 0.0]))
        >>> x = torch.tensor([[0.0], [1.0], [4.0]])
        >>> (GTV(graph, lam=0.5) + GLR(graph))(x).item()
        13.0
    """

    parts: tuple[Prior, ...]
    #: The parts that ADMM splits, and the quadratic ones that it solves for with the data.
    split: tuple[Prior, ...] = field(init=False, repr=False)
    folded: tuple[Prior, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.parts:
            raise mistake("a sum of no priors", "at least one", "Give the parts as a tuple.")
        opened: list[Prior] = []
        for part in self.parts:
            opened.extend(part.summands)
        split = tuple(part for part in opened if part.Q is None)
        folded = tuple(part for part in opened if part.Q is not None) if split else ()
        split = split or tuple(opened)
        nodes = {part.K.num_inputs for part in opened} - {None}
        if len(nodes) > 1:
            raise mistake(
                f"a sum of priors on {sorted(nodes)} nodes",  # type: ignore[type-var]
                "equal numbers",
                "Build all of them for one signal.",
            )
        bounded = all(p.has_dual_bound for p in split) and all(p.keeps_range for p in folded)
        for name, value in {
            "parts": tuple(opened),
            "split": split,
            "folded": folded,
            "has_dual_bound": bounded,
            "is_norm": all(part.is_norm for part in split),
            "keeps_range": all(part.keeps_range for part in opened),
            "weak_convexity": _largest([part.weak_convexity for part in split]),
        }.items():
            object.__setattr__(self, name, value)

    @property
    def K(self) -> Stack:
        return Stack(tuple(part.K for part in self.split))

    @property
    def systems(self) -> Systems:
        return reduce(Systems.joined, (part.systems for part in self.parts))

    @property
    def strength(self) -> float | Tensor:
        return reduce(add, (part.strength for part in self.split))

    @property
    def Q(self) -> LinearOperator | None:
        each = [part.Q for part in self.parts]
        known = [Q for Q in each if Q is not None]
        return reduce(add, known) if len(known) == len(each) else None

    @property
    def summands(self) -> tuple[Prior, ...]:
        return self.parts

    def quadratic(self, rho: float | Tensor) -> LinearOperator:
        folded = [part.Q for part in self.folded if part.Q is not None]
        return reduce(add, [part.quadratic(rho) for part in self.split] + folded)

    @property
    def beside(self) -> LinearOperator | None:
        forms = [part.Q for part in self.folded] + [part.beside for part in self.split]
        known = [Q for Q in forms if Q is not None]
        return reduce(add, known) if known else None

    def penalty(self, z: EdgeSignal) -> EdgeSignal:
        terms = [part.penalty(block) for part, block in self._blocks(z)]
        if self.systems.couples_channels:
            terms = [t.sum(-1, keepdim=True) for t in terms]
        return stacked(terms)

    def prox(self, z: EdgeSignal, step: float | Tensor) -> EdgeSignal:
        return stacked([part.prox(block, step) for part, block in self._blocks(z)])

    def total(self, terms: EdgeSignal) -> PerSystem:
        return self._joined([part.total(block) for part, block in self._blocks(terms)])

    def weigh(self, z: EdgeSignal) -> EdgeSignal:
        return stacked([part.weigh(block) for part, block in self._blocks(z)])

    @property
    def normal(self) -> LinearOperator:
        return reduce(add, (part.normal for part in self.split))

    def __call__(self, x: Signal) -> PerSystem:
        return self._joined([part(x) for part in self.parts])

    def _blocks(self, z: EdgeSignal) -> Iterator[tuple[Prior, EdgeSignal]]:
        """Each part that is split, with its own piece of `z`."""
        return zip(self.split, self.K.split_output(z), strict=True)

    def _joined(self, values: list[PerSystem]) -> PerSystem:
        """The sum of what parts give, whose channels may be coupled by other parts only."""
        if self.systems.couples_channels:
            values = [value.sum(-1, keepdim=True) for value in values]
        return reduce(add, values)


def _largest(values: list[float | Tensor]) -> float | Tensor:
    """The larger of numbers and tensors."""
    found: float | Tensor = 0.0
    for value in values:
        if isinstance(value, Tensor):
            found = value.clamp(min=found)
        elif isinstance(found, Tensor):
            found = found.clamp(min=value)
        else:
            found = max(found, value)
    return found
