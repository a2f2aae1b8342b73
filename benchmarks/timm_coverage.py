"""Of how many of timm's families are feature maps taken, and where?

For each module of `timm.models` that registers architectures: its smallest one by parameters, with
random weights, at its own input size, on two crops of the photographs that come with scikit-learn.
Units of every stage are measured as in an audit. "refused" says in timm_coverage's table why there
is no unit table; "failed" is anything that is no error of ours.

Run: python -m benchmarks.timm_coverage [--only vision_transformer …] [--again RESULT.json] [--json]
"""

from __future__ import annotations

import argparse
import concurrent.futures
import importlib.metadata
import json
import multiprocessing
import time
import warnings
from pathlib import Path
from typing import Any, Final

import numpy as np
import timm
import torch
from PIL import Image
from sklearn.datasets import load_sample_images

from audit.data.transform import eval_transform
from audit.errors import AuditError
from audit.network.layers import choose_layers
from audit.plugin import ImageSplit
from audit.plugin.registry import installed
from audit.runs.unit_table import unit_table

_SECONDS_EACH: Final = 1800.0


class Crops(ImageSplit):
    """The middle of each of two photographs, each a class of its own."""

    def __init__(self) -> None:
        self.class_names = ("china", "flower")
        self.labels = np.arange(2)
        self.sample_ids = self.class_names
        self._images = [
            Image.fromarray(pixels[:, 106:533]) for pixels in load_sample_images().images
        ]

    def digest(self, index: int) -> str:
        """The name: there are no other images."""
        return self.sample_ids[index]

    def load(self, index: int) -> Image.Image:
        """The crop, 427 × 427 pixels."""
        return self._images[index].copy()


def smallest_architectures(families: list[str]) -> dict[str, str]:
    """Family → its architecture of the fewest parameters, then of the smallest images."""
    found: dict[str, str] = {}
    for family in families:
        sizes = {}
        for name in timm.list_models(module=family):
            try:
                with torch.device("meta"):
                    module = timm.create_model(name)
            except (RuntimeError, NotImplementedError, TypeError, ValueError):
                continue  # cannot be built without numbers
            n_parameters = sum(parameter.numel() for parameter in module.parameters())
            about: Any = module.pretrained_cfg
            sizes[n_parameters, about["input_size"][-1], name] = name
        if sizes:
            found[family] = sizes[min(sizes)]
    return found


def covered(architecture: str) -> dict[str, Any]:
    """One row: what is taken of one architecture, or why nothing is."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    started = time.perf_counter()
    row: dict[str, Any] = {"architecture": architecture, "layers": [], "notes": [], "units": 0}
    try:
        torch.manual_seed(0)
        module = timm.create_model(architecture, num_classes=2).eval()
        row["parameters"] = sum(parameter.numel() for parameter in module.parameters())
        config = installed().model_source(architecture).data_config(module, {})
        row["input"] = list(config.input_size)
        image = eval_transform(config)(Crops().load(0))[None]
        looking = time.perf_counter()
        chosen = choose_layers(module, image)
        row["probe_seconds"] = round(time.perf_counter() - looking, 2)
        row["notes"] = list(chosen.notes)
        for spec in chosen.specs:
            reading = spec.reading
            shape = [reading.units, reading.height, reading.width]
            layer = {"name": spec.name, "layout": reading.layout, "shape": shape}
            row["layers"].append({**layer, "prefix": reading.prefix})
        units = unit_table(
            module, Crops(), filtration="cubical", images_per_class=1, confidence=None
        )
        row["units"] = int(units.groupby("class_name").size().iloc[0])
        row["status"] = "ok"
    except AuditError as error:
        row |= {"status": "refused", "reason": str(error)}
    except Exception as error:  # noqa: BLE001  what else goes wrong is what is looked for
        row |= {"status": "failed", "reason": f"{type(error).__name__}: {error}"}
    row["seconds"] = round(time.perf_counter() - started, 2)
    return row


def in_own_process(architecture: str) -> dict[str, Any]:
    """The row of an architecture; a crash or a hang costs this row alone."""
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, context) as pool:
        try:
            return pool.submit(covered, architecture).result(timeout=_SECONDS_EACH)
        except (concurrent.futures.process.BrokenProcessPool, TimeoutError) as error:
            for process in pool._processes.values():
                process.kill()
            reason = f"{type(error).__name__}: {error}"
            return {
                "architecture": architecture,
                "status": "failed",
                "reason": reason,
                "layers": [],
            }


def line(family: str, row: dict[str, Any]) -> str:
    """A row of the table."""
    places = ", ".join(
        f"{layer['name']} {'×'.join(map(str, layer['shape']))} {layer['layout']}"
        + (f"+{layer['prefix']}" if layer["prefix"] else "")
        for layer in row["layers"]
    )
    what = places if row["status"] == "ok" else row["reason"]
    seconds = f"{row.get('seconds', float('nan')):6.1f}"
    return f"{family:26} {row['architecture']:34} {row['status']:8} {seconds} s  {what}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", help="families, by default all")
    parser.add_argument("--again", type=Path, help="take the architectures of an earlier result")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    families = options.only or sorted(timm.list_modules())
    if options.again:
        known = json.loads(options.again.read_text("utf-8"))["families"]
        chosen = {family: known[family]["architecture"] for family in families}
    else:
        chosen = smallest_architectures(families)
    rows: dict[str, Any] = {}
    for family, architecture in chosen.items():
        rows[family] = in_own_process(architecture)
        if not options.json:
            print(line(family, rows[family]), flush=True)
    n_ok = sum(row["status"] == "ok" for row in rows.values())
    if options.json:
        versions = {name: importlib.metadata.version(name) for name in ("timm", "torch")}
        print(
            json.dumps(
                {"versions": versions, "n": n_ok, "N": len(rows), "families": rows}, indent=1
            )
        )
    else:
        print(f"{n_ok}/{len(rows)}")


if __name__ == "__main__":
    main()
