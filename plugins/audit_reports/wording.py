"""Numbers, counts and names as a reader expects to see them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeGuard

from markupsafe import Markup, escape

MINUS: Final = "\N{MINUS SIGN}"
NONE: Final = "\N{EN DASH}"

_SUPERSCRIPT: Final = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def is_number(value: Any) -> TypeGuard[float]:
    """Whether a value is a finite number."""
    try:
        return not isinstance(value, str | bool) and math.isfinite(value)
    except (TypeError, ValueError, OverflowError):
        return False


def fixed(value: Any, decimals: int = 3) -> str:
    """A number with so many decimals; an en dash where there is none.

    Example:
        >>> fixed(-0.12345), fixed(float("nan")), fixed(-0.00001)
        ('−0.123', '–', '0.000')
    """
    if not is_number(value):
        return NONE
    text = f"{float(value):,.{decimals}f}".replace(",", "\N{NARROW NO-BREAK SPACE}")
    if text.startswith("-") and not text.strip("-0."):
        text = text[1:]
    return text.replace("-", MINUS)


def number(value: Any, digits: int = 4) -> str:
    """A number of any size with so many significant digits; an en dash where there is none.

    Example:
        >>> number(0.123456), number(1.5e9), number(3), number(-2.5e-7), number(0.0)
        ('0.1235', '1.5×10⁹', '3', '−2.5×10⁻⁷', '0')
    """
    if not is_number(value):
        return NONE
    value = float(value)
    size = abs(value)
    if size and not 1e-3 <= size < 1e7:
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
        power = str(int(exponent)).translate(_SUPERSCRIPT)
        return f"{mantissa}×10{power}".replace("-", MINUS, 1)
    if value.is_integer():
        return fixed(value, 0)
    whole = max(0, math.floor(math.log10(size)) + 1) if size >= 1 else 0
    decimals = max(0, digits - whole)
    if size < 1:
        decimals = digits - 1 - math.floor(math.log10(size))
    return fixed(value, min(decimals, 6))


def formatter(values: Iterable[Any]) -> Callable[[Any], str]:
    """How to write the numbers of one column so that their decimal points line up.

    Example:
        >>> write = formatter([0.5, 0.25])
        >>> write(0.5), write(0.25)
        ('0.500', '0.250')
    """
    sizes = [abs(float(value)) for value in values if is_number(value)]
    largest = max(sizes, default=1.0)
    if all(size.is_integer() for size in sizes) and largest < 1e7:
        return lambda value: fixed(value, 0)
    if not 0.01 <= largest < 1e5:
        return number
    decimals = max(0, 3 - max(0, math.floor(math.log10(largest))))
    return lambda value: fixed(value, decimals)


def sort_key(value: Any) -> str:
    """What a script sorts a number by; empty where there is none."""
    return f"{float(value):.7g}" if is_number(value) else ""


def interval(lower: Any, upper: Any, decimals: int = 3) -> str:
    """An interval in words; empty where an end is missing."""
    if not (is_number(lower) and is_number(upper)):
        return ""
    return f"{fixed(lower, decimals)} to {fixed(upper, decimals)}"


def count(n: int, singular: str, plural: str = "") -> str:
    """A count with its noun.

    Example:
        >>> count(1, "checkpoint"), count(2000, "checkpoint")
        ('1 checkpoint', '2\u202f000 checkpoints')
    """
    noun = singular if n == 1 else plural or singular + "s"
    return f"{fixed(n, 0)} {noun}"


def humanize(key: str) -> str:
    """An identifier as words: `top_k_regret` → "top k regret", `n_folds` → "folds"."""
    return key.removeprefix("n_").replace("_", " ").strip()


def listing(items: Sequence[str], most: int = 8) -> str:
    """Some items in a row and how many more there are."""
    shown = ", ".join(items[:most])
    rest = len(items) - most
    return f"{shown} and {fixed(rest, 0)} more" if rest > 0 else shown


def visible(text: str) -> str:
    """Text in which control characters can be seen and do nothing."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def name(text: Any) -> Markup:
    """A checkpoint, class or file name: escaped, and isolated in its writing direction."""
    return Markup("<bdi>{}</bdi>").format(visible(str(text)))


def breakable(text: Any) -> Markup:
    """A dotted identifier that may be broken after each `.` and `_`."""
    escaped = str(escape(visible(str(text))))
    return Markup(re.sub(r"([._])(?=[^._])", r"\1<wbr>", escaped))


def loose(value: Any) -> str:
    """Any value of the run record in one line of text."""
    if value is None:
        return NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) and is_number(value):
        return fixed(value, 0)
    if isinstance(value, float):
        return f"{value:.6g}".replace("-", MINUS, 1) if math.isfinite(value) else NONE
    if isinstance(value, Mapping):
        return ", ".join(f"{key} = {loose(inner)}" for key, inner in value.items()) or NONE
    if isinstance(value, list | tuple):
        return ", ".join(loose(inner) for inner in value) or NONE
    return visible(str(value))
