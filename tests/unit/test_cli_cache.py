"""`genaudit cache` on folders and buckets."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from audit.cli.cache import command
from audit.store import Store


@pytest.fixture(autouse=True)
def unsynced(monkeypatch):
    """Nothing waits for the disk."""
    monkeypatch.setattr("os.fsync", lambda number: None)


@pytest.fixture(params=["folder", "s3", "gs"])
def bucket(request, new_bucket):
    """A bucket, or None where the store lies in a folder."""
    kind = request.param
    return None if kind == "folder" else new_bucket(request.getfixturevalue(f"{kind}_server"))


@pytest.fixture
def place(bucket, tmp_path):
    """Where a store lies that holds three entries."""
    found = f"{bucket.url}/cache" if bucket else str(tmp_path / "cache")
    store = Store(found)
    for number in range(3):
        store.put({"number": number}, {"a": np.arange(number)})
    return found


def call(*words):
    return CliRunner().invoke(command, [*words], catch_exceptions=False)


def told(*words):
    done = call(*words, "--json")
    assert done.exit_code == 0
    return json.loads(done.stdout)


def test_cache_info_ls_and_du_agree(place):
    info = told("info", "--cache", place)
    rows = told("ls", "--cache", place)
    places = told("du", "--cache", place)
    assert info["folder"] == place
    assert info["entries"] == len(rows) == places[0]["files"] == 3
    assert info["bytes"] == sum(row["bytes"] for row in rows) == places[0]["bytes"]
    assert {len(row["digest"]) for row in rows} == {64}
    assert len(places) == (3 if "://" in place else 2)


def test_cache_verify_ends_with_1_where_an_entry_is_damaged(place, bucket):
    assert told("verify", "--cache", place) == {"folder": place, "whole": 3, "damaged": 0}
    if bucket:
        bucket.put(next(iter(bucket.objects("cache/entries/"))), b"damaged")
    else:
        next(Store(place).paths()).write_bytes(b"damaged")
    done = call("verify", "--cache", place)
    assert done.exit_code == 1
    assert done.stdout == f"folder: {place}\nwhole: 2\ndamaged: 1\n"
    assert call("verify", "--cache", place).exit_code == 0


def test_cache_prune_removes_the_oldest(place):
    assert told("prune", "--cache", place, "--older-than", "1")["removed"] == 0
    total = told("info", "--cache", place)["bytes"]
    assert told("prune", "--cache", place, "--max-bytes", str(total - 1))["removed"] == 1
    assert told("info", "--cache", place)["entries"] == 2
    assert told("prune", "--cache", place, "--older-than", "0")["removed"] == 2


def test_cache_prune_needs_a_limit(place):
    done = call("prune", "--cache", place)
    assert done.exit_code == 2
    assert "prune needs --older-than DAYS, --max-bytes BYTES, or both" in done.output
    assert call("info", "--cache", place, "--max-bytes", "1").exit_code == 2


def test_cache_clear_removes_everything(place):
    assert told("clear", "--cache", place) == {"folder": place, "removed": 3}
    assert told("info", "--cache", place)["entries"] == 0
