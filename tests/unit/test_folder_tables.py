"""The measures table: tidy, wide, and through files without a change."""

import json
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audit.errors import DataError, StoreError
from audit.folder.csv_files import read_csv, write_csv
from audit.folder.tables import (
    ALL_MEASURES,
    COLUMNS,
    DOUBT,
    measures_frame,
    read_measures,
    wide_frame,
)

NAMES = [
    "NA",
    "nan",
    "None",
    "null",
    "001",
    "1e5",
    "True",
    "-inf",
    "",
    " padded ",
    "ünïcode 漢字 🦉",
    "with, comma",
    'with "quotes"',
    "'",
    "line\nbreak",
    "#",
    "=1+1",
    "a\\b",
    "x" * 255,
]


@pytest.fixture(autouse=True)
def unsynced(monkeypatch):
    monkeypatch.setattr("os.fsync", lambda number: None)


def row(checkpoint, measure, value=0.0, status="ok", reason=""):
    return {
        "checkpoint": checkpoint,
        "measure": measure,
        "version": "1",
        "value": value,
        "status": status,
        "reason": reason,
        "seconds": 0.25,
    }


def test_measures_frame_is_tidy_and_sorted():
    frame = measures_frame([row("b", "y", 1), row("a", "z", 2), row("b", "x", 3)])
    assert tuple(frame.columns) == (*COLUMNS, DOUBT)
    assert frame["checkpoint"].tolist() == ["a", "b", "b"]
    assert frame["measure"].tolist() == ["z", "x", "y"]
    assert frame["value"].tolist() == [2, 3, 1]
    assert frame.index.tolist() == [0, 1, 2]
    assert frame["value"].dtype == frame["seconds"].dtype == np.float64


def test_measures_frame_of_nothing_has_its_columns():
    frame = measures_frame([])
    assert tuple(frame.columns) == (*COLUMNS, DOUBT)
    assert len(frame) == 0
    assert wide_frame(frame).columns.tolist() == ["checkpoint"]


def test_measures_frame_does_not_depend_on_the_order_of_rows():
    rows = [row(checkpoint, measure) for checkpoint in "cab" for measure in "yx"]
    pd.testing.assert_frame_equal(measures_frame(rows), measures_frame(reversed(rows)))


def test_measures_frame_refuses_two_rows_for_one_number():
    with pytest.raises(DataError) as caught:
        measures_frame([row("a", "x"), row("b", "x"), row("a", "x", 1)])
    assert str(caught.value) == "two rows for checkpoint 'a', measure 'x'"


def test_wide_frame_has_one_row_per_audited_checkpoint():
    frame = measures_frame(
        [
            row("b", "y", 1.0),
            row("b", "x", math.nan, "failed", "it raised"),
            row("a", "x", 2.0),
            row("a", "y", math.nan, "undefined", "no value"),
            row("broken", ALL_MEASURES, math.nan, "failed", "no file"),
        ]
    )
    wide = wide_frame(frame)
    assert wide.columns.tolist() == ["checkpoint", "x", "y"]
    assert wide["checkpoint"].tolist() == ["a", "b"]
    np.testing.assert_array_equal(wide["x"], [2.0, math.nan])
    np.testing.assert_array_equal(wide["y"], [math.nan, 1.0])


def test_wide_frame_when_all_failed_is_empty():
    frame = measures_frame([row("a", ALL_MEASURES, math.nan, "failed", "no file")])
    assert len(wide_frame(frame)) == 0
    held_out = pd.DataFrame({"checkpoint": ["a"], "held_out_accuracy": [0.5]})
    assert wide_frame(frame, held_out).columns.tolist() == ["checkpoint", "held_out_accuracy"]


def test_wide_frame_joins_what_is_known_of_checkpoints():
    frame = measures_frame([row(c, m, 0.1) for c in "ab" for m in ("train_accuracy", "x")])
    held_out = pd.DataFrame(
        {"checkpoint": ["b", "c"], "held_out_accuracy": [0.5, 0.6], "train_accuracy": [0.9, 0.8]}
    )
    wide = wide_frame(frame, held_out)
    assert wide.columns.tolist() == ["checkpoint", "x", "held_out_accuracy", "train_accuracy"]
    assert wide["checkpoint"].tolist() == ["a", "b"]
    np.testing.assert_array_equal(wide["held_out_accuracy"], [math.nan, 0.5])
    np.testing.assert_array_equal(wide["train_accuracy"], [math.nan, 0.9])
    pd.testing.assert_frame_equal(wide_frame(frame, pd.DataFrame()), wide_frame(frame))


def test_csv_keeps_every_name(tmp_path):
    frame = measures_frame(
        [row(name, measure, reason=name) for name in NAMES for measure in ("NA", "001")]
    )
    write_csv(frame, tmp_path / "measures.csv")
    found = read_measures(tmp_path / "measures.csv")
    pd.testing.assert_frame_equal(found, frame, check_dtype=False)
    assert sorted(set(found["checkpoint"])) == sorted(NAMES)


text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\0"), max_size=12)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    names=st.lists(text, min_size=1, max_size=4, unique=True),
    value=st.floats(allow_infinity=False),
    reason=text,
)
def test_csv_round_trip_keeps_text_and_every_bit_of_numbers(tmp_path, names, value, reason):
    frame = measures_frame([row(name, "m", value, "undefined", reason) for name in names])
    write_csv(frame, tmp_path / "t.csv")
    found = read_measures(tmp_path / "t.csv")
    assert found["checkpoint"].tolist() == frame["checkpoint"].tolist()
    assert found["reason"].tolist() == frame["reason"].tolist()
    np.testing.assert_array_equal(found["value"].to_numpy(float), frame["value"].to_numpy())


def test_csv_carriage_returns_do_not_break_lines(tmp_path):
    frame = measures_frame([row("a\rb", "m", reason="first\r\nsecond"), row("c", "m")])
    write_csv(frame, tmp_path / "t.csv")
    found = read_measures(tmp_path / "t.csv")
    assert found["checkpoint"].tolist() == ["a b", "c"]
    assert found["reason"].tolist() == ["first second", ""]


def test_csv_of_equal_tables_is_equal_bytes(tmp_path):
    rows = [
        row(name, "m", value) for name, value in zip("abc", [0.1, math.nan, 1e300], strict=True)
    ]
    for number, order in enumerate((rows, rows[::-1])):
        write_csv(measures_frame(order), tmp_path / str(number))
    content = (tmp_path / "0").read_bytes()
    assert content == (tmp_path / "1").read_bytes()
    assert content.decode().splitlines() == [
        "checkpoint,measure,version,value,status,reason,seconds,doubt",
        "a,m,1,0.1,ok,,0.25,",
        "b,m,1,,ok,,0.25,",
        "c,m,1,1e+300,ok,,0.25,",
    ]


def test_tables_that_cannot_be_written_say_where(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match=r"file/t cannot be written \(\d+ bytes\): "):
        write_csv(measures_frame([]), tmp_path / "file" / "t")


def refusal(path, columns=("checkpoint",)):
    with pytest.raises(DataError) as caught:
        read_csv(path, "held-out", columns)
    return str(caught.value)


def test_read_csv_says_what_is_wrong(tmp_path):
    path = tmp_path / "t.csv"
    assert refusal(path) == f"held-out table {path} does not exist"
    path.write_text("checkpiont,value\na,1\n")
    assert refusal(path, ("checkpoint", "value", "x")) == (
        f"held-out table {path} lacks the columns checkpoint, x; it has 'checkpiont', 'value'"
    )
    path.write_text("")
    assert refusal(path) == (
        f"held-out table {path} is not a UTF-8 CSV file: No columns to parse from file"
    )
    path.write_bytes(b"checkpoint\n\xff\n")
    assert refusal(path).startswith(f"held-out table {path} is not a UTF-8 CSV file: 'utf-8' codec")
    path.write_text('checkpoint\n"a\n')
    assert refusal(path).startswith(f"held-out table {path} is not a UTF-8 CSV file: ")
    assert refusal(tmp_path) == (
        f"held-out table {tmp_path} cannot be read: [Errno 21] Is a directory: {str(tmp_path)!r}"
    )


def test_read_csv_keeps_text_as_it_is_written_and_numbers_to_the_last_bit(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("name,value,note\n1.0,0.30000000000000004,NA\n,nan,\n")
    found = read_csv(path, "", text=("name",))
    assert found["name"].tolist() == ["1.0", ""]
    assert found["value"][0] == 0.1 + 0.2
    assert found[["value", "note"]].isna().to_numpy().tolist() == [[False, True], [True, True]]
    assert refusal(tmp_path / "absent.csv").startswith("held-out table ")
    with pytest.raises(DataError) as caught:
        read_csv(tmp_path / "absent.csv", "")
    assert str(caught.value) == f"table {tmp_path / 'absent.csv'} does not exist"


@pytest.mark.parametrize("end", [",7", ","])
def test_read_csv_never_shifts_columns(tmp_path, end):
    path = tmp_path / "t.csv"
    path.write_text(f"checkpoint,value\na,0.5{end}\n")
    assert refusal(path) == (
        f"held-out table {path} has rows with more cells than its header has names"
    )


def test_read_csv_takes_what_spreadsheets_write(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes("\ufeffcheckpoint,value\r\n001,0.5\r\nNA,\r\n".encode())
    found = read_csv(path, "held-out", ("checkpoint", "value"))
    assert found["checkpoint"].tolist() == ["001", "NA"]
    assert json.loads(found["value"].to_json()) == {"0": 0.5, "1": None}


def test_tables_that_name_a_column_twice_are_refused(tmp_path):
    path = tmp_path / "twice.csv"
    path.write_text("checkpoint,a,a\nx,1,2\n")
    with pytest.raises(DataError, match=r"its header names a column twice: a$"):
        read_csv(path, "foreign")
