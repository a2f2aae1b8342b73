"""Zoos of small timm networks with random weights, and studies of them."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch

from audit.network.saving import write_weights
from audit.plugin.registry import installed
from audit.runs.config import AuditConfig, RunOptions
from audit.runs.study import Study, resolve

#: Networks of about equal cost, so that no worker waits long for another at the end.
MODELS: Final = ("test_resnet", "test_efficientnet", "test_vit")
N_CLASSES: Final = 10


@dataclasses.dataclass(frozen=True)
class Zoo:
    """Weights in a folder, audited on scikit-learn's digits.

    Attributes:
        folder: Where they lie.
        checkpoints: How many.
        images_per_class: Of the ten digits.
        side: Images are scaled to it, pixels.
    """

    folder: Path
    checkpoints: int
    images_per_class: int
    side: int = 96

    def write(self, models: Sequence[str] = MODELS) -> None:
        """Draw every network's weights, the architectures in turn."""
        registry = installed()
        args = {"num_classes": N_CLASSES}
        for number, model in zip(range(self.checkpoints), itertools.cycle(models), strict=False):
            torch.manual_seed(number)
            network = registry.model_source(model).create(model, args, False)
            write_weights(network, self.folder / f"{model}-{number:04d}.safetensors")

    def study(self, run: str, workers: int, engine: str | None = None) -> Study:
        """The zoo as a run with an output folder and a store of its own."""
        models = sorted({path.stem.rsplit("-", 1)[0] for path in self.folder.glob("*.safetensors")})
        transform = {"input_size": [3, self.side, self.side]}
        checkpoints: list[dict[str, Any]] = [
            {
                "model": model,
                "weights": f"{model}-*.safetensors",
                "model_args": {"num_classes": N_CLASSES},
            }
            for model in models
        ]
        config = AuditConfig.parse(
            {
                "dataset": {"name": "digits", "transform": transform},
                "checkpoints": checkpoints,
                "measures": {"images_per_class": self.images_per_class},
            },
            self.folder,
            "the benchmark",
        )
        options = RunOptions(
            output=self.folder / run,
            cache=self.folder / run / "cache",
            engine=engine,
            device="cpu",
            workers=workers,
            progress=False,
        )
        return resolve(config, options, installed())
