"""The block kernels in Triton, for CUDA: the sweeps of torch_block.py, one launch each.

Triton comes with the builds of torch for CUDA. Where it is missing, or there is no GPU, nothing is
registered, and the kernels in PyTorch serve.
"""

from __future__ import annotations

from importlib.util import find_spec

import torch

from .registry import Key
from .torch_block import TorchBlock


def kernels() -> dict[Key, TorchBlock]:
    """The block kernels that the GPU of this machine can run."""
    # Triton is imported last: it takes long, and most machines have no use for it
    if not torch.cuda.is_available() or find_spec("triton") is None:
        return {}
    from .triton_planes import TritonPlanes

    kernel = TorchBlock(TritonPlanes)
    return {("block", "stencil", dtype, "cuda"): kernel for dtype in (torch.float32, torch.float64)}
