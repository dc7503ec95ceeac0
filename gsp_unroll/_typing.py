"""Names for the tensors that travel through the library.

All of them are plain `torch.Tensor`s; the names say which axes they carry.
"""

from __future__ import annotations

from torch import Tensor

#: A graph signal, `(*batch, nodes, channels)`. `*batch` holds images, heads, or nothing.
Signal = Tensor
#: One value per edge and channel, `(*batch, edges, channels)`.
EdgeSignal = Tensor
#: Edge weights, `(*batch, edges)`.
Weight = Tensor
#: True where a node (and channel) was observed: `(nodes,)`, `(nodes, channels)` or more axes.
Mask = Tensor
#: One number per independent system, `(*batch, graphs, channels)`; see `Systems`.
PerSystem = Tensor

__all__ = ["EdgeSignal", "Mask", "PerSystem", "Signal", "Tensor", "Weight"]
