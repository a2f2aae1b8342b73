"""Checkpoints with epoch numbers: which there are, and what each says."""

from __future__ import annotations

import dataclasses
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from audit.errors import CheckpointError
from audit.following.follower import Follower
from audit.following.logs import Row, RowLog
from audit.following.sample import fixed_sample
from audit.following.training_runs import TrainingRun
from audit.network.fitting import fit_weights
from audit.network.plain import plain
from audit.network.weights import Which, read_torch_content, read_weights
from audit.plugin.registry import installed
from audit.topology import Filtration

#: What a number in a name stands behind; epochs go before steps.
_NUMBERED: Final = tuple(
    re.compile(rf"(?:^|[-_.])(?:{word})[-_=]?(\d+)(?=\D|$)", re.IGNORECASE)
    for word in ("epoch|ep", "checkpoint|ckpt|model|weights|state|step|iter")
)
_LAST_NUMBER: Final = re.compile(r"(?:^|[-_])(\d+)$")
_SUFFIXES: Final = (".pth.tar", ".safetensors", ".pth", ".pt", ".ckpt", ".bin", ".tar")
#: The file of timm's that always holds the newest epoch, and says itself which that is.
NEWEST: Final = "last.pth.tar"
#: What timm is writing at the moment, and copies of others under another name.
_PASSED_OVER: Final = re.compile(r"^(?:tmp|recovery|model_best|optimizer|scheduler)", re.IGNORECASE)


@dataclasses.dataclass(frozen=True, order=True)
class NumberedCheckpoint:
    """A weights file, or a folder that holds one, and the number in its name.

    Attributes:
        epoch: The number: of epochs, or of steps where names count those.
        path: The file or folder.
    """

    epoch: int
    path: Path


def epoch_in(name: str) -> int | None:
    """The epoch in the name of a checkpoint; None where it has none.

    Example:
        >>> names = ("checkpoint-12.pth.tar", "epoch=3-step=96.ckpt", "net_007.pt", "resnet18.pth")
        >>> [epoch_in(name) for name in names]
        [12, 3, 7, None]
    """
    stem = next((name.removesuffix(s) for s in _SUFFIXES if name.endswith(s)), name)
    for pattern in (*_NUMBERED, _LAST_NUMBER):
        found = pattern.search(stem)
        if found:
            return int(found[1])
    return None


def numbered_checkpoints(folder: Path) -> list[NumberedCheckpoint]:
    """The checkpoints of a folder by number, one for each.

    Args:
        folder: Files such as timm's `checkpoint-3.pth.tar` or Lightning's `epoch=3-step=96.ckpt`,
            or folders such as the Trainer's `checkpoint-500`.
    """
    found: dict[int, NumberedCheckpoint] = {}
    for path in sorted(folder.iterdir()):
        is_weights = path.name.endswith(_SUFFIXES) or (path.is_dir() and _holds_weights(path))
        epoch = epoch_in(path.name)
        if is_weights and epoch is not None and not _PASSED_OVER.match(path.name):
            found.setdefault(epoch, NumberedCheckpoint(epoch, path))
    return sorted(found.values())


def _holds_weights(folder: Path) -> bool:
    """Whether a folder holds a file of weights."""
    return any(path.name.endswith(_SUFFIXES) for path in folder.iterdir())


def newest_of(folder: Path, into: Path) -> NumberedCheckpoint | None:
    """The newest epoch of a training by timm that has no file under its own number.

    timm keeps the ten best under their numbers, and the newest as `last.pth.tar`, which is another
    name of one of those where it is among them.

    Args:
        folder: Of the training.
        into: Where a copy is put, as the file is replaced when the next epoch ends.

    Raises:
        CheckpointError: It cannot be read.
    """
    path = folder / NEWEST
    try:
        if not path.exists() or any(path.samefile(c.path) for c in numbered_checkpoints(folder)):
            return None
        copy = Path(shutil.copyfile(path, into / NEWEST))
    except OSError:  # replaced or removed at this moment: the next look finds it
        return None
    content = read_torch_content(copy)
    epoch = content.get("epoch") if isinstance(content, Mapping) else None
    return NumberedCheckpoint(epoch, copy) if isinstance(epoch, int) else None


class CheckpointReader:
    """Follows a training by its checkpoints, one after another, in one network.

    Args:
        run: What was trained.
        folder: Where `following.csv` goes; None: rows are kept in memory.
        layers: Whose feature maps are taken.
        filtration: "clique" or "cubical".
        images_per_class: Of the sample, at most; 0 means all.
        max_classes: Of the sample, at most; 0 means all.
        which: Which weights of a file that holds averaged ones beside others.
        log: As `audit.Follower` takes it.

    Raises:
        ConfigError: The model or the dataset is unknown, or an option cannot be used.
        DataError: The dataset cannot be used.
        UnavailableError: The network has no feature maps for this filtration.
    """

    def __init__(
        self,
        run: TrainingRun,
        folder: Path | None,
        layers: str | Sequence[str] = "stages",
        filtration: Filtration = "clique",
        images_per_class: int = 20,
        max_classes: int = 10,
        which: Which = "auto",
        log: Sequence[str | RowLog] = (),
    ) -> None:
        self.run, self._which = run, which
        self._source = installed().model_source(run.model)
        self._network = plain(self._source.create(run.model, run.model_args, False))
        sample = fixed_sample(
            run.dataset,
            self._network,
            images_per_class,
            max_classes,
            seed=0,
            transform=run.transform,
            model_args=run.model_args,
            source=self._source,
        )
        self.follower = Follower(
            self._network,
            sample,
            layers,
            folder=folder,
            log=log,
            filtration=filtration,
            budget=None,
        )

    def read(self, checkpoint: NumberedCheckpoint, loss: float | None = None) -> list[Row]:
        """Look at one checkpoint.

        Args:
            checkpoint: Its file.
            loss: The training loss of the epoch, where it is known.

        Returns:
            A row for each layer.

        Raises:
            CheckpointError: The file cannot be read, or does not fit.
        """
        path = checkpoint.path
        try:
            weights = read_weights(path, None, self._which)
            fit_weights(self._network, weights, path, self.run.model, self._source.adapt)
        except OSError as error:
            raise CheckpointError(f"checkpoint {path} cannot be read: {error}") from error
        return self.follower.after_epoch(checkpoint.epoch, loss)


def temporary_folder() -> tempfile.TemporaryDirectory[str]:
    """A folder for copies of what may be replaced while it is read."""
    return tempfile.TemporaryDirectory(prefix="genaudit-")


def read_all(
    reader: CheckpointReader, folder: Path, losses: Mapping[int, float], every: int = 1
) -> list[Any]:
    """Look at the checkpoints of a folder, in the order of their epochs.

    Args:
        reader: What reads them.
        folder: Where they lie.
        losses: Epoch → training loss, where it is known.
        every: Of the checkpoints each so many-th is taken, from the first one on.

    Returns:
        The rows.

    Raises:
        CheckpointError: A file cannot be read, does not fit, or there is none with a number.
    """
    with temporary_folder() as copies:
        newest = newest_of(folder, Path(copies))
        found = sorted({c.epoch: c for c in (*numbered_checkpoints(folder), newest) if c}.values())
        if not found:
            raise CheckpointError(
                f"{folder} has no weights file with an epoch in its name, such as "
                "checkpoint-3.pth.tar, epoch=3-step=96.ckpt or model_3.pt"
            )
        rows: list[Row] = []
        for checkpoint in found[::every]:
            rows += reader.read(checkpoint, losses.get(checkpoint.epoch))
        return rows
