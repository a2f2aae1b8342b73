"""How far a run is: drawn while it measures, and kept in `progress.json` for other terminals.

All of it comes from the loop that drives the engine, whichever that is.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from tqdm import tqdm

from audit.errors import AuditError, DataError, StoreError
from audit.files import MOST_IN_TEXT, write_atomically
from audit.folder.json_files import check_form, read_json
from audit.folder.progress_form import ProgressForm
from audit.folder.record import PROGRESS
from audit.runs.durations import about

#: Seconds between two writings, and the longest silence of a run that can be watched.
_SECONDS_BETWEEN: Final = 1.0
_LONGEST_SILENCE: Final = 10.0
#: The failures that are kept, and the characters of a reason that are drawn.
_N_FAILURES: Final = 5
_LINE: Final = 200
#: Seconds by which two readings of when a process started may differ.
_CLOCK_SECONDS: Final = 2.0
#: States of a run: `RUNNING` becomes `INTERRUPTED` where its process is gone.
RUNNING: Final = "running"
FINISHED: Final = "finished"
STOPPED: Final = "stopped"
INTERRUPTED: Final = "interrupted"
FAILED: Final = "failed"


class Progress:
    """The progress of one run, as a context: what ends it is kept too.

    Args:
        folder: The output folder.
        names: Every checkpoint.
        refused: Those among them that have failed before the start → why.
        lengths: Those that are to be measured → how long they are expected to take, in any unit.
        draw: Whether to draw a bar, and failures as they come, on standard error.
    """

    def __init__(
        self,
        folder: Path,
        names: Sequence[str],
        refused: Mapping[str, str],
        lengths: Mapping[str, float],
        draw: bool,
    ) -> None:
        self._path, self._total, self._draw = folder / PROGRESS, len(names), draw
        self._ahead = dict(lengths)
        self._done = 0.0
        self._failures = dict(refused)
        self._since: dict[str, float] | None = None
        self._state, self._reason = RUNNING, ""
        self._started = time.time()
        self._written = 0.0
        self._unwritten = True
        self._bar: tqdm[Any] = tqdm(
            total=self._total,
            initial=self._total - len(lengths),
            desc="measuring",
            bar_format="{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}{postfix}]",
            disable=not draw,
        )

    def __enter__(self) -> Progress:
        self._write()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.close()
        if error is None:
            self._state = self._state if self._state == STOPPED else FINISHED
        elif isinstance(error, Exception):
            self._state, self._reason = FAILED, _one_line(error)
        else:
            self._state = INTERRUPTED
        self._since = {}
        self._write()

    def watch(self, running: Mapping[str, float]) -> None:
        """Take note of what is under way: checkpoint → seconds since it was begun."""
        now = time.time()
        before = self._since or {}
        self._unwritten |= self._since is None or before.keys() != running.keys()
        self._since = {name: before.get(name, now - s) for name, s in running.items()}
        self._write_if_due(now)

    def finish(self, name: str, failure: str) -> None:
        """Take note that a checkpoint is done, and why it failed or ""."""
        self._done += self._ahead.pop(name, 0.0)
        if self._since:
            self._since.pop(name, None)
        if failure:
            self._failures[name] = failure
            if self._draw:
                line = " ".join(f"failed: {name}: {failure}".split())
                short = line if len(line) <= _LINE else f"{line[: _LINE - 1]}…"
                tqdm.write(short, file=sys.stderr)
        self._bar.update()
        self._unwritten = True
        self._write_if_due(time.time())

    def stop(self, reason: str) -> None:
        """Take note that a limit has ended the run."""
        self._state, self._reason = STOPPED, reason

    def seconds_left(self) -> float | None:
        """By what is done of the expected lengths; None before anything is.

        Of what is under way, half is taken as done.
        """
        if not self._ahead:
            return 0.0
        half = sum(self._ahead.get(name, 0.0) for name in self._since or ()) / 2
        if not self._done:
            return None
        left = sum(self._ahead.values()) - half
        return (time.time() - self._started) * left / (self._done + half)

    def _write_if_due(self, now: float) -> None:
        """Write and draw, at most once a second, and now and then although nothing happened."""
        due = _SECONDS_BETWEEN if self._unwritten else _LONGEST_SILENCE
        if now - self._written >= due:
            self._write()

    def _write(self) -> None:
        """Write the file; a disk that is full must not end a run for it."""
        self._written, self._unwritten = time.time(), False
        record = self._record()
        left, n_failed = record["seconds_left"], record["failed"]
        words = [f"{n_failed} failed"] if n_failed else []
        words += [f"{about(left)} left"] if left else []
        self._bar.set_postfix_str(", ".join(words))
        with contextlib.suppress(StoreError):
            text = json.dumps(record, indent=1, ensure_ascii=False) + "\n"
            write_atomically(self._path, text.encode("utf-8", "backslashreplace"))

    def _record(self) -> dict[str, Any]:
        """What the file holds."""
        left = self.seconds_left()
        last = list(self._failures.items())[-_N_FAILURES:]
        return {
            "schema": 1,
            "state": self._state,
            "reason": self._reason,
            "started": round(self._started, 3),
            "written": round(self._written, 3),
            "total": self._total,
            "finished": self._total - len(self._ahead),
            "failed": len(self._failures),
            "last_failures": [{"checkpoint": name, "reason": why} for name, why in last],
            "running": None
            if self._since is None
            else [{"checkpoint": n, "since": round(since, 3)} for n, since in self._since.items()],
            "seconds_left": None if left is None else round(left, 1),
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "pid_started": _started(os.getpid()),
        }


def read_progress(folder: Path) -> dict[str, Any]:
    """What is known of the run that writes, or wrote, into a folder.

    Returns:
        What `progress.json` holds, and `alive`: whether its process still runs, None where that
        cannot be told from this machine. `state` is "interrupted" where it was killed.

    Raises:
        DataError: There is none, or it cannot be read.
    """
    path = folder / PROGRESS
    try:
        record = read_json(path, MOST_IN_TEXT)
    except FileNotFoundError as error:
        there = f"holds no run ({PROGRESS} is missing)" if folder.is_dir() else "does not exist"
        raise DataError(f"{folder} {there}; `genaudit run CONFIG -o {folder}` makes one") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}; the next run writes it anew") from error
    check_form(ProgressForm, record, path, "the next run writes it anew")
    alive = _alive(record)
    if record["state"] == RUNNING and alive is False:
        record["state"] = INTERRUPTED
    return {**record, "alive": alive}


def _alive(record: Mapping[str, Any]) -> bool | None:
    """Whether the process that wrote a record runs; None on another machine."""
    if record["host"] != socket.gethostname():
        return None
    started = _started(record["pid"])
    return bool(started) and abs(started - record["pid_started"]) < _CLOCK_SECONDS


def _started(pid: int) -> float:
    """When a process started, in seconds since 1970; 0 where there is none that runs."""
    import psutil

    try:
        process = psutil.Process(pid)
        gone = process.status() == psutil.STATUS_ZOMBIE
        return 0.0 if gone else round(float(process.create_time()), 3)
    except (psutil.Error, ValueError, OverflowError):
        return 0.0


def _one_line(error: Exception) -> str:
    """An error in one line: our own by its message, others with their type."""
    text = " ".join(str(error).split())
    return text if isinstance(error, AuditError) else f"{type(error).__name__}: {text}"
