"""How much of the training time may be spent on looking at the network."""

from __future__ import annotations

import time
from collections.abc import Callable

from audit.errors import ConfigError


class Budget:
    """Says whether a look can be afforded, from what the last one took.

    Training time is all that passes between two looks: training, validation, reading data.

    Args:
        share: Of training and looking together, in (0, 1); None: every look is afforded.
        clock: Seconds from any start.

    Raises:
        ConfigError: A share outside the range.

    Example:
        >>> now = [0.0]
        >>> budget = Budget(0.1, clock=lambda: now[0])
        >>> now[0] = 8.0  # eight seconds of training
        >>> budget.begin()
        True
        >>> now[0] = 9.0  # one second of looking
        >>> budget.end()
        >>> now[0] = 16.0
        >>> budget.begin()  # another second would make two of 17
        False
        >>> round(budget.spent_share, 4)
        0.0625
    """

    def __init__(self, share: float | None, clock: Callable[[], float] = time.perf_counter) -> None:
        if share is not None and not 0 < share < 1:
            raise ConfigError(
                f"budget must be a share of training time in (0, 1), or None; found {share}"
            )
        self._share, self._clock = share, clock
        self._since = clock()
        self._trained = self._spent = self._last = 0.0
        self.n_passed_over = 0

    def begin(self) -> bool:
        """End a stretch of training, and say whether a look follows; the first one always does."""
        now = self._clock()
        self._trained += now - self._since
        self._since = now
        ahead = self._spent + self._last
        if self._share is None or not self._last or ahead <= self._share * (self._trained + ahead):
            return True
        self.n_passed_over += 1
        return False

    def end(self) -> None:
        """End a look."""
        now = self._clock()
        self._last = now - self._since
        self._spent += self._last
        self._since = now

    @property
    def last_seconds(self) -> float:
        """What the last look took."""
        return self._last

    @property
    def spent_share(self) -> float:
        """Share of looking in all time so far, in [0, 1]; NaN before any."""
        total = self._trained + self._spent
        return self._spent / total if total else float("nan")
