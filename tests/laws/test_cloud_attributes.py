"""Attributes of points filled in: kriging against dense algebra, and the laws of the whole."""

import math

import pytest
import torch

from gsp_unroll.clouds import inpaint_attributes
from gsp_unroll.clouds.attributes import Around, covariance, estimates, krige, mixture

F64 = torch.float64
NAN = math.nan


def a_cloud(nodes=300, channels=3, seed=0, dtype=F64):
    """A ball with bands of colour, every third point known."""
    random = torch.Generator().manual_seed(seed)
    xyz = torch.randn(nodes, 3, generator=random, dtype=F64)
    xyz = xyz / xyz.norm(dim=-1, keepdim=True)
    wave = torch.randn(3, channels, generator=random, dtype=F64)
    color = 0.5 + 0.4 * (2 * xyz @ wave).sin() + 0.3 * (xyz[:, :1] > 0)
    known = torch.rand(nodes, generator=random) < 0.4
    y = color.masked_fill(~known.unsqueeze(-1), NAN)
    return xyz.to(dtype), color.to(dtype), known, y.to(dtype)


def close(a, b, atol=1e-8):
    torch.testing.assert_close(a, b, rtol=0, atol=atol)


def test_neighbours_are_the_nearest_known_ones_and_never_the_point_itself():
    xyz, _, known, _ = a_cloud(80)
    xyz[3] = xyz[1] = xyz[0]  # copies
    around = Around.of(xyz, known, 5)
    distance = torch.cdist(xyz, xyz).fill_diagonal_(math.inf)
    distance[:, ~known] = math.inf
    expected = distance.sort(-1).values[:, :5]
    got = (xyz[around.near] - xyz.unsqueeze(1)).norm(dim=-1)
    close(got, expected)
    assert (around.near != torch.arange(80).unsqueeze(-1)).all()
    close(around.offset.norm(dim=-1), expected / expected[:, -1:])


def test_kriging_has_the_least_variance_of_all_weights_of_sum_one():
    P, y = torch.randn(4, 6, 3, dtype=F64), torch.randn(4, 6, 2, dtype=F64)
    C, c = covariance("Matern", 1.0, torch.cdist(P, P)), covariance("Matern", 1.0, P.norm(dim=-1))
    # the weights are what it makes of unit vectors
    w = krige(C, c, torch.eye(6, dtype=F64).expand(4, 6, 6), 0.1)
    close(w.sum(-1), torch.ones(4, dtype=F64))
    close(krige(C, c, y, 0.1), (w.unsqueeze(-1) * y).sum(1))

    def variance(w):
        noisy = C + 0.1 * torch.eye(6, dtype=F64)
        return (w.unsqueeze(1) @ noisy @ w.unsqueeze(-1)).flatten() - 2 * (w * c).sum(-1)

    for _ in range(20):
        step = 0.1 * torch.randn_like(w)
        assert (variance(w) < variance(w + step - step.mean(-1, keepdim=True))).all()


def test_an_estimate_does_not_see_the_attribute_of_its_own_point():
    xyz, _, known, y = a_cloud()
    around = Around.of(xyz, known, 8)
    v = y.nan_to_num(0)
    one = estimates(around, v)
    node = int(known.nonzero()[0])
    v[node] += 5
    other = estimates(around, v)
    assert torch.equal(one[node], other[node])
    assert not torch.equal(one, other)


def test_the_mixture_is_the_best_of_all_that_are_convex():
    E, y = torch.randn(50, 5, 3, dtype=F64), torch.randn(50, 3, dtype=F64)
    E[:, 1] = y + 0.1 * E[:, 1]
    E[:, 3] = y + 0.2 * E[:, 3]
    a = mixture(E, y)
    assert (a >= 0).all()
    assert float(a.sum()) == pytest.approx(1)

    def misfit(a):
        return float(((a.unsqueeze(-1) * E).sum(1) - y).square().sum())

    assert misfit(a) < min(misfit(unit) for unit in torch.eye(5, dtype=F64))
    for _ in range(50):
        other = torch.rand(5, dtype=F64)
        t = 0.05 * torch.rand(1, dtype=F64)
        assert misfit(a) <= misfit((1 - t) * a + t * other / other.sum()) + 1e-6


def test_what_was_given_stays_and_the_rest_is_near_the_truth():
    xyz, color, known, y = a_cloud(1500)
    filled = inpaint_attributes(xyz, y)
    assert torch.equal(filled.y[known], y[known])
    error = (filled.y - color)[~known].square().mean().sqrt()
    nearest = Around.of(xyz, known, 4).near
    mean = (color[nearest].mean(1) - color)[~known].square().mean().sqrt()
    assert error < 0.8 * mean
    # what it announces is what it does
    assert filled.error == pytest.approx(float(error), rel=0.4)


def test_turning_moving_and_scaling_change_nothing_and_the_order_passes_through():
    xyz, _, _, y = a_cloud()
    one = inpaint_attributes(xyz, y).y
    turn = torch.linalg.qr(torch.randn(3, 3, dtype=F64)).Q
    close(inpaint_attributes(7 * xyz @ turn + 100, y).y, one, 1e-6)
    order = torch.randperm(len(y))
    close(inpaint_attributes(xyz[order], y[order]).y, one[order], 1e-6)
    close(inpaint_attributes(xyz, 255 * y + 3).y, 255 * one + 3, 1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_constants_come_back_as_they_are(dtype):
    xyz, _, _, y = a_cloud(dtype=dtype)
    flat = torch.where(y.isnan(), y, torch.tensor([0.1, 0.0, 273.15], dtype=dtype))
    filled = inpaint_attributes(xyz, flat).y
    close(filled, torch.tensor([0.1, 0.0, 273.15], dtype=dtype).expand_as(y), 1e-4)
    assert filled.dtype == dtype


def test_a_large_constant_channel_takes_nothing_from_the_others():
    xyz, y = torch.rand(300, 3), torch.rand(300, 1)
    y[::3] = torch.nan
    beside = torch.cat([y, torch.full_like(y, 1e7).masked_fill(y.isnan(), torch.nan)], -1)
    filled = inpaint_attributes(xyz, beside).y
    assert bool((filled[:, 1] == 1e7).all())
    assert len(filled[::3, 0].unique()) > 50


def test_single_precision_is_near_double():
    xyz, _, _, y = a_cloud()
    one, other = inpaint_attributes(xyz, y).y, inpaint_attributes(xyz.float(), y.float()).y
    assert float((one - other).abs().mean()) < 1e-3


def test_few_points_and_copies_are_no_trouble():
    xyz = torch.zeros(5, 3, dtype=F64)  # all at one place
    y = torch.tensor([[1.0], [2.0], [NAN], [NAN], [3.0]], dtype=F64)
    filled = inpaint_attributes(xyz, y).y[2:4]
    assert ((filled > 1) & (filled < 3)).all()
    close(inpaint_attributes(xyz, y.clamp(max=1)).y, torch.ones(5, 1, dtype=F64))
    alone = torch.tensor([[NAN], [4.0]])
    assert inpaint_attributes(torch.rand(2, 2), alone).y.tolist() == [[4.0], [4.0]]
    two = torch.tensor([[1.0], [2.0], [NAN]])
    place = torch.tensor([[0.0], [1.0], [0.5]])
    assert 1 <= float(inpaint_attributes(place, two).y[2]) <= 2


MISTAKES = {
    "16 bits": (
        torch.rand(3, 3),
        torch.rand(3, 1).half(),
        r"attributes of dtype torch\.float16",
    ),
    "places of 16 bits": (
        torch.rand(3, 3).half(),
        torch.rand(3, 1),
        r"coordinates of dtype torch\.float16",
    ),
    "coordinates": (torch.full((3, 3), NAN), torch.rand(3, 1), "9 values of them NaN.*known()"),
    "one axis": (torch.rand(3), torch.rand(3, 1), r"shape \(3,\).*\(nodes, d\)"),
    "points": (torch.rand(4, 3), torch.rand(3, 1), "attributes"),
    "a batch": (torch.rand(3, 3), torch.rand(2, 3, 1), r"shape \(2, 3, 1\).*one by one"),
    "some": (torch.rand(2, 3), torch.tensor([[1.0, NAN], [1, 1]]), "1 points with NaN in some"),
    "infinite": (torch.rand(1, 3), torch.tensor([[math.inf]]), "1 values infinite"),
    "none": (torch.rand(2, 3), torch.full((2, 1), NAN), "all of them NaN.*are marked"),
}


@pytest.mark.parametrize(("xyz", "y", "said"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_say_what_to_do(xyz, y, said):
    with pytest.raises(ValueError, match=said):
        inpaint_attributes(xyz, y)
    with pytest.raises(ValueError, match="neighbors=0"):
        inpaint_attributes(torch.rand(2, 3), torch.rand(2, 1), neighbors=0)
