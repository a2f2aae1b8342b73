"""The arithmetic of `hub` as tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from benchmarks.scaling.cost import Network, births_seconds, seconds_per_map
from benchmarks.scaling.hub import (
    MIX,
    Bill,
    bills_of,
    mixed,
    newest_result,
    numbers_of_models,
)


def each_table(kept: Mapping[str, Any]) -> str:
    """One checkpoint of each architecture of the mix, and the mean one."""
    networks = {one["name"]: Network.of(one) for one in kept["cost"]["hub_networks"]}
    bills = bills_of(kept)
    lines = [
        "| architecture | share | GMACs | M parameters | maps an image | GPU, s | host beside it, "
        "s | without GPU, s | weights, MB | store, MB | requests |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, share in MIX.items():
        sizes = networks[name]
        lines.append(
            f"| {name} | {share:.0%} | {sizes.gmacs:.2f} | {sizes.mparameters:.1f} | "
            f"{sizes.maps:,} | {_bill_cells(bills[name])} |"
        )
    lines.append(f"| mean | | | | | {_bill_cells(mixed(bills))} |")
    return "\n".join(lines)


def _bill_cells(one: Bill) -> str:
    return (
        f"{one.device_seconds:.1f} | {one.host_seconds:.1f} | {one.cpu_seconds:,.0f} | "
        f"{one.download_bytes / 1e6:,.0f} | {one.store_bytes / 1e6:.1f} | {one.requests:.0f}"
    )


_TOTALS: Final = (
    "GPU hours, device busy | GPU hours, held alone | processor hours, no GPU | requests | "
    "store, TB | weights, TB | images, TB"
)


def _total_cells(one: Bill, count: float) -> str:
    amounts = (
        one.device_seconds / 3600,
        one.held_seconds / 3600,
        one.cpu_seconds / 3600,
        one.requests,
        one.store_bytes / 1e12,
        one.download_bytes / 1e12,
        one.data_bytes / 1e12,
    )
    return " | ".join(_round(amount * count) for amount in amounts)


def _round(value: float) -> str:
    """Two digits that count: more would promise what no assumption here keeps."""
    if value == 0:
        return "0"
    digits = 1 - math.floor(math.log10(abs(value)))
    return f"{round(value, digits):,.{max(0, digits)}f}"


def total_table(kept: Mapping[str, Any]) -> str:
    """All checkpoints, by how many there are."""
    mean = mixed(bills_of(kept))
    lines = [f"| checkpoints | {_TOTALS} |", "|---|" + "---:|" * 7]
    lines += [
        f"| {count:,} ({why}) | {_total_cells(mean, count)} |"
        for why, count in numbers_of_models().items()
    ]
    return "\n".join(lines)


def sensitivity_table(kept: Mapping[str, Any]) -> str:
    """The estimate again, with one assumption changed at a time."""
    count = numbers_of_models()["estimate, August 2025"]
    bills = bills_of(kept)
    changed: Sequence[tuple[str, Bill]] = [
        ("as assumed", mixed(bills)),
        *((f"all are {name}", one) for name, one in bills.items()),
        *(
            (f"{images:,} images each", mixed(bills_of(kept, images)))
            for images in (500, 5_000, 50_000)
        ),
    ]
    lines = [f"| {count:,} checkpoints | {_TOTALS} |", "|---|" + "---:|" * 7]
    lines += [f"| {what} | {_total_cells(one, count)} |" for what, one in changed]
    return "\n".join(lines)


def check_table(kept: Mapping[str, Any]) -> str:
    """Births of ResNet-50's maps on the device: by the sum over sides, and as measured whole."""
    network = next(Network.of(o) for o in kept["cost"]["hub_networks"] if o["name"] == "resnet50")
    every = newest_result("topology-cuda-????-??-??.json")["resnet50"]
    rows = [row for row in every if row["precision"] == "float32"]
    lines = ["| filtration | by sides, ms an image | measured, ms an image |", "|---|---:|---:|"]
    for row in rows:
        name = row["filtration"]
        said = births_seconds(network, {name: seconds_per_map("cuda")[name]})
        was = 1 / row["images_per_second_with_births"] - 1 / row["images_per_second"]
        lines.append(f"| {name} | {1000 * said:.3f} | {1000 * was:.3f} |")
    return "\n".join(lines)
