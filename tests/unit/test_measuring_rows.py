"""What the store holds of a checkpoint becomes rows, or is refused as a whole."""

import contextlib
import copy
import math

import pandas as pd
import pytest

from audit.errors import StoreError
from audit.measuring.rows import UNIT_SCHEMA, kept_tables, measured_meta, row_entry
from audit.measuring.subject import Provided
from audit.plugin import Value
from audit.store import Entry

MEASURES = [Provided("loss", "1", "genaudit 0.1.0")]


@pytest.fixture
def entry():
    values = {"": Value.of(0.5), "part": Value.undefined("no pairs")}
    units = pd.DataFrame(
        {
            "layer": ["a", "a"],
            "unit": [0, 1],
            "class_name": ["x", None],
            "n_images": 3,
            "effective_rate": 0.5,
            "birth_entropy": [1.0, math.nan],
            "feature_entropy": [2.0, math.nan],
            "status": ["ok", "none"],
        }
    )
    facts = {"doubts": [{"kind": "untrained", "reason": "at chance"}]}
    return row_entry({"loss": measured_meta(values, 0.1)}, {"clique": units}, facts)


def test_rows_units_and_doubts_come_back(entry):
    rows, units, doubts = kept_tables("net", MEASURES, entry)
    assert [row["measure"] for row in rows] == ["loss", "loss.part"]
    assert rows[0]["value"] == 0.5
    assert math.isnan(rows[1]["value"])
    assert units[0].schema == UNIT_SCHEMA
    assert units[0]["layer"].to_pylist() == ["a", "a"]
    assert units[0]["class_name"].to_pylist() == ["x", None]
    assert units[0]["checkpoint"].to_pylist() == ["net", "net"]
    assert [doubt["kind"] for doubt in doubts] == ["untrained"]


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("layer", lambda codes: codes + 7),
        ("layer", lambda codes: codes - 2),
        ("layer", lambda codes: codes.astype(float) + 0.5),
        ("unit", lambda numbers: numbers[:1]),
        ("unit", lambda numbers: numbers + 2**40),
        ("unit", lambda numbers: numbers.reshape(1, -1)),
        ("feature_entropy", lambda numbers: numbers.astype("S3")),
    ],
)
def test_units_of_another_form_are_refused(entry, name, change):
    arrays = {**entry.arrays, f"clique.{name}": change(entry.arrays[f"clique.{name}"])}
    with pytest.raises(StoreError, match="another form than genaudit writes"):
        kept_tables("net", MEASURES, Entry(arrays, entry.meta))


@pytest.mark.parametrize("words", [["a", "a"], [1], None, []])
def test_words_of_units_of_another_form_are_refused(entry, words):
    meta = copy.deepcopy(entry.meta)
    meta["words"]["clique"]["layer"] = words
    with pytest.raises(StoreError, match="another form than genaudit writes"):
        kept_tables("net", MEASURES, Entry(entry.arrays, meta))


def test_units_that_lack_a_column_are_refused(entry):
    meta = copy.deepcopy(entry.meta)
    meta["columns"]["clique"].remove("status")
    with pytest.raises(StoreError, match="another form than genaudit writes"):
        kept_tables("net", MEASURES, Entry(entry.arrays, meta))


def places(value, path=()):
    """Where everything in nested mappings and lists stands."""
    if path:
        yield path
    pairs = value.items() if isinstance(value, dict) else ()
    pairs = enumerate(value) if isinstance(value, list) else pairs
    for key, part in pairs:
        yield from places(part, (*path, key))


@pytest.mark.parametrize("other", [None, "<b>", [], {}, 10**400])
def test_other_forms_are_refused_with_a_typed_error(entry, other):
    for path in places(entry.meta):
        meta = copy.deepcopy(entry.meta)
        part = meta
        for key in path[:-1]:
            part = part[key]
        part[path[-1]] = other
        with contextlib.suppress(StoreError):
            rows, _, _ = kept_tables("net", MEASURES, Entry(entry.arrays, meta))
            assert {row["status"] for row in rows} <= {"ok", "undefined", "unavailable", "failed"}
            assert all(isinstance(row["value"], float) for row in rows)
