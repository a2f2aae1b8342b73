"""Cases whose networks are trained here, from seeds."""

from __future__ import annotations

import copy
import dataclasses
import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

from audit.data.transform import eval_transform, load_batch, override_data_config
from audit.errors import DataError, UnavailableError
from audit.files import write_atomically
from audit.network.forward import stream_maps
from audit.network.layers import LayerSpec, choose_layers
from audit.network.scores import class_scores
from audit.notations import json_of
from audit.plugin.registry import installed
from audit.reproduction.case import ACTIVATIONS, FILTRATION, Case, Cell, settle
from audit.reproduction.course import Course, Epoch, observed
from audit.reproduction.form import VARIANTS, Form, FormArchitecture, FormSource, Variant
from audit.reproduction.images import write_images
from audit.runs.one_network import TrainingImages, training_images
from audit.topology import birth_levels
from audit.zoo.images import moved_labels, training_file
from audit.zoo.recipes import Recipe, TrainTask, files_of, is_trained, known_of, recipe_json

if TYPE_CHECKING:
    from torch import nn

#: Changes whenever the course of a training would hold other numbers.
COURSE_VERSION: Final = "1"
#: Of the long training on noisy labels, every so many epochs are looked at.
_NOISY_EVERY: Final = 2
#: Images that statistics of normalisation are taken on after each epoch.
_SETTLED_ON: Final = 128
_BATCH: Final = 64
#: A network whose loss stays above this share of that of guessing has not learned.
_LEARNED: Final = 0.8


@dataclasses.dataclass(frozen=True)
class TrainingJob:
    """One network to be trained, and followed: plain data, to be sent to another process.

    Attributes:
        task: What to train.
        noise: Share of labels that are moved where they are.
        transform: How images are prepared to look at the network.
        every: It is looked at after every so many epochs.
    """

    task: TrainTask
    noise: float
    transform: Mapping[str, Any]
    every: int = 1

    @property
    def course_file(self) -> Path:
        """Where the course is kept."""
        return self.task.folder / "courses" / f"{self.task.recipe.name}.json"

    @property
    def is_done(self) -> bool:
        """Whether the network and its course are there, whole and of this recipe."""
        try:
            known = json_of(self.course_file.read_text("utf-8"))
            return known["about"] == self._about and is_trained(self.task)
        except (OSError, ValueError, KeyError, TypeError):
            return False

    @property
    def _about(self) -> dict[str, Any]:
        return {
            "version": COURSE_VERSION,
            "recipe": recipe_json(self.task.recipe),
            "noise": self.noise,
            "transform": dict(self.transform),
            "every": self.every,
        }

    def course(self) -> Course:
        """The course that was kept."""
        return Course.from_json(json_of(self.course_file.read_text("utf-8"))["course"])

    def keep(self, course: Course) -> None:
        """Keep a course."""
        content = {"about": self._about, "course": course.as_json()}
        write_atomically(self.course_file, (json.dumps(content, indent=1) + "\n").encode())


def train_and_follow(job: TrainingJob) -> str:
    """Train one network and keep its course. Returns the checkpoint's name.

    Raises:
        AuditError: As `audit.zoo.training.train`.
    """
    from audit.zoo.training import train

    observer = _Observer(job)
    name = train(job.task, observer.look)
    known = known_of(job.task)
    job.keep(
        Course(
            observer.epochs,
            observer.settled_start,
            known["held_out_accuracy"],
            known["n_held_out"],
        )
    )
    return name


class _Observer:
    """Looks at a network after every epoch.

    The images are prepared once and the layer is chosen once: a network that dies on the way gives
    maps without a birth, and no error.

    Attributes:
        epochs: What was found.
        settled_start: Feature entropy before training, with statistics of normalisation.
    """

    def __init__(self, job: TrainingJob) -> None:
        self._every = job.every
        self.epochs: list[Epoch] = []
        self.settled_start = float("nan")
        folder, recipe = job.task.folder, job.task.recipe
        images = images_of(training_file(folder, recipe))
        n_classes = len(images.sample.class_names)
        transform = eval_transform(override_data_config(None, job.transform))
        prepared = load_batch(images.split, images.sample.indices, transform)
        self._batches = torch.split(prepared, _BATCH)
        self._labels = images.sample.labels
        clean = _read(training_file(folder, recipe, clean=True))["labels"]
        noisy = moved_labels(clean, n_classes, job.noise, recipe.seed)
        self._clean, self._noisy = (one[images.sample.indices] for one in (clean, noisy))
        self._settled_on = prepared[:: max(1, len(prepared) // _SETTLED_ON)]
        self._specs: tuple[LayerSpec, ...] = ()

    def look(self, network: nn.Module, epoch: int) -> None:
        """Look at a copy of the network, if it is time to."""
        if epoch % self._every:
            return
        apart = copy.deepcopy(network).to("cpu").to(memory_format=torch.contiguous_format).eval()
        if epoch == 0:
            self._specs = choose_layers(apart, self._batches[0], (ACTIVATIONS,)).specs[-1:]
            self.epochs.append(self._found(apart, epoch))
        found = self._found(settle(apart, [self._settled_on]), epoch)
        if epoch == 0:
            self.settled_start = found.entropy
        else:
            self.epochs.append(found)

    def _found(self, network: nn.Module, epoch: int) -> Epoch:
        births: list[np.ndarray] = []

        def take(index: int, maps: torch.Tensor) -> None:
            births.append(birth_levels(maps.contiguous().numpy(), FILTRATION))

        logits = [
            class_scores(stream_maps(network, self._specs, batch, take)) for batch in self._batches
        ]
        return observed(
            epoch,
            np.concatenate(births),
            torch.cat(logits).numpy(),
            self._labels,
            self._clean,
            self._noisy,
        )


def _read(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as arrays:
        return dict(arrays)


def images_of(path: Path) -> TrainingImages:
    """The images of a file as `audit.zoo.images` writes them, all of them."""
    arrays = _read(path)
    options = dict(installed().adopted((arrays["images"], arrays["labels"])))
    options["class_names"] = arrays["class_names"].tolist()
    return training_images(options, 0, 0)


class TrainedCase(Case):
    """The networks of one seed that are trained here.

    Args:
        form: How.
        architecture: Of the form.
        source: Of the form.
        seed: Of weights, order, noise and augmentation.
        folder: Where everything lies.
        device: "cpu" or "cuda".
    """

    def __init__(
        self,
        form: Form,
        architecture: FormArchitecture,
        source: FormSource,
        seed: int,
        folder: Path,
        device: str,
    ) -> None:
        self.cell = Cell(architecture.name, source.name)
        self.seed, self.device, self.steps = seed, device, form.steps
        self._form, self._architecture, self._source = form, architecture, source
        self.folder = folder / f"{source.name}-{seed}"
        self.model = architecture.model

    @property
    def about(self) -> dict[str, Any]:
        """What decides this case's numbers, as JSON holds it."""
        recipes = [recipe_json(self._recipe(variant)) for variant in VARIANTS]
        noise = self._form.label_noise
        return {"recipes": recipes, "noise": noise, "steps": self.steps, "course": COURSE_VERSION}

    @property
    def transform(self) -> Mapping[str, Any]:
        """As training prepares images."""
        return self._form.transform

    def _recipe(self, variant: Variant) -> Recipe:
        return self._form.recipe(self._architecture, self._source, variant, self.seed)

    def job(self, variant: Variant) -> TrainingJob:
        """How one of the networks is trained."""
        task = TrainTask(self._recipe(variant), self.folder, self.device)
        every = _NOISY_EVERY if variant == "noisy" else 1
        return TrainingJob(task, self._form.label_noise, self.transform, every)

    def write_images(self, variants: Sequence[Variant]) -> None:
        """Write what is missing of the images.

        Raises:
            DataError, ConfigError: As `audit.reproduction.images.write_images`.
        """
        recipes = [self._recipe(variant) for variant in variants]
        write_images(self._form, self._source, self.seed, self.folder, recipes)

    @functools.cached_property
    def images(self) -> TrainingImages:
        """All images that the regular network was trained on."""
        return images_of(training_file(self.folder, self._recipe("regular")))

    @functools.cached_property
    def model_args(self) -> Mapping[str, Any]:
        """With the number of classes and channels."""
        return dict(known_of(self.job("regular").task)["model_args"])

    @property
    def weights(self) -> Path:
        """Of the regular network."""
        return files_of(self.job("regular").task)[0]

    def course(self, variant: Variant) -> Course:
        """How a training went.

        Raises:
            DataError: It has not been trained.
        """
        job = self.job(variant)
        if not job.is_done:
            raise DataError(f"network {job.task.recipe.name} of {self.cell} is not trained")
        return job.course()

    def require_learned(self) -> None:
        """Refuse a case whose regular network has not learned, such as one that died."""
        loss, n_classes = self.course("regular").least_loss, self._source.classes
        if not loss < _LEARNED * np.log(n_classes):
            raise UnavailableError(
                f"the network of seed {self.seed} has not learned: its training loss stays at "
                f"{loss:.2f} nats, and guessing has {np.log(n_classes):.2f}"
            )
