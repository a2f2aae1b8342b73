"""The small parts of the report: numbers, scales, ties, comparisons, colours."""

import dataclasses
import doctest
import math

import pytest
from test_reports_sample import LAYERS, declared, sample_audit

from audit_reports import belief, colours, depth, scatters, series, svg, tables, wording


@pytest.mark.parametrize("module", [wording, svg, series])
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


def redeclared(audit, **changes):
    """The audit whose measures declare something else, read; None: the measure is unknown."""
    measures = {
        name: entry | changes.get(name.split(".")[0], {})
        for name, entry in audit.run["measures"].items()
    }
    return tables.Tables.of(dataclasses.replace(audit, run={**audit.run, "measures": measures}))


def test_quantities_have_the_declared_order_and_unit():
    first, second = series.quantities(redeclared(sample_audit(6)))
    assert (first.name, first.unit) == ("feature_entropy", "nats")
    assert (second.name, second.unit) == ("effective_rate", "share of images")
    assert list(first.variants) == ["clique", "cubical"]
    assert first.measures == ["feature_entropy.clique", "feature_entropy.cubical"]
    assert first.variants["clique"][4] == "feature_entropy.clique.layer_4"
    again = redeclared(sample_audit(6), feature_entropy={"order": 3, "unit": "bits"})
    assert [(q.name, q.unit) for q in series.quantities(again)] == [
        ("effective_rate", "share of images"),
        ("feature_entropy", "bits"),
    ]


def test_a_measure_nobody_foresaw_is_drawn_as_it_declares():
    read = redeclared(sample_audit(6, n_measures=3))
    assert [quantity.name for quantity in series.quantities(read)][2:] == []
    audit = sample_audit(6, n_measures=3)
    parts = [LAYERS | {"name": "part_*"}]
    measures = {**audit.run["measures"], "extra": declared("extra") | {"parts": parts, "order": 0}}
    audit = dataclasses.replace(audit, run={**audit.run, "measures": measures})
    first = depth.depth(tables.Tables.of(audit)).quantities[0]
    assert first.name == "extra"
    assert first.variants == [("extra", "c0")]


def test_several_series_of_one_measure_are_told_apart():
    both = [LAYERS | {"name": "layer_[12]"}, LAYERS | {"name": "layer_*"}]
    read = redeclared(sample_audit(6), effective_rate={"parts": both})
    assert [q.name for q in series.quantities(read)][1:] == [
        "effective_rate.layer",
        "effective_rate.layer_[12]",
    ]


def test_old_records_draw_nothing_by_depth_and_name_no_mark():
    old = {"parts": None, "unit": None, "order": None, "control": None, "diagnostic": None}
    audit = sample_audit(6)
    names = {name.split(".")[0] for name in audit.run["measures"]}
    read = redeclared(audit, **dict.fromkeys(names, old))
    drawn = depth.depth(read)
    assert (drawn.quantities, drawn.aggregates, drawn.diagnostics) == ([], [], [])
    assert belief.belief(read).mark == ""
    assert scatters.scatters(read).always == []


def test_diagnostics_and_aggregates_are_told_apart():
    drawn = depth.depth(redeclared(sample_audit(6)))
    assert [column for column, *_ in drawn.aggregates] == [
        *("feature_entropy.clique", "feature_entropy.cubical"),
        *("effective_rate.clique", "effective_rate.cubical"),
    ]
    assert {column.rpartition(".")[0] for column, *_ in drawn.diagnostics} == {
        *("unit_counts.clique", "unit_counts.cubical"),
    }


def test_layers_are_named_where_a_family_shares_them():
    read = redeclared(sample_audit())
    quantity = series.quantities(read)[0]
    columns = list(quantity.variants["clique"].values())
    vits = [name for name in read.checkpoints if read.families[name] == "test_vit"]
    assert series.layer_names(read, vits, columns) == [f"stages.{k}.act" for k in range(3)]
    assert series.layer_names(read, read.checkpoints, columns) == []
    assert series.layer_names(read, vits, columns[1:]) == []
    drawing = next(chart for family, _, chart in depth.depth(read).quantities[0].charts
                   if family == "test_vit")  # fmt: skip
    assert "<title>stages.1.act</title>stages.1</text>" in drawing
    assert "<title>clique stages.1.act: " in drawing


@pytest.mark.parametrize(
    ("names", "short"),
    [
        ([], []),
        (["act1"], ["act1"]),
        (["act1", "layer1.0.act2"], ["act1", "layer1.0.act2"]),
        (["stages.0.act", "stages.1.act"], ["stages.0", "stages.1"]),
        (["stages.0.blocks.0.mlp.act", "stages.0.blocks.1.mlp.act"], ["0.blocks.0", "0.blocks.1"]),
        (["a.very_long_module_name_1", "b.x"], ["…module_name_1", "b.x"]),
        (["a.a_very_long_name", "b.c.a_very_long_name.d"], ["…ery_long_name", "…y_long_name.d"]),
        (["a.b.the_same_long_name.1", "b.b.the_same_long_name.2"],
         ["…e_long_name.1", "…e_long_name.2"]),
        (["x.the_same_long_name", "y.the_same_long_name", "z"], []),
    ],
)  # fmt: skip
def test_names_of_layers_are_made_short_where_they_still_differ(names, short):
    assert series.short_names(names) == short


def test_the_mark_to_beat_is_the_cheapest_declared_control():
    read = redeclared(sample_audit(12))
    assert read.controls == ["parameters", "macs"]
    assert belief.belief(read).mark == "parameter count"
    assert scatters.scatters(read).always[-1] == "parameter count"
    other = redeclared(sample_audit(12), parameters={"control": False})
    assert belief.belief(other).mark == "MACs"


def test_a_part_has_a_direction_of_its_own():
    parts = [LAYERS, {"name": "last", "summary": "the deepest layer", "direction": "lower"}]
    read = redeclared(sample_audit(2), effective_rate={"direction": "higher", "parts": parts})
    assert read.direction("effective_rate.clique") == "higher"
    assert read.direction("effective_rate.clique.layer_1") == "none"
    assert read.direction("effective_rate.clique.last") == "lower"
    assert read.direction("effective_rate.clique.other") == "none"
    assert read.direction("nobody") == ""
    assert read.summary("effective_rate.clique.last") == (
        "What effective_rate.clique is; the deepest layer"
    )
