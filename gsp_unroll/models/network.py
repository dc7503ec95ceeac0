"""Stages in sequence: each draws its graph on what the one before has restored."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import cast

from torch import nn

from .._checks import mistake
from .._typing import Signal
from ..graph import Topology
from ..problems import DataTerm, start
from ..unroll.parameters import last
from .stage import Stage


class UnrolledNetwork(nn.Module):
    r"""A restoration network: $x^0=\mathrm{start}(y)$, then $x^{t+1}=\mathrm{block}_t(y, x^t)$.

    Every block re-learns its graph from the signal so far and solves again for the same
    observation.

    Args:
        blocks: the stages, at least one, each with parameters of its own.

    Shapes:
        - **data.y:** `(*batch, observed nodes, channels)`
        - **output:** `(*batch, nodes, channels)`

    Raises:
        ValueError: no block.

    Source:
        Do et al. 2024, figure 1.

    Example:
        >>> import torch
        >>> from gsp_unroll import GTVUnroll, GridCNN, Interpolation, MahalanobisLearner
        >>> from gsp_unroll import SamplingMask, UnrolledBlock, UnrolledNetwork, grid_graph
        >>> block = UnrolledBlock(
        ...     GridCNN(1, 8, heads=2),
        ...     MahalanobisLearner(4, heads=2),
        ...     GTVUnroll(num_iterations=2, cg_steps=4, heads=2),
        ... )
        >>> y, mask = torch.rand(3, 36, 1), torch.rand(36) < 0.5
        >>> data = Interpolation(SamplingMask(mask), y)
        >>> UnrolledNetwork([block])(data, grid_graph((6, 6), window=5)).shape
        torch.Size([3, 36, 1])
    """

    def __init__(self, blocks: Iterable[Stage]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        if not self.blocks:
            raise mistake("no block", "at least one", "Pass a list of stages.")

    @property
    def stages(self) -> Sequence[Stage]:
        """The blocks, in order."""
        return [cast(Stage, block) for block in self.blocks]

    def iterates(
        self, data: DataTerm, topology: Topology, x0: Signal | None = None
    ) -> Iterator[Signal]:
        """The signal after each stage."""
        x = start(data, topology) if x0 is None else x0
        for stage in self.stages:
            x = stage(data, topology, x)
            yield x

    def forward(self, data: DataTerm, topology: Topology, x0: Signal | None = None) -> Signal:
        """The restored signal.

        Args:
            data: observation.
            topology: the edges among which graphs are drawn.
            x0: start; by default the samples with the gaps filled from neighbours.
        """
        return last(self.iterates(data, topology, x0))
