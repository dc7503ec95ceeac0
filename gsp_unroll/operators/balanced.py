"""The Laplacian of a balanced signed graph."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from .._checks import check_same_kind, mistake
from .._typing import Signal
from ..graph import BalancedGraph, Systems
from .base import Composition, Gram, LinearOperator, SelfAdjoint
from .elementary import Diagonal
from .graph import Laplacian


@dataclass(frozen=True, eq=False)
class BalancedLaplacian(SelfAdjoint):
    r"""$L^B=TL^+T$ with $T=\mathrm{diag}(b)$, the Laplacian of a balanced signed graph.

    $$(L^Bx)_i=\sum_j\lvert w_{ij}\rvert\,(x_i-b_ib_jx_j)
      =\Big(\sum_j\lvert w_{ij}\rvert\Big)\,x_i-\sum_jw_{ij}x_j$$

    Degrees are sums of magnitudes. As $T=T^{-1}$, the spectrum is that of the positive graph's
    $L^+$, and eigenvectors are multiplied by $b$: the null vector is $b$, opposite values in
    opposite camps. (With *signed* row sums as degrees the matrix would be another one, with
    self-loops, and need not be positive semidefinite.)

    Args:
        graph: the balanced graph.
        normalization: `"none"`, or `"sym"` for $D^{-1/2}L^BD^{-1/2}$, as in `Laplacian`.

    Shapes:
        - **graph.polarity:** `(*batch, nodes, 1)`
        - **x, L @ x:** `(*batch, nodes, channels)`

    Raises:
        ValueError: an unknown normalization; on call, a signal on other nodes, or of another dtype
            or device than the polarity.

    Source:
        Yao et al. 2025.

    Example:
        >>> import torch
        >>> from gsp_unroll import BalancedGraph, BalancedLaplacian, Graph, path_graph
        >>> positive = Graph(path_graph(3), torch.tensor([1.0, 2.0, 0.0]))
        >>> b = torch.tensor([[1.0], [1.0], [-1.0]])
        >>> L = BalancedLaplacian(BalancedGraph(positive, b))
        >>> (L @ b).abs().flatten()
        tensor([0., 0., 0.])
        >>> (L @ torch.tensor([[0.0], [1.0], [4.0]])).flatten()
        tensor([-1., 11., 10.])
    """

    graph: BalancedGraph
    normalization: Literal["none", "sym"] = "none"
    #: $L^+$.
    positive: Laplacian = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.normalization not in ("none", "sym"):
            raise mistake(
                f"normalization={self.normalization!r}",
                "'none' or 'sym', the symmetric forms",
                "The random-walk form gives the same interpolant as 'none'.",
            )
        object.__setattr__(self, "positive", Laplacian(self.graph.positive, self.normalization))
        object.__setattr__(self, "num_inputs", self.graph.num_nodes)
        object.__setattr__(self, "num_outputs", self.graph.num_nodes)

    @property
    def systems(self) -> Systems:
        return self.positive.systems

    def _apply(self, x: Signal) -> Signal:
        b = self.graph.polarity
        check_same_kind(x, b, "a signal", "the polarity")
        return b * self.positive._apply(b * x)

    # T changes neither, since its entries square to 1
    def diagonal(self) -> Tensor:
        return self.positive.diagonal()

    def majorizer(self) -> Tensor | None:
        return self.positive.majorizer()


class Polarized(Composition):
    r"""`A T` with $T=\mathrm{diag}(b)$: an operator that sees a signal through the polarity of its
    nodes, which leaves every bound of its Gram matrix as it is.

    Args:
        A: an operator on the nodes.
        polarity: $b$, +1 or -1 at every node.

    Shapes:
        - **polarity:** `(*batch, nodes, 1)`
        - **x:** `(*batch, nodes, channels)`
        - **output:** what `A` makes of such a signal

    Raises:
        ValueError: a polarity on other nodes than the inputs of `A`; on call, a signal on other
            nodes, or of another dtype or device than the polarity.

    Example:
        >>> import torch
        >>> from gsp_unroll import Gradient, path_graph
        >>> from gsp_unroll.operators import Polarized
        >>> b = torch.tensor([[1.0], [-1.0]])
        >>> (Polarized(Gradient(path_graph(2)), b) @ b).flatten()  # opposite camps, opposite values
        tensor([0., 0.])
    """

    def __init__(self, A: LinearOperator, polarity: Signal) -> None:
        super().__init__(A, Diagonal(polarity))

    @property
    def gram(self) -> LinearOperator:
        return Gram(self, self.A.gram.majorizer())

    def per_head(self) -> LinearOperator:
        polarity = self.B.per_head().diagonal()
        assert polarity is not None
        return Polarized(self.A.per_head(), polarity)
