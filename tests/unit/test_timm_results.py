import pytest

from audit.errors import DataError
from audit.plugin import KnownCheckpoint
from audit_timm.results import join, read_timm_results


def write(tmp_path, text):
    path = tmp_path / "results.csv"
    path.write_text(text)
    return path


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
    known = [KnownCheckpoint(name, model, sizes.get(name)) for name, model in models.items()]
    table, notes = join(write(tmp_path, TIMM), known)
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
        join(path, [KnownCheckpoint(name, model, None) for name, model in models.items()])
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
