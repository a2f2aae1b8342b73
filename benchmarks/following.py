"""Do stops by training images alone help, and what does following cost?

Stops: 32 trainings of small networks (`benchmarks.following_trainings`), every epoch looked at and
judged on held-out images. A rule sees training images alone, and keeps a checkpoint; printed is by
how many points its held-out accuracy lies above that of the last epoch, and above that of the
checkpoint that the same patience keeps by training loss. Means over trainings with 95% bootstrap
intervals over trainings. The first rule is the one that `genaudit trajectory` suggests by; it was
fixed before any training was judged, and so were the others. "best held-out epoch" is what a rule
could win at most, by knowing what is held out.

Cost: processor time in `Follower.after_epoch` as a share of that of whole epochs, by the median
epoch; without a budget, and with the default one.

Run: python -m benchmarks.following --folder DIR [--epochs N] [--seeds N] [--cost] [--json]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd
import torch

from audit.following import Follower
from audit.following.sample import FixedSample
from audit.following.trajectory import PATIENCE, kendall_over_epochs, patience_stop
from audit.network.threads import one_math_thread
from audit.plugin.registry import installed
from benchmarks.following_trainings import OF_TRAINING, followed_training, plans
from benchmarks.timing import versions

ACCURACY: Final = "held_out_accuracy"
LOSS: Final = "training_loss"
#: Rule → (column, better direction).
RULES: Final = {
    "information, clique, deepest": ("birth_class_information.clique.last", "higher"),
    "information, clique, mean": ("birth_class_information.clique.mean", "higher"),
    "information, cubical, deepest": ("birth_class_information.cubical.last", "higher"),
    "information, cubical, mean": ("birth_class_information.cubical.mean", "higher"),
    "entropy, clique, mean": ("feature_entropy.clique.mean", "lower"),
    "entropy, cubical, deepest": ("feature_entropy.cubical.last", "lower"),
    "entropy, cubical, mean": ("feature_entropy.cubical.mean", "lower"),
    "training loss": (LOSS, "lower"),
}
BEST: Final = "best held-out epoch"
_DRAWS: Final = 5000


class Setting(NamedTuple):
    """A training whose cost is measured: images as random as they come, for time asks no more.

    Of an epoch of many images so many batches are run as take seconds, and their time is scaled.
    """

    name: str
    model: str
    n_images: int
    side: int
    n_epochs: int
    budget: float | None
    n_batches: int


SETTINGS: Final = (
    Setting("resnet18, 50,000 images of 32 × 32", "resnet18", 50_000, 32, 3, None, 3),
    Setting("test_resnet, 4,000 images of 64 × 64", "test_resnet", 4000, 64, 3, None, 4),
    Setting("test_resnet, 323 images of 32 × 32", "test_resnet", 323, 32, 5, None, 6),
    Setting("the same, budget of 3%", "test_resnet", 323, 32, 40, 0.03, 6),
)
_BATCH: Final = 64


def all_trainings(folder: Path, n_epochs: int, seeds: int) -> pd.DataFrame:
    """Every training, each made once and kept in the folder."""
    kept = folder / "trainings"
    kept.mkdir(parents=True, exist_ok=True)
    frames = []
    for recipe, schedule in sorted(plans(n_epochs, seeds), key=lambda plan: plan[0].seed):
        name = f"{recipe.task}-{recipe.architecture}-noise{recipe.label_noise:g}-{schedule}"
        path = kept / f"{name}-{recipe.seed}.csv"
        if not path.exists():
            followed_training(recipe, schedule, folder).to_csv(path, index=False)
            print(f"trained {path.stem}", file=sys.stderr)
        frames.append(pd.read_csv(path))
    return pd.concat(frames, ignore_index=True)


def stops(trainings: pd.DataFrame) -> pd.DataFrame:
    """What each rule keeps of each training: one row per training and rule."""
    rows: list[dict[str, Any]] = []
    for key, whole in trainings.groupby(list(OF_TRAINING), sort=False):
        part = whole[whole["epoch"] > 0].sort_values("epoch")
        accuracy = dict(zip(part["epoch"].tolist(), part[ACCURACY].tolist(), strict=True))
        last = max(accuracy)
        about = dict(zip(OF_TRAINING, key, strict=True))
        kept = {name: _kept(part, *rule, last) for name, rule in RULES.items()}
        best = max(accuracy, key=lambda epoch: accuracy[epoch])
        kept[BEST] = (best, last)
        by_loss = accuracy[kept["training loss"][0]]
        for name, (epoch, stopped) in kept.items():
            rows.append(
                {
                    **about,
                    "rule": name,
                    "epoch": epoch,
                    "stopped": stopped < last,
                    "saved": 1 - stopped / last,
                    "over_last": accuracy[epoch] - accuracy[last],
                    "over_loss": accuracy[epoch] - by_loss,
                }
            )
    return pd.DataFrame(rows)


def _kept(part: pd.DataFrame, column: str, direction: str, last: int) -> tuple[int, int]:
    """(epoch of the checkpoint that is kept, last epoch trained) under a rule."""
    stop = patience_stop(part["epoch"].tolist(), part[column].tolist(), direction)
    if stop.best_epoch is None or stop.stopped_epoch is None:
        return last, last
    return stop.best_epoch, stop.stopped_epoch


def judged(kept: pd.DataFrame) -> pd.DataFrame:
    """Means over trainings, of all and of each kind, with intervals."""
    rows = []
    for name, part in _kinds(kept):
        for rule in (*RULES, BEST):
            of_rule = part[part["rule"] == rule]
            row: dict[str, Any] = {"trainings": name, "rule": rule, "n": len(of_rule)}
            row["stopped"] = int(of_rule["stopped"].sum())
            row["saved"] = float(of_rule["saved"].mean())
            for gain in ("over_last", "over_loss"):
                mean, lower, upper = _mean_with_interval(of_rule[gain].to_numpy())
                row |= {gain: mean, f"{gain}_lower": lower, f"{gain}_upper": upper}
            rows.append(row)
    return pd.DataFrame(rows)


def _kinds(kept: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """All trainings, and those of one schedule with and without label noise."""
    yield "all", kept
    for (schedule, noise), part in kept.groupby(["schedule", "label_noise"]):
        yield f"{schedule}, label noise {noise:g}", part


def _mean_with_interval(values: np.ndarray) -> tuple[float, float, float]:
    """The mean and its 95% percentile bootstrap interval."""
    drawn = np.random.default_rng(0).integers(len(values), size=(_DRAWS, len(values)))
    lower, upper = np.quantile(values[drawn].mean(1), [0.025, 0.975])
    return float(values.mean()), float(lower), float(upper)


def falls_together(trainings: pd.DataFrame) -> pd.DataFrame:
    """Kendall's τ of each quantity with the training loss: over trainings, median and quartiles."""
    rows = []
    columns = dict.fromkeys(column for column, _ in RULES.values() if column != LOSS)
    for column in columns:
        found = []
        for _, whole in trainings.groupby(list(OF_TRAINING), sort=False):
            part = whole[whole["epoch"] > 0].sort_values("epoch")
            tau = kendall_over_epochs(part[column].to_numpy(), part[LOSS].to_numpy())
            found.append((tau.kendall, tau.of_changes, tau.lower > 0, tau.upper < 0))
        table = np.array(found, float)
        low, middle, high = np.nanquantile(table[:, 0], [0.25, 0.5, 0.75])
        rows.append(
            {
                "quantity": column,
                "kendall": middle,
                "lower_quartile": low,
                "upper_quartile": high,
                "of_changes": float(np.nanmedian(table[:, 1])),
                "above_0": int(table[:, 2].sum()),
                "below_0": int(table[:, 3].sum()),
                "n": len(table),
            }
        )
    return pd.DataFrame(rows)


def cost(setting: Setting) -> dict[str, Any]:
    """What following costs in one training: shares of processor time."""
    with one_math_thread():
        torch.manual_seed(0)
        source = installed().model_source(setting.model)
        network = source.create(setting.model, {"num_classes": 10, "in_chans": 3}, False)
        images = torch.randn(400, 3, setting.side, setting.side)
        labels = torch.arange(len(images)) % 10
        sample = FixedSample(images[:200], labels[:200].numpy())
        follower = Follower(network, sample, folder=None, budget=setting.budget)
        optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
        training, looking = [], []
        scale = -(-setting.n_images // _BATCH) / setting.n_batches
        for epoch in range(setting.n_epochs):
            network.train()
            batches = _timed(
                lambda: _batches(network, optimizer, images, labels, setting.n_batches)
            )
            training.append(scale * batches)
            looking.append(_timed(lambda e=epoch: follower.after_epoch(e)))  # type: ignore[misc]
    shares = [look / (look + train) for train, look in zip(training, looking, strict=True)]
    looks = sorted(looking)[-follower.table["epoch"].nunique() :]
    print(f"measured {setting.name}", file=sys.stderr)
    return {
        "setting": setting.name,
        "epochs": setting.n_epochs,
        "looks": len(looks),
        "epoch_seconds": statistics.median(training),
        "look_seconds": statistics.median(looks),
        "median_share": statistics.median(shares),
        "share_of_all": sum(looking) / (sum(looking) + sum(training)),
        "wall_share_of_all": follower.spent_share if scale <= 1 else float("nan"),
        "setup_seconds": follower.setup_seconds,
    }


def _timed(call: Callable[[], object]) -> float:
    """Processor seconds of a call."""
    started = time.process_time()
    call()
    return time.process_time() - started


def _batches(
    network: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    images: torch.Tensor,
    labels: torch.Tensor,
    n_batches: int,
) -> None:
    """Some steps of training: forward, backward and step."""
    for _ in range(n_batches):
        batch = torch.randperm(len(images))[:_BATCH]
        loss = torch.nn.functional.cross_entropy(network(images[batch]), labels[batch])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()


def _show(result: dict[str, Any]) -> None:
    """Print the tables."""
    if "costs" in result:
        print(pd.DataFrame(result["costs"]).round(4).to_string(index=False))
    if "judged" not in result:
        return
    print(f"\nKendall's τ with the training loss over epochs, {result['n_trainings']} trainings")
    print(pd.DataFrame(result["kendall"]).round(2).to_string(index=False))
    print(f"\nStops after {PATIENCE} looks without a better value; gains in points of accuracy")
    table = pd.DataFrame(result["judged"])
    for gain in ("over_last", "over_loss"):
        ends = zip(table[f"{gain}_lower"], table[f"{gain}_upper"], strict=True)
        means = table[gain]
        table[gain] = [
            f"{100 * mean:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"
            for mean, (low, high) in zip(means, ends, strict=True)
        ]
    shown = ["trainings", "rule", "n", "stopped", "saved", "over_last", "over_loss"]
    print(table[shown].round(2).to_string(index=False))


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print tables or JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--folder", type=Path, help="where trainings are kept")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--cost", action="store_true", help="measure what following costs, too")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args(arguments)
    result: dict[str, Any] = {"versions": versions(("torch", "timm", "numpy", "genaudit"))}
    if chosen.cost:
        result["costs"] = [cost(setting) for setting in SETTINGS]
    if chosen.folder is not None:
        trainings = all_trainings(chosen.folder, chosen.epochs, chosen.seeds)
        kept = stops(trainings)
        result["n_trainings"] = trainings[list(OF_TRAINING)].drop_duplicates().shape[0]
        result["kendall"] = falls_together(trainings).to_dict("records")
        result["judged"] = judged(kept).to_dict("records")
        result["stops"] = kept.to_dict("records")
    if chosen.json:
        print(json.dumps(result, indent=1))
    else:
        _show(result)


if __name__ == "__main__":
    main()
