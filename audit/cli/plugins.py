"""`genaudit plugins`: what is installed."""

from __future__ import annotations

import click

from audit.cli.options import as_json


@click.command("plugins")
@as_json
def command(as_json: bool) -> None:
    """List every model source, dataset, measure, engine and reporter, with who brought it."""
    from audit.cli.show import print_json, print_table, rows_of
    from audit.plugin.listing import list_plugins

    frame = list_plugins()
    if as_json:
        print_json(rows_of(frame))
    else:
        print_table(frame)
