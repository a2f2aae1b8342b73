"""Association that cannot be bought by the design: granulated Ψ and conditional information."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from scipy import stats

from audit.statistics.result import (
    GAP,
    HELD_OUT,
    Codes,
    Statistic,
    Values,
    codes_of,
    hyperparameter_columns,
    n_pairs,
    paired,
    undefined,
)

Pairs = Bool[np.ndarray, "n n"]
#: Counts of (cell, V_μ, V_g) over ordered pairs, for the cells that hold a pair.
CellCounts = Float[np.ndarray, "cells v w"]


def granulated_kendall(
    table: pd.DataFrame,
    measure: str,
    target: str = HELD_OUT,
    axes: Sequence[str] | None = None,
    matched: str | None = None,
) -> Statistic:
    """Granulated Kendall Ψ: τ among models that differ along one hyperparameter only.

    For each axis, the models that agree on every other axis form a group; Ψ is τ-b averaged over
    an axis' groups, then over axes. A group in which the target does not vary says nothing and
    is left out; one in which only the measure does not vary counts 0, because the measure fails
    to order models that differ (this is what the paper's τ gives there).

    Args:
        table: One row per checkpoint.
        measure: The column of the measure.
        target: The column to predict.
        axes: Hyperparameter columns; by default all `hp.*` columns that vary.
        matched: Instead of a factorial grid, a column that names declared matched groups.

    Returns:
        Ψ in [−1, 1]; NaN without matched groups, and as for `kendall`.

    Source: Jiang et al. (2020), "Fantastic generalization measures and where to find them", §5.
    """
    x, y, rows, reason = paired(table, measure, target)
    if reason:
        return undefined(reason, len(x))
    known = table.loc[rows]
    by_axis, compared = [], 0
    for _, codes in matched_groups(known, axes, matched):
        taus = group_taus(x, y, codes)
        compared += sum(n_pairs(size) for size, _ in taus)
        if taus:
            by_axis.append(float(np.mean([tau for _, tau in taus])))
    if not by_axis:
        return undefined("no matched groups", len(x))
    return Statistic(float(np.mean(by_axis)), "", len(x), compared)


def matched_groups(
    table: pd.DataFrame, axes: Sequence[str] | None, matched: str | None = None
) -> Iterator[tuple[str, Codes]]:
    """Per axis, a code per model that is equal for models differing along that axis only."""
    if matched is not None:
        yield matched, codes_of(table, [matched])
        return
    axes = hyperparameter_columns(table, axes)
    for axis in axes:
        codes = codes_of(table, [other for other in axes if other != axis])
        level = codes_of(table, [axis])
        # A group whose models share the axis' value too compares repeats, not the axis.
        varies = np.zeros(len(codes), dtype=bool)
        for code in np.unique(codes):
            members = codes == code
            varies[members] = np.unique(level[members]).size > 1
        yield axis, np.where(varies, codes, -1)


def group_taus(x: Values, y: Values, codes: Codes) -> list[tuple[int, float]]:
    """(size, τ-b) of every group of two or more models whose target varies; code −1 is no group."""
    found = []
    order = np.argsort(codes, kind="stable")
    starts = np.flatnonzero(np.diff(codes[order], prepend=-2))
    for members in np.split(order, starts[1:]):
        if codes[members[0]] < 0 or len(members) < 2 or np.all(y[members] == y[members[0]]):
            continue
        constant = np.all(x[members] == x[members[0]])
        found.append((len(members), 0.0 if constant else _tau(x[members], y[members])))
    return found


def _tau(x: Values, y: Values) -> float:
    """τ-b of a small group by signs: cheaper than scipy's set-up for a handful of models."""
    if len(x) > 50:
        return float(stats.kendalltau(x, y).statistic)
    s = np.sign(stats.rankdata(x)[:, None] - stats.rankdata(x))
    t = np.sign(y[:, None] - y)
    return float((s * t).sum() / np.sqrt((s * s).sum() * (t * t).sum()))


def cmi(
    table: pd.DataFrame, measure: str, target: str = GAP, axes: Sequence[str] | None = None
) -> Statistic:
    """Normalised conditional mutual information, the paper's variant.

    Over ordered pairs of distinct models: V_μ = sign Δμ, V_g = sign Δg, U_S = the joint values of
    the hyperparameters S for both models. I(V_μ; V_g | U_S) / H(V_g | U_S), both weighted by the
    share of pairs in each cell of U_S; the minimum over |S| ≤ 2. It is blind to sign. An S whose
    cells leave V_g no entropy gives 0/0 and is left out.

    Args:
        table: One row per checkpoint.
        measure: The column of the measure.
        target: The column whose sign of change is V_g; the paper's is the gap.
        axes: Hyperparameter columns; by default all `hp.*` columns that vary.

    Returns:
        A share in [0, 1]; NaN where no S leaves any entropy, and as for `kendall`.

    Source: Jiang et al. (2020), §5, equations 6–8.
    """
    x, y, rows, reason = paired(table, measure, target)
    if reason:
        return undefined(reason, len(x), len(x) * (len(x) - 1))
    known = table.loc[rows]
    axes = hyperparameter_columns(known, axes)
    v_mu, v_g = _compare(x), _compare(y)
    shares = []
    for size in range(3):
        for subset in combinations(axes, size):
            counts = cell_counts(v_mu, v_g, codes_of(known, subset), diagonal=False)
            weight = counts.sum(axis=(1, 2)) / counts.sum()
            information, entropy = information_and_entropy(counts)
            if weight @ entropy > 1e-12:
                shares.append(weight @ information / (weight @ entropy))
    if not shares:
        return undefined("the hyperparameters leave no entropy", len(x))
    value = float(np.clip(min(shares), 0, 1))
    return Statistic(value, "", len(x), len(x) * (len(x) - 1))


def _compare(values: Values) -> np.ndarray:
    """Sign of every ordered pair as 0 (less), 1 (tied), 2 (greater)."""
    ranks = stats.rankdata(values, method="dense")
    return np.asarray(np.sign(ranks[:, None] - ranks) + 1, dtype=np.int8)


def cell_counts(v_mu: np.ndarray, v_g: np.ndarray, codes: Codes, *, diagonal: bool) -> CellCounts:
    """Counts of (V_μ, V_g) over ordered pairs, per pair of hyperparameter settings that occurs."""
    n_settings = int(codes.max(initial=0)) + 1
    levels_mu, levels_g = int(v_mu.max()) + 1, int(v_g.max()) + 1
    joint = v_mu.astype(np.int64) * levels_g + v_g
    cell = codes[:, None] * n_settings + codes
    if not diagonal:
        distinct = ~np.eye(len(codes), dtype=bool)
        joint, cell = joint[distinct], cell[distinct]
    flat = np.bincount(
        (cell * (levels_mu * levels_g) + joint).ravel(),
        minlength=n_settings**2 * levels_mu * levels_g,
    )
    counts = flat.reshape(-1, levels_mu, levels_g).astype(np.float64)
    return np.asarray(counts[counts.sum(axis=(1, 2)) > 0])


def information_and_entropy(counts: CellCounts, inside_log: float = 0.0) -> tuple[Values, Values]:
    """Per cell, I(V_μ; V_g) and H(V_g) in bits; `inside_log` is added inside each logarithm."""
    joint = counts / counts.sum(axis=(1, 2), keepdims=True)
    entropy_g = _entropy(joint.sum(axis=1), inside_log)
    entropy_mu = _entropy(joint.sum(axis=2), inside_log)
    entropy_joint = _entropy(joint.reshape(len(joint), -1), inside_log)
    return entropy_mu + entropy_g - entropy_joint, entropy_g


def _entropy(p: np.ndarray, inside_log: float) -> Values:
    """−Σ p log₂(p + ε) over the last axis, with 0 log 0 = 0."""
    logs = np.log2(p + inside_log, out=np.zeros_like(p), where=p + inside_log > 0)
    return np.asarray(-(p * logs).sum(axis=-1), dtype=np.float64)


def pgdl_score(
    table: pd.DataFrame, measure: str, target: str = GAP, axes: Sequence[str] | None = None
) -> float:
    """The score of the NeurIPS 2020 competition, as a fraction (the organisers print ×100).

    Args:
        table: One row per checkpoint, hyperparameters in columns `hp.*`.
        measure: The column of the measure.
        target: The column whose order is predicted; the competition's is the gap.
        axes: Hyperparameter columns; by default all `hp.*` columns that vary.

    Returns:
        The score, 0 or more; NaN when undefined (`pgdl_score_result` says why).
    """
    return pgdl_score_result(table, measure, target, axes).value


def pgdl_score_result(
    table: pd.DataFrame, measure: str, target: str = GAP, axes: Sequence[str] | None = None
) -> Statistic:
    """The competition's score with the number of models and pairs, and the reason when undefined.

    As `cmi`, with these differences: only |S| = 2; the mutual informations and the entropies of
    the cells are averaged uniformly over cells, whatever their number of pairs, then divided;
    the minimum over pairs of axes; V is "+" or "−", a tie counting as "−"; a model paired with
    itself is a pair; 1e-12 inside the logarithms. It is blind to sign.

    Cells that hold no pair (designs that are not factorial) add nothing to either average.

    Args:
        table: One row per checkpoint, hyperparameters in columns `hp.*`.
        measure: The column of the measure.
        target: The column whose order is predicted; the competition's is the gap.
        axes: Hyperparameter columns; by default all `hp.*` columns that vary.

    Returns:
        The score as a fraction; NaN where fewer than two hyperparameters vary, where the cells
        leave no entropy, and as for `kendall`.

    Source: Jiang et al. (2020), "NeurIPS 2020 competition: Predicting generalization in deep
    learning", and its scoring program.
    """
    x, y, rows, reason = paired(table, measure, target)
    if reason:
        return undefined(reason, len(x), len(x) ** 2)
    known = table.loc[rows]
    axes = hyperparameter_columns(known, axes)
    if len(axes) < 2:
        return undefined("fewer than two hyperparameters vary", len(x), len(x) ** 2)
    v_mu, v_g = (_compare(values) == 2 for values in (x, y))
    shares = []
    for subset in combinations(axes, 2):
        counts = cell_counts(v_mu, v_g, codes_of(known, subset), diagonal=True)
        information, entropy = information_and_entropy(counts, 1e-12)
        if entropy.mean() > 1e-9:
            shares.append(float(information.mean() / entropy.mean()))
    if not shares:
        return undefined("the hyperparameters leave no entropy", len(x), len(x) ** 2)
    return Statistic(min(shares), "", len(x), len(x) ** 2)
