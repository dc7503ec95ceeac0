"""Where the sensors are: a graph, or places from which one is made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .._checks import check_positive_count, mistake
from .._typing import Signal
from ..graph import Graph, Topology, knn_graph, neighbor_distance
from ..sensors.geography import along_surface, on_sphere
from .labels import check_labels, labels_of

#: How fast a weight falls: it is exp(-4) at the farthest neighbour.
FALL = 4.0
NEIGHBORS = 8
#: Coordinates that a place may have; more of them, as many as nodes, are a matrix of weights.
SPACE = 3


@dataclass(frozen=True, eq=False)
class OnGlobe:
    """Places on the globe, as numbers that cannot be taken for coordinates of a plane.

    Args:
        latitude: degrees, -90 to 90.
        longitude: degrees, -180 to 360. If both are below 90, nobody can tell whether the two were
            swapped; printing the places says between what degrees they lie.

    Shapes:
        - **latitude, longitude:** `(nodes,)`, tensors, arrays, lists or pandas Series, whose labels
          must then be those of the signal, in the same order

    Raises:
        ValueError: degrees out of range, which says so if the two seem to be swapped; Series with
            different labels.

    Example:
        >>> from gsp_unroll.restoration import OnGlobe
        >>> OnGlobe([48.1, 48.4], [-1.7, -4.5]).points.shape
        torch.Size([2, 3])
    """

    latitude: Any
    longitude: Any

    def __post_init__(self) -> None:
        self.points  # noqa: B018 (whose doors look at the degrees)
        check_labels(labels_of(self.latitude), labels_of(self.longitude), "latitudes", "longitudes")

    def __repr__(self) -> str:
        name, (latitude, longitude) = type(self).__name__, self._degrees
        if not latitude.size:
            return f"{name}(no places)"
        return (
            f"{name}({latitude.size} places, latitude {latitude.min():g} to {latitude.max():g}, "
            f"longitude {longitude.min():g} to {longitude.max():g})"
        )

    @property
    def labels(self) -> Any | None:
        """The names of the places, an index of pandas; None if they have none."""
        of_latitude = labels_of(self.latitude)
        return labels_of(self.longitude) if of_latitude is None else of_latitude

    @property
    def _degrees(self) -> list[np.ndarray]:
        return [np.array(value, dtype=np.float64) for value in (self.latitude, self.longitude)]

    @property
    def points(self) -> Tensor:
        """The places as points in space, `(nodes, 3)`, in kilometres."""
        try:
            latitude, longitude = map(torch.as_tensor, self._degrees)
        except (TypeError, ValueError) as error:
            raise mistake(
                f"degrees that are no numbers ({error})",
                "latitude and longitude as numbers, south and west below 0",
                "Convert them first: 12.5 W is -12.5.",
            ) from error
        return on_sphere(latitude, longitude)


#: What tells who is near whom.
Where = Graph | Topology | OnGlobe | Tensor | np.ndarray


def place_graph(where: OnGlobe | Tensor | np.ndarray, neighbors: int = NEIGHBORS) -> Graph:
    r"""Every place joined to its nearest ones, with weights that fall with the distance.

    $$w_{ij}=\exp\!\big(-4\,d_{ij}^2/\max(\sigma_i,\sigma_j)^2\big),$$

    where $\sigma_i$ is the distance from $i$ to the farthest of its neighbours. So a weight lies
    between $e^{-4}$ and 1 in dense regions and in sparse ones, and no unit matters.

    Several sensors at one place are joined to each other with weight 1, and each of them to as many
    other places.

    Args:
        where: coordinates in a plane or in space, all axes of one unit, or `OnGlobe`. Degrees
            given as coordinates are taken for those of a plane.
        neighbors: at least 1.

    Shapes:
        - **where:** `(nodes, coordinates)`
        - **weight:** `(edges,)`, float64

    Raises:
        ValueError: coordinates of another shape or not finite; more than `neighbors` sensors at
            one place.

    Example:
        >>> import torch
        >>> from gsp_unroll.restoration import place_graph
        >>> place_graph(torch.tensor([[0.0], [1.0], [3.0]]), neighbors=2).weight
        tensor([0.6412, 0.0183, 0.1690], dtype=torch.float64)
    """
    check_positive_count(neighbors, "neighbors")
    on_globe = isinstance(where, OnGlobe)
    points = where.points if isinstance(where, OnGlobe) else torch.as_tensor(where)
    points = points.detach().double()
    topology = knn_graph(points, neighbors)  # whose door looks at the coordinates
    if len(points) < 2:
        return Graph(topology, points.new_zeros(0))
    copies = int(points.unique(dim=0, return_counts=True)[1].max())
    if copies > neighbors:
        raise mistake(
            f"{copies} sensors at one place",
            f"at most {neighbors}, the number of neighbours",
            "Merge their readings, drop places that are not known, or use "
            "place_graph(where, neighbors=...).",
        )
    if copies > 1:
        topology = knn_graph(points, neighbors + copies - 1)
    tail, head = topology.lift(points)
    d = (tail - head).norm(dim=-1)
    # of both ends: the neighbour of a lonely sensor need not have it among its own
    reach = torch.maximum(*topology.lift(neighbor_distance(points, neighbors + copies - 1)))
    reach = reach.squeeze(-1).clamp(min=torch.finfo(points.dtype).tiny)
    if on_globe:
        d, reach = along_surface(d), along_surface(reach)
    return Graph(topology, (-FALL * (d / reach).square()).exp())


def graph_of(where: Where, signal: Signal) -> Graph:
    """The graph itself, one with equal weights of a topology, or that of places; the last two where
    the signal `(nodes, channels)` is."""
    nodes = signal.shape[-2]
    if isinstance(where, Tensor | np.ndarray) and where.ndim == 2:
        if where.shape[0] == where.shape[1] == nodes > SPACE:
            raise mistake(
                f"a square array of shape {tuple(where.shape)} as places, which may be the "
                "weights of a graph",
                "coordinates (nodes, d), or a Graph",
                "Of a matrix of weights make one: Graph.from_adjacency(torch.as_tensor(A)).",
            )
        if where.shape[0] == 2 != nodes and not torch.as_tensor(where).is_floating_point():
            raise mistake(
                f"whole numbers of shape {tuple(where.shape)} as places, which may be edges",
                "coordinates (nodes, d), or a Graph",
                "Of an edge_index make one: Graph.from_edge_index(edge_index, num_nodes=...).",
            )
        if where.shape[0] != nodes == where.shape[1]:
            raise mistake(
                f"coordinates of shape {tuple(where.shape)} and a signal with {nodes} rows",
                "a row for each node in both",
                "One of the two looks transposed: pass its .T.",
            )
    if isinstance(where, Graph):
        graph = where
    elif isinstance(where, Topology):
        where.check_device(signal, "signal")
        graph = Graph(where, signal.new_ones(where.num_edges, dtype=torch.float64))
    elif isinstance(where, OnGlobe | Tensor | np.ndarray):
        graph = place_graph(where).to(signal.device)
    else:
        raise mistake(
            f"places as {type(where).__name__}",
            "a Graph or Topology of gsp_unroll, coordinates (nodes, d) as tensor or array, or "
            "OnGlobe",
            "Convert a table of coordinates with .to_numpy(), in the order of the sensors, and a "
            "graph with Graph.from_networkx, from_pyg or from_scipy.",
        )
    batched = graph.weight.ndim != 1 or graph.topology.systems.num_graphs > 1
    if graph.topology.directed or batched:
        raise mistake(
            f"a {'directed' if graph.topology.directed else 'batched'} graph: "
            f"{graph.topology.systems.num_graphs} in a batch, with weights of shape "
            f"{tuple(graph.weight.shape)}",
            "a single undirected one with weights (edges,)",
            "Add both directions with graph.merged(), or restore the graphs of a batch one by one.",
        )
    return graph.detach()


def position_of(where: Where) -> Tensor | None:
    """Where to draw the nodes: longitude and latitude, or coordinates of a plane."""
    if isinstance(where, OnGlobe):
        return torch.from_numpy(np.stack(where._degrees[::-1], -1))
    if isinstance(where, Tensor | np.ndarray) and where.shape[-1] == 2:
        return torch.as_tensor(where)
    return None
