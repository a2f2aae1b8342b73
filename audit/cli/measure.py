"""`genaudit measure`: the first stage alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from audit.cli import EXIT_PARTIAL
from audit.cli.options import as_json, config_argument, make_options, run_options


@click.command("measure")
@config_argument
@run_options
@as_json
def command(config: Path, as_json: bool, **chosen: Any) -> None:
    """Measure the checkpoints of CONFIG; write measures.csv, units.parquet and run.json."""
    from audit.cli.show import print_doubts, print_json, print_table, rows_of
    from audit.folder.record import MEASURES
    from audit.folder.result import read_result
    from audit.folder.tables import ALL_MEASURES
    from audit.runs import pipeline
    from audit.runs.study import resolve

    options = make_options(**chosen)
    study = resolve(pipeline.read_config(config), options)
    frame = pipeline.measure(study)
    about = read_result(options.output)
    failed = frame[(frame["measure"] == ALL_MEASURES) & (frame["status"] == "failed")]
    if as_json:
        print_json(rows_of(frame))
    else:
        counts = frame.groupby("status").size().rename("rows").reset_index()
        print_table(counts)
        print_doubts(about.doubts, about.notes)
        for row in failed.itertuples():
            click.echo(f"failed: {row.checkpoint}: {row.reason}")
        click.echo(f"Measures: {options.output / MEASURES}")
    if len(failed):
        raise click.exceptions.Exit(EXIT_PARTIAL)
