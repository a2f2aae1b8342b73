"""Tables made elsewhere: roles guessed, named, refused."""

import pandas as pd
import pytest

from audit.correlation import read_foreign_table
from audit.errors import ConfigError, DataError

COLUMNS = {
    "Name": ["NA", "002", "c"],
    "lr": [0.1, 0.1, 0.01],
    "hp.depth": [2, 4, 2],
    "test_acc": [91.0, 87.5, 80.0],
    "Train_Acc": [0.99, 1.0, 0.95],
    "arch": ["r", "r", "v"],
    "sharpness": [1.0, 2.0, float("nan")],
    "measure": [3.0, 2.0, 1.0],
    "note": ["x", "y", "z"],
}


def write(tmp_path, columns):
    path = tmp_path / "foreign.csv"
    pd.DataFrame(columns).to_csv(path, index=False)
    return path


def test_roles_are_guessed_from_names(tmp_path):
    foreign = read_foreign_table(write(tmp_path, COLUMNS))
    assert foreign.roles == {
        "checkpoint": "Name",
        "held_out_accuracy": "test_acc",
        "train_accuracy": "Train_Acc",
        "family": "arch",
        "hyperparameters": ["lr", "hp.depth"],
        "measures": ["train_accuracy", "sharpness", "measure"],
    }
    assert foreign.table["checkpoint"].tolist() == ["NA", "002", "c"]
    assert foreign.table["held_out_accuracy"].tolist() == [0.91, 0.875, 0.8]
    assert foreign.table["hp.lr"].tolist() == [0.1, 0.1, 0.01]
    assert foreign.notes == [
        "test_acc is in percent: divided by 100",
        "neither numbers nor a known role, set aside: note",
    ]


def test_named_roles_go_before_guesses(tmp_path):
    path = write(tmp_path, COLUMNS)
    foreign = read_foreign_table(
        path, target="Train_Acc", hyperparameters=["note"], measures=["sharpness"]
    )
    assert foreign.roles["held_out_accuracy"] == "Train_Acc"
    assert foreign.roles["hyperparameters"] == ["note"]
    assert foreign.roles["measures"] == ["sharpness"]
    assert "hp.note" in foreign.table


def test_tidy_tables_are_made_wide(tmp_path):
    columns = {
        "checkpoint": ["a", "a", "b", "b"],
        "measure": ["m", "n", "m", "n"],
        "value": [1.0, 2.0, 3.0, 4.0],
        "accuracy": [0.5, 0.5, 0.6, 0.6],
    }
    foreign = read_foreign_table(write(tmp_path, columns))
    assert foreign.roles["measures"] == ["m", "n"]
    assert foreign.table["m"].tolist() == [1.0, 3.0]
    assert foreign.table["held_out_accuracy"].tolist() == [0.5, 0.6]


def test_unknown_column_is_named_with_the_nearest(tmp_path):
    message = r"^unknown column 'tst_acc'; did you mean 'test_acc'\? the columns are 'Name', "
    with pytest.raises(ConfigError, match=message):
        read_foreign_table(write(tmp_path, COLUMNS), target="tst_acc")


def test_a_table_without_accuracies_says_how_to_name_them(tmp_path):
    with pytest.raises(DataError, match="name it with --target-column"):
        read_foreign_table(write(tmp_path, {"name": ["a"], "sharpness": [1.0]}))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            ["high", "0.5"],
            r"needs accuracy in \[0, 1\] or in percent; found 'high' for 'a' \(line 2\)",
        ),
        (["-0.5", "0.5"], r"found -0.5 for 'a' \(line 2\)"),
        (["150", "0.5"], r"found 150.0 for 'a' \(line 2\)"),
        (
            ["0.93", "87.5"],
            r"all cells alike; found 0.93 for 'a' \(line 2\) and 87.5 for 'b' \(line 3\): is the "
            r"first a share or a percentage\? Write all in one of the two",
        ),
        (["93 %", "0.875"], r"has '93 %' in line 2 and '0.875' in line 3; write all"),
        (["93 %", "120%"], r"which is above 100 %"),
        (["inf", "0.5"], r"found inf for 'a' \(line 2\)"),
    ],
)
def test_accuracies_that_are_none_are_refused(tmp_path, values, message):
    with pytest.raises(DataError, match=message):
        read_foreign_table(write(tmp_path, {"name": ["a", "b"], "accuracy": values, "m": [1, 2]}))
