"""Calibrator cards: what a ranker learnt, as plain JSON that anyone can read and share.

A card of kind "order" ranks within any zoo: every measure becomes normal scores of its ranks
among the checkpoints compared, and the score is their weighted sum. A card of kind "accuracy"
carries the coefficients of a `GeneralizationRanker` and predicts accuracies on the data set it
was fitted for. Loading a card checks numbers and names, and runs no code.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from scipy import stats

from audit.errors import DataError, StoreError, unknown_name
from audit.statistics.result import Values, numeric_column

FORMAT: Final = "genaudit-calibrator-card"

Finite = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Confidence = Annotated[str, Field(pattern=r"^0?\.[0-9]{1,6}$")]


class _Plain(BaseModel):
    """Numbers and names only; anything else in the file is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Scaled(_Plain):
    """One standardised column: (value − center) / spread, weighed by the coefficient."""

    coefficient: Finite
    center: Finite = 0.0
    spread: Positive = 1.0


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
    """

    name: str
    version: str = ""
    lower: Finite
    upper: Finite
    logarithmic: bool = False
    fill: Finite = 0.0
    missing: Scaled | None = None


class CardZoo(_Plain):
    """A zoo a card was fitted on, and the card's τ there when it is left out (or its part is)."""

    name: str
    n_models: int = Field(ge=2)
    kendall: Finite | None = None


class Card(_Plain):
    """A calibrator card.

    Attributes:
        name: Of the card.
        kind: "order" (any zoo) or "accuracy" (the data set it was fitted for).
        target: The column predicted.
        intercept: Added to the weighted sum.
        half_width: Half width of the interval per confidence, as text: {"0.9": 0.8}.
        measures: The measures used.
        zoos: The zoos fitted on.
        held_out_by: What was left out for scores and widths: "zoos", "families", "checkpoints".
        description: Anything a reader should know.
    """

    format: Literal["genaudit-calibrator-card"] = "genaudit-calibrator-card"
    format_version: Literal[1] = 1
    name: str
    kind: Literal["order", "accuracy"]
    target: str = "held_out_accuracy"
    intercept: Finite = 0.0
    half_width: dict[Confidence, Positive] = Field(min_length=1)
    measures: list[CardMeasure] = Field(min_length=1)
    zoos: list[CardZoo] = Field(min_length=1)
    held_out_by: str = ""
    description: str = ""

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


class Domain(NamedTuple):
    """How far a table lies outside what a card was fitted on.

    Attributes:
        excess: Per measure outside, how far its median lies beyond the card's range, in widths
            of that range (measures that are positive throughout: on a logarithmic scale).
        missing: Measures of the card that the table does not have.
    """

    excess: dict[str, float]
    missing: list[str]

    @property
    def inside(self) -> bool:
        """Whether every measure is there and in range."""
        return not self.excess and not self.missing

    def __str__(self) -> str:
        if self.inside:
            return "inside the card's domain"
        parts = [f"{m} by {e:.2g} widths of its range" for m, e in self.excess.items()]
        parts += [f"{m} is missing" for m in self.missing]
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
        text = path.read_text(encoding="utf-8")
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
        content = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise DataError(f"{where} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise DataError(f"{where} must hold a JSON object; found {type(content).__name__}")
    return _checked(content, where)


def _checked(content: dict[str, Any], where: str) -> Card:
    if content.get("format") != FORMAT:
        raise DataError(f'{where} needs "format": "{FORMAT}"; found {content.get("format")!r}')
    try:
        return Card.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
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
        known = np.empty(0)
        if measure.name in table.columns:
            values = numeric_column(table, measure.name)
            known = values[np.isfinite(values)]
        if not len(known):
            missing.append(measure.name)
            continue
        beyond = _beyond(float(np.median(known)), measure.lower, measure.upper)
        if beyond > 0:
            excess[measure.name] = beyond
    return Domain(excess, missing)


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


def normal_scores(values: Values) -> Values:
    """Van der Waerden scores Φ⁻¹((rank − ½) / n) of the values that are known; 0 elsewhere.

    Example:
        >>> normal_scores(np.array([10.0, 30.0, np.nan, 20.0])).round(2).tolist()
        [-0.97, 0.97, 0.0, 0.0]
    """
    known = ~np.isnan(values)
    scores = np.zeros(len(values))
    if known.any():
        ranks = stats.rankdata(values[known])
        scores[known] = stats.norm.ppf((ranks - 0.5) / known.sum())
    return scores


def order_scores(card: Card, table: pd.DataFrame) -> Values:
    """Scores of a card of kind "order": weighted normal scores of the measures that are there."""
    score = np.full(len(table), card.intercept)
    for measure in card.measures:
        if measure.name in table.columns:
            score += measure.coefficient * normal_scores(numeric_column(table, measure.name))
    return score
