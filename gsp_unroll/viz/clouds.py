"""Clouds side by side, coloured by one value of each point."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from .._checks import mistake
from ._axes import check_signal_drawn, one_by_one

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_clouds(
    axes: Sequence[Axes], clouds: Mapping[str, Tensor], values: Mapping[str, Tensor]
) -> Sequence[Axes]:
    r"""Draws clouds side by side under their names, with the mean of a value of each point.

    One scale of colours serves all: it begins at 0, or at the least value if that is lower, and
    ends at the 95th percentile of the cloud whose one is largest, so that a few strays do not
    darken the rest. With the distance to a surface (`surface_distance`, `plane_distance`) as the
    value, what is off the surface stands out.

    Args:
        axes: one for each cloud; for points in space those of `subplot_kw={"projection": "3d"}`.
        clouds: by name, points of as many coordinates as the axes have.
        values: a number for each point, by the same names; NaN or infinity leaves a point out.

    Shapes:
        - **clouds:** `(points, 2)` or `(points, 3)` each
        - **values:** `(points,)` or `(points, 1)` each

    Returns:
        `axes`, each with the dots as its one collection, to make a bar of colours from.

    Raises:
        ValueError: another number of axes than of clouds; values of other names; points of another
            number of coordinates than the axes have; another number of values than of points.

    Example:
        >>> import torch
        >>> from matplotlib.figure import Figure
        >>> from gsp_unroll.viz import draw_clouds
        >>> floor = torch.rand(50, 3) * torch.tensor([1.0, 1.0, 0.0])
        >>> clouds = {"scan": floor + 0.5, "floor": floor}
        >>> axes = Figure().subplots(1, 2, subplot_kw={"projection": "3d"})
        >>> height = {name: cloud[:, 2] for name, cloud in clouds.items()}
        >>> [ax.get_title() for ax in draw_clouds(axes, clouds, height)]
        ['scan\n0.5', 'floor\n0']
    """
    each = one_by_one(axes)
    if len(each) != len(clouds) or set(values) != set(clouds):
        raise mistake(
            f"{len(each)} axes and values of {list(values)} for the clouds {list(clouds)}",
            "axes and values for each cloud",
            "Make axes with figure.subplots(1, len(clouds), squeeze=False)[0], and give both "
            "mappings the same names.",
        )
    shown = {}
    for ax, (name, cloud) in zip(each, clouds.items(), strict=True):
        dimension = 3 if ax.name == "3d" else 2
        if cloud.ndim != 2 or cloud.shape[1] != dimension:
            raise mistake(
                f"{name} of shape {tuple(cloud.shape)}",
                f"(points, {dimension}) on these axes",
                'Make axes in space with subplot_kw={"projection": "3d"}, or project the points.',
            )
        value = check_signal_drawn(values[name], len(cloud)).double()
        here = value.isfinite()
        shown[name] = cloud.detach().cpu()[here], value[here]
    low, high = _limits([value for _, value in shown.values()])
    for ax, (name, (at, value)) in zip(each, shown.items(), strict=True):
        points: Any = ax.scatter  # of axes in space it takes three coordinates
        points(*at.T.numpy(), c=value.numpy(), s=3, vmin=low, vmax=high)
        ax.set_title(f"{name}\n{float(value.mean()):.3g}" if len(value) else name, fontsize=9)
        ax.set_aspect("equal")
        ax.set_axis_off()
    return axes


def _limits(values: list[Tensor]) -> tuple[float, float]:
    some = [value.double().numpy() for value in values if len(value)]
    if not some:
        return 0.0, 1.0
    low = min(0.0, min(float(value.min()) for value in some))
    high = max(float(np.quantile(value, 0.95)) for value in some)
    return low, high if high > low else low + 1.0
