"""Threads that help with births: what they do not break."""

import subprocess
import sys

import numpy as np
import pytest

from audit.topology import birth_levels, cpu, inputs

FORKED = """
import multiprocessing
import numpy as np
from audit.topology import birth_levels

maps = np.random.default_rng(0).standard_normal((400, 14, 14), np.float32)
expected = birth_levels(maps, threads=3)

def child(queue):
    queue.put(birth_levels(maps, threads=3))

queue = multiprocessing.get_context("fork").Queue()
process = multiprocessing.get_context("fork").Process(target=child, args=(queue,))
process.start()
np.testing.assert_array_equal(queue.get(timeout=60), expected)
process.join(60)
assert process.exitcode == 0
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
def test_births_on_threads_after_a_fork():
    subprocess.run([sys.executable, "-c", FORKED], check=True, timeout=120)


def test_errors_of_helping_threads_are_raised(monkeypatch):
    def failing(filtration, preset, maps):
        def kernel(rows, out):
            raise ZeroDivisionError("in a chunk")

        return kernel

    monkeypatch.setattr(cpu, "_kernel", failing)
    maps = inputs.from_numpy(np.zeros((1000, 14, 14), np.float32))
    with pytest.raises(ZeroDivisionError, match="in a chunk"):
        cpu.births(maps, "cubical", "paper", threads=2)


def test_more_threads_than_chunks_or_helpers_change_nothing():
    maps = np.random.default_rng(1).standard_normal((400, 14, 14), np.float32)
    alone = birth_levels(maps, threads=1)
    np.testing.assert_array_equal(birth_levels(maps, threads=1000), alone)
