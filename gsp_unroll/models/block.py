"""One stage of a restoration network: look, draw the graph, solve."""

from __future__ import annotations

import torch
from torch import nn

from .._checks import mistake
from .._typing import Signal
from ..features import Reach, reach_of
from ..graph import Graph, Topology
from ..learners import GraphLearner, full_precision
from ..problems import DataTerm, start
from .heads import HeadMixture, check_heads, draw_and_solve, solve_heads
from .reach import num_products, reach_of_solve
from .stage import Stage


class UnrolledBlock(Stage):
    r"""Features, graph and solve of one stage.

    $$f=\mathrm{features}(x),\qquad G_h=\mathrm{learner}(f_h),\qquad
      \hat x=\bar x+\sum_h c_h\,\mathrm{solve}(y-H\bar x,\;G_h),\qquad
      x\leftarrow p\,\hat x+(1-p)\,x .$$

    The base $\bar x$ is 0 without a `correction` network. With one it is
    $\bar x=x+\mathrm{correction}([x,\,m])$, $m$ the mask of observed values: the network proposes,
    and the solver spreads over the graph what the observation disagrees with.

    Under `torch.autocast` the two networks, `features` and `correction`, may compute in 16 bits;
    the distances, the weights and the solve stay in the dtype of the signal.

    Args:
        features: `(signal, topology) -> (*batch, [heads,] nodes, D)`, such as `GridCNN`.
        learner: `(features, topology) -> Graph`.
        solver: `(data, graph, x0) -> signal`: `GTVUnroll`, `GLRUnroll`, ... with the learner's
            `heads`.
        correction: `(signal of 2 x channels, topology) -> signal`, or None. A bias at its very end
            has no effect: the solver takes a constant out of a base again.
        residual: initial $p$, learned; None for $p=1$ without a parameter.
        sweeps: rounds in which `start` spreads the misfit of a base; one reaches every pixel of a
            mosaic whose samples lie in every window.

    Shapes:
        - **x, output:** `(*batch, nodes, channels)`

    Raises:
        ValueError: a learner and a solver of different heads; a correction for data whose mask is
            not known.

    Source:
        Do et al. 2024, section 5.2 and figure 1; the learned $p$ is from the authors' later code.

    Example:
        >>> import torch
        >>> from gsp_unroll import GLRUnroll, Interpolation, MahalanobisLearner, PointMLP
        >>> from gsp_unroll import SamplingMask, UnrolledBlock, path_graph, start
        >>> block = UnrolledBlock(PointMLP(1, 4), MahalanobisLearner(4), GLRUnroll(cg_steps=5))
        >>> y, topology = torch.tensor([[1.0], [torch.nan], [3.0]]), path_graph(3)
        >>> data = Interpolation(SamplingMask(~y.isnan()), y)
        >>> block(data, topology, start(data, topology)).shape
        torch.Size([3, 1])
    """

    def __init__(
        self,
        features: nn.Module,
        learner: GraphLearner,
        solver: nn.Module,
        *,
        correction: nn.Module | None = None,
        residual: float | None = None,
        sweeps: int = 4,
    ) -> None:
        super().__init__()
        check_heads(learner, solver)
        heads = learner.heads
        self.features, self.learner, self.solver = features, learner, solver
        self.correction, self.sweeps = correction, sweeps
        self.mixture = None if heads is None or heads == 1 else HeadMixture(heads)
        self.residual = None if residual is None else nn.Parameter(torch.tensor(float(residual)))

    def graph(self, x: Signal, topology: Topology) -> Graph:
        """The graph this stage draws on the signal `x`."""
        graph: Graph = self.learner(self.features(x, topology), topology)
        return graph

    def base(self, data: DataTerm, topology: Topology, x: Signal) -> Signal:
        """What the solver corrects: `x` with the network's proposal added."""
        if self.correction is None:
            raise mistake(
                "a block without a correction", "one that proposes", "Build it with correction=..."
            )
        if data.observed is None:
            raise mistake(
                f"data through {type(data.H).__name__}, which has no mask",
                "an operator that selects values, so that the network can see which",
                "Build the block without a correction.",
            )
        mask = data.observed.to(x.dtype).expand_as(x)
        proposal: Signal = self.correction(torch.cat([x, mask], -1), topology)
        return x + proposal.to(x.dtype)  # of a network of one's own, under autocast

    def forward(self, data: DataTerm, topology: Topology, x: Signal) -> Signal:
        features = self.features(x, topology)
        base = None if self.correction is None else self.base(data, topology, x)
        if base is None:
            x_hat = self._solve(data, topology, features, x)
        else:
            with full_precision(x):
                misfit = data.around(base)
                x0 = start(misfit, topology, self.sweeps)
            x_hat = base + self._solve(misfit, topology, features, x0)
        return x_hat if self.residual is None else x + self.residual * (x_hat - x)

    def reach(self, radius: int) -> Reach:
        r"""How far the stage looks, on a grid whose edges span at most `radius` rows or columns.

        A solve of $K$ products with the Laplacian moves values by $K$ edges. The last weights that
        it meets there lie one edge further where they are normalised, and depend on the features
        as far as the feature network looks. What a correction proposes, and the `start` around it,
        precede the solve.

        Args:
            radius: half the window of the grid.

        Raises:
            ValueError: a part whose reach is not known.

        Example:
            >>> from gsp_unroll import GridCNN, GTVUnroll, MahalanobisLearner, UnrolledBlock
            >>> block = UnrolledBlock(GridCNN(3, 4), MahalanobisLearner(4), GTVUnroll(5, 5))
            >>> block.reach(radius=2)  # 25 products and a normalisation, then 4 convolutions
            Reach(pixels=56, stride=1)
        """
        through_graph = reach_of(self.features) + reach_of_solve(self.learner, self.solver, radius)
        through_data = Reach(num_products(self.solver) * radius)
        if self.correction is not None:
            through_data += reach_of(self.correction) + Reach(self.sweeps * radius)
        pixels = max(through_graph.pixels, through_data.pixels)
        return Reach(pixels, (through_graph + through_data).stride)

    def _solve(self, data: DataTerm, topology: Topology, features: Signal, x0: Signal) -> Signal:
        learner, solver = self.learner, self.solver
        if learner.heads is None:
            return draw_and_solve(data, topology, features, x0, learner, solver)
        data, x0 = data.per_head(), x0.unsqueeze(-3)
        if self.mixture is None:
            return draw_and_solve(data, topology, features, x0, learner, solver).squeeze(-3)
        return solve_heads(data, topology, features, x0, learner, solver, self.mixture)
