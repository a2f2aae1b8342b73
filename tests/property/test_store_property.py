"""Whatever happens to the bytes of an entry, a read gives what was written or nothing.

`GENAUDIT_CAMPAIGN=50` multiplies the 200 damaged entries that are tried by fifty.
"""

import json
import logging
import os

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audit.store import Store, canonical_json, key_digest

CAMPAIGN = 200 * int(os.environ.get("GENAUDIT_CAMPAIGN", "1"))
KEY = {"weights": "0" * 64, "layers": None, "seed": 3}
ARRAYS = {
    "births": np.arange(-1, 40, dtype=np.int16).reshape(1, -1),
    "flags": np.zeros((3, 2), np.uint8),
    "logits": np.linspace(-1, 1, 7, dtype=np.float32),
}
META = {"layers": [{"layer": "conv#2", "height": 8}], "unavailable": "", "ключ": 1.5}

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    # no lone surrogates: they are no text
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda children: (
        st.lists(children, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), children, max_size=4)
    ),
    max_leaves=10,
)
json_objects = st.dictionaries(
    st.text(st.characters(exclude_categories=["Cs"])), json_values, max_size=4
)


@pytest.fixture(scope="module")
def entry(tmp_path_factory):
    """A store, and the bytes of one sound entry."""
    logging.getLogger("genaudit.store").setLevel(logging.CRITICAL)
    store = Store(tmp_path_factory.mktemp("cache"))
    store.put(KEY, ARRAYS, META)
    yield store, store.path(KEY).read_bytes()
    logging.getLogger("genaudit.store").setLevel(logging.NOTSET)


def is_what_was_written(found):
    return (
        found.meta == META
        and found.arrays.keys() == ARRAYS.keys()
        and all(
            found.arrays[name].dtype == array.dtype
            and found.arrays[name].tobytes() == array.tobytes()
            and found.arrays[name].shape == array.shape
            for name, array in ARRAYS.items()
        )
    )


def reads_right(store, content, sound):
    """Whether a read of these bytes gives what was written or, unless they are sound, nothing."""
    path = store.path(KEY)
    path.write_bytes(content)
    found = store.get(KEY)
    if content == sound:
        return found is not None and is_what_was_written(found)
    return found is None and not path.exists()


def damaged(rng, content):
    """One of the things that happen to files."""
    content = bytearray(content)
    first, second = sorted(rng.integers(0, len(content) + 1, 2).tolist())
    match rng.integers(0, 8):
        case 0:  # a bit
            content[rng.integers(len(content))] ^= 1 << rng.integers(8)
        case 1:  # a byte
            content[rng.integers(len(content))] = rng.integers(256)
        case 2:
            del content[first:]
        case 3:
            content[first:first] = rng.bytes(rng.integers(1, 40))
        case 4:
            del content[first:second]
        case 5:  # a block that was never written
            content[first:second] = bytes(second - first)
        case 6:  # a block written twice
            content[first:first] = content[first:second]
        case 7:
            content += rng.bytes(rng.integers(1, 40))
    return bytes(content)


def test_store_damaged_at_random_gives_the_truth_or_nothing(entry):
    store, sound = entry
    rng = np.random.default_rng(20)
    for number in range(CAMPAIGN):
        content = damaged(rng, sound)
        assert reads_right(store, content, sound), f"case {number}: {content!r}"
        if number % 500 == 499:
            store.clear()  # empties the quarantine too


def test_store_damaged_at_every_byte_misses(entry):
    store, sound = entry
    for position in range(0, len(sound), max(1, len(sound) * 3 // (2 * CAMPAIGN))):
        content = bytearray(sound)
        content[position] ^= 0x20
        assert reads_right(store, bytes(content), sound), f"byte {position}"


def test_store_cut_short_anywhere_misses(entry):
    store, sound = entry
    for length in range(0, len(sound), max(1, len(sound) * 3 // (2 * CAMPAIGN))):
        assert reads_right(store, sound[:length], sound), f"{length} bytes"


@pytest.mark.parametrize("swap", ["head", "seal", "payload"])
def test_store_parts_of_another_entry_miss(entry, swap):
    store, sound = entry
    other_key = {**KEY, "seed": 4}
    store.put(other_key, {**ARRAYS, "births": ARRAYS["births"] + 1}, META)
    other = store.path(other_key).read_bytes()
    head = 15 + 8 + int.from_bytes(sound[15:23], "little")
    parts = {
        "head": other[:head] + sound[head:],
        "seal": sound[:head] + other[head : head + 32] + sound[head + 32 :],
        "payload": sound[: head + 32] + other[head + 32 :],
    }
    assert len(other) == len(sound)
    assert reads_right(store, parts[swap], sound)


@settings(max_examples=100, deadline=None)
@given(json_objects)
def test_canonical_json_is_lossless_and_independent_of_order(value):
    text = canonical_json(value)
    assert json.loads(text) == value
    assert canonical_json(json.loads(text)) == text
    assert key_digest(dict(reversed(value.items()))) == key_digest(value)


@settings(max_examples=100, deadline=None)
@given(json_objects, json_objects)
def test_key_digest_separates_keys(first, second):
    assert (key_digest(first) == key_digest(second)) == (
        canonical_json(first) == canonical_json(second)
    )


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(key=json_objects, meta=json_objects, values=st.lists(st.integers(-2, 300), max_size=20))
def test_store_round_trip_of_any_key_and_meta(tmp_path, monkeypatch, key, meta, values):
    monkeypatch.setattr(os, "fsync", lambda number: None)
    store = Store(tmp_path)
    store.put(key, {"a": np.array(values, np.int16)}, meta)
    found = store.get(key)
    assert found.meta == meta
    assert found.arrays["a"].tolist() == values
