"""`genaudit run`: the whole audit of a configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from audit.cli.options import as_json, config_argument, make_options, run_options


@click.command("run")
@config_argument
@run_options
@click.option("--dry-run", is_flag=True, help="Say what would be done, and how long it may take.")
@as_json
def command(config: Path, dry_run: bool, as_json: bool, **chosen: Any) -> None:
    """Measure, correlate, rank and report the checkpoints of CONFIG (an audit.toml)."""
    if dry_run:
        from audit.cli.validate import print_plan

        print_plan(config, make_options(**chosen), as_json)
        return
    from audit.cli.show import exit_code, print_result, tell_failed_reports
    from audit.runs import pipeline

    result = pipeline.run(config, options=make_options(**chosen))
    print_result(result, as_json)
    tell_failed_reports(result)
    raise click.exceptions.Exit(exit_code(result))
