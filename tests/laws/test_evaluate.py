"""Laws of the evaluation: its formulas by hand, its noise, its files, and known rows of tables."""

import csv
import subprocess
import sys
from functools import partialmethod

import numpy as np
import pytest
import torch

from gsp_unroll.evaluate import compare as compare_module
from gsp_unroll.evaluate.__main__ import main, parse
from gsp_unroll.evaluate.compare import Result, compare, noise, observe, summarize
from gsp_unroll.evaluate.methods import (
    BASELINES,
    GRBG_FROM_RGGB,
    demosaicnet,
    find_method,
    needed,
    network_method,
)
from gsp_unroll.evaluate.protocols import (
    BORDER,
    Score,
    mean_ssim,
    paper_psnr,
    score,
    standard_psnr,
)
from gsp_unroll.evaluate.report import FILES, markdown, read_interrupted, write_report
from gsp_unroll.models import ImageNetwork, MosaicNetwork
from gsp_unroll.models.named import save_network
from gsp_unroll.models.published import PublishedNetwork
from gsp_unroll.photos import central, read_photo

metrics = pytest.importorskip("skimage.metrics")
Image = pytest.importorskip("PIL.Image")

SHAPE = (34, 41)


def random(*shape):
    return torch.rand(shape).numpy()


def available(module):
    """The package, or a reason to skip; importorskip would trip over what it warns of."""
    try:
        return needed(module)
    except ValueError as error:
        pytest.skip(str(error))


@pytest.fixture
def network(tmp_path):
    """A file with a small demosaicker that is not its own start."""
    arguments = {"width": 8, "depth": 1, "num_iterations": 1, "cg_steps": 1}
    net = MosaicNetwork(**arguments)
    torch.nn.init.normal_(net.network.blocks[0].propose.weight, std=0.05)
    path = tmp_path / "network.safetensors"
    save_network(net, path, "mosaic", arguments)
    return path


@pytest.fixture
def photos(tmp_path):
    """Two small pictures, one of them grey, with odd sides."""
    folder = tmp_path / "pictures"
    (folder / "more").mkdir(parents=True)
    pixels = (255 * random(*SHAPE, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(folder / "a.png")
    Image.fromarray(pixels[:31, :30, 0]).save(folder / "more" / "b.png")
    return folder


# ---------------------------------------------------------------------------------- protocols


def test_the_paper_s_protocol_by_hand():
    truth = np.full((*SHAPE, 3), 0.5, np.float32)
    # nothing is clipped, rounded or cut: an error in one corner counts, 1.7 is 1.2 too much
    x = truth.copy()
    x[0, 0, 0] = 1.7
    mse = 1.2**2 / truth.size
    a, b = score("a", x, truth), score("b", truth + np.float32(0.1), truth)
    assert a.mse == pytest.approx(mse, rel=1e-6)
    # the mean is taken of the errors, not of the PSNR
    expected = -10 * np.log10((mse + 0.01) / 2)
    assert paper_psnr([a, b]) == pytest.approx(expected, abs=1e-5)


def test_the_standard_protocol_by_hand():
    truth = np.full((*SHAPE, 3), 100 / 255, np.float32)
    x = truth.copy()
    x[:BORDER] = x[-BORDER:] = x[:, :BORDER] = x[:, -BORDER:] = 7.0  # cut
    x[BORDER, BORDER] = 2.0  # clipped: 155 too much
    x[BORDER + 1, BORDER] = 100.4 / 255  # rounded: no error
    pixels = (SHAPE[0] - 2 * BORDER) * (SHAPE[1] - 2 * BORDER)
    one = 10 * np.log10(255**2 * pixels / 155**2)
    a, b = score("a", x, truth), score("b", truth + np.float32(51 / 255), truth)
    assert a.psnr == pytest.approx(one)
    assert b.psnr == pytest.approx(20 * np.log10(5))
    assert standard_psnr([a, b]) == pytest.approx((one + 20 * np.log10(5)) / 2)


@pytest.mark.parametrize("channels", [1, 3])
def test_both_agree_with_scikit_image(channels):
    truth, x = random(*SHAPE, channels), 1.2 * random(*SHAPE, channels) - 0.1
    s = score("a", x, truth)
    psnr = metrics.peak_signal_noise_ratio(truth.astype(float), x.astype(float), data_range=1)
    assert paper_psnr([s]) == pytest.approx(psnr)
    x8, truth8 = (
        np.round(255 * np.clip(a, 0, 1)).astype(np.uint8)[10:-10, 10:-10] for a in (x, truth)
    )
    assert standard_psnr([s]) == pytest.approx(metrics.peak_signal_noise_ratio(truth8, x8))
    ssim = metrics.structural_similarity(truth, x, data_range=1.0, channel_axis=-1)
    assert mean_ssim([s]) == pytest.approx(ssim, abs=1e-5)


def test_a_perfect_result_is_finite():
    truth = random(*SHAPE, 3)
    s = [score("a", truth, truth)]
    assert paper_psnr(s) == pytest.approx(standard_psnr(s))
    assert 140 < paper_psnr(s) < 160
    assert mean_ssim(s) == pytest.approx(1)


def test_mistakes_of_sizes():
    with pytest.raises(ValueError, match=r"Got an image of shape \(40, 40, 1\) for a\. Expected"):
        score("a", random(40, 40, 1), random(40, 40, 3))
    with pytest.raises(ValueError, match=r"Got a of 20 x 40 pixels\. Expected more than 20"):
        score("a", random(20, 40, 3), random(20, 40, 3))


# ------------------------------------------------------------------------------- observations


def test_noise_depends_on_seed_photo_and_deviation_alone():
    first = noise((200, 200, 1), 10, "a.png", 0)
    assert np.array_equal(first, noise((200, 200, 1), 10.0, "a.png", 0))
    assert first.std() == pytest.approx(10 / 255, rel=0.02)
    assert first.dtype == np.float32
    for other in [(20, "a.png", 0), (10, "b.png", 0), (10, "a.png", 1)]:
        correlation = np.corrcoef(first.ravel(), noise((200, 200, 1), *other).ravel())[0, 1]
        assert abs(correlation) < 0.03


def test_noise_is_added_to_the_mosaic_and_not_clipped():
    photo = np.zeros((*SHAPE, 3), np.float32)
    y, truth = observe(photo, "demosaic", 50, "a.png", 3)
    assert np.array_equal(y, noise(y.shape, 50, "a.png", 3))
    assert y.min() < 0
    assert not truth.any()


def test_what_is_observed():
    photo = random(*SHAPE, 3)
    y, truth = observe(photo, "demosaic")
    assert np.array_equal(truth, photo)
    assert np.array_equal(y[::2, ::2, 0], photo[::2, ::2, 0])
    assert np.array_equal(y[::2, 1::2, 0], photo[::2, 1::2, 1])
    assert np.array_equal(y[1::2, ::2, 0], photo[1::2, ::2, 1])
    assert np.array_equal(y[1::2, 1::2, 0], photo[1::2, 1::2, 2])
    y, truth = observe(photo, "interpolate")
    color = pytest.importorskip("skimage.color")
    np.testing.assert_allclose(truth[..., 0], color.rgb2ycbcr(photo)[..., 0] / 255, atol=1e-6)
    assert np.array_equal(y[::2, ::2], truth[::2, ::2])


def test_every_method_sees_the_same_noise(photos):
    seen = {"one": [], "two": []}

    def method(name):
        def restore(y, sigma):
            seen[name].append((y.copy(), sigma))
            return np.zeros((*y.shape[:2], 3), np.float32)

        return restore

    results = list(compare([photos], {n: method(n) for n in seen}, "demosaic", [0.0, 25.0], 1))
    assert len(results) == 8
    for (y1, sigma1), (y2, sigma2) in zip(*seen.values(), strict=True):
        assert np.array_equal(y1, y2)
        assert sigma1 == sigma2
    assert [sigma for _, sigma in seen["one"]] == [0, 25 / 255, 0, 25 / 255]


def test_a_photograph_is_read_once_for_all_strengths_of_noise(photos, monkeypatch):
    read = []

    def counted(path):
        read.append(path)
        return read_photo(path)

    monkeypatch.setattr(compare_module, "read_photo", counted)
    method = {"zero": lambda y, sigma: np.zeros((*y.shape[:2], 3), np.float32)}
    first = list(compare([photos], method, "demosaic", [0.0, 25.0]))
    assert len(read) == len(set(read)) == 2
    assert list(compare([photos], method, "demosaic", [0.0, 25.0], known=first)) == []
    assert len(read) == 2  # and none where nothing is left to do


def test_only_the_central_part_of_a_photograph(photos, tmp_path, capsys):
    image = np.arange(7 * 4 * 3).reshape(7, 4, 3)
    assert np.array_equal(central(image, 3), image[2:5, :3])
    assert np.array_equal(central(image, 6), image[:6])  # 4 columns stay 4
    assert central(image, None) is image
    with pytest.raises(ValueError, match="side=0"):
        central(image, 0)
    shapes = []

    def restore(y, sigma):
        shapes.append(y.shape)
        return np.zeros((*y.shape[:2], 3), np.float32)

    list(compare([photos], {"zero": restore}, "demosaic", center=22))
    assert shapes == [(22, 22, 1)] * 2
    arguments = ["--photos", str(photos), "--methods", "bilinear", "--task", "interpolate"]
    main(parse([*arguments, "--center", "24", "--out", str(tmp_path / "out")]))
    assert "The central 24 by 24 pixels of each" in capsys.readouterr().out


def test_rows_stand_in_the_order_of_the_question():
    results = [
        Result(name, sigma, method, Score(photo, mse, -mse, mse), 0.0)
        for name in ("b", "a")
        for photo, mse in (("1", 0.1), ("2", 0.3))
        for sigma in (10.0, 0.0)
        for method in ("z", "y")
    ]
    rows = summarize(results)
    keys = [(r.set, r.sigma, r.method) for r in rows]
    assert keys == [(s, g, m) for s in "ba" for g in (10.0, 0.0) for m in "zy"]
    assert {r.photos for r in rows} == {2}
    assert rows[0].paper_psnr == pytest.approx(-10 * np.log10(0.2))
    assert rows[0].standard_psnr == pytest.approx(-0.2)
    assert summarize([]) == []


# ------------------------------------------------------------------------------------ methods


@pytest.mark.parametrize("name", BASELINES["interpolate"])
def test_interpolation_keeps_constants_and_sizes(name):
    for shape in [(8, 10), (7, 9), (1, 2)]:
        y = np.full((*shape, 1), 0.25, np.float32)
        x = find_method(name, "interpolate")(y, 0.0)
        np.testing.assert_allclose(x, y, atol=1e-6)


@pytest.mark.parametrize(("name", "degree"), [("bilinear", 1), ("bicubic_aligned", 2)])
def test_aligned_interpolation_is_exact_on_polynomials(name, degree):
    i, j = np.mgrid[:20, :24] / 24
    truth = ((1 + i + 2 * j) ** degree).astype(np.float32)[..., None]
    y = np.zeros_like(truth)
    y[::2, ::2] = truth[::2, ::2]
    x = find_method(name, "interpolate")(y, 0.0)
    assert np.array_equal(x[::2, ::2], y[::2, ::2])
    np.testing.assert_allclose(x[3:-5, 3:-5], truth[3:-5, 3:-5], rtol=1e-5)


def test_misaligned_bicubic_is_half_a_pixel_off():
    # a ramp comes back displaced by half a pixel; a of -0.75 adds a ripple, whose mean is zero
    truth = np.broadcast_to(np.arange(24, dtype=np.float32)[:, None, None], (24, 20, 1))
    x = find_method("bicubic_misaligned", "interpolate")(truth, 0.0)
    pairs = (x[1:] + x[:-1]) / 2
    np.testing.assert_allclose(pairs[7:-7], (truth[1:] + truth[:-1])[7:-7] / 2 - 0.5, atol=1e-5)


def test_a_network_restores_in_tiles_what_it_restores_whole(network, monkeypatch):
    y, _ = observe(random(50, 61, 3), "demosaic")
    whole = network_method(network, "demosaic")(y, 0.0)
    small_tiles = partialmethod(ImageNetwork.restore, whole=40, tile=16)
    monkeypatch.setattr(ImageNetwork, "restore", small_tiles)
    tiled = network_method(network, "demosaic")(y, 0.0)
    assert whole.shape == (50, 61, 3)
    np.testing.assert_allclose(tiled, whole, atol=2e-5)
    assert np.array_equal(whole[::2, ::2, 0], y[::2, ::2, 0])  # samples come back


def test_mistakes_of_methods(network, tmp_path):
    with pytest.raises(ValueError, match=r"Got the method 'bicubic'\. Expected a baseline of demo"):
        find_method("bicubic", "demosaic")
    with pytest.raises(
        ValueError, match=r"network\.safetensors, a network .*\. Expected .*channel"
    ):
        find_method(str(network), "interpolate")
    other = tmp_path / "luma.safetensors"
    save_network(PublishedNetwork.ugtv(1), other, "ugtv", {"channels": 1})
    assert find_method(str(other), "interpolate")(random(12, 9, 1), 0.0).shape == (12, 9, 1)
    with pytest.raises(ValueError, match=r"luma\.safetensors, a network .*\. Expected .*channel"):
        find_method(str(other), "demosaic")
    with pytest.raises(ValueError, match=r"no_such_package cannot be imported .*Install them with"):
        needed("no_such_package")


@pytest.mark.parametrize("name", ["menon2007+nlm", "menon2007+bm3d"])
@pytest.mark.slow
def test_denoisers_are_told_the_noise(name):
    available("colour_demosaicing")
    available("bm3d")
    i, j = np.mgrid[:40, :48] / 48
    photo = np.stack([i, j, (i + j) / 2], -1).astype(np.float32)
    y, truth = observe(photo, "demosaic", 20)
    method, plain = find_method(name, "demosaic"), find_method("menon2007", "demosaic")
    assert score("a", method(y, 20 / 255), truth).psnr > score("a", plain(y, 0.0), truth).psnr + 3
    assert np.array_equal(method(y, 0.0), plain(y, 0.0))


# -------------------------------------------------------------------------------- the command


def test_help_does_not_import_torch():
    code = (
        "import sys; from gsp_unroll.evaluate.__main__ import parse\n"
        "try: parse(['--help'])\n"
        "except SystemExit: assert 'torch' not in sys.modules"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    for name in (*BASELINES["demosaic"], *BASELINES["interpolate"]):
        assert name in " ".join(run.stdout.split())


@pytest.mark.parametrize("sigma", ["-1", "inf", "nan", "much"])
def test_impossible_noise_is_refused(sigma, capsys):
    with pytest.raises(SystemExit):
        parse(["--photos", "x", "--methods", "x", "--out", "x", "--noise", sigma])
    assert "--noise" in capsys.readouterr().err


def test_from_pictures_to_tables(network, photos, tmp_path, capsys):
    out = tmp_path / "out"
    arguments = ["--photos", str(photos), "--methods", str(network), "--out", str(out)]
    main(parse([*arguments, "--noise", "0", "10"]))
    table = (out / "table.md").read_text()
    assert capsys.readouterr().out.strip() == table.strip()
    assert f"{BORDER} pixels along each side" in table
    with (out / "table.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(r["set"], r["photos"], r["sigma"], r["method"]) for r in rows] == [
        ("pictures", "2", "0.0", str(network)),
        ("pictures", "2", "10.0", str(network)),
    ]
    assert float(rows[0]["paper_psnr"]) > float(rows[1]["paper_psnr"])
    with (out / "photos.csv").open() as file:
        each = list(csv.DictReader(file))
    assert [(r["photo"], r["sigma"]) for r in each] == [
        (photo, sigma) for photo in ("a.png", "more/b.png") for sigma in ("0.0", "10.0")
    ]
    mean = np.mean([float(r["psnr_standard"]) for r in each[::2]])
    assert mean == pytest.approx(float(rows[0]["standard_psnr"]))

    before = {name: (out / name).read_bytes() for name in FILES}
    with pytest.raises(ValueError, match=r"already holds table\.md.* Expected .*--force"):
        main(parse(arguments))
    assert before == {name: (out / name).read_bytes() for name in FILES}
    main(parse([*arguments, "--force", "--noise", "5"]))
    assert len((out / "table.csv").read_text().splitlines()) == 2


def test_interpolation_by_command(photos, tmp_path, capsys):
    names = list(BASELINES["interpolate"])
    out = str(tmp_path / "out")
    main(
        parse(["--task", "interpolate", "--photos", str(photos), "--out", out, "--methods", *names])
    )
    table = capsys.readouterr().out
    assert all(f"| {name} " in table for name in names)
    assert "BT.601" in table


def test_a_missing_package_is_noticed_before_anything_is_computed(photos, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage.metrics", None)
    arguments = ["--task", "interpolate", "--photos", str(photos), "--methods", "bilinear"]
    with pytest.raises(ValueError, match=r"skimage\.metrics cannot .* pip install .*evaluate"):
        main(parse([*arguments, "--out", str(tmp_path / "out")]))
    assert not (tmp_path / "out").exists()


def test_an_interrupted_evaluation_goes_on(photos, tmp_path):
    out, asked = tmp_path / "out", []

    def restore(y, sigma):
        asked.append(sigma)
        if len(asked) == 3:
            raise KeyboardInterrupt
        return np.full((*y.shape[:2], 3), 0.5 + sigma, np.float32)

    def evaluate(sigmas=(0.0, 10.0), seed=0):
        known = read_interrupted(out, "demosaic", seed)
        results = compare([photos], {"grey": restore}, "demosaic", sigmas, seed, known)
        return len(known), write_report(results, out, "demosaic", seed, known)

    with pytest.raises(KeyboardInterrupt):
        evaluate()
    (part,) = out.iterdir()
    whole = part.read_bytes()
    part.write_bytes(whole + b"pictures,more/b.png,0.0,gr")  # killed while it wrote
    assert read_interrupted(out, "demosaic", 1) == []
    assert read_interrupted(out, "interpolate", 0) == []
    assert read_interrupted(out, "demosaic", 0, center=24) == []
    assert read_interrupted(out, "demosaic", 0, asked="other") == []
    known, table = evaluate()
    assert known == 2
    assert len(asked) == 5  # the third was asked twice
    assert sorted(path.name for path in out.iterdir()) == sorted(FILES)
    asked[:] = [0.0] * 3
    for path in out.iterdir():
        path.unlink()
    assert evaluate() == (0, table)  # as if nothing had happened
    lines = (out / "photos.csv").read_bytes().splitlines()
    assert [line.rpartition(b",")[0] for line in whole.splitlines()] == [
        line.rpartition(b",")[0] for line in lines[:3]
    ]


def test_two_sets_of_one_name(photos, tmp_path):
    other = tmp_path / "other" / "pictures"
    other.mkdir(parents=True)
    (other / "a.png").write_bytes((photos / "a.png").read_bytes())
    method = {"zero": lambda y, sigma: np.zeros((*y.shape[:2], 3))}
    sets = {r.set for r in compare([photos, other], method, "demosaic")}
    assert sets == {str(photos), str(other)}
    with pytest.raises(ValueError, match=r"Got the folder .* twice"):
        list(compare([photos, photos], method, "demosaic"))


# ------------------------------------------------------------------------------ known figures


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_classical_rows_of_kodak(data_dir):
    available("colour_demosaicing")
    names = ["bilinear", "malvar2004", "menon2007"]
    methods = {name: find_method(name, "demosaic") for name in names}
    rows = summarize(list(compare([data_dir / "images" / "kodak24"], methods, "demosaic")))
    print(markdown(rows))
    # the first column agrees with the table of Do et al. 2024 to 0.06 dB
    assert [r.paper_psnr for r in rows] == pytest.approx([28.27, 34.13, 38.06], abs=0.0101)
    assert [r.paper_ssim for r in rows] == pytest.approx([0.8913, 0.9681, 0.9819], abs=1.01e-4)
    assert [r.standard_psnr for r in rows] == pytest.approx([30.24, 35.78, 39.27], abs=0.0101)


@pytest.mark.slow
def test_bicubic_rows_of_kodak(data_dir):
    methods = {name: find_method(name, "interpolate") for name in BASELINES["interpolate"]}
    rows = summarize(list(compare([data_dir / "images" / "kodak24"], methods, "interpolate")))
    of = {r.method: r for r in rows}
    assert of["bicubic_misaligned"].paper_psnr == pytest.approx(26.76, abs=0.0101)
    assert of["bicubic_misaligned"].paper_ssim == pytest.approx(0.83, abs=1.01e-4)
    assert of["bicubic_aligned"].paper_psnr == pytest.approx(28.58, abs=0.0101)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_demosaicnet_at_its_own_phase(data_dir, tmp_path):
    available("demosaicnet")
    shifts = [(i, j) for i in (0, 1) for j in (0, 1)]
    for number in ("05", "19"):
        photo = data_dir / "images" / "kodak24" / f"kodim{number}.png"
        (tmp_path / photo.name).symlink_to(photo)
    methods = {str(shift): demosaicnet(shift) for shift in shifts}
    psnr = {
        r.method: r.standard_psnr for r in summarize(list(compare([tmp_path], methods, "demosaic")))
    }
    best = psnr.pop(str(GRBG_FROM_RGGB))
    assert best > 39
    assert best > max(psnr.values()) + 1
