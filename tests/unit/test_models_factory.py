"""Networks from any Python function."""

import sys

import pytest
import torch

import audit_factory
from audit.errors import CheckpointError, ConfigError
from audit.plugin import DataConfig
from audit.plugin.registry import Registry

FACTORY = Registry({"factory": audit_factory}).models["factory"]
SOURCE = """
import torch

CONSTANT = 3

class Net(torch.nn.Linear):
    pass

class Described(Net):
    pretrained_cfg = {"input_size": (1, 8, 8), "mean": (0.5,), "std": (0.2,), "crop_pct": 0.9}

def build(num_classes=2):
    return Net(4, num_classes)

def described():
    return Described(4, 2)

def published(pretrained=False):
    return Net(4, 5 if pretrained else 2)

def wrong():
    return "a network"

class Zoo:
    @staticmethod
    def small():
        return Net(4, 1)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "my_models.py").write_text(SOURCE)
    (tmp_path / "broken_models.py").write_text("import no_such_module")
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in ("my_models", "broken_models"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("my_models:build", True),
        ("a.b.c:Zoo.small", True),
        ("resnet18", False),
        ("hf-hub:org/name", False),
        ("hf_hub:name", False),
        ("local-dir:folder", False),
        ("a:b:c", False),
        ("a-b:c", False),
    ],
)
def test_factory_matches_modules_and_functions(reference, expected):
    assert FACTORY.matches(reference) is expected


@pytest.mark.usefixtures("folder")
def test_factory_imports_from_the_current_folder():
    path = list(sys.path)
    assert FACTORY.create("my_models:build", {"num_classes": 3}, False).out_features == 3
    assert FACTORY.create("my_models:Zoo.small", {}, False).out_features == 1
    assert sys.path == path


@pytest.mark.usefixtures("folder")
def test_factory_passes_pretrained_where_it_is_a_parameter():
    assert FACTORY.create("my_models:published", {}, True).out_features == 5
    with pytest.raises(CheckpointError) as caught:
        FACTORY.create("my_models:build", {}, True)
    assert str(caught.value) == (
        "model 'my_models:build' has no pretrained weights: the function has no parameter "
        "'pretrained'; give a file in weights"
    )


@pytest.mark.parametrize(
    ("reference", "args", "message"),
    [
        ("no_models:build", {}, "module 'no_models' cannot be imported from"),
        ("broken_models:build", {}, "path: No module named 'no_such_module'"),
        ("my_models:bild", {}, "unknown model 'my_models:bild'; did you mean 'my_models:build'"),
        ("my_models:CONSTANT", {}, "must be a function; it is a int"),
        ("my_models:wrong", {}, "must return a torch.nn.Module; it returned a str"),
        (
            "my_models:build",
            {"n_classes": 3},
            "model 'my_models:build' with model_args {'n_classes': 3}: "
            "got an unexpected keyword argument 'n_classes'",
        ),
    ],
)
@pytest.mark.usefixtures("folder")
def test_factory_explains_what_cannot_be_built(reference, args, message):
    with pytest.raises(ConfigError) as caught:
        FACTORY.create(reference, args, False)
    assert message in str(caught.value)


def test_factory_digest_is_of_the_source_file(folder):
    before = FACTORY.digest("my_models:build")
    assert len(before) == 64
    assert FACTORY.digest("my_models:described") == before
    (folder / "my_models.py").write_text(SOURCE + "#")
    assert FACTORY.digest("my_models:build") != before


@pytest.mark.parametrize("module", ["no_models", "no.models", "sys"])
def test_factory_digest_needs_a_source_file(folder, module):
    with pytest.raises(ConfigError) as caught:
        FACTORY.digest(f"{module}:build")
    assert str(caught.value) == (
        f"model '{module}:build': module '{module}' cannot be imported from {folder} or "
        "Python's path: no source file of that name was found"
    )


@pytest.mark.usefixtures("folder")
def test_factory_data_config_is_the_networks_own():
    module = FACTORY.create("my_models:described", {}, False)
    expected = DataConfig((1, 8, 8), (0.5,), (0.2,), "bicubic", 0.9)
    assert FACTORY.data_config(module, {}) == expected


def test_factory_data_config_asks_for_the_transform():
    with pytest.raises(ConfigError) as caught:
        FACTORY.data_config(torch.nn.Linear(1, 1), {})
    assert str(caught.value) == (
        "Linear does not say how its images are prepared: set [dataset].transform, such as "
        "{ input_size = [3, 224, 224], mean = [0.5], std = [0.5] }"
    )
    assert list(FACTORY.names()) == []


def test_factory_recognises_networks_that_say_how_images_are_prepared_and_no_more():
    module = torch.nn.Linear(1, 1)
    assert not FACTORY.recognises(module)
    module.default_cfg = {"input_size": (1, 8, 8), "mean": (0.5,)}
    assert not FACTORY.recognises(module)
    module.default_cfg["std"] = (0.2,)
    assert FACTORY.recognises(module)
    module.default_cfg["crop_pct"] = 0.9
    assert FACTORY.recognises(module)
    module.default_cfg["classifier"] = "fc"
    assert not FACTORY.recognises(module)
