"""Power that is lost: what was not synced may be there, or not, or in part; the old or the new is.

A disk is modelled by what its calls are: the content of a file survives from its `fsync` on, its
name from that of its folder on. Until then each may be lost or be there by itself, and content may
be there in part. Every state that this allows, after every call, is laid out and read.
"""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import numpy as np
import pytest

from audit.files import write_atomically
from audit.store import Store
from tests.campaigns.disk import Disk

KEY = {"weights": "0" * 64}


class Volatile:
    """A folder as it may lie on the disk after power was lost, call by call.

    Attributes:
        contents: File → its content, as those see it who write.
        synced: File → the content that is certain to survive, if any is.
        names: Path → file, as those see it who write.
        certain: The same, as it is certain to survive.
    """

    def __init__(self, root):
        self.root = str(root)
        self.contents, self.synced, self.names, self.certain = {}, {}, {}, {}
        self.numbers = itertools.count()
        self.states = []
        for path in sorted(p for p in Path(root).rglob("*") if p.is_file()):
            number = self._new(str(path))
            self.contents[number] = self.synced[number] = path.read_bytes()
        self.certain = dict(self.names)

    def _new(self, path):
        number = next(self.numbers)
        self.names[path] = number
        self.contents[number] = b""
        return number

    def after(self, call, path, content):
        """Follow a call that has succeeded."""
        if call in ("open", "open(xb)", "open(wb)", "open(ab)") and not os.path.isdir(path):
            if path not in self.names and call != "open(rb)":
                self._new(path)
        elif call in ("write", "file.write"):
            self.contents[self.names[path]] += content
        elif call in ("fsync", "fdatasync"):
            if os.path.isdir(path):
                self._sync_names(path)
            else:
                self.synced[self.names[path]] = self.contents[self.names[path]]
        elif call in ("replace", "rename"):
            source, target = path.split("\0")
            self.names[target] = self.names.pop(source)
        elif call in ("unlink", "remove"):
            self.names.pop(path, None)
        self.states.extend(self._possible())

    def _sync_names(self, folder):
        for path in {*self.names, *self.certain}:
            if os.path.dirname(path) == folder:
                if path in self.names:
                    self.certain[path] = self.names[path]
                else:
                    self.certain.pop(path, None)

    def _possible(self):
        """Every folder that may be found: path → content."""
        open_names = [
            path
            for path in {*self.names, *self.certain}
            if self.names.get(path) != self.certain.get(path)
        ]
        choices = [
            (
                path,
                {self.names.get(path), self.certain.get(path)},
            )
            for path in sorted(open_names)
        ]
        for picked in itertools.product(*(sorted(c, key=str) for _, c in choices)):
            names = dict(self.certain)
            for (path, _), number in zip(choices, picked, strict=True):
                names.pop(path, None)
                if number is not None:
                    names[path] = number
            yield from self._with_contents(names)

    def _with_contents(self, names):
        """Unsynced content is there, or not, or in part, or as zeros."""
        options = []
        for number in names.values():
            now, safe = self.contents[number], self.synced.get(number)
            if now == safe:
                options.append([now])
            else:
                options.append([safe or b"", now[: len(now) // 2], bytes(len(now)), now])
        for picked in itertools.product(*options):
            yield dict(zip(names, picked, strict=True))


def lay_out(state, root, folder):
    """Write a state into a folder of its own."""
    for path, content in state.items():
        target = folder / os.path.relpath(path, root)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)


def states_of(root, step):
    """Every state that power may leave behind while a step runs, and after it."""
    volatile = Volatile(root)
    with Disk(root, after=volatile.after):
        step()
    last = list(volatile._possible())
    unique = {tuple(sorted(state.items())): state for state in volatile.states}
    assert len(unique) > 1
    return list(unique.values()), last


def read_entry(state, root, folder):
    lay_out(state, root, folder)
    entry = Store(folder).get(KEY)
    return None if entry is None else (entry.meta["value"], entry.arrays["a"].tolist())


@pytest.fixture
def root(tmp_path):
    path = Path(os.path.realpath(tmp_path)) / "store"
    path.mkdir()
    return path


def test_row_12_an_entry_is_the_old_or_the_new_after_power_was_lost(root, tmp_path):
    store = Store(root)
    store.put(KEY, {"a": np.arange(3)}, {"value": "old"})
    states, last = states_of(root, lambda: store.put(KEY, {"a": np.arange(5)}, {"value": "new"}))
    old, new = ("old", [0, 1, 2]), ("new", [0, 1, 2, 3, 4])
    found = [read_entry(state, root, tmp_path / f"at {n}") for n, state in enumerate(states)]
    assert set(map(str, found)) == {str(old), str(new)}
    kept = [read_entry(state, root, tmp_path / f"last {n}") for n, state in enumerate(last)]
    assert kept == [new] * len(kept)  # what was put is there, whatever happens now
    for folder in tmp_path.glob("*/quarantine"):
        raise AssertionError(f"{folder}: an entry was seen as damaged")


def test_row_12_a_first_entry_is_there_or_not(root, tmp_path):
    states, _ = states_of(root, lambda: Store(root).put(KEY, {"a": np.arange(2)}, {"value": "n"}))
    found = [read_entry(state, root, tmp_path / str(n)) for n, state in enumerate(states)]
    assert set(map(str, found)) == {"None", str(("n", [0, 1]))}


def test_row_12_a_table_is_the_old_or_the_new_after_power_was_lost(root):
    path = root / "measures.csv"
    path.write_bytes(b"old")
    states, last = states_of(root, lambda: write_atomically(path, b"new content"))
    assert {state[str(path)] for state in states} == {b"old", b"new content"}
    assert {state[str(path)] for state in last} == {b"new content"}


def test_row_12_a_line_of_the_ledger_that_was_lost_costs_no_other(root, tmp_path):
    store = Store(root)
    store.note({"number": 0})
    states, _ = states_of(root, lambda: store.note({"number": 1}))
    for number, state in enumerate(states):
        folder = tmp_path / str(number)
        lay_out(state, root, folder)
        after = Store(folder)
        after.note({"number": 2})
        numbers = [line["number"] for line in after.ledger()]
        assert numbers in ([0, 2], [0, 1, 2], [2])


@pytest.mark.parametrize("forgotten", ["fsync of the file", "fsync of the folder"])
def test_row_12_the_model_sees_what_a_writer_forgets(root, monkeypatch, forgotten):
    """A writer that syncs too little is found out, or this file would show nothing."""
    path = root / "measures.csv"
    path.write_bytes(b"old")
    volatile = Volatile(root)
    with Disk(root, after=volatile.after):
        monkeypatch.setattr(os, "fsync", _skipping(os.fsync, forgotten))
        write_atomically(path, b"new content")
        monkeypatch.undo()
    found = {state[str(path)] for state in volatile.states}
    last = {state[str(path)] for state in volatile._possible()}
    if "file" in forgotten:
        assert found - {b"old", b"new content"}
    else:
        assert last == {b"old", b"new content"}


def _skipping(real, forgotten):
    def fsync(descriptor):
        if os.path.isdir(f"/proc/self/fd/{descriptor}") != ("folder" in forgotten):
            real(descriptor)

    return fsync
