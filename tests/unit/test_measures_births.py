import math

import numpy as np
import pytest
import torch
from sklearn.metrics import mutual_info_score
from torch import nn

import audit
from audit.conformance import ArrayView
from audit.plugin import Value
from audit.topology import FLAG_CONSTANT, FLAG_ZERO, LayerBirths
from audit_measures._layer_parts import layer_parts
from audit_measures.birth_information import birth_class_information
from audit_measures.feature_entropy import effective_rate, feature_entropy, unit_counts

ZERO = FLAG_CONSTANT | FLAG_ZERO
LABELS = [0, 0, 0, 0, 1, 1, 1, 1]


class FixedBirths(ArrayView):
    """A view whose births are given."""

    def __init__(self, *layers, labels=LABELS, n_classes=2):
        images = torch.zeros(len(labels), 1, 1, 1)
        super().__init__(
            nn.Flatten(), images, labels, class_names=[str(k) for k in range(n_classes)]
        )
        self.fixed = layers

    def births(self, filtration):
        return self.fixed


def layer(*units, flags=None, name="a"):
    """A layer from the births of each unit."""
    births = np.array(units, np.int32).T
    codes = np.zeros(births.shape, np.uint8)
    if flags is not None:
        codes += np.array(flags, np.uint8)
    return LayerBirths(name, 5, 5, births, codes, 0.0)


def numbers(parts):
    return {
        part: value.value if isinstance(value, Value) else value for part, value in parts.items()
    }


VARIED = [2, 2, 3, 3, 5, 5, 5, 5]  # log 2 and 0
RARE = [7, 7, -1, -1, 4, 6, -1, -1]  # 0 / ½ and log 2 / ½
NEVER = [-1] * 8


def test_feature_entropy_averages_pairs_layers_and_depth():
    view = FixedBirths(layer(VARIED, RARE), layer(VARIED, name="b"))
    parts = numbers(feature_entropy(view, "clique"))
    first = (math.log(2) + 0 + 0 + 2 * math.log(2)) / 4
    second = math.log(2) / 2
    assert parts == pytest.approx(
        {
            "": (first + second) / 2,
            "layer_1": first,
            "layer_2": second,
            "last": second,
            "depth_slope": second - first,
        }
    )


def test_feature_entropy_leaves_out_pairs_without_a_value():
    silent = layer(VARIED, NEVER, NEVER, NEVER, flags=[0, 0, ZERO, FLAG_CONSTANT])
    parts = numbers(feature_entropy(FixedBirths(silent), "clique"))
    assert parts["layer_1"] == pytest.approx(math.log(2) / 2)


def test_feature_entropy_without_any_birth_says_why():
    births = layer(NEVER, NEVER, NEVER, flags=[0, ZERO, FLAG_CONSTANT], name="stage.1")
    parts = feature_entropy(FixedBirths(births), "cubical")
    reason = "stage.1: no unit is born for any class (2 dead, 2 constant, 2 never_born)"
    assert parts["layer_1"] == parts["last"]
    assert parts["layer_1"].status == "undefined"
    assert parts["layer_1"].reason == reason
    assert parts[""].reason == f"no layer has a value: {reason}"
    assert parts["depth_slope"].reason == "a slope needs two layers with a value; 0 of 1 have"


def test_feature_entropy_averages_over_the_layers_that_have_one():
    view = FixedBirths(layer(VARIED), layer(NEVER, name="b"), layer(VARIED, name="c"))
    parts = feature_entropy(view, "clique")
    assert parts[""].value == pytest.approx(math.log(2) / 2)
    assert parts["layer_2"].reason == "b: no unit is born for any class (2 never_born)"
    assert parts["depth_slope"].value == pytest.approx(0, abs=1e-12)


def test_feature_entropy_of_four_vertices_is_undefined_under_clique_alone():
    births = audit.birth_levels(np.random.default_rng(0).normal(size=(8, 3, 4, 4)))
    assert set(np.unique(births)) == {-1, 4}
    small = LayerBirths("a", 4, 4, births, np.zeros(births.shape, np.uint8), 0.0)
    view = FixedBirths(small, layer(VARIED, name="b"))
    parts = feature_entropy(view, "clique")
    assert parts["layer_1"].reason == (
        "a: a graph of 4 vertices has its first cycle at level 4 or never, so its entropy is 0 "
        "whatever the maps are; maps of 5 × 5 pixels are the least"
    )
    assert parts[""] == parts["last"]
    assert feature_entropy(view, "cubical")["layer_1"].status == "ok"


def test_effective_rate_counts_never_born_with_zero_and_leaves_out_silent_units():
    births = layer(VARIED, RARE, NEVER, NEVER, NEVER, flags=[0, 0, 0, ZERO, FLAG_CONSTANT])
    parts = numbers(effective_rate(FixedBirths(births), "clique"))
    assert parts["layer_1"] == pytest.approx((1 + 1 + 0.5 + 0.5 + 0 + 0) / 6)


def test_effective_rate_of_silent_units_is_undefined():
    births = layer(NEVER, flags=[ZERO])
    parts = effective_rate(FixedBirths(births), "clique")
    assert parts["layer_1"].reason == "a: no unit varies in space (2 dead)"


def test_unit_counts_are_over_the_whole_sample_and_pairs_over_classes():
    half_dead = np.array([ZERO] * 4 + [0] * 4)
    flags = np.stack([[0] * 8, half_dead, [ZERO] * 8, [FLAG_CONSTANT] * 8, [0] * 8], axis=1)
    births = layer(VARIED, [-1] * 4 + [3] * 4, NEVER, NEVER, NEVER, flags=flags)
    counts = unit_counts(FixedBirths(births, layer(VARIED, name="b")), "clique")
    assert counts == {
        "dead": 1,
        "constant": 1,
        "never_born": 1,
        "total": 6,
        "pairs_left_out": 7,
        "pairs": 12,
    }


def test_classes_without_images_do_not_count():
    view = FixedBirths(layer(VARIED), n_classes=3)
    assert unit_counts(view, "clique")["pairs"] == 2
    parts = numbers(feature_entropy(view, "clique"))
    assert parts[""] == pytest.approx(math.log(2) / 2)


def test_birth_class_information_is_mutual_information_less_chance():
    births = np.random.default_rng(0).integers(1, 5, (1, 60))
    labels = np.random.default_rng(1).integers(0, 3, 60)
    view = FixedBirths(layer(*births), labels=labels, n_classes=3)
    permuted = [
        mutual_info_score(np.random.default_rng(k).permutation(labels), births[0])
        for k in range(600)
    ]
    expected = mutual_info_score(labels, births[0]) - np.mean(permuted)
    found = numbers(birth_class_information(view, "clique"))[""]
    assert found == pytest.approx(expected, abs=0.005)


def test_birth_class_information_tells_a_unit_that_knows_the_class():
    knows, does_not = [2] * 4 + [9] * 4, [2, 9] * 4
    parts = numbers(birth_class_information(FixedBirths(layer(knows), layer(does_not)), "clique"))
    assert parts["layer_1"] > 0.5
    assert parts["last"] == parts["layer_2"] < 0


def test_birth_class_information_leaves_out_silent_units_and_counts_never_born_as_zero():
    knows = [2] * 4 + [9] * 4
    alone = numbers(birth_class_information(FixedBirths(layer(knows)), "clique"))[""]
    births = layer(knows, NEVER, NEVER, NEVER, flags=[0, 0, ZERO, FLAG_CONSTANT])
    parts = numbers(birth_class_information(FixedBirths(births), "clique"))
    assert parts[""] == pytest.approx(alone / 2)


def test_birth_class_information_of_silent_layers_and_single_classes_is_undefined():
    silent = birth_class_information(FixedBirths(layer(NEVER, flags=[ZERO])), "clique")
    assert silent["layer_1"].reason == "a: every unit is dead or constant on the sample"
    single = birth_class_information(FixedBirths(layer([1, 2]), labels=[1, 1]), "clique")
    assert single[""].reason == (
        "no layer has a value: information on the class needs two classes; the sample has 1"
    )


def test_layer_parts_fit_a_line_over_relative_depth():
    parts = numbers(layer_parts([Value(1.0), Value.undefined("x"), Value(2.0), Value(7.0)]))
    slope = np.polyfit([0, 2 / 3, 1], [1, 2, 7], 1)[0]
    assert parts["depth_slope"] == pytest.approx(slope)
    assert parts[""] == pytest.approx(10 / 3)
    assert math.isnan(parts["layer_2"])


def test_layer_parts_of_no_layers_are_undefined():
    parts = layer_parts([])
    assert {part: value.status for part, value in parts.items()} == dict.fromkeys(
        ["", "last", "depth_slope"], "undefined"
    )
