"""The one trusted door for weights files.

What a file is, is decided by its bytes, never by its name: safetensors, or the zip archive of
`torch.save`, read with `weights_only=True` after a static look at every global its pickle names.
Everything else is refused, and nothing falls back to unpickling. Sizes a file declares are
compared with its real size before anything is allocated.

Whoever reviews the way from bytes to weights reads, in this order:

- `_door`: from a path to weights; every file, and every shard of a folder, takes it;
- `_snapshot`: the bytes of a file, read once, so that what is digested is what is read;
- `_confined`, `_server`, `_cage`, `_answer`: torch archives are opened in a process that can do
  nothing else: who starts it, what it does, what it gives up, what it hands back;
- `_safetensors`, `_torch_archive`: the two formats, each checked before it is read; `_zip`: the
  entries of an archive, where no two readers can differ;
- `_shards`: an index and the files it names;
- `_choice`: the state dict inside what was read, and its dense tensors;
- `_refusals`: everything else, named as what it is;
- `folders`: which weights lie in a folder, from names alone;
- `remote`: copies of files that URLs name, which then take the same door.
"""

from __future__ import annotations

from audit.network.weights._choice import EMA_PREFIXES, WRAPPERS, Weights, Which
from audit.network.weights._door import (
    content_digest,
    read_torch_content,
    read_weights,
    torch_content_mentions,
)
from audit.network.weights._limits import (
    LOAD_ERRORS,
    MAX_HEADER_BYTES,
    MAX_PICKLE_BYTES,
    MAX_TENSORS,
    listed,
)
from audit.network.weights._safetensors import safetensors_metadata
from audit.network.weights._snapshot import file_digest

__all__ = [
    "EMA_PREFIXES",
    "LOAD_ERRORS",
    "MAX_HEADER_BYTES",
    "MAX_PICKLE_BYTES",
    "MAX_TENSORS",
    "WRAPPERS",
    "Weights",
    "Which",
    "content_digest",
    "file_digest",
    "listed",
    "read_torch_content",
    "read_weights",
    "safetensors_metadata",
    "torch_content_mentions",
]
