"""The page of one measure and the catalogue of all say what the measures declare."""

import functools
import re
from pathlib import Path

import pytest

from audit.plugin import MeasureEntry, Part, Value
from audit.plugin.catalogue import catalogue, function_of, measure_page
from audit.plugin.registry import installed

PAGE = Path(__file__).parents[2] / "docs" / "measures.md"
SHIPPED = installed().measures


def compute(view, filtration):
    """Number of units.

    Source:
        Nobody.
    """
    return Value(1.0)


ENTRY = MeasureEntry(
    name="n_units",
    summary="number of units",
    compute=functools.partial(compute, filtration="clique"),
    version="3",
    direction="higher",
    invariance="node-wise",
    varies_with=("duplicates", "dtype"),
    cost="weights",
    formula="|U|",
    claim="nobody | none",
    weakness="it counts",
    passes=0.5,
    parts=(
        Part(name="last", summary="the deepest layer", direction="lower", claim="three zoos"),
        Part(name="layer_*", summary="one layer"),
    ),
)


def test_the_page_of_a_measure_holds_its_declarations_and_its_docstring():
    assert measure_page(ENTRY).splitlines() == [
        "n_units: number of units",
        "",
        "  formula     |U|",
        "  direction   higher: nobody | none",
        "  rescaling   node-wise",
        "  moves with  duplicates, dtype",
        "  cost        weights, 0.5 passes of its own",
        "  weakness    it counts",
        "  version     3",
        "",
        "parts",
        "  last     the deepest layer; lower: three zoos",
        "  layer_*  one layer; none",
        "",
        "Number of units.",
        "",
        "Source:",
        "    Nobody.",
    ]


def test_the_page_of_a_measure_folds_long_lines():
    lines = measure_page(SHIPPED["feature_entropy.clique"]).splitlines()
    assert max(map(len, lines)) <= 100


def test_the_catalogue_has_a_row_for_every_measure_and_for_parts_with_a_direction():
    text = catalogue([ENTRY])
    rows = [line for line in text.splitlines() if line.startswith("| ") and "`" in line]
    assert rows == [
        "| ● `n_units`: number of units | \\|U\\| | higher: nobody \\| none | node-wise | "
        "duplicates, dtype | weights, 0.5 passes of its own | it counts |  |",
        "| `n_units.last`: the deepest layer | | lower: three zoos | | | | | |",
    ]


def test_function_of_looks_below_partials_and_wrappers():
    @functools.wraps(compute)
    def wrapper(view):
        return compute(view, "clique")

    assert function_of(functools.partial(wrapper)) is compute


def test_the_page_on_measures_is_what_the_measures_declare():
    assert PAGE.read_text("utf-8") == catalogue(
        [entry for entry in SHIPPED.values() if entry.compute and _is_shipped(entry)]
    ), "run: genaudit measures --markdown > docs/measures.md"


def _is_shipped(entry):
    return function_of(entry.compute).__module__.startswith("audit_measures.")


@pytest.mark.parametrize("name", sorted(SHIPPED))
def test_every_measure_says_what_a_reader_asks(name):
    entry = SHIPPED[name]
    doc = function_of(entry.compute).__doc__ or ""
    said = {
        "formula": entry.formula,
        "weakness": entry.weakness,
        "source": entry.source or re.search(r"Source:", doc),
        "claim": entry.claim or entry.direction == "none",
        "example": "Example:" in doc,
        "docstring": doc,
    }
    assert [what for what, text in said.items() if not text] == []
    for part in entry.parts:
        assert part.summary
        if part.direction != entry.direction and part.direction != "none":
            assert part.claim, part.name


def test_there_are_fifty_measures_at_least():
    assert len(SHIPPED) >= 50
