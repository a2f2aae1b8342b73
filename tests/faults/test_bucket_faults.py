"""Buckets that throttle, drop, cut short, refuse, or are not there."""

import logging
import os
import socket
import threading
import time

import fsspec
import numpy as np
import pytest

from audit.errors import RemoteError
from audit.store import Store

KEY = {"weights": "ab", "number": 0}


@pytest.fixture(autouse=True)
def unsynced(monkeypatch):
    """Nothing waits for the disk."""
    monkeypatch.setattr("os.fsync", lambda number: None)


@pytest.fixture
def hurried(monkeypatch):
    """Pauses between tries are short."""
    monkeypatch.setattr("audit.remote.systems._FIRST_WAIT_SECONDS", 0.001)


@pytest.fixture
def fresh():
    """What was set up for another environment is forgotten."""
    s3 = pytest.importorskip("s3fs", reason="s3fs is not installed")
    s3.S3FileSystem.clear_instance_cache()
    yield
    s3.S3FileSystem.clear_instance_cache()


def store_of(bucket):
    return Store(f"{bucket.url}/cache")


@pytest.mark.parametrize("fault", ["slow down", "drop"])
def test_a_request_that_fails_for_a_while_is_made_again(bucket, hurried, fault):
    store = store_of(bucket)
    bucket.faults.extend([fault] * 4)
    store.put(KEY, {"a": np.arange(3)}, {"b": 1})
    assert bucket.requests == {"put": 5}
    # what reads HTTP makes a request on a connection that was open before twice by itself
    assert store.requests["put"] == 5 or (fault == "drop" and 3 <= store.requests["put"] <= 5)
    store.local.clear()
    bucket.faults.extend([fault, fault])
    assert store.get(KEY).meta == {"b": 1}
    bucket.faults.extend([fault, fault])
    assert store.having([KEY]) == [True]
    assert sum(1 for _ in store.held()) == 1


def test_a_body_that_comes_cut_short_is_read_again(bucket, hurried):
    store = store_of(bucket)
    store.put(KEY, {"a": np.arange(3000)}, {"b": 1})
    store.local.clear()
    bucket.faults.append("cut short")
    assert store.get(KEY).arrays["a"].sum() == 4_498_500
    assert bucket.requests == {"put": 1, "get": 2}


@pytest.mark.parametrize("keep", [0, 1, 40, -1])
def test_a_half_written_object_is_a_miss_and_the_next_write_replaces_it(bucket, caplog, keep):
    store = store_of(bucket)
    store.put(KEY, {"a": np.arange(3)}, {"b": 1})
    [(key, content)] = bucket.objects("cache/entries/").items()
    bucket.put(key, content[:keep])
    store.local.clear()
    with caplog.at_level(logging.WARNING, "genaudit.store"):
        assert store.get(KEY) is None
    [message] = caplog.messages
    assert message.startswith(f"cache entry {bucket.url}/{key} is damaged (")
    assert message.endswith("): passed over, to be recomputed")
    assert list(store.paths()) == []
    store.put(KEY, {"a": np.arange(3)}, {"b": 2})
    store.local.clear()
    assert store.get(KEY).meta == {"b": 2}


def test_every_damaged_byte_of_an_object_is_seen(bucket):
    store = store_of(bucket)
    store.put(KEY, {"a": np.arange(3)}, {"b": 1})
    [(key, content)] = bucket.objects("cache/entries/").items()
    for place in range(0, len(content), 29):
        spoilt = bytearray(content)
        spoilt[place] ^= 1
        bucket.put(key, bytes(spoilt))
        store.local.clear()
        assert store.get(KEY) is None, place
    assert store.verify() == (0, 1)
    assert store.verify() == (0, 0)


def test_writers_and_readers_at_once_see_whole_entries_or_none(bucket, tmp_path, monkeypatch):
    wrong, stop = [], threading.Event()
    stores = []
    for number in range(4):
        monkeypatch.setenv("GENAUDIT_LOCAL", str(tmp_path / str(number)))
        stores.append(store_of(bucket))

    def write(store):
        for _ in range(8):
            store.put(KEY, {"a": np.arange(2000)}, {"b": 1})

    def read(store):
        while not stop.is_set():
            entry = store.get(KEY)
            if entry is not None and entry.arrays["a"].sum() != 1_999_000:
                wrong.append(entry)
            store.local.clear()

    readers = [threading.Thread(target=read, args=[store]) for store in stores[2:]]
    writers = [threading.Thread(target=write, args=[store]) for store in stores[:2]]
    for thread in readers + writers:
        thread.start()
    for thread in writers:
        thread.join()
    stop.set()
    for thread in readers:
        thread.join()
    assert wrong == []
    assert stores[2].get(KEY) is not None
    assert set(bucket.requests) <= {"get", "put"}


def refusal(call):
    """The message of a store that cannot be used, told within 30 seconds."""
    started = time.monotonic()
    with pytest.raises(RemoteError) as caught:
        call()
    assert time.monotonic() - started < 30
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_bucket_that_throttles_for_ever_is_given_up(bucket, hurried):
    store = store_of(bucket)
    bucket.faults.extend(["slow down"] * 100)
    message = refusal(lambda: store.put(KEY))
    assert message.startswith(f"{bucket.url}/cache gave no answer in 8 tries over ")
    assert message.endswith("and run again: what was computed is kept")
    assert bucket.requests == {"put": 8}
    bucket.faults.clear()


def test_a_bucket_that_refuses_says_what_to_do(bucket):
    bucket.faults.append("denied")
    message = refusal(store_of(bucket).check_writable)
    said = {
        "s3": "PermissionError: Access Denied",
        "gs": f"OSError: Forbidden: {os.environ.get('STORAGE_EMULATOR_HOST')}/upload/storage/v1/b/"
        f"{bucket.name}/o No access.",
    }
    assert message == (
        f"{bucket.url}/cache: access was refused ({said[bucket.url[:2]]}); give these "
        "credentials leave to list, read and write there, or choose another place"
    )
    assert bucket.requests == {"put": 1}


def test_a_bucket_that_refuses_to_be_read_is_asked_once(bucket):
    store = store_of(bucket)
    for call in (lambda: store.get(KEY), lambda: store.survey(KEY)):
        bucket.reset()
        bucket.faults.append("denied")
        assert ": access was refused (" in refusal(call)
        assert bucket.requests.total() == 1


def test_a_bucket_that_is_not_there_says_so(bucket_server):
    place = f"{bucket_server.scheme}://no-such-bucket/cache"
    message = refusal(Store(place).check_writable)
    assert message.startswith(f"{place}: there is no such bucket or folder (FileNotFoundError: ")
    assert message.endswith("); make it, or choose another")


def test_a_bucket_without_credentials_says_which(s3_server, fresh, monkeypatch, tmp_path):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    message = refusal(Store("s3://bucket/cache").check_writable)
    assert message.startswith("s3://bucket/cache: there are no credentials to reach it with (NoCre")
    assert message.endswith(
        "set them, for s3:// AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or AWS_PROFILE, for gs:// "
        "GOOGLE_APPLICATION_CREDENTIALS"
    )


def test_a_bucket_that_does_not_know_who_asks_says_so(gs_server):
    bucket = gs_server.new_bucket()
    bucket.faults.append("unknown")
    message = refusal(store_of(bucket).check_writable)
    assert message.startswith(f"{bucket.url}/cache: there are no credentials to reach it with (")
    assert bucket.requests == {"put": 1}


def test_an_address_where_nobody_listens_is_given_up(bucket_server, fresh, hurried, monkeypatch):
    monkeypatch.setenv(bucket_server.address_variable, "http://127.0.0.1:9")
    message = refusal(Store(f"{bucket_server.scheme}://bucket/cache").check_writable)
    assert "ConnectionError" in message or "ClientConnectorError" in message


def test_an_address_that_never_answers_is_given_up(bucket_server, fresh, monkeypatch):
    monkeypatch.setattr("audit.remote.systems.MAX_SECONDS", 1.0)
    monkeypatch.setattr("audit.remote.systems._SILENT_SECONDS", 1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setenv(bucket_server.address_variable, address)
        message = refusal(Store(f"{bucket_server.scheme}://bucket/cache").check_writable)
    assert "gave no answer in 1 tries over " in message
    assert "FSTimeoutError" in message


def test_a_scheme_that_nobody_reads_is_refused():
    assert refusal(lambda: Store("s4://bucket/cache")) == (
        "s4://bucket/cache cannot be read: ValueError: Protocol not known: s4; use s3://, gs://, "
        "hf://, https:// or file://"
    )


class Renaming(fsspec.get_filesystem_class("memory")):
    """A file system that can neither rename nor copy, nor append."""

    protocol = "unmoving"

    def mv(self, *arguments, **options):
        raise NotImplementedError

    move = rename = copy = cp_file = mv


def test_nothing_is_renamed_copied_or_appended_to(tmp_path, monkeypatch):
    monkeypatch.setenv("GENAUDIT_LOCAL", str(tmp_path))
    fsspec.register_implementation("unmoving", Renaming, clobber=True)
    store = Store("unmoving://cache")
    store.put(KEY, {}, {"b": 1})
    store.note({"a": 1})
    store.flush()
    store.local.clear()
    assert store.get(KEY).meta == {"b": 1}
    assert store.clear() == 1
