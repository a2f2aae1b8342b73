"""Entries of the store, changed in every region: a read gives what was written, or nothing.

Regions are the magic line, the length of the header, its JSON, its digest, the payload's header and
the payload. Changes are flipped bits, other bytes, bytes taken out, put in or swapped, regions of
another entry, zeros, and ends cut off.
"""

from __future__ import annotations

import itertools
import logging
import random
import shutil
import tempfile
from pathlib import Path

import numpy as np

from audit.store import Store
from tests.campaigns.report import Report, command

KEY, OTHER = {"weights": "0" * 64, "seed": 1}, {"weights": "0" * 64, "seed": 2}
MAGIC = len(b"genaudit-entry\n")


def regions(content: bytes) -> dict[str, tuple[int, int]]:
    """Name → where a region begins and ends."""
    length = int.from_bytes(content[MAGIC : MAGIC + 8], "little")
    header_end = MAGIC + 8 + length
    payload = header_end + 32
    names = 8 + int.from_bytes(content[payload : payload + 8], "little")
    edges = [0, MAGIC, MAGIC + 8, header_end, payload, payload + names, len(content)]
    called = ("magic", "length", "header", "digest", "payload header", "payload")
    return dict(zip(called, itertools.pairwise(edges), strict=True))


def changed(rng: random.Random, content: bytes, other: bytes, region: str) -> bytes:
    """An entry with one change in a region."""
    start, stop = regions(content)[region]
    at = rng.randrange(start, stop)
    data = bytearray(content)
    kind = rng.randrange(8)
    if kind == 0:
        data[at] ^= 1 << rng.randrange(8)
    elif kind == 1:
        data[at] = rng.randrange(256)
    elif kind == 2:
        del data[at : at + rng.randint(1, 20)]
    elif kind == 3:
        data[at:at] = rng.randbytes(rng.randint(1, 20))
    elif kind == 4:
        elsewhere = rng.randrange(len(data))
        data[at], data[elsewhere] = data[elsewhere], data[at]
    elif kind == 5:
        begin, end = regions(other)[region]
        data[start:stop] = other[begin:end]
    elif kind == 6:
        data[at : rng.randint(at, stop)] = bytes(1)
    else:
        del data[at:]
    return bytes(data)


def run(count: int, seed: int) -> Report:
    """So many damaged entries."""
    report = Report()
    rng = random.Random(seed)
    logging.getLogger("genaudit.store").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as name:
        store = Store(Path(name))
        arrays = {"births": np.arange(50, dtype=np.int32), "rates": np.linspace(0, 1, 20)}
        written = {}
        for key, value in ((OTHER, {"value": 2.5}), (KEY, {"value": 1.5})):
            for number in (2, 1):
                store.put(key, {k: a * number for k, a in arrays.items()}, {"n": number, **value})
                written[value["value"], number] = store.path(key).read_bytes()
        whole, path = written[1.5, 1], store.path(KEY)
        others = [written[1.5, 2], written[2.5, 1]]
        for number in range(count):
            region = list(regions(whole))[number % 6]
            content = changed(rng, whole, rng.choice(others), region)
            path.write_bytes(content)
            try:
                entry = store.get(KEY)
            except Exception as error:  # noqa: BLE001  this is what is looked for
                report.fail(f"case {number}: {type(error).__name__}: {error}")
                continue
            report.count(f"changed in the {region}")
            if entry is None:
                report.count("misses")
            elif entry.meta == {"n": 1, "value": 1.5} and all(
                np.array_equal(entry.arrays[k], a) for k, a in arrays.items()
            ):
                report.count("read as written" + ("" if content == whole else ", though changed"))
            elif content != others[0]:
                report.fail(f"case {number}: a wrong answer from a change in the {region}")
            if number % 500 == 0:
                shutil.rmtree(store.root / "quarantine", ignore_errors=True)
    return report


if __name__ == "__main__":
    command(run, 10_000)
