"""The small parts of the report: numbers, scales, ties, comparisons, colours."""

import dataclasses
import doctest
import math

import pytest
from test_reports_sample import sample_audit

from audit_reports import belief, colours, svg, tables, wording


@pytest.mark.parametrize("module", [wording, svg])
def test_doctests(module):
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize(
    ("value", "text"),
    [(math.nan, "–"), (None, "–"), (math.inf, "–"), (0.0, "0"), (1234567.0, "1\u202f234\u202f567"),
     (-1e-9, "−1×10⁻⁹"), (12345.678, "12\u202f346"), (0.99999, "1.0000"), ("text", "–"),
     (True, "–")],
)  # fmt: skip
def test_number_is_written_as_expected(value, text):
    assert wording.number(value) == text


def test_formatter_lines_decimals_up():
    write = wording.formatter([12.5, 0.031, math.nan])
    assert [write(value) for value in (12.5, 0.031, math.nan)] == ["12.50", "0.03", "–"]


@pytest.mark.parametrize(
    "values", [[0.61, 0.63], [0, 1e9], [-3.0, 5.0], [2.0], [], [1e-12, 1.0], [5.0, 5.0], [math.nan]]
)
def test_ticks_lie_inside_the_scale_and_have_labels_that_differ(values):
    scale = svg.Scale.around(values, may_be_logarithmic=True)
    ticks = scale.ticks()
    assert 1 <= len(ticks) <= 11
    assert all(scale.low <= tick <= scale.high for tick in ticks)
    labels = svg.tick_labels(ticks)
    assert len(set(labels)) == len(labels)


def test_scale_with_a_long_range_is_logarithmic():
    scale = svg.Scale.around([1.0, 1e6], may_be_logarithmic=True)
    assert scale.logarithmic
    assert scale(1e3) == pytest.approx(0.5)


@pytest.mark.parametrize(
    "text",
    ["a; b; c", "a;b;c", "a|b|c", "a, b, c", "a b c", '["a", "b", "c"]', ["a", "b", "c"]],
)
def test_ties_are_read_however_they_are_joined(text):
    assert tables.split_names(text, frozenset("abc")) == ["a", "b", "c"]


@pytest.mark.parametrize("text", [None, math.nan, "", " "])
def test_no_ties_are_read_from_nothing(text):
    assert tables.split_names(text, frozenset("abc")) == []


def test_a_name_with_commas_is_one_tie():
    assert tables.split_names("a, b", frozenset({"a, b", "a"})) == ["a, b"]


def row(low, tau, high):
    return {"kendall_lower": low, "kendall": tau, "kendall_upper": high}


@pytest.mark.parametrize(
    ("measure", "expected"),
    [
        (row(0.5, 0.6, 0.7), "stronger"),
        (row(-0.7, -0.6, -0.5), "stronger"),
        (row(0.2, 0.4, 0.6), "alike"),
        (row(-0.6, -0.3, 0.0), "alike"),
        (row(-0.1, 0.02, 0.05), "weaker"),
        (row(math.nan, 0.6, math.nan), ""),
    ],
)
def test_measures_are_held_beside_parameter_count_by_strength(measure, expected):
    assert belief.beside(measure, row(0.1, 0.25, 0.4)) == expected


def test_measure_belongs_to_its_longest_registered_prefix():
    audit = sample_audit(2)
    read = tables.Tables.of(audit)
    assert read.measure("feature_entropy.clique.layer_1")["summary"] == (
        "What feature_entropy.clique is"
    )
    assert read.measure("feature_entropies") == {}


def test_layers_sort_by_number():
    names = ["m.layer_10", "m.layer_2", "m", "m.last"]
    assert sorted(names, key=tables.natural_key)[-2:] == ["m.layer_2", "m.layer_10"]


def test_axes_begin_with_architecture_then_what_explains_most():
    titles = [axis.title for axis in colours.axes(tables.Tables.of(sample_audit()))]
    assert titles[:2] == ["architecture", "label noise"]


def test_axes_leave_out_what_only_repeats_the_architecture():
    audit = sample_audit()
    held_out = audit.held_out.assign(**{"hp.model": audit.held_out["family"].str.upper()})
    again = colours.axes(tables.Tables.of(dataclasses.replace(audit, held_out=held_out)))
    assert "model" not in [axis.title for axis in again]


@pytest.mark.parametrize(
    ("accuracy", "share"), [([0, 0, 1, 1], 1.0), ([0, 1, 0, 1], 0.0), ([1, 1, 1, 1], 0.0)]
)
def test_explained_share_of_variance(accuracy, share):
    names = list("abcd")
    levels = dict(zip(names, ["x", "x", "y", "y"], strict=True))
    assert colours.explained(levels, dict(zip(names, accuracy, strict=True))) == share


def test_many_values_of_an_axis_become_ranges():
    audit = sample_audit(40)
    held_out = audit.held_out[["checkpoint", "held_out_accuracy"]].assign(
        **{"hp.learning_rate": [10 ** (-k / 10) for k in range(40)]}
    )
    read = tables.Tables.of(dataclasses.replace(audit, held_out=held_out))
    axis = next(axis for axis in colours.axes(read) if axis.title == "learning rate")
    assert len(axis.levels) == 5
