"""What a hostile caller may bring: signals of any shape, layout and size of number, graphs of any
kind of edge, well formed and not."""

import torch
from hypothesis import strategies as st

from gsp_unroll.graph import EdgeList, Graph, grid_graph, knn_graph, path_graph

DTYPES = st.sampled_from([torch.float64, torch.float32])
#: The largest size of number that is drawn: its square overflows, 1000 of them do not.
HUGE = {torch.float64: 1e300, torch.float32: 1e30}
#: The smallest: its square underflows.
TINY = {torch.float64: 1e-300, torch.float32: 1e-30}
SIZES = st.sampled_from(["ordinary", "constant", "zero", "huge", "tiny", "mixed"])
TAME = st.sampled_from(["ordinary", "constant", "zero"])
LAYOUTS = st.sampled_from(["contiguous", "transposed", "every second", "offset"])


def numbers(draw, shape, dtype, size):
    """Values of this size, either sign."""
    random = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    x = 2 * torch.rand(*shape, generator=random, dtype=torch.float64).to(dtype) - 1
    if size == "constant":
        return torch.full_like(x, draw(st.sampled_from([1.0, -0.1, 1e6])))
    if size == "mixed":
        exponent = 40 * torch.rand(*shape, generator=random, dtype=torch.float64) - 20
        return (x * 10**exponent).to(dtype)
    return x * {"ordinary": 1.0, "zero": 0.0, "huge": HUGE[dtype], "tiny": TINY[dtype]}[size]


def laid_out(x, layout):
    """The same values elsewhere in memory; what lies between them is NaN."""
    if layout == "transposed":
        return x.mT.contiguous().mT
    if layout == "every second":
        return torch.stack([x, torch.full_like(x, torch.nan)], -1)[..., 0]
    if layout == "offset":
        room = torch.full((x.numel() + 3,), torch.nan, dtype=x.dtype)
        room[3:] = x.reshape(-1)
        return room[3:].view(x.shape)
    return x


@st.composite
def signals(draw, nodes, dtype, *, sizes=SIZES, channels=None, batch=True):
    """Finite values `(*batch, nodes, channels)`, any axis of which may be empty."""
    lead = draw(st.lists(st.integers(0, 2), max_size=2)) if batch else []
    shape = [*lead, nodes, draw(st.integers(0, 3)) if channels is None else channels]
    x = numbers(draw, shape, dtype, draw(sizes))
    x = laid_out(x, draw(LAYOUTS))
    if lead and x.shape[0] and draw(st.booleans()):
        x = x[:1].expand(2, *x.shape[1:])  # two items in one memory
    return x


def spoilt(draw, x, what=(float("nan"), float("inf"), -float("inf"))):
    """`x` with some of its values replaced."""
    x = x.clone(memory_format=torch.contiguous_format)
    places = draw(st.lists(st.integers(0, max(x.numel() - 1, 0)), max_size=4))
    for place in places if x.numel() else []:
        x.view(-1)[place] = draw(st.sampled_from(what))
    return x


@st.composite
def masks(draw, nodes, channels=1):
    random = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    share = draw(st.sampled_from([0.0, 0.3, 0.7, 1.0]))
    return torch.rand(nodes, channels, generator=random) < share


# ---- graphs ---------------------------------------------------------------------------------


@st.composite
def points(draw, dtype=torch.float64, dimension=None):
    """Places, some of them copies of others, or all on a line."""
    n, d = draw(st.integers(0, 12)), dimension or draw(st.integers(1, 3))
    p = numbers(draw, [n, d], dtype, draw(st.sampled_from(["ordinary", "constant", "mixed"])))
    if n > 2 and draw(st.booleans()):
        p[1::2] = p[0]
    if d > 1 and draw(st.booleans()):
        p[:, 1:] = p[:, :1]
    return laid_out(p, draw(LAYOUTS))


@st.composite
def pairs(draw, n):
    """Edges of an undirected graph on `n` nodes, each once; none where there are too few."""
    every = [(i, j) for i in range(n) for j in range(i)]
    kept = draw(st.lists(st.sampled_from(every), unique=True, max_size=12)) if every else []
    return torch.tensor(kept, dtype=torch.int64).reshape(-1, 2).T


@st.composite
def topologies(draw):
    """Grids of odd sizes, sequences, neighbours, and edge lists: disconnected, empty, batched."""
    kind = draw(st.sampled_from(["grid", "path", "points", "edges", "batch", "nothing"]))
    if kind == "grid":
        shape = draw(st.lists(st.integers(1, 5), min_size=1, max_size=3))
        return grid_graph(shape, window=draw(st.sampled_from([1, 3, 5])))
    if kind == "path":
        return path_graph(draw(st.integers(1, 9)), lags=draw(st.sampled_from([1, 2, (1, 7)])))
    if kind == "points":
        return knn_graph(draw(points()), k=draw(st.integers(1, 4)))
    if kind == "nothing":
        return EdgeList(torch.zeros(2, 0, dtype=torch.int64), draw(st.integers(0, 3)))
    n = draw(st.integers(0, 8))
    e = draw(pairs(n))
    if kind == "edges" or not n:
        return EdgeList(e, n)
    batch = torch.tensor(draw(st.lists(st.integers(0, 3), min_size=n, max_size=n)))
    return EdgeList(e[:, batch[e[0]] == batch[e[1]]], n, batch)


@st.composite
def graphs(draw, dtype, *, sizes=SIZES, batch=False):
    """Weights that a graph may have: 0, far apart, near overflow and underflow."""
    topology = draw(topologies())
    lead = draw(st.lists(st.integers(1, 2), max_size=1)) if batch else []
    w = numbers(draw, [*lead, topology.num_edges], dtype, draw(sizes)).abs()
    if draw(st.booleans()) and w.numel():
        w[..., ::2] = 0
    return Graph(topology, w)


@st.composite
def columns(draw):
    """What may come as PyG's `edge_index`, `edge_weight` and `num_nodes`: also what is refused."""
    n = draw(st.integers(0, 6))
    e = draw(pairs(n))
    e = torch.cat([e, e.flip(0)], 1)
    w = numbers(draw, [e.shape[1] // 2], draw(DTYPES), draw(SIZES)).abs().repeat(2)
    faults = draw(st.lists(st.sampled_from(sorted(FAULTS)), max_size=2))
    for fault in faults:
        e, w, n = FAULTS[fault](e, w, n)
    order = draw(st.permutations(range(e.shape[-1]))) if w.shape == e.shape[1:] else None
    if order is not None and e.ndim == 2:
        e, w = e[:, list(order)], w[list(order)]
    return e, draw(st.sampled_from([w, None])), draw(st.sampled_from([n, None]))


def _with_edge(e, w, edge, weight=1.0):
    if e.ndim != 2 or e.shape[0] != 2:
        return e, w
    more = w.new_full((*w.shape[:-1], 1) if w.ndim == 1 else (1, *w.shape[1:]), weight)
    if max(map(abs, edge)) > torch.iinfo(torch.int32).max and e.dtype == torch.int32:
        e = e.long()
    return torch.cat([e, e.new_tensor(edge).unsqueeze(-1)], 1), torch.cat([w, more])


#: Mistakes in the columns: `(e, w, n) -> (e, w, n)`.
FAULTS = {
    "int32": lambda e, w, n: (e.int(), w, n),
    "floats": lambda e, w, n: (e.float(), w, n),
    "self-loop": lambda e, w, n: (*_with_edge(e, w, (0, 0)), n),
    "one way only": lambda e, w, n: (*_with_edge(e, w, (0, 1)), n),
    "twice": lambda e, w, n: (torch.cat([e, e], -1), torch.cat([w, w]), n),
    "negative node": lambda e, w, n: (*_with_edge(e, w, (-1, 0)), n),
    "node beyond": lambda e, w, n: (*_with_edge(e, w, (0, n)), n),
    "node far beyond": lambda e, w, n: (*_with_edge(e, w, (0, 2**31)), n),
    "negative weight": lambda e, w, n: (e, -w, n),
    "NaN weight": lambda e, w, n: (e, torch.full_like(w, torch.nan, dtype=torch.float64), n),
    "infinite weight": lambda e, w, n: (e, torch.full_like(w, torch.inf, dtype=torch.float64), n),
    "whole weights": lambda e, w, n: (e, w.nan_to_num(0, 0, 0).clamp(-9, 9).long(), n),
    "short weights": lambda e, w, n: (e, w[:-1], n),
    "weights in columns": lambda e, w, n: (e, w.unsqueeze(-1), n),
    "transposed": lambda e, w, n: (e.T, w, n),
    "too few nodes": lambda e, w, n: (e, w, n - 1),
}
