"""The order of classes that a configuration, or a checkpoint itself, says a network has."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from audit.errors import CheckpointError, ConfigError, unknown_name
from audit.measuring.class_order import (
    CHECKPOINT,
    DATASET,
    NATURAL,
    ORDER_WORDS,
    PLAIN,
    checked_order,
    differs,
    named_order,
    natural_order,
    ordered_names,
    read_class_map,
)
from audit.network.class_names import names_in_checkpoint

if TYPE_CHECKING:
    from audit.measuring.subject import Subject
    from audit.plugin import ModelEntry
    from audit.runs.config import AuditConfig, CheckpointConfig

_SETTING: Final = "class_order"


class ClassOrders:
    """Resolves the order of classes of each checkpoint of a configuration.

    Args:
        config: The configuration.
        names: Of the classes, as the training set has them.

    Raises:
        ConfigError: A setting cannot be used; the message says which names are wrong.
    """

    def __init__(self, config: AuditConfig, names: Sequence[str]) -> None:
        self._config, self._names = config, tuple(names)
        self._resolved: dict[object, tuple[str, ...]] = {}
        self._given(config.dataset.class_order, f"{_SETTING} in [dataset]")
        for entry in config.checkpoints:
            self._given(entry.class_order, f"{_SETTING} in [[checkpoints]]")

    def of(
        self, entry: CheckpointConfig, weights: Path | None, source: ModelEntry
    ) -> tuple[tuple[str, ...], str]:
        """Names in the order of a network's outputs, and what settled that, in words.

        Both are empty where nothing did: the training set's own order is then taken.

        Raises:
            CheckpointError: The names inside the checkpoint were asked for, and are not the
                training set's.
        """
        here = entry.class_order is not None
        setting = entry.class_order if here else self._config.dataset.class_order
        where = f"{_SETTING} in {'[[checkpoints]]' if here else '[dataset]'}"
        if setting is not None and setting != CHECKPOINT:
            return self._given(setting, where), where
        inside = self._inside(entry, weights, source)
        for given, place in inside:
            if sorted(given) == sorted(self._names) == sorted(set(self._names)):
                return tuple(given), place
        if setting is None:
            return (), ""
        raise CheckpointError(self._none_inside(inside, where))

    def _given(self, setting: str | Sequence[str] | None, where: str) -> tuple[str, ...]:
        """The order that a setting stands for by itself; nothing for the word "checkpoint".

        Raises:
            ConfigError: It is no word, no file, or its names are wrong.
        """
        if setting is None or setting == CHECKPOINT:
            return ()
        if setting not in self._resolved:
            self._resolved[setting] = self._resolve(setting, where)
        return self._resolved[setting]

    def _resolve(self, setting: str | Sequence[str], where: str) -> tuple[str, ...]:
        if len(set(self._names)) < len(self._names):
            raise ConfigError(
                f"{where} needs classes that can be told apart by name, but the training set has "
                "two of one name"
            )
        if not isinstance(setting, str):
            return checked_order(setting, self._names, where)
        if setting in (DATASET, NATURAL, PLAIN):
            return named_order(setting, self._names)
        path = self._config.path(setting)
        if not os.path.isfile(path) and not path.suffix and "/" not in setting:
            hint = f"or give the path of a class-map file ({path} is none)"
            raise ConfigError(f"{where}: {unknown_name('order', setting, ORDER_WORDS, hint)}")
        return read_class_map(path, self._names, where)

    def _inside(
        self, entry: CheckpointConfig, weights: Path | None, source: ModelEntry
    ) -> list[tuple[list[str], str]]:
        """Class names inside a checkpoint: (names in order, where they stand)."""
        reads = source.reads(entry.model, entry.model_args) or ()
        found = names_in_checkpoint(weights, reads)
        named = ((ordered_names(value), place) for value, place in found)
        return [(names, place) for names, place in named if names is not None]

    def _none_inside(self, inside: Sequence[tuple[list[str], str]], where: str) -> str:
        """Why the names inside a checkpoint give no order."""
        if not inside:
            return (
                f'{where} is "checkpoint", but neither its weights file nor a config.json holds '
                "class names; give a list of names or a class-map file"
            )
        names, place = inside[0]
        try:
            checked_order(names, self._names, f'{where} is "checkpoint", and {place}')
        except ConfigError as error:
            return str(error)
        return f"{where}: {place} cannot be used"  # pragma: no cover  (it would have been taken)


def order_notes(names: Sequence[str], subjects: Iterable[Subject]) -> list[str]:
    """What to say of the order of classes where nothing settles it; once for all checkpoints.

    Args:
        names: Of the classes, as the training set has them.
        subjects: The checkpoints.
    """
    subjects = list(subjects)
    unsettled = [subject.name for subject in subjects if not subject.class_order_from]
    if not unsettled or not differs(names):
        return []
    mine = NATURAL if tuple(names) == natural_order(names) else PLAIN
    many = len(unsettled)
    of = f"all {many} checkpoints" if many == len(subjects) else f"{many} of {len(subjects)}"
    if len(subjects) == 1:
        of = "the checkpoint"
    return [
        f"the class names sort differently in natural order ({_start(named_order(NATURAL, names))};"
        f" timm's) and in plain order ({_start(named_order(PLAIN, names))}; torchvision "
        f"ImageFolder's), and nothing says in which {of} {'was' if many == 1 else 'were'} "
        f'trained: the training set\'s own, {mine}, is taken; set class_order = "natural" or '
        '"plain" in [dataset] or [[checkpoints]] to settle it'
    ]


def _start(names: Sequence[str]) -> str:
    """The first names of an order."""
    return ", ".join(names[:3]) + (" …" if len(names) > 3 else "")
