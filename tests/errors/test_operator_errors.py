"""Every mistake at the doors of operators/ is answered in three parts: got, expected, do this."""

import pytest
import torch

from gsp_unroll.graph import EdgeList, Graph, path_graph
from gsp_unroll.operators import (
    Adjacency,
    BayerMosaic,
    Blur,
    ColorMosaic,
    Diagonal,
    Downsample,
    Gradient,
    Identity,
    Incidence,
    Laplacian,
    MatrixFree,
    SamplingMask,
)
from tests.registries import edges
from tests.registries_operators import numbers

GRAPH = Graph(path_graph(4), torch.ones(4))
DIRECTED = Graph(path_graph(4, directed=True), torch.ones(4))
LONG = torch.int64


def batched(*graph_of_node):
    topology = EdgeList(edges((0, 1), (2, 3)), 4, torch.tensor(graph_of_node))
    return Laplacian(Graph(topology, torch.ones(2)))


# what is wrong: (the call, a word of "Got", a word of "Expected", a word of the advice)
MISTAKES = {
    # ---- signals
    "signal without channels": (
        lambda: Identity() @ torch.rand(4),
        r"an input of Identity of shape \(4,\)",
        r"\(\*batch, nodes, channels\)",
        "unsqueeze",
    ),
    "edge signal of another length": (
        lambda: Gradient(path_graph(4)).T @ torch.rand(3, 1),
        r"an input of Adjoint of shape \(3, 1\)",
        "4 on axis -2",
        "same 4 nodes",
    ),
    "output of another size": (
        lambda: Downsample((5,), 2).T @ torch.rand(5, 1),
        r"shape \(5, 1\)",
        "3 on axis -2",
        "same 3 nodes",
    ),
    "channels of another mask": (
        lambda: SamplingMask(torch.ones(4, 3, dtype=torch.bool)) @ torch.rand(4, 2),
        "a signal of 2 channels",
        "3, as in the mask",
        "one mask for all channels",
    ),
    "channels of another mosaic": (
        lambda: BayerMosaic(2, 2) @ torch.rand(4, 1),
        "a signal of 1 channels",
        "3",
        "Channels come last",
    ),
    "a full image for a mosaic": (
        lambda: BayerMosaic(2, 2).T @ torch.rand(4, 3),
        "a mosaic of 3 channels",
        "1: what each node sees",
        "H @ x",
    ),
    # ---- building
    "mask of floats": (
        lambda: SamplingMask(torch.ones(4)),
        "a mask of dtype torch.float32",
        "torch.bool",
        "isnan",
    ),
    "mask of one value": (
        lambda: SamplingMask(torch.tensor(True)),
        "a mask of one value",
        r"\(nodes,\)",
        "one bool per node",
    ),
    "diagonal without channels": (
        lambda: Diagonal(torch.rand(4)),
        r"a diagonal of shape \(4,\)",
        "channels",
        "unsqueeze",
    ),
    "diagonal of integers": (
        lambda: Diagonal(torch.ones(4, 1, dtype=LONG)),
        "a diagonal of dtype torch.int64",
        "float32",
        "Convert",
    ),
    "colour as a matrix": (
        lambda: ColorMosaic(torch.zeros(2, 2, dtype=LONG)),
        r"color of shape \(2, 2\)",
        r"\(nodes,\) of int64",
        "channel number of each node",
    ),
    "colour of floats": (lambda: ColorMosaic(torch.zeros(4)), "float32", "int64", "channel number"),
    "colour beyond the channels": (
        lambda: ColorMosaic(torch.tensor([0, 3]), num_channels=3),
        "channel numbers up to 3",
        "0 to 2",
        "Raise num_channels",
    ),
    "negative colour": (
        lambda: ColorMosaic(torch.tensor([0, -1]), num_channels=3),
        "channel numbers",
        "0 to 2",
        "correct the pattern",
    ),
    "no channels": (
        lambda: ColorMosaic(torch.tensor([0]), num_channels=0),
        "num_channels=0",
        "at least 1",
        "Set num_channels",
    ),
    "flat pattern": (
        lambda: ColorMosaic.periodic((2, 2), [0, 1]),
        "pattern",
        "rows of channel numbers",
        r"E\.g\.",
    ),
    "unknown Bayer phase": (
        lambda: BayerMosaic(2, 2, "RGBG"),
        "Bayer phase 'RGBG'",
        "'RGGB', 'BGGR', 'GRBG' or 'GBRG'",
        "ColorMosaic.periodic",
    ),
    "factor of zero": (lambda: Downsample((4,), 0), "factor=0", "at least 1", "one per axis"),
    "offset beyond the factor": (
        lambda: Downsample((4, 4), 2, (0, 2)),
        r"offset=\(0, 2\)",
        "an offset below it",
        "one per axis",
    ),
    "a factor for too few axes": (
        lambda: Downsample((4, 4), (2,)),
        r"factor=\(2,\)",
        "on every axis",
        "one per axis",
    ),
    "even kernel": (
        lambda: Blur((4, 4), torch.ones(2, 3)),
        r"a kernel of shape \(2, 3\)",
        "one odd size per axis",
        "Pad the kernel",
    ),
    "kernel of another dimension": (
        lambda: Blur((4, 4), torch.ones(3)),
        r"a kernel of shape \(3,\)",
        "one odd size per axis",
        "Pad",
    ),
    "kernel of sum zero": (
        lambda: Blur((4,), torch.tensor([-1.0, 0.0, 1.0])),
        "sum to 0",
        "non-zero sum",
        "Gradient or MatrixFree",
    ),
    "unknown Laplacian": (
        lambda: Laplacian(GRAPH, "row"),
        "normalization='row'",
        "'none', 'sym' or 'rw'",
        r"graph.normalized\('row'\)",
    ),
    "sym on a directed graph": (
        lambda: Laplacian(DIRECTED, "sym"),
        "normalization='sym' on a directed graph",
        "an undirected graph",
        "combinatorial",
    ),
    "rw on a directed graph": (
        lambda: Laplacian(DIRECTED, "rw"),
        "normalization='rw' on a directed graph",
        "an undirected graph",
        "combinatorial",
    ),
    # ---- joining
    "composition that does not fit": (
        lambda: SamplingMask(torch.ones(4, dtype=torch.bool)) @ Downsample((5,), 2),
        "SamplingMask of 4 inputs after Downsample of 3 outputs",
        "equal numbers",
        "Check the order",
    ),
    "sum that does not fit": (
        lambda: Laplacian(GRAPH) + SamplingMask(torch.ones(5, dtype=torch.bool)),
        "a sum of operators on 4 and 5 nodes",
        "equal numbers",
        "same graph",
    ),
    "sum of other outputs": (
        lambda: Downsample((6,), 2) + Downsample((6,), 3),
        "a sum of operators on 3 and 2 nodes",
        "equal numbers",
        "same graph",
    ),
    "two batches": (
        lambda: (batched(0, 0, 1, 1) + batched(1, 1, 0, 0)).systems,
        "different graphs of a batch",
        "one batch vector",
        "same topology",
    ),
    # ---- two kinds of numbers
    "weights and signal of two types": (
        lambda: Incidence(GRAPH) @ torch.rand(4, 1).double(),
        "a signal of dtype torch.float64",
        "the edge weights, torch.float32",
        "Convert",
    ),
    "weights and edge signal of two types": (
        lambda: Incidence(GRAPH).T @ torch.rand(4, 1).double(),
        "an edge signal of dtype torch.float64",
        "the edge weights, torch.float32",
        "Convert",
    ),
    "adjacency on another device": (
        lambda: Adjacency(GRAPH) @ torch.rand(4, 1, device="meta"),
        "a signal on meta",
        "the edge weights, cpu",
        "Move",
    ),
    "kernel on another device": (
        lambda: Blur((4,), torch.ones(3)).T @ torch.rand(4, 1, device="meta"),
        "a signal on meta",
        "the kernel, cpu",
        "Move",
    ),
    "diagonal on another device": (
        lambda: Diagonal(numbers(4, 1)) @ torch.rand(4, 1, dtype=torch.float64, device="meta"),
        "a signal on meta",
        "the diagonal, cpu",
        "Move",
    ),
    "no adjoint": (
        lambda: MatrixFree(lambda x: x).T @ torch.rand(4, 1),
        "MatrixFree, which has no adjoint",
        "_apply_adjoint",
        "pass the adjoint",
    ),
}


@pytest.mark.parametrize(("call", "got", "expected", "advice"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_answered_in_three_parts(call, got, expected, advice):
    with pytest.raises(ValueError, match=f"(?s)^Got .*{got}.* Expected .*{expected}.* .*{advice}"):
        call()
