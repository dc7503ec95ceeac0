"""The metric against its definition, and pictures against what they should hold."""

import pytest
import torch

from gsp_unroll import Graph, grid_graph
from gsp_unroll.metrics import psnr
from gsp_unroll.viz import draw_graph

figure = pytest.importorskip("matplotlib.figure")


def test_psnr_is_per_signal_and_agrees_with_scikit_image():
    metrics = pytest.importorskip("skimage.metrics")
    x, truth = torch.rand(3, 20, 2).double(), torch.rand(3, 20, 2).double()
    each = psnr(x, truth, peak=2.0)
    for one, a, b in zip(each, x, truth, strict=True):
        expected = metrics.peak_signal_noise_ratio(b.numpy(), a.numpy(), data_range=2.0)
        assert float(one) == pytest.approx(expected, abs=1e-10)
    assert torch.isinf(psnr(truth, truth)).all()


def test_psnr_mistakes():
    with pytest.raises(ValueError, match=r"Got signals of shapes \(4, 1\) and \(5, 1\)\. Expected"):
        psnr(torch.zeros(4, 1), torch.zeros(5, 1))
    with pytest.raises(ValueError, match=r"Got peak=0"):
        psnr(torch.zeros(4, 1), torch.zeros(4, 1), peak=0)


def test_edges_are_drawn_once_and_opaque_by_weight():
    grid = grid_graph((2, 3))
    weight = torch.rand(grid.num_edges)
    graph = Graph(grid, weight)
    y, x = torch.meshgrid(torch.arange(2.0), torch.arange(3.0), indexing="ij")
    position = torch.stack([x, y], -1).reshape(-1, 2)
    ax = draw_graph(figure.Figure().subplots(), graph, position, background=torch.rand(2, 3))
    (lines,) = ax.collections
    mask = grid.edge_mask
    assert len(lines.get_segments()) == int(mask.sum())
    opacity = torch.from_numpy(lines.get_colors()[:, 3])
    expected = graph.weight[mask] / graph.weight[mask].max()
    torch.testing.assert_close(opacity.float(), expected, rtol=0, atol=1e-6)
    assert len(ax.images) == 1


def test_draw_graph_mistakes():
    grid = grid_graph((2, 3))
    ax = figure.Figure().subplots()
    batched = Graph(grid, torch.rand(2, grid.num_edges))
    with pytest.raises(ValueError, match=r"Got weights of shape .* Expected \(edges,\)"):
        draw_graph(ax, batched, torch.rand(6, 2))
    with pytest.raises(ValueError, match=r"Got positions of shape \(6, 3\)\. Expected \(6, 2\)"):
        draw_graph(ax, Graph(grid, torch.rand(grid.num_edges)), torch.rand(6, 3))
