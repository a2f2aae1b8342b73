"""Calibrator cards: what a ranker learnt, as plain JSON that anyone can read and share.

A card of kind "order" ranks within any zoo: every measure becomes normal scores of its ranks
among the checkpoints compared and among those of the same family, and the score is their weighted
sum. A card of kind "accuracy" carries the coefficients of a `GeneralizationRanker` and predicts
accuracies on the data set it was fitted for. Loading a card checks numbers and names, and runs no
code. Version 2 of the format added `within`, `gap`, a measure's `group` and what is known of each
zoo; files of version 1 mean what they meant.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from audit.errors import DataError, StoreError, unknown_name
from audit.files import plain_text
from audit.notations import json_of
from audit.ranking.scores import column_or_gaps, zoo_scores
from audit.ranking.weighing import combined
from audit.shown import bounded
from audit.statistics.result import Values

FORMAT: Final = "genaudit-calibrator-card"
#: The shipped card that ranks where no accuracy is known and no other card is named.
DEFAULT_CARD: Final = "default"

Finite = Annotated[float, Field(allow_inf_nan=False)]
#: What is multiplied and added, and must not overflow.
Bounded = Annotated[float, Field(ge=-1e100, le=1e100, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, le=1e100, allow_inf_nan=False)]
Divisor = Annotated[float, Field(ge=1e-100, le=1e100, allow_inf_nan=False)]
Confidence = Annotated[str, Field(pattern=r"^0?\.[0-9]{1,6}$")]


class _Plain(BaseModel):
    """Numbers and names only; anything else in the file is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Scaled(_Plain):
    """One standardised column: (value − center) / spread, weighed by the coefficient."""

    coefficient: Bounded
    center: Finite = 0.0
    spread: Divisor = 1.0


class CardMeasure(Scaled):
    """One measure of a card.

    Attributes:
        name: The measure.
        version: The version it was fitted on; "" where unknown.
        lower: Least value among the checkpoints fitted on.
        upper: Greatest value.
        logarithmic: Whether the measure is taken in logarithms (kind "accuracy").
        fill: Value of a gap after the logarithm (kind "accuracy").
        missing: The 0/1 column that says the measure is missing, where gaps were seen (kind
            "accuracy").
        group: Measures of one group stand in for each other where one is missing (kind "order");
            "" is a group of its own.
    """

    name: str
    version: str = ""
    lower: Finite
    upper: Finite
    logarithmic: bool = False
    fill: Finite = 0.0
    missing: Scaled | None = None
    group: str = ""

    @model_validator(mode="after")
    def _in_order(self) -> CardMeasure:
        if self.lower > self.upper:
            raise ValueError(f"lower = {self.lower} lies above upper = {self.upper}")
        return self


class CardZoo(_Plain):
    """A zoo a card was fitted on, and what the card does there when its source is left out.

    Attributes:
        name: Of the zoo.
        n_models: Its checkpoints.
        kendall: τ of a card that was fitted without it (or, with one zoo, without the part).
        source: Its data source; zoos of one source are left out together.
        kendall_within: The least τ within one of its families, likewise.
        coverage: Share of its checkpoints that lie inside their 90% intervals, whose width was
            taken from the other sources.
        apart: Share of its pairs that are told apart at 90%, by a gap from the other sources.
        right: Share of those that are ordered rightly.
    """

    name: str
    n_models: int = Field(ge=2)
    kendall: Finite | None = None
    source: str = ""
    kendall_within: Finite | None = None
    coverage: Finite | None = None
    apart: Finite | None = None
    right: Finite | None = None


class Card(_Plain):
    """A calibrator card.

    Attributes:
        name: Of the card.
        kind: "order" (any zoo) or "accuracy" (the data set it was fitted for).
        target: The column predicted.
        intercept: Added to the weighted sum.
        half_width: Half width of the interval per confidence, as text: {"0.9": 0.8}.
        gap: Per confidence, the difference of scores from which on one checkpoint is said to be
            better than another; without one, checkpoints whose intervals do not overlap are.
        within: Weight of a checkpoint's place within its family, the rest going to its place
            within the zoo (kind "order").
        measures: The measures used.
        zoos: The zoos fitted on.
        held_out_by: What was left out for scores and widths: "zoos", "families", "checkpoints".
        description: Anything a reader should know.
    """

    format: Literal["genaudit-calibrator-card"] = "genaudit-calibrator-card"
    format_version: Literal[1, 2] = 2
    name: str
    kind: Literal["order", "accuracy"]
    target: str = "held_out_accuracy"
    intercept: Bounded = 0.0
    half_width: dict[Confidence, Positive] = Field(min_length=1)
    gap: dict[Confidence, Positive] = Field(default_factory=dict)
    within: float = Field(default=0.0, ge=0, lt=1, allow_inf_nan=False)
    measures: list[CardMeasure] = Field(min_length=1)
    zoos: list[CardZoo] = Field(min_length=1)
    held_out_by: str = ""
    description: str = ""

    @model_validator(mode="after")
    def _each_once(self) -> Card:
        names = [measure.name for measure in self.measures]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"the measure {twice[:200]!r} is there twice")
        return self

    def width_at(self, confidence: float) -> float:
        """Half width of the narrowest interval of at least this confidence.

        Raises:
            DataError: The card has no interval that wide.
        """
        enough = sorted(float(c) for c in self.half_width if float(c) >= confidence - 1e-9)
        if not enough:
            raise DataError(
                f"card {self.name!r} has intervals of confidence {', '.join(self.half_width)}; "
                f"needed {confidence} or more"
            )
        return next(w for c, w in self.half_width.items() if float(c) == enough[0])

    def gap_at(self, confidence: float) -> float | None:
        """Difference of scores that tells two checkpoints apart; None where the card has none.

        It is never more than two half widths: intervals that do not overlap tell them apart too.
        """
        enough = [(float(c), gap) for c, gap in self.gap.items() if float(c) >= confidence - 1e-9]
        return min(min(enough)[1], 2 * self.width_at(confidence)) if enough else None


class Domain(NamedTuple):
    """How far a table lies outside what a card was fitted on.

    Attributes:
        excess: Per measure outside, how far its median lies beyond the card's range, in widths
            of that range (measures that are positive throughout: on a logarithmic scale).
        missing: Measures of the card that the table does not have.
        share: Share of the card's weight that the table's measures carry, in [0, 1].
    """

    excess: dict[str, float]
    missing: list[str]
    share: float = 1.0

    @property
    def inside(self) -> bool:
        """Whether every measure is there and in range."""
        return not self.excess and not self.missing

    def __str__(self) -> str:
        if self.inside:
            return "inside the card's domain"
        parts = [f"{m} by {e:.2g} widths of its range" for m, e in self.excess.items()]
        parts += [f"{m} is missing" for m in self.missing]
        if self.missing:
            parts.append(f"the others carry {self.share:.0%} of the weight")
        return "outside the card's domain: " + ", ".join(parts)


def load_card(source: str | Path | Mapping[str, Any]) -> Card:
    """Read and check a card.

    Args:
        source: A JSON file, the name of a shipped card, or a mapping already read.

    Raises:
        DataError: Not a card: what is wrong, and where.
        StoreError: The file cannot be read.
        ConfigError: Neither a file nor the name of a shipped card.
    """
    if isinstance(source, Mapping):
        return _checked(dict(source), "the card")
    path = Path(source)
    if not path.exists() and path.name == str(source) and not path.suffix:
        return _shipped(str(source))
    try:
        text = plain_text(path)
    except OSError as error:
        raise StoreError(f"card {path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"card {path} is not UTF-8 text") from error
    return _parsed(text, f"card {path}")


def shipped_cards() -> list[str]:
    """Names of the cards that come with the package."""
    folder = resources.files("audit.ranking") / "shipped"
    if not folder.is_dir():
        return []
    return sorted(
        f.name.removesuffix(".json") for f in folder.iterdir() if f.name.endswith(".json")
    )


def _shipped(name: str) -> Card:
    if name not in shipped_cards():
        raise unknown_name("card", name, shipped_cards(), "give a file ending in .json")
    text = (resources.files("audit.ranking") / "shipped" / f"{name}.json").read_text(
        encoding="utf-8"
    )
    return _parsed(text, f"card {name}")


def _parsed(text: str, where: str) -> Card:
    try:
        content = json_of(text, keys_once=True)
    except ValueError as error:
        raise DataError(f"{where} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise DataError(f"{where} must hold a JSON object; found {type(content).__name__}")
    return _checked(content, where)


def _checked(content: dict[str, Any], where: str) -> Card:
    if content.get("format") != FORMAT:
        raise DataError(
            f'{where} needs "format": "{FORMAT}"; found {bounded(repr(content.get("format")), 100)}'
        )
    try:
        return Card.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "as a whole"
        raise DataError(f"{where} is not a card: {place}: {first['msg']}") from error


def save_card(card: Card, path: str | Path) -> None:
    """Write a card as JSON.

    Raises:
        StoreError: The file cannot be written.
    """
    text = json.dumps(card.model_dump(), indent=2, ensure_ascii=False, allow_nan=False)
    try:
        Path(path).write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise StoreError(f"card {path} cannot be written: {error.strerror or error}") from error


def domain_of(card: Card, table: pd.DataFrame) -> Domain:
    """How far a table lies outside a card's domain."""
    excess, missing = {}, []
    for measure in card.measures:
        values = column_or_gaps(table, measure.name)
        known = values[~np.isnan(values)]
        if not len(known):
            missing.append(measure.name)
            continue
        beyond = _beyond(float(np.median(known)), measure.lower, measure.upper)
        if beyond > 0:
            excess[measure.name] = beyond
    weight = sum(abs(m.coefficient) for m in card.measures)
    lost = sum(abs(m.coefficient) for m in card.measures if m.name in missing)
    return Domain(excess, missing, 1 - lost / weight if weight else float(not missing))


def _beyond(value: float, lower: float, upper: float) -> float:
    """Distance beyond a range in widths of it; in logarithms where all is positive."""
    if min(value, lower) > 0:
        value, lower, upper = (float(np.log(v)) for v in (value, lower, upper))
    width = max(upper - lower, 1e-12 * max(1.0, abs(upper)))
    return max(lower - value, value - upper, 0.0) / width


def check_versions(card: Card, versions: Mapping[str, str]) -> None:
    """Refuse measures of another version than the card's.

    Raises:
        DataError: A version differs.
    """
    for measure in card.measures:
        found = versions.get(measure.name, "")
        if found and measure.version and found != measure.version:
            raise DataError(
                f"card {card.name!r} was fitted on {measure.name} version {measure.version}; the "
                f"table holds version {found}: measure again, or use another card"
            )


def order_scores(card: Card, table: pd.DataFrame) -> Values:
    """Scores of a card of kind "order": weighted normal scores within the zoo and the family.

    What a checkpoint lacks is stood in for by the measures it has (see `combined`).
    """
    names = [m.name for m in card.measures]
    known = ~np.isnan(np.column_stack([column_or_gaps(table, name) for name in names]))
    weights = np.array([m.coefficient for m in card.measures])
    labels = [m.group or f"\0{m.name}" for m in card.measures]
    groups = np.unique(labels, return_inverse=True)[1]
    scores = zoo_scores(table, names).mixed(card.within)
    return np.asarray(card.intercept + combined(scores, known, weights, groups))
