"""The races on graphs without a lattice, which two claims share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import _peers as peers
import torch
from _race import OURS, Candidate, Race
from torch import Tensor

from gsp_unroll import EdgeList

FORWARD = "forward"
TRAINING = "forward and backward"


def races(topology: EdgeList, channels: int = 3) -> Mapping[str, Race]:
    """`L x`, and `L x` with its gradients in `x` and `w`, for random weights."""
    w = torch.rand(topology.num_edges)
    x = torch.randn(topology.num_nodes, channels)
    g = torch.randn_like(x)
    edges = peers.Edges.of(topology, w)
    both = edges.weight_both_ways

    def mkl_csr() -> Candidate:
        product = peers.mkl_csr(edges)
        return Candidate(lambda: product(x))

    def scipy_csr() -> Candidate:
        L, signal = edges.laplacian, x.numpy()
        return Candidate(lambda: L @ signal, view=lambda y: [torch.from_numpy(y)])

    def merged(grad_x: Tensor, grad_w: Tensor) -> Sequence[Tensor]:
        return grad_x, edges.merged(grad_w)

    def adjacency_form() -> peers.Product:
        return peers.message_passing(edges, adjacency_form=True)

    def compiled() -> peers.Product:
        return peers.compiled(peers.index_add(edges))

    forward = {
        OURS: lambda: peers.forward(peers.ours(topology), x, w),
        peers.PYG: lambda: peers.forward(peers.message_passing(edges), x, both),
        peers.PYG_ADJACENCY: lambda: peers.forward(adjacency_form(), x, both),
        peers.HALF_EDGES: lambda: peers.forward(peers.half_edges(edges), x, w),
        peers.COMPILED_EDGES: lambda: peers.forward(compiled(), x, both),
        peers.MKL: mkl_csr,
        peers.SCIPY: scipy_csr,
    }
    together = peers.forward_and_backward
    training = {
        OURS: lambda: together(peers.ours(topology), x, w, g),
        peers.PYG: lambda: together(peers.message_passing(edges), x, both, g, merged),
        peers.PYG_ADJACENCY: lambda: together(adjacency_form(), x, both, g, merged),
        peers.HALF_EDGES: lambda: together(peers.half_edges(edges), x, w, g),
        peers.COMPILED_EDGES: lambda: together(compiled(), x, both, g, merged),
    }
    return {FORWARD: Race(forward, tolerance=1e-4), TRAINING: Race(training, tolerance=1e-4)}
