"""One call: gaps in, estimate out, with how it was found and how far it can be trusted."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .._checks import mistake
from .._tables import markdown_table
from .._typing import Mask, Signal
from ..problems import Problem
from ..sensors.field import MAX_NODES
from ..solvers import Solution
from .choice import Candidate, Choice, HoldOut
from .explain import Explanation, explained, rows_of_inverse
from .labels import check_labels
from .places import OnGlobe, Where, graph_of, position_of
from .readings import Readings, solved
from .tables import Form, form_of
from .trend import PlaneGLR, plane_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Precision of the solve that is returned.
PRECISE = 1e-8


@dataclass(frozen=True, eq=False, repr=False)
class Restoration:
    """What `restore` returns.

    Args:
        choice: prior and weight that were chosen, and their error.
        scores: all that was tried; `table()` prints them.
        certificate: of the solver: status, residuals, duality gap. Its signal is in units of the
            spread, as `problem` is.
        readings: what was read, its units, and the graph.
        signal: the estimate.
        form: the way back to the kind of object that came in.
        position: where to draw the nodes; None if nobody said.
        on_globe: True where a position is longitude and latitude in degrees: `draw` makes a map.

    Shapes:
        - **signal:** `(nodes, channels)`
        - **position:** `(nodes, 2)`

    Example:
        >>> import torch
        >>> from gsp_unroll import GLR, path_graph, restore
        >>> from gsp_unroll.restoration import Fixed
        >>> result = restore(torch.tensor([1.0, torch.nan, 3.0]), path_graph(3), Fixed(GLR, 0.01))
        >>> result
        Restoration(GLR, weight 0.01, 1 of 3 values filled, CONVERGED)
        >>> result.known
        tensor([ True, False,  True])
    """

    choice: Candidate
    scores: tuple[Candidate, ...]
    certificate: Solution
    readings: Readings
    signal: Signal
    form: Form
    position: Tensor | None
    on_globe: bool = False

    @property
    def x(self) -> Any:
        """The estimate, the same kind of object as what was given; NaN where nothing is known."""
        return self.form.back(self.signal)

    @property
    def known(self) -> Any:
        """True where there was a reading; the same kind of object."""
        return self.form.back(self.readings.known)

    @property
    def prior(self) -> str:
        """The name of the prior."""
        return self.choice.name

    @property
    def weight(self) -> float:
        """The weight of the prior, relative to the mean degree of the graph; see `Candidate`."""
        return self.choice.weight

    @cached_property
    def undetermined(self) -> Mask:
        """True where nothing is known, `(nodes, channels)`: no reading in that part of the
        graph."""
        return ~self.readings.determined(self.readings.known)

    @cached_property
    def beyond(self) -> Mask:
        """True where an estimate lies outside the range of the readings of its channel by more
        than their spread, `(nodes, channels)`. A plane that goes on far outside of the places that
        were read does that; compare with `HoldOut(priors=(GLR, GTV))`, which stay inside."""
        readings = self.readings
        inf = torch.inf
        low = torch.where(readings.known, readings.y, inf).amin(0) - readings.spread
        high = torch.where(readings.known, readings.y, -inf).amax(0) + readings.spread
        return (self.signal < low) | (self.signal > high)

    @cached_property
    def problem(self) -> Problem:
        """What was solved: readings less their level, in units of their spread."""
        return self._problem(slice(None))

    def table(self) -> str:
        """Every prior and weight that was tried and its error, in Markdown."""
        rows = [(c.name, f"{c.weight:.3g}", f"{c.error:.4f}") for c in self.scores]
        return markdown_table(("prior", "weight", "error"), rows, (False, True, True))

    @torch.no_grad()
    def explain(self, node: int, channel: int = 0) -> Explanation:
        """The readings that made a value, and with what weights.

        For a quadratic prior the estimate is linear in the readings, and one solve gives the
        weights. For GTV it is the mean of the readings on a plateau and a pull of the plateaus
        around it, known as far as the solve has converged.

        Args:
            node: its number.
            channel: number of the channel: of a table the column of the signal, or the time.

        Raises:
            ValueError: a node or channel that does not exist; a prior that is neither.
        """
        if isinstance(node, bool) or not hasattr(node, "__index__"):
            raise mistake(f"node={node!r}", "its number", "Nodes are counted from 0.")
        self._check(torch.tensor(int(node)), channel)
        return explained(
            self._problem(slice(channel, channel + 1)),
            self.certificate.x[:, channel],
            float(self.signal[node, channel]),
            self.readings.y[:, channel],
            node,
            self.readings.graph,
        )

    def deviation(self) -> Any:
        r"""How far the truth is likely to be from the estimate: the standard deviation of each
        value, the same kind of object as what was given.

        As a probability GLR is a Gaussian whose posterior has the covariance
        $\sigma^2(H^\top H+\mu L)^{-1}$. The noise $\sigma^2$ is estimated from the readings by
        restricted likelihood, $2\min/(K-c)$ with the minimum of the problem, $K$ readings and $c$
        parts of the graph with a level of their own, to which slopes add (`PlaneGLR`). The band
        holds as far as that model does; infinite where nothing is known. A field whose graph and
        strength are learned has bands of its own: `GraphField`.

        Raises:
            ValueError: a prior that is not quadratic; more than 4000 nodes, whose matrix is not
                made: take `deviation_at`.

        Source:
            Wahba 1983; Rue and Held 2005, Gaussian Markov Random Fields, chapter 2.
        """
        n = len(self.signal)
        if n > MAX_NODES:
            raise mistake(
                f"{n} nodes",
                f"at most {MAX_NODES}",
                "Ask for some nodes with deviation_at(nodes), one solve for each.",
            )
        return self.form.back(self._deviation(None))

    def deviation_at(self, nodes: Tensor) -> Tensor:
        """`deviation` at some nodes only, by conjugate gradients, for graphs of any size.

        Args:
            nodes: their numbers, `(count,)` int64.

        Returns:
            `(count, channels)`.

        Raises:
            ValueError: a node that does not exist, or numbers that are not int64; a prior that is
                not quadratic.
        """
        self._check(nodes)
        return self._deviation(nodes)

    def _check(self, nodes: Tensor, channel: int = 0) -> None:
        """That there are such nodes and such a channel."""
        count, channels = self.signal.shape
        outside = nodes
        if isinstance(nodes, Tensor) and nodes.dtype == torch.int64:
            outside = nodes[(nodes < 0) | (nodes >= count)]
            if not len(outside) and 0 <= channel < channels:
                return
        named = outside.tolist() if isinstance(outside, Tensor) else outside
        raise mistake(
            f"nodes {named} and channel {channel}",
            f"a tensor of int64, nodes below {count} and a channel below {channels}",
            "Nodes are counted from 0, in the order of the signal.",
        )

    @torch.no_grad()
    def _deviation(self, nodes: Tensor | None) -> Tensor:
        if self.problem.prior.Q is None:
            raise mistake(
                f"bands for the prior {self.prior}",
                "a quadratic one, whose posterior is a Gaussian",
                "Choose among those: HoldOut(priors=(GLR,)).",
            )
        readings = self.readings
        known, lost = readings.known, self.undetermined
        asked = torch.arange(len(known), device=known.device) if nodes is None else nodes
        variance = torch.empty(len(asked), known.shape[1]).to(self.signal)
        masks, which = known.unique(dim=1, return_inverse=True)
        for number in range(masks.shape[1]):
            channels = (which == number).nonzero().squeeze(-1)
            first = int(channels[0])
            problem = self._problem(slice(first, first + 1))
            Q = problem.prior.Q
            if nodes is None and Q is not None:
                dense = Q(torch.eye(len(known)).to(self.signal))
                # a part of which nothing is known would make it singular; its level is free, and
                # holding it moves nothing else
                here = (known[:, first] | (self._first_of_parts & lost[:, first])).to(dense)
                factor = torch.linalg.cholesky(dense + here.diag())
                diagonal = torch.cholesky_inverse(factor).diagonal()
            else:
                A, b = problem.system()
                rows = rows_of_inverse(A, asked, b)
                diagonal = rows[asked, torch.arange(len(asked), device=asked.device)]
            variance[:, channels] = diagonal.unsqueeze(-1)
        sd = readings.spread * (self._noise() * variance).sqrt()
        return torch.where(lost[asked], torch.inf, sd)

    @cached_property
    def _first_of_parts(self) -> Mask:
        """`(nodes,)`, True at one node of each connected part."""
        parts = self.readings.parts
        order = parts.argsort(stable=True)
        of_part = parts[order]
        first = torch.zeros_like(parts, dtype=torch.bool)
        first[order[torch.cat([of_part.new_ones(1).bool(), of_part[1:] != of_part[:-1]])]] = True
        return first

    def _noise(self) -> Tensor:
        """The variance of the noise in units of the spread, as a signal of one row."""
        readings, systems = self.readings, self.readings.graph.topology.systems
        first = self._first_of_parts.unsqueeze(-1)
        levels = systems.total((first & ~self.undetermined).to(self.signal))
        prior = self.problem.prior
        if isinstance(prior, PlaneGLR):
            levels = levels + prior.num_slopes
        free = systems.total(readings.known.to(self.signal)) - levels
        twice = 2 * self.problem.objective(self.certificate.x)
        return systems.spread(torch.where(free > 0, twice / free, torch.inf))

    def draw(self, axes: Axes, position: Tensor | None = None, channel: int = 0) -> Axes:
        """The graph and the estimate on it: a dot where there was a reading, a square where there
        was none, a cross where nothing is known; places on the globe as a map (`draw_map`). Needs
        matplotlib (extra `demo`).

        Args:
            axes: to draw on.
            position: `(nodes, 2)` in a plane; by default the places that were given.
            channel: which one.

        Returns:
            `axes`.

        Raises:
            ValueError: no positions, or not two for each node; a channel that does not exist.
        """
        from ..viz import draw_graph, draw_map
        from ..viz.graphs import position_on_map

        self._check(torch.tensor([], dtype=torch.int64), channel)
        as_map = position is None and self.on_globe
        position = self.position if position is None else position
        if position is None:
            raise mistake(
                "nodes without a position in a plane",
                "(nodes, 2)",
                "Give draw(axes, position), e.g. from a layout of the graph.",
            )
        at = torch.as_tensor(position).detach().cpu()
        if as_map:
            longitude, latitude = at.unbind(-1)
            draw_map(axes, self.readings.graph, latitude, longitude, color="tab:gray")
            at = position_on_map(latitude, longitude)
        else:
            draw_graph(axes, self.readings.graph, at, color="tab:gray")
        x, known = self.signal[:, channel].cpu(), self.readings.known[:, channel].cpu()
        lost = x.isnan()
        found = x[~lost].numpy()
        limits = {"vmin": found.min(initial=math.inf), "vmax": found.max(initial=-math.inf)}
        for marker, here in (("o", known), ("s", ~known & ~lost)):
            axes.scatter(
                at[here, 0].numpy(),
                at[here, 1].numpy(),
                c=x[here].numpy(),
                marker=marker,
                zorder=2,
                **limits,
            )
        axes.scatter(at[lost, 0].numpy(), at[lost, 1].numpy(), marker="x", c="black", zorder=2)
        return axes

    def _problem(self, channels: slice) -> Problem:
        readings = self.readings
        y, known = readings.standard[:, channels], readings.known[:, channels]
        return readings.problem(self.choice.prior, self.choice.weight, y, known)

    def __repr__(self) -> str:
        known, error = self.readings.known, self.choice.error
        lost, beyond = int(self.undetermined.sum()), int(self.beyond.sum())
        parts = [
            self.prior,
            f"weight {self.weight:.3g}",
            *([] if error != error else [f"error {error:.3g} of the spread"]),
            *(["no better than the mean"] if error >= 1 else []),
            f"{int((~known).sum()) - lost} of {known.numel()} values filled",
            *([f"{beyond} far beyond the readings"] if beyond else []),
            *([f"{lost} without any reading in their part of the graph"] if lost else []),
            self.certificate.status.name,
        ]
        return f"{type(self).__name__}({', '.join(parts)})"


def restore(y: Any, where: Where, choose: Choice | None = None) -> Restoration:
    r"""Fills the gaps of a signal and takes noise out of the rest: NaN in, estimate out.

    $$\min_x\;\tfrac12\|Hx-y\|^2+g(x)$$

    on the graph of `where`, with a prior $g$ and a weight that `choose` finds: GLR, GTV or, where
    coordinates are given, GLR about a plane through them (`AboutPlane`). The estimate stands at
    every node, at those with a reading too; to keep the readings as they are, take `x` where
    `known` is False.

    A node whose part of the graph has no reading is NaN, and the result says how many there are.
    A constant comes back as it is, and `restore(a * y + b)` is `a * restore(y) + b`.

    Args:
        y: NaN where nothing is known. A table is a pandas Series by node, a DataFrame with a row
            for each time and a column for each node, or an xarray.DataArray with a dimension
            `node`, `station`, `sensor` or `site`. Channels, times and other dimensions share the
            choice and are restored one by one.
        where: a graph, a topology (all weights 1), or coordinates, from which `place_graph` makes
            a graph: those of a plane or of space as they are, latitude and longitude as `OnGlobe`.
        choose: how prior and weight are found: `HoldOut()` by default, `SURE(sigma)` for a signal
            without gaps, `Fixed(prior, weight)`.

    Shapes:
        - **y:** `(nodes,)` or `(nodes, channels)`
        - **where:** coordinates `(nodes, d)`

    Raises:
        ValueError: no reading at all, or too few to choose by; infinite readings; a graph or
            coordinates for another number of nodes; names of the nodes that are not those of the
            places; a directed or a batched graph; times out of order; what `place_graph` refuses.

    Example:
        >>> import torch
        >>> from gsp_unroll import restore
        >>> place = torch.rand(80, 2, generator=torch.Generator().manual_seed(0))
        >>> truth = (3 * place).sin().sum(-1)
        >>> y = truth.clone()
        >>> y[::3] = torch.nan
        >>> result = restore(y, place)
        >>> result.prior, result.certificate.status.name
        ('GLR', 'CONVERGED')
        >>> (result.x - truth).square().mean().sqrt() < 0.1
        tensor(True)
    """
    if choose is not None and not isinstance(choose, Choice):
        raise mistake(
            f"choose={getattr(choose, '__name__', choose)!r}",
            "HoldOut(), SURE(sigma) or Fixed(prior, weight)",
            "HoldOut(priors=(GLR,)) finds the weight of a prior, Fixed(GLR, 0.1) sets it.",
        )
    form = form_of(y)
    check_labels(form.labels, getattr(where, "labels", None), "a signal on", "places")
    graph, about = graph_of(where, form.signal), plane_of(where, form.signal.device)
    if form.table is not None and len(form.signal) != graph.num_nodes:
        raise mistake(
            f"{form.table} for {graph.num_nodes} nodes",
            "a column for each node and a row for each time, or a Series with a value for each",
            "Use y.T if each row is a sensor, or pick its readings, e.g. y['value'].",
        )
    readings = Readings.of(form.signal, graph, about)
    choose = HoldOut() if choose is None else choose
    with torch.no_grad():
        scores = choose.candidates(readings)
        choice = choose.best(scores)
        problem = readings.problem(choice.prior, choice.weight, readings.standard, readings.known)
        certificate = solved(problem, PRECISE)
        x = readings.back(certificate.x)
        x = torch.where(readings.determined(readings.known), x, torch.nan)
    on_globe, position = isinstance(where, OnGlobe), position_of(where)
    return Restoration(choice, scores, certificate, readings, x, form, position, on_globe)
