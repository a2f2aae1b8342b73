"""Checks on the options of a dataset."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from audit.errors import ConfigError, DataError, RemoteError, unknown_name
from audit.remote import is_url, tree_of


def refuse_unknown(dataset: str, given: Iterable[str], known: tuple[str, ...]) -> None:
    """Refuse options the dataset does not have.

    Raises:
        ConfigError: An option is not known; the message has the nearest names.
    """
    for option in given:
        if option not in known:
            hint = f"the options of {dataset} are {', '.join(known)}"
            raise unknown_name("option", option, known, hint)


def path_option(dataset: str, option: str, value: Any, what: str) -> Path:
    """The file or folder an option names.

    Args:
        dataset: Whose option it is.
        option: Its name.
        value: As it was given.
        what: What should lie there, in words.

    Raises:
        ConfigError: It is no path.
        DataError: Nothing lies there.
    """
    path = _given_path(dataset, option, value, what)
    if not path.exists():
        raise DataError(f"the {option} of {dataset} must be {what}, but {path} does not exist")
    return path


def folder_option(dataset: str, option: str, value: Any, what: str) -> Path:
    """The folder an option names, of a URL a copy on this machine; see `path_option`.

    Raises:
        ConfigError: It is no path.
        DataError: No folder lies there, or what a URL names cannot be fetched.
    """
    if is_url(value):
        try:
            return tree_of(value)
        except RemoteError as error:
            raise DataError(f"the {option} of {dataset}: {error}") from error
    path = _given_path(dataset, option, value, what)
    if not path.is_dir():
        found = "it is not a folder" if path.exists() else "it does not exist"
        raise DataError(f"the {option} of {dataset} must be a folder, but {path}: {found}")
    return path


def _given_path(dataset: str, option: str, value: Any, what: str) -> Path:
    """A value as a path, "~" expanded."""
    if not isinstance(value, str | os.PathLike) or not str(value):
        raise ConfigError(f"{dataset} needs the option {option}: {what}; found {value!r}")
    try:
        return Path(value).expanduser()
    except RuntimeError as error:  # "~name" of nobody, or no home at all
        raise ConfigError(
            f"{dataset}: {option} = {str(value)!r} names a home folder that does not exist"
        ) from error


def text_option(dataset: str, options: Mapping[str, Any], option: str, default: str) -> str:
    """A string that an option gives.

    Raises:
        ConfigError: It is none, or empty.
    """
    value = options.get(option, default)
    if not isinstance(value, str) or not value:
        raise ConfigError(f"{dataset}: {option} must be a string; found {value!r}")
    return value


def table_option(dataset: str, options: Mapping[str, Any], option: str) -> dict[str, Any]:
    """A table that an option gives; empty where it is not given.

    Raises:
        ConfigError: It is none.
    """
    value = options.get(option, {})
    if not isinstance(value, Mapping):
        raise ConfigError(f"{dataset}: {option} must be a table; found {value!r}")
    return dict(value)


def import_optional(dataset: str, module: str, extra: str) -> ModuleType:
    """A package that comes with an extra.

    Raises:
        ConfigError: It is not installed; the message names the extra.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(
            f"dataset {dataset!r} needs the package {module.partition('.')[0]!r}, which cannot be "
            f"imported ({error}); install it: pip install 'genaudit[{extra}]'"
        ) from error
