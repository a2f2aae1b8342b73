"""Does a calibrator card rank a zoo it has never seen? Also makes the card that is shipped.

Three zoos are trained, audited and correlated below the output folder; what is there is not done
again, and a finished folder of `genaudit demo` may be copied to `digits`:

- `digits`: the demonstration's zoo: label noise × augmentation × decay × batch size.
- `letters`: 12 lower-case letters in the fonts that come with matplotlib, held out by design
  family, so that no held-out image is of a font, or of a slope or weight of a font, trained on.
- `patches`: 18 blocks of the photographs that come with scikit-learn; a class is a block,
  cut into five upright strips of which the second and fourth are held out. No label noise.

The rule that chooses a card's measures was written before any zoo was looked at: the default
measures at network level, with a declared direction, unchanged by node-wise rescaling, with a
finite value for every checkpoint of every zoo that differs somewhere. Parameters and MACs are
left out: among two or three architectures they say which architecture it is, and what they would
be given is an accident of these zoos. Parts per layer are left out, as layers differ between
architectures. Nothing else is chosen by hand: training loss and accuracy are in, as every user
has them.

Each zoo in turn is left out: a card is fitted on the two others, penalty included, and ranks it.
Two variants of the card, stated beforehand too, are reported beside it, and only the first is
ever written: one without training loss and accuracy, one of topological measures alone.

Run: python -m benchmarks.calibration -o DIR [--card FILE] [--json]
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import importlib.metadata
import io
import json
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import matplotlib
import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFont
from sklearn.datasets import load_sample_images

from audit import ranking, statistics
from audit.errors import AuditError
from audit.files import write_atomically
from audit.folder.columns import directions_of, judged_columns, measure_of
from audit.folder.tables import wide_frame
from audit.plugin import AuditResult
from audit.plugin.registry import installed
from audit.ranking.cards import normal_scores
from audit.runs import pipeline
from audit.runs.config import AuditConfig, EngineConfig, RunOptions
from audit.zoo.demo import demo
from audit.zoo.recipes import Recipe, TrainTask, factorial_grid, held_out_table, is_trained
from audit.zoo.training import train

SIDE: Final = 36
SEED: Final = 0
CONFIDENCE: Final = 0.95
TARGET: Final = "held_out_accuracy"

LETTERS: Final = "abcdeghnopqu"
TRAINING_FONTS: Final = (
    *("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-BoldOblique", "DejaVuSans-Oblique"),
    *("DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-BoldItalic", "DejaVuSerif-Italic"),
    *("cmb10", "cmr10", "cmtt10"),
)
HELD_OUT_FONTS: Final = (
    *("DejaVuSansMono", "DejaVuSansMono-Bold", "DejaVuSansMono-BoldOblique"),
    *("DejaVuSansMono-Oblique", "STIXGeneral", "STIXGeneralBol", "STIXGeneralBolIta"),
    *("STIXGeneralItalic", "cmmi10", "cmss10", "cmti10"),
)
GLYPHS_PER_FONT: Final = 7
PATCHES_PER_BLOCK: Final = 50
BLOCK_ROWS: Final = 3
BLOCK_COLUMNS: Final = 3
#: Of a block, side by side: held out are the second, the fourth, …
STRIPS: Final = 5

#: Functions of the architecture alone.
SIZES: Final = ("parameters", "macs")
#: Reported beside the cards, whatever the rule says of them.
BESIDE: Final = (
    *("train_loss", "margin_p10", "parameters", "mixup_accuracy", "augmentation_consistency"),
    *("feature_entropy.clique", "feature_entropy.cubical"),
    *("birth_class_information.clique", "birth_class_information.cubical"),
)

Images = dict[str, list[Image.Image]]


@dataclasses.dataclass(frozen=True)
class Zoo:
    """One zoo of the calibration.

    Attributes:
        audit: Trains and audits it: options → the finished audit.
        about: What it is, for the card's readers.
    """

    audit: Callable[[RunOptions], AuditResult]
    about: str


@dataclasses.dataclass(frozen=True)
class Audited:
    """A finished zoo: one row per checkpoint, and what is known of the columns.

    Attributes:
        table: Measures, accuracies and hyperparameters.
        versions: Measure column → version.
        owners: Measure column → the measure it is a part of.
        directions: Judged column → its declared direction.
    """

    table: pd.DataFrame
    versions: dict[str, str]
    owners: dict[str, str]
    directions: dict[str, str]


def letter_images(held_out: bool) -> Images:
    """Glyphs per letter, each a little turned, scaled and shifted."""
    rng = np.random.default_rng([SEED, int(held_out)])
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    images: Images = {letter: [] for letter in LETTERS}
    for name in HELD_OUT_FONTS if held_out else TRAINING_FONTS:
        font = ImageFont.truetype(str(folder / f"{name}.ttf"), 96)
        for letter in LETTERS:
            images[letter] += [_glyph(letter, font, rng) for _ in range(GLYPHS_PER_FONT)]
    return images


def _glyph(letter: str, font: ImageFont.FreeTypeFont, rng: np.random.Generator) -> Image.Image:
    """One letter, white on black, SIDE × SIDE."""
    large = Image.new("L", (192, 192))
    ImageDraw.Draw(large).text((96, 96), letter, fill=255, font=font, anchor="mm")
    angle, scale = rng.uniform(-0.15, 0.15), rng.uniform(0.9, 1.1)
    shear, shift = rng.uniform(-0.1, 0.1), rng.uniform(-8, 8, 2)
    cos, sin = np.cos(angle) / scale, np.sin(angle) / scale
    matrix = np.array([[cos, -sin], [sin, cos]]) @ np.array([[1, shear], [0, 1]])
    offset = 96 - matrix @ (96 + shift)
    coefficients = (*matrix[0], offset[0], *matrix[1], offset[1])
    moved = large.transform(
        large.size, Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR
    )
    return moved.crop((24, 24, 168, 168)).resize((SIDE, SIDE), Image.Resampling.BOX)


def patch_images(held_out: bool) -> Images:
    """Random crops per block of a photograph, each from one of the block's upright strips."""
    rng = np.random.default_rng([SEED, 2 + int(held_out)])
    images: Images = {}
    for number, pixels in enumerate(load_sample_images().images):
        photograph = Image.fromarray(pixels).convert("L")
        height, width = photograph.height // BLOCK_ROWS, photograph.width // BLOCK_COLUMNS
        strip = width // STRIPS
        for row in range(BLOCK_ROWS):
            for column in range(BLOCK_COLUMNS):
                corners = zip(
                    column * width
                    + strip * rng.choice(range(int(held_out), STRIPS, 2), PATCHES_PER_BLOCK)
                    + rng.integers(0, strip - SIDE + 1, PATCHES_PER_BLOCK),
                    row * height + rng.integers(0, height - SIDE + 1, PATCHES_PER_BLOCK),
                    strict=True,
                )
                images[f"photograph{number}-row{row}-column{column}"] = [
                    photograph.crop((int(x), int(y), int(x) + SIDE, int(y) + SIDE))
                    for x, y in corners
                ]
    return images


def letter_recipes(options: dict[str, Any]) -> list[Recipe]:
    """2 architectures × 2 levels on each of four axes."""
    return factorial_grid(
        models=("test_byobnet", "test_convnext"),
        label_noise=(0.0, 0.4),
        augmentation=(False, True),
        weight_decay=(0.0, 0.3),
        batch_size=(32, 64),
        epochs=10,
        learning_rate=3e-3,
        side=SIDE,
        seed=SEED,
        dataset="image_folder",
        dataset_options=options,
    )


def patch_recipes(options: dict[str, Any]) -> list[Recipe]:
    """2 architectures × 4 batch sizes × augmentation × decay, no label noise."""
    return factorial_grid(
        models=("test_convnext3", "test_efficientnet_gn"),
        label_noise=(0.0,),
        augmentation=(False, True),
        weight_decay=(0.0, 0.5),
        batch_size=(16, 32, 64, 128),
        epochs=10,
        learning_rate=3e-3,
        side=SIDE,
        seed=SEED,
        dataset="image_folder",
        dataset_options=options,
    )


def audit_folder(
    images: Callable[[bool], Images],
    recipes: Callable[[dict[str, Any]], list[Recipe]],
    options: RunOptions,
) -> AuditResult:
    """Draw, train, audit and correlate one zoo of images on disk, as far as it is missing."""
    folder = options.output.absolute()
    roots = {"root": folder / "images" / "train", "held_out_root": folder / "images" / "held_out"}
    for option, root in roots.items():
        _write_images(images(option == "held_out_root"), root)
    grid = recipes({option: str(root) for option, root in roots.items()})
    tasks = [TrainTask(recipe, folder / "zoo") for recipe in grid]
    missing = [task for task in tasks if not is_trained(task)]
    engine = installed().engine(options.engine_of(EngineConfig()).name)
    for index, result in engine.run(train, missing, min(options.workers, len(missing)), {}):
        if isinstance(result, BaseException):
            name = missing[index].recipe.name
            raise AuditError(f"checkpoint {name} could not be trained: {result}") from result
    held_out_table(tasks, folder / "zoo" / "held_out.csv")
    n_classes = sum(1 for entry in roots["root"].iterdir() if entry.is_dir())
    content = {
        "dataset": {
            "name": "image_folder",
            "root": str(roots["root"]),
            "transform": {
                "input_size": [1, SIDE, SIDE],
                "mean": [0.5],
                "std": [0.5],
                "interpolation": "bilinear",
                "crop_pct": 1.0,
            },
        },
        "checkpoints": [
            {
                "model": model,
                "weights": f"zoo/{model}-*.safetensors",
                "model_args": {"num_classes": n_classes, "in_chans": 1},
            }
            for model in dict.fromkeys(recipe.model for recipe in grid)
        ],
        "held_out": {"table": "zoo/held_out.csv"},
        "seed": SEED,
    }
    config = AuditConfig.parse(content, folder, "the calibration's configuration")
    return pipeline.run(config, options=options)


def _write_images(images: Images, root: Path) -> None:
    """One folder per class, one PNG per image."""
    for name, pictures in images.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for number, picture in enumerate(pictures):
            path = root / name / f"{number:03}.png"
            if not path.exists():
                buffer = io.BytesIO()
                picture.save(buffer, "PNG")
                write_atomically(path, buffer.getvalue())


ZOOS: Final = {
    "digits": Zoo(
        demo,
        "scikit-learn's digits, 3 architectures, label noise × augmentation × weight decay × "
        "batch size",
    ),
    "letters": Zoo(
        lambda options: audit_folder(letter_images, letter_recipes, options),
        "letters in matplotlib's fonts, held out by font, 2 architectures, the same four axes",
    ),
    "patches": Zoo(
        lambda options: audit_folder(patch_images, patch_recipes, options),
        "patches of scikit-learn's two photographs, held out by place, 2 architectures, "
        "augmentation × weight decay × batch size",
    ),
}


def read_audit(result: AuditResult) -> Audited:
    """The table of a finished audit, and what is known of its columns.

    Raises:
        AuditError: A checkpoint failed.
    """
    if len(result.failed):
        raise AuditError(f"checkpoints failed in {result.output}: {result.failed}")
    table = wide_frame(result.measures, result.held_out)
    columns = dict(
        zip(result.measures["measure"], result.measures["version"].astype(str), strict=True)
    )
    owners = {column: measure_of(result.run, column) for column in columns}
    directions = directions_of(result.run, table)
    judged, _ = judged_columns(result.run, table)
    return Audited(table, columns, owners, {column: directions[column] for column in judged})


def usable_measures(tables: Sequence[pd.DataFrame]) -> list[str]:
    """The measures that the rule lets into a card; it looks at no accuracy."""
    return [
        entry.name
        for entry in sorted(installed().measures.values(), key=lambda entry: entry.name)
        if entry.default
        and not entry.diagnostic
        and entry.direction != "none"
        and entry.invariance == "node-wise"
        and entry.name not in SIZES
        and all(
            entry.name in table
            and np.isfinite(table[entry.name]).all()
            and table[entry.name].nunique() > 1
            for table in tables
        )
    ]


def variants(measures: Sequence[str]) -> dict[str, list[str]]:
    """The card, and the two that are reported beside it."""
    entries = installed().measures
    return {
        "card": list(measures),
        "card without training loss and accuracy": [
            m for m in measures if not m.startswith("train_")
        ],
        "card of topology alone": [m for m in measures if entries[m].cost == "topology"],
    }


def judge_left_out(name: str, zoos: Mapping[str, Audited], measures: Sequence[str]) -> pd.DataFrame:
    """Kendall τ on one zoo of cards fitted on the others, of directions, and of single measures.

    Returns:
        Columns zoo, ranked_by, kendall, lower, upper, beyond_train_loss and its interval (the
        paired difference of τ), regret (accuracy of the best checkpoint less that of the one
        ranked first), coverage (of 90% intervals), n_outside (measures out of the card's domain).
        Measures are taken in their declared directions: a negative τ contradicts it.
    """
    zoo = zoos[name]
    table, entries = zoo.table, installed().measures
    accuracy = table[TARGET].to_numpy(float)
    checkpoints = [str(checkpoint) for checkpoint in table["checkpoint"]]
    others = {other: audited.table for other, audited in zoos.items() if other != name}
    scores: dict[str, np.ndarray] = {}
    extra: dict[str, dict[str, float]] = {}
    for label, chosen in variants(measures).items():
        card = ranking.fit_card(others, chosen, name=label, versions=zoo.versions, seed=SEED)
        frame, domain = ranking.rank_by_card(table, card, checkpoints, versions=zoo.versions)
        placed = frame.set_index("checkpoint").loc[checkpoints]
        truth = normal_scores(accuracy)
        inside = (placed["lower"] <= truth) & (truth <= placed["upper"])
        scores[label] = placed["score"].to_numpy(float)
        extra[label] = {"coverage": float(inside.mean()), "n_outside": len(domain.excess)}
    votes = ranking.rank_by_directions(table, zoo.directions, owners=zoo.owners, seed=SEED)
    scores["directions"] = votes.set_index("checkpoint").loc[checkpoints, "score"].to_numpy(float)
    for measure in dict.fromkeys([*BESIDE, *measures]):
        sign = -1.0 if entries[measure].direction == "lower" else 1.0
        scores[measure] = sign * table[measure].to_numpy(float)
    weights = statistics.bootstrap_weights(len(table), 2000, SEED)
    loss = statistics.kendall_draws(scores["train_loss"], accuracy, weights)
    loss_tau = _tau(scores["train_loss"], accuracy)
    rows = []
    for label, score in scores.items():
        draws = statistics.kendall_draws(score, accuracy, weights)
        lower, upper = statistics.interval(draws, CONFIDENCE)
        less, more = statistics.interval(draws - loss, CONFIDENCE)
        tau = _tau(score, accuracy)
        rows.append(
            {
                "zoo": name,
                "ranked_by": label,
                "kendall": tau,
                "lower": lower,
                "upper": upper,
                "beyond_train_loss": tau - loss_tau,
                "beyond_train_loss_lower": less,
                "beyond_train_loss_upper": more,
                "regret": float(accuracy.max() - accuracy[score == score.max()].mean()),
                **extra.get(label, {}),
            }
        )
    return pd.DataFrame(rows)


def _tau(score: np.ndarray, accuracy: np.ndarray) -> float:
    """Kendall τ-b of one column."""
    frame = pd.DataFrame({"score": score, TARGET: accuracy})
    return float(statistics.kendall(frame, "score", TARGET).value)


def final_card(zoos: Mapping[str, Audited], measures: Sequence[str], left_out: pd.DataFrame) -> Any:
    """The card of all zoos, described with what it did on zoos left out."""
    versions: dict[str, str] = {}
    for audited in zoos.values():
        versions |= audited.versions
    taus = left_out.set_index(["ranked_by", "zoo"])["kendall"].to_dict()
    covered = left_out[left_out["ranked_by"] == "card"].set_index("zoo")["coverage"].to_dict()
    beside = {"card": "the card", "train_loss": "training loss alone"}
    beside["train_accuracy"] = "training accuracy alone"
    found = "; ".join(
        f"{words} {', '.join(f'{taus[label, name]:.2f} on {name}' for name in zoos)}, mean "
        f"{np.mean([taus[label, name] for name in zoos]):.2f}"
        for label, words in beside.items()
    )
    held = ", ".join(f"{covered[name]:.0%} on {name}" for name in zoos)
    about = "; ".join(f"{name}: {zoo.about}" for name, zoo in ZOOS.items())
    return ranking.fit_card(
        {name: audited.table for name, audited in zoos.items()},
        measures,
        name="default",
        versions=versions,
        seed=SEED,
        description=(
            f"Fitted on three zoos of tiny timm networks trained from scratch on {SIDE} × {SIDE} "
            f"gray images. {about}. Kendall τ on each zoo by a card fitted on the two others, "
            f"penalty included: {found}. Its 90% intervals held {held}. Weights are those of a "
            "regression on correlated measures: a sign against a measure's declared direction is "
            "no evidence about the measure. Accuracies are those of clean labels, and so are the "
            "labels that the networks of the first two zoos were audited on, whatever noise they "
            "were trained with: that flatters every measure that reads labels. Made by "
            "benchmarks/calibration.py."
        ),
    )


def versions() -> dict[str, str]:
    """Of what decides the numbers."""
    packages = ("genaudit", "torch", "timm", "numpy", "scipy", "scikit-learn", "matplotlib")
    found = {package: importlib.metadata.version(package) for package in (*packages, "pillow")}
    return {"python": platform.python_version(), "machine": platform.machine(), **found}


def _ceiling(table: pd.DataFrame) -> float:
    """Mean τ of the accuracies with ones drawn again from as many images: what noise leaves."""
    rng = np.random.default_rng(SEED)
    accuracy, n = table[TARGET].to_numpy(float), table["n_held_out"].to_numpy(int)
    return float(np.mean([_tau(rng.binomial(n, accuracy) / n, accuracy) for _ in range(200)]))


def report_of(
    zoos: Mapping[str, Audited], measures: Sequence[str], left_out: pd.DataFrame, card: Any
) -> dict[str, Any]:
    """Everything found, as JSON holds it."""
    described = {}
    for name, audited in zoos.items():
        accuracy = audited.table[TARGET]
        described[name] = {
            "about": ZOOS[name].about,
            "n_models": len(audited.table),
            "held_out_accuracy": [float(accuracy.min()), float(accuracy.max())],
            "n_held_out": int(audited.table["n_held_out"].iloc[0]),
            "kendall_with_accuracy_drawn_again": _ceiling(audited.table),
        }
    rows = [
        {str(key): value for key, value in row.items() if not pd.isna(value)}
        for row in left_out.to_dict("records")
    ]
    mean = left_out.groupby("ranked_by", sort=False)["kendall"].mean()
    return {
        "date": datetime.date.today().isoformat(),
        "versions": versions(),
        "confidence": CONFIDENCE,
        "interval": "bootstrap over checkpoints",
        "zoos": described,
        "measures": {m: next(iter(zoos.values())).versions[m] for m in measures},
        "mean_kendall": {str(label): float(tau) for label, tau in mean.items()},
        "coefficients": {m.name: m.coefficient for m in card.measures},
        "left_out": rows,
    }


def show(left_out: pd.DataFrame, card: Any) -> None:
    """Print τ per zoo left out, and the card's weights."""
    names = list(dict.fromkeys(left_out["zoo"]))
    print(f"{'τ with held-out accuracy on':40}" + "".join(f"{name:>22}" for name in names))
    for label, rows in left_out.groupby("ranked_by", sort=False):
        cells = [f"{r.kendall:.2f} [{r.lower:.2f}, {r.upper:.2f}]" for r in rows.itertuples()]
        print(f"{label!s:40}" + "".join(f"{cell:>22}" for cell in cells))
    print("\nweights of the card of all zoos")
    for measure in card.measures:
        print(f"{measure.name:40}{measure.coefficient:>8.3f}")


def main() -> None:
    """Make the zoos, judge cards on the zoos left out, and write the card of all of them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of the zoos")
    parser.add_argument("--card", type=Path, help="write the card here")
    parser.add_argument("--json", action="store_true", help="print JSON")
    chosen = parser.parse_args()
    zoos: dict[str, Audited] = {}
    for name, zoo in ZOOS.items():
        folder = chosen.output / name
        options = RunOptions(
            output=folder, cache=folder / "cache", device="cpu", progress=sys.stderr.isatty()
        )
        zoos[name] = read_audit(zoo.audit(options))
    measures = usable_measures([audited.table for audited in zoos.values()])
    left_out = pd.concat([judge_left_out(name, zoos, measures) for name in zoos], ignore_index=True)
    card = final_card(zoos, measures, left_out)
    if chosen.card:
        ranking.save_card(card, chosen.card)
    if chosen.json:
        report = report_of(zoos, measures, left_out, card)
        json.dump(report, sys.stdout, indent=1, ensure_ascii=False, allow_nan=False)
        print()
        return
    show(left_out, card)


if __name__ == "__main__":
    main()
