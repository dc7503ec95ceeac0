"""How near a cloud is to another cloud, to planes, or to a surface of triangles."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .._checks import check_same_kind, check_tensor, mistake

#: Pairs of a point and a triangle that are measured at a time: about 200 MB.
PAIRS = 1 << 19


def chamfer_distance(x: Tensor, y: Tensor) -> Tensor:
    r"""The Chamfer distance of two clouds, with lengths and not their squares.

    $$\tfrac12\Bigl(\tfrac1N\sum_i\min_j\|x_i-y_j\|+\tfrac1M\sum_j\min_i\|x_i-y_j\|\Bigr).$$

    Each mean is that of the distance to the nearest point of the other cloud. Some authors square
    these distances, or leave out the half: then the numbers differ. Derivatives flow to both
    clouds, with the nearest points held fixed.

    Args:
        x: points of one cloud.
        y: points of the other.

    Shapes:
        - **x:** `(nodes, coordinates)`
        - **y:** `(other nodes, coordinates)`
        - **output:** `()`

    Raises:
        ValueError: points of another shape, dtype or device, none at all, or not finite.

    Example:
        >>> import torch
        >>> from gsp_unroll.clouds import chamfer_distance
        >>> x = torch.tensor([[0.0, 0.0], [1.0, 0.0]])
        >>> chamfer_distance(x, torch.tensor([[0.0, 0.0], [4.0, 0.0]]))  # (0 + 1) / 4 + (0 + 3) / 4
        tensor(1.)
    """
    _check_pair(x, y)
    forth = (x - y[_nearest(x, y)]).norm(dim=-1).mean()
    back = (y - x[_nearest(y, x)]).norm(dim=-1).mean()
    distance: Tensor = (forth + back) / 2
    return distance


def plane_distance(x: Tensor, points: Tensor, normals: Tensor) -> Tensor:
    r"""Point-to-plane distance, $|n_j^\top(x_i-p_j)|$ with $p_j$ the point nearest to $x_i$.

    It leaves out where on a surface a point lies, which noise along it changes and nobody can tell.
    Derivatives flow to `x`, with the nearest point held fixed.

    Args:
        x: the cloud to measure.
        points: points of the surface, dense against its bends.
        normals: directions at `points`, of any length, either way round.

    Shapes:
        - **x:** `(nodes, coordinates)`
        - **points, normals:** `(other nodes, coordinates)`
        - **output:** `(nodes,)`

    Raises:
        ValueError: points of another shape, dtype or device, none at all, or not finite; a normal
            without a direction.

    Example:
        >>> import torch
        >>> from gsp_unroll.clouds import plane_distance
        >>> floor, up = torch.zeros(1, 3), torch.tensor([[0.0, 0.0, 1.0]])
        >>> plane_distance(torch.tensor([[3.0, 4.0, -2.0]]), floor, up)
        tensor([2.])
    """
    _check_pair(x, points)
    _check_pair(points, normals)
    if normals.shape != points.shape:
        raise mistake(
            f"{len(normals)} normals for {len(points)} points",
            "one normal for each point",
            "Take both from one cloud.",
        )
    near = _nearest(x, points)
    return ((x - points[near]) * unit_normals(normals)[near]).sum(-1).abs()


def unit_normals(normals: Tensor) -> Tensor:
    """Directions `(nodes, coordinates)`, each brought to length 1.

    Raises:
        ValueError: one that is 0, NaN or infinite.
    """
    length = normals.norm(dim=-1, keepdim=True)
    lost = int((~((length > 0) & length.isfinite())).sum())
    if lost:
        raise mistake(
            f"{lost} normals that are 0, NaN or infinite",
            "a direction at every point",
            "Drop these points, or find normals anew: fit_surfaces(points).normal[:, 0].",
        )
    unit: Tensor = normals / length
    return unit


def surface_distance(x: Tensor, vertices: Tensor, faces: Tensor) -> Tensor:
    r"""Distance of each point to a surface of triangles, $\min_{s\in S}\|x_i-s\|$, exact.

    A triangle nearer than $r$ has its middle within $r+R$, where $R$ is how far a corner lies from
    the middle. With $r$ the distance to one triangle that is near, search trees of the middles, one
    for each size of triangles up to a factor of two, find all that can be nearer. They are measured
    one by one.

    Args:
        x: the cloud to measure. No gradient flows.
        vertices: corners of the triangles.
        faces: three vertices for each triangle, which may be degenerate.

    Shapes:
        - **x:** `(nodes, 3)`
        - **vertices:** `(vertices, 3)`
        - **faces:** `(triangles, 3)`, whole numbers
        - **output:** `(nodes,)`

    Raises:
        ValueError: points or vertices of another shape, dtype or device, or not finite; no
            triangle, or one with a vertex that does not exist.

    Source:
        Ericson 2005, Real-Time Collision Detection, section 5.1.5, for the nearest point of a
        triangle.

    Example:
        >>> import torch
        >>> from gsp_unroll.clouds import surface_distance
        >>> corners = torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
        >>> x = torch.tensor([[0.2, 0.2, 0.5], [3.0, 0.0, 0.0]])
        >>> surface_distance(x, corners, torch.tensor([[0, 1, 2]]))
        tensor([0.5000, 2.0000])
    """
    _check_pair(x, vertices)
    _check_faces(x, vertices, faces)
    points = x.detach().to("cpu", torch.float64)
    corners = vertices.detach().to("cpu", torch.float64)[faces.cpu().long()]
    middle = corners.mean(1)
    radius = (corners - middle.unsqueeze(1)).norm(dim=-1).amax(-1)
    nearest = _triangle_distance(points, corners[_nearest(points, middle)])
    size = radius.clamp_min(radius.max() * 2.0**-40).log2().floor()
    for value in size.unique():
        group = (size == value).nonzero().flatten()
        reach = nearest + radius[group].max()
        for point, triangle in _pairs_within(points, middle[group], reach):
            off = _triangle_distance(points[point], corners[group[triangle]])
            nearest.scatter_reduce_(0, point, off, "amin")
    return nearest.to(x)


def _pairs_within(x: Tensor, centers: Tensor, reach: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """All pairs of a point and a centre within the point's `reach`, about `PAIRS` at a time."""
    tree = search_tree(centers)
    reach_of = np.nextafter(reach.numpy() * (1 + 1e-12), np.inf)  # rounding must lose none
    count = tree.query_ball_point(x.numpy(), reach_of, return_length=True)
    part = torch.from_numpy(np.cumsum(count) // PAIRS)
    for rows in torch.arange(len(x)).split(torch.unique(part, return_counts=True)[1].tolist()):
        found = tree.query_ball_point(x[rows].numpy(), reach_of[rows.numpy()])
        lengths = torch.from_numpy(count[rows.numpy()])
        flat = np.concatenate([np.asarray(each, np.int64) for each in found])
        yield rows.repeat_interleave(lengths), torch.from_numpy(flat)


def _triangle_distance(x: Tensor, corners: Tensor) -> Tensor:
    """Distance of each point to its triangle `(pairs, 3, 3)`: to the plane above it, else to the
    nearest of the three sides."""
    sides = corners.roll(-1, 1) - corners
    off = x.unsqueeze(1) - corners
    length = sides.square().sum(-1, keepdim=True)
    along = ((off * sides).sum(-1, keepdim=True) / length).nan_to_num(0.0).clamp(0, 1)
    to_side = (off - along * sides).norm(dim=-1).amin(-1)
    normal = torch.linalg.cross(sides[:, 0], sides[:, 1])
    # above the triangle: on the inner side of all three sides
    turned = torch.linalg.cross(normal.unsqueeze(1).expand_as(sides), sides)
    above = ((turned * off).sum(-1) >= 0).all(-1) & (normal.abs().amax(-1) > 0)
    height = (off[:, 0] * normal).sum(-1).abs() / normal.norm(dim=-1)
    return torch.where(above, height, to_side)


def _nearest(x: Tensor, y: Tensor) -> Tensor:
    """The index of the point of `y` nearest to each of `x`."""
    near = search_tree(y).query(x.detach().to("cpu", torch.float64).numpy())[1]
    return torch.from_numpy(near).to(x.device)


#: A coordinate whose square, or the sum of some, might overflow in float64.
FAR = 1e150


def unmeasurable(points: Tensor) -> Tensor:
    """Coordinates from which no distance can be told: NaN, infinite, or beyond `FAR`."""
    return ~(points.detach().double().abs() <= FAR)


def search_tree(points: Tensor) -> Any:
    """SciPy's tree of the points, for the nearest of them."""
    from scipy.spatial import cKDTree  # takes a third of a second to import

    return cKDTree(points.detach().to("cpu", torch.float64).numpy())


def _check_pair(x: Tensor, y: Tensor) -> None:
    for points in (x, y):
        check_tensor(points, "points")
    check_same_kind(y, x, "points", "the other points")
    for points in (x, y):
        if (
            points.ndim != 2
            or 0 in points.shape
            or points.shape[1] != x.shape[1]
            or not points.is_floating_point()
            or bool(unmeasurable(points).any())
        ):
            raise mistake(
                f"points of shape {tuple(points.shape)} and dtype {points.dtype}, "
                f"{int(unmeasurable(points).sum())} values of them NaN or infinite, or beyond "
                f"{FAR:g}",
                f"(nodes, {x.shape[-1] if x.ndim else 3}) of finite floating-point values, "
                "one node or more",
                "Put one point on each row, and drop unknown ones with PointCloud.known().",
            )


def _check_faces(x: Tensor, vertices: Tensor, faces: Tensor) -> None:
    whole = not (faces.is_floating_point() or faces.is_complex() or faces.dtype == torch.bool)
    fits = whole and faces.ndim == 2 and faces.shape[-1] == 3 and len(faces) > 0
    if x.shape[1] != 3 or not fits or not 0 <= int(faces.min()) <= int(faces.max()) < len(vertices):
        raise mistake(
            f"faces of shape {tuple(faces.shape)} and dtype {faces.dtype} on {len(vertices)} "
            f"vertices with {x.shape[1]} coordinates",
            "(triangles, 3) whole numbers of vertices in space, one triangle or more",
            "Give PointCloud.faces, and vertices with x, y and z.",
        )
