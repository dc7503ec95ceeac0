"""The paper's GTV layer: ADMM on the linear program, equations (17)-(22)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from .._checks import check_positive, check_positive_count, mistake
from .._typing import EdgeSignal, Signal
from ..graph import Graph
from ..operators import Incidence
from ..problems import DataTerm, Interpolation, start
from ._doors import check_inputs
from .linear_solve import HeavyBall, LinearSolveFactory
from .parameters import last


class LPState(NamedTuple):
    r"""The variables of the linear program's ADMM, in the paper's letters.

    Attributes:
        x: the signal.
        z: upper bounds of $|Cx|$.
        q1: slack of $z\ge Cx$.
        q2: slack of $z\ge-Cx$.
        qt1: the non-negative copy of `q1`, $\tilde q_1$.
        qt2: that of `q2`.
        mu_a: multiplier of $z-Cx-q_1=0$.
        mu_b: of $z+Cx-q_2=0$.
        mu_c: of $Hx=y$.
        mu_d: of $q_1=\tilde q_1$.
        mu_e: of $q_2=\tilde q_2$.

    Shapes:
        - **x, mu_c:** `(*batch, nodes, channels)`
        - **all others:** `(*batch, edges, channels)`

    Example:
        >>> import torch
        >>> from gsp_unroll import GTVLinearProgramUnroll, Graph, Interpolation, SamplingMask
        >>> from gsp_unroll import path_graph
        >>> y = torch.tensor([[1.0], [torch.nan], [3.0]])
        >>> graph = Graph(path_graph(3), torch.tensor([1.0, 0.1, 0.0])).normalized("row")
        >>> data = Interpolation(SamplingMask(~y.isnan()), y)
        >>> *_, state = GTVLinearProgramUnroll().iterates(data, graph)
        >>> state.x.shape, state.z.shape  # two rows for each of two edges and one padded slot
        (torch.Size([3, 1]), torch.Size([6, 1]))
    """

    x: Signal
    z: EdgeSignal
    q1: EdgeSignal
    q2: EdgeSignal
    qt1: EdgeSignal
    qt2: EdgeSignal
    mu_a: EdgeSignal
    mu_b: EdgeSignal
    mu_c: Signal
    mu_d: EdgeSignal
    mu_e: EdgeSignal


class GTVLinearProgramUnroll(nn.Module):
    r"""Unrolled ADMM on the sparse linear program of graph total variation, as published.

    $$\min_{z,x,q}\mathbf 1^\top z\quad\text{s.t.}\quad z-Cx-q_1=0,\;\;z+Cx-q_2=0,\;\;Hx=y,\;\;
      q\ge0 .$$

    On the directed graph of row-normalised weights (`graph.normalized("row")`) $C$ has the paper's
    $2M$ rows. Each iteration is equations (17), (18), (19), (21), (22) with the multipliers
    $[\mu_d;\mu_e]$ in (21), where the print has $\mu_d$ twice (literally coded it does not
    converge to the optimum).

    Differs from `GTVUnroll` in: 1. the matrix of (18) holds $w^2$; 2. more edge arrays; 3. the
    multipliers start at 0.1, so that a constant signal does not come back exactly constant; 4. with
    `HeavyBall` the last `beta` of every solve is stored and never read, as in the published
    parameter count.

    Args:
        num_iterations: $T$.
        cg_steps: steps of each solve of (18).
        heads: None, or the length of the head axis.
        gamma: initial penalty $\gamma_t$, learned per iteration and shared by heads.
        multiplier: initial value of all multipliers; 0 keeps constants.
        solver: makes each linear solve from `(cg_steps, heads)`; `HeavyBall` is the paper's.

    Shapes:
        - **graph.weight:** `(*batch, edges)`, one per row of $C$
        - **gamma:** `(T,)`
        - **output:** `(*batch, nodes, channels)`

    Raises:
        ValueError: data other than `Interpolation`.

    Source:
        Do et al. 2024, section 3.2, appendices A.3-A.5 and A.8; the splitting is that of Wang and
        Shroff 2017.

    Example:
        >>> import torch
        >>> from gsp_unroll import GTVLinearProgramUnroll, Graph, Interpolation, SamplingMask
        >>> from gsp_unroll import path_graph
        >>> y = torch.tensor([[1.0], [torch.nan], [3.0]])
        >>> graph = Graph(path_graph(3), torch.tensor([1.0, 0.1, 0.0])).normalized("row")
        >>> layer = GTVLinearProgramUnroll()
        >>> layer(Interpolation(SamplingMask(~y.isnan()), y), graph).shape
        torch.Size([3, 1])
    """

    head_axes: ClassVar = {"gamma": None}

    def __init__(
        self,
        num_iterations: int = 5,
        cg_steps: int = 10,
        *,
        heads: int | None = None,
        gamma: float = 10.0,
        multiplier: float = 0.1,
        solver: LinearSolveFactory = HeavyBall,
    ) -> None:
        super().__init__()
        check_positive_count(num_iterations, "num_iterations")
        check_positive(gamma, "gamma")
        self.num_iterations, self.heads, self.multiplier = num_iterations, heads, multiplier
        self.gamma = nn.Parameter(torch.full((num_iterations,), gamma))
        self.linear_solves = nn.ModuleList(solver(cg_steps, heads) for _ in range(num_iterations))

    def lp_start(self, data: DataTerm, C: Incidence, x: Signal) -> LPState:
        r"""The first state: $\tilde q$ are the exact slacks of $x^0$, the multipliers constant."""
        Cx = C(x)
        z = Cx.abs()
        q1, q2 = z - Cx, z + Cx
        mu, mu_c = torch.full_like(z, self.multiplier), torch.full_like(data.H(x), self.multiplier)
        return LPState(x, z, q1, q2, q1, q2, mu, mu, mu_c, mu, mu)

    def lp_step(
        self, data: DataTerm, C: Incidence, state: LPState, gamma: Tensor, solve: nn.Module
    ) -> LPState:
        """One iteration, equations (17)-(22)."""
        x, z, q1, q2, qt1, qt2, mu_a, mu_b, mu_c, mu_d, mu_e = state
        H, y = data.H, data.y
        # (17)
        z = -1 / gamma - (mu_a + mu_b + mu_d + mu_e) / (2 * gamma) + (qt1 + qt2) / 2
        # (18)
        b = (
            C.T((mu_a - mu_b + mu_d - mu_e) / (2 * gamma) - (qt1 - qt2) / 2)
            - H.T(mu_c) / gamma
            + H.T(y)
        )
        x = solve(C.gram + H.gram, b, x)
        # (19)
        Cx = C(x)
        q1 = (z - Cx) / 2 + (mu_a - mu_d + gamma * qt1) / (2 * gamma)
        q2 = (z + Cx) / 2 + (mu_b - mu_e + gamma * qt2) / (2 * gamma)
        # (21)
        qt1 = torch.relu(q1 + mu_d / gamma)
        qt2 = torch.relu(q2 + mu_e / gamma)
        # (22)
        mu_a = mu_a + gamma * (z - Cx - q1)
        mu_b = mu_b + gamma * (z + Cx - q2)
        mu_c = mu_c + gamma * (H(x) - y)
        mu_d = mu_d + gamma * (q1 - qt1)
        mu_e = mu_e + gamma * (q2 - qt2)
        return LPState(x, z, q1, q2, qt1, qt2, mu_a, mu_b, mu_c, mu_d, mu_e)

    def iterates(self, data: DataTerm, graph: Graph, x0: Signal | None = None) -> Iterator[LPState]:
        """The state after each iteration, for diagnostics."""
        if not isinstance(data, Interpolation):
            raise mistake(
                f"{type(data).__name__} data",
                "Interpolation: the linear program has the samples as a hard constraint",
                "Use GTVUnroll(rho=1.0) for noisy observations.",
            )
        check_inputs(self, self.heads, data, graph, x0)
        # what H never reads may be NaN, and must not reach the multipliers
        data = Interpolation.unchecked(data.H, data.H(data.backprojected))
        x0 = start(data, graph.topology) if x0 is None else x0
        C = Incidence(graph)
        state = self.lp_start(data, C, x0)
        for gamma, solve in zip(self.gamma.unbind(0), self.linear_solves, strict=True):
            state = self.lp_step(data, C, state, gamma, solve)
            yield state

    def forward(self, data: DataTerm, graph: Graph, x0: Signal | None = None) -> Signal:
        """The restored signal; $Hx=y$ holds only as nearly as $T$ iterations bring it."""
        return last(self.iterates(data, graph, x0)).x

    def extra_repr(self) -> str:
        return f"num_iterations={self.num_iterations}, heads={self.heads}"
