"""What `progress.json` must hold (`audit.runs.progress`)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from audit.folder.json_files import Count, Finite, Form, Text

#: Seconds since 1970, up to the year 9999, or a duration.
Seconds = Annotated[Finite, Field(ge=0, le=253_402_300_799)]


class FailureForm(Form):
    """A checkpoint that failed."""

    checkpoint: Text
    reason: Text


class RunningForm(Form):
    """A checkpoint that is being measured."""

    checkpoint: Text
    since: Seconds


class ProgressForm(Form):
    """How far a run is; every part is there since there is such a file."""

    state: Literal["running", "finished", "stopped", "interrupted", "failed"]
    reason: Text
    started: Seconds
    written: Seconds
    total: Count
    finished: Count
    failed: Count
    last_failures: list[FailureForm]
    running: list[RunningForm] | None
    seconds_left: Seconds | None
    host: Text
    pid: Count
    pid_started: Seconds
