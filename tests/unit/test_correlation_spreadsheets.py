"""Tables as spreadsheets write them: put right with a note, or refused with the cell named."""

import numpy as np
import pandas as pd
import pytest

from audit.correlation import correlate, read_foreign_table, read_held_out
from audit.correlation._numbers import read_number
from audit.correlation._set_aside import row_numbers
from audit.errors import DataError

FAST = {"n_bootstrap": 50, "n_permutations": 199}


def read(tmp_path, text):
    path = tmp_path / "t.csv"
    path.write_bytes(text.encode())
    return read_foreign_table(path)


def zoo(n=12, seed=0):
    rng = np.random.default_rng(seed)
    accuracy = np.round(0.5 + 0.4 * rng.random(n), 4)
    return pd.DataFrame(
        {
            "checkpoint": [f"c{i}" for i in range(n)],
            "held_out_accuracy": accuracy,
            "sharpness": accuracy + rng.normal(size=n),
        }
    )


@pytest.mark.parametrize(
    ("cells", "values", "note"),
    [
        (["0,93", "1,5", "12,125"], [0.93, 1.5, 12.125], "'0,93' (line 2 and 2 more cells)"),
        (["1,234,567", "1,234", "2"], [1234567, 1234, 2], "was read as 1234567"),
        (["1,234.5", "1,234", "2"], [1234.5, 1234, 2], "was read as 1234.5"),
        (["1.234,5", "1,5", "2"], [1234.5, 1.5, 2], "was read as 1234.5"),
        (["\u22125", "1e-3 ", "2"], [-5, 0.001, 2], "was read as -5"),
        (["1_000", "1 000", "1'000"], [1000, 1000, 1000], "was read as 1000"),
        (["93 %", "5%", "0.5%"], [0.93, 0.05, 0.005], "'93 %' (line 2 and 2 more cells)"),
        (["#DIV/0!", "2", "-"], [np.nan, 2, np.nan], ""),
        (["1.234", "inf", "2"], [1.234, np.inf, 2], ""),
    ],
)
def test_numbers_as_people_write_them(tmp_path, cells, values, note):
    rows = [f'n{i},0.{i + 5},"{cell}"' for i, cell in enumerate(cells)]
    foreign = read(tmp_path, "name,accuracy,m\n" + "\n".join(rows))
    np.testing.assert_array_equal(foreign.table["m"], values)
    assert "m" in foreign.roles["measures"]
    assert any(note in said for said in foreign.notes) or not note


@pytest.mark.parametrize("cells", [["1,234", "2"], ["1,234", "12,345"]])
def test_a_number_that_can_be_two_is_refused(tmp_path, cells):
    rows = [f'n{i},0.{i + 5},"{cell}"' for i, cell in enumerate(cells)]
    message = "'1,234' in column m, line 2, can be 1234 or 1.234; write numbers with a decimal"
    with pytest.raises(DataError, match=message):
        read(tmp_path, "name,accuracy,m\n" + "\n".join(rows))


def test_a_group_of_thousands_is_not_guessed_beside_decimal_commas(tmp_path):
    text = "name;accuracy;m\na;0,9;0,5\nb;0,8;1.234\n"
    with pytest.raises(DataError, match=r"'1\.234' in column m, line 3, can be 1\.234 or 1234"):
        read(tmp_path, text)


def test_other_columns_decide_what_one_leaves_open(tmp_path):
    foreign = read(tmp_path, "name;accuracy;m\na;0,91;1,234\nb;0,82;2,345\n")
    assert foreign.table["m"].tolist() == [1.234, 2.345]
    assert foreign.table["held_out_accuracy"].tolist() == [0.91, 0.82]
    assert foreign.notes[0] == "its cells are separated by semicolons"


def test_text_that_only_looks_like_a_number_stays_text():
    for text in ("high", "1,2,3", "1_2", "01.02.2024", "2024-01-05", "", "1 2", "%", "e5", "1..2"):
        assert read_number(text) is None, text


@pytest.mark.parametrize("mark", ["\t", ";", "|"])
def test_other_separators_marks_and_empty_rows_and_columns(tmp_path, mark):
    text = "\ufeffname,accuracy,m,\r\n\r\na,0.9,1,\r\n,,,\r\nb,0.8,2,\r\n".replace(",", mark)
    foreign = read(tmp_path, text)
    assert foreign.table["checkpoint"].tolist() == ["a", "b"]
    assert list(foreign.table.columns) == ["checkpoint", "held_out_accuracy", "m"]


def test_a_line_that_says_the_separator_is_no_header(tmp_path):
    assert read(tmp_path, "sep=;\nname;accuracy;m\na;0.9;1\n").roles["measures"] == ["m"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("name,accuracy,m\n", "has a header, but no rows"),
        ("name,accuracy,m\n,,\n", "has a header, but no rows"),
        ("name,accuracy,m,m\na,0.9,1,2\n", "columns of the same name: 'm'; keep one each"),
        ("name,accuracy,m, m\na,0.9,1,2\n", "columns of the same name: 'm'"),
        ("name,Test Acc,test_acc\na,0.9,1\n", "names are alike: 'Test Acc', 'test_acc'"),
        ("name,accuracy,m\na,0.9,1\na,0.9,2\n", "m of 'a' is 1 in line 2 and 2 in line 3"),
        ("name,accuracy,m\na,0.9,1\n,0.8,2\n", r"without a checkpoint name \(line 3\)"),
        ("name,accuracy,m\na,0.9,1,5\n", "line 2 has 4, the header 3"),
        ("checkpoint,measure,value\na,m,1\na,m,2\n",
         "m of 'a' more than once: 1 in line 2 and 2 in line 3; keep one"),
        ("checkpoint,measure,value\na,m,x\n", "column value needs numbers; found 'x' in line 2"),
        ("checkpoint,measure,value\na,,1\n", "without a checkpoint name or a measure"),
        ("checkpoint,measure,value,acc\na,m,1,0.5\na,n,2,0.6\n",
         "acc of 'a' is 0.5 in line 2 and 0.6 in line 3"),
        ("checkpoint,measure,value,acc\na,acc,1,0.5\n", "measures named like columns: 'acc'"),
        ("PK\x03\x04rest", "is a workbook or an archive; save it as CSV UTF-8"),
        ('name,accuracy\n"a,0.9\n', "is not a UTF-8 CSV file: line 2"),
    ],
)  # fmt: skip
def test_tables_that_cannot_be_used_are_refused_with_the_place(tmp_path, text, message):
    with pytest.raises(DataError, match=message) as error:
        read(tmp_path, text)
    assert str(tmp_path) in str(error.value)


def test_equal_rows_count_once(tmp_path):
    foreign = read(tmp_path, "name,accuracy,m\na,0.9,1\nb,0.8,2\na,0.9,1\n")
    assert foreign.table["checkpoint"].tolist() == ["a", "b"]
    assert foreign.notes == ["'a' stands more than once with equal values (line 4): counted once"]
    tidy = "checkpoint,measure,value,acc\na,m,1,0.5\na,m,1,\nb,m,2,0.6\n"
    foreign = read(tmp_path, tidy)
    assert foreign.table["m"].tolist() == [1, 2]
    assert foreign.table["held_out_accuracy"].tolist() == [0.5, 0.6]
    assert "line 3: checkpoint and measure given before" in foreign.notes[0]


def test_totals_below_the_rows_are_no_checkpoints(tmp_path):
    rows = "name,accuracy,m\na,0.9,1\nb,0.8,2\nc,0.7,4.5\n"
    for end in ("mean,0.8,2.5\n", "Average,0.8,\nmax,0.9,4.5\n", ",0.8,2.5\n", "Total,,7.5\n"):
        foreign = read(tmp_path, rows + end)
        assert foreign.table["checkpoint"].tolist() == ["a", "b", "c"], end
        assert "a summary of the rows above, left out" in foreign.notes[0]
    assert len(read(tmp_path, rows + "mean,0.5,9\n").table) == 4


@pytest.mark.parametrize(
    "column",
    [
        np.arange(12), np.arange(12)[::-1] + 7, 0.5 * np.arange(12) + 3,
        np.random.default_rng(1).permutation(12), np.random.default_rng(2).permutation(12) * 10,
    ],
)  # fmt: skip
def test_numbers_of_rows_are_not_judged(column):
    assert row_numbers(column.astype(float))
    found = correlate(zoo().assign(m=column), **FAST)
    assert found["measure"].tolist() == ["sharpness"]
    assert found.attrs["notes"] == [
        "m: numbers of rows, not judged (name it among the measures to judge it)"
    ]
    named = correlate(zoo().assign(m=column), measures=["m"], **FAST)
    assert not named["verdict"][0].startswith("not judged")


@pytest.mark.parametrize("name", ["Unnamed: 0", "index", "ID", "run_id", "seed", "#", "Row No"])
def test_labels_of_rows_are_not_judged(name):
    column = [3, 17, 4, 99, 5, 6, 42, 8, 9, 1000, 11, 13]
    assert correlate(zoo().assign(**{name: column}), **FAST)["measure"].tolist() == ["sharpness"]


def test_dates_and_empty_columns_and_results_on_held_out_images_are_not_judged():
    rng = np.random.default_rng(0)
    others = {"day": 20240101 + np.array([0, 1, 4, 3, 9, 7, 6, 20, 11, 25, 14, 15])}
    others |= {name: rng.random(12) for name in ("val_acc", "test_loss", "Top-5", "valid error")}
    table = zoo().assign(nothing=np.nan, **others)
    assert correlate(table, **FAST)["measure"].tolist() == ["sharpness"]


@pytest.mark.parametrize("how", [lambda a: a, lambda a: 100 - 100 * a, lambda a: 3 * a + 2])
def test_a_copy_of_the_answer_is_not_judged_even_by_name(how):
    table = zoo()
    table["m"] = how(table["held_out_accuracy"])
    found = correlate(table, **FAST)
    assert found["measure"].tolist() == ["sharpness"]
    assert found.attrs["notes"] == ["m: a copy of held_out_accuracy, not judged"]
    named = correlate(table, measures=["m", "sharpness"], **FAST)
    assert named["verdict"][0] == "not judged: a copy of held_out_accuracy"
    gap = table.assign(train_accuracy=np.linspace(0.9, 0.99, 12) ** 2)
    gap["m"] = gap["train_accuracy"] - gap["held_out_accuracy"]
    assert "m: a copy of generalization_gap, not judged" in correlate(gap, **FAST).attrs["notes"]


def test_one_network_under_several_names_is_one_observation():
    table = zoo()
    alone = correlate(table, **FAST)
    again = table.iloc[[0, 0, 0, 5]].assign(checkpoint=["x", "y", "z", "w"])
    found = correlate(pd.concat([table, again]), **FAST)
    assert found.attrs["notes"] == [
        "'c0', 'x', 'y', 'z' are one network: one observation, not 4",
        "'c5', 'w' are one network: one observation, not 2",
    ]
    pd.testing.assert_frame_equal(found, alone)
    digests = table.assign(weights_sha256=[f"d{i // 2}" for i in range(12)])
    assert correlate(digests, **FAST)["n_models"].tolist() == [6]


def test_measures_that_tie_by_accident_are_not_one_network():
    table = zoo().assign(sharpness=np.repeat([1.0, 2, 4], 4))
    found = correlate(table, measures=["sharpness"], **FAST)
    assert found["n_models"].tolist() == [12]
    assert found.attrs["notes"] == []


def test_names_in_a_column_without_one_are_names(tmp_path):
    foreign = read(tmp_path, ",accuracy,m\nr18,0.9,1\nr50,0.8,2\n")
    assert foreign.table["checkpoint"].tolist() == ["r18", "r50"]
    numbers = "".join(f"{i},0.{i + 10},{i * i % 7}\n" for i in range(9))
    foreign = read(tmp_path, ",accuracy,m\n" + numbers)
    assert foreign.roles["measures"] == ["m"]


def test_of_two_held_out_results_one_is_taken_and_said(tmp_path):
    foreign = read(tmp_path, "name,val_acc,test_acc,m\na,0.9,0.8,1\nb,,0.7,2\nc,1,,4\n")
    assert foreign.roles["held_out_accuracy"] == "test_acc"
    assert foreign.roles["measures"] == ["m"]
    assert foreign.notes == [
        "test_acc was taken as the held-out accuracy, not val_acc; --target-column names another",
        "no test_acc in line 4: not used",
        "val_acc: a result on held-out images, not judged",
    ]


def test_a_cell_that_is_no_number_is_named(tmp_path):
    foreign = read(tmp_path, "name,accuracy,m,k\na,0.9,1,x\nb,0.8,crashed,y\nc,0.7,3,z\n")
    assert foreign.notes == [
        "m has numbers, but 'crashed' in line 3: set aside; correct or empty that cell",
        "neither numbers nor a known role, set aside: k",
    ]


def test_percent_columns_below_one_are_said_to_be_shares(tmp_path):
    foreign = read(tmp_path, "name,accuracy (%),m\na,0.9,1\nb,0.8,2\n")
    assert foreign.table["held_out_accuracy"].tolist() == [0.9, 0.8]
    assert foreign.notes == ["accuracy (%) has no value above 1: taken for shares in [0, 1]"]


def test_held_out_tables_and_data_frames_are_checked_alike(tmp_path):
    frame = pd.DataFrame(
        {"checkpoint": ["a", "b", "a"], "held_out_accuracy": ["93 %", "0,5 %", "93 %"]}
    )
    table, notes = read_held_out(frame)
    assert table["held_out_accuracy"].tolist() == [0.93, 0.005]
    assert "'a' stands more than once with equal values (row 3): counted once" in notes
    frame.loc[2, "held_out_accuracy"] = "92 %"
    with pytest.raises(DataError, match=r"is 0.93 in row 1 and 0.92 in row 3; keep one row each"):
        correlate(frame)
    with pytest.raises(DataError, match=r"is 0.93 in row 1 and 0.92 in row 3; keep one row each"):
        read_foreign_table(frame)
