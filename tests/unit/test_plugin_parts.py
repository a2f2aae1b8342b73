"""Which measure a column belongs to, and what its parts declare."""

import pytest

from audit.conformance import reference_view
from audit.plugin import MeasureEntry, Part
from audit.plugin.parts import owner_of, part_named, suffix_of
from audit_measures import genaudit_measures

MEASURES = {entry.name: entry for entry in genaudit_measures()}


@pytest.mark.parametrize(
    ("column", "owner", "suffix"),
    [
        ("margin", "margin", ""),
        ("margin.p25", "margin", "p25"),
        ("margin.upper", "margin.upper", ""),
        ("margin.upper.layer_1.mean", "margin.upper", "layer_1.mean"),
        ("margin.uppermost", "margin", "uppermost"),
        ("margins", "", "margins"),
        ("", "", ""),
    ],
)
def test_owner_is_the_longest_name_up_to_a_dot(column, owner, suffix):
    found = owner_of(column, {"margin", "margin.upper"})
    assert (found, suffix_of(column, found)) == (owner, suffix)


def test_part_of_an_exact_name_goes_before_a_pattern():
    parts = (Part(name="layer_*", summary="a layer"), Part(name="layer_1", summary="the first"))
    assert part_named("layer_1", parts).summary == "the first"
    assert part_named("layer_2", parts).summary == "a layer"
    assert part_named("LAYER_2", parts) is None
    assert part_named("last", parts) is None


def test_part_without_a_suffix_is_the_measure_itself():
    entry = MeasureEntry(
        name="m",
        summary="an example",
        compute=lambda view: 0.0,
        version="1",
        direction="lower",
        invariance="none",
        cost="weights",
    )
    assert entry.part("") == Part(name="", summary="an example", direction="lower", judged=True)
    assert entry.part("p25") is None
    assert entry.words == "m"


@pytest.mark.parametrize("name", [name for name, entry in MEASURES.items() if entry.parts])
def test_measures_that_declare_parts_declare_all_of_them_and_no_others(name):
    entry = MEASURES[name]
    suffixes = [suffix for suffix in entry.compute(reference_view()) if suffix]
    given = {part.name for suffix in suffixes if (part := entry.part(suffix))}
    assert [suffix for suffix in suffixes if entry.part(suffix) is None] == []
    assert given == {part.name for part in entry.parts}


BY_DEPTH = [name for name, entry in MEASURES.items() if any(part.by_depth for part in entry.parts)]


def test_measures_over_depth_come_in_their_order():
    ordered = sorted(BY_DEPTH, key=lambda name: (MEASURES[name].order, name))
    variants = ("clique", "cubical")
    themes = ("feature_entropy", "effective_rate", "birth_class_information")
    births = [f"{theme}.{variant}" for theme in themes for variant in variants]
    later = ["birth_separation.clique", "birth_separation.cubical", "label_smoothness"]
    assert [name for name in ordered if MEASURES[name].default] == births + later
    assert ordered[: len(births)] == births
    assert [name for name in ordered if name.startswith("hole")] == ["hole_area", "hole_entropy"]


#: The deepest layer's direction where evidence gives it another than the mean's: docs/evidence.md.
LAST_OF_ITS_OWN = {
    "effective_rate.cubical": "lower",
    "feature_entropy.clique": "none",
    "feature_entropy.cubical": "higher",
}


@pytest.mark.parametrize("name", BY_DEPTH)
def test_layers_and_slopes_are_not_judged_and_the_last_layer_is(name):
    entry = MEASURES[name]
    layer, last, slope = (entry.part(suffix) for suffix in ("layer_12", "last", "depth_slope"))
    assert (layer.judged, layer.direction, layer.by_depth) == (False, "none", True)
    assert (last.judged, last.by_depth) == (True, False)
    assert last.direction == LAST_OF_ITS_OWN.get(name, entry.direction)
    assert (slope.judged, slope.direction, slope.by_depth) == (False, "none", False)
