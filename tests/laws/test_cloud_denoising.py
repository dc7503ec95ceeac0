"""Fits, the prior on chords, and the denoiser: what must hold for any cloud."""

import pytest
import torch
from torch.nn.functional import normalize

from gsp_unroll import ADMM, ConjugateGradient, Graph, Identity, LeastSquares, Problem, knn_graph
from gsp_unroll.clouds import ChordGLR, ChordHeight, CloudDenoiser, fit_surfaces
from gsp_unroll.clouds.describe import NUM_FITS
from gsp_unroll.testing import check_adjoint


def sphere(n=400, noise=0.0, dtype=torch.float64):
    x = normalize(torch.randn(n, 3, dtype=dtype), dim=-1)
    return x + noise * torch.randn(n, 3, dtype=dtype)


def turn():
    return torch.linalg.qr(torch.randn(3, 3).double()).Q


def chords(x, normals):
    topology = knn_graph(x, 6)
    weight = torch.rand(topology.num_edges, dtype=x.dtype)
    return ChordGLR(Graph(topology, weight), mu=0.7, normals=normals)


def test_fits_find_a_paraboloid_exactly():
    # evenly around a level point the frame is that of the axes; 9 and 21 points are whole rings
    u = 0.1 * torch.cartesian_prod(*2 * (torch.arange(-4.0, 5).double(),))
    x = torch.cat([u, 0.4 * u[:, :1] ** 2 - 0.3 * u[:, 1:] ** 2], -1)
    fits = fit_surfaces(x, planes=(9,), quadrics=(21,))
    assert fits.residual[40, 0] > 1e-3
    # the ridge, 1e-7 of the mean square, leaves that much of heights around 0.01
    assert fits.residual[40, 1] < 1e-8
    assert fits.move[40, 0].norm() > 1e-4
    assert fits.move[40, 1].norm() < 1e-8
    curvature = fits.curvature[40, 0]
    torch.testing.assert_close(
        curvature.abs().sort().values, torch.tensor([0.6, 0.8]).double(), rtol=1e-5, atol=0
    )
    assert curvature.prod() < 0


def test_fits_of_one_point_are_an_independent_least_squares():
    x = torch.randn(60, 3).double() * torch.tensor([1.0, 1.0, 0.1]).double()
    data = torch.stack([x, x + 0.2 * torch.randn_like(x)])
    fits = fit_surfaces(x, (9,), (30,), data)
    own = x[7]
    order = (x - own).norm(dim=-1).argsort()
    near = x[order]
    mean = near[:9].mean(0)
    normal = torch.linalg.svd(near[:9] - mean).Vh[2]
    heights = (data[:, order[:9]] - own) @ normal
    torch.testing.assert_close(fits.move[:, 7, 0], heights.mean(1, keepdim=True) * normal)
    torch.testing.assert_close(fits.residual[:, 7, 0], heights.std(1, correction=0))
    mean = near[:30].mean(0)
    axes = torch.linalg.svd(near[:30] - mean).Vh
    u, v, _ = (axes @ (near[:30] - mean).T).unbind(0)
    A = torch.stack([torch.ones_like(u), u, v, u * u, u * v, v * v], -1)
    h = ((data[:, order[:30]] - mean) @ axes[2]).T
    c = torch.linalg.lstsq(A, h).solution
    p, q, r = axes @ (own - mean)
    height = c.T @ torch.stack([torch.ones_like(p), p, q, p * p, p * q, q * q]) - r
    wanted = height.unsqueeze(-1) * axes[2]
    torch.testing.assert_close(fits.move[:, 7, 1], wanted, rtol=1e-4, atol=1e-6)
    left = (h - A @ c).square().mean(0).sqrt()
    torch.testing.assert_close(fits.residual[:, 7, 1], left, rtol=1e-4, atol=1e-6)
    alone = fit_surfaces(x, (9,), (30,))
    torch.testing.assert_close(alone.move, fits.move[0])


def test_with_a_tolerance_neighbours_count_by_their_height_over_a_first_quadric():
    x = torch.randn(60, 3).double() * torch.tensor([1.0, 1.0, 0.3]).double()
    fits = fit_surfaces(x, (9,), (20, 40), tolerance=0.2)
    near = x[(x - x[7]).norm(dim=-1).argsort()] - x[7]

    def quadric(k, w):
        """Heights over it of all points, by weighted least squares."""
        mean = (w[:, None] * near[:k]).sum(0) / w.sum()
        axes = torch.linalg.svd(w.sqrt()[:, None] * (near[:k] - mean)).Vh
        u, v, h = (axes @ (near - mean).T).unbind(0)
        A = torch.stack([torch.ones_like(u), u, v, u * u, u * v, v * v], -1)
        root = w.sqrt()[:, None]
        c = torch.linalg.lstsq(root * A[:k], root * h[:k, None]).solution
        return h - (A @ c)[:, 0], axes[2]

    def falling(height, k, tolerance):
        return (-((height[:k] / tolerance) ** 2) / 2).exp()

    w = torch.ones(20).double()
    for number, k in enumerate((20, 40), start=1):
        height, _ = quadric(k, w)
        height, normal = quadric(k, falling(height, k, 0.2))
        # the point is the nearest of its own neighbours, at height[0] over the surface
        torch.testing.assert_close(fits.move[7, number], -height[0] * normal, rtol=1e-3, atol=1e-5)
        w = falling(height, 40, 0.3)


def test_with_a_tolerance_the_other_side_of_a_thin_part_does_not_count():
    u = torch.rand(400, 2).double()
    gap = 0.12
    side = gap * (torch.arange(400) % 2).double()
    x = torch.cat([u, side.unsqueeze(-1)], -1)
    middle = (u - 0.5).abs().amax(-1) < 0.3
    all_alike = fit_surfaces(x, (12,), (12, 48)).move[middle, 2].norm(dim=-1)
    one_side = fit_surfaces(x, (12,), (12, 48), tolerance=gap / 4).move[middle, 2].norm(dim=-1)
    assert all_alike.median() > gap / 4
    assert one_side.median() < gap / 100


def test_fits_turn_with_the_cloud_and_know_no_order():
    x = sphere(300, 0.05)
    R, order = turn(), torch.randperm(300)
    fits, turned = fit_surfaces(x, (12,), (24,)), fit_surfaces(3 * x[order] @ R + 5, (12,), (24,))
    torch.testing.assert_close(turned.move, 3 * fits.move[order] @ R, rtol=1e-5, atol=1e-8)
    torch.testing.assert_close(turned.residual, 3 * fits.residual[order], rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(turned.spread, fits.spread[order], rtol=1e-6, atol=1e-9)


def test_the_rise_of_chords_has_an_exact_adjoint():
    x = sphere(50)
    K = ChordHeight(knn_graph(x, 5), x)
    check_adjoint(K, torch.randn(50, 3).double(), torch.randn(K.num_outputs, 1).double())


def test_spheres_and_planes_do_not_pay():
    x = sphere(200)
    prior = chords(x, x)
    assert prior(2 + 3 * x).item() < 1e-20
    floor = torch.rand(200, 3).double() * torch.tensor([1.0, 1.0, 0.0]).double()
    up = torch.tensor([0.0, 0.0, 1.0]).double().expand(200, 3)
    assert chords(floor, up)(floor).item() == 0
    assert prior(x + 0.1 * torch.randn_like(x)).item() > 0.1


def test_it_does_not_matter_how_long_normals_are():
    x = torch.nn.functional.normalize(torch.randn(40, 3).double(), dim=-1)
    length = torch.rand(40, 1).double() + 0.1
    assert chords(x, x * length)(x).item() < 1e-20
    topology = knn_graph(x, 4)
    y = torch.randn(40, 3).double()
    torch.testing.assert_close(ChordHeight(topology, x * length) @ y, ChordHeight(topology, x) @ y)


def test_it_does_not_matter_which_way_normals_point():
    x, y = sphere(80), torch.randn(80, 3).double()
    sign = torch.where(torch.rand(80, 1) < 0.5, -1.0, 1.0).double()
    torch.manual_seed(1)
    one = chords(x, x)
    torch.manual_seed(1)
    torch.testing.assert_close(one(y), chords(x, sign * x)(y))


def test_the_quadratic_form_is_the_sum_over_edges():
    x, y = sphere(40), torch.randn(40, 3).double()
    prior = chords(x, x)
    i, j = prior.graph.topology.edge_index
    m = torch.where((x[i] * x[j]).sum(-1, keepdim=True) < 0, x[i] - x[j], x[i] + x[j])
    rise = (normalize(m, dim=-1) * (y[i] - y[j])).sum(-1)
    torch.testing.assert_close(prior(y).item(), float((0.35 * prior.graph.weight * rise**2).sum()))
    torch.testing.assert_close(prior(y).flatten()[0], 0.5 * (y * prior.Q(y)).sum())


def test_diagonal_and_majorizer_are_what_they_claim():
    x = sphere(12)
    A = chords(x, x).normal
    basis = torch.eye(36).double().reshape(36, 12, 3)
    dense = A(basis).reshape(36, 36)
    torch.testing.assert_close(dense, dense.T)
    torch.testing.assert_close(A.diagonal().flatten(), dense.diagonal())
    D = A.majorizer().expand(12, 3).flatten()
    assert torch.linalg.eigvalsh(dense).min() > -1e-12
    assert torch.linalg.eigvalsh(2 * torch.diag(D) - dense).min() > -1e-12


def test_graphs_of_a_batch_and_an_empty_graph():
    a, b = sphere(30), sphere(20)
    batch = torch.tensor([0] * 30 + [1] * 20)
    topology = knn_graph(torch.cat([a, b]), 4, batch=batch)
    y = torch.randn(50, 3).double()
    prior = ChordGLR(Graph(topology, torch.ones(topology.num_edges).double()), normals=y)
    both = ChordGLR(prior.graph, normals=torch.cat([a, b]))(y).flatten()
    for cloud, part, value in ((a, y[:30], both[0]), (b, y[30:], both[1])):
        own = knn_graph(cloud, 4)
        alone = ChordGLR(Graph(own, torch.ones(own.num_edges).double()), normals=cloud)
        torch.testing.assert_close(alone(part).flatten()[0], value)
    lonely = knn_graph(a[:1], 4)
    assert ChordGLR(Graph(lonely, torch.ones(0).double()), normals=a[:1])(a[:1]).item() == 0


def test_admm_and_conjugate_gradients_agree():
    x = sphere(60)
    y = x + 0.1 * torch.randn_like(x)
    prior = chords(x, x)
    data = LeastSquares(Identity(), y)
    direct = ConjugateGradient(rtol=1e-10).solve(*data.system(prior.Q)).x
    split = ADMM(rtol=1e-9, rho=1.0, linear_solver=ConjugateGradient(rtol=1e-11))
    torch.testing.assert_close(split.solve(Problem(data, prior)).x, direct, rtol=0, atol=1e-5)


def test_a_denoised_cloud_turns_with_the_noisy_one():
    y = sphere(800, 0.05)
    network, R, order = CloudDenoiser().double(), turn(), torch.randperm(800)
    with torch.no_grad():
        x, turned = network(y), network(7 * y[order] @ R - 2)
    torch.testing.assert_close(turned, 7 * x[order] @ R - 2, rtol=1e-4, atol=1e-4)
    assert (x.norm(dim=-1) - 1).abs().mean() < 0.5 * (y.norm(dim=-1) - 1).abs().mean()


def test_a_cloud_keeps_its_type_and_the_digits_of_a_map():
    network = CloudDenoiser(stages=1, rounds=1, width=4, cg_steps=3).eval()
    ball = torch.nn.functional.normalize(torch.randn(300, 3).double(), dim=-1)
    y = ball + 0.03 * torch.randn(300, 3).double()
    far = torch.tensor([3.8e5, 5.8e6, 1.2e3]).double()
    with torch.no_grad():
        near, moved, single = network(y), network(y + far) - far, network(y.float())
        exact = network.double()(y)
    assert near.dtype == moved.dtype == torch.float64
    assert single.dtype == torch.float32
    for other in (near, moved, single.double()):
        torch.testing.assert_close(other, exact, rtol=0, atol=1e-5)


def test_every_parameter_of_the_denoiser_is_learned():
    network = CloudDenoiser(stages=2, rounds=2)
    y = sphere(250, 0.05, torch.float32)
    ((network(y).norm(dim=-1) - 1).square().sum()).backward()
    # the first stage is told how far the cloud before it has gone, which is nowhere
    gone = network.stages[0].encode.hidden[0].weight.grad[:, 2 * NUM_FITS]
    assert not gone.any()
    gone.fill_(1)
    for name, parameter in network.named_parameters():
        assert parameter.grad.all(), name


def test_a_denoiser_in_a_file_is_the_same(tmp_path):
    path, y = tmp_path / "cloud.safetensors", sphere(250, 0.05, torch.float32)
    network = CloudDenoiser(stages=1, rounds=1, width=4, cg_steps=2)
    network.save(path)
    torch.testing.assert_close(CloudDenoiser.load(path)(y), network(y), rtol=0, atol=0)


@pytest.mark.parametrize(("height", "noise"), [(0.1, 0.015), (0.0, 0.05)])
def test_the_packaged_denoiser_fits_its_sizes_to_the_cloud(height, noise):
    """Waves with little noise, a bare ball with much: one size of jets does not suit both."""
    torch.manual_seed(0)

    def radius(x):
        on_ball = normalize(x, dim=-1)
        return 1 + height * torch.sin(6 * on_ball[:, 0]) * torch.sin(6 * on_ball[:, 1])

    x = sphere(2500, dtype=torch.float32)
    clean = radius(x).unsqueeze(-1) * x
    y = clean + noise * torch.randn_like(clean)

    def error(cloud):
        return (cloud.norm(dim=-1) - radius(cloud)).abs().mean()

    with torch.no_grad():
        trained, jets = CloudDenoiser.load()(y), CloudDenoiser()(y)
    assert error(trained) < 0.95 * error(jets)
    assert error(trained) < 0.5 * error(y)


@pytest.mark.parametrize(
    "sizes",
    [
        {"stages": 1, "rounds": 1, "width": 5, "cg_steps": 2},
        {"stages": 10**9, "rounds": 1, "width": 4, "cg_steps": 2},
        {"stages": 1, "rounds": 10**12, "width": 4, "cg_steps": 2},
        {"stages": 1, "rounds": 1, "width": 10**9, "cg_steps": 2},
        {"stages": "1", "rounds": 1, "width": 4, "cg_steps": 2},
        {"stages": 1, "depth": 1},
        [],
    ],
)
def test_a_file_with_other_sizes_is_refused(tmp_path, sizes):
    path = tmp_path / "cloud.safetensors"
    network = CloudDenoiser(stages=1, rounds=1, width=4, cg_steps=2)
    network.sizes = sizes
    network.save(path)
    with pytest.raises(ValueError, match="Write it with CloudDenoiser"):
        CloudDenoiser.load(path)


def test_a_file_that_is_no_denoiser_is_refused(tmp_path):
    path = tmp_path / "cloud.safetensors"
    CloudDenoiser(stages=1, width=4).save(path)
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(ValueError, match="cannot be used"):
        CloudDenoiser.load(path)
    with pytest.raises(FileNotFoundError):
        CloudDenoiser.load(tmp_path / "none.safetensors")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: fit_surfaces(x[:, :2]), "Drop unknown points"),
        (lambda x: fit_surfaces(x[:10]), "16 points or more"),
        (lambda x: fit_surfaces(x * torch.nan), "NaN or infinite"),
        (lambda x: fit_surfaces(x, ()), "one plane at least"),
        (lambda x: fit_surfaces(x, (8,), (7,)), "Give larger sizes"),
        (lambda x: fit_surfaces(x, (8,), data=x[:9]), "Give one place for each"),
        (lambda x: fit_surfaces(x, (8,), data=torch.nan * x), "NaN or infinite"),
        (lambda x: fit_surfaces(x, (8,), (9,), tolerance=0.0), "tolerance=0.0"),
        (lambda x: fit_surfaces(x, (8,), (20, 9), tolerance=1.0), "sizes in ascending order"),
        (lambda x: ChordHeight(knn_graph(x, 3), x[:5]), "Give one normal"),
        (lambda x: CloudDenoiser(rounds=0), "rounds"),
        (lambda x: CloudDenoiser(stages=0), "stages"),
        (lambda x: CloudDenoiser().double()(x), "192 points or more"),
        (lambda x: CloudDenoiser().double()(torch.zeros(200, 3).double()), "points with noise"),
    ],
)
def test_what_cannot_be_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(sphere(50))
