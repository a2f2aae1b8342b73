"""Parquet files of strangers: which belong to a split, and how much they may unpack to."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from audit.data.split_guard import looks_held_out
from audit.errors import DataError, quoted
from audit.parquet import checked_metadata

#: Characters of the name of a class.
LONGEST_LABEL: Final = 4096


def parquet_files(root: Path, chosen: str, training: bool, what: str) -> list[Path]:
    """The parquet files of a split: those named after it, or all where none is."""
    if root.is_file():
        return [root]
    found = sorted(map(Path, glob.glob(f"{glob.escape(str(root))}/**/*.parquet", recursive=True)))
    if not found:
        raise DataError(f"{root} must be {what}; it has neither state.json nor *.parquet")
    named = [
        path
        for path in found
        if chosen in (path.name.split("-")[0].split(".")[0], path.parent.name)
    ]
    if named:
        return named
    others = [
        path.name for path in found if looks_held_out(path.stem) or looks_held_out(path.parent.name)
    ]
    if training and not others:
        return found
    raise DataError(
        f"huggingface: no parquet file of {root} is named after the split {chosen!r}; found "
        f"{quoted(path.name for path in found)}"
    )


def open_parquet(path: Path, repeated: Sequence[str]) -> Any:
    """A file whose columns unpack to no more than they may, by what it says of them.

    Args:
        path: The file.
        repeated: Columns whose values are kept once, however often a file repeats them.

    Raises:
        DataError: They do not.
    """
    from pyarrow import parquet

    metadata = checked_metadata(path)
    known = {metadata.schema.column(place).path for place in range(metadata.num_columns)}
    return parquet.ParquetFile(path, read_dictionary=sorted(known.intersection(repeated)))


def labels_of(column: Any) -> list[Any]:
    """The values of a column of labels; equal ones are one object.

    Raises:
        DataError: A label is too long for the name of a class.
    """
    found: list[Any] = []
    for chunk in column.chunks:
        if not hasattr(chunk, "dictionary"):
            found += chunk.to_pylist()
            continue
        values = chunk.dictionary.to_pylist()
        longest = max((len(value) for value in values if isinstance(value, str)), default=0)
        if longest > LONGEST_LABEL:
            raise DataError(
                f"huggingface: a label has {longest} characters, more than the limit of "
                f"{LONGEST_LABEL} for the name of a class; choose the column by the option label"
            )
        found += [None if at is None else values[at] for at in chunk.indices.to_pylist()]
    return found
