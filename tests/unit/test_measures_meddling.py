"""Measures that change the network or the process, end it, or raise what has no words."""

import sys
import types

import numpy as np
import pytest
import torch
from programs import run_program
from test_measuring_task import REGISTRY
from test_views import PLUGINS, network, subject_of

import audit_factory
import audit_measures
from audit.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    PluginError,
    Termination,
    in_words,
)
from audit.measuring.checkpoint import CheckpointView
from audit.measuring.rows import checked_values
from audit.measuring.task import audit_checkpoint, provided
from audit.measuring.view import Wanted
from audit.network.saving import write_weights
from audit.plugin import MeasureEntry, hookimpl
from audit.plugin.discovery import InstalledPlugin
from audit.plugin.registry import Registry
from audit.runs.checkpoints import failing_alone
from audit.store import Store
from audit_datasets._in_memory import PictureSplit
from audit_datasets.torch_dataset import open_split


class UnspeakableError(Exception):
    """An exception whose words are one more exception."""

    def __str__(self):
        raise RuntimeError("no words")


class EndingNumber:
    """A number that ends the process when it is looked at."""

    def __float__(self):
        raise SystemExit(0)


def zero_weights(view):
    for parameter in view.module.parameters():
        parameter.data.mul_(0)
    return 1.0


def zero_and_fail(view):
    zero_weights(view)
    raise ValueError("after the deed")


def train(view):
    view.module.train()
    return 1.0


def hook(view):
    next(view.module.children()).register_forward_hook(lambda *given: torch.zeros(1))
    return 1.0


def other_dtype(view):
    assert view.module is not None
    torch.set_default_dtype(torch.float64)
    return 1.0


def raising(error):
    def compute(view):
        raise error

    return compute


CHANGED = "MeasureError: it must leave the network and the process as they were; it changed the "
WHAT = {
    "zero_weights": (zero_weights, "weight "),
    "zero_and_fail": (zero_and_fail, "weight "),
    "train": (train, "training mode of the network"),
    "hook": (hook, "hooks of "),
    "other_dtype": (other_dtype, "default dtype of torch"),
}


def measure(name, compute):
    return MeasureEntry(
        name=name,
        summary=name,
        compute=compute,
        version="1",
        direction="lower",
        invariance="none",
        cost="weights",
    )


def audited(tmp_path, first, name="meddler"):
    """The outcome and values of an audit in which a measure comes before all others."""
    plugin = types.SimpleNamespace(
        genaudit_measures=hookimpl(lambda: [measure(name, first)], specname="genaudit_measures")
    )
    registry = Registry({**PLUGINS, "measures": audit_measures, "meddling": plugin})
    weights = tmp_path / "w.safetensors"
    if not weights.exists():
        write_weights(network(), weights, {})
    wanted = [registry.measures[n] for n in (name, "parameter_norm", "train_loss")]
    subject, store = subject_of(weights), Store(tmp_path / "store")
    outcome = audit_checkpoint(subject, wanted, store, registry)
    keys = {m.name: subject.measure_key(m) for m in provided(registry, wanted)}
    kept = {n: store.get(key) for n, key in keys.items()}
    return outcome, {n: entry.meta["values"] for n, entry in kept.items() if entry is not None}


@pytest.fixture(autouse=True)
def unsynced(monkeypatch):
    """Nothing waits for the disk."""
    monkeypatch.setattr("os.fsync", lambda number: None)


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """What the other measures give beside one that leaves all as it was."""
    place = tmp_path_factory.mktemp("sound")
    outcome, values = audited(place, lambda view: float(len(view.labels)))
    assert (outcome.failure, outcome.failures) == ("", {})
    assert values.pop("meddler") == {"": [float(values_of_sample()), "ok", ""]}
    return values


def values_of_sample():
    """Images in the sample of these tests."""
    return len(subject_of(None).sample.labels)


@pytest.mark.parametrize("name", WHAT)
def test_row_23_a_measure_that_changes_the_network_fails_and_spoils_no_other(tmp_path, sound, name):
    compute, words = WHAT[name]
    outcome, values = audited(tmp_path, compute)
    assert outcome.failure == ""
    assert list(outcome.failures) == ["meddler"]
    assert outcome.failures["meddler"].startswith((CHANGED + words).removeprefix("MeasureError: "))
    assert values == sound
    assert torch.get_default_dtype() == torch.float32


ODD = {
    "no words": (UnspeakableError(), "it raised UnspeakableError, which cannot be put into words"),
    "an exit": (SystemExit(0), "it raised SystemExit: 0"),
    "the end of a generator": (GeneratorExit(), "it raised GeneratorExit:"),
    "the end of an iterator": (StopIteration(), "StopIteration:"),
    "an own kind": (type("Odd", (BaseException,), {})("x\ny"), "it raised Odd: x y"),
}


@pytest.mark.parametrize("name", ODD)
def test_a_measure_that_raises_what_it_likes_costs_its_own_number(tmp_path, sound, name):
    error, words = ODD[name]
    outcome, values = audited(tmp_path, raising(error))
    assert (outcome.failure, list(outcome.failures)) == ("", ["meddler"])
    assert outcome.failures["meddler"].startswith(words)
    assert values == sound


def test_a_measure_that_runs_out_of_memory_makes_no_batch_of_another_smaller(tmp_path):
    write_weights(network(), tmp_path / "w.safetensors", {})
    subject = subject_of(tmp_path / "w.safetensors")
    view = CheckpointView(subject, Store(tmp_path / "store"), Wanted(), REGISTRY)
    before = view.batch_size
    tried = []

    def step():
        tried.append(view.batch_size)
        raise MemoryError("too much")

    with pytest.raises(MemoryError), view.lent():
        view.within_memory(step)
    assert tried[-1] == 1 < before
    assert view.batch_size == before


def test_a_network_that_cannot_be_read_for_a_measure_is_what_is_said(tmp_path):
    write_weights(network(), tmp_path / "w.safetensors", {})
    subject = subject_of(tmp_path / "w.safetensors")
    view = CheckpointView(subject, Store(tmp_path / "store"), Wanted(), REGISTRY)
    (tmp_path / "w.safetensors").write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match=r"w\.safetensors"), view.lent():
        assert view.module is None


def test_a_number_that_ends_the_process_is_none(tmp_path, sound):
    outcome, values = audited(tmp_path, lambda view: EndingNumber())
    assert outcome.failures == {"meddler": "it raised SystemExit: 0"}
    assert values == sound


@pytest.mark.parametrize("error", [KeyboardInterrupt(), Termination(143)])
def test_what_asks_the_process_to_end_is_heard(tmp_path, error):
    with pytest.raises(type(error)):
        audited(tmp_path, raising(error))


@pytest.mark.parametrize("given", ["0.5", b"0.5"])
def test_text_is_no_number(given):
    with pytest.raises(Exception, match="not a number"):
        checked_values(given)


@pytest.mark.parametrize(
    "given", [np.float32(0.5), np.array(0.5), torch.tensor(0.5, requires_grad=True), True]
)
def test_numbers_of_any_library_are_numbers(given):
    assert checked_values(given)[""].value in (0.5, 1.0)


@pytest.mark.parametrize("error", ["SystemExit(0)", "GeneratorExit()"])
def test_a_plugin_that_ends_the_process_as_it_is_imported_is_named(monkeypatch, error):
    class Point:
        value = "leaving:plugin"

        def load(self):
            raise eval(error)

    plugin = InstalledPlugin.__new__(InstalledPlugin)
    fields = {"name": "leaving", "point": Point(), "comes_along": False}
    for name in InstalledPlugin.__dataclass_fields__:
        object.__setattr__(plugin, name, fields.get(name))
    monkeypatch.setattr("audit.plugin.discovery.installed_plugins", lambda: [plugin])
    from audit.plugin.discovery import load_plugins

    with pytest.raises(PluginError, match=r"plugin 'leaving'.*cannot be imported: \w+Exit"):
        load_plugins(["leaving"])


def test_a_hook_that_ends_the_process_is_named():
    def leave():
        raise SystemExit(0)

    plugin = types.SimpleNamespace(genaudit_measures=hookimpl(leave, specname="genaudit_measures"))
    with pytest.raises(PluginError, match="plugin 'leaving': genaudit_measures failed: SystemExit"):
        Registry({"leaving": plugin})


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /dev/full")
@pytest.mark.parametrize(
    "redirection", [">/dev/full", ">&-", "<&- >&- 2>&-", ">/dev/full 2>/dev/full"]
)
def test_a_standard_output_that_is_full_or_closed_is_one_line(redirection):
    command = f'"{sys.executable}" -m audit measures {redirection}'
    ended = run_program(["bash", "-c", command], check=False)
    assert "Traceback" not in ended.stderr
    if redirection == ">/dev/full":
        assert ended.returncode == 1
        assert ended.stderr.splitlines() == [
            "error: what is printed cannot be written: No space left on device"
        ]


def test_registry_of_these_tests_has_the_measures_that_are_compared():
    assert {"parameter_norm", "train_loss"} <= set(REGISTRY.measures)


@pytest.mark.parametrize(
    "error", [SystemExit(0), GeneratorExit(), UnspeakableError(), ValueError("a\nb")]
)
def test_the_code_of_others_fails_in_one_line_whatever_it_raises(error, tmp_path, monkeypatch):
    words = in_words(error)
    assert "\n" not in words
    with pytest.raises(CheckpointError) as caught, failing_alone("a"):
        raise error
    assert str(caught.value) == f"model 'a' cannot be prepared: {words}"
    (tmp_path / "their_code.py").write_text("def give(): raise error\ndef item(n): raise error")
    monkeypatch.syspath_prepend(tmp_path)
    import their_code

    their_code.error = error
    with pytest.raises(ConfigError) as caught:
        open_split("train", {"factory": "their_code:give"})
    assert str(caught.value) == f"torch_dataset: factory 'their_code:give' failed: {words}"
    split = PictureSplit(np.zeros(1), ["x"], ["one"], their_code.item)
    with pytest.raises(DataError) as caught:
        split.load(0)
    assert str(caught.value) == f"image one cannot be read: {words}"
    sys.modules.pop("their_code")


@pytest.mark.parametrize("code", ["raise SystemExit(0)", "raise ValueError('odd')", "x ="])
def test_a_module_of_a_network_that_cannot_be_imported_is_named(tmp_path, monkeypatch, code):
    (tmp_path / "their_network.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    entry = Registry({"factory": audit_factory}).models["factory"]
    with pytest.raises((CheckpointError, ConfigError), match="their_network"):
        entry.create("their_network:make", {}, False)
