"""Points brought back towards their surface, by fits of several sizes and a learned graph."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .._checks import check_positive_count, mistake
from ..features import PointMLP
from ..graph import Graph, Topology, knn_graph, safe_reciprocal
from ..learners import MahalanobisLearner
from ..operators import Identity
from ..problems import LeastSquares
from ..unroll import BoundedMomentum
from .chords import ChordGLR
from .fits import SurfaceFits, fit_surfaces

PLANES, QUADRICS = (12, 24, 48), (24, 48, 96, 192)
#: The quadric that tells the noise, and whose normal the others are compared with.
MIDDLE = len(PLANES) + 1
#: Entries of what a node is described by: see `describe`.
NUM_FEATURES = 3 * len(PLANES + QUADRICS) + 3 * len(PLANES) + 2 * len(QUADRICS)


@dataclass(frozen=True, eq=False)
class Described:
    r"""A noisy cloud as the network sees it: in a unit of its own, and without directions.

    Shapes:
        - **y:** `(nodes, 3)`, in the unit `sigma`
        - **move:** `(nodes, fits, 3)`, from each point to the surfaces fitted, in the same unit
        - **features:** `(nodes, NUM_FEATURES)`
    """

    y: Tensor
    move: Tensor
    features: Tensor
    sigma: float


def describe(y: Tensor) -> Described:
    r"""What planes and quadrics of several sizes say of a noisy cloud.

    The unit is the noise: the median of what quadrics leave. All numbers are free of directions:
    turning the cloud, or the sign of a normal, changes none. Heights have the sign with which
    large fits lie above small ones.

    Args:
        y: coordinates.

    Shapes:
        - **y:** `(nodes, 3)`, 192 nodes or more

    Raises:
        ValueError: as `fit_surfaces`; a cloud without any noise.
    """
    fits = fit_surfaces(y, PLANES, QUADRICS)
    k = QUADRICS[1]
    sigma = float(fits.residual[:, MIDDLE].median()) * (k / (k - 6)) ** 0.5
    if not sigma > 0:
        raise mistake(
            "points that lie on planes or quadrics exactly",
            "points with noise",
            "Drop copies with PointCloud.distinct(), or leave the cloud as it is.",
        )
    return Described(y / sigma, fits.move / sigma, _features(fits, sigma), sigma)


def _features(fits: SurfaceFits, sigma: float) -> Tensor:
    normal = fits.normal[:, MIDDLE : MIDDLE + 1]
    height = (fits.move * normal).sum(-1) / sigma
    large, small = height[:, -2:].sum(-1), height[:, [0, 1]].sum(-1)
    up = torch.where(large >= small, 1.0, -1.0).to(height).unsqueeze(-1)
    tilt = (fits.normal * normal).sum(-1)
    side = torch.where(tilt[:, len(PLANES) :] >= 0, up, -up).unsqueeze(-1)
    bend = (fits.curvature * side).sort(-1).values * fits.radius[:, 1].view(-1, 1, 1)
    parts = [
        height * up / 2,
        (fits.residual / sigma).clamp_min(0.05).log(),
        10 * (1 - tilt.abs()),
        fits.spread.clamp_min(1e-4).log().flatten(1) / 3,
        (fits.radius / sigma).clamp_min(1e-2).log(),
        bend.flatten(1),
    ]
    return torch.cat(parts, -1).clamp(-5, 5)


class CloudDenoiser(nn.Module):
    r"""Fits of several sizes mixed by a network, then `ChordGLR` on a learned graph.

    $$z_i=y_i+\sum_sa_{is}d_{is},\qquad
      x=\arg\min_x\tfrac12\|x-z\|^2+\tfrac12\sum_{(i,j)}\mu_{ij}
      \bigl(m_{ij}^\top(x_i-x_j)\bigr)^2,\qquad
      \mu_{ij}=e^{(c_i+c_j)/2}\,w_{ij}$$

    $d_{is}$ leads from point $i$ to its plane or quadric $s$. The mixture $a$, the strength $c$ and
    the features that the graph $w$ is drawn on come from one small network, which sees what the
    fits say of a node and, on average, of it and its neighbours. The second line is repeated
    `rounds` times: the result takes the place of $z$, and neighbours and normals are found anew.

    Turning, moving or scaling a cloud does the same to the result. The strength of the noise is not
    asked for. Points move along their normals: where on the surface a point lay, nobody can tell.

    Args:
        rounds: how often the graph is learned anew, at least 1.
        width: channels of the network, at least 1.
        cg_steps: of each solve, at least 1.

    Shapes:
        - **y:** `(nodes, 3)`, 192 nodes or more
        - **output:** `(nodes, 3)`

    Raises:
        ValueError: a count below 1; on call: points of another shape, fewer than 192, not finite,
            or without any noise.

    Source:
        The base is a multi-scale form of the jets of Cazals and Pouget 2005. The graph is learned
        as in Do et al. 2024.

    Example:
        >>> import torch
        >>> from gsp_unroll.clouds import CloudDenoiser
        >>> ball = torch.nn.functional.normalize(torch.randn(500, 3), dim=-1)
        >>> with torch.no_grad():
        ...     x = CloudDenoiser()(ball + 0.05 * torch.randn(500, 3))
        >>> float((x.norm(dim=-1) - 1).abs().mean()) < 0.02  # untrained; the noise has 0.04
        True
    """

    def __init__(self, rounds: int = 2, width: int = 32, cg_steps: int = 8) -> None:
        super().__init__()
        check_positive_count(rounds, "rounds")
        check_positive_count(width, "width")
        self.rounds = rounds
        self.near, self.graph_features, num_fits = 12, 4, len(PLANES + QUADRICS)
        self.encode = PointMLP(NUM_FEATURES, width, num_layers=2, width=width)
        outputs = num_fits + self.graph_features + 1
        self.decide = PointMLP(2 * width, outputs, num_layers=3, width=width)
        self.learner = MahalanobisLearner(self.graph_features, init=1.0)
        self.share = nn.Parameter(torch.full((num_fits,), 1 / num_fits))
        self.log_mu = nn.Parameter(torch.full((rounds,), math.log(6)))
        self.linear_solve = BoundedMomentum(cg_steps)

    def forward(self, y: Tensor) -> Tensor:
        """The cloud without its noise."""
        seen = describe(y)
        x: Tensor = seen.sigma * self.restore(seen)
        return x

    def restore(self, seen: Described) -> Tensor:
        """The cloud in the unit of `seen`, for a training that describes its clouds once."""
        topology = knn_graph(seen.y, self.near)
        own = self.encode(seen.features)
        degree = topology.degree(own.new_ones(topology.num_edges)).unsqueeze(-1)
        around = topology.incident_sum(topology.ends_sum(own)) * safe_reciprocal(2 * degree)
        mix, features, strength = self.decide(torch.cat([own, around], -1)).split(
            [len(self.share), self.graph_features, 1], -1
        )
        x: Tensor = seen.y + ((self.share + mix).unsqueeze(-1) * seen.move).sum(-2)
        for log_mu in self.log_mu:
            x = self._solve(x, features, strength + log_mu)
        return x

    def _solve(self, z: Tensor, features: Tensor, strength: Tensor) -> Tensor:
        topology, normals = around_points(z.detach(), self.near)
        w = self.learner(features, topology).weight
        mu = (topology.ends_sum(strength) / 2).clamp(-6, 6).exp().squeeze(-1)
        prior = ChordGLR(Graph.unchecked(topology, mu * w), normals=normals)
        A, b = LeastSquares.unchecked(Identity(), z).system(prior.Q)
        x: Tensor = self.linear_solve(A, b, z)
        return x

    def extra_repr(self) -> str:
        return f"rounds={self.rounds}"


def around_points(z: Tensor, k: int) -> tuple[Topology, Tensor]:
    """The graph to the `k` nearest of each point, and normals of planes through a few more."""
    fits = fit_surfaces(z, (min(k + 6, len(z)),))
    return knn_graph(z, k), fits.normal[:, 0]
