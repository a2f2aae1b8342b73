"""What a campaign came to, and the command line that all campaigns share."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections import Counter
from collections.abc import Callable


@dataclasses.dataclass
class Report:
    """Counts of what was tried and seen, and every failure in one line each."""

    counts: Counter[str] = dataclasses.field(default_factory=Counter)
    failures: list[str] = dataclasses.field(default_factory=list)

    def fail(self, what: str) -> None:
        """Note a failure."""
        self.failures.append(what[:500])
        self.counts["failures"] += 1

    def count(self, what: str, n: int = 1) -> None:
        """Count something that was tried or seen."""
        self.counts[what] += n


def command(run: Callable[..., Report], count: int, parts: tuple[str, ...] = ()) -> None:
    """Run a campaign as the command line says, print what it came to, and end.

    Args:
        run: Of a count and a seed; where there are parts, of the one that is asked for as well.
        count: By default.
        parts: The parts that can be run alone.
    """
    module = sys.modules[run.__module__]
    parser = argparse.ArgumentParser(description=(module.__doc__ or "").partition("\n")[0])
    parser.add_argument("--count", type=int, default=count, help=f"how many; {count} by default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print a JSON object")
    if parts:
        parser.add_argument("--only", choices=parts, help="run this part alone")
    given = parser.parse_args()
    started = time.monotonic()
    asked = {"only": given.only} if parts else {}
    found = run(given.count, given.seed, **asked)
    seconds = round(time.monotonic() - started, 1)
    said = {"counts": dict(found.counts), "failures": found.failures, "seconds": seconds}
    if given.json:
        print(json.dumps(said, indent=2))  # noqa: T201
    else:
        for name, n in found.counts.items():
            print(f"{n:>10,}  {name}")  # noqa: T201
        for failure in found.failures[:50]:
            print(f"FAILED: {failure}")  # noqa: T201
        print(f"{len(found.failures)} failures in {seconds} s")  # noqa: T201
    sys.exit(1 if found.failures else 0)
