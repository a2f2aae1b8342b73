"""The topology benchmark: its peers answer the same question, its results are shown as they are."""

import json
from pathlib import Path

import numpy as np
import pytest

from audit.arrays import NO_BIRTH
from audit.topology import birth_levels
from benchmarks import topology, topology_tables
from benchmarks.feature_maps import white_noise
from benchmarks.peers import distances, negated, peers_of

FOLDER = Path(topology.__file__).parent


def births_of(diagram):
    """Births of dimension 1, in whichever form a peer gives its diagrams."""
    if isinstance(diagram, dict):  # ripser, giotto-ph
        return diagram["dgms"][1][:, 0]
    if isinstance(diagram, list):  # torch-topological: one entry a dimension
        return diagram[1].diagram[:, 0].numpy()
    if diagram.shape[1] == 3:  # giotto-tda: padded by points on the diagonal
        return diagram[(diagram[:, 2] == 1) & (diagram[:, 0] < diagram[:, 1]), 0]
    if diagram.shape[1] == 9:  # cripser: dimension, birth, death, places
        return diagram[diagram[:, 0] == 1, 1]
    return diagram[:, 0]


@pytest.mark.parametrize("filtration", ["clique", "cubical"])
@pytest.mark.parametrize("side", [4, 7, 14, 20])
@pytest.mark.parametrize("largest", [12, 10_000])
def test_every_peer_installed_finds_the_same_births(filtration, side, largest):
    maps = np.random.default_rng(side).integers(0, largest, (12, side, side)).astype(np.float32)
    ordered = distances(maps) if filtration == "clique" else negated(maps)
    above = np.triu_indices(side, 1) if filtration == "clique" else ...
    levels = [np.unique(one[above]) for one in ordered]
    for name, peer in peers_of(filtration).items():
        paper = name.endswith("to level 51")
        ours = birth_levels(maps, filtration, "paper" if paper else "full")
        theirs = [births_of(diagram) for diagram in peer.call(peer.prepare(maps))]
        found = [
            np.searchsorted(values, births.min()) + 1 if len(births) else NO_BIRTH
            for values, births in zip(levels, theirs, strict=True)
        ]
        if paper:  # which does not count the first level
            found = [NO_BIRTH if level == 1 else level for level in found]
        assert ours.tolist() == found, name


def kept():
    """The last results in the repository."""
    newest = max((FOLDER / "results").glob("topology-cpu-????-??-??.json"))
    return json.loads(newest.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def results():
    maps = white_noise(4, 64)
    effort = topology.Effort(pixels=512, runs=1, seconds=1e-3)
    row = topology.measure("cubical", "white noise", maps, effort, rate=1.0)
    return {
        "date": "2026-01-01",
        "processors": 2,
        "load_average": 0.0,
        "versions": {"python": "3.11.7"},
        "read_gigabytes_per_second": 1.0,
        "first_call_seconds": {"compiling": 7.0, "cached": 0.5},
        "trained_network_accuracy": 0.9,
        "rows": [row | {"left_out": {"slow": "one map takes 3.0 s"}}],
    }


def test_a_row_says_what_was_measured_on_how_much(results):
    (row,) = results["rows"]
    assert row["memory_bound_us_per_map"] == 4 * 4 * 4 / 1e3
    assert row["maps_per_second"] == pytest.approx(1e6 / row["us_per_map"])
    assert row["threads"]["n_maps"] * row["us_per_map"] > 100e3  # a tenth of a second
    peer = row["peers"]["gudhi CubicalPersistence H1"]
    assert peer["ratio"] == pytest.approx(peer["us_per_map"] / row["us_per_map"])


def test_tables_name_every_peer_and_why_one_is_left_out(results):
    assert "slow: one map takes 3.0 s" in topology_tables.text(results)
    table = topology_tables.markdown(results)
    assert "| maps | side | gudhi CubicalPersistence H1 |" in table


def test_a_file_without_markers_is_not_renewed(results):
    with pytest.raises(SystemExit, match="has to hold the lines <!-- figures"):
        topology_tables.renewed("no markers", results)


def test_figures_in_the_readme_are_those_of_the_results():
    document = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert topology_tables.renewed(document, kept()) == document


def test_a_plot_of_the_same_results_is_the_same_file(results, tmp_path):
    plot = pytest.importorskip("benchmarks.topology_plot", reason="needs matplotlib")
    for name in ("one.svg", "two.svg"):
        plot.draw(kept(), tmp_path / name)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()


def test_labels_keep_apart_in_order_within_the_panel():
    plot = pytest.importorskip("benchmarks.topology_plot", reason="needs matplotlib")
    heights = sorted(np.random.default_rng(0).choice([0.0, 0.2, 0.5, 0.52, 0.99, 1.0], 12))
    moved = np.array(plot._apart(heights))
    assert (np.diff(moved) > plot._GAP - 1e-9).all()
    assert moved[0] >= 0
    assert moved[-1] <= 1 + 1e-9
    assert plot._apart([0.1, 0.5, 0.9]) == [0.1, 0.5, 0.9]
