"""results.json: the whole audit as plain JSON."""

import json
import math

import numpy as np
import pandas as pd
import pytest
from test_reports_sample import empty_audit, sample_audit

from audit.errors import ConfigError
from audit_reports import genaudit_reporters, results, write_json

MEMBERS = ["schema", "genaudit", "failed", "ranking", "correlations", "measures", "held_out", "run"]


def strict(text):
    """Parse JSON, refusing NaN and infinities."""
    return json.loads(text, parse_constant=lambda word: pytest.fail(f"found {word}"))


def test_write_json_holds_every_table(tmp_path):
    audit = sample_audit(6)
    (path,) = write_json(audit, tmp_path, {})
    document = strict(path.read_text("utf-8"))
    assert list(document) == MEMBERS
    assert document["schema"] == 1
    assert len(document["measures"]) == len(audit.measures)
    assert document["ranking"][0]["checkpoint"] == audit.ranking["checkpoint"][0]
    assert document["run"]["dataset"]["name"] == "digits"
    assert list(document["failed"]) == ["test_resnet-truncated"]


def test_write_json_writes_missing_numbers_as_null(tmp_path):
    (path,) = write_json(sample_audit(3), tmp_path, {})
    rows = strict(path.read_text("utf-8"))["measures"]
    absent = [row for row in rows if row["measure"] == "distance_from_init"]
    assert [row["value"] for row in absent] == [None] * 3


def test_write_json_keeps_numbers_to_the_last_bit(tmp_path):
    audit = sample_audit(5)
    (path,) = write_json(audit, tmp_path, {})
    scores = [row["score"] for row in strict(path.read_text("utf-8"))["ranking"]]
    assert scores == audit.ranking["score"].tolist()


def test_write_json_of_nothing(tmp_path):
    (path,) = write_json(empty_audit(), tmp_path, {})
    document = strict(path.read_text("utf-8"))
    assert list(document) == MEMBERS
    assert document["ranking"] == []


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (math.nan, None),
        (-math.inf, None),
        (np.float32(0.5), 0.5),
        (np.int64(3), 3),
        (np.array([1.0, np.nan]), [1.0, None]),
        (pd.NA, None),
        (pd.NaT, None),
        ({1: (True, None)}, {"1": [True, None]}),
        ({"b", "a"}, ["a", "b"]),
    ],
)
def test_plain_speaks_json(value, expected):
    assert results.plain(value) == expected


def test_names_that_are_no_text_survive(tmp_path):
    audit = empty_audit({"genaudit": "caf\udce9"})
    (path,) = write_json(audit, tmp_path, {})
    assert strict(path.read_bytes())["genaudit"] == "caf\udce9"


def test_reporters_are_html_and_json():
    assert [entry.name for entry in genaudit_reporters()] == ["html", "json"]


@pytest.mark.parametrize(("indent", "start"), [(0, '{\n"'), (1, '{\n "'), (8, '{\n        "')])
def test_write_json_takes_an_indent(tmp_path, indent, start):
    (path,) = write_json(empty_audit(), tmp_path, {"indent": indent})
    assert path.read_text("utf-8").startswith(start)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"indnt": 2},
            "unknown option of reporter 'json': 'indnt'; did you mean 'indent'? "
            "its options are indent",
        ),
        ({"indent": 9}, "[reports.json] indent must be a whole number from 0 to 8; found 9"),
        ({"indent": -1}, "[reports.json] indent must be a whole number from 0 to 8; found -1"),
        ({"indent": True}, "[reports.json] indent must be a whole number from 0 to 8; found True"),
        ({"indent": 1.0}, "[reports.json] indent must be a whole number from 0 to 8; found 1.0"),
    ],
)
def test_write_json_refuses_options(tmp_path, options, message):
    with pytest.raises(ConfigError) as caught:
        write_json(empty_audit(), tmp_path, options)
    assert str(caught.value) == message
