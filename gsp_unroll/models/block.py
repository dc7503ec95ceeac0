"""One stage of a restoration network: look, draw the graph, solve."""

from __future__ import annotations

from functools import reduce

import torch
from torch import Tensor, nn

from .._checks import check_positive_count, mistake
from .._heads import with_heads
from .._typing import Signal
from ..features import Reach, reach_of
from ..graph import Graph, Topology
from ..learners import GraphLearner, full_precision
from ..problems import DataTerm, start
from .stage import Stage

#: Of a network's heads.
ALL = slice(None)


def check_heads(learner: GraphLearner, solver: nn.Module) -> None:
    """That each graph meets a solver of its own.

    Raises:
        ValueError: another number of solvers than of graphs.
    """
    if getattr(solver, "heads", learner.heads) != learner.heads:
        raise mistake(
            f"a learner with heads={learner.heads} and a solver with heads={solver.heads}",
            "the same number",
            "Build features, learner and solver with one value of heads.",
        )


class HeadMixture(nn.Module):
    r"""$x=\sum_h c_h x_h$ with $c=\mathrm{softmax}(\texttt{logits})$: a learned weighted average.

    The weights sum to one, so that heads that agree are kept: a constant stays constant. (The
    paper's simple weighted average leaves the sum free.)

    Args:
        heads: number of heads, at least 1.

    Shapes:
        - **input:** `(*batch, heads, nodes, channels)`
        - **output:** `(*batch, nodes, channels)`

    Raises:
        ValueError: a number of heads below 1.

    Source:
        Do et al. 2024, section 5.2.

    Example:
        >>> import torch
        >>> from gsp_unroll.models import HeadMixture
        >>> HeadMixture(2)(torch.tensor([[[1.0]], [[3.0]]])).item()  # equal weights to begin with
        2.0
    """

    def __init__(self, heads: int) -> None:
        super().__init__()
        check_positive_count(heads, "heads")
        self.logits = nn.Parameter(torch.zeros(heads))

    def forward(self, x: Tensor, heads: slice = ALL) -> Signal:
        """The average; of some heads alone, what they contribute to it.

        Args:
            x: the signals of these heads.
            heads: which heads they are.
        """
        c = self.logits.softmax(0)[heads].view(-1, 1, 1)
        return (c * x).sum(-3)


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
        assert self.correction is not None
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


def draw_and_solve(
    data: DataTerm,
    topology: Topology,
    features: Signal,
    x0: Signal,
    learner: nn.Module,
    solver: nn.Module,
) -> Signal:
    r"""$\mathrm{solve}(y,\;G(f))$, the solve out of the reach of autocast."""
    graph = learner(features, topology)
    with full_precision(x0):
        x: Signal = solver(data, graph, x0)
    return x


def solve_heads(
    data: DataTerm,
    topology: Topology,
    features: Signal,
    x0: Signal,
    learner: GraphLearner,
    solver: nn.Module,
    mixture: HeadMixture,
) -> Signal:
    r"""$\sum_hc_h\,\mathrm{solve}(y,\;G_h(f_h))$: a graph for each head, and the average of what
    is solved on them.

    While no gradient is recorded, a few heads at a time: only their weights and solutions then
    live together.

    Args:
        data: the term with an axis of length 1 for the heads, `data.per_head()`.
        topology: the edges among which the graphs are drawn.
        features: what they are drawn on.
        x0: start, with an axis of length 1 for the heads.
        learner: of as many heads as the features have.
        solver: of as many.
        mixture: of as many.

    Shapes:
        - **features:** `(*batch, heads, nodes, D)`
        - **x0:** `(*batch, 1, nodes, channels)`
        - **output:** `(*batch, nodes, channels)`
    """
    shares = (
        mixture(draw_and_solve(data, topology, features[..., heads, :, :], x0, *part), heads)
        for heads, *part in _parts(learner, solver, heads_at_once(x0))
    )
    total: Signal = reduce(torch.add, shares)
    return total


def heads_at_once(x0: Signal) -> int | None:
    """How many heads to solve together; None for all, where a gradient is recorded, under
    `torch.compile` and on an accelerator.

    As few as keep every thread busy: threads that share a plane compute some of its rows twice.
    """
    if torch.is_grad_enabled() or torch.compiler.is_compiling() or x0.device.type != "cpu":
        return None
    planes = max(1, x0.shape[:-2].numel())
    return -(-torch.get_num_threads() // planes)


#: Some heads, and the learner and the solver of those alone.
Part = tuple[slice, nn.Module, nn.Module]


def _parts(learner: GraphLearner, solver: nn.Module, at_once: int | None) -> list[Part]:
    """The heads, so many at a time; in one part where None is asked for, or where a module does not
    say which of its numbers are a head's."""
    assert learner.heads is not None
    if at_once is None or at_once >= learner.heads:
        return [(ALL, learner, solver)]
    parts: list[Part] = []
    for first in range(0, learner.heads, at_once):
        heads = slice(first, first + at_once)
        some_learner, some_solver = with_heads(learner, heads), with_heads(solver, heads)
        if some_learner is None or some_solver is None:
            return [(ALL, learner, solver)]
        parts.append((heads, some_learner, some_solver))
    return parts


def reach_of_solve(learner: GraphLearner, solver: nn.Module, radius: int) -> Reach:
    """How far a solved value depends on the features that its graph is drawn on."""
    hops = num_products(solver) + learner.hops
    if getattr(solver, "normalization", "none") == "sym" or _edges_per_product(solver) != 1:
        hops += 1  # the Laplacian is scaled once more, by the degrees of the graph
    return Reach(hops * radius)


def num_products(solver: nn.Module) -> int:
    """Products with the Laplacian, one after another, in an unrolled solver; a product with a
    matrix that spans several edges counts as so many.

    The right-hand side of an ADMM iteration takes one gradient and one divergence, no further than
    the product that makes the first residual: an iteration of `cg_steps` reaches that many edges.

    Raises:
        ValueError: a solve whose steps depend on inner products, or of another kind.
    """
    solves = getattr(solver, "linear_solves", None) or [getattr(solver, "linear_solve", None)]
    edges = _edges_per_product(solver)
    if edges is None or any(not hasattr(solve, "coefficients") for solve in solves):
        raise mistake(
            f"a {type(solver).__name__} as solver",
            "an unrolled solver whose number of products is known",
            "Use GLRUnroll, GTVUnroll, VectorGTVUnroll or GTVLinearProgramUnroll.",
        )
    if any(alpha is None for solve in solves for alpha in solve.coefficients()[0]):
        raise mistake(
            f"a {type(solver).__name__} whose steps come from inner products over the whole image",
            "coefficients that are the same for every crop",
            "Use BoundedMomentum, the default, or HeavyBall as its linear solve.",
        )
    steps: int = sum(solve.cg_steps for solve in solves)
    return edges * steps


def _edges_per_product(solver: nn.Module) -> int | None:
    """How many edges a product in a linear solve of `solver` moves a value; None if not known."""
    edges: int | None = getattr(solver, "edges_per_product", 1)
    return edges
