"""Point clouds: what files keep, what is refused, and distances against their definitions."""

import sys

import numpy as np
import pytest
import torch

from gsp_unroll.clouds import (
    PointCloud,
    chamfer_distance,
    plane_distance,
    read_cloud,
    surface_distance,
    write_cloud,
)

TEXT = """ply
format ascii 1.0
comment by hand
element vertex 4
property double x
property double y
property double z
property uchar red
property uchar green
property uchar blue
element face 2
property list uchar int vertex_indices
end_header
0 0 0 255 0 0
1 0 0 0 255 0
1 1 0 0 0 255
nan nan nan 51 51 51
3 0 1 2
4 0 1 2 3
"""


def cloud(dtype=torch.float32):
    color = torch.randint(0, 256, (20, 3)) / 255
    return PointCloud(
        torch.randn(20, 3, dtype=dtype), color, torch.randn(20, 3), torch.randint(0, 20, (7, 3))
    )


def same(a, b):
    return (a is None and b is None) or torch.equal(a, b)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_ply_file_keeps_everything(tmp_path, dtype):
    pytest.importorskip("plyfile")
    written = cloud(dtype)
    write_cloud(tmp_path / "a.ply", written)
    again = read_cloud(tmp_path / "a.ply")
    # float64 comes back where float32 would lose more than a millionth of the extent
    torch.testing.assert_close(again.xyz.to(dtype), written.xyz, rtol=0, atol=1e-6)
    assert torch.allclose(again.color, written.color)
    assert same(again.normal, written.normal)
    assert same(again.faces, written.faces)


@pytest.mark.parametrize("order", ["<", ">"])
def test_both_byte_orders_and_text_say_the_same(tmp_path, order):
    plyfile = pytest.importorskip("plyfile")
    (tmp_path / "text.ply").write_text(TEXT)
    data = plyfile.PlyData.read(tmp_path / "text.ply")
    data.text, data.byte_order = False, order
    data.write(tmp_path / "binary.ply")
    text, binary = read_cloud(tmp_path / "text.ply"), read_cloud(tmp_path / "binary.ply")
    torch.testing.assert_close(text.xyz, binary.xyz, rtol=0, atol=0, equal_nan=True)
    assert same(text.color, binary.color)
    # the polygon of four corners becomes two triangles
    assert text.faces.tolist() == binary.faces.tolist() == [[0, 1, 2], [0, 1, 2], [0, 2, 3]]
    assert text.color[3, 0] == 0.2


def test_text_keeps_single_precision_bit_for_bit_and_large_coordinates(tmp_path):
    xyz = torch.randn(50, 3)
    write_cloud(tmp_path / "a.xyz", PointCloud(xyz, normal=torch.randn(50, 3)))
    again = read_cloud(tmp_path / "a.xyz")
    assert torch.equal(again.xyz, xyz)
    assert again.normal is not None
    assert again.color is None
    far = xyz.double() + 6e6  # metres of a map
    write_cloud(tmp_path / "b.xyz", PointCloud(far, color=torch.rand(50, 3)))
    again = read_cloud(tmp_path / "b.xyz")
    assert torch.equal(again.xyz, far)
    assert again.color is not None


def test_text_tells_colours_from_normals(tmp_path):
    xyz, black = torch.rand(2, 3), torch.zeros(2, 3)
    write_cloud(tmp_path / "black.xyz", PointCloud(xyz, color=black))
    assert torch.equal(read_cloud(tmp_path / "black.xyz").color, black)
    up = torch.tensor([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
    write_cloud(tmp_path / "up.xyz", PointCloud(xyz, normal=up))
    assert torch.equal(read_cloud(tmp_path / "up.xyz").normal, up)


def test_text_reads_commas_and_comments(tmp_path):
    (tmp_path / "a.txt").write_text("// exported\n1, 2, 3\n# more\n4 5 nan\n")
    expected = torch.tensor([[1, 2, 3], [4, 5, torch.nan]])
    torch.testing.assert_close(read_cloud(tmp_path / "a.txt").xyz, expected, equal_nan=True)


@pytest.mark.parametrize("suffix", ["las", "laz"])
def test_las_keeps_scaled_coordinates_and_colours(tmp_path, suffix):
    laspy = pytest.importorskip("laspy")
    pytest.importorskip("lazrs")
    file = laspy.create(point_format=2)
    file.header.scales, file.header.offsets = [0.01] * 3, [500_000.0, 4_000_000.0, 0.0]
    xyz = np.array([[500_001.25, 4_000_002.5, 3.0], [500_000.0, 4_000_000.0, 0.01]])
    file.xyz, file.red = xyz, [65535, 0]
    file.write(tmp_path / f"a.{suffix}")
    again = read_cloud(tmp_path / f"a.{suffix}")
    np.testing.assert_allclose(again.xyz.numpy(), xyz, rtol=0, atol=1e-9)
    assert again.color[:, 0].tolist() == [1, 0]
    whole = (tmp_path / f"a.{suffix}").read_bytes()
    (tmp_path / f"b.{suffix}").write_bytes(whole[:-20])
    with pytest.raises(ValueError, match="Expected a whole"):
        read_cloud(tmp_path / f"b.{suffix}")


def test_every_cut_of_a_ply_file_is_noticed(tmp_path):
    pytest.importorskip("plyfile")
    write_cloud(tmp_path / "a.ply", cloud())
    whole = (tmp_path / "a.ply").read_bytes()
    for length in range(0, len(whole), 7):
        (tmp_path / "b.ply").write_bytes(whole[:length])
        with pytest.raises(ValueError, match="Expected a whole"):
            read_cloud(tmp_path / "b.ply")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.obj", "v 0 0 0", "Expected a name that ends in one of"),
        ("a.ply", "no cloud", "cannot be read"),
        ("a.ply", TEXT.replace("vertex 4", "vertex 4000000000000"), "promises"),
        ("a.ply", TEXT.replace("double x", "double u"), "no x, y and z"),
        ("a.ply", TEXT.replace("3 0 1 2", "3 0 1 9"), "name points"),
        ("a.xyz", "1 2 3\n4 5\n", "cannot be read"),
        ("a.xyz", "1 2\n", "x, y and z are three"),
        ("a.xyz", "one two three\n", "cannot be read"),
        ("a.xyz", "# nothing\n", "one point or more"),
        ("a.las", "LASF", "cannot be read"),
    ],
)
def test_foreign_files_are_refused(tmp_path, name, text, message):
    if name == "a.ply":
        pytest.importorskip("plyfile")
    if name == "a.las":
        pytest.importorskip("laspy")
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=message):
        read_cloud(tmp_path / name)


def test_files_are_never_overwritten_and_must_exist(tmp_path):
    (tmp_path / "a.xyz").write_text("mine")
    with pytest.raises(FileExistsError, match="A new name is needed"):
        write_cloud(tmp_path / "a.xyz", cloud())
    assert (tmp_path / "a.xyz").read_text() == "mine"
    with pytest.raises(FileNotFoundError, match="Check the path"):
        read_cloud(tmp_path / "b.xyz")
    with pytest.raises(ValueError, match="a name that ends in"):
        write_cloud(tmp_path / "a.las", cloud())


@pytest.mark.parametrize(("library", "name"), [("plyfile", "a.ply"), ("laspy", "a.las")])
def test_a_missing_library_names_the_extra(tmp_path, monkeypatch, library, name):
    monkeypatch.setitem(sys.modules, library, None)
    (tmp_path / name).write_text("")
    with pytest.raises(ImportError, match=r"gsp_unroll\[clouds\]"):
        read_cloud(tmp_path / name)


def test_subsets_keep_faces_whose_corners_stay():
    xyz = torch.tensor([[0.0, 0, 0], [torch.nan, 0, 0], [1, 0, 0], [0, 1, 0], [1, 0, 0]])
    faces = torch.tensor([[0, 2, 3], [0, 1, 2], [0, 4, 3]])
    known = PointCloud(xyz, color=xyz[:, :1].nan_to_num().expand(5, 3), faces=faces).known()
    assert known.faces.tolist() == [[0, 1, 2], [0, 3, 2]]
    assert known.distinct().faces.tolist() == [[0, 1, 2]]
    assert torch.equal(known.distinct().color, known.xyz[:3, :1].expand(3, 3))
    assert len(PointCloud(xyz).distinct()) == 4  # what is unknown equals nothing


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"xyz": torch.zeros(4, 2)}, "xyz of shape"),
        ({"xyz": torch.zeros(4, 3, dtype=torch.int64)}, "floating-point"),
        ({"xyz": torch.full((4, 3), torch.inf)}, "infinite values of xyz"),
        ({"xyz": torch.zeros(4, 3), "color": torch.zeros(3, 3)}, "color of shape"),
        ({"xyz": torch.zeros(4, 3), "faces": torch.zeros(1, 3)}, "of int64"),
        ({"xyz": torch.zeros(4, 3), "faces": torch.tensor([[0, 1, 4]])}, "numbers from 0 to 3"),
    ],
)
def test_clouds_that_make_no_sense_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        PointCloud(**arguments)
    with pytest.raises(ValueError, match="True or False"):
        PointCloud(torch.zeros(4, 3)).subset(torch.ones(3, dtype=torch.bool))


@pytest.mark.parametrize(
    ("color", "message"),
    [
        (torch.full((3, 3), torch.nan), "9 values of color that are NaN.*inpaint_attributes"),
        (torch.tensor([[0.0, 128, 255]]).expand(3, 3), "colours from 0 to 255.*by 255"),
        (torch.full((3, 3), -0.1), r"colours from -0.1 to -0.1.*clamp"),
    ],
)
@pytest.mark.parametrize("suffix", ["ply", "xyz"])
def test_colours_that_a_file_cannot_hold_are_refused(color, message, suffix, tmp_path):
    path = tmp_path / f"a.{suffix}"
    with pytest.raises(ValueError, match=message):
        write_cloud(path, PointCloud(torch.rand(3, 3), color=color))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_chamfer_distance_is_its_definition(dtype):
    x, y = torch.randn(40, 3, dtype=dtype), torch.randn(60, 3, dtype=dtype)
    pairs = torch.cdist(x, y)
    expected = (pairs.amin(0).mean() + pairs.amin(1).mean()) / 2
    torch.testing.assert_close(chamfer_distance(x, y), expected)
    torch.testing.assert_close(chamfer_distance(x, y), chamfer_distance(y, x))
    assert chamfer_distance(x, x[torch.randperm(40)]) == 0


def test_chamfer_distance_has_the_derivative_of_differences():
    x, y = torch.randn(9, 3).double().requires_grad_(), torch.randn(7, 3).double().requires_grad_()
    assert torch.autograd.gradcheck(chamfer_distance, (x, y))


def test_plane_distance_forgets_what_is_along_the_plane():
    points = torch.rand(50, 3)
    points[:, 2] = 0
    up = torch.tensor([0.0, 0.0, 1.0]).expand(50, 3)
    x = torch.randn(30, 3)
    torch.testing.assert_close(plane_distance(x, points, up), x[:, 2].abs())
    torch.testing.assert_close(plane_distance(x, points, -up), x[:, 2].abs())
    torch.testing.assert_close(plane_distance(x, points, 7 * up), x[:, 2].abs())


def soup(n):
    """Triangles of very different sizes, some of them points or lines."""
    corners = torch.randn(n, 1, 3).double() + torch.randn(n, 3, 3).double() * torch.logspace(
        -4, 1, n, dtype=torch.float64
    ).view(n, 1, 1)
    corners[3, 1] = corners[3, 0]
    corners[5] = corners[5, :1]
    return corners.reshape(-1, 3), torch.arange(3 * n).reshape(n, 3)


def test_surface_distance_is_the_minimum_over_all_triangles():
    vertices, faces = soup(12)
    x = 2 * torch.randn(40, 3).double()
    apart = torch.stack([surface_distance(x, vertices, faces[i : i + 1]) for i in range(12)])
    assert torch.equal(surface_distance(x, vertices, faces), apart.amin(0))
    a, b, c = vertices[faces[9]]
    s = torch.linspace(0, 1, 401).double()
    grid = torch.cartesian_prod(s, s)
    grid = grid[grid.sum(-1) <= 1 + 1e-9]
    dense = a + grid[:, :1] * (b - a) + grid[:, 1:] * (c - a)
    sampled = torch.cdist(x, dense).amin(1)
    spacing = max((b - a).norm(), (c - a).norm(), (b - c).norm()) / 400
    assert (apart[9] <= sampled + 1e-12).all()
    assert (sampled - apart[9] <= spacing).all()


def test_surface_distance_moves_with_the_whole():
    vertices, faces = soup(30)
    x = torch.randn(25, 3).double()
    turn = torch.linalg.qr(torch.randn(3, 3).double()).Q
    before = surface_distance(x, vertices, faces)
    after = surface_distance(2 * x @ turn + 1, 2 * vertices @ turn + 1, faces)
    torch.testing.assert_close(after, 2 * before)
    on = vertices[faces].mean(1)  # middles of triangles lie on the surface
    assert surface_distance(on, vertices, faces).max() < 1e-12


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x, f: chamfer_distance(x[:0], x), "one node or more"),
        (lambda x, f: chamfer_distance(x * torch.nan, x), "NaN or infinite"),
        (lambda x, f: chamfer_distance(x, x.double()), "of dtype"),
        (lambda x, f: plane_distance(x, x, x[:2]), "2 normals for 4 points"),
        (lambda x, f: plane_distance(x, x, 0 * x), "4 normals that are 0, NaN or infinite"),
        (lambda x, f: surface_distance(x, x, f.float()), "whole numbers"),
        (lambda x, f: surface_distance(x, x, f + 2), "whole numbers of vertices"),
        (lambda x, f: surface_distance(x, x, f[:0]), "one triangle or more"),
    ],
)
def test_distances_refuse_what_has_none(call, message):
    with pytest.raises(ValueError, match=message):
        call(torch.randn(4, 3), torch.tensor([[0, 1, 2]]))
