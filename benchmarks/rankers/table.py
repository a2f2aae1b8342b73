"""Which ranker that needs no held-out accuracy ranks a zoo it has never seen best?

Every ranker of `candidates` is fitted on zoo tables of all data sources but one, settings,
signs and selection included, and ranks the zoos of the one left out; each source in turn. Kendall
τ with held-out accuracy is printed per zoo, with the least within an architecture, and intervals
of the mean by bootstrap over zoos and over checkpoints. Best single measures stand beside. Then:
what each measure set reaches (what topology adds is the paired difference), what the card's
intervals cover, and the same against clean labels, where a zoo was trained on noisy ones. A user
has the labels that the networks were trained on, so that those decide.

Choosing the best line of the table is a choice too: "the best so far on the others" is the nested
estimate, in which each source is ranked by the ranker that did best on the sources left of it.

The last run (`results/rankers-2026-11-27.json`; eight zoos of seven sources) says:

- The shipped way of fitting reaches τ 0.69 [0.62, 0.75] on sources left out, and 0.71 [0.63, 0.78]
  where the same card is given audits against clean labels. No ranker that was tried is better; the
  fitted ones lie between 0.64 and 0.69, each within the others' intervals, and equal votes at 0.49
  to 0.57. With six zoos of five sources it was 0.65.
- Accuracy on strongly altered training images alone has 0.70, but is best of all columns with all
  zoos in view; the best column of the other sources has 0.68. The card's two parts of that measure
  hold most of its weight.
- What is lost is lost within architectures: the least τ within one is 0.67 for shapes, 0.07 for
  materials, and -0.46 for sounds, where one architecture hardly learned its task.
- The default measures are enough (0.69); topology adds 0.01 [-0.01, 0.04] to the rest, and alone
  reaches 0.58.

Run: python -m benchmarks.rankers [--zoos DIR] [--card FILE] [--json] [--labels clean]
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from audit import ranking
from audit.ranking import weighing
from audit.ranking.scores import KnownZoo, by_source
from audit.statistics import interval
from audit.zoo.table import AS_TRAINED, CLEAN, Labels, ZooTable, read_zoo_tables
from benchmarks.rankers.candidates import (
    Agreement,
    Averaged,
    Best,
    Evidence,
    Few,
    Greedy,
    Leaning,
    Linear,
    NonNegative,
    Pairwise,
    Product,
    Ranker,
    Ridge,
    Shrunk,
    Sparse,
    Tuned,
    Votes,
)
from benchmarks.rankers.judging import (
    CONFIDENCE,
    Line,
    ceiling,
    draws,
    judge,
    line_of,
    nested,
    regret,
    report_line,
    singles,
)
from benchmarks.rankers.zoos import SETS, Columns, columns_of, read_known

#: The ranker that makes the shipped card.
SHIPPED: Final = "sparse votes (shipped)"
#: Votes fixed before any of the zoos was measured, from what docs/evidence.md says of others.
HAND_PICKED: Final = (
    "augmentation_consistency",
    "mixup_accuracy",
    "birth_class_information.clique",
    "train_loss",
)
WITHIN: Final = (0.0, 0.25)
PENALTIES: Final = (0.1, 1.0, 10.0)


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

    def toward_evidence() -> Linear:
        return Tuned(Leaning, grid(penalty=PENALTIES, doubt=(0.0, 1.0, 2.0), within=(0.0, 0.25)))

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
        SHIPPED: lambda: Tuned(Product, grid(penalty=weighing.PENALTIES, within=weighing.WITHIN)),
        "three best, one a family": lambda: Few(columns, 3),
        "few best, one a family": lambda: Tuned(
            Few, grid(columns=(columns,), size=(2, 3, 4, 6), doubt=(0.0, 0.5, 1.0))
        ),
        "shrunk to equal votes": shrunk,
        "shrunk to evidence": toward_evidence,
        "non-negative": lambda: Tuned(
            NonNegative, grid(penalty=PENALTIES, within=WITHIN, least=(0.0, 0.15, 0.3))
        ),
        "non-negative, declared signs": lambda: Tuned(
            NonNegative, grid(penalty=PENALTIES, within=WITHIN, columns=(columns,))
        ),
        "ridge": lambda: Tuned(Ridge, penalised),
        "lasso, free signs": lambda: Tuned(Sparse, sparse),
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


def on_clean_labels(
    make: Callable[[], Ranker], zoos: Sequence[KnownZoo], clean: Sequence[KnownZoo]
) -> list[Line]:
    """A ranker on audits against clean labels: fitted on such audits, or on the usual ones."""
    own = {zoo.scores.name: zoo for zoo in clean}
    usual = []
    for rest, left in by_source(zoos):
        ranker = make().fit(rest)
        audited = [own[zoo.scores.name] for zoo in left]
        usual += [(zoo, ranker.score(zoo.scores)) for zoo in audited]
    return [
        line_of("fitted on labels as trained", usual),
        judge("fitted on clean labels", make, clean),
    ]


def make_card(zoos: Mapping[str, ZooTable], columns: Columns, labels: Labels) -> ranking.Card:
    """The card of all zoos, by the product's own way of fitting one, described for its readers."""
    card = ranking.fit_card(
        {name: zoo.audited(labels) for name, zoo in zoos.items()},
        columns.names,
        name="default",
        versions=columns.versions,
        sources={name: zoo.source for name, zoo in zoos.items()},
    )
    tasks = "; ".join(f"{name}: {zoo.about['about']}" for name, zoo in zoos.items())
    described = (
        f"Fitted on {len(zoos)} zoos of tiny timm networks trained from scratch, audited against "
        f"the labels they were trained on. {tasks}. What is said of each zoo was found with its "
        f"data source left out of everything, the choice among {len(columns.names)} columns "
        "included. Weights are those of a lasso on correlated measures: that a measure has none is "
        "no evidence against it. Networks unlike these may be ranked worse. Made by "
        "benchmarks/rankers."
    )
    return card.model_copy(update={"description": described})


def report_of(tables: Mapping[str, ZooTable], columns: Columns, labels: Labels) -> dict[str, Any]:
    """Everything found, as JSON holds it."""
    zoos = [read_known(zoo, columns, labels) for zoo in tables.values()]
    clean = [read_known(zoo, columns, CLEAN) for zoo in tables.values()]
    marks = columns_of(tables, marks=True)
    beside = [read_known(zoo, marks, labels) for zoo in tables.values()]
    made = candidates(columns)
    lines = []
    for name, make in made.items():
        print(f"{name:40}", file=sys.stderr, end="\r")
        lines.append(judge(name, make, zoos))
    full = next(line for line in lines if line.ranker == SHIPPED)
    lines = sorted(lines, key=lambda line: -line.mean)
    sets, added = measure_sets(columns, zoos, full)
    n_images = {n: int(t.table["n_held_out"].iloc[0]) for n, t in tables.items()}
    return {
        "date": datetime.date.today().isoformat(),
        "zoos": {
            zoo.scores.name: {
                "source": zoo.scores.source,
                "n_models": len(zoo.accuracy),
                "held_out_accuracy": [float(zoo.accuracy.min()), float(zoo.accuracy.max())],
                "kendall_with_accuracy_drawn_again": ceiling(zoo, n_images[zoo.scores.name]),
            }
            for zoo in zoos
        },
        "labels": labels,
        "columns": columns.names,
        "interval": f"{CONFIDENCE:.0%}, bootstrap over zoos and over checkpoints",
        "rankers": [report_line(line, zoos) for line in [nested(lines, zoos), *lines]],
        "sets": sets,
        "topology_adds": added,
        "clean": [report_line(line, clean) for line in on_clean_labels(made[SHIPPED], zoos, clean)],
        "single": [
            report_line(line, zoos)
            for line in [*singles(columns, zoos)[:20], *singles(marks, beside)]
        ],
        "regret": regret(full, zoos),
        "card": make_card(tables, columns, labels).model_dump(),
    }


TABLES: Final = (
    ("ranker", "rankers"),
    ("measure set", "sets"),
    ("audited against clean labels", "clean"),
    ("single measure", "single"),
)


def show(report: Mapping[str, Any]) -> None:
    """Print the tables."""
    names = list(report["zoos"])
    head = "".join(f"{name[:9]:>10}" for name in names)
    for title, key in TABLES:
        print(f"\n{title:38}{head}   mean   95% interval  worst family")
        for row in report[key]:
            cells = "".join(f"{row['kendall'][name]:10.2f}" for name in names)
            ends = f"{row['lower']:.2f} … {row['upper']:.2f}"
            within = "" if row["worst_within"] is None else f"{row['worst_within']:6.2f}"
            print(
                f"{row.get('set', row['ranker'])[:37]:38}{cells}{row['mean']:7.3f} {ends:>14} "
                f"{row['worst']:6.2f} {within}"
            )
    added = report["topology_adds"]
    if added:
        print(
            f"\ntopology adds {added['mean']:+.3f} [{added['lower']:+.3f}, {added['upper']:+.3f}]"
        )
    print(f"\n{'the card, sources left out':38}{head}")
    card = report["card"]
    for key in ("kendall", "kendall_within", "coverage", "apart", "right"):
        known = {zoo["name"]: zoo[key] for zoo in card["zoos"]}
        told = (" " * 10 if known[n] is None else f"{known[n]:10.2f}" for n in names)
        print(f"{key:38}{''.join(told)}")
    print(f"\nfamily weighs {card['within']}, half width {card['half_width']}, gap {card['gap']}")
    for measure in sorted(card["measures"], key=lambda m: -abs(m["coefficient"])):
        print(f"  {measure['name']:46}{measure['coefficient']:8.3f}  {measure['group']}")


def main() -> None:
    """Judge every ranker, and write the card."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--zoos", type=Path, default=Path(__file__).parents[1] / "zoos")
    parser.add_argument("--labels", choices=[AS_TRAINED, CLEAN], default=AS_TRAINED)
    parser.add_argument("--set", choices=list(SETS), default="all", help="measures to use")
    parser.add_argument("--card", type=Path, help="write the card here")
    parser.add_argument("--json", action="store_true", help="print JSON")
    chosen = parser.parse_args()
    tables = read_zoo_tables(chosen.zoos)
    columns = columns_of(tables)
    columns = columns.only(columns.of_set(chosen.set))
    report = report_of(tables, columns, chosen.labels)
    if chosen.card:
        ranking.save_card(ranking.load_card(report["card"]), chosen.card)
    if chosen.json:
        json.dump(report, sys.stdout, indent=1, ensure_ascii=False, allow_nan=False)
        print()
    else:
        show(report)
