"""What the two tiers of a store do by themselves, and what they say."""

import errno
import hashlib
import json
import logging
import os
import time

import fsspec
import numpy as np
import pytest
import safetensors.numpy

from audit.errors import StoreError
from audit.store import Store
from audit.store._bucket import Bucket, at_once
from audit.store._folder import Folder
from audit.store._format import decode, described_entry, encode, is_entry
from audit.store._tier import Name
from audit.store._upkeep import quarantine
from audit.store.keys import canonical_json, group_of, key_digest

KEYS = [{"weights": "ab", "number": number} for number in range(6)]
NAME = Name("group", "ab" + "0" * 62)
OTHER = Name("group", "cd" + "0" * 62)


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path / "store")


@pytest.fixture
def memory(tmp_path, monkeypatch):
    """The URL of a bucket in memory, which is empty again afterwards."""
    monkeypatch.setenv("GENAUDIT_LOCAL", str(tmp_path / "local"))
    system = fsspec.filesystem("memory")
    system.store.clear()
    yield "memory://bucket/cache"
    system.store.clear()


def elsewhere(url, monkeypatch, tmp_path):
    """The same store on another machine."""
    monkeypatch.setenv("GENAUDIT_LOCAL", str(tmp_path / "another machine"))
    return Store(url)


def test_a_folder_says_where_an_entry_lies_and_counts_its_questions(folder):
    path = folder.root / "entries" / "ab" / NAME.digest
    assert folder.path(NAME) == path
    assert folder.where(NAME) == str(path)
    assert (folder.has(NAME), folder.read(NAME), folder.n_looks) == (False, None, 2)
    folder.write(NAME, b"content")
    assert (folder.has(NAME), folder.read(NAME), folder.n_looks) == (True, b"content", 3)
    assert folder.present([NAME, OTHER, NAME]) == {NAME.digest}
    assert folder.n_looks == 5
    assert folder.present([]) == set()
    assert folder.flush() is None
    folder.root.joinpath("entries", "ab", OTHER.digest).mkdir()
    assert not folder.has(Name("", OTHER.digest))


def test_a_folder_lists_entries_in_order_and_nothing_else(folder):
    digests = sorted(hashlib.sha256(bytes([n])).hexdigest() for n in range(20))
    for number, digest in enumerate(digests):
        folder.write(Name("", digest), bytes(number))
    entries = folder.root / "entries"
    (entries / "README").write_text("not a folder of entries")
    (entries / "zz").write_text("neither")
    (entries / digests[0][:2] / ("g" * 64)).write_text("not hexadecimal")
    (entries / digests[0][:2] / digests[1][:63]).write_text("too short")
    (entries / "abc").mkdir()
    (entries / "abc" / digests[2]).write_text("in no folder of the store")
    held = list(folder.held())
    assert [one.name for one in held] == [Name("", digest) for digest in digests]
    assert [one.n_bytes for one in held] == list(range(20))
    assert all(abs(one.modified - time.time()) < 600 for one in held)
    assert [path.name for path in folder.paths()] == digests


def test_a_folder_that_is_not_there_holds_nothing(folder):
    assert list(folder.held()) == list(folder.paths()) == list(folder.ledger()) == []
    folder.remove_leftovers()
    folder.remove([NAME])
    assert not folder.root.exists()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda folder: folder.read(NAME), "cache entry {entry} cannot be read: "),
        (lambda folder: folder.has(NAME), "cache entry {entry} cannot be read: "),
        (lambda folder: folder.present([NAME]), "cache folder {parent} cannot be listed: "),
        (lambda folder: list(folder.held()), "cache folder {entries} cannot be listed: "),
        (lambda folder: list(folder.paths()), "cache folder {entries} cannot be listed: "),
        (lambda folder: folder.remove([NAME]), "{entries} cannot be removed: "),
    ],
)
def test_what_the_system_refuses_names_the_place_and_the_remedy(folder, call, words, monkeypatch):
    folder.write(NAME, b"")
    entry = folder.path(NAME)

    def refused(*given, **options):
        raise OSError(errno.EIO, "Input/output error")

    for module, name in (("os", "open"), ("os", "listdir"), ("os", "scandir"), ("os", "unlink")):
        monkeypatch.setattr(f"{module}.{name}", refused)
    monkeypatch.setattr("pathlib.Path.stat", refused)
    monkeypatch.setattr("pathlib.Path.unlink", refused)
    said = words.format(entry=entry, parent=entry.parent, entries=entry.parent.parent)
    with pytest.raises(StoreError) as caught:
        call(folder)
    assert str(caught.value).startswith(said + "Input/output error")
    if "removed" not in words:
        assert str(caught.value).endswith("; repair the folder or choose another")


def test_a_damaged_entry_that_cannot_be_moved_is_a_miss_all_the_same(folder, monkeypatch):
    def refused(*given, **options):
        raise OSError(errno.EIO, "Input/output error")

    folder.write(NAME, b"damaged")
    for name in ("stat", "replace", "mkdir"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(f"pathlib.Path.{name}", refused)
            folder.set_aside(NAME, "it is odd")
        assert folder.read(NAME) == b"damaged"


def test_an_entry_that_cannot_be_removed_is_named(folder, monkeypatch):
    folder.write(NAME, b"")

    def refused(*given, **options):
        raise OSError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("pathlib.Path.unlink", refused)
    with pytest.raises(StoreError) as caught:
        folder.remove([NAME])
    assert str(caught.value) == f"{folder.path(NAME)} cannot be removed: Permission denied"


def test_what_is_set_aside_keeps_its_content_and_says_why(folder, caplog):
    folder.write(NAME, b"damaged")
    with caplog.at_level(logging.WARNING, "genaudit.store"):
        folder.set_aside(NAME, "it is odd")
    path = folder.path(NAME)
    assert caplog.messages == [
        f"cache entry {path} is damaged (it is odd): set aside, to be recomputed"
    ]
    [kept] = (folder.root / "quarantine").iterdir()
    assert kept.name.startswith(NAME.digest + ".")
    assert kept.read_bytes() == b"damaged"
    assert not path.exists()
    folder.write(NAME, b"again")
    folder.set_aside(NAME, "it is odd again")
    assert len(list((folder.root / "quarantine").iterdir())) == 2
    quarantine(folder.root, folder.path(OTHER), "gone already")


@pytest.mark.parametrize("linked", ["entries", "entries/ab", "quarantine"])
def test_nothing_is_set_aside_through_a_link(folder, tmp_path, linked):
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    link = folder.root / linked
    link.parent.mkdir(parents=True)
    link.symlink_to(theirs)
    folder.write(NAME, b"content")
    folder.set_aside(NAME, "it is odd")
    assert folder.read(NAME) == b"content"


def test_temporary_files_are_removed_an_hour_after(folder):
    folder.write(NAME, b"")
    place = folder.path(NAME).parent
    for name, age in ((".old.tmp", 3700), (".young.tmp", 3500), ("old.tmp", 9999)):
        (place / name).write_bytes(b"")
        os.utime(place / name, (time.time() - age,) * 2)
    folder.remove([])
    left = sorted(path.name for path in place.iterdir())
    assert left == [".young.tmp", NAME.digest, "old.tmp"]


def test_a_line_of_the_ledger_has_the_time_to_the_millisecond(folder):
    folder.note({"a": 1})
    [line] = (folder.root / "ledger.jsonl").read_text().splitlines()
    moment = json.loads(line)["time"]
    assert round(moment, 3) == moment
    assert abs(moment - time.time()) < 600
    folder.note({"time": 7.0})
    assert [line["time"] for line in folder.ledger()] == [moment, 7.0]
    assert (folder.root / "ledger.jsonl").stat().st_mode & 0o777 == 0o644 & ~_mask()


def _mask():
    """What the system takes from the rights of new files."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_surveyed_group_is_known_without_asking(memory):
    bucket = Bucket(memory)
    bucket.write(NAME, b"first")
    bucket.survey("group")
    before = dict(bucket.system.requests)
    assert not bucket.may_hold(OTHER)
    assert bucket.read(OTHER) is None
    assert bucket.present([NAME, OTHER]) == {NAME.digest}
    assert bucket.likely([NAME, OTHER]) == [NAME]
    assert dict(bucket.system.requests) == before
    assert bucket.may_hold(Name("another group", OTHER.digest))
    bucket.write(OTHER, b"second")
    assert bucket.read(OTHER) == b"second"
    bucket.set_aside(OTHER, "it is odd")
    assert not bucket.may_hold(OTHER)
    bucket.remove([NAME])
    assert bucket.may_hold(NAME)  # what is known is forgotten, so it is asked
    assert bucket.read(NAME) is None


def test_few_names_are_asked_for_and_many_are_listed(memory):
    bucket = Bucket(memory)
    names = [Name("group", f"{number:064x}") for number in range(8)]
    for name in names[:6]:
        bucket.write(name, b"")
    bucket.system.requests.clear()
    assert bucket.present(names[5:7]) == {names[5].digest}
    assert bucket.present(names[4:7]) == {names[4].digest, names[5].digest}
    assert bucket.system.requests["list"] == 2 + 3
    bucket.system.requests.clear()
    assert bucket.present(names[3:]) == {name.digest for name in names[3:6]}
    assert bucket.system.requests["list"] == 2
    assert bucket.likely(names[3:6]) == names[3:6]
    assert bucket.likely(names[3:]) == names[3:6]


@pytest.mark.parametrize(("n_share", "listed"), [(15, True), (16, False)])
def test_a_group_is_listed_where_that_takes_fewer_requests(memory, n_share, listed):
    """Of 256 × 16 names there are four pages of a thousand, which is as many as four names."""
    bucket = Bucket(memory)
    for number in range(n_share):
        bucket.write(Name("group", f"00{number:062x}"), b"")
    wanted = [Name("group", f"ff{number:062x}") for number in range(4)]
    bucket.system.requests.clear()
    assert bucket.present(wanted) == set()
    assert bucket.system.requests["list"] == (2 if listed else 1 + 4)


def test_a_bucket_says_where_an_entry_lies_and_holds_groups(memory, caplog):
    bucket = Bucket(memory)
    assert bucket.where(NAME) == f"{memory}/entries/group/{NAME.digest}"
    bucket.write(NAME, b"12345")
    bucket.write(Name("other", OTHER.digest), b"")
    assert {(held.name, held.n_bytes) for held in bucket.held()} == {
        (NAME, 5),
        (Name("other", OTHER.digest), 0),
    }
    with caplog.at_level(logging.WARNING, "genaudit.store"):
        bucket.set_aside(NAME, "it is odd")
    assert caplog.messages == [
        f"cache entry {bucket.where(NAME)} is damaged (it is odd): passed over, to be recomputed"
    ]


def test_a_bucket_writes_its_ledger_when_flushed_and_keeps_its_order(memory):
    first, second = Bucket(memory), Bucket(memory)
    first.note({"time": 3.0, "n": 3})
    second.note({"time": 1.0, "n": 1})
    second.note({"time": 2.0, "n": 2})
    first.flush()
    first.flush()
    second.flush()
    assert first.system.requests["put"] == 1
    first.note({"time": 4.0, "n": 4})
    assert [line["n"] for line in first.ledger()] == [1, 2, 3, 4]
    assert [line["n"] for line in second.ledger()] == [1, 2, 3]
    second.note({"n": 5})
    assert abs([line["time"] for line in second.ledger()][-1] - time.time()) < 600


def test_calls_at_once_give_results_in_order_and_their_errors():
    assert list(at_once(str, [])) == []
    assert list(at_once(str, range(40))) == [str(n) for n in range(40)]

    def fails(number):
        if number == 3:
            raise StoreError("three")
        return number

    with pytest.raises(StoreError, match="three"):
        list(at_once(fails, range(9)))


def test_clearing_a_bucket_clears_what_this_machine_alone_has(memory, monkeypatch, tmp_path):
    store = Store(memory)
    for key in KEYS[:3]:
        store.put(key)
    other = elsewhere(memory, monkeypatch, tmp_path)
    other.remove([Name(group_of(KEYS[0]), key_digest(KEYS[0]))])
    assert store.local.get(KEYS[0]) is not None
    assert store.clear() == 2
    assert [store.local.get(key) for key in KEYS[:3]] == [None] * 3
    assert list(store.held()) == []


def test_a_bucket_is_verified_and_rid_of_what_is_damaged(memory, monkeypatch, tmp_path, caplog):
    store = Store(memory)
    for key in KEYS[:4]:
        store.put(key, {"a": np.arange(3)})
    damaged = Name(group_of(KEYS[1]), key_digest(KEYS[1]))
    store._bucket.write(damaged, b"damaged")
    other = elsewhere(memory, monkeypatch, tmp_path)
    assert other.verify() == (3, 1)
    assert other.verify() == (3, 0)
    assert other.get(KEYS[1]) is None
    assert other.get(KEYS[2]) is not None


def test_what_was_read_is_counted(memory, monkeypatch, tmp_path):
    store = Store(memory)
    store.put(KEYS[0], {"a": np.arange(100)})
    size = store.path(KEYS[0]).stat().st_size
    other = elsewhere(memory, monkeypatch, tmp_path)
    other.get(KEYS[0])
    assert (other.n_reads, other.n_bytes) == (1, size)
    other.get(KEYS[0])
    other.get(KEYS[1])
    assert (other.n_reads, other.n_bytes) == (2, 2 * size)
    assert other.local.location == other.root
    assert Store(tmp_path / "x").requests == {}


def test_a_check_writes_to_a_bucket_and_not_to_a_folder(memory, tmp_path):
    store = Store(memory)
    store.check_writable()
    assert store.requests["put"] == 1
    written = json.loads(fsspec.filesystem("memory").cat("/bucket/cache/store.json"))
    assert written == {"genaudit": "store", "schema": 1}
    Store(tmp_path / "folder").check_writable()
    assert not (tmp_path / "folder").exists()


def ages(store, seconds):
    """Make entries as old as given."""
    now = time.time()
    for key, age in zip(KEYS, seconds, strict=True):
        store.put(key, {"a": np.zeros(50)})
        os.utime(store.path(key), (now - age, now - age))
    return [key_digest(key) for key in KEYS]


def test_entries_are_pruned_by_age_and_size_from_the_oldest_on(tmp_path):
    store = Store(tmp_path)
    digests = ages(store, [600, 500, 400, 300, 200, 100])
    size = store.path(KEYS[0]).stat().st_size
    assert store.prune(None, 6 * size) == []
    assert store.prune(1000, None) == []
    assert store.prune(None, None) == []
    assert [held.name.digest for held in store.prune(None, 6 * size - 1)] == digests[:1]
    assert [held.name.digest for held in store.prune(450, None)] == digests[1:2]
    assert [held.name.digest for held in store.prune(350, 3 * size)] == digests[2:3]
    assert [held.name.digest for held in store.prune(1000, 2 * size)] == digests[3:4]
    assert [held.name.digest for held in store.prune(0, None)] == digests[4:]
    assert list(store.held()) == []


def entry(**changed):
    """The bytes of an entry, with fields of its header changed and sealed again."""
    content = encode({"a": 1}, {"x": np.arange(4)}, {"m": 2})
    magic = len(b"genaudit-entry\n")
    length = int.from_bytes(content[magic : magic + 8], "little")
    header = json.loads(content[magic + 8 : magic + 8 + length])
    payload = content[magic + 8 + length + 32 :]
    text = canonical_json({**header, **changed}).encode()
    head = content[:magic] + len(text).to_bytes(8, "little") + text
    return head + hashlib.sha256(head).digest() + payload


DIGEST = key_digest({"a": 1})


def test_an_entry_gives_what_was_put_in():
    found = decode(entry(), DIGEST)
    assert found.arrays["x"].tolist() == [0, 1, 2, 3]
    assert found.meta == {"m": 2}
    assert is_entry(entry())
    assert not is_entry(b"genaudit-entrY\n")
    described = described_entry(entry(), DIGEST)
    assert described == {"schema": 1, "key": ["a"], "arrays": {"x": "int64 [4]"}, "json": ["m"]}


@pytest.mark.parametrize("n", range(0, len(entry()), 7))
def test_an_entry_that_is_cut_short_says_so(n):
    """Within the header and its seal that is all; within the payload, how much of it is there."""
    content = entry()
    start = len(content) - len(safetensors.numpy.save({"x": np.arange(4)}))
    with pytest.raises(ValueError, match=r"not an entry|cut short|payload bytes") as caught:
        decode(content[:n], DIGEST)
    expected = "not an entry" if n < 23 else "cut short" if n < start else "payload bytes"
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"schema": 2}, "schema 2, this version reads 1"),
        ({"key": {"a": 2}}, "it belongs to another key"),
        ({"key": [1]}, "the header has no key of type dict"),
        ({"meta": "text"}, "the header has no meta of type dict"),
        ({"payload_bytes": "7"}, "the header has no payload_bytes of type int"),
        ({"payload_sha256": 7}, "the header has no payload_sha256 of type str"),
        ({"payload_bytes": 3}, "of 3 payload bytes"),
        ({"payload_sha256": "0" * 64}, "payload digest does not match"),
    ],
)
def test_a_header_that_does_not_fit_is_no_entry(changed, words):
    with pytest.raises(ValueError, match=words):
        decode(entry(**changed), DIGEST)


def test_headers_are_written_up_to_the_size_that_is_read(monkeypatch):
    monkeypatch.setattr("audit.store._format._MAX_HEADER", 1000)
    fitting = next(
        n for n in range(900, 0, -1) if len(canonical_json(_header_of("x" * n)).encode()) <= 1000
    )
    content = encode({"a": 1}, {}, {"m": "x" * fitting})
    assert decode(content, DIGEST).meta == {"m": "x" * fitting}
    with pytest.raises(StoreError, match="at most 1000 bytes of JSON; found 1001"):
        encode({"a": 1}, {}, {"m": "x" * (fitting + 1)})


def _header_of(text):
    """The header of an entry without arrays."""
    return {
        "schema": 1,
        "key": {"a": 1},
        "meta": {"m": text},
        "payload_bytes": 10,
        "payload_sha256": "0" * 64,
    }


def test_entries_are_grouped_by_what_is_asked_for_together():
    assert group_of({"rows": 1, "weights": "ab"}) == "rows"
    assert group_of({"weights": "ab"}) == group_of({"weights": "ab", "seed": 7})
    assert group_of({"weights": "ab"}) != group_of({"weights": "cd"})
    assert len(group_of({"weights": {"file": "ab"}})) == 32
    assert group_of({"weights": ""}) == group_of({"seed": 7}) == "others"
