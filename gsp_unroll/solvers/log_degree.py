"""A graph on which given signals are smooth, found by convex optimisation: no training."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from .._checks import check_finite, check_positive, check_positive_count, mistake
from .._typing import EdgeSignal, PerSystem, Signal
from ..graph import Graph, Topology
from .solution import Status

#: Steps between two looks at the certificate.
CHECK_EVERY = 10


@dataclass(frozen=True, eq=False, repr=False)
class LearnedGraph:
    r"""The result of `log_degree_graph`: the graph, and how far it can be trusted.

    Args:
        graph: the learned graph, on the candidate topology; most weights are 0.
        status: why the solver stopped; its value is a sentence.
        num_steps: steps taken.
        error: an upper bound of $\|w-w^*\|/\|w\|$, the distance to the optimal weights, one number
            per graph.

    Shapes:
        - **error:** one number for each graph

    Example:
        >>> import torch
        >>> from gsp_unroll import knn_graph, log_degree_graph
        >>> x = torch.tensor([[0.0], [0.1], [1.0], [1.1]])
        >>> log_degree_graph(x, knn_graph(x, k=2))
        LearnedGraph(CONVERGED, num_steps=..., largest error ...)
    """

    graph: Graph
    status: Status
    num_steps: int
    error: PerSystem

    @property
    def converged(self) -> bool:
        """True if the tolerance was met."""
        return self.status is Status.CONVERGED

    def __repr__(self) -> str:
        largest = max(self.error.flatten().tolist(), default=0.0)
        return (
            f"{type(self).__name__}({self.status.name}, num_steps={self.num_steps}, "
            f"largest error {largest:.3g})"
        )


def log_degree_graph(
    signals: Signal,
    topology: Topology,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    rtol: float = 1e-4,
    max_steps: int = 20_000,
) -> LearnedGraph:
    r"""The graph on which the signals are smooth, and no node is left alone.

    $$\min_{W\ge0}\;\|W\circ Z\|_{1,1}-\alpha\,\mathbf1^\top\log(W\mathbf1)+\tfrac\beta2\|W\|_F^2,
      \qquad Z_{ij}=\|x_i-x_j\|_2^2,$$

    over symmetric $W$ with entries on the edges of `topology` only. The first term is
    $2\,\mathrm{tr}(X^\top LX)$, the roughness of the signals; the logarithm keeps every degree
    above 0; the last term spreads weight over more edges. Each edge stands twice in these norms, so
    in the weights $w$ of the edges, with $z$ the distances and $d=Sw$ the degrees, it is

    $$\min_{w\ge0}\;2z^\top w-\alpha\,\mathbf1^\top\log(Sw)+\beta\|w\|_2^2 .$$

    There are two laws of scale. With $w^*$ the solution and $\gamma>0$,
    $w^*(z,\alpha,\beta)=\gamma\,w^*(z,\alpha/\gamma,\gamma\beta)$: only $\alpha\beta$ decides
    how many edges there are, and $\alpha$ then only scales them. And
    $w^*(\gamma z,\gamma\alpha,\gamma\beta)=w^*(z,\alpha,\beta)$.

    The method is a primal-dual one, forward-backward-forward. It stops by a certificate: the
    duality gap bounds $\beta\|w-w^*\|_2^2$, because the problem is strongly convex. The fewer edges
    are left, the more steps it takes. No gradient flows through it.

    Args:
        signals: a signal in each channel, all expected to be smooth on the graph.
        topology: candidate edges, undirected, such as `knn_graph(places, k=10)`. Every node needs
            one.
        alpha: weight of the logarithm, above 0.
        beta: weight of the square, above 0; larger means more edges.
        rtol: tolerance on $\|w-w^*\|/\|w\|$; what the dtype can resolve is the limit.
        max_steps: budget.

    Returns:
        The graph, with a status and an error bound. Each item of a batch, and each graph of a
        batched topology, is a problem of its own and stops by itself.

    Shapes:
        - **signals:** `(*batch, nodes, channels)`
        - **graph.weight:** `(*batch, edges)`
        - **error:** `(*batch, graphs, 1)`

    Raises:
        ValueError: signals on other nodes or not finite; a directed topology; a node without a
            candidate edge, whose degree could only be 0; a number out of range.

    Source:
        Kalofolias 2016, the model with a logarithm and algorithm 1, whose steps are those of
        Tseng 2000. Differs from it in: (1) only
        candidate edges are weighted; (2) it stops by a certificate, not when steps become small;
        (3) weights and multipliers are brought to one size first, which saves steps.

    Example:
        >>> import torch
        >>> from gsp_unroll import EdgeList, log_degree_graph
        >>> triangle = EdgeList(torch.tensor([[0, 1, 0], [1, 2, 2]]), num_nodes=3)
        >>> found = log_degree_graph(torch.tensor([[0.0], [0.1], [2.0]]), triangle)
        >>> found.converged
        True
        >>> [round(w, 2) for w in found.graph.weight.tolist()]
        [0.96, 0.15, 0.0]
    """
    for name, value in (("alpha", alpha), ("beta", beta), ("rtol", rtol)):
        check_positive(value, name)
    check_positive_count(max_steps, "max_steps")
    topology.check_signal(signals, "signal tensor")
    check_finite(signals, "signal tensor")
    _check_candidates(topology)
    tolerance = max(rtol, 200 * torch.finfo(signals.dtype).eps)
    with torch.no_grad():
        # what alpha and beta do beyond a scale, by the two laws
        z = topology.edge_energy(signals, signals).unsqueeze(-1) / (alpha * beta) ** 0.5
        w, error, num_steps = _solve(topology, z, tolerance, max_steps)
        weight = (alpha / beta) ** 0.5 * w.squeeze(-1)
    if not bool(torch.isfinite(weight).all()):
        status = Status.NOT_FINITE
    else:
        status = Status.CONVERGED if bool((error <= tolerance).all()) else Status.MAX_STEPS
    return LearnedGraph(Graph.unchecked(topology, weight), status, num_steps, error)


def _solve(
    topology: Topology, z: EdgeSignal, tolerance: float, max_steps: int
) -> tuple[EdgeSignal, PerSystem, int]:
    """Weights, their error bound and the number of steps, for alpha and beta of 1."""
    systems, edge = topology.systems, topology.mask_edges(z.new_ones(z.shape[-2])).unsqueeze(-1)
    count = systems.total(topology.tail_sum(edge)).clamp(min=1)
    # in this unit the weights and their multipliers are of one size, near or far as the signals are
    unit = (1 + systems.total(topology.tail_sum(z)) / count).rsqrt()
    problem = _Problem.of(topology, unit, z)
    state = _State(torch.zeros_like(z), z.new_ones(*z.shape[:-2], topology.num_nodes, 1))
    best, error, step = state.w, torch.full_like(unit, torch.inf), 0
    while step < max_steps and bool((error > tolerance).any()):
        steps = min(CHECK_EVERY, max_steps - step)
        for _ in range(steps):
            state, feasible = problem.step(state)
        step += steps
        # a problem that has converged keeps its result, as if it were alone
        going, bound = error > tolerance, problem.error(*feasible)
        best = torch.where(problem.on_edges(going), feasible.w, best)
        error = torch.where(going, bound, error)
    return problem.on_edges(unit) * best, error, step


class _State(NamedTuple):
    """Weights of the edges, and multipliers $u>0$ of the degrees $d=Sw$."""

    w: EdgeSignal
    u: Signal


@dataclass(frozen=True, eq=False)
class _Problem:
    r"""$\min_{w\ge0}\;2z^\top w-\mathbf1^\top\log(Sw)+b\|w\|_2^2$ with $b$ for each system.

    Its dual is $\max_{u>0}\;\mathbf1^\top(1+\log u)-\|(S^\top u-2z)_+\|_2^2/4b$.
    """

    topology: Topology
    z: EdgeSignal
    b: PerSystem
    gamma: PerSystem

    @classmethod
    def of(cls, topology: Topology, unit: PerSystem, z: EdgeSignal) -> _Problem:
        """The problem for weights that are measured in `unit`."""
        # the square of the norm of S is at most the largest sum of the degrees of an edge's ends
        edge = topology.mask_edges(z.new_ones(z.shape[-2])).unsqueeze(-1)
        norm = nonnegative(2 * topology.systems.maximum(topology.incident_sum(edge))).sqrt()
        b = unit**2
        made = cls(topology, z, b, 0.95 / (2 * b + norm))
        return replace(made, z=made.on_edges(unit) * z)

    def on_edges(self, s: Tensor) -> Tensor:
        """Each edge's copy of its system's number."""
        systems, nodes = self.topology.systems, self.topology.num_nodes
        if systems.batch is None:
            return s
        at_nodes = systems.spread(s).to(self.z.dtype)
        at_tail, _ = self.topology.lift(at_nodes.expand(*s.shape[:-2], nodes, 1))
        return at_tail.to(s.dtype)

    def step(self, state: _State) -> tuple[_State, _State]:
        """One step of the forward-backward-forward method: the next state, and a feasible pair."""
        S, S_adjoint = self.topology.incident_sum, self.topology.ends_sum
        w, u = state
        b, gamma = self.on_edges(self.b), self.on_edges(self.gamma)
        gamma_d = self.topology.systems.spread(self.gamma)
        w_1, u_1 = w - gamma * (2 * b * w - S_adjoint(u)), u - gamma_d * S(w)
        w_2 = nonnegative(w_1 - 2 * gamma * self.z)
        u_2 = 0.5 * (u_1 + (u_1**2 + 4 * gamma_d).sqrt())
        w_3, u_3 = w_2 - gamma * (2 * b * w_2 - S_adjoint(u_2)), u_2 - gamma_d * S(w_2)
        return _State(w - w_1 + w_3, u - u_1 + u_3), _State(w_2, u_2)

    def error(self, w: EdgeSignal, u: Signal) -> PerSystem:
        r"""The bound of $\|w-w^*\|/\|w\|$ that the gap between `w` and `u` gives.

        The gap is summed in terms that are all at least 0, so that rounding does not end it early:
        $b(w-a_+/2b)^2+w(-a)_+$ with $a=S^\top u-2z$ for an edge, $t-\log(1+t)$ with $t=ud-1$
        for a node.
        """
        total, tail_sum = self.topology.systems.total, self.topology.tail_sum
        a, b = self.topology.ends_sum(u) - 2 * self.z, self.on_edges(self.b)
        t = u * self.topology.incident_sum(w) - 1
        of_edges = b * (w - nonnegative(a) / (2 * b)) ** 2 + w * nonnegative(-a)
        gap = total(tail_sum(of_edges) + t - torch.log1p(t))
        size = self.b * total(tail_sum(w**2))
        return torch.where(gap == 0, 0, gap / size).sqrt()  # 0 / 0 where a graph has no node


def nonnegative(z: Tensor) -> Tensor:
    """The nearest numbers of at least 0."""
    return z.clamp(min=0)


def _check_candidates(topology: Topology) -> None:
    if topology.directed:
        raise mistake(
            "a directed topology of candidate edges",
            "an undirected one: a distance has no direction",
            "Build it undirected; knn_graph with symmetrize='union' is.",
        )
    mask = topology.edge_mask
    edge = topology.mask_edges(torch.ones(mask.shape, device=mask.device))
    alone = int((topology.degree(edge) == 0).sum())
    if alone:
        raise mistake(
            f"{alone} nodes without a candidate edge",
            "at least one for every node: the logarithm of a degree of 0 is minus infinity",
            "Leave these nodes out, or take candidates that reach every node: knn_graph does.",
        )
