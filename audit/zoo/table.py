"""A measured zoo as two files: a table of numbers, and what is known of them.

`NAME.csv` has one row per checkpoint and labels: columns `checkpoint`, `labels` ("as_trained" or
"clean"), `family`, `held_out_accuracy`, `n_held_out`, `train_accuracy_as_trained`, `final_loss`,
`train_seconds`, `hp.*`, then a column per measure and part. `NAME.json` says what the task is,
which data source it draws on, what each measure's version and declared direction are, what each
cost, why numbers are missing, and which versions of packages made them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import pandas as pd

from audit.errors import DataError, StoreError
from audit.files import write_atomically
from audit.folder.csv_files import read_csv
from audit.notations import json_of

#: What the networks were audited against: the labels they were trained on, or clean ones.
Labels = Literal["as_trained", "clean"]
AS_TRAINED: Final = "as_trained"
CLEAN: Final = "clean"
#: Significant digits kept of every number: as many as a float32 forward pass has.
DIGITS: Final = 7


class ZooTable(NamedTuple):
    """A measured zoo.

    Attributes:
        name: Of the task.
        table: One row per checkpoint and labels.
        about: `task`, `source`, `about`, `axes`, `versions`, and `measures`: per column of the
            table its `measure`, `version`, `direction`, `judged`, `seconds` and `missing`.
    """

    name: str
    table: pd.DataFrame
    about: dict[str, Any]

    @property
    def source(self) -> str:
        """The data source: tasks of one source are left out together."""
        return str(self.about["source"])

    @property
    def measures(self) -> list[str]:
        """The columns that are measures or parts of measures."""
        return [column for column in self.about["measures"] if column in self.table.columns]

    @property
    def directions(self) -> dict[str, str]:
        """The declared direction of every measure column."""
        return {name: known["direction"] for name, known in self.about["measures"].items()}

    @property
    def owners(self) -> dict[str, str]:
        """The measure that every column belongs to."""
        return {name: known["measure"] for name, known in self.about["measures"].items()}

    @property
    def versions(self) -> dict[str, str]:
        """The version of every measure column."""
        return {name: known["version"] for name, known in self.about["measures"].items()}

    def audited(self, labels: Labels) -> pd.DataFrame:
        """One row per checkpoint: those audited against `labels`.

        A task without label noise has one audit, which is both.
        """
        rows = self.table[self.table["labels"] == labels]
        if rows.empty:
            rows = self.table
        return pd.DataFrame(rows).reset_index(drop=True)


def write_zoo_table(zoo: ZooTable, folder: Path) -> Path:
    """Write both files; returns the table's path.

    Raises:
        StoreError: A file cannot be written.
    """
    path = folder / f"{zoo.name}.csv"
    text = zoo.table.to_csv(index=False, lineterminator="\n", float_format=f"%.{DIGITS}g")
    write_atomically(path, text.encode())
    content = json.dumps(zoo.about, indent=1, ensure_ascii=False, allow_nan=False)
    write_atomically(path.with_suffix(".json"), (content + "\n").encode())
    return path


def read_zoo_table(path: Path) -> ZooTable:
    """Read a table and the file beside it.

    Args:
        path: Of the CSV.

    Raises:
        DataError: A file is missing, or is not what `write_zoo_table` writes.
        StoreError: A file cannot be read.
    """
    table = read_csv(path, "zoo", ("checkpoint", "labels", "family", "held_out_accuracy"))
    beside = path.with_suffix(".json")
    try:
        about = json_of(beside.read_text("utf-8"))
    except OSError as error:
        raise StoreError(f"{beside} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise DataError(f"{beside} is not JSON: {error}") from error
    missing = [key for key in ("task", "source", "measures") if key not in about]
    if missing:
        raise DataError(f"{beside} does not describe a zoo: it lacks {', '.join(missing)}")
    return ZooTable(path.stem, table, about)


def read_zoo_tables(folder: Path) -> dict[str, ZooTable]:
    """Every zoo of a folder by name, in alphabetical order.

    Raises:
        DataError: There is none, or one cannot be used.
    """
    zoos: Iterable[ZooTable] = (read_zoo_table(path) for path in sorted(folder.glob("*.csv")))
    found = {zoo.name: zoo for zoo in zoos}
    if not found:
        raise DataError(f"{folder} holds no zoo tables (NAME.csv beside NAME.json)")
    return found
