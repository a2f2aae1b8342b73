"""How much what a network says of an image changes with the image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

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
    differentiable,
    differentiating,
    gradients,
    hookable_copy,
)

if TYPE_CHECKING:
    from torch import Tensor

#: Random directions in the space of classes, for each image.
PROJECTIONS: Final = 2


class InputGradients(ScoreReducer):
    """Lengths of gradients with respect to pixels, image by image."""

    renditions = (PLAIN.on(SHARE),)
    passes = 11 * SHARE

    def __init__(self, view: TrainView) -> None:
        self._view = view
        self._kept: list[np.ndarray] = []

    def update(self, batch: Batch, scores: Tensor) -> None:
        """Keep of each image: |∇ loss|, and estimates of |J|² of probabilities and of scores."""
        import torch
        from torch.nn import functional

        with differentiating(batch.images.device.type):
            network = hookable_copy(self._view)
            images = batch.images.clone().requires_grad_()
            found = differentiable(self._view.scores(images, network))
            loss = functional.cross_entropy(found, batch.labels.clone(), reduction="none")
            probabilities = found.softmax(1)
            drawn = found.new_tensor(self._directions(batch.rows, found.shape[1]))
            rows = [self._squares(loss, images).sqrt()]
            for output in (probabilities, found):
                squares = [
                    self._squares((output * drawn[:, k]).sum(1), images) for k in range(PROJECTIONS)
                ]
                rows.append(found.shape[1] * torch.stack(squares).mean(0))
        self._kept.append(np.stack([row.detach().cpu().numpy() for row in rows]))

    def _squares(self, numbers: Tensor, images: Tensor) -> Tensor:
        """Squared length of each image's gradient with respect to its pixels in [0, 1]."""
        (slopes,) = gradients(numbers, [images])
        std = slopes.new_tensor(self._view.data_config.std)[:, None, None]
        return (slopes.reshape(images.shape) / std).flatten(1).square().sum(1)

    def _directions(self, rows: np.ndarray, n_classes: int) -> np.ndarray:
        """Unit vectors, shape (b, projections, c), drawn by position in the sample."""
        shape = (PROJECTIONS, n_classes)
        drawn = [self._view.generator(f"jacobian {row}").standard_normal(shape) for row in rows]
        stacked = np.stack(drawn)
        unit: np.ndarray = stacked / np.linalg.norm(stacked, axis=2, keepdims=True)
        return unit

    def lengths(self) -> np.ndarray | Value:
        """Shape (3, n): |∇ loss|, |J|² of probabilities and of scores; or why there is none."""
        if not self._kept:
            return Value.undefined("the training sample holds no image")
        found = np.concatenate(self._kept, axis=1)
        broken = int((~np.isfinite(found).all(axis=0)).sum())
        if broken:
            return Value.undefined(
                f"a gradient is not finite for {broken} of {found.shape[1]} images"
            )
        return found


def input_gradient_norm(view: TrainView) -> Value | float:
    """Mean length of the gradient of the cross-entropy with respect to the image; from 0 on.

    |∂ℓ(f(x), y) / ∂x|, Euclidean, x the pixels in [0, 1], mean over every fifth image; in nats per
    unit of pixel values.

    Source:
        Drucker & Le Cun, Improving generalization performance using double backpropagation, IEEE
        Transactions on Neural Networks 3, 1992, who penalise its square.

    Example:
        Scores (x, 0) of one pixel x = 0 and class 0: ℓ = log(1 + exp(−x)), slope −½, so ½.
    """
    found = view.reduced(InputGradients).lengths()
    return found if isinstance(found, Value) else float(found[0].mean())


def jacobian_norm(view: TrainView) -> Measured:
    """Root mean square Frobenius norm of the Jacobian of the probabilities, over images; from 0 on.

    √ mean |∂ softmax(f(x)) / ∂x|², x the pixels in [0, 1], over every fifth image; each squared
    norm is estimated from two random directions v in the space of classes, c |∂(v · softmax f) /
    ∂x|², without bias.

    Returns:
        "": the above. "scores": of the scores f in place of their softmax.

    Source:
        Novak et al., Sensitivity and Generalization in Neural Networks, ICLR 2018;
        estimated as in Hoffman, Roberts & Yaida, arXiv 1908.02729. Deviations: the root of
        a mean square, where Novak et al. take the mean; on training images, where they take
        others.

    Example:
        Scores (x, −x) have the Jacobian (1, −1) and norm √2; at x = 0 probabilities have ½ of it.
    """
    found = view.reduced(InputGradients).lengths()
    if isinstance(found, Value):
        return {"": found, "scores": found}
    return {"": float(found[1].mean() ** 0.5), "scores": float(found[2].mean() ** 0.5)}


MEASURES = (
    MeasureEntry(
        name="input_gradient_norm",
        summary="mean length of the loss's gradient with respect to the image, every fifth image",
        compute=input_gradient_norm,
        version="1",
        direction="lower",
        invariance="node-wise",
        varies_with=("image-order", "duplicates"),
        cost="backward",
        formula="mean |d loss / d x|",
        claim="Drucker & Le Cun 1992: networks trained to keep it small generalize better; shown "
        "for the penalty, not for the number as a predictor.",
        weakness="Near 0 for every network that is certain of its training set.",
        needs="scores that can be differentiated",
        source="Drucker & Le Cun 1992; not squared; every fifth image",
        unit="nats per unit of pixel values",
        reducers=(InputGradients,),
        default=False,
    ),
    MeasureEntry(
        name="jacobian_norm",
        summary="root mean square norm of the Jacobian of the probabilities, every fifth image",
        compute=jacobian_norm,
        version="1",
        direction="lower",
        invariance="node-wise",
        varies_with=("image-order", "duplicates", "relabelling"),
        cost="backward",
        formula="sqrt(mean |d softmax(f) / d x|^2), two random projections an image",
        claim="Novak et al. 2018: it goes with the generalization gap over thousands "
        "of fully connected networks, measured on test images.",
        weakness="Near 0 on training images for every network that is certain of them, where Novak "
        "et al. look at others.",
        needs="scores that can be differentiated",
        source="Novak et al. 2018; Hoffman et al. 2019; every fifth image",
        unit="per unit of pixel values",
        parts=(Part(name="scores", summary="of the scores in place of the probabilities"),),
        reducers=(InputGradients,),
        default=False,
    ),
)
