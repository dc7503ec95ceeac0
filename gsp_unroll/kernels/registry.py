"""Which kernel serves: looked up by operation, plan, dtype and device.

A kernel computes what readable steps elsewhere in the library define. Where none is registered,
those steps run.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd import forward_ad

from .._checks import mistake
from . import external

Backend = Literal["native", "triton", "torch", "reference", "torch_sparse", "torch_scatter"]
#: Fastest first. The others, of `external`, serve only where asked for by name.
BACKENDS: tuple[Backend, ...] = ("native", "triton", "torch", "reference")

Key = tuple[str, str, torch.dtype, str]

_fastest: ContextVar[Backend] = ContextVar("fastest", default="native")


@lru_cache(maxsize=1)
def kernels() -> dict[Backend, dict[Key, Any]]:
    """Everything that can serve on this machine."""
    from . import (
        native_admm,
        native_block,
        native_cg,
        native_csr,
        native_product,
        native_similarity,
        torch_block,
        triton_block,
    )

    return {
        "native": native_block.kernels()
        | native_admm.kernels()
        | native_cg.kernels()
        | native_product.kernels()
        | native_similarity.kernels()
        | native_csr.kernels(),
        "triton": triton_block.kernels(),
        "torch": torch_block.kernels(),
    }


def find(operation: str, plan: Any, reference: Tensor) -> Any | None:
    """The fastest kernel for `operation` on `plan` with the dtype and device of `reference`, or
    None where the readable steps are to run."""
    if plan is None or exports_plain() or transformed():
        return None
    key = (operation, plan.name, reference.dtype, reference.device.type)
    fastest = _fastest.get()
    if fastest in external.EXTERNAL:
        return external.kernels(fastest).get(key)
    table = kernels()
    for backend in BACKENDS[BACKENDS.index(fastest) :]:
        kernel = table.get(backend, {}).get(key)
        if kernel is not None:
            return kernel
    return None


def transformed() -> bool:
    """Whether torch takes derivatives forwards, or maps over an axis: kernels know of neither."""
    return not torch.compiler.is_compiling() and (
        forward_ad._current_level >= 0 or torch._C._are_functorch_transforms_active()
    )


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def exports_plain() -> bool:
    """Whether a program is being exported that is to hold torch's own operations and none of ours:
    for ONNX, which knows no others, or within `backend("reference")`."""
    if not torch.compiler.is_exporting():
        return False
    return _fastest.get() == "reference" or torch.onnx.is_in_onnx_export()


def show_backends() -> None:
    """Prints which kernels this machine has, and which serves each operation.

    Example:
        >>> from gsp_unroll import show_backends
        >>> show_backends()
        gsp_unroll backends, fastest first
        ...
    """
    from .native import library

    loaded, about = library()
    print("gsp_unroll backends, fastest first")
    print(f"  native     C++: {f'for {about}' if loaded else about}")
    print(f"  triton     {'for CUDA' if kernels()['triton'] else 'no CUDA device, or no Triton'}")
    print("  torch      always")
    print("  reference  always: the readable steps, differentiable any number of times")
    for package in external.EXTERNAL:
        found = "installed" if external.installed(package) else "not installed"
        print(f"  {package:<13} {found}; only within backend({package!r})")
    print(f"threads: {torch.get_num_threads()}, the same pool as torch's")
    served: dict[Key, Backend] = {}
    for name in BACKENDS:
        for key in kernels().get(name, {}):
            served.setdefault(key, name)
    print(f"{'operation':<12} {'plan':<8} {'dtype':<8} {'device':<6} served by")
    for (operation, plan, dtype, device), name in sorted(served.items(), key=str):
        kind = str(dtype).removeprefix("torch.")
        print(f"{operation:<12} {plan:<8} {kind:<8} {device:<6} {name}")


@contextmanager
def backend(fastest: Backend) -> Iterator[None]:
    """Within the `with`, no kernel faster than `fastest` is used.

    Results agree to rounding, so this serves to compare, to time, and to find out whether a kernel
    is to blame: `"native"` allows all, `"torch"` the ones written in PyTorch, `"reference"` none.

    Around `torch.export.export`, `"reference"` also keeps operations of this package out of the
    program, so that it can be loaded without the package.

    `"torch_sparse"` and `"torch_scatter"` take the package of that name for products with the
    Laplacian of an `EdgeList` on a CPU, and the readable steps for everything else. They are never
    chosen unless they are named.

    Args:
        fastest: one of the names above.

    Raises:
        ValueError: an unknown name, or a package that is not installed.

    Example:
        >>> import torch
        >>> from gsp_unroll import Graph, Laplacian, backend, path_graph
        >>> L = Laplacian(Graph(path_graph(3), torch.tensor([1.0, 2.0, 0.0])))
        >>> with backend("reference"):
        ...     (L @ torch.tensor([[0.0], [1.0], [4.0]])).flatten()
        tensor([-1., -5.,  6.])
    """
    names = (*BACKENDS, *external.EXTERNAL)
    if fastest not in names:
        raise mistake(
            f"backend {fastest!r}", f"one of {', '.join(names)}", "'native' allows every kernel."
        )
    if fastest in external.EXTERNAL:
        external.check_installed(fastest)
    token = _fastest.set(fastest)
    try:
        yield
    finally:
        _fastest.reset(token)
