"""How many feature maps a second, beside every peer installed?

    python -m benchmarks.topology [--quick] [--json] [--sides 7 14 28 56] [--output FILE]

Each figure is the median of several runs in this process, ours and the peers' taken in turn on the
same maps: white noise, and the post-ReLU maps of a small network trained here on scikit-learn's
digits. Figures per map are processor time of one thread, which other work on the machine disturbs
least; the speedup by threads is wall time, to be read beside what hashing gains from a second
thread. The bound is the time to read the maps from memory once, as fast as one thread reads here.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import gudhi
import numpy as np
import torch
from gudhi.sklearn.cubical_persistence import CubicalPersistence
from sklearn.datasets import load_digits

from audit.topology import birth_levels

SIDES = (7, 14, 28, 56)
PEERS = ("gudhi", "cripser", "numba", "numpy", "torch", "scipy", "genaudit")
Row = dict[str, Any]


class Seconds(NamedTuple):
    """Median time of a call: on the wall, and of the calling thread on a processor."""

    wall: float
    thread: float


def seconds_each(calls: dict[str, Callable[[], object]], runs: int) -> dict[str, Seconds]:
    """Time of each call, the calls taken in turn so that all meet the same weather."""
    wall: dict[str, list[float]] = {name: [] for name in calls}
    thread: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(runs):
        for name, call in calls.items():
            wall_start, thread_start = time.perf_counter(), time.thread_time()
            call()
            thread[name].append(time.thread_time() - thread_start)
            wall[name].append(time.perf_counter() - wall_start)
    median = statistics.median
    return {name: Seconds(median(wall[name]), median(thread[name])) for name in calls}


def trained_maps(pixels: int) -> dict[int, np.ndarray]:
    """Post-ReLU maps (m, side, side) of each stage of a network trained on digits for seconds."""
    torch.manual_seed(0)
    digits = load_digits()
    images = torch.from_numpy(digits.images / 16).float()[:, None]
    images = torch.nn.functional.interpolate(images, (56, 56), mode="bilinear")
    labels = torch.from_numpy(digits.target)
    stages = torch.nn.ModuleList(
        torch.nn.Sequential(torch.nn.Conv2d(before, after, 3, padding=1), torch.nn.ReLU())
        for before, after in ((1, 8), (8, 16), (16, 32), (32, 64))
    )
    head = torch.nn.Linear(64, 10)
    optimizer = torch.optim.Adam([*stages.parameters(), *head.parameters()], lr=3e-3)

    def stage_outputs(batch: torch.Tensor) -> list[torch.Tensor]:
        outputs = []
        for stage in stages:
            batch = stage(batch)
            outputs.append(batch)
            batch = torch.nn.functional.max_pool2d(batch, 2)
        return outputs

    for start in range(0, 1536, 64):
        logits = head(stage_outputs(images[start : start + 64])[-1].mean((2, 3)))
        loss = torch.nn.functional.cross_entropy(logits, labels[start : start + 64])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    with torch.no_grad():
        outputs = stage_outputs(images[-256:])
    maps = {}
    for output in outputs:
        side = output.shape[-1]
        flat = output.reshape(-1, side, side).numpy()
        some = np.random.default_rng(0).permutation(len(flat))[: max(64, pixels // side**2)]
        maps[side] = np.ascontiguousarray(flat[some])
    return maps


def read_gigabytes_per_second() -> float:
    """Rate at which one thread sums an array that no cache holds."""
    array = np.ones(1 << 25, np.float32)
    return array.nbytes / seconds_each({"sum": array.sum}, 5)["sum"].wall / 1e9


def threads_control() -> float:
    """Speedup that two threads of hashing reach here: what the machine has to give."""
    block = bytes(1 << 24)

    def hash_twice(threads: int) -> None:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(lambda _: hashlib.sha256(block).digest(), range(2)))

    seconds = seconds_each({"one": lambda: hash_twice(1), "two": lambda: hash_twice(2)}, 5)
    return seconds["one"].wall / seconds["two"].wall


def gudhi_clique(maps: np.ndarray) -> None:
    """Flag complexes up to triangles and their persistence, one simplex tree a map."""
    u, v = np.triu_indices(maps.shape[1], 1)
    for feature_map in maps:
        weights = -np.maximum(feature_map, feature_map.T)[u, v].astype(float)
        tree = gudhi.SimplexTree()
        vertices = np.arange(maps.shape[1])[None]
        tree.insert_batch(vertices, np.full(maps.shape[1], weights.min()))
        tree.insert_batch(np.stack([u, v]), weights)
        tree.expansion(2)
        tree.compute_persistence(homology_coeff_field=2, persistence_dim_max=True)


def gudhi_rips(maps: np.ndarray) -> None:
    """The same complexes as Vietoris-Rips complexes of a matrix of distances."""
    for feature_map in maps:
        weights = np.maximum(feature_map, feature_map.T).astype(float)
        rips = gudhi.RipsComplex(distance_matrix=weights.max() - weights)
        tree = rips.create_simplex_tree(max_dimension=2)
        tree.compute_persistence(homology_coeff_field=2, persistence_dim_max=True)


def peers_of(filtration: str, maps: np.ndarray) -> dict[str, tuple[int, Callable[[], object]]]:
    """Each installed peer's call, and how many of the maps it takes (slow ones take few)."""
    if filtration == "clique":
        few = maps[: max(2, min(len(maps), 4_000 // maps.shape[1] ** 2))]
        return {
            "gudhi SimplexTree": (len(few), lambda: gudhi_clique(few)),
            "gudhi RipsComplex": (len(few), lambda: gudhi_rips(few)),
        }
    some = maps[: max(16, 400_000 // maps[0].size)]
    negated = list(-some.astype(float))
    gudhi_h1 = CubicalPersistence(homology_dimensions=1, n_jobs=1)
    peers: dict[str, tuple[int, Callable[[], object]]] = {
        "gudhi CubicalPersistence H1": (len(some), lambda: gudhi_h1.fit_transform(negated))
    }
    with contextlib.suppress(ImportError):
        import cripser

        part = negated[: max(8, len(negated) // 8)]
        peers["cripser"] = (
            len(part),
            lambda: [cripser.compute_ph(one, filtration="T", maxdim=1) for one in part],
        )
    return peers


def measure(filtration: str, kind: str, maps: np.ndarray, runs: int, rate: float) -> Row:
    """One row: µs per map of ours and every peer, ratios, scaling and the memory bound."""
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    tensor = torch.from_numpy(maps[: max(64, len(maps) // 20)])
    peers = peers_of(filtration, maps)
    calls: dict[str, Callable[[], object]] = {
        "one thread": lambda: birth_levels(maps, filtration, threads=1),
        "all threads": lambda: birth_levels(maps, filtration, threads=threads),
        "torch": lambda: birth_levels(tensor, filtration, backend="torch"),  # on one thread
    }
    calls |= {name: call for name, (_, call) in peers.items()}
    seconds = seconds_each(calls, runs)
    each = seconds["one thread"].thread / len(maps)
    row: Row = {
        "filtration": filtration,
        "maps": kind,
        "side": maps.shape[-1],
        "n_maps": len(maps),
        "us_per_map": each * 1e6,
        "maps_per_second": 1 / each,
        "threads": threads,
        "threads_speedup": seconds["one thread"].wall / seconds["all threads"].wall,
        "memory_bound_us_per_map": maps[0].nbytes / rate / 1e3,
        "torch_us_per_map": seconds["torch"].thread / len(tensor) * 1e6,
        "peers": {},
    }
    for name, (count, _) in peers.items():
        theirs = seconds[name].thread / count
        row["peers"][name] = {"us_per_map": theirs * 1e6, "ratio": theirs / each}
    return row


def first_call_seconds() -> dict[str, float]:
    """Seconds of a first call of both filtrations in a new process, without and with a cache."""
    code = (
        "import time, numpy, audit.topology as t; start = time.perf_counter();"
        "maps = numpy.zeros((2, 4, 4), numpy.float32);"
        "t.birth_levels(maps, 'clique'); t.birth_levels(maps, 'cubical');"
        "print(time.perf_counter() - start)"
    )
    with tempfile.TemporaryDirectory() as cache:
        environment = os.environ | {"NUMBA_CACHE_DIR": cache}
        command = [sys.executable, "-c", code]
        cold, cached = (
            float(subprocess.run(command, env=environment, check=True, capture_output=True).stdout)
            for _ in range(2)
        )
    return {"compiling": cold, "cached": cached}


def versions() -> dict[str, str]:
    """Versions of what was measured."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for name in PEERS:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def report(quick: bool, sides: list[int]) -> dict[str, Any]:
    """Everything measured, as plain data."""
    pixels, runs = (200_000, 3) if quick else (2_000_000, 7)
    rate = read_gigabytes_per_second()
    real = trained_maps(pixels)
    torch.set_num_threads(1)
    rows = []
    for filtration in ("cubical", "clique"):
        for side in sides:
            shape = (max(64, pixels // side**2), side, side)
            noise = np.random.default_rng(0).standard_normal(shape, np.float32)
            kinds = {"white noise": noise}
            if side in real:
                kinds["trained ReLU"] = real[side]
            rows += [measure(filtration, kind, maps, runs, rate) for kind, maps in kinds.items()]
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "device": "cpu",
        "processors": os.cpu_count(),
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan"),
        "versions": versions(),
        "read_gigabytes_per_second": rate,
        "hashing_speedup_on_two_threads": threads_control(),
        "first_call_seconds": first_call_seconds(),
        "rows": rows,
    }


def table(results: dict[str, Any]) -> str:
    """The rows as text."""
    lines = [
        "  ".join(f"{name} {version}" for name, version in results["versions"].items()),
        "reads {:.1f} GB/s on one thread; first call {:.1f} s compiling, {:.2f} s cached".format(
            results["read_gigabytes_per_second"], *results["first_call_seconds"].values()
        ),
        f"{results['processors']} processors, load average {results['load_average']:.1f}; "
        f"hashing gains {results['hashing_speedup_on_two_threads']:.2f}× from a second thread",
        "",
        f"{'filtration':10} {'maps':12} {'side':>4} {'µs/map':>8} {'maps/s':>11} "
        f"{'threads':>10} {'bound µs':>8} {'torch µs':>9}  peers: µs/map (times slower)",
    ]
    for row in results["rows"]:
        peers = "; ".join(
            f"{name} {peer['us_per_map']:,.1f} ({peer['ratio']:,.1f}×)"
            for name, peer in row["peers"].items()
        )
        lines.append(
            f"{row['filtration']:10} {row['maps']:12} {row['side']:4} {row['us_per_map']:8.2f} "
            f"{row['maps_per_second']:11,.0f} {row['threads']:4} {row['threads_speedup']:4.2f}× "
            f"{row['memory_bound_us_per_map']:8.3f} {row['torch_us_per_map']:9.1f}  {peers}"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure, print, and keep the results where asked."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.topology", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer maps and runs")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--sides", type=int, nargs="+", default=list(SIDES), metavar="SIDE")
    parser.add_argument("--output", type=Path, help="also write the JSON to this file")
    options = parser.parse_args()
    results = report(options.quick, options.sides)
    text = json.dumps(results, indent=1)
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(text + "\n")
    print(text if options.json else table(results))


if __name__ == "__main__":
    main()
