"""Feature entropy is unchanged by rescaling of weights.

What a layer makes is multiplied by factors, and what reads it divides by them: one factor for each
layer, as in the paper, and one for each unit. By powers of two every product is exact, so that no
birth may change. By other factors products are rounded anew, and values that were neighbours may
become equal or change places.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, get_args

import numpy as np

from audit.measuring.view import Wanted
from audit.plugin import Batch, Layer, MapReducer, TrainView
from audit.reproduction import figures
from audit.reproduction.case import FILTRATION, Case
from audit.reproduction.claim import Claim, Found, Quantity, Record
from audit.reproduction.course import entropy_of_units
from audit.topology.entropy import feature_entropy_by_class
from audit.transforms import How, rescale

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor, nn

#: Of births, at most so many may change by factors that are no powers of two.
_ROUNDED: Final = 1e-3


class _MeanActivations(MapReducer):
    """Mean activation of every unit over positions and images."""

    def __init__(self, view: TrainView) -> None:
        self._n_images = len(view.labels)
        self.of_layer: dict[str, np.ndarray] = {}

    def update(self, batch: Batch, layer: Layer, maps: Tensor) -> None:
        """Add one batch."""
        total = maps.double().mean((2, 3)).sum(0).cpu().numpy() / self._n_images
        self.of_layer[layer.name] = self.of_layer.get(layer.name, 0) + total


class _Looked:
    """Births, feature entropies and mean activations of every unit of every activation."""

    def __init__(self, case: Case, network: nn.Module) -> None:
        wanted = Wanted((FILTRATION,), reducers=(_MeanActivations,))
        with case.view(network, wanted) as view:
            labels = np.asarray(view.labels)
            present, own = np.unique(labels, return_inverse=True)
            layers = list(view.births(FILTRATION))
            self.births = [layer.birth_levels for layer in layers]
            self.entropies = [
                feature_entropy_by_class(births, own, len(present)).feature_entropy
                for births in self.births
            ]
            means = view.reduced(_MeanActivations).of_layer
            self.means = [means[layer.layer] for layer in layers]
            self.last = entropy_of_units(self.births[-1], labels)

    def changed_births(self, other: _Looked) -> tuple[int, int]:
        """How many births are others, and of how many."""
        pairs = list(zip(self.births, other.births, strict=True))
        return sum(int((a != b).sum()) for a, b in pairs), sum(a.size for a, _ in pairs)

    def changed_entropies(self, other: _Looked) -> int:
        """How many feature entropies differ in any bit."""
        pairs = zip(self.entropies, other.entropies, strict=True)
        return sum(int((~((a == b) | (np.isnan(a) & np.isnan(b)))).sum()) for a, b in pairs)

    def largest_change(self, other: _Looked) -> float:
        """Of a feature entropy that both have, in nats."""
        pairs = zip(self.entropies, other.entropies, strict=True)
        return max(float(np.nanmax(np.abs(a - b), initial=0)) for a, b in pairs)


def gather(case: Case) -> Found:
    """Rescale the trained network in four ways."""
    network = case.trained().cpu()
    with case.view(network) as view:
        image = next(iter(view.batches()))[0][:1].cpu()
    before = _Looked(case, network)
    numbers = {"births": 0.0, "births_exact": 0.0, "entropies_exact": 0.0}
    for how in get_args(How):
        after = _Looked(case, rescale(network, image, how, case.seed))
        n_changed, n_births = before.changed_births(after)
        numbers["births"] += n_births
        numbers["births_exact"] += n_changed
        numbers["entropies_exact"] += before.changed_entropies(after)
    changed, largest = [], []
    for how in reversed(get_args(How)):  # the last of them is drawn: a factor for each unit
        after = _Looked(case, rescale(network, image, how, case.seed, powers_of_two=False))
        n_changed, n_births = before.changed_births(after)
        changed.append(n_changed / n_births)
        largest.append(before.largest_change(after))
    numbers |= {"share_other": max(changed), "largest_other": max(largest)}
    ratio = np.abs(np.log2(_ratio(after.means[-1], before.means[-1])))
    numbers["activations"] = float(np.exp2(np.nanmean(ratio)))
    series: dict[str, Any] = {
        "entropy": [before.last.tolist(), after.last.tolist()],
        "mean_activation": [before.means[-1].tolist(), after.means[-1].tolist()],
    }
    return Found(numbers, series)


def _ratio(after: np.ndarray, before: np.ndarray) -> np.ndarray:
    """How many times as large; NaN where a unit is dead."""
    ratio = np.divide(after, before, out=np.full(len(after), np.nan), where=before > 0)
    return np.asarray(ratio)


def draw(records: Sequence[Record]) -> Mapping[str, Figure]:
    """Feature entropy and mean activation of units before and after."""
    return {"units": _before_and_after(records)}


def _before_and_after(records: Sequence[Record]) -> Figure:
    """Feature entropy and mean activation of every unit, before and after rescaling."""
    figure, (axes,) = figures.panels(1, 2, (3.2, 3.0))
    for one, name, words in (
        (axes[0], "entropy", "feature entropy (nats)"),
        (axes[1], "mean_activation", "mean activation"),
    ):
        cells = figures.by_cell(records)
        for number, (cell, group) in enumerate(cells.items()):
            before, after = (
                np.concatenate([np.asarray(r.series[name][k], float) for r in group])
                for k in (0, 1)
            )
            colour = figures.COLOURS[number % len(figures.COLOURS)]
            one.plot(before, after, "o", markersize=2.5, alpha=0.6, color=colour, label=str(cell))
        if name == "mean_activation":
            one.set_xscale("log")
            one.set_yscale("log")
        ends = [
            max(one.get_xlim()[0], one.get_ylim()[0]),
            min(one.get_xlim()[1], one.get_ylim()[1]),
        ]
        one.plot(ends, ends, color=figures.GRAY, linewidth=0.8, zorder=0)
        one.set_xlabel(f"{words}, before", fontsize=8)
        one.set_ylabel("after rescaling each unit", fontsize=8)
    figures.legend_below(figure, axes[0], 3)
    return figure


CLAIM: Final = Claim(
    name="rescaling",
    statement="feature entropy is unchanged by rescaling of weights",
    version="1",
    gather=gather,
    draw=draw,
    quantities=(
        Quantity(
            "births_exact",
            "changed births",
            "births that change by powers of two, one for each layer and one for each unit",
            "claim",
            limit=0,
        ),
        Quantity(
            "entropies_exact",
            "changed entropies",
            "feature entropies that change in any bit",
            "control",
            limit=0,
        ),
        Quantity(
            "share_other",
            "changed, other factors",
            "share of births that change by factors that are no powers of two",
            "control",
            limit=_ROUNDED,
        ),
        Quantity("births", "births", "births that were compared for powers of two"),
        Quantity("largest_other", "largest change", "of a feature entropy by other factors, nats"),
        Quantity(
            "activations", "activations", "factor by which mean activations change, typically"
        ),
    ),
)
