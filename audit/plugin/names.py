"""Several names in one cell of a table: the one writer and the one reader."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from typing import Final

SEPARATOR: Final = ";"


def join_names(names: Iterable[str]) -> str:
    """Names in one cell, joined by ";"; one that holds a ";", a quote or nothing is quoted.

    Quoting is that of CSV: a quote within a quoted name is doubled. Line breaks become spaces.

    Example:
        >>> join_names(["a", "b;c", 'd"e'])
        'a;"b;c";"d""e"'
    """
    listed = [" ".join(name.splitlines()) if name.splitlines()[1:] else name for name in names]
    if not listed:
        return ""
    cell = io.StringIO()
    csv.writer(cell, delimiter=SEPARATOR, lineterminator="").writerow(listed)
    return cell.getvalue()


def split_names(cell: object) -> list[str]:
    """The names of a cell that `join_names` wrote; none for an empty cell or one that is no text.

    Example:
        >>> split_names('a;"b;c";"d""e"')
        ['a', 'b;c', 'd"e']
    """
    if not isinstance(cell, str) or not cell:
        return []
    return next(csv.reader([cell], delimiter=SEPARATOR), [])
