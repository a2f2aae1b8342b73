"""What a claim is: how its numbers are gathered from a case, and what is to be believed of them.

A claim is judged by its quantities. One is what the claim itself says, some are controls: what it
would have to say if the claim were not an artefact of something else. The rest stand beside.

The rule, within a cell and over all networks: a quantity is *shown* where its 95% interval over
networks lies above its reference; over all networks, if they are five or more, where flipping the
signs of their numbers gives a mean as large with a probability below 5%. A claim

- "holds" where its own quantity is shown and at least as large as stated, and every control is
  shown too; over all networks also only where no cell shows the opposite;
- "holds weakly" where its own quantity is shown, but is smaller, or a control is not shown;
- "does not hold here" where its own quantity is not shown;
- is "undefined" where its own quantity has no number.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import numpy as np

from audit.reproduction.case import Case, Cell
from audit.reproduction.estimates import ALPHA, Estimate, mean_over_networks
from audit.reproduction.form import Variant
from audit.units.verdict import Word

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Role: TypeAlias = Literal["claim", "control", "beside"]

#: Of fewer networks no test by signs can have a probability below 5%.
LEAST_NETWORKS: Final = 5


@dataclasses.dataclass(frozen=True)
class Quantity:
    """A number that each network gives.

    Attributes:
        name: In records and JSON.
        heading: In tables.
        meaning: One line.
        role: In the verdict.
        reference: What no effect would be.
        least: How far above the reference it must be for "holds".
        limit: Instead of both: the largest number of any network that agrees with the claim.
    """

    name: str
    heading: str
    meaning: str
    role: Role = "beside"
    reference: float = 0.0
    least: float = 0.0
    limit: float | None = None

    def over(self, records: Sequence[Record]) -> Estimate:
        """The estimate from one network each; from a single network with its own interval."""
        values = [record.numbers.get(self.name, np.nan) for record in records]
        if self.limit is not None:
            known = [value for value in values if np.isfinite(value)]
            ends = (max(known), min(known), max(known)) if known else (np.nan,) * 3
            return Estimate(*ends, len(known))
        found = mean_over_networks(values, self.reference)
        own = [record.intervals[self.name] for record in records if self.name in record.intervals]
        return found._replace(lower=own[0][0], upper=own[0][1]) if found.n == 1 and own else found

    def is_shown(self, estimate: Estimate, pooled: bool) -> bool:
        """Whether an estimate agrees with the claim beyond chance."""
        if self.limit is not None:
            return estimate.value <= self.limit
        if pooled and estimate.n >= LEAST_NETWORKS:
            return estimate.value > self.reference and estimate.p_value < ALPHA
        return estimate.lower > self.reference

    def is_opposite(self, estimate: Estimate) -> bool:
        """Whether an estimate speaks against the claim beyond chance."""
        return self.limit is None and estimate.upper < self.reference

    def is_large(self, estimate: Estimate) -> bool:
        """Whether the effect is as large as "holds" asks for."""
        return self.limit is not None or estimate.value - self.reference >= self.least


@dataclasses.dataclass(frozen=True)
class Record:
    """What one case gave for a claim.

    Attributes:
        cell: Architecture and source.
        seed: Of the networks.
        numbers: Quantity → number; NaN where there is none.
        intervals: Quantity → 95% interval over the parts of this one network.
        series: What figures are drawn from.
        reason: Why there is nothing; "" where there is.
    """

    cell: Cell
    seed: int
    numbers: Mapping[str, float] = dataclasses.field(default_factory=dict)
    intervals: Mapping[str, Sequence[float]] = dataclasses.field(default_factory=dict)
    series: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    reason: str = ""

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Record:
        """From `as_json`."""
        return cls(**{**content, "cell": Cell(**content["cell"])})


@dataclasses.dataclass(frozen=True)
class Found:
    """What was gathered from a case, before it is labelled.

    Attributes:
        numbers: Quantity → number.
        series: What figures are drawn from.
        intervals: Quantity → 95% interval over the parts of this one network.
    """

    numbers: dict[str, float]
    series: dict[str, Any]
    intervals: dict[str, tuple[float, float]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Claim:
    """A claim of the method as an experiment.

    Attributes:
        name: One word or two, as the command line has it.
        statement: What is claimed.
        version: Changes whenever a record would hold other numbers.
        gather: Case → what it gives.
        quantities: What is judged, and what stands beside.
        draw: Records → figures by name.
        variants: Which networks of a case it needs.
    """

    name: str
    statement: str
    version: str
    gather: Callable[[Case], Found]
    quantities: tuple[Quantity, ...]
    draw: Callable[[Sequence[Record]], Mapping[str, Figure]]
    variants: tuple[Variant, ...] = ("regular",)

    @property
    def judged(self) -> tuple[Quantity, ...]:
        """The claim's own quantity, and the controls."""
        return tuple(q for q in self.quantities if q.role != "beside")


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What is to be believed of a claim in one cell, or over all networks.

    Attributes:
        where: The cell; None over all.
        word: The verdict.
        estimates: Quantity → estimate.
        sentence: Why.
        n_networks: Cases that gave numbers.
    """

    where: Cell | None
    word: Word
    estimates: Mapping[str, Estimate]
    sentence: str
    n_networks: int


@dataclasses.dataclass(frozen=True)
class Outcome:
    """A claim, judged.

    Attributes:
        claim: Which.
        overall: Over all networks.
        cells: In each cell.
        records: What it rests on.
        notes: Why cases gave nothing.
    """

    claim: Claim
    overall: Verdict
    cells: tuple[Verdict, ...]
    records: tuple[Record, ...]
    notes: tuple[str, ...]


def judge(claim: Claim, records: Sequence[Record]) -> Outcome:
    """Judge a claim by the rule of this module.

    Args:
        claim: Which.
        records: One of each case.
    """
    known = [record for record in records if not record.reason]
    cells = sorted({record.cell for record in records})
    each = tuple(
        _verdict(claim, [record for record in known if record.cell == cell], cell) for cell in cells
    )
    against = [v for v in each if any(q.is_opposite(v.estimates[q.name]) for q in _own(claim))]
    overall = _verdict(claim, known, None, against)
    notes = dict.fromkeys(f"{r.cell}: {r.reason}" for r in records if r.reason)
    return Outcome(claim, overall, each, tuple(records), tuple(notes))


def _own(claim: Claim) -> list[Quantity]:
    return [q for q in claim.quantities if q.role == "claim"]


def _verdict(
    claim: Claim, records: Sequence[Record], where: Cell | None, against: Sequence[Verdict] = ()
) -> Verdict:
    estimates = {q.name: q.over(records) for q in claim.quantities}
    pooled = where is None
    reasons: list[str] = []
    word: Word = "holds"
    for q in claim.judged:
        estimate = estimates[q.name]
        own = q.role == "claim"
        if np.isnan(estimate.value):
            reasons.append(f"{q.heading}: no number")
            word = "undefined" if own else ("holds weakly" if word == "holds" else word)
        elif not q.is_shown(estimate, pooled):
            opposite = "the opposite is shown" if q.is_opposite(estimate) else "not shown"
            reasons.append(f"{q.heading}: {opposite}")
            if own:
                word = "does not hold here"
            elif word == "holds":
                word = "holds weakly"
        elif not q.is_large(estimate):
            reasons.append(f"{q.heading}: shown, but small")
            word = "holds weakly" if word == "holds" else word
    if against and word == "holds":
        word = "holds weakly"
        reasons.append("the opposite is shown in " + ", ".join(str(v.where) for v in against))
    sentence = "; ".join(reasons) or "the claim and every control are shown"
    return Verdict(where, word, estimates, sentence, len(records))
