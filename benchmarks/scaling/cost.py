"""What will an audit of a network cost on a processor, before it is run?

Fitted to audits with the default measures of real timm architectures with random weights, 224 × 224
pixels, on one math thread, in processor seconds:

    seconds = a + b · images · passes · GMACs + c · images · passes · Moutputs
              + d · maps + e · Mparameters

GMACs are multiply–accumulates of one forward; Moutputs what all modules of it give, which says more
of its time than arithmetic where a network is deep and thin (Radosavović et al., "Designing Network
Design Spaces", CVPR 2020, section 3.3: "activations"); maps are the seconds that the births of all
feature maps take by `results/topology-cpu-*.json`, both filtrations; Mparameters are the weights
that are read and that measures of weights go over. Coefficients are not negative, and fitted to
relative errors. Each architecture is then predicted by a fit that has not seen it.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from scipy.optimize import nnls
from torch import nn

from audit.measuring.passes import planned_passes
from audit.plugin.registry import installed
from audit.runs.layer_table import layer_table
from benchmarks.scaling.audits import Asked, audited_alone

RESULTS: Final = Path(__file__).resolve().parents[1] / "results"
SIDE: Final = 224
N_CLASSES: Final = 4
ARCHITECTURES: Final = (
    "resnet18",
    "resnet50",
    "mobilenetv3_small_100",
    "efficientnet_b0",
    "vit_tiny_patch16_224",
    "deit_small_patch16_224",
    "convnext_atto",
    "regnetx_002",
    "densenet121",
    "mixer_s32_224",
)
QUICK: Final = ("resnet18", "mobilenetv3_small_100", "vit_tiny_patch16_224", "convnext_atto")
IMAGES: Final = (16, 48)
QUICK_IMAGES: Final = (8, 16)
#: Whose sizes are kept for the arithmetic of `hub`, though they are too large to be fitted here.
HUB: Final = ("vit_base_patch16_224", "resnet50", "mobilenetv3_small_100", "vit_large_patch16_224")
TERMS: Final = ("fixed", "gmacs", "moutputs", "maps", "mparameters")


@dataclasses.dataclass(frozen=True)
class Network:
    """What a network's cost depends on.

    Attributes:
        name: Of the architecture.
        gmacs: Multiply–accumulates of one forward, 10⁹.
        moutputs: Numbers that its modules without parts give in one forward, 10⁶.
        mparameters: Learnable numbers, 10⁶.
        layers: (units, height, width) of each layer whose maps are taken.
    """

    name: str
    gmacs: float
    moutputs: float
    mparameters: float
    layers: tuple[tuple[int, int, int], ...]

    @property
    def maps(self) -> int:
        """Feature maps of one image."""
        return sum(units for units, _, _ in self.layers)

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> Network:
        """From JSON."""
        layers = tuple(tuple(layer) for layer in found["layers"])
        return cls(**{**found, "layers": layers})


def described(name: str) -> Network:
    """The sizes of a timm architecture on 224 × 224 pixels, measured on one forward."""
    from audit_measures._macs import multiply_accumulates

    layers, _ = layer_table(name, transform={"input_size": [3, SIDE, SIDE]})
    network = installed().model_source(name).create(name, {"num_classes": N_CLASSES}, False).eval()
    image = torch.zeros(1, 3, SIDE, SIDE)
    outputs = 0

    def count(module: nn.Module, inputs: Any, output: Any) -> None:
        nonlocal outputs
        outputs += output.numel() if isinstance(output, torch.Tensor) else 0

    hooks = [m.register_forward_hook(count) for m in network.modules() if not any(m.children())]
    with torch.inference_mode():
        network(image)
    for hook in hooks:
        hook.remove()
    return Network(
        name=name,
        gmacs=multiply_accumulates(network, image) / 1e9,
        moutputs=outputs / 1e6,
        mparameters=sum(p.numel() for p in network.parameters()) / 1e6,
        layers=tuple(
            (int(units), int(height), int(width))
            for units, height, width in layers[["units", "height", "width"]].to_numpy()
        ),
    )


def seconds_per_map(device: str = "cpu") -> dict[str, dict[float, float]]:
    """Filtration → side → seconds of one map of a trained network, by the kept benchmarks.

    Args:
        device: "cpu" or "cuda".
    """
    newest = max(RESULTS.glob(f"topology-{device}-????-??-??.json"))
    kept = json.loads(newest.read_text("utf-8"))
    found: dict[str, dict[float, float]] = {}
    for row in kept["rows" if device == "cpu" else "speed"]:
        if row["maps"] == "trained ReLU":
            found.setdefault(row["filtration"], {})[row["side"]] = 1 / row["maps_per_second"]
    return found


def births_seconds(network: Network, table: Mapping[str, Mapping[float, float]]) -> float:
    """Seconds of the births of one image's maps; sides in between by a power law.

    The clique filtration is of square maps alone.
    """
    total = 0.0
    for units, height, width in network.layers:
        for filtration, times in table.items():
            if filtration == "cubical" or height == width:
                sides = sorted(times)
                side = float(np.clip((height * width) ** 0.5, sides[0], sides[-1]))
                logs = np.log([times[s] for s in sides])
                total += units * float(np.exp(np.interp(np.log(side), np.log(sides), logs)))
    return total


def terms(network: Network, images: int, passes: float) -> np.ndarray:
    """The terms of the model, as `TERMS` names them; shape (5,)."""
    forwards = images * passes
    return np.array(
        [
            1.0,
            forwards * network.gmacs,
            forwards * network.moutputs,
            images * births_seconds(network, seconds_per_map()),
            network.mparameters,
        ]
    )


def fitted(rows: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Coefficients that fit measured audits, none negative, by least squares of relative errors.

    Args:
        rows: Each with `terms` and `seconds`.
    """
    features = np.array([row["terms"] for row in rows], float)
    seconds = np.array([row["seconds"] for row in rows], float)
    coefficients: np.ndarray = nnls(features / seconds[:, None], np.ones(len(seconds)))[0]
    return coefficients


def held_back(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Architecture → median relative error of a fit to all the others, (said − was) / was."""
    errors = {}
    for name in dict.fromkeys(row["model"] for row in rows):
        theirs = [row for row in rows if row["model"] == name]
        others = fitted([row for row in rows if row["model"] != name])
        errors[name] = statistics.median(
            float(np.dot(others, row["terms"])) / row["seconds"] - 1 for row in theirs
        )
    return errors


def measure(quick: bool) -> dict[str, Any]:
    """The model's coefficients, and how far it is off for an architecture it has not seen."""
    names = QUICK if quick else ARCHITECTURES
    networks = {name: described(name) for name in names}
    found: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for _ in range(1 if quick else 2):
        for name in names:
            for images in QUICK_IMAGES if quick else IMAGES:
                row = audited_alone(Asked(name, images, N_CLASSES, SIDE))
                found.setdefault((name, images), []).append(row)
                print(name, images, row["seconds"], file=sys.stderr)
    rows = []
    for (name, images), several in found.items():
        network, passes = networks[name], several[0]["passes"]
        rows.append(
            {
                "model": name,
                "images": images,
                "passes": passes,
                "seconds": statistics.median(row["seconds"] for row in several),
                "peak": statistics.median(row["peak"] for row in several),
                "store_bytes": several[0]["store_bytes"],
                "weights_bytes": several[0]["weights_bytes"],
                "reads": several[0]["reads"],
                "writes": several[0]["writes"],
                "maps": network.maps * images,
                "terms": terms(network, images, passes).tolist(),
            }
        )
    errors = held_back(rows)
    return {
        "networks": [dataclasses.asdict(network) for network in networks.values()],
        "hub_networks": [dataclasses.asdict(described(name)) for name in HUB],
        "passes": planned_passes(installed().select_measures()),
        "rows": rows,
        "coefficients": dict(zip(TERMS, fitted(rows).tolist(), strict=True)),
        "held_back": errors,
        "median_error": statistics.median(abs(error) for error in errors.values()),
        "largest_error": max(abs(error) for error in errors.values()),
        "store": _store_bytes(rows),
    }


def _store_bytes(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Bytes of the store for each audit, and for each feature map."""
    sizes = np.array([[1.0, row["maps"]] for row in rows])
    stored = np.array([row["store_bytes"] for row in rows], float)
    fixed, each = nnls(sizes / stored[:, None], np.ones(len(stored)))[0]
    return {"fixed": float(fixed), "per_map": float(each)}


def table(found: dict[str, Any]) -> str:
    """Measured audits, what a fit to the others says, and the coefficients."""
    lines = [
        "| architecture | GMACs | M outputs | maps an image | images | processor s | off by |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    networks = {one["name"]: Network.of(one) for one in found["networks"]}
    for name, network in networks.items():
        most = max((r for r in found["rows"] if r["model"] == name), key=lambda r: r["images"])
        lines.append(
            f"| {name} | {network.gmacs:.2f} | {network.moutputs:.1f} | {network.maps:,} | "
            f"{most['images']} | {most['seconds']:.1f} | {found['held_back'][name]:+.0%} |"
        )
    c = found["coefficients"]
    lines.append(
        f"\nseconds = {c['fixed']:.2f} + images · passes · ({1000 * c['gmacs']:.1f} ms · GMACs + "
        f"{1000 * c['moutputs']:.2f} ms · M outputs) + {c['maps']:.2f} · seconds of births + "
        f"{1000 * c['mparameters']:.0f} ms · M parameters. For an architecture that the fit has "
        f"not seen it is off by {found['median_error']:.0%} in the median, "
        f"{found['largest_error']:.0%} at most. The store takes "
        f"{found['store']['fixed'] / 1e6:.2f} MB and {found['store']['per_map']:.1f} bytes for "
        "each feature map."
    )
    return "\n".join(lines)
