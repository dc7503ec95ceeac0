"""The command `gsp-unroll`: every picture in its place, nothing lost, and an honest exit status."""

import json
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

tifffile = pytest.importorskip("tifffile")
pytest.importorskip("png")
pytest.importorskip("PIL")

from gsp_unroll.cli import main  # noqa: E402
from gsp_unroll.cli.denoise import denoise, noise_level  # noqa: E402
from gsp_unroll.cli.files import plan_jobs  # noqa: E402
from gsp_unroll.photos import SUFFIXES, read_header, read_photo, write_photo  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
RNG = np.random.default_rng(0)


def smooth(height=12, width=10):
    rows, columns = np.mgrid[:height, :width] / 20
    return np.stack([rows, columns, (rows + columns) / 2], -1)


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """Two pictures in a folder, one in a folder of that, and a file that is none."""
    monkeypatch.chdir(tmp_path)
    Path("in/deep").mkdir(parents=True)
    write_photo("in/a.png", smooth())
    write_photo("in/b.tif", smooth(), 16)
    write_photo("in/deep/c.jpg", smooth())
    Path("in/bad.png").write_text("no image")
    return tmp_path


def names(folder):
    return sorted(p.relative_to(folder).as_posix() for p in Path(folder).rglob("*") if p.is_file())


def test_a_folder_is_done_but_for_the_file_that_is_no_picture(photos, capsys):
    assert main(["denoise", "in", "out", "--sigma", "5"]) == 1
    assert names("out") == ["a.png", "b.tif", "deep/c.png"]
    said = capsys.readouterr().err
    assert "error: in/bad.png: Got in/bad.png, which cannot be read" in said
    assert "Traceback" not in said
    assert "1 of 4 failed" in said
    Path("in/bad.png").unlink()
    assert main(["denoise", "in", "again", "--sigma", "5"]) == 0


def test_debug_shows_where_an_error_came_from(photos, capsys):
    assert main(["denoise", "--debug", "in/bad.png", "in/a.png", "out"]) == 1
    assert "Traceback" in capsys.readouterr().err
    assert names("out") == ["a.png"]


def test_nothing_is_overwritten_without_force(photos, capsys):
    assert main(["interpolate", "in/a.png", "out.png"]) == 0
    before = Path("out.png").read_bytes()
    write_photo("in/a.png", 1 - smooth(), overwrite=True)
    assert main(["interpolate", "in/a.png", "out.png"]) == 1
    assert "--force" in capsys.readouterr().err
    assert Path("out.png").read_bytes() == before
    assert main(["interpolate", "in/a.png", "out.png", "--force"]) == 0
    assert Path("out.png").read_bytes() != before
    assert names(".") == ["in/a.png", "in/b.tif", "in/bad.png", "in/deep/c.jpg", "out.png"]


def test_what_exists_is_skipped_when_asked(photos, capsys):
    assert main(["interpolate", "in/a.png", "out/"]) == 0
    before = Path("out/a.png").read_bytes()
    write_photo("in/a.png", 1 - smooth(), overwrite=True)
    assert main(["interpolate", "in/a.png", "in/b.tif", "out/", "--skip-existing"]) == 0
    assert "a.png exists: skipped" in capsys.readouterr().err
    assert Path("out/a.png").read_bytes() == before
    assert Path("out/b.tif").exists()
    assert main(["interpolate", "in/a.png", "out/", "--skip-existing", "--force"]) == 2


def test_interpolation_doubles_and_keeps_every_pixel(photos):
    assert main(["interpolate", "in/b.tif", "out/"]) == 0
    assert read_header("out/b.tif").bits == 16
    x = read_photo("out/b.tif")
    assert x.shape == (24, 20, 3)
    np.testing.assert_allclose(x[::2, ::2], read_photo("in/b.tif"), rtol=0, atol=2 / 65535)


def test_bits_stay_unless_told(photos):
    assert main(["denoise", "in/a.png", "in/b.tif", "out"]) == 0
    assert [read_header(f"out/{n}").bits for n in ("a.png", "b.tif")] == [8, 16]
    assert main(["denoise", "in/b.tif", "out.png", "--bits", "8"]) == 0
    assert read_header("out.png").bits == 8
    assert main(["denoise", "in/b.tif", "out.jpg"]) == 0  # a name that allows no more
    assert main(["denoise", "in/b.tif", "other.jpg", "--bits", "16"]) == 2
    assert not Path("other.jpg").exists()


@pytest.mark.parametrize("pattern", ["RGGB", "GBRG"])
def test_a_mosaic_gets_its_colours_and_keeps_its_samples(pattern, photos, capsys):
    from gsp_unroll import BayerMosaic

    H = BayerMosaic(12, 10, pattern)
    mosaic = (H @ torch.from_numpy(smooth()).reshape(-1, 3)).reshape(12, 10, 1).numpy()
    write_photo("mosaic.png", mosaic.repeat(3, -1), 16)
    arguments = ["--network", "small", "--pattern", pattern]
    assert main(["demosaic", "mosaic.png", "out.png", *arguments]) == 0
    x = read_photo("out.png")
    seen = H @ torch.from_numpy(x).reshape(-1, 3)
    np.testing.assert_allclose(seen.reshape(12, 10), mosaic[..., 0], rtol=0, atol=2 / 65535)
    assert np.abs(x - smooth()).max() < 0.1
    assert main(["demosaic", "in/a.png", "colours.png", *arguments]) == 1
    assert "--simulate" in capsys.readouterr().err
    assert main(["demosaic", "in/a.png", "colours.png", "--simulate", *arguments]) == 0
    assert " dB)" in capsys.readouterr().err


def test_a_camera_file_is_upright_with_16_bits(photos, capsys):
    pytest.importorskip("rawpy")
    tags = [
        (50706, "B", 4, b"\x01\x04\x00\x00", True),  # version
        (33421, "H", 2, (2, 2), True),
        (33422, "B", 4, bytes((0, 1, 1, 2)), True),
        (274, "H", 1, 6, True),  # the camera was held upright
    ]
    values = np.full((48, 64), 1000, np.uint16)
    values[:, :32] = 30000
    tifffile.imwrite("x.dng", values, photometric=32803, extratags=tags, metadata=None)
    assert main(["demosaic", "x.dng", "out", "--network", "small"]) == 0
    assert read_header("out/x.png").bits == 16
    x = read_photo("out/x.png")
    assert x.shape == (64, 48, 3)
    assert x[:24].mean() > 2 * x[40:].mean()  # left becomes top under a clockwise turn
    assert main(["denoise", "x.dng", "other"]) == 1
    assert "demosaic" in capsys.readouterr().err


def test_bombs_are_refused_before_they_are_read(photos, capsys):
    from PIL import Image

    bound = Image.MAX_IMAGE_PIXELS
    small = Path("in/a.png").read_bytes()  # a header of 13 bytes, 16 bytes from the beginning
    head = b"IHDR" + struct.pack(">II", 30000, 20000) + small[24:29]
    Path("bomb.png").write_bytes(
        small[:12] + head + zlib.crc32(head).to_bytes(4, "big") + small[33:]
    )
    tifffile.imwrite("bomb.tif", np.zeros((1000, 800), np.uint8), photometric="minisblack")
    assert main(["denoise", "bomb.png", "in/a.png", "out"]) == 1
    said = capsys.readouterr().err
    assert "Got 30000 x 20000 pixels, a result of 600 megapixels. Expected at most 64." in said
    assert "--max-megapixels 601" in said
    assert names("out") == ["a.png"]
    assert main(["denoise", "bomb.tif", "out", "--max-megapixels", "0.5"]) == 1
    assert "0.8 megapixels" in capsys.readouterr().err
    # what counts is the result, four times as many pixels
    assert main(["interpolate", "in/a.png", "up", "--max-megapixels", "0.0004"]) == 1
    assert main(["interpolate", "in/a.png", "up", "--max-megapixels", "0.0005"]) == 0
    assert bound == Image.MAX_IMAGE_PIXELS


def test_patterns_folders_and_names_in_out(photos):
    def plan(inputs, out, suffix=None):
        jobs, lost = plan_jobs(inputs, out, SUFFIXES, suffix)
        return [(j.source.as_posix(), j.target.as_posix()) for j in jobs], lost

    a, c = ("in/a.png", "out/a.png"), ("in/deep/c.jpg", "out/c.png")
    assert plan(["in/a*"], "out") == ([a], [])
    assert plan(["in/**/*.jpg", "in/a.png", "in/a.png"], "out") == ([c, a], [])
    assert plan(["in/deep"], "out", ".tif") == ([("in/deep/c.jpg", "out/c.tif")], [])
    jobs, lost = plan(["in/a.png", "nix*"], "out")
    assert jobs == [a]
    assert lost == ["nix*: no such picture, and none in a folder of that name"]
    assert plan(["in/a.png"], "x/y.jpg") == ([("in/a.png", "x/y.jpg")], [])
    Path("in/out").mkdir()
    write_photo("in/out/d.png", smooth())  # what an earlier call has left there
    assert "in/out/d.png" not in dict(plan(["in"], "in/out")[0])
    assert "in/out/d.png" in dict(plan(["in/out"], "in/out")[0])


def test_wrong_use_is_refused_before_anything_is_done(photos, capsys):
    write_photo("in/a.jpg", smooth())
    for arguments, message in (
        (["denoise", "in/a.png"], r"Got in/a.png alone. Expected IN and OUT"),
        (["denoise", "nix.png", "out"], "Got nix.png: no such picture"),
        (["denoise", "in/a.png", "in/a.jpg", "out"], "would both become out/a.png"),
        (["denoise", "in/a.png", "in/b.tif", "out.png"], "the file out.png for several pictures"),
        (["denoise", "in", "out.png"], "the file out.png for several pictures"),
        (["denoise", "in/a.png", "out.what"], "out.what, whose name tells no format"),
        (["denoise", "in/a.png", "out", "--sigma", "0"], "'0' is no number above 0"),
        (["denoise", "in/a.png", "out", "--device", "hui"], "Got --device hui"),
        (["interpolate", "in/a.png", "out", "--network", "mosaic"], "trained for this task"),
        (["demosaic", "in/a.png", "out", "--network", "hui"], "Got 'hui', which is no file"),
        (["info", "hui"], "Got 'hui', which is no file"),
        (
            ["denoise", "in/a.png", "out.png", "--suffix", ".tif"],
            "--suffix .tif and the file out.png",
        ),
        (["hui"], "invalid choice"),
        (["eval"], "gsp-unroll eval: error"),
        (["train"], "gsp-unroll train: error"),
    ):
        assert main(arguments) == 2, arguments
        assert message in capsys.readouterr().err
    assert not Path("out").exists()


def test_an_interruption_is_no_failure(photos, monkeypatch, capsys):
    from gsp_unroll.cli import restore

    monkeypatch.setattr(restore, "noise_level", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
    assert main(["denoise", "in/a.png", "in/b.tif", "out"]) == 130
    assert "interrupted" in capsys.readouterr().err
    assert not Path("out").exists()


def test_an_interrupted_replacement_leaves_the_file_as_it_was(photos, monkeypatch):
    Path("out.tif").write_bytes(b"before")

    def half(path, *rest, **more):
        Path(path).write_bytes(b"half of")
        raise KeyboardInterrupt

    monkeypatch.setattr(tifffile, "imwrite", half)
    assert main(["denoise", "in/a.png", "out.tif", "--force"]) == 130
    assert Path("out.tif").read_bytes() == b"before"
    assert not list(Path().glob("*.part"))


def test_eval_and_train_hand_over(photos, capsys):
    plan = {"width": 4, "depth": 1, "features": 2}
    arguments = ["--network", "mosaic", "--arguments", json.dumps(plan), "--photos", "nowhere"]
    assert main(["train", *arguments, "--out", "run", "--steps", "1"]) == 1
    assert "Got nowhere. Expected a folder" in capsys.readouterr().err
    assert main(["eval", "--photos", "in", "--methods", "hui", "--out", "run"]) == 1
    assert "Got the method 'hui'" in capsys.readouterr().err
    assert "Traceback" not in capsys.readouterr().err


def test_where_an_error_came_from_is_shown_by_every_command(photos, capsys):
    evaluate = ["eval", "--photos", "in", "--methods", "hui", "--out", "run"]
    train = ["train", "--network", "mosaic", "--photos", "no", "--out", "run", "--steps", "1"]
    for words in (evaluate, train, ["info", "hui"], ["denoise", "in/bad.png", "out"]):
        for asked in ([*words, "--debug"], ["--debug", *words]):
            assert main(asked) in (1, 2)
            assert "Traceback" in capsys.readouterr().err, asked


def test_info(photos, capsys):
    assert main(["info"]) == 0
    said = capsys.readouterr().out
    for part in ("gsp_unroll 0", "torch", "backends, fastest first", "mosaic", "302982"):
        assert part in said
    assert main(["info", "small"]) == 0
    said = capsys.readouterr().out
    for part in ('arguments {"width": 32, "depth": 4}', "82006 parameters", "## Data", "BSDS500"):
        assert part in said


def test_denoising_removes_noise_and_tiles_leave_no_seam():
    truth = torch.from_numpy(smooth(70, 60)).float() / 4
    y = truth + 0.05 * torch.randn(70, 60, 3)
    x = denoise(y, 0.05)
    assert float((x - truth).square().mean()) < 0.2 * float((y - truth).square().mean())
    assert float((denoise(y, 0.05, tile=20) - x).abs().max()) < 0.5 / 255
    assert noise_level(y) == pytest.approx(0.05, rel=0.05)
    assert noise_level(truth) < 1e-6
    assert torch.equal(denoise(truth, 0.0), truth)
    for shape in ((1, 1, 3), (2, 3, 3), (1, 7, 3)):
        tiny = torch.rand(shape)
        assert denoise(tiny, 0.1).shape == shape
        assert noise_level(tiny) == 0


@pytest.mark.parametrize("words", [[], ["demosaic"], ["denoise"], ["eval"], ["train"], ["info"]])
def test_help_comes_without_torch_and_at_once(words):
    code = (
        "import sys, resource\n"
        "from gsp_unroll.cli import main\n"
        f"assert main([*{words!r}, '--help']) == 0\n"
        "assert 'torch' not in sys.modules\n"
        "used = resource.getrusage(resource.RUSAGE_SELF)\n"
        "print(used.ru_utime + used.ru_stime)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 0, run.stderr
    assert f"usage: {' '.join(['gsp-unroll', *words])}" in run.stdout
    assert float(run.stdout.split()[-1]) < 0.5


def test_the_module_is_the_command():
    for arguments, status in ((["--version"], 0), (["hui"], 2)):
        command = [sys.executable, "-m", "gsp_unroll", *arguments]
        run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
        assert run.returncode == status
        assert "gsp-unroll" in run.stdout + run.stderr


@pytest.mark.parametrize("words", [["info"], ["--help"]])
def test_a_reader_that_has_left_is_no_error_to_report(words):
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "gsp_unroll", *words]
    # buffered, as a shell starts it: what is written only meets the pipe when it is flushed
    given = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    given["PYTHONWARNINGS"] = "ignore"  # torch 2.14 warns of what PyTorch Geometric still calls
    run = subprocess.run(
        command, stdout=writer, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=given
    )
    os.close(writer)
    assert run.stderr == ""
    assert run.returncode == 1  # as Python's documentation has it
