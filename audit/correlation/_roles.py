"""Which role a column plays, told from its name."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from typing import Final

from audit.statistics.result import GAP, HELD_OUT, HYPERPARAMETER_PREFIX, TRAIN

CHECKPOINT: Final = "checkpoint"
#: Names that say a column's role, folded; the first that is there is taken.
NAMES: Final = {
    CHECKPOINT: ("checkpoint", "checkpoint_id", "model_id", "network", "model", "name", "id"),
    HELD_OUT: (
        *("held_out_accuracy", "heldout_accuracy", "held_out_acc", "test_accuracy", "test_acc"),
        *("val_accuracy", "validation_accuracy", "val_acc", "accuracy", "acc", "top1", "acc1"),
    ),
    TRAIN: ("train_accuracy", "training_accuracy", "train_acc", "training_acc"),
    GAP: ("generalization_gap", "generalisation_gap", "gap", "gen_gap"),
    "family": ("family", "architecture", "arch", "model_family"),
    "n_held_out": ("n_held_out",),
}
HYPERPARAMETERS: Final = (
    *("learning_rate", "lr", "batch_size", "weight_decay", "decay", "dropout", "optimizer"),
    *("depth", "width", "epochs", "label_noise", "augmentation", "momentum"),
)
#: Names of columns that hold a digest of a network's weights.
DIGESTS: Final = re.compile(
    r"((weights?|checkpoint|state|file|model)_)?(sha_?(1|256|512)|md5|digest|hash|checksum)"
)
_HELD_OUT_WORDS: Final = frozenset({"test", "testing", "val", "valid", "validation", "heldout"})
_RESULT: Final = re.compile(
    r"(acc|accuracy|err|error|loss|nll|xent|ce|f1|auc|auroc|precision|recall|ece|brier|score|"
    r"top_?\d|acc\d|err\d)(uracy)?(_?top_?\d)?"
)
_BARE_RESULTS: Final = re.compile(r"(top|acc|err|prec)_?[15]|accuracy|acc|error|error_rate")


def folded(name: str) -> str:
    """A name as it is compared: without case, spaces and hyphens, or a unit in percent.

    Example:
        >>> folded(" Test-Acc (%)")
        'test_acc'
    """
    plain = re.sub(
        r"[\s\-./]+", "_", re.sub(r"[(\[]?\s*(%|percent|pct)\s*[)\]]?", "", name.lower())
    )
    return plain.strip("_")


def first_of(role: str, columns: Sequence[str], taken: Collection[str]) -> str | None:
    """The column that bears the first of a role's names, whatever its case."""
    by_name: dict[str, str] = {}
    for column in columns:
        if column not in taken:
            by_name.setdefault(folded(column), column)
    return next((by_name[name] for name in NAMES[role] if name in by_name), None)


def alike(columns: Iterable[str]) -> list[list[str]]:
    """Columns whose names are that of one role but for case, spaces and hyphens."""
    known = {name for names in NAMES.values() for name in names}
    found: dict[str, list[str]] = {}
    for column in columns:
        if (name := folded(column)) in known:
            found.setdefault(name, []).append(column)
    return [names for names in found.values() if len(names) > 1]


def is_design(column: str) -> bool:
    """Whether a column is a hyperparameter by its name."""
    return column.startswith(HYPERPARAMETER_PREFIX) or folded(column) in HYPERPARAMETERS


def is_digest(column: str) -> bool:
    """Whether a column holds digests of weights, by its name."""
    return DIGESTS.fullmatch(folded(column)) is not None


def is_held_out_result(column: str) -> bool:
    """Whether a column holds a result on held-out images, by its name.

    Example:
        >>> is_held_out_result("Val Loss"), is_held_out_result("acc@5"), is_held_out_result("loss")
        (True, True, False)
    """
    name = folded(column).replace("held_out", "heldout").replace("@", "_")
    words = name.split("_")
    if _HELD_OUT_WORDS & set(words):
        return any(_RESULT.fullmatch(word) for word in words)
    return _BARE_RESULTS.fullmatch(name) is not None


def has_role(column: str) -> bool:
    """Whether what a column holds is one fact about a checkpoint, by its name."""
    name = folded(column)
    return (
        any(name in names for names in NAMES.values())
        or is_design(column)
        or is_digest(column)
        or is_held_out_result(column)
    )
