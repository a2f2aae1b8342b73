"""The stage on an output folder: what is judged, against which baselines, and when again."""

import numpy as np
import pandas as pd
import pytest

from audit.correlation.stage import correlate_folder
from audit.folder.columns import describe_measure
from audit.folder.csv_files import write_csv
from audit.folder.record import MEASURES, read_run, write_run
from audit.folder.tables import measures_frame
from audit.plugin import MeasureEntry, Part

N = 12
PARTS = (
    Part(name="layer_*", summary="a layer"),
    Part(name="last", summary="the last layer", direction="higher", judged=True),
)


@pytest.fixture(autouse=True)
def unsynced(monkeypatch):
    monkeypatch.setattr("os.fsync", lambda number: None)


def measure(name, **changes):
    fields = {"version": "1", "direction": "lower", "invariance": "none", "cost": "forward"}
    fields |= {"summary": f"the {name}", "compute": lambda view: 0.0}
    return MeasureEntry(name=name, **fields | changes)


ENTRIES = (
    measure("entropy", parts=PARTS),
    measure("a_time", control=True, called="time"),
    measure("width", control=True, cost="weights"),
)


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    columns = ("entropy", "entropy.layer_1", "entropy.last", "entropy.odd", "a_time", "width")
    rows = [
        dict.fromkeys(("version", "status"), "ok")
        | {"checkpoint": f"c{i}", "measure": column, "value": rng.normal(), "reason": ""}
        for i in range(N)
        for column in columns
    ]
    write_csv(measures_frame(rows), tmp_path / MEASURES)
    described = {entry.name: describe_measure(entry) for entry in ENTRIES}
    write_run(tmp_path, {"seed": 0, "config": {}, "measures": described})
    return tmp_path


def held_out(folder, **columns):
    rng = np.random.default_rng(1)
    names = [f"c{i}" for i in range(N)]
    table = pd.DataFrame({"checkpoint": names, "held_out_accuracy": rng.random(N), **columns})
    table.to_csv(folder / "held_out.csv", index=False)
    return folder / "held_out.csv"


def test_stage_judges_what_declares_it_in_its_own_direction(folder):
    found = correlate_folder(folder, held_out(folder))
    assert dict(zip(found["measure"], found["direction"], strict=True)) == {
        "a_time": "lower",
        "entropy": "lower",
        "entropy.last": "higher",
        "width": "lower",
    }


def test_stage_tests_against_the_controls_of_the_run_cheapest_first(folder):
    correlate_folder(folder, held_out(folder))
    assert read_run(folder)["correlation"]["controls"] == ["width", "a_time"]


def test_stage_tests_against_training_accuracies_that_were_given(folder):
    correlate_folder(folder, held_out(folder, train_accuracy=np.linspace(0.9, 1, N)))
    found = read_run(folder)["correlation"]["controls"]
    assert found == ["width", "a_time", "train_accuracy"]


def test_stage_tests_against_the_installed_controls_where_an_older_run_names_none(folder):
    record = read_run(folder)
    for described in record["measures"].values():
        del described["control"], described["parts"]
    write_run(folder, record)
    found = correlate_folder(folder, held_out(folder, train_accuracy=np.linspace(0.9, 1, N)))
    assert read_run(folder)["correlation"]["controls"] == ["train_accuracy"]
    assert found["measure"].tolist() == ["a_time", "entropy", "width"]


def test_stage_is_run_again_where_a_declaration_changed(folder):
    path = held_out(folder)
    before = correlate_folder(folder, path)
    pd.testing.assert_frame_equal(correlate_folder(folder, path), before, check_dtype=False)
    record = read_run(folder)
    record["measures"]["entropy"]["parts"][1]["direction"] = "none"
    write_run(folder, record)
    after = correlate_folder(folder, path).set_index("measure")
    assert after.loc["entropy.last", "direction"] == "none"
