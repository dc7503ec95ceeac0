"""Clouds in files: PLY and LAS (extra `clouds`), and text with one point a line."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .._checks import mistake
from .._files import check_new, written_whole
from .cloud import PointCloud

#: What a coordinate, a colour and a normal are called in a PLY file.
XYZ, RGB, NORMAL = ("x", "y", "z"), ("red", "green", "blue"), ("nx", "ny", "nz")
#: A PLY file has its header in so many lines.
HEADER_LINES = 10_000


def read_cloud(path: str | Path) -> PointCloud:
    r"""The cloud in a file.

    - `.ply`: text or binary of either byte order; `x y z`, and where there are `red green blue`,
      `nx ny nz` and faces. Polygons are cut into triangles from their first corner.
    - `.xyz` and `.txt`: a line for each point, its first three numbers; with six or more, numbers
      four to six are colours from 0 to 255 if all are whole, in that range, and not all of length
      1, else normals.
      Between numbers are blanks or commas; lines that begin with `#` or `//` are left out.
    - `.las` and `.laz`: coordinates as scaled in the file, and 16-bit colours.

    Coordinates are float64 where the file has more than float32 can hold, else float32. Points that
    a file gives as NaN stay so: see `PointCloud.known`. Whole files are read: memory is a few times
    the size of the file.

    Args:
        path: the file; what its name ends in tells the kind.

    Raises:
        FileNotFoundError: no such file.
        ValueError: another kind of file, one that is cut short or holds something else, or one
            without points.
        ImportError: what reads PLY or LAS is not installed.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from gsp_unroll.clouds import read_cloud
        >>> path = Path(tempfile.mkdtemp()) / "two.xyz"
        >>> _ = path.write_text("0 0 0 255 0 0\n1 0 0 0 255 0\n")
        >>> read_cloud(path).color
        tensor([[1., 0., 0.],
                [0., 1., 0.]])
    """
    path = Path(path)
    read = {".ply": _read_ply, ".xyz": _read_text, ".txt": _read_text}
    read |= {".las": _read_las, ".laz": _read_las}
    suffix = path.suffix.lower()
    if suffix not in read:
        raise mistake(
            f"{path.name}",
            f"a name that ends in one of {', '.join(sorted(read))}",
            "Convert the file, or give it the name of what it is.",
        )
    if not path.is_file():
        raise FileNotFoundError(f"Got {path}. Expected a file. Check the path.")
    try:
        cloud = read[suffix](path)
    except (FileNotFoundError, ImportError, MemoryError):
        raise
    except Exception as error:  # a foreign file makes a reader raise nearly anything
        raise mistake(
            f"{path}, which cannot be read ({error})",
            f"a whole {suffix} file",
            "Read it where it was written, and copy it again.",
        ) from error
    if not len(cloud):
        raise mistake(f"{path} without points", "one point or more", "Look at how it was written.")
    return cloud


def write_cloud(path: str | Path, cloud: PointCloud) -> None:
    """Writes a cloud, whole or not at all.

    PLY files are binary and keep colours (rounded to 8 bits), normals and faces. Text files with
    the ending `.xyz` take coordinates, and colours or else normals.

    Args:
        path: a new name, ending in `.ply` or `.xyz`.
        cloud: what is written, in the precision that it has.

    Raises:
        ValueError: another ending; colours that are NaN, or beyond 0 to 1.
        FileExistsError: a file of that name, which is kept.
        ImportError: what writes PLY is not installed.

    Example:
        >>> import tempfile, torch
        >>> from pathlib import Path
        >>> from gsp_unroll.clouds import PointCloud, read_cloud, write_cloud
        >>> path = Path(tempfile.mkdtemp()) / "two.xyz"
        >>> write_cloud(path, PointCloud(torch.tensor([[0.0, 0.5, 1.0], [1.0, 2.0, 3.0]])))
        >>> read_cloud(path).xyz
        tensor([[0.0000, 0.5000, 1.0000],
                [1.0000, 2.0000, 3.0000]])
    """
    if not isinstance(cloud, PointCloud):
        raise mistake(
            f"a cloud as {type(cloud).__name__}",
            "a PointCloud",
            "Wrap coordinates: PointCloud(xyz).",
        )
    path = Path(path)
    write = {".ply": _write_ply, ".xyz": _write_text}
    if path.suffix.lower() not in write:
        raise mistake(f"{path.name}", "a name that ends in .ply or .xyz", "Give it such a name.")
    if cloud.color is not None:
        _check_color(cloud.color)
    check_new(path)
    with written_whole(path) as beside:
        write[path.suffix.lower()](beside, cloud)


def _plyfile() -> Any:
    try:
        import plyfile
    except ImportError as error:
        raise ImportError(
            "Got no plyfile. Expected it for PLY files. "
            "Run pip install 'gsp_unroll[clouds]', or use .xyz."
        ) from error
    return plyfile


def _read_ply(path: Path) -> PointCloud:
    plyfile = _plyfile()
    _check_ply_size(path)
    elements = {element.name: element.data for element in plyfile.PlyData.read(path)}
    vertex = elements["vertex"]
    color = _columns(vertex, RGB)
    if color is not None and np.issubdtype(vertex["red"].dtype, np.integer):
        color = color / np.iinfo(vertex["red"].dtype).max
    faces = None
    if "face" in elements:
        corners = {"vertex_indices", "vertex_index"} & {*(elements["face"].dtype.names or ())}
        if corners:
            faces = _triangles(elements["face"][corners.pop()])
    xyz = _columns(vertex, XYZ)
    if xyz is None:
        raise ValueError("the vertices have no x, y and z")
    return _cloud(xyz, color, _columns(vertex, NORMAL), faces)


def _check_ply_size(path: Path) -> None:
    """A header that promises more than the file can hold is refused before memory is taken."""
    size, room = path.stat().st_size, 0
    with path.open("rb") as file:
        for _ in range(HEADER_LINES):
            words = file.readline(1000).split()
            if words[:1] == [b"end_header"]:
                break
            if words[:1] == [b"element"]:
                room += abs(int(words[2]))  # at least a byte each
        else:
            raise ValueError(f"no end of its header in {HEADER_LINES} lines")
    if room > size:
        raise ValueError(f"cut short: its header promises {room} elements in {size} bytes")


def _columns(table: np.ndarray, names: tuple[str, ...]) -> np.ndarray | None:
    if not {*names} <= {*(table.dtype.names or ())}:
        return None
    return np.stack([table[name] for name in names], -1)


def _triangles(polygons: np.ndarray) -> np.ndarray:
    """Polygons cut into triangles from their first corner."""
    sizes = np.array([len(polygon) for polygon in polygons], np.int64)
    parts = [np.empty((0, 3), np.int64)]
    for size in np.unique(sizes[sizes >= 3]):
        corners = np.stack(polygons[sizes == size]).astype(np.int64)
        i = np.arange(1, size - 1)
        fan = np.stack([np.zeros_like(i), i, i + 1], -1)
        parts.append(corners[:, fan].transpose(1, 0, 2).reshape(-1, 3))
    return np.concatenate(parts)


def _write_ply(path: Path, cloud: PointCloud) -> None:
    plyfile = _plyfile()
    xyz = cloud.xyz.detach().cpu().numpy()
    columns = dict(zip(XYZ, xyz.T, strict=True))
    if cloud.normal is not None:
        columns |= dict(zip(NORMAL, cloud.normal.detach().cpu().numpy().T, strict=True))
    if cloud.color is not None:
        columns |= dict(zip(RGB, _bytes(cloud.color).T, strict=True))
    vertex = np.empty(len(xyz), [(name, column.dtype) for name, column in columns.items()])
    for name, column in columns.items():
        vertex[name] = column
    elements = [plyfile.PlyElement.describe(vertex, "vertex")]
    if cloud.faces is not None:
        face = np.empty(len(cloud.faces), [("vertex_indices", np.int32, (3,))])
        face["vertex_indices"] = cloud.faces.cpu().numpy()
        elements.append(plyfile.PlyElement.describe(face, "face"))
    plyfile.PlyData(elements, byte_order="<").write(path)


def _bytes(color: Tensor) -> np.ndarray:
    return (color.detach().cpu() * 255).round().to(torch.uint8).numpy()


def _check_color(color: Tensor) -> None:
    unknown = int(color.isnan().sum())
    if unknown:
        raise mistake(
            f"{unknown} values of color that are NaN",
            "a colour for every point",
            "Fill them with inpaint_attributes(cloud.xyz, cloud.color).y, or drop these points.",
        )
    if color.numel() and not -1e-3 <= float(color.min()) <= float(color.max()) <= 1 + 1e-3:
        raise mistake(
            f"colours from {float(color.min()):g} to {float(color.max()):g}",
            "0 to 1",
            "Divide those of 8 bits by 255, or cut off what is beyond with color.clamp(0, 1).",
        )


def _read_text(path: Path) -> PointCloud:
    with path.open() as file:
        lines = (line.replace(",", " ") for line in file)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of no lines; we say so ourselves
            table = np.loadtxt(lines, comments=("#", "//"), ndmin=2)
    if not table.size:
        table = table.reshape(0, 3)
    if table.shape[1] < 3:
        raise ValueError(f"{table.shape[1]} numbers on a line, where x, y and z are three")
    color = normal = None
    if table.shape[1] >= 6:
        rest = table[:, 3:6]
        whole = np.array_equal(rest, rest.round())
        if whole and rest.min() >= 0 and rest.max() <= 255 and (np.square(rest).sum(1) != 1).any():
            color = rest / 255
        else:
            normal = rest
    return _cloud(table[:, :3], color, normal)


def _write_text(path: Path, cloud: PointCloud) -> None:
    xyz = cloud.xyz.detach().cpu().numpy()
    digits = "%.9g" if xyz.dtype == np.float32 else "%.17g"
    table, formats = [xyz], [digits] * 3
    if cloud.color is not None:
        table.append(_bytes(cloud.color))
        formats += ["%d"] * 3
    elif cloud.normal is not None:
        table.append(cloud.normal.detach().cpu().numpy())
        formats += [digits] * 3
    np.savetxt(path, np.concatenate(table, 1), formats)


def _check_las_size(path: Path) -> None:
    """Records that a header promises fit into the file: laspy goes on reading beyond its end."""
    size = path.stat().st_size
    with path.open("rb") as file:
        header = file.read(247)
    # where their number stands, and how many bytes each takes at least
    promises = [("records", 100, 54)]
    if header[24:26] >= b"\x01\x04":  # the version
        promises.append(("extended records", 243, 60))
    for name, start, least in promises:
        count = int.from_bytes(header[start : start + 4], "little")
        if count * least > size:
            raise ValueError(f"cut short: its header promises {count} {name} in {size} bytes")


def _check_chunks(path: Path, start: int) -> None:
    """The number of packed parts fits into the file: memory is taken on its word. It stands behind
    the version of a table, whose place is the first number of the points, or the last of all."""
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(start)
        table = int.from_bytes(file.read(8), "little", signed=True)
        if table < 0:
            file.seek(max(size - 8, 0))
            table = int.from_bytes(file.read(8), "little", signed=True)
        file.seek(max(table, 0) + 4)
        count = int.from_bytes(file.read(4), "little")
    if count > size:
        raise ValueError(f"cut short: its table promises {count} packed parts in {size} bytes")


def _read_las(path: Path) -> PointCloud:
    try:
        import laspy
    except ImportError as error:
        raise ImportError(
            "Got no laspy. Expected it for LAS files. "
            "Run pip install 'gsp_unroll[clouds]', or convert the file to PLY."
        ) from error
    _check_las_size(path)
    # a damaged file would abort the process within the threads of the parallel reader
    with laspy.open(path, laz_backend=laspy.LazBackend.Lazrs) as file:
        # a compressed point may take a bit or less
        packed = file.header.are_points_compressed
        if packed:
            _check_chunks(path, file.header.offset_to_point_data)
        room = (1000 if packed else 1) * path.stat().st_size
        if file.header.point_count * (1 if packed else file.header.point_format.size) > room:
            raise ValueError(f"cut short: its header promises {file.header.point_count} points")
        try:
            data = file.read()
        except BaseException as error:
            if type(error).__name__ != "PanicException":  # Rust's, which is no Exception
                raise
            raise ValueError("its compressed points are damaged") from error
        promised = file.header.point_count
    if len(data.points) != promised:
        raise ValueError(f"cut short: {len(data.points)} of {promised} points")
    color = None
    if {"red", "green", "blue"} <= {*data.point_format.dimension_names}:
        color = np.stack([data.red, data.green, data.blue], -1) / 65535
    return _cloud(np.asarray(data.xyz, np.float64), color)


def _cloud(
    xyz: np.ndarray,
    color: np.ndarray | None,
    normal: np.ndarray | None = None,
    faces: np.ndarray | None = None,
) -> PointCloud:
    with np.errstate(over="ignore"):
        narrow = np.asarray(xyz, np.float32)
    # float32 where nothing is lost: a part in ten million of the extent
    wide = xyz.dtype.itemsize > 4 and xyz.size and np.isfinite(xyz).any()
    if wide:
        extent = np.nanmax(xyz, 0) - np.nanmin(xyz, 0)
        wide = bool((np.nanmax(np.abs(xyz - narrow), 0) > 1e-6 * extent.max()).any())
    return PointCloud(
        torch.from_numpy(np.ascontiguousarray(xyz, np.float64) if wide else narrow.copy()),
        None if color is None else torch.from_numpy(np.ascontiguousarray(color, np.float32)),
        None if normal is None else torch.from_numpy(np.ascontiguousarray(normal, np.float32)),
        None if faces is None else torch.from_numpy(faces),
    )
