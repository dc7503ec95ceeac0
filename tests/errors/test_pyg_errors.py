"""Every mistake at the doors of pyg/ is answered in three parts: got, expected, do this."""

import pytest
import torch
from torch_geometric.data import Data

from gsp_unroll import (
    GLR,
    GTV,
    GLRUnroll,
    Graph,
    Interpolation,
    MahalanobisLearner,
    PointMLP,
    UnrolledBlock,
    UnrolledNetwork,
    path_graph,
)
from gsp_unroll.graph import to_adjacency
from gsp_unroll.pyg import LearnGraph, RestoreFeatures, RestoreSignal
from tests.registries import edges
from tests.three_parts import assert_three_parts

BOTH = edges((0, 1), (1, 0), (1, 2), (2, 1))
GRAPH = Graph(path_graph(3), torch.tensor([1.0, 1.0, 0.0]))


def data(**fields):
    return Data(**({"x": torch.rand(3, 2), "edge_index": BOTH} | fields))


def layer(*given, data_term=None, x=None, **more):
    restore = RestoreFeatures(GLRUnroll(mu=1.0), **({"data_term": data_term} if data_term else {}))
    return restore(torch.rand(3, 2) if x is None else x, *given, **more)


def network(*given):
    block = UnrolledBlock(PointMLP(2, 4), MahalanobisLearner(4), GLRUnroll(mu=1.0))
    return RestoreFeatures(UnrolledNetwork([block]))(torch.rand(3, 2), *given)


# what is wrong: (the call, a word of "Got", a word of "Expected", a word of the advice)
MISTAKES = {
    # ---- transforms
    "a weight in place of a prior": (
        lambda: RestoreSignal(0.3),
        "prior=0.3",
        "a function that makes the prior",
        "functools.partial",
    ),
    "no neighbours": (lambda: LearnGraph(k=0), "k=0", "at least 1", "Set k"),
    "a name in place of names": (
        lambda: LearnGraph(attrs="pos"),
        "attrs='pos'",
        "names of one or more",
        r"attrs=\['x'\]",
    ),
    "no names": (lambda: LearnGraph(attrs=[]), r"attrs=\[\]", "one or more", "Write"),
    "a missing attribute": (
        lambda: LearnGraph(attrs=["pos"])(data()),
        "a Data without pos",
        "an attribute pos",
        "It has .*edge_index",
    ),
    "whole numbers": (
        lambda: LearnGraph()(data(x=torch.ones(3, 1, dtype=torch.int64))),
        "value of x of dtype torch.int64",
        "float32",
        "Convert",
    ),
    "images as nodes": (
        lambda: LearnGraph()(data(x=torch.rand(3, 3, 2), num_nodes=3)),
        r"x of shape \(3, 3, 2\)",
        r"\(nodes, channels\)",
        "flatten",
    ),
    "gaps in features": (
        lambda: LearnGraph()(data(x=torch.tensor([[0.0], [torch.nan], [1.0]]))),
        "1 values of x that are NaN",
        "finite features",
        "RestoreSignal",
    ),
    "self-loops": (
        lambda: LearnGraph()(data(edge_index=edges((0, 1), (1, 0), (2, 2)))),
        "1 self-loops",
        "two different nodes",
        "RemoveSelfLoops",
    ),
    "one direction only": (
        lambda: LearnGraph()(data(edge_index=edges((0, 1)))),
        "without their reverse",
        "both directions",
        "to_undirected",
    ),
    "a matrix before the weights": (
        lambda: LearnGraph()(Data(x=torch.rand(3, 2), adj_t=to_adjacency(GRAPH))),
        "adj_t in place of edge_index",
        "edge_index",
        "ToSparseTensor",
    ),
    "a learner that gives several graphs": (
        lambda: LearnGraph(lambda f, t: Graph(t, torch.ones(2, t.num_edges)))(data()),
        r"weights of shape \(2, 2\)",
        "one graph",
        "without heads",
    ),
    "a prior that has its graph": (
        lambda: RestoreSignal(GLR(GRAPH)),
        "a GLR on a graph of its own",
        "each Data's graph",
        "functools.partial",
    ),
    "no such signal": (
        lambda: RestoreSignal(GTV, "y")(data()),
        "a Data without y",
        "an attribute y",
        "It has",
    ),
    "no such mask": (
        lambda: RestoreSignal(GTV, mask="seen")(data()),
        "a Data without seen",
        "an attribute seen",
        "It has",
    ),
    "no edges to restore along": (
        lambda: RestoreSignal(GTV)(Data(x=torch.rand(3, 2))),
        "a Data without edge_index",
        "with edge_index",
        "knn_graph",
    ),
    "NaN where it was observed": (
        lambda: RestoreSignal(GTV, mask="seen")(
            data(x=torch.full((3, 1), torch.nan), seen=torch.ones(3, dtype=torch.bool))
        ),
        "3 values of the observation that are NaN",
        "finite",
        "SamplingMask",
    ),
    # ---- the layer
    "batch in the place of weights": (
        lambda: layer(BOTH, torch.zeros(3, dtype=torch.int64)),
        r"edge_weight of shape \(3,\) and dtype int64",
        "weights, or None",
        "comes fourth",
    ),
    "weights for a network that learns them": (
        lambda: network(BOTH, torch.ones(4)),
        "edge_weight for an UnrolledNetwork",
        "one source of weights",
        "Leave out edge_weight",
    ),
    "weights beside a graph": (
        lambda: layer(GRAPH, torch.ones(4)),
        "edge_weight beside a Graph",
        "weights in one place",
        "into the graph",
    ),
    "weights beside a matrix": (
        lambda: layer(to_adjacency(GRAPH), torch.ones(4)),
        "edge_weight beside a Tensor",
        "weights in one place",
        "the matrix",
    ),
    "batch beside a graph": (
        lambda: layer(GRAPH, batch=torch.zeros(3, dtype=torch.int64)),
        "batch beside a Graph",
        "knows its batch",
        "from_pyg",
    ),
    "nothing left to restore": (
        lambda: layer(BOTH, data_term=Interpolation),
        "no mask for Interpolation",
        "a mask",
        "Pass mask=",
    ),
    "features of whole numbers": (
        lambda: layer(BOTH, x=torch.ones(3, 2, dtype=torch.int64)),
        "feature tensor of dtype torch.int64",
        "float32",
        "Convert",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_answered_in_three_parts(name):
    assert_three_parts(*MISTAKES[name])
