"""What a network is a sequence of."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import nn

from .._typing import Signal
from ..features import Reach
from ..graph import Graph, Topology
from ..problems import DataTerm


class Stage(nn.Module, ABC):
    r"""One step of an `UnrolledNetwork`: from the signal so far to a better one,
    $x\leftarrow\mathrm{stage}(y, x)$.

    `UnrolledBlock` is the general one.

    Shapes:
        - **x, output:** `(*batch, nodes, channels)`

    Example:
        >>> import torch
        >>> from gsp_unroll import Graph, Interpolation, SamplingMask, UnrolledNetwork, path_graph
        >>> from gsp_unroll.features import Reach
        >>> from gsp_unroll.models import Stage
        >>> class Blend(Stage):
        ...     def forward(self, data, topology, x):
        ...         return data.feasible(0.5 * x)
        ...
        ...     def graph(self, x, topology):
        ...         return Graph(topology, topology.tent(x))
        ...
        ...     def reach(self, radius):
        ...         return Reach(0)
        >>> y = torch.tensor([[1.0], [torch.nan], [1.0]])
        >>> network = UnrolledNetwork([Blend()])
        >>> network(Interpolation(SamplingMask(~y.isnan()), y), path_graph(3)).flatten()
        tensor([1.0000, 0.5000, 1.0000])
    """

    @abstractmethod
    def forward(self, data: DataTerm, topology: Topology, x: Signal) -> Signal:
        """The signal after this stage.

        Args:
            data: observation; stays the same through all stages.
            topology: the edges among which the graph is drawn.
            x: the signal so far.
        """

    @abstractmethod
    def graph(self, x: Signal, topology: Topology) -> Graph:
        """The graph, or one per head, that this stage draws on the signal `x`."""

    @abstractmethod
    def reach(self, radius: int) -> Reach:
        """How far the stage looks, on a grid whose edges span at most `radius` rows or columns:
        the margin that `restore_tiled` gives a tile.

        Args:
            radius: half the window of the grid.

        Raises:
            ValueError: a part whose reach is not known.
        """
