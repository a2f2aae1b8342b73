"""What was computed, kept under a key that says all it depends on.

`local` holds the store on disk, `keys` the canonical form of keys. Private to the folder: the bytes
of an entry (`_format`), the files of entries (`_files`), their upkeep (`_upkeep`), and the ledger
(`_ledger`).
"""

from __future__ import annotations

from audit.store._format import Entry, described_entry, is_entry
from audit.store.keys import canonical_json, key_digest
from audit.store.local import Store

__all__ = ["Store", "Entry", "canonical_json", "described_entry", "is_entry", "key_digest"]
