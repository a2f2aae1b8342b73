"""Interrupts at random instants, on a busy machine: each is noticed, and none leaves a worker.

10 interrupts; `GENAUDIT_CAMPAIGN` makes that 100.
"""

import os
import random
import select
import signal
import subprocess
import sys
import time

import pytest
from programs import start_program

N_INTERRUPTS = 100 if int(os.environ.get("GENAUDIT_CAMPAIGN", "1")) > 1 else 10
NOTICED_WITHIN = 5.0

#: Catches interrupts and starts again. Its workers are started, given tasks, die and are replaced
#: all the time, so that an interrupt may come at any of these. It says when a round begins, and
#: after it the number of children that are left besides the tracker of shared resources.
PARENT = """
import itertools, os, random, sys, time
from pathlib import Path

sys.path[:0] = {path!r}
from audit_engines.local import run

def task(number):
    if number % 7 == 3:
        os._exit(7)
    time.sleep(random.random() * 0.05)
    return bytes(number % 5 * 50_000)

def n_workers_left():
    n = 0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rsplit(")", 1)[1].split()
            command = (folder / "cmdline").read_text()
        except OSError:
            continue
        n += int(fields[1]) == os.getpid() and "resource_tracker" not in command
    return n

if __name__ == "__main__":
    for _ in range({rounds}):
        try:
            print("begins", flush=True)
            for outcome in run(task, range(10**6), 2):
                pass
        except KeyboardInterrupt:
            pass
        print("noticed", n_workers_left(), flush=True)
"""


class Lines:
    """What a program says, line by line, with a limit to how long a line is waited for."""

    def __init__(self, program):
        self._program = program
        self._held = b""

    def next(self, seconds):
        deadline = time.monotonic() + seconds
        while b"\n" not in self._held:
            left = deadline - time.monotonic()
            ready, _, _ = select.select([self._program.stdout], [], [], max(0, left))
            assert ready, f"nothing was said within {seconds} seconds"
            more = os.read(self._program.stdout.fileno(), 4096)
            assert more, f"the program ended: {self._program.stderr.read()}"
            self._held += more
        line, _, self._held = self._held.partition(b"\n")
        return line.decode()


@pytest.fixture
def load():
    """A process that keeps each core busy."""
    for _ in range(os.cpu_count() or 1):
        start_program([sys.executable, "-c", "while True: pass"])


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="counts processes by /proc")
@pytest.mark.usefixtures("load")
def test_row_10_interrupts_at_random_instants_are_noticed_and_leave_no_worker(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(PARENT.format(path=sys.path, rounds=N_INTERRUPTS))
    parent = start_program(
        [sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    lines, rng, waited = Lines(parent), random.Random(8), []
    for _ in range(N_INTERRUPTS):
        assert lines.next(60) == "begins"
        # Half come while the first workers are started, half at any time in six seconds.
        time.sleep(rng.choice([0.3, 6.0]) * rng.random())
        sent = time.monotonic()
        os.killpg(parent.pid, signal.SIGINT)  # as the keyboard does: the whole group
        assert lines.next(NOTICED_WITHIN) == "noticed 0"
        waited.append(time.monotonic() - sent)
    print(f"{N_INTERRUPTS} interrupts noticed, at the latest after {max(waited):.2f} s")  # noqa: T201
    assert parent.wait(60) == 0
    assert parent.stderr.read() == ""
