"""The cache and the ledger: what goes in comes out, and nothing else ever does."""

import hashlib
import json
import logging
import math
import os
import re
import time
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from audit.errors import StoreError
from audit.files import write_atomically
from audit.store import Store, canonical_json, key_digest
from audit.store._format import SCHEMA

MAGIC = b"genaudit-entry\n"
KEY = {"weights": "ab", "seed": 0}

ARRAYS = {
    "empty": np.zeros((0, 3), np.float16),
    "scalar": np.array(2.5),
    "no_axes_int": np.array(-1, np.int8),
    "transposed": np.arange(12, dtype=np.int32).reshape(3, 4).T,
    "strided": np.arange(20.0)[::3],
    "reversed": np.arange(5, dtype=np.uint8)[::-1],
    "big_endian": np.arange(4, dtype=">i4"),
    "not_finite": np.array([np.nan, np.inf, -np.inf, -0.0], np.float32),
    "bool": np.array([[True, False]]),
    "read_only": np.broadcast_to(np.float64(7), (2, 3)),
}


@pytest.fixture(autouse=True)
def synced(monkeypatch):
    """What was synced, in order; nothing waits for the disk."""
    calls = []
    monkeypatch.setattr(
        os, "fsync", lambda number: calls.append(os.readlink(f"/proc/self/fd/{number}"))
    )
    return calls


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "cache")


def sealed(header, payload=b""):
    """A file with a sound seal around any header: what only a hostile writer would make."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    head = MAGIC + len(text).to_bytes(8, "little") + text
    return head + hashlib.sha256(head).digest() + payload


def header(payload=b"", **changes):
    """A sound header for `KEY`, with changes; None removes a field."""
    fields = {
        "schema": SCHEMA,
        "key": KEY,
        "meta": {},
        "payload_bytes": len(payload),
        "payload_sha256": hashlib.sha256(payload).hexdigest(),
        **changes,
    }
    return {name: value for name, value in fields.items() if value is not None}


def plant(store, content, key=KEY):
    """Put bytes where the entry of a key would lie."""
    path = store.path(key)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def leftovers(folder):
    return [path for path in folder.rglob("*") if path.name.endswith(".tmp")]


@pytest.mark.parametrize("name", ARRAYS)
def test_store_round_trip_keeps_every_bit_and_shape(store, name):
    array = ARRAYS[name]
    store.put(KEY, {name: array})
    found = store.get(KEY).arrays[name]
    assert found.shape == array.shape
    assert found.dtype == array.dtype.newbyteorder("=")
    assert found.tobytes() == array.astype(found.dtype).tobytes()


@pytest.mark.parametrize("dtype", ["?", "b", "B", "h", "H", "i", "I", "q", "Q", "e", "f", "d", "F"])
def test_store_round_trip_keeps_the_type(store, dtype):
    array = np.array([0, 1, 1], dtype)
    store.put(KEY, {"a": array})
    found = store.get(KEY).arrays["a"]
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


def test_store_round_trip_of_a_big_array(store):
    array = np.random.default_rng(0).integers(-1, 300, (500, 4000)).astype(np.int16)
    store.put(KEY, {"births": array, "other": array[:1]})
    np.testing.assert_array_equal(store.get(KEY).arrays["births"], array)


def test_store_round_trip_of_meta(store):
    meta = {
        "ключ": "значение 🦉 \u0000 \"'\\ \n",
        "nested": [{"a": [1, 2.5, None, True, ""]}, {}],
        "large": 2**70,
        "tiny": 5e-324,
        "": "empty name",
    }
    store.put({"unicode": "ñ 漢字"}, meta=meta)
    entry = store.get({"unicode": "ñ 漢字"})
    assert entry.meta == meta
    assert entry.arrays == {}


def test_store_gives_nothing_for_a_key_never_written(store):
    store.put(KEY, meta={"a": 1})
    assert store.get({**KEY, "seed": 1}) is None
    assert Store(store.root / "elsewhere").get(KEY) is None


def test_store_has_what_was_written_without_reading_it(store):
    assert not store.has(KEY)
    store.put(KEY, {"a": np.zeros(3)})
    assert store.has(dict(reversed(KEY.items())))
    assert not store.has({**KEY, "seed": 1})
    plant(store, b"damaged")
    assert store.has(KEY)
    assert (store.n_reads, store.n_bytes, store.n_looks) == (0, 0, 4)


def test_store_having_answers_many_keys_with_one_listing(store):
    keys = [{"number": number} for number in range(2000)]
    assert store.having(keys) == [False] * 2000
    for key in keys[::3]:
        path = store.path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    store.n_looks = 0
    found = store.having(iter(keys))
    assert found == [number % 3 == 0 for number in range(2000)]
    assert store.n_looks <= 256
    assert store.n_reads == 0
    assert store.having([]) == []
    assert store.having([keys[1], keys[0], keys[0]]) == [False, True, True]


def test_store_having_lists_only_folders_that_the_keys_lie_in(store, monkeypatch):
    store.put(KEY)
    asked = []
    listdir = os.listdir
    monkeypatch.setattr(os, "listdir", lambda folder: asked.append(folder) or listdir(folder))
    assert store.having([KEY, KEY]) == [True, True]
    assert asked == [store.path(KEY).parent]


def test_store_having_passes_over_what_is_no_entry(store):
    store.put(KEY)
    path = store.path(KEY)
    path.rename(path.with_name(f".{path.name}.tmp"))
    assert store.having([KEY]) == [False]
    assert not store.has(KEY)


def test_store_counts_what_it_reads(store):
    store.put(KEY, {"a": np.zeros(300)})
    size = store.path(KEY).stat().st_size
    for _ in range(3):
        store.get(KEY)
    store.get({"another": 1})
    assert (store.n_reads, store.n_bytes, store.n_looks) == (3, 3 * size, 1)
    store.verify()
    assert (store.n_reads, store.n_bytes, store.n_looks) == (4, 4 * size, 1)
    assert Store(store.root).n_reads == 0


def test_store_put_again_replaces(store):
    store.put(KEY, meta={"a": 1})
    store.put(KEY, meta={"a": 2})
    assert store.get(KEY).meta == {"a": 2}
    assert len(list(store.paths())) == 1


def test_store_reads_leave_the_arrays_of_others_alone(store):
    store.put(KEY, {"a": np.zeros(3)})
    store.get(KEY).arrays["a"][:] = 7
    assert store.get(KEY).arrays["a"].tolist() == [0, 0, 0]


def test_store_works_in_a_folder_of_any_name(tmp_path):
    store = Store(tmp_path / "a b" / ("é" * 120) / "漢字 'quoted'")
    store.put(KEY, meta={"a": 1})
    store.note({"a": 1})
    assert store.get(KEY).meta == {"a": 1}
    assert store.verify() == (1, 0)


def test_store_entries_of_one_key_are_equal_bytes(tmp_path):
    arrays = {name: ARRAYS[name] for name in ("scalar", "bool", "transposed")}
    first, second = Store(tmp_path / "1"), Store(tmp_path / "2")
    first.put({"a": 1, "b": 2}, arrays, {"x": 1, "y": 2})
    second.put({"b": 2, "a": 1}, dict(reversed(arrays.items())), {"y": 2, "x": 1})
    assert first.path(KEY).name == second.path(KEY).name
    [one], [two] = first.paths(), second.paths()
    assert one.read_bytes() == two.read_bytes()


def test_canonical_json_is_equal_for_equal_values():
    assert canonical_json({"b": [1, (2, 3)], "a": {"d": None, "c": "é"}}) == (
        '{"a":{"c":"é","d":null},"b":[1,[2,3]]}'
    )
    assert key_digest({"a": 1, "b": 2}) == key_digest({"b": 2, "a": 1})
    assert key_digest({"a": [1, 2]}) == key_digest({"a": (1, 2)})


@pytest.mark.parametrize(
    ("first", "second"),
    [(1, "1"), (1, True), (None, "null"), ([1, 2], [2, 1]), ("é", "e\u0301"), ({}, [])],
)
def test_key_digest_differs_for_different_values(first, second):
    assert key_digest({"a": first}) != key_digest({"a": second})


def test_key_digest_is_the_same_for_ever():
    assert key_digest({"weights": "é", "seed": 0, "layers": None}) == (
        hashlib.sha256('{"layers":null,"seed":0,"weights":"é"}'.encode()).hexdigest()
    )


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_store_refuses_numbers_json_does_not_have(store, number):
    with pytest.raises(ValueError, match="Out of range float values are not JSON compliant"):
        key_digest({"a": [number]})
    with pytest.raises(ValueError, match="Out of range float values are not JSON compliant"):
        store.put(KEY, meta={"a": number})
    assert not store.root.exists()


def test_store_refuses_meta_it_could_not_read_back(store, monkeypatch):
    monkeypatch.setattr("audit.store._format._MAX_HEADER", 1000)
    with pytest.raises(StoreError) as caught:
        store.put(KEY, meta={"a": "x" * 2000})
    size = len(canonical_json(header(safetensors.numpy.save({}), meta={"a": "x" * 2000})))
    assert str(caught.value) == (
        f"a cache entry holds at most 1000 bytes of JSON; found {size}; keep large values as arrays"
    )
    assert list(store.paths()) == []


def assert_set_aside(store, caplog, reason, key=KEY):
    """Reading misses, warns and moves the file away; writing again heals."""
    path = store.path(key)
    content = path.read_bytes()
    with caplog.at_level(logging.WARNING, "genaudit.store"):
        assert store.get(key) is None
    assert caplog.messages == [
        f"cache entry {path} is damaged ({reason}): set aside, to be recomputed"
    ]
    assert not path.exists()
    [kept] = (store.root / "quarantine").iterdir()
    assert kept.name.startswith(path.name)
    assert kept.read_bytes() == content
    store.put(key, meta={"healed": True})
    assert store.get(key).meta == {"healed": True}


def test_store_entry_under_another_keys_name_is_a_miss(store, caplog):
    store.put(KEY, {"a": np.ones(3)}, {"whose": "first"})
    other = {**KEY, "seed": 1}
    plant(store, store.path(KEY).read_bytes(), other)
    assert_set_aside(store, caplog, "it belongs to another key", other)
    assert store.get(KEY).meta == {"whose": "first"}


@pytest.mark.parametrize("schema", [0, SCHEMA + 1, None, "1", [1]])
def test_store_entry_of_another_schema_is_a_miss(store, caplog, schema):
    payload = safetensors.numpy.save({})
    plant(store, sealed(header(payload, schema=schema), payload))
    assert_set_aside(store, caplog, f"schema {schema}, this version reads {SCHEMA}")


def test_store_reads_what_a_sound_writer_of_this_schema_wrote(store):
    payload = safetensors.numpy.save({"a": np.arange(3)})
    plant(store, sealed(header(payload, meta={"b": 1}), payload))
    entry = store.get(KEY)
    assert entry.meta == {"b": 1}
    assert entry.arrays["a"].tolist() == [0, 1, 2]


NOTHING = safetensors.numpy.save({})


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not an entry"),
        (MAGIC, "not an entry"),
        (b"\0" * 200, "not an entry"),
        (MAGIC + b"\xff" * 8 + b"x" * 100, "cut short"),
        (sealed(b""), "Expecting value: line 1 column 1 (char 0)"),
        (sealed(b"[" * 100_000), "the header is nested too deeply"),
        (sealed([1]), "the header is no JSON object"),
        (sealed(header(key=None)), "the header has no key of type dict"),
        (sealed(header(key=[1])), "the header has no key of type dict"),
        (sealed(header(meta=None)), "the header has no meta of type dict"),
        (sealed(header(meta="x")), "the header has no meta of type dict"),
        (sealed(header(payload_bytes="0")), "the header has no payload_bytes of type int"),
        (sealed(header(payload_sha256=None)), "the header has no payload_sha256 of type str"),
        (sealed(header(payload_bytes=9), b"12345"), "5 of 9 payload bytes"),
        (sealed(header(NOTHING, payload_sha256="0"), NOTHING), "payload digest does not match"),
        (
            sealed(header(key={**KEY, "x": math.nan})),
            "Out of range float values are not JSON compliant",
        ),
    ],
)
def test_store_hostile_entry_is_a_miss(store, caplog, content, reason):
    plant(store, content)
    assert_set_aside(store, caplog, reason)


@pytest.mark.parametrize("dtype", ["BF16", "F8_E4M3", "XX"])
def test_store_payload_of_unknown_type_is_a_miss(store, caplog, dtype):
    names = json.dumps({"a": {"dtype": dtype, "shape": [1], "data_offsets": [0, 2]}}).encode()
    payload = len(names).to_bytes(8, "little") + names + b"\0\0"
    plant(store, sealed(header(payload), payload))
    with caplog.at_level(logging.WARNING, "genaudit.store"):
        assert store.get(KEY) is None
    assert "the payload cannot be read: " in caplog.messages[0]


def test_store_damaged_entry_of_a_read_only_folder_is_a_miss(store, caplog, monkeypatch):
    path = plant(store, b"damaged")

    def refuse(*arguments):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.replace", refuse)
    assert store.get(KEY) is None
    assert path.exists()
    assert len(caplog.messages) == 1


def test_verify_counts_and_sets_aside_what_is_damaged(store, caplog):
    keys = [{"number": number} for number in range(6)]
    for key in keys:
        store.put(key, {"a": np.arange(4)}, {"b": 1})
    store.path(keys[1]).write_bytes(b"damaged")
    store.path(keys[2]).write_bytes(store.path(keys[3]).read_bytes())
    plant(store, sealed([1]), keys[4])
    assert store.verify() == (3, 3)
    assert len(caplog.messages) == 3
    assert store.verify() == (3, 0)
    assert [store.get(key) is not None for key in keys] == [True, False, False, True, False, True]


def test_verify_of_nothing(store):
    assert store.verify() == (0, 0)


def test_verify_passes_over_what_another_process_removed(store, monkeypatch):
    for number in range(3):
        store.put({"number": number})
    listed = list(store.paths())
    listed[1].unlink()
    monkeypatch.setattr(Store, "paths", lambda self: iter(listed))
    assert store.verify() == (2, 0)


@pytest.mark.parametrize("name", ["entries", "entries/ab", "quarantine"])
def test_nothing_is_removed_through_a_link(tmp_path, name):
    files = [tmp_path / "theirs" / below / f"ab{0:062x}" for below in ("ab", ".")]
    for path in files:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("theirs")
    store = Store(tmp_path / "store")
    target = tmp_path / "theirs" / name.partition("/")[2]
    (store.root / name).parent.mkdir(parents=True)
    (store.root / name).symlink_to(target)
    expected = (
        f"{store.root / name} is a link to {target}: nothing is removed through it; remove the "
        "link, or name the store that it leads to"
    )
    for call in (store.clear, lambda: store.prune(0.0, 0)):
        with pytest.raises(StoreError, match=f"^{re.escape(expected)}$"):
            call()
    store.verify()
    assert all(path.read_text() == "theirs" for path in files)


def test_only_what_was_set_aside_is_removed_from_the_quarantine(store):
    other = store.root / "quarantine" / "notes.txt"
    other.parent.mkdir(parents=True)
    other.write_text("mine")
    store.clear()
    assert other.read_text() == "mine"


def test_clear_removes_entries_and_keeps_the_ledger(store, caplog):
    for number in range(3):
        store.put({"number": number})
    store.note({"a": 1})
    store.path({"number": 0}).write_bytes(b"damaged")
    assert store.get({"number": 0}) is None
    store.put({"number": 0})
    assert store.clear() == 3
    assert store.clear() == 0
    assert list(store.paths()) == []
    assert list((store.root / "quarantine").iterdir()) == []
    assert [line["a"] for line in store.ledger()] == [1]
    store.put(KEY)
    assert store.get(KEY) is not None


def test_clear_removes_what_killed_writers_left_and_spares_the_living(store):
    folder = store.path(KEY).parent
    store.put(KEY)
    old, young = folder / ".0123.tmp", folder / ".4567.tmp"
    for path in (old, young):
        path.write_bytes(b"half")
    long_ago = time.time() - 7200
    os.utime(old, (long_ago, long_ago))
    assert store.clear() == 1
    assert not old.exists()
    assert young.exists()


def test_ledger_gives_lines_in_order_with_the_time(store):
    assert list(store.ledger()) == []
    before = time.time()
    for number in range(3):
        store.note({"number": number, "name": "漢字 \n \u2028"})
    lines = list(store.ledger())
    assert [line["number"] for line in lines] == [0, 1, 2]
    assert all(line["name"] == "漢字 \n \u2028" for line in lines)
    assert all(before - 1 <= line["time"] <= time.time() + 1 for line in lines)
    assert (store.root / "ledger.jsonl").read_bytes().count(b"\n") == 3


def test_ledger_passes_over_torn_and_foreign_lines(store):
    store.note({"number": 0})
    with (store.root / "ledger.jsonl").open("ab") as file:
        file.write(b"\xff\xfe\n17\n[]\n\n" + b"[" * 100_000 + b'\n{"number": 1')
    assert [line["number"] for line in store.ledger()] == [0]


def test_ledger_line_after_a_torn_one_is_kept(store):
    store.note({"number": 0})
    with (store.root / "ledger.jsonl").open("ab") as file:
        file.write(b'{"number": 1')
    store.note({"number": 2})
    store.note({"number": 3})
    assert [line["number"] for line in store.ledger()] == [0, 2, 3]


def test_write_atomically_makes_folders_and_replaces(tmp_path):
    path = tmp_path / "a" / "b" / "file"
    write_atomically(path, b"old")
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert leftovers(tmp_path) == []


def test_write_atomically_syncs_the_file_before_the_move_and_the_folder_after(
    tmp_path, synced, monkeypatch
):
    replace = Path.replace

    def recorded(self, target):
        synced.append("moved")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", recorded)
    write_atomically(tmp_path / "file", b"content")
    assert len(synced) == 3
    assert Path(synced[0]).parent == tmp_path
    assert synced[1:] == ["moved", str(tmp_path)]


def test_write_atomically_takes_names_of_255_bytes(tmp_path):
    path = tmp_path / ("é" * 127 + "x")
    write_atomically(path, b"content")
    assert path.read_bytes() == b"content"


def test_write_atomically_below_a_file_says_where_and_how_much(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    path = tmp_path / "file" / "below"
    with pytest.raises(StoreError) as caught:
        write_atomically(path, b"12345")
    assert str(caught.value) == (
        f"{path} cannot be written (5 bytes): File exists; "
        "free space there or choose another folder"
    )


def test_key_of_a_path_that_is_not_utf8_is_found_again(tmp_path):
    store = Store(tmp_path)
    odd, text = {"path": "/a/\udcff"}, {"path": "/a/\\udcff"}
    store.put(odd, {}, {"of": "\udcff"})
    assert store.get(text) is None
    assert store.get(odd).meta == {"of": "\udcff"}
    store.note({"of": "\udcff"})
    assert next(iter(store.ledger()))["of"] == "\udcff"
