"""What people give at their first try, and what they are told: got, expected, do this."""

import numpy as np
import pytest
import torch

from gsp_unroll import (
    GLR,
    Graph,
    GraphLearner,
    MatrixFree,
    grid_graph,
    knn_graph,
    restore,
    restore_mosaic,
)
from gsp_unroll.clouds import PointCloud, inpaint_attributes, write_cloud
from gsp_unroll.models import MosaicNetwork
from gsp_unroll.photos import read_photo, write_photo
from gsp_unroll.restoration import Candidate, Choice, HoldOut, OnGlobe
from gsp_unroll.series import (
    DailyMean,
    LinearForecast,
    SeriesNetwork,
    Standardization,
    collinear_runs,
    correlation_points,
    sliding_windows,
)

ARRAY = np.random.default_rng(0).random((12, 3))
PLACE = torch.rand(12, 2)
Y = torch.rand(12)
EDGES = torch.tensor([[0, 1, 2], [1, 2, 3]])
EXTRA = pytest.importorskip


class WithoutAxis(GraphLearner):
    def edge_update(self, features_i, features_j):
        return (features_i - features_j).square().sum(-1, keepdim=True)


class OtherNames(GraphLearner):
    def edge_update(self, f_i, f_j):
        return (f_i - f_j).square().sum(-1)


class ByPlane(Choice):
    def candidates(self, readings):
        return (Candidate(readings.about, 0.1),)


def window(future=torch.nan, past=0.5):
    space = torch.rand(5, 2)
    network = SeriesNetwork(knn_graph(space, 2), space, 6, forecast=LinearForecast(3, 2, 5))
    y = torch.full((1, 6, 5, 1), past)
    y[:, -2:] = future
    return network(y)


def named_twice():
    pandas = EXTRA("pandas")
    return restore(pandas.DataFrame(ARRAY[:, :2], columns=["a", "a"]), PLACE[:2])


def foreign_graph():
    return restore(Y, EXTRA("networkx").path_graph(12))


def attribute_of_nobody():
    return Graph.from_networkx(EXTRA("networkx").path_graph(12), weight="length")


# what is given: (the call, a word of "Got", a word of "Expected", a word of the advice)
FIRST_STEPS = {
    # arrays where tensors belong
    "daily mean": (lambda: DailyMean.learned_from(ARRAY, 4), "as ndarray", "tensor", "from_numpy"),
    "scale": (lambda: Standardization.learned_from(ARRAY), "as ndarray", "tensor", "from_numpy"),
    "windows": (lambda: sliding_windows(ARRAY, 4), "as ndarray", "tensor", "from_numpy"),
    "correlation": (lambda: correlation_points(ARRAY, 2), "as ndarray", "tensor", "from_numpy"),
    "straight runs": (lambda: collinear_runs(ARRAY), "as ndarray", "tensor", "from_numpy"),
    "neighbours": (lambda: knn_graph(ARRAY, 2), "points as ndarray", "tensor", "from_numpy"),
    "a batch": (
        lambda: knn_graph(PLACE, 2, batch=[0] * 12),
        "batch as list",
        "a tensor",
        "from_numpy",
    ),
    "a cloud": (lambda: PointCloud(ARRAY), "xyz as ndarray", "tensor", "from_numpy"),
    "colours": (
        lambda: inpaint_attributes(torch.rand(12, 3), ARRAY),
        "as ndarray",
        "tensor",
        "from_numpy",
    ),
    "a mosaic": (
        lambda: restore_mosaic(MosaicNetwork(width=4, depth=1), ARRAY),
        "a mosaic as ndarray",
        "tensor",
        "from_numpy",
    ),
    # tensors where arrays belong
    "a picture": (lambda: write_photo("x.png", torch.rand(4, 4, 3)), "as Tensor", "NumPy", "numpy"),
    "coordinates": (lambda: write_cloud("x.xyz", PLACE), "as Tensor", "a PointCloud", "PointCloud"),
    # a graph where places belong
    "a matrix of weights": (lambda: restore(Y, np.eye(12)), "square", "Graph", "from_adjacency"),
    "edges": (lambda: restore(Y, EDGES), "may be edges", "coordinates", "from_edge_index"),
    "a foreign graph": (foreign_graph, "places as Graph", "gsp_unroll", "from_networkx"),
    "an attribute of no edge": (attribute_of_nobody, "none at all", "every edge", "weight=None"),
    # how to choose
    "a prior": (lambda: restore(Y, PLACE, GLR), "choose='GLR'", "HoldOut", "Fixed"),
    "a class": (lambda: restore(Y, PLACE, HoldOut), "choose='HoldOut'", "HoldOut", "priors="),
    "one prior": (lambda: HoldOut(priors=GLR), "priors=", "tuple", "comma"),
    "a name for a node": (lambda: restore(Y, PLACE).explain("a"), "node='a'", "number", "from 0"),
    # values
    "degrees as text": (lambda: OnGlobe(["48N"], ["2E"]), "no numbers", "south", "-12.5"),
    "8-bit numbers": (
        lambda: restore_mosaic(MosaicNetwork(width=4, depth=1), 255 * torch.ones(4, 4)),
        "values up to 255",
        "in .0, 1.",
        "white level",
    ),
    "three colours": (
        lambda: restore_mosaic(MosaicNetwork(width=4, depth=1), torch.rand(4, 4, 3)),
        "shape",
        "one value a pixel",
        r"mosaic\[\.\.\., 0\]",
    ),
    "the future": (lambda: window(future=1.0), "to be forecast", "not known", "Hide"),
    "infinity": (lambda: window(past=torch.inf), "infinite", "finite", "NaN"),
    "other places": (
        lambda: Standardization.learned_from(torch.rand(4, 3))(torch.rand(4, 2)),
        r"\(4, 2\)",
        "steps, 3",
        "same places",
    ),
    "a name twice": (named_twice, r"called alike \(a\)", "once", "Merge"),
    # classes of one's own
    "an axis too much": (
        lambda: WithoutAxis(3)(torch.rand(12, 3), grid_graph((3, 4), window=3)),
        "from edge_update of WithoutAxis",
        "one number for each edge",
        "sum",
    ),
    "other names": (lambda: OtherNames(3), "features_i and features_j", "edge_update", "names"),
    "a majorizer without channels": (
        lambda: MatrixFree(lambda x: x, lambda y: y, gram_majorizer=torch.ones(12)),
        r"gram_majorizer of shape \(12,\)",
        r"\(nodes, 1\)",
        "unsqueeze",
    ),
    "a majorizer of other nodes": (
        lambda: MatrixFree(lambda x: x, lambda y: y, 12, gram_majorizer=torch.ones(11, 1)),
        r"gram_majorizer of shape \(11, 1\)",
        r"\(nodes, 1\)",
        "unsqueeze",
    ),
}


@pytest.mark.parametrize("name", FIRST_STEPS)
def test_got_expected_and_what_to_do(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    call, got, expected, advice = FIRST_STEPS[name]
    with pytest.raises(ValueError, match=rf"(?s)Got .*{got}.*Expected .*{expected}.*{advice}"):
        call()
    assert not list(tmp_path.iterdir())


def test_a_photograph_that_is_not_there(tmp_path):
    EXTRA("PIL")
    with pytest.raises(FileNotFoundError, match=r"Got .*nix\.png. Expected a file"):
        read_photo(tmp_path / "nix.png")


def test_a_file_that_cannot_be_written_is_called_by_its_name(tmp_path):
    EXTRA("PIL")
    with pytest.raises(FileNotFoundError) as error:
        write_photo(tmp_path / "no" / "x.png", np.zeros((2, 2, 3)))
    assert str(error.value).endswith("x.png'") or error.value.filename == str(tmp_path / "no")


def test_three_by_three_may_be_places():
    points = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]])
    assert restore(torch.tensor([1.0, torch.nan, 2.0]), points).x.isfinite().all()


def test_noise_alone_is_told():
    generator = torch.Generator().manual_seed(0)
    place, y = torch.rand(40, 2, generator=generator), torch.randn(40, generator=generator)
    result = restore(y, place)
    assert (result.choice.error >= 1) == ("no better than the mean" in repr(result))
    assert result.choice.error >= 1
    assert "no better" not in repr(restore(place.sum(-1), place))


def test_values_far_beyond_the_readings_are_told():
    generator = torch.Generator().manual_seed(2)
    place = torch.rand(45, 2, generator=generator)
    y = torch.cat([place[:, 0] - place[:, 1], torch.tensor([torch.nan])])
    far = torch.cat([place, torch.tensor([[4.0, -3.0]])])
    result = restore(y, far, ByPlane())
    assert result.beyond.flatten().nonzero().flatten().tolist() == [45]
    assert "1 far beyond the readings" in repr(result)
    inside = restore(y, far, HoldOut(priors=(GLR,)))
    assert not inside.beyond.any()
    assert "beyond" not in repr(inside)
