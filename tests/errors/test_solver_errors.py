"""Every mistake at the doors of problems/ and solvers/ is answered: got, expected, do this."""

import pytest
import torch

from gsp_unroll.graph import EdgeList, Graph, path_graph
from gsp_unroll.operators import (
    Blur,
    Diagonal,
    Downsample,
    Gradient,
    Identity,
    Laplacian,
    MatrixFree,
    SamplingMask,
    Stack,
)
from gsp_unroll.problems import GLR, GTV, Interpolation, LeastSquares, Prior, Problem, start
from gsp_unroll.solvers import ADMM, ConjugateGradient
from tests.registries import edges

GRAPH = Graph(path_graph(4), torch.ones(4))
Y = torch.rand(4, 1)
EVERYWHERE = LeastSquares(Identity(), Y)
SYSTEM = Identity() + Laplacian(GRAPH)
BATCH = Graph(EdgeList(edges((0, 1), (2, 3)), 4, torch.tensor([0, 0, 1, 1])), torch.ones(2))


class OnDifferences(Prior):
    """A user's prior that does not know which graph an edge belongs to."""

    K = Gradient(BATCH.topology)

    def penalty(self, z):
        return z**2

    def prox(self, z, step):
        return z / (1 + 2 * step)


def spoiled(value):
    return Y.index_fill(0, torch.tensor([1]), value)


# what is wrong: (the call, a word of "Got", a word of "Expected", a word of the advice)
MISTAKES = {
    # ---- data terms
    "observation without channels": (
        lambda: LeastSquares(Identity(), torch.rand(4)),
        r"an observation of shape \(4,\)",
        "channels",
        "unsqueeze",
    ),
    "observation of another size": (
        lambda: LeastSquares(Downsample((4,), 2), Y),
        r"an observation of shape \(4, 1\)",
        "2 on axis -2",
        "same 2 nodes",
    ),
    "hard constraint through a blur": (
        lambda: Interpolation(Blur((4,), torch.ones(3)), Y),
        "a hard constraint through Blur",
        "selects values",
        "LeastSquares",
    ),
    "hard constraint through a composition": (
        lambda: Interpolation(Downsample((4,), 2) @ Blur((4,), torch.ones(3)), Y[:2]),
        "a hard constraint through Composition",
        "selects values",
        "LeastSquares",
    ),
    "observations that belong to no graph": (
        lambda: LeastSquares(MatrixFree(lambda x: x[..., :3, :], lambda y: y), Y[:3]).value(
            Y, GTV(BATCH).systems
        ),
        "3 observed values for a batch of 2 graphs",
        "one observation per node",
        "one by one",
    ),
    "more observations than nodes of a batch": (
        lambda: LeastSquares(Stack(2 * (Diagonal(torch.ones(4, 1)),)), torch.cat([Y, Y])).value(
            Y, GTV(BATCH).systems
        ),
        "8 observed values for a batch of 2 graphs",
        "one observation per node",
        "one by one",
    ),
    # ---- priors
    "negative weight of a prior": (lambda: GTV(GRAPH, -1.0), "lam=-1.0", "at least 0", "Set lam"),
    "weight of a prior that is NaN": (
        lambda: GTV(GRAPH, float("nan")),
        "lam=nan",
        "finite",
        "Set lam",
    ),
    "negative weight of GLR": (lambda: GLR(GRAPH, -1.0), "mu=-1.0", "at least 0", "Set mu"),
    "random walk in GLR": (
        lambda: GLR(GRAPH, normalization="rw"),
        "normalization='rw'",
        "'none' or 'sym'",
        "same interpolant",
    ),
    "a users prior on a batch": (
        lambda: OnDifferences()(Y),
        "a batch of graphs for OnDifferences",
        "which graph each of its terms",
        "GraphPrior",
    ),
    # ---- problems
    "data and graph of two sizes": (
        lambda: Problem(
            LeastSquares(SamplingMask(torch.ones(5) > 0), torch.rand(5, 1)), GTV(GRAPH)
        ),
        "data on 5 nodes and a prior on 4",
        "the same nodes",
        "for one signal",
    ),
    "low resolution and graph of two sizes": (
        lambda: Problem(LeastSquares(Downsample((6,), 2), torch.rand(3, 1)), GTV(GRAPH)),
        "data on 6 nodes and a prior on 4",
        "the same nodes",
        "for one signal",
    ),
    "data and graph of two types": (
        lambda: Problem(EVERYWHERE, GTV(GRAPH.to(torch.float64))),
        "the observation of dtype torch.float32",
        "the edge weights, torch.float64",
        "Convert",
    ),
    "a linear system of a prior that has none": (
        lambda: Problem(EVERYWHERE, GTV(GRAPH)).system(),
        "a problem with the prior GTV",
        "a quadratic prior such as GLR",
        "Use ADMM",
    ),
    # ---- start
    "start on other nodes": (
        lambda: start(EVERYWHERE, path_graph(5)),
        r"a restored signal of shape \(4, 1\)",
        "5 on axis -2",
        "same 5 nodes",
    ),
    # ---- solvers
    "CG tolerance of zero": (lambda: ConjugateGradient(0.0), "rtol=0.0", "above 0", "Set rtol"),
    "CG tolerance of NaN": (
        lambda: ConjugateGradient(float("nan")),
        "rtol=nan",
        "above 0",
        "Set rtol",
    ),
    "unknown kind of gradient": (
        lambda: ConjugateGradient(gradient="exact"),
        "gradient='exact'",
        "'unrolled' or 'implicit'",
        "converged solve",
    ),
    "right-hand side of NaN": (
        lambda: ConjugateGradient().solve(SYSTEM, spoiled(torch.nan)),
        "1 values of the right-hand side",
        "finite values",
        "SamplingMask",
    ),
    "start of infinity": (
        lambda: ConjugateGradient().solve(SYSTEM, Y, spoiled(torch.inf)),
        "1 values of the start",
        "finite values",
        "SamplingMask",
    ),
    "start of another shape": (
        lambda: ConjugateGradient().solve(SYSTEM, Y, torch.rand(4, 2)),
        r"a start x0 of shape \(4, 2\)",
        r"\(4, 1\)",
        "Leave x0 out",
    ),
    "start of another type": (
        lambda: ConjugateGradient().solve(SYSTEM, Y, Y.double()),
        "the start x0 of dtype torch.float64",
        "the right-hand side, torch.float32",
        "Convert",
    ),
    "right-hand side of integers": (
        lambda: ConjugateGradient().solve(SYSTEM, torch.ones(4, 1, dtype=torch.int64)),
        "dtype torch.int64",
        "float32",
        "Convert",
    ),
    "observation of NaN": (
        lambda: ADMM().solve(Problem(LeastSquares(Identity(), spoiled(torch.nan)), GTV(GRAPH))),
        "1 values of the observation",
        "finite values",
        "SamplingMask",
    ),
    "observation of NaN behind a gain": (
        lambda: ADMM().solve(
            Problem(LeastSquares(Diagonal(torch.ones(4, 1)), spoiled(torch.nan)), GTV(GRAPH))
        ),
        "1 values of the observation",
        "finite values",
        "SamplingMask",
    ),
    "ADMM start of NaN": (
        lambda: ADMM().solve(Problem(EVERYWHERE, GTV(GRAPH)), spoiled(torch.nan)),
        "1 values of the start",
        "finite values",
        "SamplingMask",
    ),
    "ADMM tolerance": (lambda: ADMM(rtol=-1.0), "rtol=-1.0", "above 0", "Set rtol"),
    "ADMM penalty": (lambda: ADMM(rho=0.0), "rho=0.0", "above 0", "Set rho"),
    "relaxation of two": (
        lambda: ADMM(relaxation=2.0),
        "relaxation=2.0",
        r"\[1, 2\)",
        "1 is plain ADMM",
    ),
    "relaxation below one": (
        lambda: ADMM(relaxation=0.5),
        "relaxation=0.5",
        r"\[1, 2\)",
        "1 is plain ADMM",
    ),
}


@pytest.mark.parametrize(("call", "got", "expected", "advice"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_answered_in_three_parts(call, got, expected, advice):
    with pytest.raises(ValueError, match=f"(?s)^Got .*{got}.* Expected .*{expected}.* .*{advice}"):
        call()


def test_what_a_mask_leaves_out_may_be_anything():
    mask = torch.tensor([True, False, True, True])
    y = torch.tensor([[1.0], [torch.nan], [1.0], [1.0]])
    solution = ADMM().solve(Problem(Interpolation(SamplingMask(mask), y), GTV(GRAPH)))
    assert torch.equal(solution.x, torch.ones(4, 1))
