"""A stage's digest covers all the code and every library that decide the stage's table."""

import ast
import sys
from importlib import metadata
from pathlib import Path

import pytest

import audit.correlation.stage
import audit.ranking.stage
from audit.folder.currency import HOME, LIBRARIES, sources_of

FOLDERS = ("statistics", "correlation", "ranking", "folder")
STAGES = {"correlation": audit.correlation.stage, "ranking": audit.ranking.stage}

#: What the stages import of `audit` besides, and why a change there needs no new table.
HARMLESS = {
    "__init__": "names things, and holds the version",
    "arrays": "names shapes",
    "errors": "words of messages",
    "files": "puts bytes in their place whole",
    "notations": "refuses JSON and TOML that is wrong; the rest is the standard library's",
    "plugin": "declarations; what a plugin's format read is in accuracies.csv, which is digested",
    "store": "digests keys: a change there changes the stage's digest itself",
}


#: Libraries whose version cannot move a number, and why.
NAMES_ONLY = {
    "jaxtyping": "names shapes in annotations",
    "pyarrow": "writes and reads the unit table, which is read by no stage",
    "pydantic_core": "is of the one version that pydantic asks for",
}


def imported(path):
    """Every absolute name a file imports, at any depth."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: this test reads absolute imports only"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def source_of(name):
    """The file of a module of `audit`, or of the module that a dotted name lies in."""
    parts = name.split(".")[1:]
    while True:
        place = HOME.joinpath(*parts)
        for path in (place.with_suffix(".py"), place / "__init__.py"):
            if path.is_file():
                return path
        parts = parts[:-1]


def reached_from(start):
    """Files of `audit` that a file imports, and those that they import, within the folders."""
    found, waiting = set(), [start]
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        found.add(path)
        if folder_of(path) in FOLDERS:
            names = [name for name in imported(path) if name.split(".")[0] == "audit"]
            waiting += [source_of(name) for name in names]
    return found


def folder_of(path):
    """The folder or module directly below `audit`."""
    return Path(path.relative_to(HOME).parts[0]).stem


def test_libraries_are_all_that_the_stages_import():
    distributions = metadata.packages_distributions()
    tops = {
        name.split(".")[0]
        for folder in FOLDERS
        for path in sources_of(folder)
        for name in imported(path)
    }
    third_party = tops - {"audit"} - sys.stdlib_module_names
    used = {name.lower() for top in third_party for name in distributions[top]}
    assert used - NAMES_ONLY.keys() == set(LIBRARIES)


def test_libraries_are_installed():
    assert all(metadata.version(name) for name in LIBRARIES)


@pytest.mark.parametrize("stage", STAGES)
def test_sources_of_a_stage_exist_and_cover_what_it_imports(stage):
    sources = STAGES[stage].SOURCES
    covered = {path for package in sources for path in sources_of(package)}
    reached = reached_from(HOME / stage / "stage.py")
    assert len(reached) > 20
    assert {folder_of(path) for path in reached - covered} <= HARMLESS.keys()


def test_reading_imports_finds_what_lies_inside_functions(tmp_path):
    path = tmp_path / "a.py"
    path.write_text("import os.path\ndef f():\n    from audit.folder.columns import measure_of\n")
    assert list(imported(path)) == ["os.path", "audit.folder.columns.measure_of"]
    assert source_of("audit.folder.columns.measure_of") == HOME / "folder" / "columns.py"
    assert source_of("audit.folder") == HOME / "folder" / "__init__.py"
