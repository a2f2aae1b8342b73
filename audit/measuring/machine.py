"""Whether this machine has what a task needs, before anything of it is computed.

The machine that plans a run has all of it. A worker on another may not: that would look like a
broken checkpoint, or lose numbers in a folder that nobody reads.
"""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audit.errors import CheckpointError, ConfigError, DataError, StoreError
from audit.remote import pretty

if TYPE_CHECKING:
    from audit.measuring.subject import Subject
    from audit.store import Store


@dataclasses.dataclass(frozen=True, slots=True)
class Seen:
    """What the machine that planned a task has: another that takes it must see the same.

    Attributes:
        machine: Its name.
        weights: Files with weights.
        data: Files and folders of the training set.
    """

    machine: str
    weights: tuple[Path, ...]
    data: tuple[Path, ...]

    @property
    def mark(self) -> dict[str, str]:
        """The key of the entry by which that machine's store is known.

        It is the same in every run there, so that runs do not come into each other's way.
        """
        return {"marked by": self.machine}


def look(subject: Subject, store: Store) -> Seen:
    """What this machine has of a subject; a mark is left in the store if there is none.

    Raises:
        StoreError: The mark cannot be written.
    """
    options = subject.dataset_options
    data = [path for name in subject.dataset_locations for path in _paths(options.get(name))]
    weights = [path for path in (subject.weights, subject.init) if isinstance(path, Path)]
    seen = Seen(
        platform.node(),
        tuple(path for path in weights if path.exists()),
        tuple(path for path in data if _is_there(path)),
    )
    if not store.has(seen.mark):
        store.put(seen.mark)
    return seen


def check_machine(seen: Seen, store: Store, device: str) -> None:
    """Make sure that this machine has what a task needs.

    Raises:
        StoreError: The store is another one, which happens to have the same path here.
        DataError: The training set is missing.
        CheckpointError: A weights file is missing.
        ConfigError: There is no CUDA device for this worker, and one is needed.
    """
    here = platform.node()
    shared = f"on machine {here}: put it into a folder that all machines share"
    if not store.has(seen.mark):
        place = pretty(str(store.location))
        raise StoreError(
            f"a worker on machine {here} does not see the store {place} of {seen.machine}, and "
            "its numbers would be lost: give --cache a folder that all machines share, or the URL "
            "of a bucket"
        )
    for path in seen.data:
        if not _is_there(path):
            raise DataError(f"the training set {path} is not {shared}")
    for path in seen.weights:
        if not path.exists():
            raise CheckpointError(f"weights file {path} is not {shared}")
    if device == "cuda" and not _has_cuda():
        raise ConfigError(
            f"device 'cuda' was asked for, but torch finds no CUDA device for a worker on machine "
            f"{here}: let the engine set one aside, or choose --device cpu"
        )


def _is_there(path: Path) -> bool:
    """Whether a file is there, or a folder with something in it.

    Where a shared file system is not mounted, an empty folder lies in its place.
    """
    return any(path.iterdir()) if path.is_dir() else path.exists()


def _has_cuda() -> bool:
    """Whether torch finds a CUDA device in this process."""
    import torch

    return torch.cuda.is_available()


def _paths(value: Any) -> Iterator[Path]:
    """The absolute paths in an option that says where files lie."""
    for part in value if isinstance(value, list | tuple) else [value]:
        if isinstance(part, str) and Path(part).is_absolute():
            yield Path(part)
