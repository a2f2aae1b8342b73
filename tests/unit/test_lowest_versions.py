"""The constraints of tox's environment `lowest` are the bounds of pyproject.toml."""

import importlib.util
import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def script():
    specification = importlib.util.spec_from_file_location(
        "lowest_versions", ROOT / "tests" / "lowest_versions.py"
    )
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def project(tmp_path, *dependencies):
    path = tmp_path / "pyproject.toml"
    path.write_text(
        f"[project]\nname = 'house'\ndependencies = {list(dependencies)!r}\n"
        "[project.optional-dependencies]\n"
        "test = ['pytest>=8', 'house[cuda]']\ncuda = [\"cores>=2; platform_system != 'Darwin'\"]\n"
    )
    return path


def test_lowest_pins_each_requirement_to_its_bound(script, tmp_path):
    path = project(tmp_path, "torch>=2.10", "numpy >= 2.0, <3", "click~=8.1", "ray[data]>=2.9")
    assert script.constraints(path) == [
        "torch==2.10",
        "numpy==2.0",
        "click==8.1",
        "ray==2.9",
        "pytest==8",
        'cores==2; platform_system != "Darwin"',
    ]


@pytest.mark.parametrize("unbounded", ["numpy", "numpy<3", "numpy==2.0"])
def test_lowest_refuses_a_requirement_without_a_bound(script, tmp_path, unbounded):
    expected = (
        "a requirement in pyproject.toml must have one lower bound (>= or ~=); found "
        f"'{unbounded}': give it the lowest version that the tests pass with"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(expected)}$"):
        script.constraints(project(tmp_path, unbounded))


def test_lowest_of_this_project_are_the_bounds_as_they_are_written(script):
    """Read another way: off the text of pyproject.toml, line by line."""
    text = (ROOT / "pyproject.toml").read_text()
    listed = text[text.index("\ndependencies = [") : text.index("\nlint = [")]
    written = re.findall(r'^ +"([\w-]+)(?:\[[\w,-]+\])?>=([\w.]+)', listed, flags=re.MULTILINE)
    made = [Requirement(line) for line in script.constraints()]
    assert [(item.name, str(item.specifier)) for item in made] == [
        (name, f"=={bound}") for name, bound in written
    ]
    assert len(made) > 20
