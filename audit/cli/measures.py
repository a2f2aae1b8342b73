"""`genaudit measures`: the measures in detail."""

from __future__ import annotations

import dataclasses

import click

from audit.cli.options import as_json


@click.command("measures")
@click.argument("name", required=False)
@click.option("--markdown", is_flag=True, help="Print the page on all measures, as Markdown.")
@as_json
def command(name: str | None, markdown: bool, as_json: bool) -> None:
    """List every measure with version, direction, invariance and cost; or tell all about NAME.

    NAME may be a pattern such as 'birth_*'.
    """
    from audit.cli.show import print_json, print_table, rows_of
    from audit.plugin.catalogue import catalogue, function_of, measure_page
    from audit.plugin.listing import list_measures
    from audit.plugin.registry import installed

    if name is not None:
        entries = installed().named_measures([name])
        if as_json:
            left_out = {"compute", "reducers"}
            rows = [
                {
                    field.name: getattr(entry, field.name)
                    for field in dataclasses.fields(entry)
                    if field.name not in left_out
                }
                | {
                    "parts": [dataclasses.asdict(part) for part in entry.parts],
                    "docstring": function_of(entry.compute).__doc__,
                }
                for entry in entries
            ]
            print_json(rows)
        else:
            click.echo("\n\n".join(measure_page(entry) for entry in entries))
    elif markdown:
        click.echo(catalogue(installed().measures.values()), nl=False)
    elif as_json:
        print_json(rows_of(list_measures()))
    else:
        print_table(list_measures())
