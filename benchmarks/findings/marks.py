"""The findings on the marks to beat, and on the labels that networks are audited against."""

from __future__ import annotations

import math

import numpy as np

from benchmarks.findings.columns import BASELINES
from benchmarks.findings.words import (
    Findings,
    code,
    has_noise,
    learned,
    listed,
    markdown,
    number,
    plural,
    pooled_text,
)
from benchmarks.pooling import Pooled, pooled


def baselines_section(findings: Findings) -> str:
    """Which baselines suffice already."""
    known = findings.known([b for b in BASELINES if b != "random"])
    tau = findings.of_zoos()
    judged = findings.judged
    others = [c for c in findings.known(list(judged.index)) if c not in BASELINES]
    best = max(known, key=lambda c: float(_mean(_used(findings, c))))
    rows = []
    for column in known:
        used = _used(findings, column)
        better = [c for c in others if _beats(findings, c, column)]
        rows.append(
            [
                code(column),
                pooled_text(pooled(used, findings.sources)),
                number(float(np.nanmin(tau.loc[column].abs()))),
                f"{len(better)} of {len(others)}",
            ]
        )
    beaten = [c for c in others if _beats(findings, c, best)]
    outcome = (
        f"No other column beats {code(best)} by an interval that excludes 0"
        if not beaten
        else f"{plural(len(beaten), 'column')} beat {code(best)} by an interval that excludes 0 "
        f"(uncorrected; among {len(others)} some would by chance): "
        f"{listed([code(c) for c in beaten[:8]])}"
    )
    return f"""## Which baselines suffice

τ of each baseline with the sign that the *other sources* give it, which puts one that means \
nothing a little below 0; how many of the other judged \
columns, likewise, are better on average over sources, by an interval (uncorrected) that excludes 0.

{markdown(("baseline", "τ as used", "least of a zoo, either sign", "columns that beat it"), rows)}

{outcome}."""


def _used(findings: Findings, column: str) -> np.ndarray:
    """τ per zoo, with the sign learned on the other sources."""
    return learned(findings.of_zoos().loc[column].to_numpy(float), findings.sources)


def _mean(values: np.ndarray) -> float:
    return float(np.nan_to_num(np.nanmean(values))) if len(values) else math.nan


def _difference(findings: Findings, first: str, second: str) -> Pooled:
    return pooled(_used(findings, first) - _used(findings, second), findings.sources)


def _beats(findings: Findings, first: str, second: str) -> bool:
    return _difference(findings, first, second).lower > 0


def audits_section(findings: Findings) -> str:
    """What auditing against clean labels would change."""
    noisy = [name for name, zoo in findings.zoos.main.items() if has_noise(zoo)]
    clean, trained = findings.of_zoos(labels="clean"), findings.of_zoos()
    if not noisy or clean.empty:
        return "## Labels as trained on, or clean\n\nNo zoo was audited both ways."
    zoos = [name for name in noisy if name in clean and clean[name].notna().any()]
    sources = [findings.zoos.main[name].source for name in zoos]
    moved = {}
    for column in findings.known(list(findings.judged.index)):
        if column in clean.index:
            change = clean.loc[column, zoos].abs() - trained.loc[column, zoos].abs()
            moved[column] = pooled(change.to_numpy(float), sources)
    order = sorted(moved, key=lambda c: -abs(np.nan_to_num(moved[c].mean)))[:12]
    same = sum(1 for one in moved.values() if abs(one.mean) < 1e-9)
    rows = [
        [
            code(column),
            pooled_text(pooled(trained.loc[column, zoos].to_numpy(float), sources)),
            pooled_text(pooled(clean.loc[column, zoos].to_numpy(float), sources)),
            pooled_text(moved[column]),
        ]
        for column in order
    ]
    return f"""## Labels as trained on, or clean

{plural(len(zoos), "zoo")} with label noise {"was" if len(zoos) == 1 else "were"} audited twice: \
against the labels that the networks were trained on, which is what a user has, and against the \
labels before noise, which nobody has. All else on this page is the first. {same} of {len(moved)} \
judged columns do not look at labels, or not in a way that moves τ. The twelve that move most, \
picked by looking (strength is τ without its sign):

{markdown(("column", "τ, as trained", "τ, clean", "change in strength"), rows)}

A measure that is strong on clean labels alone measures how many of the wrong labels the network \
learned, which is held-out accuracy by another road; a study that audits its noisy zoos against \
clean labels reports that."""
