"""`genaudit ablate`: areas, curves and a figure of one layer of one checkpoint."""

import importlib
import json

import pytest
import timm
import torch
from click.testing import CliRunner

from audit.cli.ablate import command
from audit.errors import ConfigError
from audit.network.saving import write_weights

MODEL_ARGS = {"num_classes": 10, "in_chans": 1}
QUICK = ["--images-per-class", "2", "--steps", "3", "--draws", "2", "--device", "cpu"]
ORDERS = ["--order", "apoz", "--order", "class_selectivity:lowest", "--order", "random"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A checkpoint with its recipe beside it, and a configuration of both."""
    folder = tmp_path_factory.mktemp("zoo")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = timm.create_model("test_resnet", **MODEL_ARGS)
    write_weights(network, folder / "one.safetensors", {})
    recipe = {"recipe": {"model": "test_resnet"}, "model_args": MODEL_ARGS}
    (folder / "one.json").write_text(json.dumps(recipe))
    (folder / "audit.toml").write_text(
        '[dataset]\nname = "digits"\ntransform = { input_size = [1, 32, 32] }\n'
        '[[checkpoints]]\nmodel = "test_resnet"\nweights = "*.safetensors"\n'
        "model_args = { num_classes = 10, in_chans = 1 }\n"
    )
    return folder


def run(*args):
    return CliRunner().invoke(command, [str(arg) for arg in args], catch_exceptions=False)


def test_ablate_command_shows_areas_with_intervals_and_reasons(folder):
    file, data = folder / "one.safetensors", ["--dataset", "digits", "--size", "1,32,32"]
    shown = run(file, "layer2", *data, *QUICK, *ORDERS)
    assert shown.exit_code == 0
    assert shown.output.startswith("layer2: 48 units, 20 training images; ")
    for order in ("apoz:highest", "apoz:lowest", "class_selectivity:lowest", "random"):
        [line] = [line for line in shown.output.splitlines() if line.startswith(f"{order} ")]
        assert line.count("[") == 2
    assert " with all units, 0.100 with none" in shown.output
    assert "cannot be judged: the two orders by feature entropy were not both tried" in (
        " ".join(shown.output.split())
    )
    signed = run(file, "layer2.0.bn1", *data, *QUICK, *ORDERS)
    assert "– apoz:highest, apoz:lowest: apoz is 0 for each of the 48 units" in signed.output


def test_ablate_command_gives_json_of_a_configuration_s_checkpoint(folder, tmp_path):
    config = ["--config", folder / "audit.toml"]
    plot = tmp_path / "curves.svg"
    shown = run("one", "layer2", *config, *QUICK, *ORDERS, "--json", "--plot", plot)
    assert shown.exit_code == 0
    found = json.loads(shown.stdout)
    assert (found["layer"], found["n_units"], found["n_images"]) == ("layer2", 48, 20)
    assert {row["order"] for row in found["areas"]} == set(found["orders"])
    assert len(found["curves"]) == 4 * len(found["areas"])
    assert len(found["orders"]["random"]) == 2
    assert found["verdict"] == "undefined"
    drawn = plot.read_bytes()
    for words in (b"apoz, highest first", b"random", b"layer2: 48 units, 20 training images"):
        assert words in drawn
    again = run(folder / "one.safetensors", "layer2", *config, *QUICK, *ORDERS, "--plot", plot)
    assert again.output.endswith(f"Figure: {plot}\n")
    assert plot.read_bytes() == drawn


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["resnet18", "layer2", "--dataset", "digits"], "a model's name needs --weights FILE or"),
        (["resnet18", "layer2", "--pretrained"], "say which training set: --dataset NAME or"),
        (["a", "b", "--weights", "w", "--dataset", "d", "--dataset-args", "[]"], "a JSON object"),
        (["a", "b", "--weights", "w", "--dataset", "d", "--dataset-args", "{"], "Expecting"),
        (["a", "b", "--config", "c", "--dataset", "d"], "--config says what the checkpoint and"),
        (["a", "b", "--steps", "0"], "0 is not in the range"),
    ],
)
def test_ablate_command_refuses_what_it_cannot_read(args, message):
    shown = CliRunner().invoke(command, args)
    assert shown.exit_code == 2
    assert message in shown.output


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["ones", "layer2"], "unknown checkpoint 'ones'; did you mean 'one'?"),
        (["one", "laier2"], "unknown layer 'laier2'; did you mean 'layer2'"),
        (["one", "layer2", "--order", "apos"], "unknown order of units 'apos'; did you mean 'apoz"),
        (["one", "layer2", "--plot", "curves.doc"], "curves.doc: a figure is written as "),
    ],
)
def test_ablate_command_names_what_is_unknown(folder, args, message):
    with pytest.raises(ConfigError) as caught:
        run(*args, "--config", folder / "audit.toml", *QUICK)
    assert str(caught.value).startswith(message)


def test_ablate_command_says_what_a_figure_needs_before_it_computes(folder, monkeypatch):
    known = importlib.import_module

    def without(name, *more):
        if name.startswith("matplotlib"):
            raise ImportError(f"no module named {name}")
        return known(name, *more)

    monkeypatch.setattr("audit.units.ablation_figure.importlib.import_module", without)
    with pytest.raises(ConfigError) as caught:
        run("one", "layer2", "--config", folder / "audit.toml", "--plot", "curves.svg")
    assert str(caught.value) == (
        "a figure needs the package 'matplotlib', which cannot be imported (no module named "
        "matplotlib.figure); install it: pip install 'genaudit[figures]'"
    )
