"""The successor of the published networks: one look at half resolution, then the graph."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from .._checks import check_positive_count, mistake
from .._typing import Signal
from ..features import Reach, reach_of
from ..features._layers import check_input
from ..features.on_grid import as_image, as_signal, image_shape
from ..graph import Graph, Topology
from ..learners import DotProductLearner, GraphLearner, MahalanobisLearner, full_precision
from ..operators import BayerMosaic
from ..problems import DataTerm, Interpolation, LeastSquares, start
from ..unroll import GLRUnroll, GTVUnroll
from .demosaic import bilinear, green_first
from .heads import HeadMixture, check_heads, solve_heads
from .image import ImageNetwork
from .network import UnrolledNetwork
from .reach import num_products, reach_of_solve
from .stage import Stage

CELL = 2  # pixels along the side of the array's repeating pattern


class ResidualConvolutions(nn.Module):
    r"""$h\leftarrow h+K_2*\sigma(K_1*h)$, two 3x3 convolutions with $\sigma$ a leaky ReLU."""

    reach = Reach(2)

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, h: Tensor) -> Tensor:
        change: Tensor = self.second(functional.leaky_relu(self.first(h), 0.1))
        return h + change


class MosaicStage(Stage):
    r"""One look gives both: a proposal for the image, and the features its graphs are drawn on.

    $$(\delta,f)=\mathrm{look}(x),\qquad \bar x=x+\delta,\qquad
      x\leftarrow\bar x+\sum_hc_h\,\mathrm{solve}\big(y-H\bar x,\;G_h(f_h)\big).$$

    The look is at half resolution: the four pixels of a 2x2 cell are channels, so that each
    position of the filter array has weights of its own, at a quarter of the cost. An odd row or
    column is repeated once to fill its cell.

    Without a graph exact samples are put back into $\bar x$, noisy ones are left: the control that
    says what the graph adds. Of the 12 channels that it proposes 4 lie on samples and are without
    effect there.

    Args:
        channels: of the image.
        width: channels of the convolutions.
        depth: pairs of convolutions.
        graph: the learner, which draws one graph per head, and a solver of as many heads; None for
            the control.

    Shapes:
        - **x, output:** `(*batch, pixels, channels)`

    Raises:
        ValueError: fewer than 2 heads, or a solver of another number; on call, a signal of other
            channels, nodes, dtype or device than the stage's.

    Example:
        >>> import torch
        >>> from gsp_unroll import GTVUnroll, Interpolation, MahalanobisLearner, SamplingMask
        >>> from gsp_unroll import grid_graph
        >>> from gsp_unroll.models import MosaicStage
        >>> graph = MahalanobisLearner(4, heads=2), GTVUnroll(1, 2, heads=2)
        >>> stage = MosaicStage(channels=1, width=8, depth=1, graph=graph)
        >>> data = Interpolation(SamplingMask(torch.rand(20) < 0.5), torch.rand(20, 1))
        >>> stage(data, grid_graph((4, 5), window=3), torch.rand(20, 1)).shape
        torch.Size([20, 1])
    """

    def __init__(
        self,
        channels: int,
        width: int,
        depth: int,
        graph: tuple[GraphLearner, nn.Module] | None,
    ) -> None:
        super().__init__()
        for name, count in (("channels", channels), ("width", width), ("depth", depth)):
            check_positive_count(count, name)
        pixels = CELL**2
        self.channels = channels
        self.enter = nn.Conv2d(channels * pixels, width, 3, padding=1)
        self.look = nn.Sequential(*(ResidualConvolutions(width) for _ in range(depth)))
        # no bias behind either: the solve takes out a constant of the first, distances that of the
        # second
        self.propose = nn.Conv2d(width, channels * pixels, 3, padding=1, bias=False)
        nn.init.zeros_(self.propose.weight)  # training starts from x
        self.heads = None
        if graph is not None:
            self.learner, self.solver = graph
            check_heads(self.learner, self.solver)
            heads = self.learner.heads
            if heads is None or heads < 2:
                raise mistake(f"heads={heads}", "at least 2", "Their results are averaged.")
            self.heads = heads
            num_features = pixels * heads * self.learner.num_features
            self.attend = nn.Conv2d(width, num_features, 1, bias=False)
            self.mixture = HeadMixture(heads)

    def forward(self, data: DataTerm, topology: Topology, x: Signal) -> Signal:
        h = self.hidden(x, topology)
        base = x + self._at_pixels(self.propose(h), topology, x)
        if self.heads is None:
            return data.feasible(base)
        features = self._features(h, topology, x)
        with full_precision(x):
            misfit = data.around(base)
            x0 = start(misfit, topology, sweeps=1).unsqueeze(-3)
        each = topology, features, x0, self.learner, self.solver, self.mixture
        return base + solve_heads(misfit.per_head(), *each)

    def hidden(self, x: Signal, topology: Topology) -> Tensor:
        """What the look sees of `x`: `(batch, width, cells down, cells across)`."""
        check_input(x, self.channels, topology.num_nodes, self, "channels")
        image = as_image(x, image_shape(topology))
        height, width = image.shape[-2:]
        if height % CELL or width % CELL:
            image = functional.pad(image, (0, width % CELL, 0, height % CELL), mode="replicate")
        cells = functional.pixel_unshuffle(image, CELL)
        h: Tensor = self.look(self.enter(cells.contiguous(memory_format=torch.channels_last)))
        return h

    def graph(self, x: Signal, topology: Topology) -> Graph:
        """The graphs, one per head, that this stage draws on the signal `x`."""
        if self.heads is None:
            raise mistake(
                "a stage made without a graph", "one that draws graphs", "Make it with graph=(...)."
            )
        features = self._features(self.hidden(x, topology), topology, x)
        graph: Graph = self.learner(features, topology)
        return graph

    def _features(self, h: Tensor, topology: Topology, x: Signal) -> Signal:
        """What the graphs are drawn on: `(*batch, heads, pixels, features)`."""
        f = self._at_pixels(self.attend(h), topology, x)
        dealt: Tensor = f.unflatten(-1, (self.heads, -1))
        return dealt.movedim(-2, -3)

    def _at_pixels(self, cells: Tensor, topology: Topology, x: Signal) -> Signal:
        """Channels of cells as a signal on pixels, in the dtype of `x`."""
        height, width = image_shape(topology)
        image = functional.pixel_shuffle(cells, CELL)[..., :height, :width]
        return as_signal(image, tuple(x.shape[:-2])).to(x.dtype)

    def reach(self, radius: int) -> Reach:
        # each convolution sees one cell further, and a pixel may be the last of its own
        convolutions = (self.enter, self.look, self.propose)
        cells = sum(map(reach_of, convolutions), Reach(0)).pixels
        look = Reach(CELL * cells + CELL - 1, CELL)
        if self.heads is None:
            return look
        through_graph = reach_of_solve(self.learner, self.solver, radius)
        through_data = Reach((num_products(self.solver) + 1) * radius)  # 1: start
        return look + Reach(max(through_graph.pixels, through_data.pixels))


class MosaicNetwork(ImageNetwork):
    """Restores what was sampled in a pattern of 2x2 pixels: a mosaic, or a decimated image.

    $x^0$ interpolates colour differences (`green_first` of the bilinear start), or the one channel.
    Residual convolutions on 2x2 cells then propose a correction and draw `heads` graphs, on which
    an unrolled GTV spreads the misfit of the proposal at the samples, see `MosaicStage`. The
    samples come back as they were.

    Args:
        stages: stages in sequence, each with parameters of its own.
        channels: 3 for a Bayer mosaic; 1 for an image of which every second pixel of every second
            row is known.
        width: channels of the convolutions.
        depth: pairs of convolutions in a stage.
        heads: graphs of a stage, at least 2.
        features: length of a feature vector.
        num_iterations: ADMM iterations of a solve.
        cg_steps: steps of each linear solve.
        prior: `"gtv"`, or `"glr"` for the Laplacian regulariser, solved in `num_iterations` times
            `cg_steps` steps.
        weights: `"merged"`, Mahalanobis weights, each pixel's divided by their sum and both
            directions of a pair added; `"none"` and `"sym"`, symmetric ones as they are and scaled
            by the degrees; `"attention"`, dot products under a softmax, both directions added. None
            for `"merged"`, or with `noisy` for `"none"`: the strength of the prior must be free to
            follow the noise.
        window: neighbourhood of a pixel, odd.
        graph: False for the control, the same convolutions with no graph behind.
        noisy: True for samples with noise, of any strength up to that of the training: the data
            are then `LeastSquares`, and samples do not come back as they were.

    Shapes:
        - **data.y:** `(*batch, observed pixels, 1)`; in a mosaic the top left pixels are red,
          green, green, blue
        - **output:** `(*batch, pixels, channels)`

    Raises:
        ValueError: fewer than 2 heads with a graph; an unknown `prior` or `weights`; a count below
            1; on call, a `BayerMosaic` of another phase or shape.

    Example:
        >>> import torch
        >>> from gsp_unroll import BayerMosaic, Interpolation
        >>> from gsp_unroll.models import MosaicNetwork
        >>> H = BayerMosaic(8, 8)
        >>> network = MosaicNetwork(width=8, depth=1)
        >>> network(Interpolation(H, torch.rand(2, 64, 1)), (8, 8)).shape
        torch.Size([2, 64, 3])
    """

    start_reach = Reach(2)

    def __init__(
        self,
        stages: int = 1,
        *,
        channels: int = 3,
        width: int = 64,
        depth: int = 4,
        heads: int = 2,
        features: int = 4,
        num_iterations: int = 2,
        cg_steps: int = 4,
        prior: Literal["gtv", "glr"] = "gtv",
        weights: Literal["merged", "none", "sym", "attention"] | None = None,
        window: int = 5,
        graph: bool = True,
        noisy: bool = False,
    ) -> None:
        for name, value, known in (
            ("prior", prior, ("gtv", "glr")),
            ("weights", weights, (None, "merged", "none", "sym", "attention")),
        ):
            if value not in known:
                raise mistake(
                    f"{name}={value!r}", f"one of {known}", "See MosaicNetwork for what each is."
                )

        def learner() -> GraphLearner:
            if weights == "attention":
                return DotProductLearner(features, heads=heads)
            kind = weights or ("none" if noisy else "merged")
            return MahalanobisLearner(features, heads=heads, normalization=kind)

        def solver() -> nn.Module:
            scale = 1.0 if noisy else None  # of the prior against the samples, learned
            # thresholds for what a good proposal leaves over, a tenth of a whole signal's; with
            # noise ten times that, or the samples outweigh 24 neighbours whatever their weights
            lam = 0.03 if noisy else 0.003
            if prior == "glr":
                return GLRUnroll(num_iterations * cg_steps, heads=heads, mu=scale)
            return GTVUnroll(num_iterations, cg_steps, heads=heads, lam=lam, rho=scale)

        super().__init__(
            UnrolledNetwork(
                MosaicStage(channels, width, depth, (learner(), solver()) if graph else None)
                for _ in range(stages)
            ),
            window,
        )
        self.channels = channels
        self.data_term = LeastSquares if noisy else Interpolation

    def _check(self, data: DataTerm, shape: tuple[int, int]) -> None:
        super()._check(data, shape)
        if isinstance(data.H, BayerMosaic) and data.H.phase != "RGGB":
            raise mistake(
                f"a mosaic of phase {data.H.phase}",
                "RGGB, the one that this network has learned",
                "Use restore_mosaic(network, mosaic, pattern), which takes all four.",
            )

    def x0(self, data: DataTerm, shape: tuple[int, int]) -> Signal:
        """Colour differences, or the one channel, filled from their neighbours; samples kept."""
        if self.channels == 1:
            return bilinear(data, shape)
        return green_first(lambda d: bilinear(d, shape), data)
