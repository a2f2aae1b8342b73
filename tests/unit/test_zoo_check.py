"""What a zoo must have before a ranking on it means anything."""

import json

import pandas as pd
import pytest

from audit.errors import DataError
from audit.network.weights import file_digest
from audit.zoo.check import check_zoo, similar_spread
from audit.zoo.recipes import TrainTask, files_of, recipe_json
from audit.zoo.tasks import read_task


def trained(folder, accuracy_of, train_accuracy=1.0, n_held_out=1000):
    """A folder in which every checkpoint of `digits` is there, with accuracies made up."""
    task = read_task("digits")
    for number, recipe in enumerate(task.recipes()):
        weights, beside = files_of(TrainTask(recipe, folder))
        weights.parent.mkdir(parents=True, exist_ok=True)
        weights.write_bytes(recipe.name.encode())
        known = {
            "recipe": recipe_json(recipe),
            "weights_sha256": file_digest(weights),
            "held_out_accuracy": accuracy_of(number),
            "n_held_out": n_held_out,
            "train_accuracy_as_trained": train_accuracy,
        }
        beside.write_text(json.dumps(known))
    return task


def test_a_zoo_worth_ranking_meets_every_requirement(tmp_path):
    task = trained(tmp_path, lambda number: 0.5 + number / 100)
    found = check_zoo(task, tmp_path)
    assert all(finding.holds for finding in found)
    assert found[2].found == "47.0 points among 48; 47.0 among all"


def test_a_zoo_whose_accuracies_are_alike_is_not(tmp_path):
    task = trained(tmp_path, lambda number: 0.9 + number / 1e4)
    failed = [finding.what for finding in check_zoo(task, tmp_path) if not finding.holds]
    assert len(failed) == 2
    assert failed[0].startswith("held-out accuracies at least 15 points apart")
    assert failed[1].startswith("enough held-out images")


def test_a_zoo_that_is_not_trained_says_what_to_run(tmp_path):
    with pytest.raises(DataError, match=r"holds no checkpoint of digits: run `genaudit zoo train`"):
        check_zoo(read_task("digits"), tmp_path)


def test_similar_spread_is_that_of_the_fullest_window():
    table = pd.DataFrame(
        {
            "held_out_accuracy": [0.5, 0.9, 0.1, 0.7, 0.6],
            "train_accuracy": [1.0, 0.98, 0.4, 0.41, 0.96],
        }
    )
    assert similar_spread(table) == (pytest.approx(0.4), 3)
