"""What is kept of the shared pass for everybody beside births: outputs and features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from audit.errors import CheckpointError, MeasureError
from audit.plugin import Batch, FeatureReducer, ScoreReducer, TrainView

if TYPE_CHECKING:
    from torch import Tensor


class OutputReducer(ScoreReducer):
    """The class scores of every image.

    Args:
        view: The checkpoint.
        model: What to call it in messages.
        sample_ids: Name of each image; without them any scores are taken as they are.
    """

    def __init__(self, view: TrainView, model: str = "", sample_ids: Sequence[str] = ()) -> None:
        self._model, self._sample_ids = model, sample_ids
        self._n_classes = len(view.class_names)
        self._parts: list[np.ndarray] = []

    def update(self, batch: Batch, scores: Tensor) -> None:
        """Keep one batch of scores.

        Raises:
            CheckpointError: They cannot be class scores of this dataset.
        """
        found = scores.float().cpu().numpy()
        if self._sample_ids and (found.ndim != 2 or found.shape[1] != self._n_classes):
            raise CheckpointError(
                f"the head of {self._model} gives outputs of shape {found.shape[1:]}, "
                f"but the training set has {self._n_classes} classes; check the dataset, or "
                "model_args.num_classes"
            )
        self._parts.append(found)

    def result(self) -> np.ndarray:
        """All scores, shape (n, c).

        Raises:
            MeasureError: Some are not finite.
        """
        logits = np.concatenate(self._parts)
        broken = np.flatnonzero(~np.isfinite(logits).all(axis=tuple(range(1, logits.ndim))))
        if self._sample_ids and broken.size:
            raise MeasureError(
                f"the outputs are not finite for {broken.size} of {len(logits)} training images, "
                f"first for {self._sample_ids[broken[0]]!r}"
            )
        return logits


class FeaturesReducer(FeatureReducer):
    """The penultimate features of every image."""

    def __init__(self, view: TrainView) -> None:
        self._parts: list[np.ndarray] = []

    def update(self, batch: Batch, features: Tensor) -> None:
        """Keep one batch of features."""
        self._parts.append(features.float().cpu().numpy())

    def result(self) -> np.ndarray:
        """All features, shape (n, d), float32."""
        return np.concatenate(self._parts)
