"""What every picture checks before it is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from .._checks import mistake
from ..graph import Graph

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def one_by_one(axes: Sequence[Axes]) -> list[Axes]:
    """Axes in a row, or in a grid row by row."""
    return list(np.ravel(np.asarray(axes, dtype=object)))


def check_single(graph: Graph) -> None:
    """Weights `(edges,)`."""
    if graph.weight.ndim != 1:
        raise mistake(
            f"weights of shape {tuple(graph.weight.shape)}",
            "(edges,), one graph",
            "Pick one of the batch or one head: Graph(graph.topology, graph.weight[0]).",
        )


def check_signal_drawn(signal: Tensor, num_nodes: int) -> Tensor:
    """One value per node, `(nodes,)` or `(nodes, 1)`, as `(nodes,)` on the CPU."""
    if signal.shape not in ((num_nodes,), (num_nodes, 1)):
        raise mistake(
            f"a signal of shape {tuple(signal.shape)}",
            f"({num_nodes},) or ({num_nodes}, 1), one value for each node",
            "Pick one channel of one item of the batch: x[0, :, 0].",
        )
    return signal.detach().cpu().reshape(-1)
