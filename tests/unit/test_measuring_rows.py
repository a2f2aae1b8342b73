"""What the store holds of a checkpoint becomes rows, or is refused as a whole."""

import contextlib
import copy
import math

import pandas as pd
import pytest

from audit.errors import StoreError
from audit.measuring.rows import kept_tables, measured_meta, row_entry
from audit.measuring.subject import Provided
from audit.plugin import Value
from audit.store import Entry

MEASURES = [Provided("loss", "1", "genaudit 0.1.0")]


@pytest.fixture
def entry():
    values = {"": Value.of(0.5), "part": Value.undefined("no pairs")}
    units = pd.DataFrame({"layer": ["a", "a"], "unit": [0, 1], "status": ["ok", "none"]})
    facts = {"doubts": [{"kind": "untrained", "reason": "at chance"}]}
    return row_entry({"loss": measured_meta(values, 0.1)}, {"clique": units}, facts)


def test_rows_units_and_doubts_come_back(entry):
    rows, units, doubts = kept_tables("net", MEASURES, entry)
    assert [row["measure"] for row in rows] == ["loss", "loss.part"]
    assert rows[0]["value"] == 0.5
    assert math.isnan(rows[1]["value"])
    assert units[0]["layer"].tolist() == ["a", "a"]
    assert [doubt["kind"] for doubt in doubts] == ["untrained"]


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
