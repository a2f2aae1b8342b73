"""`genaudit inspect`: what a file is, what it holds, and what would be refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import click

from audit.cli import EXIT_ERROR
from audit.cli.options import as_json

#: Tensors that are printed where no JSON is asked for.
_SHOWN = 20


@click.command("inspect")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--which",
    type=click.Choice(["auto", "ema", "raw"]),
    default="auto",
    help="Which weights of a file that holds averaged ones beside others.",
)
@as_json
@click.pass_context
def command(
    context: click.Context, file: Path, which: Literal["auto", "ema", "raw"], as_json: bool
) -> None:
    """Say what FILE is, what it holds and what would be refused, without loading a network.

    FILE is a weights file, an index of shards, a folder of weights, a calibrator card, or an entry
    of the store. Exits with 1 where it would be refused.
    """
    from audit.cli.show import print_json
    from audit.runs.inspection import inspect_file

    found = inspect_file(file, which)
    if as_json:
        print_json(found)
    else:
        for each in found.get("files", [found]):
            _print(each)
    if found["refused"]:
        context.exit(EXIT_ERROR)


def _print(found: dict[str, Any]) -> None:
    """One file, in lines."""
    click.echo(f"{found['path']}: {found['kind']}")
    for name, value in found.items():
        if name in ("path", "kind", "tensors", "refused") or value in ("", [], {}):
            continue
        text = (
            ", ".join(f"{k}: {v}" for k, v in value.items()) if isinstance(value, dict) else value
        )
        text = "; ".join(map(str, text)) if isinstance(text, list) else text
        click.echo(f"  {name.replace('_', ' ')}: {text}")
    for tensor in found.get("tensors", ())[:_SHOWN]:
        shape = " × ".join(map(str, tensor["shape"])) or "one number"
        click.echo(f"    {tensor['name']}: {tensor['dtype']}, {shape}")
    left = found.get("n_tensors", 0) - _SHOWN
    if left > 0:
        click.echo(f"    and {left} more")
    if found["refused"]:
        click.echo(f"  refused: {found['refused']}")
