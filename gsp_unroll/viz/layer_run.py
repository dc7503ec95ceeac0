"""One call of an unrolled layer inside a model, and the numbers that tell how it went."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .._typing import PerSystem, Signal
from ..graph import Graph
from ..graph.statistics import effective_neighbors
from ..problems import DataTerm, LeastSquares, Problem, start
from ..unroll import ADMMUnroll, QuadraticUnroll
from .iterations import objectives

#: An edge whose weight is below this holds nothing. Learned weights lie in (0, 1].
NO_WEIGHT = 1e-3
#: From half the differences of two neighbours to the noise of one, where it is Gaussian.
MEDIAN_TO_DEVIATION = 1.4826 / 2**0.5


@dataclass(frozen=True, eq=False)
class LayerRun:
    r"""What an unrolled layer was given and what it made of it.

    Numbers that are not known are NaN.

    Args:
        layer: its name inside the model, "" for the model itself.
        graph: what it solved on.
        neighbors: how many neighbours count at a node: `effective_neighbors`, with 0 at nodes whose
            edges weigh nothing.
        available: how many it would be with equal weights.
        objective: of the start and of each iterate, with the prior of the last one.
        floor: an objective that counts as zero.
        observed: what was measured, NaN where nothing was.
        output: what the layer returns.
        misfit: root mean square of output minus observation, at observed nodes.
        noise: $\sigma$ of the observation by the median difference of neighbours: an upper bound,
            since the signal differs too. Known of `LeastSquares` with values seen one by one.
        spread: standard deviation of the output over that of the observation.
        change: root mean square of output minus start where a value is free, over the standard
            deviation of the observation.

    Shapes:
        - **neighbors, available:** `(*batch,)`
        - **objective:** `(iterates + 1, *batch, graphs, channels)`
        - **floor:** `(*batch, graphs, channels)`
        - **observed, output:** `(*batch, nodes, channels)`
        - **misfit, noise, spread, change:** `(*batch, 1, channels)`

    Example:
        >>> import torch
        >>> from gsp_unroll import GLRUnroll, Graph, Identity, LeastSquares, path_graph
        >>> from gsp_unroll.viz import diagnose
        >>> graph = Graph(path_graph(50), torch.ones(50))
        >>> layer, data = GLRUnroll(cg_steps=3, mu=1.0), LeastSquares(Identity(), torch.rand(50, 2))
        >>> run = diagnose(layer, data, graph).runs[0]
        >>> run.objective.shape, run.misfit.shape
        (torch.Size([4, 1, 2]), torch.Size([1, 2]))
    """

    layer: str
    graph: Graph
    neighbors: Tensor
    available: Tensor
    objective: PerSystem
    floor: PerSystem
    observed: Signal
    output: Signal
    misfit: Tensor
    noise: Tensor
    spread: Tensor
    change: Tensor


@torch.no_grad()
def look_at(
    name: str, layer: QuadraticUnroll | ADMMUnroll, data: DataTerm, graph: Graph, x0: Signal | None
) -> LayerRun:
    """The run of a layer on these data."""
    x0 = data.feasible(start(data, graph.topology) if x0 is None else x0)
    iterates = [x0, *(v if isinstance(v, Tensor) else v.x for v in layer.iterates(data, graph, x0))]
    x = data.feasible(iterates[-1])
    if isinstance(layer, QuadraticUnroll):
        prior = layer.prior(graph)
    else:
        prior = layer.prior(graph, layer.lam(layer.num_iterations - 1))
    t, mask = data.estimate()
    mask = mask.expand(torch.broadcast_shapes(mask.shape, t.shape))
    observed = torch.where(mask, t, torch.nan)
    free = (
        ~mask if data.observed is not None and not isinstance(data, LeastSquares) else mask | True
    )
    deviation = _deviation(observed)
    neighbors, available = _neighbors(graph)
    return LayerRun(
        layer=name,
        graph=graph.detach(),
        neighbors=neighbors,
        available=available,
        objective=objectives(Problem(data, prior), iterates),
        floor=1e-6 * prior.systems.inner(t, t),
        observed=observed,
        output=x,
        misfit=_root_mean_square(torch.where(mask, x - t, torch.nan)),
        noise=_noise(data, graph, observed),
        spread=_deviation(x) / deviation,
        change=_root_mean_square(torch.where(free, x - x0, torch.nan)) / deviation,
    )


def _neighbors(graph: Graph) -> tuple[Tensor, Tensor]:
    topology, weight = graph.topology, graph.weight
    alike = Graph.unchecked(topology, topology.mask_edges(torch.ones_like(weight)))
    joined = alike.degree > 0
    held = (graph.degree > NO_WEIGHT * alike.degree) & joined
    share = held.sum(-1) / joined.sum(-1)
    return (effective_neighbors(graph) * share).nan_to_num(0.0), effective_neighbors(alike)


def _noise(data: DataTerm, graph: Graph, observed: Signal) -> Tensor:
    if data.observed is None or not isinstance(data, LeastSquares):
        return torch.full_like(observed[..., :1, :], torch.nan)
    real = graph.topology.edge_mask.to(observed.device).unsqueeze(-1)
    at_tail, at_head = graph.topology.lift(observed)
    difference = torch.where(real, at_head - at_tail, torch.nan).abs()
    if difference.shape[-2] == 0:
        return torch.full_like(observed[..., :1, :], torch.nan)
    noise = MEDIAN_TO_DEVIATION * difference.nanmedian(-2, keepdim=True).values
    # most neighbours agree to the last bit: no noise to be seen, but not none
    return torch.where(noise > 0, noise, torch.nan)


def _root_mean_square(x: Tensor) -> Tensor:
    return x.square().nanmean(-2, keepdim=True).sqrt()


def _deviation(x: Tensor) -> Tensor:
    return _root_mean_square(x - x.nanmean(-2, keepdim=True))
