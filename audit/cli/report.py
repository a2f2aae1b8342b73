"""`genaudit report`: the reports alone."""

from __future__ import annotations

from pathlib import Path

import click

from audit.cli.options import folder_argument


@click.command("report")
@folder_argument
def command(folder: Path) -> None:
    """Write report.html and the other reports of the tables in FOLDER."""
    from audit.plugin.registry import installed
    from audit.runs.reports import report_folder

    report_folder(folder, installed())
    click.echo(folder / "report.html")
