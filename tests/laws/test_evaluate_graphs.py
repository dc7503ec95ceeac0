"""Graphs measured beside what is restored on them."""

import csv
import math

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from gsp_unroll.evaluate.graphs import Look, graphs_table, look, main, parse, rank_correlation
from gsp_unroll.graph import connectivity, effective_neighbors, roughness
from gsp_unroll.metrics import psnr
from gsp_unroll.models import MosaicNetwork
from gsp_unroll.models.named import save_network
from gsp_unroll.train.tasks import TASKS

Image = pytest.importorskip("PIL.Image")
RANDOM = np.random.default_rng(0)
ARGUMENTS = {"width": 4, "depth": 1, "num_iterations": 1, "cg_steps": 1}


def test_a_look_by_hand():
    network = MosaicNetwork(**ARGUMENTS)
    image = RANDOM.random((9, 12, 3), dtype=np.float32)
    one = look("name", network, TASKS["demosaic"], "photo", image)
    truth = torch.from_numpy(image).reshape(-1, 3)
    data, shape = TASKS["demosaic"].observe(truth, (9, 12)), (9, 12)
    with torch.no_grad():
        x, x0, graph = network(data, shape), network.x0(data, shape), network.graph(data, shape)
    result = psnr(x, truth)
    assert one == Look(
        "name",
        "photo",
        float(result),
        float(result - psnr(x0, truth)),
        float(effective_neighbors(graph).mean()),
        float(roughness(graph, truth).mean()),
        float(connectivity(graph).mean()),
    )


def test_rank_correlation():
    a, b = RANDOM.integers(0, 9, (2, 40))
    assert rank_correlation(a, b) == pytest.approx(spearmanr(a, b).statistic)
    assert rank_correlation([1, 2, 5], [10, 11, 99]) == pytest.approx(1)
    assert math.isnan(rank_correlation([1, 2], [1, 2]))
    assert math.isnan(rank_correlation([1, 1, 1], [1, 2, 3]))


def test_the_table_relates_within_a_network_and_over_networks():
    every = [
        Look(name, f"{i}", 30.0 + best + i, 2.0 + i, 5.0 + i, 0.5 - 0.1 * i - best, 0.1)
        for best, name in enumerate("abc")
        for i in range(3)
    ]
    lines = [
        [c.strip() for c in line.split("|")[1:-1]] for line in graphs_table(every).splitlines()
    ]
    related = ["+1.00", "-1.00", "+nan"]
    assert lines[2] == ["a", "31.00", "3.00", "6", "0.4", "0.1", *related, *related]
    assert lines[-1][0] == "*over the networks*"
    assert lines[-1][6:8] == ["+nan", "-1.00"]  # all have 6 neighbours on average
    assert len(graphs_table(every[:6]).splitlines()) == 4  # two networks make no correlation


def test_by_command(tmp_path, capsys):
    for name, seed in (("one", 0), ("other", 1)):
        torch.manual_seed(seed)
        save_network(
            MosaicNetwork(**ARGUMENTS), tmp_path / f"{name}.safetensors", "mosaic", ARGUMENTS
        )
    (tmp_path / "photos").mkdir()
    for i in range(3):
        pixels = RANDOM.integers(0, 256, (20, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{i}.png")
    networks = [f"{tmp_path}/{name}.safetensors" for name in ("one", "other")]
    options = ["--networks", *networks, "--photos", f"{tmp_path}/photos", "--side", "12"]
    options = parse([*options, "--out", f"{tmp_path}/out"])
    main(options)
    table = (tmp_path / "out" / "graphs.md").read_text()
    assert capsys.readouterr().out.strip() == table.strip()
    with (tmp_path / "out" / "graphs.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(r["photo"], r["network"]) for r in rows] == [
        (f"{i}.png", n) for i in range(3) for n in networks
    ]
    with pytest.raises(ValueError, match=r"already holds graphs\.csv, graphs\.md"):
        main(options)
    options.task, options.out = "interpolate", tmp_path / "up"
    with pytest.raises(ValueError, match="trained for this task"):
        main(options)
