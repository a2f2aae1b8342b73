"""Watch the folder of a training, and read its checkpoints as they come.

Files are only ever read, by a process of one's own: the training neither waits nor knows. What
cannot be read yet is tried again later, and what never can is told of once.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, TypeAlias

from audit.errors import CheckpointError
from audit.following.checkpoints import (
    CheckpointReader,
    NumberedCheckpoint,
    newest_of,
    numbered_checkpoints,
    temporary_folder,
)
from audit.following.logs import Row
from audit.following.training_runs import training_losses

_log = logging.getLogger("genaudit.following")

#: A file that cannot be read and has not changed for so long is damaged.
_SETTLED_SECONDS: Final = 60.0

_State: TypeAlias = tuple[int, int]


class FolderWatcher:
    """Reads what is new in the folder of a training, whenever it is asked to.

    Args:
        reader: What reads checkpoints.
        folder: Of the training.
        every: Every so many epochs are looked at, from the first one on.
        known: Epochs that were looked at before; nothing up to the last of them is read again.
        clock: Seconds since 1970, as files are dated.
    """

    def __init__(
        self,
        reader: CheckpointReader,
        folder: Path,
        every: int = 1,
        known: frozenset[int] = frozenset(),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._reader, self._folder, self._every, self._clock = reader, folder, every, clock
        self._first = min(known, default=None)
        self._last = max(known, default=-1)
        self._unreadable: dict[Path, _State] = {}

    @property
    def is_over(self) -> bool:
        """Whether the last epoch of the training was seen, where it is known which that is."""
        n_epochs = self._reader.run.n_epochs
        return n_epochs is not None and self._last >= n_epochs - 1

    def look(self) -> list[Row]:
        """Read all that is new, in the order of epochs.

        Returns:
            The rows; none where nothing is new, or it cannot be read yet.
        """
        rows: list[Row] = []
        with temporary_folder() as copies:
            for checkpoint in self._new(Path(copies)):
                try:
                    rows += self._read(checkpoint)
                except CheckpointError as error:
                    if not self._is_damaged(checkpoint.path, error):
                        break  # later epochs wait, so that rows stay in order
        return rows

    def _new(self, copies: Path) -> list[NumberedCheckpoint]:
        """Checkpoints of later epochs than all so far."""
        found = numbered_checkpoints(self._folder)
        try:
            newest = newest_of(self._folder, copies)
        except CheckpointError:
            newest = None  # half-written: the next look finds it whole
        by_epoch = {c.epoch: c for c in (*([newest] if newest else []), *found)}
        return sorted(c for c in by_epoch.values() if c.epoch > self._last)

    def _read(self, checkpoint: NumberedCheckpoint) -> list[Row]:
        """The rows of one checkpoint, if its epoch is one of those looked at."""
        epoch = checkpoint.epoch
        first = epoch if self._first is None else self._first
        rows: list[Row] = []
        if (epoch - first) % self._every == 0:
            loss = training_losses(self._folder).get(epoch)
            rows = self._reader.read(checkpoint, loss)
        self._first, self._last = first, epoch
        return rows

    def _is_damaged(self, path: Path, error: CheckpointError) -> bool:
        """Whether a file that cannot be read never will be; told of once."""
        try:
            about = path.stat()
        except OSError:
            return True  # the training has deleted it
        state = (about.st_size, about.st_mtime_ns)
        if self._unreadable.get(path) == state:
            return True
        if self._clock() - about.st_mtime < _SETTLED_SECONDS:
            return False
        self._unreadable[path] = state
        _log.warning("left out: %s", error)
        return True


def watch(
    watcher: FolderWatcher,
    seconds: float = 5.0,
    idle_seconds: float | None = None,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[list[Row]]:
    """Look again and again, until the training is over.

    Args:
        watcher: What looks.
        seconds: Between two looks.
        idle_seconds: The end, too, where nothing new came for so long; None: never.
        sleep: Waits.
        clock: Seconds from any start.

    Yields:
        The rows of every look that found something new.
    """
    last = clock()
    while True:
        rows = watcher.look()
        if rows:
            last = clock()
            yield rows
        if watcher.is_over or (idle_seconds is not None and clock() - last >= idle_seconds):
            return
        sleep(seconds)
