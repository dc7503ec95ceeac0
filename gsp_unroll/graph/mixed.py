"""A graph that is undirected in space and directed in time."""

from __future__ import annotations

from dataclasses import dataclass

from .._checks import check_same_kind, mistake
from .._typing import Weight
from .graph import Graph
from .systems import Systems
from .topology import Topology


@dataclass(frozen=True, eq=False)
class MixedGraph:
    r"""Two weighted graphs on the same nodes: an undirected one in space, a directed one in time.

    Args:
        spatial: weights on undirected edges.
        temporal: weights on directed edges.

    Raises:
        ValueError: a directed spatial or an undirected temporal graph; graphs on other numbers of
            nodes, on other devices or of another dtype.

    Example:
        >>> import torch
        >>> from gsp_unroll import Graph, MixedGraph, path_graph, space_time_graph
        >>> spatial, temporal = space_time_graph(path_graph(4), steps=6, lags=2)
        >>> graph = MixedGraph(
        ...     Graph(spatial, torch.ones(spatial.num_edges)),
        ...     Graph(temporal, torch.ones(temporal.num_edges)),
        ... )
        >>> graph.num_nodes
        24
    """

    spatial: Graph
    temporal: Graph

    def __post_init__(self) -> None:
        if self.spatial.topology.directed or not self.temporal.topology.directed:
            raise mistake(
                f"a spatial graph with directed={self.spatial.topology.directed} and a temporal "
                f"one with directed={self.temporal.topology.directed}",
                "an undirected graph in space, then a directed one in time",
                "Build both with space_time_graph, and give them in this order.",
            )
        if self.spatial.num_nodes != self.temporal.num_nodes:
            raise mistake(
                f"a spatial graph on {self.spatial.num_nodes} nodes and a temporal one on "
                f"{self.temporal.num_nodes}",
                "the same nodes, all places at all steps",
                "Build both with space_time_graph.",
            )
        check_same_kind(
            self.temporal.weight, self.spatial.weight, "the temporal weights", "the spatial ones"
        )

    @property
    def num_nodes(self) -> int:
        return self.spatial.num_nodes

    @property
    def systems(self) -> Systems:
        """The graphs of a batch that the nodes belong to, the same in space and in time."""
        return self.spatial.topology.systems.joined(self.temporal.topology.systems)

    @property
    def weight(self) -> Weight:
        """The temporal weights, whose dtype and device are those of both."""
        return self.temporal.weight

    @property
    def topology(self) -> Topology:
        """The temporal edges, along which a start fills gaps: they lead from the past, which is
        observed, to the future, which no edge in space reaches."""
        return self.temporal.topology
