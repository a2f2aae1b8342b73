"""How much is a card worth beside a few known accuracies, and they beside it?

For every zoo of a folder a card is fitted on the zoos of other data sources alone. Then 3, 5, 8,
12, 16 or 24 random checkpoints of the zoo become known, and the others are ranked: by the card
alone, by the plain fit of what is known, and by the fit that starts from the card. Printed are
Kendall's τ with the accuracies of the checkpoints that are not known, its mean over draws of the
known ones, and the standard error of that mean; differences are within draws. Where a plain fit
predicts the same for all it has no τ, and the draw is left out of its mean.

A card weighs the judged measures with a declared direction that have a number for every
checkpoint of every zoo it is fitted on, but for the sizes of networks and the random number.
Measures were taken against the labels trained on, as every user has them.

Run: python -m benchmarks.learning_curves --zoos DIR [--draws N] [--seed N] [--json] [--plot FILE]
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from audit.ranking import Card, fit_card
from audit.ranking._from_card import CardPrior, FromCardRegressor
from audit.ranking.estimator import DEFAULT_MODELS
from audit.statistics.result import HELD_OUT, numeric_column
from audit.zoo.table import AS_TRAINED, ZooTable, read_zoo_tables
from benchmarks.timing import versions

SIZES: Final = (3, 5, 8, 12, 16, 24)
RANKERS: Final = ("card", "plain", "both")
#: Not weighed by cards: which architecture it is, and what says nothing.
LEFT_OUT: Final = ("parameters", "macs", "random")
CONFIDENCE: Final = 0.9
#: Intervals are taken of every so many draws.
COVERED: Final = 5
#: At least so many checkpoints must be left to rank.
LEAST_UNKNOWN: Final = 8


class Prepared(NamedTuple):
    """A zoo, the card that never saw its source, and what fits are given.

    Attributes:
        rows: Measures, the card's score, and no group; shape (checkpoints, measures + 2).
        y: Held-out accuracies.
        noise: Their binomial variance, on average.
        prior: The card within the zoo.
    """

    rows: np.ndarray
    y: np.ndarray
    noise: float
    prior: CardPrior


def directed(zoo: ZooTable) -> list[str]:
    """The columns that rank: judged, with a declared direction, and some number."""
    about, table = zoo.about["measures"], zoo.audited(AS_TRAINED)
    return [
        m
        for m in zoo.measures
        if about[m]["judged"]
        and about[m]["direction"] != "none"
        and np.isfinite(numeric_column(table, m)).any()
    ]


def card_for(zoo: ZooTable, zoos: Mapping[str, ZooTable]) -> Card:
    """A card fitted on the zoos of other sources."""
    others = {name: z for name, z in zoos.items() if z.source != zoo.source}
    tables = {name: z.audited(AS_TRAINED) for name, z in others.items()}
    whole = [
        m
        for m in directed(zoo)
        if m not in LEFT_OUT
        and all(
            m in table.columns and np.isfinite(numeric_column(table, m)).all()
            for table in tables.values()
        )
    ]
    sources = {name: z.source for name, z in others.items()}
    return fit_card(tables, whole, name=f"all but {zoo.source}", sources=sources)


def prepared(zoo: ZooTable, zoos: Mapping[str, ZooTable]) -> Prepared:
    """What the fits of a zoo share."""
    table = zoo.audited(AS_TRAINED)
    names = directed(zoo)
    X = np.column_stack([numeric_column(table, m) for m in names])
    X = np.where(np.isfinite(X), X, np.nan)
    families = pd.factorize(table["family"])[0]
    prior = CardPrior(card_for(zoo, zoos), X, names, families)
    y = numeric_column(table, HELD_OUT)
    images = numeric_column(table, "n_held_out") if "n_held_out" in table else np.full(len(y), 0.0)
    variance = np.where(images > 0, y * (1 - y) / np.maximum(images, 1), 0.0)
    rows = np.column_stack([X, prior(X), np.full(len(X), -1.0)])
    return Prepared(rows, y, float(variance.mean()), prior)


def draw(zoo: Prepared, known: np.ndarray, with_intervals: bool) -> dict[str, float]:
    """τ of the three rankers on the checkpoints that are not known."""
    rest = np.setdiff1d(np.arange(len(zoo.y)), known)
    fit = FromCardRegressor(zoo.prior, zoo.noise, DEFAULT_MODELS).fit(zoo.rows[known], zoo.y[known])
    rows, y = zoo.rows[rest], zoo.y[rest]
    plain = fit.plain_.predict(np.delete(rows, -2, axis=1))
    scores = {"card": rows[:, -2], "plain": plain, "both": fit.predict(rows)}
    found = {name: _kendall(score, y) for name, score in scores.items()}
    if with_intervals:
        lower, upper = fit.predict_interval(rows, CONFIDENCE).T
        found["coverage"] = float(np.mean((lower <= y) & (y <= upper)))
        found["width"] = float(np.median(upper - lower))
    return found


def _kendall(score: np.ndarray, y: np.ndarray) -> float:
    return float(stats.kendalltau(score, y).statistic) if np.ptp(score) > 1e-12 else math.nan


def curve(name: str, zoo: Prepared, n_draws: int, seed: int) -> list[dict[str, Any]]:
    """A row per number of known accuracies."""
    rows = []
    for size in (k for k in SIZES if k <= len(zoo.y) - LEAST_UNKNOWN):
        rng = np.random.default_rng([seed, size])
        draws = pd.DataFrame(
            [
                draw(zoo, rng.permutation(len(zoo.y))[:size], number % COVERED == 0)
                for number in range(n_draws)
            ]
        )
        rows.append({"zoo": name, "n_known": size, **_summary(draws)})
    return rows


def _summary(draws: pd.DataFrame) -> dict[str, Any]:
    """Means over draws, their standard errors, and differences within draws."""
    found: dict[str, Any] = {}
    for name in RANKERS:
        found[name] = float(draws[name].mean())
        found[f"{name}_error"] = float(stats.sem(draws[name], nan_policy="omit"))
    for name in ("card", "plain"):
        beyond = draws["both"] - draws[name]
        found[f"beyond_{name}"] = float(beyond.mean())
        found[f"beyond_{name}_error"] = float(stats.sem(beyond, nan_policy="omit"))
    found["plain_undefined"] = int(draws["plain"].isna().sum())
    return found | {key: float(draws[key].mean()) for key in ("coverage", "width")}


def pooled(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Means over zoos per number of known accuracies, of the zoos that have all of them."""
    table = pd.DataFrame(rows)
    full = table.groupby("zoo")["n_known"].transform("size") == table["n_known"].nunique()
    means = table[full].groupby("n_known")[[*RANKERS, "beyond_card", "beyond_plain", "coverage"]]
    every = means.mean().reset_index().to_dict("records")
    return [{str(key): value for key, value in row.items()} for row in every]


def printed(rows: Sequence[Mapping[str, Any]]) -> None:
    """The curves as a table; a difference below −2 standard errors is marked."""
    print(f"{'zoo':14} {'known':>5}  {'card':>12} {'plain fit':>12} {'both':>12}", end="  ")
    print(f"{'both − card':>15} {'both − plain':>15} {'coverage':>8}")
    for row in rows:
        cells = [f"{row[name]:6.3f} ±{row[f'{name}_error']:.3f}" for name in RANKERS]
        for name in ("beyond_card", "beyond_plain"):
            worse = "!" if row[name] < -2 * row[f"{name}_error"] else " "
            cells.append(f"{row[name]:+7.3f} ±{row[f'{name}_error']:.3f}{worse}")
        line = " ".join(f"{cell:>12}" for cell in cells)
        print(f"{row['zoo']:14} {row['n_known']:5}  {line} {row['coverage']:8.2f}")
    for row in pooled(rows):
        means = " ".join(f"{row[name]:12.3f}" for name in RANKERS)
        print(f"{'mean of zoos':14} {int(row['n_known']):5}  {means}")


def plot(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """A panel per zoo and one of their mean, as SVG."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams |= {"svg.hashsalt": "genaudit", "font.size": 8, "svg.fonttype": "none"}
    from matplotlib import pyplot

    panels = [*dict.fromkeys(row["zoo"] for row in rows), "mean of zoos"]
    every = [*rows, *({"zoo": "mean of zoos", **row} for row in pooled(rows))]
    across = min(4, len(panels))
    down = math.ceil(len(panels) / across)
    figure, axes = pyplot.subplots(
        down, across, sharex=True, figsize=(2.2 * across, 1.9 * down), squeeze=False
    )
    styles = {"card": ("0.5", "--"), "plain": ("#c44e52", ":"), "both": ("#1f5f8b", "-")}
    for axis, name in zip(axes.flat, panels, strict=False):
        of_zoo = [row for row in every if row["zoo"] == name]
        for ranker, (colour, line) in styles.items():
            known, taus = zip(*((row["n_known"], row[ranker]) for row in of_zoo), strict=True)
            axis.plot(known, taus, color=colour, linestyle=line, label=ranker)
        axis.set_title(name)
        axis.set_xticks(SIZES)
    for axis in axes.flat[len(panels) :]:
        axis.axis("off")
    axes[0, 0].legend(frameon=False)
    figure.supxlabel("known accuracies")
    figure.supylabel("Kendall τ on the others")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None, "Creator": None})


def main(arguments: list[str] | None = None) -> None:
    """Print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--zoos", type=Path, default=Path(__file__).parent / "zoos")
    parser.add_argument("--draws", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args(arguments)
    zoos = read_zoo_tables(options.zoos)
    rows: list[dict[str, Any]] = []
    for name, zoo in zoos.items():
        rows += curve(name, prepared(zoo, zoos), options.draws, options.seed)
    if options.plot:
        plot(rows, options.plot)
    if options.json:
        report = {
            "draws": options.draws,
            "sources": {name: zoo.source for name, zoo in zoos.items()},
            "versions": versions(("genaudit", "numpy", "scipy", "scikit-learn")),
            "curves": rows,
            "means": pooled(rows),
        }
        json.dump(report, sys.stdout, indent=1, ensure_ascii=False)
        print()
        return
    printed(rows)


if __name__ == "__main__":
    main()
