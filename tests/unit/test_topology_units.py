import re

import numpy as np
import pandas as pd
import pytest

from audit.arrays import NO_BIRTH
from audit.errors import DataError
from audit.topology import FLAG_CONSTANT, FLAG_ZERO, LayerBirths
from audit.topology.entropy import feature_entropy
from audit.topology.units import (
    COLUMNS,
    STATUS_NAMES,
    sampled_unit_frame,
    unit_frame,
    unit_status,
)

ZERO = FLAG_CONSTANT | FLAG_ZERO


def layer(births, flags=None, name="a"):
    births = np.asarray(births, np.int32)
    flags = np.zeros(births.shape, np.uint8) if flags is None else np.asarray(flags, np.uint8)
    return LayerBirths(name, 5, 5, births, flags, 0.0)


def names(codes):
    return [[STATUS_NAMES[code] for code in row] for row in codes]


def test_unit_status_tells_the_states_apart():
    # columns: born once; all zero; one value, not all zero; varies, never born; zero or varying
    births = np.array([[4, -1, -1, -1, -1], [-1, -1, -1, -1, -1]], np.int32)
    flags = np.array([[0, ZERO, ZERO, 0, ZERO], [0, ZERO, FLAG_CONSTANT, 0, 0]], np.uint8)
    codes = unit_status(flags, births, np.array([0, 0]), 1)
    assert names(codes) == [["ok", "dead", "constant", "never_born", "never_born"]]
    assert codes.dtype == np.int8


def test_unit_status_accepts_a_zero_flag_without_the_constant_flag():
    flags = np.full((2, 1), FLAG_ZERO, np.uint8)
    births = np.full((2, 1), NO_BIRTH, np.int32)
    assert names(unit_status(flags, births, np.array([0, 0]), 1)) == [["dead"]]


def test_unit_status_is_per_class_and_names_classes_without_images():
    births = np.array([[3], [-1]], np.int32)
    flags = np.array([[0], [ZERO]], np.uint8)
    codes = unit_status(flags, births, np.array([0, 2]), 3)
    assert names(codes) == [["ok"], ["no_images"], ["dead"]]


def test_unit_status_refuses_shapes_that_do_not_agree():
    with pytest.raises(
        DataError,
        match=re.escape(
            "flags and birth levels must share one shape (images, units) and labels have one "
            "entry per image; found (2, 1), (2, 1) and (3,)"
        ),
    ):
        unit_status(np.zeros((2, 1), np.uint8), np.ones((2, 1), np.int32), np.zeros(3, int), 1)


def test_unit_status_refuses_labels_out_of_range():
    with pytest.raises(DataError, match=r"labels must lie in \[0, 2\); found 0 to 2"):
        unit_status(
            np.zeros((2, 1), np.uint8), np.ones((2, 1), np.int32), np.array([0, 2]), n_classes=2
        )


def test_unit_frame_has_a_row_for_every_layer_unit_and_class():
    rng = np.random.default_rng(0)
    labels = np.array([0, 1, 1, 0, 1, 2])
    layers = [layer(rng.integers(1, 4, (6, 2))), layer(rng.integers(1, 4, (6, 3)), name="b")]
    frame = unit_frame(layers, labels, ["x", "y", "z"])
    assert tuple(frame.columns) == COLUMNS
    assert len(frame) == (2 + 3) * 3
    expected = [(n, u, c) for n, k in (("a", 2), ("b", 3)) for u in range(k) for c in "xyz"]
    assert list(zip(frame["layer"], frame["unit"], frame["class_name"], strict=True)) == expected
    assert frame["n_images"].tolist() == [2, 3, 1] * 5
    for row in frame.itertuples():
        births = layers["ab".index(row.layer)].birth_levels[:, row.unit]
        one = feature_entropy(births[labels == "xyz".index(row.class_name)])
        assert row.feature_entropy == pytest.approx(float(one.feature_entropy), rel=1e-12)
        assert row.birth_entropy == pytest.approx(float(one.birth_entropy), rel=1e-12)
        assert row.effective_rate == float(one.effective_rate)


def test_unit_frame_leaves_never_born_undefined_and_says_so():
    frame = unit_frame([layer([[-1], [-1], [2]])], np.array([0, 0, 1]), ["x", "y"])
    assert frame["status"].tolist() == ["never_born", "ok"]
    assert np.isnan(frame["feature_entropy"][0])
    assert frame["feature_entropy"][1] == 0
    assert frame["effective_rate"].tolist() == [0, 1]


def test_unit_frame_passes_the_estimator_on():
    births = layer([[1], [2], [3], [4]])
    plain, corrected = (
        unit_frame([births], np.zeros(4, int), ["x"], estimator)["birth_entropy"][0]
        for estimator in ("plug-in", "miller-madow")
    )
    assert plain == pytest.approx(np.log(4))
    assert corrected == pytest.approx(np.log(4) + 3 / 8)


def test_unit_frame_of_no_layers_has_columns_and_no_rows():
    frame = unit_frame([], np.array([0, 1]), ["x", "y"])
    assert tuple(frame.columns) == COLUMNS
    assert len(frame) == 0


@pytest.mark.parametrize("entries", [1, 50, 10_000])
def test_status_does_not_depend_on_how_many_units_are_told_at_a_time(monkeypatch, entries):
    rng = np.random.default_rng(0)
    flags = rng.choice(np.array([0, 1, 3], np.uint8), (12, 9))
    flags[:, :2] = 3
    births = np.where(rng.random((12, 9)) < 0.1, 4, -1).astype(np.int32)
    labels = np.repeat(np.arange(4), 3)
    expected = unit_status(flags, births, labels, 5)
    monkeypatch.setattr("audit.topology.units._ENTRIES_AT_A_TIME", entries)
    assert np.array_equal(unit_status(flags, births, labels, 5), expected)
    assert unit_status(flags[:, :0], births[:, :0], labels, 5).shape == (5, 0)


def test_a_sample_has_rows_of_the_classes_that_are_in_it_alone():
    births = np.random.default_rng(0).integers(1, 5, (6, 3))
    found = sampled_unit_frame([layer(births)], np.array([4, 1, 4, 1, 4, 1]), list("abcde"))
    expected = unit_frame([layer(births)], np.array([1, 0, 1, 0, 1, 0]), ["b", "e"])
    pd.testing.assert_frame_equal(found, expected)
    assert list(found["class_name"].cat.categories) == ["b", "e"]
