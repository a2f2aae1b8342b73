"""`genaudit report`: the reports alone."""

from __future__ import annotations

from pathlib import Path

import click

from audit.cli import EXIT_PARTIAL
from audit.cli.options import folder_argument


@click.command("report")
@folder_argument
@click.option(
    "--include",
    multiple=True,
    metavar="NAME",
    help="A reporter; repeat it for several. [those of the configuration that was run]",
)
def command(folder: Path, include: tuple[str, ...]) -> None:
    """Write the reports of the tables in FOLDER."""
    from audit.cli.show import print_reports, tell_failed_reports, tell_partial
    from audit.plugin.registry import installed
    from audit.runs.reports import choose_reporters, recorded_choice, report_folder

    choice = recorded_choice(folder)
    if include:
        choice = choice.model_copy(update={"include": include})
    result = report_folder(folder, choose_reporters(choice, installed()))
    print_reports(result)
    tell_partial(folder)
    tell_failed_reports(result)
    raise click.exceptions.Exit(EXIT_PARTIAL if result.failed_reports else 0)
