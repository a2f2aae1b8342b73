"""Tasks that say when and where they ran; light to import, for worker processes import it."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from audit.plugin import EngineEntry


@dataclasses.dataclass(frozen=True)
class Ran:
    """One task: its worker, when it began and ended there (seconds of one clock), its result."""

    worker: int
    began: float
    ended: float
    result: Any = None

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.ended - self.began


@dataclasses.dataclass(frozen=True)
class Timed:
    """A function of one task that also says when it ran; can be pickled as the function can."""

    function: Callable[[Any], Any]

    def __call__(self, task: Any) -> Ran:
        """Run the task."""
        began = time.time()  # the one clock that processes share
        result = self.function(task)
        return Ran(os.getpid(), began, time.time(), result)


def timing(engine: EngineEntry, ran: list[Ran]) -> EngineEntry:
    """The same engine, which adds every task that it has run to a list."""

    def run(
        function: Callable[[Any], Any],
        tasks: Sequence[Any],
        n_workers: int,
        options: Mapping[str, Any],
        *watch: Any,
    ) -> Iterable[tuple[int, Any]]:
        for position, outcome in engine.run(Timed(function), tasks, n_workers, options, *watch):
            if isinstance(outcome, Ran):
                ran.append(dataclasses.replace(outcome, result=None))
                yield position, outcome.result
            else:
                yield position, outcome

    return dataclasses.replace(engine, run=run)
