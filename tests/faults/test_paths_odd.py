"""Odd paths, names and surroundings: an audit as a user calls it."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from programs import run_program

from audit import cli

ROOT = Path(__file__).parents[2]

CONFIG = """
[dataset]
name = "image_folder"
root = "{root}"
transform = {{ input_size = [1, 8, 8], mean = [0.5], std = [0.5] }}

[[checkpoints]]
model = "small_network:build"
weights = "{weights}"

[measures]
include = ["train_accuracy", "path_norm"]
"""

NETWORK = """
from torch import nn


def build():
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(72, 2))
"""

LONGEST = "n" * 250 + ".pt"  # 253 bytes, so that a counter or a suffix still fits
UNICODE = "netz-ü-網-\N{PILE OF POO}.pt"


@pytest.fixture
def user(tmp_path):
    """A user's folder: images, two checkpoints in `runs`, and what builds them."""
    return make_user(tmp_path / "user")


def make_user(folder, classes=("a", "b"), names=("one.pt", "two.pt"), root="train", runs="runs"):
    rng = np.random.default_rng(0)
    for label in classes:
        (folder / root / label).mkdir(parents=True)
        for index in range(3):
            pixels = rng.integers(0, 256, (8, 8), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / root / label / f"{index}.png")
    (folder / runs).mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    for name in names:
        network = torch.nn.Sequential(
            torch.nn.Conv2d(1, 2, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(72, 2)
        )
        with (folder / runs / name).open("wb") as file:
            torch.save(network.state_dict(), file)
    (folder / "small_network.py").write_text(NETWORK)
    (folder / "audit.toml").write_text(CONFIG.format(root=root, weights=f"{runs}/*.pt"))
    return folder


class Done:
    """What a call came to."""

    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err


@pytest.fixture
def genaudit(tmp_path, monkeypatch, capsys):
    """Call the command in this process, from the user's folder."""

    def call(folder, *words):
        monkeypatch.chdir(folder)
        monkeypatch.syspath_prepend(folder)
        sys.modules.pop("small_network", None)
        extra = ["--quiet", "--workers", "0", "--device", "cpu", "--cache", str(tmp_path / "cache")]
        monkeypatch.setattr(sys, "argv", ["genaudit", *map(str, words), *extra])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return Done(int(ended.value.code or 0), captured.out, captured.err)

    yield call
    sys.modules.pop("small_network", None)


def checkpoints(out):
    measures = pd.read_csv(out / "measures.csv")
    assert set(measures["status"]) == {"ok"}
    ranked = pd.read_csv(out / "ranking.csv", dtype=str)["checkpoint"]
    assert set(ranked) == set(measures["checkpoint"])
    assert (out / "report.html").stat().st_size > 0
    return sorted(measures["checkpoint"].unique())


@pytest.mark.parametrize(
    "name", ["with space", "runs [a]", "what?", "a*b", "[!x]", "{b}", "#1 %41"]
)
def test_row_33_glob_characters_and_spaces_in_folders_stand_for_themselves(
    tmp_path, genaudit, name
):
    folder = make_user(tmp_path / name, root=name, runs=f"runs {name}")
    (folder / "runs a").mkdir()  # what "runs [a]" would match as a glob
    (folder / "runs a" / "other.pt").write_bytes(b"none of the zoo")
    out = folder / f"out {name}"
    done = genaudit(folder, "run", "audit.toml", "-o", out)
    assert done.code == 0, done.err
    assert checkpoints(out) == ["one", "two"]


def test_row_33_a_file_with_glob_characters_is_itself(tmp_path, genaudit):
    folder = make_user(tmp_path / "user", names=("x[1].pt", "x1.pt", "x*.pt"))
    text = CONFIG.format(root="train", weights="runs/x[1].pt")
    (folder / "audit.toml").write_text(text)
    assert genaudit(folder, "run", "audit.toml", "-o", "out").code == 0
    assert checkpoints(folder / "out") == ["x[1]"]


def test_row_33_globs_still_are_globs(tmp_path, genaudit):
    folder = make_user(tmp_path / "user", names=("a1.pt", "a2.pt", "b1.pt"), runs="deep/runs [a]")
    for weights, found in {
        "deep/runs [a]/a?.pt": ["a1", "a2"],
        "deep/runs [a]/[ab]1.pt": ["a1", "b1"],
        "**/b*.pt": ["b1"],
        "deep/runs*/a1.pt": ["a1"],
        str(folder / "deep/runs [a]/*1.pt"): ["a1", "b1"],
    }.items():
        (folder / "audit.toml").write_text(CONFIG.format(root="train", weights=weights))
        assert genaudit(folder, "run", "audit.toml", "-o", "out").code == 0
        assert checkpoints(folder / "out") == found


def test_row_33_names_as_long_as_they_may_be(tmp_path, genaudit):
    folder = make_user(
        tmp_path / "user", classes=("c" * 255, "d" * 255), names=(LONGEST, UNICODE), root="r" * 255
    )
    out = folder / ("o" * 255)
    done = genaudit(folder, "run", "audit.toml", "-o", out)
    assert done.code == 0, done.err
    assert checkpoints(out) == [Path(UNICODE).stem, "n" * 250]


def test_row_33_names_longer_than_any_file_may_have_match_nothing(user, genaudit):
    text = CONFIG.format(root="train", weights="x" * 300 + "/*.pt")
    (user / "audit.toml").write_text(text)
    done = genaudit(user, "run", "audit.toml", "-o", "out")
    assert done.code == 1
    assert "matches no file" in done.err


def test_row_33_names_that_are_not_utf8_are_written_as_escapes(user, genaudit):
    os.rename(os.fsencode(user / "runs/one.pt"), os.fsencode(user) + b"/runs/\xff\xfe.pt")
    done = genaudit(user, "run", "audit.toml", "-o", "out")
    assert done.code == 0, done.err
    assert checkpoints(user / "out") == ["\\xff\\xfe", "two"]


def test_row_33_a_folder_whose_name_is_not_utf8_is_audited(tmp_path, genaudit):
    place = os.fsdecode(os.fsencode(tmp_path) + b"/\xff")
    folder = make_user(Path(place))
    done = genaudit(folder, "run", "audit.toml", "-o", "out")
    assert done.code == 0, done.err
    assert checkpoints(folder / "out") == ["one", "two"]
    assert json.loads((folder / "out/run.json").read_text())["base"] == str(folder)


# The configuration's text


@pytest.mark.parametrize(
    "encode",
    [
        lambda text: b"\xef\xbb\xbf" + text.encode(),
        lambda text: text.replace("\n", "\r\n").encode(),
        lambda text: b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode(),
    ],
    ids=["byte-order mark", "CRLF", "both"],
)
def test_row_33_a_configuration_of_a_windows_editor_is_read(user, genaudit, encode):
    text = (user / "audit.toml").read_text()
    (user / "audit.toml").write_bytes(encode(text))
    assert genaudit(user, "run", "audit.toml", "-o", "out").code == 0
    assert checkpoints(user / "out") == ["one", "two"]


@pytest.mark.parametrize(
    ("encoding", "byte", "hint"),
    [
        ("utf-16", 0, " (it looks like UTF-16, which some editors call Unicode)"),
        ("latin-1", 2, ""),
    ],
)
def test_row_33_a_configuration_that_is_not_utf8_says_so(user, genaudit, encoding, byte, hint):
    text = "# \u00fc\n" + (user / "audit.toml").read_text()
    (user / "audit.toml").write_bytes(text.encode(encoding))
    done = genaudit(user, "run", "audit.toml", "-o", "out")
    assert done.code == 1
    assert done.err.strip() == (
        f"error: configuration audit.toml must be text in UTF-8; byte {byte} is none{hint}: save "
        "it as UTF-8"
    )


@pytest.mark.parametrize("end", ["\r\n", "\n"])
def test_row_33_a_held_out_table_with_a_byte_order_mark_is_read(user, genaudit, end):
    with (user / "audit.toml").open("a") as file:
        file.write('\n[held_out]\ntable = "held_out.csv"\n')
    rows = ["checkpoint,held_out_accuracy", "one,0.5", "two,0.75", ""]
    (user / "held_out.csv").write_bytes(b"\xef\xbb\xbf" + end.join(rows).encode())
    assert genaudit(user, "run", "audit.toml", "-o", "out").code == 0
    assert pd.read_csv(user / "out/accuracies.csv")["held_out_accuracy"].tolist() == [0.5, 0.75]


# 28: folders of classes


def test_row_28_a_class_of_one_image_is_audited_and_labels_never_shift(user, genaudit):
    for path in sorted((user / "train/a").iterdir())[1:]:
        path.unlink()
    assert genaudit(user, "run", "audit.toml", "-o", "out").code == 0
    run = json.loads((user / "out/run.json").read_text())
    assert run["dataset"]["class_names"] == ["a", "b"]
    assert run["dataset"]["n_sampled"] == 4


def test_row_28_an_empty_class_folder_stops_with_all_counts(user, genaudit):
    (user / "train/aa").mkdir()
    done = genaudit(user, "run", "audit.toml", "-o", "out")
    assert done.code == 1
    assert "but aa has none; images per class: a: 3, aa: 0, b: 3" in done.err
    assert not (user / "out").exists()


def test_row_28_a_missing_folder_is_named(user, genaudit):
    (user / "train").rename(user / "trian")
    done = genaudit(user, "run", "audit.toml", "-o", "out")
    assert done.code == 1
    assert f"{user / 'train'}: it does not exist" in done.err


def test_row_28_a_head_of_another_size_costs_each_row_with_both_counts(user, genaudit):
    (user / "train/c").mkdir()
    (user / "train/a/0.png").rename(user / "train/c/0.png")
    done = genaudit(user, "run", "audit.toml", "-o", "out")
    assert done.code == 1
    reasons = pd.read_csv(user / "out/measures.csv")["reason"]
    assert reasons.str.contains("gives outputs of shape .2,., but the training set has 3").all()


# Surroundings, each in a process of its own


def alone(folder, *words, environment=None, check=True):
    """Call the command in a process of its own, with workers."""
    surroundings = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": f"{ROOT}:{ROOT / 'plugins'}:{folder}",
        "OMP_NUM_THREADS": "1",
        **(environment or {}),
    }
    command = [sys.executable, "-m", "audit", *map(str, words), "--quiet", "--device", "cpu"]
    return run_program(command, check=check, cwd=folder, env=surroundings)


NOBODY = """
import os
import pwd

def unknown(uid):
    raise KeyError(f"getpwuid(): uid not found: {uid}")

pwd.getpwuid = unknown
"""

NO_SHARED_MEMORY = """
import _multiprocessing
import _posixshmem
import errno
import os

def refuse(*arguments, **options):
    raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), "/dev/shm")

_posixshmem.shm_open = refuse

class SemLock(_multiprocessing.SemLock):
    def __new__(cls, *arguments, **options):
        refuse()

_multiprocessing.SemLock = SemLock
"""


def test_row_11_a_user_without_a_home_folder_is_told_where_to_put_the_store(user):
    (user / "sitecustomize.py").write_text(NOBODY)
    done = alone(user, "run", "audit.toml", "-o", "out", "--workers", "0", check=False)
    assert done.returncode == 1
    assert done.stderr.strip() == (
        "error: there is no home folder to keep the store in: say where with --cache FOLDER, or "
        "set GENAUDIT_CACHE"
    )
    alone(user, "run", "audit.toml", "-o", "out", "--workers", "1", "--cache", "cache")
    assert checkpoints(user / "out") == ["one", "two"]
    (user / "audit.toml").write_text(CONFIG.format(root="~/train", weights="runs/*.pt"))
    done = alone(user, "run", "audit.toml", "-o", "out", "--cache", "cache", check=False)
    assert done.returncode == 1
    assert "error: path '~/train' names a home folder that does not exist" in done.stderr


def test_row_11_a_home_folder_that_cannot_be_written_costs_nothing_where_the_store_is_elsewhere(
    user,
):
    home = {"HOME": "/proc/nothing"}
    done = alone(user, "run", "audit.toml", "-o", "out", environment=home, check=False)
    assert done.returncode == 1
    assert re.search(r"error: .*/proc/nothing.* cannot be written", done.stderr)
    assert "--cache" in done.stderr
    environment = home | {"GENAUDIT_CACHE": str(user / "cache")}
    alone(user, "run", "audit.toml", "-o", "out", environment=environment)
    assert checkpoints(user / "out") == ["one", "two"]


def test_workers_run_without_shared_memory(user):
    (user / "sitecustomize.py").write_text(NO_SHARED_MEMORY)
    cache = {"GENAUDIT_CACHE": str(user / "cache")}
    alone(user, "run", "audit.toml", "-o", "out", "--workers", "2", environment=cache)
    assert checkpoints(user / "out") == ["one", "two"]
