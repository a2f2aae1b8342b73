"""`genaudit demo`: the whole path on data that comes with scikit-learn."""

from __future__ import annotations

from pathlib import Path

import click

from audit.cli.options import as_json, make_options


@click.command("demo")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default="genaudit-demo",
    show_default=True,
    help="The output folder; the zoo and the store lie in it too.",
)
@click.option("--workers", type=click.IntRange(0), help="Processes; 0 runs in this one. [cores]")
@click.option("--quiet", is_flag=True, help="Draw no progress bars.")
@as_json
def command(output: Path, workers: int | None, quiet: bool, as_json: bool) -> None:
    """Train a small zoo on scikit-learn's digits, audit it, rank it, write a report. Offline.

    A second call finds everything done; a call after an interruption goes on where it was.
    """
    from audit.cli.show import exit_code, print_result, tell_failed_reports
    from audit.zoo.demo import demo

    options = make_options(
        output=output, cache=output / "cache", workers=workers, quiet=quiet, device="cpu"
    )
    result = demo(options)
    print_result(result, as_json)
    tell_failed_reports(result)
    raise click.exceptions.Exit(exit_code(result))
