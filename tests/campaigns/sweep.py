"""An audit of which every second checkpoint is poisoned: the sound rows are those of a clean run.

There are twenty ways to be poisoned, from files that are cut short to networks that end their
process or never end. Each costs one row, with a reason; no row of a sound checkpoint differs in any
byte from that of an audit of the sound ones alone (the seconds aside).
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import safetensors.torch
import torch
from torch import nn

from tests.campaigns.report import Report, command
from tests.campaigns.small_folder import SmallFolder

#: Seconds that a checkpoint may take; one sleeps for ever.
TIMEOUT = 60.0
MEASURES = ("train_loss", "path_norm")


def state() -> dict[str, torch.Tensor]:
    """Sound weights."""
    torch.manual_seed(5)
    return nn.Sequential(
        *(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Identity()),
        *(nn.Conv2d(4, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)),
    ).state_dict()


def archive(content: object) -> bytes:
    """What `torch.save` writes."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def with_value(value: float) -> bytes:
    """Weights with a number that is none."""
    found = state()
    found["0.weight"][0, 0, 0, 0] = value
    return archive(found)


class System:
    """Unpickles to a call of the system."""

    def __reduce__(self) -> object:
        return os.system, ("touch canary",)


def script() -> bytes:
    """What is called TorchScript, by its entries."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as found:
        for name in ("m/data.pkl", "m/constants.pkl", "m/code/__torch__.py"):
            found.writestr(name, b"\x80\x02}.")
    return buffer.getvalue()


#: Poisoned files.
FILES: dict[str, Callable[[], bytes]] = {
    "nan weights": lambda: with_value(float("nan")),
    "infinite weights": lambda: with_value(float("inf")),
    "cut archive": lambda: archive(state())[:-100],
    "cut safetensors": lambda: safetensors.torch.save(state())[:-10],
    "empty file": lambda: b"",
    "gadget": lambda: archive({"state_dict": System()}),
    "torchscript": script,
    "text": lambda: b"hello world",
    "missing names": lambda: archive({k: v for k, v in state().items() if k != "4.weight"}),
    "extra names": lambda: archive(state() | {"extra": torch.ones(1)}),
    "other shapes": lambda: archive(state() | {"8.weight": torch.ones(7, 4)}),
    "integers": lambda: archive(state() | {"0.weight": torch.ones(4, 1, 3, 3, dtype=torch.int8)}),
    "complex": lambda: archive(state() | {"0.weight": torch.ones(4, 1, 3, 3, dtype=torch.cfloat)}),
}
#: Poisoned networks: arguments of `small_networks.build`.
NETWORKS: dict[str, dict[str, object]] = {
    "aborts": {"what": "abort"},
    "activations that are not finite": {"what": "nan"},
    "raises": {"what": "raise"},
    "no memory": {"what": "no memory"},
    "another head": {"n_classes": 5},
    "ends its process": {"what": "exit"},
    "sleeps": {"what": "sleep"},
}
POISONS = (*NETWORKS, *FILES)


def rows(folder: SmallFolder, out: str, names: list[str]) -> str:
    """The rows of these checkpoints in measures.csv, without the seconds."""
    table = pd.read_csv(folder.path / out / "measures.csv", dtype=str, keep_default_na=False)
    table = table[table["checkpoint"].isin(names)].drop(columns="seconds")
    return str(table.sort_values(["checkpoint", "measure"]).to_csv(index=False))


def run(count: int, seed: int) -> Report:
    """So many checkpoints, every second of them poisoned, each in another way."""
    report = Report()
    half = min(count // 2, len(POISONS))
    step = max(1, len(POISONS) // half)
    poisons = list(POISONS[::step][:half])
    sound = {f"sound {n}": {"seed": n + 1} for n in range(half)}
    with tempfile.TemporaryDirectory() as name, contextlib.chdir(name):
        path = Path(name) / "user"
        folder = SmallFolder(path, MEASURES)
        os.environ["PYTHONPATH"] = os.pathsep.join([str(path), *filter(None, sys.path)])
        folder.write(sound)
        folder.run("clean", "clean-cache", workers=1)
        checkpoints: dict[str, dict[str, object]] = {}
        for (good, given), poison in zip(sound.items(), poisons, strict=True):
            if poison in FILES:
                (path / f"{poison}.pth").write_bytes(FILES[poison]())
                checkpoints[poison] = {"weights": f"{poison}.pth"}
            else:
                checkpoints[poison] = NETWORKS[poison]
            checkpoints[good] = given
        folder.write(checkpoints)
        folder.run("out", "cache", workers=1, checkpoint_timeout=TIMEOUT)
        failed = folder.failed("out")
        report.count("sound checkpoints", len(sound))
        report.count("poisoned checkpoints", len(poisons))
        report.count("rows with a reason", sum(bool(failed.get(poison)) for poison in poisons))
        for poison in poisons:
            if not failed.get(poison):
                report.fail(f"{poison}: no failed row")
            elif "Traceback" in failed[poison]:
                report.fail(f"{poison}: {failed[poison]}")
        if set(failed) - set(poisons):
            report.fail(f"sound checkpoints failed: {sorted(set(failed) - set(poisons))}")
        if rows(folder, "out", list(sound)) != rows(folder, "clean", list(sound)):
            report.fail("rows of sound checkpoints differ from those of a clean run")
        if [*Path(name).rglob("canary")]:
            report.fail("a gadget ran")
    return report


if __name__ == "__main__":
    command(run, 40)
