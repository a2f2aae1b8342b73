"""Files that lie elsewhere: in buckets, on a hub, behind https.

`urls` tells URLs from paths, `systems` reaches what a URL names, with one rule for retries and one
sentence for each way to fail, `copies` keeps whole copies of files on this machine, `trees` those
of folders. Everything goes through fsspec, which is imported when the first URL is met.
"""

from __future__ import annotations

from audit.remote.copies import Copied, copied, copy_of, copy_to, fetch_many
from audit.remote.systems import Listed, System, connect
from audit.remote.trees import tree_of
from audit.remote.urls import Location, base_name, is_url, location, pretty

__all__ = [
    "Copied",
    "Listed",
    "Location",
    "System",
    "base_name",
    "connect",
    "copied",
    "copy_of",
    "copy_to",
    "fetch_many",
    "is_url",
    "location",
    "pretty",
    "tree_of",
]
