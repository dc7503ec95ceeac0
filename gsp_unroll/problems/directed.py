"""Priors on a directed graph: a node agrees with the average of those it listens to."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from .._typing import EdgeSignal, PerSystem
from ..graph import Graph
from ..operators import DirectedLaplacian, LinearOperator
from .priors import Prior, QuadraticPrior, soft_threshold
from .priors.base import check_weight_of_prior


@dataclass(frozen=True, eq=False)
class DirectedPrior(Prior):
    """A prior on $z=L_r^dx$, one value per node and channel, split in the plain metric $W=I$.

    A subclass writes `penalty` and `prox`.

    Args:
        graph: weights on a directed topology.

    Shapes:
        - **graph.weight:** `(*batch, edges)`
        - **x:** `(*batch, nodes, channels)`
        - **output:** `(*batch, graphs, channels)`

    Raises:
        ValueError: an undirected topology.

    Example:
        >>> import torch
        >>> from gsp_unroll import DGTV, Graph, path_graph
        >>> from gsp_unroll.problems import DirectedPrior
        >>> path = path_graph(3, directed=True)
        >>> prior = DGTV(Graph(path, torch.ones(path.num_edges)))
        >>> isinstance(prior, DirectedPrior)
        True
        >>> prior.K(torch.tensor([[1.0], [1.0], [3.0]])).flatten()
        tensor([0., 0., 2.])
    """

    graph: Graph
    #: $L_r^d$, made once: the rows are normalised there.
    L: DirectedLaplacian = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "L", DirectedLaplacian(self.graph))

    @property
    def K(self) -> LinearOperator:
        return self.L

    def total(self, terms: EdgeSignal) -> PerSystem:
        return self.systems.total(terms)  # a term stands at a node, which is of one graph


@dataclass(frozen=True, eq=False)
class DGTV(DirectedPrior):
    r"""Directed graph total variation,
    $\lambda\|L_r^dx\|_1=\lambda\sum_i\lvert x_i-\sum_{j\to i}\bar w_{ij}x_j\rvert$.

    Few nodes may differ from the average of those they listen to: a signal over time that is
    carried on, with sudden changes. Clipping a signal to the range of its samples may raise the
    value: a duality gap is known where every value is observed, or within a range (see `Problem`).

    Args:
        graph: weights on a directed topology; rows are normalised here.
        lam: weight of the prior, at least 0; a tensor must broadcast against signals.

    Shapes:
        - **graph.weight:** `(*batch, edges)`
        - **x:** `(*batch, nodes, channels)`
        - **output:** `(*batch, graphs, channels)`

    Raises:
        ValueError: an undirected topology; a weight that is negative or not finite.

    Source:
        Qi et al. 2025. The data term there has no half, so its $\mu_{d,1}$ is $2\lambda$.

    Example:
        >>> import torch
        >>> from gsp_unroll import DGTV, Graph, path_graph
        >>> path = path_graph(4, directed=True)
        >>> prior = DGTV(Graph(path, torch.ones(path.num_edges)), lam=0.5)
        >>> prior(torch.tensor([[1.0], [1.0], [3.0], [3.0]])).item()
        1.0
    """

    lam: float | Tensor = 1.0
    is_norm = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_weight_of_prior(self.lam, "lam")

    @property
    def strength(self) -> float | Tensor:
        return self.lam

    def penalty(self, z: EdgeSignal) -> EdgeSignal:
        return self.lam * z.abs()

    def prox(self, z: EdgeSignal, step: float | Tensor) -> EdgeSignal:
        return soft_threshold(z, self.lam * step)


@dataclass(frozen=True, eq=False)
class DGLR(QuadraticPrior, DirectedPrior):
    r"""Directed graph Laplacian regulariser,
    $\tfrac\mu2\|L_r^dx\|_2^2=\tfrac\mu2\,x^\top\mathcal L_r^dx$ with
    $\mathcal L_r^d=(L_r^d)^\top L_r^d$.

    With `LeastSquares` the minimiser solves $(H^\top H+\mu\mathcal L_r^d)x=H^\top y$, see
    `Problem.system`.

    Args:
        graph: weights on a directed topology; rows are normalised here.
        mu: weight of the prior, at least 0; a tensor must broadcast against signals.

    Shapes:
        - **graph.weight:** `(*batch, edges)`
        - **x:** `(*batch, nodes, channels)`
        - **output:** `(*batch, graphs, channels)`

    Raises:
        ValueError: an undirected topology; a weight that is negative or not finite.

    Source:
        Qi et al. 2025. Neither the data term nor the prior has a half there, so $\mu$ is its
        $\mu_{d,2}$.

    Example:
        >>> import torch
        >>> from gsp_unroll import DGLR, Graph, path_graph
        >>> path = path_graph(4, directed=True)
        >>> prior = DGLR(Graph(path, torch.ones(path.num_edges)), mu=0.5)
        >>> prior(torch.tensor([[1.0], [1.0], [3.0], [3.0]])).item()
        1.0
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        DirectedPrior.__post_init__(self)
