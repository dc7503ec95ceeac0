"""The public checks pass what is right, and raise on every kind of wrong."""

import dataclasses

import pytest
import torch

from gsp_unroll.graph import EdgeList, Graph, Grid, Systems, grid_graph
from gsp_unroll.learners import GraphLearner
from gsp_unroll.operators import Diagonal, Identity, Laplacian, LinearOperator, MatrixFree
from gsp_unroll.problems import GGTV, GLR, GTV, FirmGTV, Prior, SumPrior, VectorGTV, soft_threshold
from gsp_unroll.testing import (
    LawBroken,
    check_adjoint,
    check_claims,
    check_diagonal,
    check_gram,
    check_learner,
    check_majorizer,
    check_metric,
    check_positive_semidefinite,
    check_prox,
    check_topology,
    dense_matrix,
)
from tests.laws.test_learners import LEARNERS
from tests.registries import TOPOLOGIES, cloud, edges
from tests.registries_operators import BATCH, IMAGE, POINTS, numbers, slopes_on, weighted

M = numbers(3, 5) - 0.5
ONE = torch.ones(5, 1, dtype=torch.float64)


def breaks(law):
    return pytest.raises(LawBroken, match=law)


# ---- operators ------------------------------------------------------------------------------


def test_a_broken_law_is_an_assertion_error():
    # so that pytest reports it as a failure and not as an error of the test
    assert issubclass(LawBroken, AssertionError)


def test_the_matrix_of_an_operator():
    A = MatrixFree(lambda x: M @ x, lambda y: M.T @ y)
    torch.testing.assert_close(dense_matrix(A, 5), M)
    by_channel = torch.kron(M, torch.eye(2).double())
    torch.testing.assert_close(dense_matrix(A, 5, 2), by_channel)
    heads = numbers(2, 5, 1)
    torch.testing.assert_close(dense_matrix(Diagonal(heads), 5), heads.squeeze(-1).diag_embed())


def test_adjoint_that_is_off_by_a_little():
    for error in (1.0, 1e-3, 1e-9):
        wrong = M.T.clone()
        wrong[4, 0] += error
        with breaks("<Ax, y> = <x, A'y> for MatrixFree: off by"):
            check_adjoint(MatrixFree(lambda x: M @ x, lambda y, wrong=wrong: wrong @ y), (5, 2))


@pytest.mark.parametrize(
    ("apply", "adjoint"),
    [
        (lambda x: M @ x, lambda y: -(M.T @ y)),
        (lambda x: M @ x + 1, lambda y: M.T @ y),
        (lambda x: (M @ x).abs(), lambda y: M.T @ y),
        (lambda x: M @ x, lambda y: torch.full((5, 2), torch.nan).double()),
    ],
    ids=["minus", "offset", "not linear", "NaN"],
)
def test_maps_that_are_no_pair(apply, adjoint):
    with breaks("<Ax, y>"):
        check_adjoint(MatrixFree(apply, adjoint), (5, 2))


def test_adjoint_of_another_shape():
    with breaks(r"A'y looks like x for MatrixFree: shape \(4, 2\), expected \(5, 2\)"):
        check_adjoint(MatrixFree(lambda x: M @ x, lambda y: (M.T @ y)[..., :4, :]), (5, 2))


def test_given_signals_are_used():
    # an operator that is wrong at node 0 only: seen by some signals, and not by others
    A = MatrixFree(lambda x: x, lambda y: torch.cat([2 * y[:1], y[1:]]))
    away = torch.tensor([[0.0], [1.0], [2.0]]).double()
    check_adjoint(A, away, away)
    with breaks("<Ax, y>"):
        check_adjoint(A, away + 1, away + 1)


class Told(LinearOperator):
    """The identity, which tells about itself whatever it is given."""

    def __init__(self, diagonal=None, majorizer=None, gram=None, factor=1.0):
        self.told = diagonal, majorizer
        self.told_gram = gram
        self.factor = factor

    def _apply(self, x):
        return self.factor * x

    _apply_adjoint = _apply

    def diagonal(self):
        return self.told[0]

    def majorizer(self):
        return self.told[1]

    @property
    def gram(self):
        return self.told_gram or super().gram


def test_gram_of_something_else():
    check_gram(Told(), (5, 2))
    with breaks("gram = T @ self for Told: off by"):
        check_gram(Told(gram=Identity().scaled(1 + 1e-9)), (5, 2))


def test_positive_semidefinite():
    check_positive_semidefinite(Told(factor=0.0), 5)
    with breaks("x'Ax >= 0 for Told: an eigenvalue of .* is -1"):
        check_positive_semidefinite(Told(factor=-1.0), 5)
    with breaks("x'Ax >= 0 for Diagonal: an eigenvalue of .* is -1e-09"):
        check_positive_semidefinite(Diagonal(ONE.index_fill(0, torch.tensor([2]), -1e-9)), 5)


def test_not_symmetric():
    skew = M[:, :3]
    with breaks("A = A' for MatrixFree"):
        check_positive_semidefinite(MatrixFree(lambda x: skew @ x, lambda y: skew.T @ y), 3)


def test_diagonals():
    check_diagonal(Told(ONE), 5, 2)
    check_diagonal(Told(torch.ones(())), 5, 2)
    with breaks(r"diagonal\(\) for Told: off by 1e-09"):
        check_diagonal(Told(ONE + 1e-9), 5, 2)
    with pytest.raises(
        ValueError, match=r"Got Told, which knows no diagonal.*Leave this check out"
    ):
        check_diagonal(Told(), 5)


def test_majorizers():
    for d in (ONE, 0.5 * ONE, 100 * ONE):
        check_majorizer(Told(majorizer=d), 5, 2)
    with breaks("A <= 2 D for Told: an eigenvalue"):
        check_majorizer(Told(majorizer=0.499 * ONE), 5, 2)
    with breaks("D >= 0 for Told: an entry is -1"):
        check_majorizer(Told(majorizer=torch.cat([ONE[:4], -ONE[:1]])), 5)
    with breaks("0 <= A for Told"):
        check_majorizer(Told(majorizer=ONE, factor=-1.0), 5)
    with pytest.raises(ValueError, match="Got Told, which knows no majorizer"):
        check_majorizer(Told(), 5)


def test_the_diagonal_of_a_dense_matrix_is_no_majorizer():
    ones = torch.ones(5, 5, dtype=torch.float64)

    class Ones(Told):
        def _apply(self, x):
            return ones @ x

        _apply_adjoint = _apply

    check_diagonal(Ones(diagonal=ONE), 5)
    with breaks("A <= 2 D for Ones"):
        check_majorizer(Ones(majorizer=ONE), 5)


# ---- priors ---------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, eq=False)
class Broken(GTV):
    """Total variation with a proximal map, or a metric, of something else."""

    fault: str = ""

    def prox(self, z, step):
        if self.fault == "step forgotten":
            return super().prox(z, 1.0)
        if self.fault == "weight in the threshold":  # right in another metric
            return super().prox(z, step * self.w)
        if self.fault == "a little too far":
            return super().prox(z, step * (1 + 1e-5))
        if self.fault == "no threshold":
            return z
        if self.fault == "sign":
            return -super().prox(z, step)
        return super().prox(z, step)

    def pull_back(self, z):
        v = super().pull_back(z)
        return v * (1 + 1e-9) if self.fault == "metric" else v


Z = torch.randn(IMAGE.num_edges, 2, dtype=torch.float64)


@pytest.mark.parametrize(
    "fault",
    ["step forgotten", "weight in the threshold", "a little too far", "no threshold", "sign"],
)
def test_a_wrong_proximal_map(fault):
    check_prox(Broken(weighted(IMAGE), 0.3), Z, 2.0)
    with breaks(r"prox\(z, 2.0\) minimises for Broken: a move of length .* breaks the inequality"):
        check_prox(Broken(weighted(IMAGE), 0.3, fault), Z, 2.0)


def test_a_proximal_map_in_another_metric():
    prior = Broken(weighted(IMAGE), 0.3, "weight in the threshold")
    with breaks("prox"):
        check_prox(GTV(weighted(IMAGE), 0.3), Z, 2.0, metric=torch.ones_like(Z))
    check_prox(prior, Z, 2.0, metric=torch.ones_like(Z))


def test_parts_of_a_prior_in_two_metrics():
    check_metric(Broken(weighted(IMAGE)), (12, 2))
    with breaks(r"K'WK x = K'W\(Kx\) for Broken: off by"):
        check_metric(Broken(weighted(IMAGE), fault="metric"), (12, 2))


def claiming(kind, **methods):
    """A prior class with something changed, or claimed, that its penalty does not keep."""
    changed = type("Claiming", (kind,), methods)
    return lambda *arguments: dataclasses.dataclass(frozen=True, eq=False)(changed)(*arguments)


def forced(kind, **claims):
    """The same for what instances are told when they are made."""

    def build(*arguments):
        prior = claiming(kind)(*arguments)
        for name, value in claims.items():
            object.__setattr__(prior, name, value)
        return prior

    return build


def quasi_norm(self, z):
    return z.abs().sqrt().sum(-1, keepdim=True) ** 2


ONES = torch.ones(12, 1, dtype=torch.float64)
FALSE_CLAIMS = {
    r"g\(-z\) = g\(z\) for Claiming: off by": lambda: claiming(
        GTV, penalty=lambda self, z: z.clamp(min=0)
    )(weighted(IMAGE)),
    r"g\(2z\) = 2 g\(z\) for Claiming: off by": lambda: claiming(GTV, penalty=lambda self, z: z**2)(
        weighted(IMAGE)
    ),
    r"g\(a \+ b\) <= g\(a\) \+ g\(b\) for Claiming: above it by": lambda: claiming(
        VectorGTV, penalty=quasi_norm
    )(weighted(IMAGE)),
    "g is convex up to weak_convexity for Claiming: above it by": lambda: forced(
        FirmGTV, weak_convexity=0.0
    )(weighted(IMAGE)),
    "the value is x'Qx / 2 for Claiming: off by": lambda: claiming(
        GLR, Q=property(lambda self: self.normal.scaled(1.01 * self.mu))
    )(weighted(IMAGE)),
    "clipping raises nothing for Claiming: above it by": lambda: forced(GGTV, has_dual_bound=True)(
        slopes_on(IMAGE)
    ),
    "clipping x / level raises nothing for Claiming: above it by": lambda: claiming(
        GLR, level=ONES
    )(squarely(IMAGE), 1.0, "sym"),
}


def squarely(topology):
    """Weights of very different size, so that degrees differ."""
    w = topology.mask_edges(10 ** torch.linspace(-3, 1, topology.num_edges).double())
    return Graph(topology, w)


@pytest.mark.parametrize(("law", "build"), FALSE_CLAIMS.items())
def test_a_prior_that_is_not_what_it_says(law, build):
    with breaks(law):
        for _ in range(20):
            check_claims(build(), (12, 2))


def test_a_form_beside_that_is_another():
    part = GTV(weighted(IMAGE)) + GLR(weighted(IMAGE))
    check_claims(part, (12, 2))

    class Beside(SumPrior):
        beside = Identity()

    with breaks(r"the value is g\(Kx\) and the form beside for Beside: off by"):
        check_claims(Beside(part.parts), (12, 2))


def test_a_prior_that_is_no_graph_prior():
    class Ridge(Prior):
        K = Identity()
        factor = 1.0

        def penalty(self, z):
            return 0.5 * z**2

        def prox(self, z, step):
            return z / (1 + self.factor * step)

    check_prox(Ridge(), Z, 0.7)
    wrong = Ridge()
    wrong.factor = 2.0
    with breaks("prox"):
        check_prox(wrong, Z, 0.7)
    wrong.prox = lambda z, step: z[:3]
    with breaks(r"prox\(z\) looks like z for Ridge"):
        check_prox(wrong, Z)
    with pytest.raises(ValueError, match="Got step=0"):
        check_prox(Ridge(), Z, 0)


# ---- topologies -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", [n for n in TOPOLOGIES if TOPOLOGIES[n]().num_nodes])
def test_topologies_keep_their_laws(name):
    check_topology(TOPOLOGIES[name]())


class BrokenGrid(Grid):
    """A grid with one method replaced."""


GRID = grid_graph((3, 4), window=5)


def replaced(**methods):
    kind = type("BrokenGrid", (Grid,), methods)
    return kind(GRID.shape, GRID.offsets)


def without_mask(self, z):
    # the border is forgotten: padded slots count
    return z.reshape(*z.shape[:-2], -1, 12, z.shape[-1]).sum(-3)


WRONG_GRIDS = {
    "lift reads the tail": {
        "lift": lambda self, x: tuple(1.01 * t for t in Grid.lift(self, x)),
    },
    "lift reads the head": {
        "lift": lambda self, x: (Grid.lift(self, x)[0], Grid.lift(self, x)[0]),
    },
    "gradient = head - tail": {"gradient": lambda self, x: -Grid.gradient(self, x)},
    "tail_sum of the list": {"tail_sum": without_mask},
    "head_sum of the list": {"head_sum": Grid.tail_sum},
    "divergence of the list": {"divergence": lambda self, z: -Grid.divergence(self, z)},
    "incident_sum of the list": {"incident_sum": lambda self, z: Grid.head_sum(self, z)},
    "degree of the list": {"degree": lambda self, w: 2 * Grid.degree(self, w)},
    "mask_edges": {"mask_edges": lambda self, w: w},
    "L = div w grad": {
        "_laplacian": lambda self, w, x: Grid._laplacian(self, w, x) + 1e-9 * x,
    },
    "derivative of Lx by w": {
        "_edge_energy": lambda self, x, g: 2 * Grid._edge_energy(self, x, g),
    },
    "no derivative by padded weights": {
        "_edge_energy": lambda self, x, g: (
            Grid._edge_energy(self, x, g) + (~self.edge_mask).double()
        ),
    },
    "_j is the tail": {
        "update_edges": lambda self, learner, f: learner.edge_update(*self.lift(f)),
    },
    "one tent weight per edge": {"tent": lambda self, reference: reference.new_ones(3)},
    "tent is 0 on padded slots": {
        "tent": lambda self, reference: reference.new_ones(self.num_edges),
    },
    "a padded slot is a self-loop": {
        "edge_mask": property(lambda self: torch.ones(self.num_edges, dtype=torch.bool)),
    },
    "edge_index has a column per edge": {
        "edge_index": property(lambda self: GRID.edge_index[:, :-1]),
    },
    "edge_index is int64": {"edge_index": property(lambda self: GRID.edge_index.int())},
    "edge_index names nodes 0 to 11": {"edge_index": property(lambda self: GRID.edge_index + 1)},
    "no edge leads from one system to another": {
        "systems": property(lambda self: Systems(torch.arange(12) % 2, 2)),
    },
}


@pytest.mark.parametrize(("law", "methods"), WRONG_GRIDS.items(), ids=WRONG_GRIDS.keys())
def test_wrong_topologies(law, methods):
    check_topology(replaced())
    with breaks(law):
        check_topology(replaced(**methods))


def test_an_edge_stored_twice():
    doubled = object.__new__(EdgeList)
    doubled.__dict__.update(POINTS.__dict__)
    twice = torch.cat([POINTS.edge_index, POINTS.edge_index[:, :2].flip(0)], 1)
    object.__setattr__(doubled, "edge_index", twice)
    with breaks("every edge is stored once for EdgeList: 2 are not"):
        check_topology(doubled)


# ---- learners -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", LEARNERS.values(), ids=LEARNERS.keys())
@pytest.mark.parametrize("heads", [None, 2])
@pytest.mark.parametrize("topology", [IMAGE, POINTS, BATCH], ids=["image", "points", "batch"])
@pytest.mark.parametrize("normalization", ["none", "sym", "row", "merged"])
def test_learners_keep_their_laws(kind, heads, topology, normalization):
    learner = kind(3, heads=heads, normalization=normalization).double()
    lead = () if heads is None else (heads,)
    features = torch.randn(*lead, topology.num_nodes, 3, dtype=torch.float64)
    check_learner(learner, features, topology)


def faulty(fault):
    class Faulty(GraphLearner):
        def __init__(self):
            super().__init__(2, normalization="none")
            self.scale = torch.nn.Parameter(torch.ones(2, dtype=torch.float64))

        def edge_update(self, features_i, features_j):
            return fault(self, features_i, features_j)

    return Faulty()


def similarity(self, f_i, f_j):
    return (-(self.scale * (f_i - f_j)).abs().sum(-1)).exp()


FAULTS = {
    "finite weights": lambda self, i, j: similarity(self, i, j) / 0,
    "weights of 0 or more": lambda self, i, j: similarity(self, i, j) - 0.5,
    "the orientation of an edge": lambda self, i, j: similarity(self, i, 0 * j),
    "batch = alone": lambda self, i, j: similarity(self, i, j) * i.abs().sum(),
    "the numbers of nodes and edges": lambda self, i, j: (
        similarity(self, i, j) * (1 + torch.arange(i.shape[-2])).double()
    ),
    "parameters of Faulty move": lambda self, i, j: similarity(self, i, j).detach(),
    "parameter scale of Faulty moves": lambda self, i, j: (
        similarity(self, i, j).detach() + 0 * self.scale.sum()
    ),
    "the derivative by scale of Faulty": lambda self, i, j: (
        similarity(self, i, j) + (self.scale - self.scale).sum().sqrt()
    ),
}


@pytest.mark.parametrize(("law", "fault"), FAULTS.items(), ids=FAULTS.keys())
def test_wrong_learners(law, fault):
    features = torch.randn(7, 2, dtype=torch.float64)
    check_learner(faulty(similarity), features, POINTS)
    with breaks(law):
        check_learner(faulty(fault), features, POINTS)


def test_a_learner_of_several_weights_per_edge():
    class Double(type(faulty(similarity))):
        def edge_weight(self, embedded, topology):
            return super().edge_weight(embedded, topology).repeat(2, 1)

    with breaks("one weight per edge"):
        check_learner(Double(), torch.randn(7, 2, dtype=torch.float64), POINTS)


def test_a_learner_that_fills_padded_slots():
    class Overfull(type(faulty(similarity))):
        def edge_weight(self, embedded, topology):
            return topology.update_edges(self, embedded)

    learner = Overfull()
    learner.edge_update = lambda features_i, features_j: torch.ones(features_i.shape[:-1])
    with breaks("weights of 0 on padded slots"):
        check_learner(learner, torch.randn(12, 2, dtype=torch.float64), IMAGE)


def test_a_learner_without_parameters_is_fine():
    class Fixed(GraphLearner):
        def edge_update(self, features_i, features_j):
            return (-(features_i - features_j).abs().sum(-1)).exp()

    check_learner(Fixed(2), cloud(7), POINTS)


def test_laws_hold_for_what_the_library_makes():
    A = Laplacian(Graph(EdgeList(edges((0, 1)), 3), torch.ones(1).double()))
    check_positive_semidefinite(A, 3)
    check_diagonal(A, 3)
    check_majorizer(A, 3)


# ---- a majorizer that is too small -----------------------------------------------------------


@dataclasses.dataclass(frozen=True, eq=False)
class Bends(Prior):
    bound: float
    is_norm = True

    @property
    def K(self):
        def bend(x):
            return x[..., 2:, :] - 2 * x[..., 1:-1, :] + x[..., :-2, :]

        def adjoint(z):
            pad = torch.nn.functional.pad
            return pad(z, (0, 0, 2, 0)) - 2 * pad(z, (0, 0, 1, 1)) + pad(z, (0, 0, 0, 2))

        return MatrixFree(bend, adjoint, gram_majorizer=torch.tensor(self.bound).double())

    def penalty(self, z):
        return z.abs()

    def prox(self, z, step):
        return soft_threshold(z, step)


def test_metric_with_a_majorizer_that_is_too_small():
    check_metric(Bends(8.0), (20, 2))
    with breaks(r"x'K'WKx <= 2 x'Dx for Bends"):
        check_metric(Bends(7.0), (20, 2))
