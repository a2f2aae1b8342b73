"""How far the weights may be moved in the worst direction before train accuracy falls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import torch
from torch.nn import functional

from audit.plugin import MeasureEntry, Part, TrainView, Value
from audit_measures._changed_weights import Bracket, Changed, Share, largest_size, n_right

if TYPE_CHECKING:
    from torch import Tensor

_SHARE: Final = Share(1 / 20, least=16, most=200)
_ABSOLUTE: Final = Bracket(-20, 1, n_steps=7)
_RELATIVE: Final = Bracket(-14, 2, n_steps=7)
_N_STEPS: Final = 3


class _Ascent:
    """Projected ascent of the loss within a box around the weights."""

    def __init__(self, changed: Changed, by_magnitude: bool) -> None:
        self._changed = changed
        self._sides = {
            name: weight.abs() if by_magnitude else torch.ones_like(weight)
            for name, weight in changed.weights.items()
        }
        changed.network.requires_grad_(True)

    def n_right_at(self, radius: float) -> int:
        """The least number of images classified correctly at the points that are visited."""
        steps = {name: torch.zeros_like(side) for name, side in self._sides.items()}
        found = []
        for _ in range(_N_STEPS):
            self._changed.move(steps)
            right, slope = self._slope()
            found.append(right)
            for name, side in self._sides.items():
                # sides of 2/3: the far corner of the box can be reached from its near one
                moved = steps[name] + radius * 2 / 3 * side * slope[name].sign()
                steps[name] = torch.clamp(moved, -radius * side, radius * side)
        self._changed.move(steps)
        found.append(self._right())
        return min(found)

    def _slope(self) -> tuple[int, dict[str, Tensor]]:
        """How many are right, and the gradient of the summed cross-entropy."""
        named = dict(self._changed.network.named_parameters())
        total = {name: torch.zeros_like(parameter) for name, parameter in named.items()}
        right = 0
        for images, labels in self._changed.batches:
            with torch.enable_grad():
                scores = self._changed.scores(images)
                loss = functional.cross_entropy(scores, labels, reduction="sum")
                slopes = torch.autograd.grad(loss, list(named.values()), materialize_grads=True)
            right += n_right(scores.detach(), labels)
            for name, slope in zip(named, slopes, strict=True):
                total[name] += slope.nan_to_num(0.0, 0.0, 0.0)
        return right, total

    @torch.no_grad()
    def _right(self) -> int:
        """How many images are classified correctly."""
        pairs = self._changed.batches
        return sum(n_right(self._changed.scores(images), labels) for images, labels in pairs)


def _sharpness(view: TrainView, by_magnitude: bool) -> dict[str, Value | float]:
    """1/α² and its bracket, in a box of one kind."""
    changed = Changed(view, _SHARE)
    ascent = _Ascent(changed, by_magnitude)
    bracket = _RELATIVE if by_magnitude else _ABSOLUTE
    return largest_size(changed, bracket, ascent.n_right_at, "α")


def sharpness(view: TrainView) -> dict[str, Value | float]:
    """1/α², α the largest box |u| ≤ α around the weights within which accuracy falls by ≤ 0.1.

    The worst point of the box is looked for by three steps of projected ascent of the
    cross-entropy from the weights, each of 2α/3 along the sign of the gradient; the lowest of the
    four accuracies on the way counts. What is found is thus a bound from one side: a better search
    gives a smaller α. On a twentieth of the sample, at least 16 and at most 200 images, on the
    network with BatchNorm folded; log₂ α is bisected seven times between −20 and 1, to 0.16.
    Above 0; large is sharp.

    Undefined where no more than a tenth of these images are classified correctly, and where α lies
    outside of what is searched.

    Returns:
        "" is 1/α² at the middle (in logarithms) of the bracket; `low` and `high` are its ends.

    Source:
        Jiang et al., Fantastic Generalization Measures, ICLR 2020, "sharpness-flatness", after
        Keskar et al., ICLR 2017. Deviations: three steps along the sign, where theirs takes
        stochastic gradient steps; no random start, so that nothing is drawn.

    Example:
        f(x) = w·x for one pixel x = 1 and two classes, w = (1, 0): both weights moved by 1/2 undo
        the margin, so α = 1/2 and 1/α² = 4.
    """
    return _sharpness(view, by_magnitude=False)


def sharpness_magnitude(view: TrainView) -> dict[str, Value | float]:
    """1/α′², as `sharpness`, within the box |u| ≤ α′·|w|.

    Ascent and images are those of `sharpness`, with log₂ α′ between −14 and 2, to 0.13. A parameter
    that is 0 stays 0.

    Undefined where no more than a tenth of these images are classified correctly, and where α′ lies
    outside of what is searched.

    Returns:
        "" is 1/α′² at the middle (in logarithms) of the bracket; `low` and `high` are its ends.

    Source:
        Jiang et al., Fantastic Generalization Measures, ICLR 2020, "sharpness-mag-flatness".
        Deviations: as for `sharpness`; their floor ε = 0.001 of the box is 0 here.

    Example:
        f(x) = w·x for one pixel x = 1 and two classes, w = (3, 1): at α′ = 1/2 both are 3/2, so
        1/α′² = 4.
    """
    return _sharpness(view, by_magnitude=True)


_PARTS = (
    Part(name="low", summary="box within which accuracy was found to fall by at most 0.1"),
    Part(name="high", summary="box within which accuracy was found to fall by more than 0.1"),
)
_CLAIM = (
    "Jiang et al. 2020: sharpness by magnitude (1/α′²) was among the measures that followed the "
    "generalization gap best"
)
_NEEDS = "a train accuracy above 0.1, weights in floating point"
_PASSES: Final = 7 * (_N_STEPS * 3 + 1) / 20

MEASURES = (
    MeasureEntry(
        name="sharpness",
        summary="1/α² of the largest box around the weights that costs at most 0.1 of accuracy",
        compute=sharpness,
        version="1",
        direction="lower",
        invariance="none",
        varies_with=("image-order", "duplicates"),
        cost="backward",
        formula="1 / max {α: min over |u| ≤ α of accuracy under w + u ≥ train accuracy − 0.1}²",
        claim=_CLAIM,
        weakness="depends on the scale of weights: rescaling around a ReLU moves it at will",
        needs=_NEEDS,
        source="Jiang et al. 2020; three steps along the sign of the gradient",
        parts=_PARTS,
        passes=_PASSES,
        default=False,
    ),
    MeasureEntry(
        name="sharpness_magnitude",
        summary="1/α′² of the largest relative box that costs at most 0.1 of accuracy",
        compute=sharpness_magnitude,
        version="1",
        direction="lower",
        invariance="node-wise",
        varies_with=("image-order", "duplicates"),
        cost="backward",
        formula="1 / max {α′: min over |u| ≤ α′|w| of accuracy under w + u ≥ accuracy − 0.1}²",
        claim=_CLAIM,
        weakness="a short search on few images: it misses worse points than those it finds",
        needs=_NEEDS,
        source="Jiang et al. 2020; ε = 0; three steps along the sign of the gradient",
        parts=_PARTS,
        passes=_PASSES,
        default=False,
    ),
)
