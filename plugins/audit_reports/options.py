"""Options of the reporters, read and checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from audit.errors import ConfigError, unknown_name

HTML: Final = ("title",)
JSON: Final = ("indent",)
#: Spaces at most before a member of a JSON object, per level.
MOST_INDENT: Final = 8


def title_of(options: Mapping[str, Any], default: str) -> str:
    """The heading of the page.

    Raises:
        ConfigError: An unknown option, or a title that is not one line of text.
    """
    _refuse_unknown("html", options, HTML)
    title = options.get("title", default)
    if not isinstance(title, str) or not title.strip() or len(title.splitlines()) > 1:
        raise ConfigError(f"[reports.html] title must be one line of text; found {title!r}")
    return title


def indent_of(options: Mapping[str, Any], default: int) -> int:
    """Spaces before a member of a JSON object, per level.

    Raises:
        ConfigError: An unknown option, or an indent that is not a whole number from 0 to 8.
    """
    _refuse_unknown("json", options, JSON)
    indent = options.get("indent", default)
    if not isinstance(indent, int) or isinstance(indent, bool) or not 0 <= indent <= MOST_INDENT:
        raise ConfigError(
            f"[reports.json] indent must be a whole number from 0 to {MOST_INDENT}; "
            f"found {indent!r}"
        )
    return indent


def _refuse_unknown(reporter: str, options: Mapping[str, Any], known: tuple[str, ...]) -> None:
    """Refuse options the reporter does not have."""
    for option in options:
        if option not in known:
            hint = f"its options are {', '.join(known)}"
            raise unknown_name(f"option of reporter {reporter!r}:", option, known, hint)
