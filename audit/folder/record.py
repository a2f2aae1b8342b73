"""`run.json`: what an output folder's tables were made from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from audit.errors import DataError
from audit.files import MOST_IN_TABLE, write_atomically
from audit.folder.json_files import check_form, read_json
from audit.folder.run_form import RunForm
from audit.shown import bounded
from audit.store import key_digest

MEASURES: Final = "measures.csv"
UNITS: Final = "units.parquet"
ACCURACIES: Final = "accuracies.csv"
CORRELATIONS: Final = "correlations.csv"
RANKING: Final = "ranking.csv"
RUN: Final = "run.json"
PROGRESS: Final = "progress.json"
UNIT_EXAMPLES: Final = "unit_examples.json"


#: What to do about a record that cannot be used.
_REMEDY: Final = "`genaudit run` writes the file anew"


def read_run(folder: Path, needs: Sequence[str] = ()) -> dict[str, Any]:
    """What `run.json` holds, as it stands.

    Args:
        folder: The output folder.
        needs: Parts of it that the caller reads and that it must have.

    Raises:
        DataError: There is none, it cannot be read, a part is not as `audit.folder.run_form` has
            it, or one that is needed is missing.
    """
    path = folder / RUN
    try:
        record = read_json(path, MOST_IN_TABLE)
    except FileNotFoundError as error:
        raise DataError(
            f"{folder} holds no audit ({RUN} is missing); "
            f"`genaudit measure CONFIG -o {folder}` writes one"
        ) from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {bounded(str(error), 300)}") from error
    if not isinstance(record, dict):
        kind = type(record).__name__
        raise DataError(f"{path} cannot be read: a JSON object was expected, found a {kind}")
    check_form(RunForm, record, path, _REMEDY)
    for part in needs:
        if part not in record:
            raise DataError(f"{path} cannot be read: {part} is missing; {_REMEDY}")
    return record


def write_run(folder: Path, record: Mapping[str, Any]) -> None:
    """Write `run.json`.

    Raises:
        StoreError: It cannot be written.
    """
    text = json.dumps(record, indent=1, ensure_ascii=False, default=str) + "\n"
    # lone surrogates, of paths that are not UTF-8, become the escapes that JSON has for them
    write_atomically(folder / RUN, text.encode("utf-8", "backslashreplace"))


def network_digests(record: Mapping[str, Any]) -> dict[str, str]:
    """Checkpoint → a digest of all that makes its network what it is; unknown ones are left out.

    Weights alone do not: another model, or another head, may read the same file.
    """
    parts = ("model", "model_args", "source", "weights_digest", "which", "class_order")
    return {
        str(entry["checkpoint"]): key_digest({part: entry.get(part) for part in parts})
        for entry in record.get("checkpoints") or ()
        if entry.get("weights_digest")
    }
