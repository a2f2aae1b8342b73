"""What a change of a network or of its images does to a measure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Literal, NamedTuple

import torch

from audit.conformance.changes import TRANSFORMS, changed
from audit.conformance.setting import Setting
from audit.conformance.values import column, values_of
from audit.errors import AuditError, PluginError
from audit.plugin import MeasureEntry, TrainView, Value

Outcome = Literal["same", "moves", "no value", "not tried"]

#: Relative differences that count as none, in float64; and between float32 and float64.
TOLERANCE: Final = 1e-4
DTYPE_TOLERANCE: Final = 2e-2


class Observation(NamedTuple):
    """What a change did to a measure.

    Attributes:
        measure: Its name.
        transform: The change.
        declared: "same" or "moves": what the measure declares; "" for a change of one's own.
        outcome: "same", "moves", "no value" (the measure has no number here, whose reason is the
            note) or "not tried" (the network cannot be changed so; the note says why).
        part: The column that moved most, relative to its size, or the measure's.
        before: Its number.
        after: Its number after the change.
        note: Why there is nothing to compare.
    """

    measure: str
    transform: str
    declared: str
    outcome: Outcome
    part: str
    before: float
    after: float
    note: str = ""


def declared(entry: MeasureEntry, transform: str, chain: bool = False) -> str:
    """Whether a measure says that a change moves it: "same" or "moves"; "" if it says nothing.

    Args:
        entry: The measure.
        transform: The change.
        chain: Whether the network is known to be a chain of layers, without shortcuts.
    """
    if transform == "node-wise":
        return "same" if entry.invariance == "node-wise" else "moves"
    if transform == "layer-uniform":
        moves = entry.invariance == "none" or (entry.chains_only and not chain)
        return "moves" if moves else "same"
    if transform in TRANSFORMS:
        return "moves" if transform in entry.varies_with else "same"
    return ""


def observe(
    entries: Sequence[MeasureEntry],
    setting: Setting,
    transforms: Sequence[str] = TRANSFORMS,
    seed: int = 0,
) -> Iterator[Observation]:
    """What each change does to each measure, one change after the other.

    Args:
        entries: The measures.
        setting: The network and its images; taken in float64.
        transforms: Names of changes.
        seed: Of what the changes draw.

    Yields:
        One observation for each pair. What cannot be tried says why; nothing is raised for it.
    """
    base = setting.to(torch.float64)
    view = base.view(entries)
    before = {entry.name: attempted(entry, view) for entry in entries}
    for transform in transforms:
        try:
            view = changed(base, transform, seed).view(entries)
        except AuditError as error:
            for entry in entries:
                said = declared(entry, transform)
                yield without_numbers(entry, transform, said, "not tried", str(error))
            continue
        for entry in entries:
            after = attempted(entry, view)
            yield compared(entry, transform, before[entry.name], after)


def compared(
    entry: MeasureEntry,
    transform: str,
    before: Mapping[str, Value],
    after: Mapping[str, Value],
    chain: bool = False,
) -> Observation:
    """What a change did to a measure, from its parts before and after; `chain` as `declared`."""
    said = declared(entry, transform, chain)
    if all(value.status != "ok" for value in before.values()):
        reason = next(iter(before.values())).reason
        return without_numbers(entry, transform, said, "no value", reason)
    tolerance = DTYPE_TOLERANCE if transform in ("dtype", "device") else TOLERANCE
    sizes = {part: _difference(value, after.get(part), tolerance) for part, value in before.items()}
    part = max(sizes, key=lambda part: sizes[part])
    outcome: Outcome = "moves" if sizes[part] > 1 else "same"
    now = after.get(part)
    return Observation(
        entry.name,
        transform,
        said,
        outcome,
        column(entry, part),
        before[part].value,
        math.nan if now is None else now.value,
        "" if now is None else now.reason,
    )


def attempted(entry: MeasureEntry, view: TrainView) -> dict[str, Value]:
    """The parts of a measure; a single failed one where it raises."""
    try:
        return values_of(entry, view)
    except PluginError:
        raise
    except AuditError as error:
        return {"": Value(math.nan, "failed", str(error))}


def without_numbers(
    entry: MeasureEntry, transform: str, said: str, outcome: Outcome, note: str
) -> Observation:
    """An observation without numbers."""
    return Observation(entry.name, transform, said, outcome, entry.name, math.nan, math.nan, note)


def _difference(before: Value, after: Value | None, tolerance: float) -> float:
    """How far two values are apart, in units of what counts as none."""
    if after is None or before.status != after.status:
        return math.inf
    if before.status != "ok":
        return 0.0
    allowed = tolerance * max(abs(before.value), abs(after.value), 1e-2)
    return abs(before.value - after.value) / allowed
