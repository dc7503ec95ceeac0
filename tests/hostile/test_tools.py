"""Hostile input at the doors of what people call: PyTorch Geometric, clouds, series, sensors.

How to draw thousands of cases stands in `test_graphs_and_operators.py`.
"""

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from torch_geometric.data import Data

from gsp_unroll.clouds import (
    CloudDenoiser,
    PointCloud,
    fit_surfaces,
    inpaint_attributes,
)
from gsp_unroll.graph import path_graph
from gsp_unroll.learners import MahalanobisLearner
from gsp_unroll.operators import Identity
from gsp_unroll.problems import GLR, GTV, Interpolation, LeastSquares
from gsp_unroll.pyg import LearnGraph, RestoreFeatures, RestoreSignal
from gsp_unroll.sensors import GraphField, local_plane, on_sphere
from gsp_unroll.series import (
    DailyMean,
    Standardization,
    block_gaps,
    chronological_split,
    clock_features,
    collinear_runs,
    correlation_points,
    moved_on,
    scattered_gaps,
    sliding_windows,
)
from gsp_unroll.solvers import ADMM
from gsp_unroll.unroll import GLRUnroll
from tests.hostile.law import answer, assert_answer, hostile
from tests.hostile.strategies import (
    DTYPES,
    SIZES,
    TAME,
    columns,
    graphs,
    masks,
    numbers,
    points,
    signals,
    spoilt,
)

# ---- PyTorch Geometric ----------------------------------------------------------------------


@st.composite
def datas(draw):
    """A `Data` of any edges and attributes, some of which do not fit."""
    e, w, n = draw(columns())
    n = 5 if n is None else n
    if e.ndim == 2 and e.numel() and float(e.double().max()) > 1000:
        e = e.clamp(max=1000)
    dtype = draw(DTYPES)
    data = Data(edge_index=e, num_nodes=max(n, 0))
    if w is not None:
        data[draw(st.sampled_from(["edge_weight", "edge_attr"]))] = w
    rows = max(n, 0) + draw(st.sampled_from([0, 0, 0, 1]))
    data.x = draw(
        signals(rows, dtype, sizes=TAME, batch=draw(st.sampled_from([False, False, True])))
    )
    if draw(st.booleans()):
        data.x = spoilt(draw, data.x)
    if draw(st.booleans()):
        data.pos = draw(points(dtype))
    return data


@hostile(datas(), st.integers(0, 4), st.booleans(), examples=60)
def test_learn_graph_answers_or_refuses(data, k, directed):
    if k % 2:
        del data.edge_index
    learned = answer(lambda: LearnGraph(k=k, directed=directed)(data))
    if learned is not None:
        assert_answer(learned.edge_weight, [learned.edge_index.shape[1]], data.x.dtype)


@hostile(
    datas(),
    st.sampled_from([LeastSquares, Interpolation]),
    st.sampled_from([GLR, partial(GTV, lam=0.1)]),
    examples=60,
)
def test_restore_signal_answers_or_refuses(data, term, prior):
    solver = None if prior is GLR else ADMM(max_steps=20)
    restored = answer(lambda: RestoreSignal(prior, data_term=term, solver=solver)(data))
    if restored is not None:
        assert_answer(restored.x, data.x.shape, data.x.dtype)


@hostile(datas(), st.data(), examples=60)
def test_restore_features_answers_or_refuses(data, drawn):
    layer = RestoreFeatures(GLRUnroll(3, mu=1.0)).to(data.x.dtype)
    x = data.x.nan_to_num(0, 1, -1)
    mask = drawn.draw(st.sampled_from([None, torch.ones(len(x), dtype=torch.bool)]))
    w = getattr(data, "edge_weight", None)
    restored = answer(lambda: layer(x, data.edge_index, w, mask=mask))
    if restored is not None:
        assert_answer(restored, x.shape, x.dtype)


# ---- clouds ---------------------------------------------------------------------------------


@hostile(st.data(), examples=40)
def test_colours_are_filled_in_or_refused(data):
    dtype = data.draw(DTYPES)
    p = data.draw(points(dtype))
    y = data.draw(signals(len(p), dtype, sizes=TAME, batch=False))
    y = torch.where(data.draw(masks(len(p))), y, torch.nan)
    if data.draw(st.booleans()):
        p = spoilt(data.draw, p)
    filled = answer(lambda: inpaint_attributes(p, y, data.draw(st.integers(0, 20))))
    if filled is not None:
        assert_answer(filled.y, y.shape, dtype)
        known = ~y.isnan()
        assert torch.equal(filled.y[known], y[known])


@hostile(st.data(), SIZES, examples=25)
def test_surfaces_through_any_points(data, size):
    dtype = data.draw(DTYPES)
    n = data.draw(st.integers(0, 14))
    p = numbers(data.draw, [n, 3], dtype, size)
    if n > 2 and data.draw(st.booleans()):
        p[:, 1:] = p[:, :1]  # on a line
    if data.draw(st.booleans()):
        p = spoilt(data.draw, p)
    fits = answer(lambda: fit_surfaces(p, (3, 5), (8,)))
    if fits is not None and size in ("ordinary", "constant", "zero"):
        for name in ("move", "normal", "residual", "spread", "radius"):
            assert bool(getattr(fits, name).isfinite().all()), name


@pytest.mark.parametrize("kind", ["ordinary", "on a line", "copies", "huge", "tiny", "few", "NaN"])
def test_the_cloud_denoiser_answers_or_refuses(kind):
    """A few clouds only: each takes a tenth of a second."""
    torch.manual_seed(0)
    for dtype in (torch.float32, torch.float64):
        p = torch.nn.functional.normalize(torch.randn(200, 3, dtype=dtype), dim=-1)
        p = p + 0.05 * torch.randn(200, 3, dtype=dtype)
        if kind == "on a line":
            p[:, 1:] = p[:, :1]
        if kind == "copies":
            p[100:] = p[0]
        p = p * {"huge": 1e12, "tiny": 1e-12}.get(kind, 1.0)
        if kind == "few":
            p = p[:100]
        if kind == "NaN":
            p[3, 1] = torch.nan
        with torch.no_grad():
            x = answer(lambda p=p, dtype=dtype: CloudDenoiser().to(dtype)(p))
        assert x is not None or kind in ("few", "NaN", "on a line", "copies")
        if x is not None:
            assert_answer(x, p.shape, dtype)


@hostile(st.data(), examples=60)
def test_a_cloud_is_made_or_refused(data):
    dtype = data.draw(DTYPES)
    n = data.draw(st.integers(0, 4))
    xyz = spoilt(
        data.draw, numbers(data.draw, [n, data.draw(st.sampled_from([3, 3, 2]))], dtype, "ordinary")
    )
    faces = torch.tensor(
        data.draw(st.lists(st.tuples(*[st.integers(-1, 4)] * 3), max_size=3)), dtype=torch.int64
    ).reshape(-1, 3)
    cloud = answer(lambda: PointCloud(xyz, faces=data.draw(st.sampled_from([None, faces]))))
    if cloud is not None:
        smaller = cloud.known().distinct()
        assert len(smaller) <= len(cloud)
        assert bool(smaller.xyz.isfinite().all())


# ---- series ---------------------------------------------------------------------------------


@st.composite
def series(draw, dtype, sizes=TAME):
    steps, nodes = draw(st.integers(0, 8)), draw(st.integers(0, 4))
    x = numbers(draw, [steps, nodes, *draw(st.sampled_from([[], [2]]))], dtype, draw(sizes))
    return spoilt(draw, x, (float("nan"),))


@hostile(st.data(), st.integers(-1, 9), st.integers(-1, 3), examples=60)
def test_series_are_cut_or_refused(data, length, stride):
    x = data.draw(series(data.draw(DTYPES)))
    windows = answer(lambda: sliding_windows(x, length, stride))
    if windows is not None:
        assert windows.shape[1] == length
    runs = answer(lambda: collinear_runs(x, length))
    assert runs is None or runs.shape == x.shape
    parts = answer(lambda: chronological_split(len(x), [0.5, 0.1 * length]))
    assert parts is None or parts[-1].stop <= len(x)
    moved = answer(lambda: moved_on(x, length, stride))
    assert moved is None or moved.shape == x.shape


@hostile(st.data(), SIZES, examples=60)
def test_what_is_usual_is_finite(data, size):
    x = data.draw(series(data.draw(DTYPES), st.just(size)))
    usual = answer(lambda: DailyMean.learned_from(x, data.draw(st.integers(0, 5)), reach=1))
    if usual is not None:
        assert bool(usual.mean.isfinite().all())
    scale = answer(lambda: Standardization.learned_from(x))
    if scale is not None:
        z = scale(x)
        assert torch.equal(z.isnan(), x.isnan())
        assert not bool(z.isinf().any())


@hostile(st.data(), SIZES, st.integers(0, 4), examples=60)
def test_points_of_correlations_are_finite(data, size, dimensions):
    x = data.draw(series(data.draw(DTYPES), st.just(size)))
    p = answer(lambda: correlation_points(x, dimensions))
    if p is not None:
        assert_answer(p, [x.shape[1], dimensions], x.dtype)


@hostile(
    st.integers(-1, 9),
    st.integers(-1, 4),
    st.floats(),
    st.tuples(st.integers(-1, 5), st.integers(-1, 5)),
    examples=60,
)
def test_gaps_of_any_size(steps, nodes, share, lengths):
    gaps = answer(lambda: scattered_gaps(steps, nodes, share))
    assert gaps is None or gaps.shape == (steps, nodes)
    blocks = answer(lambda: block_gaps(steps, nodes, share, lengths))
    assert blocks is None or blocks.shape == (steps, nodes)


@hostile(st.lists(st.integers(-(2**62), 2**62) | st.none(), max_size=4), st.sampled_from("Dhmsn"))
def test_any_times(values, unit):
    unit = "ns" if unit == "n" else unit
    filled = [np.iinfo(np.int64).min if v is None else v for v in values]
    times = np.array(filled, np.int64).view(f"datetime64[{unit}]")
    features = answer(lambda: clock_features(times))
    if features is not None:
        assert_answer(features, [len(times), 9], torch.float32)


# ---- sensors --------------------------------------------------------------------------------


@hostile(st.lists(st.tuples(st.floats(), st.floats()), max_size=4), DTYPES)
def test_any_degrees(places, dtype):
    latitude, longitude = (torch.tensor([p[i] for p in places], dtype=dtype) for i in range(2))
    p = answer(lambda: on_sphere(latitude, longitude))
    if p is not None:
        assert_answer(p, [len(places), 3], dtype)
    plane = answer(lambda: local_plane(latitude, longitude))
    if plane is not None:
        assert_answer(plane, [len(places), 2], dtype)


@hostile(st.data(), st.floats(-1, 2) | st.sampled_from([float("nan"), float("inf")]), examples=40)
def test_a_field_is_estimated_or_refused(data, sigma):
    dtype = data.draw(DTYPES)
    n = data.draw(st.integers(1, 6))
    y = data.draw(signals(n, dtype, sizes=TAME))
    y = torch.where(data.draw(masks(n)), y, torch.nan)
    f = numbers(data.draw, [n, 1], dtype, data.draw(SIZES))
    if data.draw(st.booleans()):
        f = spoilt(data.draw, f)
    field = GraphField(MahalanobisLearner(1)).to(dtype)
    with torch.no_grad():
        estimate = answer(lambda: field(y, f, path_graph(n), sigma=sigma))
    if estimate is not None:
        assert_answer(estimate.x, y.shape, dtype)
        assert not bool(estimate.deviation.isnan().any())
        assert bool(estimate.log_likelihood.isfinite().all())


@hostile(st.data(), examples=20)
def test_layers_on_a_graph_of_pyg_equal_those_on_ours(data):
    graph = data.draw(graphs(torch.float64, sizes=st.just("ordinary")))
    y = data.draw(signals(graph.num_nodes, torch.float64, sizes=TAME, channels=2, batch=False))
    layer = GLRUnroll(3, mu=1.0).double()
    pyg = answer(graph.to_pyg)
    if pyg is None:  # a batch whose nodes are not sorted by graph
        return
    ours = layer(LeastSquares(Identity(), y), graph)
    theirs = RestoreFeatures(layer)(y, pyg.edge_index, pyg.edge_weight, getattr(pyg, "batch", None))
    assert torch.allclose(ours, theirs, rtol=1e-9, atol=1e-12)
