"""GLR about a plane: against dense algebra, and where `restore` takes it."""

import math

import numpy as np
import pytest
import torch

from gsp_unroll import GLR, Graph, Laplacian, path_graph, restore
from gsp_unroll.restoration import AboutPlane, Fixed, OnGlobe, PlaneGLR, place_graph
from gsp_unroll.testing import (
    check_adjoint,
    check_diagonal,
    check_majorizer,
    check_positive_semidefinite,
    dense_matrix,
)

F64 = torch.float64
NAN = math.nan
LAND = torch.rand(40, 2, generator=torch.Generator().manual_seed(0), dtype=F64)
SLOPES = torch.tensor([[3.0, 0.0, -1.0], [-50.0, 2.0, 1.0]], dtype=F64)
KNOWN = torch.rand(40, 3, generator=torch.Generator().manual_seed(1)) < 0.6


def close(a, b, atol=1e-8):
    torch.testing.assert_close(a, b, rtol=0, atol=atol, equal_nan=True)


def noisy(place=LAND, slopes=SLOPES, amount=1.0):
    noise = torch.randn(40, 3, generator=torch.Generator().manual_seed(2), dtype=F64)
    return (place @ slopes + amount * noise).masked_fill(~KNOWN, NAN)


def dense_form(graph, axes):
    """What is left of the Laplacian when the best plane is taken off."""
    L = dense_matrix(Laplacian(graph), graph.num_nodes)
    LU = L @ axes
    return L - LU @ torch.linalg.solve(axes.mT @ LU, LU.mT)


def test_the_operators_keep_their_laws_and_planes_cost_nothing():
    prior = PlaneGLR(place_graph(LAND), 0.7, axes=AboutPlane.of(LAND).axes)
    check_adjoint(prior.K, torch.randn(40, 3, dtype=F64))
    for law in (check_positive_semidefinite, check_diagonal, check_majorizer):
        law(prior.normal, 40)
    Q = dense_form(prior.graph, LAND)
    close(dense_matrix(prior.normal, 40), Q, 1e-10)
    x = torch.randn(40, 3, dtype=F64)
    close(prior(x).squeeze(0), 0.35 * (x * (Q @ x)).sum(0))
    close(prior(LAND @ SLOPES + 8).squeeze(0), torch.zeros(3, dtype=F64))


def test_the_estimate_and_its_band_are_those_of_universal_kriging():
    """Joint least squares over the signal and the slopes of its plane."""
    y, graph = noisy(), place_graph(LAND)
    result = restore(y, LAND, Fixed(AboutPlane.of(LAND), 0.3))
    muL = 0.3 / graph.degree.mean() * dense_matrix(Laplacian(graph), 40)
    sd = result.deviation()
    for c in range(3):
        known = KNOWN[:, c].double()
        # unknowns: x and beta
        A = torch.cat(
            [
                torch.cat([known.diag() + muL, -muL @ LAND], 1),
                torch.cat([-LAND.mT @ muL, LAND.mT @ muL @ LAND], 1),
            ]
        )
        b = torch.cat([y[:, c].nan_to_num(0), torch.zeros(2, dtype=F64)])
        joint = torch.linalg.solve(A, b)
        x, beta = joint[:40], joint[40:]
        close(result.x[:, c], x, 1e-5)
        off = x - LAND @ beta
        least = (known * (x - y[:, c].nan_to_num(0))).square().sum() + off @ muL @ off
        noise = least / (known.sum() - 3)  # a level and two slopes
        close(sd[:, c], (noise * torch.linalg.inv(A).diagonal()[:40]).sqrt(), 1e-5)
    nodes = torch.tensor([3, 30])
    close(result.deviation_at(nodes), sd[nodes], 1e-5)


def test_weights_of_readings_sum_to_one_and_reproduce_planes():
    result = restore(noisy(), LAND, Fixed(AboutPlane.of(LAND), 0.3))
    for node, channel in (0, 0), (17, 1), (39, 2):
        told = result.explain(node, channel)
        assert float(told.weights.sum()) == pytest.approx(1, abs=1e-6)
        close(told.weights @ LAND[told.nodes], LAND[node], 1e-6)
        assert float(told.weights @ told.readings) == pytest.approx(told.value, abs=1e-5)


GLOBE = OnGlobe((45 + 3 * LAND[:, 0]).numpy(), (5 * LAND[:, 1]).numpy())
PLACES = {
    "a plane": (LAND, LAND @ SLOPES),
    "units that differ": (
        LAND * torch.tensor([1e6, 1e-3]) + torch.tensor([1e6, 0]),
        LAND @ SLOPES,
    ),
    "a line": (LAND[:, :1] * torch.tensor([1.0, 2.0]), LAND[:, :1] @ SLOPES[1:]),
    "a line with a constant": (
        torch.cat([LAND[:, :1], torch.full((40, 1), 0.1, dtype=LAND.dtype)], 1),
        LAND[:, :1] @ SLOPES[1:],
    ),
    "a region of the globe": (GLOBE, AboutPlane.of(GLOBE).axes @ SLOPES),
}


@pytest.mark.parametrize(("where", "plane"), PLACES.values(), ids=PLACES)
def test_a_plane_comes_back_to_rounding(where, plane):
    y = (273.15 + plane).masked_fill(~KNOWN, NAN)
    result = restore(y, where)
    assert result.prior == "AboutPlane"
    close(result.x, 273.15 + plane, 1e-10)
    assert result.certificate.converged
    assert float(result.deviation().max()) < 1e-8
    single = restore(y.float(), where).x
    assert float((single - 273.15 - plane).abs().max()) < 1e-3


def test_shifts_by_a_plane_and_scales_pass_through():
    y = noisy()
    one = restore(y, LAND, Fixed(AboutPlane.of(LAND), 0.3)).x
    # the weight is relative to the spread, which a plane changes, but quadratic: only by rounding
    other = restore(-2 * y + LAND @ SLOPES.flip(-1) + 5, LAND, Fixed(AboutPlane.of(LAND), 0.3)).x
    close(other, -2 * one + LAND @ SLOPES.flip(-1) + 5, 1e-5)


def test_a_channel_and_the_order_of_nodes_are_as_alone():
    y, order = noisy(), torch.randperm(40)
    together = restore(y, LAND, Fixed(AboutPlane.of(LAND), 0.1)).x
    for c in range(3):
        close(restore(y[:, c], LAND, Fixed(AboutPlane.of(LAND), 0.1)).x, together[:, c], 1e-6)
    turned = restore(y[order], LAND[order], Fixed(AboutPlane.of(LAND[order]), 0.1)).x
    close(turned, together[order], 1e-6)


def test_few_readings_and_readings_on_a_line_have_a_level_only():
    y, place, road = noisy(), LAND.clone(), slice(5, 20)
    place[road, 0] = 0.5
    y[:, :2] = NAN
    y[:5, 0] = LAND[:5, 0]  # three unknowns
    y[road, 1] = LAND[road, 1]
    level = restore(y, place, Fixed(GLR, 0.3))
    about = restore(y, place, Fixed(AboutPlane.of(place), 0.3))
    close(about.x[:, :2], level.x[:, :2], 1e-6)
    close(about.deviation()[:, :2], level.deviation()[:, :2], 1e-6)
    assert (about.x[:, 2] - level.x[:, 2]).abs().max() > 1e-2


def test_readings_in_parts_of_a_graph_tell_slopes_within_the_parts_only():
    blocks = torch.arange(70) // 10
    place = LAND[:10].repeat(7, 1) + 100 * torch.stack([blocks, blocks.square()], -1)
    truth = place @ SLOPES[:, :1]
    parts = place_graph(place, 4)
    axes = AboutPlane.of(place)
    one_each = truth.clone()
    one_each[torch.arange(70) % 10 > 0] = NAN
    alone = restore(one_each, parts, Fixed(axes, 1.0))
    level = restore(one_each, parts, Fixed(GLR, 1.0))
    close(alone.x, level.x)
    close(alone.deviation(), level.deviation())
    over = LAND[:10].repeat(7, 1)  # parts that lie over each other
    truth = over @ SLOPES[:, :1]
    many = truth.clone()
    many[torch.arange(70) % 3 == 0] = NAN
    close(restore(many, parts, Fixed(AboutPlane.of(over), 1.0)).x, truth)


def test_the_hold_out_tries_it_where_places_are_known_and_a_plane_can_be_told():
    steep = restore(noisy(amount=0.5), LAND)
    assert steep.prior == "AboutPlane"
    assert {c.name for c in steep.scores} == {"GLR", "GTV", "AboutPlane"}
    for where in (place_graph(LAND), path_graph(40)):
        assert {c.name for c in restore(noisy(), where).scores} == {"GLR", "GTV"}
    few = restore(np.array([1.0, NAN, 3.0, 4.0]), np.arange(4.0)[:, None])
    assert {c.name for c in few.scores} == {"GLR", "GTV"}


def test_a_part_without_readings_stays_unknown():
    apart = torch.cat([LAND, LAND + 100])
    y = torch.cat([noisy(), torch.full((40, 3), NAN, dtype=F64)])
    result = restore(y, apart, Fixed(AboutPlane.of(apart), 0.3))
    assert result.undetermined[40:].all()
    assert result.x[40:].isnan().all()
    assert (result.deviation()[40:] == math.inf).all()
    nodes = torch.arange(40)
    close(result.deviation()[:40], result.deviation_at(nodes), 1e-6)


@pytest.mark.parametrize("n", [7, 39, 40, 60])
def test_a_constant_coordinate_is_no_axis(n):
    places = torch.cat([torch.rand(n, 2, dtype=F64), torch.full((n, 1), 0.1, dtype=F64)], 1)
    assert AboutPlane.of(places).axes.shape == (n, 2)


def test_a_batch_of_graphs_has_no_plane_in_common():
    two = Graph.from_edge_index(
        torch.tensor([[0, 1, 2, 3], [1, 0, 3, 2]]), batch=torch.tensor([0, 0, 1, 1])
    )
    with pytest.raises(ValueError, match=r"(?s)batch of 2 graphs.*one graph.*one by one"):
        PlaneGLR(two, 1.0, axes=torch.rand(4, 1))


def test_half_the_globe_has_three_axes_and_one_place_none():
    u = torch.linspace(-80, 80, 20)
    assert AboutPlane.of(OnGlobe(u.numpy(), 2 * u.numpy())).axes.shape == (20, 3)
    assert AboutPlane.of(GLOBE).axes.shape == (40, 2)
    assert AboutPlane.of(torch.ones(5, 2)).axes.shape == (5, 0)
    axes = AboutPlane.of(LAND).axes
    close(axes.mT @ axes / 40, torch.eye(2, dtype=F64))


def test_an_imputer_takes_its_slope_along():
    pytest.importorskip("sklearn")
    from gsp_unroll.restoration import GraphImputer

    X = (LAND @ SLOPES + 3).mT.numpy().copy()
    gaps = ~KNOWN.mT.numpy()
    imputer = GraphImputer(LAND).fit(np.where(gaps, NAN, X))
    assert imputer.choice_.name == "AboutPlane"
    np.testing.assert_allclose(imputer.transform(np.where(gaps, NAN, X)), X, atol=1e-9)


def test_mistakes_say_what_to_do():
    with pytest.raises(ValueError, match=r"axes of shape \(4,\).*AboutPlane.of"):
        AboutPlane(torch.rand(4))
    with pytest.raises(ValueError, match=r"\(3, 2\) for 40 nodes.* graph was made of"):
        PlaneGLR(place_graph(LAND), axes=torch.rand(3, 2))
