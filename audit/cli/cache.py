"""`genaudit cache`: look after the store."""

from __future__ import annotations

from pathlib import Path

import click

from audit.cli.options import as_json


@click.command("cache")
@click.argument("action", type=click.Choice(["info", "verify", "clear"]), default="info")
@click.option(
    "--cache", type=click.Path(path_type=Path, file_okay=False), help="The store's folder."
)
@as_json
def command(action: str, cache: Path | None, as_json: bool) -> None:
    """Say what the store holds, verify every entry, or remove them all."""
    from audit.cli.show import print_json
    from audit.runs.config import default_cache
    from audit.store import Store

    store = Store(cache or default_cache())
    result: dict[str, object] = {"folder": str(store.root)}
    if action == "clear":
        result["removed"] = store.clear()
    elif action == "verify":
        result["whole"], result["damaged"] = store.verify()
    else:
        sizes = [path.stat().st_size for path in store.paths()]
        result["entries"], result["bytes"] = len(sizes), sum(sizes)
    if as_json:
        print_json(result)
    else:
        click.echo("\n".join(f"{name}: {value}" for name, value in result.items()))
