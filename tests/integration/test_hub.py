"""Weights from a model hub that answers: one on this machine, through the hub's own library."""

import json
import os
import sys

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import timm
import torch
from hub import COMMIT, running_hub
from PIL import Image
from programs import run_program

TAGGED = "test_resnet.r160_in1k"
CHECKPOINTS = {
    "pinned": ('model = "hf-hub:org/name@{commit}"', "pretrained = true"),
    "by url": ('model = "test_resnet"', 'weights = "hf://org/name/model.safetensors"'),
    "tagged": (f'model = "{TAGGED}"', "pretrained = true"),
    "broken off": ('model = "hf-hub:org/broken@{commit}"', "pretrained = true"),
    "gated": ('model = "hf-hub:org/gated@{commit}"', "pretrained = true"),
    "unknown": ('model = "hf-hub:org/none@{commit}"', "pretrained = true"),
    "other commit": ('model = "hf-hub:org/name@{other}"', "pretrained = true"),
    "no weights": ('model = "hf-hub:org/empty@{commit}"', "pretrained = true"),
    "refused by url": ('model = "test_resnet"', 'weights = "hf://org/gated/model.safetensors"'),
}
HEAD = """
[dataset]
name = "image_folder"
root = "train"
transform = { input_size = [3, 32, 32] }

[measures]
include = ["train_loss"]
"""
COULD_NOT = "needs its pretrained weights, which could not be fetched: "


def content(seed, **more):
    """A repository of a network of timm with two classes."""
    torch.manual_seed(seed)
    about = {"num_classes": 2, "input_size": [3, 32, 32], "classifier": "fc"}
    config = {"architecture": "test_resnet", "num_classes": 2, "pretrained_cfg": about}
    network = timm.create_model("test_resnet", num_classes=2)
    weights = {"model.safetensors": safetensors.torch.save(network.state_dict())}
    return {"config.json": json.dumps(config).encode(), **(weights if not more else {})}


def folder(path):
    """Images of two classes, and the configuration."""
    rng = np.random.default_rng(0)
    for label in "ab":
        (path / "train" / label).mkdir(parents=True)
        for number in range(5):
            pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(path / "train" / label / f"{number}.png")
    sections = [HEAD]
    for name, (model, weights) in CHECKPOINTS.items():
        model = model.format(commit=COMMIT, other="b" * 40)
        args = "" if "hf-hub" in model else "model_args = { num_classes = 2 }"
        sections.append(f'[[checkpoints]]\nname = "{name}"\n{model}\n{weights}\n{args}\n')
    (path / "audit.toml").write_text("\n".join(sections))
    return path


@pytest.fixture(scope="module")
def audits(tmp_path_factory):
    """The tables of two runs, and what each asked the hub."""
    path = folder(tmp_path_factory.mktemp("hub"))
    repositories = {
        "org/name": content(0),
        f"timm/{TAGGED}": content(1),
        "org/broken": content(0),
        "org/gated": content(0),
        "org/empty": content(0, weights=False),
    }
    found = []
    with running_hub(repositories) as hub:
        hub.refusals["org/gated"] = (403, "GatedRepo")
        hub.broken.add("org/broken")
        for out in ("one", "two"):
            hub.asked.clear()
            ended = run_program(
                [
                    *(sys.executable, "-m", "audit", "run", "audit.toml", "-o", out),
                    *("--cache", "cache", "--workers", "0", "--device", "cpu", "--quiet"),
                ],
                check=False,
                cwd=path,
                env={
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
                    "HF_ENDPOINT": hub.url,
                    "HF_HOME": str(path / "home"),
                    "GENAUDIT_LOCAL": str(path / "local"),
                },
            )
            table = pd.read_csv(path / out / "measures.csv", keep_default_na=False)
            found.append((ended, table, dict(hub.asked)))
    return found


def reasons(table):
    rows = table[table["measure"] == "all"]
    return dict(zip(rows["checkpoint"], rows["reason"], strict=True))


def test_every_way_to_name_a_file_of_the_hub_is_audited(audits):
    _, table, asked = audits[0]
    sound = table[table["measure"] == "train_loss"].set_index("checkpoint")["value"]
    assert sorted(sound.index) == ["by url", "pinned", "tagged"]
    assert sound["pinned"] != sound["tagged"]
    # one and the same file: prepared as its configuration says, and as the architecture's does
    assert asked[f"GET /org/name/resolve/{COMMIT}/model.safetensors"] == 1
    assert asked["GET /org/name/resolve/main/model.safetensors"] == 1


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("broken off", f"{COULD_NOT}RemoteProtocolError: peer closed connection"),
        ("gated", "accept its terms on the hub, and set HF_TOKEN to a token of yours"),
        ("unknown", "check the name; for a private repository set HF_TOKEN to a token that may"),
        ("other commit", "check the commit, or give a file in weights"),
        ("no weights", "has no pytorch_model.bin on the hub; give a file in weights"),
        ("refused by url", "hf://org/gated/model.safetensors"),
    ],
)
def test_what_the_hub_does_not_give_costs_one_row_that_says_what_to_do(audits, name, reason):
    ended, table, _ = audits[0]
    assert ended.returncode == 3, ended.stderr
    assert "Traceback" not in ended.stderr
    assert reason in reasons(table)[name]


def test_what_was_fetched_is_not_fetched_again(audits):
    (_, first, _), (_, second, asked) = audits
    columns = ["checkpoint", "measure", "value", "status"]
    assert second[columns].equals(first[columns])
    fetched = [what for what in asked if what.startswith("GET") and what.endswith("safetensors")]
    assert fetched == []
