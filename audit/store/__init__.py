"""What was computed, kept under a key that says all it depends on.

`store` holds the store, `keys` the canonical form of keys. Private to the folder: the bytes of an
entry (`_format`), what a store needs of a place (`_tier`) and the two there are (`_folder`,
`_bucket`), the ledger of a folder (`_ledger`), and its upkeep (`_upkeep`).
"""

from __future__ import annotations

from audit.store._format import Entry
from audit.store._tier import Held
from audit.store.keys import canonical_json, key_digest
from audit.store.store import Store

__all__ = ["Store", "Entry", "Held", "canonical_json", "key_digest"]
