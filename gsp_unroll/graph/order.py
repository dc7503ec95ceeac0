"""Orders of the nodes in which neighbours stand close together, so that products read near memory.

An order is a permutation `perm` with `perm[new] = old`: `x[..., perm, :]` is the signal in the new
order, `perm.argsort()` leads back, and `perm.argsort()[edge_index]` are the edges between the new
numbers.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .._checks import mistake


def morton_order(position: Tensor) -> Tensor:
    r"""The order of points along Morton's Z-shaped curve.

    Each coordinate becomes a whole number $c=\sum_b c_b\,2^b$ on one scale for all axes. The bits
    of the axes $a=0,\dots,d-1$ take turns,

    $$\mathrm{code}=\sum_b\sum_a c_{a,b}\,2^{\,bd+a},$$

    and the nodes are sorted by their code; equal codes keep their order.

    Args:
        position: finite floating-point coordinates on 1, 2 or 3 axes.

    Shapes:
        - **position:** `(nodes, axes)`
        - **result:** `(nodes,)`, int64

    Raises:
        ValueError: coordinates of another shape or dtype, NaN or infinite.

    Source:
        Morton 1966, A computer oriented geodetic data base and a new technique in file sequencing.

    Example:
        >>> import torch
        >>> from gsp_unroll.graph.order import morton_order
        >>> corners = torch.tensor([[1.0, 1.0], [0.0, 1.0], [1.0, 0.0], [0.0, 0.0]])
        >>> morton_order(corners)
        tensor([3, 2, 1, 0])
    """
    if position.ndim != 2 or not 1 <= position.shape[1] <= 3 or not position.is_floating_point():
        raise mistake(
            f"positions of shape {tuple(position.shape)} and dtype {position.dtype}",
            "(nodes, axes) of a floating-point type, with 1 to 3 axes",
            "Choose up to three coordinates and convert them with position.float().",
        )
    x = position.detach().double()
    if not x.numel():
        return torch.arange(x.shape[0], device=x.device)
    bad = int((~x.isfinite()).any(-1).sum())
    if bad:
        raise mistake(
            f"{bad} positions that are NaN or infinite",
            "finite coordinates",
            "Drop these nodes, e.g. position[position.isfinite().all(-1)].",
        )
    axes = x.shape[1]
    bits = min(31, 63 // axes)  # so that the code fits into an int64
    x = x / _nonzero(x.abs().amax())  # else the extent might overflow
    x = x - x.amin(0)
    cell = (x * (2**bits / _nonzero(x.amax()))).long().clamp(max=2**bits - 1)
    code = torch.zeros_like(cell[:, 0])
    for axis in range(axes):
        code |= _spread(cell[:, axis], bits, axes) << axis
    return code.argsort(stable=True)


def rcm_order(edge_index: Tensor, num_nodes: int) -> Tensor:
    r"""The reverse Cuthill-McKee order, which keeps the band of the weight matrix narrow.

    A breadth-first search numbers the nodes from a node of low degree on, neighbours of low degree
    first, and the numbers are reversed: small $\max_{(i,j)\in E}\lvert i-j\rvert$ results, without
    a bound. The search runs on the CPU and takes the edges in both directions.

    Args:
        edge_index: edges in either or both directions; copies change nothing.
        num_nodes: number of nodes, above every number in `edge_index`.

    Shapes:
        - **edge_index:** `(2, edges)`, int64
        - **result:** `(nodes,)`, int64

    Raises:
        ValueError: edges of another shape or dtype, or with a node number out of range.

    Source:
        Cuthill and McKee 1969, Reducing the bandwidth of sparse symmetric matrices; reversed by
        George 1971. The code is SciPy's.

    Example:
        >>> import torch
        >>> from gsp_unroll.graph.order import rcm_order
        >>> path = torch.tensor([[0, 3, 1], [3, 1, 2]])  # 0 - 3 - 1 - 2
        >>> perm = rcm_order(path, 4)
        >>> perm.argsort()[path].diff(dim=0).abs()
        tensor([[1, 1, 1]])
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import reverse_cuthill_mckee

    if edge_index.ndim != 2 or edge_index.shape[0] != 2 or edge_index.dtype != torch.int64:
        raise mistake(
            f"edge_index of shape {tuple(edge_index.shape)} and dtype {edge_index.dtype}",
            "(2, edges) of int64",
            "Stack tails above heads: torch.stack([tail, head]).long().",
        )
    first, last = map(int, edge_index.aminmax()) if edge_index.numel() else (0, -1)
    if first < 0 or last >= num_nodes:
        raise mistake(
            f"an edge between nodes {first} and {last} at the extremes",
            f"node numbers from 0 to {num_nodes - 1}",
            "Check num_nodes, or drop edges to nodes that are not there.",
        )
    if not num_nodes:
        return edge_index.new_empty(0)
    tail, head = edge_index.cpu().int().numpy()  # 32 bits, as SciPy's search has them
    ends = (np.concatenate([tail, head]), np.concatenate([head, tail]))
    # a direction that is listed twice adds up, to a number that must not wrap around to 0
    ones = np.ones(ends[0].size, np.int32)
    pattern = coo_array((ones, ends), shape=(num_nodes, num_nodes)).tocsr()
    order = reverse_cuthill_mckee(pattern, symmetric_mode=True)
    return torch.from_numpy(order.astype(np.int64)).to(edge_index.device)


def _nonzero(scale: Tensor) -> Tensor:
    return torch.where(scale > 0, scale, 1)


def _spread(cell: Tensor, bits: int, gap: int) -> Tensor:
    """Bit `b` of every number moved to place `b * gap`, half of the bits at a time by a table."""
    half = (bits + 1) // 2
    part = torch.arange(2**half, device=cell.device)
    table = torch.zeros_like(part)
    for b in range(half):
        table |= (part >> b & 1) << b * gap
    low, high = cell & 2**half - 1, cell >> half
    return table[low] | table[high] << half * gap
