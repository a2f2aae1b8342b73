"""How tasks travel to other machines: what they have in common once, the rest task by task.

All tasks of an audit hold the same sample, whose names of images alone may come to megabytes. What
several tasks share is found by its identity, as pickling one list of them all would find it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import pickle
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.reduction import ForkingPickler
from typing import Any

from audit_engines.worker import attempt, message


class Packer:
    """Turns tasks into bytes.

    Attributes:
        shared: The function, and what all tasks have in common.

    Args:
        function: Of one task; can be pickled.
        tasks: All of them.
    """

    def __init__(self, function: Callable[[Any], Any], tasks: Sequence[Any]) -> None:
        self._tasks = tasks
        self._parts = list(_common(tasks)) if len(tasks) > 1 else []
        self.shared = bytes(ForkingPickler.dumps((function, self._parts)))

    def pack(self, position: int) -> bytes:
        """One task, without what is shared.

        Raises:
            UNPICKLABLE: It cannot be pickled.
        """
        target = io.BytesIO()
        _Pickler(target, self._parts).dump(self._tasks[position])
        return target.getvalue()


class Unpacker:
    """The function on packed tasks, as a process on another machine calls it.

    It gives bytes, so that the processes on the way need not know what is inside. A process to
    which it is sent opens what is shared at once, so that no task is charged for imports.

    Args:
        shared: As `Packer.shared` has it.
    """

    def __init__(self, shared: bytes) -> None:
        self._shared = shared
        self._opened: tuple[Callable[[Any], Any], list[Any]] | None = None

    def __call__(self, task: bytes) -> bytes:
        """Run one task; the result or exception, which `unpack` reads."""
        return pack(attempt(self._run, task))

    def __reduce__(self) -> tuple[Callable[[bytes], Unpacker], tuple[bytes]]:
        return _opened, (self._shared,)

    def open(self) -> tuple[Callable[[Any], Any], list[Any]]:
        """The function, and what tasks share.

        Raises:
            ImportError: The function's module is missing here.
        """
        if self._opened is None:
            self._opened = ForkingPickler.loads(self._shared)
        return self._opened

    def _run(self, task: bytes) -> Any:
        function, parts = self.open()
        return function(_Unpickler(io.BytesIO(task), parts).load())


def _opened(shared: bytes) -> Unpacker:
    """An unpacker that is open, if it can be: else each task says why not."""
    unpacker = Unpacker(shared)
    with contextlib.suppress(ImportError, AttributeError):
        unpacker.open()
    return unpacker


def pack(outcome: Any) -> bytes:
    """An outcome as bytes; one that cannot be sent becomes a `MeasureError`."""
    return bytes(message(0, outcome))


def unpack(content: bytes) -> Any:
    """What `pack` packed."""
    return ForkingPickler.loads(content)[1]


class _Pickler(pickle.Pickler):
    """Writes numbers in place of shared parts."""

    def __init__(self, target: io.BytesIO, parts: Sequence[Any]) -> None:
        super().__init__(target, protocol=pickle.HIGHEST_PROTOCOL)
        self._numbers = {id(part): number for number, part in enumerate(parts)}

    def persistent_id(self, obj: Any) -> int | None:
        return self._numbers.get(id(obj))


class _Unpickler(pickle.Unpickler):
    """Puts shared parts in place of their numbers."""

    def __init__(self, source: io.BytesIO, parts: Sequence[Any]) -> None:
        super().__init__(source)
        self._parts = parts

    def persistent_load(self, pid: Any) -> Any:
        return self._parts[pid]


def _common(values: Sequence[Any]) -> Iterator[Any]:
    """The fields of dataclasses that are one object in all of these, the outermost of each."""
    first = values[0]
    if all(value is first for value in values):
        if first is not None and not isinstance(first, str | int | float):
            yield first
    elif all(type(value) is type(first) for value in values) and dataclasses.is_dataclass(first):
        for field in dataclasses.fields(first):
            yield from _common([getattr(value, field.name) for value in values])
