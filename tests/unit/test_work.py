"""One checkpoint audited: every number, or the reason why there is none, ends in the store."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from test_views import (
    PLUGINS,
    digits,
    network,
    no_network,
    registry_of,
    subject_of,
)
from torch import nn

import audit_measures
from audit.errors import CheckpointError, StoreError, UnavailableError
from audit.measuring.checkpoint import CheckpointView
from audit.measuring.rows import measure_rows, unit_rows
from audit.measuring.subject import Provided
from audit.measuring.task import Outcome, audit_checkpoint, explain
from audit.measuring.view import Wanted
from audit.network.saving import write_weights
from audit.plugin import MeasureEntry, Value
from audit.plugin.registry import Registry
from audit.store import Store
from audit.topology.units import unit_frame


@pytest.fixture(autouse=True)
def unsynced(monkeypatch):
    monkeypatch.setattr("os.fsync", lambda number: None)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "cache")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "checkpoint.safetensors"
    write_weights(network(), path, {})
    return path


def measure(name, compute, **changes):
    return MeasureEntry(
        **{
            "name": name,
            "summary": "",
            "compute": compute,
            "version": "1",
            "direction": "lower",
            "invariance": "none",
            "cost": "weights",
            **changes,
        }
    )


def raising(error):
    def compute(view):
        raise error

    return compute


def audited(weights, store, measures, **changes):
    subject = subject_of(weights, **changes)
    return subject, audit_checkpoint(subject, measures, store, Registry(PLUGINS))


def rows_of(subject, entry, store):
    measure = Provided(entry.name, entry.version)
    found = store.get(subject.row_key([measure], entry.filtrations))
    if found is None:
        return {}
    return {row["measure"]: row for row in measure_rows(subject.name, [measure], found)}


def outcome_of(compute, weights, store):
    """(value, status, reason) of one measure's row, or why it failed."""
    entry = measure("m", compute)
    subject, outcome = audited(weights, store, [entry])
    assert outcome.failure == ""
    if outcome.failures:
        assert rows_of(subject, entry, store) == {}
        return outcome.failures["m"]
    [row] = rows_of(subject, entry, store).values()
    assert row["seconds"] >= 0
    assert (row["checkpoint"], row["measure"], row["version"]) == ("checkpoint", "m", "1")
    return row["value"], row["status"], row["reason"]


@pytest.mark.parametrize(
    "number", [3, 0.5, np.float32(0.5), np.int64(2), torch.tensor(0.5), Value(0.25), True]
)
def test_measure_that_gives_a_number_is_ok(weights, store, number):
    value, status, reason = outcome_of(lambda view: number, weights, store)
    assert value == float(number.value if isinstance(number, Value) else number)
    assert (status, reason) == ("ok", "")


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, np.float32("nan")])
@pytest.mark.parametrize("wrap", [lambda number: number, Value])
def test_measure_that_gives_no_finite_number_is_undefined(weights, store, number, wrap):
    value, status, reason = outcome_of(lambda view: wrap(number), weights, store)
    assert math.isnan(value)
    assert (status, reason) == ("undefined", f"the measure gave {float(number)} and no reason")


def test_measure_says_itself_why_there_is_no_number(weights, store):
    value, status, reason = outcome_of(
        lambda view: Value.undefined("no unit is alive"), weights, store
    )
    assert math.isnan(value)
    assert (status, reason) == ("undefined", "no unit is alive")
    store.clear()
    value, status, reason = outcome_of(
        raising(UnavailableError("needs convolutions")), weights, store
    )
    assert math.isnan(value)
    assert (status, reason) == ("unavailable", "needs convolutions")


def test_measure_that_gives_no_number_has_no_value(weights, store):
    value, status, _ = outcome_of(lambda view: Value(5.0, "undefined", "why"), weights, store)
    assert math.isnan(value)
    assert status == "undefined"


@pytest.mark.parametrize(
    ("compute", "reason"),
    [
        (raising(ValueError("two\n  lines")), "ValueError: two lines"),
        (raising(CheckpointError("our own words")), "our own words"),
        (lambda view: None, "the measure returned NoneType, not a number"),
        (lambda view: "text", "the measure returned str, not a number"),
        (lambda view: Value("text"), "the measure returned Value, not a number"),
        (lambda view: np.zeros(2), "the measure returned ndarray, not a number"),
        (lambda view: {"a": 1, "b": [1]}, "the measure returned list for 'b', not a number"),
        (lambda view: {}, "the measure returned no number"),
    ],
)
def test_measure_that_fails_costs_its_own_row_alone(weights, store, compute, reason):
    entries = [
        measure("before", lambda view: 1.0),
        measure("broken", compute),
        measure("later", lambda view: 2.0),
    ]
    subject, outcome = audited(weights, store, entries)
    assert outcome == Outcome("", {"broken": reason})
    kept = [Provided("before", "1"), Provided("later", "1")]
    rows = measure_rows(subject.name, kept, store.get(subject.row_key(kept, ())))
    assert [row["value"] for row in rows] == [1, 2]
    assert store.get(subject.measure_key(Provided("broken", "1"))) is None


def test_measure_in_parts_gives_a_row_for_each(weights, store):
    entry = measure("m", lambda view: {"": 1, "layer_1": math.nan, "layer_2": Value(3.0)})
    subject, outcome = audited(weights, store, [entry])
    assert outcome == Outcome("", {})
    rows = rows_of(subject, entry, store)
    assert {name: row["status"] for name, row in rows.items()} == {
        "m": "ok",
        "m.layer_1": "undefined",
        "m.layer_2": "ok",
    }
    assert rows["m.layer_2"]["value"] == 3


def test_audit_computes_nothing_twice(weights, store):
    calls = []
    entries = [
        measure("cubical", lambda view: calls.append("c") or 1.0, filtrations=("cubical",)),
        measure("failing", lambda view: calls.append("f") or 1 / 0),
    ]
    audited(weights, store, entries)
    assert calls == ["c", "f"]
    subject = subject_of(weights, name="renamed")
    outcome = audit_checkpoint(subject, entries, store, registry_of(no_network))
    assert calls == ["c", "f", "f"]
    assert outcome == Outcome("", {"failing": "ZeroDivisionError: division by zero"})
    found = store.get(subject.row_key([Provided("cubical", "1")], ("cubical",)))
    [row] = measure_rows(subject.name, [Provided("cubical", "1")], found)
    assert row["checkpoint"] == "renamed"


def test_audit_of_a_broken_checkpoint_says_why_and_keeps_nothing(tmp_path, store):
    module = network()
    with torch.no_grad():
        module.fc.weight[0, 0] = float("nan")
    path = tmp_path / "broken.safetensors"
    write_weights(module, path, {})
    entries = [measure("m", lambda view: 1.0)]
    _, outcome = audited(path, store, entries)
    assert f"checkpoint {path} has weights that are NaN or infinite: 1 of " in outcome.failure
    assert " in fc.weight, 1 of " in outcome.failure
    assert outcome.failures == {}
    assert list(store.paths()) == []
    [line] = store.ledger()
    assert line["reason"] == outcome.failure
    assert (line["checkpoint"], line["stage"]) == ("checkpoint", "failed")


def test_audit_of_a_network_that_raises_names_the_type(store):
    class Broken(nn.Module):
        def forward(self, images):
            raise RuntimeError("shapes do not\nfit")

    outcome = audit_checkpoint(
        subject_of(None), [measure("m", lambda view: 1.0)], store, registry_of(Broken)
    )
    assert outcome == Outcome("RuntimeError: shapes do not fit", {})


def test_audit_reports_the_first_reason_where_the_store_refuses(weights, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    for measures in ([], [measure("m", lambda view: 1.0)]):
        _, outcome = audited(weights, Store(tmp_path / "file" / "cache"), measures)
        assert "cannot be read: Not a directory" in outcome.failure


def test_audit_leaves_the_network_and_threads_as_they_are(weights, store):
    seen = {}

    def look(view):
        seen["module"] = view.module
        seen["state"] = {name: part.clone() for name, part in view.module.state_dict().items()}
        seen["threads"] = torch.get_num_threads()
        return 0.0

    threads = torch.get_num_threads()
    registry = Registry({**PLUGINS, "measures": audit_measures})
    entries = [measure("0_first", look), *registry.select_measures(["all"])]
    outcome = audit_checkpoint(subject_of(weights), entries, store, registry)
    assert outcome == Outcome("", {})
    assert seen["threads"] == 1
    assert torch.get_num_threads() == threads
    module = seen["module"]
    for name, part in module.state_dict().items():
        torch.testing.assert_close(part, seen["state"][name], rtol=0, atol=0)
    assert not any(part.training for part in module.modules())
    assert not any(part._forward_hooks or part._backward_hooks for part in module.modules())
    assert not any(parameter.requires_grad for parameter in module.parameters())
    assert not any(parameter.grad is not None for parameter in module.parameters())


def units_of(subject, filtration, store):
    entry = store.get(subject.row_key([Provided("m", "1")], (filtration,)))
    return [table.to_pandas() for table in unit_rows(subject.name, entry)]


@pytest.mark.parametrize("filtration", ["clique", "cubical"])
def test_units_come_back_from_the_store_as_they_were_computed(weights, store, filtration):
    entry = measure("m", lambda view: 1.0, filtrations=(filtration,))
    subject, _ = audited(weights, store, [entry])
    view = CheckpointView(subject, store, Wanted(), registry_of(no_network))
    expected = unit_frame(view.births(filtration), view.labels, view.class_names)
    [found] = units_of(subject, filtration, store)
    assert found.columns.tolist() == ["checkpoint", "filtration", *expected.columns]
    assert set(found["checkpoint"]) == {"checkpoint"}
    assert set(found["filtration"]) == {filtration}
    for column in expected:
        pd.testing.assert_series_equal(
            found[column], expected[column], check_categorical=False, check_dtype=False
        )
    assert found["class_name"].astype(str).unique().tolist() == list(digits()[0].class_names)


def test_units_of_a_network_without_maps_are_an_empty_table(store):
    entry = measure("m", lambda view: 1.0, filtrations=("cubical",))
    subject = subject_of(None)

    def build():
        return nn.Sequential(nn.Flatten(), nn.Linear(32 * 32, 10))

    assert audit_checkpoint(subject, [entry], store, registry_of(build)) == Outcome("", {})
    [found] = units_of(subject, "cubical", store)
    assert len(found) == 0
    assert "feature_entropy" in found.columns


def test_wanted_is_what_measures_declare():
    one = measure("a", None, filtrations=("cubical",))
    two = measure("b", None, filtrations=("cubical", "clique"), features=True)
    assert Wanted.by([one, two, measure("c", None)]) == Wanted(("clique", "cubical"), True)
    assert Wanted.by([]) == Wanted()


def test_explain_is_one_line():
    assert explain(StoreError("no\n space")) == "no space"
    assert explain(KeyError("a")) == "KeyError: 'a'"
