"""Memory that runs out, on a device or in the machine, and workers that die of other causes."""

import os
import sys

import pytest

from tests.campaigns.small_folder import MEASURES, SmallFolder

#: How far values may lie apart that were computed with other batch sizes (docs/measures.md).
RELATIVE = 1e-5


OTHER = {"sound": {"seed": 1}, "other": {"seed": 2}}


def folder_in(path, monkeypatch):
    """A folder of eight images; networks mark each forward pass that does something on purpose.

    Five images at a time must have room: layers are looked for with so many.
    """
    (path / "marks").mkdir()
    paths = [str(path / "user"), *filter(None, sys.path)]
    monkeypatch.setenv("SMALL_NETWORKS_MARKS", str(path / "marks"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    monkeypatch.setattr(sys, "path", paths)
    return SmallFolder(path / "user")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    return folder_in(tmp_path, monkeypatch)


@pytest.fixture(scope="module")
def deaths(tmp_path_factory):
    """One audit, in a worker, of networks that end it."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        found = folder_in(tmp_path_factory.mktemp("deaths"), monkeypatch)
        killed = {"once": {"seed": 1, "what": "kill", "most": 5}, "twice": {"what": "kill"}}
        found.write({**killed, "aborts": {"what": "abort"}, **OTHER})
        found.run(workers=1)
    return found


def marks(folder, what):
    return len(list((folder.path.parent / "marks").glob(f"{what}-*")))


def assert_same_values(found, expected):
    assert set(found) == set(expected)
    for measure in MEASURES:
        if measure != "random":  # it is drawn for each checkpoint
            assert found[measure] == pytest.approx(expected[measure], rel=RELATIVE), measure


def test_row_16_out_of_memory_on_the_device_halves_batches_and_changes_no_value(folder, caplog):
    folder.write({**OTHER, "odd": {"seed": 1, "what": "no memory", "most": 5}})
    folder.run()
    assert folder.failed() == {}
    assert_same_values(folder.values("odd"), folder.values("sound"))
    said = "memory did not suffice for 8 images at a time: 4 taken"
    assert said in folder.notes("odd")
    assert said in caplog.text


def test_row_16_a_single_image_without_memory_costs_one_row(folder):
    folder.write({**OTHER, "odd": {"what": "no memory"}})
    folder.run()
    assert list(folder.failed()) == ["odd"]
    assert "Tried to allocate 2.00 GiB" in folder.failed()["odd"]


def test_row_17_a_worker_that_is_killed_is_tried_once_with_half_the_batch(deaths):
    assert_same_values(deaths.values("once"), deaths.values("sound"))
    assert "killed over 8 images at a time, perhaps for memory: 4 taken" in deaths.notes("once")
    assert not any("killed" in note for note in deaths.notes("sound"))


def test_row_17_a_worker_that_is_killed_again_costs_one_row(deaths):
    assert deaths.failed()["twice"] == (
        "worker process died (signal 9, SIGKILL: perhaps out of memory), and again when run alone"
    )
    assert marks(deaths, "kill") == 1 + 2


def test_row_06_a_network_that_aborts_costs_one_row_with_the_signal(deaths):
    assert sorted(deaths.failed()) == ["aborts", "twice"]
    assert deaths.failed()["aborts"] == (
        "worker process died (signal 6, SIGABRT), and again when run alone"
    )


def test_row_18_an_error_that_is_not_memory_is_tried_once(folder):
    folder.write({**OTHER, "odd": {"what": "raise", "most": 7}})
    folder.run()
    assert list(folder.failed()) == ["odd"]
    assert folder.failed()["odd"].endswith("RuntimeError: on purpose")
    assert marks(folder, "raise") == 1


def test_halvings_are_those_that_the_engine_says(monkeypatch):
    from audit.network.running import halved

    monkeypatch.delenv("GENAUDIT_HALVINGS", raising=False)
    assert halved(64) == 64
    monkeypatch.setenv("GENAUDIT_HALVINGS", "1")
    assert [halved(n) for n in (64, 7, 1)] == [32, 3, 1]
