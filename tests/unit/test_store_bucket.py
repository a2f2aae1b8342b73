"""The store in a bucket: what goes in comes out, by few requests, here a real S3 server's."""

import dataclasses
import json
import logging
import time

import fsspec
import numpy as np
import pytest
from test_measuring_task import REGISTRY
from test_views import network, subject_of

from audit.errors import ConfigError, RemoteError
from audit.measuring.task import audit_checkpoint, provided
from audit.measuring.view import Wanted
from audit.network.saving import write_weights
from audit.store import Store

KEYS = [{"weights": "ab", "number": number} for number in range(5)]


@pytest.fixture(autouse=True)
def unsynced(monkeypatch):
    """Nothing waits for the disk."""
    monkeypatch.setattr("os.fsync", lambda number: None)


def elsewhere(bucket, monkeypatch, tmp_path, name="elsewhere"):
    """The same store, from a machine that has nothing of it."""
    monkeypatch.setenv("GENAUDIT_LOCAL", str(tmp_path / name))
    bucket.reset()
    return Store(f"{bucket.url}/cache")


def filled(bucket):
    store = Store(f"{bucket.url}/cache")
    for key in KEYS:
        store.put(key, {"a": np.full(3, key["number"])}, {"number": key["number"]})
    return store


def test_bucket_round_trip_keeps_arrays_and_meta(bucket, monkeypatch, tmp_path):
    filled(bucket)
    store = elsewhere(bucket, monkeypatch, tmp_path)
    entry = store.get(KEYS[3])
    assert entry.arrays["a"].tolist() == [3, 3, 3]
    assert entry.meta == {"number": 3}
    assert store.get({**KEYS[0], "number": 99}) is None


def test_bucket_holds_the_bytes_that_a_folder_would(bucket, tmp_path):
    store, folder = filled(bucket), Store(tmp_path / "folder")
    folder.put(KEYS[0], {"a": np.full(3, 0)}, {"number": 0})
    digest = folder.path(KEYS[0]).name
    objects = bucket.objects("cache/entries/")
    [same] = [content for key, content in objects.items() if key.endswith(digest)]
    assert same == folder.path(KEYS[0]).read_bytes() == store.path(KEYS[0]).read_bytes()
    assert len(objects) == 5


def test_bucket_is_only_written_by_whole_objects(bucket):
    store = filled(bucket)
    store.note({"a": 1})
    store.flush()
    assert bucket.requests == {"put": 6}


def test_local_tier_is_asked_first_and_kept_filled(bucket, monkeypatch, tmp_path):
    filled(bucket)
    store = elsewhere(bucket, monkeypatch, tmp_path)
    for _ in range(3):
        assert store.get(KEYS[0]) is not None
        assert store.has(KEYS[0])
    assert bucket.requests == {"get": 1}
    assert store.local.get(KEYS[0]) is not None
    again = Store(f"{bucket.url}/cache")
    assert again.get(KEYS[0]) is not None
    assert bucket.requests == {"get": 1}


def test_local_tier_that_cannot_be_written_costs_requests_alone(
    bucket, monkeypatch, tmp_path, caplog
):
    filled(bucket)
    (tmp_path / "no folder").write_bytes(b"")
    store = elsewhere(bucket, monkeypatch, tmp_path, "no folder/below")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("audit.store._folder.Folder.read", lambda self, name: None)
        with caplog.at_level(logging.WARNING, "genaudit.store"):
            assert store.get(KEYS[0]).meta == {"number": 0}
    assert caplog.messages[0].startswith(f"the local tier of {bucket.url}/cache keeps nothing: ")


@pytest.mark.parametrize("many", [Store.get_many, Store.each])
def test_many_are_listed_once_and_those_read_that_are_there(bucket, monkeypatch, tmp_path, many):
    filled(bucket)
    store = elsewhere(bucket, monkeypatch, tmp_path)
    wanted = [*KEYS, *({"weights": "ab", "number": number} for number in range(10, 80))]
    found = list(many(store, wanted))
    assert [entry.meta["number"] for entry in found[:5]] == list(range(5))
    assert found[5:] == [None] * 70
    assert bucket.requests == {"list": 2, "get": 5}
    bucket.reset()
    assert store.having(wanted) == [True] * 5 + [False] * 70
    assert bucket.requests == {"list": 2}


def test_each_reads_a_bucket_no_further_than_is_asked(bucket, monkeypatch, tmp_path):
    filled(bucket)
    store = elsewhere(bucket, monkeypatch, tmp_path)
    monkeypatch.setattr("audit.store.store._TOGETHER", 2)
    each = store.each(KEYS)
    assert next(each).meta == {"number": 0}
    assert bucket.requests["get"] == 2
    assert [entry.meta["number"] for entry in each] == [1, 2, 3, 4]
    bucket.reset()
    store.path(KEYS[3]).write_bytes(b"damaged")
    assert [entry.meta["number"] for entry in store.each(KEYS)] == list(range(5))
    assert bucket.requests["get"] == 1


def test_get_many_asks_one_by_one_where_a_listing_would_be_longer(bucket, monkeypatch, tmp_path):
    filled(bucket)
    for number in range(20):  # as 5,120 in all would have
        bucket.put(f"cache/entries/others/00{number:062x}", b"")
    store = elsewhere(bucket, monkeypatch, tmp_path)
    assert store.get_many([{"memo": number} for number in range(5)]) == [None] * 5
    assert bucket.requests == {"list": 1, "get": 5}
    assert store.having([{"memo": number} for number in range(5)]) == [False] * 5
    assert bucket.requests == {"list": 2 + 5, "get": 5}


def test_listings_are_read_to_their_last_page(bucket, monkeypatch, tmp_path):
    store = elsewhere(bucket, monkeypatch, tmp_path)
    bucket.put_many(f"cache/entries/rows/ff{number:062x}" for number in range(1003))
    assert sum(1 for _ in store.held()) == 1003
    assert bucket.requests == {"list": 2}
    assert store.requests == {"list": 2}


def test_survey_makes_what_is_missing_free(bucket, monkeypatch, tmp_path):
    filled(bucket)
    store = elsewhere(bucket, monkeypatch, tmp_path)
    store.survey(KEYS[0])
    for number in range(50, 80):
        assert store.get({**KEYS[0], "number": number}) is None
    assert store.get(KEYS[2]) is not None
    store.put({**KEYS[0], "number": 50})
    assert store.has({**KEYS[0], "number": 50})
    assert bucket.requests == {"list": 1, "get": 1, "put": 1}


def test_requests_are_counted_as_the_server_counts_them(bucket, monkeypatch, tmp_path):
    filled(bucket)
    store = elsewhere(bucket, monkeypatch, tmp_path)
    store.check_writable()
    store.survey(KEYS[0])
    store.get_many(KEYS)
    store.put({"weights": "cd"})
    store.note({"a": 1})
    store.flush()
    store.clear()
    counted = {kind: n for kind, n in store.requests.items() if not kind.startswith("bytes")}
    assert counted == dict(bucket.requests)
    sizes = [len(store.local.path(key).name) for key in KEYS]
    assert store.requests["bytes_read"] > sum(sizes)


def test_two_writers_of_one_key_leave_a_whole_entry(bucket, monkeypatch, tmp_path):
    stores = [elsewhere(bucket, monkeypatch, tmp_path, f"machine {n}") for n in range(2)]
    for store in stores:
        store.put(KEYS[0], {"a": np.arange(3)}, {"b": 1})
    third = elsewhere(bucket, monkeypatch, tmp_path, "third")
    assert third.get(KEYS[0]).meta == {"b": 1}
    assert third.verify() == (1, 0)


def test_ledger_is_one_object_for_each_flush(bucket, monkeypatch, tmp_path):
    store = Store(f"{bucket.url}/cache")
    for number in range(40):
        store.note({"number": number})
    assert bucket.requests == {}
    assert [line["number"] for line in store.ledger()] == list(range(40))
    bucket.reset()
    store.flush()
    store.flush()
    assert bucket.requests == {"put": 1}
    store.note({"number": 40})
    store.flush()
    other = elsewhere(bucket, monkeypatch, tmp_path)
    lines = list(other.ledger())
    assert [line["number"] for line in lines] == list(range(41))
    assert lines[0]["time"] == pytest.approx(time.time(), abs=60)
    assert len(bucket.objects("cache/ledger/")) == 2


def test_ledger_passes_over_lines_that_are_none(bucket):
    store = Store(f"{bucket.url}/cache")
    bucket.put("cache/ledger/1-a.jsonl", b'{"time": 2, "a": 1}\n{"time": 1, "a": 0}\n[1]\n{"tim')
    assert [line["a"] for line in store.ledger()] == [0, 1]


def test_clear_and_prune_reach_the_local_tier_too(bucket):
    store = filled(bucket)
    sizes = [held.n_bytes for held in store.held()]
    removed = store.prune(None, sum(sizes) - 1)
    assert len(removed) == 1
    assert len(list(store.paths())) == len(bucket.objects("cache/entries/")) == 4
    assert store.prune(3600.0, None) == []
    store.note({"a": 1})
    store.flush()
    assert store.clear() == 4
    assert list(store.paths()) == []
    assert [line["a"] for line in store.ledger()] == [1]


def test_a_url_that_became_a_path_is_refused(tmp_path):
    with pytest.raises(ConfigError) as caught:
        Store(tmp_path.__class__("s3://bucket/cache"))
    assert str(caught.value) == (
        "'s3:/bucket/cache' seems to be a URL that was made a path: give it as text, with '://'"
    )


def test_file_urls_are_folders(tmp_path):
    store = Store(f"file://{tmp_path}/a%20b")
    store.put(KEYS[0])
    assert Store(tmp_path / "a b").get(KEYS[0]) is not None
    assert store.local is store


def test_any_file_system_of_fsspec_will_do(tmp_path, monkeypatch):
    monkeypatch.setenv("GENAUDIT_LOCAL", str(tmp_path))
    store = Store("memory://shared/cache")
    store.check_writable()
    store.put(KEYS[0], {}, {"b": 1})
    store.survey(KEYS[0])
    monkeypatch.setenv("GENAUDIT_LOCAL", str(tmp_path / "other"))
    other = Store("memory://shared/cache")
    assert other.get(KEYS[0]).meta == {"b": 1}
    assert other.having(KEYS) == [True, False, False, False, False]
    assert other.verify() == (1, 0)
    fsspec.filesystem("memory").rm("/shared", recursive=True)


def test_requests_of_a_checkpoint_are_bounded_cold_and_warm(bucket, monkeypatch, tmp_path):
    weights = tmp_path / "w.safetensors"
    write_weights(network(), weights, {})
    subject = subject_of(weights)
    measures = REGISTRY.select_measures(("birth_*",))
    rows = subject.row_key(provided(REGISTRY, measures), Wanted.by(measures).filtrations)

    driver = elsewhere(bucket, monkeypatch, tmp_path, "driver")
    assert driver.get_many([rows]) == [None]
    worker = elsewhere(bucket, monkeypatch, tmp_path, "worker")
    bucket.requests["get"] += 1  # the driver's
    assert audit_checkpoint(subject, measures, worker, REGISTRY).failures == {}
    monkeypatch.setenv("GENAUDIT_LOCAL", str(tmp_path / "driver"))
    assert driver.get(rows) is not None
    n_entries = len(bucket.objects("cache/entries/"))
    assert n_entries > len(measures)
    assert bucket.requests == {"get": 2, "list": 1, "put": n_entries + 1}

    warm = elsewhere(bucket, monkeypatch, tmp_path, "another driver")
    assert warm.get_many([rows])[0] is not None
    assert bucket.requests == {"get": 1}
    warm.get_many([rows])
    assert bucket.requests == {"get": 1}

    late = elsewhere(bucket, monkeypatch, tmp_path, "worker of another driver")
    moved = dataclasses.replace(subject, name="renamed")
    assert audit_checkpoint(moved, measures, late, REGISTRY).failures == {}
    assert bucket.requests == {"list": 2, "get": len(measures)}


def test_store_in_a_bucket_says_what_it_is(bucket):
    Store(f"{bucket.url}/cache/").check_writable()
    assert json.loads(bucket.objects()["cache/store.json"]) == {"genaudit": "store", "schema": 1}


def test_a_store_that_no_package_reads_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "gcsfs", None)
    with pytest.raises(RemoteError) as caught:
        Store("gs://bucket/cache")
    assert str(caught.value).startswith(
        "gs://bucket/cache needs the package 'gcsfs', which cannot be imported ("
    )
    assert str(caught.value).endswith("; install it: pip install 'genaudit[gcs]'")
