"""How much random noise on the weights the train accuracy survives."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import numpy as np
import torch

from audit.plugin import MeasureEntry, Part, TrainView, Value
from audit_measures._changed_weights import Bracket, Changed, Share, draws, largest_size, n_right

if TYPE_CHECKING:
    from torch import Tensor

#: Ten draws: five and their mirror images about the weights.
_N_PAIRS: Final = 5
_SHARE: Final = Share(1 / 8, least=40, most=800)
_ABSOLUTE: Final = Bracket(-13, 1, n_steps=7)
_RELATIVE: Final = Bracket(-9, 3, n_steps=7)
#: Noise is drawn once and kept where it takes no more than this many bytes, else drawn again.
_MOST_BYTES: Final = 512 << 20


class _Noise:
    """Standard normal noise for every parameter, the same for every checkpoint."""

    def __init__(self, view: TrainView, changed: Changed, by_magnitude: bool) -> None:
        self._view, self._changed, self._by_magnitude = view, changed, by_magnitude
        self._kept: dict[int, dict[str, Tensor]] = {}
        n_bytes = sum(w.numel() * w.element_size() for w in changed.weights.values())
        self._keeps = n_bytes * _N_PAIRS <= _MOST_BYTES

    def of(self, pair: int) -> dict[str, Tensor]:
        """Parameter's name → noise of standard deviation 1, or of the parameter's magnitude."""
        if pair in self._kept:
            return self._kept[pair]
        made = {name: self._drawn(pair, name) for name in self._changed.weights}
        if self._keeps:
            self._kept[pair] = made
        return made

    def _drawn(self, pair: int, name: str) -> Tensor:
        """The noise of one parameter."""
        weight = self._changed.weights[name]
        generator = self._view.generator(f"flatness {pair} {name}")
        drawn = generator.standard_normal(tuple(weight.shape), dtype=np.float32)
        noise = torch.as_tensor(drawn).to(weight)
        return noise * weight.abs() if self._by_magnitude else noise


def _steps(noise: _Noise, sigma: float) -> Iterator[dict[str, Tensor]]:
    """What is added to the weights, draw by draw."""
    for pair in range(_N_PAIRS):
        drawn = noise.of(pair)
        for factor in (sigma, -sigma):
            yield {name: factor * z for name, z in drawn.items()}


def _flatness(view: TrainView, by_magnitude: bool) -> dict[str, Value | float]:
    """1/σ² and its bracket, for noise of one kind."""
    changed = Changed(view, _SHARE)
    noise = _Noise(view, changed, by_magnitude)
    dealt = draws(changed.batches, 2 * _N_PAIRS)
    size = max(len(images) for images, _ in changed.batches)

    @torch.no_grad()
    def n_right_at(sigma: float) -> int:
        total = 0
        for (images, labels), step in zip(dealt, _steps(noise, sigma), strict=True):
            changed.move(step)
            parts = zip(torch.split(images, size), torch.split(labels, size), strict=True)
            total += sum(n_right(changed.scores(part), y) for part, y in parts if len(part))
        return total

    bracket = _RELATIVE if by_magnitude else _ABSOLUTE
    return largest_size(changed, bracket, n_right_at, "σ")


def pacbayes_flatness(view: TrainView) -> dict[str, Value | float]:
    """1/σ², σ the largest standard deviation of noise that costs at most 0.1 of train accuracy.

    Every parameter of the network with BatchNorm folded gets independent noise of the distribution
    N(0, σ²), so σ is a standard deviation. Ten draws (five, and their mirror images about the
    weights) share an eighth of the sample, at least 40 and at most 800 images, each draw images of
    its own, and the same draws and images at every σ and for every checkpoint: the accuracies that
    are compared differ by nothing but σ. log₂ σ is bisected seven times between −13 and 1, to
    0.11. Above 0; large is sharp.

    Undefined where no more than a tenth of the images are classified correctly, and where σ lies
    outside of what is searched.

    Returns:
        "" is 1/σ² at the middle (in logarithms) of the bracket; `low` and `high` are its ends, in
        σ: at the one accuracy has fallen by at most 0.1, at the other by more.

    Source:
        Jiang et al., Fantastic Generalization Measures, ICLR 2020, "pacbayes-flatness". Deviations:
        σ is a standard deviation, where public code hands the variance to a function that takes a
        standard deviation; common random numbers; the draws come in mirrored pairs.

    Example:
        One linear map with margins all 1 between two classes and inputs of unit length: noise
        changes a margin by σ√2·z, wrong with probability 0.1 at σ√2·1.2816 = 1, so 1/σ² = 3.285.
    """
    return _flatness(view, by_magnitude=False)


def pacbayes_flatness_magnitude(view: TrainView) -> dict[str, Value | float]:
    """1/σ′², σ′ as in `pacbayes_flatness` for noise that is as large as σ′ times each weight.

    A parameter w gets noise of the distribution N(0, σ′²·w²); one that is 0 stays 0. Images, draws
    and bisection are those of `pacbayes_flatness`, with log₂ σ′ between −9 and 3, to 0.09.

    Undefined where no more than a tenth of the images are classified correctly, and where σ′ lies
    outside of what is searched.

    Returns:
        "" is 1/σ′² at the middle (in logarithms) of the bracket; `low` and `high` are its ends, in
        σ′.

    Source:
        Jiang et al., Fantastic Generalization Measures, ICLR 2020, "pacbayes-mag-flatness".
        Deviations: their floor ε = 0.001 under the noise is 0 here, so that the number does not
        change when the weights around a ReLU are rescaled; a standard deviation, where public code
        hands over the variance; common random numbers; mirrored pairs.

    Example:
        A network whose accuracy falls by 0.1 when every weight is off by a quarter of itself has
        1/σ′² = 16.
    """
    return _flatness(view, by_magnitude=True)


_PARTS = (
    Part(name="low", summary="noise at which accuracy has fallen by at most 0.1"),
    Part(name="high", summary="noise at which accuracy has fallen by more than 0.1"),
)
_CLAIM = (
    "Jiang et al. 2020: measures of flatness, by magnitude above all, follow the generalization "
    "gap over all hyperparameters that they vary"
)
_NEEDS = "a train accuracy above 0.1, weights in floating point"

MEASURES = (
    MeasureEntry(
        name="pacbayes_flatness",
        summary="1/σ² of the largest noise on weights that costs at most 0.1 of train accuracy",
        compute=pacbayes_flatness,
        version="1",
        direction="lower",
        invariance="none",
        varies_with=("permutation", "image-order", "duplicates", "relabelling"),
        cost="forward",
        formula="1 / max {σ: mean accuracy under w + N(0, σ²) ≥ train accuracy − 0.1}²",
        claim=_CLAIM,
        weakness="depends on the scale of weights: rescaling around a ReLU moves it at will",
        needs=_NEEDS,
        source="Jiang et al. 2020; σ is a standard deviation; ten draws in mirrored pairs",
        parts=_PARTS,
        passes=0.9,
        default=False,
    ),
    MeasureEntry(
        name="pacbayes_flatness_magnitude",
        summary="1/σ′² of the largest relative noise that costs at most 0.1 of train accuracy",
        compute=pacbayes_flatness_magnitude,
        version="1",
        direction="lower",
        invariance="node-wise",
        varies_with=("permutation", "image-order", "duplicates", "relabelling"),
        cost="forward",
        formula="1 / max {σ′: mean accuracy under w + N(0, σ′²w²) ≥ train accuracy − 0.1}²",
        claim=_CLAIM,
        weakness="a step function on few images: differences of less than about 15 % say nothing",
        needs=_NEEDS,
        source="Jiang et al. 2020; ε = 0; a standard deviation; ten draws in mirrored pairs",
        parts=_PARTS,
        passes=0.9,
        default=False,
    ),
)
