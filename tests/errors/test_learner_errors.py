"""Every mistake at the door of a learner or a feature network gets its three-part message."""

import pytest
import torch

from gsp_unroll.features import CausalTemporalConv, EdgeConvFeatures, GridCNN, PointMLP
from gsp_unroll.graph import grid_graph, path_graph
from gsp_unroll.learners import DotProductLearner, GraphLearner, MahalanobisLearner

GRID = grid_graph((2, 3))
NETWORKS = {
    "grid cnn": (GridCNN, {}),
    "edge conv": (EdgeConvFeatures, {}),
    "temporal": (CausalTemporalConv, {"places": 3}),
}


@pytest.fixture(params=[MahalanobisLearner, DotProductLearner])
def kind(request):
    return request.param


def parts(got, expected, advice):
    return f"(?s)Got {got}.*Expected {expected}.*{advice}"


def refuses(got, expected, advice):
    return pytest.raises(ValueError, match=parts(got, expected, advice))


# ---- building a learner ---------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, -1, 2.0, True])
def test_counts(kind, count):
    with refuses("num_features=", "a whole number of at least 1", "Set num_features to 1"):
        kind(count)
    with refuses("heads=", "a whole number of at least 1", "Set heads to 1"):
        kind(3, heads=count)
    with refuses("num_keys=", "a whole number of at least 1", "Set num_keys to 1"):
        DotProductLearner(3, num_keys=count)


@pytest.mark.parametrize("init", [0, -1.5, float("inf"), float("nan")])
def test_init(init):
    with refuses("init=", "a finite number above 0", "Set init above 0"):
        MahalanobisLearner(3, init=init)


def test_unknown_normalization(kind):
    with refuses("normalization='softmax'", "'none', 'sym', 'row' or 'merged'", "Graph.normalized"):
        kind(3, normalization="softmax")


def test_a_learner_without_edge_update():
    class Unfinished(GraphLearner):
        pass

    with pytest.raises(TypeError, match="edge_update"):
        Unfinished(3)


# ---- calling it -----------------------------------------------------------------------------


def test_wrong_number_of_nodes(kind):
    with refuses(r"a feature tensor of shape \(5, 3\)", "6 on axis -2", "the same 6 nodes"):
        kind(3)(torch.rand(5, 3), GRID)


def test_transposed_features(kind):
    with refuses(r"a feature tensor of shape \(3, 6\)", "6 on axis -2", "looks transposed"):
        kind(3)(torch.rand(3, 6), GRID)


def test_no_channel_axis(kind):
    with refuses(r"a feature tensor of shape \(6,\)", r"\(\*batch, nodes, channels\)", "unsqueeze"):
        kind(1)(torch.rand(6), GRID)


def test_integer_features(kind):
    with refuses("a feature tensor of dtype torch.int64", "float32 or float64", "Convert it"):
        kind(3)(torch.ones(6, 3, dtype=torch.int64), GRID)


def test_wrong_number_of_features(kind):
    with refuses(r"features of shape \(6, 4\)", "3 features per node", "num_features=4"):
        kind(3)(torch.rand(6, 4), GRID)


@pytest.mark.parametrize("shape", [(6, 3), (5, 6, 3), (2, 5, 6, 3)])
def test_wrong_head_axis(kind, shape):
    with refuses("features of shape", "2 heads on axis -3", "the feature network with heads=2"):
        kind(3, heads=2)(torch.rand(shape), GRID)


def test_wrong_dtype(kind):
    with refuses("features of dtype torch.float64", f"the dtype of this {kind.__name__}", "Conv"):
        kind(3)(torch.rand(6, 3).double(), GRID)


def test_wrong_device(kind):
    with refuses("features on meta", f"the device of this {kind.__name__}, cpu", "Move"):
        kind(3)(torch.rand(6, 3, device="meta"), GRID)


@pytest.mark.parametrize("normalization", ["sym", "merged"])
def test_directed_topology_with_a_symmetric_normalization(kind, normalization):
    with refuses("normalization=.* on a directed graph", "an undirected graph", "Use 'row'"):
        kind(3, normalization=normalization)(torch.rand(6, 3), path_graph(6, directed=True))


# ---- feature networks -----------------------------------------------------------------------


@pytest.mark.parametrize("kind", [GridCNN, PointMLP, EdgeConvFeatures, CausalTemporalConv])
@pytest.mark.parametrize("count", [0, -1, 2.0, True])
def test_feature_network_counts(kind, count):
    for name in ("in_channels", "out_channels", "num_layers", "width", "heads"):
        arguments = {"in_channels": 2, "out_channels": 4, name: count}
        with refuses(f"{name}=", "a whole number of at least 1", f"Set {name} to 1"):
            kind(**arguments)


@pytest.mark.parametrize("kind", [GridCNN, PointMLP, EdgeConvFeatures, CausalTemporalConv])
def test_channels_that_heads_cannot_share(kind):
    with refuses("out_channels=7 for heads=3", "the same number of channels", "out_channels=9"):
        kind(2, 7, heads=3)


def test_kernel_size():
    with refuses("kernel_size=0", "a whole number of at least 1", "Set kernel_size to 1"):
        CausalTemporalConv(2, 4, kernel_size=0)


@pytest.fixture(params=NETWORKS.values(), ids=NETWORKS.keys())
def network(request):
    kind, own = request.param
    module = kind(2, 4, width=3, **own)
    return lambda x: module(x, GRID)


def test_signal_of_another_number_of_channels(network):
    with refuses(r"a signal of shape \(6, 3\)", "2 channels on axis -1", "in_channels=3"):
        network(torch.rand(6, 3))


def test_integer_signal(network):
    with refuses("a signal of dtype torch.uint8", "float32 or float64", "float"):
        network(torch.ones(6, 2, dtype=torch.uint8))


def test_signal_of_another_dtype(network):
    with refuses("a signal of dtype torch.float64", "the dtype of this", "Convert"):
        network(torch.rand(6, 2).double())


def test_signal_on_other_nodes(network):
    with pytest.raises(ValueError, match=parts("a signal", "", "")):
        network(torch.rand(5, 2))


@pytest.mark.parametrize("shape", [(6,), (1, 2, 3)])
def test_grid_cnn_on_another_kind_of_lattice(shape):
    with refuses("a Grid whose lattice is", "the pixels of an image", "PointMLP"):
        GridCNN(2, 4)(torch.rand(6, 2), grid_graph(shape))


def test_steps_that_do_not_divide_the_nodes():
    with refuses("a signal on 6 nodes for places=4", "a multiple of 4 nodes", "time first"):
        CausalTemporalConv(2, 4, places=4)(torch.rand(6, 2))
    with refuses("places=0", "a whole number of at least 1", "Set places to 1"):
        CausalTemporalConv(2, 4, places=0)
