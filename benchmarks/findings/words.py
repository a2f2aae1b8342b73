"""How findings are put into words: numbers, intervals, tables and what an interval lets one say."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from audit.zoo.table import ZooTable
from benchmarks.pooling import Pooled, pooled
from benchmarks.zoo_statistics import Zoos, table_of

#: A table from which single cells are read, which pandas' stubs have no type for.
Frame = Any

#: A column that lacks more values than this leaves in some zoo is not called one of the best.
MIN_COVERAGE: Final = 0.75
#: What stands where there is no number.
NONE: Final = "–"


@dataclass(frozen=True)
class Findings:
    """All that the text is made from.

    Attributes:
        zoos: The tables.
        rows: One row per zoo, audit and column; see `zoo_statistics.COLUMNS`.
        pooled: One row per column, as trained; see `pooling.pool_rows`, with `p_max`.
        threshold: |mean τ| that the largest of all judged columns exceeds with chance 0.05 when
            none means anything.
    """

    zoos: Zoos
    rows: pd.DataFrame
    pooled: pd.DataFrame
    threshold: float
    _wide: dict[tuple[str, str], Frame] = field(default_factory=dict)

    @cached_property
    def tables(self) -> dict[str, Frame]:
        """The main zoos as trained, one row per checkpoint."""
        return {name: table_of(zoo) for name, zoo in self.zoos.main.items()}

    @cached_property
    def sources(self) -> list[str]:
        """The data source of every main zoo."""
        return self.zoos.sources

    @cached_property
    def by_column(self) -> Frame:
        """The pooled rows by column."""
        return self.pooled.set_index("column")

    @cached_property
    def judged(self) -> Frame:
        """The pooled rows of columns that are judged, by column."""
        return self.by_column[self.by_column["judged"]]

    @cached_property
    def covering(self) -> Frame:
        """Of the judged columns those with values for nearly all checkpoints of every zoo."""
        return self.judged[self.judged["coverage"] >= MIN_COVERAGE]

    def of_zoos(self, name: str = "kendall", labels: str = "as_trained") -> Frame:
        """A statistic by column and zoo."""
        if (name, labels) not in self._wide:
            rows = self.rows[self.rows["labels"] == labels]
            wide = rows.pivot(index="column", columns="zoo", values=name)
            self._wide[name, labels] = wide.reindex(columns=list(self.zoos.main))
        return self._wide[name, labels]

    def known(self, columns: Iterable[str]) -> list[str]:
        """Those of the columns that some zoo has a τ for."""
        tau = self.by_column["kendall"]
        return [c for c in columns if c in tau.index and not math.isnan(tau[c])]


def number(value: float, digits: int = 2) -> str:
    """A number with a true minus sign; a dash where there is none."""
    if value is None or math.isnan(value):
        return NONE
    text = f"{value:.{digits}f}"
    text = text.removeprefix("-") if float(text) == 0 else text
    return text.replace("-", "−")


def span(lower: float, upper: float, digits: int = 2, least: float = -1.0) -> str:
    """An interval within the range of the statistic; empty where there is none."""
    if math.isnan(lower) or math.isnan(upper):
        return ""
    low, high = np.clip([lower, upper], least, 1)
    return f"[{number(low, digits)}, {number(high, digits)}]"


def estimate(value: float, lower: float, upper: float, least: float = -1.0) -> str:
    """A number and its interval."""
    return f"{number(value)} {span(lower, upper, least=least)}".strip()


def pooled_text(one: Pooled) -> str:
    """A mean over sources and its interval."""
    return estimate(one.mean, one.lower, one.upper)


def cell(frame: Frame, column: str, name: str, least: float = -1.0) -> str:
    """A statistic of a pooled table with its interval; a dash where the column is not known."""
    if column not in frame.index:
        return NONE
    row = frame.loc[column]
    return estimate(row[name], row[f"{name}_lower"], row[f"{name}_upper"], least)


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; every column but the first is aligned to the right."""
    lines = [list(header), ["---", *["---:"] * (len(header) - 1)], *map(list, rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def code(name: str) -> str:
    """The name of a measure."""
    return f"`{name}`"


def p_text(value: float) -> str:
    """A p-value to one digit that counts."""
    if math.isnan(value):
        return NONE
    return "< 0.001" if value < 0.001 else f"{value:.3f}" if value < 0.01 else f"{value:.2f}"


def direction_said(lower: float, upper: float) -> str:
    """What an interval of an association lets one say."""
    if math.isnan(lower) or math.isnan(upper):
        return "has no interval, as too few sources were measured"
    if lower > 0:
        return "rises with accuracy"
    if upper < 0:
        return "falls as accuracy rises"
    return "has no sign that can be told from none"


def difference_said(one: Pooled, better: str, worse: str) -> str:
    """What the interval of a difference lets one say: better, worse or neither."""
    if math.isnan(one.lower):
        return "too few sources to tell"
    if one.lower > 0:
        return better
    return worse if one.upper < 0 else "no difference that can be told"


def plural(n: int, one: str, many: str | None = None) -> str:
    """A count and its noun."""
    return f"{n} {one if n == 1 else many or one + 's'}"


def listed(words: Sequence[str]) -> str:
    """Words as a list in a sentence."""
    if not words:
        return "none"
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]


def learned(values: ArrayLike, sources: Sequence[str]) -> np.ndarray:
    """Associations with the sign that the other sources give them.

    Of a measure that is worth using, these are positive: its sign on the sources seen holds on
    the one not seen. No direction that anybody declared is used.

    Args:
        values: One association per zoo.
        sources: The data source of each zoo.

    Returns:
        One number per zoo; NaN where no other source has a value.
    """
    x, names = np.asarray(values, dtype=float), np.asarray(sources)
    turned = np.full(len(x), np.nan)
    for source in set(sources):
        others = pooled(x[names != source], list(names[names != source]))
        turned[names == source] = x[names == source] * np.sign(others.mean)
    return turned


def has_noise(zoo: ZooTable) -> bool:
    """Whether label noise is an axis of a zoo."""
    noise = zoo.table.get("hp.label_noise")
    return noise is not None and noise.nunique() > 1
