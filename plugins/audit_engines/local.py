"""Run tasks in processes on this machine.

Why not `concurrent.futures.ProcessPoolExecutor`: when one of its workers dies, every task under way
fails, and it does not say which one was to blame or how it died. Here each worker has a pipe of its
own, so a death costs one task and its signal is known.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import multiprocessing
import os
import signal
import time
import weakref
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from multiprocessing import connection, resource_tracker
from multiprocessing.context import SpawnProcess
from multiprocessing.reduction import ForkingPickler
from typing import Any

from audit.errors import ConfigError, MeasureError, unknown_name
from audit_engines.interrupts import deferred_interrupts
from audit_engines.worker import READY, UNPICKLABLE, attempt, serve

#: Keeps the current folder, and what lies there under names of Python's modules, out of the path of
#: a Python that is started with `-c`, as workers are.
_SAFE_PATH = {"PYTHONSAFEPATH": "1"}

#: One math thread per worker, so that results do not depend on how many workers there are.
WORKER_ENVIRONMENT = {
    "GENAUDIT_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
    **_SAFE_PATH,
}
#: Names of the options of `run`.
OPTIONS = ("retries",)

_MAX_FAILED_STARTS = 3
_GRACE_SECONDS = 2.0
#: The longest wait for news. An interrupt that comes just before the system call, or that another
#: thread of this process receives, does not end the call: Python notices it only afterwards.
_WAIT_SECONDS = 0.2


def run(
    function: Callable[[Any], Any],
    tasks: Sequence[Any],
    n_workers: int,
    options: Mapping[str, Any] | None = None,
) -> Iterator[tuple[int, Any]]:
    """Run every task and yield (position, result or exception) as they finish.

    A task whose process dies is tried again, with no other task beside it, after all the others; if
    its process dies each time, its outcome is a `MeasureError` that says how. Closing the iterator,
    or an interrupt, ends every worker.

    Args:
        function: Of one task; can be pickled.
        tasks: Can be pickled.
        n_workers: Processes; 0 runs the tasks in this process.
        options: `retries`, how often a task whose process died is tried again: 1 by default, and 0
            tries no task twice.

    Raises:
        ConfigError: An unknown option, or a number of retries that is none.
        MeasureError: Worker processes cannot be started.
    """
    n_retries = _retries(options or {})
    if n_workers <= 0:
        return _run_here(function, tasks)
    return _run_in_workers(function, tasks, n_workers, n_retries)


def _retries(options: Mapping[str, Any]) -> int:
    """The option `retries`, checked, or 1; no other option is accepted."""
    for name in options:
        if name not in OPTIONS:
            hint = f"the options of engine local are {', '.join(OPTIONS)}"
            raise unknown_name("option", name, OPTIONS, hint)
    n_retries = options.get("retries", 1)
    if isinstance(n_retries, bool) or not isinstance(n_retries, int) or n_retries < 0:
        raise ConfigError(
            f"option retries of engine local must be a whole number, 0 or more; found {n_retries!r}"
        )
    return n_retries


def _run_here(function: Callable[[Any], Any], tasks: Sequence[Any]) -> Iterator[tuple[int, Any]]:
    """Run the tasks in this process, one after another."""
    for position, task in enumerate(tasks):
        with _one_thread():
            outcome = attempt(function, task)
        yield position, outcome


def _run_in_workers(
    function: Callable[[Any], Any], tasks: Sequence[Any], n_workers: int, n_retries: int
) -> Iterator[tuple[int, Any]]:
    """Run the tasks in processes, and those whose process died again, alone."""
    pool = _Pool(function, tasks)
    try:
        deaths = yield from pool.work(range(len(tasks)), n_workers)
        for _ in range(n_retries):
            if deaths:
                deaths = yield from pool.work(sorted(deaths), 1)
        for position, how in deaths.items():
            yield position, MeasureError(f"worker process died ({how}){_again(n_retries)}")
    finally:
        pool.close()


def _again(n_retries: int) -> str:
    """What a message says of the retries, all of which ended as the first attempt did."""
    if n_retries == 0:
        return ""
    return ", and again " + (
        "when run alone" if n_retries == 1 else f"all {n_retries} times it was run alone"
    )


@dataclasses.dataclass(eq=False)
class _Worker:
    """A process, this end of its pipe, and the position of its task, if it has one."""

    process: SpawnProcess
    pipe: connection.Connection
    ready: bool = False
    task: int | None = None


class _Pool:
    """Worker processes.

    Args:
        function: Of one task.
        tasks: All of them.
    """

    def __init__(self, function: Callable[[Any], Any], tasks: Sequence[Any]) -> None:
        self._function = function
        self._tasks = tasks
        self._workers: list[_Worker] = []
        self._failed_starts = 0
        # Should an interrupt come before `close` is reached, the workers end with this object.
        self._end = weakref.finalize(self, _end, self._workers, 0)

    def work(
        self, positions: Iterable[int], n_workers: int
    ) -> Generator[tuple[int, Any], None, dict[int, str]]:
        """Yield the outcomes of some tasks; return those whose process died, and how."""
        waiting = collections.deque(positions)
        deaths: dict[int, str] = {}
        with deferred_interrupts():
            _end(self._workers, n_workers)
        while waiting or any(worker.task is not None for worker in self._workers):
            n_busy = sum(worker.task is not None for worker in self._workers)
            while len(self._workers) < min(n_workers, n_busy + len(waiting)):
                _start(self._function, self._workers)
            for worker in self._workers:
                while waiting and worker.ready and worker.task is None:
                    problem = _send(worker, waiting.popleft(), self._tasks)
                    if problem is not None:
                        yield problem
            for worker in self._with_news():
                news = self._receive(worker, deaths)
                if news is not None:
                    yield news
        return deaths

    def close(self) -> None:
        """End every worker at once."""
        with deferred_interrupts():
            self._end()

    def _with_news(self) -> list[_Worker]:
        """Wait until a worker has sent something or died, and return all such."""
        if all(worker.ready and worker.task is None for worker in self._workers):
            return []
        waited = [worker.pipe for worker in self._workers]
        ended = [worker.process.sentinel for worker in self._workers]
        ready: list[Any] = []
        while not ready:
            ready = connection.wait([*waited, *ended], _WAIT_SECONDS)
        return [w for w in self._workers if w.pipe in ready or w.process.sentinel in ready]

    def _receive(self, worker: _Worker, deaths: dict[int, str]) -> tuple[int, Any] | None:
        """What a worker has sent; None if it has just started, or died."""
        try:
            if not worker.pipe.poll():
                raise EOFError
            position, outcome = worker.pipe.recv()
        except (EOFError, OSError):
            self._bury(worker, deaths)
            return None
        if position == READY:
            worker.ready = True
            self._failed_starts = 0
            return None
        worker.task = None
        return position, outcome

    def _bury(self, worker: _Worker, deaths: dict[int, str]) -> None:
        """Take a dead worker out of the pool and note which task it leaves.

        Raises:
            MeasureError: Workers die again and again before they take a task.
        """
        with deferred_interrupts():
            self._workers.remove(worker)
            how = _reap(worker, time.monotonic() + _GRACE_SECONDS)
        if worker.task is not None:
            deaths[worker.task] = how
        elif not worker.ready:
            self._failed_starts += 1
            if self._failed_starts >= _MAX_FAILED_STARTS:
                raise MeasureError(
                    f"worker processes cannot be started: {self._failed_starts} in a row died "
                    f"({how}) before they took a task; in a script, call genaudit below "
                    "`if __name__ == '__main__':`"
                )


def _start(function: Callable[[Any], Any], workers: list[_Worker]) -> None:
    """Start a worker that no interrupt from the keyboard reaches, from its first instruction on.

    An interrupt of this process waits until the worker is among the others, which `_end` ends.
    """
    context = multiprocessing.get_context("spawn")
    with deferred_interrupts():
        with _environment(_SAFE_PATH):
            resource_tracker.ensure_running()  # or start() would, and unblock the signal
        ours, theirs = context.Pipe()
        process = context.Process(target=serve, args=(function, theirs), daemon=True)
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            with _environment(WORKER_ENVIRONMENT):
                process.start()
            workers.append(_Worker(process, ours))
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            theirs.close()


def _end(workers: list[_Worker], n_left: int) -> None:
    """End all workers but the first few, and take them out of the list."""
    leaving = workers[n_left:]
    for worker in leaving:
        worker.process.terminate()
    deadline = time.monotonic() + _GRACE_SECONDS
    for worker in leaving:
        _reap(worker, deadline)
    del workers[n_left:]


def _send(worker: _Worker, position: int, tasks: Sequence[Any]) -> tuple[int, Any] | None:
    """Hand a task to a worker; the outcome if it cannot be sent."""
    try:
        message = ForkingPickler.dumps((position, tasks[position]))
    except UNPICKLABLE as error:
        return position, MeasureError(f"the task cannot be sent between processes: {error}")
    worker.task = position
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # its death is seen next
        worker.pipe.send_bytes(message)
    return None


def _reap(worker: _Worker, deadline: float) -> str:
    """Wait for a worker to end, by force if need be, and say how it ended."""
    worker.process.join(max(0.0, deadline - time.monotonic()))
    if worker.process.is_alive():
        worker.process.kill()
        worker.process.join()
    worker.pipe.close()
    code = worker.process.exitcode or 0
    worker.process.close()
    if code >= 0:
        return f"exit code {code}"
    name = signal.Signals(-code).name
    cause = ": perhaps out of memory" if name == "SIGKILL" else ""
    return f"signal {-code}, {name}{cause}"


@contextlib.contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Environment variables that processes started meanwhile inherit."""
    before = {name: os.environ.get(name) for name in values}
    try:
        os.environ.update(values)
        yield
    finally:
        with deferred_interrupts():
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """One math thread in this process, as workers have."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with _environment({"GENAUDIT_THREADS": "1"}):
            yield
    finally:
        torch.set_num_threads(before)
