"""A first estimate for a solver to start from."""

from __future__ import annotations

import torch

from .._checks import check_positive_count
from .._typing import Signal
from ..graph import Graph, Topology, safe_reciprocal
from ..operators import Adjacency, Laplacian
from .data_terms import DataTerm


def start(data: DataTerm, topology: Topology, sweeps: int = 4) -> Signal:
    r"""Known values kept, the others filled from their neighbours: $x^0$.

    An unknown node takes the average of the known values around it, weighted by the topology's
    `tent`: on a grid the separable linear kernel $\prod_a(1-|o_a|/(r_a+1))$ of the window, on any
    other graph equal weights. After `sweeps` rounds, what is still unknown takes the mean of its
    graph's samples; with no sample at all, 0.

    A constant observation gives a constant start. That matters: a truncated solve that starts from
    zero does not return constants.

    Args:
        data: the observation.
        topology: the edges to average over.
        sweeps: rounds of filling, at least 1; each reaches one neighbourhood further.

    Shapes:
        - **data.y:** `(*batch, nodes, channels)`
        - **output:** `(*batch, nodes, channels)`, or with more batch axes if the mask has them

    Raises:
        ValueError: `sweeps` below 1; data on another number of nodes than the topology.

    Source:
        Do et al. 2024, appendix A.8 (5x5 linear interpolation), for one sweep on a 5x5 window.

    Example:
        >>> import torch
        >>> from gsp_unroll import Interpolation, SamplingMask, path_graph, start
        >>> y = torch.tensor([[1.0], [torch.nan], [3.0]])
        >>> start(Interpolation(SamplingMask(~y.isnan()), y), path_graph(3)).flatten()
        tensor([1., 2., 3.])
    """
    check_positive_count(sweeps, "sweeps")
    samples, observed = data.estimate()
    x, known = samples, observed
    topology.check_signal(x, "restored signal")
    if known.ndim == 0:  # everything was observed
        return x
    graph = Graph.unchecked(topology, topology.tent(x))
    # What is zero at a node has there the sum over neighbours -Lx, and L has kernels.
    around = Adjacency(graph) if topology.directed else Laplacian(graph).scaled(-1.0)
    for _ in range(sweeps):
        count = torch.where(known, 0, around(known.to(x.dtype)))
        average = around(torch.where(known, x, 0)) * safe_reciprocal(count)
        x = torch.where(known, x, average)
        known = known | (count > 0)
    systems = topology.systems
    count = systems.total(observed.to(x.dtype).expand(*observed.shape[:-2], *x.shape[-2:]))
    mean = systems.total(torch.where(observed, samples, 0)) * safe_reciprocal(count)
    return torch.where(known, x, systems.spread(mean))
