"""Places on the globe, and fields: against their definitions, and as what they promise to be."""

import math

import numpy as np
import pytest
import torch
from torch.distributions import MultivariateNormal

from gsp_unroll import (
    GLR,
    ConjugateGradient,
    DotProductLearner,
    EdgeList,
    Graph,
    Laplacian,
    LeastSquares,
    MahalanobisLearner,
    SamplingMask,
    grid_graph,
    knn_graph,
    start,
)
from gsp_unroll.sensors import GraphField, great_circle, local_plane, on_sphere
from gsp_unroll.sensors.geography import EARTH_RADIUS

F64 = torch.float64


# ---- geography ------------------------------------------------------------------------------


def haversine(a, b):
    """Degrees in, kilometres out."""
    (la, lo), (la2, lo2) = (np.radians(p) for p in (a, b))
    h = np.sin((la2 - la) / 2) ** 2 + np.cos(la) * np.cos(la2) * np.sin((lo2 - lo) / 2) ** 2
    return 2 * EARTH_RADIUS * np.arcsin(np.sqrt(h))


def places(count, seed=0):
    random = torch.Generator().manual_seed(seed)
    latitude = torch.rand(count, generator=random, dtype=F64) * 180 - 90
    return latitude, torch.rand(count, generator=random, dtype=F64) * 360 - 180


def test_great_circles_are_those_of_the_haversine():
    latitude, longitude = places(20)
    points = on_sphere(latitude, longitude)
    assert points.norm(dim=-1).allclose(torch.tensor(EARTH_RADIUS, dtype=F64))
    ways = great_circle(points[:, None], points)
    for i in range(20):
        for j in range(20):
            pair = [(float(latitude[k]), float(longitude[k])) for k in (i, j)]
            assert ways[i, j].item() == pytest.approx(haversine(*pair), abs=1e-3)


def test_neighbours_are_found_across_the_date_line():
    edges = knn_graph(
        on_sphere(torch.tensor([0.0, 0.0, 0.0]), torch.tensor([179.5, -179.5, 170.0])), 1
    )
    assert sorted(map(tuple, edges.edge_index.T.tolist())) == [(0, 1), (0, 2)]


def test_a_local_plane_keeps_distances_of_a_region():
    latitude, longitude = 45 + 4 * torch.rand(30, dtype=F64), 178 + 4 * torch.rand(30, dtype=F64)
    longitude = torch.where(longitude > 180, longitude - 360, longitude)  # across the date line
    plane, points = local_plane(latitude, longitude), on_sphere(latitude, longitude)
    flat = (plane[:, None] - plane).norm(dim=-1)
    torch.testing.assert_close(flat, great_circle(points[:, None], points), rtol=0.05, atol=0.1)
    north = plane[:, 1] - plane[0, 1]
    torch.testing.assert_close(north, EARTH_RADIUS * torch.deg2rad(latitude - latitude[0]))
    assert plane.mean(0).abs().max() < 5


@pytest.mark.parametrize(
    ("latitude", "longitude", "message"),
    [
        ([91.0], [0.0], r"the first at latitude 91"),
        ([0.0], [361.0], r"in degrees.* radians"),
        ([0.0, math.nan], [0.0, 0.0], r"Got 1 places out of range"),
        ([120.0, 100.0], [50.0, -60.0], r"seem to be swapped"),
        ([0.0], [0.0, 1.0], r"one of each for every place"),
    ],
)
def test_places_that_are_none(latitude, longitude, message):
    with pytest.raises(ValueError, match=message):
        on_sphere(torch.tensor(latitude), torch.tensor(longitude))


def test_a_plane_for_the_whole_globe_is_refused():
    with pytest.raises(ValueError, match=r"all round the globe.* Use on_sphere"):
        local_plane(torch.zeros(4), torch.tensor([0.0, 90.0, 180.0, -90.0]))


# ---- fields ---------------------------------------------------------------------------------


def a_field(num_regressors=2, dtype=F64, seed=0):
    """A field with parameters unlike the first ones, features, edges and regressors."""
    torch.manual_seed(seed)
    place = torch.rand(14, 2, dtype=dtype)
    field = GraphField(MahalanobisLearner(2, normalization="none"), num_regressors).to(dtype)
    with torch.no_grad():
        for parameter in field.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
        field.log_delta.fill_(-2.0)
    F = torch.randn(14, num_regressors, dtype=dtype) if num_regressors else None
    return field, (place, knn_graph(place, 4), F)


def gaps(*batch, channels=3, dtype=F64):
    y = torch.randn(*batch, 14, channels, dtype=dtype)
    return torch.where(torch.rand_like(y) < 0.4, torch.nan, y)


def by_hand(field, place, topology, F, scale):
    """Mean and covariance of the field from its definition."""
    L = Laplacian(field.graph(place, topology)) @ torch.eye(14, dtype=F64)
    z = torch.linalg.inv(L + field.log_delta.exp() * torch.eye(14, dtype=F64))
    K = scale * (field.log_strength.exp() * z + field.log_own.exp() * torch.eye(14, dtype=F64))
    mean = F @ field.slope
    return mean, K + F @ torch.diag(field.log_slope_variance.exp()) @ F.T


@torch.no_grad()
def test_likelihood_and_estimate_are_those_of_the_gaussian():
    field, (place, topology, F) = a_field()
    y, sigma, scale = gaps(2), 0.3, torch.tensor([[0.5, 1.0, 2.0], [3.0, 1.0, 0.2]], dtype=F64)
    got = field(y, place, topology, F, sigma, scale)
    again = field.log_likelihood(y, place, topology, F, sigma, scale)
    torch.testing.assert_close(got.log_likelihood, again)
    wide = 1e4  # deviation of the level: the limit of ever wider ones
    for b in range(2):
        for c in range(3):
            mean, K = by_hand(field, place, topology, F, scale[b, c])
            K = K + wide**2
            known = ~y[b, :, c].isnan()
            S = K[known][:, known] + sigma**2 * torch.eye(int(known.sum()), dtype=F64)
            reading = y[b, known, c]
            expected = MultivariateNormal(mean[known], S).log_prob(reading)
            expected = expected + math.log(wide * math.sqrt(2 * math.pi))
            torch.testing.assert_close(got.log_likelihood[b, c], expected, rtol=0, atol=1e-4)
            gain = torch.linalg.solve(S, K[known]).T
            x = mean + gain @ (reading - mean[known])
            torch.testing.assert_close(got.x[b, :, c], x, rtol=0, atol=1e-5)
            deviation = (K - gain @ K[known]).diagonal().sqrt()
            torch.testing.assert_close(got.deviation[b, :, c], deviation, rtol=1e-4, atol=0)


@torch.no_grad()
def test_without_trend_it_is_the_glr():
    field, (place, topology, _) = a_field(0)
    field.log_delta.fill_(-14.0)
    field.log_own.fill_(-20.0)
    y, sigma = gaps(channels=1), 0.5
    x = field(y, place, topology, sigma=sigma, scale=torch.ones(1, dtype=F64)).x
    mu = sigma**2 / field.log_strength.exp()
    data = LeastSquares(SamplingMask(~y.isnan()), y)
    A, b = data.system(GLR(field.graph(place, topology), float(mu)).Q)
    expected = ConjugateGradient(rtol=1e-12).solve(A, b, start(data, topology)).x
    torch.testing.assert_close(x, expected, rtol=0, atol=1e-4)


@torch.no_grad()
def test_readings_without_noise_stay_and_all_missing_is_the_trend():
    field, (place, topology, F) = a_field()
    y = gaps()
    y[:, 2] = torch.nan
    estimate = field(y, place, topology, F)
    known = ~y.isnan()
    torch.testing.assert_close(estimate.x[known], y[known], rtol=0, atol=1e-9)
    assert float(estimate.deviation[known].max()) < 1e-6
    assert float(estimate.deviation[~known].min()) > 1e-2
    torch.testing.assert_close(estimate.x[:, 2], F @ field.slope)
    assert estimate.log_likelihood[2] == 0
    assert bool(estimate.deviation[:, 2].isinf().all())


@torch.no_grad()
def test_the_level_is_free():
    field, (place, topology, F) = a_field()
    y = gaps()
    low, high = (field(y + level, place, topology, F, 0.1) for level in (0.0, 1e4))
    torch.testing.assert_close(high.x, low.x + 1e4)
    torch.testing.assert_close(high.deviation, low.deviation)
    torch.testing.assert_close(high.log_likelihood, low.log_likelihood)


@torch.no_grad()
def test_deviations_cover_what_the_model_draws():
    field, (place, topology, F) = a_field()
    field.log_slope_variance.fill_(0.0)
    mean, K = by_hand(field, place, topology, F, 1.0)
    truth = MultivariateNormal(mean, K).sample((2000,)).mT
    known = torch.arange(14) % 3 > 0
    y = torch.where(known[:, None], truth + 0.2 * torch.randn_like(truth), torch.nan)
    estimate = field(y, place, topology, F, 0.2, torch.ones(2000, dtype=F64))
    off = (truth - estimate.x) / estimate.deviation
    assert off.square().mean().item() == pytest.approx(1, abs=0.05)
    assert (off.abs() < 2).double().mean().item() == pytest.approx(0.954, abs=0.01)


@torch.no_grad()
def test_the_scale_is_found_and_nothing_else_matters_to_it():
    field, (place, topology, F) = a_field()
    mean, K = by_hand(field, place, topology, F, 1.0)
    trend = F @ torch.diag(field.log_slope_variance.exp()) @ F.T
    for scale in (0.25, 4.0):
        K_s = trend + scale * (K - trend)
        y = MultivariateNormal(mean, K_s).sample((200,)).mT
        found = field.likeliest_scale(y, place, topology, F, spread=10.0)
        assert found.log().mean().item() == pytest.approx(math.log(scale), abs=0.25)
        alone = field.likeliest_scale(y[:, 7:8], place, topology, F, spread=10.0)
        assert alone == found[7]
    narrow = field.likeliest_scale(y, place, topology, F, spread=0.01)
    assert (narrow == 1).all()


def test_derivatives_and_every_parameter_has_a_say():
    field, (place, topology, F) = a_field()
    y = gaps(channels=2)
    names, values = zip(*field.named_parameters(), strict=True)

    def call(place, F, *values):
        arguments = (y, place, topology, F, 0.3, torch.tensor([0.7, 1.5], dtype=F64))
        parameters = dict(zip(names, values, strict=True))
        estimate = torch.func.functional_call(field, parameters, arguments)
        return estimate.x, estimate.deviation, estimate.log_likelihood

    inputs = (place.requires_grad_(), F.requires_grad_(), *values)
    assert torch.autograd.gradcheck(call, inputs, fast_mode=True)
    field.log_likelihood(y, place, topology, F, 0.3).sum().backward()
    for name, parameter in field.named_parameters():
        assert bool((parameter.grad != 0).all()), name


def test_it_learns_the_metric_that_made_the_signals():
    torch.manual_seed(0)
    place = torch.rand(80, 2, dtype=F64)
    topology = knn_graph(place, 8)
    truth = GraphField(MahalanobisLearner(2, normalization="none")).double()
    with torch.no_grad():
        truth.learner.factor.copy_(torch.diag(torch.tensor([12.0, 1.0])))  # smooth along y only
        truth.log_delta.fill_(-1.0)
        K = truth._model(torch.zeros(80, 1, dtype=F64), place, topology, None)[2]
        y = MultivariateNormal(torch.zeros(80, dtype=F64), K).sample((60,)).mT
    field = GraphField(MahalanobisLearner(2, normalization="none")).double()
    before = field.log_likelihood(y, place, topology).mean().item()
    optimizer = torch.optim.Adam(field.parameters(), 0.1)
    for _ in range(80):
        optimizer.zero_grad()
        (-field.log_likelihood(y, place, topology).mean()).backward()
        optimizer.step()
    after = field.log_likelihood(y, place, topology).mean().item()
    best = truth.log_likelihood(y, place, topology).mean().item()
    assert after > best - 0.3 > before
    metric = field.learner.factor.detach().T @ field.learner.factor.detach()
    assert metric[0, 0] > 20 * metric[1, 1]


@torch.no_grad()
def test_float32_and_grids_and_graphs_that_fall_apart():
    field, (place, topology, F) = a_field()
    y = gaps()
    expected = field(y, place, topology, F, 0.1)
    got = field.float()(y.float(), place.float(), topology, F.float(), 0.1)
    assert got.x.dtype == got.deviation.dtype == got.log_likelihood.dtype == torch.float32
    torch.testing.assert_close(got.x, expected.x.float(), rtol=0, atol=1e-4)
    torch.testing.assert_close(got.deviation, expected.deviation.float(), rtol=0, atol=1e-4)

    grid = grid_graph((2, 7), window=3)
    edges = EdgeList(grid.edge_index[:, grid.mask_edges(torch.ones(grid.num_edges)) > 0], 14)
    field = field.double()
    a, b = (field(y, place, t, F, 0.1) for t in (grid, edges))
    torch.testing.assert_close(a.x, b.x)
    torch.testing.assert_close(a.deviation, b.deviation)

    apart = EdgeList(torch.tensor([[0, 2], [1, 3]]), 14)
    x = field(y, place, apart, F, 0.1)
    assert bool(x.x.isfinite().all())
    assert bool(x.deviation.isfinite().all())


def test_mistakes():
    with pytest.raises(ValueError, match=r"Got a learner with heads=2.* Expected one graph"):
        GraphField(DotProductLearner(2, heads=2))
    with pytest.raises(ValueError, match="strength"):
        GraphField(MahalanobisLearner(2), strength=0.0)
    with pytest.raises(ValueError, match="num_regressors=-1"):
        GraphField(MahalanobisLearner(2), num_regressors=-1)
    field, (place, topology, F) = a_field()
    y = gaps()
    with pytest.raises(ValueError, match=r"Got 0 regressors.* Expected 2"):
        field(y, place, topology)
    with pytest.raises(ValueError, match=r"Got an observation with 14 infinite readings"):
        field(torch.full((14, 1), math.inf, dtype=F64), place, topology, F)
    with pytest.raises(ValueError, match=r"Got features that are NaN"):
        field(y, place.clone().fill_(torch.nan), topology, F)
    with pytest.raises(ValueError, match=r"Got sigma=-1"):
        field(y, place, topology, F, -1.0)
    with pytest.raises(ValueError, match=r"Got sigma=nan"):
        field(y, place, topology, F, math.nan)
    with pytest.raises(ValueError, match=r"14 on axis -2"):
        field(y[1:], place, topology, F)
    with pytest.raises(ValueError, match=r"dtype"):
        field(y.float(), place, topology, F)
    many = EdgeList(torch.tensor([[0], [1]]), 5000)
    with pytest.raises(ValueError, match=r"Got 5000 nodes.* Expected at most 4000"):
        field(torch.zeros(5000, 1, dtype=F64), torch.zeros(5000, 2, dtype=F64), many, None)


def test_a_field_keeps_its_graph():
    field, (place, topology, _) = a_field()
    graph = field.graph(place, topology)
    assert isinstance(graph, Graph)
    torch.testing.assert_close(graph.weight, field.learner(place, topology).weight)
