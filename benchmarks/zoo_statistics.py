"""The statistics of measured zoos: one row per zoo, audit and measure column.

The statistics themselves are those of `audit.statistics` and `audit.correlation`; what is added
here is only how sure they are. Rows that were computed before from the same table are not
computed again.
"""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from audit import correlation, statistics
from audit.correlation._controls import installed_controls
from audit.files import write_atomically
from audit.plugin.registry import installed
from audit.statistics.partial import partial_from_matrix, within_draws
from audit.statistics.result import HELD_OUT, codes_of, numeric_column, paired
from audit.zoo.table import AS_TRAINED, CLEAN, Labels, ZooTable, read_zoo_tables
from benchmarks.familywise import taus

#: Changes whenever the same table would give other rows.
VERSION: Final = "1"
SEED: Final = 0
CONFIDENCE: Final = 0.95
N_BOOTSTRAP: Final = 1000
#: Parts into which checkpoints are split for the jackknife.
N_BLOCKS: Final = 10
#: Fewer checkpoints than these give no jackknife.
_MIN_BLOCKS: Final = 8

#: The statistics that are pooled over zoos, and the numbers of digits kept of all.
STATISTICS: Final = (
    *("kendall", "within_family_kendall", "granulated_kendall", "partial_kendall", "partial_all"),
    *("cmi", "pgdl_score", "sign_error_mean", "sign_error_max"),
)
DIGITS: Final = 5
COLUMNS: Final = (
    *("zoo", "source", "labels", "column", "measure", "judged", "direction", "n_models"),
    *("kendall", "kendall_lower", "kendall_upper", "kendall_p", "kendall_p_holm"),
    *("within_family_kendall", "within_family_kendall_lower", "within_family_kendall_upper"),
    *("granulated_kendall", "granulated_kendall_lower", "granulated_kendall_upper"),
    *("partial_kendall", "partial_kendall_lower", "partial_kendall_upper"),
    *("partial_all", "partial_all_lower", "partial_all_upper"),
    *("cmi", "cmi_lower", "cmi_upper", "pgdl_score", "pgdl_score_lower", "pgdl_score_upper"),
    *("sign_error_mean", "sign_error_mean_lower", "sign_error_mean_upper"),
    *("sign_error_max", "n_environments", "verdict", "undefined", "digest"),
)


class Part(NamedTuple):
    """Some of a zoo's checkpoints, and their design."""

    table: pd.DataFrame
    designs: statistics.Designs


class Zoos(NamedTuple):
    """The zoos of a folder.

    Attributes:
        main: One table per task, by name: the one named like the task, or that of most images.
        others: Tables of the same tasks audited otherwise, such as on fewer images.
    """

    main: dict[str, ZooTable]
    others: list[ZooTable]

    @property
    def sources(self) -> list[str]:
        """The data source of every main zoo."""
        return [zoo.source for zoo in self.main.values()]


def read_zoos(folder: Path) -> Zoos:
    """The tables of a folder, one per task and the rest.

    Raises:
        DataError: There is none, or one cannot be used.
    """
    by_task: dict[str, list[ZooTable]] = {}
    for zoo in read_zoo_tables(folder).values():
        by_task.setdefault(str(zoo.about["task"]), []).append(zoo)
    main, others = {}, []
    for task, tables in sorted(by_task.items()):
        tables.sort(key=lambda zoo: (zoo.name != task, -images_of(zoo), zoo.name))
        main[task] = tables[0]
        others += tables[1:]
    return Zoos(main, others)


def images_of(zoo: ZooTable) -> float:
    """Training images that each measure looked at, per class; NaN where the table does not say."""
    said = zoo.about.get("images_per_class", zoo.about.get("images"))
    return float(said) if isinstance(said, int | float) else math.nan


def judged_columns(zoo: ZooTable) -> list[str]:
    """The columns that are set against accuracies."""
    return [c for c in zoo.measures if zoo.about["measures"][c]["judged"]]


def baselines() -> list[str]:
    """The measures that are always reported as marks to beat, except the random one."""
    entries = installed().measures.values()
    return sorted(e.name for e in entries if e.baseline and e.name != "random")


def statistics_of(
    zoos: Mapping[str, ZooTable],
    main: Sequence[str],
    kept: Path | None = None,
    *,
    write: bool = True,
) -> pd.DataFrame:
    """One row per zoo, audit and measure column.

    Columns that are judged get all statistics in the audit against the labels as trained on;
    all others, and the audit against clean labels, get τ over all checkpoints and τ within
    architectures.

    Args:
        zoos: By name.
        main: Columns whose other statistics get an interval too (by a jackknife, which is slow).
        kept: A file of such rows; rows of unchanged tables are taken from it.
        write: Whether to bring that file up to date; it then holds these zoos alone.

    Returns:
        Columns `COLUMNS`, numbers rounded.
    """
    known = pd.read_csv(kept) if kept is not None and kept.exists() else pd.DataFrame()
    if len(known):
        known = known.drop_duplicates(["digest", "column"])
    rows = []
    for name, zoo in zoos.items():
        for labels in audits_of(zoo):
            digest = _digest(zoo, labels, main)
            if len(known) and (found := known[known["digest"] == digest]).size:
                rows.append(found)
                continue
            rows.append(_zoo_rows(zoo, labels, main).assign(zoo=name, digest=digest))
            if kept is not None and write:  # a run that is cut short loses one zoo
                _write(pd.concat([known, *rows], ignore_index=True), kept)
    frame = pd.concat(rows, ignore_index=True).reindex(columns=list(COLUMNS))
    if kept is not None and write:
        _write(frame, kept)
    return pd.read_csv(io.StringIO(_csv(frame)))


def audits_of(zoo: ZooTable) -> list[Labels]:
    """The audits a table holds: against labels as trained on, and against clean ones."""
    both = set(zoo.table["labels"]) >= {AS_TRAINED, CLEAN}
    return ["as_trained", "clean"] if both else ["as_trained"]


def table_of(zoo: ZooTable, labels: Labels = "as_trained") -> pd.DataFrame:
    """One row per checkpoint, measure columns as numbers."""
    table = zoo.audited(labels)
    numbers = {column: numeric_column(table, column) for column in zoo.measures}
    return pd.concat([table.drop(columns=zoo.measures), pd.DataFrame(numbers)], axis=1)


def _csv(frame: pd.DataFrame) -> str:
    rounded = frame.reindex(columns=list(COLUMNS)).round(DIGITS)
    return rounded.to_csv(index=False, lineterminator="\n")


def _write(frame: pd.DataFrame, path: Path) -> None:
    write_atomically(path, _csv(frame).encode())


def _digest(zoo: ZooTable, labels: Labels, main: Sequence[str]) -> str:
    """Stands for all that a zoo's rows depend on."""
    content = zoo.audited(labels).to_csv(index=False)
    parts = (VERSION, labels, content, str(zoo.about["measures"]), ",".join(main), baselines())
    return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:12]


def _zoo_rows(zoo: ZooTable, labels: Labels, main: Sequence[str]) -> pd.DataFrame:
    """All rows of one audit of one zoo."""
    table = table_of(zoo, labels)
    judged = judged_columns(zoo) if labels == AS_TRAINED else []
    others = [column for column in zoo.measures if column not in judged]
    rows = _short(table, others)
    if judged:
        full = correlation.correlate(
            table, measures=judged, directions=zoo.directions, n_bootstrap=N_BOOTSTRAP, seed=SEED
        ).rename(columns={"measure": "column"})
        every = partial_taus(table, judged, baselines())
        full["partial_all"] = full["column"].map(every)
        full = full.assign(**_bounds(table, judged))
        full = full.set_index("column", drop=False)
        shown = [column for column in main if column in judged]
        ends = jackknife(_blocks(table), shown, zoo.directions)
        for name in ends.columns:
            full[name] = ends[name].reindex(full.index)
        rows = pd.concat([full, rows], ignore_index=True)
    return rows.assign(
        source=zoo.source,
        labels=labels,
        measure=rows["column"].map(zoo.owners),
        direction=rows["column"].map(zoo.directions),
        judged=[bool(zoo.about["measures"][c]["judged"]) for c in rows["column"]],
    )


def _short(table: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """τ over all checkpoints and within architectures, of columns that are not judged."""
    if not columns:
        return pd.DataFrame()
    X, y = table[list(columns)].to_numpy(float), table[[HELD_OUT]].to_numpy(float)
    return pd.DataFrame(
        {
            "column": list(columns),
            "n_models": (~np.isnan(X)).sum(axis=0),
            "kendall": taus(X, y)[:, 0],
            "within_family_kendall": taus(X, y, codes_of(table, ["family"]))[:, 0],
        }
    )


def _bounds(table: pd.DataFrame, columns: Sequence[str]) -> dict[str, list[float]]:
    """Bootstrap intervals of τ within architectures."""
    weights = statistics.bootstrap_weights(len(table), N_BOOTSTRAP, SEED)
    lower, upper = [], []
    for column in columns:
        x, y, rows, reason = paired(table, column, HELD_OUT)
        ends = (math.nan, math.nan)
        if not reason:
            codes = codes_of(table[rows], ["family"])
            draws = within_draws(x, y, codes, weights[rows])
            ends = statistics.interval(draws, CONFIDENCE)
        lower.append(ends[0])
        upper.append(ends[1])
    return {"within_family_kendall_lower": lower, "within_family_kendall_upper": upper}


def _blocks(table: pd.DataFrame) -> list[Part]:
    """The table, then the table without each block of checkpoints; empty for few checkpoints."""
    if len(table) < _MIN_BLOCKS:
        return []
    order = np.random.default_rng(SEED).permutation(len(table))
    blocks = np.array_split(order, min(N_BLOCKS, len(table)))
    parts = [table, *(table.drop(index=list(block)).reset_index(drop=True) for block in blocks)]
    return [Part(part, statistics.Designs(part)) for part in parts]


def jackknife(
    parts: Sequence[Part], columns: Sequence[str], directions: Mapping[str, str]
) -> pd.DataFrame:
    """Intervals of the statistics that a bootstrap would distort, by deleting blocks.

    A bootstrap draws checkpoints twice, and so makes matched groups and cells that no zoo has.
    With G blocks of checkpoints deleted in turn, the variance of a statistic θ is
    (G − 1)/G · Σ (θ_g − mean θ_g)², and its interval that of Student with G − 1 degrees of
    freedom. The largest sign-error over environments is no smooth statistic and gets none.

    Args:
        parts: The whole table, then the table without each block; none gives no intervals.
        columns: Measures.
        directions: Their declared directions.

    Returns:
        One row per column, `NAME_lower` and `NAME_upper` of each statistic; NaN where one is
        undefined.

    Source: Kott (2001), "The delete-a-group jackknife", J. Official Statistics 17(4).
    """
    if not parts or not len(columns):
        return pd.DataFrame(index=list(columns))
    found = [_block_statistics(part, columns, directions) for part in parts]
    whole, deleted = found[0], np.stack([frame.to_numpy(float) for frame in found[1:]])
    n_blocks = len(deleted)
    variance = (n_blocks - 1) / n_blocks * ((deleted - deleted.mean(axis=0)) ** 2).sum(axis=0)
    half = stats.t.ppf((1 + CONFIDENCE) / 2, n_blocks - 1) * np.sqrt(variance)
    least = [-1.0 if "kendall" in name or "partial" in name else 0.0 for name in whole.columns]
    lower = pd.DataFrame(np.clip(whole - half, least, 1)).add_suffix("_lower")
    upper = pd.DataFrame(np.clip(whole + half, least, 1)).add_suffix("_upper")
    return lower.join(upper)


def _block_statistics(
    part: Part, columns: Sequence[str], directions: Mapping[str, str]
) -> pd.DataFrame:
    """The statistics that are jackknifed, one row per column."""
    table, designs = part
    rows = []
    for column in columns:
        information = statistics.conditional_information(table, column, designs=designs)
        errors = statistics.sign_error(table, column, direction=directions[column], designs=designs)
        granulated = statistics.granulated_kendall(table, column, designs=designs)
        rows.append(
            {
                "granulated_kendall": granulated.value,
                "cmi": information.cmi.value,
                "pgdl_score": information.pgdl_score.value,
                "sign_error_mean": errors.mean.value,
            }
        )
    frame = pd.DataFrame(rows, index=list(columns))
    controls = installed_controls().names
    frame["partial_kendall"] = pd.Series(partial_taus(table, columns, controls))
    frame["partial_all"] = pd.Series(partial_taus(table, columns, baselines()))
    return frame


def partial_taus(
    table: pd.DataFrame, columns: Sequence[str], controls: Sequence[str]
) -> dict[str, float]:
    """`statistics.partial_kendall` of many columns, from one matrix where no value is missing.

    Args:
        table: One row per checkpoint.
        columns: Measures.
        controls: Columns to hold constant; a measure among them is skipped for itself.
    """
    wanted = list(dict.fromkeys([*columns, *(c for c in controls if c in table)]))
    values = np.column_stack([*(numeric_column(table, c) for c in wanted), table[HELD_OUT]])
    whole = ~np.isnan(values).any(axis=0)
    varies = (values[:1] != values).any(axis=0)
    complete = np.where(whole[:, None], values.T, 0.0).T
    matrix = taus(complete, complete)
    place = {name: i for i, name in enumerate(wanted)}
    held = [place[c] for c in controls if c in table and varies[place[c]]]
    found = {}
    for column in columns:
        own = place[column]
        used = [i for i in held if i != own]
        if whole[[own, *used]].all() and varies[own] and used:
            chosen = [own, len(wanted), *used]
            found[column] = partial_from_matrix(matrix[np.ix_(chosen, chosen)])[0]
        else:
            found[column] = statistics.partial_kendall(table, column, controls=controls).value
    return found
