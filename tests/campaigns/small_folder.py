"""A user's folder of the smallest size: images of two classes, networks of four units."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from audit.plugin import AuditResult
from audit.runs import pipeline
from audit.runs.config import RunOptions

SIDE = 8
PER_CLASS = 4
#: The tables that must come out the same.
TABLES = ("measures.csv", "units.parquet", "ranking.csv")

NETWORKS = '''
"""Networks of four units, and such as do something on purpose when they see enough images."""

import os
import signal
import time

import torch
from torch import nn

MARKS = os.environ.get("SMALL_NETWORKS_MARKS", "")


class Does(nn.Module):
    """What happens in the forward pass to more than `most` images at a time."""

    def __init__(self, what="", most=0, once=False):
        super().__init__()
        self.what, self.most, self.once = what, most, once

    def forward(self, x):
        if self.what and len(x) > self.most:
            do(self.what, x)
        return torch.full_like(x, float("nan")) if self.what == "nan" else x


def do(what, x):
    if MARKS:
        open(os.path.join(MARKS, f"{what}-{time.monotonic_ns()}"), "x").close()
    if what == "no memory":
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
    if what == "raise":
        raise RuntimeError("on purpose")
    if what == "abort":
        os.abort()
    if what == "exit":
        os._exit(7)
    if what == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "nap":
        time.sleep(0.2)
    if what == "sleep":
        time.sleep(600)


def build(seed=0, what="", most=0, n_classes=2, pretrained=False):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), Does(what, most),
        nn.Conv2d(4, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(4, n_classes),
    ).eval()
'''

CONFIG = """
[dataset]
name = "image_folder"
root = "train"
transform = {{ input_size = [1, {side}, {side}], mean = [0.5], std = [0.5] }}

[measures]
include = {measures}
batch_size = {batch_size}

[reports]
include = ["json"]
"""

MEASURES = ("feature_entropy.cubical", "train_loss", "path_norm", "random")


class SmallFolder:
    """A folder to audit.

    Args:
        path: Made, with images and a module `small_networks` in it.
        measures: What is measured.
        batch_size: Images per forward pass, of eight in all.
    """

    def __init__(
        self, path: Path, measures: Sequence[str] = MEASURES, batch_size: int | str = 8
    ) -> None:
        self.path = path
        rng = np.random.default_rng(0)
        for label in "ab":
            (path / "train" / label).mkdir(parents=True)
            for index in range(PER_CLASS):
                pixels = rng.integers(0, 256, (SIDE, SIDE), dtype=np.uint8)
                Image.fromarray(pixels).save(path / "train" / label / f"{index}.png")
        (path / "small_networks.py").write_text(NETWORKS)
        self._head = CONFIG.format(
            side=SIDE, measures=json.dumps(list(measures)), batch_size=json.dumps(batch_size)
        )
        if str(path) not in sys.path:
            sys.path.insert(0, str(path))
        sys.modules.pop("small_networks", None)

    def write(self, checkpoints: Mapping[str, Mapping[str, object]]) -> None:
        """Write the configuration.

        Args:
            checkpoints: Name → arguments of `small_networks.build`, or {"weights": a file}.
        """
        parts = [self._head]
        for name, given in checkpoints.items():
            args = {key: value for key, value in given.items() if key != "weights"}
            inline = ", ".join(f"{key} = {json.dumps(value)}" for key, value in args.items())
            source = (
                f'weights = "{given["weights"]}"' if "weights" in given else "pretrained = true"
            )
            parts.append(
                f'[[checkpoints]]\nmodel = "small_networks:build"\nname = {json.dumps(name)}\n'
                f"{source}\nmodel_args = {{ {inline} }}\n"
            )
        (self.path / "audit.toml").write_text("\n".join(parts))

    def run(
        self, out: str = "out", cache: str = "cache", workers: int = 0, **options: object
    ) -> AuditResult:
        """Audit in this process."""
        given = RunOptions(
            output=self.path / out,
            cache=self.path / cache,
            workers=workers,
            device="cpu",
            progress=False,
            **options,  # type: ignore[arg-type]
        )
        return pipeline.run(self.path / "audit.toml", options=given)

    def tables(self, out: str = "out") -> dict[str, bytes]:
        """The bytes of the tables; in measures.csv without the seconds that measures took."""
        paths = [self.path / out / name for name in TABLES]
        found = {path.name: path.read_bytes() for path in paths if path.exists()}
        measures = pd.read_csv(self.path / out / "measures.csv", dtype=str, keep_default_na=False)
        found["measures.csv"] = measures.drop(columns="seconds").to_csv(index=False).encode()
        return found

    def failed(self, out: str = "out") -> dict[str, str]:
        """Checkpoint → why it failed as a whole."""
        measures = pd.read_csv(self.path / out / "measures.csv", keep_default_na=False)
        rows = measures[measures["measure"] == "all"]
        return dict(zip(rows["checkpoint"], rows["reason"], strict=True))

    def values(self, name: str, out: str = "out") -> dict[str, float]:
        """Measure → its value for one checkpoint."""
        measures = pd.read_csv(self.path / out / "measures.csv")
        rows = measures[measures["checkpoint"] == name]
        return dict(zip(rows["measure"], rows["value"], strict=True))

    def notes(self, name: str, out: str = "out") -> list[str]:
        """What run.json notes of a checkpoint."""
        record = json.loads((self.path / out / "run.json").read_text())
        return next(one["notes"] for one in record["checkpoints"] if one["checkpoint"] == name)
