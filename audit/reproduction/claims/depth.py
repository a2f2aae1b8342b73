"""Feature entropy decreases from shallow to deep layers.

Maps shrink with depth too, and fewer pixels leave less room for entropy. So layers are compared
again after their maps were max-pooled to one size, and against what the same maps give with their
pixels shuffled. Beside stands the same network before it was trained.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
from torch.nn.functional import adaptive_max_pool2d

from audit.measuring.view import Wanted
from audit.plugin import Batch, Layer, MapReducer, TrainView
from audit.reproduction import figures
from audit.reproduction.case import FILTRATION, Case
from audit.reproduction.claim import Claim, Found, Quantity, Record
from audit.reproduction.course import entropy_of_classes, known_mean
from audit.reproduction.estimates import kendall, resampled
from audit.topology import birth_levels
from audit.topology.shuffled import ShuffledBirths

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor, nn

#: Smaller maps have a single possible birth level under the clique filtration.
_LEAST_SIDE: Final = 5
#: Images whose maps are shuffled, at most.
_SHUFFLED: Final = 200


class _Pooled(MapReducer):
    """Births of maps pooled to the smallest map among the layers."""

    def __init__(self, view: TrainView) -> None:
        sides = [layer.height for layer in view.layers if _is_usable(layer)]
        self.side = min(sides, default=_LEAST_SIDE)
        self._parts: dict[str, list[np.ndarray]] = {}

    def update(self, batch: Batch, layer: Layer, maps: Tensor) -> None:
        """Pool one batch."""
        if _is_usable(layer):
            pooled = adaptive_max_pool2d(maps.float(), self.side).contiguous()
            births = birth_levels(pooled, FILTRATION).cpu().numpy()
            self._parts.setdefault(layer.name, []).append(births)

    def births(self, layer: str) -> np.ndarray:
        """Of a layer, shape (n, u)."""
        return np.concatenate(self._parts[layer])


class _Shuffled(MapReducer):
    """Births of shuffled maps of some images."""

    def __init__(self, view: TrainView) -> None:
        self.kept = ShuffledBirths(view.labels, FILTRATION, view.generator, _SHUFFLED)

    def update(self, batch: Batch, layer: Layer, maps: Tensor) -> None:
        """Shuffle one batch."""
        if _is_usable(layer):
            self.kept.add(layer.name, batch.rows, maps)


def _is_usable(layer: Layer) -> bool:
    return layer.height == layer.width >= _LEAST_SIDE


#: Kind of number → shape (layers, classes).
_Profiles = dict[str, np.ndarray]


def _look(case: Case, network: nn.Module, shuffle: bool) -> tuple[list[str], list[int], _Profiles]:
    """Names and sides of layers, and their numbers by class."""
    reducers = (_Pooled, _Shuffled) if shuffle else (_Pooled,)
    with case.view(network, Wanted((FILTRATION,), reducers=reducers)) as view:
        usable = {layer.name for layer in view.layers if _is_usable(layer)}
        layers = [layer for layer in view.births(FILTRATION) if layer.layer in usable]
        labels = np.asarray(view.labels)
        pooled = view.reduced(_Pooled)
        profiles = {
            "entropy": [entropy_of_classes(layer.birth_levels, labels) for layer in layers],
            "pooled": [entropy_of_classes(pooled.births(one.layer), labels) for one in layers],
        }
        if shuffle:
            kept = view.reduced(_Shuffled).kept
            found = [kept.scores(layer, len(view.class_names)) for layer in layers]
            present = np.unique(labels)
            profiles["shuffled"] = [
                known_mean(_ratio(one.feature_entropy, one.null_mean), 1)[present] for one in found
            ]
        names, sides = [one.layer for one in layers], [one.height for one in layers]
    return names, sides, {name: np.stack(rows) for name, rows in profiles.items()}


def _ratio(entropy: np.ndarray, null: np.ndarray) -> np.ndarray:
    """Feature entropy as a share of that of shuffled maps; NaN where either has none."""
    undefined = np.full(entropy.shape, np.nan)
    return np.asarray(np.divide(entropy, null, out=undefined, where=null > 0))


def gather(case: Case) -> Found:
    """Feature entropy of every activation, as it is and controlled, before and after training."""
    names, sides, trained = _look(case, case.trained(), shuffle=True)
    _, _, random = _look(case, case.settled(case.random()), shuffle=False)
    fall = {name: _fall(profile.T) for name, profile in trained.items()}
    means = known_mean(trained["entropy"], 1)
    third = max(1, len(means) // 3)
    numbers = {
        "fall": fall["entropy"],
        "fall_pooled": fall["pooled"],
        "fall_shuffled": fall["shuffled"],
        "fall_untrained": _fall(random["entropy"].T),
        "fall_untrained_pooled": _fall(random["pooled"].T),
        "nats": float(np.nanmean(means[:third]) - np.nanmean(means[-third:])),
    }
    intervals = {
        name: resampled((profile.T,), _fall)
        for name, profile in (
            *(("fall", trained["entropy"]), ("fall_pooled", trained["pooled"])),
            ("fall_shuffled", trained["shuffled"]),
        )
    }
    series = {
        "layers": names,
        "sides": sides,
        **{name: known_mean(profile, 1).tolist() for name, profile in trained.items()},
        "untrained": known_mean(random["entropy"], 1).tolist(),
        "untrained_pooled": known_mean(random["pooled"], 1).tolist(),
    }
    return Found(numbers, series, intervals)


def _fall(by_class: np.ndarray) -> float:
    """Kendall's τ of feature entropy with depth, its sign turned, of an array (classes, layers)."""
    means = known_mean(by_class, 0)
    return -kendall(np.arange(len(means)), means)


def draw(records: Sequence[Record]) -> Mapping[str, Figure]:
    """Entropy by depth: as it is, at one resolution, and against shuffled maps."""
    return {"profiles": _depth_profiles(records)}


def _depth_profiles(records: Sequence[Record]) -> Figure:
    """Feature entropy by depth, controlled in two ways; mean over seeds."""
    cells = figures.by_cell(records)
    rows = list(dict.fromkeys(cell.architecture for cell in cells))
    kinds = (
        ("entropy", "untrained", "feature entropy (nats)"),
        ("pooled", "untrained_pooled", "at one size (nats)"),
        ("shuffled", "", "share of that of shuffled maps"),
    )
    figure, axes = figures.panels(len(rows), len(kinds), (3.4, 2.6))
    sources = list(dict.fromkeys(cell.source for cell in cells))
    for cell, group in cells.items():
        colour = figures.COLOURS[sources.index(cell.source) % len(figures.COLOURS)]
        sides = group[0].series["sides"]
        for column, (name, random, words) in enumerate(kinds):
            one = axes[rows.index(cell.architecture), column]
            depth = np.arange(1, len(sides) + 1)
            for key, style in ((name, "o-"), (random, "x:")):
                if key:
                    mean = np.nanmean([np.asarray(r.series[key], float) for r in group], axis=0)
                    label = f"{cell.source}{'' if key == name else ', random weights'}"
                    one.plot(
                        depth, mean, style, markersize=3, linewidth=1.2, color=colour, label=label
                    )
            one.set_xticks(depth, [str(side) for side in sides])
            one.set_xlabel("side of the maps, shallow to deep (pixels)", fontsize=7)
            one.set_title(f"{cell.architecture}: {words}", fontsize=8)
    figures.legend_below(figure, axes[0, 0], len(sources))
    return figure


CLAIM: Final = Claim(
    name="depth",
    statement="feature entropy decreases from shallow to deep layers",
    version="1",
    gather=gather,
    draw=draw,
    quantities=(
        Quantity(
            "fall",
            "fall with depth",
            "−τ of feature entropy with depth over all activations",
            "claim",
            least=0.5,
        ),
        Quantity(
            "fall_pooled",
            "at one size",
            "the same of maps pooled to the smallest map's size",
            "control",
        ),
        Quantity(
            "fall_shuffled",
            "against shuffled",
            "the same of feature entropy as a share of that of shuffled maps",
            "control",
        ),
        Quantity("nats", "fall in nats", "first third of the layers less the last third, nats"),
        Quantity("fall_untrained", "before training", "−τ with random weights, settled statistics"),
        Quantity("fall_untrained_pooled", "before, one size", "the same at one size"),
    ),
)
