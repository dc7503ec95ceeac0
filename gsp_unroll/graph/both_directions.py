"""Each undirected edge as two directed ones: the paper's 2M rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from .._checks import mistake
from .._typing import EdgeSignal, Signal, Weight
from .systems import Systems
from .topology import Topology


@dataclass(frozen=True, eq=False)
class BothDirections(Topology):
    r"""The directed topology of an undirected one: edge $e$ and, $M$ places later, its reverse.

    A row-normalised weight matrix is not symmetric, $\bar w_{ij}\ne\bar w_{ji}$, so it needs
    $2M$ rows (Do et al. 2024, section 5.2). This wrapper gives them to any undirected structure.

    Args:
        undirected: the topology whose edges are doubled.

    Raises:
        ValueError: the topology is already directed.

    Example:
        >>> from gsp_unroll import path_graph
        >>> path_graph(3).both_directions().edge_index
        tensor([[0, 1, 2, 1, 2, 2],
                [1, 2, 2, 0, 1, 2]])
    """

    undirected: Topology
    directed: ClassVar[bool] = True  # type: ignore[misc]

    def __post_init__(self) -> None:
        if self.undirected.directed:
            raise mistake(
                "a topology that is already directed",
                "an undirected topology, each edge stored once",
                "Use the directed topology as it is.",
            )

    @property
    def num_nodes(self) -> int:
        return self.undirected.num_nodes

    @property
    def num_edges(self) -> int:
        return 2 * self.undirected.num_edges

    @property
    def edge_index(self) -> Tensor:
        e = self.undirected.edge_index
        return torch.cat([e, e.flip(0)], 1)

    @property
    def edge_mask(self) -> Tensor:
        return self.undirected.edge_mask.repeat(2)

    @property
    def lattice(self) -> tuple[int, ...] | None:
        return self.undirected.lattice

    @property
    def systems(self) -> Systems:
        return self.undirected.systems

    def tent(self, reference: Tensor) -> Weight:
        return self.undirected.tent(reference).repeat(2)

    def to(self, device: torch.device | str) -> BothDirections:
        return BothDirections(self.undirected.to(device))

    def mask_edges(self, w: Weight) -> Weight:
        forth, back = w.tensor_split(2, -1)
        return self.doubled(self.undirected.mask_edges(forth), self.undirected.mask_edges(back))

    def check_device(self, x: Tensor, name: str) -> None:
        self.undirected.check_device(x, name)

    def lift(self, x: Signal) -> tuple[EdgeSignal, EdgeSignal]:
        x_tail, x_head = self.undirected.lift(x)
        return torch.cat([x_tail, x_head], -2), torch.cat([x_head, x_tail], -2)

    def tail_sum(self, z: EdgeSignal) -> Signal:
        self.check_edge_signal(z)
        forth, back = z.tensor_split(2, -2)
        return self.undirected.tail_sum(forth) + self.undirected.head_sum(back)

    def head_sum(self, z: EdgeSignal) -> Signal:
        self.check_edge_signal(z)
        forth, back = z.tensor_split(2, -2)
        return self.undirected.head_sum(forth) + self.undirected.tail_sum(back)

    def gradient(self, x: Signal) -> EdgeSignal:
        difference = self.undirected.gradient(x)
        return torch.cat([difference, -difference], -2)

    def divergence(self, z: EdgeSignal) -> Signal:
        self.check_edge_signal(z)
        forth, back = z.tensor_split(2, -2)
        return self.undirected.divergence(forth - back)

    def _laplacian(self, w: Weight, x: Signal) -> Signal:
        # the two rows of an edge are parallel, so their weights add
        return self.undirected._laplacian(self.merged(w), x)

    def _edge_energy(self, x: Signal, g: Signal) -> Weight:
        energy = self.undirected._edge_energy(x, g)
        return self.doubled(energy, energy)

    def update_edges(self, learner: object, features: Signal) -> Tensor:
        forth = self.undirected.update_edges(learner, features)
        back = self.undirected.update_edges(_Swapped(learner), features)
        return self.doubled(forth, back)

    @staticmethod
    def doubled(forth: Weight, back: Weight) -> Weight:
        """Weights of both directions on the doubled edge axis."""
        return torch.cat([forth, back], -1)

    @staticmethod
    def merged(w: Weight) -> Weight:
        """`w_ij + w_ji` on the undirected edges."""
        forth, back = w.tensor_split(2, -1)
        return forth + back


class _Swapped:
    """A learner that sees every edge from its other end."""

    def __init__(self, learner: object) -> None:
        self.learner = learner

    def edge_updater(self, edge_index: Tensor, features: Signal) -> Tensor:
        return self.learner.edge_updater(edge_index.flip(0), features=features)  # type: ignore[attr-defined, no-any-return]

    def edge_update(self, features_i: EdgeSignal, features_j: EdgeSignal) -> Tensor:
        return self.learner.edge_update(features_j, features_i)  # type: ignore[attr-defined, no-any-return]
