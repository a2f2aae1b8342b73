"""Whether the middle between two training images of a class is still of that class."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from audit.plugin import MeasureEntry, TrainView, Value

if TYPE_CHECKING:
    from torch import Tensor


def mixed(view: TrainView) -> Iterator[tuple[Tensor, np.ndarray]]:
    """Batches of mixed images and their classes.

    The images of a class form a ring in the order of the sample; each is averaged with the one
    before it, so each is used twice. One image per class and end of the ring is kept in memory.
    A class with a single image gives none.
    """
    import torch

    first: dict[int, Tensor] = {}
    last: dict[int, Tensor] = {}
    n_seen: dict[int, int] = {}
    for images, labels in view.batches():
        pairs: list[Tensor] = []
        classes: list[int] = []
        for image, label in zip(images, labels.tolist(), strict=True):
            if label in last:
                pairs.append((image + last[label]) / 2)
                classes.append(label)
            first.setdefault(label, image)
            last[label] = image
            n_seen[label] = n_seen.get(label, 0) + 1
        if pairs:
            yield torch.stack(pairs), np.array(classes)
    rings = [label for label in sorted(first) if n_seen[label] > 2]
    if rings:
        closing = [(first[label] + last[label]) / 2 for label in rings]
        yield torch.stack(closing), np.array(rings)


def mixup_accuracy(view: TrainView) -> Value | float:
    """Share of averages of two training images of one class that are given that class, in [0, 1].

    Every image is averaged, pixel by pixel, with its predecessor among the images of its class;
    see `mixed`. Undefined where no class has two images, or where an output is not finite.

    Source:
        Natekar & Sharma, Representation Based Complexity Measures for Predicting Generalization in
        Deep Learning, arXiv 2012.02775 (label-wise mixup, first in the NeurIPS 2020 competition).
        Deviations: accuracy, where their final program takes cross-entropy; a ring of pairs, where
        theirs takes all pairs within small batches; the mean over pairs, not over classes.
    """
    import torch

    n_right = n = 0
    with torch.inference_mode():
        for images, classes in mixed(view):
            output = view.module(images)
            output = output[0] if isinstance(output, (tuple, list)) else output
            scores = output.double().cpu().numpy()
            if not np.isfinite(scores).all():
                return Value.undefined("the outputs are not finite for a mixed image")
            n_right += int((scores.argmax(axis=1) == classes).sum())
            n += len(classes)
    if n == 0:
        return Value.undefined("no class has two images in the training sample")
    return n_right / n


MEASURES = (
    MeasureEntry(
        name="mixup_accuracy",
        summary="share of averages of two images of a class that are given that class",
        compute=mixup_accuracy,
        version="1",
        direction="higher",
        invariance="node-wise",
        cost="forward",
        source="Natekar & Sharma, arXiv 2012.02775; accuracy, on a ring of pairs in each class",
    ),
)
