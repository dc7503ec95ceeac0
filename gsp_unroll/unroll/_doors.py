"""What every unrolled layer checks before it starts."""

from __future__ import annotations

from torch import Tensor, nn

from .._checks import check_same_kind, mistake
from .._typing import Signal
from ..graph import Graph
from ..graph.graph import check_graph
from ..problems import DataTerm, Interpolation


def check_inputs(
    layer: nn.Module, heads: int | None, data: DataTerm, graph: Graph, x0: Signal | None
) -> None:
    """Observation, graph, start and parameters share dtype and device; heads stand where they
    should."""
    check_graph(graph)
    y, weight = data.y, graph.weight
    name = type(layer).__name__
    check_same_kind(y, weight, "the observation", "the edge weights")
    parameter = next(layer.parameters(), y)
    check_same_kind(y, parameter, "the observation", f"this {name}")
    if x0 is not None:
        graph.topology.check_signal(x0, "start")
        check_same_kind(x0, y, "the start x0", "the observation")
    if heads is None:
        return
    if y.ndim > 2 and y.shape[-3] != 1:
        raise mistake(
            f"an observation of shape {tuple(y.shape)} for a {name} with heads={heads}",
            "an axis of length 1 for the heads before the nodes",
            "Use data.per_head().",
        )
    if weight.ndim > 1 and weight.shape[-2] != heads:
        raise mistake(
            f"edge weights of shape {tuple(weight.shape)} for a {name} with heads={heads}",
            f"(*batch, {heads}, edges)",
            f"Build the learner with heads={heads}, or the layer without heads.",
        )


def check_penalty(layer: nn.Module, data: DataTerm, parameter: Tensor | None, name: str) -> None:
    """A hard constraint leaves nothing for `name` to do; least squares cannot do without it."""
    hard, given = isinstance(data, Interpolation), parameter is not None
    layer_name = type(layer).__name__
    if hard and given:
        raise mistake(
            f"Interpolation data for a {layer_name} that learns {name}",
            f"a layer without {name}: under a hard constraint it has no effect",
            f"Construct {layer_name} without {name}=, or pass LeastSquares data.",
        )
    if not hard and not given:
        raise mistake(
            f"{type(data).__name__} data for a {layer_name} without {name}",
            f"a layer with a learned {name}",
            f"Construct {layer_name}({name}=1.0).",
        )
