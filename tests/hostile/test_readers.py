"""No file makes a reader raise what is not documented, hang, or take memory it only promises."""

import base64
import io
import json
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("PIL")
pytest.importorskip("accelerate")

from gsp_unroll.models import DemosaicNetwork, save_network
from tests.hostile.fuzz_readers import READERS, mutate, read_bytes

ROOT = Path(__file__).resolve().parents[2]
NEEDS = {"ply": "plyfile", "las": "laspy", "raw": "rawpy", "tiff": "tifffile", "png": "png"}


@pytest.mark.parametrize("name", READERS)
def test_damaged_files_are_read_or_refused(name):
    pytest.importorskip(NEEDS.get(name, "numpy"))
    pytest.importorskip("tifffile")
    passed, longest = mutate(name, 40)
    assert passed < 40  # some were damaged indeed
    assert longest < 30


def png_header(width, height, bits=8):
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, bits, 2, 0, 0, 0)
    data = zlib.compress(bytes(1000))
    body = b"IDAT" + data
    return (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))
        + struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))
    )  # fmt: skip


def tiff_header(width, height, rows_per_strip=None, **options):
    import tifffile

    file = io.BytesIO()
    options |= {"photometric": "minisblack", "metadata": None}
    tifffile.imwrite(file, np.zeros((3, 5), np.uint8), **options)
    data = bytearray(file.getvalue())
    for tag, size in ((256, width), (257, height), (278, rows_per_strip or height)):
        at = data.index(struct.pack("<H", tag), 8)
        data[at : at + 12] = struct.pack("<HHII", tag, 4, 1, size)
    return bytes(data)


def ply_header(*elements):
    lines = [
        line
        for name, count in elements
        for line in (f"element {name} {count}", *(f"property float {axis}" for axis in "xyz"))
    ]
    head = ["ply", "format binary_little_endian 1.0", *lines, "end_header"]
    return ("\n".join(head) + "\n").encode() + bytes(36)


def network_file(tmp_path, **metadata):
    path = tmp_path / "n.safetensors"
    save_network(DemosaicNetwork(width=4), path, "demosaic", {"width": 4})
    from safetensors import safe_open
    from safetensors.torch import save_file

    with safe_open(path, "pt") as file:
        tensors, known = {k: file.get_tensor(k) for k in file.keys()}, file.metadata()  # noqa: SIM118
    save_file(tensors, path, {**known, **metadata})
    return path.read_bytes()


def state_file(tmp_path, text):
    from safetensors.torch import save_file

    path = tmp_path / "s.safetensors"
    save_file({"a": torch.ones(1)}, path, {"format": "gsp_unroll training state 1", **text})
    return path.read_bytes()


def las_file(start, count):
    """A valid file but for the number that stands there in its header."""
    whole = bytearray(next(iter(READERS["las"].seeds())))
    whole[24:26] = bytes((1, 4))
    whole[start : start + 4] = count.to_bytes(4, "little")
    return bytes(whole)


def unpacked(text):
    """A file that the fuzzer found."""
    return zlib.decompress(base64.b85decode(text))


CHAIN = (
    "c-r&y)MDUZU|`^9U|?inU<9&MfS3`=W@TVtW@KPuU<R`7{{R2~=NB_r90<5TG)N~KBSee|i1`?q7(^Ku^iBZTf>1"
    "LAfP^Si4KqUngBZeW25~T(gTWohmI52h%J>FIN;9&8d0!Y1dO=tNiERM1iw8*mfw%`~3J6v!6=x(Cq#DQ8GN6H1P"
    "<_XtbV+7fW?EX>iJVluf=UL4m*3ug`t?61RrVMF;u;?8"
)
PACKED = (
    "c-r%E40dC{0vMV6Lp)rA7;uA}#NvWV1tUFkJp-)r-i)u<A2awe0?h*Qnw1!sffPH*rr@;S0hKEP<#Rx31t=}y0Jf"
    "wmvp^v=FF8LYHHCp;PnZcqMoCG5mA*biN-w`C9nE+q5N3j~H`x6D52V=sBLQXxHU<%(Ds~1AAjtvbF)?&ABJ}G3*"
    "%3@QUH?&`Km4eft+J;ncg$4I%fDd34#Xzkfdl}f*fU%"
)
CHUNKS = (
    "c-r%E40dC{0vMV6Lp)rA7;uA}#NvWV1tUFkJp-)r-i)u<A2awe0?h*QnxFpvPnIb-?RP-sia_}sP+9>>OE`cnsmd"
    "%+NX<*mPf1N-VAvC8!jMr?QedU850TQ#FG@!<o(Y7RAnbs{3=IF#05by{g9uO+I|B!h<N)%R7`hn|`gP!TSrBIzs"
    "$u}{Vm<Q"
)
WIDTH = (
    "c-r&y)MDUZU|`^4U|?ioU<9(57$5+|W(DyXnHiXY^dTT-2C_loARTN_Hb^}mP_HPEJ^{pnj4WVr0U#j?RRhv51{D"
    "XHDGp`31F;k%E13NTh^3+IFF-5<)eFKJNNhu(T|7Yg57eC;U|6kGoRL_Ns$``QZK|VSqN89OTg!k37~$9x>T7-=h"
    "Xo`66b1meG!3!"
)
DEEP = "[" * 100_000

#: What once went wrong, or would if memory were taken on the word of a header.
CASES = {
    "ply, 10^12 points": ("ply", lambda _: ply_header(("vertex", 10**12))),
    "ply, a negative count beside a huge one": (
        "ply",
        lambda _: ply_header(("other", -(10**12)), ("vertex", 10**12)),
    ),
    "ply, a header without end": ("ply", lambda _: b"ply\n" + b"comment\n" * 20_000),
    "las, 3 * 10^9 records": ("las", lambda _: las_file(100, 3 * 10**9)),
    "las, 3 * 10^9 records behind the points": ("las", lambda _: las_file(243, 3 * 10**9)),
    "png, 10^5 by 10^5": ("png", lambda _: png_header(100_000, 100_000)),
    "png of 16 bits, 10^5 by 10^5": ("png", lambda _: png_header(100_000, 100_000, 16)),
    "png of 16 bits, one endless row": ("png", lambda _: png_header(2**31 - 1, 1, 16)),
    "tiff, 10^5 by 10^5": ("tiff", lambda _: tiff_header(100_000, 100_000)),
    "tiff, 10^7 packed rows of which one is there": (
        "tiff",
        lambda _: tiff_header(5, 10**7, 1, compression="zlib"),
    ),
    "las, 10^9 packed parts": ("las", lambda _: unpacked(CHUNKS)),
    "tiff, a width that is text": ("tiff", lambda _: unpacked(WIDTH)),
    "tiff, a chain of pages that took minutes": ("tiff", lambda _: unpacked(CHAIN)),
    "weights of a network too large": (
        "weights",
        lambda folder: network_file(folder, arguments='{"width": 1000000}'),
    ),
    "weights of endless stages": (
        "weights",
        lambda folder: network_file(folder, network="mosaic", arguments='{"num_blocks": 10000000}'),
    ),
    "weights without a description": (
        "weights",
        lambda folder: network_file(folder, about="no JSON"),
    ),
    "weights, nested without end": ("weights", lambda folder: network_file(folder, arguments=DEEP)),
    "state without a description": ("state", lambda folder: state_file(folder, {})),
    "state that is a list": ("state", lambda folder: state_file(folder, {"state": "[]"})),
    "state of tensors that are not there": (
        "state",
        lambda folder: state_file(folder, {"state": '{"dict": [["a", "tensor:/b"]]}'}),
    ),
    "log, nested without end": ("log", lambda _: f"{DEEP}\n{DEEP}\n".encode()),
    "study, nested without end": ("study", lambda _: DEEP.encode()),
    "results of words": ("results", lambda _: b"a\nb,c\n"),
    "results of no text": ("results", lambda _: b"\xff\xfe\n\xff\n\xff\n"),
}


def test_packed_points_of_any_bytes_do_not_end_the_process():
    pytest.importorskip(NEEDS["las"])
    read_bytes(READERS["las"], unpacked(PACKED))


@pytest.mark.parametrize("name", CASES)
def test_what_once_went_wrong_is_refused(name, tmp_path):
    reader, make = CASES[name]
    pytest.importorskip(NEEDS.get(reader, "numpy"))
    assert not read_bytes(READERS[reader], make(tmp_path))


@pytest.mark.skipif(sys.platform != "linux", reason="looks at the address space as Linux counts it")
def test_promises_are_refused_before_memory_is_taken(tmp_path):
    """All of the cases in one process, whose memory may grow by 300 MB only."""
    for module in ("plyfile", "tifffile", "png"):
        pytest.importorskip(module)
    files = []
    for number, (reader, make) in enumerate(CASES.values()):
        path = tmp_path / f"{number}{READERS[reader].suffix}"
        path.write_bytes(make(tmp_path))
        files.append((reader, str(path)))
    code = (
        "import json, resource, sys\n"
        "from tests.hostile.fuzz_readers import READERS, read_bytes\n"
        "for reader in READERS.values():\n"
        "    [read_bytes(reader, data) for data in reader.seeds()]\n"
        "size = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (size + 300 * 2**20,) * 2)\n"
        "for name, path in json.loads(sys.argv[1]):\n"
        "    assert not read_bytes(READERS[name], open(path, 'rb').read()), path\n"
    )
    command = [sys.executable, "-c", code, json.dumps(files)]
    run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=250)
    assert run.returncode == 0, run.stderr[-2000:]


def test_a_long_polygon_is_cut_quickly(tmp_path):
    plyfile = pytest.importorskip("plyfile")
    from gsp_unroll.clouds import read_cloud

    vertex = np.zeros(9, [(axis, "f4") for axis in "xyz"])
    face = np.empty(2, [("vertex_indices", object)])
    face["vertex_indices"] = [np.arange(5, dtype=np.int32), np.arange(4, 9, dtype=np.int32)]
    elements = [
        plyfile.PlyElement.describe(vertex, "vertex"),
        plyfile.PlyElement.describe(face, "face"),
    ]
    plyfile.PlyData(elements).write(tmp_path / "a.ply")
    first, second = [0, 1, 2, 3, 4], [4, 5, 6, 7, 8]
    fans = [[p[0], p[i], p[i + 1]] for i in range(1, 4) for p in (first, second)]
    assert read_cloud(tmp_path / "a.ply").faces.tolist() == fans
