"""Whether a stage's table is up to date with its inputs, our code and the libraries under it."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import audit
from audit.store import key_digest

#: The package whose source decides the tables.
HOME: Final = Path(audit.__file__).parent

_LIBRARIES: Final = ("numpy", "scipy", "scikit-learn", "pandas", "numba")


def file_sha256(path: Path) -> str:
    """SHA-256 of a table's bytes, or "" where it does not exist."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else ""


def stage_digest(packages: tuple[str, ...], **inputs: Any) -> str:
    """Digest of all that decides a stage's table: its inputs, our code and the libraries under it.

    Args:
        packages: Subpackages and files of `audit` whose source decides the result.
        inputs: Digests of the files read, and parameters.
    """
    return key_digest({"code": code_digest(packages), "inputs": inputs})


@functools.cache
def code_digest(packages: tuple[str, ...]) -> str:
    """Digest of the source of subpackages and of the versions of the libraries they use."""
    digest = hashlib.sha256()
    for library in _LIBRARIES:
        digest.update(f"{library} {metadata.version(library)}\n".encode())
    for package in packages:
        found = HOME / package
        for path in [found] if found.is_file() else sorted(found.rglob("*.py")):
            digest.update(path.relative_to(HOME).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def is_current(section: Mapping[str, Any] | None, inputs: str, output: Path) -> bool:
    """Whether a stage's table is the one its section describes, made from these inputs."""
    return bool(
        section
        and section.get("inputs") == inputs
        and output.exists()
        and section.get("sha256") == file_sha256(output)
    )
