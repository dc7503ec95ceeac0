"""What the laws are checked on: name -> a function that builds it. A new one joins by a line."""

import torch

from gsp_unroll.graph import (
    EdgeList,
    Grid,
    grid_graph,
    knn_graph,
    path_graph,
    product_graph,
    space_time_graph,
    to_edge_list,
)


def edges(*pairs):
    return torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).T


def weights_of(graph):
    """{edge: weight}; of an undirected graph with the smaller node first."""
    listed = to_edge_list(graph)
    e = listed.topology.edge_index
    if not listed.topology.directed:
        e = e.sort(0).values
    found = dict(zip(map(tuple, e.T.tolist()), listed.weight.tolist(), strict=True))
    assert len(found) == e.shape[1], "an edge is stored twice"
    return found


def cloud(num_points, dimension=2, seed=0):
    points = torch.Generator().manual_seed(seed)
    return torch.rand(num_points, dimension, generator=points, dtype=torch.float64)


UNDIRECTED = {
    "sequence": lambda: path_graph(6, lags=2),
    "sequence with a lag beyond its end": lambda: path_graph(4, lags=(1, 7)),
    "single node": lambda: grid_graph((1, 1)),
    "image": lambda: grid_graph((3, 4)),
    "image with mixed offsets": lambda: Grid((3, 3), ((0, -1), (1, 2), (-2, 1))),
    "image with a disc": lambda: grid_graph((4, 3), neighbors=12),
    "image smaller than its window": lambda: grid_graph((2, 3), window=5),
    "image without neighbours": lambda: grid_graph((2, 2), window=1),
    "volume": lambda: grid_graph((2, 3, 2), neighbors=18),
    "volume with a flat window": lambda: grid_graph((1, 2, 3), window=(1, 3, 5)),
    "points": lambda: knn_graph(cloud(9), k=3),
    "edges head first": lambda: EdgeList(edges((3, 0), (0, 1), (2, 1), (3, 2)), 4),
    "two parts and isolated nodes": lambda: EdgeList(edges((1, 2), (2, 4), (5, 6)), 9),
    "no edges": lambda: EdgeList(edges(), 3),
    "no nodes": lambda: EdgeList(edges(), 0),
    "batch": lambda: knn_graph(cloud(8), 2, batch=torch.tensor([0, 0, 0, 0, 1, 2, 2, 2])),
    "batch, nodes interleaved": lambda: knn_graph(
        cloud(7), 2, batch=torch.tensor([1, 0, 1, 0, 0, 3, 1])
    ),
    "places at every step": lambda: space_time_graph(knn_graph(cloud(4), 2), 2).spatial,
    "product": lambda: product_graph(path_graph(2), EdgeList(edges((0, 1), (0, 2)), 3)),
}

DIRECTED = {
    "causal sequence": lambda: path_graph(6, lags=(1, 3), directed=True),
    "image, both ways": lambda: grid_graph((3, 3), directed=True),
    "image, one way": lambda: Grid((3, 4), ((0, 1), (1, 0), (1, -1)), directed=True),
    "one-way edges": lambda: EdgeList(edges((0, 1), (1, 0), (3, 1)), 5, directed=True),
    "rows of neighbours": lambda: knn_graph(cloud(7), 2, symmetrize=None),
    "causal product": lambda: product_graph(path_graph(3, directed=True), path_graph(2)),
    "steps at every place": lambda: space_time_graph(knn_graph(cloud(3), 1), 4, (1, 3)).temporal,
    "causal batch": lambda: EdgeList(
        edges((0, 1), (2, 3), (4, 3)), 5, torch.tensor([0, 0, 1, 1, 1]), directed=True
    ),
    **{
        f"both directions of {name}": lambda build=build: build().both_directions()
        for name, build in UNDIRECTED.items()
    },
}

TOPOLOGIES = {**UNDIRECTED, **DIRECTED}
