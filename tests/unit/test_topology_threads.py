"""Threads that help with births: what they do not break."""

import sys
import time

import numpy as np
import pytest
from programs import run_program

from audit.topology import _cpu, _inputs, birth_levels

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
    run_program([sys.executable, "-c", FORKED], timeout=120)


def test_errors_of_helping_threads_are_raised(monkeypatch):
    def failing(filtration, preset, maps):
        def kernel(rows, out):
            raise ZeroDivisionError("in a chunk")

        return kernel

    monkeypatch.setattr(_cpu, "_kernel", failing)
    maps = _inputs.from_numpy(np.zeros((1000, 14, 14), np.float32))
    with pytest.raises(ZeroDivisionError, match="in a chunk"):
        _cpu.births(maps, "cubical", "paper", threads=2)


def test_more_threads_than_chunks_or_helpers_change_nothing():
    maps = np.random.default_rng(1).standard_normal((400, 14, 14), np.float32)
    alone = birth_levels(maps, threads=1)
    np.testing.assert_array_equal(birth_levels(maps, threads=1000), alone)


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize("threads", [1, 3])
def test_what_stops_one_thread_stops_all(monkeypatch, error, threads):
    taken = []

    def stopping(filtration, preset, maps):
        def kernel(rows, out):
            taken.append(len(rows))
            if len(taken) == 2:
                raise error
            time.sleep(0.01)

        return kernel

    monkeypatch.setattr(_cpu, "_kernel", stopping)
    monkeypatch.setattr(_cpu, "_PIXELS_PER_CHUNK", 1 << 14)
    maps = _inputs.from_numpy(np.zeros((20_000, 14, 14), np.float32))
    with pytest.raises(error):
        _cpu.births(maps, "cubical", "paper", threads=threads)
    assert len(taken) <= 2 + threads  # of some 240 chunks


ENDING = """
import atexit, sys, threading, time
import numpy as np
from audit.topology import birth_levels

maps = np.random.default_rng(0).standard_normal((2000, 14, 14), np.float32)
expected = birth_levels(maps, threads=1)

def late():
    time.sleep(0.3)
    np.testing.assert_array_equal(birth_levels(maps, threads=3), expected)
    print("done")

if sys.argv[1] == "atexit":
    atexit.register(late)
else:
    threading.Thread(target=late).start()
"""


@pytest.mark.parametrize("when", ["atexit", "thread"])
def test_births_while_the_interpreter_ends(when):
    assert run_program([sys.executable, "-c", ENDING, when]).stdout == "done\n"


def test_a_slice_of_one_unit_is_cut_into_few_chunks():
    maps = np.zeros((2000, 8, 7, 7), np.float32)
    for part in (maps[:, 3:4], maps[:, 3], maps[::2, :1], maps[:1, ::2]):
        result = np.empty(part.shape[:-2], np.int32)
        assert len(list(_cpu._chunks(part, result, 1))) <= 8
