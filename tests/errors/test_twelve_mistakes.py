"""The twelve mistakes everybody makes, at every public door where they can be made.

Each is answered in three parts: what was got, what is expected, what to do.
"""

import pytest
import torch

from gsp_unroll import (
    ADMM,
    GLR,
    GTV,
    BayerMosaic,
    Blur,
    BoundedMomentum,
    ColorMosaic,
    ConjugateGradient,
    Diagonal,
    DotProductLearner,
    Downsample,
    EdgeList,
    GLRUnroll,
    Graph,
    GTVLinearProgramUnroll,
    GTVUnroll,
    GuardedCG,
    HeavyBall,
    Identity,
    Incidence,
    Interpolation,
    Laplacian,
    LeastSquares,
    LinearOperator,
    MahalanobisLearner,
    MatrixFree,
    Problem,
    SamplingMask,
    VectorGTV,
    VectorGTVUnroll,
    knn_graph,
    path_graph,
    start,
)

NODES, CHANNELS = 5, 2
PATH = path_graph(NODES)
GRAPH = Graph(PATH, torch.ones(PATH.num_edges))
MASK = torch.tensor([True, False, True, True, False])
H = SamplingMask(MASK)
Y = torch.rand(NODES, CHANNELS)
HARD, SOFT = Interpolation(H, Y), LeastSquares(H, Y)

# ---- doors through which a signal enters: name -> a function of that signal -----------------

SIGNAL_DOORS = {
    "topology.gradient": PATH.gradient,
    "topology.laplacian": lambda x: PATH.laplacian(GRAPH.weight, x),
    "Laplacian": lambda x: Laplacian(GRAPH) @ x,
    "Laplacian sym": lambda x: Laplacian(GRAPH, "sym") @ x,
    "Laplacian rw": lambda x: Laplacian(GRAPH, "rw").T @ x,
    "Incidence": lambda x: Incidence(GRAPH) @ x,
    "SamplingMask": lambda x: H @ x,
    "ColorMosaic": lambda x: ColorMosaic(torch.zeros(NODES, dtype=torch.int64), CHANNELS) @ x,
    "Downsample": lambda x: Downsample((NODES,)) @ x,
    "Blur": lambda x: Blur((NODES,), torch.ones(3)) @ x,
    "Diagonal": lambda x: Diagonal(torch.ones(NODES, 1)) @ x,
    "a composition": lambda x: (H @ Blur((NODES,), torch.ones(3))) @ x,
    "a sum": lambda x: (H + Laplacian(GRAPH)) @ x,
    "observation": lambda y: ADMM().solve(Problem(LeastSquares(H, y), GTV(GRAPH))),
    "observation everywhere": lambda y: Problem(LeastSquares(Identity(), y), GTV(GRAPH)),
    "base": SOFT.around,
    "objective": Problem(SOFT, GTV(GRAPH)).objective,
    "GTV": GTV(GRAPH),
    "VectorGTV": VectorGTV(GRAPH),
    "GLR": GLR(GRAPH),
    "GLR sym": GLR(GRAPH, normalization="sym"),
    "start of ADMM": lambda x: ADMM().solve(Problem(SOFT, GTV(GRAPH)), x),
    "start": lambda y: start(LeastSquares(H, y), PATH),
    "right-hand side": lambda b: ConjugateGradient().solve(H + Laplacian(GRAPH), b),
    "start of CG": lambda x: ConjugateGradient().solve(H + Laplacian(GRAPH), Y, x),
    "GTVUnroll": lambda y: GTVUnroll()(Interpolation(H, y), GRAPH),
    "GTVUnroll, x0": lambda x: GTVUnroll()(HARD, GRAPH, x),
    "VectorGTVUnroll": lambda y: VectorGTVUnroll(rho=1.0)(LeastSquares(H, y), GRAPH),
    "GLRUnroll": lambda y: GLRUnroll(mu=1.0)(LeastSquares(H, y), GRAPH),
    "GLRUnroll, x0": lambda x: GLRUnroll()(HARD, GRAPH, x),
    "linear program": lambda y: GTVLinearProgramUnroll()(Interpolation(H, y), GRAPH),
    "MahalanobisLearner": lambda f: MahalanobisLearner(CHANNELS)(f, PATH),
    "DotProductLearner": lambda f: DotProductLearner(CHANNELS)(f, PATH),
}
#: Doors that hold no numbers to compare a type with: any type is right.
WITHOUT_DTYPE = {
    *("topology.gradient", "SamplingMask", "ColorMosaic", "Downsample", "Blur", "a composition"),
    "start",
}
#: Doors that hold nothing on a device.
WITHOUT_DEVICE = {"topology.gradient"}


def at(doors, but=()):
    return [pytest.param(door, id=name) for name, door in doors.items() if name not in but]


def refuses(got, expected, advice):
    return pytest.raises(ValueError, match=f"(?s)^Got .*{got}.* Expected .*{expected}.* .*{advice}")


# ---- 1-3: the wrong signal ------------------------------------------------------------------


@pytest.mark.parametrize("door", at(SIGNAL_DOORS))
def test_1_wrong_node_count(door):
    with refuses(r"(\(4, 2\)|on 4 nodes)", "(5|the same nodes)", "(same|Build|Leave x0 out)"):
        door(torch.rand(4, CHANNELS))


@pytest.mark.parametrize("door", at(SIGNAL_DOORS))
def test_2_transposed_signal(door):
    with refuses(r"(\(2, 5\)|on 2 nodes)", "(5|the same nodes)", "(transpose|Build|Leave x0 out)"):
        door(torch.rand(CHANNELS, NODES))


@pytest.mark.parametrize("door", at(SIGNAL_DOORS))
def test_3_integer_signal(door):
    with refuses("dtype torch.uint8", "float32", "(float|Convert)"):
        door(torch.ones(NODES, CHANNELS, dtype=torch.uint8))


# ---- 4: a short mask ------------------------------------------------------------------------

SHORT = SamplingMask(MASK[:4])
SHORT_MASK_DOORS = {
    "applied": lambda: SHORT @ Y,
    "data term": lambda: Interpolation(SHORT, Y),
    "problem": lambda: Problem(LeastSquares(SHORT, Y[:4]), GTV(GRAPH)),
    "layer": lambda: GTVUnroll()(Interpolation(SHORT, Y[:4]), GRAPH),
    "start": lambda: start(Interpolation(SHORT, Y[:4]), PATH),
    "composition": lambda: SHORT @ Blur((NODES,), torch.ones(3)),
    "sum": lambda: SHORT + Laplacian(GRAPH),
}


@pytest.mark.parametrize("door", at(SHORT_MASK_DOORS))
def test_4_short_mask(door):
    with refuses("(4|5)", "(4|5|the same nodes|equal numbers)", "(same|Build|Check the order)"):
        door()


# ---- 5-6: the wrong weight ------------------------------------------------------------------

BOTH_WAYS = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
WEIGHT_DOORS = {
    "Graph": lambda v: Graph(PATH, torch.tensor([1.0, v, 1.0, 1.0, 0.0])),
    "Graph per head": lambda v: Graph(PATH, torch.tensor([[1.0, v, 1.0, 1.0, 0.0]] * 2)),
    "from_edge_index": lambda v: Graph.from_edge_index(BOTH_WAYS, torch.tensor([1.0, 1.0, v, v])),
}


@pytest.mark.parametrize("door", at(WEIGHT_DOORS))
def test_5_negative_weight(door):
    with refuses("negative edge weight", "0 or more", "similarity"):
        door(-1.0)


@pytest.mark.parametrize("door", at(WEIGHT_DOORS))
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_6_nan_weight(door, value):
    with refuses("NaN or infinite", "finite", "division by zero"):
        door(value)


# ---- 7-8: the wrong edge --------------------------------------------------------------------


def columns(*pairs):
    return torch.tensor(pairs).T


OUT_OF_RANGE_DOORS = {
    "EdgeList": lambda: EdgeList(columns((0, 1), (1, 3)), 3),
    "EdgeList, negative": lambda: EdgeList(columns((0, 1), (-1, 2)), 3),
    "from_edge_index": lambda: Graph.from_edge_index(columns((0, 3), (3, 0)), num_nodes=3),
}
DUPLICATE_DOORS = {
    "EdgeList": lambda: EdgeList(columns((0, 1), (1, 2), (0, 1)), 3),
    "EdgeList, both ways": lambda: EdgeList(columns((0, 1), (1, 0)), 3),
    "from_edge_index": lambda: Graph.from_edge_index(columns((0, 1), (1, 0), (0, 1), (1, 0))),
}


@pytest.mark.parametrize("door", at(OUT_OF_RANGE_DOORS))
def test_7_edge_out_of_range(door):
    with refuses("an edge between nodes", "0 to 2", "num_nodes"):
        door()


@pytest.mark.parametrize("door", at(DUPLICATE_DOORS))
def test_8_duplicated_edge(door):
    with refuses("duplicated", "once", "(sum|merge)"):
        door()


# ---- 9-10: the wrong device, the wrong type -------------------------------------------------

ELSEWHERE = Graph.unchecked(PATH, GRAPH.weight.to("meta"))
HIDDEN = SamplingMask(MASK.to("meta"))
DOUBLE = GRAPH.to(torch.float64)
OTHER_GRAPH_DOORS = {
    "problem": lambda graph: Problem(SOFT, GTV(graph)),
    "GTVUnroll": lambda graph: GTVUnroll()(HARD, graph),
    "VectorGTVUnroll": lambda graph: VectorGTVUnroll(rho=1.0)(SOFT, graph),
    "GLRUnroll": lambda graph: GLRUnroll()(HARD, graph),
    "linear program": lambda graph: GTVLinearProgramUnroll()(HARD, graph),
    "conjugate gradients": lambda graph: ConjugateGradient().solve(H + Laplacian(graph), Y),
}
MASK_ELSEWHERE_DOORS = {
    "applied": lambda: HIDDEN @ Y,
    "conjugate gradients": lambda: ConjugateGradient().solve(HIDDEN, Y),
    "ADMM": lambda: ADMM().solve(Problem(Interpolation(HIDDEN, Y), GTV(GRAPH))),
    "layer": lambda: GTVUnroll()(Interpolation(HIDDEN, Y), GRAPH),
    "sum": lambda: ConjugateGradient().solve(HIDDEN + Laplacian(GRAPH), Y),
    "mosaic, adjoint": lambda: BayerMosaic(1, NODES).T @ Y[:, :1].to("meta"),
    "downsample": lambda: Downsample((NODES,), device="meta") @ Y,
    "downsample, adjoint": lambda: Downsample((NODES,), device="meta").T @ Y[:3],
}


@pytest.mark.parametrize("door", at(SIGNAL_DOORS, but=WITHOUT_DEVICE))
def test_9_signal_on_the_wrong_device(door):
    with refuses("on meta", "the device of .*, cpu", r"Move one of them"):
        door(torch.rand(NODES, CHANNELS, device="meta"))


@pytest.mark.parametrize("door", at(OTHER_GRAPH_DOORS))
def test_9_graph_on_the_wrong_device(door):
    with refuses("on (meta|cpu)", "the device of .*, (cpu|meta)", r"Move one of them"):
        door(ELSEWHERE)


@pytest.mark.parametrize("door", at(MASK_ELSEWHERE_DOORS))
def test_9_mask_on_the_wrong_device(door):
    with refuses("on (meta|cpu)", "the device of .*, (meta|cpu)", r"Move one of them"):
        door()


@pytest.mark.parametrize("door", at(SIGNAL_DOORS, but=WITHOUT_DTYPE))
def test_10_signal_of_the_wrong_dtype(door):
    with refuses("dtype torch.float64", "the dtype of .*torch.float32", r"\.to\(torch.float32\)"):
        door(torch.rand(NODES, CHANNELS, dtype=torch.float64))


@pytest.mark.parametrize("door", at(OTHER_GRAPH_DOORS))
def test_10_graph_of_the_wrong_dtype(door):
    with refuses("dtype torch.float32", "the dtype of .*torch.float64", r"\.to\(torch.float64\)"):
        door(DOUBLE)


# ---- 11: zero iterations --------------------------------------------------------------------

COUNT_DOORS = {
    "GTVUnroll": ("num_iterations", lambda n: GTVUnroll(num_iterations=n)),
    "VectorGTVUnroll": ("num_iterations", lambda n: VectorGTVUnroll(num_iterations=n)),
    "linear program": ("num_iterations", lambda n: GTVLinearProgramUnroll(num_iterations=n)),
    "GTVUnroll's solves": ("cg_steps", lambda n: GTVUnroll(cg_steps=n)),
    "GLRUnroll": ("cg_steps", lambda n: GLRUnroll(cg_steps=n)),
    "BoundedMomentum": ("cg_steps", BoundedMomentum),
    "HeavyBall": ("cg_steps", HeavyBall),
    "GuardedCG": ("cg_steps", GuardedCG),
    "ADMM": ("max_steps", lambda n: ADMM(max_steps=n)),
    "ADMM's checks": ("check_every", lambda n: ADMM(check_every=n)),
    "ConjugateGradient": ("max_steps", lambda n: ConjugateGradient(max_steps=n)),
    "start": ("sweeps", lambda n: start(HARD, PATH, sweeps=n)),
    "knn_graph": ("k", lambda n: knn_graph(torch.rand(4, 2), k=n)),
}


@pytest.mark.parametrize(("name", "door"), COUNT_DOORS.values(), ids=COUNT_DOORS.keys())
@pytest.mark.parametrize("count", [0, -1, 2.5, True])
def test_11_zero_iterations(name, door, count):
    with refuses(f"{name}={count}", "a whole number of at least 1", f"Set {name} to 1 or more"):
        door(count)


# ---- 12: an operator without an adjoint -----------------------------------------------------


class OneWay(LinearOperator):
    def _apply(self, x):
        return 2 * x


FORWARD_ONLY = MatrixFree(lambda x: x.flip(-2))
ADJOINT_DOORS = {
    "adjoint": lambda: FORWARD_ONLY.T @ Y,
    "adjoint of a subclass": lambda: OneWay().T @ Y,
    "gram": lambda: FORWARD_ONLY.gram @ Y,
    "composition": lambda: (H @ OneWay()).T @ Y,
    "sum": lambda: (H + OneWay()).T @ Y,
    "ADMM": lambda: ADMM().solve(Problem(LeastSquares(FORWARD_ONLY, Y), GTV(GRAPH))),
    "GTVUnroll": lambda: GTVUnroll(rho=1.0)(LeastSquares(OneWay(), Y), GRAPH),
    "GLRUnroll": lambda: GLRUnroll(mu=1.0)(LeastSquares(FORWARD_ONLY, Y), GRAPH),
    "start": lambda: start(LeastSquares(OneWay(), Y), PATH),
}


@pytest.mark.parametrize("door", at(ADJOINT_DOORS))
def test_12_operator_without_adjoint(door):
    with refuses("(MatrixFree|OneWay), which has no adjoint", "_apply_adjoint", "pass the adjoint"):
        door()


# ---- what is right passes -------------------------------------------------------------------


@pytest.mark.parametrize("door", at(SIGNAL_DOORS))
def test_the_right_signal_passes_every_door(door):
    door(torch.rand(NODES, CHANNELS))


@pytest.mark.parametrize("door", at(SIGNAL_DOORS, but=set(SIGNAL_DOORS) - WITHOUT_DTYPE))
def test_doors_without_numbers_take_any_type(door):
    result = door(torch.rand(NODES, CHANNELS, dtype=torch.float64))
    assert result.dtype == torch.float64
