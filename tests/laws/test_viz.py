"""Pictures against the numbers they should show; failures provoked, named, and not invented."""

import copy
import math

import pytest
import torch

from gsp_unroll import (
    ADMM,
    GLR,
    GTV,
    BayerMosaic,
    Blur,
    ConjugateGradient,
    DemosaicNetwork,
    DGLRUnroll,
    EdgeList,
    GLRUnroll,
    Graph,
    GTVUnroll,
    HeavyBall,
    Identity,
    Interpolation,
    LeastSquares,
    MahalanobisLearner,
    PointMLP,
    Problem,
    SamplingMask,
    UnrolledBlock,
    UnrolledNetwork,
    grid_graph,
    knn_graph,
    path_graph,
)
from gsp_unroll.metrics import psnr
from gsp_unroll.viz import (
    diagnose,
    draw_clouds,
    draw_graph,
    draw_iterations,
    draw_map,
    draw_panels,
    draw_parameters,
    draw_response,
    objectives,
    residuals,
    spectral_response,
)

figure = pytest.importorskip("matplotlib.figure")


def axes(**options):
    return figure.Figure().subplots(subplot_kw=options)


@pytest.fixture(autouse=True)
def no_state_of_pyplot():
    """No picture opens a figure of pyplot or changes a setting."""
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    yield
    assert dict(mpl.rcParams) == before
    import matplotlib.pyplot as plt

    assert not plt.get_fignums()


def path(weight):
    return Graph(path_graph(len(weight)), torch.tensor(weight))


class TestGraphs:
    def test_pixels_know_their_places(self):
        grid = grid_graph((2, 3))
        graph = Graph(grid, torch.rand(grid.num_edges))
        ax = axes()
        assert draw_graph(ax, graph, signal=torch.arange(6.0)) is ax
        edges, nodes = ax.collections
        at = torch.tensor([[0.0, 0], [1, 0], [2, 0], [0, 1], [1, 1], [2, 1]])
        torch.testing.assert_close(torch.as_tensor(nodes.get_offsets()).float(), at)
        tail, head = grid.edge_index[:, grid.edge_mask]
        drawn = torch.stack([torch.as_tensor(s) for s in edges.get_segments()]).float()
        torch.testing.assert_close(drawn, torch.stack([at[tail], at[head]], 1))
        assert ax.yaxis_inverted()  # the first row on top
        assert nodes.get_array().tolist() == [0, 1, 2, 3, 4, 5]

    def test_a_cloud_in_space(self):
        position = torch.rand(12, 3)
        topology = knn_graph(position, k=2)
        ax = axes(projection="3d")
        graph = Graph(topology, torch.rand(topology.num_edges))
        assert draw_graph(ax, graph, position, signal=torch.rand(12, 1)) is ax
        ax.figure.canvas.draw()
        lines, nodes = ax.collections
        assert len(lines._segments3d) == topology.num_edges
        assert len(nodes.get_offsets()) == 12

    @pytest.mark.parametrize("projection", [None, "3d"])
    def test_a_graph_without_edges_shows_its_nodes(self, projection):
        position = torch.tensor([[0.0, 0, 0], [4, 2, 1]])[:, : 3 if projection else 2]
        graph = Graph.from_edge_index(torch.zeros(2, 0, dtype=torch.long), num_nodes=2)
        ax = axes(projection=projection)
        draw_graph(ax, graph, position)
        ax.figure.canvas.draw()
        assert ax.get_xlim()[0] <= 0
        assert ax.get_xlim()[1] >= 4

    def test_unknown_values_are_left_out(self):
        ax = axes()
        draw_graph(ax, path([1.0, 0.0]), torch.rand(2, 2), signal=torch.tensor([1.0, torch.nan]))
        assert len(ax.collections[1].get_offsets()) == 1

    def test_a_map_takes_the_short_way_across_the_date_line(self):
        ax = axes()
        latitude, longitude = torch.tensor([10.0, 20.0]), torch.tensor([170.0, -170.0])
        assert draw_map(ax, path([1.0, 0.0]), latitude, longitude, signal=torch.rand(2)) is ax
        ((a, b),) = ax.collections[0].get_segments()
        assert abs(b[0] - a[0]) == pytest.approx(20, abs=1e-3)
        assert b[1] - a[1] == pytest.approx(10)
        assert ax.get_aspect() == pytest.approx(1 / math.cos(math.radians(15)))

    def test_on_the_whole_globe_an_edge_leaves_and_comes_back(self):
        ax = axes()
        longitude = torch.tensor([-100.0, 0.0, 100.0])
        graph = Graph(EdgeList(torch.tensor([[2], [0]]), 3), torch.ones(1))
        draw_map(ax, graph, torch.zeros(3), longitude)
        spans = [abs(b[0] - a[0]) for a, b in ax.collections[0].get_segments()]
        assert spans == pytest.approx([160, 160], abs=1e-3)

    def test_mistakes(self):
        graph = path([1.0, 0.0])
        with pytest.raises(ValueError, match=r"Got no positions for nodes that form no image"):
            draw_graph(axes(), Graph(EdgeList(torch.tensor([[0], [1]]), 2), torch.ones(1)))
        with pytest.raises(ValueError, match=r"Got no positions for a lattice of shape \(2,\)"):
            draw_graph(axes(), graph)
        with pytest.raises(ValueError, match=r"\(2, 2\)\. Expected \(2, 3\)"):
            draw_graph(axes(projection="3d"), graph, torch.rand(2, 2))
        with pytest.raises(ValueError, match="Got an image behind axes in space"):
            draw_graph(axes(projection="3d"), graph, torch.rand(2, 3), background=torch.rand(2, 2))
        with pytest.raises(ValueError, match=r"Got a signal of shape \(2, 3\)"):
            draw_graph(axes(), graph, torch.rand(2, 2), signal=torch.rand(2, 3))
        with pytest.raises(ValueError, match=r"Got latitudes of shape \(3,\)"):
            draw_map(axes(), graph, torch.zeros(3), torch.zeros(3))
        batch = Graph(graph.topology, torch.ones(4, 2))
        with pytest.raises(ValueError, match=r"Got weights of shape \(4, 2\)"):
            draw_map(axes(), batch, torch.zeros(2), torch.zeros(2))


class TestIterations:
    graph = Graph(path_graph(20), path_graph(20).mask_edges(torch.ones(20).double()))
    y = torch.linspace(-1, 1, 40, dtype=torch.float64).reshape(20, 2).sin()
    data = LeastSquares(Identity(), y)

    def test_admm_shows_at_each_look_what_a_smaller_budget_returns(self):
        problem = Problem(self.data, GTV(self.graph, 0.1))
        looks = list(ADMM(check_every=3, max_steps=9, rtol=1e-15).iterates(problem))
        assert [s.num_steps for s in looks] == [3, 6, 9]
        for look in looks:
            alone = ADMM(check_every=3, max_steps=look.num_steps, rtol=1e-15).solve(problem)
            assert torch.equal(look.x, alone.x)
        values = objectives(problem, looks)
        torch.testing.assert_close(values, torch.stack([s.objective for s in looks]))

    def test_conjugate_gradient_ends_where_it_solves(self):
        A, b = Problem(self.data, GLR(self.graph, 3.0)).system()
        cg = ConjugateGradient(rtol=1e-6)
        states, solution = list(cg.iterates(A, b)), cg.solve(A, b)
        assert len(states) == solution.num_steps
        torch.testing.assert_close(states[-1].x, solution.x)
        values = residuals(A, b, states)
        assert bool((values[-1] <= 1e-6).all())
        expected = (b - A(states[0].x)).norm(dim=-2, keepdim=True) / b.norm(dim=-2, keepdim=True)
        torch.testing.assert_close(values[0], expected)

    def test_lines_are_the_values(self):
        layer = GTVUnroll(num_iterations=4, rho=1.0).double()
        problem = Problem(self.data, GTV(self.graph, 0.03))
        values = objectives(problem, layer.iterates(self.data, self.graph))
        ax = axes()
        assert draw_iterations(ax, values, first=0, every=2) is ax
        assert len(ax.lines) == 2  # one for each channel
        for line, channel in zip(ax.lines, values[:, 0].T, strict=True):
            assert line.get_xdata().tolist() == [0, 2, 4, 6]
            assert line.get_ydata().tolist() == channel.tolist()
        assert ax.get_yscale() == "log"

    def test_mistakes(self):
        with pytest.raises(ValueError, match="Got no iterates"):
            residuals(Identity(), self.y, iter(()))
        with pytest.raises(ValueError, match=r"Got values of shape \(0,\)"):
            draw_iterations(axes(), torch.zeros(0))


class TestResponse:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    @pytest.mark.parametrize("normalization", ["none", "sym"])
    def test_many_steps_realise_the_ideal(self, normalization, dtype):
        topology = knn_graph(torch.rand(15, 2), k=3)
        graph = Graph(topology, torch.rand(topology.num_edges, dtype=dtype))
        layer = GLRUnroll(cg_steps=60, mu=0.7, normalization=normalization).to(dtype)
        response = spectral_response(layer, graph)
        torch.testing.assert_close(response.realised, response.ideal, rtol=0, atol=1e-3)
        assert float(response.leak.max()) < 1e-3
        ax = axes()
        assert draw_response(ax, response) is ax
        assert ax.lines[1].get_ydata().tolist() == response.realised.tolist()
        assert ax.lines[0].get_ydata().tolist() == response.ideal.tolist()

    def test_one_step_on_a_regular_graph_is_a_line(self):
        ring = torch.arange(12)
        edges = EdgeList(torch.stack([ring, ring.roll(-1)]), 12)
        graph = Graph(edges, torch.ones(12).double())
        layer = GLRUnroll(cg_steps=1, mu=0.5).double()
        response = spectral_response(layer, graph)
        # x = y - s/D mu L y, with the majorizer D of equal degrees
        x = response.eigenvalue
        slope = (response.realised[-1] - 1) / x[-1]
        assert slope < 0
        torch.testing.assert_close(response.realised, 1 + slope * x)
        assert float(response.leak.max()) < 1e-12

    def test_a_head_is_looked_at_as_the_message_says(self):
        layer = GLRUnroll(4, mu=1.0, heads=2)
        layer.log_mu.data += torch.tensor([0.0, 1.0])
        graph = path([1.0, 2.0, 0.0])
        data = LeastSquares(Identity(), torch.rand(3, 2))
        both = layer(data.per_head(), Graph(graph.topology, graph.weight.expand(2, -1)))
        for h in range(2):
            single = GLRUnroll(4, mu=1.0)
            single.load_state_dict({k: v[..., h] for k, v in layer.state_dict().items()})
            torch.testing.assert_close(single(data, graph), both[h])
            assert float(spectral_response(single, graph).realised[0]) == pytest.approx(1, abs=1e-5)

    def test_mistakes(self):
        graph = path([1.0, 0.0])
        with pytest.raises(ValueError, match=r"Got GTVUnroll\(.*Expected a quadratic layer"):
            spectral_response(GTVUnroll(), graph)
        with pytest.raises(ValueError, match="Expected a quadratic layer with mu"):
            spectral_response(GLRUnroll(), graph)
        with pytest.raises(ValueError, match=r"Got 3\. Expected a quadratic layer"):
            spectral_response(3, graph)
        with pytest.raises(ValueError, match=r"heads=2.*without heads.*load_state_dict"):
            spectral_response(GLRUnroll(mu=1.0, heads=2), graph)
        with pytest.raises(ValueError, match=r"Got weights of shape \(3, 2\)"):
            spectral_response(GLRUnroll(mu=1.0), Graph(graph.topology, torch.ones(3, 2)))
        large = Graph(path_graph(2001), torch.ones(2001))
        with pytest.raises(ValueError, match="Got a graph of 2001 nodes"):
            spectral_response(GLRUnroll(mu=1.0), large)


class TestParameters:
    def test_lines_are_what_was_learned(self):
        layer = GTVUnroll(num_iterations=3, rho=1.0)
        optimizer = torch.optim.Adam(layer.parameters(), lr=0.1)
        data, graph = LeastSquares(Identity(), torch.rand(9, 1)), path([1.0] * 9)
        states = []
        for _ in range(4):
            states.append(copy.deepcopy(layer.state_dict()))
            optimizer.zero_grad()
            layer(data, graph).square().sum().backward()
            optimizer.step()
        ax = axes()
        assert draw_parameters(ax, states, steps=[0, 10, 20, 30], names=["log_lam"]) is ax
        assert len(ax.lines) == 3
        for t, line in enumerate(ax.lines):
            assert line.get_xdata().tolist() == [0, 10, 20, 30]
            assert line.get_ydata().tolist() == [float(state["log_lam"][t]) for state in states]
        assert states[0]["log_lam"][0] != states[-1]["log_lam"][0]

    def test_large_tensors_wait_to_be_named(self):
        states = [{"weight": torch.rand(100), "mu": torch.ones(2)}]
        ax = draw_parameters(axes(), states)
        assert len(ax.lines) == 2
        assert len(draw_parameters(axes(), states, names=["weight"]).lines) == 100

    def test_mistakes(self):
        one = {"mu": torch.ones(1)}
        with pytest.raises(ValueError, match="Got 0 states and 0 steps"):
            draw_parameters(axes(), [])
        with pytest.raises(ValueError, match="Got 1 states and 2 steps"):
            draw_parameters(axes(), [one], steps=[1, 2])
        with pytest.raises(ValueError, match="Got states in which lam is missing"):
            draw_parameters(axes(), [one], names=["lam"])
        with pytest.raises(ValueError, match="mu is missing or has several shapes"):
            draw_parameters(axes(), [one, {"mu": torch.ones(2)}], names=["mu"])
        with pytest.raises(ValueError, match="without a tensor to be drawn"):
            draw_parameters(axes(), [{"weight": torch.ones(100)}])


class TestPanels:
    def test_titles_say_what_psnr_says(self):
        truth = torch.rand(12, 10, 3)
        noisy = truth + 0.1 * torch.randn_like(truth)
        row = figure.Figure().subplots(1, 2)
        images = {"original": truth, "noisy": noisy}
        assert draw_panels(row, images, truth=truth, border=2) is row
        inner = [v[2:-2, 2:-2].reshape(-1, 3) for v in (noisy, truth)]
        assert row[0].get_title() == "original"
        assert row[1].get_title() == f"noisy\n{float(psnr(*inner)):.2f} dB"
        shown = torch.as_tensor(row[1].images[0].get_array())
        torch.testing.assert_close(shown, noisy.clamp(0, 1))

    def test_axes_in_rows(self):
        grid = figure.Figure().subplots(2, 2)
        images = {name: torch.rand(3, 3) for name in "abcd"}
        assert draw_panels(grid, images) is grid
        assert [ax.get_title() for ax in grid.flat] == list(images)

    def test_a_part_of_a_grey_image(self):
        row = figure.Figure().subplots(1, 1, squeeze=False)[0]
        image = torch.rand(8, 8, 1)
        draw_panels(row, {"grey": image}, part=(slice(2, 5), slice(1, 7)))
        assert row[0].get_title() == ""
        assert row[0].images[0].get_array().shape == (3, 6)

    def test_mistakes(self):
        row, image = figure.Figure().subplots(1, 2), torch.rand(8, 8)
        with pytest.raises(ValueError, match="Got 2 axes for 1 images"):
            draw_panels(row, {"a": image})
        with pytest.raises(ValueError, match=r"Got b of shape \(2, 8, 8\)"):
            draw_panels(row, {"a": image, "b": torch.rand(2, 8, 8)})
        with pytest.raises(ValueError, match=r"Got a of shape .* with a border of 4"):
            draw_panels(row, {"a": image, "b": image}, truth=image, border=4)


class TestClouds:
    @pytest.mark.parametrize("projection", [None, "3d"])
    def test_every_point_at_its_place_in_its_colour(self, projection):
        row = figure.Figure().subplots(1, 2, subplot_kw={"projection": projection})
        small, large = torch.rand(30, 3), torch.rand(20, 3)
        clouds = {"small": small, "large": large}
        if projection is None:
            clouds = {name: cloud[:, :2] for name, cloud in clouds.items()}
        values = {"large": 2 + torch.rand(20, 1), "small": torch.rand(30)}
        assert draw_clouds(row, clouds, values) is row
        row[0].figure.canvas.draw()
        for ax, name in zip(row, clouds, strict=True):
            (dots,) = ax.collections
            # axes in space draw from back to front
            colours = torch.as_tensor(dots.get_array()).float().sort().values
            torch.testing.assert_close(colours, values[name].flatten().sort().values)
            assert ax.get_title() == f"{name}\n{float(values[name].mean()):.3g}"
            low, high = dots.get_clim()
            assert low == 0
            assert high == pytest.approx(float(values["large"].flatten().quantile(0.95)))
        if projection is None:
            at = torch.as_tensor(row[0].collections[0].get_offsets()).float()
            torch.testing.assert_close(at, small[:, :2])

    def test_whole_numbers_are_values(self):
        row = figure.Figure().subplots(1, 1, squeeze=False)[0]
        draw_clouds(row, {"a": torch.rand(4, 2)}, {"a": torch.arange(4)})
        assert row[0].get_title() == "a\n1.5"

    def test_unknown_values_are_left_out(self):
        row = figure.Figure().subplots(1, 2)
        empty = torch.zeros(0, 2)
        some = torch.tensor([1.0, torch.nan, torch.inf, -3.0])
        draw_clouds(
            row, {"some": torch.rand(4, 2), "none": empty}, {"some": some, "none": empty[:, 0]}
        )
        assert [len(ax.collections[0].get_offsets()) for ax in row] == [2, 0]
        assert [ax.get_title() for ax in row] == ["some\n-1", "none"]
        assert row[0].collections[0].get_clim() == pytest.approx((-3.0, 0.8))

    def test_equal_values_have_a_scale_too(self):
        row = figure.Figure().subplots(1, 1, squeeze=False)[0]
        draw_clouds(row, {"a": torch.rand(4, 2)}, {"a": torch.zeros(4)})
        assert row[0].collections[0].get_clim() == (0, 1)

    def test_mistakes(self):
        row, cloud, value = figure.Figure().subplots(1, 1, squeeze=False)[0], torch.rand(4, 2), {}
        with pytest.raises(ValueError, match=r"values of \[\] for the clouds \['a'\]"):
            draw_clouds(row, {"a": cloud}, value)
        value = {"a": torch.rand(4), "b": torch.rand(4)}
        with pytest.raises(ValueError, match="Got 1 axes and values of"):
            draw_clouds(row, {"a": cloud, "b": cloud}, value)
        value = {"a": torch.rand(4)}
        with pytest.raises(ValueError, match=r"Got a of shape \(4, 3\)\. Expected \(points, 2\)"):
            draw_clouds(row, {"a": torch.rand(4, 3)}, value)
        with pytest.raises(ValueError, match=r"Got a signal of shape \(4,\)"):
            draw_clouds(row, {"a": torch.rand(5, 2)}, value)


GRID = grid_graph((16, 16), window=3)
ROW = torch.arange(16.0).repeat_interleave(16).unsqueeze(-1)
COLUMN = torch.arange(16.0).repeat(16).unsqueeze(-1)
TRUTH = (ROW + COLUMN) / 60 + 0.5 * ((ROW - 8) ** 2 + (COLUMN - 8) ** 2 < 20)


def noisy():
    return TRUTH + 0.05 * torch.randn(TRUTH.shape, generator=torch.Generator().manual_seed(1))


def drawn(scale=1.0):
    """A graph drawn on the noisy image; `scale` multiplies its features."""
    features = scale * torch.cat([noisy() / 0.15, ROW / 4, COLUMN / 4], 1)
    at_tail, at_head = GRID.lift(features)
    return Graph(GRID, (-(at_tail - at_head).square().sum(-1)).exp())


def of_noise():
    return LeastSquares(Identity(), noisy())


def of_samples():
    mask = torch.rand(256, generator=torch.Generator().manual_seed(2)) < 0.5
    return Interpolation(SamplingMask(mask), torch.where(mask[:, None], TRUTH, 0))


def names(diagnosis):
    return [finding.name for finding in diagnosis.findings]


class TestDiagnosis:
    @pytest.mark.parametrize(
        ("layer", "data"),
        [
            (GLRUnroll(mu=0.5), of_noise),
            (GTVUnroll(lam=0.03, rho=1.0), of_noise),
            (GLRUnroll(), of_samples),
            (GTVUnroll(), of_samples),
        ],
        ids=["GLR noisy", "GTV noisy", "GLR exact", "GTV exact"],
    )
    def test_a_healthy_layer_has_no_finding(self, layer, data):
        diagnosis = diagnose(layer, data(), drawn())
        assert diagnosis.healthy
        assert str(diagnosis) == "No failure was found."
        assert len(diagnosis.draw(figure.Figure())) == 3

    @pytest.mark.parametrize(
        ("name", "layer", "scale"),
        [
            ("poor graph: weights alike", GLRUnroll(mu=0.3), 0.01),
            ("divergence", GLRUnroll(mu=2.0, solver=HeavyBall), 0.5),
            ("over-regularisation", GLRUnroll(mu=1e4, cg_steps=200), 0.5),
            ("over-regularisation", GTVUnroll(40, lam=5.0, rho=5.0), 0.5),
            ("under-regularisation", GLRUnroll(mu=1e-4), 1.0),
            ("under-regularisation", GTVUnroll(lam=1e-5, rho=1.0), 1.0),
        ],
    )
    def test_a_provoked_failure_is_named(self, name, layer, scale):
        diagnosis = diagnose(layer, of_noise(), drawn(scale))
        assert names(diagnosis) == [name]
        (finding,) = diagnosis.findings
        assert name in str(diagnosis)
        assert finding.remedy.endswith(".")
        canvas = figure.Figure()
        (ax,) = diagnosis.draw(canvas)
        assert ax.get_title().startswith(name)
        assert ax.figure is canvas

    def test_an_empty_graph_does_nothing(self):
        diagnosis = diagnose(GLRUnroll(mu=0.5), of_noise(), drawn(50.0))
        assert names(diagnosis) == ["poor graph: nearly empty", "under-regularisation"]
        assert diagnosis.findings[0].evidence < 0.1
        assert len(diagnosis.draw(figure.Figure())) == 2
        exact = diagnose(GLRUnroll(), of_samples(), drawn(200.0))
        assert names(exact) == ["poor graph: nearly empty", "under-regularisation"]

    def test_no_edges_at_all(self):
        graph = Graph.from_edge_index(torch.zeros(2, 0, dtype=torch.long), num_nodes=5)
        diagnosis = diagnose(GLRUnroll(mu=0.5), LeastSquares(Identity(), torch.rand(5, 1)), graph)
        assert names(diagnosis)[0] == "poor graph: nearly empty"
        assert diagnosis.findings[0].evidence == 0

    def test_the_evidence_is_what_it_says(self):
        layer, graph, data = GLRUnroll(mu=1e-4), drawn(), of_noise()
        run = diagnose(layer, data, graph).runs[0]
        with torch.no_grad():
            x = layer(data, graph)
        misfit = float((x - data.y).square().mean().sqrt())
        assert float(run.misfit) == pytest.approx(misfit, rel=1e-3)
        assert float(run.spread) == pytest.approx(float(x.std() / data.y.std()), rel=1e-4)
        assert 0.04 < float(run.noise) < 0.08  # of 0.05, and a little signal
        problem = Problem(data, layer.prior(graph))
        torch.testing.assert_close(run.objective[-1], problem.objective(x).detach())
        torch.testing.assert_close(run.objective[0], problem.objective(data.y).detach())
        ax = axes()
        diagnose(GLRUnroll(mu=2.0, solver=HeavyBall), data, drawn(0.5)).findings[0].draw(ax)
        values = ax.lines[0].get_ydata()
        assert len(values) == 11  # the start and ten steps
        assert values[-1] > 2 * values[0]

    def test_values_that_are_no_numbers_are_divergence(self):
        layer = GLRUnroll(mu=1e6, cg_steps=40, solver=HeavyBall)
        diagnosis = diagnose(layer, of_noise(), drawn(0.5))
        assert names(diagnosis) == ["divergence"]
        assert diagnosis.findings[0].evidence == math.inf

    def test_a_batch_is_judged_by_its_middle(self):
        y = torch.stack([noisy()] * 3)
        y[0] = 0.5  # one item is constant
        data = LeastSquares(Identity(), y)
        assert diagnose(GLRUnroll(mu=0.5), data, drawn()).healthy
        under = diagnose(GLRUnroll(mu=1e-5), data, drawn())
        assert names(under) == ["under-regularisation"]

    def test_a_network_names_its_layer_and_keeps_no_hook(self):
        torch.manual_seed(3)
        blocks = [
            UnrolledBlock(PointMLP(1, 4), MahalanobisLearner(4), GTVUnroll()) for _ in range(2)
        ]
        for block in blocks:
            block.learner.factor.data.mul_(1e-3)
        network = UnrolledNetwork(blocks)
        diagnosis = diagnose(network, of_samples(), GRID)
        assert {f.layer for f in diagnosis.findings} == {"blocks.0.solver", "blocks.1.solver"}
        assert set(names(diagnosis)) == {"poor graph: weights alike"}
        assert not any(m._forward_pre_hooks for m in network.modules())
        axes_made = diagnosis.draw(figure.Figure())
        assert len(axes_made) == len(diagnosis.findings)

    def test_an_observation_of_zeros_is_no_divergence(self):
        H = BayerMosaic(8, 8)
        diagnosis = diagnose(DemosaicNetwork(), Interpolation(H, torch.zeros(64, 1)), (8, 8))
        assert "divergence" not in names(diagnosis)

    def test_operators_that_mix_nodes_and_directed_graphs(self):
        kernel = torch.ones(3, 3) / 9
        data = LeastSquares(Blur((16, 16), kernel), noisy())
        run = diagnose(GLRUnroll(mu=0.3), data, drawn()).runs[0]
        assert bool(run.noise.isnan().all())
        directed = drawn().both_directions()
        assert len(diagnose(DGLRUnroll(mu=0.3), of_noise(), directed).runs) == 1

    def test_a_batch_of_graphs(self):
        one = torch.stack([torch.arange(5), torch.arange(1, 6)])
        edges, batch = torch.cat([one, one + 6], 1), torch.arange(12) // 6
        graph = Graph(EdgeList(edges, 12, batch=batch), torch.rand(10) + 0.1)
        data = LeastSquares(Identity(), torch.rand(12, 2))
        run = diagnose(GLRUnroll(mu=0.3), data, graph).runs[0]
        assert run.objective.shape == (11, 2, 2)

    def test_mistakes(self):
        with pytest.raises(ValueError, match="Got Linear, which called none of its 0 unrolled"):
            diagnose(torch.nn.Linear(2, 2), torch.rand(3, 2))
