"""Products with a graph by other packages, torch-sparse and torch-scatter.

They serve only where asked for by name, `with backend("torch_sparse")`: they need a compiler at
installation, and are there to compare and for who relies on them.
"""

from __future__ import annotations

import importlib.util
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from .._checks import mistake
from .plans import Csr

#: By the names of the packages, which are those of the back ends.
EXTERNAL = ("torch_sparse", "torch_scatter")


def installed(package: str) -> bool:
    """Whether the package can be found; it is imported when it is asked for."""
    return importlib.util.find_spec(package) is not None


def check_installed(package: str) -> None:
    """Raise a three-part `ValueError` unless the package can be found."""
    if not installed(package):
        raise mistake(
            f"backend {package!r} without the package of that name",
            f"{package} to be installed",
            "Build the extra 'gsp_unroll[accel]': torch first, then pip install "
            "--no-build-isolation torch-scatter torch-sparse.",
        )


def by_torch_sparse(plan: Csr, w: Tensor, x: Tensor) -> Tensor:
    r"""$Lx=Dx-Wx$ with $W$ a `SparseTensor`. Unlike a sum of differences it leaves rounding of
    the size of $Dx$ where $x$ is constant."""
    from torch_sparse import SparseTensor

    start, neighbour, edge = plan.rows
    n = plan.num_nodes

    def product(w: Tensor, x: Tensor) -> Tensor:
        W = SparseTensor(
            rowptr=start,
            col=neighbour,
            value=w.index_select(0, edge),
            sparse_sizes=(n, n),
            is_sorted=True,
        )
        result: Tensor = W.sum(1).unsqueeze(-1) * x - W.matmul(x)
        return result

    batch = x.shape[:-2]
    if not batch:
        return product(w, x)
    planes = zip(w.reshape(-1, w.shape[-1]), x.reshape(-1, *x.shape[-2:]), strict=True)
    made = [product(w, x) for w, x in planes]
    return torch.stack(made).reshape(x.shape) if made else torch.empty_like(x)


def by_torch_scatter(plan: Csr, w: Tensor, x: Tensor) -> Tensor:
    r"""$(Lx)_i=\sum_jw_{ij}(x_i-x_j)$, summed row by row with `segment_csr`."""
    from torch_scatter import segment_csr

    start, neighbour, edge = plan.rows
    row = torch.arange(plan.num_nodes).repeat_interleave(start.diff())
    # nodes first, since segments are those of the first axis
    w, x = w.unsqueeze(-1).movedim(-2, 0), x.movedim(-2, 0)
    terms = w.index_select(0, edge) * (x.index_select(0, row) - x.index_select(0, neighbour))
    result: Tensor = segment_csr(terms, start, reduce="sum").movedim(0, -2)
    return result


@lru_cache(maxsize=2)
def kernels(package: str) -> dict[tuple[str, str, torch.dtype, str], Any]:
    """What the package serves."""
    product = {"torch_sparse": by_torch_sparse, "torch_scatter": by_torch_scatter}[package]
    return {("laplacian", "csr", dtype, "cpu"): product for dtype in (torch.float32, torch.float64)}
