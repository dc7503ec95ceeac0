"""The transform that gives a `Data` edge weights, and edges if it has none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch_geometric.transforms import BaseTransform

from .._checks import check_positive_count, mistake
from .._typing import PerSystem, Signal
from ..graph import (
    Graph,
    Topology,
    from_edge_index,
    knn_graph,
    safe_reciprocal,
    safe_reciprocal_root,
    to_edge_weight,
)
from ..graph.convert import batch_of
from ..learners import MAX_SCORE
from .reading import check_one_kind, signal


class LearnGraph(BaseTransform):
    r"""Sets `edge_weight` from node attributes, and draws a graph of neighbours if there is none.

    Without a `learner` the weights are those of a bilateral filter,

    $$w_{ij}=\exp\Big(-\sum_a\frac{\|f^a_i-f^a_j\|^2}{2\sigma_a^2}\Big),\qquad
      \sigma_a^2=\text{mean of }\|f^a_i-f^a_j\|^2\text{ over the edges of the graph},$$

    one term for each attribute $a$. Nothing else of the `Data` changes, and the order of
    `edge_index` stays: both directions of an edge get its weight (or their own, from a learner with
    `normalization="row"`).

    No gradient is recorded: a transform prepares data. To train a learner, put it into a
    `RestoreFeatures` layer, and here when it is trained.

    Args:
        learner: `(features, topology) -> Graph` without heads, such as `MahalanobisLearner`; it is
            given the attributes side by side. None for the weights above.
        attrs: attributes of nodes to compare.
        k: neighbours of each node where there is no `edge_index`, at least 1: by `pos` if there is
            one, else by the attributes. A batch is searched graph by graph.
        directed: True keeps each column of `edge_index` as a one-way edge, and draws one row of
            neighbours per node.

    Shapes:
        - **attributes:** `(nodes,)` or `(nodes, features)`
        - **edge_weight:** `(edges,)`, one for each column of `edge_index`

    Raises:
        ValueError: `k` below 1, no attribute named; on call: a `HeteroData`, a missing attribute,
            one that is not floating-point or not finite, self-loops, a learner with heads, an
            `adj_t` in place of `edge_index`, or what `from_edge_index` refuses.

    Source:
        Tomasi and Manduchi 1998 for the weights, with widths taken from the data.

    Example:
        >>> import torch
        >>> from gsp_unroll.pyg import LearnGraph
        >>> from torch_geometric.data import Data
        >>> data = Data(pos=torch.rand(20, 3), x=torch.rand(20, 2))
        >>> "edge_weight" in LearnGraph(attrs=["pos", "x"], k=4)(data)
        True
        >>> "edge_weight" in data
        False
    """

    def __init__(
        self,
        learner: Callable[[Signal, Topology], Graph] | None = None,
        attrs: Sequence[str] = ("x",),
        *,
        k: int = 8,
        directed: bool = False,
    ) -> None:
        check_positive_count(k, "k")
        if isinstance(attrs, str) or not attrs:
            raise mistake(
                f"attrs={attrs!r}", "the names of one or more attributes", "Write attrs=['x']."
            )
        self.learner, self.attrs, self.k, self.directed = learner, tuple(attrs), k, directed

    @torch.no_grad()
    def forward(self, data: Any) -> Any:
        check_one_kind(data, "LearnGraph")
        attributes = [self._features(data, name) for name in self.attrs]
        features = torch.cat(attributes, -1)
        if getattr(data, "edge_index", None) is None:
            data.edge_index = self._neighbors(data, features)
        topology = self._topology(data)
        if self.learner is None:
            features = torch.cat([f * _sharpness(f, topology) for f in attributes], -1)
            graph = Graph.unchecked(topology, topology.similarity(features, MAX_SCORE))
        else:
            graph = self.learner(features, topology)
        if graph.weight.ndim != 1:
            raise mistake(
                f"a learner that gives weights of shape {tuple(graph.weight.shape)}",
                "one graph, since PyG holds one weight per edge",
                "Build the learner without heads.",
            )
        data.edge_weight = to_edge_weight(graph, data.edge_index)
        return data

    def _features(self, data: Any, name: str) -> Signal:
        f = signal(data, name)
        bad = int((~f.isfinite()).sum())
        if bad:
            raise mistake(
                f"{bad} values of {name} that are NaN or infinite",
                "finite features",
                "Fill them in first, e.g. with RestoreSignal, or compare other attributes.",
            )
        return f

    def _neighbors(self, data: Any, features: Signal) -> Tensor:
        if getattr(data, "adj_t", None) is not None:
            raise mistake(
                f"a {type(data).__name__} with adj_t in place of edge_index",
                "edge_index",
                "Put ToSparseTensor(attr='edge_weight') behind this transform, not before it.",
            )
        points = features if getattr(data, "pos", None) is None else self._features(data, "pos")
        batch, _ = batch_of(data)
        if self.directed:
            return knn_graph(points, self.k, batch=batch, symmetrize=None).edge_index
        return knn_graph(points, self.k, batch=batch).both_directions().edge_index

    def _topology(self, data: Any) -> Topology:
        edge_index = data.edge_index
        # one of another shape is refused where it is read
        shaped = edge_index.ndim == 2 and len(edge_index) == 2
        loops = int((edge_index[0] == edge_index[1]).sum()) if shaped else 0
        if loops:
            raise mistake(
                f"{loops} self-loops",
                "edges between two different nodes",
                "Drop them with torch_geometric.transforms.RemoveSelfLoops; layers that want "
                "some, such as GCNConv, add their own.",
            )
        batch, num_graphs = batch_of(data)
        graph = from_edge_index(
            edge_index,
            num_nodes=data.num_nodes,
            batch=batch,
            directed=self.directed,
            num_graphs=num_graphs,
        )
        return graph.topology

    def __repr__(self) -> str:
        options = f"attrs={list(self.attrs)}, k={self.k}, directed={self.directed}"
        return f"{type(self).__name__}(learner={self.learner!r}, {options})"


def _sharpness(f: Signal, topology: Topology) -> Signal:
    r"""$1/\sqrt2\sigma$ at every node, with $\sigma^2$ the mean of its graph."""
    square = topology.edge_energy(f, f)
    mean = _per_graph(square, topology) * safe_reciprocal(
        _per_graph(torch.ones_like(square), topology)
    )
    return topology.systems.spread(safe_reciprocal_root(2 * mean))


def _per_graph(w: Tensor, topology: Topology) -> PerSystem:
    # summed at tails first: that is where an edge learns which graph of a batch it is in
    return topology.systems.total(topology.tail_sum(w.unsqueeze(-1)))
