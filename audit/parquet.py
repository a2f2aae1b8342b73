"""Parquet files of strangers: how much they may unpack to, by what they say of themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO, Final

from audit.errors import DataError

#: Rows of one file. A run of equal values takes no room in a file, but some in memory.
MOST_ROWS: Final = 50_000_000
#: What a column of one row group may unpack to: so much, and so many times the file.
FREE_BYTES: Final = 256 << 20
MOST_TIMES: Final = 50


def checked_metadata(path: Path, file: BinaryIO | None = None, whole: bool = True) -> Any:
    """What a parquet file says of itself, where it unpacks to no more than it may.

    Args:
        path: Of the file.
        file: The file, if it is open already; read from its start.
        whole: Whether all of it is read together; else one row group after another.

    Raises:
        DataError: It has too many rows, or a column that is too large.
        OSError: It cannot be read.
        ArrowException: It is no parquet file.
    """
    from pyarrow import parquet

    metadata = parquet.read_metadata(file or path)
    most = FREE_BYTES + MOST_TIMES * path.stat().st_size
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    for n_rows in [metadata.num_rows] if whole else [group.num_rows for group in groups]:
        check_rows(n_rows, path)
    for group in groups:
        for place in range(group.num_columns):
            column = group.column(place)
            if column.total_uncompressed_size > most:
                raise DataError(
                    f"{path}: column {column.path_in_schema!r} unpacks to "
                    f"{column.total_uncompressed_size} bytes in one row group, more than the limit "
                    f"of {most} for a file of this size; write it with smaller row groups, or "
                    "images that are compressed themselves"
                )
    return metadata


def check_rows(n_rows: int, path: Path) -> None:
    """Refuse more rows than are kept in memory.

    Raises:
        DataError: There are more.
    """
    if n_rows > MOST_ROWS:
        raise DataError(
            f"{path} and what belongs to it hold {n_rows} rows, more than the limit of "
            f"{MOST_ROWS}; give a part of them"
        )
