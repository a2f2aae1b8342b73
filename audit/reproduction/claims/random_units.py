"""Random units and trained units are told apart by feature entropy where magnitudes cannot.

AUC: the chance that a random unit has the larger number. Magnitudes may separate in either
direction, which is granted to them. They also change with the scales of weights, which change
nothing that a network computes: beside stand the same AUCs of the same two networks after each
unit's scale was drawn anew.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
import torch

from audit.reproduction import figures
from audit.reproduction.case import FILTRATION, Case
from audit.reproduction.claim import Claim, Found, Quantity, Record
from audit.reproduction.course import entropy_of_units
from audit.reproduction.estimates import auc, resampled, separation
from audit.transforms import rescale
from audit.units.importance import CRITERIA, UnitEvidence, wanted_by

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import nn

#: Feature entropy, or a rival's number, of each unit.
Scores: TypeAlias = dict[str, np.ndarray]

ENTROPY: Final = "entropy"
#: Magnitudes that feature entropy must beat, and what else is shown.
_MAGNITUDES: Final = ("l1_norm", "mean_activation")
_RIVALS: Final = (*_MAGNITUDES, "apoz")
_CLASSES_SHOWN: Final = 4


def gather(case: Case) -> Found:
    """Compare the units of the last convolution before and after training."""
    trained, births = _look(case, case.trained())
    untrained, untrained_births = _look(case, case.random())
    settled, _ = _look(case, case.settled(case.random()))
    numbers = {
        "auc": auc(trained[ENTROPY], untrained[ENTROPY]),
        "auc_settled": auc(trained[ENTROPY], settled[ENTROPY]),
        "beyond_magnitudes": _beyond_magnitudes(trained, untrained),
        "entropy_trained": float(np.nanmean(trained[ENTROPY])),
        "entropy_untrained": float(np.nanmean(untrained[ENTROPY])),
        "without_trained": float(np.isnan(trained[ENTROPY]).mean()),
        "without_untrained": float(np.isnan(untrained[ENTROPY]).mean()),
    }
    scaled = [
        _look(case, _rescaled(case, network, seed))[0]
        for seed, network in enumerate((case.trained(), case.random()))
    ]
    for name in _RIVALS:
        numbers[name] = separation(trained[name], untrained[name])
        numbers[f"{name}_rescaled"] = separation(scaled[0][name], scaled[1][name])
    series: dict[str, Any] = {
        name: {
            which: scores[name].tolist()
            for which, scores in (
                ("trained", trained),
                ("untrained", untrained),
                ("settled", settled),
            )
        }
        for name in (ENTROPY, *_RIVALS)
    }
    series["births"] = {"trained": births, "untrained": untrained_births}
    return Found(numbers, series, _intervals(trained, untrained, settled))


def _look(case: Case, network: nn.Module) -> tuple[Scores, dict[str, list[int]]]:
    """Every score of the last layer's units; births of its median unit by class."""
    criteria = [CRITERIA[name] for name in _RIVALS]
    wanted = wanted_by([CRITERIA["feature_entropy"], *criteria], FILTRATION)
    with case.view(network, wanted, case.last_layer) as view:
        (spec,) = view.specs()
        evidence = UnitEvidence(view, spec, FILTRATION)
        births, labels = evidence.births.birth_levels, np.asarray(view.labels)
        scores = {one.name: np.asarray(one.score(evidence), float) for one in criteria}
        names = view.class_names
    scores[ENTROPY] = entropy_of_units(births, labels)
    unit = _median_unit(scores[ENTROPY])
    shown = np.unique(labels)[:_CLASSES_SHOWN].tolist()
    return scores, {names[label]: births[labels == label, unit].tolist() for label in shown}


def _median_unit(entropy: np.ndarray) -> int:
    """The unit whose feature entropy is the median of those that have one."""
    order = np.argsort(entropy, kind="stable")  # NaN last
    return int(order[(np.isfinite(entropy).sum() - 1) // 2])


def _rescaled(case: Case, network: nn.Module, seed: int) -> nn.Module:
    """The same function with the scale of each unit drawn anew."""
    with case.view(network) as view:
        image = next(iter(view.batches()))[0][:1].cpu()
    plain = network.cpu().to(memory_format=torch.contiguous_format)
    return rescale(plain, image, "node-wise", 2 * case.seed + seed)


def _beyond_magnitudes(trained: Scores, untrained: Scores) -> float:
    """AUC of feature entropy less that of the magnitude that separates best."""
    best = max(separation(trained[name], untrained[name]) for name in _MAGNITUDES)
    return auc(trained[ENTROPY], untrained[ENTROPY]) - best


def _intervals(
    trained: Scores, untrained: Scores, settled: Scores
) -> dict[str, tuple[float, float]]:
    """Intervals over the units of one network."""

    def beyond(own: np.ndarray, other: np.ndarray) -> float:
        return _beyond_magnitudes(
            {name: trained[name][own] for name in trained},
            {name: untrained[name][other] for name in untrained},
        )

    def of(name: str, function: Any, other: Scores) -> tuple[float, float]:
        return resampled((trained[name], other[name]), function)

    units = np.arange(len(trained[ENTROPY])), np.arange(len(untrained[ENTROPY]))
    return {
        "auc": of(ENTROPY, auc, untrained),
        "auc_settled": of(ENTROPY, auc, settled),
        "beyond_magnitudes": resampled(units, beyond),
        **{name: of(name, separation, untrained) for name in _RIVALS},
    }


def draw(records: Sequence[Record]) -> Mapping[str, Figure]:
    """Births by class of a unit of median entropy, and all units of every cell."""
    return {
        "births": _birth_histograms(records[0].series["births"], str(records[0].cell)),
        "units": _score_distributions(
            records,
            ENTROPY,
            "feature entropy of a unit (nats)",
            ("trained", "untrained", "settled"),
        ),
        "magnitudes": _score_distributions(
            records, "mean_activation", "mean activation of a unit", ("trained", "untrained")
        ),
    }


def _birth_histograms(births: Mapping[str, Mapping[str, Sequence[int]]], where: str) -> Figure:
    """How often one unit is born at each level, for some classes.

    Args:
        births: Which network → class → birth level of each image, −1 for never.
        where: The cell.
    """
    classes = list(next(iter(births.values())))
    figure, axes = figures.panels(len(births), len(classes), (2.1, 1.9))
    largest = max(max(levels) for by_class in births.values() for levels in by_class.values())
    bins = np.arange(0.5, max(largest, 2) + 1.5)
    for (i, (which, by_class)), (j, name) in itertools.product(
        enumerate(births.items()), enumerate(classes)
    ):
        levels = np.array(by_class[name])
        born = levels[levels > 0]
        one = axes[i, j]
        one.hist(born, bins.tolist(), color=figures.COLOURS[i])
        one.set_title(f"{which}, class {name}: {len(born)} of {len(levels)} born", fontsize=7)
        one.yaxis.get_major_locator().set_params(integer=True)
        if i == len(births) - 1:
            one.set_xlabel("birth level", fontsize=7)
        if j == 0:
            one.set_ylabel("images", fontsize=7)
    top = max(one.get_ylim()[1] for one in axes.flat)
    for one in axes.flat:
        one.set_ylim(0, top)
    figure.suptitle(f"Births of a unit of median feature entropy, {where}", fontsize=9)
    return figure


def _score_distributions(
    records: Sequence[Record], name: str, words: str, which: Sequence[str]
) -> Figure:
    """A number of every unit of every network, before and after training."""
    cells = figures.by_cell(records)
    figure, axes = figures.grid_of_cells(list(cells))
    labels = {"trained": "trained", "untrained": "random weights", "settled": "random, settled"}
    for cell, group in cells.items():
        one = axes[cell]
        values = {
            kind: np.concatenate([np.asarray(r.series[name][kind], float) for r in group])
            for kind in which
        }
        known = {kind: found[np.isfinite(found)] for kind, found in values.items()}
        everything = np.concatenate(list(known.values()))
        bins = np.linspace(everything.min(), everything.max() + 1e-9, 26)
        for number, (kind, found) in enumerate(known.items()):
            colour = figures.COLOURS[number]
            one.hist(
                found,
                bins.tolist(),
                histtype="step",
                linewidth=1.4,
                color=colour,
                label=labels[kind],
            )
        one.set_xlabel(words, fontsize=7)
        one.set_ylabel("units", fontsize=7)
    figures.legend_below(figure, axes[next(iter(cells))], len(which))
    return figure


def _rival(name: str, words: str) -> tuple[Quantity, Quantity]:
    return (
        Quantity(name, name, f"AUC of {words}, in whichever direction", reference=0.5),
        Quantity(
            f"{name}_rescaled",
            f"{name}, rescaled",
            f"AUC of {words}, scales drawn anew",
            reference=0.5,
        ),
    )


CLAIM: Final = Claim(
    name="random-units",
    statement="random units and trained units are told apart by feature entropy where magnitudes "
    "cannot",
    version="1",
    gather=gather,
    draw=draw,
    quantities=(
        Quantity(
            "auc",
            "AUC",
            "chance that a random unit has the higher feature entropy",
            "claim",
            reference=0.5,
            least=0.2,
        ),
        Quantity(
            "beyond_magnitudes",
            "beyond magnitudes",
            "that AUC less the best of mean activation and L1 norm of weights",
            "control",
        ),
        Quantity(
            "auc_settled",
            "AUC, settled",
            "the AUC against random units behind statistics of normalisation taken on the images",
            "control",
            reference=0.5,
        ),
        *_rival("l1_norm", "the L1 norm of the filter"),
        *_rival("mean_activation", "the mean activation"),
        *_rival("apoz", "the share of zeros"),
        Quantity("entropy_trained", "trained", "feature entropy of trained units, nats"),
        Quantity("entropy_untrained", "untrained", "feature entropy of random units, nats"),
        Quantity("without_trained", "trained without", "share of trained units never born"),
        Quantity("without_untrained", "random without", "share of random units never born"),
    ),
)
