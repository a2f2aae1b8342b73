"""Signals: what was finished is kept, the exit code says which came, and a second one forces."""

import os
import signal
import subprocess
import sys
import time

import pytest
from programs import start_program

from tests.campaigns.small_folder import SmallFolder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A network that is soon measured, and one that sleeps for ever."""
    path = tmp_path_factory.mktemp("signals")
    (path / "marks").mkdir()
    found = SmallFolder(path / "user", ("random",))
    found.write({"sound": {"seed": 1}, "sleeps": {"what": "sleep"}})
    return found


def start(folder, out):
    """Start a run, and wait until one network sleeps."""
    marks = folder.path.parent / "marks"
    for mark in marks.iterdir():
        mark.unlink()
    program = start_program(
        [
            *(sys.executable, "-m", "audit", "run", "audit.toml", "-o", out, "--cache", "cache"),
            *("--device", "cpu", "--workers", "1", "--quiet"),
        ],
        cwd=folder.path,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(folder.path), *filter(None, sys.path)]),
            "SMALL_NETWORKS_MARKS": str(marks),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    for _ in range(6000):
        if any(marks.iterdir()):
            return program
        assert program.poll() is None, program.communicate()
        time.sleep(0.05)
    raise AssertionError("the run did not come far enough")


@pytest.mark.parametrize(
    ("number", "code", "said"),
    [
        (signal.SIGTERM, 143, "terminated: what was finished is kept; run again to go on"),
        (signal.SIGINT, 130, "interrupted: what was finished is kept; run again to go on"),
    ],
)
def test_row_10_a_signal_keeps_what_is_finished_and_sets_the_exit_code(folder, number, code, said):
    program = start(folder, f"out-{code}")
    program.send_signal(number)
    output, errors = program.communicate(timeout=60)
    assert (program.returncode, output, errors.strip()) == (code, "", said)
    assert not [*folder.path.rglob("*.tmp")]


def test_row_10_a_second_signal_forces(folder):
    program = start(folder, "out-twice")
    program.send_signal(signal.SIGTERM)
    program.send_signal(signal.SIGTERM)
    program.communicate(timeout=60)
    assert program.returncode in (143, -signal.SIGTERM)
