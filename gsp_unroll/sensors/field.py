"""A field over a region as a random signal on a learned graph, and what is likely of it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .._checks import (
    check_count,
    check_positive,
    check_readings,
    check_same_kind,
    check_signal,
    mistake,
)
from .._typing import Signal
from ..graph import Graph, Topology, safe_reciprocal
from ..learners import GraphLearner
from ..operators import Laplacian

#: Nodes up to which dense matrices are made; 4000 take 128 MB each in float64.
MAX_NODES = 4000
#: Standard deviation of the logarithm of a scale, before anything is read.
SPREAD = 0.7


@dataclass(frozen=True, eq=False)
class Estimate:
    """A field as it is likely to be.

    Args:
        x: expected value.
        deviation: standard deviation of the truth around it: about two thirds lie within one, and
            95 % within two, as far as the model holds.
        log_likelihood: of the readings.

    Shapes:
        - **x, deviation:** `(*batch, nodes, channels)`
        - **log_likelihood:** `(*batch, channels)`

    Example:
        >>> import torch
        >>> from gsp_unroll.sensors import Estimate
        >>> found = Estimate(torch.tensor([[20.0]]), torch.tensor([[1.5]]), torch.tensor([-3.0]))
        >>> low, high = found.x - 2 * found.deviation, found.x + 2 * found.deviation
        >>> low.item(), high.item()  # 95 % of the truth, as far as the model holds
        (17.0, 23.0)
    """

    x: Signal
    deviation: Signal
    log_likelihood: Tensor


class GraphField(nn.Module):
    r"""A trend and a signal that is smooth on a learned graph.

    $$x=a\mathbf 1+Fb+z+g,\qquad z\sim\mathcal N\big(0,\,s\tau^2(L+\delta I)^{-1}\big),\quad
      b\sim\mathcal N(\bar b,\Lambda),\quad g\sim\mathcal N(0,s\gamma^2I),\qquad
      y=Hx+n,\quad n\sim\mathcal N(0,\sigma^2I).$$

    $z$ is the GLR as a probability, $-\log p(z)=\tfrac1{2s\tau^2}z^\top(L+\delta I)z+\ldots$: with
    no trend, $\delta\to0$ and $\gamma\to0$, the expected value is the minimiser of
    $\tfrac12\|y-Hx\|^2+\tfrac\mu2x^\top Lx$ with $\mu=\sigma^2/s\tau^2$. What the probability adds
    is a deviation for every node, and a likelihood, by which everything is learned that has no
    label: the metric of the graph, the trend that can be expected, and how much each part counts.
    $g$ is what a place has for itself. The level $a$ is free: it is not shrunk, and the likelihood
    is that of the readings beside it.

    All of it is learned with `log_likelihood` on signals with gaps. The scale $s$ of a new signal,
    near 1 on those it was learned from, is found by its own likelihood.

    Args:
        learner: draws the graph, without heads.
        num_regressors: columns of $F$, beside the level $a$.
        strength: initial $\tau^2$, above 0.
        own: initial $\gamma^2$, above 0.

    Shapes:
        - **y:** `(*batch, nodes, channels)`, NaN where no sensor is; each channel is a field of its
          own
        - **features:** `(nodes, D)`
        - **regressors:** `(nodes, num_regressors)`; near unit size

    Matrices are dense and in float64 whatever the dtype of `y`: up to 4000 nodes. For more solve
    the GLR with `ConjugateGradient`.

    Raises:
        ValueError: a learner with heads, a number below 0; on call: another number of nodes or
            regressors, more than 4000 nodes, infinite readings, regressors or features that are
            not finite.

    Source:
        Rue and Held 2005, Gaussian Markov Random Fields, chapter 2; the trend is that of universal
        kriging.

    Example:
        >>> import torch
        >>> from gsp_unroll import MahalanobisLearner, path_graph
        >>> from gsp_unroll.sensors import GraphField
        >>> field = GraphField(MahalanobisLearner(1, normalization="none"))
        >>> y = torch.tensor([[1.0], [torch.nan], [3.0]])
        >>> with torch.no_grad():
        ...     estimate = field(y, torch.zeros(3, 1), path_graph(3))
        >>> estimate.x.flatten().round(decimals=1)
        tensor([1., 2., 3.])
        >>> estimate.deviation.flatten() > 0.1  # where it is known it is sure
        tensor([False,  True, False])
    """

    def __init__(
        self,
        learner: GraphLearner,
        num_regressors: int = 0,
        *,
        strength: float = 1.0,
        own: float = 0.1,
    ) -> None:
        super().__init__()
        if learner.heads is not None:
            raise mistake(
                f"a learner with heads={learner.heads}",
                "one graph",
                "Build the learner without heads.",
            )
        check_count(num_regressors, "num_regressors")
        check_positive(strength, "strength")
        check_positive(own, "own")
        self.learner, self.num_regressors = learner, num_regressors
        self.log_strength = nn.Parameter(torch.tensor(math.log(strength)))
        self.log_own = nn.Parameter(torch.tensor(math.log(own)))
        self.log_delta = nn.Parameter(torch.tensor(-6.0))
        self.slope = nn.Parameter(torch.zeros(num_regressors))
        self.log_slope_variance = nn.Parameter(torch.ones(num_regressors))

    def forward(
        self,
        y: Signal,
        features: Signal,
        topology: Topology,
        regressors: Signal | None = None,
        sigma: float = 0.0,
        scale: Tensor | None = None,
    ) -> Estimate:
        r"""The field, and how sure it is.

        Args:
            y: readings, NaN where there are none.
            features: what the graph is drawn on.
            topology: edges among which it is drawn.
            regressors: $F$.
            sigma: standard deviation of the noise on readings, 0 or more.
            scale: $s$, `(*batch, channels)`; None for the likeliest, see `likeliest_scale`.
        """
        model = self._model(y, features, topology, regressors)
        if scale is None:
            scale = _likeliest_scale(y, model, sigma, SPREAD)
        posterior = _Posterior(y, *model, scale, sigma)
        x, deviation = posterior.moments()
        return Estimate(x, deviation, posterior.log_likelihood)

    def log_likelihood(
        self,
        y: Signal,
        features: Signal,
        topology: Topology,
        regressors: Signal | None = None,
        sigma: float = 0.0,
        scale: float | Tensor = 1.0,
    ) -> Tensor:
        """Of each field, `(*batch, channels)`: what training maximises. Arguments as above."""
        model = self._model(y, features, topology, regressors)
        return _Posterior(y, *model, scale, sigma).log_likelihood

    @torch.no_grad()
    def likeliest_scale(
        self,
        y: Signal,
        features: Signal,
        topology: Topology,
        regressors: Signal | None = None,
        sigma: float = 0.0,
        spread: float = SPREAD,
    ) -> Tensor:
        r"""The $s$ between 1/12 and 12 of largest likelihood times that of $\log s$ itself, which
        is normal around 0: `(*batch, channels)`.

        Args:
            y: readings, NaN where there are none.
            features: what the graph is drawn on.
            topology: edges among which it is drawn.
            regressors: $F$.
            sigma: standard deviation of the noise on readings, 0 or more.
            spread: standard deviation of $\log s$, above 0.
        """
        check_positive(spread, "spread")
        return _likeliest_scale(y, self._model(y, features, topology, regressors), sigma, spread)

    def graph(self, features: Signal, topology: Topology) -> Graph:
        """The learned graph."""
        graph: Graph = self.learner(features, topology)
        return graph

    def _model(
        self, y: Signal, features: Signal, topology: Topology, regressors: Signal | None
    ) -> _Model:
        """Expected value `(nodes, 1)`, covariance of the trend, and of the rest at scale 1."""
        n = topology.num_nodes
        if n > MAX_NODES:
            raise mistake(
                f"{n} nodes",
                f"at most {MAX_NODES}",
                "Solve the GLR with ConjugateGradient instead.",
            )
        check_signal(y, n, "observation")
        check_readings(y, "an observation")
        check_signal(features, n, "feature")
        check_same_kind(features, y, "features", "the readings")
        F = torch.zeros(n, 0).to(y) if regressors is None else regressors
        check_signal(F, n, "regressor")
        check_same_kind(F, y, "regressors", "the readings")
        if F.shape[-1] != self.num_regressors:
            raise mistake(
                f"{F.shape[-1]} regressors",
                f"{self.num_regressors}, as the field was built for",
                "Give one column for each.",
            )
        for name, value in (("features", features), ("regressors", F)):
            if not bool(value.isfinite().all()):
                raise mistake(
                    f"{name} that are NaN or infinite",
                    "finite ones at every node",
                    "Drop the nodes whose place is not known.",
                )
        graph = self.graph(features, topology)
        eye = torch.eye(n).to(y.device, torch.float64)
        L = Laplacian(graph.to(torch.float64)) @ eye
        smooth = self.log_strength.double().exp() * torch.cholesky_inverse(
            torch.linalg.cholesky(L + self.log_delta.double().exp() * eye)
        )
        F, slope = F.double(), self.slope.double().unsqueeze(-1)
        trend = (F * self.log_slope_variance.double().exp()) @ F.mT
        return F @ slope, trend, smooth + self.log_own.double().exp() * eye


#: Expected value, covariance of the trend, and of the rest at scale 1.
_Model = tuple[Tensor, Tensor, Tensor]


@torch.no_grad()
def _likeliest_scale(y: Signal, model: _Model, sigma: float, spread: float) -> Tensor:
    scales = torch.linspace(-2.5, 2.5, 21, dtype=torch.float64, device=y.device).exp()
    scores = []
    for scale in scales:
        likelihood = _Posterior(y, *model, scale, sigma).log_likelihood
        scores.append(likelihood - (scale.log() / spread) ** 2 / 2)
    return scales[torch.stack(scores).argmax(0)]


class _Posterior:
    """The readings, and what they say. Per channel: `(*batch, channels, nodes, ...)`.

    Nodes without reading stay in the matrices, as readings of 0 that nothing depends on.
    """

    def __init__(
        self,
        y: Signal,
        mean: Tensor,
        trend: Tensor,
        rest: Tensor,
        scale: float | Tensor,
        sigma: float,
    ) -> None:
        if not 0 <= sigma < math.inf:
            raise mistake(
                f"sigma={sigma!r}",
                "a finite number of 0 or more",
                "0 is for readings without noise.",
            )
        scale = torch.as_tensor(scale).to(rest)
        self.dtype, self.mean, self.known = y.dtype, mean.mT, (~y.isnan()).mT
        self.covariance = trend + scale[..., None, None] * rest
        both = self.known.unsqueeze(-1) & self.known.unsqueeze(-2)
        noise = torch.where(self.known, sigma**2, 1.0).to(rest)
        readings = torch.where(both, self.covariance, 0) + noise.diag_embed()
        self.factor = torch.linalg.cholesky(readings)
        self.ones = self._white(self.known.to(rest).unsqueeze(-1)).squeeze(-1)
        off = torch.where(self.known, (y.double() - mean).mT, 0)
        off = self._white(off.unsqueeze(-1)).squeeze(-1)
        # the level that is likeliest, and how much the readings know of it; none of none
        self.certainty = self.ones.square().sum(-1, keepdim=True)
        self.level = (off * self.ones).sum(-1, keepdim=True) * safe_reciprocal(self.certainty)
        self.off = off - self.level * self.ones

    @property
    def log_likelihood(self) -> Tensor:
        """Of what the readings are beside their level, which is free."""
        log_det = 2 * self.factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        certainty = self.certainty.squeeze(-1)
        log_det = log_det + torch.where(certainty > 0, certainty, 1).log()
        free = (self.known.sum(-1) - 1).clamp(min=0)
        total: Tensor = self.off.square().sum(-1) + log_det + free * math.log(2 * math.pi)
        return -total.to(self.dtype) / 2

    def moments(self) -> tuple[Signal, Signal]:
        """Expected value and deviation; without any reading the trend, and infinite."""
        to_known = torch.where(self.known.unsqueeze(-1), self.covariance, 0)
        gain = self._white(to_known)
        x = self.mean + self.level + (gain.mT @ self.off.unsqueeze(-1)).squeeze(-1)
        left = 1 - (gain.mT @ self.ones.unsqueeze(-1)).squeeze(-1)  # of a level that is wrong by 1
        variance = self.covariance.diagonal(dim1=-2, dim2=-1) - gain.square().sum(-2)
        variance = variance + left.square() * safe_reciprocal(self.certainty)
        # what rounding leaves of 0 at a reading without noise may be negative
        deviation = variance.clamp(min=0).sqrt()
        deviation = torch.where(self.certainty > 0, deviation, torch.inf)
        return x.mT.to(self.dtype), deviation.mT.to(self.dtype)

    def _white(self, columns: Tensor) -> Tensor:
        """What is left of columns once the readings are made independent, of variance 1."""
        white: Tensor = torch.linalg.solve_triangular(
            self.factor, columns.expand_as(self.factor[..., : columns.shape[-1]]), upper=False
        )
        return white
