"""Planes and quadrics through the neighbours of each point, of several sizes."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

from .._checks import check_positive, check_tensor, mistake
from .distances import FAR, search_tree, unmeasurable

#: Points fitted at a time: few, so that what belongs to them stays near the processor.
CHUNK = 512


@dataclass(frozen=True, eq=False)
class SurfaceFits:
    r"""What surfaces through the neighbours of each point say of it.

    A plane goes through the mean of the $k$ nearest points and leaves out the direction in which
    they vary least. A quadric is the height over that plane, $a+b^\top u+\tfrac12u^\top Cu$, fitted
    by least squares. The sizes of planes come first, then those of quadrics.

    With a tolerance $\tau$ the neighbours of a quadric count $e^{-r^2/2\tau^2}$, where $r$ is their
    height over a first quadric: not those of the other side of a thin part, or beyond an edge. In
    that first one they count by their height over the next smaller quadric, with $1.5\tau$; in the
    first of the smallest all count alike.

    Where `data` were given, their heights over the planes of the points are fitted: planes keep the
    direction, quadrics the places $u$.

    Args:
        move: from each point to the surface (of the points or the data), along the normal of the
            plane, in units of the points.
        normal: unit normal of the plane, either way round.
        residual: root mean square of what the surface leaves, in units of the points.
        spread: least and middle variance over the largest, 0 to 1.
        curvature: eigenvalues of $C$, that of the points, ascending, one over their units.
        radius: distance to the farthest point of each plane.

    Shapes:
        - **move:** `(*data, nodes, fits, 3)`, `data` being how many were given, if any
        - **residual:** `(*data, nodes, fits)`
        - **normal:** `(nodes, fits, 3)`
        - **spread:** `(nodes, planes, 2)`
        - **curvature:** `(nodes, quadrics, 2)`
        - **radius:** `(nodes, planes)`

    Example:
        >>> import torch
        >>> from gsp_unroll.clouds import fit_surfaces
        >>> fits = fit_surfaces(torch.rand(50, 3), planes=(8, 16), quadrics=(20,))
        >>> fits.move.shape, fits.spread.shape, fits.curvature.shape
        (torch.Size([50, 3, 3]), torch.Size([50, 2, 2]), torch.Size([50, 1, 2]))
    """

    move: Tensor
    normal: Tensor
    residual: Tensor
    spread: Tensor
    curvature: Tensor
    radius: Tensor


def fit_surfaces(
    points: Tensor,
    planes: tuple[int, ...] = (16,),
    quadrics: tuple[int, ...] = (),
    data: Tensor | None = None,
    tolerance: float | None = None,
) -> SurfaceFits:
    r"""Fits planes and quadrics to the nearest points of each, itself among them.

    Args:
        points: coordinates in space. No gradient flows.
        planes: how many points each plane has, 3 or more; at least one plane.
        quadrics: how many points each quadric has, 8 or more.
        data: other places of the same points, to fit surfaces to in frames that the points give:
            what was measured, where the points are a first guess. By default the points.
        tolerance: $\tau$ above 0, in units of the points, or None: all neighbours count alike.

    Shapes:
        - **points:** `(nodes, 3)`, as many as the largest fit has, or more
        - **data:** `(*data, nodes, 3)`

    Raises:
        ValueError: points of another shape, fewer than a fit needs, or not finite; data of another
            shape or dtype, or not finite; a size below the least; no plane; a tolerance of 0 or
            less; with one, quadrics that do not grow.

    Source:
        Hoppe et al. 1992 for planes, Cazals and Pouget 2005 for quadrics; the weights are those of
        Welsch, as in robust moving least squares (Oztireli et al. 2009).

    Example:
        >>> import torch
        >>> from gsp_unroll.clouds import fit_surfaces
        >>> floor = torch.rand(30, 3) * torch.tensor([1.0, 1.0, 0.0])
        >>> fit_surfaces(floor, planes=(8,)).normal[0, 0].abs().round()
        tensor([0., 0., 1.])
    """
    _check(points, planes, quadrics)
    if tolerance is not None:
        _check_tolerance(tolerance, quadrics)
    data = points if data is None else data
    _check_data(data, points)
    host, seen = (v.detach().to("cpu", torch.float64).contiguous() for v in (points, data))
    seen = seen.reshape(-1, *host.shape).transpose(0, 1)
    tree, k = search_tree(host), max(planes + quadrics)
    # in the order of the leaves, where points close together read the same branches
    order = torch.from_numpy(tree.indices.astype(np.int64))
    parts = []
    for rows in order.split(CHUNK):
        near = torch.from_numpy(tree.query(host[rows].numpy(), k)[1].reshape(len(rows), k))
        # about the point itself, so that nothing is lost to large coordinates
        P = host[near] - host[rows].unsqueeze(1)
        D = seen[near] - host[rows].view(-1, 1, 1, 3)
        parts.append([value.to(points) for value in _fit(P, D, planes, quadrics, tolerance)])
    back = order.argsort()
    fits = SurfaceFits(*(torch.cat(part)[back] for part in zip(*parts, strict=True)))
    front = data.shape[:-2]
    move, residual = fits.move.movedim(2, 0), fits.residual.movedim(2, 0)
    return replace(
        fits,
        move=move.reshape(*front, *move.shape[1:]),
        residual=residual.reshape(*front, *residual.shape[1:]),
    )


def _fit(
    P: Tensor,
    D: Tensor,
    planes: tuple[int, ...],
    quadrics: tuple[int, ...],
    tolerance: float | None,
) -> list[Tensor]:
    """The fields of `SurfaceFits` for neighbours about the point, nearest first, and the data of
    these neighbours; the axis of the data stands behind that of the fits."""
    found: dict[str, list[Tensor]] = {field.name: [] for field in fields(SurfaceFits)}
    all_alike = torch.ones_like(P[..., 0])
    for k in planes:
        _, variance, axes = _plane(P[:, :k], all_alike[:, :k])
        normal = axes[..., 0]
        above = _along(D[:, :k], normal)
        height = above.mean(1)
        found["move"].append(height.unsqueeze(-1) * normal.unsqueeze(1))
        found["normal"].append(normal)
        found["residual"].append((above - height.unsqueeze(1)).square().mean(1).sqrt())
        found["spread"].append(variance[:, :2] / variance[:, 2:].clamp_min(1e-300))
        found["radius"].append(P[:, k - 1].norm(dim=-1))
    quadric: _Quadric | None = None
    for k in quadrics:
        near, data, w = P[:, :k], D[:, :k], all_alike[:, :k]
        if tolerance is not None:
            if quadric is not None:
                # a smaller quadric goes on less well than it fits
                w = _likelihood(quadric.above(near), 1.5 * tolerance)
            w = _likelihood(_Quadric.through(near, data, w).above(near), tolerance)
        quadric = _Quadric.through(near, data, w)
        found["move"].append(quadric.height.unsqueeze(-1) * quadric.normal.unsqueeze(1))
        found["normal"].append(quadric.normal)
        found["residual"].append(quadric.residual)
        found["curvature"].append(quadric.curvature)
    empty = P.new_empty(len(P), 0, 2)
    return [torch.stack(v, 1) if v else empty for v in found.values()]


def _likelihood(height: Tensor, tolerance: float) -> Tensor:
    """1 on the surface, less beside it; never 0, or far from a poor surface nothing would count."""
    return (-(height / tolerance).square() / 2).exp().clamp_min(1e-6)


@dataclass(frozen=True, eq=False)
class _Quadric:
    """Quadrics over weighted planes: one through neighbours, one through each of their data.

    Args:
        normal: of the plane.
        height: of each quadric of the data over the point.
        residual: root mean square of what it leaves.
        curvature: of the quadric of the neighbours.
        frame: axes of the plane over its size `unit`, the normal first; in these coordinates the
            point is `own`.
        shape: coefficients of the quadric of the neighbours.
    """

    normal: Tensor
    height: Tensor
    residual: Tensor
    curvature: Tensor
    frame: Tensor
    own: Tensor
    unit: Tensor
    shape: Tensor

    @classmethod
    def through(cls, near: Tensor, data: Tensor, w: Tensor) -> _Quadric:
        mean, variance, axes = _plane(near, w)
        unit = variance[:, 2].sqrt().clamp_min(1e-150).unsqueeze(-1)
        frame = axes / unit.unsqueeze(-1)
        own = -mean.unsqueeze(1) @ frame
        local = near @ frame + own
        above = _along(data, frame[..., 0]) + own[..., :1]
        A, heights = _monomials(local), torch.cat([local[..., :1], above], -1)
        wA = (w / w.sum(1, keepdim=True)).unsqueeze(-1) * A
        # nearly nothing of a ridge, for neighbours on a line or a conic
        ridge = 1e-7 * torch.eye(6, dtype=near.dtype)
        c = torch.linalg.solve(A.mT @ wA + ridge, wA.mT @ heights)
        shape, c = c[..., :1], c[..., 1:]
        C = torch.stack([shape[:, 3], shape[:, 4], shape[:, 4], shape[:, 5]], -1).view(-1, 2, 2)
        return cls(
            normal=axes[..., 0],
            height=unit * ((_monomials(own) @ c).squeeze(1) - own[..., 0]),
            residual=unit * (wA[..., :1] * (above - A @ c).square()).sum(1).sqrt(),
            curvature=torch.linalg.eigvalsh(C) / unit,
            frame=frame,
            own=own,
            unit=unit,
            shape=shape,
        )

    def above(self, near: Tensor) -> Tensor:
        """How far points lie above the quadric of the neighbours, along the normal."""
        local = near @ self.frame + self.own
        return self.unit * (local[..., :1] - _monomials(local) @ self.shape).squeeze(-1)


def _along(D: Tensor, direction: Tensor) -> Tensor:
    """The coordinate of each neighbour and kind of data along the direction of its point."""
    return (D.flatten(1, 2) @ direction.unsqueeze(-1)).view(D.shape[:-1])


def _plane(P: Tensor, w: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Weighted mean, variances ascending, and the axes they belong to."""
    w = (w / w.sum(1, keepdim=True)).unsqueeze(-1)
    mean = (w * P).sum(1)
    off = P - mean.unsqueeze(1)
    variance, axes = torch.linalg.eigh(off.mT @ (w * off))
    return mean, variance.clamp_min(0), axes


def _monomials(local: Tensor) -> Tensor:
    """1, u, v, u^2/2, uv, v^2/2 of the coordinates in the plane."""
    v, u = local[..., 1], local[..., 2]
    return torch.stack([torch.ones_like(u), u, v, u * u / 2, u * v, v * v / 2], -1)


def _check(points: Tensor, planes: tuple[int, ...], quadrics: tuple[int, ...]) -> None:
    if not planes or min(planes) < 3 or min(quadrics, default=8) < 8:
        raise mistake(
            f"planes={planes}, quadrics={quadrics}",
            "planes of 3 points or more, one plane at least, and quadrics of 8 or more",
            "Give larger sizes.",
        )
    check_tensor(points, "points")
    most = max(planes + quadrics)
    shaped = points.ndim == 2 and points.shape[1] == 3 and points.is_floating_point()
    if not shaped or len(points) < most or bool(unmeasurable(points).any()):
        raise mistake(
            f"points of shape {tuple(points.shape)} and dtype {points.dtype}, "
            f"{int(unmeasurable(points).sum())} values of them NaN or infinite, or beyond {FAR:g}",
            f"(nodes, 3) of finite floating-point values, {most} points or more",
            "Drop unknown points with PointCloud.known(), and fit to fewer where there are few.",
        )


def _check_tolerance(tolerance: float, quadrics: tuple[int, ...]) -> None:
    check_positive(tolerance, "tolerance")
    if list(quadrics) != sorted(quadrics):
        raise mistake(
            f"quadrics={quadrics} with a tolerance",
            "sizes in ascending order",
            "Sort them: what a quadric makes of its neighbours begins with the next smaller one.",
        )


def _check_data(data: Tensor, points: Tensor) -> None:
    alike = data.shape[-2:] == points.shape and data.dtype == points.dtype
    if not alike or bool(unmeasurable(data).any()):
        raise mistake(
            f"data of shape {tuple(data.shape)} and dtype {data.dtype}, "
            f"{int(unmeasurable(data).sum())} values of them NaN or infinite, or beyond {FAR:g}",
            f"(..., {len(points)}, 3) of finite values in {points.dtype}",
            "Give one place for each of the points, in the same order.",
        )
