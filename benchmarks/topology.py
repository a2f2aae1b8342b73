"""How many feature maps a second, beside every peer installed?

    python -m benchmarks.topology [--quick] [--json] [--sides 7 14 28 56 112 224]
        [--output FILE] [--plot FILE.svg] [--readme FILE]
    python -m benchmarks.topology --from RESULTS.json [--plot FILE.svg] [--readme FILE]

Each figure is the median of several runs in this process, ours and the peers' taken in turn on the
same maps: white noise, and the post-ReLU maps of a small network trained here on scikit-learn's
digits. Figures per map are processor time, which other work on the machine disturbs least: on one
processor, and summed over threads where a peer starts its own. A peer takes as many of the maps as
last a quarter of a second, and 16 unless those last over two seconds; one that takes over two
seconds for a map is left out.

The speedup by threads is wall time, of a batch of the same maps over and over that lasts at least
a tenth of a second on one thread, so that starting threads (about a millisecond) does not hide it.
It is to be read beside what hashing, which needs no memory, gains from as many threads in the same
minute. The bound is the time to read the maps from memory once, as fast as one thread reads here.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from audit.arrays import NO_BIRTH
from audit.processors import default_threads
from audit.topology import FILTRATIONS, birth_levels
from benchmarks import topology_tables
from benchmarks.feature_maps import trained_maps, white_noise
from benchmarks.peers import PACKAGES, peers_of
from benchmarks.timing import (
    first_call_seconds,
    hash_on,
    maps_within,
    on_one_processor,
    read_gigabytes_per_second,
    seconds_each,
    versions,
)

SIDES = (7, 14, 28, 56, 112, 224)
SLOWEST_SECONDS_PER_MAP = 2.0
THREADS_BATCH_SECONDS = 0.12  # a margin over the 0.1 s that the docstring promises
Results = dict[str, Any]


class Effort(NamedTuple):
    """How long to measure: pixels a batch, runs of each call, seconds of a slow call."""

    pixels: int = 2_000_000
    runs: int = 5
    seconds: float = 0.25


QUICK = Effort(200_000, 3, 0.05)


def measure(filtration: str, kind: str, maps: np.ndarray, effort: Effort, rate: float) -> Results:
    """One row: µs per map of ours and every peer, ratios, scaling and the memory bound."""
    tensor = torch.from_numpy(maps[: max(64, len(maps) // 20)])
    calls: dict[str, Callable[[], object]] = {
        "ours": lambda: birth_levels(maps, filtration, threads=1),
        "torch": lambda: birth_levels(tensor, filtration, backend="torch", threads=1),
    }
    counts, left_out = {"ours": len(maps), "torch": len(tensor)}, {}
    with on_one_processor():
        for name, peer in peers_of(filtration).items():
            prepared = peer.prepare(maps[: 16 + effort.pixels // (4 * maps[0].size)])
            counts[name], slowest = maps_within(effort.seconds, peer.call, prepared)
            if slowest > SLOWEST_SECONDS_PER_MAP:
                left_out[name] = f"one map takes {slowest:.1f} s"
            else:
                calls[name] = partial(peer.call, prepared[: counts[name]])
        seconds = seconds_each(calls, effort.runs)
    each = {name: seconds[name].processor / counts[name] for name in calls}
    ours, fallback = each.pop("ours"), each.pop("torch")
    return {
        "filtration": filtration,
        "maps": kind,
        "side": maps.shape[-1],
        "n_maps": len(maps),
        "born": float((birth_levels(maps, filtration) != NO_BIRTH).mean()),
        "us_per_map": ours * 1e6,
        "maps_per_second": 1 / ours,
        "memory_bound_us_per_map": maps[0].nbytes / rate / 1e3,
        "torch_us_per_map": fallback * 1e6,
        "threads": threads_speedup(filtration, maps, ours, effort.runs),
        "peers": {
            name: {"us_per_map": theirs * 1e6, "ratio": theirs / ours, "n_maps": counts[name]}
            for name, theirs in each.items()
        },
        "left_out": left_out,
    }


def threads_speedup(filtration: str, maps: np.ndarray, each: float, runs: int) -> Results:
    """Gain on the wall from all threads, on a long batch, and what hashing gains beside it."""
    threads = default_threads()
    count = max(len(maps), int(THREADS_BATCH_SECONDS / each))
    batch = maps[np.arange(count) % len(maps)]
    seconds = seconds_each(
        {
            "one": lambda: birth_levels(batch, filtration, threads=1),
            "all": lambda: birth_levels(batch, filtration, threads=threads),
            "hash one": lambda: hash_on(1, of=2 * threads),
            "hash all": lambda: hash_on(threads, of=2 * threads),
        },
        runs,
    )
    return {
        "threads": threads,
        "n_maps": count,
        "one_thread_milliseconds": seconds["one"].wall * 1e3,
        "speedup": seconds["one"].wall / seconds["all"].wall,
        "hashing_speedup": seconds["hash one"].wall / seconds["hash all"].wall,
    }


def report(effort: Effort, sides: list[int], filtrations: list[str]) -> Results:
    """Everything measured, as plain data."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    rate = read_gigabytes_per_second()
    trained, accuracy = trained_maps(sides, effort.pixels)
    torch.set_num_threads(1)
    rows = []
    for filtration in filtrations:
        for side in sides:
            kinds = {"white noise": white_noise(side, max(64, effort.pixels // side**2))}
            if side in trained:
                kinds["trained ReLU"] = trained[side]
            rows += [measure(filtration, kind, maps, effort, rate) for kind, maps in kinds.items()]
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "device": "cpu",
        "processors": os.cpu_count(),
        "load_average": load,  # of the minute before the start
        "versions": versions(PACKAGES),
        "read_gigabytes_per_second": rate,
        "first_call_seconds": first_call_seconds(),
        "trained_network_accuracy": accuracy,
        "rows": rows,
    }


def main() -> None:
    """Measure or read earlier results; print, draw and keep them where asked."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.topology",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="fewer maps and runs")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--sides", type=int, nargs="+", default=list(SIDES), metavar="SIDE")
    parser.add_argument("--filtrations", nargs="+", choices=FILTRATIONS, default=FILTRATIONS)
    parser.add_argument("--output", type=Path, help="also write the JSON to this file")
    parser.add_argument(
        "--from", dest="earlier", type=Path, metavar="FILE", help="measure nothing: read this JSON"
    )
    parser.add_argument("--plot", type=Path, help="draw time against map side, as SVG")
    parser.add_argument("--readme", type=Path, help="renew the figures in this Markdown file")
    options = parser.parse_args()
    if options.earlier:
        results = json.loads(options.earlier.read_text(encoding="utf-8"))
    else:
        effort = QUICK if options.quick else Effort()
        results = report(effort, sorted(options.sides), list(options.filtrations))
    text = json.dumps(results, indent=1)
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(text + "\n", encoding="utf-8")
    if options.plot:
        from benchmarks import topology_plot  # matplotlib, which nothing else here needs

        topology_plot.draw(results, options.plot)
    if options.readme:
        renewed = topology_tables.renewed(options.readme.read_text(encoding="utf-8"), results)
        options.readme.write_text(renewed, encoding="utf-8")
    print(text if options.json else topology_tables.text(results))


if __name__ == "__main__":
    main()
