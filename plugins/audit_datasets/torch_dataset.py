"""A `torch.utils.data.Dataset` of yours: an object from Python, or "module:factory"."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from typing import Any, Final

from audit.data.split_guard import refuse_held_out
from audit.errors import ConfigError, foreign_code
from audit.plugin import DatasetEntry, Split
from audit_datasets._in_memory import PictureSplit
from audit_datasets._labels import class_names_option
from audit_datasets._options import refuse_unknown, table_option
from audit_datasets._torch_like import split_of, without_held_out

OPTIONS = ("factory", "object", "args", "class_names")
_OWNER: Final = "the dataset of torch_dataset"


def open_split(split: Split, options: Mapping[str, Any]) -> PictureSplit:
    """The items of a dataset.

    Args:
        split: "train".
        options: `factory`, "package.module:function", called with `args`, a table; or `object`,
            the dataset itself, which must survive pickling where workers are processes;
            `class_names` by label, by default the dataset's `classes`.

    Raises:
        ConfigError: An unknown option, a value that cannot be used, or "held_out".
        DataError: The dataset says that it is held out, or is none that can be used.
    """
    refuse_unknown("torch_dataset", options, OPTIONS)
    if split != "train":
        raise ConfigError(
            "torch_dataset is a training set and has no held-out split; give held-out images in "
            '[held_out].images, such as { name = "torch_dataset", factory = "package:held_out" }'
        )
    dataset = _dataset(options)
    without_held_out(dataset, _OWNER, refuse_held_out)
    return split_of(dataset, _OWNER, _names(options))


def open_held_out(options: Mapping[str, Any]) -> PictureSplit:
    """The items of a dataset, held out or not; see `open_split`."""
    refuse_unknown("torch_dataset", options, OPTIONS)
    return split_of(_dataset(options), _OWNER, _names(options))


def _names(options: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The names of the classes where they are given."""
    return class_names_option("torch_dataset", options.get("class_names"))


def _dataset(options: Mapping[str, Any]) -> Any:
    """The dataset: the object, or what the factory makes."""
    if options.get("object") is not None:
        return options["object"]
    reference = options.get("factory")
    module, _, name = reference.partition(":") if isinstance(reference, str) else ("", "", "")
    if not module or not name:
        raise ConfigError(
            'torch_dataset needs the option factory, "package.module:function", or object, a '
            f"dataset from Python; found {reference!r}"
        )
    arguments = table_option("torch_dataset", options, "args")
    what = f"torch_dataset: factory {reference!r}"
    with foreign_code(f"{what} cannot be imported", ConfigError):
        factory = getattr(importlib.import_module(module), name)
    with foreign_code(f"{what} failed", ConfigError):
        return factory(**arguments)


def adopt(given: Any) -> Mapping[str, Any] | None:
    """Options for a dataset of torch, which is known only where torch is imported already."""
    data = sys.modules.get("torch.utils.data")
    return {"object": given} if data is not None and isinstance(given, data.Dataset) else None


DATASETS = (
    DatasetEntry(
        name="torch_dataset",
        summary="a torch.utils.data.Dataset: an object from Python, or module:factory",
        version="1",
        open=open_split,
        open_held_out=open_held_out,
        adopt=adopt,
        options=OPTIONS,
        locations=("object",),
    ),
)
