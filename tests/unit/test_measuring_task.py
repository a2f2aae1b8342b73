"""A task works with the plugins and libraries that the run was planned with, or not at all."""

import dataclasses
import tomllib
import types
from pathlib import Path

import pytest
from test_views import PLUGINS, digits, network, subject_of

import audit_measures
from audit.errors import PluginError
from audit.measuring.subject import Provided, installed_libraries
from audit.measuring.task import Task, audit_checkpoint, check_versions, perform, provided
from audit.measuring.view import Wanted
from audit.network.saving import write_weights
from audit.plugin.registry import Registry, installed
from audit.runs import pipeline
from audit.runs.config import AuditConfig, RunOptions
from audit.runs.study import resolve
from audit.store import Store

REGISTRY = Registry({**PLUGINS, "measures": audit_measures}, {"measures": "genaudit 1"})


def planned(**changes):
    """A subject planned with what `REGISTRY` has."""
    timm, data = REGISTRY.models["timm"], REGISTRY.datasets["digits"]
    fields = {
        "model_source": Provided("timm", timm.version),
        "data_source": Provided("digits", data.version),
    }
    return subject_of(None, **{**fields, **changes})


def task_of(*measures, **changes):
    return Task(planned(**changes), measures, Path("cache"))


def refusal(task):
    with pytest.raises(PluginError) as caught:
        check_versions(task, REGISTRY)
    return str(caught.value)


PARAMETERS = Provided("parameters", "1", "genaudit 1")


def test_a_task_with_the_same_versions_is_taken():
    check_versions(task_of(PARAMETERS), REGISTRY)


@pytest.mark.parametrize(
    ("measure", "message"),
    [
        (
            Provided("parameters", "0", "genaudit 1"),
            "measure 'parameters' has version 1 (of genaudit 1) in this worker, but the run was "
            "planned with version 0 (of genaudit 1): install the same plugins everywhere",
        ),
        (
            Provided("parameters", "1", "genaudit 2"),
            "measure 'parameters' has version 1 (of genaudit 1) in this worker, but the run was "
            "planned with version 1 (of genaudit 2): install the same plugins everywhere",
        ),
        (
            Provided("unheard_of", "3"),
            "measure 'unheard_of' has no plugin in this worker, but the run was planned with "
            "version 3: install the same plugins everywhere",
        ),
    ],
)
def test_a_measure_of_another_version_is_refused_with_both_named(measure, message):
    assert refusal(task_of(PARAMETERS, measure)) == message


def test_sources_of_other_versions_are_refused_with_both_named():
    version = REGISTRY.models["timm"].version
    assert refusal(task_of(model_source=Provided("timm", "0"))) == (
        f"model source 'timm' has version {version} in this worker, but the run was planned with "
        "version 0: install the same plugins everywhere"
    )
    assert refusal(task_of(data_source=Provided("digits", "0"))) == (
        "dataset 'digits' has version 1 in this worker, but the run was planned with version 0: "
        "install the same plugins everywhere"
    )


def test_a_library_of_another_version_is_refused_with_both_named():
    here = installed_libraries()
    subject = planned(libraries={**here, "torch": "0.1"})
    assert refusal(Task(subject, (), Path("cache"))) == (
        f"this worker has torch {here['torch']}, but the run was planned with torch 0.1: install "
        "the same versions everywhere"
    )


def test_a_cold_checkpoint_reads_nothing_twice_and_a_warm_one_reads_one_entry(
    tmp_path, monkeypatch
):
    monkeypatch.setattr("os.fsync", lambda number: None)
    weights = tmp_path / "w.safetensors"
    write_weights(network(), weights, {})
    subject = subject_of(weights)
    measures = REGISTRY.select_measures()
    store = Store(tmp_path / "cache")
    assert audit_checkpoint(subject, measures, store, REGISTRY).failures == {}
    assert store.n_reads == 0
    rows = subject.row_key(provided(REGISTRY, measures), ("clique", "cubical"))
    assert store.get(rows) is not None
    assert store.n_reads == 1
    again = Store(store.root)
    moved = dataclasses.replace(subject, name="renamed")
    assert audit_checkpoint(moved, measures, again, REGISTRY).failures == {}
    assert again.n_reads == len(measures)  # and then finds the rows, which another run has put
    assert len(digits()[0].labels) == 30


def test_passes_of_a_checkpoint_are_in_the_ledger(tmp_path, monkeypatch):
    monkeypatch.setattr("os.fsync", lambda number: None)
    weights = tmp_path / "w.safetensors"
    write_weights(network(), weights, {})
    store = Store(tmp_path / "cache")
    audit_checkpoint(subject_of(weights), REGISTRY.select_measures(), store, REGISTRY)
    [line] = [line for line in store.ledger() if line.get("stage") == "passes"]
    assert line["passes"] == 4.2333  # grey: one, mixed, five tenths altered, 52 of 30 strongly
    [whole] = [line for line in store.ledger() if line.get("stage") == "audited"]
    assert whole["images"] == 30
    assert whole["model"]
    assert whole["seconds"] >= line["seconds"]


def test_perform_refuses_what_its_worker_has_in_another_version(monkeypatch):
    monkeypatch.setattr("audit.measuring.task.installed_with", lambda names: REGISTRY)
    with pytest.raises(PluginError, match="measure 'unheard_of' has no plugin in this worker"):
        perform(task_of(Provided("unheard_of", "3")))


def run_options(folder):
    return RunOptions(
        output=folder / "out", cache=folder / "cache", workers=0, device="cpu", progress=False
    )


def config_of(n_checkpoints=1):
    sections = "".join(
        f'[[checkpoints]]\nname = "{index:03}"\nmodel = "test_resnet"\n'
        f'weights = "{index}.safetensors"\n'
        "model_args = { num_classes = 10, in_chans = 1 }\n"
        for index in range(n_checkpoints)
    )
    return (
        '[dataset]\nname = "digits"\n'
        "transform = { input_size = [1, 32, 32], mean = [0.5], std = [0.5] }\n"
        f'{sections}[measures]\ninclude = ["parameters"]\nimages_per_class = 1\n'
    )


def test_a_worker_of_another_version_stops_the_run_with_both_named(tmp_path, monkeypatch):
    monkeypatch.setattr("os.fsync", lambda number: None)
    write_weights(network(), tmp_path / "0.safetensors", {})
    (tmp_path / "audit.toml").write_text(config_of())
    here = installed()
    measure = dataclasses.replace(here.measures["parameters"], version="0")
    older = types.SimpleNamespace(
        measures={**here.measures, "parameters": measure},
        models=here.models,
        datasets=here.datasets,
        origin=here.origin,
    )
    monkeypatch.setattr("audit.measuring.task.installed_with", lambda names: older)
    origin = here.origin("genaudit_measures", "parameters")
    version = here.measures["parameters"].version
    with pytest.raises(PluginError) as caught:
        pipeline.run(tmp_path / "audit.toml", options=run_options(tmp_path))
    assert str(caught.value) == (
        f"measure 'parameters' has version 0 (of {origin}) in this worker, but the run was planned "
        f"with version {version} (of {origin}): install the same plugins everywhere"
    )


def test_a_warm_run_of_many_checkpoints_reads_one_entry_for_each(tmp_path, monkeypatch):
    monkeypatch.setattr("os.fsync", lambda number: None)
    for index in range(200):
        (tmp_path / f"{index}.safetensors").write_bytes(b"weights %d" % index)
    config = AuditConfig.parse(tomllib.loads(config_of(200)), tmp_path, "the test")
    study = resolve(config, run_options(tmp_path), installed())
    planned = provided(study.registry, study.measures)
    filtrations = Wanted.by(study.measures).filtrations
    for subject in study.subjects:
        study.store.put(subject.row_key(planned, filtrations), {}, {})
    assert len(study.subjects) == 200
    store = Store(study.store.root)
    kept = pipeline.kept_rows(dataclasses.replace(study, store=store))
    assert [subject.name for subject, _ in kept] == study.names
    assert (store.n_reads, store.n_looks) == (200, 0)
