"""A first look ahead: from the recent past of a place and of its neighbours."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .._checks import check_positive_count, mistake
from .._typing import Signal
from ..graph import Graph, safe_reciprocal
from ..operators import Adjacency


class LinearForecast(nn.Module):
    r"""The next steps of every place from its last ones and from those of its neighbours.

    $$\hat x_{s}(h)=\sum_{k=1}^{P}\Big(A_{hk}+\sum_re_{sr}B_{rhk}\Big)\,y_s(-k)
      +\sum_{k=1}^PC_{hk}\,\bar y_s(-k)+\sum_{k=1}^PD_{hk}\min(y_s(-k)-\kappa,0)
      +b_h+\sum_re_{sr}b_{rh},\qquad
      \bar y_s=\frac{\sum_jw_{sj}y_j}{\sum_jw_{sj}}.$$

    $A$, $C$ and $D$ are the same at all places; $e_s$ are a few learned numbers of the place $s$.
    It is linear but for $D$, by which what lies below $\kappa$ lasts longer or shorter than what
    lies above: a jam is no noise. It starts as persistence: the last reading, at every horizon. A
    step without a reading counts as 0, what is usual, if the signal is a deviation from it.

    Args:
        past: steps $P$ that it looks at, at least 1.
        ahead: steps to forecast, at least 1.
        places: number of places, at least 1.
        rank: length of $e_s$, at least 1.

    Shapes:
        - **y:** `(*batch, past, places, 1)`, NaN in gaps
        - **graph.weight:** `(*batch, edges)`, on the places
        - **output:** `(*batch, ahead, places, 1)`

    Raises:
        ValueError: a count below 1; on call: another number of steps, places or channels.

    Example:
        >>> import torch
        >>> from gsp_unroll import Graph, path_graph
        >>> from gsp_unroll.series import LinearForecast
        >>> graph = Graph(path_graph(4), torch.tensor([1.0, 1, 1, 0]))
        >>> forecast = LinearForecast(past=3, ahead=2, places=4)
        >>> forecast(torch.arange(3.0).reshape(3, 1, 1).expand(3, 4, 1), graph)[:, 0].flatten()
        tensor([2., 2.], grad_fn=...)
    """

    def __init__(self, past: int, ahead: int, places: int, rank: int = 4) -> None:
        super().__init__()
        counts = {"past": past, "ahead": ahead, "places": places, "rank": rank}
        for name, count in counts.items():
            check_positive_count(count, name)
        self.past, self.ahead, self.places = past, ahead, places
        last = torch.zeros(ahead, past)
        last[:, -1] = 1
        self.own = nn.Parameter(last)
        self.around = nn.Parameter(torch.zeros(ahead, past))
        self.below = nn.Parameter(torch.zeros(ahead, past))
        self.kink = nn.Parameter(torch.tensor(-0.5))
        self.bias = nn.Parameter(torch.zeros(ahead))
        self.place = nn.Parameter(0.1 * torch.randn(places, rank))
        self.own_of_place = nn.Parameter(torch.zeros(rank, ahead, past))
        self.bias_of_place = nn.Parameter(torch.zeros(rank, ahead))

    def forward(self, y: Signal, graph: Graph) -> Signal:
        """The forecast."""
        if y.shape[-3:] != (self.past, self.places, 1):
            raise mistake(
                f"a past of shape {tuple(y.shape)}",
                f"(*batch, {self.past}, {self.places}, 1)",
                "Give the steps before the first one to forecast.",
            )
        y = y.nan_to_num(0)
        # the steps of the past share the weights of their window
        graph = Graph.unchecked(graph.topology, graph.weight.unsqueeze(-2))
        mean = Adjacency(graph)(y) * safe_reciprocal(graph.degree).unsqueeze(-1)
        y, mean = y.squeeze(-1), mean.squeeze(-1)
        low = (y - self.kink).clamp(max=0)
        x = self.own @ y + self.around @ mean + self.below @ low + self.bias.unsqueeze(-1)
        of_place = torch.einsum("rhk,...ks,sr->...hs", self.own_of_place, y, self.place)
        x = x + of_place + (self.place @ self.bias_of_place).mT
        forecast: Tensor = x.unsqueeze(-1)
        return forecast

    def extra_repr(self) -> str:
        return f"past={self.past}, ahead={self.ahead}, places={self.places}"
