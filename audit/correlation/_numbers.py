"""Numbers as people write them, and what is ambiguous about them.

"1,234" is 1234 to some and 1.234 to others, "0,93" can only be 0.93. A cell that can be read in
one way is read so; one that can be read in two is decided by the other cells of its column, then
by decimal commas in all other columns, and refused where nothing decides.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

#: Cells that hold nothing, besides those of `NO_VALUE`: dashes, and what spreadsheets write
#: where a formula fails.
NOTHING: Final = frozenset(
    ("-", "--", "?", ".", "n.a.", "n/a", "nil", "#div/0!", "#value!", "#ref!", "#num!", "#name?")
)
_TRANSLATED: Final = {
    **dict.fromkeys(map(ord, "\u00a0\u202f\u2007\u2009"), " "),
    **dict.fromkeys(map(ord, "\u2212\u2012\u2013\u2014"), "-"),
    ord("\u2019"): "'",
    ord("\u221e"): "inf",
}
_EXPONENT: Final = r"(?:[eE][+-]?\d+)?"
_PLAIN: Final = re.compile(rf"[+-]?(?:\d+\.?\d*|\.\d+){_EXPONENT}")
_INFINITE: Final = re.compile(r"[+-]?inf(?:inity)?", re.IGNORECASE)
_DECIMAL_COMMA: Final = re.compile(rf"[+-]?\d*,\d+{_EXPONENT}")
_GROUPED: Final = {
    " ": re.compile(r"[+-]?\d{1,3}(?: \d{3})+(?:[.,]\d+)?"),
    "'": re.compile(r"[+-]?\d{1,3}(?:'\d{3})+(?:[.,]\d+)?"),
    "_": re.compile(r"[+-]?\d{1,3}(?:_\d{3})+(?:\.\d+)?"),
    ",": re.compile(r"[+-]?[1-9]\d{0,2}(?:,\d{3})+(?:\.\d+)?"),
    ".": re.compile(r"[+-]?[1-9]\d{0,2}(?:\.\d{3})+(?:,\d+)?"),
}


class Number(NamedTuple):
    """What a cell may mean.

    Attributes:
        dot: Its value if "." is the decimal mark; None if it cannot be.
        comma: Its value if "," is the decimal mark; None if it cannot be.
        plain: Whether a program would read it as it stands.
        percent: Whether it ends in "%"; the values are then divided by 100.
    """

    dot: float | None
    comma: float | None
    plain: bool
    percent: bool = False

    @property
    def marks(self) -> str:
        """The decimal marks under which it can be read: ".", ",", both or either alike."""
        if self.dot == self.comma:
            return ""
        return ("." if self.dot is not None else "") + ("," if self.comma is not None else "")

    def value(self, mark: str) -> float:
        """Its value under a decimal mark, or the only one it can have."""
        first, second = (self.comma, self.dot) if mark == "," else (self.dot, self.comma)
        found = second if first is None else first
        return float("nan") if found is None else found


def tidied(text: str) -> str:
    """A cell without spaces around it, with plain spaces and minus signs."""
    return text.translate(_TRANSLATED).strip()


def read_number(text: str) -> Number | None:
    """What a cell may mean as a number; None if it is none.

    Example:
        >>> read_number("0,93"), read_number("1,234").marks, read_number("high")
        (Number(dot=None, comma=0.93, plain=False, percent=False), '.,', None)
    """
    if _PLAIN.fullmatch(text):
        return _plain(text, True)
    text = tidied(text)
    if text.endswith("%"):
        inner = read_number(text[:-1].rstrip())
        if inner is None or inner.percent:
            return None
        dot, comma = (None if v is None else v / 100 for v in (inner.dot, inner.comma))
        return Number(dot, comma, False, True)
    if _PLAIN.fullmatch(text):
        return _plain(text, False)
    if _INFINITE.fullmatch(text):
        return Number(float(text), float(text), True)
    return _grouped(text)


def _plain(text: str, as_it_stands: bool) -> Number:
    """A number that a program would read; "1.234" may also be a group of thousands."""
    value = float(text)
    if "." not in text:
        return Number(value, value, as_it_stands)
    groups = _GROUPED["."].fullmatch(text)
    return Number(value, float(text.replace(".", "")) if groups else None, as_it_stands)


def _grouped(text: str) -> Number | None:
    """A number with a decimal comma, or with separators between groups of digits."""
    dot = comma = None
    if _DECIMAL_COMMA.fullmatch(text):
        comma = float(text.replace(",", "."))
    for mark, pattern in _GROUPED.items():
        if not pattern.fullmatch(text):
            continue
        value = text.replace(mark, "")
        if mark != "," and (mark == "." or "," in value):
            comma = float(value.replace(",", "."))
        if mark != "." and "," not in value:
            dot = float(value)
            if mark in " '_" and "." not in value:
                comma = dot
    return None if dot is None and comma is None else Number(dot, comma, False)


def sure_marks(numbers: Sequence[Number | None]) -> set[str]:
    """The decimal marks that some cell can only be read with."""
    return {number.marks for number in numbers if number is not None and len(number.marks) == 1}


def decide(numbers: Sequence[Number | None], elsewhere: set[str]) -> tuple[str, int | None]:
    """The decimal mark of a column, and the first cell that stays ambiguous.

    Args:
        numbers: What the cells may mean; None for empty ones.
        elsewhere: The sure marks of the whole table.

    Returns:
        The mark ("." where nothing speaks), and the index of a cell that can be read both ways
        while nothing decides.
    """
    both = [i for i, n in enumerate(numbers) if n is not None and len(n.marks) == 2]
    marks = sure_marks(numbers)
    if not both:
        return ".", None
    strange = [i for i in both if not numbers[i].plain]  # type: ignore[union-attr]
    # a program's "0.5" in another column does not say how a person wrote this one
    for known in (marks, elsewhere if elsewhere == {","} else set()):
        if len(known) == 1:
            mark = next(iter(known))
            # "1.234" beside decimal commas: a group of thousands, or written by a program
            unclear = [i for i in both if i not in strange] if mark == "," else []
            return mark, unclear[0] if unclear else None
    return ".", strange[0] if strange else None
