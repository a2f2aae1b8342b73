"""Sources, datasets, engines and reporters: ours keep their contracts, broken ones are refused."""

import dataclasses
import re
import runpy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn

from audit.conformance import check_dataset, check_engine, check_model, check_reporter
from audit.errors import ConfigError, PluginError, unknown_name
from audit.plugin import (
    AuditResult,
    DataConfig,
    DatasetEntry,
    EngineEntry,
    ImageSplit,
    ModelEntry,
    ReporterEntry,
)
from audit.plugin.registry import installed

SAMPLE = Path(__file__).parents[1] / "unit" / "test_reports_sample.py"


def refused(message):
    return pytest.raises(PluginError, match=re.escape(message))


@pytest.mark.parametrize("reference", ["test_resnet", "test_vit"])
def test_timm_models_keep_the_contract(reference):
    args = {"num_classes": 5, "in_chans": 1}
    network = check_model(installed().models["timm"], reference, args)
    assert isinstance(network, nn.Module)


def test_factory_models_keep_the_contract():
    reference = "timm.models.resnet:test_resnet"
    check_model(installed().models["factory"], reference, {"num_classes": 2})


def test_digits_keep_the_contract():
    split = check_dataset(installed().datasets["digits"], {"seed": 3})
    assert len(split.labels) > 800


def test_image_folders_keep_the_contract(tmp_path):
    rng = np.random.default_rng(0)
    for split, n in (("train", 3), ("held_out", 2)):
        for name in ("cat", "dog"):
            folder = tmp_path / split / name
            folder.mkdir(parents=True)
            for k in range(n):
                pixels = rng.integers(0, 256, (9, 7, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{split}-{k}.png")
    entry = installed().datasets["image_folder"]
    options = {"root": str(tmp_path / "train")}
    assert check_dataset(entry, options, splits=("train",)).class_names == ("cat", "dog")


def test_the_local_engine_keeps_the_contract():
    check_engine(installed().engines["local"])


class Tiny(nn.Module):
    def __init__(self, n_outputs=2):
        super().__init__()
        self.head = nn.Linear(3 * 4 * 4, n_outputs)

    def forward(self, images):
        return self.head(images.flatten(1))


CONFIG = DataConfig((3, 4, 4), (0.5,) * 3, (0.5,) * 3)


def model(**changes):
    described = {
        "name": "tiny",
        "summary": "tiny networks",
        "version": "1",
        "matches": lambda reference: reference == "tiny",
        "names": lambda: ["tiny"],
        "create": lambda reference, args, pretrained: Tiny(),
        "data_config": lambda module, args: CONFIG,
    }
    return ModelEntry(**described | changes)


KEPT = Tiny()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "Tiny!"}, "name: a word; found Tiny!"),
        ({"version": " "}, "version must not be empty; found ' '"),
        ({"summary": ""}, "summary must be one line; found ''"),
        ({"matches": lambda r: False}, "must match 'tiny'; found False"),
        ({"matches": lambda r: True}, "must not match nonsense; found True"),
        ({"names": lambda: [1]}, "names must be text; found [1]"),
        ({"reads": lambda r, a: ["x"]}, "reads: paths, or None where that cannot be told; found"),
        ({"create": lambda r, a, p: 1}, "must build a torch.nn.Module; found <class 'int'>"),
        ({"create": lambda r, a, p: KEPT}, "must build a new network on every call"),
        ({"create": lambda r, a, p: Tiny(3)}, "must give outputs (2, 2); found (2, 3)"),
        ({"create": lambda r, a, p: a.update(x=1) or Tiny()}, "must not change the arguments"),
        ({"data_config": lambda m, a: {}}, "data_config: a DataConfig; found <class 'dict'>"),
    ],
)
def test_check_model_refuses(changes, message):
    check_model(model(), "tiny", {"num_classes": 2})
    with refused(f": {message}"):
        check_model(model(**changes), "tiny", {"num_classes": 2})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input_size": (2, 4, 4)}, "images have 1 or 3 channels; found 2"),
        ({"input_size": (3, 0, 4)}, "sizes must be positive; found (3, 0, 4)"),
        ({"mean": (0.5,)}, "one mean and std > 0 per channel; found"),
        ({"std": (0.5, 0.5, 0.0)}, "one mean and std > 0 per channel; found"),
        ({"interpolation": "sinc"}, "one of ('nearest', 'bilinear', 'bicubic'); found"),
        ({"crop_pct": 1.5}, "crop_pct must lie in (0, 1]; found 1.5"),
    ],
)
def test_check_model_refuses_impossible_preparations(changes, message):
    config = dataclasses.replace(CONFIG, **changes)
    with refused(f"model source 'tiny': {message}"):
        check_model(model(data_config=lambda m, a: config), "tiny")


def test_check_model_refuses_networks_that_differ_between_calls():
    sizes = iter(range(2, 9))
    with refused("must build the same tensors twice"):
        check_model(model(create=lambda r, a, p: Tiny(next(sizes))), "tiny")


class Split(ImageSplit):
    def __init__(self, prefix="a", n=4):
        self.class_names = ("x", "y")
        self.labels = np.arange(n) % 2
        self.sample_ids = tuple(f"{prefix}{k}" for k in range(n))

    def digest(self, index):
        return f"{index:064x}"

    def load(self, index):
        return Image.new("L", (4, 4), index)


def dataset(make=Split, refuse=True):
    def open_split(split, options):
        if refuse and set(options) - {"root"}:
            raise ConfigError(f"unknown option {sorted(options)}")
        return make(split)

    return DatasetEntry(
        name="fake", summary="fake", version="1", open=open_split, options=("root",)
    )


def changed(**attributes):
    def make(prefix):
        split = Split(prefix)
        for name, value in attributes.items():
            setattr(split, name, value)
        return split

    return make


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda prefix: Split("same"), "splits must not share images; found ['same0'"),
        (lambda prefix: Split(prefix, n=0), "split 'train': must hold images; found 0"),
        (changed(labels=np.array([0, 1, 2, 0])), "labels below 2; found (0, 2)"),
        (changed(labels=np.zeros(4, np.int32)), "labels: int64, shape (n,)"),
        (changed(sample_ids=("a", "a", "b", "c")), "4 unique sample ids; found 3"),
        (changed(class_names=("x", "x")), "class names must be unique; found ('x', 'x')"),
        (changed(class_names=["x", "y"]), "class_names must be a tuple; found <class 'list'>"),
        (changed(load=lambda index: b""), "load: a PIL image; found <class 'bytes'>"),
        (changed(digest=lambda index: "?"), "digest: 64 hexadecimal digits; found ?"),
        (
            lambda prefix: changed(class_names=(prefix, "y"))(prefix),
            "splits must share their classes; found ('held_out', 'y')",
        ),
    ],
)
def test_check_dataset_refuses(make, message):
    check_dataset(dataset(), {"root": "."})
    with refused(message):
        check_dataset(dataset(make))


def test_check_dataset_refuses_entries_that_ignore_options():
    with refused("must refuse an unknown option with a ConfigError; it opened"):
        check_dataset(dataset(refuse=False))
    with refused("options must be of ('root',); found ['colour']"):
        check_dataset(dataset(), {"colour": "red"})


def test_check_dataset_refuses_locations_that_are_no_options():
    check_dataset(dataclasses.replace(dataset(), locations=("root",)), {"root": "."})
    with refused("locations must be of ('root',); found ['folder']"):
        check_dataset(dataclasses.replace(dataset(), locations=("root", "folder")))


def test_check_dataset_refuses_images_that_do_not_repeat():
    values = iter(range(100))
    with refused("load must repeat; found 0"):
        check_dataset(dataset(changed(load=lambda index: Image.new("L", (2, 2), next(values)))))


def engine(run):
    return EngineEntry(name="fake", summary="fake", version="1", run=run)


def results(function, tasks):
    for position, task in enumerate(tasks):
        try:
            yield position, function(task)
        except ValueError as error:
            yield position, error


def keeps(function, tasks, n_workers, options):
    if options:
        raise ConfigError("no options are known")
    return results(function, tasks)


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda f, tasks, n, o: list(results(f, tasks))[1:], "it gave the positions [1, 2, 3, 4]"),
        (lambda f, tasks, n, o: [(k, 9) for k in range(len(tasks))], "must give a ValueError for"),
        (
            lambda f, tasks, n, o: [(p, getattr(r, "args", r + 1 if isinstance(r, int) else r))
                                 for p, r in results(f, tasks)],
            "must give 9 for task 0; found 10",
        ),
        (
            lambda f, tasks, n, o: list(results(f, tasks)) or [(0, 0)],
            "must give nothing for no tasks",
        ),
        (
            lambda f, tasks, n, o: results(f, tasks),
            "must refuse the unknown option 'unknown' with a ConfigError; it gave [(0, 9)]",
        ),
    ],
)  # fmt: skip
def test_check_engine_refuses(run, message):
    check_engine(engine(keeps))
    with refused(message):
        check_engine(engine(run))


@pytest.fixture
def result(tmp_path):
    empty = pd.DataFrame({"a": [1]})
    return AuditResult(
        measures=empty,
        ranking=empty.copy(),
        correlations=empty.copy(),
        held_out=empty.copy(),
        run={},
        output=tmp_path,
    )


def reporter(write):
    return ReporterEntry(name="fake", summary="fake", version="1", write=write)


def strict(write):
    """A reporter that refuses every option, as one without options must."""

    def refusing(result, folder, options):
        for option in options:
            raise unknown_name("option", option, [])
        return write(result, folder)

    return reporter(refusing)


def test_check_reporter_accepts_and_refuses(result, tmp_path):
    counter = iter(range(10))

    def good(result, folder):
        (folder / "a.txt").write_text("a")
        return [folder / "a.txt"]

    def differs(result, folder):
        (folder / "b.txt").write_text(str(next(counter)))
        return [folder / "b.txt"]

    def meddles(result, folder):
        result.ranking["a"] += 1
        return good(result, folder)

    def nowhere(result, folder):
        return [folder / "nowhere"]

    def check(entry, name):
        folder = tmp_path / name
        folder.mkdir()
        return check_reporter(entry, result, folder)

    assert check(strict(good), "good") == [tmp_path / "good" / "a.txt"]
    with refused("must write at least one file; it wrote none"):
        check(strict(lambda result, folder: []), "nothing")
    with refused("nowhere is not there"):
        check(strict(nowhere), "nowhere")
    with refused("must write the same bytes every time; b.txt differs"):
        check(strict(differs), "differs")
    with refused("must leave the result as it is; it changed ranking"):
        check(strict(meddles), "meddles")


def test_check_reporter_refuses_one_that_takes_any_option(result, tmp_path):
    def late(result, folder, options):
        (folder / "a.txt").write_text("a")
        raise ConfigError("too late")

    with refused("must refuse an unknown option with a ConfigError; it wrote"):
        check_reporter(reporter(lambda result, folder, options: []), result, tmp_path)
    with refused("must refuse an unknown option before it writes; it wrote ['a.txt']"):
        check_reporter(reporter(late), result, tmp_path)


@pytest.mark.parametrize("name", ["html", "json"])
def test_the_shipped_reporters_keep_the_contract(tmp_path, name):
    sample_audit = runpy.run_path(str(SAMPLE))["sample_audit"]
    assert check_reporter(installed().reporters[name], sample_audit(6), tmp_path)


def test_checks_leave_the_global_random_state_alone():
    before = torch.get_rng_state()
    check_engine(engine(keeps))
    check_dataset(dataset())
    assert torch.equal(before, torch.get_rng_state())
