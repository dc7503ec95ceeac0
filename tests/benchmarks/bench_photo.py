"""A photograph demosaicked by a whole network, against a network of convolutions alone."""

import sys
from collections.abc import Callable, Mapping
from types import ModuleType

import _networks
import torch
from _race import OURS, Candidate, Claim, Missing, Options, Race, Target, main
from torch import nn

PEER = "demosaicnet, 561 k parameters"
FULL_PRECISION = "gsp_unroll, convolutions in float32"
HOW = "pip install --no-deps demosaicnet wget"


def demosaicnet() -> nn.Module:
    """Its Bayer network with the weights that it ships."""
    if "pkg_resources" not in sys.modules:
        try:
            import pkg_resources  # noqa: F401
        except (
            ImportError
        ):  # gone from setuptools; all that is asked of it is where the weights are
            sys.modules["pkg_resources"] = _resources()
    try:
        from demosaicnet import BayerDemosaick
    except ImportError as error:
        raise Missing(f"demosaicnet cannot be imported ({error}); {HOW}") from error
    network: nn.Module = BayerDemosaick().eval()
    return network


def _resources() -> ModuleType:
    from importlib.util import find_spec
    from pathlib import Path

    def resource_filename(module: str, name: str) -> str:
        spec = find_spec(module)
        if spec is None or spec.origin is None:
            raise ImportError(module)
        return str(Path(spec.origin).parent / name)

    stub = ModuleType("pkg_resources")
    stub.resource_filename = resource_filename  # type: ignore[attr-defined]
    return stub


def build(options: Options) -> Mapping[str, Race]:
    shape = options.size((512, 768), (64, 96))
    data, _ = _networks.mosaic(shape, images=1)
    planes = data.backprojected.mT.reshape(1, 3, *shape).contiguous()

    def ours(make: Callable[[], nn.Module], dtype: torch.dtype | None) -> Candidate:
        network = make().eval()

        def run() -> object:
            with torch.no_grad(), torch.autocast("cpu", dtype, enabled=dtype is not None):
                return network(data, shape)

        count = sum(p.numel() for p in network.parameters())
        return Candidate(run, f"{count} parameters")

    def peer() -> Candidate:
        network = demosaicnet()

        def run() -> object:
            with torch.no_grad():
                return network(planes)

        return Candidate(run)

    return {
        name: Race(
            {
                OURS: lambda make=make: ours(make, torch.bfloat16),
                FULL_PRECISION: lambda make=make: ours(make, None),
                PEER: peer,
            }
        )
        for name, make in (("large network", _networks.large), ("small network", _networks.small))
    }


CLAIM = Claim(
    what="a 768 x 512 photograph through 5 stages of 5 ADMM x 5 CG steps, 4 heads, 24 neighbours",
    build=build,
    targets=[
        Target("large network", PEER, 1 / 3),
        Target("small network", PEER, 1 / 1.5),
    ],
    notes=[
        "Speed alone: our weights are random, the photograph is noise. Convolutions of ours run "
        "in bfloat16 by autocast, the graph and the solver in float32. demosaicnet runs in "
        "float32, as it is shipped.",
    ],
    rounds=5,
)

if __name__ == "__main__":
    main(__file__, CLAIM)
