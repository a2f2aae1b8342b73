"""Entries of old schemas, and of old versions of what made them: a miss, never a misreading.

`tests/golden/store` holds entries as they were written, byte for byte. Entries of this schema are
read for ever; when a schema is given up, they stay here and must become misses.
"""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from audit.store import Store
from tests.campaigns.small_folder import SmallFolder

GOLDEN = Path(__file__).parents[1] / "golden" / "store"
KEY = {"kind": "golden", "layer": "größe", "seed": 0, "weights": "0" * 64}
#: File → what is read of it: (meta, arrays), or None for a miss.
WRITTEN = {
    "schema-1.entry": (
        {"n": 3, "text": "ü"},
        {"births": [[1, -1], [2, 3]], "rates": [0.0, 0.5, 1.0]},
    ),
    "schema-0.entry": None,
    "schema-2.entry": None,
    "schema-1-without-meta.entry": None,
    "pickled.entry": None,
}


@pytest.mark.parametrize("name", WRITTEN)
def test_row_15_golden_entries_are_read_as_they_were_written_or_missed(tmp_path, name):
    store = Store(tmp_path)
    path = store.path(KEY)
    path.parent.mkdir(parents=True)
    path.write_bytes((GOLDEN / name).read_bytes())
    entry = store.get(KEY)
    if WRITTEN[name] is None:
        assert entry is None
        store.put(KEY, {}, {"made": "again"})
        assert store.get(KEY).meta == {"made": "again"}
    else:
        meta, arrays = WRITTEN[name]
        assert entry.meta == meta
        assert {k: a.tolist() for k, a in entry.arrays.items()} == arrays
        assert entry.arrays["births"].dtype == np.int32


def test_row_15_the_place_of_an_entry_is_the_same_for_ever(tmp_path):
    """A key that is written otherwise would find nothing, or worse, something else."""
    text = json.dumps(KEY, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    digest = hashlib.sha256(text.encode()).hexdigest()
    assert digest == "9aded45762754dadef3c92969c46893b9052cbc5b366a57c1de5130ddddf7459"
    assert Store(tmp_path).path(KEY) == tmp_path / "entries" / digest[:2] / digest


def test_row_15_numbers_of_an_older_measure_are_computed_again(tmp_path, monkeypatch):
    import dataclasses

    from audit.plugin.registry import installed

    folder = SmallFolder(tmp_path / "user", ("path_norm", "random"))
    folder.write({"one": {"seed": 1}})
    registry = installed()
    new = registry.measures["path_norm"]
    old = dataclasses.replace(new, version="0", compute=lambda view: 123.0)
    monkeypatch.setitem(registry.measures, "path_norm", old)
    folder.run()
    assert folder.values("one")["path_norm"] == 123.0
    monkeypatch.setitem(registry.measures, "path_norm", new)
    folder.run()
    assert folder.values("one")["path_norm"] != 123.0
