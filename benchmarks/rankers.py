"""Which ranker that needs no held-out accuracy ranks a zoo it has never seen best?

Every ranker of `ranker_candidates` is fitted on zoo tables of all data sources but one, settings,
signs and selection included, and ranks the zoos of the one left out; each source in turn. Kendall
τ with held-out accuracy is printed per zoo, with the least within an architecture, and intervals
of the mean by bootstrap over zoos and over checkpoints. Best single measures stand beside. Then:
what each measure set reaches (what topology adds is the paired difference), what the card's
intervals cover, and the same against clean labels, where a zoo was trained on noisy ones. A user
has the labels that the networks were trained on, so that those decide.

Choosing the best line of the table is a choice too: "the best so far on the others" is the nested
estimate, in which each source is ranked by the ranker that did best on the sources left of it.

Run: python -m benchmarks.rankers [--zoos DIR] [--card FILE] [--json] [--labels clean]
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from audit import ranking
from audit.ranking import calibration
from audit.ranking.scores import KnownZoo, by_source, kendall_columns
from audit.statistics import bootstrap_weights, interval, kendall_draws
from audit.zoo.table import AS_TRAINED, Labels, ZooTable, read_zoo_tables
from benchmarks.ranker_candidates import (
    Agreement,
    Averaged,
    Best,
    Evidence,
    Greedy,
    Linear,
    NonNegative,
    Pairwise,
    Ranker,
    Ridge,
    Shrunk,
    Sparse,
    Tuned,
    Votes,
)
from benchmarks.ranker_zoos import SETS, Columns, columns_of, read_known

#: The ranker that makes the shipped card.
SHIPPED: Final = "shrunk to equal votes"
CONFIDENCE: Final = 0.95
N_BOOTSTRAP: Final = 1000
#: Votes fixed before any of the zoos was measured, from what docs/evidence.md says of others.
HAND_PICKED: Final = (
    "augmentation_consistency",
    "mixup_accuracy",
    "birth_class_information.clique",
    "train_loss",
)
WITHIN: Final = (0.0, 0.25, 0.5)
PENALTIES: Final = (0.01, 0.1, 1.0, 10.0, 100.0)


def grid(**settings: Sequence[Any]) -> list[dict[str, Any]]:
    """Every combination of settings."""
    found: list[dict[str, Any]] = [{}]
    for name, values in settings.items():
        found = [{**one, name: value} for one in found for value in values]
    return found


def candidates(columns: Columns) -> dict[str, Callable[[], Ranker]]:
    """Every ranker that is tried, by what a reader should call it."""

    def shrunk() -> Linear:
        return Tuned(Shrunk, grid(penalty=PENALTIES, within=WITHIN))

    def evidence() -> Linear:
        return Tuned(Evidence, grid(doubt=(0.0, 1.0, 2.0), power=(1.0, 2.0, 4.0), within=WITHIN))

    def greedy(cautious: float = 0.0) -> Linear:
        sizes = (1, 2, 3, 4, 6, 8, 12)
        return Tuned(Greedy, grid(size=sizes, within=(0.0, 0.5), cautious=(cautious,)))

    def bagged() -> Ranker:
        return Averaged([shrunk(), evidence(), greedy()])

    penalised = grid(penalty=PENALTIES, within=WITHIN)
    sparse = grid(penalty=(0.03, 0.1, 0.2, 0.3), within=WITHIN)
    return {
        "equal votes": lambda: Votes(columns),
        "equal votes, one a measure": lambda: Votes(columns, "measure"),
        "equal votes, copies share": lambda: Votes(columns, "copies"),
        "equal votes, copies share, family ½": lambda: Votes(columns, "copies", within=0.5),
        "four hand-picked votes": lambda: Votes(columns, names=HAND_PICKED),
        "best single of the others": Best,
        "greedy votes": greedy,
        "greedy votes, cautious": lambda: greedy(1.0),
        "votes by evidence": evidence,
        SHIPPED: shrunk,
        "non-negative": lambda: Tuned(
            NonNegative, grid(penalty=PENALTIES, within=WITHIN, least=(0.0, 0.15, 0.3))
        ),
        "non-negative, declared signs": lambda: Tuned(
            NonNegative, grid(penalty=PENALTIES, within=WITHIN, columns=(columns,))
        ),
        "ridge": lambda: Tuned(Ridge, penalised),
        "lasso": lambda: Tuned(Sparse, sparse),
        "lasso, signs": lambda: Tuned(Sparse, [{**s, "positive": True} for s in sparse]),
        "elastic net, signs": lambda: Tuned(
            Sparse, [{**s, "positive": True, "ratio": 0.3} for s in sparse]
        ),
        "Bradley–Terry": lambda: Tuned(Pairwise, grid(penalty=(1.0, 100.0, 1e4), within=(0.25,))),
        "mean of three": bagged,
        "spectral agreement": lambda: Agreement("spectral", columns),
        "Dawid–Skene": lambda: Agreement("dawid_skene", columns),
        "Kemeny": lambda: Agreement("kemeny", columns),
        "Kemeny of shrunk": lambda: Agreement("kemeny", prior=shrunk()),
        "shrunk × spectral": lambda: Agreement("spectral", prior=shrunk()),
        "evidence × √spectral": lambda: Agreement("spectral", prior=evidence(), strength=0.5),
    }


class Line(NamedTuple):
    """What one ranker did on zoos whose source it never saw.

    Attributes:
        ranker: Its name.
        scores: Per zoo.
        kendall: Per zoo.
        within: Least τ within an architecture, per zoo.
        worth: What rankers are tuned for, per zoo.
    """

    ranker: str
    scores: dict[str, np.ndarray]
    kendall: dict[str, float]
    within: dict[str, float]
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
        within={n: float("nan") if tau is None else tau for n, tau in within.items()},
        worth={n: float(ranking_worth(s, z)) for n, (z, s) in zoos.items()},
    )


def ranking_worth(score: np.ndarray, zoo: KnownZoo) -> float:
    """What rankers are tuned for, of one score."""
    from audit.ranking.scores import worth

    return float(worth(score[:, None], zoo)[0])


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
        "worst_within": float(np.nanmin(list(line.within.values()))),
    }


def measure_sets(
    columns: Columns, zoos: Sequence[KnownZoo], full: Line
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The shipped ranker on every measure set, and what topology adds."""
    lines = {"all": full}
    for name in SETS:
        chosen = columns.of_set(name)
        if name != "all" and len(chosen):
            few = [zoo.only(chosen) for zoo in zoos]
            lines[name] = judge(name, candidates(columns.only(chosen))[SHIPPED], few)
    rows = [report_line(line, zoos) | {"set": name} for name, line in lines.items()]
    if "no topology" not in lines:
        return rows, {}
    added = draws(full, zoos) - draws(lines["no topology"], zoos)
    lower, upper = interval(added, CONFIDENCE)
    without = lines["no topology"]
    return rows, {
        "mean": full.mean - without.mean,
        "lower": lower,
        "upper": upper,
        "kendall": {n: full.kendall[n] - without.kendall[n] for n in full.kendall},
    }


def make_card(
    zoos: Mapping[str, ZooTable], columns: Columns, labels: Labels, described: str
) -> ranking.Card:
    """The card of all zoos, by the product's own way of fitting one."""
    return ranking.fit_card(
        {name: zoo.audited(labels) for name, zoo in zoos.items()},
        columns.names,
        name="default",
        versions=columns.versions,
        sources={name: zoo.source for name, zoo in zoos.items()},
        description=described,
    )


def show(report: Mapping[str, Any]) -> None:
    """Print the tables."""
    names = report["zoos"]
    head = "".join(f"{name[:9]:>10}" for name in names)
    columns = f"{'mean':>7} {'95% interval':>14} {'worst':>6} {'family':>7}"
    for title, key in (
        ("ranker", "rankers"),
        ("measure set", "sets"),
        ("single measure", "single"),
    ):
        print(f"\n{title:38}{head}{columns}")
        for row in report[key]:
            cells = "".join(f"{row['kendall'][name]:10.2f}" for name in names)
            ends = f"{row['lower']:.2f} … {row['upper']:.2f}"
            name = row.get("set", row["ranker"])
            print(
                f"{name[:37]:38}{cells}{row['mean']:7.3f} {ends:>14} {row['worst']:6.2f} "
                f"{row['worst_within']:7.2f}"
            )
    added = report["topology_adds"]
    if added:
        print(
            f"\ntopology adds {added['mean']:+.3f} [{added['lower']:+.3f}, {added['upper']:+.3f}]"
        )
    print(f"\n{'card, sources left out':38}{head}")
    for key in ("kendall", "coverage", "apart", "right"):
        cells = "".join(
            f"{zoo[key]:10.2f}" if zoo[key] is not None else " " * 10
            for zoo in report["card"]["zoos"]
        )
        print(f"{key:38}{cells}")
    for measure in report["card"]["measures"]:
        print(f"  {measure['name']:44}{measure['coefficient']:8.3f}  {measure['group']}")


def main() -> None:
    """Judge every ranker, and write the card."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--zoos", type=Path, default=Path(__file__).parent / "zoos")
    parser.add_argument("--labels", choices=["as_trained", "clean"], default=AS_TRAINED)
    parser.add_argument("--set", choices=list(SETS), default="all", help="measures to use")
    parser.add_argument("--card", type=Path, help="write the card here")
    parser.add_argument("--json", action="store_true", help="print JSON")
    chosen = parser.parse_args()
    tables = read_zoo_tables(chosen.zoos)
    columns = columns_of(tables)
    columns = columns.only(columns.of_set(chosen.set))
    zoos = [read_known(zoo, columns, chosen.labels) for zoo in tables.values()]
    lines = []
    for name, make in candidates(columns).items():
        print(f"{name} …", file=sys.stderr, end="\r")
        lines.append(judge(name, make, zoos))
    full = next(line for line in lines if line.ranker == SHIPPED)
    lines = sorted(lines, key=lambda line: -line.mean)
    sets, added = measure_sets(columns, zoos, full)
    card = make_card(tables, columns, chosen.labels, "")
    report = {
        "date": datetime.date.today().isoformat(),
        "zoos": [zoo.scores.name for zoo in zoos],
        "sources": {zoo.scores.name: zoo.scores.source for zoo in zoos},
        "labels": chosen.labels,
        "n_columns": len(columns.names),
        "rankers": [report_line(line, zoos) for line in [nested(lines, zoos), *lines]],
        "sets": sets,
        "topology_adds": added,
        "single": [report_line(line, zoos) for line in singles(columns, zoos)[:15]],
        "card": card.model_dump(),
    }
    if chosen.card:
        ranking.save_card(card, chosen.card)
    if chosen.json:
        json.dump(report, sys.stdout, indent=1, ensure_ascii=False)
        print()
    else:
        show(report)


if __name__ == "__main__":
    main()
