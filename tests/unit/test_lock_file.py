"""The lock file of development: every pin has hashes, is allowed, and no host is named."""

import itertools
import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LOCK = (ROOT / ".requirements/dev.lock").read_text("utf-8")


def pins():
    """Name → (version, number of hashes)."""
    found = {}
    for entry in re.split(r"\n(?=\S)", LOCK):
        if match := re.match(r"([\w.\[\],-]+)==([\w.+!-]+)", entry):
            name = canonicalize_name(match[1].partition("[")[0])
            found[name] = (match[2], len(re.findall("--hash=sha256:[0-9a-f]{64}", entry)))
    return found


def test_every_pin_has_hashes():
    assert len(pins()) > 100
    assert [name for name, (_, n_hashes) in pins().items() if n_hashes == 0] == []


def test_pins_are_what_pyproject_allows():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = itertools.chain.from_iterable(project["optional-dependencies"].values())
    for requirement in map(Requirement, [*project["dependencies"], *extras]):
        if requirement.name != "genaudit":
            version, _ = pins()[canonicalize_name(requirement.name)]
            assert requirement.specifier.contains(version, prereleases=True), requirement


def test_no_host_is_named():
    assert "://" not in LOCK
    assert "index-url" not in LOCK
