"""A case of a person's own network and images: no training here.

What needs other trainings than the one that is given is unavailable, and says so.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

from audit.data.transform import resolve_data_config
from audit.errors import ConfigError, UnavailableError
from audit.measuring.class_order import natural_order
from audit.measuring.view import Wanted
from audit.network.scores import class_scores
from audit.network.weights import content_digest
from audit.plugin.registry import installed
from audit.reproduction.case import FILTRATION, Case, Cell
from audit.reproduction.course import Course, Epoch, observed
from audit.reproduction.form import Variant
from audit.runs.one_network import TrainingImages, training_images

if TYPE_CHECKING:
    from torch import nn

#: Checkpoints of one training that make a course.
_LEAST_EPOCHS: Final = 4


class GivenCase(Case):
    """A person's network on a person's images.

    Args:
        model: A model reference.
        weights: Weights files; of several the last, in natural order of their names, is the trained
            network, and all are the course of its training.
        dataset: `name` of a dataset plugin and its options.
        model_args: Passed on to the model.
        transform: Overrides of its data configuration.
        images_per_class: Training images of each class; 0 means all.
        max_classes: How many classes are looked at where there are more; 0 means all.
        seed: Of random weights, and of what is drawn.
        device: "cpu" or "cuda".
        steps: Points of an ablation curve.

    Raises:
        ConfigError: No weights are given.
    """

    def __init__(
        self,
        model: str,
        weights: Sequence[Path],
        dataset: Mapping[str, Any],
        *,
        model_args: Mapping[str, Any] | None = None,
        transform: Mapping[str, Any] | None = None,
        images_per_class: int = 100,
        max_classes: int = 10,
        seed: int = 0,
        device: str = "cpu",
        steps: int = 20,
    ) -> None:
        if not weights:
            raise ConfigError("a network of your own needs its weights: give --weights FILE")
        by_name = {str(path): path for path in weights}
        self._weights = [by_name[name] for name in natural_order(list(by_name))]
        self.model, self._args = model, dict(model_args or {})
        self._dataset, self._overrides = dict(dataset), dict(transform or {})
        self._n_images, self._n_classes = images_per_class, max_classes
        self.cell = Cell(model, str(dataset.get("name")))
        self.seed, self.device, self.steps = seed, device, steps

    @property
    def model_args(self) -> Mapping[str, Any]:
        """As given."""
        return self._args

    @functools.cached_property
    def about(self) -> dict[str, Any]:
        """With digests of the weights and of the images."""
        return {
            "model": self.model,
            "model_args": self._args,
            "weights": [content_digest(path) for path in self._weights],
            "images": self.images.sample.fingerprint,
            "transform": dict(self.transform),
            "steps": self.steps,
            "seed": self.seed,
        }

    @functools.cached_property
    def images(self) -> TrainingImages:
        """A sample of the training images."""
        return training_images(self._dataset, self._n_images, self.seed, self._n_classes)

    @functools.cached_property
    def transform(self) -> Mapping[str, Any]:
        """The network's data configuration with the overrides."""
        source = installed().model_source(self.model)
        config = resolve_data_config(source, self.random(), self._args, self._overrides)
        return dataclasses.asdict(config)

    @property
    def weights(self) -> Path:
        """Of the trained network."""
        return self._weights[-1]

    @functools.cached_property
    def _n_outputs(self) -> int:
        """Class scores that the network gives."""
        blank = torch.zeros(1, *self.transform["input_size"])
        with torch.inference_mode():
            return int(class_scores(self.random()(blank)).shape[1])

    @property
    def class_order(self) -> tuple[str, ...]:
        """Where the head has more outputs than there are classes, names for the others too."""
        names = self.images.sample.class_names
        n_more = self._n_outputs - len(names)
        return (*names, *(f"output {len(names) + k}" for k in range(n_more))) if n_more > 0 else ()

    def require_labels(self) -> None:
        """Refuse images of which it is not known which output means which class."""
        n_classes = len(self.images.sample.class_names)
        if self._n_outputs != n_classes:
            raise UnavailableError(
                f"it is not known which of the {self._n_outputs} outputs of {self.model} mean the "
                f"{n_classes} classes of the images; give a training set with all classes"
            )

    def course(self, variant: Variant) -> Course:
        """How the training went, from the weights files in natural order of their names."""
        if variant != "regular":
            raise UnavailableError(
                "it takes trainings with and without label noise, augmentation and decay, and one "
                "network is given; `genaudit run` with [held_out] compares many"
            )
        if len(self._weights) < _LEAST_EPOCHS:
            raise UnavailableError(
                f"it takes {_LEAST_EPOCHS} or more checkpoints of one training; give --weights "
                "for each, or a pattern, named in the order of epochs"
            )
        self.require_labels()
        epochs = [
            self._looked(self.loaded(path), number) for number, path in enumerate(self._weights)
        ]
        first = self.settled(self.loaded(self._weights[0]))
        return Course(epochs, self._looked(first, 0).entropy, float("nan"), 0)

    def _looked(self, network: nn.Module, number: int) -> Epoch:
        """A network at the last convolution."""
        with self.view(network, Wanted((FILTRATION,)), self.last_layer) as view:
            (layer,) = view.births(FILTRATION)
            return observed(number, layer.birth_levels, view.logits(), np.asarray(view.labels))
