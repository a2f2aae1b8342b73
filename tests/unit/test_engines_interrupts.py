"""Interrupts at the instants at which one could be lost, or could leave a worker behind."""

import multiprocessing
import os
import signal
import threading
import time
from multiprocessing.context import SpawnProcess

import pytest

from audit_engines import local, processes
from audit_engines.interrupts import deferred_interrupts
from audit_engines.local import run


def interrupt():
    os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture
def no_children():
    assert multiprocessing.active_children() == []
    yield
    assert multiprocessing.active_children() == []


def test_deferred_interrupts_come_when_the_block_ends():
    reached = []

    def work():
        with deferred_interrupts():
            with deferred_interrupts():
                interrupt()
                reached.append("inner")
            reached.append("outer")
        reached.append("never")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert reached == ["inner", "outer"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_deferred_interrupts_come_also_when_another_thread_receives_them():
    """Although this thread has blocked the signal."""
    reached = []

    def work():
        thread = threading.Thread(target=interrupt)
        with deferred_interrupts():
            thread.start()
            thread.join()
            reached.append("inner")

    def work_while_blocked():
        with deferred_interrupts():
            asked = threading.Event()
            helper = threading.Thread(target=lambda: (asked.wait(10), interrupt()))
            helper.start()  # before the signal is blocked, or it would inherit that
            before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            asked.set()
            helper.join()
            reached.append("inner")
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    for each in (work, work_while_blocked):
        with pytest.raises(KeyboardInterrupt):
            each()
    assert reached == ["inner", "inner"]


def test_deferred_interrupts_change_nothing_in_other_threads_nor_where_they_are_ignored():
    found = []

    def look():
        with deferred_interrupts():
            found.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with deferred_interrupts():
            found.append(signal.getsignal(signal.SIGINT))
    finally:
        signal.signal(signal.SIGINT, before)
    assert found == [signal.default_int_handler, signal.SIG_IGN]


@pytest.mark.usefixtures("no_children")
def test_an_interrupt_that_another_thread_receives_ends_the_wait():
    """The system call in which this thread waits is not interrupted then."""
    running = threading.Event()

    def receive():
        running.set()
        time.sleep(3)
        interrupt()

    thread = threading.Thread(target=receive)
    thread.start()
    running.wait(10)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    started = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            list(run(time.sleep, [60, 60], 2))
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        thread.join()
    assert time.monotonic() - started < 8


@pytest.mark.usefixtures("no_children")
def test_an_interrupt_while_a_worker_is_started_leaves_none(monkeypatch):
    start = SpawnProcess.start

    def start_and_interrupt(process):
        start(process)
        interrupt()

    monkeypatch.setattr(SpawnProcess, "start", start_and_interrupt)
    with pytest.raises(KeyboardInterrupt):
        list(run(time.sleep, [60, 60], 2))
    assert "GENAUDIT_THREADS" not in os.environ


@pytest.mark.usefixtures("no_children")
def test_an_interrupt_while_workers_are_ended_leaves_none(monkeypatch):
    reap = processes.reap

    def interrupt_and_reap(worker, deadline):
        interrupt()
        return reap(worker, deadline)

    stream = run(time.sleep, [0, 60, 60], 2)
    next(stream)
    monkeypatch.setattr(processes, "reap", interrupt_and_reap)
    with pytest.raises(KeyboardInterrupt):
        stream.close()


@pytest.mark.usefixtures("no_children")
def test_an_interrupt_before_workers_are_ended_leaves_none(monkeypatch):
    """The worst instant: a second interrupt on the way to ending the workers for the first."""

    def never(pool):
        raise KeyboardInterrupt

    monkeypatch.setattr(local.Pool, "close", never)
    stream = run(time.sleep, [0, 60, 60], 2)
    next(stream)
    with pytest.raises(KeyboardInterrupt):
        stream.close()
