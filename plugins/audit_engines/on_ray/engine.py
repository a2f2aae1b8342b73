"""Hand tasks out to the slots of a Ray cluster, and again to others where one is lost."""

from __future__ import annotations

import collections
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from pydantic import ByteSize

from audit.errors import ConfigError, MeasureError
from audit.processors import default_threads
from audit_engines.local import Watch, unwatched
from audit_engines.on_ray.cluster import cluster, room_for
from audit_engines.on_ray.options import RayOptions, ray_options
from audit_engines.on_ray.packing import Packer, unpack
from audit_engines.on_ray.slots import Slot, how_lost, lost_with_node
from audit_engines.worker import KILLED, UNPICKLABLE

#: The longest wait for news, so that an interrupt and the watch are served.
_WAIT_SECONDS: Final = 0.2
#: How often the cluster is asked how much room it has.
_LOOK_SECONDS: Final = 2.0
_MAX_FAILED_STARTS: Final = 5
_MAX_NODES_SHOWN: Final = 5
#: Slots asked for, per slot there is room for, so that a cluster that grows by itself does.
_ASKED_PER_SLOT: Final = 2


def run(
    function: Callable[[Any], Any],
    tasks: Sequence[Any],
    n_workers: int | None,
    options: Mapping[str, Any] | None = None,
    watch: Watch | None = None,
) -> Iterator[tuple[int, Any]]:
    """Run every task on a cluster and yield (position, result or exception) as they finish.

    A task whose process or node died is tried again, elsewhere if need be, after all the others;
    if it dies each time, its outcome is a `MeasureError` that says how. A task that raises, or is
    over a limit, is not tried again. Where a process was killed, by which a system and Ray take
    memory back, the next attempt is told to halve its batches. Closing the iterator, or an
    interrupt, ends what runs, and the cluster too if it was started here.

    Args:
        function: Of one task; can be pickled.
        tasks: Can be pickled. Where one has an attribute `device` that is "cuda", each task gets a
            CUDA device by default.
        n_workers: Tasks at a time, at least one; None: one for each processor on a cluster that is
            started here, and on one that was there before as many as it has room for.
        options: `address`, `retries`, `num_cpus`, `num_gpus`, `wait`, `timeout` and `memory`: see
            `options.RayOptions`.
        watch: Told several times a second what is under way; what it raises ends the work.

    Raises:
        ConfigError: An unknown option, one that is not what it must be, Ray is not installed, no
            cluster can be joined, or none of its nodes has room for a task.
    """
    on_cuda = any(getattr(task, "device", "") == "cuda" for task in tasks)
    return _run(function, tasks, n_workers, ray_options(options or {}, on_cuda), watch or unwatched)


def n_devices(n_workers: int | None, options: Mapping[str, Any]) -> float:
    """How many CUDA devices so many workers hold.

    Raises:
        ConfigError: As many as a cluster has room for, which nobody knows.
    """
    chosen = ray_options(options)
    if n_workers is None and chosen.address is not None:
        raise ConfigError(
            "a cluster that is joined runs as many tasks as it has room for, so that the CUDA "
            "devices they hold cannot be told before: say with --workers how many at a time"
        )
    n_workers = default_threads() if n_workers is None else n_workers
    return max(1, n_workers) * (chosen.num_gpus or 1.0)


def _run(
    function: Callable[[Any], Any],
    tasks: Sequence[Any],
    n_workers: int | None,
    options: RayOptions,
    watch: Watch,
) -> Iterator[tuple[int, Any]]:
    """`run`, its options read."""
    if not tasks:
        return
    n_started = min(default_threads(), len(tasks)) if n_workers is None else max(1, n_workers)
    most = len(tasks) if n_workers is None else max(1, n_workers)
    with cluster(options.address, n_started * options.num_cpus):
        work = _Work(Packer(function, tasks), len(tasks), most, options, watch)
        try:
            yield from work.run()
        finally:
            work.close()


class _Work:
    """All tasks, and the slots they are given to.

    Args:
        packer: Of the tasks.
        n_tasks: How many.
        most: How many at a time, though there be room for more.
        options: Of the engine.
        watch: Told what is under way.
    """

    def __init__(
        self, packer: Packer, n_tasks: int, most: int, options: RayOptions, watch: Watch
    ) -> None:
        import ray

        self._ray, self._packer, self._options, self._watch = ray, packer, options, watch
        self._waiting, self._most = collections.deque(range(n_tasks)), most
        self._deaths: collections.Counter[int] = collections.Counter()
        self._kills: collections.Counter[int] = collections.Counter()
        self._slots: list[Slot] = []
        self._shared = ray.put(packer.shared)
        self._paths = _own_paths()
        self._failed_starts = 0
        self._room = 0
        self._looked = -_LOOK_SECONDS
        self._had_room = time.monotonic()

    def run(self) -> Iterator[tuple[int, Any]]:
        """Yield the outcome of every task."""
        while self._waiting or self._busy():
            self._look()
            self._open()
            for slot in self._slots:
                while slot.idle and self._waiting:
                    yield from self._give(slot, self._waiting.popleft())
            for slot in self._with_news():
                yield from self._receive(slot)
            self._watch({s.task: s.seconds for s in self._slots if s.task is not None})

    def close(self) -> None:
        """End every slot."""
        for slot in self._slots:
            slot.close()
        self._slots.clear()

    def _busy(self) -> list[Slot]:
        """The slots that have a task."""
        return [slot for slot in self._slots if slot.task is not None]

    def _look(self) -> None:
        """See from time to time how many tasks the cluster has room for.

        Raises:
            ConfigError: No node has had room for long.
        """
        now = time.monotonic()
        if now - self._looked < _LOOK_SECONDS:
            return
        self._looked, self._room = now, room_for(self._options.room)
        if self._room or self._busy():
            self._had_room = now
        elif now - self._had_room > self._options.wait:
            raise ConfigError(_no_room(self._options, self._ray.nodes()))

    def _open(self) -> None:
        """Ask for slots where tasks wait, and end those that nothing waits for."""
        n_wanted = len(self._busy()) + len(self._waiting)
        n_asked = min(n_wanted, self._most, max(1, _ASKED_PER_SLOT * self._room))
        while len(self._slots) < n_asked:
            self._slots.append(Slot.open(self._shared, self._options, self._paths))
        for slot in [slot for slot in self._slots if slot.task is None]:
            if not self._waiting:
                self._remove(slot)

    def _remove(self, slot: Slot) -> None:
        """End a slot."""
        self._slots.remove(slot)
        slot.close()

    def _give(self, slot: Slot, position: int) -> Iterator[tuple[int, Any]]:
        """Hand out a task; its outcome if it cannot be sent."""
        try:
            slot.give(position, self._packer.pack(position), self._kills[position])
        except UNPICKLABLE as error:
            yield position, MeasureError(f"the task cannot be sent between processes: {error}")

    def _with_news(self) -> list[Slot]:
        """Wait a moment for slots to answer, and return those that have."""
        pending = {slot.pending: slot for slot in self._slots if not slot.idle}
        if not pending:
            return []
        self._ray.wait(list(pending), num_returns=1, timeout=_WAIT_SECONDS)
        ready, _ = self._ray.wait(list(pending), num_returns=len(pending), timeout=0)
        return [pending[answer] for answer in ready]

    def _receive(self, slot: Slot) -> Iterator[tuple[int, Any]]:
        """What a slot has answered; nothing if it has just started, or its task is tried again."""
        position = slot.task
        try:
            answer = self._ray.get(slot.pending)
        except self._ray.exceptions.RayError as error:
            self._remove(slot)
            if position is None:
                self._note_failed_start(error)
            else:
                self._kills[position] += isinstance(error, self._ray.exceptions.OutOfMemoryError)
                yield from self._died(position, how_lost(error, slot.node))
            return
        if position is None:
            slot.node, self._failed_starts = answer, 0
            return
        slot.task = None
        if answer.outcome is None:
            self._kills[position] += KILLED in answer.death
            yield from self._died(position, answer.death)
        else:
            yield position, unpack(answer.outcome)

    def _died(self, position: int, how: str) -> Iterator[tuple[int, Any]]:
        """Let a task whose process died wait again; its outcome if that was once too often."""
        self._deaths[position] += 1
        n_retries = self._options.retries
        if self._deaths[position] <= n_retries:
            self._waiting.append(position)
            return
        again = "" if n_retries == 0 else f", and again all {n_retries} times it was tried again"
        again = ", and again when it was tried again" if n_retries == 1 else again
        yield position, MeasureError(f"worker process died ({how}){again}")

    def _note_failed_start(self, error: Exception) -> None:
        """Count slots that were lost before they started, though their nodes were not.

        Raises:
            ConfigError: They cannot start, as genaudit is missing where they would.
            MeasureError: They are lost again and again.
        """
        if lost_with_node(error):
            return
        words = " ".join(str(error).split())
        missing = [name for name in ("ModuleNotFoundError", "ImportError") if name in words]
        if missing:
            raise ConfigError(
                f"a node of the Ray cluster cannot start genaudit "
                f"({words[words.rindex(missing[0]) :][:200]}): install the same genaudit on all "
                "nodes"
            ) from error
        self._failed_starts += 1
        if self._failed_starts >= _MAX_FAILED_STARTS:
            raise MeasureError(
                f"worker processes cannot be started: {self._failed_starts} in a row were lost "
                f"({how_lost(error, '')}) before they took a task; see Ray's logs"
            ) from error


def _own_paths() -> list[str]:
    """Folders that Ray puts before others on the workers' path although they are not on ours."""
    script = str(Path(sys.argv[0]).resolve().parent) if sys.argv and sys.argv[0] else ""
    here = str(Path.cwd())
    return [path for path in {script, here} - {os.path.abspath(p) for p in sys.path} if path]


def _no_room(options: RayOptions, nodes: Sequence[Mapping[str, Any]]) -> str:
    """That no node has room for a task, and what they have."""
    have = sorted(_amounts(n["Resources"], options.room) for n in nodes if n["Alive"])
    shown = "; ".join(have[:_MAX_NODES_SHOWN]) or "none is left"
    return (
        f"no node of the Ray cluster had room for a task ({_amounts(options.room, options.room)}) "
        f"within {options.wait:g} s; its nodes have: {shown}. Ask for less with num_cpus, num_gpus "
        "or memory in [engine], or give a cluster that grows by itself more time with `wait`"
    )


def _amounts(resources: Mapping[str, float], names: Iterable[str]) -> str:
    """How much there is of some resources."""
    found = {name: resources.get(name, 0) for name in names}
    return ", ".join(
        f"{ByteSize(amount).human_readable()} {name}" if name == "memory" else f"{amount:g} {name}"
        for name, amount in found.items()
    )
