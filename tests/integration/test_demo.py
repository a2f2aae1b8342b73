"""The demonstration on four recipes: whole, again, and killed in between."""

import json
import os
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest
from programs import run_program, start_program
from safetensors import safe_open

from audit.runs.config import RunOptions
from audit.zoo.demo import demo
from audit.zoo.tasks import Task, read_task

TABLES = ("measures.csv", "units.parquet", "accuracies.csv", "correlations.csv", "ranking.csv")

TASK = {
    "name": "four",
    "about": "digits, decay × batch size",
    "source": "digits",
    "dataset": {"name": "digits"},
    "training": {"side": 24, "epochs": 1},
    "axes": {"weight_decay": [0.0, 0.3], "batch_size": [64, 128]},
    "architectures": [{"model": "test_resnet"}],
}

SCRIPT = f"""
import sys
from pathlib import Path
from audit.runs.config import RunOptions
from audit.zoo.demo import demo
from audit.zoo.tasks import Task

if __name__ == "__main__":
    out = Path(sys.argv[1])
    options = RunOptions(output=out, cache=out / "cache", workers=2, device="cpu", progress=False)
    demo(options, Task(**{TASK!r}))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A finished demonstration."""
    out = tmp_path_factory.mktemp("demo")
    options = RunOptions(output=out, cache=out / "cache", workers=0, device="cpu", progress=False)
    demo(options, Task(**TASK))
    return out


def test_the_shipped_zoo_has_one_training_set_and_needs_no_package_that_is_optional():
    recipes = read_task("demo").recipes()
    assert len({recipe.name for recipe in recipes}) == len(recipes) >= 24
    assert len({recipe.variant for recipe in recipes}) == 1
    assert len({recipe.architecture for recipe in recipes}) >= 3
    assert read_task("demo").dataset["pictures"] == "scikit-learn"


def test_the_ranking_uses_no_accuracy_and_is_judged_by_those_that_are_known(folder):
    run = json.loads((folder / "run.json").read_text())
    assert run["ranking"]["mode"] == "zero-shot by card 'default'"
    assert len(pd.read_csv(folder / "correlations.csv"))


def test_checkpoints_lie_beside_their_recipes(folder):
    files = sorted((folder / "zoo").glob("*.safetensors"))
    assert len(files) == 4
    for path in files:
        record = json.loads(path.with_suffix(".json").read_text())
        assert record["recipe"]["model"] == "test_resnet"
        assert 0 <= record["held_out_accuracy"] <= 1
        with safe_open(path, "pt") as tensors:
            assert "fc.weight" in list(tensors.keys())


def test_measures_come_from_the_training_split_alone(folder):
    run = json.loads((folder / "run.json").read_text())
    assert run["dataset"]["n_images"] == 899
    assert run["dataset"]["options"]["path"].endswith("train-noise0-share1.npz")


def test_again_trains_nothing_and_changes_no_byte(folder, monkeypatch):
    before = {name: (folder / name).read_bytes() for name in TABLES}
    stamps = {path: path.stat().st_mtime_ns for path in (folder / "zoo").glob("*.safetensors")}

    def refuse(*arguments):
        raise AssertionError("a network was built although everything is there")

    monkeypatch.setattr("audit.measuring.checkpoint.CheckpointView._network", refuse)
    monkeypatch.setattr("audit.zoo.training.train", refuse)
    options = RunOptions(
        output=folder, cache=folder / "cache", workers=0, device="cpu", progress=False
    )
    demo(options, Task(**TASK))
    assert {name: (folder / name).read_bytes() for name in TABLES} == before
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps


def numbers(folder):
    """The measures, but for the seconds they took."""
    return pd.read_csv(folder / "measures.csv").drop(columns="seconds")


@pytest.mark.skipif(
    int(os.environ.get("GENAUDIT_CAMPAIGN", "1")) == 1,
    reason="two minutes: tox -e campaign; test_run_stopped and the kills try the same of a run",
)
def test_stopped_in_the_middle_goes_on_where_it_was(folder, tmp_path):
    out = tmp_path / "demo"
    script = tmp_path / "run_demo.py"
    script.write_text(SCRIPT)
    command = [sys.executable, str(script), str(out)]
    kept = {}
    for number, n_trained in ((signal.SIGINT, 1), (signal.SIGKILL, 2)):
        running = start_program(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(lambda n=n_trained: len(list(out.glob("zoo/*.json"))) >= n)
        os.killpg(running.pid, number)
        running.wait(30)
        assert {path: path.stat().st_mtime_ns for path in kept} == kept
        kept = {path: path.stat().st_mtime_ns for path in out.glob("zoo/*.json")}
    run_program(command)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    pd.testing.assert_frame_equal(numbers(out), numbers(folder))
    for name in ("units.parquet", "accuracies.csv", "correlations.csv", "ranking.csv"):
        assert (out / name).read_bytes() == (folder / name).read_bytes(), name


def wait_for(condition, seconds=120):
    """Wait until something is so."""
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, "waited too long"
        time.sleep(0.02)
