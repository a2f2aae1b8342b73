"""Run tasks in processes on this machine.

Why not `concurrent.futures.ProcessPoolExecutor`: when one of its workers dies, every task under way
fails, and it does not say which one was to blame or how it died. Here each worker has a pipe of its
own, so a death costs one task and its signal is known.
"""

from __future__ import annotations

import collections
import contextlib
import time
import weakref
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from multiprocessing import connection
from typing import Any

from audit.errors import MeasureError
from audit_engines.devices import least_used, visible_devices
from audit_engines.interrupts import deferred_interrupts
from audit_engines.options import LIMITS, Limits, check_names, limits, whole_number
from audit_engines.processes import GRACE_SECONDS, Worker, end, environment, reap, send, start
from audit_engines.worker import KILLED, READY, attempt

#: Names of the options of `run`.
OPTIONS = ("retries", *LIMITS)

#: What is told of the tasks under way: position → seconds since it was given to a worker.
Watch = Callable[[Mapping[int, float]], None]

_MAX_FAILED_STARTS = 3
#: The longest wait for news. An interrupt that comes just before the system call, or that another
#: thread of this process receives, does not end the call: Python notices it only afterwards.
_WAIT_SECONDS = 0.2


def run(
    function: Callable[[Any], Any],
    tasks: Sequence[Any],
    n_workers: int,
    options: Mapping[str, Any] | None = None,
    watch: Watch | None = None,
) -> Iterator[tuple[int, Any]]:
    """Run every task and yield (position, result or exception) as they finish.

    A task whose process dies is tried again, with no other task beside it, after all the others; if
    its process dies each time, its outcome is a `MeasureError` that says how. So is that of a task
    over a limit, which ends its worker and is not tried again. Memory is looked at five times a
    second, so that more may be held for a moment. What a worker still holds of earlier tasks is
    not held against a task: it is given to a new worker then. Where a process ended by SIGKILL, by
    which a system takes memory back, the next attempt is told to halve its batches. Closing the
    iterator, or an interrupt, ends every worker. Where there are several CUDA devices, each worker
    sees one.

    Args:
        function: Of one task; can be pickled.
        tasks: Can be pickled.
        n_workers: Processes; 0 runs the tasks in this process, unless there is a limit: a process
            that is to be ended must not be this one.
        options: `retries`, how often a task whose process died is tried again: 1 by default, and 0
            tries no task twice; `timeout` and `memory`, see `options.Limits`.
        watch: Told several times a second what is under way; what it raises ends every worker.

    Raises:
        ConfigError: An unknown option, or one that is not what it must be.
        MeasureError: Worker processes cannot be started.
    """
    given = options or {}
    check_names("local", given, OPTIONS)
    n_retries, limited = whole_number("local", given, "retries", 1), limits("local", given)
    watch = watch or unwatched
    if n_workers <= 0 and not limited:
        return _run_here(function, tasks, watch)
    pool = Pool(function, tasks, limited, watch)
    return _run_in_workers(pool, len(tasks), max(1, n_workers), n_retries)


def n_devices(n_workers: int, options: Mapping[str, Any]) -> float:
    """How many CUDA devices so many workers hold."""
    return min(max(1, n_workers), max(1, len(visible_devices())))


def unwatched(running: Mapping[int, float]) -> None:
    """Nobody is told."""


def _run_here(
    function: Callable[[Any], Any], tasks: Sequence[Any], watch: Watch
) -> Iterator[tuple[int, Any]]:
    """Run the tasks in this process, one after another."""
    for position, task in enumerate(tasks):
        watch({position: 0.0})
        with _one_thread():
            outcome = attempt(function, task)
        yield position, outcome


def _run_in_workers(
    pool: Pool, n_tasks: int, n_workers: int, n_retries: int
) -> Iterator[tuple[int, Any]]:
    """Run the tasks in processes, and those whose process died again, alone."""
    try:
        deaths = yield from pool.work(range(n_tasks), n_workers)
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


class Pool:
    """Worker processes.

    Args:
        function: Of one task.
        tasks: All of them.
        limited: What a task may take.
        watch: Told what is under way.

    Attributes:
        kills: How often the process of each task was killed, by its position: its next attempt
            begins with batches halved so often.
    """

    def __init__(
        self, function: Callable[[Any], Any], tasks: Sequence[Any], limited: Limits, watch: Watch
    ) -> None:
        self._function = function
        self._tasks = tasks
        self._limits, self._watch = limited, watch
        self._oversize = limited.oversize()
        self._devices = visible_devices()
        self._workers: list[Worker] = []
        self._failed_starts = 0
        self._looked = time.monotonic()
        self._for_new_workers: set[int] = set()
        self.kills: collections.Counter[int] = collections.Counter()
        # Should an interrupt come before `close` is reached, the workers end with this object.
        self._end = weakref.finalize(self, end, self._workers, 0)

    def work(
        self, positions: Iterable[int], n_workers: int
    ) -> Generator[tuple[int, Any], None, dict[int, str]]:
        """Yield the outcomes of some tasks; return those whose process died, and how."""
        waiting = collections.deque(positions)
        deaths: dict[int, str] = {}
        with deferred_interrupts():
            end(self._workers, n_workers)
        while waiting or self._busy():
            self._start_up_to(min(n_workers, len(self._busy()) + len(waiting)))
            for worker in list(self._workers):
                if waiting and worker.ready and worker.task is None:
                    problem = self._hand_out(worker, waiting)
                    if problem is not None:
                        yield problem
            for worker in self._with_news():
                news = self._receive(worker, deaths)
                if news is not None:
                    yield news
            yield from self._look(waiting)
        return deaths

    def close(self) -> None:
        """End every worker at once."""
        with deferred_interrupts():
            self._end()

    def _busy(self) -> list[Worker]:
        """The workers that have a task."""
        return [worker for worker in self._workers if worker.task is not None]

    def _start_up_to(self, n_workers: int) -> None:
        """Start workers until there are so many, each on the device that the fewest have."""
        while len(self._workers) < n_workers:
            used = [worker.device for worker in self._workers]
            start(self._function, self._workers, least_used(self._devices, used))

    def _hand_out(self, worker: Worker, waiting: collections.deque[int]) -> tuple[int, Any] | None:
        """Give a worker the next task that it may have; the outcome if it cannot be sent.

        Where all that wait want a new worker, this one makes room for one.
        """
        for position in waiting:
            if not worker.n_given or position not in self._for_new_workers:
                waiting.remove(position)
                return send(worker, position, self._tasks, self.kills[position])
        if all(other.n_given for other in self._workers):
            self._remove(worker)
        return None

    def _with_news(self) -> list[Worker]:
        """Wait a moment for workers to send something or die, and return all that have."""
        if all(worker.ready and worker.task is None for worker in self._workers):
            return []
        waited = [worker.pipe for worker in self._workers]
        ended = [worker.process.sentinel for worker in self._workers]
        ready = connection.wait([*waited, *ended], _WAIT_SECONDS)
        return [w for w in self._workers if w.pipe in ready or w.process.sentinel in ready]

    def _look(self, waiting: collections.deque[int]) -> Iterator[tuple[int, Any]]:
        """Tell what is under way, and end what is over a limit; the outcomes of those tasks."""
        if time.monotonic() - self._looked < _WAIT_SECONDS:
            return
        self._looked = time.monotonic()
        self._watch({w.task: w.seconds for w in self._workers if w.task is not None})
        for worker in self._busy():
            excess = self._excess(worker)
            if worker.task is None or excess is None or worker.pipe.poll():
                continue
            self._remove(worker)
            if excess is self._oversize and worker.n_given > 1:
                self._for_new_workers.add(worker.task)
                waiting.append(worker.task)
            else:
                yield worker.task, excess

    def _excess(self, worker: Worker) -> MeasureError | None:
        """What a worker's task comes to if it is over a limit."""
        if self._limits.timeout is not None and worker.seconds > self._limits.timeout:
            return self._limits.overtime()
        if self._limits.memory is not None and worker.resident() > self._limits.memory:
            return self._oversize
        return None

    def _remove(self, worker: Worker) -> str:
        """End a worker and all that it started, take it out of the pool, and say how it ended."""
        with deferred_interrupts():
            self._workers.remove(worker)
            worker.kill()
            return reap(worker, time.monotonic() + GRACE_SECONDS)

    def _receive(self, worker: Worker, deaths: dict[int, str]) -> tuple[int, Any] | None:
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

    def _bury(self, worker: Worker, deaths: dict[int, str]) -> None:
        """Take a dead worker out of the pool and note which task it leaves.

        Raises:
            MeasureError: Workers die again and again before they take a task.
        """
        with deferred_interrupts():
            self._workers.remove(worker)
            how = reap(worker, time.monotonic() + GRACE_SECONDS)
        if worker.task is not None:
            deaths[worker.task] = how
            self.kills[worker.task] += KILLED in how
        elif not worker.ready:
            self._failed_starts += 1
            if self._failed_starts >= _MAX_FAILED_STARTS:
                raise MeasureError(
                    f"worker processes cannot be started: {self._failed_starts} in a row died "
                    f"({how}) before they took a task; in a script, call genaudit below "
                    "`if __name__ == '__main__':`"
                )


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """One math thread in this process, as workers have."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with environment({"GENAUDIT_THREADS": "1"}):
            yield
    finally:
        torch.set_num_threads(before)
