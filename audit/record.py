"""`run.json`: what an output folder's tables were made from, so that what is up to date is kept."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from audit.errors import DataError
from audit.files import write_atomically
from audit.store import key_digest

MEASURES: Final = "measures.csv"
UNITS: Final = "units.parquet"
ACCURACIES: Final = "accuracies.csv"
CORRELATIONS: Final = "correlations.csv"
RANKING: Final = "ranking.csv"
RUN: Final = "run.json"

_LIBRARIES: Final = ("numpy", "scipy", "scikit-learn", "pandas", "numba")


def read_run(folder: Path) -> dict[str, Any]:
    """What `run.json` holds.

    Raises:
        DataError: There is none, or it cannot be read.
    """
    path = folder / RUN
    try:
        record = json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise DataError(
            f"{folder} holds no audit ({RUN} is missing); "
            f"`genaudit measure CONFIG -o {folder}` writes one"
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    if not isinstance(record, dict):
        raise DataError(f"{path} cannot be read: a JSON object was expected, found {record!r:.40}")
    return record


def write_run(folder: Path, record: Mapping[str, Any]) -> None:
    """Write `run.json`.

    Raises:
        StoreError: It cannot be written.
    """
    text = json.dumps(record, indent=1, ensure_ascii=False, default=str) + "\n"
    write_atomically(folder / RUN, text.encode())


def file_sha256(path: Path) -> str:
    """SHA-256 of a table's bytes, or "" where it does not exist."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else ""


def stage_digest(packages: tuple[str, ...], **inputs: Any) -> str:
    """Digest of all that decides a stage's table: its inputs, our code and the libraries under it.

    Args:
        packages: Subpackages and files of `audit` whose source decides the result.
        inputs: Digests of the files read, and parameters.
    """
    return key_digest({"code": _code_digest(packages), "inputs": inputs})


@functools.cache
def _code_digest(packages: tuple[str, ...]) -> str:
    """Digest of the source of subpackages and of the versions of the libraries they use."""
    home = Path(__file__).parent
    digest = hashlib.sha256()
    for library in _LIBRARIES:
        digest.update(f"{library} {metadata.version(library)}\n".encode())
    for package in packages:
        found = home / package
        for path in [found] if found.is_file() else sorted(found.rglob("*.py")):
            digest.update(path.relative_to(home).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def is_current(section: Mapping[str, Any] | None, inputs: str, output: Path) -> bool:
    """Whether a stage's table is the one its section describes, made from these inputs."""
    return bool(
        section
        and section.get("inputs") == inputs
        and output.exists()
        and section.get("sha256") == file_sha256(output)
    )
