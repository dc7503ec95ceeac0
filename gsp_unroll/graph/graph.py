"""A topology and its edge weights."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from .._checks import check_full_precision, mistake
from .._typing import Weight
from .both_directions import BothDirections
from .reciprocal import safe_reciprocal, safe_reciprocal_root
from .topology import Topology

if TYPE_CHECKING:
    import networkx as nx
    import numpy as np
    from numpy.typing import ArrayLike
    from pygsp import graphs
    from scipy import sparse
    from torch_geometric.data import Data

Normalization = Literal["none", "sym", "row", "merged"]


@dataclass(frozen=True, eq=False)
class Graph:
    """A weighted graph: `Graph = Topology + weight`.

    Args:
        topology: the edges.
        weight: one non-negative weight per edge, `(*batch, edges)`; a batch axis holds images or
            heads that share the topology. Values on padded slots are set to zero.

    Shapes:
        - **weight:** `(*batch, edges)`

    Raises:
        ValueError: a weight that is negative or not finite, or of another length than the edges;
            weights of 16 bits.

    Example:
        >>> import torch
        >>> from gsp_unroll import Graph, path_graph
        >>> graph = Graph(path_graph(3), torch.tensor([1.0, 2.0, 0.0]))
        >>> graph.degree
        tensor([1., 3., 2.])
    """

    topology: Topology
    weight: Weight

    def __post_init__(self) -> None:
        self.topology.check_weight(self.weight)
        check_full_precision(self.weight, "edge weights")
        # padded slots hold no edge: what stands there is dropped before it is judged
        object.__setattr__(self, "weight", self.topology.mask_edges(self.weight))
        if bool((self.weight < 0).any()):
            raise mistake(
                f"{int((self.weight < 0).sum())} negative edge weights",
                "weights of 0 or more",
                "A weight is a similarity; turn distances d into weights with (-d).exp().",
            )
        if not bool(torch.isfinite(self.weight).all()):
            raise mistake(
                f"{int((~torch.isfinite(self.weight)).sum())} weights that are NaN or infinite",
                "finite weights",
                "Look for a division by zero where the weights were made, or drop these edges.",
            )

    @classmethod
    def unchecked(cls, topology: Topology, weight: Weight) -> Graph:
        """The graph as given: for learners and layers, where a look at the values would stall the
        device. `weight` must be non-negative, finite and zero on padded slots."""
        graph = object.__new__(cls)
        object.__setattr__(graph, "topology", topology)
        object.__setattr__(graph, "weight", weight)
        return graph

    @property
    def num_nodes(self) -> int:
        return self.topology.num_nodes

    @property
    def degree(self) -> Tensor:
        r"""$d_i=\sum_j w_{ij}$, `(*batch, nodes)`; 0 for a node without edges. On a directed
        topology the sum is over edges $j\to i$ that arrive at $i$."""
        return self.topology.degree(self.weight)

    def normalized(self, normalization: Normalization) -> Graph:
        r"""The same edges with normalised weights; nodes of degree 0 keep weights of 0.

        - `"none"`: $w_{ij}$
        - `"sym"`: $w_{ij}/\sqrt{d_i d_j}$
        - `"row"`: $\bar w_{ij}=w_{ij}/d_i$ on the directed topology (the paper's equation (26)).
          Row $i$ holds the edges $j\to i$ that arrive at $i$, as in a softmax over what a node
          listens to; on a temporal graph, the present listens to the past
        - `"merged"`: $\bar w_{ij}+\bar w_{ji}=w_{ij}(1/d_i+1/d_j)$, the row weights of both
          directions added back onto one undirected edge (the two rows are parallel, so the total
          variation is the same)

        The Laplacian *of* `"sym"` weights is not the normalised Laplacian
        $I-D^{-1/2}WD^{-1/2}$: the former keeps constants, the latter does not. For the latter see
        `Laplacian(graph, normalization="sym")`.

        Raises:
            ValueError: an unknown name, or one that needs an undirected graph.
        """
        if normalization == "none":
            return self
        if normalization == "row":
            return self._row_normalized()
        if normalization not in ("sym", "merged"):
            raise mistake(
                f"normalization={normalization!r}",
                "'none', 'sym', 'row' or 'merged'",
                "See Graph.normalized for what each means.",
            )
        if self.topology.directed:
            raise mistake(
                f"normalization={normalization!r} on a directed graph",
                "an undirected graph, or normalization='row'",
                "Use 'row', or add both directions to one edge with graph.merged() first.",
            )
        if normalization == "merged":
            return Graph.unchecked(self.topology, self.topology.over_degrees(self.weight))
        at_tail, at_head = self.topology.lift(safe_reciprocal_root(self.degree).unsqueeze(-1))
        return Graph.unchecked(self.topology, self.weight * (at_tail * at_head).squeeze(-1))

    def _row_normalized(self) -> Graph:
        graph = self if self.topology.directed else self.both_directions()
        _, at_head = graph.topology.lift(safe_reciprocal(graph.degree).unsqueeze(-1))
        return Graph.unchecked(graph.topology, graph.weight * at_head.squeeze(-1))

    def both_directions(self) -> Graph:
        """The directed graph that lists every undirected edge twice, with its weight."""
        topology = self.topology.both_directions()
        return Graph.unchecked(topology, topology.doubled(self.weight, self.weight))

    def merged(self) -> Graph:
        r"""Both directions added back onto one undirected edge: $w_{ij}+w_{ji}$.

        Raises:
            ValueError: the topology does not hold each edge in both directions.
        """
        if not isinstance(self.topology, BothDirections):
            raise mistake(
                f"a graph on {type(self.topology).__name__}",
                "a graph made by both_directions() or normalized('row')",
                "An undirected graph is merged already; a one-way edge has no partner.",
            )
        return Graph.unchecked(self.topology.undirected, self.topology.merged(self.weight))

    def to(self, target: torch.device | torch.dtype | str) -> Graph:
        """The same graph on another device, or with weights of another dtype.

        Raises:
            ValueError: weights that are too large for that dtype.
        """
        weight = self.weight.to(target)
        narrower = weight.element_size() < self.weight.element_size()
        if narrower and not torch.compiler.is_compiling() and not bool(weight.isfinite().all()):
            raise mistake(
                f"edge weights up to {float(self.weight.max()):g}",
                f"weights that {weight.dtype} can hold",
                "Scale the weights, or give the signal in the dtype of the weights.",
            )
        return Graph.unchecked(self.topology.to(weight.device), weight)

    def detach(self) -> Graph:
        """The same graph with weights that no gradient flows through."""
        return Graph.unchecked(self.topology, self.weight.detach())

    @classmethod
    def from_edge_index(
        cls,
        edge_index: Tensor,
        edge_weight: Tensor | None = None,
        num_nodes: int | None = None,
        *,
        batch: Tensor | None = None,
        directed: bool = False,
        duplicates: Literal["refuse", "sum"] = "refuse",
    ) -> Graph:
        """A graph from PyG's `edge_index`; see `gsp_unroll.graph.convert.from_edge_index`."""
        from .convert import from_edge_index

        return from_edge_index(
            edge_index,
            edge_weight,
            num_nodes,
            batch=batch,
            directed=directed,
            duplicates=duplicates,
        )

    @classmethod
    def from_pyg(cls, data: Data, *, directed: bool = False) -> Graph:
        """A graph from a PyG `Data` or `Batch`; see `gsp_unroll.graph.convert.from_pyg`."""
        from .convert import from_pyg

        return from_pyg(data, directed=directed)

    def to_pyg(self, **attributes: Any) -> Data:
        """A PyG `Data` or `Batch` with `attributes`; see `gsp_unroll.graph.convert.to_pyg`."""
        from .convert import to_pyg

        return to_pyg(self, **attributes)

    @classmethod
    def from_scipy(
        cls,
        matrix: sparse.sparray | sparse.spmatrix | np.ndarray,
        *,
        batch: Tensor | None = None,
        directed: bool = False,
    ) -> Graph:
        """A graph from a matrix of SciPy or NumPy; see `gsp_unroll.graph.from_scipy`."""
        from .foreign import from_scipy

        return from_scipy(matrix, batch=batch, directed=directed)

    def to_scipy(self) -> sparse.csr_array:
        """The matrix of weights for SciPy; see `gsp_unroll.graph.to_scipy`."""
        from .foreign import to_scipy

        return to_scipy(self)

    @classmethod
    def from_networkx(
        cls,
        G: nx.Graph,
        weight: str | None = "weight",
        *,
        dtype: torch.dtype | None = None,
        duplicates: Literal["refuse", "sum"] = "refuse",
    ) -> Graph:
        """A graph from NetworkX; see `gsp_unroll.graph.from_networkx`."""
        from .foreign import from_networkx

        return from_networkx(G, weight, dtype=dtype, duplicates=duplicates)

    def to_networkx(self, nodes: Sequence[Hashable] | None = None) -> nx.Graph:
        """A graph of NetworkX, with names for the nodes; see `gsp_unroll.graph.to_networkx`."""
        from .foreign import to_networkx

        return to_networkx(self, nodes)

    @classmethod
    def from_pygsp(cls, G: graphs.Graph, *, directed: bool = False) -> Graph:
        """A graph from PyGSP; see `gsp_unroll.graph.from_pygsp`."""
        from .foreign import from_pygsp

        return from_pygsp(G, directed=directed)

    def to_pygsp(self, coords: ArrayLike | None = None) -> graphs.Graph:
        """A graph of PyGSP, with positions; see `gsp_unroll.graph.to_pygsp`."""
        from .foreign import to_pygsp

        return to_pygsp(self, coords)


def check_graph(graph: object) -> None:
    """A graph with weights, and not its structure alone or something of another package."""
    if isinstance(graph, Graph):
        return
    advice = "Make one: Graph.from_pyg(data), Graph.from_networkx(G) or Graph.from_scipy(W)."
    if isinstance(graph, Topology):
        advice = "Give it weights: Graph(topology, weight), e.g. topology.edge_mask.float()."
    elif isinstance(graph, Tensor):
        advice = "Of a matrix of weights make one: Graph.from_adjacency(W)."
    raise mistake(
        f"a {type(graph).__name__} for a graph", "a Graph: edges and their weights", advice
    )
