"""A watch over a file that is fetched: what sends too much, or hardly anything, is given up."""

from __future__ import annotations

import time
from typing import Any, Final

from fsspec.callbacks import Callback

from audit.errors import RemoteError

#: What must come in so many seconds.
WINDOW_SECONDS: Final = 20.0
BYTES_IN_WINDOW: Final = 200_000


class Watch(Callback):  # type: ignore[misc]  # fsspec has no types
    """Told of every piece that comes.

    Args:
        named: What to call the file in messages.
        most: Bytes that may come.
        said: Whether the file was said to have just so many.
    """

    def __init__(self, named: str, most: int, said: bool) -> None:
        super().__init__()
        self._named, self._most, self._said = named, most, said
        self._n_bytes = self._n_before = 0
        self._since = time.monotonic()

    def relative_update(self, inc: int = 1) -> None:
        """A piece of so many bytes came.

        Raises:
            RemoteError: It is one too many, or came too slowly.
        """
        super().relative_update(inc)
        self._n_bytes += inc
        if self._n_bytes > self._most:
            raise RemoteError(
                f"{self._named} changed while it was fetched, or is not what it was said to be: "
                f"more than the {self._most} bytes expected came; run again, or take the file from "
                "elsewhere"
                if self._said
                else f"{self._named} has more than {self._most} bytes, which is the limit or what "
                "the disk takes; free space, or set GENAUDIT_MAX_DOWNLOAD to a larger number of "
                "bytes if it is what you want"
            )
        now = time.monotonic()
        if now - self._since > WINDOW_SECONDS:
            if self._n_bytes - self._n_before < BYTES_IN_WINDOW:
                raise RemoteError(
                    f"{self._named} came too slowly: {self._n_bytes - self._n_before} bytes in "
                    f"{now - self._since:.0f} seconds; run again, or take the file from elsewhere"
                )
            self._since, self._n_before = now, self._n_bytes

    def set_size(self, size: Any) -> None:
        """What the answer says of its size counts for nothing."""
