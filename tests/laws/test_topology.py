"""Laws of every topology: exact adjoints, one Laplacian, no structure better than an edge list."""

import functools

import networkx as nx
import pytest
import torch
from torch_geometric.nn import MessagePassing

from gsp_unroll.graph import (
    EdgeList,
    Graph,
    Grid,
    Systems,
    grid_graph,
    knn_graph,
    path_graph,
)
from gsp_unroll.graph.convert import to_edge_list
from tests.registries import TOPOLOGIES, UNDIRECTED, cloud, edges

CHANNELS = 2


@pytest.fixture(params=TOPOLOGIES.values(), ids=TOPOLOGIES.keys())
def topology(request):
    return request.param()


@pytest.fixture(params=UNDIRECTED.values(), ids=UNDIRECTED.keys())
def undirected(request):
    return request.param()


def random(*shape, grad=False):
    return torch.randn(*shape, dtype=torch.float64, requires_grad=grad)


def signal(topology, *batch, grad=False):
    return random(*batch, topology.num_nodes, CHANNELS, grad=grad)


def edge_signal(topology, *batch, grad=False):
    return random(*batch, topology.num_edges, CHANNELS, grad=grad)


def weight(topology, *batch, grad=False):
    w = torch.rand(*batch, topology.num_edges, dtype=torch.float64) + 0.1
    return w.requires_grad_(grad)


def assert_same(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)


def dense_laplacian(topology, w):
    """The definition, assembled from edge_index: sum of w (e_head - e_tail)(e_head - e_tail)'."""
    matrix = torch.zeros(topology.num_nodes, topology.num_nodes, dtype=w.dtype)
    for e, (tail, head) in enumerate(topology.edge_index.T.tolist()):
        if topology.edge_mask[e]:
            step = torch.zeros(topology.num_nodes, dtype=w.dtype)
            step[head], step[tail] = 1, -1
            matrix += w[e] * torch.outer(step, step)
    return matrix


# ---- the structure --------------------------------------------------------------------------


def test_edge_index_names_every_slot_and_padding_is_a_self_loop(topology):
    e = topology.edge_index
    assert e.shape == (2, topology.num_edges)
    assert e.dtype == torch.int64
    assert torch.equal(topology.edge_mask, e[0] != e[1])
    assert not e.numel() or (e.min() >= 0 and e.max() < topology.num_nodes)


def test_every_edge_is_stored_once(topology):
    kept = topology.edge_index[:, topology.edge_mask]
    if not topology.directed:
        kept = kept.sort(0).values
    assert len(set(map(tuple, kept.T.tolist()))) == kept.shape[1]


def test_lift_reads_tail_and_head_and_zero_on_padding(topology):
    x = signal(topology)
    inside = topology.edge_mask.unsqueeze(-1)
    for lifted, end in zip(topology.lift(x), topology.edge_index, strict=True):
        assert torch.equal(lifted, torch.where(inside, x[end], 0))


def test_gradient_is_head_minus_tail(topology):
    x = signal(topology)
    tail, head = topology.edge_index
    assert torch.equal(topology.gradient(x), x[head] - x[tail])


def test_moving_to_the_same_device_changes_nothing(topology):
    moved = topology.to("cpu")
    assert type(moved) is type(topology)
    assert torch.equal(moved.edge_index, topology.edge_index)
    assert (moved.num_nodes, moved.directed) == (topology.num_nodes, topology.directed)
    x = signal(topology)
    assert torch.equal(moved.systems.inner(x, x), topology.systems.inner(x, x))


@pytest.mark.parametrize("directed", [False, True])
def test_the_order_of_edges_is_that_given(directed):
    columns = torch.randint(0, 30, (2, 400))
    columns = columns[:, columns[0] < columns[1]].unique(dim=1)
    assert torch.equal(EdgeList(columns, 30, directed=directed).edge_index, columns)  # sorted
    shuffled = columns[:, torch.randperm(columns.shape[1])]
    given = shuffled.clone()
    topology = EdgeList(given, 30, directed=directed)
    assert topology.edge_index is given
    assert torch.equal(given, shuffled)
    back = topology.reversed()
    assert torch.equal(back.edge_index, shuffled.flip(0))
    assert back.directed == directed


def test_graphs_without_nodes_at_the_end_are_counted_on_request():
    batch = torch.tensor([0, 0, 2])
    counted = EdgeList(edges((0, 1)), 3, batch, num_graphs=5)
    assert EdgeList(edges((0, 1)), 3, batch).systems.num_graphs == 3
    for topology in (counted, counted.reversed(), counted.to("cpu"), counted.both_directions()):
        assert topology.systems.num_graphs == 5
        inner = topology.systems.inner(torch.ones(3, 2), torch.ones(3, 2))
        assert inner.tolist() == [[2.0] * 2, [0.0] * 2, [1.0] * 2, [0.0] * 2, [0.0] * 2]
    assert to_edge_list(counted.both_directions()).num_graphs == 5
    nobody = EdgeList(edges(), 0, torch.zeros(0, dtype=torch.int64), num_graphs=2)
    assert nobody.systems.total(torch.zeros(0, 1)).tolist() == [[0.0], [0.0]]
    assert EdgeList(edges(), 2, num_graphs=1).systems.num_graphs == 1


def test_joined_systems_count_all_graphs_that_either_knows():
    batch = torch.tensor([0, 0, 2])
    few, many = Systems(batch, 3), Systems(batch.clone(), 5, couples_channels=True)
    for joined in (few.joined(many), many.joined(few)):
        assert (joined.num_graphs, joined.couples_channels) == (5, True)
    assert few.joined(Systems()).num_graphs == Systems().joined(few).num_graphs == 3


# ---- adjointness ----------------------------------------------------------------------------


def test_sums_are_the_adjoints_of_the_lifts(topology):
    x, z = signal(topology), edge_signal(topology)
    x_tail, x_head = topology.lift(x)
    assert_same((x_tail * z).sum(), (x * topology.tail_sum(z)).sum())
    assert_same((x_head * z).sum(), (x * topology.head_sum(z)).sum())


def test_divergence_is_the_exact_adjoint_of_the_gradient(topology):
    x, z = signal(topology), edge_signal(topology)
    assert_same((topology.gradient(x) * z).sum(), (x * topology.divergence(z)).sum())


def test_divergence_carries_no_minus_sign():
    # flow along the only edge: out of the tail (-), into the head (+)
    path = path_graph(2)
    flow = torch.tensor([[3.0], [0.0]])
    assert path.divergence(flow).flatten().tolist() == [-3.0, 3.0]


def test_divergence_and_incident_sum_are_difference_and_sum_of_the_ends(topology):
    z = edge_signal(topology)
    assert_same(topology.divergence(z), topology.head_sum(z) - topology.tail_sum(z))
    assert_same(topology.incident_sum(z), topology.head_sum(z) + topology.tail_sum(z))


def test_mask_edges_is_the_projection_onto_edges(topology):
    w, v = random(topology.num_edges), random(topology.num_edges)
    assert torch.equal(topology.mask_edges(w), w * topology.edge_mask)
    assert_same((topology.mask_edges(w) * v).sum(), (w * topology.mask_edges(v)).sum())


def test_nothing_is_read_from_padded_slots(topology):
    x, z, w = signal(topology), edge_signal(topology), weight(topology)
    padded = ~topology.edge_mask
    bad_z, bad_w = z.clone(), w.clone()
    bad_z[padded], bad_w[padded] = torch.nan, torch.nan
    for sums in (topology.tail_sum, topology.head_sum, topology.divergence, topology.incident_sum):
        assert torch.equal(sums(bad_z), sums(z))
    assert torch.equal(topology.laplacian(bad_w, x), topology.laplacian(w, x))
    assert torch.equal(topology.degree(bad_w), topology.degree(w))
    assert torch.equal(topology.mask_edges(bad_w), topology.mask_edges(w))


# ---- the Laplacian --------------------------------------------------------------------------


def test_laplacian_is_divergence_of_weighted_gradient(topology):
    x, w = signal(topology), weight(topology)
    expected = topology.divergence(w.unsqueeze(-1) * topology.gradient(x))
    assert_same(topology.laplacian(w, x), expected)


def test_laplacian_is_the_matrix_of_the_definition(topology):
    w = weight(topology)
    every_node = torch.eye(topology.num_nodes, dtype=w.dtype)
    assert_same(topology.laplacian(w, every_node), dense_laplacian(topology, w))


def test_laplacian_is_symmetric_and_positive_semidefinite(topology):
    w = weight(topology)
    matrix = topology.laplacian(w, torch.eye(topology.num_nodes, dtype=w.dtype))
    assert_same(matrix, matrix.T)
    assert (torch.linalg.eigvalsh(matrix) > -1e-12).all()


def test_constants_are_annihilated_exactly(topology):
    # 0.1 has no finite binary form: sums in another order than differences would leave a rest
    constant = torch.full((topology.num_nodes, 1), 0.1, dtype=torch.float64)
    w = weight(topology)
    assert torch.equal(topology.laplacian(w, constant), torch.zeros_like(constant))
    assert not topology.gradient(constant).any()


def test_nan_stays_within_the_neighbourhood(topology):
    if topology.num_nodes == 0:
        pytest.skip("there is no node to spoil")
    w, x = weight(topology), signal(topology)
    clean = topology.laplacian(w, x)
    pixel = topology.num_nodes // 2
    x[pixel, 0] = torch.nan
    tail, head = topology.edge_index[:, topology.edge_mask]
    touched = torch.zeros(topology.num_nodes, dtype=torch.bool)
    touched[tail[head == pixel]] = True
    touched[head[tail == pixel]] = True
    if touched.any():  # a node without edges reaches nobody, itself included
        touched[pixel] = True
    spoiled = topology.laplacian(w, x)
    assert torch.equal(spoiled[:, 0].isnan(), touched)
    assert torch.equal(spoiled[~touched], clean[~touched])
    assert torch.equal(spoiled[:, 1], clean[:, 1])


def test_nan_leaks_neither_around_borders_nor_to_other_rows():
    image = grid_graph((5, 6))
    x = torch.zeros(30, 1)
    x[2 * 6 + 5] = torch.nan  # row 2, last column
    spoiled = image.laplacian(torch.ones(image.num_edges), x).isnan().reshape(5, 6)
    expected = torch.zeros(5, 6, dtype=torch.bool)
    expected[1:4, 4:6] = True
    assert torch.equal(spoiled, expected)


def test_nothing_depends_on_the_orientation_of_an_undirected_edge(undirected):
    listed = to_edge_list(undirected)
    turned, x, w = listed.reversed(), signal(listed), weight(listed)
    assert torch.equal(turned.gradient(x), -listed.gradient(x))
    assert_same(turned.laplacian(w, x), listed.laplacian(w, x))
    assert_same(turned.degree(w), listed.degree(w))


# ---- differentiation ------------------------------------------------------------------------


def test_laplacian_is_twice_differentiable(topology):
    inputs = weight(topology, grad=True), signal(topology, grad=True)
    assert torch.autograd.gradcheck(topology.laplacian, inputs)
    assert torch.autograd.gradgradcheck(topology.laplacian, inputs, fast_mode=True)


def test_laplacian_of_batches_is_twice_differentiable():
    image = grid_graph((2, 3))
    inputs = weight(image, 2, 1, grad=True), signal(image, 2, grad=True)
    assert torch.autograd.gradcheck(image.laplacian, inputs)
    assert torch.autograd.gradgradcheck(image.laplacian, inputs)


def test_gradient_and_divergence_are_twice_differentiable(topology):
    x, z = signal(topology, grad=True), edge_signal(topology, grad=True)
    for apply, inputs in ((topology.gradient, x), (topology.divergence, z)):
        assert torch.autograd.gradcheck(apply, (inputs,), fast_mode=True)
        # a linear map has no second derivative: its square has
        squared = functools.partial(lambda apply, a: apply(a) ** 2, apply)
        assert torch.autograd.gradgradcheck(squared, (inputs,), fast_mode=True)


def test_lifts_sums_and_degree_are_differentiable(topology):
    x, z = signal(topology, grad=True), edge_signal(topology, grad=True)
    w = weight(topology, grad=True)
    assert torch.autograd.gradcheck(topology.lift, (x,), fast_mode=True)
    for apply in (topology.tail_sum, topology.head_sum, topology.incident_sum):
        assert torch.autograd.gradcheck(apply, (z,), fast_mode=True)
    for apply in (topology.degree, topology.mask_edges):
        assert torch.autograd.gradcheck(apply, (w,), fast_mode=True)


# ---- every structure equals the edge list ---------------------------------------------------


class AsymmetricLearner(MessagePassing):
    """Weights that tell tail (`_j`) from head (`_i`), so that a swap shows."""

    edge_updater_type = {"features": torch.Tensor}  # noqa: RUF012 (read by PyG)

    def edge_update(self, features_i, features_j):
        return (features_i * features_j.cos()).sum(-1)


# method name: the argument kinds (x signal, z edge signal, w weight) and the kind of the result
METHODS = {
    "lift": ("x", "zz"),
    "tail_sum": ("z", "x"),
    "head_sum": ("z", "x"),
    "gradient": ("x", "z"),
    "divergence": ("z", "x"),
    "incident_sum": ("z", "x"),
    "mask_edges": ("w", "w"),
    "degree": ("w", "n"),
    "laplacian": ("wx", "x"),
    "update_edges": ("x", "w"),
}


def call(topology, method, inputs):
    if method == "update_edges":
        return (topology.update_edges(AsymmetricLearner(), *inputs),)
    result = getattr(topology, method)(*inputs)
    return result if isinstance(result, tuple) else (result,)


@pytest.mark.parametrize("method", METHODS)
def test_every_structure_equals_its_edge_list(topology, method):
    arguments, results = METHODS[method]
    draw = {"x": signal, "z": edge_signal, "w": weight}
    edge_axis, kept = {"z": -2, "w": -1}, topology.edge_mask.nonzero().squeeze(-1)

    def restricted(tensor, kind):
        return tensor.index_select(edge_axis[kind], kept) if kind in edge_axis else tensor

    inputs = [draw[kind](topology, 2, grad=True) for kind in arguments]
    listed = to_edge_list(topology)
    values = call(topology, method, inputs)
    on_list = [restricted(a, kind) for a, kind in zip(inputs, arguments, strict=True)]
    expected = call(listed, method, on_list)
    values = [restricted(v, kind) for v, kind in zip(values, results, strict=True)]
    for value, reference in zip(values, expected, strict=True):
        assert value.shape == reference.shape
        assert_same(value, reference)
    probes = [torch.randn_like(v) for v in expected]
    gradients = torch.autograd.grad(values, inputs, probes)
    references = torch.autograd.grad(expected, inputs, probes)
    for gradient, reference in zip(gradients, references, strict=True):
        assert_same(gradient, reference)


def test_a_tail_is_the_source_of_a_message():
    # one edge from node 0 (tail, _j) to node 1 (head, _i)
    features = torch.tensor([[2.0], [3.0]])
    w = path_graph(2, directed=True).update_edges(AsymmetricLearner(), features)
    torch.testing.assert_close(w[0], 3 * torch.tensor(2.0).cos())


# ---- batches and memory layouts -------------------------------------------------------------


def test_batch_axes_and_heads_broadcast_and_equal_each_alone(topology):
    images, heads = signal(topology, 3, 1), weight(topology, 2)
    together = topology.laplacian(heads, images)
    assert together.shape == (3, 2, topology.num_nodes, CHANNELS)
    for b in range(3):
        for h in range(2):
            assert_same(together[b, h], topology.laplacian(heads[h], images[b, 0]))


def test_gradients_of_broadcast_inputs_are_summed(topology):
    images, heads = signal(topology, 3, 1, grad=True), weight(topology, 2, grad=True)
    probe = random(3, 2, topology.num_nodes, CHANNELS)
    together = torch.autograd.grad(topology.laplacian(heads, images), (heads, images), probe)
    alone = sum(
        (topology.laplacian(heads[h], images[b, 0]) * probe[b, h]).sum()
        for b in range(3)
        for h in range(2)
    )
    for actual, expected in zip(together, torch.autograd.grad(alone, (heads, images)), strict=True):
        assert_same(actual, expected)


def test_batched_operations_equal_each_alone(topology):
    x, z = signal(topology, 2, 3), edge_signal(topology, 2, 3)
    gradient, divergence = topology.gradient(x), topology.divergence(z)
    for i in range(2):
        for j in range(3):
            assert_same(gradient[i, j], topology.gradient(x[i, j]))
            assert_same(divergence[i, j], topology.divergence(z[i, j]))


def layouts(*shape):
    """The same kind of tensor as seen through a transpose, a stride and an expansion."""
    *lead, rows, columns = shape
    return {
        "transposed": random(*lead, columns, rows).transpose(-1, -2),
        "strided": random(*lead, rows, 2 * columns)[..., ::2],
        "expanded": random(*lead, 1, columns).expand(*shape),
        "expanded batch": random(rows, columns).expand(*shape),
    }


@pytest.mark.parametrize("layout", layouts(1, 1, 1))
def test_memory_layout_does_not_matter(topology, layout):
    x = layouts(2, topology.num_nodes, CHANNELS)[layout]
    z = layouts(2, topology.num_edges, CHANNELS)[layout]
    w = z[..., 0].abs()
    flat_x, flat_z, flat_w = (t.clone(memory_format=torch.contiguous_format) for t in (x, z, w))
    for actual, expected in (
        (topology.gradient(x), topology.gradient(flat_x)),
        (topology.divergence(z), topology.divergence(flat_z)),
        (topology.incident_sum(z), topology.incident_sum(flat_z)),
        (topology.laplacian(w, x), topology.laplacian(flat_w, flat_x)),
        (topology.degree(w), topology.degree(flat_w)),
        (topology.mask_edges(w), topology.mask_edges(flat_w)),
    ):
        assert torch.equal(actual, expected)


def test_backward_takes_expanded_gradients(topology):
    # the sum of a result hands its backward one number, expanded
    x, w = signal(topology, grad=True), weight(topology, grad=True)
    by_sum = torch.autograd.grad(topology.laplacian(w, x).sum(), (w, x))
    ones = torch.ones(topology.num_nodes, CHANNELS, dtype=torch.float64)
    by_ones = torch.autograd.grad(topology.laplacian(w, x), (w, x), ones)
    for actual, expected in zip(by_sum, by_ones, strict=True):
        assert torch.equal(actual, expected)


def test_inputs_are_left_as_they_were(topology):
    x, z, w = signal(topology), edge_signal(topology), weight(topology)
    before = [t.clone() for t in (x, z, w)]
    topology.laplacian(w, x)
    topology.gradient(x)
    topology.divergence(z)
    topology.mask_edges(w)
    assert all(map(torch.equal, (x, z, w), before))


# ---- against other libraries ----------------------------------------------------------------


def test_degree_is_that_of_networkx(topology):
    w = weight(topology)
    reference = nx.DiGraph() if topology.directed else nx.Graph()
    reference.add_nodes_from(range(topology.num_nodes))
    for e, (tail, head) in enumerate(topology.edge_index.T.tolist()):
        if topology.edge_mask[e]:
            reference.add_edge(tail, head, weight=float(w[e]))
    # row i of the weight matrix holds the edges that arrive at i
    degree = reference.in_degree if topology.directed else reference.degree
    expected = [d for _, d in degree(range(topology.num_nodes), weight="weight")]
    assert_same(topology.degree(w), torch.tensor(expected, dtype=w.dtype))
    incident = topology.incident_sum(w.unsqueeze(-1)).squeeze(-1)
    expected = [d for _, d in reference.degree(range(topology.num_nodes), weight="weight")]
    assert_same(incident, torch.tensor(expected, dtype=w.dtype))


# ---- both directions ------------------------------------------------------------------------


def test_both_directions_list_each_edge_and_later_its_reverse(undirected):
    both, m = undirected.both_directions(), undirected.num_edges
    assert both.directed
    assert both.num_edges == 2 * m
    assert torch.equal(both.edge_index[:, :m], undirected.edge_index)
    assert torch.equal(both.edge_index[:, m:], undirected.edge_index.flip(0))


def test_laplacian_of_both_directions_adds_their_weights(undirected):
    both, x = undirected.both_directions(), signal(undirected)
    w = weight(both)
    forth, back = w.tensor_split(2, -1)
    assert_same(both.laplacian(w, x), undirected.laplacian(forth + back, x))
    assert torch.equal(both.merged(w), forth + back)


def test_both_directions_belong_to_the_same_systems(undirected):
    a, b = signal(undirected), signal(undirected)
    expected = undirected.systems.inner(a, b)
    assert torch.equal(undirected.both_directions().systems.inner(a, b), expected)


def test_only_grids_are_lattices(undirected):
    expected = undirected.shape if isinstance(undirected, Grid) else None
    assert undirected.lattice == expected
    assert undirected.both_directions().lattice == expected


# ---- grids ----------------------------------------------------------------------------------


def test_the_slot_of_offset_and_tail():
    # edge (k, i) stands at k N + i and joins i to i + o_k
    image = Grid((3, 4), ((0, 1), (2, -1)))
    node = torch.arange(12).reshape(3, 4)
    tail, head = image.edge_index.reshape(2, 2, 3, 4)
    assert torch.equal(tail, node.expand(2, 3, 4))
    assert torch.equal(head[0, :, :3], node[:, 1:])
    assert torch.equal(head[1, :1, 1:], node[2:, :3])
    assert int(image.edge_mask.sum()) == 3 * 3 + 1 * 3


def test_a_tent_is_linear_interpolation():
    # on a window of 3 a neighbour lies half way to the border of the tent
    single, double = torch.empty(0), torch.empty(0, dtype=torch.float64)
    tent = grid_graph((4, 4), window=3).tent(single).reshape(4, 16)
    assert tent.max(-1).values.tolist() == [0.5, 0.25, 0.5, 0.25]
    line = path_graph(6, lags=3)
    ramp = line.tent(double).reshape(3, 6)
    assert ramp[:, 0].tolist() == [0.75, 0.5, 0.25]
    assert (tent.dtype, ramp.dtype) == (torch.float32, torch.float64)


def test_a_tent_is_a_graph_of_weights_that_both_directions_share(undirected):
    reference = torch.empty(0, dtype=torch.float64)
    tent = undirected.tent(reference)
    assert torch.equal(tent > 0, undirected.edge_mask)
    assert torch.equal(undirected.both_directions().tent(reference), tent.repeat(2))


# ---- batches of graphs ----------------------------------------------------------------------


def test_each_graph_of_a_batch_is_a_system_of_its_own():
    batch = torch.tensor([0, 1, 0, 1, 1, 0])
    together = knn_graph(cloud(6), 2, batch=batch)
    a, b = signal(together, 3), signal(together, 3)
    inner = together.systems.inner(a, b)
    assert inner.shape == (3, 2, CHANNELS)
    for graph in range(2):
        expected = (a * b)[:, batch == graph].sum(-2)
        assert_same(inner[:, graph], expected)
    assert torch.equal(together.systems.spread(inner), inner[:, batch])


def test_graphs_of_a_batch_do_not_touch():
    batch = torch.tensor([0, 0, 0, 1, 1, 1])
    together = knn_graph(cloud(6), 2, batch=batch)
    graph = Graph(together, weight(together))
    x = signal(together)
    clean = together.laplacian(graph.weight, x)
    x[batch == 1] = torch.inf
    assert torch.equal(together.laplacian(graph.weight, x)[:3], clean[:3])


def test_transforms_of_functions_reach_the_rules():
    """The shortcut for signals that no gradient is asked of must not be taken inside `torch.func`,
    whose tensors say that they need none."""
    topology = grid_graph((3, 4), window=3)
    x = torch.randn(12, 2, dtype=torch.float64)
    w = topology.mask_edges(torch.rand(topology.num_edges, dtype=torch.float64))
    g = torch.func.grad(lambda x: (topology.laplacian(w, x) ** 2).sum() / 2)(x)
    torch.testing.assert_close(g, topology.laplacian(w, topology.laplacian(w, x)))
    g = torch.func.grad(lambda x: (topology.gradient(x) ** 2).sum() / 2)(x)
    torch.testing.assert_close(g, topology.divergence(topology.gradient(x)))
