"""`genaudit status`: how far a run is, from another terminal."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from audit.cli.options import as_json, folder_argument


@click.command("status")
@folder_argument
@as_json
def command(folder: Path, as_json: bool) -> None:
    """Say how far the run is that measures into FOLDER, or how it ended.

    JSON: {"schema": 1, "state": "running", "finished", "stopped", "interrupted" or "failed",
    "reason", "total", "finished", "failed", "last_failures": [{"checkpoint", "reason"}],
    "running": null or [{"checkpoint", "since"}], "seconds_left", "started", "written" (seconds
    since 1970), "host", "pid", "pid_started", "alive": null on another machine}.
    """
    from audit.cli.show import print_json
    from audit.runs.progress import read_progress

    record = read_progress(folder)
    if as_json:
        print_json(record)
        return
    click.echo(_sentence(record))
    if record["state"] == "running":
        for task in record["running"] or ():
            click.echo(f"running now    {task['checkpoint']}, for {_ago(task['since'])}")
        click.echo(f"process        {record['pid']} on {record['host']}, {_heard(record)}")
    for failure in record["last_failures"]:
        click.echo(f"failed         {failure['checkpoint']}: {failure['reason']}")
    if record["failed"] > len(record["last_failures"]):
        click.echo(f"… and {record['failed'] - len(record['last_failures'])} more")


def _sentence(record: dict[str, Any]) -> str:
    """How far the run is, or how it ended."""
    from audit.runs.durations import about

    done = f"{record['finished']} of {record['total']} checkpoints are done"
    if record["failed"]:
        done += f", {record['failed']} of them failed"
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record["written"]))
    if record["state"] == "running":
        left = record["seconds_left"]
        return f"running: {done}; {about(left)} left" if left else f"running: {done}"
    if record["state"] == "finished":
        return f"finished at {when}: {done}"
    if record["state"] == "stopped":
        return f"stopped at {when} by a limit: {done}; run again to go on"
    if record["state"] == "interrupted":
        return f"was interrupted at {when}: {done}; run again to go on"
    return f"ended at {when} with an error: {record['reason']}; {done}"


def _heard(record: dict[str, Any]) -> str:
    """Whether the process still runs, as far as can be told from here."""
    if record["alive"]:
        return "alive"
    return f"another machine than this one: last heard of {_ago(record['written'])} ago"


def _ago(moment: float) -> str:
    """The time since a moment."""
    from audit.runs.durations import about

    return about(max(0.0, time.time() - moment)).removeprefix("about ")
