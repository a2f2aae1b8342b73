"""`genaudit models`: architectures by name."""

from __future__ import annotations

import fnmatch

import click

from audit.cli.options import as_json


@click.command("models")
@click.argument("pattern", default="*")
@as_json
def command(pattern: str, as_json: bool) -> None:
    """List the architectures whose name matches PATTERN (such as 'resnet*')."""
    from audit.cli.show import print_json
    from audit.plugin.registry import installed

    names = [name for source in installed().models.values() for name in source.names()]
    found = fnmatch.filter(names, pattern)
    if as_json:
        print_json(found)
    else:
        click.echo("\n".join(found) if found else f"none of {len(names)} matches {pattern!r}")
