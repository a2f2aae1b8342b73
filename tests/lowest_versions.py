"""Write, as constraints for pip, the lowest versions that pyproject.toml allows.

The environment `lowest` of tox installs under them: `python tests/lowest_versions.py FILE`, then
`pip install --constraint FILE`. They are read from the bounds, so no version is written twice.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

PROJECT = Path(__file__).parent.parent / "pyproject.toml"

#: Extras whose packages tests run with. A type checker or a linter reads other packages' newest
#: stubs and rules, so its lowest version says nothing about this project.
EXTRAS = ("test", "cuda")


def requirements(project: dict[str, Any], extras: Iterable[str] = EXTRAS) -> Iterator[Requirement]:
    """What the project and some of its extras require, less what it requires of itself."""
    lines = list(project["dependencies"])
    for extra in extras:
        lines += project["optional-dependencies"][extra]
    for requirement in map(Requirement, lines):
        if requirement.name != project["name"]:
            yield requirement


def lowest(requirement: Requirement) -> str:
    """The constraint that pins a requirement to its lower bound.

    Raises:
        ValueError: It has no lower bound, or more than one.
    """
    bounds = [part.version for part in requirement.specifier if part.operator in (">=", "~=")]
    if len(bounds) != 1:
        raise ValueError(
            f"a requirement in pyproject.toml must have one lower bound (>= or ~=); found "
            f"'{requirement}': give it the lowest version that the tests pass with"
        )
    marker = f"; {requirement.marker}" if requirement.marker else ""
    return f"{requirement.name}=={bounds[0]}{marker}"


def constraints(path: Path = PROJECT) -> list[str]:
    """One line for each requirement of the project."""
    project = tomllib.loads(path.read_text(encoding="utf-8"))["project"]
    return [lowest(requirement) for requirement in requirements(project)]


if __name__ == "__main__":
    Path(sys.argv[1]).write_text("\n".join(constraints()) + "\n", encoding="utf-8")
