r"""Every reader of files, fed with damaged ones.

A reader may refuse a file by a `ValueError` of three parts, or by an `OSError` for one that is not
there. It may not raise anything else, hang, or take memory that the file only promises.

With coverage guidance (`pip install atheris`), one reader at a time, until it is stopped or with
the limits of libFuzzer:

    python -m tests.hostile.fuzz_readers ply CORPUS/ -max_total_time=600 -rss_limit_mb=2500

Without, valid files with some bytes changed, so many for each reader:

    python -m tests.hostile.fuzz_readers --mutate 10000 [READER ...]

`test_readers.py` does the latter for a few, and reads all that once went wrong.
"""

import io
import json
import random
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.hostile.law import check_refusal


@dataclass(frozen=True)
class Reader:
    """A reader of files with this ending, and valid ones to begin with."""

    suffix: str
    read: Callable
    seeds: Callable

    def __call__(self, path):
        """Reads a file; False if it was refused as documented."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of other packages, on damaged files
            try:
                self.read(path)
            except ValueError as error:
                check_refusal(error)
                return False
        return True


def _cloud(path):
    from gsp_unroll.clouds import read_cloud

    read_cloud(path)


def _photo(path):
    from gsp_unroll.photos import read_header, read_photo

    read_header(path)
    read_photo(path)


def _raw(path):
    from gsp_unroll.camera import read_raw, read_raw_size

    read_raw_size(path)
    read_raw(path)


def _weights(path):
    from gsp_unroll.cli.info import about_network

    about_network(str(path))


def _state(path):
    from gsp_unroll.train.checkpoint import load_state

    load_state(path)


def _log(path):
    from gsp_unroll.train.log import read_log

    read_log(path)


def _study(path):
    from gsp_unroll.train.study import Study

    Study.read(path)


def _results(path):
    from gsp_unroll.evaluate.report import read_interrupted

    path.rename(path.with_name("photos.csv.demosaic-0.part"))
    read_interrupted(path.parent, "demosaic", 0)


# ---- valid files ----------------------------------------------------------------------------

PLY = """ply
format ascii 1.0
element vertex 4
property float x
property float y
property float z
property uchar red
property uchar green
property uchar blue
element face 2
property list uchar int vertex_indices
end_header
0 0 0 255 0 0
1 0 0 0 255 0
0 1 0 0 0 255
1 1 0 9 9 9
3 0 1 2
4 0 1 3 2
"""


def _written(write, suffix):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"file{suffix}"
        write(path)
        return path.read_bytes()


def _plys():
    import plyfile

    yield PLY.encode()
    for order in "<>":
        text = plyfile.PlyData.read(io.BytesIO(PLY.encode()))
        text.text, text.byte_order = False, order
        binary = io.BytesIO()
        text.write(binary)
        yield binary.getvalue()


def _texts():
    yield b"# a comment\n0 0 0 255 0 0\n1, 0, 0, 0, 255, 0\n"
    yield b"0.5 1e3 -2\n1 nan 2\n"


def _las():
    import laspy

    for compressed in (False, True):
        las = laspy.LasData(laspy.LasHeader(point_format=3, version="1.2"))
        las.x, las.y, las.z = np.arange(9.0).reshape(3, 3)
        las.red = las.green = las.blue = np.array([0, 5, 65535], np.uint16)
        file = io.BytesIO()
        las.write(file, do_compress=compressed)
        yield file.getvalue()


def _image(shape=(5, 4, 3)):
    return np.linspace(0, 1, int(np.prod(shape))).reshape(shape)


def _pngs():
    from gsp_unroll.photos import write_photo

    for bits in (8, 16):
        yield _written(lambda path, bits=bits: write_photo(path, _image(), bits), ".png")


def _tiffs():
    import tifffile

    from gsp_unroll.photos import write_photo

    for bits in (8, 16):
        yield _written(lambda path, bits=bits: write_photo(path, _image(), bits), ".tif")
    values = (255 * _image()).astype(np.uint8)
    yield _written(lambda path: tifffile.imwrite(path, values, compression="zlib"), ".tif")


def _pictures(suffix):
    from gsp_unroll.photos import write_photo

    return lambda: iter([_written(lambda path: write_photo(path, _image()), suffix)])


def _dngs():
    import tifffile

    tags = [
        (50706, "B", 4, b"\x01\x04\x00\x00", True),  # version
        (33421, "H", 2, (2, 2), True),
        (33422, "B", 4, bytes((0, 1, 1, 2)), True),
    ]
    values = np.arange(24 * 32, dtype=np.uint16).reshape(24, 32)
    options = {"photometric": 32803, "extratags": tags, "metadata": None}
    yield _written(lambda path: tifffile.imwrite(path, values, **options), ".dng")


def _networks():
    from gsp_unroll.models import DemosaicNetwork, save_network

    network, arguments = DemosaicNetwork(width=4), {"width": 4}
    plan = {"plan": {"steps": 1}}
    write = lambda path: save_network(network, path, "demosaic", arguments, plan)  # noqa: E731
    yield _written(write, ".safetensors")


def _states():
    import torch

    from gsp_unroll.train.checkpoint import save_state

    state = {"step": 3, "network": {"a": torch.ones(2, 2)}, "plan": {"reduce": [2.0]}}
    yield _written(lambda path: save_state(path, state), ".safetensors")


def _logs():
    lines = [{"step": 1, "loss": 0.5}, {"step": 2, "psnr": 30.0}, {"step": 2, "photos": "ab"}]
    yield "".join(json.dumps(line) + "\n" for line in lines).encode()


def _studies():
    common = {"network": "mosaic", "task": "demosaic", "steps": 20, "arguments": {"width": 8}}
    study = {"common": common, "arms": {"a": {}, "b": {"rate": 0.1}}, "seeds": [0, 1]}
    yield json.dumps(study).encode()


def _tables():
    columns = "set,photo,sigma,method,mse_paper,psnr_standard,ssim_paper,seconds\n"
    yield (
        columns + 'a,"x,1.png",0.0,gtv,0.01,20.0,0.9,1.5\na,y.png,0.0,gtv,0.02,18,0.8,1\n'
    ).encode()


READERS = {
    "ply": Reader(".ply", _cloud, _plys),
    "xyz": Reader(".xyz", _cloud, _texts),
    "las": Reader(".las", _cloud, _las),
    "png": Reader(".png", _photo, _pngs),
    "tiff": Reader(".tif", _photo, _tiffs),
    "jpeg": Reader(".jpg", _photo, _pictures(".jpg")),
    "webp": Reader(".webp", _photo, _pictures(".webp")),
    "bmp": Reader(".bmp", _photo, _pictures(".bmp")),
    "raw": Reader(".dng", _raw, _dngs),
    "weights": Reader(".safetensors", _weights, _networks),
    "state": Reader(".safetensors", _state, _states),
    "log": Reader(".jsonl", _log, _logs),
    "study": Reader(".json", _study, _studies),
    "results": Reader(".part", _results, _tables),
}


def read_bytes(reader, data):
    """Reads these bytes as a file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"file{reader.suffix}"
        path.write_bytes(data)
        return reader(path)


NUMBERS = (
    b"0",
    b"-1",
    b"1e999",
    b"nan",
    b"999999999999",
    b"[[[[",
    b'"',
    b"\xff\xff\xff\xff",
    b"\x00",
)


def mutated(data, draw):
    """The bytes with a few of them changed, cut out, doubled, or replaced by a telling number."""
    data = bytearray(data)
    for _ in range(draw.randint(1, 4)):
        # headers come first, and decide most
        at = draw.randrange(max(1, min(len(data), draw.choice([64, 400, 10**9]))))
        kind = draw.randrange(6)
        if kind == 0 and data:
            data[at] = draw.randrange(256)
        elif kind == 1 and data:
            data[at] ^= 1 << draw.randrange(8)
        elif kind == 2:
            del data[at : at + draw.randint(1, 16)]
        elif kind == 3:
            data[at:at] = data[at : at + draw.randint(1, 64)]
        elif kind == 4:
            number = draw.choice(NUMBERS)
            data[at : at + draw.choice([0, len(number)])] = number
        else:
            del data[draw.randrange(len(data) + 1) :]
    return bytes(data)


def mutate(name, count, seed=0):
    """Reads `count` mutated files; how many were read after all, and the longest time of one."""
    reader, draw = READERS[name], random.Random(seed)
    seeds = list(reader.seeds())
    for data in seeds:
        assert read_bytes(reader, data), "a valid file was refused"
    passed, longest = 0, 0.0
    for number in range(count):
        data = mutated(draw.choice(seeds), draw)
        begin = time.perf_counter()
        try:
            passed += read_bytes(reader, data)
        except BaseException:
            print(f"{name}, mutation {number}: {data[:2000]!r}", file=sys.stderr)
            raise
        longest = max(longest, time.perf_counter() - begin)
    return passed, longest


def _guided(name, arguments):
    import atheris

    reader = READERS[name]
    with atheris.instrument_imports(
        include=["gsp_unroll", "plyfile", "laspy", "PIL", "png", "tifffile"]
    ):
        for data in reader.seeds():
            read_bytes(reader, data)
    if arguments and Path(arguments[0]).suffix == "":
        corpus = Path(arguments[0])
        corpus.mkdir(parents=True, exist_ok=True)
        for number, data in enumerate(reader.seeds()):
            (corpus / f"seed{number}").write_bytes(data)
    atheris.Setup([sys.argv[0], *arguments], lambda data: read_bytes(reader, data))
    atheris.Fuzz()


if __name__ == "__main__":
    first, *others = sys.argv[1:] or ["--help"]
    if first == "--mutate":
        for each in others[1:] or READERS:
            read, slowest = mutate(each, int(others[0]), seed=random.randrange(2**32))
            print(f"{each}: {others[0]} files, {read} of them read, the slowest in {slowest:.2f} s")
    elif first in READERS:
        _guided(first, others)
    else:
        print(__doc__, "\nReaders:", ", ".join(READERS))
