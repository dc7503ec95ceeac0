"""Places on the globe as coordinates in which distances mean something."""

from __future__ import annotations

import torch
from torch import Tensor

from .._checks import check_same_kind, mistake

#: Mean radius of the Earth in kilometres.
EARTH_RADIUS = 6371.0088


def on_sphere(latitude: Tensor, longitude: Tensor) -> Tensor:
    r"""Places as points in space, in kilometres from the centre of the Earth.

    Nearest neighbours of these points (`knn_graph`) are those along the surface, across the date
    line and at the poles too, where degrees mislead. The straight line between two points is
    shorter than the way along the surface, by 0.1 % at 1000 km; see `great_circle`.

    Args:
        latitude: degrees, -90 to 90.
        longitude: degrees, -180 to 360.

    Shapes:
        - **latitude, longitude:** `(*places,)`
        - **output:** `(*places, 3)`

    Raises:
        ValueError: degrees out of range or not finite, or two tensors that differ in shape, dtype
            or device.

    Example:
        >>> import torch
        >>> from gsp_unroll.sensors import on_sphere
        >>> poles = on_sphere(torch.tensor([90.0, -90.0]), torch.tensor([10.0, 200.0]))
        >>> (poles[0] - poles[1]).norm()
        tensor(12742.0176)
    """
    _check_degrees(latitude, longitude)
    across, along = torch.deg2rad(latitude), torch.deg2rad(longitude)
    parts = (across.cos() * along.cos(), across.cos() * along.sin(), across.sin())
    return EARTH_RADIUS * torch.stack(parts, -1)


def great_circle(a: Tensor, b: Tensor) -> Tensor:
    r"""The way along the surface between points of `on_sphere`, in kilometres,
    $2R\arcsin(\|a-b\|/2R)$. Its derivative at two equal points is not defined.

    Args:
        a: points.
        b: points.

    Shapes:
        - **a, b:** `(*places, 3)`
        - **output:** `(*places,)`

    Example:
        >>> import torch
        >>> from gsp_unroll.sensors import great_circle, on_sphere
        >>> pole, equator = on_sphere(torch.tensor([90.0, 0.0]), torch.tensor([0.0, 0.0]))
        >>> great_circle(pole, equator).round()  # a quarter of the way round
        tensor(10008.)
    """
    return along_surface((a - b).norm(dim=-1))


def along_surface(chord: Tensor) -> Tensor:
    """`great_circle` for a straight line of this length, in kilometres."""
    return 2 * EARTH_RADIUS * torch.arcsin((chord / (2 * EARTH_RADIUS)).clamp(max=1.0))


def local_plane(latitude: Tensor, longitude: Tensor) -> Tensor:
    r"""East and north of the middle of the places, in kilometres: coordinates for a region, whose
    axes mean something to a learned metric.

    The middle is the mean of the points in space, so a region across the date line stays whole.
    East is scaled by the cosine of each place's own latitude.

    Args:
        latitude: degrees, -90 to 90.
        longitude: degrees, -180 to 360.

    Shapes:
        - **latitude, longitude:** `(places,)`
        - **output:** `(places, 2)`

    Raises:
        ValueError: as `on_sphere`; places all round the globe, which have no middle.

    Example:
        >>> import torch
        >>> from gsp_unroll.sensors import local_plane
        >>> local_plane(
        ...     torch.tensor([1.0, 0.0, -1.0]), torch.tensor([179.0, 180.0, -179.0])
        ... ).round()
        tensor([[-111.,  111.],
                [   0.,    0.],
                [ 111., -111.]])
    """
    middle = on_sphere(latitude, longitude).mean(-2)
    if not float(middle.norm()) > 0.1 * EARTH_RADIUS:
        raise mistake(
            "places all round the globe, whose middle is near the centre of the Earth",
            "places of a region",
            "Use on_sphere, whose three coordinates serve the whole globe.",
        )
    across = torch.atan2(middle[2], middle[:2].norm())
    along = torch.atan2(middle[1], middle[0])
    turn = torch.deg2rad(longitude) - along
    turn = torch.atan2(turn.sin(), turn.cos())  # the short way round
    rows = torch.deg2rad(latitude)
    return EARTH_RADIUS * torch.stack([rows.cos() * turn, rows - across], -1)


def _check_degrees(latitude: Tensor, longitude: Tensor) -> None:
    check_same_kind(longitude, latitude, "longitudes", "the latitudes")
    if latitude.shape != longitude.shape:
        raise mistake(
            f"latitudes of shape {tuple(latitude.shape)} and longitudes of shape "
            f"{tuple(longitude.shape)}",
            "one of each for every place",
            "Give two tensors of one shape.",
        )
    # written so that NaN fails too
    wrong = ~((latitude >= -90) & (latitude <= 90) & (longitude >= -180) & (longitude <= 360))
    if bool(wrong.any()):
        first = tuple(wrong.nonzero()[0].tolist())
        swapped = bool((latitude.abs() > 90).any()) and bool((longitude.abs() <= 90).all())
        raise mistake(
            f"{int(wrong.sum())} places out of range, the first at latitude "
            f"{float(latitude[first]):g} and longitude {float(longitude[first]):g}",
            "latitudes from -90 to 90 and longitudes from -180 to 360, in degrees",
            "Latitude and longitude seem to be swapped."
            if swapped
            else "Drop places that are not known, and convert radians with torch.rad2deg.",
        )
