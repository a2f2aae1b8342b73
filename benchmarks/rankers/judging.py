"""Judging rankers on zoos whose data source they never saw: τ per zoo, intervals of the mean."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from audit.ranking import calibration
from audit.ranking.scores import KnownZoo, by_source, kendall_columns, worth
from audit.statistics import bootstrap_weights, interval, kendall_draws
from benchmarks.rankers.candidates import Ranker
from benchmarks.rankers.zoos import Columns

CONFIDENCE: Final = 0.95
N_BOOTSTRAP: Final = 1000


class Line(NamedTuple):
    """What one ranker did on zoos whose source it never saw.

    Attributes:
        ranker: Its name.
        scores: Per zoo.
        kendall: Per zoo.
        within: Least τ within an architecture, per zoo; None where it is undefined.
        worth: What rankers are tuned for, per zoo.
    """

    ranker: str
    scores: dict[str, np.ndarray]
    kendall: dict[str, float]
    within: dict[str, float | None]
    worth: dict[str, float]

    @property
    def mean(self) -> float:
        """Mean τ over zoos."""
        return float(np.mean(list(self.kendall.values())))


def line_of(name: str, scored: Sequence[tuple[KnownZoo, np.ndarray]]) -> Line:
    """A ranker's line of the table."""
    zoos = {zoo.scores.name: (zoo, score) for zoo, score in scored}
    within = {n: calibration.least_within(s, z) for n, (z, s) in zoos.items()}
    return Line(
        name,
        scores={n: score for n, (_, score) in zoos.items()},
        kendall={n: float(kendall_columns(s[:, None], z)[0]) for n, (z, s) in zoos.items()},
        within=within,
        worth={n: float(worth(s[:, None], z)[0]) for n, (z, s) in zoos.items()},
    )


def judge(name: str, make: Callable[[], Ranker], zoos: Sequence[KnownZoo]) -> Line:
    """Fit on all sources but one, rank that one's zoos, each source in turn."""
    scored = []
    for rest, own in by_source(zoos):
        ranker = make().fit(rest)
        scored += [(zoo, ranker.score(zoo.scores)) for zoo in own]
    return line_of(name, scored)


def nested(lines: Sequence[Line], zoos: Sequence[KnownZoo]) -> Line:
    """Each source ranked by the ranker that did best on the other sources' zoos."""
    scored = []
    for rest, own in by_source(zoos):
        best = max(lines, key=lambda line: np.mean([line.worth[z.scores.name] for z in rest]))
        scored += [(zoo, best.scores[zoo.scores.name]) for zoo in own]
    return line_of("the best on the other sources", scored)


def singles(columns: Columns, zoos: Sequence[KnownZoo]) -> list[Line]:
    """Every column by itself, in its declared direction (undeclared: that with the mean τ > 0)."""
    found = []
    for index, name in enumerate(columns.names):
        sign = columns.signs[index] or np.sign(np.mean([zoo.alone[index] for zoo in zoos])) or 1
        scored = [(zoo, sign * zoo.scores.pooled[:, index]) for zoo in zoos]
        found.append(line_of(name, scored))
    return sorted(found, key=lambda line: -line.mean)


def draws(line: Line, zoos: Sequence[KnownZoo]) -> np.ndarray:
    """Mean τ over resampled zoos of resampled checkpoints, shape (draws,)."""
    rng = np.random.default_rng(0)
    of_zoo = np.array(
        [
            kendall_draws(
                line.scores[zoo.scores.name],
                zoo.accuracy,
                bootstrap_weights(len(zoo.accuracy), N_BOOTSTRAP, seed),
            )
            for seed, zoo in enumerate(zoos)
        ]
    )
    chosen = rng.integers(len(zoos), size=(len(zoos), N_BOOTSTRAP))
    return np.asarray(np.nanmean(np.take_along_axis(of_zoo, chosen, axis=0), axis=0))


def report_line(line: Line, zoos: Sequence[KnownZoo]) -> dict[str, Any]:
    """A line as JSON holds it."""
    lower, upper = interval(draws(line, zoos), CONFIDENCE)
    return {
        "ranker": line.ranker,
        "kendall": line.kendall,
        "mean": line.mean,
        "lower": lower,
        "upper": upper,
        "worst": min(line.kendall.values()),
        "within": line.within,
        "worst_within": min((tau for tau in line.within.values() if tau is not None), default=None),
    }


def regret(line: Line, zoos: Sequence[KnownZoo]) -> dict[str, float]:
    """Accuracy of the best checkpoint less that of the one ranked first, per zoo."""
    found = {}
    for zoo in zoos:
        score = line.scores[zoo.scores.name]
        found[zoo.scores.name] = float(zoo.accuracy.max() - zoo.accuracy[score.argmax()])
    return found


def ceiling(zoo: KnownZoo, n_held_out: int) -> float:
    """Mean τ of accuracies with ones drawn again from as many images: what chance leaves."""
    rng = np.random.default_rng(0)
    again = rng.binomial(n_held_out, zoo.accuracy, size=(200, len(zoo.accuracy)))
    return float(kendall_columns(again.T / n_held_out, zoo).mean())
