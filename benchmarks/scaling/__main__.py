"""Run: python -m benchmarks.scaling [QUESTION ...] [--quick] [--json] [--output FILE].

Questions: workers, images, units, classes, checkpoints, store, simulation, cost; all of them where
none is named. With --output the answers go into a JSON file beside those that it has already, and
with --page the tables of docs/scaling.md are written anew from that file, nothing being measured
where no question is named.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from benchmarks.scaling import checkpoints, cost, counts, page, simulation, store, workers
from benchmarks.timing import versions

Question = tuple[Callable[[bool], dict[str, Any]], Callable[[dict[str, Any]], str]]


def _of(module: ModuleType) -> Question:
    return module.measure, module.table


QUESTIONS: Final[dict[str, Question]] = {
    "workers": _of(workers),
    **{name: (functools.partial(counts.measure, name), counts.table) for name in counts.SWEEPS},
    "checkpoints": _of(checkpoints),
    "store": _of(store),
    "simulation": _of(simulation),
    "cost": _of(cost),
}
_VERSIONS_OF: Final = ("torch", "timm", "numba", "numpy", "pandas", "simpy", "genaudit")


def answered(question: str, quick: bool) -> dict[str, Any]:
    """The answer to a question, with when and on what it was found."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    found = QUESTIONS[question][0](quick)
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "quick": quick,
        "processors": os.cpu_count(),
        "load_average": load,
        "versions": versions(_VERSIONS_OF),
        **found,
    }


def main() -> None:
    """Print tables, or JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("questions", nargs="*", metavar="QUESTION", help=", ".join(QUESTIONS))
    parser.add_argument("--quick", action="store_true", help="smaller counts, once each")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--output", type=Path, help="the JSON file that answers are kept in")
    parser.add_argument("--page", action="store_true", help="write the tables of docs/scaling.md")
    chosen = parser.parse_args()
    unknown = sorted(set(chosen.questions) - set(QUESTIONS))
    if unknown:
        parser.error(f"unknown question {unknown[0]!r}; choose from {', '.join(QUESTIONS)}")
    os.environ.setdefault("GENAUDIT_THREADS", "1")
    asked = chosen.questions or ([] if chosen.page else list(QUESTIONS))
    found = {}
    for question in asked:
        found[question] = answered(question, chosen.quick)
        if chosen.output:
            _keep(chosen.output, {question: found[question]})
        if not chosen.json:
            print(f"\n{question}\n\n{QUESTIONS[question][1](found[question])}", flush=True)
    if chosen.json:
        print(json.dumps(found, indent=1))
    if chosen.page:
        page.write(chosen.output or page.newest())


def _keep(path: Path, found: dict[str, Any]) -> None:
    """Add answers to the file, in place of earlier ones to the same questions."""
    kept = json.loads(path.read_text("utf-8")) if path.exists() else {}
    path.write_text(json.dumps({**kept, **found}, indent=1, sort_keys=True) + "\n", "utf-8")


if __name__ == "__main__":
    main()
