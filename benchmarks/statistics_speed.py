"""How long does judging a large table take? 2,000 models × 60 measures × 1,000 draws.

Run: python benchmarks/statistics_speed.py [--json] [--models N] [--measures N] [--draws N]
     [--repeats N]
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable

import numpy as np
import pandas as pd

from audit import statistics
from audit.correlation import correlate


def zoo(n_models: int, n_measures: int, seed: int = 0) -> pd.DataFrame:
    """A zoo on a 5 × 5 × 4 × 4 grid with repeats, baselines and measures of rising merit."""
    rng = np.random.default_rng(seed)
    i = np.arange(n_models)
    table = pd.DataFrame(
        {
            "checkpoint": [f"c{k}" for k in i],
            "hp.a": i % 5,
            "hp.b": i // 5 % 5,
            "hp.c": i // 25 % 4,
            "hp.d": i // 100 % 4,
            "family": i // 400 % 5,
        }
    )
    quality = rng.normal(size=n_models) + table["hp.a"] - 0.5 * table["hp.b"]
    table["held_out_accuracy"] = 0.7 + 0.03 * (quality - quality.mean())
    table["train_accuracy"] = np.clip(0.95 + 0.01 * rng.normal(size=n_models), 0, 1)
    table["parameters"] = 1e6 * (1 + table["hp.a"])
    table["macs"] = rng.lognormal(size=n_models)
    merit = 0.1 * np.arange(n_measures - 3) / n_measures
    noise = rng.normal(size=(n_models, n_measures - 3))
    columns = [f"m{k}" for k in range(n_measures - 3)]
    measures = pd.DataFrame(noise + np.outer(quality, merit), columns=columns)
    return pd.concat([table, measures], axis=1)


def timed(work: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Median wall and processor seconds."""
    wall, processor = [], []
    for _ in range(repeats):
        start, used = time.perf_counter(), time.process_time()
        work()
        wall.append(time.perf_counter() - start)
        processor.append(time.process_time() - used)
    return float(np.median(wall)), float(np.median(processor))


def main(arguments: list[str] | None = None) -> None:
    """Print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--models", type=int, default=2000)
    parser.add_argument("--measures", type=int, default=60)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args(arguments)
    table = zoo(options.models, options.measures)
    x, y = table["m0"].to_numpy(), table["held_out_accuracy"].to_numpy()
    weights = statistics.bootstrap_weights(options.models, options.draws, 0)
    work: dict[str, Callable[[], object]] = {
        "correlate, whole table": lambda: correlate(table, n_bootstrap=options.draws),
        "Kendall draws, one measure": lambda: statistics.kendall_draws(x, y, weights),
        "Spearman draws, one measure": lambda: statistics.spearman_draws(x, y, weights),
        "Pearson draws, one measure": lambda: statistics.pearson_draws(x, y, weights),
        "both conditional informations": lambda: statistics.conditional_information(table, "m0"),
    }
    results = {}
    for name, job in work.items():
        wall, processor = timed(job, options.repeats)
        results[name] = {"wall_seconds": wall, "processor_seconds": processor}
    report = {
        "models": options.models,
        "measures": options.measures,
        "draws": options.draws,
        "repeats": options.repeats,
        "median": results,
    }
    if options.json:
        json.dump(report, sys.stdout, indent=2)
        print()
        return
    print(f"{options.models} models × {options.measures} measures × {options.draws} draws")
    for name, seconds in results.items():
        print(
            f"{name:32} {seconds['wall_seconds']:8.2f} s   "
            f"({seconds['processor_seconds']:.2f} s of processor time)"
        )


if __name__ == "__main__":
    main()
