"""Train, check and measure every task that comes along: the tables of `benchmarks/zoos`.

Each task trains in some minutes on two cores and is measured in about as many again. What is there
is not done again, so that an interrupted run goes on.

Run: python -m benchmarks.make_zoos [-o zoos] [TASK ...]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from audit.runs.config import RunOptions
from audit.zoo.check import check_zoo
from audit.zoo.measuring import measure_zoo
from audit.zoo.table import write_zoo_table
from audit.zoo.tasks import read_task, shipped_tasks
from audit.zoo.train_zoo import train_zoo

TABLES = Path(__file__).parent / "zoos"
#: Not a zoo of its own: the demonstration is made of another task's images.
DEMO = "demo"


def main() -> None:
    """Make the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("zoos"), help="folder of the zoos"
    )
    parser.add_argument("tasks", nargs="*", help="by default all")
    chosen = parser.parse_args()
    for name in chosen.tasks or [name for name in shipped_tasks() if name != DEMO]:
        task = read_task(name)
        folder = chosen.output / task.name
        options = RunOptions(output=folder, cache=folder / "cache", progress=sys.stderr.isatty())
        train_zoo(task, folder, options)
        for finding in check_zoo(task, folder):
            print(f"{name}: {'yes' if finding.holds else 'NO '} {finding.what}: {finding.found}")
        path = write_zoo_table(measure_zoo(task, folder, options), TABLES)
        print(f"{name}: {path.name}", flush=True)


if __name__ == "__main__":
    main()
