"""A person's own task, from its file to the table, through the command line."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner

from audit.cli.zoo import command
from audit.zoo.recipes import TrainTask, files_of
from audit.zoo.table import read_zoo_table
from audit.zoo.tasks import read_task
from audit.zoo.training import _settle_statistics

TASK = """
about = "digits, two kinds of labels"
source = "digits"
images_per_class = 6

[dataset]
name = "digits"
held_out_rate = 0.9

[training]
side = 24
epochs = 1

[axes]
label_noise = [0.0, 0.4]
batch_size = [32, 64]

[[architectures]]
model = "test_efficientnet"
"""


def genaudit_zoo(*arguments):
    """Call `genaudit zoo` in this process."""
    return CliRunner().invoke(command, list(map(str, arguments)), catch_exceptions=False)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The task's file and a folder in which it is trained."""
    base = tmp_path_factory.mktemp("zoo")
    path = base / "own.toml"
    path.write_text(TASK)
    said = genaudit_zoo("train", path, "-o", base / "zoos", "--workers", 0, "--quiet")
    assert said.exit_code == 0, said.output
    assert said.output.startswith("4 checkpoints in ")
    return path, base / "zoos"


def test_training_again_trains_nothing(trained, monkeypatch):
    path, folder = trained

    def refuse(task):
        raise AssertionError(f"{task.recipe.name} was trained again")

    monkeypatch.setattr("audit.zoo.training.train", refuse)
    assert genaudit_zoo("train", path, "-o", folder, "--workers", 0, "--quiet").exit_code == 0


def test_training_is_the_same_from_the_same_seed(trained, tmp_path):
    path, folder = trained
    assert genaudit_zoo("train", path, "-o", tmp_path, "--workers", 0, "--quiet").exit_code == 0
    for recipe in read_task(path).recipes():
        one, other = (
            files_of(TrainTask(recipe, root / "own"))[0].read_bytes() for root in (folder, tmp_path)
        )
        assert one == other, recipe.name


def test_check_says_what_a_small_zoo_lacks(trained):
    path, folder = trained
    said = genaudit_zoo("check", path, "-o", folder)
    assert said.exit_code == 1
    assert "NO  at least 48 checkpoints, all of them trained: 4 of 4" in said.output
    found = json.loads(genaudit_zoo("check", path, "-o", folder, "--json").output)
    assert not found[0]["holds"]


def test_measure_audits_against_both_kinds_of_labels(trained, tmp_path):
    path, folder = trained
    arguments = ("measure", path, "-o", folder, "--workers", 0, "--quiet", "--table", tmp_path)
    measures = "train_accuracy,train_loss,distance_from_init.frobenius"
    said = genaudit_zoo(*arguments, "--include", measures)
    assert said.exit_code == 0, said.output
    zoo = read_zoo_table(tmp_path / "own.csv")
    assert zoo.source == "digits"
    as_trained, clean = zoo.audited("as_trained"), zoo.audited("clean")
    assert list(as_trained["checkpoint"]) == list(clean["checkpoint"])
    assert len(as_trained) == 4
    noisy = as_trained["hp.label_noise"] > 0
    same = np.isclose(as_trained["train_loss"], clean["train_loss"])
    np.testing.assert_array_equal(same, ~noisy)
    assert as_trained["distance_from_init.frobenius"].gt(0).all()
    assert zoo.about["axes"] == ["hp.architecture", "hp.label_noise", "hp.batch_size"]
    assert zoo.directions["train_loss"] == "lower"


def test_measure_before_training_says_what_to_run(trained, tmp_path):
    from audit.errors import DataError

    path, _ = trained
    with pytest.raises(DataError, match="4 of 4 checkpoints are not trained, the first is "):
        genaudit_zoo("measure", path, "-o", tmp_path, "--workers", 0, "--quiet")


def test_list_names_every_task_with_its_source():
    said = genaudit_zoo("list").output
    assert "latin: twelve Latin letters" in said
    tasks = {task["name"]: task for task in json.loads(genaudit_zoo("list", "--json").output)}
    assert tasks["greek"]["source"] == tasks["latin"]["source"] == "glyphs"


def test_statistics_are_those_of_the_final_weights(trained):
    path, _ = trained
    recipe = read_task(path).recipes()[0]
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 3, 3), torch.nn.BatchNorm2d(3))
    images = torch.randn(64, 1, 8, 8)
    network.train()
    network(10 * images)
    _settle_statistics(network, images, recipe, "cpu")
    mean = network[0](images).mean(dim=(0, 2, 3))
    torch.testing.assert_close(network[1].running_mean, mean.detach())
    assert network[1].momentum == 0.1


def test_held_out_accuracies_lie_beside_the_zoo(trained):
    _, folder = trained
    table = pd.read_csv(folder / "own" / "held_out.csv")
    assert set(table) == {
        *("checkpoint", "held_out_accuracy", "n_held_out", "family"),
        *("hp.architecture", "hp.label_noise", "hp.batch_size"),
    }
