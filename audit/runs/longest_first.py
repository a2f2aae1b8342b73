"""In which order checkpoints are measured: those first that are expected to take longest.

Where several workers share a run, a long checkpoint that is begun last holds it up while the others
have nothing to do: longest first comes within a third of the best there is, whatever the lengths.
Source: Graham, "Bounds on Multiprocessing Timing Anomalies", 1969, theorem 2. No number depends on
the order.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeGuard

if TYPE_CHECKING:
    from audit.measuring.subject import Subject

#: The stage of the ledger's lines that say how long a whole checkpoint took.
AUDITED: Final = "audited"


def expected_lengths(
    subjects: Sequence[Subject], ledger: Iterable[Mapping[str, Any]]
) -> dict[str, float]:
    """How long checkpoints are expected to take, in a unit that all of them share.

    An image took so many seconds the last time that all of an architecture was computed: the most
    that the ledger says of it, since a checkpoint that is partly cached takes less. Of an
    architecture that it does not know, the size of the weights tells, by what a byte takes of those
    that it knows. Where nothing tells, a checkpoint is taken for as long as the longest.

    Args:
        subjects: The checkpoints.
        ledger: Lines of the store's ledger.

    Returns:
        Checkpoint → its length, above 0.
    """
    known = _seconds_per_image(ledger)
    sizes = {subject.name: _n_bytes(subject) for subject in subjects}
    rates = [
        known[subject.model] / sizes[subject.name]
        for subject in subjects
        if subject.model in known and sizes[subject.name]
    ]
    rate = statistics.median(rates) if rates else 1.0
    found = {
        subject.name: known.get(subject.model, rate * sizes[subject.name]) for subject in subjects
    }
    longest = max(found.values(), default=0.0) or 1.0
    return {name: length or longest for name, length in found.items()}


def longest_first(subjects: Sequence[Subject], lengths: Mapping[str, float]) -> list[Subject]:
    """Checkpoints by their expected length, equal ones by name."""
    return sorted(subjects, key=lambda subject: (-lengths[subject.name], subject.name))


def _seconds_per_image(ledger: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Architecture → the most seconds that an image took."""
    found: dict[str, float] = {}
    for line in ledger:
        if line.get("stage") != AUDITED:
            continue
        model, seconds, n_images = line.get("model"), line.get("seconds"), line.get("images")
        if isinstance(model, str) and _is_positive(seconds) and _is_positive(n_images):
            found[model] = max(found.get(model, 0.0), seconds / n_images)
    return found


def _is_positive(number: Any) -> TypeGuard[float]:
    """Whether it is a finite number above 0."""
    return isinstance(number, int | float) and 0 < number < math.inf


def _n_bytes(subject: Subject) -> int:
    """The size of a checkpoint's weights, with the shards beside an index; 0 where none tells."""
    if subject.weights is None:
        return 0
    path = Path(subject.weights)
    try:
        if path.suffix == ".json":
            return sum(file.stat().st_size for file in path.parent.iterdir() if file.is_file())
        return path.stat().st_size
    except OSError:  # what cannot be read fails with its reason when it is measured
        return 0
