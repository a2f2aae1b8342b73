"""Class names that a reader takes for one another."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Final

#: Cyrillic and Greek letters that look like Latin ones.
_LATIN: Final = str.maketrans("асеорхуіјѕԁһԛԝκνοιαρτυχ", "aceopxyijsdhqwkvoiaptux")


def look_alike_notes(names: Sequence[str]) -> list[str]:
    """What to say of classes whose names look alike though they differ; one line for all.

    Case, accents written in two ways, spaces, invisible characters, and the letters of other
    alphabets that look like Latin ones are passed over.

    Example:
        >>> [note.partition(" look")[0] for note in look_alike_notes(["cat", "dog", "Cat"])]
        ["the names of the classes 'cat' and 'Cat'"]
    """
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(_seen(name), []).append(name)
    pairs = [f"{g[0]!a} and {g[1]!a}" for g in groups.values() if len(g) > 1]
    if not pairs:
        return []
    more = f", and {len(pairs) - 3} more" if len(pairs) > 3 else ""
    return [
        f"the names of the classes {'; '.join(pairs[:3])}{more} look alike: they are taken for "
        "different classes; rename one, or move its images, if they are the same"
    ]


def _seen(name: str) -> str:
    """What a reader sees of a name."""
    text = unicodedata.normalize("NFKC", name).casefold().translate(_LATIN)
    return "".join(c for c in text if unicodedata.category(c)[0] not in "CZ")
