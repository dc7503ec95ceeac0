"""Points brought back towards their surface, by fits of several sizes and a learned graph."""

from __future__ import annotations

import json
import math
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from .._checks import check_positive_count
from .._safetensors import check_state_fits, foreign, read_tensors, write_tensors
from ..features import PointMLP
from ..graph import Graph, Topology, knn_graph, safe_reciprocal
from ..learners import MahalanobisLearner
from ..operators import Identity
from ..problems import LeastSquares
from ..unroll import BoundedMomentum
from .chords import ChordGLR
from .describe import MIDDLE, NUM_FEATURES, NUM_FITS, Described, describe, noise_in
from .fits import fit_surfaces

WEIGHTS = Path(__file__).resolve().parents[1] / "weights" / "clouds" / "cloud.safetensors"
FORMAT = "gsp_unroll cloud denoiser 2"
ADVICE = "Write it with CloudDenoiser.save."


class CloudStage(nn.Module):
    """Fits mixed by a network, then `ChordGLR` on a learned graph: see `CloudDenoiser`.

    Args:
        rounds: how often the graph is learned anew.
        width: channels of the network.
        cg_steps: of each solve.

    Shapes:
        - **seen:** a cloud of `nodes` nodes
        - **output:** `(nodes, 3)`, in the unit of `seen`
    """

    #: Neighbours of a node; the hops over which what the nodes look like is averaged.
    near, hops = 12, (1, 3)
    graph_features = 4

    def __init__(self, rounds: int, width: int, cg_steps: int) -> None:
        super().__init__()
        self.encode = PointMLP(NUM_FEATURES, width, num_layers=2, width=width)
        outputs = 2 * NUM_FITS + self.graph_features + 1
        looks = 1 + len(self.hops)
        self.decide = PointMLP(looks * width, outputs, num_layers=3, width=width)
        self.learner = MahalanobisLearner(self.graph_features, init=1.0)
        # untrained, a stage is a jet of the middle size
        share = torch.zeros(2, NUM_FITS)
        share[:, MIDDLE] = 0.5
        self.share = nn.Parameter(share.flatten())
        self.log_mu = nn.Parameter(torch.full((rounds,), math.log(3)))
        self.linear_solve = BoundedMomentum(cg_steps)

    def forward(self, seen: Described) -> Tensor:
        mix, features, strength = self.decide(self._look(seen)).split(
            [len(self.share), self.graph_features, 1], -1
        )
        x: Tensor = seen.x + ((self.share + mix).unsqueeze(-1) * seen.move).sum(-2)
        for log_mu in self.log_mu:
            x = self._solve(x, features, strength + log_mu)
        return x

    def _look(self, seen: Described) -> Tensor:
        """What a node looks like, and its surroundings nearer and farther."""
        topology = knn_graph(seen.x.detach(), self.near)
        look = self.encode(seen.features)
        degree = topology.degree(look.new_ones(topology.num_edges)).unsqueeze(-1)
        share, looks = safe_reciprocal(2 * degree), [look]
        for hop in range(1, 1 + max(self.hops)):
            look = share * topology.incident_sum(topology.ends_sum(look))
            looks += [look] if hop in self.hops else []
        return torch.cat(looks, -1)

    def _solve(self, z: Tensor, features: Tensor, strength: Tensor) -> Tensor:
        topology, normals = around_points(z.detach(), self.near)
        w = self.learner(features, topology).weight
        mu = (topology.ends_sum(strength) / 2).clamp(-6, 6).exp().squeeze(-1)
        prior = ChordGLR(Graph.unchecked(topology, mu * w), normals=normals)
        A, b = LeastSquares.unchecked(Identity(), z).system(prior.Q)
        x: Tensor = self.linear_solve(A, b, z)
        return x


class CloudDenoiser(nn.Module):
    r"""Fits of several sizes mixed by a network, then `ChordGLR` on a learned graph; in stages.

    $$z_i=x_i+\sum_sa_{is}d_{is},\qquad
      x=\arg\min_x\tfrac12\|x-z\|^2+\tfrac12\sum_{(i,j)}\mu_{ij}
      \bigl(m_{ij}^\top(x_i-x_j)\bigr)^2,\qquad
      \mu_{ij}=e^{(c_i+c_j)/2}\,w_{ij}$$

    $d_{is}$ leads from point $i$ to its plane or quadric $s$. Half of these go through the cloud so
    far, in the first stage the noisy one; the other half through the noisy points of neighbours and
    frames that the cloud so far gives. The mixture $a$, the strength $c$ and the features that the
    graph $w$ is drawn on come from one small network a stage, which sees what the fits say of a
    node and, on average, of its neighbours nearer and farther. The second equation is solved
    `rounds` times: the result takes the place of $z$, and neighbours and normals are found anew.

    Turning, moving or scaling a cloud does the same to the result. The strength of the noise is not
    asked for. Points move along their normals: where on the surface a point lay, nobody can tell.

    Args:
        stages: how often the cloud is described and mended, at least 1.
        rounds: how often a stage learns its graph anew, at least 1.
        width: channels of the networks, at least 1.
        cg_steps: of each solve, at least 1.

    Shapes:
        - **y:** `(nodes, 3)`, 192 nodes or more, in float32 or float64, whatever the network is in
        - **output:** `(nodes, 3)`, in the dtype of `y`

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

    def __init__(
        self, stages: int = 2, rounds: int = 2, width: int = 32, cg_steps: int = 8
    ) -> None:
        super().__init__()
        sizes = {"stages": stages, "rounds": rounds, "width": width, "cg_steps": cg_steps}
        for name, size in sizes.items():
            check_positive_count(size, name)
        self.sizes = sizes
        self.stages = nn.ModuleList(CloudStage(rounds, width, cg_steps) for _ in range(stages))

    @classmethod
    def load(cls, path: str | Path = WEIGHTS) -> CloudDenoiser:
        """A trained denoiser, in float32 and ready to use. Without a path the one of the package,
        whose card `gsp_unroll/weights/clouds/cloud.md` says what it was trained on and how good it
        is. Nothing is unpickled.

        Args:
            path: file that `save` wrote.

        Raises:
            FileNotFoundError: no such file.
            ValueError: a file that was cut short, or that something else wrote.

        Example:
            >>> from gsp_unroll.clouds import CloudDenoiser
            >>> CloudDenoiser.load().training
            False
        """
        tensors, metadata = read_tensors(path, FORMAT, ADVICE)
        try:
            sizes = json.loads(metadata["sizes"])
            check_state_fits(partial(cls, **sizes), {k: v.shape for k, v in tensors.items()})
            network = cls(**sizes)
            network.load_state_dict({k: v.float() for k, v in tensors.items()})
        except (KeyError, TypeError, ValueError, RuntimeError, RecursionError) as error:
            why = f"its weights do not fit a denoiser: {error}"
            raise foreign(path, why, FORMAT, ADVICE) from error
        return network.eval()

    def save(self, path: str | Path) -> None:
        """Writes the weights and the sizes, all or nothing.

        Args:
            path: file, usually `*.safetensors`.

        Raises:
            OSError: no room, or no right to write there.

        Example:
            >>> import tempfile
            >>> from pathlib import Path
            >>> from gsp_unroll.clouds import CloudDenoiser
            >>> path = Path(tempfile.mkdtemp()) / "mine.safetensors"
            >>> CloudDenoiser(stages=1, width=8).save(path)
            >>> CloudDenoiser.load(path).sizes
            {'stages': 1, 'rounds': 2, 'width': 8, 'cg_steps': 8}
        """
        tensors = {k: v.detach().contiguous() for k, v in self.state_dict().items()}
        write_tensors(Path(path), tensors, FORMAT, {"sizes": json.dumps(self.sizes)})

    def forward(self, y: Tensor) -> Tensor:
        """The cloud without its noise."""
        sigma = noise_in(y)
        # about the middle, where float32 has digits enough for coordinates of a map
        middle = y.mean(0)
        start = ((y - middle) / sigma).to(next(self.parameters()).dtype)
        x = start
        for stage in self.stages:
            x = stage(describe(x, start))
        return y + sigma * (x - start).to(y.dtype)

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={size}" for name, size in self.sizes.items())


def around_points(z: Tensor, k: int) -> tuple[Topology, Tensor]:
    """The graph to the `k` nearest of each point, and normals of planes through a few more."""
    fits = fit_surfaces(z, (min(k + 6, len(z)),))
    return knn_graph(z, k), fits.normal[:, 0]
