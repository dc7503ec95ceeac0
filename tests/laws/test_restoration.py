"""One call for a signal with gaps: against dense algebra, and as the laws it promises."""

import itertools
import math
import re

import numpy as np
import pytest
import torch

from gsp_unroll import (
    GGLR,
    GLR,
    GTF,
    GTV,
    EdgeList,
    GradientGraph,
    Graph,
    GraphPrior,
    Laplacian,
    PlaneFit,
    grid_graph,
    knn_graph,
    path_graph,
    restore,
)
from gsp_unroll.restoration import SURE, Fixed, HoldOut, OnGlobe, Readings, place_graph
from gsp_unroll.testing import dense_matrix

F64 = torch.float64
NAN = math.nan


def a_signal(nodes=40, channels=3, seed=0, dtype=F64):
    """Places in a square, a smooth signal on them with some noise, and gaps."""
    random = torch.Generator().manual_seed(seed)
    place = torch.rand(nodes, 2, generator=random, dtype=F64)
    slope = torch.randn(2, channels, generator=random, dtype=F64)
    truth = (3 * place @ slope).sin() + torch.arange(channels)
    noise = 0.1 * torch.randn(nodes, channels, generator=random, dtype=F64)
    gaps = torch.rand(nodes, channels, generator=random) < 0.4
    return place, truth.to(dtype), (truth + noise).masked_fill(gaps, NAN).to(dtype)


def close(a, b, atol=1e-6):
    torch.testing.assert_close(a, b, rtol=0, atol=atol, equal_nan=True)


# ---- the call -------------------------------------------------------------------------------


def test_the_estimate_is_that_of_dense_algebra():
    place, _, y = a_signal()
    graph = place_graph(place)
    result = restore(y, place, Fixed(GLR, 0.3))
    L = dense_matrix(Laplacian(graph), 40)
    for c in range(3):
        known = ~y[:, c].isnan()
        A = known.double().diag() + 0.3 / graph.degree.mean() * L
        close(result.x[:, c], torch.linalg.solve(A, y[:, c].nan_to_num(0)))
    assert torch.equal(result.known, ~y.isnan())
    assert result.certificate.converged


def test_gtv_is_as_good_as_its_certificate_says():
    place, _, y = a_signal()
    result = restore(y, place, Fixed(GTV, 0.1))
    problem, x = result.problem, result.certificate.x
    assert (result.certificate.duality_gap <= 1e-6 * problem.objective(x)).all()
    spread = result.readings.spread
    graph = place_graph(place)
    lam = 0.1 * spread / graph.degree.mean()  # in the unit of the readings
    x = result.x

    def objective(x):
        misfit = (x - y).nan_to_num(0).square().sum(0) / 2
        return misfit + lam.squeeze(0) * GTV(graph)(x).squeeze(0)

    for _ in range(20):
        assert (objective(x) <= objective(x + 1e-2 * torch.randn_like(x)) + 1e-9).all()


@pytest.mark.parametrize("choose", [HoldOut(), Fixed(GLR, 1.0), Fixed(GTV, 1.0)])
@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_constants_come_back_as_they_are(choose, dtype):
    place, _, y = a_signal(dtype=dtype)
    y = torch.where(y.isnan(), y, torch.tensor([273.15, 0.0, -1e-3], dtype=dtype))
    x = restore(y, place, choose).x
    assert torch.equal(x, torch.tensor([273.15, 0.0, -1e-3], dtype=dtype).expand(40, 3))


@pytest.mark.parametrize(("a", "b"), [(1000.0, 5.0), (-1e-3, 273.15)])
def test_scale_and_shift_pass_through(a, b):
    place, _, y = a_signal()
    one, other = restore(y, place), restore(a * y + b, place)
    assert (one.prior, one.weight) == (other.prior, other.weight)
    close(other.x, a * one.x + b, 1e-5 * abs(a))


def test_the_order_of_nodes_passes_through():
    place, _, y = a_signal()
    order = torch.randperm(40)
    one, other = restore(y, place), restore(y[order], place[order])
    assert (one.prior, one.weight) == (other.prior, other.weight)
    close(other.x, one.x[order], 1e-5)


def test_the_unit_of_weights_does_not_matter():
    place, _, y = a_signal()
    graph = place_graph(place)
    one, other = restore(y, graph), restore(y, Graph(graph.topology, 50 * graph.weight))
    assert one.choice.weight == other.choice.weight
    close(one.x, other.x)


@pytest.mark.parametrize("prior", [GLR, GTV])
def test_a_channel_is_the_same_alone(prior):
    place, _, y = a_signal()
    together = restore(y, place, Fixed(prior, 0.1)).x
    for c in range(3):
        close(restore(y[:, c], place, Fixed(prior, 0.1)).x, together[:, c], 1e-4)


def test_an_estimate_of_the_risk_below_zero_still_tells_candidates_apart():
    lowest = []
    for seed in range(6):  # pure noise
        y = torch.randn(60, generator=torch.Generator().manual_seed(seed)).double()
        result = restore(y, path_graph(60), SURE(1.0, priors=(GLR,)))
        errors = [c.error for c in result.scores]
        assert result.choice.error == min(errors)
        assert len(set(errors)) == len(errors)
        lowest.append(min(errors))
    assert sum(error < 0 for error in lowest) > 1


def test_of_many_channels_those_with_readings_are_looked_at():
    place, _, y = a_signal()
    y = torch.cat([torch.full_like(y, torch.nan), y[:, :1]], 1)
    few = HoldOut(values=40)
    assert restore(y, place, few).choice == restore(y[:, 3], place, few).choice


def test_what_comes_in_goes_out():
    place, _, y = a_signal()
    x = restore(y.float()[:, 0], place.numpy(), Fixed(GLR, 0.1)).x
    assert isinstance(x, torch.Tensor)
    assert (x.dtype, x.shape) == (torch.float32, (40,))
    result = restore(y.numpy(), place, Fixed(GLR, 0.1))
    assert isinstance(result.x, np.ndarray)
    assert result.known.dtype == bool
    close(torch.from_numpy(result.x)[:, 0].float(), x)
    whole = restore(np.arange(5), path_graph(5), Fixed(GLR, 0.1)).x
    assert whole.dtype == np.float64
    with_gradient = y.clone().requires_grad_()
    assert not restore(with_gradient, place, Fixed(GLR, 0.1)).x.requires_grad


def test_a_part_of_the_graph_without_readings_stays_unknown_and_says_so():
    topology = EdgeList(torch.tensor([[0, 1, 3], [1, 2, 4]]), 6)
    y = torch.tensor([1.0, NAN, 3.0, NAN, NAN, 5.0]).double()
    result = restore(y, topology, Fixed(GLR, 1e-3))
    close(result.x, torch.tensor([1.0, 2.0, 3.0, NAN, NAN, 5.0]).double(), 1e-2)
    assert result.undetermined.squeeze(-1).tolist() == [False] * 3 + [True] * 2 + [False]
    assert "2 without any reading in their part of the graph" in repr(result)
    assert "nothing is known" in str(result.explain(3))
    assert result.deviation()[3] == math.inf
    gap = torch.full((6, 1), NAN).double()  # a channel without any reading
    both = torch.cat([y.unsqueeze(-1), gap], 1)
    assert restore(both, topology, Fixed(GLR, 1.0)).x[:, 1].isnan().all()


def test_an_edge_of_weight_zero_joins_nothing():
    graph = Graph(EdgeList(torch.tensor([[0, 1], [1, 2]]), 3), torch.tensor([1.0, 0.0]))
    x = restore(torch.tensor([1.0, NAN, NAN]), graph, Fixed(GLR, 1.0)).x
    close(x, torch.tensor([1.0, 1.0, NAN]))


def test_a_lattice_is_a_place_too():
    y = torch.arange(16.0).reshape(4, 4).flatten()
    y[5] = NAN
    x = restore(y, grid_graph((4, 4), window=3), Fixed(GLR, 1e-3)).x
    close(x[5], torch.tensor(5.0), 1e-2)


def test_planes_come_back_where_slopes_are_compared():
    place, _, y = a_signal()
    plane = 3 * place[:, :1] - place[:, 1:]
    near = place_graph(place)
    slopes = GradientGraph.of(near, PlaneFit(near.topology, place))
    y = torch.where(y[:, :1].isnan(), NAN, plane)
    result = restore(y, slopes, HoldOut(priors=(GLR, GTV, GGLR)))
    assert result.prior == "GGLR"
    close(result.x, plane, 1e-4)
    told = result.explain(5)
    assert float(told.weights.sum()) == pytest.approx(1, abs=1e-4)
    assert float(told.weights @ told.readings) == pytest.approx(told.value, abs=1e-4)


def test_of_many_channels_some_are_looked_at_to_choose():
    place, _, y = a_signal(channels=12)
    few = HoldOut(priors=(GLR,), weights=(0.1,), values=80)
    (candidate,) = few.candidates(Readings.of(y, place_graph(place)))
    graph, all_of = place_graph(place), HoldOut(priors=(GLR,), weights=(0.1,))
    pairs = itertools.combinations(range(12), 2)
    errors = [all_of.candidates(Readings.of(y[:, pair], graph))[0].error for pair in pairs]
    assert sum(error == pytest.approx(candidate.error) for error in errors) == 1


# ---- places ---------------------------------------------------------------------------------


def test_weights_of_places_are_bounded_and_do_not_know_units():
    place = torch.randn(50, 2).double()
    place[0] = 100  # far from all
    w = place_graph(place).weight
    assert math.exp(-4) - 1e-12 <= w.min() <= w.max() <= 1
    close(place_graph(1e6 * place).weight, w)


def test_sensors_at_one_place_share_their_readings():
    place = torch.rand(20, 2).double()
    place[1] = place[2] = place[0]
    y = torch.rand(20).double()
    y[1:3] = NAN
    x = restore(y, place, Fixed(GLR, 1e-3)).x
    close(x[1:3], y[:1].expand(2), 0.2)
    assert restore(torch.tensor([2.0, NAN]), np.zeros((2, 2)), Fixed(GLR, 1.0)).x[1] == 2


def test_neighbours_are_found_across_the_date_line():
    where = OnGlobe([0.0, 0.0, 0.0, 0.0], [179.9, -179.9, 150.0, 150.1])
    x = restore(np.array([1.0, NAN, NAN, 5.0]), place_graph(where, 1), Fixed(GLR, 0.01)).x
    np.testing.assert_allclose(x, [1, 1, 5, 5])


def test_weights_on_the_globe_fall_to_their_least_at_the_farthest_neighbour():
    around = OnGlobe([0.0] * 4, [0.0, 90.0, 180.0, 270.0])
    weight = place_graph(around, 3).weight
    assert weight.min() == pytest.approx(math.exp(-4))
    assert weight.max() == pytest.approx(math.exp(-1))  # half as far


# ---- the choice -----------------------------------------------------------------------------


def test_hold_out_finds_nearly_the_best_of_what_it_tried():
    place, truth, y = a_signal(60, 4)
    result = restore(y, place)

    def error(candidate):
        x = restore(y, place, Fixed(candidate.prior, candidate.weight)).x
        off = ((x - truth) / result.readings.spread)[y.isnan()]
        return float(off.square().mean().sqrt())

    errors = [error(candidate) for candidate in result.scores]
    assert error(result.choice) < 1.1 * min(errors) < 0.5 * max(errors)
    assert result.choice.error == min(c.error for c in result.scores)
    assert len(result.table().splitlines()) == len(result.scores) + 2


def test_hold_out_is_what_it_says():
    place, _, y = a_signal()
    choose = HoldOut(folds=3, priors=(GLR,), weights=(0.3,))
    readings = Readings.of(y, place_graph(place))
    fold = choose._deal(readings.standard)
    off = []
    for number in range(3):
        hidden = (fold == number) & readings.known
        assert hidden.sum() >= readings.known.sum() // 3 - 3
        x = restore(y.masked_fill(hidden, NAN), place, Fixed(GLR, 0.3)).x
        off.append(((x - y) / readings.spread)[hidden])
    expected = float(torch.cat(off).square().mean().sqrt())
    (candidate,) = choose.candidates(readings)
    assert candidate.error == pytest.approx(expected, rel=1e-3)


def test_the_seed_deals_anew_and_the_same_again():
    place, _, y = a_signal()
    scores = [[c.error for c in restore(y, place, HoldOut(seed=s)).scores] for s in (0, 0, 1)]
    assert scores[0] == scores[1] != scores[2]


@pytest.mark.parametrize("prior", [GLR, GTV])
def test_sure_is_the_error_without_knowing_the_truth(prior):
    place, truth, _ = a_signal(200, 30)
    y = truth + 0.2 * torch.randn_like(truth)
    result = restore(y, place, SURE(0.2, priors=(prior,), weights=(0.01, 0.1, 1.0)))
    for c in result.scores:
        x = restore(y, place, Fixed(prior, c.weight)).x
        true = ((x - truth) / result.readings.spread).square().mean().sqrt()
        assert c.error == pytest.approx(float(true), rel=0.1)


# ---- what made a value ----------------------------------------------------------------------


def test_weights_of_readings_are_a_row_of_the_inverse_and_sum_to_one():
    place, _, y = a_signal()
    graph = place_graph(place)
    result = restore(y, place, Fixed(GLR, 0.3))
    L = dense_matrix(Laplacian(graph), 40)
    for channel in range(3):
        known = ~y[:, channel].isnan()
        S = torch.linalg.inv(known.double().diag() + 0.3 / graph.degree.mean() * L)
        for node in (0, 17, 39):
            told = result.explain(node, channel)
            close(told.weights, S[node, told.nodes], 1e-8)
            assert float(told.weights.sum()) == pytest.approx(1, abs=1e-7)
            assert float(told.weights @ told.readings) == pytest.approx(told.value, abs=1e-6)
            assert (told.pull, told.value) == (0, float(result.x[node, channel]))
            assert set(told.nodes.tolist()) == set(known.nonzero().squeeze(-1).tolist())
            assert (told.weights.abs().diff() <= 0).all()
    assert "and 1" in str(told).splitlines()[-1]


def test_a_plateau_is_the_mean_of_its_readings_and_the_pull_of_those_around():
    y = torch.cat([torch.zeros(5), torch.ones(6)]).double() + 0.01 * torch.randn(11)
    y[3] = NAN
    result = restore(y, path_graph(11), Fixed(GTV, 0.5))
    lam = result.problem.prior.strength * float(result.readings.spread)
    told = result.explain(3)
    assert told.nodes.tolist() == [0, 1, 2, 4]
    assert float(told.weights @ told.readings) + told.pull == pytest.approx(told.value)
    assert told.pull == pytest.approx(lam / 4, rel=1e-2)  # one edge of weight 1 leads up
    assert result.explain(8).pull == pytest.approx(-lam / 6, rel=1e-2)
    assert "a plateau of 5 nodes" in str(told)


def test_a_plateau_without_readings_names_its_neighbours_only():
    graph = Graph(EdgeList(torch.tensor([[0, 1], [1, 2]]), 3), torch.ones(2).double())
    y = torch.tensor([0.0, NAN, 1.0]).double()
    told = restore(y, graph, Fixed(GTV, 1e-2)).explain(1)
    text = str(told)
    if len(told.nodes) == 0:  # the optimum is not unique: it may join either side
        assert "among them nodes [0, 2]" in text
        assert told.pull == told.value
    else:
        assert "a plateau of 2 nodes" in text


# ---- how sure it is -------------------------------------------------------------------------


def test_deviations_are_those_of_the_posterior_at_all_nodes_and_at_some():
    place, _, y = a_signal()
    graph = place_graph(place)
    result = restore(y, place, Fixed(GLR, 0.3))
    mu_L = 0.3 / graph.degree.mean() * dense_matrix(Laplacian(graph), 40)
    sd = result.deviation()
    for c in range(3):
        known = ~y[:, c].isnan()
        S = torch.linalg.inv(known.double().diag() + mu_L)
        x = result.x[:, c]
        least = (x - y[:, c])[known].square().sum() + x @ mu_L @ x
        noise = least / (known.sum() - 1)
        close(sd[:, c], (noise * S.diagonal()).sqrt())
    nodes = torch.tensor([3, 30])
    close(result.deviation_at(nodes), sd[nodes])


def test_deviations_are_true_where_the_model_is():
    """Signals drawn from the prior, with noise and gaps: the error is as large as announced."""
    graph, mu, sigma = place_graph(torch.rand(60, 2).double()), 0.5, 0.3
    weight = mu * float(graph.degree.mean())
    values, V = torch.linalg.eigh(dense_matrix(Laplacian(graph), 60))
    scale = torch.cat([torch.zeros(1), sigma / (mu * values[1:]).sqrt()]).unsqueeze(-1)
    truth = V @ (scale * torch.randn(60, 200).double()) + 10
    y = truth + sigma * torch.randn_like(truth)
    y[torch.rand(60) < 0.4] = NAN
    result = restore(y, graph, Fixed(GLR, weight))
    ratio = (result.x - truth) / result.deviation()
    assert float(ratio.square().mean()) == pytest.approx(1, abs=0.1)


# ---- pictures -------------------------------------------------------------------------------


def test_a_picture_tells_readings_from_gaps():
    figure = pytest.importorskip("matplotlib.figure")
    place, _, y = a_signal()
    axes = restore(y, place, Fixed(GLR, 0.3)).draw(figure.Figure().subplots(), channel=1)
    known = int((~y[:, 1].isnan()).sum())
    assert [len(c.get_offsets()) for c in axes.collections[1:]] == [known, 40 - known, 0]
    globe = OnGlobe([48.0, 49.0], [-2.0, -1.0])
    axes = restore(np.array([1.0, NAN]), globe, Fixed(GLR, 1.0)).draw(figure.Figure().subplots())
    np.testing.assert_allclose(axes.collections[1].get_offsets(), [[-2.0, 48.0]])
    assert axes.get_xlabel() == "longitude"


def test_a_picture_across_the_date_line_is_in_one_piece():
    figure = pytest.importorskip("matplotlib.figure")
    fiji = OnGlobe([-17.0, -18.0, -19.0], [178.0, 179.0, -179.0])
    result = restore(np.array([1.0, 2.0, 3.0]), fiji, Fixed(GLR, 1.0))
    axes = result.draw(figure.Figure().subplots())
    np.testing.assert_allclose(axes.collections[1].get_offsets()[:, 0], [178, 179, 181])
    # somebody's own layout is no map
    axes = result.draw(figure.Figure().subplots(), torch.rand(3, 2))
    assert axes.get_xlabel() == ""


# ---- mistakes -------------------------------------------------------------------------------

Y = torch.tensor([1.0, NAN, 3.0, 4.0])
PATH = path_graph(4)
DIRECTED = path_graph(4, directed=True)
MISTAKES = {
    "no reading": (lambda: restore(torch.full((4,), NAN), PATH), "without any reading.* Check how"),
    "infinite": (
        lambda: restore(torch.tensor([1.0, math.inf]), path_graph(2)),
        "1 infinite readings",
    ),
    "one reading": (lambda: restore(torch.tensor([1.0, NAN]), path_graph(2)), "1 readings.*Fixed"),
    "apart": (
        lambda: restore(Y, EdgeList(torch.empty(2, 0).long(), 4)),
        "3 readings, none of which has another one.* at least two in one part",
    ),
    "nodes": (lambda: restore(Y, path_graph(5)), "shape .4, 1.* 5 on axis -2"),
    "batch": (lambda: restore(torch.rand(2, 4, 1), PATH), "signals side by side as channels"),
    "a list": (lambda: restore([1.0, NAN], path_graph(2)), "a signal as list.* torch.tensor"),
    "words": (lambda: restore(np.array(["a", "b"]), path_graph(2)), "dtype <U1.* astype"),
    "whole numbers": (lambda: restore(torch.tensor([1, 2]), path_graph(2)), "int64.*float32"),
    "directed": (lambda: restore(Y, DIRECTED), "a directed graph.*merged"),
    "batched": (
        lambda: restore(Y, Graph(PATH, PATH.mask_edges(torch.ones(2, 4)))),
        r"a batched graph: 1 in a batch, with weights of shape \(2, 4\)",
    ),
    "a batch of graphs": (
        lambda: restore(Y, knn_graph(torch.rand(4, 2), 1, batch=torch.tensor([0, 0, 1, 1]))),
        "a batched graph: 2 in a batch.* one by one",
    ),
    "another device": (
        lambda: restore(Y, EdgeList(torch.tensor([[0], [1]]), 4).to("meta")),
        "a signal on cpu.* meta",
    ),
    "a place of no kind": (lambda: restore(Y, "here"), "places as str.* or OnGlobe"),
    "coordinates transposed": (
        lambda: restore(Y, torch.rand(2, 4)),
        r"coordinates of shape \(2, 4\) and a signal with 4 rows.* transposed",
    ),
    "signal transposed": (lambda: restore(torch.rand(2, 4), torch.rand(4, 2)), "pass its .T"),
    "swapped": (lambda: OnGlobe([120.0], [48.0]), "seem to be swapped"),
    "one place": (lambda: place_graph(np.zeros((10, 2))), "10 sensors at one place.* Merge"),
    "unknown place": (lambda: place_graph(np.full((3, 2), NAN)), "finite coordinates"),
    "gaps": (lambda: restore(Y, PATH, SURE(0.1)), "1 gaps for SURE.* HoldOut"),
    "no noise": (lambda: SURE(0.0), "sigma=0.0"),
    "one fold": (lambda: HoldOut(folds=1), "folds=1.* hide everything"),
    "no prior": (lambda: HoldOut(priors=()), "0 priors.* over five decades"),
    "weights": (lambda: SURE(1.0, weights=(1.0, 0.1)), "ascending"),
    "no weight": (lambda: Fixed(GLR, 0.0), "weight=0.0"),
    "no such node": (
        lambda: restore(Y, PATH, Fixed(GLR, 1.0)).explain(4),
        r"nodes \[4\].* below 4",
    ),
    "no such nodes": (
        lambda: restore(Y, PATH, Fixed(GLR, 1.0)).deviation_at(torch.tensor([0, 9])),
        r"nodes \[9\].* below 4",
    ),
    "nodes by a mask": (
        lambda: restore(Y, PATH, Fixed(GLR, 1.0)).deviation_at(Y > 1),
        r"nodes \[False.* a tensor of int64",
    ),
    "no such channel": (
        lambda: restore(Y, PATH, Fixed(GLR, 1.0)).draw(None, torch.zeros(4, 2), channel=3),
        "channel 3.* a channel below 1",
    ),
    "part of a fold": (lambda: HoldOut(folds=2.5), "folds=2.5"),
    "weights of the usual priors": (lambda: HoldOut(weights=(2.0, 1.0)), "the usual priors"),
    "no weights": (
        lambda: restore(Y, PATH, Fixed(GTF, 1.0)).explain(0),
        "the prior GTF.* quadratic prior, or GTV",
    ),
    "no bands": (lambda: restore(Y, PATH, Fixed(GTV, 1.0)).deviation(), "bands for the prior GTV"),
    "too many nodes": (
        lambda: restore(torch.rand(4001), path_graph(4001), Fixed(GLR, 1.0)).deviation(),
        "4001 nodes.* deviation_at",
    ),
    "nowhere": (lambda: restore(Y, PATH, Fixed(GLR, 1.0)).draw(None), "without a position"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_answered(name):
    call, message = MISTAKES[name]
    with pytest.raises(ValueError, match=re.compile(f"^Got .*{message}", re.DOTALL)) as error:
        call()
    assert ". Expected " in str(error.value)


def test_a_prior_of_your_own_takes_part():
    class Cautious(GLR):
        pass

    assert issubclass(Cautious, GraphPrior)
    place, _, y = a_signal()
    assert restore(y, place, HoldOut(priors=(Cautious,), weights=(0.1,))).prior == "Cautious"
