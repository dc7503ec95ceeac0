"""Colours, or other attributes, of points that have none: kriging of several kinds, mixed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .._checks import check_positive_count, check_signal, check_tensor, mistake
from .._typing import Mask, Signal
from .distances import FAR, search_tree, unmeasurable

#: Points estimated at a time: about 100 MB.
CHUNK = 4096
#: Covariances over the distance to the farthest neighbour: kind, length, nugget.
KERNELS = (("exponential", 3.0, 1e-3), ("Matern", 1.0, 3e-3), ("Matern", 0.5, 1e-2))
#: How alike attributes are that go together, in units of their spread.
BANDWIDTHS = (0.8, 2.0)
#: How far above and below its neighbours an estimate may go, in units of the spread.
BEYOND = 0.2
#: How hard the parts of a mixture are held to a sum of 1, while they are searched.
SUM = 1e3


@dataclass(frozen=True, eq=False)
class Around:
    r"""The nearest points with an attribute, for each point: itself is not among them.

    Shapes:
        - **near:** `(nodes, k)`, numbers of nodes
        - **offset:** `(nodes, k, d)`, from the point, over the distance to the farthest
    """

    near: Tensor
    offset: Tensor

    @classmethod
    def of(cls, xyz: Tensor, known: Mask, k: int) -> Around:
        """Of at most `k` neighbours, as many as there are."""
        host = xyz.detach().to("cpu", torch.float64).contiguous()
        there = known.cpu().nonzero().squeeze(-1)
        k = min(k, len(there) - 1)
        found = search_tree(host[there]).query(host.numpy(), np.arange(1, k + 2))[1]
        near = there[torch.from_numpy(np.asarray(found, np.int64))]
        itself = near == torch.arange(len(host)).unsqueeze(-1)
        itself[:, -1] |= ~itself.any(-1)  # the farthest goes where none is the point itself
        near = near[~itself].view(len(host), k)
        offset = host[near] - host.unsqueeze(1)
        unit = offset.norm(dim=-1).amax(-1).clamp_min(torch.finfo(torch.float64).tiny)
        return cls(near.to(xyz.device), (offset / unit.view(-1, 1, 1)).to(xyz))


def krige(cov: Tensor, to_point: Tensor, y: Tensor, nugget: float) -> Tensor:
    r"""Ordinary kriging, $\hat x=w^\top y$ with $w$ of sum 1 and of least variance,
    $\begin{pmatrix}C+\nu I&1\\1^\top&0\end{pmatrix}\binom w\lambda=\binom c1$.

    Args:
        cov: covariances $C$ of the neighbours.
        to_point: those with the point, $c$.
        y: attributes of the neighbours.
        nugget: $\nu$, the variance of noise.

    Shapes:
        - **cov:** `(nodes, k, k)`
        - **to_point:** `(nodes, k)`
        - **y:** `(nodes, k, channels)`
        - **output:** `(nodes, channels)`
    """
    n, k = to_point.shape
    A = cov.new_ones(n, k + 1, k + 1)
    A[:, :k, :k] = cov + nugget * torch.eye(k).to(cov)
    A[:, k, k] = 0
    b = torch.cat([to_point, to_point.new_ones(n, 1)], -1)
    w = torch.linalg.solve(A, b)[:, :k]
    x: Tensor = (w.unsqueeze(-1) * y).sum(1)
    return x


def covariance(kind: str, length: float, distance: Tensor) -> Tensor:
    """Exponential, or of Matern with smoothness 3/2."""
    r = distance / length
    return (-r).exp() if kind == "exponential" else (1 + 3**0.5 * r) * (-(3**0.5) * r).exp()


def estimates(around: Around, y: Signal) -> Tensor:
    r"""What kriging of each kind makes of every point, from others only.

    Beside the distance in space, the second half of the kinds see how alike attributes are,
    $C_{jl}\,e^{-|y_j-y_l|^2/2h^2}$, with a first estimate at the point itself, twice.

    Args:
        around: the neighbours.
        y: attributes in units of their spread, anything where there is none.

    Shapes:
        - **y:** `(nodes, channels)`
        - **output:** `(nodes, kinds, channels)`
    """
    parts = zip(around.near.split(CHUNK), around.offset.split(CHUNK), strict=True)
    return torch.cat([torch.stack([*_kinds(P, y[near])], 1) for near, P in parts])


def _kinds(P: Tensor, y: Tensor) -> Iterator[Tensor]:
    between, to_point = torch.cdist(P, P), P.norm(dim=-1)
    low, high = y.amin(1) - BEYOND, y.amax(1) + BEYOND
    space = [
        (covariance(kind, length, between), covariance(kind, length, to_point), nugget)
        for kind, length, nugget in KERNELS
    ]
    plain = [krige(C, c, y, nugget).clamp(low, high) for C, c, nugget in space]
    yield from plain
    first = torch.stack(plain).mean(0)
    apart = torch.cdist(y, y).square() / y.shape[-1]
    for h in BANDWIDTHS:
        alike = (-apart / (2 * h * h)).exp()
        for C, c, nugget in space:
            e = first
            for _ in range(2):
                off = (y - e.unsqueeze(1)).square().mean(-1)
                e = krige(C * alike, c * (-off / (2 * h * h)).exp(), y, nugget).clamp(low, high)
            yield e


def mixture(E: Tensor, y: Signal) -> Tensor:
    r"""The parts in which estimates meet attributes best that they were made without,
    $\arg\min_{a\ge0,\,\sum a=1}\sum_i|y_i-\sum_sa_sE_{is}|^2$.

    Args:
        E: estimates of known attributes, each from others.
        y: the attributes.

    Shapes:
        - **E:** `(known, kinds, channels)`
        - **y:** `(known, channels)`
        - **output:** `(kinds,)`
    """
    from scipy.optimize import nnls

    # with parts of sum 1 the misfit is that of what each leaves, of which R alone matters
    R = (y.unsqueeze(1) - E).transpose(1, 2).flatten(0, 1).to("cpu", torch.float64)
    size = R.norm(dim=0).max().clamp_min(torch.finfo(R.dtype).tiny)
    upper = torch.linalg.qr(R / size, mode="r").R.numpy()
    rows = np.vstack([upper, np.full((1, R.shape[1]), SUM)])
    parts = nnls(rows, np.append(np.zeros(len(upper)), SUM))[0]
    return torch.from_numpy(parts / parts.sum()).to(y)


@dataclass(frozen=True, eq=False)
class Inpainting:
    """What `inpaint_attributes` returns.

    Args:
        y: the attributes, those that were given as they were.
        parts: how much of each kind of kriging, with sum 1.
        error: root mean square error at the points with an attribute, each estimated from others;
            NaN where there is only one.

    Shapes:
        - **y:** `(nodes, channels)`
        - **parts:** `(kinds,)`

    Example:
        >>> import torch
        >>> from gsp_unroll.clouds import inpaint_attributes
        >>> ball = torch.nn.functional.normalize(torch.randn(500, 3), dim=-1)
        >>> color = ball.clone()
        >>> color[::2] = torch.nan
        >>> filled = inpaint_attributes(ball, color)
        >>> filled.y.shape, round(float(filled.parts.sum()), 3), filled.error < 0.1
        (torch.Size([500, 3]), 1.0, True)
    """

    y: Signal
    parts: Tensor
    error: float


@torch.no_grad()
def inpaint_attributes(xyz: Tensor, y: Signal, neighbors: int = 16) -> Inpainting:
    r"""Fills in colours, or other attributes, of points that have none.

    $$x_i=\sum_sa_s\,w_{is}^\top y_{\mathcal N(i)}$$

    $w_{is}$ are the weights of kriging from the nearest points with an attribute, under covariances
    of several shapes: of the distance in space alone, and times one of how far attributes are
    apart, with a first estimate at the point itself. So a point listens to those of its own side of
    an edge. The parts $a$ are chosen by the cloud: each known attribute is estimated from others,
    and the mixture that meets them best is taken.

    Turning, moving or scaling the cloud, the order of its points, and scaling or shifting all
    attributes do nothing, or the same to the result. Channels are restored together: what is alike
    is alike in all.

    Args:
        xyz: coordinates.
        y: attributes, such as `PointCloud.color`; a row of NaN where there is none.
        neighbors: points with an attribute that an estimate is made from, at least 1; fewer if
            there are not so many.

    Shapes:
        - **xyz:** `(nodes, d)`
        - **y:** `(nodes, channels)`

    Raises:
        ValueError: coordinates of another shape or not finite; attributes for another number of
            points, infinite, or with NaN in some channels of a point only; no attribute at all;
            16-bit numbers.

    Source:
        Ordinary kriging, Matheron 1963. A covariance that sees values is the bilateral filter's
        idea, Tomasi and Manduchi 1998; mixing by estimates from others is stacking, Wolpert 1992.

    Example:
        >>> import torch
        >>> from gsp_unroll.clouds import inpaint_attributes
        >>> ball = torch.nn.functional.normalize(torch.randn(2000, 3), dim=-1)
        >>> color = 0.5 + 0.5 * ball
        >>> gap = torch.rand(2000) < 0.9
        >>> filled = inpaint_attributes(ball, color.masked_fill(gap.unsqueeze(-1), torch.nan))
        >>> bool((filled.y - color).abs().mean() < 0.02)
        True
    """
    check_positive_count(neighbors, "neighbors")
    known = _checked(xyz, y)
    row = known.unsqueeze(-1)
    level = y[known].mean(0)
    off = y - level
    # what a constant channel differs by is rounding
    varies = off[known].square().mean(0).sqrt() > 100 * torch.finfo(y.dtype).eps * level.abs()
    off = torch.where(row & varies, off, 0)
    spread = off[known].square().mean().sqrt()
    kinds = len(KERNELS) * (1 + len(BANDWIDTHS))
    if int(known.sum()) == 1 or not bool(varies.any()):
        even = y.new_full((kinds,), 1 / kinds)
        error = torch.nan if int(known.sum()) == 1 else 0.0
        return Inpainting(torch.where(row, y, y[known][0]), even, error)
    v = off / spread
    E = estimates(Around.of(xyz, known, neighbors), v)
    a = mixture(E[known], v[known])
    x = (a.unsqueeze(-1) * E).sum(1)
    error = float(spread * (x - v)[known].square().mean().sqrt())
    return Inpainting(torch.where(row, y, level + spread * x), a, error)


def _checked(xyz: Tensor, y: Signal) -> Mask:
    """The points with an attribute."""
    check_tensor(xyz, "coordinates")
    if xyz.ndim != 2 or not xyz.is_floating_point() or bool(unmeasurable(xyz).any()):
        raise mistake(
            f"coordinates of shape {tuple(xyz.shape)} and dtype {xyz.dtype}, "
            f"{int(unmeasurable(xyz).sum())} values of them NaN or infinite, or beyond {FAR:g}",
            "(nodes, d) of finite floating-point values",
            "Drop unknown points with PointCloud.known().",
        )
    check_signal(y, len(xyz), "attributes")
    for name, values in (("coordinates", xyz), ("attributes", y)):
        if values.dtype not in (torch.float32, torch.float64):
            raise mistake(
                f"{name} of dtype {values.dtype}",
                "float32 or float64, which linear systems are solved in",
                "Convert them with .float().",
            )
    gap = y.isnan()
    some = gap.any(-1) != gap.all(-1)
    if y.ndim != 2 or bool(y.isinf().any()) or bool(some.any()):
        raise mistake(
            f"attributes of shape {tuple(y.shape)}, {int(y.isinf().sum())} values infinite and "
            f"{int(some.sum())} points with NaN in some channels only",
            "(nodes, channels), finite, or NaN in all channels of a point",
            "Inpaint channels with gaps of their own one by one.",
        )
    if bool(gap.all()):
        raise mistake(
            f"attributes of shape {tuple(y.shape)}, all of them NaN",
            "one point with an attribute or more",
            "Check how missing ones are marked.",
        )
    return ~gap.any(-1)
