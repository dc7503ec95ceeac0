"""The networks of the paper, as published and with our forms of the solver."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from torch import nn
from torch.nn import functional

from .._typing import Signal
from ..features import GridCNN, Reach
from ..learners import MahalanobisLearner
from ..problems import DataTerm, start
from ..unroll import GLRUnroll, GTVLinearProgramUnroll, GTVUnroll, HeavyBall
from .block import UnrolledBlock
from .image import ImageNetwork
from .network import UnrolledNetwork

STAGES, HEADS, FEATURES, ITERATIONS, CG_STEPS = 5, 4, 12, 5, 10
METRIC = 1.5  # the factor of the metric starts at this times the identity, as published


class PublishedNetwork(ImageNetwork):
    """uGTV and uGLR of the paper: 5 stages of 4 learned graphs each.

    Every stage looks at the image through 4 convolutions of 48 maps, draws 4 graphs of 24
    neighbours on 12 features each, and solves on each: uGTV by 5 ADMM iterations of 10 steps, uGLR
    by 50 steps. The start is the tent-weighted mean of the samples in the 5x5 window.

    A stage of uGTV with 3 channels has 63 696 parameters in its convolutions, 576 in its metrics,
    400 in steps and momenta, 5 penalties, 4 weights of heads and 1 of the residual: 64 682. The
    last momentum of each heavy-ball solve is among them and is never read, as published: 20 of
    every stage of uGTV (5 solves, 4 heads), 4 of uGLR (one solve).

    Use the named constructors: `ugtv`, `uglr`, `ugtv_splitting`, `uglr_combinatorial`.

    Args:
        solver: makes the solver of a stage.
        normalization: what its learner does with the weights.
        channels: 3 for colours, 1 for luma.
        metric: the factor of each metric starts at this times the identity, above 0.

    Shapes:
        - **data.y:** `(*batch, observed pixels, channels)`, what its operator makes of the image
        - **output:** `(*batch, pixels, channels)`

    Raises:
        ValueError: on call, a `BayerMosaic` of another shape than the image's.

    Source:
        Do et al. 2024, section 6.1 and appendix A.8. Differs from it in: (1) the five scalars of
        each stage of its parameter count that no text explains; (2) convolutions pad with zeros, on
        which it is silent.

    Example:
        >>> from gsp_unroll.models import PublishedNetwork
        >>> sum(p.numel() for p in PublishedNetwork.ugtv().parameters())
        323410
    """

    start_reach = Reach(2)

    def __init__(
        self,
        solver: Callable[[], nn.Module],
        normalization: Literal["none", "row", "merged", "sym"],
        channels: int = 3,
        metric: float = METRIC,
    ) -> None:
        super().__init__(
            UnrolledNetwork(
                UnrolledBlock(
                    GridCNN(
                        channels,
                        HEADS * FEATURES,
                        num_layers=4,
                        width=48,
                        heads=HEADS,
                        activation=functional.relu,
                        padding="zeros",
                    ),
                    MahalanobisLearner(
                        FEATURES, heads=HEADS, init=metric, normalization=normalization
                    ),
                    solver(),
                    residual=0.95,
                )
                for _ in range(STAGES)
            )
        )

    @classmethod
    def ugtv(cls, channels: int = 3) -> PublishedNetwork:
        """UGTV as published: the linear program's ADMM by heavy-ball steps on both directions of
        every edge. 323 410 parameters, 319 090 for one channel."""
        return cls(
            lambda: GTVLinearProgramUnroll(ITERATIONS, CG_STEPS, heads=HEADS, solver=HeavyBall),
            "row",
            channels,
        )

    @classmethod
    def uglr(cls, channels: int = 3) -> PublishedNetwork:
        """UGLR as published: 50 heavy-ball steps with the normalised Laplacian. 323 385 parameters,
        319 065 for one channel."""
        return cls(
            lambda: GLRUnroll(
                ITERATIONS * CG_STEPS, heads=HEADS, normalization="sym", solver=HeavyBall
            ),
            "none",
            channels,
        )

    @classmethod
    def ugtv_splitting(cls, channels: int = 3) -> PublishedNetwork:
        """UGTV with this package's solver: the same objective and sizes, one penalty per edge,
        merged directions and bounded momentum. The fused kernels serve it."""
        return cls(lambda: GTVUnroll(ITERATIONS, CG_STEPS, heads=HEADS), "merged", channels)

    @classmethod
    def uglr_combinatorial(cls, channels: int = 3) -> PublishedNetwork:
        """UGLR with this package's solver: the combinatorial Laplacian, which keeps constants, and
        bounded momentum."""
        return cls(lambda: GLRUnroll(ITERATIONS * CG_STEPS, heads=HEADS), "merged", channels)

    def x0(self, data: DataTerm, shape: tuple[int, int]) -> Signal:
        return start(data, self.topology(shape), sweeps=1)
