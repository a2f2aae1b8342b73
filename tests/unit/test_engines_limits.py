"""Limits of the local engine: real workers that hang, or take all the memory they can get."""

import os
import re
import time
from pathlib import Path

import pytest
from programs import start_program

from audit.errors import ConfigError, MeasureError
from audit_engines import devices, local
from audit_engines.local import n_devices, run
from audit_engines.options import Limits, limits

OVERTIME = (
    "not done after 1 s, the time limit per checkpoint; raise --checkpoint-timeout or leave the "
    "checkpoint out"
)
OVERSIZE = (
    "it held more than 400.0MiB, the memory limit per checkpoint; raise --checkpoint-memory, "
    "lower batch_size in [measures], or leave the checkpoint out"
)
_held = []


def work(task):
    """Do what a task says, after a mark that it was begun."""
    folder, name, what = task
    (Path(folder) / f"{name}-{time.monotonic_ns()}").touch()
    if what == "hang":
        time.sleep(60)
    if what == "die, then hang":
        if len(list(Path(folder).glob(f"{name}-*"))) == 1:
            os._exit(7)
        time.sleep(60)
    if what == "grow":
        while True:
            _held.append(bytearray(os.urandom(1)) * (20 << 20))
            time.sleep(0.01)
    if what == "start a child and hang":
        child = start_program(["sleep", "60"])
        (Path(folder) / "child").write_text(str(child.pid))
        time.sleep(60)
    if what == "hold":
        _held.append(bytearray(b"1") * (180 << 20))
        time.sleep(0.5)
    return os.getpid(), os.environ.get("CUDA_VISIBLE_DEVICES")


def begun(folder, name):
    return len(list(folder.glob(f"{name}-*")))


def outcomes(folder, tasks, n_workers, options=None, watch=None):
    given = [(str(folder), name, what) for name, what in tasks.items()]
    names = list(tasks)
    return {names[at]: found for at, found in run(work, given, n_workers, options, watch)}


def test_a_task_that_hangs_costs_one_row_and_is_not_tried_again(tmp_path):
    tasks = {"a": "", "b": "hang", "c": "", "d": ""}
    found = outcomes(tmp_path, tasks, 2, {"timeout": 1, "retries": 3})
    assert type(found["b"]) is MeasureError
    assert str(found.pop("b")) == OVERTIME
    assert sorted(found) == ["a", "c", "d"]
    assert all(isinstance(outcome, tuple) for outcome in found.values())
    assert [begun(tmp_path, name) for name in tasks] == [1, 1, 1, 1]


def test_a_task_that_hangs_when_it_is_tried_again_is_over_time_too(tmp_path):
    found = outcomes(tmp_path, {"a": "die, then hang"}, 1, {"timeout": 1, "retries": 3})
    assert str(found["a"]) == OVERTIME
    assert begun(tmp_path, "a") == 2


def test_time_is_counted_from_when_the_task_is_given(tmp_path):
    """A worker takes longer than this to start."""
    found = outcomes(tmp_path, dict.fromkeys("abc", ""), 1, {"timeout": 0.2})
    assert [type(outcome) for outcome in found.values()] == [tuple] * 3


def test_a_task_that_takes_memory_without_end_costs_one_row(tmp_path):
    tasks = {"a": "grow", "b": "", "c": ""}
    found = outcomes(tmp_path, tasks, 1, {"memory": "400MiB"})
    assert type(found["a"]) is MeasureError
    assert str(found["a"]) == OVERSIZE
    assert isinstance(found["b"], tuple)
    assert isinstance(found["c"], tuple)
    assert begun(tmp_path, "a") == 1


def test_what_a_worker_holds_of_earlier_tasks_is_not_held_against_a_task(tmp_path):
    tasks = {"a": "hold", "b": "hold", "c": "hold"}
    found = outcomes(tmp_path, tasks, 1, {"memory": "400MiB"})
    assert len({pid for pid, _ in found.values()}) == 3


def test_what_a_task_started_ends_with_it(tmp_path):
    found = outcomes(tmp_path, {"a": "start a child and hang"}, 1, {"timeout": 1})
    assert str(found["a"]) == OVERTIME
    child = int((tmp_path / "child").read_text())
    for _ in range(500):
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            return
        if Path(f"/proc/{child}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
            return
        time.sleep(0.01)
    raise AssertionError("the child of a task that was given up still runs")


def test_a_limit_without_workers_gets_one(tmp_path):
    found = outcomes(tmp_path, {"a": "hang", "b": ""}, 0, {"timeout": 1})
    assert str(found["a"]) == OVERTIME
    assert found["b"][0] != os.getpid()
    assert outcomes(tmp_path, {"c": ""}, 0)["c"][0] == os.getpid()


@pytest.mark.parametrize("value", [0, -1, float("inf"), float("nan"), "1", True])
def test_a_timeout_that_is_none_is_refused(value):
    message = f"option timeout of engine local must be a number of seconds above 0; found {value!r}"
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        run(work, [1], 1, {"timeout": value})


@pytest.mark.parametrize("value", [0, -1, "much", "", 1.5, True])
def test_a_memory_limit_that_is_none_is_refused(value):
    message = (
        "option memory of engine local must be a number of bytes above 0, or a size such as "
        f'"4GiB"; found {value!r}'
    )
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        run(work, [1], 1, {"memory": value})


def test_limits_are_read_from_numbers_and_sizes():
    assert limits("local", {"timeout": 60, "memory": "4GiB"}) == Limits(60.0, 4 << 30)
    assert limits("local", {"memory": 1000}) == Limits(None, 1000)
    assert not limits("local", {})


def test_a_watch_is_told_what_is_under_way(tmp_path):
    told = []
    outcomes(tmp_path, {"a": "hold", "b": ""}, 1, None, told.append)
    assert {0} in [set(running) for running in told]
    assert all(0 <= seconds < 60 for running in told for seconds in running.values())
    told.clear()
    outcomes(tmp_path, {"a": "", "b": ""}, 0, None, told.append)
    assert told == [{0: 0.0}, {1: 0.0}]


def test_what_a_watch_raises_ends_the_workers(tmp_path):
    def stop(running):
        if running:
            raise TimeoutError("enough")

    started = time.monotonic()
    with pytest.raises(TimeoutError, match="enough"):
        outcomes(tmp_path, {"a": "hang", "b": "hang"}, 2, None, stop)
    assert time.monotonic() - started < 30


def test_workers_are_given_one_cuda_device_each(tmp_path, monkeypatch):
    monkeypatch.setattr(local, "visible_devices", lambda: ("0", "MIG-7"))
    tasks = dict.fromkeys("abcd", "hold")
    found = outcomes(tmp_path, tasks, 2)
    by_process = {}
    for pid, device in found.values():
        by_process.setdefault(pid, set()).add(device)
    assert sorted(map(sorted, by_process.values())) == [["0"], ["MIG-7"]]
    assert n_devices(8, {}) == 2
    assert n_devices(1, {}) == 1


def test_a_worker_that_is_replaced_leaves_its_device_to_the_next():
    assert devices.least_used(("0", "1", "2"), ["2", "0"]) == "1"
    assert devices.least_used(("0", "1"), ["0", "1", "1"]) == "0"
    assert devices.least_used(("0",), []) is None
    assert devices.least_used((), []) is None


@pytest.mark.parametrize(
    ("named", "expected"),
    [("1,3", ("1", "3")), ("", ()), ("-1", ()), ("0,-1,2", ("0",)), (" 0 , 1 ", ("0", "1"))],
)
def test_devices_are_those_that_cuda_may_see(monkeypatch, named, expected):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert devices.visible_devices() == expected


def test_devices_are_counted_where_nothing_names_them(monkeypatch):
    import torch

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert devices.visible_devices() == ("0", "1", "2")
