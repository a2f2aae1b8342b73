"""Killed writers, racing writers, full disks: a reader sees all of an entry or nothing.

`GENAUDIT_CAMPAIGN=50` multiplies the 20 writers that are killed by fifty.
"""

import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from programs import start_program

from audit.errors import StoreError
from audit.files import write_atomically
from audit.store import Store
from tests.campaigns.disk import Disk
from tests.campaigns.small_folder import SmallFolder

CAMPAIGN = 200 * int(os.environ.get("GENAUDIT_CAMPAIGN", "1"))
KEY = {"weights": "0" * 64}
REFUSALS = [errno.ENOSPC, errno.EIO, errno.EACCES, errno.EROFS, errno.EDQUOT]

WRITER = """
import itertools, os, sys
from pathlib import Path
import numpy as np
from audit.files import write_atomically
from audit.store import Store

store = Store(Path(sys.argv[1]))
who, n_rounds = int(sys.argv[2]), int(sys.argv[3])
print("ready", flush=True)
for number in itertools.islice(itertools.count(), n_rounds or None):
    size = 1 + (who * 7919 + number * 104729) % 200_000
    value = (who * 1000 + number) % 30_000
    store.put({"weights": "0" * 64}, {"a": np.full(size, value, np.int16)}, {"value": value})
    write_atomically(store.root / "table.csv", b"%d\\n" % value * size)
    store.note({"who": who, "number": number, "padding": "x" * (number % 300)})
"""


def start_writer(folder, who, n_rounds):
    """A process that writes the same entry, table and ledger over and over; 0 means for ever."""
    process = start_program(
        [sys.executable, "-c", WRITER, str(folder), str(who), str(n_rounds)], stdout=subprocess.PIPE
    )
    assert process.stdout.readline() == "ready\n"
    return process


def is_whole(entry):
    values = entry.arrays["a"]
    return bool((values == entry.meta["value"]).all()) and values.size > 0


def assert_nothing_torn(store):
    """The entry and the table are of one write each, and every line of the ledger is whole."""
    entry = store.get(KEY)
    assert entry is None or is_whole(entry)
    assert not (store.root / "quarantine").exists()
    table = store.root / "table.csv"
    if table.exists():
        lines = table.read_bytes().split(b"\n")
        assert lines.pop() == b""
        assert len(set(lines)) == 1
    for line in _ledger_lines(store):
        json.loads(line)


def _ledger_lines(store):
    path = store.root / "ledger.jsonl"
    return path.read_bytes().splitlines() if path.exists() else []


def leftovers(folder):
    return [path for path in folder.rglob("*") if path.name.endswith(".tmp")]


def test_row_14_store_many_writers_of_one_key_never_show_a_torn_entry(tmp_path):
    store = Store(tmp_path)
    writers = [start_writer(tmp_path, who, 12) for who in range(4)]
    n_reads = 0
    while any(writer.poll() is None for writer in writers):
        entry = store.get(KEY)
        assert entry is None or is_whole(entry)
        n_reads += 1
    for writer in writers:
        writer.stdout.close()
    assert [writer.returncode for writer in writers] == [0, 0, 0, 0]
    assert n_reads > 4
    assert is_whole(store.get(KEY))
    assert_nothing_torn(store)
    assert leftovers(tmp_path) == []
    seen = {(line["who"], line["number"]) for line in store.ledger()}
    assert seen == {(who, number) for who in range(4) for number in range(12)}
    assert len(_ledger_lines(store)) == 48


def test_row_14_ledger_lines_of_many_processes_are_whole(tmp_path):
    script = (
        "import sys\nfrom pathlib import Path\nfrom audit.store import Store\n"
        "store = Store(Path(sys.argv[1]))\n"
        "for number in range(500):\n"
        "    store.note({'who': sys.argv[2], 'number': number, 'x': 'y' * (number * 7 % 3000)})\n"
    )
    writers = [
        start_program([sys.executable, "-c", script, str(tmp_path), str(who)]) for who in range(4)
    ]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0, 0]
    lines = [json.loads(line) for line in _ledger_lines(Store(tmp_path)) if line.strip()]
    assert len(lines) == 2000
    for who in "0123":
        assert [line["number"] for line in lines if line["who"] == who] == list(range(500))


def test_row_09_store_killed_writers_leave_the_old_entry_or_the_new(tmp_path):
    store = Store(tmp_path)
    rng = random.Random(5)
    n_kills = max(1, CAMPAIGN // 10)
    workers = []
    try:
        for who in range(n_kills):
            writer = start_writer(tmp_path, who, 0)
            workers.append(writer)
            time.sleep(rng.random() * 0.08)
            writer.send_signal(signal.SIGKILL)
            assert writer.wait(20) == -signal.SIGKILL
            assert_nothing_torn(store)
    finally:
        for writer in workers:
            writer.kill()
            writer.wait(20)
            writer.stdout.close()
    assert is_whole(store.get(KEY))
    store.put(KEY, {"a": np.ones(1, np.int16)}, {"value": 1})
    assert store.verify() == (1, 0)


def test_row_13_store_read_while_it_is_damaged_and_rewritten_is_never_wrong(tmp_path):
    store = Store(tmp_path)
    writer = start_writer(tmp_path, 1, 25)
    rng = random.Random(6)
    while writer.poll() is None:
        try:
            with store.path(KEY).open("r+b") as file:
                file.seek(rng.randrange(400))
                file.write(rng.randbytes(3))
        except FileNotFoundError:
            pass
        entry = store.get(KEY)
        assert entry is None or is_whole(entry)
    writer.stdout.close()
    assert writer.returncode == 0


class Faulty:
    """A function of the system that fails from its n-th call on."""

    def __init__(self, function, code, first=0, applies=lambda *arguments: True):
        self.function, self.code, self.first, self.applies = function, code, first, applies
        self.calls = 0

    def __call__(self, *arguments, **keywords):
        if not self.applies(*arguments):
            return self.function(*arguments, **keywords)
        self.calls += 1
        if self.calls > self.first:
            raise OSError(self.code, os.strerror(self.code))
        return self.function(*arguments, **keywords)


def fail_at(monkeypatch, site, code, first=0):
    """Make one call site of the system refuse."""
    owner, name = {"os": os, "Path": Path}[site.split(".")[0]], site.split(".")[1]
    faulty = Faulty(getattr(owner, name), code, first)

    def call(*arguments, **keywords):
        return faulty(*arguments, **keywords)

    monkeypatch.setattr(owner, name, call)
    return faulty


class HalfWritten:
    """A file that takes part of what it is given and then refuses."""

    def __init__(self, file, code):
        self.file, self.code = file, code

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def write(self, content):
        self.file.write(content[: len(content) // 2])
        self.file.flush()
        raise OSError(self.code, os.strerror(self.code))


BEFORE_THE_MOVE = ["Path.mkdir", "Path.open", "os.fsync", "Path.replace"]


@pytest.mark.parametrize("code", REFUSALS, ids=errno.errorcode.get)
@pytest.mark.parametrize("site", BEFORE_THE_MOVE)
def test_row_11_write_refused_before_the_move_leaves_the_old_content(
    tmp_path, monkeypatch, site, code
):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with monkeypatch.context() as patch:
        fail_at(patch, site, code)
        with pytest.raises(StoreError) as caught:
            write_atomically(path, b"new content")
    assert str(caught.value) == (
        f"{path} cannot be written (11 bytes): {os.strerror(code)}; "
        "free space there or choose another folder"
    )
    assert caught.value.__cause__.errno == code
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]
    write_atomically(path, b"new content")
    assert path.read_bytes() == b"new content"


@pytest.mark.parametrize("code", REFUSALS, ids=errno.errorcode.get)
@pytest.mark.parametrize("site", ["os.open", "os.fsync"])
def test_row_11_write_refused_at_the_folder_leaves_the_new_content_whole(
    tmp_path, monkeypatch, site, code
):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with monkeypatch.context() as patch:
        fail_at(patch, site, code, first=1 if site == "os.fsync" else 0)
        with pytest.raises(StoreError, match=r"file cannot be written \(11 bytes\): "):
            write_atomically(path, b"new content")
    assert path.read_bytes() == b"new content"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("code", REFUSALS, ids=errno.errorcode.get)
def test_row_11_write_that_stops_half_way_leaves_the_old_content(tmp_path, monkeypatch, code):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    opened = Path.open
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", lambda *args, **kw: HalfWritten(opened(*args, **kw), code))
        with pytest.raises(StoreError, match=r"file cannot be written \(8 bytes\): "):
            write_atomically(path, b"12345678")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_row_11_write_interrupted_leaves_no_temporary_file(tmp_path, monkeypatch):
    def interrupt(descriptor):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", interrupt)
        with pytest.raises(KeyboardInterrupt):
            write_atomically(tmp_path / "file", b"new")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("code", REFUSALS, ids=errno.errorcode.get)
@pytest.mark.parametrize("site", BEFORE_THE_MOVE)
def test_row_11_put_refused_keeps_what_was_there(tmp_path, monkeypatch, site, code):
    store = Store(tmp_path)
    store.put(KEY, meta={"value": 1})
    with monkeypatch.context() as patch:
        fail_at(patch, site, code)
        with pytest.raises(StoreError) as caught:
            store.put(KEY, meta={"value": 2})
    assert f"{store.path(KEY)} cannot be written (" in str(caught.value)
    assert f" bytes): {os.strerror(code)}; " in str(caught.value)
    assert store.get(KEY).meta == {"value": 1}
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("code", [errno.EIO, errno.EACCES, errno.ESTALE], ids=errno.errorcode.get)
def test_row_11_get_and_verify_refused_say_where(tmp_path, monkeypatch, code):
    store = Store(tmp_path)
    store.put(KEY)
    message = (
        f"cache entry {store.path(KEY)} cannot be read: {os.strerror(code)}; "
        "repair the folder or choose another"
    )
    with monkeypatch.context() as patch:
        fail_at(patch, "os.open", code)
        for read in (lambda: store.get(KEY), store.verify):
            with pytest.raises(StoreError) as caught:
                read()
            assert str(caught.value) == message
    assert store.verify() == (1, 0)


@pytest.mark.parametrize("code", [errno.EIO, errno.EACCES, errno.ESTALE], ids=errno.errorcode.get)
def test_row_11_has_refused_says_where(tmp_path, monkeypatch, code):
    store = Store(tmp_path)
    store.put(KEY)
    with monkeypatch.context() as patch:
        fail_at(patch, "Path.stat", code)
        with pytest.raises(StoreError) as caught:
            store.has(KEY)
    assert str(caught.value) == (
        f"cache entry {store.path(KEY)} cannot be read: {os.strerror(code)}; "
        "repair the folder or choose another"
    )
    assert store.has(KEY)


@pytest.mark.parametrize("code", [errno.EIO, errno.EACCES, errno.ESTALE], ids=errno.errorcode.get)
def test_row_11_having_refused_says_where(tmp_path, monkeypatch, code):
    store = Store(tmp_path)
    store.put(KEY)
    with monkeypatch.context() as patch:
        fail_at(patch, "os.listdir", code)
        with pytest.raises(StoreError) as caught:
            store.having([KEY])
    assert str(caught.value) == (
        f"cache folder {store.path(KEY).parent} cannot be listed: {os.strerror(code)}; "
        "repair the folder or choose another"
    )
    assert store.having([KEY]) == [True]


@pytest.mark.parametrize("code", [errno.EIO, errno.EACCES], ids=errno.errorcode.get)
def test_row_11_clear_refused_says_where(tmp_path, monkeypatch, code):
    store = Store(tmp_path)
    store.put(KEY)
    with monkeypatch.context() as patch:
        fail_at(patch, "Path.unlink", code)
        with pytest.raises(StoreError) as caught:
            store.clear()
    assert str(caught.value) == f"{store.path(KEY)} cannot be removed: {os.strerror(code)}"
    assert store.get(KEY) is not None


@pytest.mark.parametrize("code", REFUSALS, ids=errno.errorcode.get)
@pytest.mark.parametrize("site", ["Path.mkdir", "os.open", "os.write"])
def test_row_11_note_refused_keeps_the_ledger(tmp_path, monkeypatch, site, code):
    store = Store(tmp_path)
    store.note({"number": 0})
    before = (tmp_path / "ledger.jsonl").read_bytes()
    with monkeypatch.context() as patch:
        fail_at(patch, site, code)
        patch.setattr(time, "time", lambda: 1.5)
        with pytest.raises(StoreError) as caught:
            store.note({"number": 1})
    size = len('{"number":1,"time":1.5}\n')
    assert str(caught.value) == (
        f"{tmp_path / 'ledger.jsonl'} cannot be written ({size} bytes): {os.strerror(code)}; "
        "free space there or choose another folder"
    )
    assert (tmp_path / "ledger.jsonl").read_bytes() == before


def test_row_11_note_taken_in_part_is_an_error_and_costs_no_other_line(tmp_path, monkeypatch):
    store = Store(tmp_path)
    store.note({"number": 0})
    write = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda descriptor, line: write(descriptor, line[:5]))
        with pytest.raises(StoreError, match="only 5 bytes were taken"):
            store.note({"number": 1})
    store.note({"number": 2})
    assert [line["number"] for line in store.ledger()] == [0, 2]


@pytest.mark.parametrize("code", [errno.EIO, errno.EACCES], ids=errno.errorcode.get)
def test_row_11_what_the_system_refuses_anywhere_in_an_audit_is_a_typed_error(tmp_path, code):
    folder = SmallFolder(tmp_path / "user", ("path_norm", "random"))
    folder.write({"one": {"seed": 1}, "two": {"seed": 2}})
    folder.run()
    before = folder.tables()
    table = str(folder.path / "out" / "measures.csv")

    def refuse(call, path, content):
        if path.partition("\0")[0] == table and not call.startswith("replace"):
            raise OSError(code, os.strerror(code), path)

    with Disk(folder.path, refuse), pytest.raises(StoreError) as caught:
        folder.run()
    assert table in str(caught.value)
    assert os.strerror(code) in str(caught.value)
    folder.run()
    assert folder.tables() == before
