"""One worker process: started, given a task, looked at, ended."""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from multiprocessing import connection, resource_tracker
from multiprocessing.context import SpawnProcess
from multiprocessing.reduction import ForkingPickler
from typing import Any, Final

from audit.errors import MeasureError
from audit_engines.devices import VISIBLE
from audit_engines.interrupts import deferred_interrupts
from audit_engines.worker import KILLED, UNPICKLABLE, serve

#: Keeps the current folder, and what lies there under names of Python's modules, out of the path of
#: a Python that is started with `-c`, as workers are.
_SAFE_PATH: Final = {"PYTHONSAFEPATH": "1"}

#: One math thread per worker, so that results do not depend on how many workers there are.
WORKER_ENVIRONMENT: Final = {
    "GENAUDIT_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
    **_SAFE_PATH,
}
#: How long a process may take to end by itself.
GRACE_SECONDS: Final = 2.0


@dataclasses.dataclass(eq=False)
class Worker:
    """A process, this end of its pipe, and what it is doing.

    Attributes:
        process: The process.
        pipe: To it and from it.
        device: The CUDA device that it alone sees; None: all that its parent does.
        ready: Whether it can take tasks.
        task: The position of its task, if it has one.
        since: When it was given that task, by `time.monotonic`.
        n_given: How many tasks it was given.
    """

    process: SpawnProcess
    pipe: connection.Connection
    device: str | None = None
    ready: bool = False
    task: int | None = None
    since: float = 0.0
    n_given: int = 0

    @property
    def seconds(self) -> float:
        """For how long it has had its task."""
        return time.monotonic() - self.since

    def resident(self) -> int:
        """Bytes in memory, of this process and of all that it started."""
        import psutil

        total = 0
        for process in self._family():
            with contextlib.suppress(psutil.Error):  # it has ended meanwhile
                total += process.memory_info().rss
        return total

    def kill(self) -> None:
        """End the process and all that it started, whatever they are doing."""
        import psutil

        family = self._family()
        self.process.kill()
        for process in family:
            with contextlib.suppress(psutil.Error):
                process.kill()

    def _family(self) -> list[Any]:
        """This process and all that it started, while it runs."""
        import psutil

        try:
            process = psutil.Process(self.process.pid)
            return [process, *process.children(recursive=True)]
        except psutil.Error:
            return []


def start(function: Callable[[Any], Any], workers: list[Worker], device: str | None) -> None:
    """Start a worker that no interrupt from the keyboard reaches, from its first instruction on.

    An interrupt of this process waits until the worker is among the others, which `end` ends.
    """
    context = multiprocessing.get_context("spawn")
    variables = {**WORKER_ENVIRONMENT, **({} if device is None else {VISIBLE: device})}
    with deferred_interrupts():
        with environment(_SAFE_PATH):
            resource_tracker.ensure_running()  # or start() would, and unblock the signal
        ours, theirs = context.Pipe()
        process = context.Process(target=serve, args=(function, theirs), daemon=True)
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            with environment(variables):
                process.start()
            workers.append(Worker(process, ours, device))
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            theirs.close()


def end(workers: list[Worker], n_left: int) -> None:
    """End all workers but the first few, and take them out of the list."""
    leaving = workers[n_left:]
    for worker in leaving:
        worker.process.terminate()
    deadline = time.monotonic() + GRACE_SECONDS
    for worker in leaving:
        reap(worker, deadline)
    del workers[n_left:]


def send(
    worker: Worker, position: int, tasks: Sequence[Any], n_halvings: int
) -> tuple[int, Any] | None:
    """Hand a task to a worker; the outcome if it cannot be sent.

    Args:
        worker: Without a task.
        position: Of the task.
        tasks: All of them.
        n_halvings: How often the task is to halve its batches before it begins.
    """
    try:
        message = ForkingPickler.dumps((position, tasks[position], n_halvings))
    except UNPICKLABLE as error:
        return position, MeasureError(f"the task cannot be sent between processes: {error}")
    worker.task, worker.since = position, time.monotonic()
    worker.n_given += 1
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # its death is seen next
        worker.pipe.send_bytes(message)
    return None


def reap(worker: Worker, deadline: float) -> str:
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
    cause = ": perhaps out of memory" if name == KILLED else ""
    return f"signal {-code}, {name}{cause}"


@contextlib.contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
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
