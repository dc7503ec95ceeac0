"""Features and a topology in, a weighted graph out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from inspect import signature
from typing import Any, ClassVar, final, get_args

import torch
from torch import Tensor
from torch_geometric.nn import MessagePassing

from .._checks import check_full_precision, check_positive_count, check_same_kind, mistake
from .._typing import Signal, Weight
from ..graph import Graph, Normalization, Topology
from .precision import full_precision

#: Largest size of a learned score; exp(-30) is 1e-13 and exp(30) is 1e13.
MAX_SCORE = 30.0


def bounded_exp(score: Tensor) -> Tensor:
    r"""$\exp(s)$ with $s$ cut to $[-30, 30]$, for scores in float32 or float64.

    A learned distance has no upper limit. Uncut, one far pixel in float32 is enough: beyond 104 the
    weight is exactly 0, a node whose neighbours are all that far has degree 0, and the system that
    the solver gets is singular there. Cut, every node keeps all its neighbours and its degree is
    never 0. Beyond the limit the derivative is 0: keep features near unit size, or nothing learns.

    Args:
        score: $s$, no larger than 0 for a distance.

    Shapes:
        - **score, returns:** any, the same; `returns` is of float32 at least

    Example:
        >>> import torch
        >>> from gsp_unroll.learners import bounded_exp
        >>> bounded_exp(torch.tensor([0.0, -200.0]))
        tensor([1.0000e+00, 9.3576e-14])
    """
    # weights are at least float32, whatever a score was computed in
    score = score.to(torch.promote_types(score.dtype, torch.float32))
    return score.clamp(-MAX_SCORE, MAX_SCORE).exp()


class GraphLearner(MessagePassing, ABC):
    r"""One weight per edge, from the features at its two ends.

    $$w_{ij}=\texttt{edge\_update}\big(g(f_i),\,g(f_j)\big),\qquad g=\texttt{embed}$$

    A subclass writes `edge_update`, PyG's hook, for all edges at once. `features_j` holds the tail
    of each edge and `features_i` its head, as PyG names source and target. On an undirected
    topology the weight should not depend on which end is which, for neither orientation is
    special; where it does, override `edge_weight` as `DotProductLearner` does. A map of single
    nodes belongs in `embed`: there it costs one product per node instead of one per edge.

    Annotations on `edge_update` must be plain importable names such as `Tensor`: PyG writes a fast
    version of `edge_updater` from them and silently keeps a slow one when it cannot read them.

    Autocast ends here: features in 16 bits are taken to the dtype of the parameters, and the
    weights are computed in it.

    Args:
        num_features: length of a node's feature vector, at least 1.
        heads: None, or the number of graphs to learn side by side, which becomes a batch axis.
        normalization: what is done with the weights, see `Graph.normalized`. With `"row"` an
            undirected topology gives a graph on `topology.both_directions()`.

    Shapes:
        - **features:** `(*batch, nodes, num_features)`, with heads
          `(*batch, heads, nodes, num_features)`
        - **output:** a `Graph` with weights `(*batch, edges)`, with heads `(*batch, heads, edges)`

    Raises:
        ValueError: no features or heads, an unknown normalisation; on call: features of another
            shape or dtype, a directed topology with a normalisation that needs an undirected one.

    Example:
        >>> import torch
        >>> from gsp_unroll import GraphLearner, path_graph
        >>> class Similarity(GraphLearner):
        ...     def edge_update(self, features_i, features_j):
        ...         return (-(features_i - features_j).abs().sum(-1)).exp()
        >>> graph = Similarity(num_features=1, normalization="none")(
        ...     torch.tensor([[0.0], [0.0], [1.0]]), path_graph(3)
        ... )
        >>> graph.weight
        tensor([1.0000, 0.3679, 0.0000])
    """

    #: Read by PyG, which would otherwise look for a call `self.edge_updater(..., features=...)` in
    #: the source text of the class: here it is the topology that calls it.
    edge_updater_type: ClassVar[dict[str, Any]] = {"features": Tensor}

    def __init__(
        self,
        num_features: int,
        *,
        heads: int | None = None,
        normalization: Normalization = "merged",
    ) -> None:
        super().__init__(aggr=None)  # nothing is aggregated: the edges are the result
        check_positive_count(num_features, "num_features")
        if heads is not None:
            check_positive_count(heads, "heads")
        if normalization not in get_args(Normalization):
            raise mistake(
                f"normalization={normalization!r}",
                "'none', 'sym', 'row' or 'merged'",
                "See Graph.normalized for what each means.",
            )
        missing = {"features_i", "features_j"} - {*signature(self.edge_update).parameters}
        if missing:
            raise mistake(
                f"edge_update of {type(self).__name__} without {' and '.join(sorted(missing))}",
                "def edge_update(self, features_i, features_j)",
                "PyG finds the two ends of an edge by these names.",
            )
        self.num_features = num_features
        self.heads = heads
        self.normalization: Normalization = normalization

    @abstractmethod
    def edge_update(self, features_i: Tensor, features_j: Tensor) -> Tensor:
        """Non-negative, finite weights `(*batch, edges)` from the embedded features at each edge's
        head, `features_i`, and tail, `features_j`, both `(*batch, edges, D)`."""

    def embed(self, features: Signal) -> Signal:
        """A map of every node's features by itself, applied once before the edges."""
        return features

    def edge_weight(self, embedded: Signal, topology: Topology) -> Weight:
        """Weights on the edges of `topology` before they are normalised; 0 on padded slots."""
        weight = topology.update_edges(self, embedded)
        if weight.shape != (*embedded.shape[:-2], topology.num_edges):
            raise mistake(
                f"weights of shape {tuple(weight.shape)} from edge_update of {type(self).__name__}",
                f"{(*embedded.shape[:-2], topology.num_edges)}: one number for each edge",
                "Take the axis of the features away, e.g. with .sum(-1) or .squeeze(-1).",
            )
        return topology.mask_edges(weight)

    @final
    def forward(self, features: Signal, topology: Topology) -> Graph:
        self._check(features, topology)
        with full_precision(features):
            weight = self.edge_weight(self.embed(self._converted(features)), topology)
            # unchecked: a look at the values would stall the device and break torch.compile
            graph = Graph.unchecked(topology, weight).normalized(self.normalization)
        return graph

    @property
    def hops(self) -> int:
        """How many edges away from the two ends of an edge its weight still looks: 1 where it is
        divided by a sum over neighbours."""
        return 0 if self.normalization == "none" else 1

    def _converted(self, features: Signal) -> Signal:
        """The features in the dtype of the parameters, without any in float32 or wider."""
        parameter = next(self.parameters(), None)
        if parameter is None:
            return features.to(torch.promote_types(features.dtype, torch.float32))
        return features.to(parameter.dtype)

    def _check(self, features: Tensor, topology: Topology) -> None:
        topology.check_signal(features, "feature tensor")
        self._check_axes(features)
        parameter = next(self.parameters(), None)
        if parameter is None:
            return  # which converts to float32 at least
        check_full_precision(parameter, f"parameters of this {type(self).__name__}")
        if features.dtype != parameter.dtype and features.device == parameter.device:
            if torch.is_autocast_enabled(features.device.type):
                return  # it converts on the way
        check_same_kind(features, parameter, "features", f"this {type(self).__name__}")

    def _check_axes(self, features: Tensor) -> None:
        if features.shape[-1] != self.num_features:
            raise mistake(
                f"features of shape {tuple(features.shape)}",
                f"{self.num_features} features per node on axis -1",
                f"Build the learner with num_features={features.shape[-1]}.",
            )
        if self.heads is None or (features.ndim > 2 and features.shape[-3] == self.heads):
            return
        raise mistake(
            f"features of shape {tuple(features.shape)}",
            f"{self.heads} heads on axis -3: (*batch, {self.heads}, nodes, {self.num_features})",
            f"Build the feature network with heads={self.heads}, or give every head the same "
            f"features: features.unsqueeze(-3).expand(*batch, {self.heads}, -1, -1).",
        )

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(num_features={self.num_features}, heads={self.heads}, "
            f"normalization={self.normalization!r})"
        )
