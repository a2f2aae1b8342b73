"""Who rides on which rendition of the sample, and with which of its images."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import torch

from audit.plugin import Alteration, Batch, DataConfig, Reducer, Rendition

if TYPE_CHECKING:
    from torch import Tensor


@dataclasses.dataclass
class Rider:
    """A reducer on one rendition of the sample."""

    reducer: Reducer
    rendition: Rendition
    essential: bool


@dataclasses.dataclass
class Stream:
    """One forward pass: over one rendition of the sample, for all who ride on it."""

    rendition: Rendition
    riders: list[Rider]
    alteration: Alteration | None = None


def chosen_rows(rows: np.ndarray, share: float) -> np.ndarray:
    """Which rows an evenly spaced share of the sample uses, the first among them; shape (b,), bool.

    Example:
        >>> chosen_rows(np.arange(8), 0.25).nonzero()[0].tolist()
        [0, 4]
    """
    used: np.ndarray = np.floor(rows * share) > np.floor((rows - 1) * share)
    return used


def used_by(riders: Iterable[Rider], batch: Batch) -> Batch:
    """The images of a batch that somebody's share of the sample holds; all where rows are empty."""
    shares = {rider.rendition.share for rider in riders}
    used = np.logical_or.reduce([chosen_rows(batch.rows, share) for share in shares])
    return part_of(batch, used)


def identity_of(rendition: Rendition, config: DataConfig | None) -> Rendition:
    """What tells whether two renditions are one for images of this configuration."""
    other = rendition.same_as(config) if rendition.same_as and config else None
    found = other or rendition
    return found if found.mixes else found.on(1.0)


class Part:
    """What of a batch belongs to a rider's share of the sample."""

    def __init__(self, rider: Rider, batch: Batch) -> None:
        self.rider = rider
        used = chosen_rows(batch.rows, rider.rendition.share)
        self._used = None if used.all() else torch.from_numpy(np.flatnonzero(used))
        if self._used is not None:
            batch = part_of(batch, used)
        self.batch = dataclasses.replace(batch, rendition=rider.rendition)

    def of(self, tensor: Tensor) -> Tensor:
        """The rows of a tensor that belong to it."""
        return tensor if self._used is None else tensor[self._used.to(tensor.device)]


def parts_of(riders: Iterable[Rider], batch: Batch) -> list[Part]:
    """What of a batch belongs to each rider; those that have nothing of it are left out."""
    parts = [Part(rider, batch) for rider in riders]
    return [part for part in parts if len(part.batch.images)]


def part_of(batch: Batch, used: np.ndarray) -> Batch:
    """The rows of a batch that are used."""
    if used.all():
        return batch
    index = torch.from_numpy(np.flatnonzero(used)).to(batch.images.device)
    return dataclasses.replace(
        batch, rows=batch.rows[used], labels=batch.labels[index], images=batch.images[index]
    )


def slice_of(batch: Batch, rows: slice) -> Batch:
    """A stretch of a batch."""
    return dataclasses.replace(
        batch, rows=batch.rows[rows], labels=batch.labels[rows], images=batch.images[rows]
    )


def riders_of(
    reducer: Reducer, config: DataConfig, essential: bool
) -> list[tuple[Rendition, Rider]]:
    """What a reducer rides on: the rendition that is run, and the one that the reducer names."""
    return [
        (identity_of(rendition, config), Rider(reducer, rendition, essential))
        for rendition in type(reducer).renditions
    ]
