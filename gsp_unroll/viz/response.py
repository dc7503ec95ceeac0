"""Which frequencies of a graph an unrolled layer lets through."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .._checks import mistake
from ..graph import Graph
from ..operators import Identity
from ..problems import LeastSquares
from ..unroll import QuadraticUnroll
from ._axes import check_single

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Nodes up to which a matrix of all pairs is decomposed.
MOST_NODES = 2000


@dataclass(frozen=True, eq=False)
class SpectralResponse:
    r"""What a layer makes of each eigenvector of $L$, from low frequencies to high.

    Args:
        eigenvalue: $\lambda_k$ of $L$, ascending.
        realised: $h(\lambda_k)=u_k^\top\,\mathrm{layer}(u_k)$.
        ideal: $1/(1+\mu\lambda_k)$, the converged solve.
        leak: $\|\mathrm{layer}(u_k)-h(\lambda_k)u_k\|$: what comes out at other frequencies. It is
            not zero where a solve is scaled by degrees that differ.

    Shapes:
        - **eigenvalue, realised, ideal, leak:** `(nodes,)`

    Example:
        >>> import torch
        >>> from gsp_unroll import GLRUnroll, Graph, path_graph
        >>> from gsp_unroll.viz import spectral_response
        >>> graph = Graph(path_graph(2), torch.tensor([1.0, 0.0]))
        >>> response = spectral_response(GLRUnroll(cg_steps=30, mu=1.0), graph)
        >>> [round(v, 3) for v in response.eigenvalue.tolist()]
        [0.0, 2.0]
    """

    eigenvalue: Tensor
    realised: Tensor
    ideal: Tensor
    leak: Tensor


@torch.no_grad()
def spectral_response(layer: QuadraticUnroll, graph: Graph) -> SpectralResponse:
    r"""The response of an unrolled quadratic layer on a graph, measured: each eigenvector $u_k$ of
    $L$ is given to the layer as a fully observed signal.

    With the prior $\tfrac\mu2x^\top Lx$ the exact answer is $u_k/(1+\mu\lambda_k)$; a layer of few
    steps gives what its coefficients make of it. A layer whose steps are inner products
    (`GuardedCG`) is no linear filter: its response holds for single eigenvectors only.

    Args:
        layer: `GLRUnroll` or another `QuadraticUnroll`, built with `mu` and without heads.
        graph: a single graph of at most 2000 nodes, weights `(edges,)`.

    Raises:
        ValueError: another kind of layer, one with heads or without `mu`; batched weights; a graph
            without nodes or too large for an eigendecomposition; a prior that mixes channels.

    Example:
        >>> import torch
        >>> from gsp_unroll import GLRUnroll, Graph, path_graph
        >>> from gsp_unroll.viz import spectral_response
        >>> graph = Graph(path_graph(3), torch.tensor([1.0, 1.0, 0.0]))
        >>> response = spectral_response(GLRUnroll(cg_steps=30, mu=1.0), graph)
        >>> [round(v, 3) for v in response.ideal.tolist()]  # of the eigenvalues 0, 1 and 3
        [1.0, 0.5, 0.25]
        >>> bool((response.realised - response.ideal).abs().max() < 1e-3)
        True
    """
    if not isinstance(layer, QuadraticUnroll) or layer.log_mu is None:
        raise mistake(
            " ".join(repr(layer).split()),
            "a quadratic layer with mu and without heads",
            "Build GLRUnroll(mu=...).",
        )
    if layer.heads is not None:
        raise mistake(
            f"a {type(layer).__name__} with heads={layer.heads}",
            "a quadratic layer with mu and without heads: each head has a response of its own",
            "Make one for head h, single = GLRUnroll(cg_steps, mu=1.0), and load its numbers with "
            "single.load_state_dict({k: v[..., h] for k, v in layer.state_dict().items()}).",
        )
    check_single(graph)
    n = graph.num_nodes
    if not 1 <= n <= MOST_NODES:
        raise mistake(
            f"a graph of {n} nodes",
            f"1 to {MOST_NODES}",
            "A filter is the same on a smaller part of the graph, such as a crop.",
        )
    prior = layer.prior(graph)
    Q, mu = prior.Q, float(layer.mu)
    if Q is None or Q.couples_channels:
        raise mistake(
            f"the prior {type(prior).__name__}",
            "one that treats channels alike and apart",
            "Give a layer such as GLRUnroll.",
        )
    eye = torch.eye(n, dtype=graph.weight.dtype, device=graph.weight.device)
    L = Q(eye).double().cpu() / mu
    eigenvalue, U = torch.linalg.eigh((L + L.T) / 2)
    eigenvalue, U = eigenvalue.clamp(min=0).to(eye), U.to(eye)
    answer = layer(LeastSquares.unchecked(Identity(), U), graph)
    realised = (U * answer).sum(0)
    return SpectralResponse(
        eigenvalue=eigenvalue,
        realised=realised,
        ideal=1 / (1 + mu * eigenvalue),
        leak=(answer - realised * U).norm(dim=0),
    )


def draw_response(ax: Axes, response: SpectralResponse) -> Axes:
    r"""Draws the response that a layer has realised, against $1/(1+\mu\lambda)$.

    Args:
        ax: axes to draw on.
        response: see `spectral_response`.

    Returns:
        `ax`.

    Example:
        >>> import torch
        >>> from matplotlib.figure import Figure
        >>> from gsp_unroll import GLRUnroll, Graph, path_graph
        >>> from gsp_unroll.viz import draw_response, spectral_response
        >>> graph = Graph(path_graph(3), torch.tensor([1.0, 1.0, 0.0]))
        >>> response = spectral_response(GLRUnroll(cg_steps=3, mu=1.0), graph)
        >>> ax = draw_response(Figure().subplots(), response)
        >>> [line.get_label() for line in ax.lines]
        ['1 / (1 + μλ)', 'realised']
    """
    x = response.eigenvalue.cpu().numpy()
    ax.plot(x, response.ideal.cpu().numpy(), color="lightgray", linewidth=4, label="1 / (1 + μλ)")
    ax.plot(x, response.realised.cpu().numpy(), ".", color="tab:red", label="realised")
    ax.set_xlabel("eigenvalue λ of the Laplacian")
    ax.set_ylabel("response h(λ)")
    ax.legend()
    return ax
