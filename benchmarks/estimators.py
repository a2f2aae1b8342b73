"""From how many images a class on may each estimator of feature entropy be trusted?

Births are drawn from distributions whose feature entropy is known, and estimated from a few of
them: bias and root mean square error of one unit's number on one class, in nats, and how often its
95% bootstrap interval holds the truth. The distributions are geometric, bell-shaped, peaked and
uniform ones of 20 to 150 levels, and the births of the units of a small network, trained on
scikit-learn's digits, on shifted digits; these stand for all images there are. On the same network
the mean over all units and classes is estimated from few images of each class, as the measure
`feature_entropy_corrected` does.

The last run (`results/estimators-2026-11-27.json`) says:

- Take "chao-wang-jost". On simulated births its bias is at most 0.13 nats from 20 births on and
  0.08 from 50; "chao-shen" comes near (0.29, 0.10), "grassberger" needs 100 to 200, and
  "miller-madow" and "plug-in" are off by more than 0.1 for some shape at 200 still.
- Below 20 births trust none: at 10 every bias but that of "chao-shen" reaches a nat.
- What counts is births, not images: H / ε of a unit that is seldom born is known no better than ε.
  Means over units that are nearly always born (clique) are right to 0.07 nats from 20 images a
  class on, and the plug-in's only at 200. Means of cubical births of the same network, whose pairs
  are born on a tenth of the images or more, are off by up to 2.5 of 8.7 nats at 20 images and by
  0.2 to 1.1 of 8 at 200; without that bound pairs that are hardly ever born decide them.
- A 95% interval of one unit holds the truth in 69% of draws or more from 50 births on (simulated;
  84% at the median), and of a mean over units in fewer: it is a scale of the doubt, not a test.

Run: python -m benchmarks.estimators [--json] [--repeats 400]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd
import torch
from sklearn.datasets import load_digits
from torch import nn

from audit.arrays import NO_BIRTH
from audit.topology import birth_levels
from audit.topology.entropy import feature_entropy, feature_entropy_by_class
from audit.topology.intervals import (
    bootstrap_interval,
    draw_within_classes,
    interval_of_errors,
    resampled_errors,
)

ESTIMATORS: Final = ("plug-in", "miller-madow", "chao-shen", "grassberger", "chao-wang-jost")
SIZES: Final = (5, 10, 20, 50, 100, 200)
#: A bias that matters: about what separates the means of networks of one zoo.
BOUND: Final = 0.1
_RESAMPLES: Final = 100
#: Share of the images on which a pair must be born to count in a mean over pairs.
_LEAST_RATE: Final = 0.1
_CONFIDENCE: Final = 0.95
_UNITS_OF_NETWORK: Final = 12
_REPEATS_OF_MEAN: Final = 16


class Shape(NamedTuple):
    """A distribution of births: its name, possible levels and their probabilities."""

    name: str
    levels: np.ndarray
    probabilities: np.ndarray

    @property
    def truth(self) -> float:
        """Feature entropy H / ε."""
        born = self.probabilities[self.levels != NO_BIRTH]
        rate = born.sum()
        return float(-(born / rate * np.log(born / rate)).sum() / rate)


def simulated_shapes() -> list[Shape]:
    """Distributions written down."""
    rows: dict[str, np.ndarray] = {}
    for n_levels in (20, 50, 150):
        level = np.arange(n_levels)
        rows[f"uniform, {n_levels} levels"] = np.ones(n_levels)
        rows[f"geometric, {n_levels} levels"] = 0.85**level
        rows[f"bell, {n_levels} levels"] = np.exp(-0.5 * ((level / n_levels - 1 / 3) * 12) ** 2)
    rows["peaked: 90% in one of 20"] = np.array([0.9] + [0.1 / 19] * 19)
    shapes = [
        Shape(name, np.arange(1, len(weights) + 1), weights / weights.sum())
        for name, weights in rows.items()
    ]
    geometric = rows["geometric, 50 levels"] / rows["geometric, 50 levels"].sum()
    levels = np.concatenate([[NO_BIRTH], np.arange(1, 51)])
    half = np.concatenate([[0.5], geometric / 2])
    return [*shapes, Shape("geometric, 50 levels, half born", levels, half)]


class Population(NamedTuple):
    """Births of every unit of one layer on very many images, under one filtration."""

    name: str
    births: np.ndarray
    labels: np.ndarray


def network_populations() -> list[Population]:
    """Births of a network that is trained here in seconds, on digits in 25 positions each."""
    digits = load_digits()
    images = torch.from_numpy(digits.images / 16).float()[:, None]
    images = nn.functional.interpolate(images, (28, 28), mode="bilinear")
    labels = torch.from_numpy(digits.target)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        early = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU())
        late = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU())
        head = nn.Sequential(nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16 * 49, 10))
        network = nn.Sequential(early, late, head)
        optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
        for _ in range(6):
            for rows in torch.split(torch.randperm(len(images)), 64):
                loss = nn.functional.cross_entropy(network(images[rows]), labels[rows])
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
    shifts = [(down, right) for down in range(-2, 3) for right in range(-2, 3)]
    shifted = torch.cat([images.roll(shift, (2, 3)) for shift in shifts])
    with torch.no_grad():
        first = early(shifted)
        maps = {"28 × 28": first, "14 × 14": late(first)}
    return [
        Population(
            f"{filtration}, {size}",
            birth_levels(layer.numpy(), filtration),
            np.tile(digits.target, len(shifts)),
        )
        for size, layer in maps.items()
        for filtration in ("clique", "cubical")
    ]


def network_shapes(populations: list[Population]) -> Iterator[Shape]:
    """Distributions of some (unit, class) pairs of a network that are born on half the images."""
    for population in populations:
        n_units, n_found = population.births.shape[1], 0
        for unit in range(n_units):
            births = population.births[population.labels == unit % 10, unit]
            levels, counts = np.unique(births, return_counts=True)
            rate = counts[levels != NO_BIRTH].sum() / len(births)
            if rate >= 0.5 and n_found < _UNITS_OF_NETWORK // 4:
                n_found += 1
                name = f"network, {population.name}, unit {unit}"
                yield Shape(name, levels, counts / len(births))


def of_units(shapes: list[Shape], n_repeats: int) -> list[dict[str, Any]]:
    """One row per distribution, number of images and estimator."""
    rows = []
    generator = np.random.default_rng(0)
    for shape in shapes:
        for n in SIZES:
            births = generator.choice(shape.levels, (n, n_repeats), p=shape.probabilities)
            for estimator in ESTIMATORS:
                found = feature_entropy(births, estimator=estimator).feature_entropy
                errors = found[np.isfinite(found)] - shape.truth
                few = births[:, : n_repeats // 4]
                interval = bootstrap_interval(few, 0, estimator, _CONFIDENCE, _RESAMPLES)
                known = np.isfinite(interval.lower)
                holds = (interval.lower <= shape.truth) & (shape.truth <= interval.upper)
                rows.append(
                    {
                        "births": shape.name,
                        "truth": shape.truth,
                        "n": n,
                        "estimator": estimator,
                        "bias": float(errors.mean()),
                        "rmse": float(np.sqrt((errors**2).mean())),
                        "coverage": float(holds[known].mean()),
                        "width": float((interval.upper - interval.lower)[known].mean()),
                    }
                )
    return rows


def of_means(populations: list[Population]) -> list[dict[str, Any]]:
    """The mean over all units and classes of a layer: one row per layer, n and estimator."""
    rows = []
    generator = np.random.default_rng(1)
    for births, labels, name in ((p.births, p.labels, p.name) for p in populations):
        whole = feature_entropy_by_class(births, labels, 10)
        truth = float(whole.feature_entropy[whole.effective_rate >= _LEAST_RATE].mean())
        of_class = [np.flatnonzero(labels == label) for label in range(10)]
        for n in SIZES:
            for estimator in ("plug-in", "chao-wang-jost"):
                errors, holds, widths = [], [], []
                for _ in range(_REPEATS_OF_MEAN):
                    chosen = np.concatenate([generator.choice(one, n) for one in of_class])
                    few, few_labels = births[chosen], labels[chosen]
                    by_class = feature_entropy_by_class(few, few_labels, 10, estimator)
                    often = by_class.effective_rate >= _LEAST_RATE
                    mean = float(by_class.feature_entropy[often].mean())
                    resamples = draw_within_classes(few_labels, _RESAMPLES, generator)
                    found = resampled_errors(few, resamples, estimator, _LEAST_RATE)
                    interval = interval_of_errors(mean, found, _CONFIDENCE)
                    errors.append(mean - truth)
                    holds.append(bool(interval.lower <= truth <= interval.upper))
                    widths.append(float(interval.upper - interval.lower))
                rows.append(
                    {
                        "births": f"mean over units, {name}",
                        "truth": truth,
                        "n": n,
                        "estimator": estimator,
                        "bias": float(np.mean(errors)),
                        "rmse": float(np.sqrt(np.mean(np.square(errors)))),
                        "coverage": float(np.mean(holds)),
                        "width": float(np.mean(widths)),
                    }
                )
    return rows


def trusted_from(rows: list[dict[str, Any]]) -> dict[str, dict[str, int | None]]:
    """Group → estimator → least number of images from which on no bias exceeds `BOUND`."""
    frame = pd.DataFrame(rows)
    kind = frame["births"].str.extract("^(network|mean|uniform)")[0].fillna("simulated")
    frame["kind"] = kind.replace({"mean": "mean over units", "network": "units of a network"})
    found: dict[str, dict[str, int | None]] = {}
    for (group, estimator), some in frame.groupby(["kind", "estimator"]):
        worst = some.assign(bias=some["bias"].abs()).groupby("n")["bias"].max()
        too_biased = [n for n in SIZES if worst[n] > BOUND]
        later = [n for n in SIZES if n > max(too_biased, default=0)]
        found.setdefault(str(group), {})[str(estimator)] = min(later, default=None)
    return found


def main() -> None:
    """Draw, estimate, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--repeats", type=int, default=400, help="draws of each size")
    options = parser.parse_args()
    populations = network_populations()
    shapes = [*simulated_shapes(), *network_shapes(populations)]
    rows = of_units(shapes, options.repeats) + of_means(populations)
    trusted = trusted_from(rows)
    if options.json:
        print(json.dumps({"trusted_from": trusted, "bound_nats": BOUND, "rows": rows}, indent=1))
        return
    frame = pd.DataFrame(rows).pivot_table(
        index=["births", "estimator"], columns="n", values=["bias", "rmse", "coverage"], sort=False
    )
    with pd.option_context("display.width", 200, "display.max_rows", None):
        print(frame.round(2).to_string())
    print(f"\nimages a class from which on no bias exceeds {BOUND} nats:")
    print(pd.DataFrame(trusted).astype("Int64").to_string(na_rep="more than 200"))


if __name__ == "__main__":
    main()
