"""How long does the command take before it does anything? Run: python -m benchmarks.startup.

Whole processes, in turn, against an empty Python process; medians.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time

COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "import audit": ["-c", "import audit"],
    "genaudit --help": ["-m", "audit", "--help"],
    "genaudit measures": ["-m", "audit", "measures"],
    "genaudit plugins": ["-m", "audit", "plugins"],
}


def seconds(arguments: list[str]) -> float:
    """Wall seconds of one process."""
    started = time.perf_counter()
    subprocess.run([sys.executable, *arguments], capture_output=True, check=True)
    return time.perf_counter() - started


def main() -> None:
    """Time every command and print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--runs", type=int, default=7, help="counted runs of each command")
    chosen = parser.parse_args()
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for run in range(chosen.runs + 1):
        for name, arguments in COMMANDS.items():
            taken = seconds(arguments)
            if run:  # the first is warm-up
                times[name].append(taken)
    medians = {name: statistics.median(taken) for name, taken in times.items()}
    if chosen.json:
        print(json.dumps({"median_seconds": medians, "runs": chosen.runs}, indent=1))
        return
    empty = medians["python -c pass"]
    print(f"{'command':<20}{'median s':>10}{'× empty process':>18}")
    for name, median in medians.items():
        print(f"{name:<20}{median:>10.3f}{median / empty:>18.1f}")


if __name__ == "__main__":
    main()
