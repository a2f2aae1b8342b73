import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.correlation import held_out_from_timm, read_held_out, read_timm_results
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
         "held-out table {path} names 'a' more than once; keep one row each"),
        ("checkpoint,held_out_accuracy\na,0.5\nbb1,0.5\n",
         "held-out table {path} has rows for checkpoints that were not measured: 'bb1'; measured, "
         "but without a row: 'b', 'bb2'; known checkpoints: 'a', 'b', 'bb2'; nearest to 'bb1': "
         "'bb2'"),
        ("checkpoint,held_out_accuracy\n,0.5\nb,0.5\n",
         "held-out table {path} has 1 rows without a checkpoint name"),
        ("checkpoint,held_out_accuracy\na,0.5,3\nb,0.5,4\n",
         "held-out table {path} has rows with more cells than its header has names"),
        ("checkpoint,held_out_accuracy\na,91.5\nb,50\n",
         "held-out table {path} needs held_out_accuracy in [0, 1]; found 91.5 for 'a'; these look "
         "like percent: divide them by 100"),
        ("checkpoint,held_out_accuracy\na,0.5\nb,high\n",
         "held-out table {path} needs held_out_accuracy in [0, 1]; found high for 'b'"),
        ("checkpoint,held_out_accuracy\na,-0.5\n",
         "held-out table {path} needs held_out_accuracy in [0, 1]; found -0.5 for 'a'"),
        ("checkpoint,held_out_accuracy,train_accuracy\na,0.5,1.5\n",
         "held-out table {path} needs train_accuracy in [0, 1]; found 1.5 for 'a'; these look "
         "like percent: divide them by 100"),
    ],
)  # fmt: skip
def test_unusable_held_out_tables_are_refused(tmp_path, text, message):
    path = write(tmp_path, text)
    with pytest.raises(DataError) as error:
        read_held_out(path, ["a", "b", "bb2"])
    assert str(error.value) == message.format(path=path)


def test_unreadable_held_out_tables_are_refused(tmp_path):
    with pytest.raises(DataError, match="cannot be read: No such file or directory"):
        read_held_out(tmp_path / "absent.csv")
    with pytest.raises(DataError, match="is not a UTF-8 CSV file"):
        read_held_out(write(tmp_path, ""))
    path = tmp_path / "binary.csv"
    path.write_bytes(b"\xff\xfe\x00checkpoint")
    with pytest.raises(DataError, match="is not a UTF-8 CSV file"):
        read_held_out(path)


def test_a_table_already_read_is_not_changed():
    table = pd.DataFrame({"checkpoint": [1, 2], "held_out_accuracy": ["0.5", "0.25"]})
    read = read_held_out(table, ["2", "1"]).table
    assert read["held_out_accuracy"].tolist() == [0.25, 0.5]
    assert table["checkpoint"].tolist() == [1, 2]


TIMM = """model,img_size,top1,top1_err,top5,top5_err,param_count,crop_pct,interpolation
big.tag_in1k,336,90.000,10.0,99.0,1.0,"1,013.01",1.000,bicubic
net.a_in1k,224,80.000,20.0,95.0,5.0,25.56,0.950,bicubic
net.a_in1k,288,81.000,19.0,95.5,4.5,25.56,1.000,bicubic
net.b_in1k,224,79.000,21.0,94.0,6.0,25.56,0.950,bicubic
"""


def test_timm_results_are_shares_and_counts(tmp_path):
    table = read_timm_results(write(tmp_path, TIMM))
    assert table["held_out_accuracy"].tolist() == [0.9, 0.8, 0.81, 0.79]
    assert table["parameters"].tolist() == pytest.approx([1013.01e6, 25.56e6, 25.56e6, 25.56e6])


def test_timm_results_join_by_name_and_size(tmp_path):
    models = {"one": "big", "two": "hf_hub:timm/net.a_in1k", "three": "nett.a_in1k", "four": "big"}
    sizes = {"two": 288, "four": 224}
    table, notes = held_out_from_timm(write(tmp_path, TIMM), models, sizes)
    assert table.to_dict("list") == {
        "checkpoint": ["one", "two"],
        "held_out_accuracy": [0.9, 0.81],
        "img_size": [336, 288],
    }
    assert notes == [
        "no result for 'three' ('nett.a_in1k'); nearest: 'net.a_in1k', 'net.b_in1k'",
        "no result for 'four' ('big') at 224; there are results at 336",
    ]


@pytest.mark.parametrize(
    ("models", "message"),
    [
        ({"c": "net"}, "checkpoint 'c' is 'net', which has results with several tags: "
                       "'net.a_in1k', 'net.b_in1k'; name one"),
        ({"c": "net.a_in1k"}, "checkpoint 'c' is 'net.a_in1k', which has results at several image "
                              "sizes: 224, 288; say which"),
        ({"c": "zzz"}, "results file {path} has none of these models: no result for 'c' ('zzz')"),
    ],
)  # fmt: skip
def test_ambiguous_and_absent_timm_results_are_told(tmp_path, models, message):
    path = write(tmp_path, TIMM)
    with pytest.raises(DataError) as error:
        held_out_from_timm(path, models)
    assert str(error.value) == message.format(path=path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model,top1\na,1\n", "needs columns 'model', 'img_size', 'top1'; missing 'img_size'"),
        ("model,img_size,top1\na,224,high\n", "needs numbers in top1; found 'high' for 'a'"),
        ("model,img_size,top1\na,224,180\n", "needs top1 in percent, 0 to 100"),
        ("model,img_size,top1\na,224,80\na,224,81\n", "gives 'a' twice at one image size"),
    ],
)
def test_files_that_are_no_timm_results_are_refused(tmp_path, text, message):
    with pytest.raises(DataError) as error:
        read_timm_results(write(tmp_path, text))
    assert message in str(error.value)


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
