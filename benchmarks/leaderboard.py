"""Which measure ranks networks best on zoos it was not made for? One line per measure.

Without options, writes `benchmarks/leaderboard.md` from the tables of the zoos. With `--measure
FILE`, computes the measures of one Python file on the checkpoints of the same tasks and prints the
same table with their lines added. The file is a plugin as in docs/plugins.md, or simply has
`MEASURES = (MeasureEntry(...),)`. The checkpoints are those of `genaudit zoo train TASK`.

Run: python -m benchmarks.leaderboard [--measure FILE.py [--trained zoos] [--tasks latin,shapes]]
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import pandas as pd

from audit.errors import AuditError
from audit.files import write_atomically
from audit.plugin import MeasureEntry
from audit.plugin.registry import installed
from audit.zoo.table import ZooTable
from benchmarks.findings.columns import MAIN
from benchmarks.findings.page import DATE, RESULTS, ROOT, ZOOS
from benchmarks.findings.words import (
    MIN_COVERAGE,
    NONE,
    code,
    has_noise,
    learned,
    markdown,
    number,
    pooled_text,
)
from benchmarks.leaderboard_file import as_plugin, measured_by, with_columns
from benchmarks.pooling import Pooled, pooled
from benchmarks.zoo_statistics import baselines, read_zoos, statistics_of

BOARD: Final = ROOT / "benchmarks" / "leaderboard.md"
HEADER: Final = (
    *("", "measure", "direction", "τ", "worst zoo", "τ within architecture"),
    *("partial τ beyond baselines", "τ, clean labels", "moves with rescaling", "seconds"),
    "values",
)
#: What stands beside a direction that no measure declares.
LEARNED: Final = "(learned)"


class Line(NamedTuple):
    """One measure's line.

    Attributes:
        column: Of the tables.
        direction: "↑", "↓", or "(learned)".
        tau: Mean over sources of τ, positive where the direction is right.
        worst: Of a zoo, and its name.
        within: As `tau`, within architectures.
        partial: As `tau`, beyond the baselines.
        clean: As `tau`, audited against clean labels where there were noisy ones.
        invariance: What the measure declares.
        seconds: Per checkpoint, mean over zoos.
        coverage: The least share of a zoo's checkpoints that have a value.
    """

    column: str
    direction: str
    tau: Pooled
    worst: tuple[float, str]
    within: Pooled
    partial: Pooled
    clean: Pooled
    invariance: str
    seconds: float
    coverage: float


def lines_of(
    zoos: Mapping[str, ZooTable], rows: pd.DataFrame, entries: Mapping[str, MeasureEntry]
) -> list[Line]:
    """One line per judged column, the best first.

    Args:
        zoos: The main zoos by name.
        rows: Their statistics; see `zoo_statistics.COLUMNS`.
        entries: The measures by name.
    """
    names = list(zoos)
    sources = [zoo.source for zoo in zoos.values()]
    trained = rows[rows["labels"] == "as_trained"]
    judged = trained[trained["judged"].astype(bool)]

    def wide(name: str, frame: pd.DataFrame = judged) -> pd.DataFrame:
        table = frame.pivot(index="column", columns="zoo", values=name)
        return table.reindex(columns=names).astype(float)

    tau, within, partial = map(wide, ("kendall", "within_family_kendall", "partial_all"))
    clean = wide("kendall", rows[rows["labels"] == "clean"]).reindex(tau.index)
    noisy = [has_noise(zoo) for zoo in zoos.values()]
    clean = clean.where(np.broadcast_to(noisy, clean.shape), tau)
    counts = wide("n_models").fillna(0)
    coverage = (counts / [zoo.table["checkpoint"].nunique() for zoo in zoos.values()]).min(axis=1)
    about = judged.groupby("column")[["measure", "direction"]].first()
    lines = []
    for column in tau.index:
        if tau.loc[column].isna().all():
            continue
        direction = str(about.loc[column, "direction"])
        values = tau.loc[column].to_numpy()
        sign = signs_of(direction, values, sources)
        turned = [pooled(sign * t.loc[column].to_numpy(), sources) for t in (within, partial)]
        used = sign * values
        worst = (math.nan, NONE) if np.isnan(used).all() else _least(used, names)
        entry = entries.get(str(about.loc[column, "measure"]))
        lines.append(
            Line(
                column=column,
                direction={"higher": "↑", "lower": "↓"}.get(direction, LEARNED),
                tau=pooled(used, sources),
                worst=worst,
                within=turned[0],
                partial=turned[1],
                clean=pooled(sign * clean.loc[column].to_numpy(), sources),
                invariance=_moves(entry),
                seconds=_seconds(column, zoos),
                coverage=float(coverage[column]),
            )
        )
    return sorted(lines, key=_place)


def _place(line: Line) -> tuple[bool, float, str]:
    """Sorts by τ; measures that lack values come last."""
    return line.coverage < MIN_COVERAGE, -float(np.nan_to_num(line.tau.mean, nan=-9)), line.column


def signs_of(direction: str, values: np.ndarray, sources: Sequence[str]) -> np.ndarray:
    """The sign that a measure is used with in every zoo.

    The declared direction; where there is none, the sign of its mean τ over the other sources,
    so that no zoo decides how it is read itself.
    """
    if direction in ("higher", "lower"):
        return np.full(len(values), 1.0 if direction == "higher" else -1.0)
    with np.errstate(invalid="ignore"):
        turned = learned(values, sources)
    return np.where(values == 0, 1.0, np.sign(turned) * np.sign(values))


def _least(values: np.ndarray, names: Sequence[str]) -> tuple[float, str]:
    place = int(np.nanargmin(values))
    return float(values[place]), names[place]


def _moves(entry: MeasureEntry | None) -> str:
    """What of the usual rescalings of weights moves a measure."""
    if entry is None:
        return NONE
    return {"node-wise": "no", "layer-uniform": "of single units"}.get(entry.invariance, "yes")


def _seconds(column: str, zoos: Mapping[str, ZooTable]) -> float:
    found = [zoo.about["measures"].get(column, {}).get("seconds") for zoo in zoos.values()]
    known = [float(seconds) for seconds in found if seconds is not None]
    return float(np.mean(known)) if known else math.nan


def board(lines: Sequence[Line], added: Sequence[str] = ()) -> str:
    """The table, with the lines of added measures in bold."""
    rows = []
    for place, line in enumerate(lines, start=1):
        name = code(line.column)
        rows.append(
            [
                str(place) if line.coverage >= MIN_COVERAGE else NONE,
                f"**{name}**" if line.column in added else name,
                line.direction,
                pooled_text(line.tau),
                f"{number(line.worst[0])} ({line.worst[1]})",
                pooled_text(line.within),
                pooled_text(line.partial),
                number(line.clean.mean),
                line.invariance,
                number(line.seconds, 3),
                f"{100 * line.coverage:.0f}%",
            ]
        )
    return markdown(HEADER, rows)


def page(zoos: Mapping[str, ZooTable], lines: Sequence[Line]) -> str:
    """The whole page."""
    sources = sorted({zoo.source for zoo in zoos.values()})
    n_models = sum(zoo.table["checkpoint"].nunique() for zoo in zoos.values())
    tasks = ", ".join(code(name) for name in zoos)
    return f"""# Leaderboard

Written by `python -m benchmarks.leaderboard` from the tables in `benchmarks/zoos/`: {len(lines)} \
measures and parts of measures on {len(zoos)} zoos ({tasks}) over {len(sources)} data sources, \
{n_models} checkpoints. What the numbers mean, and what they cannot tell, is in \
[the findings](../docs/findings.md).

- **τ**: Kendall with held-out accuracy, positive where the direction is right: the declared one \
(↑, ↓), or for measures without one the sign of the mean τ over the *other* sources. Mean over \
sources of the mean over each source's zoos; Student's 95% interval over sources.
- **Within architecture**: pairs of one architecture alone. **Beyond baselines**: partial τ given \
{", ".join(code(name) for name in baselines())}. Both with the same sign as τ.
- **Clean labels**: audited against the labels before noise, which nobody has; the other columns \
are against the labels as trained on.
- **Moves with rescaling**: whether factors on weights that leave the function as it is move the \
measure: no, those of single units, or yes. **Seconds**: per checkpoint, beyond passes that all \
measures share. **Values**: the least share of a zoo's checkpoints for which there is one; what \
lacks a quarter or more stands at the end, without a place.
- {len(lines)} lines: the first is ahead by luck too. Lines whose intervals overlap are not ranked \
by this table.

A measure of your own, one file, beside these (see [plugins](../docs/plugins.md#measures)):

```console
$ genaudit zoo train TASK            # for every task above
$ python -m benchmarks.leaderboard --measure mine.py --trained zoos
```

{board(lines)}
"""


def add_file(file: Path, trained: Path, zoos: Mapping[str, ZooTable]) -> tuple[str, list[str]]:
    """The table with the lines of a file's measures, and their columns.

    Raises:
        AuditError: The file, or a trained zoo, cannot be used; the message says why.
    """
    with tempfile.TemporaryDirectory() as place:
        entries = as_plugin(file, Path(place))
        others = measured_by(entries, file, trained, list(zoos))
    own = {entry.name for entry in entries}
    added = sorted({c for zoo in others.values() for c, m in zoo.owners.items() if m in own})
    joined = {
        name: with_columns(zoo, others[name], [c for c in added if c in others[name].table])
        for name, zoo in zoos.items()
    }
    kept = RESULTS / f"findings-zoos-{DATE}.csv"
    known = statistics_of(zoos, MAIN, kept, write=False)
    only = {
        name: ZooTable(
            name,
            zoo.table,
            {**zoo.about, "measures": {c: zoo.about["measures"][c] for c in added}},
        )
        for name, zoo in joined.items()
    }
    rows = pd.concat([known, statistics_of(only, ())], ignore_index=True)
    lines = lines_of(joined, rows, installed().measures)
    places = [f"{c}: line {i}" for i, c in enumerate((x.column for x in lines), 1) if c in added]
    return board(lines, added), places


def main() -> None:
    """Write the page, or print the table with a file's measures added."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--zoos", type=Path, default=ZOOS, help="folder of the tables")
    parser.add_argument("-o", "--output", type=Path, default=BOARD, help="the page")
    parser.add_argument("--measure", type=Path, help="a Python file with one measure")
    parser.add_argument("--trained", type=Path, default=Path("zoos"), help="trained tasks")
    parser.add_argument("--tasks", default="", help="some of the tasks, joined by commas")
    chosen = parser.parse_args()
    zoos = read_zoos(chosen.zoos).main
    wanted = [name for name in chosen.tasks.split(",") if name] or list(zoos)
    try:
        zoos = {name: zoos[name] for name in wanted}
        if chosen.measure:
            text, places = add_file(chosen.measure, chosen.trained, zoos)
            print(text)
            print("; ".join(places) or "no column of the file is judged", file=sys.stderr)
            return
    except KeyError as error:
        parser.error(f"no table of task {error}; there are {', '.join(zoos)}")
    except AuditError as error:
        sys.exit(f"error: {error}")
    rows = statistics_of(zoos, MAIN, RESULTS / f"findings-zoos-{DATE}.csv")
    write_atomically(chosen.output, page(zoos, lines_of(zoos, rows, installed().measures)).encode())
    print(chosen.output)


if __name__ == "__main__":
    main()
