import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.correlation import read_held_out
from audit.errors import DataError


def write(tmp_path, text):
    path = tmp_path / "held_out.csv"
    path.write_text(text)
    return path


def test_held_out_table_comes_in_the_order_of_the_checkpoints(tmp_path):
    path = write(tmp_path, "checkpoint,held_out_accuracy,hp.lr\nb,0.5,1\na,0.25,2\n")
    table, notes = read_held_out(path, ["a", "b"])
    assert table["checkpoint"].tolist() == ["a", "b"]
    assert table["held_out_accuracy"].tolist() == [0.25, 0.5]
    assert table["hp.lr"].tolist() == [2, 1]
    assert notes == []


def test_missing_checkpoints_and_empty_cells_are_noted(tmp_path):
    path = write(tmp_path, "checkpoint,held_out_accuracy\na,\nb,0.5\n")
    table, notes = read_held_out(path, ["a", "b", "c"])
    assert table["checkpoint"].tolist() == ["a", "b"]
    assert np.isnan(table["held_out_accuracy"][0])
    assert notes == [
        "no row for 'c': ranked, not used in correlation",
        "no held_out_accuracy given for 'a': ranked, not used in correlation",
    ]


def test_numeric_and_unicode_names_stay_names(tmp_path):
    path = write(tmp_path, "checkpoint,held_out_accuracy\n007,0.5\nmodèle é,0.25\n")
    assert read_held_out(path, ["007", "modèle é"]).notes == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("checkpoint,accuracy\na,0.5\n",
         "held-out table {path} needs columns 'checkpoint' and 'held_out_accuracy'; missing "
         "'held_out_accuracy', found 'checkpoint', 'accuracy'"),
        ("checkpoint,held_out_accuracy\na,0.5\nb,0.5\na,0.25\n",
         "held-out table {path} names 'a' more than once, with different values: "
         "held_out_accuracy of 'a' is 0.5 in line 2 and 0.25 in line 4; keep one row each"),
        ("checkpoint,held_out_accuracy\na,0.5\nbb1,0.5\n",
         "held-out table {path} has rows for checkpoints that were not measured: 'bb1'; measured, "
         "but without a row: 'b', 'bb2'; known checkpoints: 'a', 'b', 'bb2'; nearest to 'bb1': "
         "'bb2'"),
        ("checkpoint,held_out_accuracy\n,0.5\nb,0.5\n",
         "held-out table {path} has 1 rows without a checkpoint name (line 2); name them, "
         "or remove them"),
        ("checkpoint,held_out_accuracy\na,0.5,3\nb,0.5,4\n",
         "held-out table {path} has rows with more cells than its header has names: line 2 has "
         "3, the header 2; quote cells that hold a comma, or export with semicolons between cells"),
        ("checkpoint,held_out_accuracy\na,91.5\nb,50\n",
         "held-out table {path} needs held_out_accuracy in [0, 1]; found 91.5 for 'a' (line 2); these "
         "look like percent: divide them by 100"),
        ("checkpoint,held_out_accuracy\na,0.5\nb,high\n",
         "held-out table {path} needs held_out_accuracy in [0, 1]; found 'high' for 'b' (line 3)"),
        ("checkpoint,held_out_accuracy\na,-0.5\n",
         "held-out table {path} needs held_out_accuracy in [0, 1]; found -0.5 for 'a' (line 2)"),
        ("checkpoint,held_out_accuracy,train_accuracy\na,0.5,1.5\n",
         "held-out table {path} needs train_accuracy in [0, 1]; found 1.5 for 'a' (line 2); these "
         "look like percent: divide them by 100"),
    ],
)  # fmt: skip
def test_unusable_held_out_tables_are_refused(tmp_path, text, message):
    path = write(tmp_path, text)
    with pytest.raises(DataError) as error:
        read_held_out(path, ["a", "b", "bb2"])
    assert str(error.value) == message.format(path=path)


def test_unreadable_held_out_tables_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"held-out table .*absent\.csv does not exist$"):
        read_held_out(tmp_path / "absent.csv")
    with pytest.raises(DataError, match="is empty: it needs a header and a row per checkpoint"):
        read_held_out(write(tmp_path, ""))
    with pytest.raises(DataError, match="has a header, but no rows: its columns are 'checkpoint'"):
        read_held_out(write(tmp_path, "checkpoint,held_out_accuracy\n"))
    path = tmp_path / "binary.csv"
    path.write_bytes(b"\xff\xfe\x00checkpoint")
    with pytest.raises(DataError, match="is not a UTF-8 CSV file"):
        read_held_out(path)


def test_a_table_already_read_is_not_changed():
    table = pd.DataFrame({"checkpoint": [1, 2], "held_out_accuracy": ["0.5", "0.25"]})
    read = read_held_out(table, ["2", "1"]).table
    assert read["held_out_accuracy"].tolist() == [0.25, 0.5]
    assert table["checkpoint"].tolist() == [1, 2]


CELL = st.sampled_from(
    ["a", "b", "", "0.5", "50", "nan", "inf", "-1", '"', "x,y", "\x00", "é", "1e400"]
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.lists(CELL, min_size=1, max_size=4), max_size=5), st.booleans())
def test_any_file_is_read_or_refused(tmp_path_factory, rows, headed):
    path = tmp_path_factory.mktemp("fuzz") / "t.csv"
    header = ["checkpoint,held_out_accuracy"] if headed else []
    path.write_text("\n".join(header + [",".join(row) for row in rows]))
    try:
        table = read_held_out(path, ["a", "b"]).table
    except DataError:
        return
    known = table["held_out_accuracy"].dropna()
    assert ((known >= 0) & (known <= 1)).all()
    assert set(table["checkpoint"]) <= {"a", "b"}
