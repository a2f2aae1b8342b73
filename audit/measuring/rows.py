"""What was computed of one checkpoint, as it is kept, and as rows of tables.

Everything a run needs of a checkpoint is one entry of the store: the values of its measures, its
unit tables, and the facts that the run's record tells.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, get_args

import numpy as np
import pandas as pd
import pyarrow as pa

from audit.errors import MeasureError, StoreError
from audit.plugin import Measured, Value
from audit.plugin.values import Status
from audit.store import Entry

if TYPE_CHECKING:
    from audit.measuring.subject import Provided


_STATUSES: Final = get_args(Status)
_WORD: Final = pa.dictionary(pa.int32(), pa.string())
#: What content of another form raises; Arrow's own beside them.
_MISFITS: Final = (LookupError, TypeError, ValueError, ArithmeticError, AttributeError)
#: The columns of a unit table.
UNIT_SCHEMA: Final = pa.schema(
    {
        **dict.fromkeys(("checkpoint", "filtration", "layer"), _WORD),
        "unit": pa.int32(),
        "class_name": _WORD,
        "n_images": pa.int32(),
        **dict.fromkeys(("effective_rate", "birth_entropy", "feature_entropy"), pa.float64()),
        "status": _WORD,
    }
)


def checked_values(measured: Measured) -> dict[str, Value]:
    """Suffix → number of what a measure returned, checked.

    Raises:
        MeasureError: It is no number, nor a mapping of names to numbers.
    """
    parts = measured if isinstance(measured, Mapping) else {"": measured}
    if not parts:
        raise MeasureError("the measure returned no number")
    found: dict[str, Value] = {}
    for suffix, part in parts.items():
        try:
            value = Value.of(part)
            number = float(value.value)
        except (TypeError, ValueError) as error:
            what = f"{type(part).__name__} for {suffix!r}" if suffix else type(part).__name__
            raise MeasureError(f"the measure returned {what}, not a number") from error
        if value.status != "ok":
            found[str(suffix)] = dataclasses.replace(value, value=math.nan)
        else:
            found[str(suffix)] = Value.of(number)
    return found


def measured_meta(values: Mapping[str, Value], seconds: float) -> dict[str, Any]:
    """A measure's values as an entry's meta holds them."""
    return {
        "seconds": seconds,
        "values": {
            suffix: [None if math.isnan(v.value) else v.value, v.status, v.reason]
            for suffix, v in values.items()
        },
    }


def row_entry(
    measures: Mapping[str, dict[str, Any]],
    units: Mapping[str, pd.DataFrame],
    facts: Mapping[str, Any],
) -> Entry:
    """The entry that holds all of a checkpoint.

    Args:
        measures: Name → what `measured_meta` made.
        units: Filtration → unit table.
        facts: For the run's record.
    """
    arrays: dict[str, np.ndarray] = {}
    words: dict[str, dict[str, list[str]]] = {}
    for filtration, frame in units.items():
        words[filtration] = {}
        for column in map(str, frame):
            values = frame[column]
            if not pd.api.types.is_numeric_dtype(values):
                codes, names = pd.factorize(values)
                words[filtration][column] = [str(name) for name in names]
                arrays[f"{filtration}.{column}"] = codes.astype(np.int32)
            else:
                arrays[f"{filtration}.{column}"] = values.to_numpy()
    columns = {filtration: list(map(str, frame)) for filtration, frame in units.items()}
    meta = {"measures": measures, "words": words, "columns": columns, "facts": facts}
    return Entry(arrays, meta)


def kept_tables(
    checkpoint: str, measures: Iterable[Provided], entry: Entry
) -> tuple[list[dict[str, Any]], list[pa.Table], list[dict[str, str]]]:
    """(`measure_rows`, `unit_rows`, doubts) of what the store holds of a checkpoint.

    Raises:
        StoreError: It has another form than `row_entry` gives it.
    """
    try:
        rows = measure_rows(checkpoint, measures, entry)
        doubts = [{"kind": str(d["kind"]), **d} for d in entry.meta["facts"]["doubts"]]
        if not all(row["status"] in _STATUSES and isinstance(row["reason"], str) for row in rows):
            raise TypeError("a value, a status, a reason and seconds were expected")
        return rows, unit_rows(checkpoint, entry), doubts
    except (*_MISFITS, pa.ArrowException) as error:
        raise StoreError(
            "what the store holds of this checkpoint has another form than genaudit writes "
            f"({type(error).__name__}); remove it with `genaudit cache clear`, or choose another "
            "store"
        ) from error


def measure_rows(
    checkpoint: str, measures: Iterable[Provided], entry: Entry
) -> list[dict[str, Any]]:
    """Rows of the measures table from what the store holds of a checkpoint."""
    rows = []
    for measure in measures:
        found = entry.meta["measures"][measure.name]
        for suffix, (number, status, reason) in found["values"].items():
            rows.append(
                {
                    "checkpoint": checkpoint,
                    "measure": f"{measure.name}.{suffix}" if suffix else measure.name,
                    "version": measure.version,
                    "value": math.nan if number is None else float(number),
                    "status": status,
                    "reason": reason,
                    "seconds": float(found["seconds"]),
                }
            )
    return rows


def unit_rows(checkpoint: str, entry: Entry) -> list[pa.Table]:
    """The unit tables of a checkpoint from what the store holds of it, one per filtration.

    Returns:
        Of `UNIT_SCHEMA`: entropies in nats, rates in [0, 1].
    """
    return [
        _unit_table(checkpoint, filtration, names, entry)
        for filtration, names in entry.meta["columns"].items()
    ]


def _unit_table(checkpoint: str, filtration: str, names: Iterable[str], entry: Entry) -> pa.Table:
    """One unit table; it is never made a frame of pandas, which takes ten times as long."""
    columns = {name: entry.arrays[f"{filtration}.{name}"] for name in names}
    words = entry.meta["words"][filtration]
    same = np.zeros(len(columns["unit"]), np.int32)
    found = {"checkpoint": _words(same, [checkpoint]), "filtration": _words(same, [filtration])}
    for name, values in columns.items():
        found[name] = _words(values, words[name]) if name in words else _numbers(values)
    return pa.table({name: found[name] for name in UNIT_SCHEMA.names}).cast(UNIT_SCHEMA)


def _numbers(values: np.ndarray) -> pa.Array:
    """Numbers as they are."""
    if values.dtype.kind not in "iuf":
        raise TypeError("numbers were expected")
    return pa.array(values)


def _words(codes: np.ndarray, words: Sequence[str]) -> pa.Array:
    """Words by their numbers, of which −1 means none."""
    if len(set(words)) < len(words):
        raise ValueError("words were expected that differ")
    numbers = pa.array(codes, pa.int32(), mask=codes == -1)
    return pa.DictionaryArray.from_arrays(numbers, pa.array(words, pa.string()))
