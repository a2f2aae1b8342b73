"""`genaudit measures`: the measures in detail."""

from __future__ import annotations

import click

from audit.cli.options import as_json


@click.command("measures")
@as_json
def command(as_json: bool) -> None:
    """List every measure with version, direction, invariance and cost."""
    from audit.cli.show import print_json, print_table, rows_of
    from audit.plugin.listing import list_measures

    frame = list_measures()
    if as_json:
        print_json(rows_of(frame))
    else:
        print_table(frame)
