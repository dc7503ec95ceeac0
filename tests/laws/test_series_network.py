"""What learns from series, and the network: against dense solves, loops, and themselves."""

import pytest
import torch
from torch.testing import assert_close

from gsp_unroll import (
    GLR,
    ConjugateGradient,
    Graph,
    GuardedCG,
    LeastSquares,
    MahalanobisLearner,
    SamplingMask,
    knn_graph,
    path_graph,
    product_graph,
)
from gsp_unroll.operators import DirectedLaplacian, Laplacian
from gsp_unroll.series import (
    LinearForecast,
    SeriesNetwork,
    correlation_points,
    moved_on,
    sliding_windows,
)
from gsp_unroll.testing import dense_matrix

F64 = torch.float64
PLACES, STEPS = 7, 6


def series(*shape, share=0.3, seed=0):
    random = torch.Generator().manual_seed(seed)
    y = torch.randn(*shape, generator=random, dtype=F64)
    return y.masked_fill(torch.rand(*shape, generator=random) < share, torch.nan)


def network(**settings):
    torch.manual_seed(0)
    points = torch.randn(PLACES, 3, dtype=F64)
    settings = {"sharpness": 0.5, **settings}
    return SeriesNetwork(knn_graph(points, 2), points, STEPS, **settings).double()


# ---- correlations ---------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_distances_of_all_dimensions_are_those_of_the_correlations_of_shared_steps(share):
    x = series(400, 5, share=share)
    x[:, 1] = x[:, 0] + 0.3 * x[:, 1]
    points = correlation_points(x, 5)
    for i in range(5):
        for j in range(5):
            both = ~(x[:, i].isnan() | x[:, j].isnan())
            r = torch.corrcoef(torch.stack([x[both, i], x[both, j]]))[0, 1]
            assert_close((points[i] - points[j]).square().sum(), 2 - 2 * r, rtol=0, atol=1e-6)


def test_fewer_dimensions_are_the_first_of_more_and_channels_are_averaged():
    x = series(50, 6, 2, share=0)
    assert_close(correlation_points(x, 6)[:, :2].abs(), correlation_points(x, 2).abs())
    gram = [p @ p.mT for p in (correlation_points(c, 6) for c in (x[..., 0], x[..., 1], x))]
    assert_close(gram[2], (gram[0] + gram[1]) / 2)


def test_a_place_without_readings_or_changes_goes_with_no_other():
    x = series(50, 4, share=0)
    x[:, 0], x[:, 1] = torch.nan, 0.1
    distance = torch.cdist(*2 * [correlation_points(x, 4)])
    assert_close(distance[:2, 2:], torch.full((2, 2), 2.0, dtype=F64).sqrt())


# ---- a linear look ahead --------------------------------------------------------------------


def test_a_forecast_is_the_sum_in_its_docstring():
    forecast = LinearForecast(3, 2, 4, rank=2).double()
    for parameter in forecast.parameters():
        torch.nn.init.normal_(parameter)
    graph = Graph(path_graph(4), torch.tensor([1.0, 2.0, 0.0, 0.0], dtype=F64))
    y = torch.randn(3, 4, 1, dtype=F64)
    A, C, b = forecast.own, forecast.around, forecast.bias
    D, low = forecast.below, (y - forecast.kink).minimum(torch.zeros(1, dtype=F64))
    e, B, c = forecast.place, forecast.own_of_place, forecast.bias_of_place
    mean = torch.stack([y[:, 1], (y[:, 0] + 2 * y[:, 2]) / 3, y[:, 1], 0 * y[:, 0]], 1)
    x = forecast(y, graph)
    for s in range(4):
        for h in range(2):
            own = sum((A[h, k] + e[s] @ B[:, h, k]) * y[k, s, 0] for k in range(3))
            expected = own + C[h] @ mean[:, s, 0] + b[h] + e[s] @ c[:, h]
            assert_close(x[h, s, 0], expected + D[h] @ low[:, s, 0])


def test_windows_with_graphs_of_their_own_are_forecast_each_by_itself():
    forecast = LinearForecast(3, 2, 4, rank=2).double()
    for parameter in forecast.parameters():
        torch.nn.init.normal_(parameter)
    for windows in (3, 5):
        y = torch.randn(windows, 3, 4, 1, dtype=F64)
        topology = path_graph(4)
        w = topology.mask_edges(torch.rand(windows, topology.num_edges, dtype=F64))
        together = forecast(y, Graph(topology, w))
        for one, own, x in zip(y, w, together, strict=True):
            assert_close(forecast(one, Graph(topology, own)), x)


# ---- the network ----------------------------------------------------------------------------


def test_one_block_without_threshold_is_the_dense_minimiser():
    net = network(num_blocks=1, cg_steps=200)
    with torch.no_grad():
        for log in (net.first.log_lam, net.first.log_rho):
            log.fill_(-40)
    y = series(STEPS, PLACES, 1)
    graph = net._static(net.graph)
    L = dense_matrix(Laplacian(graph.spatial), STEPS * PLACES)
    D = dense_matrix(DirectedLaplacian(graph.temporal), STEPS * PLACES)
    C = torch.where(y.isnan(), net.log_confidence.exp()[:, None, None], 1.0).flatten().diag()
    mu_u, mu_d = net.first.log_mu_u.exp(), net.first.log_mu_d.exp()
    A = C + mu_u * L + mu_d * D.T @ D
    x = torch.linalg.solve(A, C @ y.nan_to_num(0).flatten())
    assert_close(net(y).flatten(), x, rtol=0, atol=1e-7)


@pytest.mark.parametrize("blocks", [1, 3])
def test_a_window_in_a_batch_is_the_window_alone(blocks):
    net, y = network(num_blocks=blocks, clock=2), series(2, 3, STEPS, PLACES, 1)
    clock = torch.randn(2, 3, STEPS, 2, dtype=F64)
    together = net(y, clock)
    for i in range(2):
        for j in range(3):
            assert_close(together[i, j], net(y[i, j], clock[i, j]))


@pytest.mark.parametrize("forecast", [False, True])
def test_every_parameter_moves_the_result(forecast):
    look = LinearForecast(3, 2, PLACES).double() if forecast else None
    net = network(forecast=look, clock=1)
    if look is not None:
        for zeros in (look.own_of_place, look.below):  # at 0 they hide the numbers they multiply
            torch.nn.init.normal_(zeros)
    y = series(4, STEPS, PLACES, 1)
    if forecast:
        y[:, -2:] = torch.nan
    net(y, torch.randn(4, STEPS, 1, dtype=F64)).square().sum().backward()
    dead = [n for n, p in net.named_parameters() if p.grad is None or not bool(p.grad.any())]
    assert not dead
    assert all(bool(p.grad.isfinite().all()) for p in net.parameters())


def test_what_stands_still_is_forecast_to_stand_still():
    net = network(forecast=LinearForecast(3, 2, PLACES).double(), cg_steps=60)
    y = torch.full((STEPS, PLACES, 1), 2.0, dtype=F64)
    y[-2:] = torch.nan
    x = net(y)
    assert_close(x, torch.full_like(x, 2.0), rtol=0, atol=1e-6)


def test_an_early_reading_moves_the_forecast_of_its_place():
    net = network(forecast=LinearForecast(3, 2, PLACES).double())
    y = series(STEPS, PLACES, 1)
    y[-2:] = torch.nan
    before = net(y)
    other = y.clone()
    other[0, 0] = 9.0
    assert before.isfinite().all()
    assert (net(other) - before)[-2:, 0].abs().min() > 1e-6


def test_what_moves_the_parameters_moves_the_structures():
    net = network(forecast=LinearForecast(3, 2, PLACES)).to("meta")
    edges = (net.space, net.spatial, net.temporal)
    assert {topology.edge_index.device.type for topology in edges} == {"meta"}


def test_a_clock_of_all_windows_is_that_of_each():
    net = network(clock=2)
    y, clock = series(4, STEPS, PLACES, 1), torch.randn(STEPS, 2, dtype=F64)
    assert_close(net(y, clock), net(y, clock.expand(4, STEPS, 2)))


def test_windows_of_nothing_but_gaps_are_what_is_usual_and_float32_works():
    net = network().float()
    x = net(torch.full((STEPS, PLACES, 1), torch.nan))
    assert_close(x, torch.zeros_like(x))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: network(num_blocks=0), "num_blocks=0"),
        (lambda: network(confidence=0.0), "confidence=0.0"),
        (lambda: network(forecast=LinearForecast(6, 2, PLACES)), "windows that hold both"),
        (lambda: network()(torch.zeros(STEPS, PLACES).double()), "Cut windows with"),
        (lambda: network()(torch.zeros(STEPS, PLACES, 1)), "dtype of the network"),
        (lambda: network(clock=2)(torch.zeros(STEPS, PLACES, 1).double()), "number of features"),
        (lambda: network(clock=-1), "clock=-1"),
        (
            lambda: network(clock=1)(series(2, STEPS, PLACES, 1), series(3, STEPS, 1)),
            "each window its own, or all one",
        ),
        (
            lambda: network(clock=1)(
                series(STEPS, PLACES, 1), torch.full((STEPS, 1), torch.nan, dtype=F64)
            ),
            "a clock with 6 values that are NaN",
        ),
        (
            lambda: network(clock=1)(series(STEPS, PLACES, 1), torch.zeros(STEPS, 1)),
            "the clock of dtype torch.float32",
        ),
        (lambda: network()(series(STEPS, PLACES, 1) / 0), "a window with .* infinite readings"),
        (lambda: LinearForecast(0, 1, 1), "past=0"),
        (lambda: LinearForecast(2, 1, 3)(torch.zeros(2, 4, 1), None), "before the first one"),
        (lambda: correlation_points(torch.zeros(4, 2), 3), "at most as many as nodes"),
        (lambda: moved_on(torch.zeros(5, 1), 2), "a multiple of 2 nodes"),
        (lambda: moved_on(torch.zeros(4, 1), 2, 0), "stride=0"),
    ],
)
def test_mistakes_are_told_in_three_parts(call, message):
    with pytest.raises(ValueError, match=message) as caught:
        call()
    assert str(caught.value).startswith("Got ")


# ---- windows one after another --------------------------------------------------------------


def test_from_the_last_window_on_the_optimum_is_the_same_and_nearer():
    steps, places = 20, 8
    t = torch.arange(60, dtype=F64)
    truth = (t[:, None] / 9 + torch.arange(places) / 4).sin()
    y = truth.masked_fill(torch.rand(60, places) < 0.7, torch.nan)
    space, time = path_graph(places), path_graph(steps)
    graph = product_graph(*(Graph(g, g.edge_mask.double()) for g in (time, space)))
    solver, x, cold, warm = ConjugateGradient(rtol=1e-9), None, 0, 0
    for window in sliding_windows(y, steps).flatten(1).unsqueeze(-1):
        data = LeastSquares(SamplingMask(~window.isnan()), window)
        A, b = data.system(GLR(graph, 0.1).Q)
        from_zero = solver.solve(A, b)
        if x is not None:
            from_last = solver.solve(A, b, moved_on(x, places))
            assert_close(from_last.x, from_zero.x, rtol=0, atol=1e-7)
            cold, warm = cold + int(from_zero.num_steps), warm + int(from_last.num_steps)
        x = from_zero.x
    assert warm < cold


def test_graphs_that_change_a_topology_per_window_are_solved_each_by_itself():
    y = series(3, STEPS, PLACES, share=0.2)
    past = y.nan_to_num(0).transpose(1, 2)  # (windows, places, steps): what a place did
    window = torch.arange(3).repeat_interleave(PLACES)
    learner, solve = MahalanobisLearner(STEPS, init=0.3).double(), GuardedCG(40)

    def restored(past, y, batch=None):
        points = past.flatten(0, -2)
        graph = learner(points, knn_graph(points, 2, batch=batch))
        signal = y.flatten().unsqueeze(-1)
        data = LeastSquares(SamplingMask(~signal.isnan()), signal)
        return solve(*data.system(GLR(graph).Q), torch.zeros_like(signal))

    together = restored(past, y[:, -1], window).view(3, PLACES)
    structures = [knn_graph(p, 2).edge_index for p in past]
    assert not torch.equal(structures[0], structures[1])
    for k in range(3):
        assert_close(together[k], restored(past[k], y[k, -1]).flatten())
    together.sum().backward()
    assert learner.factor.grad.any()
