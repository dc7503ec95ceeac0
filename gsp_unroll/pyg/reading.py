"""What the transforms read from a `Data`, after a look at it."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch_geometric.data import HeteroData

from .._checks import check_signal, mistake
from .._typing import Signal


def check_one_kind(data: Any, transform: str) -> None:
    """Raise a three-part `ValueError` for a graph with nodes of several kinds."""
    if isinstance(data, HeteroData):
        raise mistake(
            f"a HeteroData for {transform}",
            "a Data or Batch: values are compared along edges, between nodes of one kind",
            "Take out the nodes and edges of one kind, "
            "Data(x=data['a'].x, edge_index=data['a', 'to', 'a'].edge_index), or call "
            "to_homogeneous() first.",
        )


def attribute(data: Any, name: str) -> Any:
    """`data[name]`, which must be there."""
    value = getattr(data, name, None)
    if value is None:
        raise mistake(
            f"a {type(data).__name__} without {name}",
            f"an attribute {name}",
            f"It has {', '.join(data.keys()) or 'none at all'}.",
        )
    return value


def signal(data: Any, name: str) -> Signal:
    """An attribute with one row per node, as `(nodes, channels)`."""
    value: Tensor = attribute(data, name)
    x = value.unsqueeze(-1) if value.ndim == 1 else value
    check_signal(x, data.num_nodes, f"value of {name}")
    if x.ndim > 2:
        raise mistake(
            f"{name} of shape {tuple(value.shape)}",
            "(nodes, channels) or (nodes,)",
            f"Put the values of a node side by side: {name}.flatten(1).",
        )
    return x
