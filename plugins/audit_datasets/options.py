"""Checks on the options of a dataset."""

from __future__ import annotations

from collections.abc import Iterable

from audit.errors import unknown_name


def refuse_unknown(dataset: str, given: Iterable[str], known: tuple[str, ...]) -> None:
    """Refuse options the dataset does not have.

    Raises:
        ConfigError: An option is not known; the message has the nearest names.
    """
    for option in given:
        if option not in known:
            hint = f"the options of {dataset} are {', '.join(known)}"
            raise unknown_name("option", option, known, hint)
