"""Engines: their options checked, and driven, whether they let themselves be watched or not."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Any, Final

from audit.errors import ConfigError
from audit.plugin import EngineEntry
from audit.plugin.registry import Registry
from audit.runs.config import EngineConfig
from audit.runs.reports import check_options

#: Option of an engine → what it limits, and what on the command line sets it.
_LIMITS: Final = {
    "timeout": ("time", "--checkpoint-timeout"),
    "memory": ("memory", "--checkpoint-memory"),
}


def check_engine_options(engine: EngineConfig, registry: Registry) -> None:
    """Refuse options that the engine does not have, before anything is measured.

    Raises:
        ConfigError: An option is not known; the message names the engine.
    """
    known = registry.engine(engine.name).options
    for name, (what, option) in _LIMITS.items():
        if name in engine.options and name not in known:
            raise ConfigError(
                f"engine {engine.name!r} keeps no limit on a checkpoint's {what} (it has no option "
                f"{name!r}): leave {option} out, or choose another with --engine"
            )
    check_options(f"engine {engine.name!r}", engine.options, known)


def run_watched(
    engine: EngineEntry,
    function: Callable[[Any], Any],
    tasks: Sequence[Any],
    n_workers: int | None,
    options: Mapping[str, Any],
    watch: Callable[[Mapping[int, float]], None],
) -> Generator[tuple[int, Any]]:
    """The outcomes of tasks as they come, as (position, result or exception).

    Closing it ends what is under way.

    Args:
        engine: Where they run; one that cannot be watched tells of outcomes alone.
        function: Of one task; can be pickled.
        tasks: Can be pickled; where there are none, the engine is not asked.
        n_workers: As the engine takes it.
        options: Of the engine.
        watch: See `EngineEntry.watched`.
    """
    if not tasks:
        return
    given = (function, tasks, n_workers, options)
    ends: Iterator[tuple[int, Any]]
    ends = iter(engine.run(*given, watch) if engine.watched else engine.run(*given))
    try:
        yield from ends
    finally:
        if isinstance(ends, Generator):
            ends.close()
