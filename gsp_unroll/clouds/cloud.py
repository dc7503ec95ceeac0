"""A cloud of points with what is known of each."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from .._checks import check_tensor, mistake


@dataclass(frozen=True, eq=False)
class PointCloud:
    r"""Points in space, with colours, normals and triangles where a file has them.

    Coordinates may be NaN: a depth camera says so where it saw nothing. `known()` drops these
    points, and `distinct()` drops copies of a point; both drop the faces that lose a corner.

    Args:
        xyz: coordinates, of a floating-point type.
        color: red, green, blue in [0, 1], or None.
        normal: directions of the surface, or None.
        faces: three points for each triangle, or None.

    Shapes:
        - **xyz:** `(nodes, 3)`
        - **color, normal:** `(nodes, 3)`
        - **faces:** `(triangles, 3)`, int64

    Raises:
        ValueError: another shape or type, infinite coordinates, or a face with a point that does
            not exist.

    Example:
        >>> import torch
        >>> from gsp_unroll.clouds import PointCloud
        >>> nan = torch.nan
        >>> cloud = PointCloud(torch.tensor([[0.0, 0, 0], [nan, nan, nan], [1, 0, 0], [1, 0, 0]]))
        >>> cloud.known().distinct().xyz
        tensor([[0., 0., 0.],
                [1., 0., 0.]])
    """

    xyz: Tensor
    color: Tensor | None = None
    normal: Tensor | None = None
    faces: Tensor | None = None

    def __post_init__(self) -> None:
        for name in ("xyz", "color", "normal", "faces"):
            if (value := getattr(self, name)) is not None:
                check_tensor(value, name)
        n = len(self.xyz) if self.xyz.ndim else 0
        for name in ("xyz", "color", "normal"):
            value = getattr(self, name)
            if value is None:
                continue
            if value.shape != (n, 3) or not value.is_floating_point():
                raise mistake(
                    f"{name} of shape {tuple(value.shape)} and dtype {value.dtype}",
                    f"({n}, 3) of a floating-point type",
                    "Put one point on each row; organised frames with xyz.reshape(-1, 3).",
                )
            if bool(value.isinf().any()):
                raise mistake(
                    f"{int(value.isinf().sum())} infinite values of {name}",
                    "finite values, or NaN where nothing was seen",
                    "Replace them by NaN.",
                )
        faces = self.faces
        if faces is None:
            return
        if faces.ndim != 2 or faces.shape[1] != 3 or faces.dtype != torch.int64:
            raise mistake(
                f"faces of shape {tuple(faces.shape)} and dtype {faces.dtype}",
                "(triangles, 3) of int64",
                "Split other polygons into triangles, and convert with faces.long().",
            )
        if len(faces) and not 0 <= int(faces.min()) <= int(faces.max()) < n:
            raise mistake(
                f"faces that name points from {int(faces.min())} to {int(faces.max())}",
                f"numbers from 0 to {n - 1}",
                "Numbers begin at 0; read the file again.",
            )

    def __len__(self) -> int:
        return len(self.xyz)

    def known(self) -> PointCloud:
        """The points whose coordinates are all finite."""
        return self.subset(self.xyz.isfinite().all(-1))

    def distinct(self) -> PointCloud:
        """The first of each set of points with equal coordinates; unknown points are all kept."""
        host = self.xyz.detach().cpu().numpy() + 0.0  # -0 and 0 are one number
        first = np.unique(host, axis=0, return_index=True, equal_nan=False)[1]
        keep = np.asarray(np.isnan(host).any(-1))
        keep[first] = True
        return self.subset(torch.from_numpy(keep).to(self.xyz.device))

    def subset(self, keep: Tensor) -> PointCloud:
        """The points where `keep`, `(nodes,)` bool, is True, in the same order."""
        if keep.dtype != torch.bool or keep.shape != (len(self),):
            raise mistake(
                f"a choice of shape {tuple(keep.shape)} and dtype {keep.dtype}",
                f"({len(self)},) of bool",
                "Give True or False for each point.",
            )
        if self.faces is None:
            faces = None
        else:
            whole = self.faces[keep[self.faces].all(-1)]
            faces = (keep.cumsum(0) - 1)[whole]
        return replace(
            self,
            xyz=self.xyz[keep],
            color=None if self.color is None else self.color[keep],
            normal=None if self.normal is None else self.normal[keep],
            faces=faces,
        )
