"""Engines: every task once, results and exceptions in place, and no option taken unread."""

from __future__ import annotations

from audit.errors import ConfigError, PluginError
from audit.plugin import EngineEntry


def square(number: int) -> int:
    """The task the check runs; negative numbers raise."""
    if number < 0:
        raise ValueError(f"{number} is negative")
    return number * number


def check_engine(entry: EngineEntry, n_workers: int = 2) -> None:
    """Check that an engine gives every task's result or exception, once, with its position.

    An option that it does not have must be refused, as a name that was misspelt would be.

    Args:
        entry: The engine.
        n_workers: To run with.

    Raises:
        PluginError: A promise that is not kept.
    """
    tasks = [3, -1, 4, 1, -5]
    outcomes = list(entry.run(square, tasks, n_workers, {}))
    positions = sorted(position for position, _ in outcomes)
    if positions != list(range(len(tasks))):
        raise PluginError(
            f"engine {entry.name!r} must give each of {len(tasks)} tasks once; it gave the "
            f"positions {positions}"
        )
    for position, outcome in outcomes:
        task = tasks[position]
        kept = isinstance(outcome, ValueError) if task < 0 else outcome == task * task
        if not kept:
            wanted = "a ValueError" if task < 0 else str(task * task)
            raise PluginError(
                f"engine {entry.name!r} must give {wanted} for task {position}; found {outcome!r}"
            )
    if list(entry.run(square, [], n_workers, {})):
        raise PluginError(f"engine {entry.name!r} must give nothing for no tasks")
    _check_unknown_option(entry, n_workers)


def _check_unknown_option(entry: EngineEntry, n_workers: int) -> None:
    """Check that an option which the entry does not declare is refused before any task is run."""
    unknown = "_".join([*entry.options, "unknown"])
    try:
        outcomes = list(entry.run(square, [3], n_workers, {unknown: 1}))
    except ConfigError:
        return
    raise PluginError(
        f"engine {entry.name!r} must refuse the unknown option {unknown!r} with a ConfigError; "
        f"it gave {outcomes!r}"
    )
