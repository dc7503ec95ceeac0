r"""The laws of the library as functions, for classes of your own.

Operators, priors, topologies and learners each have laws. Every function here draws what it needs,
compares the two sides of one, and raises `LawBroken` with the law and by how much it is broken. Use
small sizes and float64: several checks build a dense matrix, and float32 hides a small mistake
behind its rounding.

```python
from gsp_unroll.testing import check_adjoint, check_gram


def test_my_operator():
    A = MyOperator(...)
    check_adjoint(A, (20, 3))  # 20 nodes, 3 channels
    check_gram(A, (20, 3))
```
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from ._checks import check_positive, mistake
from ._typing import EdgeSignal, Signal
from .graph import EdgeList, Graph, Topology, safe_reciprocal
from .graph.convert import to_edge_list
from .learners import GraphLearner
from .operators import LinearOperator
from .problems import Prior

__all__ = [
    "LawBroken",
    "check_adjoint",
    "check_claims",
    "check_diagonal",
    "check_gram",
    "check_learner",
    "check_majorizer",
    "check_metric",
    "check_positive_semidefinite",
    "check_prox",
    "check_topology",
    "dense_matrix",
]

#: How many roundings of the largest number involved a law may be off.
ROUNDINGS = 1000
#: Steps of a power iteration that looks for the largest value of an operator.
POWERS = 30


class LawBroken(AssertionError):
    """A law does not hold. The message says which one, and by how much.

    Example:
        >>> from gsp_unroll import MatrixFree
        >>> from gsp_unroll.testing import LawBroken, check_adjoint
        >>> try:
        ...     check_adjoint(MatrixFree(lambda x: x, lambda y: 2 * y), (2, 1))
        ... except LawBroken:
        ...     print("twice the identity is not the adjoint of the identity")
        twice the identity is not the adjoint of the identity
    """


# ---- operators ------------------------------------------------------------------------------


def check_adjoint(A: LinearOperator, x: Tensor | Sequence[int], y: Tensor | None = None) -> None:
    r"""The adjoint is exact: $\langle Ax,y\rangle=\langle x,A^\top y\rangle$.

    A map that keeps this law for all $x$ and $y$ is linear, so a hidden offset shows as well.

    Args:
        A: the operator.
        x: an input, or the shape `(*batch, nodes, channels)` of three to draw.
        y: an output; drawn if absent.

    Shapes:
        - **x:** `(*batch, nodes, channels)`
        - **y:** as `A @ x`

    Raises:
        LawBroken: the two inner products differ, or `A' y` has no input's shape.

    Example:
        >>> import torch
        >>> from gsp_unroll import MatrixFree
        >>> from gsp_unroll.testing import check_adjoint
        >>> B = torch.tensor([[1.0, 2.0]], dtype=torch.float64)
        >>> check_adjoint(MatrixFree(lambda x: B @ x, lambda y: B.T @ y), (2, 3))
        >>> check_adjoint(MatrixFree(lambda x: B @ x, lambda y: 2 * B.T @ y), (2, 3))
        Traceback (most recent call last):
        ...
        gsp_unroll.testing.LawBroken: <Ax, y> = <x, A'y> for MatrixFree: ...
    """
    for u in [x] if isinstance(x, Tensor) else [_drawn(x) for _ in range(3)]:
        Au = A(u)
        v = torch.randn_like(Au) if y is None else y
        Atv = A.T(v)
        _same_shape(f"A'y looks like x for {_name(A)}", Atv.shape[-2:], u.shape[-2:])
        left, right = Au * v, u * Atv
        scale = left.abs().sum() + right.abs().sum()
        _equal(f"<Ax, y> = <x, A'y> for {_name(A)}", left.sum(), right.sum(), scale)


def check_gram(A: LinearOperator, x: Tensor | Sequence[int]) -> None:
    r"""The Gram operator is what its name says: $A_\mathrm{gram}\,x=A^\top(Ax)$.

    Args:
        A: the operator.
        x: an input, or the shape `(*batch, nodes, channels)` of one to draw.

    Shapes:
        - **x:** `(*batch, nodes, channels)`

    Raises:
        LawBroken: the two sides differ.

    Example:
        >>> from gsp_unroll import Incidence, grid_graph, Graph
        >>> from gsp_unroll.testing import check_gram
        >>> import torch
        >>> topology = grid_graph((3, 3))
        >>> check_gram(Incidence(Graph(topology, torch.rand(topology.num_edges).double())), (9, 2))
    """
    x = _drawn(x)
    _equal(f"gram = T @ self for {_name(A)}", A.gram(x), A.T(A(x)))


def check_positive_semidefinite(
    A: LinearOperator, num_nodes: int, channels: int = 1, dtype: torch.dtype = torch.float64
) -> None:
    r"""The operator is symmetric, and $x^\top Ax\ge0$ for every $x$, by its dense eigenvalues.

    Args:
        A: a square operator.
        num_nodes: nodes of its input.
        channels: channels of its input.
        dtype: type of the signals.

    Raises:
        LawBroken: the matrix is not symmetric or has a negative eigenvalue.

    Example:
        >>> import torch
        >>> from gsp_unroll import Graph, Laplacian, path_graph
        >>> from gsp_unroll.testing import check_positive_semidefinite
        >>> L = Laplacian(Graph(path_graph(3), torch.tensor([1.0, 2.0, 0.0]).double()))
        >>> check_positive_semidefinite(L, num_nodes=3)
    """
    M = dense_matrix(A, num_nodes, channels, dtype)
    _equal(f"A = A' for {_name(A)}", M, M.mT)
    _no_negative_eigenvalue(f"x'Ax >= 0 for {_name(A)}", M)


def check_diagonal(
    A: LinearOperator, num_nodes: int, channels: int = 1, dtype: torch.dtype = torch.float64
) -> None:
    r"""`A.diagonal()` is the diagonal of the matrix: $d_k=e_k^\top Ae_k$.

    Args:
        A: a square operator that knows its diagonal.
        num_nodes: nodes of its input.
        channels: channels of its input.
        dtype: type of the signals.

    Raises:
        LawBroken: the two diagonals differ.
        ValueError: the operator knows no diagonal, so that there is nothing to check.

    Example:
        >>> import torch
        >>> from gsp_unroll import SamplingMask
        >>> from gsp_unroll.testing import check_diagonal
        >>> check_diagonal(SamplingMask(torch.tensor([True, False])), num_nodes=2)
    """
    M = dense_matrix(A, num_nodes, channels, dtype)
    d = _known(A, "diagonal", A.diagonal())
    _equal(f"diagonal() for {_name(A)}", *_on_entries(d, M, num_nodes, channels))


def check_majorizer(
    A: LinearOperator, num_nodes: int, channels: int = 1, dtype: torch.dtype = torch.float64
) -> None:
    r"""`A.majorizer()` bounds the operator: $D\ge0$ and $0\preceq A\preceq2D$.

    The bounded learned solve never moves away from the solution under exactly this condition.

    Args:
        A: a square operator that knows a majorizer.
        num_nodes: nodes of its input.
        channels: channels of its input.
        dtype: type of the signals.

    Raises:
        LawBroken: an entry of $D$, an eigenvalue of $A$ or one of $2D-A$ is negative.
        ValueError: the operator knows no majorizer, so that there is nothing to check.

    Example:
        >>> import torch
        >>> from gsp_unroll import Blur
        >>> from gsp_unroll.testing import check_majorizer
        >>> check_majorizer(Blur((5,), torch.tensor([1.0, 2.0, 1.0])).gram, num_nodes=5)
    """
    M = dense_matrix(A, num_nodes, channels, dtype)
    D, _ = _on_entries(_known(A, "majorizer", A.majorizer()), M, num_nodes, channels)
    if not bool((D >= 0).all()):
        raise LawBroken(f"D >= 0 for {_name(A)}: an entry is {float(D.min()):.3g}.")
    _no_negative_eigenvalue(f"0 <= A for {_name(A)}", M)
    _no_negative_eigenvalue(f"A <= 2 D for {_name(A)}", torch.diag_embed(2 * D) - M)


def dense_matrix(
    A: LinearOperator, num_nodes: int, channels: int = 1, dtype: torch.dtype = torch.float64
) -> Tensor:
    """The matrix of an operator, column by column: $A_{:k}=Ae_k$.

    Rows and columns run over nodes and, faster, over channels.

    Args:
        A: the operator; it may have up to two batch axes of its own.
        num_nodes: nodes of its input.
        channels: channels of its input.
        dtype: type of the signals.

    Shapes:
        - **returns:** `(rows, columns)`, or `(*batch, rows, columns)`

    Returns:
        `(rows, columns)`, or one matrix for each part of an operator with batch axes.

    Example:
        >>> from gsp_unroll import Gradient, path_graph
        >>> from gsp_unroll.testing import dense_matrix
        >>> dense_matrix(Gradient(path_graph(3)), num_nodes=3)
        tensor([[-1.,  1.,  0.],
                [ 0., -1.,  1.],
                [ 0.,  0.,  0.]], dtype=torch.float64)
    """
    size = num_nodes * channels
    columns = A(torch.eye(size, dtype=dtype).reshape(size, 1, 1, num_nodes, channels))
    M = columns.flatten(-2).movedim(0, -1)
    while M.ndim > 2 and M.shape[0] == 1:
        M = M.squeeze(0)
    return M


def _on_entries(d: Tensor, M: Tensor, num_nodes: int, channels: int) -> tuple[Tensor, Tensor]:
    """A diagonal given as a signal and that of the matrix, as vectors of one shape."""
    entries = torch.broadcast_to(d.to(M.dtype), torch.broadcast_shapes(d.shape, (1, channels)))
    entries = entries.expand(*entries.shape[:-2], num_nodes, channels).flatten(-2)
    entries, diagonal = torch.broadcast_tensors(entries, M.diagonal(dim1=-2, dim2=-1))
    return entries, diagonal


def _known(A: LinearOperator, what: str, value: Tensor | None) -> Tensor:
    if value is None:
        raise mistake(
            f"{_name(A)}, which knows no {what}",
            f"an operator whose {what}() is not None",
            "Leave this check out, or write the method.",
        )
    return value


def _no_negative_eigenvalue(law: str, M: Tensor) -> None:
    if not M.numel():
        return
    eigenvalues = torch.linalg.eigvalsh((M + M.mT) / 2)
    allowed = ROUNDINGS * torch.finfo(M.dtype).eps * float(M.abs().max())
    lowest = float(eigenvalues.min())
    if not lowest >= -allowed:
        raise LawBroken(f"{law}: an eigenvalue of the difference to 0 is {lowest:.3g}.")


# ---- priors ---------------------------------------------------------------------------------


def check_prox(
    prior: Prior, z: EdgeSignal, step: float = 1.0, metric: Tensor | None = None
) -> None:
    r"""The proximal map is the minimiser of $g(v)+\tfrac1{2s}\|v-z\|_W^2$.

    For a convex $g$ that is so exactly if, for $v=\mathrm{prox}(z,s)$ and every direction $d$,

    $$g(v+d)\;\ge\;g(v)+\tfrac1s\langle z-v,d\rangle_W .$$

    For a $g$ of weak convexity $\omega$ it may be less by $\tfrac\omega2\|d\|_W^2$, or by
    $\tfrac1{2s}\|d\|_W^2$ if that is less.

    It is tried along every axis, towards zero, towards $z$ and along random directions, forwards
    and backwards, at lengths from 1 to 1e-6 of the size of $z$.

    Args:
        prior: the prior.
        z: an analysis.
        step: $s$, above 0.
        metric: $W$ as numbers that broadcast against `z`; by default that of the prior.

    Shapes:
        - **z:** `(edges, channels)`, or as the `K` of the prior makes it

    Raises:
        LawBroken: a direction along which the objective falls.
        ValueError: a step that is not above 0.

    Example:
        >>> import torch
        >>> from gsp_unroll import GTV, Graph, path_graph
        >>> from gsp_unroll.testing import check_prox
        >>> prior = GTV(Graph(path_graph(3), torch.tensor([1.0, 2.0, 0.0]).double()), lam=0.3)
        >>> check_prox(prior, torch.tensor([[0.2], [-1.0], [0.0]]).double(), step=2.0)
    """
    check_positive(step, "step")
    if metric is None:
        metric = prior.weigh(torch.ones_like(z))
    v = prior.prox(z, step)
    _same_shape(f"prox(z) looks like z for {_name(prior)}", v.shape, z.shape)
    if not z.numel():
        return
    d = torch.cat(list(_directions(v, z)))
    before, after = prior.penalty(v), prior.penalty(v + d)
    curved = torch.as_tensor(prior.weak_convexity).clamp(max=1 / step)
    slope = metric * ((z - v) / step - 0.5 * curved * d) * d
    # term by term before the sum: what a direction leaves alone adds no rounding
    rise = (after - before).flatten(1).sum(1) - slope.flatten(1).sum(1)
    touched = metric * (z.abs() + v.abs()) * d.abs() / step
    size = after.abs().flatten(1).sum(1) + touched.flatten(1).sum(1)
    excess = rise + 10 * torch.finfo(z.dtype).eps * size
    lowest, worst = excess.nan_to_num(nan=-torch.inf).min(0)
    if not float(lowest) >= 0:
        raise LawBroken(
            f"prox(z, {step}) minimises for {_name(prior)}: a move of length "
            f"{float(d[worst].norm()):.3g} breaks the inequality by {-float(rise[worst]):.3g}. "
            "Its distance is that of `weigh`: for a GraphPrior the edge weights, which cancel."
        )


def check_metric(prior: Prior, x: Tensor | Sequence[int]) -> None:
    r"""The parts of a prior are in one metric: $(K^\top WK)x=K^\top W(Kx)$.

    ADMM builds its linear system from `prior.normal` and the right-hand side from
    `prior.pull_back`; if they disagree it converges to another problem's solution.

    Args:
        prior: the prior.
        x: a signal, or the shape `(*batch, nodes, channels)` of one to draw.

    Shapes:
        - **x:** `(*batch, nodes, channels)`

    Where `normal` knows a majorizer $D$, no step of a power iteration finds $x^\top K^\top WKx$
    above $2x^\top Dx$. The bounded learned solve and `DampedJacobi` diverge without that.
    `check_majorizer` proves it on a small graph.

    Raises:
        LawBroken: the two sides differ, or the majorizer is too small.

    Example:
        >>> import torch
        >>> from gsp_unroll import GLR, Graph, path_graph
        >>> from gsp_unroll.testing import check_metric
        >>> check_metric(GLR(Graph(path_graph(3), torch.rand(3).double())), (3, 2))
    """
    x = _drawn(x)
    name, A = _name(prior), prior.normal
    _equal(f"K'WK x = K'W(Kx) for {name}", A(x), prior.pull_back(prior.K(x)))
    D = A.majorizer()
    if D is None or not x.numel():
        return
    _same_shape(f"D x has the shape of x for {name}", (D * x).shape, x.shape)
    for _ in range(POWERS):
        Ax, Dx = A(x), D * x
        law = f"x'K'WKx <= 2 x'Dx for {name}"
        _at_most(law, prior.systems.inner(x, Ax), 2 * prior.systems.inner(x, Dx))
        x = Ax * safe_reciprocal(D)
        x = x / x.abs().max().clamp_min(torch.finfo(x.dtype).tiny)


def check_claims(prior: Prior, x: Tensor | Sequence[int]) -> None:
    r"""What a prior says of itself is so. Duality gaps and the choice of a penalty rely on it.

    - `is_norm`, `has_dual_bound`: $g(-z)=g(z)$, $g(2z)=2g(z)$, $g(a+b)\le g(a)+g(b)$;
    - `weak_convexity`, the number $\omega$:
      $g(\tfrac{a+b}2)\le\tfrac12g(a)+\tfrac12g(b)+\tfrac\omega8\|a-b\|_W^2$;
    - `Q`, `beside`: the value is $\tfrac12x^\top Qx$, or $g(Kx)$ and half of the form beside;
    - `keeps_range`, `has_dual_bound`, `level`: clipping $x$, or $x/s$, raises nothing.

    Args:
        prior: the prior.
        x: a signal, or the shape `(*batch, nodes, channels)` of ten to draw.

    Shapes:
        - **x:** `(*batch, nodes, channels)`

    Raises:
        LawBroken: the first claim that does not hold.

    Example:
        >>> import torch
        >>> from gsp_unroll import GLR, GTV, Graph, path_graph
        >>> from gsp_unroll.testing import check_claims
        >>> graph = Graph(path_graph(4), torch.rand(4).double())
        >>> check_claims(GTV(graph) + GLR(graph), (4, 2))
    """
    name = _name(prior)
    for u in [x] if isinstance(x, Tensor) else [_drawn(x) for _ in range(10)]:
        a = prior.K(u)
        b = torch.randn_like(a)

        def g(z: Tensor) -> Tensor:
            return prior.total(prior.penalty(z))

        if prior.is_norm or prior.has_dual_bound:
            _equal(f"g(-z) = g(z) for {name}", g(-a), g(a))
            _equal(f"g(2z) = 2 g(z) for {name}", g(2 * a), 2 * g(a))
            for c in (b, a * (torch.rand_like(a) < 0.5) - a):
                _at_most(f"g(a + b) <= g(a) + g(b) for {name}", g(a), g(a + c) + g(c))
        apart = prior.total((a - b) * prior.weigh(a - b) * torch.as_tensor(prior.weak_convexity))
        if apart.shape[-1] != g(a).shape[-1]:
            apart = apart.sum(-1, keepdim=True)
        middle = 0.5 * (g(a) + g(b)) + apart / 8
        _at_most(f"g is convex up to weak_convexity for {name}", g((a + b) / 2), middle)

        value = prior(u)
        if prior.Q is not None:
            form = 0.5 * prior.systems.inner(u, prior.Q(u))
            _equal(f"the value is x'Qx / 2 for {name}", value, form)
        elif prior.beside is not None:
            form = 0.5 * prior.systems.inner(u, prior.beside(u))
            _equal(f"the value is g(Kx) and the form beside for {name}", value, g(a) + form)
        for v in (u, _smoothed(prior, u)):
            if prior.level is not None:
                s = torch.where(prior.level == 0, 1, prior.level)
                law = f"clipping x / level raises nothing for {name}"
                _at_most(law, prior(s * _clipped(v / s)), prior(v), prior(u))
            if prior.keeps_range or prior.has_dual_bound:
                law = f"clipping raises nothing for {name}"
                _at_most(law, prior(_clipped(v)), prior(v), prior(u))


def _smoothed(prior: Prior, x: Signal) -> Signal:
    """Near what costs nothing: there is where clipping shows."""
    largest = 0.0
    for _ in range(100):
        v = prior.normal(x)
        if bool(v.any()):
            largest = max(largest, float(v.norm() / x.norm()))
            x = x - v / largest
    return x


def _clipped(x: Signal) -> Signal:
    """The middle of its range."""
    if not x.numel():
        return x
    low, high = float(x.min()), float(x.max())
    return torch.clamp(x, 0.7 * low + 0.3 * high, 0.4 * low + 0.6 * high)


def _directions(v: Tensor, z: Tensor) -> Iterator[Tensor]:
    """Moves away from `v`, stacked along a first axis."""
    size = max(float(z.detach().abs().max()), 1e-3) if z.numel() else 1.0
    axes = torch.eye(v.numel(), dtype=v.dtype, device=v.device).reshape(v.numel(), *v.shape)
    random = torch.randn(8, *v.shape, dtype=v.dtype, device=v.device)
    ways = torch.cat([axes, random, -v.unsqueeze(0), (z - v).unsqueeze(0)])
    for k in range(7):
        length = size * 10.0**-k
        yield length * ways
        yield -length * ways


# ---- topologies -----------------------------------------------------------------------------


def check_topology(topology: Topology) -> None:
    r"""A structure tells the truth: it equals the list of its edges in all that it computes.

    In particular $\langle\mathrm{grad}\,x,z\rangle=\langle x,\mathrm{div}\,z\rangle$ and
    $L=\mathrm{div}\,\mathrm{diag}(w)\,\mathrm{grad}$, with derivatives; padded slots are neither
    read nor written; no edge leads from one independent system to another; a learner gets the
    tail of each edge as `_j` and the head as `_i`.

    Args:
        topology: a structure of at least one node.

    Raises:
        LawBroken: the first law that does not hold.

    Example:
        >>> from gsp_unroll import grid_graph
        >>> from gsp_unroll.testing import check_topology
        >>> check_topology(grid_graph((3, 4), window=5))
    """
    _check_edge_index(topology)
    n, m = topology.num_nodes, topology.num_edges
    tail, head = topology.edge_index
    kept = topology.edge_mask.nonzero().squeeze(-1)
    listed = EdgeList(topology.edge_index[:, kept], n, topology.systems.batch, topology.directed)
    x, z, g = _drawn((2, n, 2)), _drawn((2, m, 2)), _drawn((2, n, 2))
    w = torch.rand(2, m, dtype=x.dtype) + 0.1
    inside = topology.edge_mask.unsqueeze(-1)
    spoiled_z, spoiled_w = z.masked_fill(~inside, torch.nan), w.masked_fill(~inside.mT, torch.nan)
    name = _name(topology)

    for end, lifted, at in zip(("tail", "head"), topology.lift(x), (tail, head), strict=True):
        expected = torch.where(inside, x.index_select(-2, at), 0)
        _equal(
            f"lift reads the {end} of every edge, and 0 on padded slots, for {name}",
            lifted,
            expected,
        )
    _equal(f"gradient = head - tail for {name}", topology.gradient(x)[:, kept], listed.gradient(x))
    for method in ("tail_sum", "head_sum", "divergence", "incident_sum"):
        actual = getattr(topology, method)(spoiled_z)
        _equal(
            f"{method} of the list of edges for {name}", actual, getattr(listed, method)(z[:, kept])
        )
    _equal(
        f"degree of the list of edges for {name}",
        topology.degree(spoiled_w),
        listed.degree(w[:, kept]),
    )
    _equal(f"mask_edges for {name}", topology.mask_edges(spoiled_w), torch.where(inside.mT, w, 0))
    _equal(
        f"L = div w grad for {name}",
        topology.laplacian(spoiled_w, x),
        listed.laplacian(w[:, kept], x),
    )
    tent = topology.tent(x)
    _same_shape(f"one tent weight per edge for {name}", tent.shape, (m,))
    _equal(f"tent is 0 on padded slots for {name}", topology.mask_edges(tent), tent)
    _check_derivatives(topology, listed, w, x, g)

    learned = topology.update_edges(_BothEnds(), x)
    expected = listed.update_edges(_BothEnds(), x)
    _equal(f"_j is the tail and _i the head for {name}", learned[..., kept], expected)


def _check_edge_index(topology: Topology) -> None:
    e, n, name = topology.edge_index, topology.num_nodes, _name(topology)
    _same_shape(f"edge_index has a column per edge for {name}", e.shape, (2, topology.num_edges))
    if e.dtype != torch.int64:
        raise LawBroken(f"edge_index is int64 for {name}: it is {e.dtype}.")
    if e.numel() and not 0 <= int(e.min()) <= int(e.max()) < n:
        raise LawBroken(f"edge_index names nodes 0 to {n - 1} for {name}: {e.min()} to {e.max()}.")
    if not torch.equal(topology.edge_mask, e[0] != e[1]):
        raise LawBroken(f"a padded slot is a self-loop, and nothing else is, for {name}.")
    kept = e[:, topology.edge_mask]
    ends = kept if topology.directed else kept.sort(0).values
    repeated = kept.shape[1] - ends.unique(dim=1).shape[1]
    if repeated:
        raise LawBroken(f"every edge is stored once for {name}: {repeated} are not.")
    systems = topology.systems
    number = systems.spread(torch.arange(systems.num_graphs).unsqueeze(-1)).expand(n, 1)
    if not torch.equal(number[kept[0]], number[kept[1]]):
        raise LawBroken(f"no edge leads from one system to another for {name}.")


def _check_derivatives(
    topology: Topology, listed: EdgeList, w: Tensor, x: Tensor, g: Tensor
) -> None:
    """The derivatives of the Laplacian product, against those of the edge list."""
    found = []
    for structure, weight in ((topology, w), (listed, w[:, topology.edge_mask])):
        inputs = weight.clone().requires_grad_(), x.clone().requires_grad_()
        found.append(torch.autograd.grad(structure.laplacian(*inputs), inputs, g))
    (by_w, by_x), (expected_w, expected_x) = found
    _equal(f"derivative of Lx by x for {_name(topology)}", by_x, expected_x)
    _equal(f"derivative of Lx by w for {_name(topology)}", by_w[:, topology.edge_mask], expected_w)
    if bool(by_w[:, ~topology.edge_mask].any()):
        raise LawBroken(f"no derivative by padded weights for {_name(topology)}.")


class _BothEnds:
    """A learner that tells the two ends of an edge apart."""

    def edge_update(self, features_i: Tensor, features_j: Tensor) -> Tensor:
        return (features_i - features_j.square()).sum(-1)

    def edge_updater(self, edge_index: Tensor, features: Tensor) -> Tensor:
        tail, head = edge_index
        return self.edge_update(features.index_select(-2, head), features.index_select(-2, tail))


# ---- learners -------------------------------------------------------------------------------


def check_learner(learner: GraphLearner, features: Signal, topology: Topology) -> None:
    """A learned graph is a graph, and depends on nothing but the features at its edges.

    Weights are non-negative, finite, one per edge, and zero on padded slots; the numbers of nodes
    and edges, the orientation of an undirected edge and its storage do not matter; a batch gives
    what each item gives alone; every parameter has a finite derivative, not all zero.

    Args:
        learner: the learner.
        features: features it accepts on this topology, not all alike; no batch axis (with heads,
            the head axis only).
        topology: a structure with at least one edge.

    Shapes:
        - **features:** `(nodes, D)` or `(heads, nodes, D)`

    Raises:
        LawBroken: the first law that does not hold.

    Example:
        >>> import torch
        >>> from gsp_unroll import MahalanobisLearner, grid_graph
        >>> from gsp_unroll.testing import check_learner
        >>> learner = MahalanobisLearner(num_features=2).double()
        >>> check_learner(learner, torch.rand(9, 2).double(), grid_graph((3, 3)))
    """
    name = _name(learner)
    graph = learner(features, topology)
    weight = graph.weight.detach()
    _same_shape(
        f"one weight per edge (and head) for {name}",
        weight.shape,
        (*features.shape[:-2], graph.topology.num_edges),
    )
    if not bool(weight.isfinite().all()):
        raise LawBroken(f"finite weights for {name}: {int((~weight.isfinite()).sum())} are not.")
    if not bool((weight >= 0).all()):
        raise LawBroken(
            f"weights of 0 or more for {name}: the lowest is {float(weight.min()):.3g}."
        )
    if bool(weight[..., ~graph.topology.edge_mask].any()):
        raise LawBroken(f"weights of 0 on padded slots for {name}.")

    both = learner(torch.stack([features, features.flip(-2)]), topology).weight
    _equal(f"batch = alone for {name}", both[0], weight)
    _equal(f"batch = alone for {name}", both[1], learner(features.flip(-2), topology).weight)

    listed = to_edge_list(topology)
    expected = to_edge_list(graph).weight
    _equal(
        f"{_name(topology)} = its list of edges for {name}",
        _weights_on(learner, features, listed),
        expected,
    )
    last = topology.num_nodes - 1
    renumbered = EdgeList(
        last - listed.edge_index.flip(1),
        topology.num_nodes,
        None if listed.batch is None else listed.batch.flip(0),
        listed.directed,
    )
    moved = _weights_on(learner, features.flip(-2), renumbered)
    # "row" lists all edges and then all of their reverses
    moved = moved.unflatten(-1, (-1, listed.num_edges)).flip(-1).flatten(-2)
    _equal(f"the numbers of nodes and edges do not matter for {name}", moved, expected)
    if not graph.topology.directed:
        turned = _weights_on(learner, features, listed.reversed())
        _equal(f"the orientation of an edge does not matter for {name}", turned, expected)
    _check_parameters(learner, graph)


def _weights_on(learner: GraphLearner, features: Signal, listed: EdgeList) -> Tensor:
    weight: Tensor = to_edge_list(learner(features, listed)).weight
    return weight


def _check_parameters(learner: GraphLearner, graph: Graph) -> None:
    names = [key for key, p in learner.named_parameters() if p.requires_grad]
    parameters = [p for p in learner.parameters() if p.requires_grad]
    if not parameters:
        return
    # random factors: the sum of normalised weights may not depend on any parameter
    total = (graph.weight * torch.randn_like(graph.weight)).sum()
    if not total.requires_grad:
        raise LawBroken(f"parameters of {_name(learner)} move the weights: none of them does.")
    derivatives = torch.autograd.grad(total, parameters, allow_unused=True)
    for key, derivative in zip(names, derivatives, strict=True):
        if derivative is None or not bool(derivative.any()):
            raise LawBroken(f"parameter {key} of {_name(learner)} moves the weights: it does not.")
        if not bool(derivative.isfinite().all()):
            raise LawBroken(f"the derivative by {key} of {_name(learner)} is finite: it is not.")


# ---- comparing ------------------------------------------------------------------------------


def _drawn(x: Tensor | Sequence[int]) -> Tensor:
    return x if isinstance(x, Tensor) else torch.randn(*x, dtype=torch.float64)


def _name(thing: Any) -> str:
    return type(thing).__name__


def _same_shape(law: str, actual: Sequence[int], expected: Sequence[int]) -> None:
    if tuple(actual) != tuple(expected):
        raise LawBroken(f"{law}: shape {tuple(actual)}, expected {tuple(expected)}.")


def _at_most(law: str, actual: Tensor, limit: Tensor, scale: Tensor | None = None) -> None:
    """No number is above its limit by more than rounding at the given scale, that of the limit
    unless told."""
    actual, limit = torch.broadcast_tensors(actual.detach(), limit.detach())
    if not actual.numel():
        return
    size = float((limit if scale is None else scale).detach().abs().max())
    allowed = ROUNDINGS * torch.finfo(limit.dtype).eps * size
    excess = float((actual - limit).max())
    if not excess <= allowed:
        raise LawBroken(f"{law}: above it by {excess:.3g}, where rounding explains {allowed:.3g}.")


def _equal(law: str, actual: Tensor, expected: Tensor, scale: Tensor | None = None) -> None:
    """Both sides agree up to rounding at the given scale, their own size unless told."""
    _same_shape(law, actual.shape, expected.shape)
    if not actual.numel():
        return
    actual, expected = actual.detach(), expected.detach()
    size = float(expected.abs().max() if scale is None else scale.detach())
    allowed = ROUNDINGS * torch.finfo(expected.dtype).eps * size
    error = float((actual - expected).abs().max())
    if not error <= allowed:  # written so that NaN is an error too
        raise LawBroken(f"{law}: off by {error:.3g}, where rounding explains {allowed:.3g}.")
