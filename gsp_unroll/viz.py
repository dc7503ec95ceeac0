"""Pictures of graphs and signals, on matplotlib (extra `demo`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ._checks import mistake
from .graph import Graph

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_graph(
    ax: Axes,
    graph: Graph,
    position: Tensor,
    *,
    background: Tensor | None = None,
    color: Any = "tab:red",
) -> Axes:
    """Draws the edges of a graph over its nodes' positions, opaque where they weigh most.

    Args:
        ax: axes to draw on.
        graph: a single graph, weights `(edges,)`.
        position: `(nodes, 2)`, horizontal and vertical coordinate of each node.
        background: an image `(height, width[, 3])` of values in [0, 1], whose pixel centres have
            whole coordinates.
        color: of the edges, in any form that matplotlib takes.

    Returns:
        `ax`.

    Raises:
        ValueError: batched weights, or positions that are not two-dimensional.

    Example:
        >>> import torch
        >>> from matplotlib.figure import Figure
        >>> from gsp_unroll import Graph, path_graph
        >>> from gsp_unroll.viz import draw_graph
        >>> graph = Graph(path_graph(3), torch.tensor([1.0, 0.5, 0.0]))
        >>> ax = draw_graph(Figure().subplots(), graph, torch.tensor([[0.0, 0], [1, 0], [2, 1]]))
        >>> len(ax.collections)
        1
    """
    from matplotlib.collections import LineCollection
    from matplotlib.colors import to_rgb

    if graph.weight.ndim != 1:
        raise mistake(
            f"weights of shape {tuple(graph.weight.shape)}",
            "(edges,), one graph",
            "Pick one of the batch or one head: Graph(graph.topology, graph.weight[0]).",
        )
    if position.shape != (graph.num_nodes, 2):
        raise mistake(
            f"positions of shape {tuple(position.shape)}",
            f"({graph.num_nodes}, 2)",
            "Project the nodes to the plane, e.g. with position[:, :2].",
        )
    mask = graph.topology.edge_mask.cpu()
    tail, head = graph.topology.edge_index.cpu()[:, mask]
    weight = graph.weight.detach().cpu()[mask]
    heaviest = weight.amax() if weight.numel() else weight.new_ones(())
    opacity = weight / heaviest.clamp(min=torch.finfo(weight.dtype).tiny)
    colors = [(*to_rgb(color), float(a)) for a in opacity]
    at = position.detach().cpu()
    segments = torch.stack([at[tail], at[head]], 1).numpy()
    if background is not None:
        ax.imshow(background.detach().cpu().clamp(0, 1).numpy(), cmap="gray", vmin=0, vmax=1)
    ax.add_collection(LineCollection(list(segments), colors=colors, linewidths=1.0))
    if background is None:
        ax.autoscale()
    ax.set_aspect("equal")
    ax.set_axis_off()
    return ax


def draw_training(ax: Axes, log: Sequence[Mapping[str, Any]]) -> Axes:
    """Draws the course of a training: the loss, and on a second scale the held-out PSNR.

    Args:
        ax: axes to draw on; a twin of them takes the PSNR.
        log: lines of a log, as `gsp_unroll.train.log.read_log` reads them.

    Returns:
        `ax`.

    Raises:
        ValueError: a log with neither losses nor PSNR.

    Example:
        >>> from matplotlib.figure import Figure
        >>> from gsp_unroll.viz import draw_training
        >>> log = [{"step": 1, "loss": 0.1}, {"step": 2, "loss": 0.02}, {"step": 2, "psnr": 30.0}]
        >>> ax = draw_training(Figure().subplots(), log)
        >>> ax.lines[0].get_ydata().tolist()
        [0.1, 0.02]
    """
    curves = {
        name: [(line["step"], line[name]) for line in log if name in line]
        for name in ("loss", "psnr")
    }
    if not any(curves.values()):
        raise mistake(
            f"a log of {len(log)} lines without a loss or a PSNR",
            "the log of a training that has come some steps",
            "Give what gsp_unroll.train.log.read_log reads.",
        )
    ax.set_xlabel("step")
    ax.set_ylabel("loss", color="tab:blue")
    if curves["loss"]:
        ax.plot(*zip(*curves["loss"], strict=True), color="tab:blue", linewidth=1.0)
        ax.set_yscale("log")
    if curves["psnr"]:
        right = ax.twinx()
        right.plot(*zip(*curves["psnr"], strict=True), color="tab:red", marker=".")
        right.set_ylabel("held-out PSNR in dB", color="tab:red")
    return ax
