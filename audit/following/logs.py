"""Where rows of a trajectory go: a table on disk, TensorBoard, MLflow."""

from __future__ import annotations

import importlib
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Final, Protocol

import pandas as pd

from audit.errors import ConfigError, unknown_name
from audit.folder.csv_files import read_csv, write_csv

#: Of the rows: what they are about, and the numbers of a layer and of the epoch.
KEYS: Final = ("epoch", "layer", "filtration")
OF_LAYER: Final = (
    "feature_entropy",
    "birth_entropy",
    "effective_rate",
    "birth_class_information",
    "n_units",
    "n_silent",
)
OF_EPOCH: Final = ("sample_loss", "sample_accuracy", "loss", "seconds", "reason")
COLUMNS: Final = (*KEYS, *OF_LAYER, *OF_EPOCH)
#: Name of the table in a folder.
TABLE: Final = "following.csv"
_NOT_IN_CHARTS: Final = {*KEYS, "n_units", "reason"}

Row = Mapping[str, Any]


class RowLog(Protocol):
    """What rows are handed to, epoch by epoch."""

    def write(self, rows: Sequence[Row]) -> None:
        """Take the rows of one epoch, one for each layer."""

    def close(self) -> None:
        """Take no more."""


class TableLog:
    """The table `following.csv`, whole after every epoch, so that it can be read at any time.

    A table that is there already goes on: its rows of this epoch and of later ones give way, as
    they do for a training that is resumed.

    Args:
        folder: Where the table lies; made where it does not exist.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / TABLE
        self._rows: list[Row] | None = None

    def write(self, rows: Sequence[Row]) -> None:
        """Add the rows of one epoch.

        Raises:
            DataError: The table that is there is none of a follower.
            StoreError: It cannot be written.
        """
        if self._rows is None:
            first = min(row["epoch"] for row in rows)
            self._rows = [row for row in self._known() if row["epoch"] < first]
        self._rows += rows
        write_csv(frame_of(self._rows), self.path)

    def close(self) -> None:
        """Nothing is left to do."""

    def _known(self) -> list[dict[str, Any]]:
        """The rows of an earlier training."""
        if not self.path.exists():
            return []
        return [
            {str(k): v for k, v in row.items()} for row in read_table(self.path).to_dict("records")
        ]


class TensorBoardLog:
    """Charts in TensorBoard: `QUANTITY/LAYER` over epochs, and `following/…` for the loss.

    Args:
        folder: Where its files lie.

    Raises:
        ConfigError: TensorBoard is not installed.
    """

    def __init__(self, folder: Path) -> None:
        needed("tensorboard", "log to TensorBoard")
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(folder))

    def write(self, rows: Sequence[Row]) -> None:
        """Add one point to every chart that has a number."""
        for name, value, epoch in _points(rows):
            self._writer.add_scalar(name, value, epoch)
        self._writer.flush()

    def close(self) -> None:
        """Close the files."""
        self._writer.close()


class MlflowLog:
    """Metrics of an MLflow run: the active one, or one that MLflow starts.

    Args:
        run_id: Of another run.

    Raises:
        ConfigError: MLflow is not installed.
    """

    def __init__(self, run_id: str | None = None) -> None:
        self._mlflow: Any = needed("mlflow", "log to MLflow", "mlflow-skinny")
        self._run_id = run_id
        self._started = False

    def write(self, rows: Sequence[Row]) -> None:
        """Add one point to every metric that has a number."""
        if self._run_id is None and self._mlflow.active_run() is None:
            self._mlflow.start_run()
            self._started = True
        epoch = int(rows[0]["epoch"])
        metrics = {re.sub(r"[^\w\-./ ]", "_", name): value for name, value, _ in _points(rows)}
        self._mlflow.log_metrics(metrics, step=epoch, run_id=self._run_id)

    def close(self) -> None:
        """End the run that was started here."""
        if self._started:
            self._mlflow.end_run()
            self._started = False


def logs_for(wanted: Sequence[str | RowLog], folder: Path | None) -> list[RowLog]:
    """The logs that were asked for; the table where there is a folder.

    Args:
        wanted: "tensorboard", "mlflow", or objects with `write` and `close`.
        folder: Of the table, and of TensorBoard's files.

    Raises:
        ConfigError: An unknown name, a package that is not installed, or TensorBoard without a
            folder.
    """
    logs: list[RowLog] = [] if folder is None else [TableLog(folder)]
    for one in wanted:
        if not isinstance(one, str):
            logs.append(one)
        elif one == "mlflow":
            logs.append(MlflowLog())
        elif one != "tensorboard":
            raise unknown_name("log", one, ("tensorboard", "mlflow"))
        elif folder is None:
            raise ConfigError("TensorBoard needs a folder: set `folder`")
        else:
            logs.append(TensorBoardLog(folder))
    return logs


def needed(module: str, purpose: str, package: str = "") -> ModuleType:
    """A package of the extra `training`.

    Args:
        module: What is imported.
        purpose: What it is needed for, in words.
        package: What is installed, where it is called otherwise.

    Raises:
        ConfigError: It is not installed; the message names the extra.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(
            f"to {purpose} the package {package or module} is needed, which cannot be imported "
            f"({error}); install it: pip install 'genaudit[training]'"
        ) from error


def frame_of(rows: Sequence[Row]) -> pd.DataFrame:
    """Rows as a table: the usual columns, then those of metrics."""
    more = dict.fromkeys(name for row in rows for name in row if name not in COLUMNS)
    return pd.DataFrame(list(rows), columns=[*COLUMNS, *more])


def read_table(path: Path) -> pd.DataFrame:
    """The rows of a follower's table.

    Raises:
        DataError: It is none.
    """
    text = ("layer", "filtration", "reason")
    return read_csv(path, "trajectory", [*KEYS, *OF_LAYER, "sample_loss"], text)


def _points(rows: Sequence[Row]) -> Iterator[tuple[str, float, int]]:
    """(name of the chart, value, epoch) of every number there is."""
    for position, row in enumerate(rows):
        for name, value in row.items():
            if name in _NOT_IN_CHARTS or not isinstance(value, int | float):
                continue
            if math.isfinite(value):
                if name in OF_LAYER:
                    yield f"{name}/{row['layer']}", float(value), int(row["epoch"])
                elif position == 0:
                    yield f"following/{name}", float(value), int(row["epoch"])
