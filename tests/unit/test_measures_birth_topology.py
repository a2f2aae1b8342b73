import math

import numpy as np
import pytest
import torch
from torch import nn

from audit.conformance import ArrayView
from audit.data.renditions import CENTRE_CROP, FLIP, MIXED
from audit.plugin import Value
from audit.topology import FLAG_CONSTANT, FLAG_ZERO, LayerBirths, birth_levels
from audit_measures._altered_births import CliqueAltered, CubicalAltered, CubicalMixed
from audit_measures._class_separation import class_separation, digest_folds
from audit_measures.birth_beyond_magnitude import (
    Magnitudes,
    birth_information_beyond_magnitude,
)
from audit_measures.birth_redundancy import birth_redundancy
from audit_measures.birth_separation import birth_separation
from audit_measures.birth_stability import birth_mixing_consistency, birth_stability
from audit_measures.layer_profile import birth_information_depth
from audit_measures.persistence_by_class import (
    persistent_entropy_spread,
    total_persistence_information,
    total_persistence_spread,
)


class Maps(nn.Module):
    """Gives the images themselves as maps, and a score for each channel."""

    def __init__(self):
        super().__init__()
        self.relu = nn.ReLU()

    def forward(self, images):
        return self.relu(images).mean((2, 3))


def images(n=40, units=3, side=8, seed=0):
    return np.random.default_rng(seed).random((n, units, side, side))


def twice(maps):
    """Two equal units."""
    return np.stack([maps, maps], axis=1)


def view_of(maps, labels, batch_size=16):
    tensor = torch.as_tensor(np.asarray(maps), dtype=torch.float32)
    return ArrayView(Maps(), tensor, labels, batch_size=batch_size)


class FixedBirths(ArrayView):
    """A view whose births are given."""

    def __init__(self, *layers, labels):
        super().__init__(nn.Flatten(), torch.zeros(len(labels), 1, 1, 1), labels)
        self.fixed = layers

    def births(self, filtration):
        return self.fixed


def layer(births, name="a", flags=0):
    births = np.array(births, np.int32)
    return LayerBirths(name, 8, 8, births, np.full(births.shape, flags, np.uint8), 0.0)


def reasons(parts):
    return {Value.of(value).reason for value in parts.values()}


def test_beyond_magnitude_counts_shape_and_not_strength():
    labels = np.arange(80) % 2
    draws = np.random.default_rng(0)
    ring, bump = np.zeros((2, 8, 8))
    ring[1:4, 1:4], ring[2, 2] = 1, 0.01
    bump[1:3, 1:5] = 1  # as much as the ring, without a hole
    strength = draws.uniform(1, 2, 80)
    shapes = np.stack([ring, bump * ring.mean() / bump.mean()])[labels]
    shapes /= shapes.max((1, 2), keepdims=True)
    by_shape = view_of(twice(shapes * strength[:, None, None]), labels)
    told = birth_information_beyond_magnitude(by_shape, "cubical")
    assert told[""].value > 0.4
    alone = view_of(twice(ring * (1 + labels)[:, None, None]), labels)
    parts = birth_information_beyond_magnitude(alone, "cubical")
    assert parts[""].value == 0
    assert parts["magnitude_last"].value > 0.6


def test_magnitudes_are_those_of_the_maps():
    maps = images(20)
    mean, largest = view_of(maps, [0] * 20, batch_size=7).reduced(Magnitudes).of("relu")
    assert mean == pytest.approx(maps.astype(np.float32).mean((2, 3)), rel=1e-6)
    assert np.array_equal(largest, maps.astype(np.float32).max((2, 3)))


def test_beyond_magnitude_of_one_class_and_of_silent_units_is_undefined():
    parts = birth_information_beyond_magnitude(view_of(images(4), [1] * 4), "cubical")
    reason = "information on the class needs two classes; the sample has 1"
    assert parts["layer_1"].reason == parts["magnitude_last"].reason == reason
    silent = birth_information_beyond_magnitude(view_of(images(4) * 0, [0, 1, 0, 1]), "cubical")
    assert silent["layer_1"].reason == "relu: every unit is dead or constant on the sample"


@pytest.mark.parametrize("batch_size", [3, 16])
def test_altered_births_are_those_of_the_altered_images(batch_size):
    maps = images(40)
    view = view_of(maps, [0] * 40, batch_size)
    kept = view.reduced(CubicalAltered)
    for rendition in (CENTRE_CROP, FLIP):
        rows, births = kept.of(rendition.name, "relu")
        assert rows.tolist() == [0, 10, 20, 30]
        altered = rendition.start(view)
        made = [batch.images for part in view.stretches() for batch in altered.feed(part)]
        assert np.array_equal(births, birth_levels(torch.cat(made)[rows], "cubical").numpy())


def test_mirrored_maps_are_turned_back_before_their_clique_births_are_taken():
    view = view_of(images(40), [0] * 40)
    rows, births = view.reduced(CliqueAltered).of("flip", "relu")
    assert np.array_equal(births, view.births("clique")[0].birth_levels[rows])
    assert birth_stability(view, "clique")["mirror"].value == pytest.approx(1)


@pytest.mark.parametrize("batch_size", [1, 4, 16])
def test_mixed_births_know_their_two_images(batch_size):
    maps, labels = images(13).astype(np.float32), [0, 1, 0, 2, 0, 0, 3, 1, 0, 3, 0, 3, 0]
    view = view_of(maps, labels, batch_size)
    assert view.reduced(CubicalMixed).renditions == (MIXED,)
    pairs, births = view.reduced(CubicalMixed).of("relu")
    halves = torch.as_tensor(maps[pairs[:, 0]] + maps[pairs[:, 1]]) / 2
    assert np.array_equal(births, birth_levels(halves, "cubical").numpy())
    assert sorted(np.array(labels)[pairs[:, 0]].tolist()) == [0] * 7 + [1] + [3] * 3


def test_stability_is_one_where_nothing_changes_and_none_where_all_does(monkeypatch):
    labels, draws = np.arange(200) % 4, np.random.default_rng(0)
    births = draws.integers(1, 40, (200, 50)).astype(np.int32)
    births[draws.random(births.shape) < 0.2] = -1
    view = FixedBirths(layer(births), labels=labels)
    rows = np.arange(0, 200, 5)

    class Kept:
        def __init__(self, of):
            self.of = of

    monkeypatch.setattr(view, "reduced", lambda kind: Kept(lambda *names: (rows, births[rows])))
    parts = birth_stability(view, "cubical")
    assert [parts[part].value for part in ("", "plain", "mirror")] == pytest.approx([1, 1, 1])
    anew = draws.permuted(births, axis=0)
    monkeypatch.setattr(view, "reduced", lambda kind: Kept(lambda *names: (rows, anew[rows])))
    assert birth_stability(view, "cubical")[""].value == pytest.approx(0, abs=0.05)


def test_stability_and_mixing_without_a_class_of_two_are_undefined():
    view = view_of(images(3), [0, 1, 2])
    reason = "no image that is compared has another of its class"
    assert birth_stability(view, "cubical")["layer_1"].reason == reason
    assert birth_mixing_consistency(view, "cubical")["layer_1"].reason == "no class has two images"
    still = view_of(images(4) * 0, [0, 0, 1, 1])
    reason = "relu: no unit has births that vary both before and after"
    assert birth_stability(still, "cubical")["layer_1"].reason == reason


def test_folds_are_even_in_each_class_and_told_by_the_births_alone():
    draws = np.random.default_rng(0)
    births, labels = draws.integers(1, 60, (100, 6)), draws.integers(0, 3, 100)
    folds = digest_folds(births, labels)
    for label in range(3):
        counts = np.bincount(folds[labels == label], minlength=5)
        assert counts.max() - counts.min() <= 1
    order = draws.permutation(100)
    assert np.array_equal(digest_folds(births[order][:, ::-1], labels[order]), folds[order])
    twice = digest_folds(np.repeat(births, 2, axis=0), np.repeat(labels, 2))
    assert np.array_equal(twice, np.repeat(folds, 2))


def test_separation_survives_order_units_duplicates_numbers_and_scale():
    draws = np.random.default_rng(1)
    labels = np.arange(90) % 3
    births = draws.integers(1, 20, (90, 40)) + 6 * labels[:, None] * (np.arange(40) < 6)
    births[draws.random(births.shape) < 0.1] = -1
    found = class_separation(births, labels)
    assert 0.2 < found.linear < 1
    assert 0.1 < found.neighbours < 1
    order = draws.permutation(90)
    cubed = np.where(births > 0, births**3, -1)
    for other in (
        class_separation(births[order][:, ::-1], labels[order]),
        class_separation(np.repeat(births, 2, axis=0), np.repeat(labels, 2)),
        class_separation(births, np.array([5, 0, 9])[labels]),
    ):
        assert other == pytest.approx(found, rel=1e-12)
    assert class_separation(cubed, labels).linear == pytest.approx(found.linear, abs=0.15)


def test_separation_of_noise_is_chance():
    draws = np.random.default_rng(2)
    labels = np.arange(300) % 3
    found = [class_separation(draws.integers(1, 30, (300, 100)), labels) for _ in range(4)]
    assert np.mean(found, axis=0) == pytest.approx([0, 0], abs=0.06)


def test_separation_by_never_born_alone():
    labels = np.arange(40) % 2
    births = np.where(labels == 1, -1, np.random.default_rng(3).integers(1, 30, 40))[:, None]
    assert class_separation(births, labels) == (1, 1)


def test_separation_needs_more_images_than_classes_on_one_side():
    births = np.array([[2], [3], [8], [9]])
    assert np.isnan(class_separation(births, np.array([0, 0, 1, 1]))).all()
    births = np.array([[2], [3], [4], [17], [18], [19]])
    assert class_separation(births, np.array([0, 0, 0, 1, 1, 1])) == (1, 1)


def test_separation_of_equal_births_and_of_single_images_is_undefined():
    constant = birth_separation(FixedBirths(layer([[3], [3]]), labels=[0, 1]), "clique")
    assert reasons(constant) >= {"a: every unit has the same birth on all images"}
    alone = birth_separation(FixedBirths(layer([[3], [4], [5]]), labels=[0, 1, 2]), "clique")
    assert reasons(alone) >= {"a: no two classes have images enough on both sides of a fold"}
    silent = FixedBirths(layer([[-1], [-1]], flags=FLAG_CONSTANT | FLAG_ZERO), labels=[0, 1])
    assert birth_separation(silent, "clique")["layer_1"].status == "undefined"


def test_redundancy_of_a_layer_of_one_unit_is_undefined():
    view = FixedBirths(layer([[3], [4], [5]]), labels=[0, 1, 0])
    assert birth_redundancy(view, "clique")["effective_units_last"].reason == (
        "a: a correlation needs two units whose births vary over three images; there are 1 over 3"
    )


def test_redundancy_by_layer():
    births = np.random.default_rng(4).integers(1, 30, (60, 1))
    other = np.random.default_rng(5).integers(1, 30, (60, 2))
    view = FixedBirths(layer(np.repeat(births, 2, 1)), layer(other, "b"), labels=[0] * 60)
    parts = birth_redundancy(view, "clique")
    assert parts["layer_1"].value > 0.85
    assert abs(parts["last"].value) < 0.2
    assert parts["effective_units"].value == pytest.approx((0.5 + 1) / 2, abs=0.05)


def test_information_depth_by_hand():
    labels = np.repeat([0, 1], 20)
    knows, not_yet = (2 + labels)[:, None], (2 + np.arange(40) % 2)[:, None]
    view = FixedBirths(layer(not_yet), layer(knows, "b"), labels=labels)
    parts = birth_information_depth(view, "clique")
    low, high = 0 - chance_of(not_yet, labels), math.log(2) - chance_of(knows, labels)
    assert parts[""].value == pytest.approx((high / 2 - low) / (high - low))
    assert parts["centre"].value == 1


def chance_of(births, labels):
    from audit.topology.information import birth_class_information

    return float(birth_class_information(births, labels, 2).expected_by_chance[0])


def test_information_depth_without_information_is_undefined():
    labels = np.repeat([0, 1], 4)
    none = layer((2 + np.arange(8) % 2)[:, None])
    parts = birth_information_depth(FixedBirths(none, none, labels=labels), "clique")
    assert parts[""].reason == "births of the last layer tell no more of the class than by chance"
    assert parts["centre"].reason == "births of no layer tell more of the class than by chance"
    single = birth_information_depth(FixedBirths(none, labels=labels), "clique")
    assert reasons(single) == {"a depth needs two layers; found 1"}


def ring_maps(has_ring):
    """5 × 5 maps, flat but for noise-free bumps; a ring where asked."""
    maps = np.zeros((len(has_ring), 5, 5))
    maps[:, 1:4, 1:4] = np.arange(9, 0, -1).reshape(3, 3)
    maps[has_ring, 2, 2] = 0.5
    return twice(maps)


def test_persistence_tells_classes_apart_by_hand():
    labels = np.repeat([0, 1], 8)
    view = view_of(ring_maps(labels == 1), labels)
    parts = total_persistence_information(view)
    n, k = 16, np.arange(9)
    weights = np.array([math.comb(8, int(j)) ** 2 for j in k]) / math.comb(16, 8)
    cell = np.array([j / n * math.log(n * j / 64) if j else 0.0 for j in k])
    expected = math.log(2) - 4 * float(weights @ cell)
    assert parts[""].value == pytest.approx(expected, rel=1e-9)
    assert parts["holes_last"].value == pytest.approx(expected, rel=1e-9)
    assert total_persistence_spread(view)[""].value == pytest.approx(0, abs=1e-12)


def test_total_persistence_and_most_holes_are_those_of_the_diagrams():
    from audit.topology.diagrams import betti_curves, persistence_diagrams, summarize
    from audit_measures.persistence_by_class import HoleSums

    maps = images(6).astype(np.float32)
    total, most = view_of(maps, [0] * 6).reduced(HoleSums).of("relu")
    of_diagrams = summarize(persistence_diagrams(maps, scale="levels")).total_persistence[:, 1]
    assert np.array_equal(total.ravel(), of_diagrams)
    assert np.array_equal(most, betti_curves(maps).beta_1.max(-1))


def test_persistence_without_variation_is_undefined():
    flat = view_of(np.ones((4, 2, 5, 5)), [0, 0, 1, 1])
    reason = "relu: no unit varies in space"
    assert total_persistence_information(flat)["layer_1"].reason == reason
    reason = "relu: no unit has numbers that differ, and two of them in a class"
    assert total_persistence_spread(flat)["layer_1"].reason == reason
    one = view_of(images(30), [0] * 30)
    reason = "a spread within classes needs two classes; there is one"
    assert persistent_entropy_spread(one)["layer_1"].reason == reason
    reason = "information on the class needs two classes; the sample has 1"
    assert total_persistence_information(one)["holes"].reason == f"no layer has a value: {reason}"
