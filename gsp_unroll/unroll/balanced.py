"""Any unrolled layer on a balanced signed graph."""

from __future__ import annotations

from typing import ClassVar, Protocol, cast

from torch import nn

from .._typing import Signal
from ..graph import BalancedGraph, Graph
from ..problems import DataTerm, polarized, start


class _Layer(Protocol):
    def __call__(self, data: DataTerm, graph: Graph, x0: Signal | None = None) -> Signal: ...


class BalancedUnroll(nn.Module):
    r"""An unrolled layer of the positive graph, on a balanced signed graph.

    $$x=T\,\mathrm{layer}(\text{data of }Tx,\;G^+),\qquad T=\mathrm{diag}(b)$$

    The signal is taken to one camp, restored on the positive graph and taken back. With
    `GLRUnroll` the steps are those of $\min_x\mathrm{data}(x)+\tfrac\mu2x^\top L^Bx$; with
    `GTVUnroll` the differences that are penalised are $\lvert x_i-b_ib_jx_j\rvert$. The layer keeps
    its parameters and its kernels.

    Args:
        layer: called as `layer(data, graph, x0)`: `GLRUnroll`, `GTVUnroll`, ...

    Shapes:
        - **data.y:** `(*batch, nodes, channels)`
        - **graph.positive.weight:** `(*batch, edges)`
        - **graph.polarity:** `(*batch, nodes, 1)`
        - **output:** `(*batch, nodes, channels)`

    Raises:
        ValueError: what the layer refuses; a polarity of another dtype or device than the
            observation.

    Source:
        Yao et al. 2025, the similarity transform of a balanced signed graph.

    Example:
        >>> import torch
        >>> from gsp_unroll import BalancedGraph, BalancedUnroll, GLRUnroll, Graph, Interpolation
        >>> from gsp_unroll import SamplingMask, path_graph
        >>> positive = Graph(path_graph(3), torch.tensor([1.0, 1.0, 0.0]))
        >>> graph = BalancedGraph(positive, torch.tensor([[1.0], [-1.0], [-1.0]]))
        >>> y = torch.tensor([[1.0], [torch.nan], [-3.0]])
        >>> layer = BalancedUnroll(GLRUnroll(cg_steps=3))
        >>> x = layer(Interpolation(SamplingMask(~y.isnan()), y), graph)
        >>> [round(v, 3) for v in x.flatten().tolist()]
        [1.0, -2.0, -3.0]
    """

    head_axes: ClassVar[dict[str, int | None]] = {}

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer, self.heads = layer, getattr(layer, "heads", None)

    def forward(self, data: DataTerm, graph: BalancedGraph, x0: Signal | None = None) -> Signal:
        """The restored signal.

        Args:
            data: observation.
            graph: balanced signed graph.
            x0: start; by default that of the layer.
        """
        b = graph.polarity
        if x0 is None and data.observed is None:
            # seen through T, an operator that mixes nodes does not tell how far it reaches
            x0 = start(data, graph.topology)
        layer = cast(_Layer, self.layer)
        return b * layer(polarized(data, b), graph.positive, None if x0 is None else b * x0)
