"""Association that cannot be bought by the design: granulated Ψ and conditional information."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float, Int64
from scipy import stats

from audit.statistics.grid import Design, Designs, MatchedPairs, pairs_within
from audit.statistics.result import (
    GAP,
    HELD_OUT,
    Codes,
    Statistic,
    Values,
    codes_of,
    paired,
    undefined,
)

#: Counts of ordered pairs by (setting of one model, of the other, V_μ, V_g).
Counts = Int64[np.ndarray, "s s 3 3"]
#: The same per cell, for the cells that hold a pair.
CellCounts = Float[np.ndarray, "cells v w"]
#: Counts of whole settings above this size are taken subset by subset instead.
_MAX_COUNTS: Final = 30_000_000
_TIED, _MORE = 1, 2


def granulated_kendall(
    table: pd.DataFrame,
    measure: str,
    target: str = HELD_OUT,
    axes: Sequence[str] | None = None,
    matched: str | None = None,
    *,
    designs: Designs | None = None,
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
        designs: Designs worked out before for this table, to save time.

    Returns:
        Ψ in [−1, 1]; NaN without matched groups, and as for `kendall`.

    Source: Jiang et al. (2020), "Fantastic generalization measures and where to find them", §5.
    """
    x, y, rows, reason = paired(table, measure, target)
    if reason:
        return undefined(reason, len(x))
    if matched is not None:
        group = codes_of(table[rows], [matched])
        by_axis = [pairs_within(matched, group, np.arange(len(x)))]
    else:
        by_axis = (designs or Designs(table, axes)).of(rows).matched
    taus = [group_taus(x, y, pairs) for pairs in by_axis]
    means = [float(found.mean()) for found in taus if len(found)]
    if not means:
        return undefined("no matched groups", len(x))
    compared = sum(len(pairs.first) for pairs in by_axis)
    return Statistic(float(np.mean(means)), "", len(x), compared)


def group_taus(x: Values, y: Values, pairs: MatchedPairs) -> Values:
    """τ-b of every matched group whose target varies; 0 where only the measure is constant."""
    x, y = (stats.rankdata(v, method="dense") for v in (x, y))
    s = np.sign(x[pairs.first] - x[pairs.second])
    t = np.sign(y[pairs.first] - y[pairs.second])
    score, untied_x, untied_y = (np.bincount(pairs.group, v) for v in (s * t, s * s, t * t))
    varies = untied_y > 0
    return np.asarray(score[varies] / np.sqrt(np.maximum(untied_x, 1) * untied_y)[varies])


class Information(NamedTuple):
    """Both conditional informations of one measure, which share their counts."""

    cmi: Statistic
    pgdl_score: Statistic


def cmi(
    table: pd.DataFrame,
    measure: str,
    target: str = GAP,
    axes: Sequence[str] | None = None,
) -> Statistic:
    """Normalised conditional mutual information, the paper's variant.

    Over ordered pairs of distinct models: V_μ = sign Δμ, V_g = sign Δg, U_S = the joint values of
    the hyperparameters S for both models. I(V_μ; V_g | U_S) / H(V_g | U_S), both weighted by the
    share of pairs in each cell of U_S; the minimum over |S| ≤ 2. It is blind to sign. An S whose
    cells leave V_g no entropy gives 0/0 and is left out. A tie is a third value of a sign.

    Args:
        table: One row per checkpoint.
        measure: The column of the measure.
        target: The column whose sign of change is V_g; the paper's is the gap.
        axes: Hyperparameter columns; by default all `hp.*` columns that vary.

    Returns:
        A share in [0, 1]; NaN where no S leaves any entropy, and as for `kendall`.

    Source: Jiang et al. (2020), §5, equations 6–8.
    """
    return conditional_information(table, measure, target, axes).cmi


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
    return conditional_information(table, measure, target, axes).pgdl_score


def conditional_information(
    table: pd.DataFrame,
    measure: str,
    target: str = GAP,
    axes: Sequence[str] | None = None,
    *,
    designs: Designs | None = None,
) -> Information:
    """`cmi` and `pgdl_score_result` for the price of one.

    Args:
        table: One row per checkpoint.
        measure: The column of the measure.
        target: The column whose order is predicted.
        axes: Hyperparameter columns; by default all `hp.*` columns that vary.
        designs: Designs worked out before for this table, to save time.
    """
    x, y, rows, reason = paired(table, measure, target)
    n = len(x)
    if reason:
        return Information(undefined(reason, n, n * (n - 1)), undefined(reason, n, n * n))
    design = (designs or Designs(table, axes)).of(rows)
    v_mu, v_g = _compare(x), _compare(y)
    shares, pgdl_shares = [], []
    for size, counts in _all_counts(v_mu, v_g, design):
        shares.append(_weighted_share(counts))
        if size == 2:
            pgdl_shares.append(_uniform_share(counts))
    paper = _least(shares, n, n * (n - 1))
    if not pgdl_shares:
        reason = "fewer than two hyperparameters vary"
        return Information(paper, undefined(reason, n, n * n))
    return Information(paper, _least(pgdl_shares, n, n * n))


def _least(shares: Sequence[float], n_models: int, n_pairs: int) -> Statistic:
    """The least of the shares that exist."""
    defined = [share for share in shares if not np.isnan(share)]
    if not defined:
        return undefined("the hyperparameters leave no entropy", n_models, n_pairs)
    return Statistic(min(defined), "", n_models, n_pairs)


def _weighted_share(counts: Counts) -> float:
    """I / H weighted by the pairs of each cell; pairs of a model with itself do not count."""
    counts = counts.copy()
    settings = np.arange(len(counts))
    itself = counts[settings, settings].sum(axis=(1, 2))
    # In cell (c, c) there are m² ordered pairs, of which the m with itself tie in both.
    counts[settings, settings, _TIED, _TIED] -= np.round(np.sqrt(itself)).astype(np.int64)
    cells = _occupied(counts)
    weight = cells.sum(axis=(1, 2)) / cells.sum()
    information, entropy = information_and_entropy(cells)
    if weight @ entropy <= 1e-12:
        return float("nan")
    return float(np.clip(weight @ information / (weight @ entropy), 0, 1))


def _uniform_share(counts: Counts) -> float:
    """I / H averaged uniformly over cells, a tie counting as "−"."""
    cells = _occupied(counts)
    merged = np.stack([cells[:, :_MORE].sum(axis=1), cells[:, _MORE]], axis=1)
    merged = np.stack([merged[:, :, :_MORE].sum(axis=2), merged[:, :, _MORE]], axis=2)
    information, entropy = information_and_entropy(merged, 1e-12)
    if entropy.mean() <= 1e-9:
        return float("nan")
    return max(0.0, float(information.mean() / entropy.mean()))  # 1e-12 can take it below 0


def _compare(values: Values) -> np.ndarray:
    """Sign of every ordered pair as 0 (less), 1 (tied), 2 (greater)."""
    ranks = stats.rankdata(values, method="dense").astype(np.int32)
    more = (ranks[:, None] > ranks).view(np.int8)
    return np.asarray(more - more.T + np.int8(1))


def _all_counts(v_mu: np.ndarray, v_g: np.ndarray, design: Design) -> Iterator[tuple[int, Counts]]:
    """Size and counts of every subset of at most two axes."""
    settings = design.settings
    if 9 * (int(settings.max(initial=0)) + 1) ** 2 > _MAX_COUNTS:
        for size, codes in design.subsets(2):
            yield size, pair_counts(v_mu, v_g, codes)
        return
    finest = pair_counts(v_mu, v_g, settings)
    example = np.unique(settings, return_index=True)[1]
    for size, codes in design.subsets(2):
        yield size, _merged(finest, codes[example])


def pair_counts(v_mu: np.ndarray, v_g: np.ndarray, codes: Codes) -> Counts:
    """Counts of ordered pairs, self-pairs included, by both settings, V_μ and V_g."""
    n_codes = int(codes.max(initial=0)) + 1
    index = (codes[:, None] * n_codes + codes) * 9
    index += v_mu * np.int8(3) + v_g
    counts = np.bincount(index.ravel(), minlength=9 * n_codes**2)
    return counts.reshape(n_codes, n_codes, 3, 3)


def _merged(counts: Counts, codes: Codes) -> Counts:
    """Counts of coarser settings: `codes` gives the coarse code of each fine one."""
    order = np.argsort(codes, kind="stable")
    starts = np.flatnonzero(np.diff(codes[order], prepend=-1))
    by_first = np.add.reduceat(counts[order], starts, axis=0)
    return np.asarray(np.add.reduceat(by_first[:, order], starts, axis=1))


def _occupied(counts: Counts) -> CellCounts:
    """The cells that hold a pair, as floats."""
    cells = counts.reshape(-1, 3, 3)
    return np.asarray(cells[cells.sum(axis=(1, 2)) > 0], dtype=np.float64)


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
