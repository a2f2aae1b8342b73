"""What a code of each unit tells of the class beyond what other numbers of the unit tell."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from scipy.special import gammaln

from audit.errors import DataError

#: Tables of so many cells, and sums of so many terms, are worked on at a time.
_CELLS_AT_A_TIME: Final = 1 << 21


class ConditionalInformation(NamedTuple):
    """Information of each unit's code on the class within strata; arrays (u,), in nats.

    `information` = `mutual_information` − `expected_by_chance`; never NaN.
    """

    information: np.ndarray
    mutual_information: np.ndarray
    expected_by_chance: np.ndarray


def quantile_codes(values: np.ndarray, n_bins: int) -> np.ndarray:
    """Quantile bin of each value within its column, from 0; equal values share a bin.

    Only the order of the values within a column counts.

    Args:
        values: (n, u) numbers, n ≥ 1.
        n_bins: Most bins.

    Returns:
        (n, u) integers in [0, n_bins).

    Example:
        >>> quantile_codes(np.array([[0.1], [7.0], [0.2], [0.2]]), 2).ravel()
        array([0, 1, 0, 0])
    """
    ordered = np.sort(values, axis=0)
    codes = np.zeros(values.shape, np.int64)
    for k in range(1, n_bins):
        codes += values > ordered[max(0, -(-k * len(values) // n_bins) - 1)]
    return codes


def conditional_information(
    codes: np.ndarray, strata: np.ndarray, labels: np.ndarray
) -> ConditionalInformation:
    """I(code; class | stratum) of every unit, less what chance alone would show within strata.

    I = Σ_s n_s / n · I_s with I_s the mutual information of code and class over the n_s images of
    stratum s. Its expectation when codes are permuted within each stratum is subtracted, exactly:
    each cell of each stratum's table is then hypergeometric. A single stratum gives the usual
    mutual information less its expectation.

    Args:
        codes: (n, u) integers from 0, such as bins of births.
        strata: (n, u) integers from 0: what is given, for each unit its own.
        labels: (n,) integers from 0.

    Returns:
        `ConditionalInformation` of arrays (u,).

    Raises:
        DataError: Shapes that do not fit, negative numbers, or no images.

    Source:
        Vinh, Epps & Bailey, Information theoretic measures for clusterings comparison, JMLR 11,
        2010, equation 24a, applied within each stratum.

    Example:
        >>> code = np.array([[0], [0], [1], [1], [0], [0], [1], [1]])
        >>> labels = np.array([0, 0, 1, 1, 0, 0, 1, 1])
        >>> conditional_information(code, 0 * code, labels).mutual_information.round(4)
        array([0.6931])
        >>> conditional_information(code, code, labels).mutual_information
        array([0.])
    """
    codes, strata, labels = _checked(codes, strata, labels)
    n, n_units = codes.shape
    sizes = [int(part.max(initial=0)) + 1 for part in (strata, codes, labels)]
    per_unit = int(np.prod(sizes))
    step = max(1, _CELLS_AT_A_TIME // per_unit)
    found = [
        _of_units(codes[:, start : start + step], strata[:, start : start + step], labels, sizes)
        for start in range(0, n_units, step)
    ]
    mutual = np.concatenate([np.zeros(0), *(mutual for mutual, _ in found)])
    chance = np.concatenate([np.zeros(0), *(chance for _, chance in found)])
    return ConditionalInformation((mutual - chance) / n, mutual / n, chance / n)


def _checked(
    codes: np.ndarray, strata: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The three arrays as integers from 0 that fit each other."""
    arrays = [np.asarray(part) for part in (codes, strata, labels)]
    codes, strata, labels = arrays
    if codes.ndim != 2 or strata.shape != codes.shape or labels.shape != codes.shape[:1]:
        raise DataError(
            "codes and strata must have one shape (images, units) and labels (images,); "
            f"found {codes.shape}, {strata.shape} and {labels.shape}"
        )
    if not len(labels):
        raise DataError("information on the class needs at least one image; found none")
    if any(part.dtype.kind not in "iu" or part.min(initial=0) < 0 for part in arrays):
        raise DataError("codes, strata and labels must be integers from 0 on")
    codes, strata, labels = (part.astype(np.int64) for part in arrays)
    return codes, strata, labels


def _of_units(
    codes: np.ndarray, strata: np.ndarray, labels: np.ndarray, sizes: list[int]
) -> tuple[np.ndarray, np.ndarray]:
    """N · mutual information and n · its expectation, of some units."""
    n, n_units = codes.shape
    if not n_units:
        return np.zeros(0), np.zeros(0)
    n_strata, n_codes, n_classes = sizes
    cell = ((np.arange(n_units) * n_strata + strata) * n_codes + codes) * n_classes
    cell += labels[:, None]
    table = np.bincount(cell.ravel(), minlength=n_units * n_strata * n_codes * n_classes)
    table = table.reshape(n_units, n_strata, n_codes, n_classes)
    by_code, by_class = table.sum(3), table.sum(2)
    in_stratum = by_code.sum(2)
    log = np.log(np.maximum(np.arange(n + 1), 1))
    unit, stratum, code, label = np.nonzero(table)
    count = table[unit, stratum, code, label]
    terms = count * (
        log[count]
        + log[in_stratum[unit, stratum]]
        - log[by_code[unit, stratum, code]]
        - log[by_class[unit, stratum, label]]
    )
    mutual = np.bincount(unit, weights=terms, minlength=n_units)
    shape = table.shape
    a = np.broadcast_to(by_code[..., None], shape)
    b = np.broadcast_to(by_class[:, :, None], shape)
    total = np.broadcast_to(in_stratum[..., None, None], shape)
    possible = (a > 0) & (b > 0)
    unit = np.nonzero(possible)[0]
    expected = _expected_terms(a[possible], b[possible], total[possible], n)
    chance = np.bincount(unit, weights=expected, minlength=n_units)
    single = (by_code > 0).sum(2).max(1) <= 1  # of one code in every stratum nothing can be told
    single |= (by_class > 0).sum(2).max(1) <= 1
    return np.where(single, 0.0, mutual), np.where(single, 0.0, chance)


def _expected_terms(a: np.ndarray, b: np.ndarray, total: np.ndarray, n: int) -> np.ndarray:
    """E[k log(k · total / (a · b))] for k hypergeometric: a drawn of total, of which b count."""
    low, high = np.minimum(a, b), np.maximum(a, b)
    key = (low * (n + 1) + high) * (n + 1) + total
    keys, place = np.unique(key, return_inverse=True)
    low, high, total = keys // (n + 1) ** 2, keys // (n + 1) % (n + 1), keys % (n + 1)
    factorial = gammaln(np.arange(n + 1) + 1.0)
    log = np.log(np.maximum(np.arange(n + 1), 1))
    expected = np.zeros(len(keys))
    # keys are in the order of the smaller margin, so that a block needs few counts
    start = 0
    while start < len(keys):
        stop = start + max(1, _CELLS_AT_A_TIME // int(low[-1] * 8 + 8))
        block = slice(start, stop)
        a, b, m = low[block, None], high[block, None], total[block, None]
        k = np.arange(1, int(a.max()) + 1)
        possible = (k <= a) & (m - a - b + k >= 0)
        rest = np.where(possible, m - a - b + k, 0)
        log_probability = (
            (factorial[a] + factorial[b] + factorial[m - a] + factorial[m - b] - factorial[m])
            - (factorial[k] + factorial[rest])
            - factorial[np.maximum(a - k, 0)]
            - factorial[np.maximum(b - k, 0)]
        )
        probability = np.exp(np.where(possible, log_probability, -np.inf))
        expected[block] = (k * (log[k] + log[m] - log[a] - log[b]) * probability).sum(1)
        start = stop
    return np.asarray(expected[place.reshape(-1)])
