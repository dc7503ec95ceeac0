"""Hostile input at the doors of graphs and linear operators.

Each property is drawn from `tests/hostile/strategies.py`: 25 cases, the same in every run. For
thousands, all new, and a count of the cases of each property:

    python -m pytest tests/hostile --hypothesis-profile=long --hypothesis-show-statistics \
        --timeout=0
"""

import pytest
import torch
from hypothesis import assume, strategies as st

from gsp_unroll.graph import (
    EdgeList,
    Graph,
    from_adjacency,
    from_edge_index,
    grid_graph,
    knn_graph,
    neighbor_distance,
    path_graph,
    radius_graph,
)
from gsp_unroll.operators import (
    Adjacency,
    Blur,
    ColorMosaic,
    Downsample,
    Gradient,
    Incidence,
    Laplacian,
    LaplacianPower,
    PlaneFit,
    SamplingMask,
    gershgorin_bound,
)
from tests.hostile.law import answer, assert_answer, assert_close, hostile
from tests.hostile.strategies import (
    DTYPES,
    LAYOUTS,
    TAME,
    columns,
    graphs,
    laid_out,
    masks,
    numbers,
    points,
    signals,
    spoilt,
    topologies,
)

FORMS = {
    "laplacian": Laplacian,
    "laplacian sym": lambda g: Laplacian(g, "sym"),
    "laplacian rw": lambda g: Laplacian(g, "rw"),
    "adjacency": Adjacency,
    "incidence": Incidence,
    "gradient": lambda g: Gradient(g.topology),
    "laplacian squared": lambda g: LaplacianPower(g, 2),
}


@hostile(columns(), st.booleans(), st.sampled_from(["refuse", "sum"]), examples=150)
def test_edge_index_is_read_or_refused(given, directed, duplicates):
    e, w, n = given
    graph = answer(lambda: from_edge_index(e, w, n, directed=directed, duplicates=duplicates))
    if graph is None:
        return
    t = graph.topology
    assert t.edge_index.dtype == torch.int64
    assert bool((t.edge_index[0] != t.edge_index[1]).all())
    assert t.num_nodes >= 0
    assert bool((graph.weight >= 0).all())
    assert bool(graph.weight.isfinite().all())
    if t.num_nodes < 100:
        assert_answer(graph.degree, [*graph.weight.shape[:-1], t.num_nodes], graph.weight.dtype)


@hostile(columns(), examples=100)
def test_an_edge_list_is_read_or_refused(given):
    e, _, n = given
    topology = answer(lambda: EdgeList(e, 5 if n is None else n))
    if topology is not None:
        assert 0 <= topology.num_edges <= e.shape[-1]


@hostile(graphs(torch.float64), st.randoms(use_true_random=False))
def test_the_order_of_columns_changes_nothing(graph, random):
    e, w = graph.topology.edge_index, graph.weight
    kept = graph.topology.edge_mask
    e, w = torch.cat([e[:, kept], e[:, kept].flip(0)], 1), w[kept].repeat(2)
    order = list(range(e.shape[1]))
    random.shuffle(order)
    first = from_edge_index(e, w, graph.num_nodes)
    second = from_edge_index(e[:, order], w[order], graph.num_nodes)
    assert torch.equal(first.topology.edge_index, second.topology.edge_index)
    assert torch.equal(first.weight, second.weight)


@hostile(graphs(torch.float64), st.data())
def test_a_matrix_of_weights_is_read_or_refused(graph, data):
    n = graph.num_nodes
    e, kept = graph.topology.edge_index, graph.topology.edge_mask
    W = torch.zeros(n, n, dtype=torch.float64)
    W[e[0, kept], e[1, kept]] = graph.weight[kept]
    W = spoilt(data.draw, W + W.T, (float("nan"), float("inf"), -1.0, 1e300))
    read = answer(lambda: from_adjacency(laid_out(W, data.draw(LAYOUTS))))
    if read is not None:
        assert_answer(read.degree, [n], torch.float64)


@hostile(
    DTYPES.flatmap(lambda t: st.tuples(graphs(t, batch=True), st.sampled_from(list(FORMS)))),
    st.data(),
)
def test_weights_are_taken_or_refused(given, data):
    graph, _ = given
    w = spoilt(data.draw, graph.weight, (float("nan"), float("inf"), -1.0, 0.0))
    bad = bool((~w.isfinite() | (w < 0))[..., graph.topology.edge_mask].any())
    assert (answer(lambda: Graph(graph.topology, w)) is None) == bad


@pytest.mark.parametrize("name", FORMS)
@hostile(st.data())
def test_operators_answer_every_signal(name, data):
    dtype = data.draw(DTYPES)
    graph = data.draw(graphs(dtype, sizes=TAME))
    A, n = FORMS[name](graph), graph.num_nodes
    x = data.draw(signals(n, dtype))
    # the squared Laplacian of weights of 1e6 takes the largest numbers beyond what there is
    heaviest = float(graph.weight.amax()) if graph.weight.numel() else 0.0
    largest = float(x.abs().amax()) if x.numel() else 0.0
    assume(largest * max(1.0, (30 * heaviest) ** 2) < torch.finfo(dtype).max)
    y = answer(lambda: A @ x)
    assert_answer(y, [*x.shape[:-2], A.num_outputs, x.shape[-1]], dtype)
    assert torch.equal(y, A @ x.contiguous()), "memory layout"
    if x.ndim > 2 and x.shape[0]:
        assert_close(y[0], A @ x[0])
    d = A.diagonal()
    assert d is None or bool(d.isfinite().all())


@pytest.mark.parametrize("name", FORMS)
@hostile(st.data())
def test_operators_answer_every_weight(name, data):
    """Weights near overflow and underflow: no NaN, and the normalised forms stay finite."""
    dtype = data.draw(DTYPES)
    graph = data.draw(graphs(dtype))
    x = data.draw(signals(graph.num_nodes, dtype, sizes=st.just("ordinary"), channels=2))
    y = answer(lambda: FORMS[name](graph) @ x)
    if name in ("laplacian squared", "laplacian", "adjacency", "incidence"):
        # the product itself may be beyond the largest number
        assert not bool(y.isnan().any()) or float(graph.weight.max()) > 1e18
    else:
        assert_answer(y, [*x.shape[:-2], FORMS[name](graph).num_outputs, 2], dtype)


@hostile(st.data(), examples=60)
def test_a_signal_of_another_form_is_refused(data):
    graph = data.draw(graphs(torch.float64, sizes=TAME))
    n = graph.num_nodes
    wrong = data.draw(
        st.sampled_from(
            [
                torch.zeros(n + 1, 2, dtype=torch.float64),
                torch.zeros(n, dtype=torch.float64),
                torch.zeros((), dtype=torch.float64),
                torch.zeros(n, 1, dtype=torch.int32),
                torch.zeros(n, 1, dtype=torch.complex64),
                torch.zeros(n, 1, dtype=torch.bool),
                torch.zeros(n, 1, dtype=torch.float32),
                torch.zeros(n, 1, dtype=torch.float16),
            ]
        )
    )
    assert answer(lambda: Laplacian(graph) @ wrong) is None


@hostile(st.data(), st.sampled_from(["none", "sym", "row", "merged"]), examples=60)
def test_normalised_weights_are_finite(data, normalization):
    graph = data.draw(graphs(data.draw(DTYPES), sizes=TAME, batch=True))
    normal = graph.normalized(normalization)
    assert bool(normal.weight.isfinite().all())
    assert bool((normal.weight >= 0).all())


@hostile(st.data(), examples=60)
def test_bounds_are_finite_and_hold(data):
    graph = data.draw(graphs(torch.float64, sizes=TAME))
    L = Laplacian(graph)
    bound = answer(lambda: gershgorin_bound(L))
    x = data.draw(signals(graph.num_nodes, torch.float64, sizes=TAME, channels=1, batch=False))
    assert bool(torch.as_tensor(bound).isfinite().all())
    assert (
        float((L(x) * x).sum())
        <= float(torch.as_tensor(bound).max().clamp(min=0)) * float((x * x).sum()) * (1 + 1e-9)
        + 1e-12
    )


@hostile(st.data(), examples=60)
def test_what_a_sensor_sees(data):
    dtype = data.draw(DTYPES)
    shape = data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=2))
    n = torch.Size(shape).numel()
    x = data.draw(signals(n, dtype))
    c = x.shape[-1]
    kinds = {
        "mask": lambda: SamplingMask(data.draw(masks(n))),
        "downsample": lambda: Downsample(tuple(shape), data.draw(st.integers(1, 3))),
        "blur": lambda: Blur(tuple(shape), torch.ones([3] * len(shape), dtype=dtype)),
        "mosaic": lambda: ColorMosaic(torch.arange(n) % max(c, 1), max(c, 1)),
    }
    H = kinds[data.draw(st.sampled_from(sorted(kinds)))]()
    y = answer(lambda: H @ x)
    if y is None:
        assert isinstance(H, ColorMosaic)
        assert c == 0
        return
    assert bool(y.isfinite().all())
    back = H.T @ y
    assert_answer(back, x.shape, dtype)
    assert torch.equal(y, H @ x.contiguous())


# ---- builders -------------------------------------------------------------------------------


@hostile(DTYPES.flatmap(points), st.integers(-1, 6), st.sampled_from(["union", "mutual", None]))
def test_neighbours_of_any_points(p, k, symmetrize):
    topology = answer(lambda: knn_graph(p, k, symmetrize=symmetrize))
    assert (topology is None) == (k < 1)
    if topology is not None:
        assert topology.num_nodes == len(p)
        again = knn_graph(p.contiguous().clone(), k, symmetrize=symmetrize)
        assert torch.equal(topology.edge_index, again.edge_index)


@hostile(DTYPES.flatmap(points), st.data())
def test_points_that_are_nowhere_are_refused(p, data):
    bad = spoilt(data.draw, p)
    allowed = bool(bad.isfinite().all())
    assert (answer(lambda: knn_graph(bad, 2)) is not None) == allowed
    assert (answer(lambda: radius_graph(bad, 0.5)) is not None) == allowed
    distance = answer(lambda: neighbor_distance(bad, 2))
    assert (distance is not None) == (allowed and len(p) >= 2)
    if distance is not None:
        assert_answer(distance, [len(p), 1], p.dtype)


@hostile(st.floats() | st.integers(-3, 3))
def test_any_radius(radius):
    p = torch.arange(4.0).unsqueeze(-1)
    topology = answer(lambda: radius_graph(p, radius))
    assert (topology is not None) == (0 < radius < float("inf"))


WHOLE = st.integers(-2, 6) | st.sampled_from([1.5, float("nan"), None, "3", True])


@hostile(st.lists(WHOLE, max_size=3), WHOLE, st.booleans(), examples=100)
def test_grids_of_any_shape(shape, window, directed):
    topology = answer(lambda: grid_graph(shape, window, directed=directed))
    if topology is not None:
        x = torch.ones(topology.num_nodes, 1)
        assert not bool(topology.gradient(x).any())


@hostile(WHOLE, WHOLE | st.lists(WHOLE, max_size=2), examples=60)
def test_paths_of_any_length(length, lags):
    topology = answer(lambda: path_graph(length, lags))
    if topology is not None:
        assert topology.num_nodes == length


@hostile(topologies(), DTYPES, st.data())
def test_planes_through_any_points(topology, dtype, data):
    n = topology.num_nodes
    p = numbers(data.draw, [n, data.draw(st.integers(0, 3))], dtype, data.draw(TAME))
    F = answer(lambda: PlaneFit(topology, p))
    if F is not None:
        x = data.draw(signals(n, dtype, sizes=TAME, channels=1, batch=False))
        assert bool((F @ x).isfinite().all())
