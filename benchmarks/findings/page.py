"""What do the measured zoos say of every measure? Writes the findings from the tables.

All numbers and all verdicts of `docs/findings.md` come from the tables; nothing is typed in.
Statistics of tables that have not changed are taken from the last results.

Run: python -m benchmarks.findings [--zoos benchmarks/zoos] [--docs docs] [--results FOLDER]
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path
from typing import Final

import pandas as pd

from audit.files import write_atomically
from benchmarks.familywise import familywise
from benchmarks.findings.columns import BASELINES, MAIN, TOPOLOGY, variants
from benchmarks.findings.entropy import entropy_section, relatives_section
from benchmarks.findings.figures import write_figures
from benchmarks.findings.layers import estimator_section, filtration_section, layers_section
from benchmarks.findings.limits import failures_section, untold_section
from benchmarks.findings.marks import audits_section, baselines_section
from benchmarks.findings.overview import answer_section, zoos_section
from benchmarks.findings.votes import adds_section
from benchmarks.findings.words import (
    Findings,
    cell,
    code,
    direction_said,
    listed,
    number,
    plural,
)
from benchmarks.pooling import pool_rows
from benchmarks.zoo_statistics import DIGITS, STATISTICS, Zoos, read_zoos, statistics_of

ROOT: Final = Path(__file__).parents[2]
ZOOS: Final = ROOT / "benchmarks" / "zoos"
RESULTS: Final = ROOT / "benchmarks" / "results"
DATE: Final = "2026-11-27"


def findings_of(zoos: Zoos, kept: Path | None = None) -> Findings:
    """All statistics of the zoos.

    Args:
        zoos: The tables.
        kept: The file of rows per zoo: read where tables have not changed, and written.
    """
    rows = statistics_of(zoos.main, MAIN, kept)
    trained = rows[rows["labels"] == "as_trained"]
    pooled = pool_rows(trained, STATISTICS)
    empty = Findings(zoos, rows, pooled, float("nan"))
    judged = list(empty.covering.index)
    tables = list(empty.tables.values())
    together = familywise(tables, zoos.sources, judged)
    within = familywise(tables, zoos.sources, judged, within="family")
    within = within.rename(columns={"p_max": "p_max_within"})
    pooled = pooled.merge(together, on="column", how="left").merge(within, on="column", how="left")
    return Findings(zoos, rows, pooled, together.attrs["threshold"])


def summary(findings: Findings) -> str:
    """The short answer."""
    judged = findings.judged
    best, within = (
        findings.covering[name].abs().sort_values(ascending=False).index[:3]
        for name in ("kendall", "within_family_kendall")
    )
    strong = judged[judged["p_max"] < 0.05]
    topology = [c for c in findings.known(TOPOLOGY) if c in strong.index]
    entropy = [
        f"{code(c)} "
        f"{direction_said(judged.loc[c, 'kendall_lower'], judged.loc[c, 'kendall_upper'])} "
        f"(τ {cell(judged, c, 'kendall')}, in zoos from {_range(findings, c)})"
        for c in findings.known(variants("feature_entropy"))
    ]
    base = [c for c in findings.known(BASELINES) if c != "random"]
    top, inside = (
        judged.loc[base, name].abs().idxmax() for name in ("kendall", "within_family_kendall")
    )
    return f"""- **Strongest over all checkpoints** (picked by looking): \
{listed([f"{code(c)} {cell(judged, c, 'kendall')}" for c in best])}; within architectures \
{listed([f"{code(c)} {cell(judged, c, 'within_family_kendall')}" for c in within])}.
- **Beyond chance for all {len(findings.covering)} columns at once** (maxT): \
{plural(len(strong), "column")}, \
{len(topology)} of the {len(findings.known(TOPOLOGY))} topological main measures among them\
{": " + listed([code(c) for c in topology]) if topology else ""}.
- **Feature entropy as published**, which claims that lower is better: {"; ".join(entropy)}.
- **The baselines to beat**: over all checkpoints {code(str(top))}, τ \
{cell(judged, str(top), "kendall")}; within architectures {code(str(inside))}, τ \
{cell(judged, str(inside), "within_family_kendall")}.
- **Right everywhere**: of {len(findings.known(MAIN))} main measures {_everywhere(findings)} the \
sign of the mean in every zoo, and {_sound(findings)} no environment, one setting against another, \
wholly wrongly."""


def _range(findings: Findings, column: str) -> str:
    tau = findings.of_zoos().loc[column]
    return f"{number(tau.min())} to {number(tau.max())}"


def _everywhere(findings: Findings) -> str:
    rows = findings.judged.loc[findings.known(MAIN)]
    n = int((rows["n_agree"] == rows["n_signs"]).sum())
    return f"{n} {'has' if n == 1 else 'have'}"


def _sound(findings: Findings) -> str:
    worst = findings.of_zoos("sign_error_max").loc[findings.known(MAIN)].max(axis=1)
    n = int((worst < 1 - 1e-9).sum())
    return f"{n} {'orders' if n == 1 else 'order'}"


def text_of(findings: Findings) -> str:
    """The page."""
    sections = (
        zoos_section,
        answer_section,
        baselines_section,
        entropy_section,
        relatives_section,
        layers_section,
        filtration_section,
        estimator_section,
        audits_section,
        adds_section,
        failures_section,
        untold_section,
    )
    body = "\n\n".join(section(findings) for section in sections)
    versions = next(iter(findings.zoos.main.values())).about.get("versions", {})
    said = ", ".join(
        f"{name} {versions[name]}" for name in ("python", "torch", "timm") if name in versions
    )
    return f"""# What the zoos say

Written by `python -m benchmarks.findings` from the tables in `benchmarks/zoos/`; every number and \
every verdict on this page comes from them. Kendall τ between a measure, computed on training \
images alone, and accuracy on held-out images; terms as in [the vocabulary](layout.md#vocabulary) \
and [the measures](measures.md). The complete tables are \
[pooled](../benchmarks/results/findings-{DATE}.csv) and \
[by zoo](../benchmarks/results/findings-zoos-{DATE}.csv); older and smaller zoos are in \
[What was measured before](evidence.md).

## In short

{summary(findings)}

{body}

## Again

```console
$ genaudit zoo train TASK            # each task in its folder; hours, or minutes on a GPU
$ python -m benchmarks.findings      # this page, its figures and both tables
$ python -m benchmarks.leaderboard   # one line per measure
```

Made from {plural(len(findings.zoos.main), "table")} \
({_digest(findings.zoos)}){"; " + said if said else ""}.
"""


def _digest(zoos: Zoos) -> str:
    """Stands for the tables that the page was made from."""
    parts = [
        f"{n}:{hashlib.sha256(z.table.to_csv().encode()).hexdigest()}" for n, z in zoos.main.items()
    ]
    return "SHA-256 " + hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def write_findings(findings: Findings, docs: Path, results: Path) -> list[Path]:
    """Write the page, its figures and the pooled table; returns their paths.

    Raises:
        StoreError: A file cannot be written.
    """
    page, table = docs / "findings.md", results / f"findings-{DATE}.csv"
    figures = write_figures(findings, docs / "figures")
    write_atomically(table, _csv(findings.pooled).encode())
    write_atomically(page, text_of(findings).encode())
    return [page, table, *figures]


def _csv(frame: pd.DataFrame) -> str:
    return frame.round(DIGITS).to_csv(index=False, lineterminator="\n")


def main() -> None:
    """Write all, and say where."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--zoos", type=Path, default=ZOOS, help="folder of the tables")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs", help="where the page goes")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the tables go")
    chosen = parser.parse_args()
    zoos = read_zoos(chosen.zoos)
    chosen.results.mkdir(parents=True, exist_ok=True)
    findings = findings_of(zoos, chosen.results / f"findings-zoos-{DATE}.csv")
    for path in write_findings(findings, chosen.docs, chosen.results):
        print(path)
