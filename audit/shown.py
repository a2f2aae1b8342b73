r"""Text that comes from elsewhere, made fit to be shown: names of files, messages of libraries.

A name may hold anything that a file system takes, and a message anything that a file held. On a
terminal, control characters and marks of direction become escapes such as `\u202e` (which JSON
reads back as the same character); long text is cut, and says how long it was; of a file that could
not be read as what it was taken for, nothing is quoted. In tables for spreadsheets, text that one
would take for a formula gets an apostrophe before it, which `undefused` takes away again.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final, TextIO

#: Characters of a reason in a table, and of any other message.
MOST_IN_CELL: Final = 500
MOST_IN_MESSAGE: Final = 10_000
#: Characters of one name within a message.
MOST_IN_NAME: Final = 300

#: Control characters but for tab and line feed, marks of direction, separators of lines and lone
#: surrogates.
_UNFIT: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)
_BREAKS: Final = re.compile("[\t\n\r]")
#: What a spreadsheet takes for the start of a formula, in full width as well, or cuts off; and the
#: apostrophe, so that what is written can be told from what was there.
_FORMULA: Final = "=+-@\t\r\N{FULLWIDTH EQUALS SIGN}\N{FULLWIDTH PLUS SIGN}" + (
    "\N{FULLWIDTH HYPHEN-MINUS}\N{FULLWIDTH COMMERCIAL AT}'"
)
#: What the names of columns are made of, and how long they are at most.
_COLUMN: Final = re.compile(r"\w[\w .%/()+-]{0,59}")
_QUOTATION: Final = re.compile(r"'[^']{2,}'|\"[^\"]{2,}\"")


def shown(text: str) -> str:
    r"""Text for a terminal or a page: what would steer it is escaped.

    Example:
        >>> print(shown("a\x1b[2Jb\u202ec"))
        a\u001b[2Jb\u202ec
    """
    return _UNFIT.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def one_line(text: str) -> str:
    r"""Text for one line or a cell of a table: line breaks and tabs are escaped as well.

    Example:
        >>> print(one_line("a\nb"))
        a\u000ab
    """
    return _BREAKS.sub(lambda found: f"\\u{ord(found[0]):04x}", shown(text))


def bounded(text: str, most: int = MOST_IN_MESSAGE) -> str:
    """Text of at most so many characters; of longer text the beginning, the end and its length.

    Args:
        text: Any.
        most: At least 100.

    Example:
        >>> bounded("x" * 1_000_000, 100).count("x")
        67
    """
    if len(text) <= most:
        return text
    middle = f" … ({len(text):,} characters, cut) … "
    end = max(0, most - len(middle)) // 4
    begin = max(0, most - len(middle) - end)
    return text[:begin] + middle + text[len(text) - end :]


def unquoted(message: object) -> str:
    """A parser's message without what it quotes of the file that it could not read.

    Example:
        >>> unquoted("Cannot overwrite 'secret' (at line 3, column 9)")
        "Cannot overwrite '…' (at line 3, column 9)"
    """
    text = str(message)[:MOST_IN_MESSAGE]
    if not isinstance(message, UnicodeDecodeError):  # which tells one byte, and quotes the encoding
        text = _QUOTATION.sub("'…'", text)
    return bounded(" ".join(text.split()), 300)


def column_names(names: Iterable[Any], most: int = 10) -> str:
    """Names of columns in a message, quoted; none where they do not look like such names.

    A file that is no table at all has its first line where names would stand, and that line is not
    to be told: it may be a key or a password.

    Example:
        >>> column_names(["checkpoint", "accuracy"])
        "'checkpoint', 'accuracy'"
        >>> column_names(["root:$6$x:19000:0:99999"])
        '1 that does not look like a name'
    """
    listed = [str(name) for name in names]
    if len(listed) < 2 or not all(_COLUMN.fullmatch(name) for name in listed):
        do = "does not look like a name" if len(listed) == 1 else "do not all look like names"
        return f"{len(listed)} that {do}"
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(repr(name) for name in listed[:most]) + more


def defused(text: str) -> str:
    """A cell that no spreadsheet takes for a formula: an apostrophe before what looks like one.

    Example:
        >>> defused("=1+1"), defused("resnet18")
        ("'=1+1", 'resnet18')
    """
    return f"'{text}" if text[:1] and text[0] in _FORMULA else text


def undefused(text: str) -> str:
    """What `defused` was given; other text as it is.

    Example:
        >>> undefused(defused("=1+1"))
        '=1+1'
    """
    return text[1:] if text[:1] == "'" and text[1:2] and text[1] in _FORMULA else text


class UnwrittenError(OSError):
    """A stream takes no more text: its file is full, or nobody reads it."""


@contextlib.contextmanager
def _unwritten() -> Iterator[None]:
    """Let what the system refuses of a stream be told from what it refuses elsewhere."""
    try:
        yield
    except OSError as error:
        raise UnwrittenError(error.errno, error.strerror) from error


class ShownStream:
    """A stream of text that escapes what would steer a terminal.

    Args:
        stream: Where text goes.
        kept: Characters that pass all the same: the carriage return, where progress bars are drawn.
    """

    def __init__(self, stream: TextIO, kept: str = "") -> None:
        self._stream = stream
        self._kept = kept

    def write(self, text: str) -> int:
        """Write text, escaped; returns the number of characters that were given."""
        if not isinstance(text, str):
            raise TypeError(f"text is needed, not {type(text).__name__}")
        pieces = text.split(self._kept) if self._kept else [text]
        with _unwritten():
            self._stream.write(self._kept.join(map(shown, pieces)))
        return len(text)

    def flush(self) -> None:
        """Hand on what was written."""
        with _unwritten():
            self._stream.flush()

    def writelines(self, lines: Iterable[str]) -> None:
        """Write several pieces of text."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
