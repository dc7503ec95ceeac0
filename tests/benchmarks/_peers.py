"""What the package is compared with, each in the best form we know for it.

Every builder raises `Missing` where its package is not installed. Signals are `(nodes, channels)`
unless a docstring says otherwise, and the Laplacian is taken in difference form, `w (x_i - x_j)`,
as the package does, unless the row says "adjacency form".
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from _race import Candidate, Missing, need
from torch import Tensor

from gsp_unroll import Graph, GTVUnroll, Laplacian, Topology, grid_graph

warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
warnings.filterwarnings("ignore", category=DeprecationWarning)

#: `L x` from the signal and the weights that a builder asks for.
Product = Callable[[Tensor, Tensor], Tensor]

PYG = "PyG MessagePassing"
PYG_ADJACENCY = "PyG MessagePassing, adjacency form"
HALF_EDGES = "half-edges, 2 x index_add_"
COMPILED_EDGES = "torch.compile of index_add_"
COMPILED_SLICES = "torch.compile of flat slices"
MKL = "MKL CSR, L prebuilt"
SCIPY = "SciPy CSR, L prebuilt, 1 thread"
STACK = "pad + stack + einsum"
SLICES = "flat slices under autograd"

PROX_TV = "apt-get install liblapacke-dev, then pip install --no-build-isolation prox_tv"
CHOLMOD = "apt-get install libsuitesparse-dev, then pip install 'scikit-sparse<0.5'"


# ---- graphs -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Edges:
    """A weighted undirected graph the way edge-list code wants it.

    Args:
        tail: `(edges,)`, one end of every edge, each edge once.
        head: `(edges,)`, the other end.
        weight: `(edges,)`.
        num_nodes: number of nodes.
    """

    tail: Tensor
    head: Tensor
    weight: Tensor
    num_nodes: int

    @classmethod
    def of(cls, topology: Topology, weight: Tensor) -> Edges:
        """Those of the package's topology, without its padded slots."""
        real = topology.edge_mask
        tail, head = topology.edge_index[:, real]
        return cls(tail, head, weight[real], topology.num_nodes)

    @cached_property
    def order(self) -> Tensor:
        """Both directions of all edges, as numbers below `2 * edges`, sorted by row and column."""
        row, col = torch.cat([self.head, self.tail]), torch.cat([self.tail, self.head])
        return torch.argsort(row * self.num_nodes + col)

    @cached_property
    def both_ways(self) -> Tensor:
        """PyG's `edge_index`: sources above targets, sorted by target."""
        source, target = torch.cat([self.tail, self.head]), torch.cat([self.head, self.tail])
        return torch.stack([source, target])[:, self.order]

    @cached_property
    def weight_both_ways(self) -> Tensor:
        """The weight of every column of `both_ways`."""
        return self.weight.repeat(2)[self.order]

    def merged(self, both: Tensor) -> Tensor:
        """Values of `both_ways` added back onto the undirected edges."""
        each = torch.empty_like(both)
        each[self.order] = both
        return each.view(2, -1).sum(0)

    @cached_property
    def adjacency(self) -> sp.csr_matrix:
        """The symmetric weight matrix."""
        source, target = self.both_ways.numpy()
        shape = (self.num_nodes, self.num_nodes)
        return sp.csr_matrix((self.weight_both_ways.numpy(), (target, source)), shape)

    @cached_property
    def laplacian(self) -> sp.csr_matrix:
        """`D - W`."""
        W = self.adjacency
        return (sp.diags(np.asarray(W.sum(1)).ravel().astype(W.dtype)) - W).tocsr()

    @cached_property
    def incidence(self) -> sp.csr_matrix:
        """`diag(w) grad`, one row per edge."""
        edge = np.arange(self.tail.numel())
        w = self.weight.numpy()
        ends = np.r_[self.head.numpy(), self.tail.numpy()]
        shape = (edge.size, self.num_nodes)
        return sp.csr_matrix((np.r_[w, -w], (np.r_[edge, edge], ends)), shape)


@dataclass(frozen=True)
class GridProblem:
    """A window grid with random weights: ours, and the same as edges and as shifted planes."""

    side: int
    channels: int
    window: int = 5

    @cached_property
    def topology(self) -> Any:
        return grid_graph((self.side, self.side), window=self.window)

    @cached_property
    def weight(self) -> Tensor:
        return self.topology.mask_edges(torch.rand(self.topology.num_edges))

    @cached_property
    def x(self) -> Tensor:
        return torch.randn(self.topology.num_nodes, self.channels)

    @cached_property
    def edges(self) -> Edges:
        return Edges.of(self.topology, self.weight)

    @property
    def planes(self) -> Tensor:
        """The signal as `(1, channels, nodes)`."""
        return self.x.T.contiguous().unsqueeze(0)

    @property
    def plane_weight(self) -> Tensor:
        """The weights as `(1, offsets, nodes)`, 0 where an edge leaves the image."""
        return self.weight.view(1, -1, self.topology.num_nodes).clone()

    @property
    def shifts(self) -> list[int]:
        """From tail to head of each offset, in numbers of nodes."""
        return [dy * self.side + dx for dy, dx in self.topology.offsets]


def road_like(num_nodes: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Ends of `2 * num_nodes` edges, so degree 4: the shortest of a Delaunay triangulation."""
    from scipy.spatial import Delaunay

    points = np.random.default_rng(seed).random((num_nodes, 2))
    # in int64: SciPy's ids are 32 bits wide, and row * nodes + column is not
    corners = Delaunay(points).simplices.astype(np.int64)
    sides = np.concatenate([corners[:, [0, 1]], corners[:, [1, 2]], corners[:, [0, 2]]])
    sides = np.unique(np.sort(sides, 1), axis=0)
    length = np.linalg.norm(points[sides[:, 0]] - points[sides[:, 1]], axis=1)
    kept = sides[np.sort(np.argsort(length)[: 2 * num_nodes])]
    return torch.from_numpy(kept[:, 0].copy()), torch.from_numpy(kept[:, 1].copy())


# ---- one product y = L x ------------------------------------------------------------------------


def ours(topology: Topology) -> Product:
    """The package's Laplacian, by its public door."""
    return lambda x, w: Laplacian(Graph.unchecked(topology, w)) @ x


def message_passing(edges: Edges, *, adjacency_form: bool = False) -> Product:
    """PyG's layer; the weights are those of `edges.both_ways`.

    The adjacency form gathers one end of every edge instead of two, for twice the rounding error.
    """
    layers = need("torch_geometric.nn")

    class Difference(layers.MessagePassing):
        def __init__(self) -> None:
            super().__init__(aggr="add")

        def forward(self, x: Tensor, edge_index: Tensor, w: Tensor) -> Tensor:
            return self.propagate(edge_index, x=x, w=w)

        def message(self, x_i: Tensor, x_j: Tensor, w: Tensor) -> Tensor:
            return w.unsqueeze(-1) * (x_i - x_j)

    class Neighbours(layers.MessagePassing):
        def __init__(self) -> None:
            super().__init__(aggr="add")

        def forward(self, x: Tensor, edge_index: Tensor, w: Tensor) -> Tensor:
            return self.propagate(edge_index, x=x, w=w)

        def message(self, x_j: Tensor, w: Tensor) -> Tensor:
            return w.unsqueeze(-1) * x_j

    index = edges.both_ways
    if not adjacency_form:
        difference = Difference()
        return lambda x, w: difference(x, index, w)
    neighbours, target = Neighbours(), index[1]

    def product(x: Tensor, w: Tensor) -> Tensor:
        degree = w.new_zeros(edges.num_nodes).index_add(0, target, w)
        return degree.unsqueeze(-1) * x - neighbours(x, index, w)

    return product


def half_edges(edges: Edges) -> Product:
    """Each edge once, its flow added at one end and taken at the other."""
    tail, head = edges.tail, edges.head

    def product(x: Tensor, w: Tensor) -> Tensor:
        flow = w.unsqueeze(-1) * (x.index_select(0, head) - x.index_select(0, tail))
        zero = torch.zeros_like(x)
        return zero.index_add(0, head, flow).index_add(0, tail, -flow)

    return product


def index_add(edges: Edges) -> Product:
    """Each edge in both directions; the weights are those of `edges.both_ways`."""
    source, target = edges.both_ways

    def product(x: Tensor, w: Tensor) -> Tensor:
        flow = w.unsqueeze(-1) * (x.index_select(0, target) - x.index_select(0, source))
        return torch.zeros_like(x).index_add(0, target, flow)

    return product


def flat_slices(shifts: Sequence[int]) -> Product:
    """Shifted slices of flat planes `(*batch, channels, nodes)`, weights `(*batch, offsets, nodes)`
    with zeros where an edge would leave the image: what autograd can differentiate by itself."""

    def product(x: Tensor, w: Tensor) -> Tensor:
        y = torch.zeros_like(x)
        for k, shift in enumerate(shifts):
            near, far = x[..., : x.shape[-1] - shift], x[..., shift:]
            flow = w[..., k : k + 1, : near.shape[-1]] * (far - near)
            y = y + F.pad(flow, (shift, 0)) - F.pad(flow, (0, shift))
        return y

    return product


def compiled(product: Product) -> Product:
    """The same by `torch.compile`, one specialised kernel for this shape."""
    torch._dynamo.config.suppress_errors = False
    return torch.compile(product, dynamic=False)


def stacked(side: int, offsets: Sequence[tuple[int, int]], reach: int) -> Product:
    """The form of published code: pad, stack all shifted copies, one contraction.

    Signals `(1, channels, side, side)`, weights `(1, neighbours, side, side)` with both directions.
    """

    def product(x: Tensor, w: Tensor) -> Tensor:
        padded = F.pad(x, (reach,) * 4)
        shifted = [
            padded[..., reach + dy : reach + dy + side, reach + dx : reach + dx + side]
            for dy, dx in offsets
        ]
        around = torch.einsum("pcehw,pehw->pchw", torch.stack(shifted, 2), w)
        return x * w.sum(1, keepdim=True) - around

    return product


def stacked_weight(grid: GridProblem) -> tuple[list[tuple[int, int]], Tensor]:
    """All offsets of the window, and the weights at both ends of every edge."""
    side, half = grid.side, grid.plane_weight.view(-1, grid.side, grid.side)
    offsets = list(grid.topology.offsets)
    back = torch.zeros_like(half)
    for k, shift in enumerate(grid.shifts):
        back[k].view(-1)[shift:] = half[k].reshape(-1)[: side * side - shift]
    every = [*offsets, *((-dy, -dx) for dy, dx in offsets)]
    return every, torch.cat([half, back]).unsqueeze(0)


def mkl_csr(edges: Edges) -> Callable[[Tensor], Tensor]:
    """`L @ x` of torch's CSR tensors, `L` built beforehand; no gradient to `w` comes of it.

    Indices of 32 bits, for which torch hands them to MKL as they are; with 64 it converts them at
    every product, which takes half as long again.
    """
    if not torch.backends.mkl.is_available():
        raise Missing("this torch was built without MKL")
    L = edges.laplacian
    index = [torch.from_numpy(part.astype(np.int32)) for part in (L.indptr, L.indices)]
    data = torch.from_numpy(L.data)
    matrix = torch.sparse_csr_tensor(*index, data, L.shape, check_invariants=False)
    return lambda x: matrix @ x


# ---- candidates made of them --------------------------------------------------------------------


def forward(product: Product, x: Tensor, w: Tensor, **details: Any) -> Candidate:
    """The product without a gradient."""

    def run() -> Tensor:
        with torch.no_grad():
            return product(x, w)

    return Candidate(run, **details)


def forward_and_backward(
    product: Product,
    x: Tensor,
    w: Tensor,
    g: Tensor,
    view: Callable[[Tensor, Tensor], Sequence[Tensor]] | None = None,
    **details: Any,
) -> Candidate:
    """The product and its gradients in `x` and `w`, for the gradient `g` of its output."""
    x, w = x.clone().requires_grad_(), w.clone().requires_grad_()

    def run() -> tuple[Tensor | None, Tensor | None]:
        x.grad = w.grad = None
        product(x, w).backward(g)
        return x.grad, w.grad

    return Candidate(run, view=None if view is None else lambda both: view(*both), **details)


def from_planes(y: Tensor) -> list[Tensor]:
    """`(1, channels, *nodes)` as the package's `(nodes, channels)`."""
    return [y.flatten(2)[0].T]


# ---- the unrolled total variation, written for autograd -----------------------------------------


class EdgeSpace(Protocol):
    """Maps between nodes and edges for one layout of `planes` independent signals."""

    def gradient(self, x: Tensor) -> Tensor: ...
    def divergence(self, z: Tensor) -> Tensor: ...
    def laplacian(self, w: Tensor, x: Tensor) -> Tensor: ...
    def weigh(self, w: Tensor, z: Tensor) -> Tensor: ...
    def incident_sum(self, w: Tensor) -> Tensor: ...
    def per_plane(self, numbers: Tensor, like: Tensor) -> Tensor: ...


class EdgeListSpace:
    """All planes in one edge list, as PyG batches graphs: signals `(planes * nodes, channels)`.

    Args:
        edges: those of one plane.
        planes: number of planes.
        fancy: gather with `x[index]`, as most published code does, and not with `index_select`.
    """

    def __init__(self, edges: Edges, planes: int, *, fancy: bool = False) -> None:
        first = torch.arange(planes).unsqueeze(-1) * edges.num_nodes
        self.tail, self.head = ((first + end).reshape(-1) for end in (edges.tail, edges.head))
        self.planes, self.num_nodes, self.fancy = planes, planes * edges.num_nodes, fancy

    def take(self, x: Tensor, index: Tensor) -> Tensor:
        return x[index] if self.fancy else x.index_select(0, index)

    def gradient(self, x: Tensor) -> Tensor:
        return self.take(x, self.head) - self.take(x, self.tail)

    def divergence(self, z: Tensor) -> Tensor:
        zero = z.new_zeros(self.num_nodes, z.shape[-1])
        return zero.index_add(0, self.head, z).index_add(0, self.tail, -z)

    def laplacian(self, w: Tensor, x: Tensor) -> Tensor:
        return self.divergence(w.unsqueeze(-1) * self.gradient(x))

    def weigh(self, w: Tensor, z: Tensor) -> Tensor:
        return w.unsqueeze(-1) * z

    def incident_sum(self, w: Tensor) -> Tensor:
        z = w.unsqueeze(-1)
        zero = z.new_zeros(self.num_nodes, 1)
        return zero.index_add(0, self.head, z).index_add(0, self.tail, z)

    def per_plane(self, numbers: Tensor, like: Tensor) -> Tensor:
        return numbers.repeat_interleave(like.shape[0] // self.planes).unsqueeze(-1)


class SliceSpace:
    """Flat shifted slices: signals `(planes, channels, nodes)`, edge signals with an axis of
    offsets behind the planes, weights `(planes, offsets, nodes)`, 0 off the image."""

    def __init__(self, shifts: Sequence[int]) -> None:
        self.shifts, self.product = shifts, flat_slices(shifts)

    def gradient(self, x: Tensor) -> Tensor:
        return torch.stack([F.pad(x[..., s:], (0, s)) - x for s in self.shifts], 1)

    def divergence(self, z: Tensor) -> Tensor:
        # an edge off the image carries no weight, so its flow, already weighed, is 0
        y = torch.zeros_like(z[:, 0])
        for k, s in enumerate(self.shifts):
            flow = z[:, k]
            y = y + F.pad(flow[..., : flow.shape[-1] - s], (s, 0)) - flow
        return y

    def laplacian(self, w: Tensor, x: Tensor) -> Tensor:
        return self.product(x, w)

    def weigh(self, w: Tensor, z: Tensor) -> Tensor:
        return w.unsqueeze(2) * z

    def incident_sum(self, w: Tensor) -> Tensor:
        degree = w.sum(1)
        for k, s in enumerate(self.shifts):
            degree = degree + F.pad(w[:, k, : w.shape[-1] - s], (s, 0))
        return degree.unsqueeze(1)

    def per_plane(self, numbers: Tensor, like: Tensor) -> Tensor:
        return numbers.view(-1, *[1] * (like.ndim - 1))


def unrolled_gtv(
    space: EdgeSpace, layer: GTVUnroll, images: int, mask: Tensor, t: Tensor, w: Tensor, x: Tensor
) -> Tensor:
    r"""The steps of `layer` for least squares on a mask, in plain torch for autograd.

    The same numbers by the same recurrence. With $z-u=v-2\,\mathrm{clip}(v)$ and
    $u=\mathrm{clip}(v)$ it keeps one edge signal per iteration and not three.

    Args:
        space: layout of the signals.
        layer: whose parameters are used, with heads.
        images: number of images; planes are images times heads.
        mask: 1 where observed, 0 elsewhere.
        t: the observation, 0 where there is none.
        w: edge weights.
        x: start.
    """
    assert layer.log_rho is not None

    def each(numbers: Tensor, like: Tensor) -> Tensor:
        return space.per_plane(numbers.reshape(-1).repeat(images), like)

    degree = space.incident_sum(w)
    u: Tensor | None = None
    for step, solve in enumerate(layer.linear_solves):
        rho, lam = layer.log_rho[step].exp(), layer.log_lam[step].exp()
        v = space.gradient(x)
        if u is not None:  # a new penalty leaves the dual rho u in place
            v = v + u * each(layer.log_rho[step - 1].exp() / rho, u)
        threshold = each(lam / rho, v)
        u = torch.minimum(torch.maximum(v, -threshold), threshold)
        strength = each(rho, x)
        b = t + strength * space.divergence(space.weigh(w, v - 2 * u))
        scale = 1 / (mask + strength * degree)
        alpha, beta = solve.coefficients()
        r = b - mask * x - strength * space.laplacian(w, x)
        p = scale * r
        for k, momentum in enumerate(beta):
            move = each(alpha[k], x)
            x = x + move * p
            r = r - move * (mask * p + strength * space.laplacian(w, p))
            p = scale * r + each(momentum, x) * p
        x = x + each(alpha[-1], x) * p
    return x
