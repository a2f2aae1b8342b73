"""How many feature maps a second on a CUDA device, are they exact, and what do they cost a forward?

    python -m benchmarks.topology_cuda [--quick] [--json] [--output FILE]

First every birth on the device is compared with the processor's, on noise, tied noise, rounded
values and the maps of a trained network. Then maps per second, in wall time with the device
synchronised, median of several runs, beside the tensor operations on the same device and the time
to read the maps from the device's memory once. Last the forward of a ResNet-50 on crops of
scikit-learn's two photographs at 224 pixels, without and with the births of its five stages.
Without a CUDA device it says so and ends with 1.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import timm
import torch
from sklearn.datasets import load_sample_images

from audit.topology import birth_levels
from benchmarks.feature_maps import trained_maps
from benchmarks.timing import versions

DEVICE = "cuda"
SIDES = (7, 14, 28, 56, 112)
TARGETS: Final = {("cubical", 14): 20e6, ("cubical", 56): 2e6, ("clique", 14): 50e6}
PRECISIONS = ("float32 (TF32 convolutions)", "float32", "bfloat16, channels last")
VERSIONS_OF: Final = ("torch", "numba", "numba-cuda", "numpy", "timm", "genaudit")
Row = dict[str, Any]


def seconds(call: Callable[[], object], runs: int) -> float:
    """Median wall time of a call, the device synchronised before and after."""
    call()
    times = []
    for _ in range(runs):
        torch.cuda.synchronize()
        start = time.perf_counter()
        call()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def mismatches(pixels: int, more_sides: tuple[int, ...] = (1, 2, 3, 4, 5, 130)) -> list[Row]:
    """Births on the device that differ from the processor's, by filtration, side and kind."""
    generator = np.random.default_rng(1)
    real, _ = trained_maps(list(SIDES), pixels)
    rows = []
    for side in (*SIDES, *more_sides):
        noise = generator.standard_normal((max(4, pixels // side**2), side, side), np.float32)
        kinds = {
            "white noise": noise,
            "five values": np.round(noise),
            "bfloat16": torch.from_numpy(noise).bfloat16().float().numpy(),
            "float64": noise[: 1 + len(noise) // 8].astype(np.float64) * (1 + 1e-12),
        }
        if side in real:
            kinds["trained ReLU"] = real[side]
        for kind, maps in kinds.items():
            on_device = torch.from_numpy(maps).to(DEVICE)
            for filtration, preset in (
                ("cubical", "paper"),
                ("clique", "paper"),
                ("clique", "full"),
            ):
                found = birth_levels(on_device, filtration, preset, "cuda").cpu().numpy()
                expected = birth_levels(maps, filtration, preset, "cpu")
                rows.append(
                    {
                        "filtration": filtration,
                        "preset": preset,
                        "side": side,
                        "maps": kind,
                        "compared": len(maps),
                        "different": int((found != expected).sum()),
                    }
                )
    return rows


def read_bytes_per_second() -> float:
    """Rate at which the device reads a gibibyte once."""
    ones = torch.ones(1 << 28, device=DEVICE)
    return 4 * ones.numel() / seconds(ones.sum, 10)


def speeds(pixels: int, runs: int) -> list[Row]:
    """Maps per second on the device of both filtrations, by side and kind of map."""
    bytes_per_second = read_bytes_per_second()
    real, _ = trained_maps(list(SIDES), 4_000_000)
    rows = []
    for side in SIDES:
        count = pixels // side**2
        kinds = {"white noise": torch.randn(count, side, side, device=DEVICE)}
        some = torch.from_numpy(real[side]).to(DEVICE)
        kinds["trained ReLU"] = some.repeat(-(-count // len(some)), 1, 1)[:count]
        for kind, maps in kinds.items():
            few = maps[: max(1, count // 50)]
            for filtration in ("cubical", "clique"):
                kernel = seconds(partial(birth_levels, maps, filtration, backend="cuda"), runs)
                plain = seconds(partial(birth_levels, few, filtration, backend="torch"), 3)
                rows.append(
                    {
                        "filtration": filtration,
                        "maps": kind,
                        "side": side,
                        "n_maps": count,
                        "maps_per_second": count / kernel,
                        "target": TARGETS.get((filtration, side)),
                        "tensor_operations_maps_per_second": len(few) / plain,
                        "memory_bound_maps_per_second": bytes_per_second / (4 * side**2),
                    }
                )
    return rows


@contextlib.contextmanager
def births_of_five_stages(
    model: torch.nn.Module, filtrations: tuple[str, ...]
) -> Iterator[list[torch.Tensor]]:
    """While inside, each forward appends the births of the five stages' maps."""
    births: list[torch.Tensor] = []

    def hook(_module: torch.nn.Module, _inputs: object, output: torch.Tensor) -> None:
        births.extend(birth_levels(output, filtration) for filtration in filtrations)

    stages = [model.get_submodule(f"layer{k}") for k in (1, 2, 3, 4)]
    hooks = [stage.register_forward_hook(hook) for stage in (model.get_submodule("act1"), *stages)]
    yield births
    for handle in hooks:
        handle.remove()


def photographs(count: int) -> torch.Tensor:
    """Random 224-pixel crops of scikit-learn's two photographs, (count, 3, 224, 224)."""
    generator = np.random.default_rng(2)
    crops = []
    images = load_sample_images().images
    for k in range(count):
        image = images[k % 2]
        top, left = (generator.integers(0, size - 224) for size in image.shape[:2])
        crops.append(image[top : top + 224, left : left + 224])
    return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float() / 127.5 - 1


def forward_anew(model: torch.nn.Module, images: torch.Tensor, births: list[torch.Tensor]) -> None:
    """A forward whose hooks fill an emptied list."""
    births.clear()
    model(images)


def forwards(batch: int, runs: int) -> list[Row]:
    """Forward time of a ResNet-50 and what births of all five stages add to it."""
    images = photographs(batch).to(DEVICE)
    rows = []
    for precision in PRECISIONS:
        torch.backends.cudnn.allow_tf32 = "TF32" in precision
        torch.manual_seed(0)
        model = timm.create_model("resnet50", pretrained=False).to(DEVICE)
        batch_of = images
        if "bfloat16" in precision:
            model = model.bfloat16().to(memory_format=torch.channels_last)
            batch_of = images.bfloat16().to(memory_format=torch.channels_last)
        with torch.no_grad():
            for module in model.modules():
                if isinstance(module, torch.nn.BatchNorm2d):
                    module.momentum = 1.0
            model.train()(batch_of)  # the statistics of these images
            model.eval()
            alone = seconds(partial(model, batch_of), runs)
            for filtrations in (("cubical",), ("clique",)):
                with births_of_five_stages(model, filtrations) as births:
                    together = seconds(partial(forward_anew, model, batch_of, births), runs)
                    n_maps = sum(each.numel() for each in births)
                rows.append(
                    {
                        "precision": precision,
                        "batch": batch,
                        "filtration": filtrations[0],
                        "images_per_second": batch / alone,
                        "images_per_second_with_births": batch / together,
                        "n_maps_per_image": n_maps // batch,
                        "added": together / alone - 1,
                    }
                )
    torch.backends.cudnn.allow_tf32 = True
    return rows


def report(quick: bool) -> dict[str, Any]:
    """Everything measured, as plain data."""
    exact = mismatches(200_000 if quick else 2_000_000)
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "device": torch.cuda.get_device_name(),
        "cuda": torch.version.cuda,
        "versions": versions(VERSIONS_OF),
        "exactness": exact,
        "speed": speeds(1 << 23 if quick else 1 << 27, 3 if quick else 7),
        "resnet50": forwards(16 if quick else 128, 3 if quick else 10),
    }


def table(results: dict[str, Any]) -> str:
    """The results as text."""
    compared = sum(row["compared"] for row in results["exactness"])
    different = sum(row["different"] for row in results["exactness"])
    lines = [
        f"{results['device']}, CUDA {results['cuda']}; "
        + "  ".join(f"{name} {version}" for name, version in results["versions"].items()),
        f"{different} of {compared:,} births differ from the processor's",
        *(f"  differs: {row}" for row in results["exactness"] if row["different"]),
        "",
        f"{'filtration':10} {'maps':12} {'side':>4} {'maps/s':>14} {'of target':>10} "
        f"{'of memory bound':>15} {'tensor operations':>18}",
    ]
    for row in results["speed"]:
        target = f"{row['maps_per_second'] / row['target']:.2f}×" if row["target"] else ""
        bound = row["maps_per_second"] / row["memory_bound_maps_per_second"]
        slower = row["maps_per_second"] / row["tensor_operations_maps_per_second"]
        lines.append(
            f"{row['filtration']:10} {row['maps']:12} {row['side']:4} "
            f"{row['maps_per_second']:14,.0f} {target:>10} {bound:15.1%} {slower:12,.0f}× slower"
        )
    lines += ["", "ResNet-50, 224 px, births of all five stages"]
    lines += [
        f"{row['precision']:28} batch {row['batch']:4} {row['filtration']:8} "
        f"{row['images_per_second']:8,.0f} → {row['images_per_second_with_births']:8,.0f} images a "
        f"second, {row['added']:+.1%} time for {row['n_maps_per_image']:,} maps an image"
        for row in results["resnet50"]
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure, print, and keep the results where asked."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.topology_cuda", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer maps and runs")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--output", type=Path, help="also write the JSON to this file")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit(f"no CUDA device: torch {torch.__version__} finds none here")
    results = report(options.quick)
    text = json.dumps(results, indent=1)
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(text + "\n")
    print(text if options.json else table(results))


if __name__ == "__main__":
    main()
