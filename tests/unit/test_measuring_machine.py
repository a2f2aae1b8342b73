"""A worker on another machine must see what the machine that planned the run has."""

import dataclasses
import platform

import pytest
from test_views import subject_of

from audit.errors import CheckpointError, ConfigError, DataError, StoreError
from audit.measuring import machine
from audit.measuring.machine import check_machine, look
from audit.measuring.task import Task, perform
from audit.store import Store

HERE = platform.node()


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "cache")


@pytest.fixture
def subject(tmp_path):
    weights, root = tmp_path / "w.safetensors", tmp_path / "train"
    weights.touch()
    (root / "class").mkdir(parents=True)
    options = {"root": str(root), "download": True}
    return dataclasses.replace(
        subject_of(weights), dataset_options=options, dataset_locations=("root", "download")
    )


def test_a_machine_that_sees_the_same_is_taken(subject, store):
    seen = look(subject, store)
    assert seen.machine == HERE
    assert (seen.weights, seen.data) == ((subject.weights,), (subject.weights.parent / "train",))
    check_machine(seen, Store(store.root), "cpu")


def test_the_mark_of_a_store_is_one_entry_for_all_runs(subject, store):
    for _ in range(3):
        look(subject, store)
    assert len(list(store.paths())) == 1


def test_a_store_that_only_has_the_same_path_is_refused(subject, store, tmp_path):
    seen = look(subject, store)
    with pytest.raises(StoreError) as caught:
        check_machine(seen, Store(tmp_path / "other"), "cpu")
    assert str(caught.value) == (
        f"a worker on machine {HERE} does not see the store {tmp_path / 'other'} of {HERE}, and "
        "its numbers would be lost: give --cache a folder that all machines share, or the URL of "
        "a bucket"
    )


@pytest.mark.parametrize("is_mount_point", [False, True])
def test_a_machine_without_the_training_set_is_refused(subject, store, is_mount_point):
    folder = subject.weights.parent / "train"
    seen = look(subject, store)
    (folder / "class").rmdir()  # what lies in the place of a shared folder that is not mounted
    if not is_mount_point:
        folder.rmdir()
    with pytest.raises(DataError) as caught:
        check_machine(seen, store, "cpu")
    assert str(caught.value) == (
        f"the training set {folder} is not on machine {HERE}: put it into a folder that all "
        "machines share"
    )


def test_a_machine_without_the_weights_costs_one_row_that_says_so(subject, store, monkeypatch):
    seen = look(subject, store)
    subject.weights.unlink()
    with pytest.raises(CheckpointError):
        check_machine(seen, store, "cpu")
    monkeypatch.setattr("audit.measuring.task.check_versions", lambda *_: None)
    outcome = perform(Task(subject, (), store.root, seen))
    assert outcome.failure == (
        f"weights file {subject.weights} is not on machine {HERE}: put it into a folder that all "
        "machines share"
    )


def test_a_worker_without_the_device_is_refused(subject, store, monkeypatch):
    seen = look(subject, store)
    monkeypatch.setattr(machine, "_has_cuda", lambda: False)
    with pytest.raises(ConfigError) as caught:
        check_machine(seen, store, "cuda")
    assert str(caught.value) == (
        "device 'cuda' was asked for, but torch finds no CUDA device for a worker on machine "
        f"{HERE}: let the engine set one aside, or choose --device cpu"
    )


def test_what_is_not_here_either_is_not_asked_of_others(subject, store):
    subject.weights.unlink()
    seen = look(subject, store)
    assert seen.weights == ()
    check_machine(seen, store, "cpu")
