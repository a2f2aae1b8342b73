"""Where does an object store become the limit, with a thousand workers and more?

A discrete-event simulation: every worker audits one checkpoint after another. For each it asks the
store what it has, one question after another as the code does, computes, and writes. A request
takes a latency drawn at random; above the store's rates of reads or writes it is refused, and is
tried again after a wait that doubles, as clients of S3 do. How many requests a checkpoint takes is
counted in real audits, cold and with everything kept.

What is assumed, and its source:

- `READS_PER_SECOND`, `WRITES_PER_SECOND`: at least 5,500 GET or HEAD and 3,500 PUT requests a
  second for each partitioned prefix; Amazon S3 User Guide, "Best practices design patterns:
  optimizing Amazon S3 performance". More prefixes give more; one is the worst case.
- `LATENCY`: 30 ms, log-normal with σ = 0.5. The guide's "Performance design patterns" says that for
  requests below 512 KB "median latencies are often in the tens of milliseconds"; the shape is ours.
- The wait before a further try is uniform up to min(20 s, 2^tries s): botocore's standard mode.
"""

from __future__ import annotations

import dataclasses
import random
import statistics
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Any, Final

import simpy

from audit.runs import pipeline
from benchmarks.scaling.traffic import Traffic, counted
from benchmarks.scaling.zoos import Zoo

READS_PER_SECOND: Final = 5_500.0
WRITES_PER_SECOND: Final = 3_500.0
LATENCY: Final = 0.030
_SPREAD: Final = 0.5
_LONGEST_WAIT: Final = 20.0
#: Seconds between two looks at how many requests are under way.
_LOOKS: Final = 0.25
WORKERS: Final = (100, 300, 1_000, 3_000, 10_000)
QUICK_WORKERS: Final = (30, 100, 300)
#: Seconds of computing for a checkpoint: a small network on a GPU, a large one, one on a processor.
COMPUTING: Final = (5.0, 30.0, 300.0)
_SOME_WORKERS: Final = 1_000


@dataclasses.dataclass(frozen=True)
class Load:
    """What one checkpoint asks of the store, and how long it computes.

    Attributes:
        reads: GET and HEAD requests before it computes.
        writes: PUT requests after it.
        seconds: Of computing, on average; each checkpoint's is drawn within a factor of two.
    """

    reads: int
    writes: int
    seconds: float


class Limiter:
    """A store's allowance of requests: so many a second, and one second's worth at once.

    Args:
        per_second: The rate.
    """

    def __init__(self, per_second: float) -> None:
        self._rate = self._left = per_second
        self._then = 0.0

    def takes(self, now: float) -> bool:
        """Whether a request at this time is served, rather than refused."""
        self._left = min(self._rate, self._left + (now - self._then) * self._rate)
        self._then = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class Simulation:
    """Workers, each with some checkpoints, and one store.

    Args:
        load: Of a checkpoint.
        workers: How many there are; all begin at once.
        each: Checkpoints of every worker.
        latency: Median of a request, seconds.
        seed: Of every draw.

    Attributes:
        n_served: Requests that were served.
        n_refused: Requests that were refused, and tried again.
        sojourns: Sum of the seconds from each request's first try until it was served.
        in_flight: How many requests were under way at regular looks.
        computed: Seconds of computing, all workers together.
        ends: When each worker was done.
    """

    def __init__(
        self, load: Load, workers: int, each: int, latency: float = LATENCY, seed: int = 0
    ) -> None:
        self._load, self._workers, self._each = load, workers, each
        self._latency, self._random = latency, random.Random(seed)
        self._limits = {"read": Limiter(READS_PER_SECOND), "write": Limiter(WRITES_PER_SECOND)}
        self._now_in_flight = 0
        self.n_served = self.n_refused = 0
        self.sojourns = self.computed = 0.0
        self.in_flight: list[int] = []
        self.ends: list[float] = []

    def run(self) -> dict[str, float]:
        """Run until the last worker is done; shares, rates, and seconds.

        A worker counts until it is done itself, so that the last ones do not make the others idle.
        """
        environment = simpy.Environment()
        everybody = [environment.process(self._worker(environment)) for _ in range(self._workers)]
        done = environment.all_of(everybody)
        environment.process(self._watch(environment))
        environment.run(until=done)
        seconds = statistics.fmean(self.ends)
        n_checkpoints = self._workers * self._each
        return {
            "workers": self._workers,
            "computing": self._load.seconds,
            "seconds": float(environment.now),
            "checkpoints_per_second": n_checkpoints / seconds,
            "utilisation": self.computed / (self._workers * seconds),
            "requests_per_second": self.n_served / float(environment.now),
            "refused": self.n_refused / max(1, self.n_served + self.n_refused),
            "mean_request": self.sojourns / max(1, self.n_served),
            "in_flight": statistics.fmean(self.in_flight) if self.in_flight else 0.0,
        }

    def _watch(self, environment: simpy.Environment) -> Generator[Any, Any, None]:
        while True:
            yield environment.timeout(_LOOKS)
            self.in_flight.append(self._now_in_flight)

    def _worker(self, environment: simpy.Environment) -> Generator[Any, Any, None]:
        for _ in range(self._each):
            for _ in range(self._load.reads):
                yield from self._request(environment, "read")
            seconds = self._load.seconds * self._random.uniform(0.5, 1.5)
            self.computed += seconds
            yield environment.timeout(seconds)
            for _ in range(self._load.writes):
                yield from self._request(environment, "write")
        self.ends.append(float(environment.now))

    def _request(self, environment: simpy.Environment, kind: str) -> Generator[Any, Any, None]:
        began, tries = environment.now, 0
        self._now_in_flight += 1
        while True:
            yield environment.timeout(self._latency * self._random.lognormvariate(0, _SPREAD))
            if self._limits[kind].takes(environment.now):
                break
            self.n_refused += 1
            longest = min(_LONGEST_WAIT, 2.0**tries)
            yield environment.timeout(self._random.uniform(0, longest))
            tries += 1
        self._now_in_flight -= 1
        self.n_served += 1
        self.sojourns += environment.now - began


def saturation(load: Load, latency: float = LATENCY) -> float:
    """Workers from which on the store, not they, decides how many checkpoints are done.

    Below it each worker does one in seconds + (reads + writes) · latency; the store serves
    min(reads' rate / reads, writes' rate / writes) a second.
    """
    served = min(
        READS_PER_SECOND / load.reads if load.reads else float("inf"),
        WRITES_PER_SECOND / load.writes if load.writes else float("inf"),
    )
    return served * (load.seconds + (load.reads + load.writes) * latency)


def requests_of_runs(quick: bool) -> dict[str, dict[str, float]]:
    """Requests for each checkpoint of a run: cold, with one measure more, and with all kept."""
    n_checkpoints = 2 if quick else 6
    with tempfile.TemporaryDirectory() as place:
        zoo = Zoo(Path(place), n_checkpoints, 2)
        zoo.write()
        study = zoo.study("run", 0)
        one_less = dataclasses.replace(study, measures=study.measures[1:])
        found: dict[str, Traffic] = {}
        for name, run in (("cold", one_less), ("one measure more", study), ("kept", study)):
            with counted() as traffic:
                pipeline.measure(run)
            found[name] = traffic
    return {
        name: {field: value / n_checkpoints for field, value in dataclasses.asdict(traffic).items()}
        for name, traffic in found.items()
    }


def loads_of(cold: dict[str, float]) -> dict[str, Load]:
    """What a cold checkpoint asks of an object store: each question, or one listing before.

    After a listing of what the store has of a checkpoint, what is missing costs no request. The
    lines of the ledger are one object.

    Args:
        cold: Requests of a cold run for each checkpoint, by name.
    """
    writes = round(cold["written"]) + 1
    return {
        "each question": Load(round(cold["found"] + cold["missed"]), writes, COMPUTING[1]),
        "one listing": Load(1 + round(cold["found"]), writes, COMPUTING[1]),
    }


def measure(quick: bool) -> dict[str, Any]:
    """Requests as counted, and simulations with a read for each question and with one listing."""
    requests = requests_of_runs(quick)
    loads = loads_of(requests["cold"])
    rows: list[dict[str, Any]] = []
    each = 2 if quick else 4
    for name, load in loads.items():
        for workers in QUICK_WORKERS if quick else WORKERS:
            rows.append({"load": name, **Simulation(load, workers, each).run()})
            print(rows[-1], file=sys.stderr)
        for seconds in COMPUTING:
            if seconds != load.seconds:
                some = QUICK_WORKERS[-1] if quick else _SOME_WORKERS
                other = dataclasses.replace(load, seconds=seconds)
                rows.append({"load": name, **Simulation(other, some, each).run()})
    limits = [
        {
            "load": name,
            "computing": seconds,
            "workers": saturation(dataclasses.replace(load, seconds=seconds)),
        }
        for name, load in loads.items()
        for seconds in COMPUTING
    ]
    return {
        "requests": requests,
        "loads": {name: dataclasses.asdict(load) for name, load in loads.items()},
        "rows": rows,
        "saturation": limits,
    }


def table(found: dict[str, Any]) -> str:
    """Requests, simulations and limits as tables."""
    lines = ["| run | reads | of them of one measure | writes | ledger lines |"]
    lines.append("|---|---:|---:|---:|---:|")
    lines += [
        f"| {name} | {row['found'] + row['missed']:.1f} | {row['missed_measures']:.1f} | "
        f"{row['written']:.1f} | {row['noted']:.1f} |"
        for name, row in found["requests"].items()
    ]
    lines += [
        "",
        "| requests | workers | computing, s | workers computing | requests/s | refused | "
        "a request, s | checkpoints/s |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {row['load']} | {row['workers']:,} | {row['computing']:.0f} | "
        f"{row['utilisation']:.0%} | {row['requests_per_second']:,.0f} | {row['refused']:.1%} | "
        f"{row['mean_request']:.3f} | {row['checkpoints_per_second']:.1f} |"
        for row in found["rows"]
    ]
    lines += ["", "| requests | computing, s | the store is the limit from |", "|---|---:|---:|"]
    lines += [
        f"| {row['load']} | {row['computing']:.0f} | {row['workers']:,.0f} workers |"
        for row in found["saturation"]
    ]
    return "\n".join(lines)
