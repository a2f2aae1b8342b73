"""Odd networks, by the numbers of the matrix of faults: a defined value, or one row that says why.

Every network is a function in a file of the user's, audited beside a sound one as a user would.
"""

from __future__ import annotations

import json
import sys
import textwrap

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from audit import cli

N_CLASSES = 3
SIDE = 16

NETWORKS = """
import torch
from torch import nn


def sound(pretrained=False):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3),
    )
"""

CONFIG = """
[dataset]
name = "image_folder"
root = "train"
transform = {{ input_size = [1, {size}], mean = [0.5], std = [0.5] }}

[[checkpoints]]
model = "odd_networks:sound"
pretrained = true
name = "sound"

[[checkpoints]]
model = "odd_networks:odd"
name = "odd"
{more}

[measures]
include = [{measures}]
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Images of three classes; the user's own modules are imported from here."""
    rng = np.random.default_rng(0)
    for label in "abc":
        (tmp_path / "train" / label).mkdir(parents=True)
        for index in range(4):
            pixels = rng.integers(0, 256, (SIDE, SIDE), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "train" / label / f"{index}.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield tmp_path
    sys.modules.pop("odd_networks", None)


class Audit:
    """What an audit of one odd network beside a sound one came to."""

    def __init__(self, code, out):
        self.code = code
        self.measures = pd.read_csv(out / "measures.csv", keep_default_na=False)
        self.ranking = pd.read_csv(out / "ranking.csv")
        self.run = json.loads((out / "run.json").read_text())
        self.units = pd.read_parquet(out / "units.parquet")

    @property
    def failure(self):
        """Why the odd network failed as a whole, after checking that nothing else did."""
        failed = self.measures[self.measures["status"] == "failed"]
        assert self.code == 3
        assert list(zip(failed["checkpoint"], failed["measure"], strict=True)) == [("odd", "all")]
        assert self.ranking["checkpoint"].tolist() == ["sound"]
        return failed["reason"].iloc[0]

    def row(self, measure):
        assert self.code == 0, self.measures.loc[self.measures["status"] == "failed", "reason"]
        rows = self.measures[(self.measures["checkpoint"] == "odd")]
        return rows[rows["measure"] == measure].iloc[0]

    @property
    def about(self):
        return next(entry for entry in self.run["checkpoints"] if entry["checkpoint"] == "odd")

    @property
    def odd_units(self):
        return self.units[self.units["checkpoint"] == "odd"]


BIRTHS = ("feature_entropy.clique", "feature_entropy.cubical")


@pytest.fixture
def audit(folder, monkeypatch, capsys):
    """Audit the network of a function `odd`."""

    def call(source, more="pretrained = true", measures=BIRTHS, size=f"{SIDE}, {SIDE}"):
        sys.modules.pop("odd_networks", None)
        (folder / "odd_networks.py").write_text(NETWORKS + textwrap.dedent(source))
        named = ", ".join(f'"{name}"' for name in measures)
        (folder / "audit.toml").write_text(CONFIG.format(size=size, more=more, measures=named))
        arguments = [
            "--quiet",
            "--workers",
            "0",
            "--device",
            "cpu",
            "--cache",
            "cache",
            "-o",
            "out",
        ]
        monkeypatch.setattr(sys, "argv", ["genaudit", "run", "audit.toml", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        code = int(ended.value.code or 0)
        captured = capsys.readouterr()
        assert code in (0, 3), captured.err + captured.out
        return Audit(code, folder / "out")

    return call


# 19: NaN or infinite weights and activations


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_row_19_weights_that_are_not_finite_cost_a_row_that_names_the_tensor(audit, folder, value):
    state = {"0.weight": torch.full((3, 256), float(value)), "0.bias": torch.zeros(3)}
    torch.save(state, folder / "odd.pt")
    found = audit(
        """
        def odd(pretrained=False):
            return nn.Sequential(nn.Linear(256, 3))
        """,
        'weights = "odd.pt"',
    )
    assert "weights that are NaN or infinite: 768 of 768 in 0.weight, 1 of 2" in found.failure


def test_row_19_activations_that_are_not_finite_cost_a_row_that_names_the_layer(audit):
    found = audit(
        """
        class Log(nn.ReLU):
            def forward(self, x):
                return torch.log(x)

        def odd(pretrained=False):
            return nn.Sequential(nn.Conv2d(1, 2, 3), Log(), nn.Flatten(), nn.Linear(2 * 196, 3))
        """
    )
    assert found.failure == "layer 1 gives activations that are not finite"


# 20: dead, constant and tied maps


def test_row_20_dead_maps_have_a_status_and_no_entropy_and_the_checkpoint_a_doubt(audit):
    found = audit(
        """
        def odd(pretrained=False):
            network = sound()
            for parameter in network.parameters():
                nn.init.zeros_(parameter)
            return network
        """
    )
    row = found.row("feature_entropy.clique")
    assert (row["status"], row["value"]) == ("undefined", "")
    assert row["reason"]
    assert set(found.odd_units["status"]) == {"dead"}
    assert found.odd_units["feature_entropy"].isna().all()
    kinds = [doubt["kind"] for doubt in found.about["doubts"]]
    assert "constant_scores" in kinds
    assert "odd" in set(found.ranking["checkpoint"])


def test_row_20_constant_maps_are_told_from_dead_ones(audit):
    found = audit(
        """
        def odd(pretrained=False):
            network = sound()
            for name, parameter in network.named_parameters():
                nn.init.zeros_(parameter) if "weight" in name else nn.init.ones_(parameter)
            return network
        """
    )
    assert set(found.odd_units["status"]) == {"constant"}


def test_row_20_ties_are_counted_and_births_defined(audit):
    found = audit(
        """
        class Rounded(nn.ReLU):
            def forward(self, x):
                return torch.round(3 * torch.sigmoid(4 * x))

        def odd(pretrained=False):
            torch.manual_seed(0)
            return nn.Sequential(nn.Conv2d(1, 4, 3), Rounded(), nn.Flatten(), nn.Linear(784, 3))
        """
    )
    assert found.row("feature_entropy.cubical")["status"] == "ok"
    [layer] = found.about["layers"]
    assert layer["tied_rate"] > 0.5


# 21: maps of odd shapes


def test_row_21_a_network_without_maps_says_so_and_keeps_its_other_numbers(audit):
    found = audit(
        """
        def odd(pretrained=False):
            torch.manual_seed(0)
            return nn.Sequential(nn.Flatten(), nn.Linear(256, 8), nn.ReLU(), nn.Linear(8, 3))
        """,
        measures=(*BIRTHS, "train_accuracy", "path_norm"),
    )
    for name in BIRTHS:
        assert found.row(name)["status"] == "unavailable"
        assert found.row(name)["reason"]
    assert found.row("train_accuracy")["status"] == "ok"
    assert found.row("path_norm")["status"] == "ok"
    assert len(found.odd_units) == 0


def test_row_21_maps_that_are_not_square_have_cubical_births_alone(audit):
    found = audit(
        """
        def odd(pretrained=False):
            torch.manual_seed(0)
            return nn.Sequential(
                nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 14 * 22, 3)
            )
        """,
        size="16, 24",
    )
    row = found.row("feature_entropy.cubical")
    assert row["status"] == "ok", row["reason"]
    row = found.row("feature_entropy.clique")
    assert row["status"] == "unavailable"
    assert row["reason"] == (
        "the clique filtration needs square feature maps, and no layer has them"
    )


@pytest.mark.parametrize(("kernel", "size"), [("(16, 16)", 1), ("(16, 1)", 16)])
def test_row_21_maps_of_one_row_enclose_nothing_and_are_refused_with_the_reason(
    audit, kernel, size
):
    found = audit(
        f"""
        def odd(pretrained=False):
            torch.manual_seed(0)
            return nn.Sequential(
                nn.Conv2d(1, 4, {kernel}), nn.ReLU(), nn.Flatten(), nn.Linear(4 * {size}, 3)
            )
        """
    )
    for name in BIRTHS:
        row = found.row(name)
        assert row["status"] in ("unavailable", "undefined")
        assert row["reason"]


def test_row_21_channels_last_and_tokens_give_units_of_the_right_number(audit):
    found = audit(
        """
        class ChannelsLast(nn.Module):
            def __init__(self):
                super().__init__()
                self.conv, self.act = nn.Conv2d(1, 5, 3, padding=1), nn.GELU()
                self.fc = nn.Linear(5, 3)

            def forward(self, x):
                return self.fc(self.act(self.conv(x).permute(0, 2, 3, 1)).mean((1, 2)))

        def odd(pretrained=False):
            torch.manual_seed(0)
            return ChannelsLast()
        """
    )
    [layer] = found.about["layers"]
    assert (layer["height"], layer["width"], layer["units"]) == (SIDE, SIDE, 5)


# 22: networks of other types, and wrapped ones


@pytest.mark.parametrize("kind", ["bfloat16", "float16", "float64"])
def test_row_22_weights_of_another_floating_type_are_converted_and_said(audit, folder, kind):
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(1, 2, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(392, 3)
    )
    torch.save(network.to(getattr(torch, kind)).state_dict(), folder / "odd.pt")
    found = audit(
        """
        def odd(pretrained=False):
            return nn.Sequential(
                nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(392, 3)
            )
        """,
        'weights = "odd.pt"',
    )
    assert found.row("feature_entropy.clique")["status"] == "ok"
    assert f"converted 4 tensors from {kind} to float32" in found.about["notes"]


@pytest.mark.parametrize("kind", ["int8", "complex64"])
def test_row_22_weights_that_cannot_be_converted_cost_a_row(audit, folder, kind):
    state = {"0.weight": torch.zeros(3, 256, dtype=getattr(torch, kind)), "0.bias": torch.zeros(3)}
    torch.save(state, folder / "odd.pt")
    found = audit(
        """
        def odd(pretrained=False):
            return nn.Sequential(nn.Linear(256, 3))
        """,
        'weights = "odd.pt"',
    )
    assert f"0.weight is torch.{kind}, which cannot be converted to torch.float32" in found.failure


def test_row_22_a_network_of_bfloat16_is_run_in_float32(audit):
    found = audit(
        """
        def odd(pretrained=False):
            return sound().bfloat16()
        """
    )
    assert found.row("feature_entropy.clique")["status"] == "ok"


def test_row_22_a_network_behind_data_parallel_gives_what_it_gives_without(audit):
    plain = audit(
        """
        def odd(pretrained=False):
            network = sound()
            nn.init.constant_(network[0].bias, 0.1)
            return network
        """
    )
    value = plain.row("feature_entropy.cubical")["value"]
    wrapped = audit(
        """
        def odd(pretrained=False):
            network = sound()
            nn.init.constant_(network[0].bias, 0.1)
            return nn.DataParallel(network)
        """
    )
    assert wrapped.row("feature_entropy.cubical")["value"] == value


# 23: networks left in train mode


def test_row_23_dropout_and_batch_statistics_are_off_whatever_mode_a_network_comes_in(audit):
    source = """
        def odd(pretrained=False):
            network = sound()
            nn.init.constant_(network[0].bias, 0.1)
            network.insert(3, nn.Dropout(0.9))
            return network.{mode}()
        """
    values = []
    for mode in ("train", "eval"):
        found = audit(source.format(mode=mode), measures=(*BIRTHS, "train_loss"))
        values.append([found.row(name)["value"] for name in (*BIRTHS, "train_loss")])
    assert values[0] == values[1]


# 24: in-place activations


def test_row_24_an_activation_in_place_changes_no_map(audit):
    source = """
        def odd(pretrained=False):
            torch.manual_seed(0)
            return nn.Sequential(
                nn.Conv2d(1, 4, 3), nn.ReLU({place}), nn.Conv2d(4, 4, 3), nn.ReLU({place}),
                nn.Flatten(), nn.Linear(576, 3),
            )
        """
    values = []
    for place in ("", "inplace=True"):
        found = audit(source.format(place=place))
        values.append([found.row(name)["value"] for name in BIRTHS])
    assert values[0] == values[1]


# 25: hooks after exceptions


def test_row_25_a_forward_pass_that_raises_leaves_no_hook(audit):
    found = audit(
        """
        class Fails(nn.Module):
            def forward(self, x):
                raise ZeroDivisionError("on purpose")

        network = None

        def odd(pretrained=False):
            global network
            torch.manual_seed(1)
            network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), Fails())
            return network
        """
    )
    assert "ZeroDivisionError: on purpose" in found.failure
    network = sys.modules["odd_networks"].network
    assert network is not None
    for part in network.modules():
        assert not part._forward_hooks
        assert not part._forward_pre_hooks


# 26: inputs of another size


def test_row_26_an_input_of_another_size_costs_a_row_with_the_size(audit):
    found = audit(
        """
        def odd(pretrained=False):
            torch.manual_seed(0)
            return nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(392, 3))
        """,
        size="20, 20",
    )
    # some releases of torch name the operation first
    said_by_torch = "addmm: " if "addmm: " in found.failure else ""
    assert found.failure == (
        "the network cannot take images of input_size = [1, 20, 20], but it can those of "
        "[1, 16, 16]: set input_size in transform of [dataset] to the size it was trained with, or "
        "model_args (such as img_size or in_chans) to this one; it raised RuntimeError: "
        f"{said_by_torch}mat1 and mat2 shapes cannot be multiplied (5x648 and 392x3)"
    )


def test_row_26_channels_that_do_not_fit_are_named(audit):
    found = audit(
        """
        def odd(pretrained=False):
            return nn.Sequential(
                nn.Conv2d(3, 2, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                nn.Linear(2, 3),
            )
        """
    )
    assert "input_size = [1, 16, 16], but it can those of [3, 16, 16]: " in found.failure


def test_row_26_a_vision_transformer_of_another_size_says_which_it_needs(audit):
    found = audit(
        """
        import timm

        def odd(pretrained=False):
            network = timm.models.vision_transformer.VisionTransformer(
                img_size=32, patch_size=8, in_chans=1, num_classes=3, embed_dim=16, depth=2,
                num_heads=2,
            )
            network.pretrained_cfg = {"input_size": (1, 32, 32), "mean": (0.5,), "std": (0.5,)}
            return network
        """
    )
    assert "input_size = [1, 16, 16], but it can those of [1, 32, 32]: set" in found.failure
    assert "it raised AssertionError: Input height (16) doesn't match model (32)" in found.failure


def test_fault_23_a_network_that_changes_its_weights_costs_a_row_and_keeps_nothing(audit):
    code = """
        class Drifting(nn.Sequential):
            def forward(self, images):
                with torch.no_grad():
                    self[0].weight.data += 1e-3
                return super().forward(images)

        def odd(pretrained=False):
            torch.manual_seed(0)
            return Drifting(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                            nn.Linear(4, 3))
        """
    for _ in range(2):  # what is in the store must not pass for its numbers
        found = audit(code)
        assert (
            "changes its own weights when it is run, even in eval mode: 0.weight" in found.failure
        )
