"""What is kept of the shared pass for everybody: births, flags and ties; outputs; features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

from audit.errors import CheckpointError, MeasureError
from audit.plugin import Batch, FeatureReducer, Layer, MapReducer, ScoreReducer, TrainView
from audit.topology import FLAG_CONSTANT, FLAG_ZERO, Filtration, birth_levels

if TYPE_CHECKING:
    from torch import Tensor

#: Ties are counted on the maps of so many images: it takes a sort, and a share needs no more.
_IMAGES_FOR_TIES: Final = 8


class BirthReducer(MapReducer):
    """Birth levels, flags and ties of every unit on every image.

    Args:
        view: The checkpoint.
        layers: Where maps are taken.
        filtrations: Whose births are computed.
    """

    def __init__(
        self, view: TrainView, layers: Sequence[Layer], filtrations: Sequence[Filtration]
    ) -> None:
        self._layers = layers
        self._births: dict[str, dict[str, list[np.ndarray]]] = {
            filtration: {layer.name: [] for layer in layers} for filtration in filtrations
        }
        self._flags: dict[str, list[np.ndarray]] = {layer.name: [] for layer in layers}
        self._tied: dict[str, float] = {}

    def update(self, batch: Batch, layer: Layer, maps: Tensor) -> None:
        """Compute births of one batch of one layer's maps.

        Raises:
            MeasureError: An activation is not finite.
        """
        maps = maps.float()
        low, high = maps.amin((2, 3)), maps.amax((2, 3))
        if not (torch.isfinite(low) & torch.isfinite(high)).all():
            raise MeasureError(f"layer {layer.name} gives activations that are not finite")
        constant, zero = low == high, (low == 0) & (high == 0)
        flags = constant * FLAG_CONSTANT + zero * FLAG_ZERO
        self._flags[layer.name].append(flags.to(torch.uint8).cpu().numpy())
        if layer.name not in self._tied:
            self._tied[layer.name] = _tied_rate(maps[:_IMAGES_FOR_TIES])
        values: Any = maps if maps.is_cuda else maps.numpy()
        for filtration, births in self._births.items():
            if filtration == "clique" and layer.height != layer.width:
                continue
            levels = birth_levels(values, filtration=filtration)
            births[layer.name].append(np.asarray(levels.cpu() if maps.is_cuda else levels))

    def facts(self) -> list[dict[str, Any]]:
        """What is worth knowing of each layer, for the run's record."""
        return [
            {
                "layer": layer.name,
                "height": layer.height,
                "width": layer.width,
                "units": layer.units,
                "tied_rate": round(self._tied[layer.name], 6),
            }
            for layer in self._layers
        ]

    def result(self, filtration: str, refusal: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Arrays and meta of a births entry: the layers this filtration is defined for."""
        arrays: dict[str, np.ndarray] = {}
        kept: list[dict[str, Any]] = []
        for facts in self.facts():
            parts = self._births[filtration][facts["layer"]]
            if not parts:
                continue
            levels = np.concatenate(parts)
            kind = np.min_scalar_type(-int(levels.max()) - 2)
            arrays[f"births_{len(kept)}"] = levels.astype(kind)
            arrays[f"flags_{len(kept)}"] = np.concatenate(self._flags[facts["layer"]])
            kept.append(facts)
        if not kept and not refusal:
            refusal = "the clique filtration needs square feature maps, and no layer has them"
        return arrays, {"layers": kept, "unavailable": refusal}


def _tied_rate(maps: Tensor) -> float:
    """Share of pixels that equal another non-zero pixel of their map, in [0, 1]."""
    values = maps.flatten(2).sort(-1).values
    equal = (values[..., 1:] == values[..., :-1]) & (values[..., 1:] != 0)
    tied = torch.zeros_like(values, dtype=torch.bool)
    tied[..., 1:] |= equal
    tied[..., :-1] |= equal
    return float(tied.float().mean())


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
