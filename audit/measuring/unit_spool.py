"""Unit tables of checkpoints that are finished, set down until all are written together.

A ResNet-50 has some 160,000 rows; those of two thousand checkpoints have no room in memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

from audit.measuring._spool import Spool

_OPTIONS: Final = pa.ipc.IpcWriteOptions(compression="zstd")


class UnitSpool:
    """Checkpoint → its unit tables, in a temporary file.

    Args:
        folder: Where the file lies; it has no name there, so that nothing is left behind.
    """

    def __init__(self, folder: Path) -> None:
        self._spool = Spool(folder)
        self._series: dict[str, list[str]] = {}
        self._n_series = 0

    def put(self, checkpoint: str, tables: Sequence[pa.Table]) -> None:
        """Set down a checkpoint's tables, in place of those that were set down before.

        Raises:
            StoreError: They cannot be written.
        """
        self._series[checkpoint] = []
        for table in tables:
            name = str(self._n_series)
            self._n_series += 1
            self._spool.append(name, np.frombuffer(_packed(table), np.uint8))
            self._series[checkpoint].append(name)

    def tables(self, checkpoints: Iterable[str]) -> Iterator[pa.Table]:
        """The tables of checkpoints, in the order of their names; those without one are left out.

        Raises:
            StoreError: They cannot be read.
        """
        for checkpoint in checkpoints:
            for name in self._series.get(checkpoint, ()):
                with pa.ipc.open_stream(pa.py_buffer(self._spool.read(name))) as reader:
                    yield reader.read_all()


def _packed(table: pa.Table) -> pa.Buffer:
    """A table as a compressed stream of Arrow's."""
    packed = pa.BufferOutputStream()
    with pa.ipc.new_stream(packed, table.schema, options=_OPTIONS) as writer:
        writer.write_table(table)
    return packed.getvalue()
