"""A graph over the positions of its nodes: on an image, in a cloud, on a map."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .._checks import mistake
from ..graph import Graph
from ..sensors import on_sphere
from ._axes import check_signal_drawn, check_single

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_graph(
    ax: Axes,
    graph: Graph,
    position: Tensor | None = None,
    *,
    background: Tensor | None = None,
    signal: Tensor | None = None,
    color: Any = "tab:red",
) -> Axes:
    """Draws the edges of a graph over its nodes' positions, opaque where they weigh most.

    Args:
        ax: axes to draw on; for positions in space those of `subplots(projection="3d")`.
        graph: a single graph.
        position: horizontal and vertical coordinate of each node, in space a third one. Of an image
            (a lattice of two axes) it may be left out: column and row of each pixel, the first row
            on top.
        background: an image of values in [0, 1], whose pixel centres have whole coordinates.
        signal: drawn as the colour of the nodes; NaN leaves one out.
        color: of the edges, in any form that matplotlib takes.

    Shapes:
        - **graph.weight:** `(edges,)`
        - **position:** `(nodes, 2)` or `(nodes, 3)`
        - **background:** `(height, width)` or `(height, width, 3)`
        - **signal:** `(nodes,)` or `(nodes, 1)`

    Returns:
        `ax`.

    Raises:
        ValueError: batched weights; positions of another number of coordinates than the axes have,
            or none for nodes that form no image; a signal of several channels; an image in space.

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
    check_single(graph)
    on_pixels = position is None
    at = _pixels(graph) if position is None else position.detach().cpu()
    dimension = 3 if ax.name == "3d" else 2
    if at.shape != (graph.num_nodes, dimension):
        raise mistake(
            f"positions of shape {tuple(at.shape)}",
            f"({graph.num_nodes}, {dimension})",
            "Project the nodes to the plane, e.g. with position[:, :2], or make axes in space with "
            'figure.add_subplot(projection="3d").'
            if dimension == 2
            else "Axes in space need three coordinates; figure.subplots() makes plane ones.",
        )
    if background is not None and dimension == 3:
        raise mistake("an image behind axes in space", "plane axes", "Leave the image out.")
    if background is not None:
        ax.imshow(background.detach().cpu().clamp(0, 1).numpy(), cmap="gray", vmin=0, vmax=1)
    tail, head = _ends(graph)
    _draw_edges(ax, torch.stack([at[tail], at[head]], 1), _opacity(graph), color)
    if signal is not None:
        _draw_nodes(ax, at, check_signal_drawn(signal, graph.num_nodes))
    if background is None:
        _make_room(ax, at)
        if on_pixels:
            ax.yaxis.set_inverted(True)
    ax.set_aspect("equal")
    ax.set_axis_off()
    return ax


def draw_map(
    ax: Axes,
    graph: Graph,
    latitude: Tensor,
    longitude: Tensor,
    *,
    signal: Tensor | None = None,
    color: Any = "tab:red",
) -> Axes:
    """Draws a graph of places on the globe by longitude and latitude, in degrees.

    A degree of longitude is as wide as it is at the middle latitude. Longitudes go on past 180 (or
    -180), so that a region across the date line stays whole; on a map of the whole globe an edge
    that leaves on one side comes back on the other.

    Args:
        ax: plane axes to draw on.
        graph: a single graph.
        latitude: in degrees, -90 to 90.
        longitude: in degrees, -180 to 360.
        signal: drawn as the colour of the nodes; NaN leaves one out.
        color: of the edges, in any form that matplotlib takes.

    Shapes:
        - **graph.weight:** `(edges,)`
        - **latitude, longitude:** `(nodes,)`
        - **signal:** `(nodes,)` or `(nodes, 1)`

    Returns:
        `ax`.

    Raises:
        ValueError: batched weights; degrees out of range, or not one of each for every node; a
            signal of several channels.

    Example:
        >>> import torch
        >>> from matplotlib.figure import Figure
        >>> from gsp_unroll import Graph, path_graph
        >>> from gsp_unroll.viz import draw_map
        >>> graph = Graph(path_graph(3), torch.tensor([1.0, 0.5, 0.0]))
        >>> latitude, longitude = torch.tensor([-17.0, -18, -19]), torch.tensor([178.0, 179, -179])
        >>> ax = draw_map(Figure().subplots(), graph, latitude, longitude)
        >>> [round(float(v)) for v in ax.dataLim.intervalx]  # Fiji in one piece
        [178, 181]
    """
    check_single(graph)
    on_sphere(latitude, longitude)  # which checks degrees
    if latitude.shape != (graph.num_nodes,):
        raise mistake(
            f"latitudes of shape {tuple(latitude.shape)}",
            f"({graph.num_nodes},)",
            "Give the place of every node of the graph.",
        )
    at = position_on_map(latitude, longitude)
    lon, lat = at.unbind(-1)
    tail, head = _ends(graph)
    way = torch.stack([_short_way(lon[head] - lon[tail]), lat[head] - lat[tail]], -1)
    segments = torch.stack([at[tail], at[tail] + way], 1)
    back = torch.stack([at[head] - way, at[head]], 1)
    round_the_back = (lon[head] - lon[tail]).abs() > 180
    opacity = _opacity(graph)
    _draw_edges(
        ax,
        torch.cat([segments, back[round_the_back]]),
        torch.cat([opacity, opacity[round_the_back]]),
        color,
    )
    if signal is not None:
        _draw_nodes(ax, at, check_signal_drawn(signal, graph.num_nodes))
    _make_room(ax, at)
    wide = math.cos(math.radians(float(lat.mean()))) if lat.numel() else 1.0
    ax.set_aspect(1 / max(wide, 0.1))
    ax.set_xlabel("longitude")
    ax.set_ylabel("latitude")
    return ax


def position_on_map(latitude: Tensor, longitude: Tensor) -> Tensor:
    """Where `draw_map` draws places: `(nodes, 2)`, longitudes without a jump, then latitudes."""
    lat, lon = latitude.detach().cpu(), longitude.detach().cpu()
    turn = torch.deg2rad(lon)
    middle = torch.rad2deg(torch.atan2(turn.sin().sum(), turn.cos().sum()))
    return torch.stack([middle + _short_way(lon - middle), lat], -1)


def _pixels(graph: Graph) -> Tensor:
    shape = graph.topology.lattice
    if shape is None or len(shape) != 2:
        raise mistake(
            "no positions for nodes that form no image"
            if shape is None
            else f"no positions for a lattice of shape {shape}",
            "positions (nodes, 2) or (nodes, 3)",
            "Only the pixels of grid_graph((height, width)) are where they are without being told.",
        )
    row, column = torch.meshgrid(*map(torch.arange, shape), indexing="ij")
    return torch.stack([column, row], -1).reshape(-1, 2).float()


def _ends(graph: Graph) -> tuple[Tensor, Tensor]:
    mask = graph.topology.edge_mask.cpu()
    tail, head = graph.topology.edge_index.cpu()[:, mask]
    return tail, head


def _opacity(graph: Graph) -> Tensor:
    weight = graph.weight.detach().cpu()[graph.topology.edge_mask.cpu()]
    heaviest = weight.amax() if weight.numel() else weight.new_ones(())
    return weight / heaviest.clamp(min=torch.finfo(weight.dtype).tiny)


def _draw_edges(ax: Axes, segments: Tensor, opacity: Tensor, color: Any) -> None:
    from matplotlib.collections import LineCollection
    from matplotlib.colors import to_rgb

    colors = [(*to_rgb(color), float(a)) for a in opacity]
    lines: Sequence[Any] = list(segments.numpy())
    if ax.name == "3d":
        from mpl_toolkits.mplot3d.art3d import Line3DCollection

        if len(lines):  # mplot3d has no picture of no lines
            ax.add_collection(Line3DCollection(lines, colors=colors, linewidths=1.0))
    else:
        ax.add_collection(LineCollection(lines, colors=colors, linewidths=1.0))


def _draw_nodes(ax: Axes, at: Tensor, signal: Tensor) -> None:
    here = ~signal.isnan()
    points: Any = ax.scatter  # of axes in space it takes three coordinates
    points(*at[here].T.numpy(), c=signal[here].numpy(), s=16, zorder=2)


def _make_room(ax: Any, at: Tensor) -> None:
    """The nodes say what is to be seen, also of a graph without edges."""
    if ax.name == "3d":
        ax.auto_scale_xyz(*at.T.numpy())
    else:
        if len(at):
            ax.dataLim.update_from_data_xy(at.numpy(), ignore=True)
        ax.autoscale_view()


def _short_way(degrees: Tensor) -> Tensor:
    """The same angle, in [-180, 180)."""
    return torch.remainder(degrees + 180, 360) - 180
