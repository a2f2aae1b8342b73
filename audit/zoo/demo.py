"""The demonstration: a zoo on scikit-learn's digits, trained, audited, ranked and reported."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tqdm import tqdm

from audit.errors import AuditError
from audit.files import write_atomically
from audit.plugin import AuditResult
from audit.plugin.registry import installed
from audit.runs import pipeline
from audit.runs.config import AuditConfig, EngineConfig, RunOptions
from audit.zoo.recipes import Recipe, TrainTask, factorial_grid, held_out_table, is_trained
from audit.zoo.training import train

MODELS: Final = ("test_resnet", "test_mambaout", "test_efficientnet")
SIDE: Final = 36
EPOCHS: Final = 8
SEED: Final = 0


def zoo_recipes() -> list[Recipe]:
    """The demonstration's zoo: 3 architectures × 2 levels on each of four axes."""
    return factorial_grid(
        models=MODELS,
        label_noise=(0.0, 0.3),
        augmentation=(False, True),
        weight_decay=(0.0, 0.3),
        batch_size=(32, 64),
        epochs=EPOCHS,
        learning_rate=3e-3,
        side=SIDE,
        seed=SEED,
        dataset="digits",
        dataset_options={},
    )


def demo(options: RunOptions, recipes: Sequence[Recipe] | None = None) -> AuditResult:
    """Train the zoo where it is not trained yet, and audit it.

    Everything lies in the output folder: `zoo/` (checkpoints with their recipes), `audit.toml`,
    the store, the tables and the report. What is there is not computed again.

    Args:
        options: Where to write and what to run on.
        recipes: Of the zoo, on digits at one input size; by default `zoo_recipes()`.

    Raises:
        AuditError: A network could not be trained; the message says which and why.
    """
    folder = options.output
    pipeline.make_writable(folder)
    recipes = zoo_recipes() if recipes is None else recipes
    tasks = [TrainTask(recipe, folder / "zoo") for recipe in recipes]
    _train_zoo(tasks, options)
    held_out_table(tasks, folder / "zoo" / "held_out.csv")
    config = folder / "audit.toml"
    write_atomically(config, _toml(recipes).encode())
    return pipeline.run(AuditConfig.read(config), options=options)


def _train_zoo(tasks: list[TrainTask], options: RunOptions) -> None:
    """Train what is missing."""
    missing = [task for task in tasks if not is_trained(task)]
    if not missing:
        return
    bar = tqdm(
        total=len(tasks),
        initial=len(tasks) - len(missing),
        desc="training",
        unit="checkpoint",
        disable=not options.progress,
    )
    chosen = options.engine_of(EngineConfig())
    engine = installed().engine(chosen.name)
    workers = min(options.workers, len(missing))
    with bar:
        for index, result in engine.run(train, missing, workers, chosen.options):
            if isinstance(result, BaseException):
                name = missing[index].recipe.name
                raise AuditError(f"checkpoint {name} could not be trained: {result}") from result
            bar.update()


def _toml(recipes: Sequence[Recipe]) -> str:
    """The configuration of the demonstration, as a user would write it."""
    side = recipes[0].side
    sections = [
        "# Written by `genaudit demo`. `genaudit run audit.toml` audits the same zoo again.",
        f"seed = {SEED}",
        "",
        "[dataset]",
        'name = "digits"',
        f"transform = {{ input_size = [1, {side}, {side}], mean = [0.5], std = [0.5], "
        'interpolation = "bilinear", crop_pct = 1.0 }',
    ]
    for model in dict.fromkeys(recipe.model for recipe in recipes):
        sections += [
            "",
            "[[checkpoints]]",
            f'model = "{model}"',
            f'weights = "zoo/{model}-*.safetensors"',
            "model_args = { num_classes = 10, in_chans = 1 }",
        ]
    return "\n".join([*sections, "", "[held_out]", 'table = "zoo/held_out.csv"', ""])
