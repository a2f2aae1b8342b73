"""Any image classification dataset of `torchvision.datasets` that lies on disk; never downloads."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, Final

from audit.data.split_guard import looks_held_out, refuse_held_out
from audit.errors import ConfigError, DataError, unknown_name
from audit.plugin import DatasetEntry, Split
from audit_datasets._in_memory import PictureSplit
from audit_datasets._options import folder_option, refuse_unknown, table_option, text_option
from audit_datasets._torch_like import split_of

OPTIONS = ("dataset", "root", "split", "args")
#: What a dataset without such an argument has, if it has several parts.
_FIRST: Final = {"train": "train", "held_out": "test"}


def open_split(split: Split, options: Mapping[str, Any]) -> PictureSplit:
    """The training or the held-out part of a dataset on disk.

    Args:
        split: "train", or "held_out" for datasets that tell their parts.
        options: `dataset`, a class of `torchvision.datasets`; `root`, as that class takes it;
            `split`, where the class has more than one training split, such as "trainval"; `args`,
            a table of further arguments.

    Raises:
        ConfigError: An unknown option or dataset, a value that cannot be used, or "held_out" of a
            dataset that does not tell its parts.
        DataError: Files are missing, or a split or argument says validation or test.
    """
    refuse_unknown("torchvision", options, OPTIONS)
    kind = _kind(text_option("torchvision", options, "dataset", ""))
    args = table_option("torchvision", options, "args")
    root = folder_option("torchvision", "root", options.get("root"), "the dataset's folder")
    _check_args(args, split)
    chosen = _choice(kind, split, options, args)
    takes_root = "root" in inspect.signature(kind).parameters
    given = {**args, **chosen, **({"root": str(root)} if takes_root else {})}
    try:
        dataset = kind(**given)
    except Exception as error:
        raise DataError(
            f"torchvision: {kind.__name__} cannot be read from {root}: {type(error).__name__}: "
            f"{error}; nothing is downloaded here"
        ) from error
    return split_of(dataset, f"{kind.__name__} of torchvision")


def _kind(name: str) -> type:
    """A class of `torchvision.datasets`."""
    from torchvision import datasets

    known = [one for one in datasets.__all__ if isinstance(getattr(datasets, one), type)]
    if name not in known:
        raise unknown_name("dataset of torchvision:", name, known)
    found: type = getattr(datasets, name)
    return found


def _parameters(kind: type) -> set[str]:
    """The names of the arguments of a class and of those it passes further ones to."""
    return {
        name
        for one in kind.__mro__
        if "__init__" in vars(one)
        for name in inspect.signature(one.__init__).parameters  # type: ignore[misc]
    }


def _check_args(args: Mapping[str, Any], split: Split) -> None:
    """Refuse arguments that choose a split or download."""
    for name in (
        "root",
        "train",
        "split",
        "download",
        "transform",
        "target_transform",
        "transforms",
    ):
        if name == "split" and isinstance(args.get(name), str) and not looks_held_out(args[name]):
            continue  # a subset of EMNIST is called so
        if name in args:
            raise ConfigError(
                f"torchvision: args.{name} is not for you to choose; the training part is opened, "
                "as it is and where it lies; see the options root and split"
            )
    for name, value in args.items():
        if split == "train" and isinstance(value, str):
            refuse_held_out(
                f"torchvision: args.{name} = {value!r}", value, "give the training split"
            )


def _choice(
    kind: type, split: Split, options: Mapping[str, Any], args: Mapping[str, Any]
) -> dict[str, Any]:
    """The arguments that choose the part of a dataset."""
    known = _parameters(kind)
    if "train" in known:
        if "split" in options:
            raise ConfigError(
                f"torchvision: {kind.__name__} has no splits to choose from; leave split out"
            )
        return {"train": split == "train"}
    if "split" in known and "split" not in args:
        chosen = text_option("torchvision", options, "split", _FIRST[split])
        if split == "train":
            refuse_held_out(f"split {chosen!r} of torchvision", chosen, "give the training split")
        return {"split": chosen}
    if split != "train":
        raise ConfigError(
            f"torchvision: {kind.__name__} does not tell its held-out part; give held-out "
            "images as another dataset in [held_out].images"
        )
    return {}


def open_held_out(options: Mapping[str, Any]) -> PictureSplit:
    """The held-out part; of a dataset that does not tell its parts, all of it."""
    kind = _kind(text_option("torchvision", options, "dataset", ""))
    whole = not {"train", "split"} & _parameters(kind)
    return open_split("train" if whole else "held_out", options)


DATASETS = (
    DatasetEntry(
        name="torchvision",
        summary="a dataset of torchvision.datasets that lies on disk",
        version="1",
        open=open_split,
        open_held_out=open_held_out,
        options=OPTIONS,
        locations=("root",),
    ),
)
