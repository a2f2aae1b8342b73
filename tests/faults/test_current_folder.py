"""A folder of strangers' files is stood in, and nothing that lies there runs.

Every test stands in a folder that holds a canary under the name of every module of Python's, and of
a few libraries: one that is imported leaves its name behind.
"""

import os
import sys

import pytest
from programs import run_program

#: `python -m` itself imports these, before a line of ours runs: only `python -P -m` does not.
BEFORE_US = {"__future__", "typing", "collections", "re", "functools", "contextlib", "importlib"}

CANARY = "import pathlib; pathlib.Path({where!r}).joinpath(__name__).touch()\n"

WORKERS = """
import sys
from audit_engines import local

if __name__ == "__main__":
    assert dict(local.run(abs, [-1, -2], 2)) == {0: 1, 1: 2}
"""


@pytest.fixture
def canaries(tmp_path):
    """A folder of canaries, and the folder where those that ran leave their names."""
    folder, sang = tmp_path / "strangers", tmp_path / "sang"
    folder.mkdir()
    sang.mkdir()
    for name in (sys.stdlib_module_names | {"click", "torch", "sitecustomize"}) - BEFORE_US:
        (folder / f"{name}.py").write_text(CANARY.format(where=str(sang)))
    return folder, sang


def run_in(folder, *arguments, **variables):
    environment = {**os.environ, **variables}
    environment.pop("PYTHONSAFEPATH", None)
    return run_program([sys.executable, *map(str, arguments)], cwd=folder, env=environment)


def names(sang):
    return sorted(path.name for path in sang.iterdir())


def test_python_m_audit_runs_nothing_of_the_current_folder(canaries):
    folder, sang = canaries
    assert "genaudit" in run_in(folder, "-m", "audit", "--version").stdout
    assert names(sang) == []


def test_the_command_runs_nothing_of_the_current_folder(canaries, tmp_path):
    folder, sang = canaries
    script = tmp_path / "genaudit"  # as an installer writes it
    script.write_text("import sys\nfrom audit.cli import main\nsys.exit(main())\n")
    assert "genaudit" in run_in(folder, script, "--help").stdout
    assert names(sang) == []


def test_workers_run_nothing_of_the_current_folder(canaries, tmp_path):
    folder, sang = canaries
    script = tmp_path / "script.py"
    script.write_text(WORKERS)
    run_in(folder, script)
    assert names(sang) == []


def test_workers_find_the_folder_of_the_user_s_script(canaries, tmp_path):
    folder, sang = canaries
    (tmp_path / "beside.py").write_text("def double(number):\n    return 2 * number\n")
    script = tmp_path / "script.py"
    script.write_text(
        WORKERS.replace("abs, [-1, -2]", "double, [0.5, 1]").replace(
            "import sys", "from beside import double"
        )
    )
    run_in(folder, script)
    assert names(sang) == []


def test_an_empty_entry_of_pythonpath_is_left_out(tmp_path, monkeypatch):
    from audit.search_path import drop_empty_entries

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), "/elsewhere"])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["", "/elsewhere"]))
    drop_empty_entries()
    assert (sys.path, os.environ["PYTHONPATH"]) == (["/elsewhere"], "/elsewhere")


def test_a_current_folder_that_pythonpath_names_stays(tmp_path, monkeypatch):
    from audit.search_path import drop_empty_entries

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    for entries in ([str(tmp_path), ""], [str(tmp_path)]):
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(entries))
        drop_empty_entries()
        assert (sys.path, os.environ["PYTHONPATH"]) == ([str(tmp_path)], str(tmp_path))


def test_a_reference_runs_its_own_modules_of_the_current_folder_and_no_other(canaries, monkeypatch):
    from audit.plugin.registry import installed

    folder, sang = canaries
    (folder / "stranger_nets.py").write_text(
        "import pickle, colorsys\n"
        "from stranger_parts import width\n"
        "try:\n    __import__('optional' + '_of_a_library')\nexcept ImportError:\n    pass\n"
        "import torch\n"
        "def build():\n    return torch.nn.Linear(width, 1)\n"
    )
    (folder / "stranger_parts.py").write_text("width = 3\n")
    canary = CANARY.format(where=str(sang))
    (folder / "optional_of_a_library.py").write_text(canary)
    monkeypatch.chdir(folder)
    sys.modules.pop("colorsys", None)
    source = installed().model_source("stranger_nets:build")
    assert source.create("stranger_nets:build", {}, False).in_features == 3
    assert names(sang) == []
    for name in ("stranger_nets", "stranger_parts"):
        del sys.modules[name]
