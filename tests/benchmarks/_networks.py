"""The networks whose speed is looked at; their weights are random, their borders zeros."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from gsp_unroll import (
    BayerMosaic,
    DemosaicNetwork,
    GridCNN,
    GridUNet,
    GTVUnroll,
    Interpolation,
    MahalanobisLearner,
    UnrolledBlock,
    UnrolledNetwork,
)

HEADS, FEATURES, STAGES = 4, 4, 5


def large() -> DemosaicNetwork:
    """A U-Net of 80 344 parameters for each stage, 402 660 in all."""
    return _of(lambda: GridUNet(3, HEADS * FEATURES, heads=HEADS, padding="zeros"))


def small() -> DemosaicNetwork:
    """Three convolutions at full resolution for each stage, about 55 000 parameters in all."""
    return _of(
        lambda: GridCNN(3, HEADS * FEATURES, num_layers=3, width=26, heads=HEADS, padding="zeros")
    )


def _of(features: Callable[[], nn.Module]) -> DemosaicNetwork:
    """Demosaicking by 5 stages of 5 ADMM x 5 CG steps, 24 neighbours."""
    network = DemosaicNetwork()
    network.network = UnrolledNetwork(
        UnrolledBlock(
            features(),
            MahalanobisLearner(FEATURES, heads=HEADS),
            GTVUnroll(5, 5, heads=HEADS),
        )
        for _ in range(STAGES)
    )
    return network


def mosaic(shape: tuple[int, int], images: int) -> tuple[Interpolation, Tensor]:
    """Bayer samples of random images, and the images."""
    truth = torch.rand(images, shape[0] * shape[1], 3)
    H = BayerMosaic(*shape)
    return Interpolation(H, H @ truth), truth
