"""Graph trend filtering: total variation of higher order."""

from __future__ import annotations

from dataclasses import dataclass

from ..._checks import mistake
from ..._typing import EdgeSignal, PerSystem
from ...operators import Gradient, Laplacian, LaplacianPower, LinearOperator
from .variation import GTV


@dataclass(frozen=True, eq=False)
class GTF(GTV):
    r"""Graph trend filtering of order $k$: $\lambda\|\Delta^{(k+1)}x\|_1$.

    $$\Delta^{(k+1)}=\begin{cases}C\,L^{k/2}&k\text{ even},\\L^{(k+1)/2}&k\text{ odd}:\end{cases}
      \qquad C,\;L,\;C\,L,\;L^2,\;\dots$$

    Order 0 is `GTV`. On a path with equal weights the prior is 0 for piecewise constant, linear,
    quadratic, ... signals, except at their knots and at the ends of the path: the Laplacian of an
    end has one neighbour only.

    **Weights.** $C=\mathrm{diag}(w)\,\mathrm{grad}$ and $L=\mathrm{div}\,\mathrm{diag}(w)\,
    \mathrm{grad}$ are the library's. So a weight enters every Laplacian once, and once more as the
    factor of each last difference; no root is taken anywhere. With $w=1$ this is the source's
    recursion, $\Delta^{(k+1)}=\mathrm{grad}^\top\Delta^{(k)}$ or $\mathrm{grad}\,\Delta^{(k)}$ in
    turn. Differs from it with other weights, in that $L$ is not $C^\top C$ (whose weights are
    $w^2$). A linear trend over uneven distances is then one with
    $w_{ij}(x_j-x_i)$ constant along the path.

    ADMM splits $z=\mathrm{grad}\,L^{k/2}x$ in the metric of the weights, or $z=L^{(k+1)/2}x$ in
    that of the identity. Both give $K^\top WK=L^{k+1}$, whose condition grows fast with $k$: more
    steps are needed, and float64.

    The prior is a norm, but clipping a signal may raise it for $k\ge1$: a duality gap is known
    where every value is observed or a range is given (see `Problem`), and is NaN elsewhere.

    Args:
        graph: the weighted graph.
        lam: weight of the prior, at least 0; a tensor must broadcast against signals.
        order: $k$, at least 0.

    Shapes:
        - **graph.weight:** `(*batch, edges)`
        - **x:** `(*batch, nodes, channels)`
        - **output:** `(*batch, graphs, channels)`

    Raises:
        ValueError: an order that is no whole number of at least 0; a `lam` below 0 or not finite;
            on call, a signal of another dtype or device than the weights, or on other nodes.

    Source:
        Wang, Sharpnack, Smola and Tibshirani 2016, section 2.2.

    Example:
        >>> import torch
        >>> from gsp_unroll import GTF, Graph, path_graph
        >>> bent = torch.tensor([[0.0], [1.0], [2.0], [3.0], [3.0], [3.0]])
        >>> prior = GTF(Graph(path_graph(6), torch.ones(6)), order=1)
        >>> prior.K(bent).flatten()  # the left end, and the knot
        tensor([-1.,  0.,  0.,  1.,  0.,  0.])
    """

    order: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_order(self.order)
        for name in ("has_dual_bound", "keeps_range"):
            object.__setattr__(self, name, self.order == 0)

    @property
    def on_nodes(self) -> bool:
        """Whether the terms stand on nodes, as for odd orders, or on edges."""
        return self.order % 2 == 1

    @property
    def K(self) -> LinearOperator:
        if self.on_nodes:
            return LaplacianPower(self.graph, (self.order + 1) // 2)
        grad = Gradient(self.graph.topology)
        return grad if self.order == 0 else grad @ LaplacianPower(self.graph, self.order // 2)

    @property
    def normal(self) -> LinearOperator:
        return LaplacianPower(self.graph, self.order + 1) if self.order else Laplacian(self.graph)

    @property
    def w(self) -> EdgeSignal:
        return self.graph.weight.new_ones(()) if self.on_nodes else super().w

    def total(self, terms: EdgeSignal) -> PerSystem:
        return self.systems.total(terms) if self.on_nodes else super().total(terms)


def check_order(order: int) -> None:
    """Raise a three-part `ValueError` unless the order is a whole number of at least 0."""
    if not hasattr(order, "__index__") or isinstance(order, bool) or order < 0:
        raise mistake(
            f"order={order!r}",
            "a whole number of at least 0",
            "0 is for piecewise constant signals, 1 for linear and 2 for quadratic ones.",
        )
