"""Local processes: real children that fail, die, hang up or are interrupted."""

import itertools
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from programs import run_program, start_program

import audit_engines
from audit.errors import CheckpointError, ConfigError, MeasureError
from audit.plugin.registry import Registry
from audit_engines.local import run


def double(number):
    return 2 * number


def fail(message):
    raise ValueError(message)


def refuse(message):
    raise CheckpointError(message)


class PickyError(Exception):
    """An exception that cannot be unpickled."""

    def __init__(self, first, second):
        super().__init__(f"{first} {second}")


def fail_picky(_):
    raise PickyError("one", "two")


def give_lambda(_):
    return lambda: None


def die(how):
    if how == "abort":
        os.abort()
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "exit":
        os._exit(7)
    return how


def die_once(path):
    marker = Path(path)
    if not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "second time"


def die_and_count(folder):
    (Path(folder) / str(time.monotonic_ns())).touch()
    os._exit(7)


def report_threads(_):
    import torch

    return os.environ["GENAUDIT_THREADS"], torch.get_num_threads()


def sleep_and_mark(folder):
    (Path(folder) / str(os.getpid())).touch()
    time.sleep(60)


def outcomes(function, tasks, n_workers):
    return dict(run(function, tasks, n_workers))


@pytest.fixture(scope="module")
def quiet_aborts():
    import resource

    before = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_CORE, before)


def test_plugin_provides_the_local_engine():
    entry = Registry({"engines": audit_engines}).engine("local")
    assert entry.run is run
    assert entry.options == ("retries", "timeout", "memory")


@pytest.mark.parametrize("n_workers", [0, 1, 2])
def test_run_yields_every_result_with_its_position(n_workers):
    assert outcomes(double, [3, 1, 2], n_workers) == {0: 6, 1: 2, 2: 4}


@pytest.mark.parametrize("n_workers", [0, 2])
def test_run_without_tasks_yields_nothing(n_workers):
    assert outcomes(double, [], n_workers) == {}


@pytest.mark.parametrize("n_workers", [0, 1])
def test_run_returns_exceptions_with_their_traceback(n_workers):
    outcome = outcomes(fail, ["bad value"], n_workers)[0]
    assert type(outcome) is ValueError
    assert str(outcome) == "bad value"
    assert "in fail" in outcome.__notes__[0]


def test_run_returns_audit_errors_as_they_are():
    outcome = outcomes(refuse, ["no such file"], 1)[0]
    assert type(outcome) is CheckpointError
    assert str(outcome) == "no such file"


def test_run_describes_what_cannot_be_sent_back():
    picky = outcomes(fail_picky, [0], 1)[0]
    assert type(picky) is MeasureError
    assert str(picky) == "PickyError: one two"
    unsendable = outcomes(give_lambda, [0], 1)[0]
    assert type(unsendable) is MeasureError
    assert "the result of the task cannot be sent between processes" in str(unsendable)


def test_run_describes_tasks_that_cannot_be_sent():
    found = outcomes(double, [lambda: None, 4], 1)
    assert "the task cannot be sent between processes" in str(found[0])
    assert found[1] == 8


@pytest.mark.usefixtures("quiet_aborts")
def test_run_when_workers_die_costs_only_their_own_tasks():
    tasks = ["fine", "kill", "well", "abort", "good", "exit", "sound"]
    found = outcomes(die, tasks, 2)
    assert sorted(found) == list(range(7))
    assert [found[i] for i in (0, 2, 4, 6)] == ["fine", "well", "good", "sound"]
    assert [str(found[i]) for i in (1, 3, 5)] == [
        "worker process died (signal 9, SIGKILL: perhaps out of memory), and again when run alone",
        "worker process died (signal 6, SIGABRT), and again when run alone",
        "worker process died (exit code 7), and again when run alone",
    ]
    assert all(type(found[i]) is MeasureError for i in (1, 3, 5))


def test_run_tries_a_task_again_when_its_worker_dies(tmp_path):
    assert outcomes(die_once, [str(tmp_path / "marker")], 1) == {0: "second time"}


@pytest.mark.parametrize(
    ("n_retries", "said"), [(0, ""), (2, ", and again all 2 times it was run alone")]
)
def test_run_retries_as_often_as_it_is_told(tmp_path, n_retries, said):
    found = dict(run(die_and_count, [str(tmp_path)], 1, {"retries": n_retries}))
    assert str(found[0]) == f"worker process died (exit code 7){said}"
    assert len(os.listdir(tmp_path)) == 1 + n_retries


def test_run_refuses_options_that_it_does_not_have():
    message = (
        "unknown option 'retry'; did you mean 'retries'? the options of engine local are "
        "retries, timeout, memory"
    )
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        run(double, [1], 1, {"retry": 2})


@pytest.mark.parametrize("value", [-1, 1.0, "1", True, None])
def test_run_refuses_retries_that_are_no_number(value):
    message = f"option retries of engine local must be a whole number, 0 or more; found {value!r}"
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        run(double, [1], 0, {"retries": value})


@pytest.mark.parametrize("n_workers", [0, 1])
def test_run_gives_each_task_one_math_thread(n_workers):
    assert outcomes(report_threads, [0], n_workers)[0] == ("1", 1)
    assert "GENAUDIT_THREADS" not in os.environ


def test_closing_the_iterator_ends_the_workers(tmp_path):
    stream = run(_mark_then_sleep, [(str(tmp_path), 0), (str(tmp_path), 60)], 2)
    next(stream)
    pids = _wait_for_markers(tmp_path, 2)
    stream.close()
    assert not any(_is_alive(pid) for pid in pids)


def _mark_then_sleep(task):
    folder, seconds = task
    (Path(folder) / str(os.getpid())).touch()
    deadline = time.monotonic() + 20
    while len(os.listdir(folder)) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(seconds)


def _wait_for_markers(folder, n_expected):
    for _ in range(2000):
        pids = [int(name) for name in os.listdir(folder)]
        if len(pids) >= n_expected:
            return pids
        time.sleep(0.01)
    raise AssertionError("the workers did not start")


def _is_alive(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


SCRIPT = """
import sys
sys.path[:0] = {path!r}
from audit_engines.local import run
from test_engines_local import sleep_and_mark
if __name__ == "__main__":
    try:
        list(run(sleep_and_mark, [{folder!r}] * 2, 2))
    except KeyboardInterrupt:
        print("interrupted")
"""


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGKILL])
def test_workers_end_promptly_with_their_parent(tmp_path, signal_number):
    folder = tmp_path / "marks"
    folder.mkdir()
    script = tmp_path / "main.py"
    script.write_text(
        SCRIPT.format(path=[str(Path(__file__).parent), *sys.path], folder=str(folder))
    )
    parent = start_program(
        [sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    pids = _wait_for_markers(folder, 2)
    started = time.monotonic()
    if signal_number == signal.SIGINT:
        os.killpg(parent.pid, signal.SIGINT)  # as the keyboard does: the whole group
    else:
        parent.kill()
    output, errors = parent.communicate(timeout=20)
    while any(map(_is_alive, pids)) and time.monotonic() - started < 10:
        time.sleep(0.01)
    assert not any(map(_is_alive, pids))
    assert time.monotonic() - started < 5
    if signal_number == signal.SIGINT:
        assert output == "interrupted\n"
        assert errors == ""


def test_run_in_an_unguarded_script_says_what_to_do(tmp_path):
    script = tmp_path / "main.py"
    script.write_text(
        f"import sys; sys.path[:0] = {sys.path!r}\n"
        "from audit_engines.local import run\n"
        "print(list(run(str, [1, 2], 1)))\n"
    )
    found = run_program([sys.executable, str(script)], check=False, timeout=60)
    assert found.returncode == 1
    assert "audit.errors.MeasureError: worker processes cannot be started: 3 in a row died" in (
        found.stderr
    )
    assert "`if __name__ == '__main__':`" in found.stderr


def test_results_do_not_wait_for_slower_tasks():
    stream = run(_wait, [8.0, 0.0], 2)
    assert next(stream) == (1, 0.0)
    stream.close()


def _wait(seconds):
    time.sleep(seconds)
    return seconds


def test_positions_come_once_each():
    found = [position for position, _ in run(double, list(range(50)), 2)]
    assert sorted(found) == list(itertools.islice(itertools.count(), 50))
