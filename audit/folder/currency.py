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

#: The distributions that statistics, correlation, ranking and this folder import.
LIBRARIES: Final = ("mapie", "numpy", "pandas", "pydantic", "scikit-learn", "scipy")


def file_sha256(path: Path) -> str:
    """SHA-256 of a table's bytes, or "" where it does not exist."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else ""


def stage_digest(packages: tuple[str, ...], **inputs: Any) -> str:
    """Digest of all that decides a stage's table: its inputs, our code and the libraries under it.

    Args:
        packages: Subpackages and files of `audit` whose source decides the result.
        inputs: Digests of the files read, and parameters.

    Raises:
        ValueError: There is no source at one of the packages.
    """
    return key_digest({"code": code_digest(packages), "inputs": inputs})


@functools.cache
def code_digest(packages: tuple[str, ...]) -> str:
    """Digest of the source of subpackages and of the versions of the libraries they use.

    Raises:
        ValueError: There is no source at one of them.
    """
    digest = hashlib.sha256()
    for library in LIBRARIES:
        digest.update(f"{library} {metadata.version(library)}\n".encode())
    for package in packages:
        for path in sources_of(package):
            name, content = path.relative_to(HOME).as_posix().encode(), path.read_bytes()
            digest.update(b"%s %d\n%s" % (name, len(content), content))
    return digest.hexdigest()


def sources_of(package: str) -> list[Path]:
    """The source files of a subpackage of `audit`, or the one file that is named.

    Raises:
        ValueError: There are none.
    """
    found = HOME / package
    paths = [found] if found.is_file() else sorted(found.rglob("*.py"))
    if not paths:
        raise ValueError(
            f"a stage's digest needs source files of audit; found none at {package!r} in {HOME}"
        )
    return paths


def is_current(section: Mapping[str, Any] | None, inputs: str, output: Path) -> bool:
    """Whether a stage's table is the one its section describes, made from these inputs."""
    return bool(
        section
        and section.get("inputs") == inputs
        and output.exists()
        and section.get("sha256") == file_sha256(output)
    )
