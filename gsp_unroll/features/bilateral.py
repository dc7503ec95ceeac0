"""Features without parameters: where a pixel is, and what it shows."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .._checks import check_positive, check_signal, mistake
from .._typing import Signal
from ..graph import Topology


class BilateralFeatures(nn.Module):
    r"""$f_i=[\,a\,x_i,\;b\,p_i\,]$: values and position of a node on a lattice.

    With $w_{ij}=\exp(-\|f_i-f_j\|^2)$ this is the bilateral filter's weight. Nothing is learned.

    Args:
        value_scale: $a$, per unit of intensity, above 0.
        position_scale: $b$, per pixel, above 0. Positions count in pixels: on the unit square the
            weights of all neighbours would be alike.

    Shapes:
        - **signal:** `(*batch, nodes, channels)`
        - **output:** `(*batch, nodes, channels + axes)`

    Raises:
        ValueError: a scale that is not positive; nodes without a lattice.

    Source:
        Do et al. 2024, appendix A.8 (the untrained models); Tomasi and Manduchi 1998.

    Example:
        >>> import torch
        >>> from gsp_unroll import BilateralFeatures, grid_graph
        >>> BilateralFeatures(5.0, 1.6)(torch.rand(20, 3), grid_graph((4, 5))).shape
        torch.Size([20, 5])
    """

    def __init__(self, value_scale: float, position_scale: float) -> None:
        super().__init__()
        check_positive(value_scale, "value_scale")
        check_positive(position_scale, "position_scale")
        self.value_scale, self.position_scale = value_scale, position_scale

    def forward(self, signal: Signal, topology: Topology) -> Tensor:
        check_signal(signal, topology.num_nodes)
        shape = topology.lattice
        if shape is None:
            raise mistake(
                f"a {type(topology).__name__}, whose nodes form no lattice",
                "a grid, whose node numbers are positions",
                "Concatenate coordinates and values yourself: they are features already.",
            )
        axes = [torch.arange(n, dtype=signal.dtype, device=signal.device) for n in shape]
        position = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).flatten(0, -2)
        position = position.expand(*signal.shape[:-2], -1, -1)
        return torch.cat([self.value_scale * signal, self.position_scale * position], -1)

    def extra_repr(self) -> str:
        return f"value_scale={self.value_scale}, position_scale={self.position_scale}"
