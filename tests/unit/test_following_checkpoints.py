"""Checkpoints of a folder are read, after a training or while it goes on."""

import argparse
import json
import os

import numpy as np
import pytest
import timm
import timm.utils
import torch
import yaml
from click.testing import CliRunner
from PIL import Image
from torch import nn

from audit.cli import genaudit
from audit.errors import CheckpointError, ConfigError
from audit.following.checkpoints import (
    CheckpointReader,
    NumberedCheckpoint,
    epoch_in,
    numbered_checkpoints,
    read_all,
)
from audit.following.logs import read_table
from audit.following.training_runs import run_of_arguments, run_of_config, training_losses
from audit.following.watching import FolderWatcher, watch

MODEL = {"model": "test_resnet", "num_classes": 3, "in_chans": 1}


@pytest.fixture(autouse=True)
def unsynced(monkeypatch):
    monkeypatch.setattr("os.fsync", lambda number: None)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    root = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for label in range(3):
        folder = root / "train" / f"class{label}"
        folder.mkdir(parents=True)
        for number in range(2):
            pixels = rng.integers(0, 255, (32, 32), np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.png")
    return root


class TimmTraining:
    """What timm's train.py leaves in its folder, by timm's own classes."""

    def __init__(self, folder, images, history=10, **arguments):
        self.folder = folder
        known = {
            **MODEL,
            "data_dir": str(images),
            "dataset": "",
            "train_split": "train",
            "input_size": [1, 32, 32],
            "mean": [0.5],
            "std": [0.5],
            "crop_pct": None,
            "interpolation": "",
            "gp": None,
            "model_kwargs": {},
            "epochs": 4,
            "cooldown_epochs": 0,
            **arguments,
        }
        torch.manual_seed(0)
        self.model = timm.create_model("test_resnet", num_classes=3, in_chans=1)
        self._optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1)
        self._saver = timm.utils.CheckpointSaver(
            self.model,
            self._optimizer,
            args=argparse.Namespace(**known),
            checkpoint_dir=str(folder),
            recovery_dir=str(folder),
            max_history=history,
        )
        (folder / "args.yaml").write_text(yaml.safe_dump(known))
        self._best = None

    def end_epoch(self, epoch, accuracy=None):
        accuracy = epoch if accuracy is None else accuracy
        with torch.no_grad():
            self.model.fc.bias += torch.arange(3.0)
        timm.utils.update_summary(
            epoch,
            {"loss": 1 / (epoch + 1)},
            {"loss": 0.0, "top1": accuracy},
            str(self.folder / "summary.csv"),
            lr=0.1,
            write_header=self._best is None,
        )
        self._best, _ = self._saver.save_checkpoint(epoch, metric=accuracy)


@pytest.fixture
def training(tmp_path, images):
    folder = tmp_path / "run"
    folder.mkdir()
    return TimmTraining(folder, images)


def reader_of(folder, output=None):
    return CheckpointReader(run_of_arguments(folder), output, "last", "cubical")


@pytest.mark.parametrize(
    ("name", "epoch"),
    [
        ("checkpoint-12.pth.tar", 12),
        ("epoch=3-step=96.ckpt", 3),
        ("last-epoch_07.pt", 7),
        ("checkpoint-500", 500),
        ("model_21.pth", 21),
        ("net-007.safetensors", 7),
        ("12.pt", 12),
        ("resnet18.pth", None),
        ("model_best.pth.tar", None),
        ("last.pth.tar", None),
        ("vgg16_bn.pth", None),
    ],
)
def test_epochs_are_read_off_names(name, epoch):
    assert epoch_in(name) == epoch


def test_checkpoints_of_a_folder_are_those_with_a_number(tmp_path):
    for name in (
        "epoch=2.ckpt",
        "epoch=10.ckpt",
        "epoch=2-v1.ckpt",
        "tmp.pth.tar",
        "recovery-1-2.pth.tar",
    ):
        (tmp_path / name).touch()
    (tmp_path / "notes-3.txt").touch()
    (tmp_path / "checkpoint-7").mkdir()
    (tmp_path / "checkpoint-7" / "model.safetensors").touch()
    (tmp_path / "checkpoint-8").mkdir()
    found = [(c.epoch, c.path.name) for c in numbered_checkpoints(tmp_path)]
    assert [epoch for epoch, _ in found] == [2, 7, 10]
    assert found[1] == (7, "checkpoint-7")


def test_checkpoints_of_timm_are_looked_at_with_their_training_loss(training, tmp_path):
    for epoch in range(4):
        training.end_epoch(epoch)
    rows = read_all(
        reader_of(training.folder, tmp_path), training.folder, training_losses(training.folder)
    )
    table = read_table(tmp_path / "following.csv")
    assert table["epoch"].tolist() == [0, 1, 2, 3]
    assert table["loss"].tolist() == [1.0, 1 / 2, 1 / 3, 1 / 4]
    assert table["sample_loss"].is_monotonic_increasing
    assert len(rows) == 4
    assert not [name for name in table.columns if "eval" in name or "top1" in name]
    rows = read_all(reader_of(training.folder), training.folder, {}, every=3)
    assert [row["epoch"] for row in rows] == [0, 3]


def test_arguments_of_timm_say_what_was_trained(training, images):
    run = run_of_arguments(training.folder)
    assert run.model == "test_resnet"
    assert run.model_args == {"num_classes": 3, "in_chans": 1}
    assert run.transform == {"input_size": [1, 32, 32], "mean": [0.5], "std": [0.5]}
    assert run.dataset == {"name": "timm", "root": str(images), "dataset": "", "split": "train"}
    assert run.n_epochs == 4


def test_folders_that_do_not_say_what_was_trained_need_a_configuration(tmp_path, images):
    with pytest.raises(ConfigError, match=r"has no args\.yaml, .* give --config audit\.toml"):
        run_of_arguments(tmp_path)
    (tmp_path / "args.yaml").write_text("[1, 2")
    with pytest.raises(ConfigError, match=r"args\.yaml cannot be read"):
        run_of_arguments(tmp_path)
    (tmp_path / "args.yaml").write_text("lr: 0.1")
    with pytest.raises(ConfigError, match=r"args\.yaml must name the model"):
        run_of_arguments(tmp_path)
    config = tmp_path / "audit.toml"
    root = os.path.relpath(images / "train", tmp_path)
    config.write_text(
        f'[dataset]\nname = "image_folder"\nroot = "{root}"\n'
        "transform = { input_size = [1, 32, 32] }\n"
        '[[checkpoints]]\nmodel = "test_resnet"\nweights = "*.pt"\n'
        "model_args = { num_classes = 3, in_chans = 1 }\n"
    )
    torch.save(
        timm.create_model("test_resnet", num_classes=3, in_chans=1).state_dict(),
        tmp_path / "epoch-1.pt",
    )
    run = run_of_config(config)
    assert run.dataset["name"] == "image_folder"
    ordered = tmp_path / "ordered.toml"
    ordered.write_text(config.read_text().replace("transform", 'class_order = "plain"\ntransform'))
    with pytest.raises(ConfigError, match="sets class_order, which a trajectory does not read"):
        run_of_config(ordered)
    rows = read_all(CheckpointReader(run, None, "last", "cubical"), tmp_path, {})
    assert [row["epoch"] for row in rows] == [1]
    (tmp_path / "epoch-1.pt").unlink()
    with pytest.raises(CheckpointError, match="has no weights file with an epoch in its name"):
        read_all(CheckpointReader(run, None, "last", "cubical"), tmp_path, {})


def test_training_losses_are_read_off_summaries_that_are_being_written(tmp_path):
    assert training_losses(tmp_path) == {}
    path = tmp_path / "summary.csv"
    path.write_text("epoch,train_loss,eval_loss\n0,2.5,9\n1,nan,9\n2,1.5,9\n2,1.25,9\n3,0.")
    assert training_losses(tmp_path) == {0: 2.5, 2: 1.25}
    path.write_text(path.read_text() + "5,9\nepoch,lr,train_loss\n4,0.1,0.25\nnonsense\n")
    assert training_losses(tmp_path) == {0: 2.5, 2: 1.25, 3: 0.5, 4: 0.25}


def test_watcher_reads_each_epoch_once_as_it_comes(training, tmp_path):
    training.end_epoch(0)
    watcher = FolderWatcher(reader_of(training.folder, tmp_path), training.folder)
    looks = []
    for epoch in range(1, 5):
        looks.append([row["epoch"] for row in watcher.look()])
        assert watcher.is_over == (epoch == 4)
        if epoch < 4:
            training.end_epoch(epoch)
    assert looks == [[0], [1], [2], [3]]
    assert watcher.look() == []
    assert read_table(tmp_path / "following.csv")["epoch"].tolist() == [0, 1, 2, 3]


def test_watcher_sees_epochs_that_timm_keeps_under_no_number(tmp_path, images):
    training = TimmTraining(tmp_path, images, history=1)
    reader = reader_of(tmp_path)
    watcher = FolderWatcher(reader, tmp_path)
    for epoch, accuracy in enumerate((9, 8, 7)):
        training.end_epoch(epoch, accuracy)
        assert [row["epoch"] for row in watcher.look()] == [epoch]
    assert [c.epoch for c in numbered_checkpoints(tmp_path)] == [0]


def test_watcher_leaves_the_folder_as_it_is(training):
    training.end_epoch(0)
    before = {path.name: path.stat().st_mtime_ns for path in training.folder.iterdir()}
    watcher = FolderWatcher(reader_of(training.folder), training.folder)
    assert watcher.look()
    assert {path.name: path.stat().st_mtime_ns for path in training.folder.iterdir()} == before


def test_watcher_waits_for_files_that_are_half_written(training):
    for epoch in range(3):
        training.end_epoch(epoch)
    path = training.folder / "checkpoint-1.pth.tar"
    whole = path.read_bytes()
    os.unlink(path)
    path.write_bytes(whole[: len(whole) // 2])
    watcher = FolderWatcher(reader_of(training.folder), training.folder)
    assert [row["epoch"] for row in watcher.look()] == [0]
    assert watcher.look() == []
    path.write_bytes(whole)
    assert [row["epoch"] for row in watcher.look()] == [1, 2]


def test_watcher_leaves_out_what_stays_damaged_and_says_so_once(training, caplog):
    for epoch in range(2):
        training.end_epoch(epoch)
    path = training.folder / "checkpoint-0.pth.tar"
    os.unlink(path)
    path.write_bytes(b"half a file")
    later = path.stat().st_mtime + 61
    watcher = FolderWatcher(reader_of(training.folder), training.folder, clock=lambda: later)
    assert [row["epoch"] for row in watcher.look()] == [1]
    watcher.look()
    assert [record.message.startswith("left out: ") for record in caplog.records] == [True]


def test_watcher_does_not_stumble_over_files_that_are_deleted(training):
    training.end_epoch(0)
    reader = reader_of(training.folder)
    watcher = FolderWatcher(reader, training.folder)
    gone = NumberedCheckpoint(0, training.folder / "checkpoint-0.pth.tar")
    gone.path.unlink()
    with pytest.raises(CheckpointError):
        reader.read(gone)
    assert [row["epoch"] for row in watcher.look()] == [0]  # it is the newest, too
    (training.folder / "last.pth.tar").unlink()
    assert watcher.look() == []


def test_watcher_goes_on_where_an_earlier_one_ended(training, tmp_path):
    for epoch in range(2):
        training.end_epoch(epoch)
        FolderWatcher(reader_of(training.folder, tmp_path), training.folder).look()
    known = frozenset(map(int, read_table(tmp_path / "following.csv")["epoch"]))
    training.end_epoch(2)
    reader = reader_of(training.folder, tmp_path)
    FolderWatcher(reader, training.folder, known=known).look()
    assert read_table(tmp_path / "following.csv")["epoch"].tolist() == [0, 1, 2]


def test_watching_ends_with_the_training_or_where_nothing_comes(training):
    reader = reader_of(training.folder)
    steps = iter(range(4))
    watcher = FolderWatcher(reader, training.folder, every=2)
    found = list(watch(watcher, sleep=lambda seconds: training.end_epoch(next(steps))))
    assert [rows[0]["epoch"] for rows in found] == [0, 2]
    now = [0.0]

    def sleep(seconds):
        now[0] += seconds

    idle = FolderWatcher(reader, training.folder, known=frozenset([1, 9]))
    reader.run.__dict__["n_epochs"] = None
    assert list(watch(idle, 5.0, 12.0, sleep, lambda: now[0])) == []
    assert now == [15.0]


def test_command_reads_checkpoints_and_watches_for_more(training, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "nice", lambda by: 0)
    for epoch in range(3):
        training.end_epoch(epoch)
    output = tmp_path / "output"
    call = ["trajectory", str(training.folder), "-o", str(output), "--layers", "last"]
    call += ["--filtration", "cubical"]
    shown = CliRunner().invoke(genaudit, call, catch_exceptions=False)
    assert "over 3 epochs" in shown.output
    training.end_epoch(3)
    shown = CliRunner().invoke(genaudit, [*call, "--watch", "--json"], catch_exceptions=False)
    assert json.loads(shown.stdout)["epochs"] == [0, 1, 2, 3]
    assert shown.stderr.startswith("epoch 3  layer2  entropy ")
    assert not (training.folder / "following.csv").exists()


def test_reader_refuses_weights_of_another_network(training):
    training.end_epoch(0)
    torch.save(nn.Linear(2, 3).state_dict(), training.folder / "checkpoint-1.pth.tar")
    with pytest.raises(CheckpointError):
        reader_of(training.folder).read(
            NumberedCheckpoint(1, training.folder / "checkpoint-1.pth.tar")
        )
