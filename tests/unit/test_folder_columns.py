"""What `run.json` says of columns: owner, direction, whether they are judged."""

import json

import pandas as pd

from audit.folder.columns import (
    describe_measure,
    directed_columns,
    directions_of,
    judged_columns,
    measure_of,
    part_of,
)
from audit.plugin import MeasureEntry, Part


def measure(name, **changes):
    fields = {"version": "1", "direction": "lower", "invariance": "none", "cost": "weights"}
    fields |= {"summary": f"the {name}", "compute": lambda view: 0.0}
    return MeasureEntry(name=name, **fields | changes)


PARTS = (
    Part(name="layer_*", summary="a layer", by_depth=True),
    Part(name="last", summary="the last layer", direction="higher", judged=True),
)
ENTRIES = (
    measure("entropy.clique", parts=PARTS, unit="nats", order=1),
    measure("counts", diagnostic=True, direction="none", parts=(Part(name="dead", summary="d"),)),
    measure("param_count", control=True, called="number of parameters", direction="higher"),
)
#: As it is read back from `run.json`.
RECORD = json.loads(
    json.dumps({"measures": {entry.name: describe_measure(entry) for entry in ENTRIES}})
)
WIDE = pd.DataFrame(
    {
        "checkpoint": ["a", "b"],
        "entropy.clique": [1.0, 2.0],
        "entropy.clique.layer_1": [1.0, 2.0],
        "entropy.clique.last": [3.0, 4.0],
        "entropy.clique.undeclared": [5.0, 6.0],
        "counts": [0.0, 1.0],
        "counts.dead": [0.0, 1.0],
        "param_count": [1.0, 2.0],
        "hp.width": [1.0, 2.0],
        "held_out_accuracy": [0.5, 0.6],
    }
)


def test_a_measure_is_described_with_its_parts():
    assert RECORD["measures"]["entropy.clique"] == {
        "version": "1",
        "direction": "lower",
        "invariance": "none",
        "varies_with": [],
        "cost": "weights",
        "formula": "",
        "claim": "",
        "weakness": "",
        "summary": "the entropy.clique",
        "source": "",
        "unit": "nats",
        "parts": [
            {
                "name": "layer_*",
                "summary": "a layer",
                "direction": "none",
                "claim": "",
                "judged": False,
                "by_depth": True,
            },
            {
                "name": "last",
                "summary": "the last layer",
                "direction": "higher",
                "claim": "",
                "judged": True,
                "by_depth": False,
            },
        ],
        "baseline": False,
        "control": False,
        "called": "entropy.clique",
        "diagnostic": False,
        "order": 1,
    }
    assert RECORD["measures"]["param_count"]["called"] == "number of parameters"


def test_part_of_a_column_is_what_its_measure_declared():
    assert part_of(RECORD, "entropy.clique.layer_7") == PARTS[0]
    assert part_of(RECORD, "entropy.clique.last") == PARTS[1]
    assert part_of(RECORD, "entropy.clique").direction == "lower"
    assert part_of(RECORD, "entropy.clique.undeclared") is None
    assert part_of(RECORD, "hp.width") is None
    assert measure_of(RECORD, "hp.width") == ""


def test_directions_are_each_column_s_own():
    assert directions_of(RECORD, WIDE) == {
        "entropy.clique": "lower",
        "entropy.clique.layer_1": "none",
        "entropy.clique.last": "higher",
        "entropy.clique.undeclared": "none",
        "counts": "none",
        "counts.dead": "none",
        "param_count": "higher",
    }


def test_judged_are_measures_that_are_not_diagnostic_and_parts_that_say_so():
    judged = ["entropy.clique", "entropy.clique.last", "param_count"]
    assert judged_columns(RECORD, WIDE) == (judged, {})
    assert directed_columns(RECORD, WIDE) == judged


def test_of_equal_columns_of_one_measure_the_first_is_judged():
    wide = WIDE.assign(**{"entropy.clique.last": WIDE["entropy.clique"]})
    judged, equal = judged_columns(RECORD, wide)
    assert judged == ["entropy.clique", "param_count"]
    assert equal == {"entropy.clique.last": "entropy.clique"}


def test_records_of_older_runs_judge_measures_alone():
    old = ("version", "direction", "summary", "diagnostic")
    measures = {
        name: {key: described[key] for key in old} for name, described in RECORD["measures"].items()
    }
    record = {"measures": measures}
    assert judged_columns(record, WIDE) == (["entropy.clique", "param_count"], {})
    assert directions_of(record, WIDE)["entropy.clique.last"] == "none"
