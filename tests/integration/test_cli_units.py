"""`genaudit units`: rankings, chance, two networks, figures, and what a report shows of units."""

import json

import pandas as pd
import pytest

ONE = ("--checkpoint", "test_resnet-0", "--filtration", "cubical", "--layer", "layer1")


@pytest.fixture
def measured(user, genaudit, tmp_path, monkeypatch):
    """An output folder, and a store beside it that later calls find."""
    out = tmp_path / "out"
    assert genaudit("measure", user / "audit.toml", "-o", out).code == 0
    monkeypatch.setenv("GENAUDIT_CACHE", str(tmp_path / "cache"))
    return out


def test_units_are_ranked_within_classes_and_over_them(measured, genaudit):
    done = genaudit("units", measured, *ONE, "--rank", "layer", "--rows", "2", "--json")
    assert json.loads(done.out) == []  # eight images a class are too few
    done = genaudit("units", measured, *ONE, "--rows", "3", "--last", "--json")
    numbers = [row["feature_entropy"] for row in json.loads(done.out)]
    assert numbers == sorted(numbers, reverse=True)
    done = genaudit("units", measured, *ONE, "--rows", "3")
    assert done.out.startswith("checkpoint test_resnet-0, filtration cubical, layer layer1, images")


def test_units_are_told_with_intervals_and_nulls(measured, genaudit):
    words = (*ONE, "--class", "class 1", "--min-rate", "0", "--rows", "99", "--json")
    plain = json.loads(genaudit("units", measured, *words).out)
    found = json.loads(genaudit("units", measured, *words, "--nulls", "--device", "cpu").out)
    assert {"lower", "upper", "repeats", "shuffled_z", "labels_z", "random_z"} <= set(found[0])
    key = [(row["unit"], row["feature_entropy"], row["effective_rate"]) for row in plain]
    assert sorted(key) == sorted(
        (row["unit"], row["feature_entropy"], row["effective_rate"]) for row in found
    )
    assert any(row["labels_z"] is not None for row in found)


def test_births_that_the_store_holds_are_not_computed_again(measured, genaudit, monkeypatch):
    def refuse(*arguments):
        raise AssertionError("a network was built although its births are in the store")

    monkeypatch.setattr("audit.measuring.checkpoint.CheckpointView._network", refuse)
    done = genaudit("units", measured, *ONE, "--intervals", "--device", "cpu", "--json")
    assert done.code == 0, done.err
    assert "lower" in json.loads(done.out)[0]


def test_two_checkpoints_are_compared_by_table_and_by_network(measured, genaudit, tmp_path):
    pair = ("--across", "test_resnet-0", "test_resnet-1", "--filtration", "cubical")
    done = genaudit("units", measured, *pair)
    assert done.code == 0, done.err
    assert done.out.startswith("first: test_resnet-0, second: test_resnet-1, cubical filtration\n")
    assert "Do both networks put the classes in one order?" in done.out
    assert "cannot tell: 3 classes of 8 images have a number in both networks" in done.out
    figure = tmp_path / "pair.svg"
    done = genaudit("units", measured, *pair, "--match", "--json", "--plot", figure)
    found = json.loads(done.out)
    assert {"layers", "classes", "class_order", "matched", "hypotheses"} <= set(found)
    assert done.err == f"Figure: {figure}\n"
    assert figure.read_bytes().startswith(b"<?xml")


def test_tables_of_two_architectures_say_that_their_maps_differ(measured, genaudit):
    record = json.loads((measured / "run.json").read_text())
    sizes = {
        entry["checkpoint"]: [layer["height"] for layer in entry["layers"]]
        for entry in record["checkpoints"]
    }
    done = genaudit("units", measured, "--across", "test_resnet-0", "test_mambaout-0", "--json")
    reasons = {row["reason"] for row in json.loads(done.out)["layers"]}
    differ = sizes["test_resnet-0"] != sizes["test_mambaout-0"]
    assert any("different numbers of levels" in reason for reason in reasons) == differ


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_a_unit_is_drawn(measured, genaudit, tmp_path, suffix):
    path = tmp_path / f"unit.{suffix}"
    one = (*ONE, "--unit", "3", "--class", "class 1")
    done = genaudit("units", measured, *one, "--plot", path, "--images", "2", "--device", "cpu")
    assert done.code == 0, done.err
    assert done.out == f"Figure: {path}\n"
    assert path.stat().st_size > 10_000


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("--layer", "layer9"),
            "unknown layer 'layer9'; did you mean 'layer2' or 'layer1'? there are ",
        ),
        (
            (*ONE, "--unit", "99"),
            "unknown unit '99'; did you mean '9'? there are 0 to 31",
        ),
        (
            (*ONE, "--class", "class 7"),
            "unknown class 'class 7'; did you mean 'class 2' or 'class 1' or 'class 0'? there are ",
        ),
        (
            (*ONE, "--plot", "unit.png"),
            "one unit is drawn: choose its unit (--unit), one of 0, 1, 2, 3, 4, 5, 6, 7 …",
        ),
        (
            (*ONE, "--unit", "3", "--class", "class 1", "--plot", "unit.gif"),
            "unit.gif: figures are written as svg, png, pdf; found the suffix '.gif'",
        ),
        (("--across", "test_resnet-0", "test_resnet"), "unknown checkpoint 'test_resnet'; did"),
    ],
)
def test_what_is_wrong_is_named(measured, genaudit, words, message):
    done = genaudit("units", measured, *words)
    assert done.code == 1
    assert done.err.startswith(f"error: {message}")


def test_weights_and_images_that_changed_are_refused(measured, user, genaudit):
    record = json.loads((measured / "run.json").read_text())
    entry = next(e for e in record["checkpoints"] if e["checkpoint"] == "test_resnet-0")
    entry["weights_digest"] = "0" * 64
    (measured / "run.json").write_text(json.dumps(record))
    done = genaudit("units", measured, *ONE, "--intervals", "--device", "cpu")
    assert done.err == (
        f"error: the weights of test_resnet-0 are others than those that {measured} was made from; "
        "`genaudit run` measures them anew\n"
    )
    for path in sorted((user / "data/train/class 0").iterdir())[:8]:
        path.unlink()
    done = genaudit("units", measured, *ONE, "--intervals", "--device", "cpu")
    assert done.err.startswith("error: the training set is another than the one that ")


def test_a_report_shows_units_where_the_run_is_told_to_keep_them(
    user, genaudit, tmp_path, monkeypatch
):
    out = tmp_path / "out"
    config = user / "audit.toml"
    config.write_text(config.read_text().replace('[held_out]\ntable = "held_out.csv"\n', ""))
    monkeypatch.setattr("audit.runs.kept_examples._LEAST_RATE", 0.2)
    assert genaudit("run", config, "-o", out).code == 0
    assert not (out / "unit_examples.json").exists()
    assert 'id="units"' not in (out / "report.html").read_text()
    wanted = 'images_per_class = 12\ninclude = ["feature_entropy.cubical"]'
    text = config.read_text().replace("images_per_class = 8", wanted)
    config.write_text(text + "[reports]\nunit_examples = true\n")
    assert genaudit("run", config, "-o", out).code == 0
    kept = json.loads((out / "unit_examples.json").read_text())
    first = pd.read_csv(out / "ranking.csv")["checkpoint"][0]
    assert kept["checkpoint"] == first
    page = (out / "report.html").read_bytes()
    assert b'id="units"' in page

    def refuse(*arguments):
        raise AssertionError("a network was built although everything is there")

    monkeypatch.setattr("audit.measuring.checkpoint.CheckpointView._network", refuse)
    assert genaudit("run", config, "-o", out).code == 0
    assert (out / "report.html").read_bytes() == page
    assert genaudit("report", out).code == 0
    assert (out / "report.html").read_bytes() == page
