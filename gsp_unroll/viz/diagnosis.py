"""What is wrong with a model on a signal: the failures that can be told from one run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from .._checks import mistake
from ..unroll import ADMMUnroll, QuadraticUnroll
from .iterations import draw_iterations
from .layer_run import LayerRun, look_at

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Points of the picture that sets the output against the observation.
MOST_POINTS = 5000


@dataclass(frozen=True, eq=False)
class Finding:
    """One failure of one layer.

    Args:
        name: of the failure.
        layer: of the layer within the model, "" for the model itself.
        evidence: the number that it is told by.
        meaning: what this number is.
        remedy: a sentence: what helps.
        run: what the layer was given and what it made of it.
        picture: draws what shows it, on axes.

    Example:
        >>> import torch
        >>> from gsp_unroll import GLRUnroll, Graph, Identity, LeastSquares, path_graph
        >>> from gsp_unroll.viz import diagnose
        >>> y = torch.linspace(0, 1, 50).unsqueeze(-1) + 0.1 * torch.randn(50, 1)
        >>> graph = Graph(path_graph(50), torch.rand(50))
        >>> finding = diagnose(GLRUnroll(mu=1e-4), LeastSquares(Identity(), y), graph).findings[-1]
        >>> finding.name, finding.evidence < 0.1
        ('under-regularisation', True)
    """

    name: str
    layer: str
    evidence: float
    meaning: str
    remedy: str
    run: LayerRun = field(repr=False)
    picture: Callable[[Axes, LayerRun], Axes] = field(repr=False)

    def __str__(self) -> str:
        where = f" in {self.layer}" if self.layer else ""
        return f"{self.name}{where}: {self.evidence:.3g} {self.meaning}. {self.remedy}"

    def draw(self, ax: Axes) -> Axes:
        """The picture that shows it.

        Args:
            ax: axes to draw on.

        Returns:
            `ax`.
        """
        self.picture(ax, self.run).set_title(f"{self.name}\n{self.layer}".strip(), fontsize=9)
        return ax


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """What `diagnose` returns. Printed, it is one line for each finding.

    Args:
        findings: failures, layer by layer in the order of their calls; empty if none was found.
        runs: every call of an unrolled layer.

    Example:
        >>> import torch
        >>> from gsp_unroll import GLRUnroll, Graph, Identity, LeastSquares, path_graph
        >>> from gsp_unroll.viz import diagnose
        >>> y = torch.linspace(0, 1, 50).unsqueeze(-1) + 0.1 * torch.randn(50, 1)
        >>> graph = Graph(path_graph(50), torch.ones(50))
        >>> diagnosis = diagnose(GLRUnroll(mu=1e-4), LeastSquares(Identity(), y), graph)
        >>> diagnosis.healthy, len(diagnosis.runs)
        (False, 1)
    """

    findings: tuple[Finding, ...]
    runs: tuple[LayerRun, ...] = field(repr=False)

    @property
    def healthy(self) -> bool:
        """True if nothing was found."""
        return not self.findings

    def __str__(self) -> str:
        return "\n".join(map(str, self.findings)) or "No failure was found."

    def draw(self, figure: Figure) -> list[Axes]:
        """The picture that shows each finding, side by side. Without a finding, the graph,
        the iterations and the output of the last layer.

        Args:
            figure: an empty figure; its axes are made here.

        Returns:
            The axes, one for each finding, or three.
        """
        if self.healthy:
            axes = list(figure.subplots(1, 3))
            for ax, picture in zip(axes, (_weights, _objective, _output), strict=True):
                picture(ax, self.runs[-1])
            return axes
        axes = list(figure.subplots(1, len(self.findings), squeeze=False)[0])
        return [f.draw(ax) for f, ax in zip(self.findings, axes, strict=True)]


@torch.no_grad()
def diagnose(model: nn.Module, *inputs: Any) -> Diagnosis:
    r"""Runs a model once and looks at every unrolled layer inside: `GLRUnroll`, `GTVUnroll` and the
    others that are a `QuadraticUnroll` or an `ADMMUnroll`.

    | Finding | Told by |
    | --- | --- |
    | poor graph: nearly empty | fewer than 1.2 neighbours count, and fewer than half of them all |
    | poor graph: weights alike | 99 % of the neighbours a node has count: no edge was ruled out |
    | divergence | the objective ends above twice that of the start, or is no number |
    | over-regularisation | output off the observation by 1.3 times the noise, or constant |
    | under-regularisation | output off it by a tenth of the noise, or still the start |

    The noise is estimated from differences of neighbours, an upper bound (see `LayerRun`); it takes
    `LeastSquares` of single values. Of a batch, and of heads and channels, the middle one decides,
    for divergence the worst. These are signs, and a sound model may show one: a graph of equal
    weights that was given as such, an exact observation that shall stay as it is.

    Args:
        model: an unrolled layer, a network, or any module that calls such layers. It runs as it is:
            call `model.eval()` before where that matters.
        inputs: what it is called with, `model(*inputs)`.

    Raises:
        ValueError: no such layer was called.

    Example:
        >>> import torch
        >>> from gsp_unroll import GLRUnroll, Graph, Identity, LeastSquares, path_graph
        >>> from gsp_unroll.viz import diagnose
        >>> graph = Graph(path_graph(50), torch.ones(50))
        >>> y = torch.linspace(0, 1, 50).unsqueeze(-1) + 0.1 * torch.randn(50, 1)
        >>> found = diagnose(GLRUnroll(mu=1e-4), LeastSquares(Identity(), y), graph)
        >>> [finding.name for finding in found.findings]
        ['poor graph: weights alike', 'under-regularisation']
    """
    runs: list[LayerRun] = []
    layers = [(n, m) for n, m in model.named_modules() if _is_unrolled(m)]
    handles = [
        layer.register_forward_pre_hook(partial(_record, runs, name), with_kwargs=True)
        for name, layer in layers
    ]
    try:
        model(*inputs)
    finally:
        for handle in handles:
            handle.remove()
    if not runs:
        raise mistake(
            f"{type(model).__name__}, which called none of its {len(layers)} unrolled layers",
            "a GLRUnroll, GTVUnroll or another QuadraticUnroll or ADMMUnroll, or a model with one",
            "Of a plain solver, read the status of its Solution and draw its iterates.",
        )
    return Diagnosis(tuple(f for run in runs for f in _findings(run)), tuple(runs))


def _is_unrolled(module: nn.Module) -> bool:
    return isinstance(module, QuadraticUnroll | ADMMUnroll)


def _record(
    runs: list[LayerRun], name: str, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    given = dict(zip(("data", "graph", "x0"), args, strict=False)) | kwargs
    runs.append(look_at(name, layer, given["data"], given["graph"], given.get("x0")))


def _findings(run: LayerRun) -> list[Finding]:
    found: list[Finding] = []

    def add(
        name: str, evidence: float, meaning: str, remedy: str, picture: Callable[..., Axes]
    ) -> None:
        found.append(Finding(name, run.layer, evidence, meaning, remedy, run, picture))

    neighbors, available = _middle(run.neighbors), _middle(run.available)
    if not neighbors >= min(1.2, 0.5 * available):
        add(
            "poor graph: nearly empty",
            neighbors,
            f"of {available:.3g} neighbours count",
            "Features lie too far apart: shrink their scale or the metric, normalise the weights, "
            "or join more neighbours.",
            _weights,
        )
    elif available > 1 and neighbors >= 0.99 * available:
        add(
            "poor graph: weights alike",
            neighbors,
            f"of {available:.3g} neighbours count",
            "Features do not tell nodes apart: enlarge their scale or the metric, or give the "
            "learner what differs across an edge of the signal.",
            _weights,
        )
    rise = _rise(run)
    if rise > 2:
        add(
            "divergence",
            rise,
            "times the objective of the start",
            "Use solver=BoundedMomentum, whose linear solves cannot diverge, and a larger rho; "
            "lower the learning rate if it came with training.",
            _objective,
        )
        return found  # the output of a run that diverged says nothing of the weight of its prior
    misfit, spread, change = _middle(run.misfit / run.noise), _middle(run.spread), run.change
    if spread < 0.05:
        over = (spread, "of the spread of the observation is left")
    else:
        over = (misfit, "times the noise lie between output and observation")
    if spread < 0.05 or misfit > 1.3:
        add(
            "over-regularisation",
            *over,
            "Lower mu or lam, or cut edges between nodes that differ with a sharper graph.",
            _output,
        )
    if misfit < 0.1:
        under = (misfit, "times the noise lie between output and observation")
    else:
        under = (_middle(change), "of the spread of the observation lie between output and start")
    if misfit < 0.1 or (misfit != misfit and _middle(change) < 1e-3):
        add(
            "under-regularisation",
            *under,
            "Raise mu or lam for noisy data; for exact data take more steps, or join what is not "
            "known to more neighbours.",
            _output,
        )
    return found


def _rise(run: LayerRun) -> float:
    """The last objective over the first, in the worst system; infinite if it is no number."""
    first, last = run.objective[0], run.objective[-1]
    ratio = last / torch.maximum(first, run.floor)
    ratio = torch.where(last == 0, 0, ratio).nan_to_num(torch.inf)
    return float(ratio.amax()) if ratio.numel() else 0.0


def _middle(values: Tensor) -> float:
    """The median of what is known; NaN of nothing."""
    return float(values.flatten().nanmedian()) if values.numel() else float("nan")


def _weights(ax: Axes, run: LayerRun) -> Axes:
    mask = run.graph.topology.edge_mask.to(run.graph.weight.device)
    ax.hist(run.graph.weight[..., mask].reshape(-1).cpu().numpy(), bins=30, color="tab:gray")
    ax.set_xlabel("edge weight")
    ax.set_ylabel("edges")
    return ax


def _objective(ax: Axes, run: LayerRun) -> Axes:
    return draw_iterations(ax, run.objective, first=0)


def _output(ax: Axes, run: LayerRun) -> Axes:
    given, made = torch.broadcast_tensors(run.observed, run.output)
    here = ~given.isnan()
    given, made = given[here].cpu(), made[here].cpu()
    some = slice(None, None, max(1, len(given) // MOST_POINTS))
    if len(given):
        ends = [float(given.amin()), float(given.amax())]
        ax.plot(ends, ends, color="lightgray", linewidth=3, label="output = observation")
        ax.legend(fontsize="small")
    ax.plot(given[some].numpy(), made[some].numpy(), ".", color="tab:red", markersize=3)
    ax.set_xlabel("observation")
    ax.set_ylabel("output")
    return ax
