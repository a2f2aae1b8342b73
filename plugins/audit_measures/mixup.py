"""Whether the middle between two training images of a class is still of that class."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from audit.data.renditions import MIXED
from audit.plugin import Batch, MeasureEntry, ScoreReducer, TrainView, Value

if TYPE_CHECKING:
    from torch import Tensor


class MixedPredictions(ScoreReducer):
    """How many averages of two images of a class are given that class."""

    renditions = (MIXED,)

    def __init__(self, view: TrainView) -> None:
        self.n = self.n_right = 0
        self.finite = True

    def update(self, batch: Batch, scores: Tensor) -> None:
        """Count one batch."""
        self.n += len(scores)
        self.n_right += int((scores.double().argmax(1) == batch.labels).sum())
        self.finite &= bool(torch.isfinite(scores).all())


def mixup_accuracy(view: TrainView) -> Value | float:
    """Share of averages of two training images of one class that are given that class, in [0, 1].

    Every image is averaged, pixel by pixel, with its predecessor among the images of its class;
    see `audit.data.renditions.MIXED`. Undefined where no class has two images, or where an output
    is not finite.

    Source:
        Natekar & Sharma, Representation Based Complexity Measures for Predicting Generalization in
        Deep Learning, arXiv 2012.02775 (label-wise mixup, first in the NeurIPS 2020 competition).
        Deviations: accuracy, where their final program takes cross-entropy; a ring of pairs, where
        theirs takes all pairs within small batches; the mean over pairs, not over classes.

    Example:
        A class of three images gives the pairs 2 + 1, 3 + 2 and 1 + 3; two of them right: 0.667.
    """
    mixed = view.reduced(MixedPredictions)
    if not mixed.finite:
        return Value.undefined("the outputs are not finite for a mixed image")
    if mixed.n == 0:
        return Value.undefined("no class has two images in the training sample")
    return mixed.n_right / mixed.n


MEASURES = (
    MeasureEntry(
        name="mixup_accuracy",
        summary="share of averages of two images of a class that are given that class",
        compute=mixup_accuracy,
        version="1",
        direction="higher",
        invariance="node-wise",
        cost="forward",
        varies_with=("image-order", "duplicates"),
        formula="share of pairs of one class with argmax f((x + x')/2) = y",
        claim="Natekar & Sharma 2020, who won the NeurIPS 2020 competition with it as a factor; "
        "measured on three zoos of tiny networks: tau 0.57, 0.49 and 0.74 (docs/evidence.md)",
        weakness="where mixup or label noise is among what a zoo varies it measures the recipe; "
        "pairs that are copies of one image count as right",
        needs="a class with two images in the sample",
        source="Natekar & Sharma, arXiv 2012.02775; accuracy, on a ring of pairs in each class",
        unit="share of mixed images",
        reducers=(MixedPredictions,),
    ),
)
