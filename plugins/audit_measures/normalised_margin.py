"""Distance to the decision boundary, in a linear approximation, at the input and hidden layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from audit.errors import UnavailableError
from audit.plugin import (
    PLAIN,
    Batch,
    Measured,
    MeasureEntry,
    Part,
    ScoreReducer,
    TrainView,
    Value,
)
from audit_measures._image_gradients import (
    SHARE,
    activations,
    differentiable,
    differentiating,
    gradients,
    hookable_copy,
    module_call,
    true_margins,
)
from audit_measures._layer_parts import declared_parts, layer_parts

if TYPE_CHECKING:
    from torch import Tensor

_INPUT: Final = ""


class BoundaryDistances(ScoreReducer):
    """Margin, length of its gradient and variance, at the input and at the chosen layers."""

    renditions = (PLAIN.on(SHARE),)
    passes = 3 * SHARE
    hidden = True

    def __init__(self, view: TrainView) -> None:
        self._view = view
        self.layers = [layer.name for layer in view.layers] if self.hidden else []
        self._margins: list[np.ndarray] = []
        self._lengths: dict[str, list[np.ndarray]] = {}
        self._sums: dict[str, Tensor] = {}
        self._squares: dict[str, float] = {}

    def update(self, batch: Batch, scores: Tensor) -> None:
        """Differentiate the margins of one batch."""
        with differentiating(batch.images.device.type):
            network = hookable_copy(self._view)
            images = batch.images.clone().requires_grad_()
            with activations(network, self.layers) as held:
                found = differentiable(self._view.scores(images, network))
            margins = true_margins(found, batch.labels.clone())
            places = {_INPUT: images, **held}
            slopes = gradients(margins, list(places.values()))
        self._margins.append(margins.detach().cpu().numpy())
        for (name, place), slope in zip(places.items(), slopes, strict=True):
            self._lengths.setdefault(name, []).append(slope.norm(dim=1).cpu().numpy())
            values = place.detach().flatten(1).double()
            self._sums[name] = self._sums.get(name, 0) + values.sum(0)
            self._squares[name] = self._squares.get(name, 0.0) + float(values.square().sum())

    def distances(self, place: str) -> np.ndarray | Value:
        """Margin over (|gradient| √ν) of each image at a place, or why there is none."""
        what = f"at {place}" if place else "at the input"
        if not self._margins:
            return Value.undefined("the training sample holds no image")
        if place not in self._lengths:
            function = module_call(place) is None
            is_what = "a function's output" if function else "not a tensor with a gradient"
            return Value.unavailable(f"{place} is {is_what}; it needs the output of a module")
        margins, lengths = np.concatenate(self._margins), np.concatenate(self._lengths[place])
        if not (np.isfinite(margins).all() and np.isfinite(lengths).all()):
            return Value.undefined(f"the margin or its gradient {what} is not finite for an image")
        flat = int((lengths == 0).sum())
        if flat:
            return Value.undefined(
                f"the margin's gradient {what} is 0 for {flat} of {len(lengths)} images"
            )
        mean_square = self._squares[place] / len(margins)
        variance = mean_square - float((self._sums[place] / len(margins)).square().sum())
        if variance <= mean_square * 1e-12:
            return Value.undefined(f"nothing varies {what} over the {len(margins)} images used")
        found: np.ndarray = margins / (lengths * variance**0.5)
        return found


class InputDistances(BoundaryDistances):
    """The same at the input alone, for networks without feature maps too."""

    hidden = False


def _statistics(distances: np.ndarray | Value) -> dict[str, Value]:
    """Quartiles and mean, and the mean logarithm over images that are classified rightly."""
    names = ("p25", "p50", "p75", "mean", "mean_log")
    if isinstance(distances, Value):
        return dict.fromkeys(names, distances)
    right = distances[distances > 0]
    log = (
        Value(float(np.log(right).mean()))
        if right.size
        else Value.undefined("no image that is used is classified rightly")
    )
    quartiles = map(Value, np.percentile(distances, [25, 50, 75]).tolist())
    return dict(zip(names, [*quartiles, Value(float(distances.mean())), log], strict=True))


def input_margin(view: TrainView) -> Measured:
    """Median distance of training images to the decision boundary, to first order.

    (f_y − max_{k≠y} f_k) / (|∇_x (f_y − f_k)| √ν) of every fifth image, ν the total variance of the
    prepared images: about how far an image is from where its class changes, in units of how far
    images lie apart. Negative where an image is classified wrongly.

    Returns:
        "" and "p50": the median; "p25", "p75": quartiles; "mean"; "mean_log": mean logarithm over
        images that are classified rightly, in nats.

    Source:
        Jiang et al., Predicting the Generalization Gap in Deep Networks with Margin Distributions,
        ICLR 2019, at the input. Deviations: negative margins are kept (the paper
        leaves them out for the logarithm, as "mean_log" does); quartiles and mean in place of five
        numbers with fences; every fifth image.

    Example:
        f = (x, −x) of one pixel x has margin 2x and a gradient of length 2 for class 0: images 1
        and 3 have variance 1 and distances 1 and 3, so 2.
    """
    found = _statistics(view.reduced(InputDistances).distances(_INPUT))
    return {"": found["p50"], **found}


def hidden_margin(view: TrainView) -> Measured:
    """Median distance to the decision boundary in the space of hidden layers, mean over layers.

    As `normalised_margin.input`, with the activations of each chosen layer in place of the image:
    margin over the length of its gradient with respect to the activations, over the square root of
    their total variance; every fifth image.

    Returns:
        The parts of `layer_parts`, of the medians; "p25", "p75", "mean" and "mean_log": these
        statistics of `normalised_margin.input`, mean over layers.

    Source:
        Jiang et al., ICLR 2019. Deviations as there; layers are those whose maps are
        taken, as far as they are a module's output, before a normalization that is applied to
        read them.

    Example:
        A hidden layer that holds the image itself has the distances of `normalised_margin.input`.
    """
    kept = view.reduced(BoundaryDistances)
    layers = [_statistics(kept.distances(name)) for name in kept.layers]
    if layers and all(layer["p50"].status == "unavailable" for layer in layers):
        raise UnavailableError(layers[0]["p50"].reason)
    others = ("p25", "p75", "mean", "mean_log")
    means = {name: layer_parts([layer[name] for layer in layers])[""] for name in others}
    return {**layer_parts([layer["p50"] for layer in layers]), **means}


_CLAIM = (
    "Jiang et al. 2019: a linear model on the logarithms of these statistics at four "
    "layers explains the generalization gap of CIFAR-10 networks with R2 up to 0.96."
)
_PARTS = (
    Part(name="p25", summary="lower quartile"),
    Part(name="p75", summary="upper quartile"),
    Part(name="mean", summary="mean over images"),
    Part(name="mean_log", summary="mean logarithm over images that are classified rightly, nats"),
)

MEASURES = (
    MeasureEntry(
        name="normalised_margin.input",
        summary="median first-order distance to the decision boundary, every fifth image",
        compute=input_margin,
        version="1",
        direction="higher",
        invariance="node-wise",
        varies_with=("image-order", "duplicates"),
        cost="backward",
        formula="(f_y - f_k) / (|grad (f_y - f_k)| sqrt(total variance)), k the best other class",
        claim=_CLAIM,
        weakness="A first-order distance, which is too large where the scores saturate; the claim "
        "is of several layers together.",
        needs="scores that can be differentiated",
        source="Jiang et al. 2019; the sign is kept; every fifth image",
        unit="standard deviations",
        parts=(Part(name="p50", summary="median: the measure itself"), *_PARTS),
        reducers=(InputDistances,),
        default=False,
    ),
    MeasureEntry(
        name="normalised_margin.hidden",
        summary="median first-order distance to the decision boundary at hidden layers",
        compute=hidden_margin,
        version="1",
        direction="higher",
        invariance="layer-uniform",
        varies_with=("image-order", "duplicates"),
        cost="backward",
        formula="(f_y - f_k) / (|grad_h (f_y - f_k)| sqrt(total variance of h)), mean over layers",
        claim=_CLAIM,
        weakness="Layers of different size and depth are averaged; the paper fits one weight to "
        "each.",
        needs="feature maps that modules give; scores that can be differentiated",
        source="Jiang et al. 2019; the sign is kept; every fifth image",
        unit="standard deviations",
        parts=(*declared_parts("higher"), *_PARTS),
        reducers=(BoundaryDistances,),
        default=False,
    ),
)
