"""Whole problems with a known answer, for the claims about solvers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from _peers import Edges
from torch import Tensor

from gsp_unroll import (
    ADMM,
    GLR,
    GTV,
    ConjugateGradient,
    Graph,
    Identity,
    LeastSquares,
    Problem,
    SamplingMask,
    Topology,
    grid_graph,
)


@dataclass(frozen=True)
class InterpolationOnGrid:
    r"""$(M+\mu L)\,x=My$: a quarter of an image's pixels seen, 24 neighbours.

    Weights come from the image, so the system is as uneven as a learned one. All is float32 but
    the reference.
    """

    side: int
    mu: float = 2.0

    @cached_property
    def topology(self) -> Any:
        return grid_graph((self.side, self.side), window=5)

    @cached_property
    def image(self) -> Tensor:
        row, column = torch.meshgrid(*[torch.arange(self.side) / 40] * 2, indexing="ij")
        clean = column.sin() * row.cos() + (column > 3).float()
        return (clean + 0.05 * torch.randn(clean.shape)).reshape(-1, 1)

    @cached_property
    def weight(self) -> Tensor:
        difference = self.topology.gradient(self.image).squeeze(-1)
        return self.topology.mask_edges((-4 * difference.square()).exp())

    @cached_property
    def mask(self) -> Tensor:
        return torch.rand(self.side**2) < 0.25

    @cached_property
    def observation(self) -> Tensor:
        noisy = self.image + 0.02 * torch.randn_like(self.image)
        return torch.where(self.mask.unsqueeze(-1), noisy, 0)

    def solve(self, rtol: float) -> Tensor:
        """The package's answer: from weights and observation to the signal."""
        data = LeastSquares(SamplingMask(self.mask), self.observation)
        A, b = data.system(GLR(Graph.unchecked(self.topology, self.weight), self.mu).Q)
        return ConjugateGradient(rtol=rtol).solve(A, b).x

    @cached_property
    def matrix(self) -> sp.csr_matrix:
        """The system in float64."""
        L = Edges.of(self.topology, self.weight.double()).laplacian
        return (sp.diags(self.mask.numpy().astype(np.float64)) + self.mu * L).tocsr()

    @cached_property
    def right_hand_side(self) -> np.ndarray[Any, Any]:
        return self.observation.double().numpy().reshape(-1)

    @cached_property
    def reference(self) -> np.ndarray[Any, Any]:
        A, b = self.matrix, self.right_hand_side
        x, _ = sp.linalg.cg(A, b, rtol=1e-12, atol=0, maxiter=20000, M=sp.diags(1 / A.diagonal()))
        if np.linalg.norm(A @ x - b) > 1e-10 * np.linalg.norm(b):
            raise SystemExit("the float64 reference has not converged")
        return x

    def error(self, x: Any) -> float:
        """Relative distance to the reference."""
        x = np.asarray(x, dtype=np.float64).reshape(-1)
        return float(np.linalg.norm(x - self.reference) / np.linalg.norm(self.reference))


@dataclass(frozen=True)
class TotalVariation:
    r"""$\tfrac12\|x-y\|^2+\lambda\sum w_{ij}|x_i-x_j|$, with random weights between 0.5 and 1.

    Args:
        topology: of the graph.
        y: what was observed, `(nodes, 1)`.
        lam: weight of the prior.
        even: unit weights instead.
    """

    topology: Topology
    y: Tensor
    lam: float
    even: bool = False

    @classmethod
    def on_grid(
        cls, side: int, neighbors: int, lam: float, *, even: bool = False
    ) -> TotalVariation:
        """A noisy chessboard with a ramp, `side` pixels wide, 4 or 24 neighbours."""
        row, column = torch.meshgrid(*[torch.arange(side) * 8 / side] * 2, indexing="ij")
        clean = ((column.floor() + row.floor()) % 2) * 0.6 + 0.1 * column
        y = (clean + 0.2 * torch.randn(clean.shape)).reshape(-1, 1)
        return cls(grid_graph((side, side), neighbors=neighbors), y, lam, even)

    @classmethod
    def on_points(cls, topology: Topology, points: Tensor, lam: float) -> TotalVariation:
        """Noisy cells of a chessboard with a ramp, at points of the unit cube or square."""
        clean = (4 * points).floor().sum(-1) % 2 * 0.6 + 0.8 * points[:, 0]
        return cls(topology, (clean + 0.2 * torch.randn(clean.shape)).unsqueeze(-1), lam)

    @cached_property
    def weight(self) -> Tensor:
        w = torch.rand(self.topology.num_edges) / 2 + 0.5
        return self.topology.mask_edges(torch.ones_like(w) if self.even else w)

    def solve(self, steps: int, **settings: Any) -> Tensor:
        """The package's answer after `steps` steps, looked at once, at the end."""
        graph = Graph.unchecked(self.topology, self.weight)
        problem = Problem(LeastSquares(Identity(), self.y), GTV(graph, self.lam))
        settings = {"rtol": 1e-12, "check_every": steps, "max_steps": steps, **settings}
        return ADMM(**settings).solve(problem).x

    @cached_property
    def incidence(self) -> sp.csr_matrix:
        """`diag(w) grad` in float64."""
        return Edges.of(self.topology, self.weight.double()).incidence

    @cached_property
    def observation(self) -> np.ndarray[Any, Any]:
        return self.y.double().numpy().reshape(-1)

    def dual_projection(self, dtype: Any) -> Callable[[int], np.ndarray[Any, Any]]:
        """Accelerated projected gradients on the dual, one sparse product each way per step."""
        D = self.incidence.astype(dtype)
        back, y = D.T.tocsr(), self.observation.astype(dtype)

        def run(steps: int) -> np.ndarray[Any, Any]:
            return y - back @ self._dual(D, back, y, steps)

        return run

    def _dual(self, D: Any, back: Any, y: Any, steps: int, restart: bool = False) -> Any:
        dtype = y.dtype.type
        bound = dtype(self.lam)
        # the largest eigenvalue of D D' is at most the product of these two sums
        step = dtype(1 / (abs(D).sum(0).max() * abs(D).sum(1).max()))
        u = v = np.zeros(D.shape[0], dtype)
        t = 1.0
        for _ in range(steps):
            new = v + step * (D @ (y - back @ v))
            np.clip(new, -bound, bound, out=new)
            if restart and np.vdot(v - new, new - u) > 0:  # momentum points uphill
                t = 1.0
            t_new = (1 + (1 + 4 * t * t) ** 0.5) / 2
            v = new + dtype((t - 1) / t_new) * (new - u)
            u, t = new, t_new
        return u

    @cached_property
    def reference(self) -> np.ndarray[Any, Any]:
        """The optimum, by SciPy in float64, with a duality gap that vouches for it.

        Strong convexity turns a gap into a distance: `0.5 |x - x*|^2 <= gap`.
        """
        D, y = self.incidence, self.observation
        back, steps, distance = D.T.tocsr(), 500, np.inf
        while distance > 2e-5 and steps <= 16000:
            pull = back @ self._dual(D, back, y, steps, restart=True)
            x = y - pull
            gap = 0.5 * x @ x - 0.5 * y @ y + 0.5 * pull @ pull + self.lam * abs(D @ x).sum()
            distance, steps = np.sqrt(2 * max(gap, 0) / x.size) / x.std(), 2 * steps
        if distance > 3e-5:
            raise SystemExit(f"the reference is only known to {distance:.1e}")
        return x

    def error(self, x: Any) -> float:
        """Root mean square distance to the optimum, over its standard deviation."""
        x = np.asarray(x, dtype=np.float64).reshape(-1)
        return float(np.sqrt(np.mean((x - self.reference) ** 2)) / self.reference.std())
