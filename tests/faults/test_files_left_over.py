"""After a kill no temporary file stays: the next run removes what dead processes have left."""

import os
import sys

from programs import run_program

from audit.files import remove_leftovers, write_atomically
from audit.store import Store

KILLED = """
import os, sys
from pathlib import Path
from audit import files

files.os.fsync = lambda descriptor: os.kill(os.getpid(), 9)
files.write_atomically(Path(sys.argv[1]) / "measures.csv", b"half")
"""


def test_the_temporary_file_of_a_killed_process_is_removed(tmp_path):
    write_atomically(tmp_path / "measures.csv", b"old")
    done = run_program([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    assert done.returncode == -9
    assert len(list(tmp_path.glob(".*.tmp"))) == 1
    remove_leftovers(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["measures.csv"]
    assert (tmp_path / "measures.csv").read_bytes() == b"old"


def test_files_of_living_processes_and_other_machines_stay(tmp_path, monkeypatch):
    made = []
    for process in (os.getpid(), os.getppid()):
        with monkeypatch.context() as patch:
            patch.setattr("os.getpid", lambda process=process: process)
            patch.setattr("pathlib.Path.replace", lambda path, target: made.append(path.name))
            write_atomically(tmp_path / "a", b"")
    (tmp_path / ".00000000-999999999-0.tmp").touch()
    remove_leftovers(tmp_path)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {*made, ".00000000-999999999-0.tmp"}


def test_a_store_is_rid_of_what_a_killed_writer_left(tmp_path):
    store = Store(tmp_path)
    store.put({"a": 1}, {}, {"value": 1})
    folder = store.path({"a": 1}).parent
    (folder / "x").write_bytes(b"")
    done = run_program([sys.executable, "-c", KILLED, str(folder)], check=False)
    assert done.returncode == -9
    assert len(list(folder.glob(".*.tmp"))) == 1
    store.remove_leftovers()
    assert list(folder.glob(".*.tmp")) == []
    assert store.get({"a": 1}).meta["value"] == 1
