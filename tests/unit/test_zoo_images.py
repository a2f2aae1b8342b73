"""A task's images: which are kept, whose labels move, and that they are written once."""

import numpy as np
import pytest

from audit.errors import ConfigError, DataError
from audit.plugin.registry import installed
from audit.zoo.images import held_out_file, kept_images, moved_labels, training_file, write_images
from audit.zoo.tasks import Task

TASK = {
    "name": "small",
    "about": "digits",
    "source": "digits",
    "dataset": {"name": "digits", "held_out_rate": 0.9},
    "training": {"side": 12},
    "axes": {"label_noise": [0.0, 0.3], "train_share": [0.5, 1.0]},
    "architectures": [{"model": "test_resnet"}],
}


def test_every_variant_is_written_with_its_labels_and_clean_ones(tmp_path):
    task = Task(**TASK)
    recipes = task.recipes()
    write_images(task, tmp_path, recipes)
    with np.load(held_out_file(tmp_path)) as held_out:
        assert held_out["images"].shape == (1618, 12, 12)
        assert held_out["images"].dtype == np.uint8
        names = set(held_out["sample_ids"])
    for recipe in recipes:
        with (
            np.load(training_file(tmp_path, recipe)) as given,
            np.load(training_file(tmp_path, recipe, clean=True)) as clean,
        ):
            np.testing.assert_array_equal(given["images"], clean["images"])
            assert not names & set(given["sample_ids"])
            moved = (given["labels"] != clean["labels"]).mean()
            assert moved == pytest.approx(recipe.label_noise, abs=0.01)
            assert len(given["labels"]) == pytest.approx(179 * recipe.train_share, abs=5)


def test_images_are_written_once_and_those_of_another_task_are_refused(tmp_path):
    task = Task(**TASK)
    write_images(task, tmp_path, task.recipes())
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "data").iterdir()}
    write_images(task, tmp_path, task.recipes())
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    other = Task(**{**TASK, "training": {"side": 16}})
    with pytest.raises(ConfigError, match="holds images of another task, or of this task as it"):
        write_images(other, tmp_path, other.recipes())


def test_moved_labels_move_the_share_asked_for_to_other_classes():
    labels = np.arange(1000) % 10
    moved = moved_labels(labels, 10, 0.25, 3)
    assert (moved != labels).sum() == 250
    assert set(moved) == set(range(10))
    np.testing.assert_array_equal(moved, moved_labels(labels, 10, 0.25, 3))
    np.testing.assert_array_equal(labels, np.arange(1000) % 10)


def test_kept_images_are_the_same_share_of_every_class_and_nested():
    split = installed().dataset("digits").open("train", {"held_out_rate": 0.9})
    half, most = kept_images(split, 0.5, 0), kept_images(split, 0.8, 0)
    assert set(half) < set(most)
    counts = np.bincount(split.labels[half], minlength=10) / np.bincount(split.labels)
    assert counts == pytest.approx(0.5, abs=0.04)


def test_a_class_without_images_is_an_error():
    split = installed().dataset("digits").open("train", {"held_out_rate": 0.9})
    with pytest.raises(DataError, match="class 0 has 1 training images; at least 2 needed"):
        kept_images(split, 0.05, 0)
