"""Keys in descending order, sorted no further than they are asked for.

Incremental quicksort (Paredes & Navarro 2006): a queue is cut into parts, each above the next in
all its keys, and only the first part is ever cut again or sorted.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from audit.topology._kernels.basics import compiled
from audit.topology._kernels.vectors import above_in_16, lowest, ones

_INSERTION_SORT_UP_TO: Final = 12
_SORT_BY_RANK_UP_TO: Final = 64
_SPARE: Final = _SORT_BY_RANK_UP_TO + 17
_ONE: Final = np.uint64(1)  # unsigned, as numba tests signed indices for their sign


@compiled
def new_queue(capacity: int, absent: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Keys, ids and ends of a queue: parts that end at `ends`, each above the next in all its keys.

    Beyond the capacity there is room to write eight, and then to sort a part.
    """
    keys = np.empty(capacity + 8 + _SPARE, absent.dtype)
    keys[keys.size - 1] = absent[0]
    return keys, np.empty(keys.size, np.int32), np.empty(capacity + 1, np.int32)


@compiled
def put(
    keys: np.ndarray, ids: np.ndarray, count: Any, values: np.ndarray, block: int, marked: Any
) -> Any:
    """Append the marked values of a block of 64 and their places; returns the count with them.

    Eight are written at a time, needed or not: that is faster than to mispredict where they end.
    """
    more = ones(marked)
    for eight in range(count, count + more, np.uint64(8)):
        for k in range(eight, eight + np.uint64(8)):
            i = np.uint64(block) + lowest(marked)
            keys[k] = values[i]
            ids[k] = i
            marked &= marked - _ONE
    return count + more


@compiled
def _pivot(keys: np.ndarray, start: int, end: int, wanted: int) -> Any:
    """A key below which about `wanted` of the part are not, from a few keys here and there.

    The largest of s keys has about 1/(s + 1) of the part above it; where half of the part or more
    is wanted it is the median of three.
    """
    size = end - start
    samples = min(size // wanted, 31)
    step = size // (samples + 4)
    at = start + (start * 40503 + size * 2654435761) % (step + 1)
    if samples < 3:
        a, b, c = keys[at], keys[at + step], keys[at + 2 * step]
        return max(min(a, b), min(max(a, b), c))
    pivot = keys[at]
    for k in range(1, samples):
        pivot = max(pivot, keys[at + k * step])
    return pivot


@compiled
def _sort_by_rank(keys: np.ndarray, ids: np.ndarray, start: int, end: int) -> None:
    """Sort up to 64 keys in descending order: the place of each is the number of keys above it."""
    spare = keys.size - _SPARE
    spare_keys, spare_ids = keys[spare:], ids[spare:]
    count = end - start
    absent = spare_keys[_SPARE - 1]
    for i in range(count, count + 16):
        spare_keys[i] = absent
    for i in range(count):
        spare_keys[i] = keys[start + i]
        spare_ids[i] = ids[start + i]
        ids[start + i] = -1
    for i in range(count):
        key = spare_keys[i]
        place = np.uint64(start)
        for block in range(0, count, 16):
            place += ones(above_in_16(spare_keys, block, key))
        while ids[place] >= 0:  # taken by an equal key
            place += _ONE
        keys[place] = key
        ids[place] = spare_ids[i]


@compiled
def _insertion_sort(keys: np.ndarray, ids: np.ndarray, start: int, end: int) -> None:
    """Sort a few keys in descending order."""
    for i in range(start + 1, end):
        key, name = keys[i], ids[i]
        j = i
        while j > start and keys[j - 1] < key:
            keys[j] = keys[j - 1]
            ids[j] = ids[j - 1]
            j -= 1
        keys[j] = key
        ids[j] = name


@compiled
def _partition(keys: np.ndarray, ids: np.ndarray, start: int, end: int, floor: Any) -> int:
    """Bring the keys above a floor to the front of a part; returns where they end."""
    split = start
    for i in range(start, end):
        key, name = keys[i], ids[i]
        keys[i] = keys[split]
        ids[i] = ids[split]
        keys[split] = key
        ids[split] = name
        split += key > floor
    return split


@compiled
def _refine(
    keys: np.ndarray, ids: np.ndarray, ends: np.ndarray, start: int, depth: int, wanted: int
) -> int:
    """Divide the part at `start` until its first part is small, or of equal keys."""
    while True:
        end = ends[depth - 1]
        size = end - start
        if size <= _SORT_BY_RANK_UP_TO:
            return depth
        pivot = _pivot(keys, start, end, wanted)
        split = _partition(keys, ids, start, end, pivot)
        if split == start:  # the pivot is the largest key: gather its equals, which need no sorting
            split = _partition(keys, ids, start, end, pivot - 1)
            if split < end:
                ends[depth] = split
                depth += 1
            return depth
        ends[depth] = split
        depth += 1


@compiled
def bring_forward(
    keys: np.ndarray, ids: np.ndarray, ends: np.ndarray, start: int, depth: int, wanted: int
) -> int:
    """Sort the next few largest keys to `start`, as far as `ends[depth - 1]`; returns `depth`.

    Incremental quicksort (Paredes & Navarro 2006): only the first part is ever refined. `wanted`
    is a guess at how many keys will be read in all.
    """
    while ends[depth - 1] <= start:
        depth -= 1
    if ends[depth - 1] - start > _SORT_BY_RANK_UP_TO:
        depth = _refine(keys, ids, ends, start, depth, wanted)
    end = ends[depth - 1]
    if end - start <= _INSERTION_SORT_UP_TO:
        _insertion_sort(keys, ids, start, end)
    elif end - start <= _SORT_BY_RANK_UP_TO:
        _sort_by_rank(keys, ids, start, end)
    return depth
