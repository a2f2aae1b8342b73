"""A user's folder: images by class, checkpoint files of two architectures, known accuracies."""

from __future__ import annotations

import dataclasses
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from PIL import Image
from sklearn.datasets import load_digits

from audit import cli
from audit.network.saving import write_weights

N_CLASSES = 3
PER_CLASS = 12
MODELS = ("test_resnet", "test_mambaout")
PER_MODEL = 5

CONFIG = """
[dataset]
name = "image_folder"
root = "data/train"
transform = { input_size = [1, 32, 32], mean = [0.5], std = [0.5], crop_pct = 1.0 }

[[checkpoints]]
model = "test_resnet"
weights = "checkpoints/test_resnet-*.safetensors"
model_args = { num_classes = 3, in_chans = 1 }

[[checkpoints]]
model = "test_mambaout"
weights = "checkpoints/test_mambaout-*.safetensors"
model_args = { num_classes = 3, in_chans = 1 }

[measures]
images_per_class = 8

[held_out]
table = "held_out.csv"
"""


@dataclasses.dataclass(frozen=True)
class Done:
    """What a call of the command came to."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder as the user made it; copied for every test."""
    folder = tmp_path_factory.mktemp("user")
    digits = load_digits()
    for label in range(N_CLASSES):
        (folder / "data/train" / f"class {label}").mkdir(parents=True)
        scans = digits.images[digits.target == label][:PER_CLASS]
        for index, scan in enumerate(scans):
            image = Image.fromarray((scan * 15.9375).astype(np.uint8)).resize((32, 32))
            image.save(folder / "data/train" / f"class {label}" / f"{index:02}.png")
    rng = np.random.default_rng(0)
    rows = []
    for model in MODELS:
        for index in range(PER_MODEL):
            torch.manual_seed(index)
            network = timm.create_model(model, num_classes=N_CLASSES, in_chans=1)
            name = f"{model}-{index}"
            write_weights(network, folder / "checkpoints" / f"{name}.safetensors")
            rows.append({"checkpoint": name, "held_out_accuracy": round(rng.uniform(0.3, 0.9), 3)})
    pd.DataFrame(rows).to_csv(folder / "held_out.csv", index=False)
    (folder / "audit.toml").write_text(CONFIG)
    return folder


@pytest.fixture(scope="session")
def warm_cache(pristine: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that holds everything the pristine folder's audit needs."""
    from audit.runs import pipeline
    from audit.runs.config import RunOptions

    cache = tmp_path_factory.mktemp("cache")
    output = tmp_path_factory.mktemp("output")
    options = RunOptions(output=output, cache=cache, workers=0, device="cpu", progress=False)
    pipeline.run(pristine / "audit.toml", options=options)
    return cache


@pytest.fixture
def user(pristine: Path, tmp_path: Path) -> Path:
    """A copy of the folder that a test may spoil."""
    return Path(shutil.copytree(pristine, tmp_path / "user"))


@pytest.fixture
def genaudit(
    warm_cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    """Call the command in this process, with a copy of the warm store and no workers."""
    cache = Path(shutil.copytree(warm_cache, tmp_path / "cache"))
    takes_options = {"run", "validate", "measure"}

    def call(command: str, *arguments: str | Path) -> Done:
        extra = ["--quiet", "--workers", "0", "--device", "cpu", "--cache", str(cache)]
        words = [command, *map(str, arguments), *(extra if command in takes_options else [])]
        monkeypatch.setattr(sys, "argv", ["genaudit", *words])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        return Done(int(ended.value.code or 0), captured.out, captured.err)

    return call
