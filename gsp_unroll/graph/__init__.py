"""Structure: nodes, edges, weights. The only folder that knows how edges are stored."""

from ._autograd import linear_pair
from .adjacency import from_adjacency, is_matrix, to_adjacency, to_sparse_tensor
from .balanced import BalancedGraph
from .both_directions import BothDirections
from .convert import (
    from_edge_index,
    from_pyg,
    to_edge_index,
    to_edge_list,
    to_edge_weight,
    to_pyg,
)
from .edge_list import EdgeList
from .foreign import from_networkx, from_pygsp, from_scipy, to_networkx, to_pygsp, to_scipy
from .graph import Graph, Normalization
from .grid import Grid
from .lattices import grid_graph, path_graph
from .mixed import MixedGraph
from .points import knn_graph, neighbor_distance, radius_graph
from .product import product_graph
from .reciprocal import safe_reciprocal, safe_reciprocal_root
from .space_time import SpaceTime, space_time_graph
from .statistics import connectivity, effective_neighbors, roughness
from .systems import Systems
from .topology import Topology

__all__ = [
    "BalancedGraph",
    "BothDirections",
    "EdgeList",
    "Graph",
    "Grid",
    "MixedGraph",
    "Normalization",
    "SpaceTime",
    "Systems",
    "Topology",
    "connectivity",
    "effective_neighbors",
    "from_adjacency",
    "from_edge_index",
    "from_networkx",
    "from_pyg",
    "from_pygsp",
    "from_scipy",
    "grid_graph",
    "is_matrix",
    "knn_graph",
    "linear_pair",
    "neighbor_distance",
    "path_graph",
    "product_graph",
    "radius_graph",
    "roughness",
    "safe_reciprocal",
    "safe_reciprocal_root",
    "space_time_graph",
    "to_adjacency",
    "to_edge_index",
    "to_edge_list",
    "to_edge_weight",
    "to_networkx",
    "to_pyg",
    "to_pygsp",
    "to_scipy",
    "to_sparse_tensor",
]
