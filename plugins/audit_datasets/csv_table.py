"""A CSV file that names images and their labels."""

from __future__ import annotations

import collections
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audit.data.split_guard import refuse_held_out
from audit.errors import ConfigError, DataError, column_names, quoted
from audit.plugin import DatasetEntry, Split
from audit_datasets._labels import class_names_option, numbered_labels
from audit_datasets._options import folder_option, path_option, refuse_unknown, text_option
from audit_datasets.image_folder import FilesSplit

if TYPE_CHECKING:
    import pandas as pd

OPTIONS = ("path", "root", "image", "label", "split", "split_column", "delimiter", "class_names")
LOCATIONS = ("path", "root")


def open_split(split: Split, options: Mapping[str, Any]) -> FilesSplit:
    """The training images that a CSV file lists.

    Args:
        split: "train".
        options: `path` of the CSV; `root`, the folder that its paths start from, by default the
            CSV's; `image` and `label`, the columns, by default "path" and "label"; `split_column`,
            by default "split": where there is such a column, only rows that say `split`, by
            default "train", are taken; `delimiter`, by default a comma; `class_names` by label.

    Raises:
        ConfigError: An unknown option, a value that cannot be used, or "held_out".
        DataError: The file cannot be read or lacks a column, one image has two labels, or its name
            or that of the split says validation or test.
    """
    refuse_unknown("csv", options, OPTIONS)
    if split != "train":
        raise ConfigError(
            "csv is a training set and has no held-out split; give held-out images in "
            '[held_out].images, such as { name = "csv", path = "data.csv", split = "test" }'
        )
    path = path_option("csv", "path", options.get("path"), "a CSV file of images and labels")
    chosen = text_option("csv", options, "split", "train")
    refuse_held_out(f"split {chosen!r} of csv", chosen, "give the training split")
    refuse_held_out(f"the path of csv, {path},", path.stem, "give the training set's file")
    return open_held_out(options)


def open_held_out(options: Mapping[str, Any]) -> FilesSplit:
    """The images that a CSV lists, whatever its name and its split's; see `open_split`."""
    refuse_unknown("csv", options, OPTIONS)
    path = path_option("csv", "path", options.get("path"), "a CSV file of images and labels")
    table, skipped = _rows(path, options)
    image = text_option("csv", options, "image", "path")
    label = text_option("csv", options, "label", "label")
    root = path.absolute().parent
    if options.get("root") is not None:
        root = folder_option("csv", "root", options["root"], "the folder of images")
    firsts = _each_once(table, image, label, path)
    repeated = len(table) - len(firsts)
    if repeated:
        skipped["listed twice"] = repeated
    names = class_names_option("csv", options.get("class_names"))
    labels, names = numbered_labels(list(firsts.values()), names, f"csv {path}")
    return FilesSplit(root, list(firsts), labels, names, skipped)


def _rows(path: Path, options: Mapping[str, Any]) -> tuple[pd.DataFrame, dict[str, int]]:
    """The rows of the chosen split as text, and how many of others were passed over."""
    import pandas as pd

    delimiter = text_option("csv", options, "delimiter", ",")
    try:
        table = pd.read_csv(
            path, sep=delimiter, dtype=str, keep_default_na=False, encoding="utf-8-sig"
        )
    except (OSError, ValueError) as error:  # pandas' own parser errors are ValueErrors
        reason = error if isinstance(error, OSError) else "it is not a table in UTF-8"
        raise DataError(f"csv {path} cannot be read: {reason}") from error
    wanted = [
        text_option("csv", options, *pair) for pair in (("image", "path"), ("label", "label"))
    ]
    missing = [column for column in wanted if column not in table.columns]
    if missing or not len(table):
        raise DataError(
            f"csv {path} needs rows with the columns {quoted(wanted)}; found {len(table)} rows "
            f"with the columns {column_names(table.columns)}; the options image and label name "
            "others"
        )
    column = text_option("csv", options, "split_column", "split")
    if column not in table.columns:
        if "split" in options or "split_column" in options:
            raise DataError(f"csv {path} has no column {column!r} to choose a split by")
        return table, {}
    chosen = text_option("csv", options, "split", "train")
    counts = collections.Counter(table[column])
    if not counts[chosen]:
        raise DataError(
            f"csv {path} has no row of the split {chosen!r}; found {quoted(sorted(counts))}"
        )
    others = {f"{column} {name!r}": n for name, n in sorted(counts.items()) if name != chosen}
    return table[table[column] == chosen], others


def _each_once(table: pd.DataFrame, image: str, label: str, path: Path) -> dict[str, str]:
    """Image → label, in the order of the rows.

    Raises:
        DataError: An image has two labels.
    """
    found: dict[str, str] = {}
    for name, value in zip(table[image], table[label], strict=True):
        if found.setdefault(name, value) != value:
            raise DataError(
                f"csv {path} gives image {name!r} two labels, {found[name]!r} and {value!r}; "
                "keep one row"
            )
    return found


DATASETS = (
    DatasetEntry(
        name="csv",
        summary="a CSV file that names images and their labels",
        version="1",
        open=open_split,
        open_held_out=open_held_out,
        options=OPTIONS,
        locations=LOCATIONS,
    ),
)
