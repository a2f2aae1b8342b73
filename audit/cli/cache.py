"""`genaudit cache`: look after the store."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from audit.cli import EXIT_ERROR
from audit.cli.options import Number, as_json, cache_option

if TYPE_CHECKING:
    from audit.remote import Location
    from audit.store import Store

#: What an action gives: rows of its own, or facts by name.
Result = dict[str, Any] | list[dict[str, Any]]


@click.command("cache")
@click.argument(
    "action", type=click.Choice(["info", "ls", "du", "verify", "prune", "clear"]), default="info"
)
@cache_option
@click.option("--older-than", type=Number(0), help="prune: entries of so many days.")
@click.option(
    "--max-bytes", type=click.IntRange(0), help="prune: the oldest, until so many bytes are left."
)
@as_json
def command(
    action: str,
    cache: Location | None,
    older_than: float | None,
    max_bytes: int | None,
    as_json: bool,
) -> None:
    """Look after the store.

    info says what it holds, ls lists every entry, du says what it takes and where, verify reads
    every entry (exit code 1 where one is damaged), prune removes old entries, clear removes all.
    """
    from audit.runs.config import default_cache
    from audit.store import Store

    if action == "prune" and older_than is None and max_bytes is None:
        raise click.UsageError("prune needs --older-than DAYS, --max-bytes BYTES, or both")
    if action != "prune" and (older_than is not None or max_bytes is not None):
        raise click.UsageError("--older-than and --max-bytes go with prune")
    store = Store(default_cache() if cache is None else cache)
    actions: dict[str, Callable[[], Result]] = {
        "info": lambda: _info(store),
        "ls": lambda: _ls(store),
        "du": lambda: _du(store),
        "verify": lambda: _verify(store),
        "prune": lambda: _prune(store, older_than, max_bytes),
        "clear": lambda: {"folder": _place(store), "removed": store.clear()},
    }
    result = actions[action]()
    _show(result, as_json)
    if isinstance(result, dict) and result.get("damaged"):
        raise click.exceptions.Exit(EXIT_ERROR)


def _info(store: Store) -> Result:
    """How many entries there are, and how many bytes."""
    sizes = [held.n_bytes for held in store.held()]
    return {"folder": _place(store), "entries": len(sizes), "bytes": sum(sizes)}


def _ls(store: Store) -> Result:
    """Every entry."""
    return [
        {
            "digest": held.name.digest,
            "bytes": held.n_bytes,
            "written": datetime.datetime.fromtimestamp(held.modified, datetime.UTC).isoformat(
                timespec="seconds"
            ),
        }
        for held in store.held()
    ]


def _du(store: Store) -> Result:
    """What each place takes: the store, its local tier, and copies of remote files."""
    from audit.remote.copies import copies_folder

    places = {_place(store): [held.n_bytes for held in store.held()]}
    if store.local is not store:
        places[str(store.root)] = [held.n_bytes for held in store.local.held()]
    copies = copies_folder()
    places[str(copies)] = [path.stat().st_size for path in copies.rglob("*") if path.is_file()]
    return [
        {"place": place, "files": len(sizes), "bytes": sum(sizes)}
        for place, sizes in places.items()
    ]


def _verify(store: Store) -> Result:
    """How many entries are whole, and how many damaged."""
    whole, damaged = store.verify()
    return {"folder": _place(store), "whole": whole, "damaged": damaged}


def _prune(store: Store, older_than: float | None, max_bytes: int | None) -> Result:
    """What was removed."""
    seconds = None if older_than is None else older_than * 86_400
    removed = store.prune(seconds, max_bytes)
    n_bytes = sum(held.n_bytes for held in removed)
    return {"folder": _place(store), "removed": len(removed), "bytes": n_bytes}


def _place(store: Store) -> str:
    from audit.remote import pretty

    return pretty(store.location) if isinstance(store.location, str) else str(store.location)


def _show(result: Result, as_json: bool) -> None:
    """Print rows, or facts one a line."""
    from audit.cli.show import print_json

    if as_json:
        print_json(result)
    elif isinstance(result, list):
        for row in result:
            click.echo("  ".join(str(value) for value in row.values()))
    else:
        click.echo("\n".join(f"{name}: {value}" for name, value in result.items()))
