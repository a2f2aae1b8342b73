"""Figures of units and of comparisons: what is drawn where, and what is said of it."""

import sys

import numpy as np
import pandas as pd
import pytest
import timm
import torch

import audit
from audit import birth_levels
from audit.errors import AuditError, ConfigError
from audit.measuring.examples import Pick, UnitExamples, spread_over_births
from audit.topology.cycles import birth_cycle, birth_hole, outline
from audit.units.across import compare_tables
from audit.units.canvas import new_figure, save_figure
from audit.units.figure import unit_figure

pytest.importorskip("matplotlib")
SIZE = {"input_size": [1, 32, 32]}


def examples(filtration, side=9, n_images=4, n=30):
    maps = np.random.default_rng(0).normal(size=(n, side, side)).astype(np.float32)
    maps[0] = 0
    births = np.asarray(birth_levels(maps, filtration))
    rows = np.append(spread_over_births(births, n_images - 1), 0)
    images = np.random.default_rng(1).random((n_images, 12, 12, 3)).astype(np.float32)
    pick = Pick("layer4", 7, "cat")
    return UnitExamples("net", pick, filtration, births, images, maps[rows], births[rows])


def words(figure):
    axes = figure.axes
    texts = [figure.get_suptitle()]
    for axis in axes:
        texts += [axis.get_title(), axis.get_title("left"), axis.get_xlabel(), axis.get_ylabel()]
        texts += [text.get_text() for text in axis.texts]
    return [text for text in texts if text]


def test_examples_are_spread_over_the_order_of_births():
    births = np.array([5, -1, 3, 8, 3, -1, 9, 1])
    assert spread_over_births(births, 3).tolist() == [2, 0, 6]
    assert births[spread_over_births(births, 8)].tolist() == [1, 3, 3, 5, 8, 9, -1, -1]
    assert spread_over_births(births, 20).tolist() == [7, 2, 4, 0, 3, 6, 1, 5]
    assert spread_over_births(np.full(4, -1), 2).tolist() == [0, 1]


def test_the_hole_is_outlined_in_the_map_and_in_the_superlevel_set():
    shown = examples("cubical")
    figure = unit_figure(shown)
    hole = birth_hole(shown.maps[0])
    for axis in figure.axes[1:3]:
        pieces = np.array(axis.collections[0].get_segments())
        np.testing.assert_array_equal(pieces, outline(hole.hole) - 0.5)
    np.testing.assert_array_equal(figure.axes[2].images[0].get_array(), hole.present)
    assert figure.axes[2].get_xlabel() == (
        f"x ≥ {hole.value:.3g}: {hole.present.mean():.0%} of pixels"
    )


def test_the_cycle_is_drawn_in_the_graph_and_its_weights_in_the_map():
    shown = examples("clique")
    figure = unit_figure(shown)
    cycle = birth_cycle(shown.maps[0])
    edges, *_ = figure.axes[2].collections
    assert len(edges.get_segments()) == len(cycle.edges)
    line = figure.axes[2].lines[0]
    assert len(line.get_xdata()) == len(cycle.cycle) + 1
    marked = np.array(figure.axes[1].collections[0].get_segments()) + 0.5
    around = zip(cycle.cycle, (*cycle.cycle[1:], cycle.cycle[0]), strict=True)
    mask = np.zeros((9, 9), bool)
    for u, v in around:
        at = (u, v) if shown.maps[0][u, v] >= shown.maps[0][v, u] else (v, u)
        assert shown.maps[0][at] >= cycle.value
        mask[at] = True
    np.testing.assert_array_equal(marked, outline(mask))


@pytest.mark.parametrize("filtration", ["clique", "cubical"])
def test_a_figure_says_what_it_shows(filtration):
    shown = examples(filtration)
    found = words(unit_figure(shown))
    assert f"net: unit 7 of layer4, class 'cat', {filtration} filtration" in found
    assert f"born at level {shown.levels[0]}" in found
    assert "never born" in found
    assert {"images", "activation", "image", "feature map,\n9 × 9 pixels"} <= set(found)
    n_born = int((shown.births > 0).sum())
    told = audit.feature_entropy(shown.births)
    numbers = next(text for text in found if text.startswith(f"{n_born} of 30 images have a birth"))
    assert f"feature entropy H/ε = {told.feature_entropy:.2f} nats" in numbers.replace("\n", " ")
    assert "95% interval" in numbers.replace("\n", " ")


def test_a_distribution_has_each_birth_once():
    shown = examples("cubical", n=200)
    below = unit_figure(shown).axes[-1]
    heights = [bar.get_height() for bar in below.patches]
    assert sum(heights) == (shown.births > 0).sum()
    wide = UnitExamples(
        *("net", shown.pick, "cubical", np.arange(1, 1000, 7).astype(np.int32)),
        *(shown.images, shown.maps, shown.levels),
    )
    below = unit_figure(wide).axes[-1]
    assert sum(bar.get_height() for bar in below.patches) == len(wide.births)
    assert len(below.patches) <= 60
    assert "levels a bar" in below.get_xlabel()


def test_figures_of_any_shape_are_written(tmp_path):
    blank = examples("clique", side=5, n_images=1)
    blank = UnitExamples(
        *("net", blank.pick, "clique", np.full(9, -1, np.int32), blank.images),
        *(np.zeros((1, 5, 5), np.float32), np.array([-1], np.int32)),
    )
    figure = unit_figure(blank)
    assert "no image has a birth" in words(figure)
    assert save_figure(figure, tmp_path / "a.svg").read_bytes().startswith(b"<?xml")
    again = save_figure(unit_figure(blank), tmp_path / "b.svg")
    assert again.read_bytes() == (tmp_path / "a.svg").read_bytes()
    assert figure._repr_png_().startswith(b"\x89PNG")
    with pytest.raises(ConfigError) as caught:
        save_figure(figure, "unit.docx")
    assert str(caught.value) == (
        "unit.docx: figures are written as svg, png, pdf; found the suffix '.docx'"
    )


def test_without_matplotlib_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(AuditError) as caught:
        new_figure(3, 3)
    assert str(caught.value) == (
        'figures are drawn by matplotlib; install it with pip install "genaudit[figures]"'
    )


def table_of(seed):
    random = np.random.default_rng(seed)
    return pd.concat(
        pd.DataFrame(
            {
                "layer": layer,
                "unit": np.repeat(np.arange(20), 7),
                "class_name": np.tile([f"c{c}" for c in range(7)], 20),
                "n_images": 40,
                "effective_rate": 1.0,
                "feature_entropy": random.normal(3, 1, 140),
            }
        )
        for layer in ("stem", "a.very.long.name.of.a.layer")
    )


def test_a_comparison_shows_its_verdicts(tmp_path):
    found = compare_tables(table_of(0), table_of(1), ("one", "other"), n_permutations=99)
    figure = found.plot()
    text = words(figure)
    shown = [t.get_text().strip() for t in figure.axes[0].texts]
    assert shown == found.layers["verdict"].tolist()
    row = found.class_order.iloc[-1]
    assert any(f"τ = {row['kendall']:.2f}" in words for words in text)
    assert {t.get_text() for t in figure.axes[1].texts} >= {f"c{c}" for c in range(7)}
    assert save_figure(figure, tmp_path / "c.png").stat().st_size > 10_000


@pytest.fixture
def unsynced(monkeypatch):
    monkeypatch.setattr("os.fsync", lambda number: None)


def network():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return timm.create_model("test_resnet", num_classes=10, in_chans=1)


def test_plot_unit_shows_the_numbers_of_the_unit_table(unsynced):
    options = {"images_per_class": 12, "device": "cpu", "transform": SIZE}
    table = audit.unit_table(network(), "digits", "layer1", **options)
    row = table[(table["class_name"] == "3") & (table["effective_rate"] > 0.5)].iloc[0]
    figure = audit.plot_unit(network(), "digits", "layer1", row["unit"], "3", n_images=2, **options)
    text = " ".join(words(figure)).replace("\n", " ")
    assert f"feature entropy H/ε = {row['feature_entropy']:.2f} nats" in text
    assert f"(ε = {row['effective_rate']:.2f})" in text
    assert f"unit {row['unit']} of layer1, class '3'" in text


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            {"layer": "layer11"},
            "unknown layer 'layer11'; did you mean 'layer1' or 'layer1.0' or 'layer4'?",
        ),
        ({"layer": "stages"}, "'stages' stands for several layers: act1, layer1, layer2; name one"),
        ({"unit": 900}, "unknown unit '900'; layer layer1 has units 0 to 31"),
        ({"unit": -1}, "unknown unit '-1'; layer layer1 has units 0 to 31"),
        (
            {"class_name": "ten"},
            "unknown class 'ten'; there are 0, 1, 2, 3, 4, 5, 6, 7, 8, 9",
        ),
        ({"filtration": "cubic"}, "unknown filtration 'cubic'; did you mean 'cubical'?"),
        ({"n_images": 0}, "n_images must be at least 1; found 0"),
    ],
)
def test_plot_unit_names_what_is_wrong(unsynced, wrong, message):
    asked = {"layer": "layer1", "unit": 0, "class_name": "3"} | wrong
    with pytest.raises(ConfigError) as caught:
        audit.plot_unit(
            network(), "digits", images_per_class=2, device="cpu", transform=SIZE, **asked
        )
    assert str(caught.value) == message
