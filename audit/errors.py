"""The exceptions of genaudit.

Everything this program raises on purpose is an `AuditError`::

    AuditError
    ├── ConfigError       a configuration, an option or a name that cannot be used
    ├── PluginError       a plugin that cannot be imported, or breaks its contract
    ├── DataError         images, labels, arrays or tables that cannot be used
    ├── CheckpointError   a weights file that cannot be trusted, read or fitted to its model
    ├── MeasureError      a measure that cannot be computed on this checkpoint
    │   └── UnavailableError  it needs something that this checkpoint does not have
    └── StoreError        the cache or an output file cannot be read or written
        └── RemoteError       a bucket, or a file elsewhere, cannot be reached, read or written

A message says what was required, what was found, where, and what to do.
"""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterable, Iterator

from audit.shown import MOST_IN_NAME, bounded, column_names

__all__ = [
    "AuditError",
    "ConfigError",
    "PluginError",
    "DataError",
    "CheckpointError",
    "MeasureError",
    "UnavailableError",
    "StoreError",
    "Termination",
    "in_words",
    "foreign_code",
    "unknown_name",
    "quoted",
    "column_names",
]


class Termination(SystemExit):
    """The system asks this process to end: whatever is under way is left, by whoever catches."""


class AuditError(Exception):
    """Base of every error genaudit raises on purpose; a message of any length is cut to fit.

    Example:
        >>> len(str(AuditError("x" * 10**8)))
        10000
    """

    def __init__(self, *arguments: object) -> None:
        super().__init__(*(bounded(a) if isinstance(a, str) else a for a in arguments))


class ConfigError(AuditError):
    """A configuration, an option or a name that cannot be used."""


class PluginError(AuditError):
    """A plugin that cannot be imported, or breaks its contract."""


class DataError(AuditError, ValueError):
    """Images, labels, arrays or tables that cannot be used."""


class CheckpointError(AuditError):
    """A weights file that cannot be trusted, read or fitted to its model."""


class MeasureError(AuditError):
    """A measure that cannot be computed on this checkpoint."""


class UnavailableError(MeasureError):
    """A measure that needs something this checkpoint does not have, such as feature maps."""


class StoreError(AuditError):
    """The cache or an output file cannot be read or written."""


class RemoteError(StoreError):
    """A bucket, or a file elsewhere, that cannot be reached, read or written."""


def unknown_name(kind: str, name: str, known: Iterable[str], hint: str = "") -> ConfigError:
    """A `ConfigError` for a name nobody registered, with the nearest registered names.

    Args:
        kind: What was looked up, singular: "measure", "dataset", "model".
        name: What the user wrote.
        known: Every name that would have worked.
        hint: Where the whole list can be read, such as a command.

    Example:
        >>> print(unknown_name("measure", "path_nrom", ["path_norm", "random"]))
        unknown measure 'path_nrom'; did you mean 'path_norm'?
    """
    near = difflib.get_close_matches(name[:MOST_IN_NAME], sorted(known), n=3, cutoff=0.6)
    message = f"unknown {kind} {bounded(name, MOST_IN_NAME)!r}"
    if near:
        message += "; did you mean " + " or ".join(repr(candidate) for candidate in near) + "?"
    if hint:
        message += ("" if near else ";") + f" {hint}"
    return ConfigError(message)


def in_words(error: BaseException) -> str:
    r"""An exception of anybody's code in one line: its type and what it says, if it says anything.

    Example:
        >>> in_words(ValueError("not\n so"))
        'ValueError: not so'
    """
    kind = type(error).__name__
    try:
        return " ".join(f"{kind}: {error}".split())
    except Exception:  # noqa: BLE001  an exception is a class like any other
        return f"{kind}, which cannot be put into words"


@contextlib.contextmanager
def foreign_code(what: str, kind: type[AuditError], remedy: str = "") -> Iterator[None]:
    """Let whatever the code of others raises in a block come out as an error of ours.

    What would end the process, such as `SystemExit`, is an error like any other; Ctrl-C and the
    system's request to end are not.

    Args:
        what: The beginning of the message, such as "model 'a' cannot be prepared".
        kind: Of the error.
        remedy: The end of the message.

    Raises:
        AuditError: Of the kind that is given; as it was raised, where it was one already.
    """
    try:
        yield
    except (AuditError, KeyboardInterrupt, Termination):
        raise
    except BaseException as error:
        raise kind(f"{what}: {in_words(error)}{remedy}") from error


def quoted(names: Iterable[str], most: int = 10) -> str:
    """Names quoted and joined, the first few when there are many."""
    listed = [repr(bounded(str(name), MOST_IN_NAME)) for name in names]
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more
