"""Programs that tests start: none outlives its test, nor does what it starts in its turn.

Every program leads a process group of its own. However a test ends, the fixture `no_leftovers` of
conftest.py ends the groups and closes the pipes.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from typing import Any

#: Longer than any program of a test takes on a machine that has other things to do.
_PATIENCE_SECONDS = 600

_started: list[subprocess.Popen[str]] = []


def start_program(command: Sequence[Any], **options: Any) -> subprocess.Popen[str]:
    """Start a program, with text in its pipes; options are those of `subprocess.Popen`."""
    program = subprocess.Popen(command, text=True, start_new_session=True, **options)
    _started.append(program)
    return program


def run_program(
    command: Sequence[Any],
    *,
    check: bool = True,
    timeout: float = _PATIENCE_SECONDS,
    **options: Any,
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, and keep what it says.

    Args:
        command: The program and its arguments.
        check: Whether to fail, and show what it said, unless it ends well.
        timeout: Seconds until it is ended.
        options: Those of `subprocess.Popen`.
    """
    program = start_program(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
    try:
        output, errors = program.communicate(timeout=timeout)
    finally:
        _end(program)
        _started.remove(program)
    code = program.returncode
    assert code == 0 or not check, f"{command} ended with {code}\n{output}\n{errors}"
    return subprocess.CompletedProcess(command, code, output, errors)


@contextlib.contextmanager
def lasting_program(command: Sequence[Any], **options: Any) -> Iterator[subprocess.Popen[str]]:
    """A program that goes on from test to test until the block ends, as modules' fixtures need it.

    Args:
        command: The program and its arguments.
        options: Those of `subprocess.Popen`.
    """
    program = subprocess.Popen(command, text=True, start_new_session=True, **options)
    try:
        yield program
    finally:
        _end(program)


def end_everything() -> None:
    """End every program that was started, and every process of `multiprocessing`."""
    while _started:
        _end(_started.pop())
    for process in multiprocessing.active_children():
        process.kill()
        process.join()


def _end(program: subprocess.Popen[str]) -> None:
    """Kill what is left of a program's group, and close the pipes to it."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(program.pid, signal.SIGKILL)
    program.wait()
    for pipe in (program.stdin, program.stdout, program.stderr):
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
