"""Change any one input of a run, and every number that may depend on it has another key.

Change nothing, or only where things lie, and every key is as it was.
"""

import dataclasses
import json
import os
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import audit_datasets
import audit_factory
import audit_measures
import audit_timm
from audit.measuring.task import provided
from audit.measuring.view import Wanted
from audit.network.saving import write_weights
from audit.plugin import hookimpl
from audit.plugin.registry import Registry
from audit.runs.config import AuditConfig, RunOptions
from audit.runs.pipeline import run
from audit.runs.study import resolve
from audit.store import Store, key_digest

PLUGINS = {
    "timm": audit_timm,
    "factory": audit_factory,
    "datasets": audit_datasets,
    "measures": audit_measures,
}
HOOK_OF = {
    "timm": "genaudit_models",
    "factory": "genaudit_models",
    "datasets": "genaudit_datasets",
    "measures": "genaudit_measures",
}

FACTORY = "import helper\n\n\ndef build():\n    return helper.network()\n"
HELPER = """import torch
from parts import deep


def network():
    return torch.nn.Sequential(
        torch.nn.Conv2d(1, deep.WIDTH, 3), torch.nn.ReLU(), torch.nn.Flatten(),
        torch.nn.Linear(196 * deep.WIDTH, 2),
    )
"""


class Revised:
    """A plugin of which every entry has another version."""

    def __init__(self, plugin, hook):
        entries = getattr(plugin, hook)()
        revised = [dataclasses.replace(entry, version=f"{entry.version}-next") for entry in entries]
        implementation = hookimpl(lambda: revised)
        setattr(self, hook, implementation)


def registry_with(revised=None, distribution="genaudit 1"):
    plugins = dict(PLUGINS)
    if revised:
        plugins[revised] = Revised(PLUGINS[revised], HOOK_OF[revised])
    return Registry(plugins, dict.fromkeys(plugins, distribution))


def make_user(folder):
    """Everything a run reads: images, weights, a factory with helpers, a local folder of timm's."""
    rng = np.random.default_rng(0)
    for label in ("a", "b"):
        (folder / "train" / label).mkdir(parents=True)
        for number in range(3):
            pixels = rng.integers(0, 256, (16, 16), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "train" / label / f"{number}.bmp")
    torch.manual_seed(0)
    for name in ("one", "two"):
        network = timm.create_model("test_resnet", num_classes=2, in_chans=1)
        write_weights(network, folder / f"{name}.safetensors")
    (folder / "parts").mkdir()
    (folder / "parts" / "__init__.py").write_text("")
    (folder / "parts" / "deep.py").write_text("WIDTH = 3\n")
    (folder / "helper.py").write_text(HELPER)
    (folder / "made.py").write_text(FACTORY)
    write_weights(
        torch.nn.Sequential(
            torch.nn.Conv2d(1, 3, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(588, 2)
        ),
        folder / "made.safetensors",
    )
    (folder / "local").mkdir()
    network = timm.create_model("test_resnet", num_classes=2, in_chans=1)
    write_weights(network, folder / "local" / "model.safetensors")
    config = {
        "architecture": "test_resnet",
        "num_classes": 2,
        "pretrained_cfg": {"num_classes": 2, "input_size": [1, 32, 32], "first_conv": "conv1"},
        "model_args": {"in_chans": 1},
    }
    (folder / "local" / "config.json").write_text(json.dumps(config))


CONFIG = {
    "dataset": {
        "name": "image_folder",
        "root": "train",
        "transform": {"input_size": [1, 16, 16], "mean": [0.5], "std": [0.5]},
    },
    "checkpoints": [
        {
            "model": "test_resnet",
            "weights": "???.safetensors",
            "model_args": {"num_classes": 2, "in_chans": 1},
        },
        {"model": "made:build", "weights": "made.safetensors"},
        {"model": "local-dir:local", "pretrained": True, "name": "local"},
    ],
    "measures": {"include": ["feature_entropy.cubical"], "images_per_class": 2, "batch_size": 4},
    "seed": 0,
}
ALL = {"one", "two", "made", "local"}


@pytest.fixture(scope="module")
def user(tmp_path_factory):
    folder = tmp_path_factory.mktemp("user")
    make_user(folder)
    before = Path.cwd()
    os.chdir(folder)
    yield folder
    os.chdir(before)


def keys(folder, config=CONFIG, registry=None):
    """Checkpoint → digests of the keys of its pass, of one measure, and of all its rows."""
    registry = registry or registry_with()
    options = RunOptions(cache=folder / "cache", device="cpu", workers=0, progress=False)
    os.chdir(folder)
    study = resolve(AuditConfig.parse(config, folder, "the test"), options, engineless(registry))
    assert study.refused == {}
    measures = provided(registry, study.measures)
    filtrations = Wanted.by(study.measures).filtrations
    return {
        subject.name: (
            key_digest(subject.trace_key("logits")),
            key_digest(subject.measure_key(measures[0])),
            key_digest(subject.row_key(measures, filtrations)),
        )
        for subject in study.subjects
    }


def engineless(registry):
    """A registry that says yes to any engine and reporter."""
    from audit.plugin.registry import installed

    registry._entries["genaudit_engines"] = installed()._entries["genaudit_engines"]
    registry._entries["genaudit_reporters"] = installed()._entries["genaudit_reporters"]
    return registry


def flip_byte(path, rng):
    """Change one byte of a file so that it still is what it was: the last, or a comment's."""
    content = bytearray(path.read_bytes())
    if path.suffix == ".py":
        content += f"# {rng.random()}\n".encode()
    elif path.suffix == ".json":
        content += b" " * rng.randint(1, 9)
    elif path.suffix == ".bmp":
        content[-rng.randint(1, 200)] ^= rng.randint(1, 255)
    else:
        content[-4 * rng.randint(1, 30)] ^= rng.randint(1, 255)
    path.write_bytes(bytes(content))


FILES = {
    "one.safetensors": {"one"},
    "two.safetensors": {"two"},
    "made.safetensors": {"made"},
    "made.py": {"made"},
    "helper.py": {"made"},
    "parts/deep.py": {"made"},
    "parts/__init__.py": {"made"},
    "local/config.json": {"local"},
    "local/model.safetensors": {"local"},
}
SECTIONS = {
    "transform": {
        "dataset": CONFIG["dataset"]
        | {"transform": {"input_size": [1, 16, 16], "mean": [0.4], "std": [0.5]}}
    },
    "option": {"dataset": CONFIG["dataset"] | {"extensions": [".bmp", ".png"]}},
    "batch_size": {"measures": CONFIG["measures"] | {"batch_size": 2}},
    "batch_size by rule": {"measures": CONFIG["measures"] | {"batch_size": "auto"}},
    "precision": {"measures": CONFIG["measures"] | {"precision": "bfloat16"}},
    "images": {"measures": CONFIG["measures"] | {"images_per_class": 3}},
    "layers": {"measures": CONFIG["measures"] | {"layers": ["act1"]}},
}


def changed(before, after):
    """Checkpoints all of whose keys are other ones; those of which only some are make it fail."""
    found = {name for name in before if before[name] != after[name]}
    for name in found:
        assert all(a != b for a, b in zip(before[name], after[name], strict=True)), name
    return found


@settings(deadline=None, max_examples=40)
@given(name=st.sampled_from(sorted(FILES)), seed=st.integers(0, 2**16))
def test_a_byte_of_any_file_changes_the_keys_of_what_reads_it(user, name, seed):
    path = user / name
    before, content = keys(user), path.read_bytes()
    try:
        flip_byte(path, random.Random(seed))
        assert changed(before, keys(user)) == FILES[name]
    finally:
        path.write_bytes(content)
    assert keys(user) == before


@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 2**16))
def test_a_byte_of_any_sampled_image_changes_every_key(user, seed):
    before = keys(user, CONFIG | SECTIONS["images"])
    rng = random.Random(seed)
    path = rng.choice(sorted((user / "train").rglob("*.bmp")))
    content = path.read_bytes()
    try:
        flip_byte(path, rng)
        assert changed(before, keys(user, CONFIG | SECTIONS["images"])) == ALL
    finally:
        path.write_bytes(content)


@pytest.mark.parametrize("section", SECTIONS)
def test_any_setting_that_decides_numbers_changes_every_key(user, section):
    assert changed(keys(user), keys(user, CONFIG | SECTIONS[section])) == ALL


def test_the_seed_changes_measures_and_the_choice_of_images(user):
    assert changed(keys(user), keys(user, CONFIG | {"seed": 1})) == ALL


@pytest.mark.parametrize(
    ("plugin", "of"),
    [("timm", {"one", "two", "local"}), ("factory", {"made"}), ("datasets", ALL)],
)
def test_a_version_of_a_plugin_changes_the_keys_of_what_it_makes(user, plugin, of):
    assert changed(keys(user), keys(user, registry=registry_with(plugin))) == of


def test_a_version_of_a_measure_changes_its_own_keys_alone(user):
    before, after = keys(user), keys(user, registry=registry_with("measures"))
    for name in ALL:
        assert before[name][0] == after[name][0]
        assert before[name][1] != after[name][1]
        assert before[name][2] != after[name][2]


def test_the_distribution_that_brings_a_plugin_changes_every_key(user):
    assert changed(keys(user), keys(user, registry=registry_with(distribution="genaudit 2"))) == ALL


@pytest.mark.parametrize("library", ["torch", "torchvision", "pillow"])
def test_a_library_that_decides_the_pass_changes_every_key(user, monkeypatch, library):
    from audit.measuring import subject
    from audit.runs import study

    before, real = keys(user), subject.metadata.version
    monkeypatch.setattr(subject.metadata, "version", lambda n: "99" if n == library else real(n))
    # Versions are read once in a process, as what is imported does not change.
    monkeypatch.setattr(subject, "installed_libraries", subject.installed_libraries.__wrapped__)
    monkeypatch.setattr(study, "installed_libraries", subject.installed_libraries)
    assert changed(before, keys(user)) == ALL


def test_initial_weights_change_the_keys_of_measures(user):
    entry = CONFIG["checkpoints"][0] | {"init": "one.safetensors"}
    with_init = CONFIG | {"checkpoints": [entry, *CONFIG["checkpoints"][1:]]}
    before, after = keys(user), keys(user, with_init)
    for name in ("one", "two"):
        assert before[name][0] == after[name][0]
        assert before[name][1:] != after[name][1:]
    assert before["made"] == after["made"]


def test_the_order_of_classes_changes_the_keys_of_measures(user):
    before = keys(user)
    reverse = keys(user, CONFIG | {"dataset": CONFIG["dataset"] | {"class_order": ["b", "a"]}})
    for name in ALL:
        assert before[name][0] == reverse[name][0]
        assert before[name][1] != reverse[name][1]
        assert before[name][2] != reverse[name][2]
    for same in ("dataset", "natural", "plain", ["a", "b"]):
        assert keys(user, CONFIG | {"dataset": CONFIG["dataset"] | {"class_order": same}}) == before


def test_what_becomes_of_doubtful_checkpoints_changes_no_key(user):
    on_doubt = CONFIG | {"measures": CONFIG["measures"] | {"on_doubt": "fail"}}
    assert keys(user, on_doubt) == keys(user)


def computed(folder, out):
    """The checkpoints that a run makes passes for."""
    store = Store(folder / "cache")
    before = len(list(store.ledger()))
    options = RunOptions(output=out, cache=store.root, device="cpu", workers=1, progress=False)
    assert run(AuditConfig.parse(CONFIG, folder, "the test"), options=options).failed == {}
    lines = list(store.ledger())[before:]
    return {line["checkpoint"] for line in lines if line.get("stage") == "passes"}


def test_a_run_computes_again_what_an_input_decides_and_nothing_else(user, tmp_path):
    out, helper = tmp_path / "out", user / "helper.py"
    assert computed(user, out) == ALL
    numbers = (out / "measures.csv").read_bytes()
    assert computed(user, out) == set()
    content = helper.read_text()
    try:
        helper.write_text(content + "# another word\n")
        assert computed(user, out) == {"made"}
    finally:
        helper.write_text(content)
    assert computed(user, out) == set()
    assert (out / "measures.csv").read_bytes() == numbers


def test_nothing_changes_where_nothing_did(user, tmp_path):
    before = keys(user)
    for path in user.rglob("*.safetensors"):
        os.utime(path)
    renamed = [CONFIG["checkpoints"][0], CONFIG["checkpoints"][1] | {"name": "other"}]
    after = keys(user, CONFIG | {"checkpoints": [*renamed, CONFIG["checkpoints"][2]]})
    assert after.pop("other") == before["made"]
    assert after == {name: before[name] for name in after}
    reports = keys(user, CONFIG | {"reports": {"include": ["json"]}, "engine": {"name": "local"}})
    assert reports == before
    moved = tmp_path / "moved"
    shutil.copytree(user, moved, ignore=shutil.ignore_patterns("cache"))
    try:
        assert keys(moved) == before
    finally:
        os.chdir(user)
