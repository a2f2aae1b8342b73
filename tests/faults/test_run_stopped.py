"""Runs that hang, are killed, interrupted or stopped by a limit: their tables stay valid.

One network of three sleeps for ever in its forward pass.
"""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from PIL import Image
from programs import start_program

from audit.cli import genaudit

NETWORKS = """
import time

import torch
from torch import nn


class Sleeps(nn.Module):
    def forward(self, images):
        time.sleep(600)


def small(seed=0, sleeps=False, pretrained=False):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), *([Sleeps()] if sleeps else []),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2),
    )
"""

CHECKPOINT = """
[[checkpoints]]
model = "sleepy_networks:small"
pretrained = true
name = "{name}"
model_args = {{ {args} }}
"""

CONFIG = """
[dataset]
name = "image_folder"
root = "train"
transform = { input_size = [1, 8, 8], mean = [0.5], std = [0.5] }

[measures]
include = ["random"]
layers = "all-activations"

[reports]
include = ["json"]
"""


class Folder:
    """A user's folder, and commands for it: in this process, or in one that can be killed."""

    def __init__(self, path):
        self.path, self.out = path, path / "out"

    def _run(self, *words):
        place = [str(self.path / "audit.toml"), "-o", str(self.out), "--cache"]
        machine = [str(self.path / "cache"), "--device", "cpu", "--workers", "1"]
        return ["run", *place, *machine, *words]

    def run(self, *words, code=0):
        return self.call(*self._run(*words), code=code)

    def call(self, *words, code=0):
        """What a command said, on both streams."""
        done = CliRunner().invoke(genaudit, [*map(str, words)])
        assert done.exit_code == code, (done.output, done.exception)
        return done.output

    def start(self, *words):
        """Start a run, and wait until two checkpoints are done and in the tables."""
        (self.out / "progress.json").unlink(missing_ok=True)
        program = start_program(
            [sys.executable, "-m", "audit", *self._run(*words)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(self.path), *sys.path])},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline:
            if program.poll() is not None:
                raise AssertionError(program.communicate())
            under_way = [task["checkpoint"] for task in self.progress().get("running") or ()]
            if under_way == ["z"] and self.record().get("missing") == 1:
                return program
            time.sleep(0.05)
        raise AssertionError("the run did not come far enough")

    def progress(self):
        return self._json("progress.json")

    def record(self):
        return self._json("run.json")

    def _json(self, name):
        path = self.out / name
        return json.loads(path.read_text()) if path.exists() else {}

    def rows(self):
        """Checkpoint → its reason where it failed as a whole, else ""."""
        measures = pd.read_csv(self.out / "measures.csv", keep_default_na=False)
        failed = measures[measures["measure"] == "all"]
        reasons = dict(zip(failed["checkpoint"], failed["reason"], strict=True))
        return {name: reasons.get(name, "") for name in measures["checkpoint"].unique()}

    def status(self):
        return self.call("status", self.out)


@pytest.fixture
def folder(user, monkeypatch):
    """The user's own modules are imported from the folder."""
    monkeypatch.syspath_prepend(user)
    yield Folder(user)
    sys.modules.pop("sleepy_networks", None)


@pytest.fixture(scope="module")
def user(tmp_path_factory):
    """All tests of this module share a folder and its store: a and b are measured once."""
    path = tmp_path_factory.mktemp("user")
    rng = np.random.default_rng(0)
    for label in "ab":
        (path / "train" / label).mkdir(parents=True)
        for index in range(3):
            pixels = rng.integers(0, 256, (8, 8), dtype=np.uint8)
            Image.fromarray(pixels).save(path / "train" / label / f"{index}.png")
    (path / "sleepy_networks.py").write_text(NETWORKS)
    networks = {"a": "seed = 1", "b": "seed = 2", "z": "sleeps = true"}
    parts = [CHECKPOINT.format(name=name, args=args) for name, args in networks.items()]
    (path / "audit.toml").write_text(CONFIG + "".join(parts))
    return path


PARTIAL = "this audit is partial: 1 checkpoint has not been measured yet; run it again to go on"


def test_row_09_a_run_that_is_killed_leaves_tables_that_rank(folder):
    program = folder.start()
    said = folder.status()
    assert said.startswith("running: 2 of 3 checkpoints are done; ")
    assert f"process        {program.pid} on " in said
    assert "running now    z, for " in said
    program.kill()
    program.communicate()
    assert folder.status().startswith("was interrupted at 20")
    assert ": 2 of 3 checkpoints are done; run again to go on\n" in folder.status()
    assert folder.rows() == {"a": "", "b": ""}
    assert folder.record()["complete"] is False
    for command in ("rank", "report"):
        assert f"note: {PARTIAL}\n" in folder.call(command, folder.out)
    assert sorted(pd.read_csv(folder.out / "ranking.csv")["checkpoint"]) == ["a", "b"]


def test_row_10_an_interrupt_leaves_tables_and_one_sentence(folder):
    program = folder.start("--quiet", "--checkpoint-timeout", "500")
    os.killpg(program.pid, signal.SIGINT)
    output, errors = program.communicate(timeout=120)
    assert program.returncode == 130
    assert output == ""
    assert errors.strip() == "interrupted: what was finished is kept; run again to go on"
    assert folder.rows() == {"a": "", "b": ""}
    assert folder.progress()["state"] == "interrupted"


def test_row_06_a_network_that_hangs_costs_one_row(folder):
    said = folder.run("--checkpoint-timeout", "3", code=3)
    reason = (
        "not done after 3 s, the time limit per checkpoint; raise --checkpoint-timeout or leave "
        "the checkpoint out"
    )
    assert folder.rows() == {"a": "", "b": "", "z": reason}
    assert said.count(f"failed: z: {reason}") == 2  # when it came, and at the end
    assert (folder.record()["complete"], folder.record()["missing"]) == (True, 0)
    assert folder.status().startswith("finished at 20")
    assert ": 3 of 3 checkpoints are done, 1 of them failed\n" in folder.status()


def test_a_limit_of_hours_stops_with_what_is_finished(folder):
    said = folder.run("--max-hours", "0.0005", "--quiet", code=3)
    reason = "not audited: the run was stopped after 0.0005 h (--max-hours); run again to go on"
    assert folder.rows() == {"a": "", "b": "", "z": reason}
    assert folder.status().startswith("stopped at 20")
    assert sorted(pd.read_csv(folder.out / "ranking.csv")["checkpoint"]) == ["a", "b"]
    assert f"note: {PARTIAL}" in " ".join(said.split())
    assert PARTIAL in folder.call("rank", folder.out)
