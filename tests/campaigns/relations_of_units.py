"""Relations of feature entropy, unit tables, intervals, information and rank statistics.

In the sentences n images of one class have births at some of the levels; ε is the share of them
that do, N = n ε their number, H the entropy of their levels, and H / ε the feature entropy.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd

from audit.arrays import NO_BIRTH
from audit.topology import FLAG_CONSTANT, FLAG_ZERO, LayerBirths, birth_levels
from audit.topology.entropy import feature_entropy, feature_entropy_by_class
from audit.topology.information import birth_class_information
from audit.topology.intervals import bootstrap_interval, unit_interval
from audit.topology.units import DEAD, NO_IMAGES, OK, unit_frame, unit_status
from tests.campaigns.relation import ROUNDING, TIED, Relation, Same

Found = Iterator[Same]
ESTIMATORS = ("plug-in", "miller-madow", "chao-shen", "grassberger", "chao-wang-jost")
NAMES = ("a", "b", "c", "d")


class Sample(NamedTuple):
    """Births and flags (n, u) of maps, and the class of each of the n images."""

    births: np.ndarray
    flags: np.ndarray
    labels: np.ndarray

    @property
    def layer(self) -> LayerBirths:
        """As a layer of 5 × 5 maps."""
        return LayerBirths("layer", 5, 5, self.births, self.flags, 0.0)


def sample(rng: np.random.Generator, least: int = 1) -> Sample:
    """Births of 5 × 5 maps with ties, some of them constant or zero, in up to four classes."""
    n, u = int(rng.integers(least, 41)), int(rng.integers(1, 6))
    maps = TIED[("three values", "twenty values")[rng.integers(2)]](rng, (n, u, 5, 5))
    maps[rng.random((n, u)) < 0.1] = 4
    maps[(rng.random((n, u)) < 0.1) | (rng.random(u) < 0.1)] = 0
    constant = (maps == maps[..., :1, :1]).all((2, 3))
    zero = (maps == 0).all((2, 3))
    flags = (constant * FLAG_CONSTANT | zero * FLAG_ZERO).astype(np.uint8)
    births = birth_levels(maps, ("clique", "cubical")[rng.integers(2)])
    return Sample(births, flags, rng.integers(0, rng.integers(1, 5), n))


def numbers(frame: pd.DataFrame, n_classes: int = len(NAMES)) -> np.ndarray:
    """A unit table as an array (units, classes, 5)."""
    columns = [frame[name] for name in ("n_images", "effective_rate", "birth_entropy")]
    columns += [frame["feature_entropy"], frame["status"].cat.codes]
    return np.stack(columns, axis=1).astype(np.float64).reshape(-1, n_classes, 5)


def table(drawn: Sample, estimator: str = "plug-in") -> np.ndarray:
    """The unit table of a sample."""
    return numbers(unit_frame([drawn.layer], drawn.labels, NAMES, estimator))


def any_estimator(rng: np.random.Generator) -> str:
    """One of the estimators of entropy."""
    return ESTIMATORS[rng.integers(len(ESTIMATORS))]


def rounding(estimator: str) -> float:
    """Difference that is allowed where other units are beside one: corrections are products."""
    return 0.0 if estimator == "plug-in" else ROUNDING


def counted_as_level(births: np.ndarray) -> np.ndarray:
    """Births with "never" as one more level."""
    return np.where(births == NO_BIRTH, births.max() + 1, births)


def image_order(rng: np.random.Generator) -> Found:
    drawn, estimator = sample(rng), any_estimator(rng)
    order = rng.permutation(len(drawn.labels))
    other = Sample(*(part[order] for part in drawn))
    yield Same(estimator, table(drawn, estimator), table(other, estimator))


def level_names(rng: np.random.Generator) -> Found:
    drawn, estimator = sample(rng), any_estimator(rng)
    renamed = rng.permutation(1000)[drawn.births].astype(np.int32) + 1
    other = drawn._replace(births=np.where(drawn.births == NO_BIRTH, NO_BIRTH, renamed))
    yield Same(estimator, table(drawn, estimator), table(other, estimator), ROUNDING)


def images_repeated(rng: np.random.Generator) -> Found:
    drawn, times = sample(rng), int(rng.integers(2, 5))
    other = Sample(*(np.concatenate([part] * times) for part in drawn))
    expected = table(drawn)
    expected[..., 0] *= times
    yield Same("plug-in", expected, table(other), ROUNDING)


def unit_order(rng: np.random.Generator) -> Found:
    drawn, estimator = sample(rng), any_estimator(rng)
    order = rng.permutation(drawn.births.shape[1])
    other = drawn._replace(births=drawn.births[:, order], flags=drawn.flags[:, order])
    yield Same(
        estimator, table(drawn, estimator)[order], table(other, estimator), rounding(estimator)
    )


def class_names(rng: np.random.Generator) -> Found:
    drawn, estimator = sample(rng), any_estimator(rng)
    order = rng.permutation(len(NAMES))
    other = drawn._replace(labels=np.argsort(order)[drawn.labels])
    yield Same(estimator, table(drawn, estimator)[:, order], table(other, estimator))


def class_alone(rng: np.random.Generator) -> Found:
    drawn, estimator = sample(rng), any_estimator(rng)
    kept = np.isin(drawn.labels, rng.permutation(len(NAMES))[:2])
    other = Sample(*(part[kept] for part in drawn))
    rows = np.isin(np.arange(len(NAMES)), drawn.labels[kept])
    yield Same(
        estimator,
        table(drawn, estimator)[:, rows],
        table(other, estimator)[:, rows],
        rounding(estimator),
    )


def layers_merged(rng: np.random.Generator) -> Found:
    drawn, estimator = sample(rng), any_estimator(rng)
    cut = int(rng.integers(drawn.births.shape[1] + 1))
    parts = [
        LayerBirths(name, 5, 5, drawn.births[:, units], drawn.flags[:, units], 0.0)
        for name, units in (("one", slice(cut)), ("two", slice(cut, None)))
    ]
    other = numbers(unit_frame(parts, drawn.labels, NAMES, estimator))
    yield Same(estimator, table(drawn, estimator), other, rounding(estimator))


def images_without_birth(rng: np.random.Generator) -> Found:
    births, estimator, more = sample(rng).births, any_estimator(rng), int(rng.integers(1, 30))
    none = np.full((more, births.shape[1]), NO_BIRTH, births.dtype)
    before = feature_entropy(births, 0, estimator)
    after = feature_entropy(np.concatenate([births, none]), 0, estimator)
    factor = (len(births) + more) / len(births)
    yield Same("H", before.birth_entropy, after.birth_entropy)
    yield Same("H / ε", before.feature_entropy * factor, after.feature_entropy, ROUNDING)


def bounds(rng: np.random.Generator) -> Found:
    births = sample(rng).births
    found, born = feature_entropy(births), (births != NO_BIRTH).sum(0)
    some = born > 0
    levels = np.array([len(set(column) - {NO_BIRTH}) for column in births.T])
    entropy = found.birth_entropy[some]
    yield Same("ε", born / len(births), found.effective_rate)
    yield Same("defined", some, ~np.isnan(found.feature_entropy))
    yield Same("H ≤ log K", (entropy <= np.log(levels[some]) + ROUNDING).all(), True)
    yield Same("H = 0 just for one level", levels[some] == 1, entropy == 0)
    yield Same("H / ε ≥ H", (found.feature_entropy[some] >= entropy).all(), True)


def miller_madow(rng: np.random.Generator) -> Found:
    births = sample(rng).births
    levels = np.array([len(set(column) - {NO_BIRTH}) for column in births.T])
    born = np.maximum((births != NO_BIRTH).sum(0), 1)
    plug_in, corrected = (feature_entropy(births, 0, name).birth_entropy for name in ESTIMATORS[:2])
    yield Same("H", plug_in + (levels - 1) / (2 * born), corrected, ROUNDING)


def grouped(rng: np.random.Generator) -> Found:
    births = sample(rng).births
    n_groups = int(rng.integers(1, 4))
    group_of = rng.integers(1, n_groups + 1, 1000)
    group = np.where(births == NO_BIRTH, NO_BIRTH, group_of[births])
    total = feature_entropy(group).birth_entropy
    for g in range(1, n_groups + 1):
        within = feature_entropy(np.where(group == g, births, NO_BIRTH)).birth_entropy
        share = (group == g).sum(0) / np.maximum((births != NO_BIRTH).sum(0), 1)
        total = total + np.where(share > 0, share * within, 0)
    yield Same("H", feature_entropy(births).birth_entropy, total, ROUNDING)


def information(rng: np.random.Generator) -> Found:
    drawn = sample(rng)
    births, labels = counted_as_level(drawn.births), drawn.labels
    n = len(labels)
    whole = feature_entropy(births).birth_entropy
    of_class = feature_entropy_by_class(births, labels, len(NAMES)).birth_entropy
    share = np.bincount(labels, minlength=len(NAMES)) / n
    within = np.where(share[:, None] > 0, of_class * share[:, None], 0).sum(0)
    # a bin for every place in the order keeps any two levels apart
    found = birth_class_information(drawn.births, labels, len(NAMES), n_bins=max(n, 1) * 60)
    exact = birth_class_information(births, labels, len(NAMES), n_bins=n)
    yield Same("bins", [len(set(column)) for column in births.T], exact.n_bins_used)
    yield Same("I", whole - within, exact.mutual_information, 1e-10)
    yield Same("I with a bin for never", whole - within, found.mutual_information, 1e-10)


def chance(rng: np.random.Generator) -> Found:
    drawn = sample(rng)
    n_bins = int(rng.integers(1, 8))
    before = birth_class_information(drawn.births, drawn.labels, len(NAMES), n_bins)
    other = rng.permutation(drawn.labels)
    after = birth_class_information(drawn.births, other, len(NAMES), n_bins)
    yield Same("expected by chance", before.expected_by_chance, after.expected_by_chance)


def levels_stretched(rng: np.random.Generator) -> Found:
    drawn = sample(rng)
    n_bins = int(rng.integers(1, 8))
    up = np.cumsum(rng.integers(1, 9, 1000))[drawn.births]
    other = np.where(drawn.births == NO_BIRTH, NO_BIRTH, up)
    order = rng.permutation(len(NAMES))
    before = birth_class_information(drawn.births, drawn.labels, len(NAMES), n_bins)
    after = birth_class_information(other, order[drawn.labels], len(NAMES), n_bins)
    for name, one, two in zip(before._fields, before, after, strict=True):
        yield Same(name, one, two, ROUNDING)


def interval_of_a_unit(rng: np.random.Generator) -> Found:
    births, estimator = sample(rng).births, any_estimator(rng)
    seed, order = int(rng.integers(2**31)), rng.permutation(births.shape[1])
    for interval in (bootstrap_interval, unit_interval):
        asked = {"estimator": estimator, "n_resamples": 30, "seed": seed}
        whole, again = interval(births, **asked), interval(births[:, order], **asked)
        alone = interval(births[:, :1], **asked)
        for k, end in enumerate(("lower", "upper")):
            yield Same(f"{end}, other order", whole[k][order], again[k])
            yield Same(
                f"{end}, alone", whole[k][:1], alone[k], 1e-10
            )  # numpy sums a column otherwise


def interval_of_renamed_levels(rng: np.random.Generator) -> Found:
    births, estimator = sample(rng, 10).births, any_estimator(rng)
    renamed = rng.permutation(1000)[births] + 1
    other = np.where(births == NO_BIRTH, NO_BIRTH, renamed)
    for interval in (bootstrap_interval, unit_interval):
        asked = {"estimator": estimator, "n_resamples": 30, "seed": int(rng.integers(2**31))}
        for one, two in zip(interval(births, **asked), interval(other, **asked), strict=True):
            yield Same(interval.__name__, one, two, 1e-9)


def intervals_nested(rng: np.random.Generator) -> Found:
    births, estimator = sample(rng, 10).births, any_estimator(rng)
    narrow, wide = np.sort(rng.uniform(0.05, 0.99, 2))
    for interval in (bootstrap_interval, unit_interval):
        asked = {"estimator": estimator, "n_resamples": 30, "seed": int(rng.integers(2**31))}
        inner, outer = (interval(births, confidence=c, **asked) for c in (narrow, wide))
        yield Same("where defined", np.isnan(inner.lower), np.isnan(outer.lower))
        told = ~np.isnan(inner.lower)
        ends = np.stack([outer.lower, inner.lower, inner.upper, outer.upper])[:, told]
        yield Same(interval.__name__, (np.diff(ends, axis=0) >= -ROUNDING).all(), True)


def states_pooled(rng: np.random.Generator) -> Found:
    drawn = sample(rng)
    codes = unit_status(drawn.flags, drawn.births, drawn.labels, len(NAMES))
    (whole,) = unit_status(drawn.flags, drawn.births, np.zeros_like(drawn.labels), 1)
    present = (codes != NO_IMAGES).any(1)
    yield Same("dead", (codes[present] == DEAD).all(0), whole == DEAD)
    yield Same("ok", (codes == OK).any(0), whole == OK)
    parts = feature_entropy_by_class(drawn.births, drawn.labels, len(NAMES))
    share = (np.bincount(drawn.labels, minlength=len(NAMES)) / len(drawn.labels))[present]
    pooled = feature_entropy(drawn.births)
    yield Same("ε", share @ parts.effective_rate[present], pooled.effective_rate, ROUNDING)


RELATIONS = (
    Relation("image order", "the unit table does not depend on the order of images", image_order),
    Relation("level names", "H and ε depend on which births are equal, not on levels", level_names),
    Relation(
        "images repeated", "plug-in H and ε of every image k times are theirs", images_repeated
    ),
    Relation("unit order", "units in another order: the same rows in that order", unit_order),
    Relation("class names", "other numbers of the classes: the same rows by class", class_names),
    Relation("class alone", "rows of a class do not depend on images of the others", class_alone),
    Relation("layers merged", "a layer cut in two has the rows of the whole", layers_merged),
    Relation(
        "images without a birth",
        "m more images without a birth leave H, and multiply H / ε by (n + m) / n",
        images_without_birth,
    ),
    Relation(
        "bounds",
        "0 ≤ H ≤ log K of K levels, H = 0 only for K = 1, H / ε ≥ H, undefined iff ε = 0",
        bounds,
    ),
    Relation("Miller–Madow", "H of Miller and Madow = plug-in H + (K − 1) / 2N", miller_madow),
    Relation("grouped", "H(level) = H(group) + Σ p(group) H(level | group)", grouped),
    Relation(
        "information", "I(birth; class) = H(birth) − Σ p(class) H(birth | class)", information
    ),
    Relation("chance", "the expected information depends on the margins alone", chance),
    Relation(
        "levels stretched",
        "information does not change under increasing maps of levels and new numbers of classes",
        levels_stretched,
    ),
    Relation(
        "interval of a unit",
        "with one seed a unit's interval does not depend on which units are beside it",
        interval_of_a_unit,
    ),
    Relation(
        "interval of renamed levels",
        "intervals, too, do not depend on the names of levels",
        interval_of_renamed_levels,
    ),
    Relation(
        "intervals nested", "more confidence: an interval that holds the other", intervals_nested
    ),
    Relation(
        "states pooled",
        "dead on the whole iff dead on every class, ok iff ok on one; ε is the mean of ε by class",
        states_pooled,
    ),
)
