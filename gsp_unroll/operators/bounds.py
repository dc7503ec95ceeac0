"""How large an operator can be."""

from __future__ import annotations

import torch

from .._checks import mistake
from .._typing import PerSystem
from .base import LinearOperator


def gershgorin_bound(A: LinearOperator) -> PerSystem:
    r"""A bound of the largest eigenvalue, $\lambda_{\max}(A)\le2\max_iD_{ii}$, for each system.

    $D$ is `A.majorizer()`, with $A\preceq2D$. Of a Laplacian it is the degree, and the bound that
    of Gershgorin's discs, $\lambda_{\max}(L)\le2\max_i\sum_jw_{ij}$. For $C^\top C$, the Laplacian
    of the squared weights, write `gershgorin_bound(Incidence(graph).gram)`.

    Args:
        A: a symmetric positive semi-definite operator that knows a majorizer.

    Shapes:
        - **returns:** `(*batch, graphs, 1)`, or with an axis for channels where they differ

    Raises:
        ValueError: an operator that knows no majorizer.

    Example:
        >>> import torch
        >>> from gsp_unroll import Graph, Laplacian, gershgorin_bound, path_graph
        >>> gershgorin_bound(Laplacian(Graph(path_graph(3), torch.tensor([1.0, 2.0, 0.0])))).item()
        6.0
    """
    D = A.majorizer()
    if D is None:
        raise mistake(
            f"a {type(A).__name__}, which knows no majorizer",
            "an operator whose majorizer() is not None",
            "Write the method, or bound the largest eigenvalue by power iteration.",
        )
    bound: PerSystem = 2 * A.systems.maximum(D if D.ndim else D.reshape(1, 1))
    # of a graph without nodes the largest entry is minus infinity
    return torch.where(bound > 0, bound, 0)
