"""Photographs and camera files: what is written comes back, what is wrong is said."""

import zlib

import numpy as np
import pytest
import torch

from gsp_unroll import BayerMosaic
from gsp_unroll.photos import PhotoHeader, find_photos, read_header, read_photo, write_photo

tifffile = pytest.importorskip("tifffile")
pytest.importorskip("png")

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("name", "bits"), [("a.png", 8), ("a.png", 16), ("a.tif", 8), ("a.tiff", 16), ("a.bmp", 8)]
)
def test_what_is_written_comes_back(name, bits, tmp_path):
    image = RNG.random((7, 5, 3))
    write_photo(tmp_path / name, image, bits)
    back = read_photo(tmp_path / name)
    assert back.dtype == np.float32
    assert back.shape == image.shape
    assert np.abs(back - image).max() < 0.51 / (2**bits - 1) + 1e-7
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_png_that_tells_its_significant_bits(tmp_path):
    import png

    with (tmp_path / "a.png").open("wb") as file:
        writer = png.Writer(2, 1, greyscale=False, bitdepth=16)
        writer.write(file, [[65535, 0, 0, 65535, 65535, 65535]])
    data = (tmp_path / "a.png").read_bytes()
    chunk = b"sBIT" + bytes([12, 12, 12])
    crc = zlib.crc32(chunk).to_bytes(4, "big")
    end = 8 + 25  # behind the signature and the header
    (tmp_path / "a.png").write_bytes(data[:end] + b"\0\0\0\3" + chunk + crc + data[end:])
    assert read_photo(tmp_path / "a.png").max() == 1


def test_half_precision_is_not_too_small_for_16_bits(tmp_path):
    write_photo(tmp_path / "a.png", np.ones((2, 2, 3), np.float16), 16)
    assert read_photo(tmp_path / "a.png").min() == 1


def test_values_outside_are_clipped(tmp_path):
    write_photo(tmp_path / "a.png", np.array([[[-0.5, 0.5, 1.5]]]))
    np.testing.assert_allclose(read_photo(tmp_path / "a.png"), [[[0, 128 / 255, 1]]], atol=1e-6)


def test_grey_and_transparent_photos(tmp_path):
    from PIL import Image

    grey = RNG.integers(0, 256, (4, 6), dtype=np.uint8)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    Image.fromarray(np.dstack([grey] * 4)).save(tmp_path / "clear.png")
    tifffile.imwrite(tmp_path / "grey.tif", grey.astype(np.uint16) * 257)
    for name in ("grey.png", "clear.png", "grey.tif"):
        image = read_photo(tmp_path / name)
        assert image.shape == (4, 6, 3)
        np.testing.assert_allclose(image[..., 1], grey / 255, atol=1e-6)


def test_nothing_is_overwritten_and_nothing_is_left_behind(tmp_path):
    path = tmp_path / "a.png"
    write_photo(path, np.zeros((2, 2, 3)))
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match=r"a\.png exists"):
        write_photo(path, np.ones((2, 2, 3)))
    with pytest.raises(ValueError, match=r"Got an image with NaN.* Expected finite"):
        write_photo(tmp_path / "b.png", np.full((2, 2, 3), np.nan))
    with pytest.raises(ValueError, match=r"Got 16 bits as \.jpg.* Expected a PNG or TIFF"):
        write_photo(tmp_path / "b.jpg", np.zeros((2, 2, 3)), 16)
    with pytest.raises(ValueError, match=r"Got b\.what.* Expected a name"):
        write_photo(tmp_path / "b.what", np.zeros((2, 2, 3)))
    with pytest.raises(ValueError, match=r"Got an image of uint8.* Expected .*floating.* 255"):
        write_photo(tmp_path / "b.png", np.zeros((2, 2, 3), np.uint8))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_bad_files(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_photo(tmp_path / "none.png")
    (tmp_path / "words.png").write_text("no image")
    write_photo(tmp_path / "whole.png", RNG.random((40, 40, 3)), 16)
    (tmp_path / "half.png").write_bytes((tmp_path / "whole.png").read_bytes()[:900])
    (tmp_path / "words.tif").write_text("no image")
    for name in ("words.png", "half.png", "words.tif"):
        with pytest.raises(ValueError, match=rf"Got .*{name}.* Expected an image.* convert it"):
            read_photo(tmp_path / name)
    tifffile.imwrite(tmp_path / "planes.tif", np.zeros((3, 8, 9), np.uint8), photometric="rgb")
    with pytest.raises(ValueError, match=r"shape \(3, 8, 9\).* Expected \(height.* interleaved"):
        read_photo(tmp_path / "planes.tif")
    tifffile.imwrite(tmp_path / "real.tif", np.zeros((4, 4), np.float32))
    with pytest.raises(ValueError, match=r"float32.* Expected 8 or 16 bits"):
        read_photo(tmp_path / "real.tif")


def test_headers_and_overwriting(tmp_path):
    for name, bits in (("a.png", 8), ("b.png", 16), ("c.tif", 16), ("d.jpg", 8)):
        write_photo(tmp_path / name, np.zeros((4, 6, 3)), bits)
        assert read_header(tmp_path / name) == PhotoHeader(4, 6, bits)
    write_photo(tmp_path / "b.png", np.ones((2, 2, 3)), 16, overwrite=True)
    assert read_photo(tmp_path / "b.png").min() == 1
    tifffile.imwrite(tmp_path / "planes.tif", np.zeros((5, 8, 9), np.uint8))
    for read in (read_header, read_photo):
        with pytest.raises(ValueError, match="several pages of one size"):
            read(tmp_path / "planes.tif")
    (tmp_path / "words.png").write_text("no image")
    with pytest.raises(ValueError, match=r"Got .*words.png.* Expected an image.* convert it"):
        read_header(tmp_path / "words.png")


def test_a_turned_photo_stands_upright(tmp_path):
    from PIL import Image

    image = Image.fromarray(np.arange(12, dtype=np.uint8).reshape(3, 4) * 20)
    exif = image.getexif()
    exif[0x0112] = 6  # the right side is the top of the scene: turn clockwise
    image.save(tmp_path / "a.png", exif=exif)
    expected = np.rot90(np.asarray(image), -1) / 255
    np.testing.assert_allclose(read_photo(tmp_path / "a.png")[..., 0], expected, atol=1e-6)


@pytest.mark.parametrize("turned", range(1, 9))
def test_files_that_we_read_ourselves_are_turned_as_pillow_turns(turned, tmp_path):
    from PIL import Image, ImageOps

    exif = Image.Exif()
    exif[0x0112] = turned
    image = Image.fromarray(RNG.integers(0, 256, (4, 6, 3), dtype=np.uint8))
    for name in ("a.png", "a.tif"):
        image.save(tmp_path / name, exif=exif)
    with Image.open(tmp_path / "a.png") as lying:
        expected = np.asarray(ImageOps.exif_transpose(lying)) / 255
    deep = np.asarray(image).astype(np.uint16) * 257
    write_photo(tmp_path / "b.png", deep / 65535, 16)
    with_exif = (tmp_path / "b.png").read_bytes()
    chunk = b"eXIf" + exif.tobytes().removeprefix(b"Exif\0\0")
    chunk = (len(chunk) - 4).to_bytes(4) + chunk + zlib.crc32(chunk).to_bytes(4)
    (tmp_path / "b.png").write_bytes(with_exif[:33] + chunk + with_exif[33:])  # behind the header
    for name in ("a.png", "a.tif", "b.png"):
        np.testing.assert_allclose(read_photo(tmp_path / name), expected, atol=1e-6)


def test_tiffs_of_other_colours(tmp_path):
    from PIL import Image

    grey = RNG.integers(0, 256, (4, 6), dtype=np.uint8)
    for kind, expected in (("minisblack", grey / 255), ("miniswhite", 1 - grey / 255)):
        tifffile.imwrite(tmp_path / f"{kind}.tif", grey, photometric=kind)
        np.testing.assert_allclose(
            read_photo(tmp_path / f"{kind}.tif")[..., 1], expected, atol=1e-6
        )
    colors = Image.fromarray(RNG.integers(0, 256, (4, 6, 3), dtype=np.uint8))
    for kind, image in (("PALETTE", colors.quantize(16)), ("SEPARATED", colors.convert("CMYK"))):
        image.save(tmp_path / "a.tif")
        with pytest.raises(ValueError, match=f"its values are {kind}.* convert it"):
            read_photo(tmp_path / "a.tif")


def test_formats_that_cannot_be_written(tmp_path):
    for name, bits, message in (
        ("a.psd", 8, "Got a.psd.* ends in .png or .tif"),
        ("a.png", 12, "Got bits=12.* 8 or 16"),
    ):
        with pytest.raises(ValueError, match=message):
            write_photo(tmp_path / name, np.zeros((2, 2, 3)), bits)
    assert not list(tmp_path.iterdir())


def test_a_png_of_16_bits_with_more_rows_than_it_says(tmp_path):
    path = tmp_path / "a.png"
    write_photo(path, RNG.random((50, 2, 3)), 16)
    data = path.read_bytes()
    head = b"IHDR" + (2).to_bytes(4, "big") + (3).to_bytes(4, "big") + data[24:29]
    path.write_bytes(data[:12] + head + zlib.crc32(head).to_bytes(4, "big") + data[33:])
    assert read_photo(path).shape == (3, 2, 3)


def test_photos_of_a_folder(tmp_path):
    (tmp_path / "deep").mkdir()
    for name in ("b.png", "deep/a.PNG", "c.txt"):
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    assert [path.name for path in find_photos(tmp_path)] == ["b.png", "a.PNG"]
    for empty in (tmp_path / "missing", tmp_path / "c.txt"):
        with pytest.raises(FileNotFoundError, match=r"Expected a folder of images"):
            find_photos(empty)


# ---- camera files ---------------------------------------------------------------------------

PHASES = {"RGGB": (0, 1, 1, 2), "GRBG": (1, 0, 2, 1), "GBRG": (1, 2, 0, 1), "BGGR": (2, 1, 1, 0)}


def write_dng(path, values, pattern="RGGB", black=64, white=1023, neutral=(1, 2, 1, 1, 2, 3)):
    """The least a DNG file may hold: levels, filter array, and what grey looks like."""
    identity = [n for row in np.eye(3, dtype=int).tolist() for v in row for n in (v, 1)]
    tags = [
        (50706, "B", 4, b"\x01\x04\x00\x00", True),  # version
        (50708, "s", 0, "test", True),  # camera
        (33421, "H", 2, (2, 2), True),
        (33422, "B", 4, bytes(PHASES[pattern]), True),
        (50714, "H", 1, black, True),
        (50717, "H", 1, white, True),
        (50721, "2i", 9, tuple(identity), True),  # colours, not used here
        (50728, "2I", 3, neutral, True),
    ]
    tifffile.imwrite(path, values, photometric=32803, extratags=tags, metadata=None)


@pytest.mark.parametrize("pattern", PHASES)
def test_levels_phase_and_white_of_a_dng(pattern, tmp_path):
    pytest.importorskip("rawpy")
    from gsp_unroll.camera import read_raw

    values = RNG.integers(0, 1024, (48, 64)).astype(np.uint16)
    write_dng(tmp_path / "a.dng", values, pattern)
    frame = read_raw(tmp_path / "a.dng")
    assert frame.pattern == pattern
    np.testing.assert_allclose(frame.mosaic, (values - 64.0) / (1023 - 64), atol=1e-6)
    # a grey object gives 1/2 : 1 : 2/3 of its light to red, green and blue
    np.testing.assert_allclose(frame.white, (2, 1, 1.5), atol=1e-3)


def test_a_grey_scene_becomes_grey(tmp_path):
    pytest.importorskip("rawpy")
    from gsp_unroll.camera import read_raw

    light = torch.tensor([0.2, 0.4, 0.4 * 2 / 3]).expand(48 * 64, 3)
    for pattern in PHASES:
        seen = (BayerMosaic(48, 64, pattern) @ light).reshape(48, 64).numpy()
        values = np.round(64 + seen * (1023 - 64)).astype(np.uint16)
        write_dng(tmp_path / f"{pattern}.dng", values, pattern)
        balanced = read_raw(tmp_path / f"{pattern}.dng").balanced(gamma=1.0)
        np.testing.assert_allclose(balanced, 0.4, atol=2e-3)


def test_bad_camera_files(tmp_path):
    pytest.importorskip("rawpy")
    from gsp_unroll.camera import RawFrame, read_raw

    with pytest.raises(FileNotFoundError, match=r"no such file"):
        read_raw(tmp_path / "none.dng")
    (tmp_path / "words.dng").write_text("no image")
    with pytest.raises(ValueError, match=r"Got .*words\.dng.* Expected a camera file"):
        read_raw(tmp_path / "words.dng")
    with pytest.raises(ValueError, match=r"Got pattern='RGBW'.* Expected one of RGGB"):
        RawFrame(np.zeros((2, 2)), "RGBW")


def test_other_filter_arrays_are_refused(tmp_path):
    pytest.importorskip("rawpy")
    from gsp_unroll.camera import read_raw

    array = "GBRRGBBRGGBRRGBGRB"  # begins like a Bayer array, and repeats every 3 columns
    numbers = bytes("RGB".index(color) for color in array)
    tags = [
        (50706, "B", 4, b"\x01\x04\x00\x00", True),
        (33421, "H", 2, (6, 3), True),
        (33422, "B", 18, numbers, True),
    ]
    values = np.zeros((48, 66), np.uint16)
    tifffile.imwrite(tmp_path / "x.dng", values, photometric=32803, extratags=tags, metadata=None)
    with pytest.raises(ValueError, match=r"x\.dng.* Expected a.*(Bayer array|camera file)"):
        read_raw(tmp_path / "x.dng")


def test_a_real_frame_is_restored(data_dir):
    from gsp_unroll import from_pretrained, restore_mosaic
    from gsp_unroll.camera import RawFrame

    values = np.fromfile(data_dir / "raw" / "openisp_1920x1080_rggb10.raw", "<u2")
    frame = RawFrame.from_levels(values.reshape(1080, 1920), 0, 1023, "RGGB")
    mosaic = torch.from_numpy(frame.balanced()[400:541, 700:801].astype(np.float32))
    x = restore_mosaic(from_pretrained("mosaic"), mosaic)
    assert x.shape == (141, 101, 3)
    assert x.isfinite().all()
    H = BayerMosaic(141, 101)
    torch.testing.assert_close(H @ x.reshape(-1, 3), mosaic.reshape(-1, 1), rtol=0, atol=1e-5)
