"""Older layouts of weights, translated by timm's own functions."""

import re

import pytest
import timm
import torch

import audit_timm
from audit.errors import CheckpointError
from audit.network.fitting import fit_weights
from audit.network.weights import Weights
from audit.plugin.registry import Registry

TIMM = Registry({"timm": audit_timm}).models["timm"]
SWIN = {"embed_dim": 12, "depths": (1, 1, 1, 1), "num_heads": (1, 1, 2, 2)}
CONVNEXT = {"depths": (1, 1, 1, 1), "dims": (4, 8, 8, 8), "conv_mlp": False}


def old_swin(name):
    """Microsoft's names: a stage ends with its downsampling, and has no classifier module."""
    found = re.sub(
        r"layers\.(\d)\.downsample", lambda m: f"layers.{int(m[1]) - 1}.downsample", name
    )
    return found.replace("head.fc.", "head.")


def old_convnext(name):
    """Facebook's names."""
    for pattern, replacement in (
        (r"stages\.(\d+)\.blocks\.(\d+)", r"stages.\1.\2"),
        (r"stages\.(\d+)\.downsample\.(\d+)", r"downsample_layers.\1.\2"),
        (r"^stem\.(\d+)", r"downsample_layers.0.\1"),
        ("conv_dw", "dwconv"),
        (r"mlp\.fc", "pwconv"),
        (r"head\.fc\.", "head."),
        (r"head\.norm\.", "norm."),
    ):
        name = re.sub(pattern, replacement, name)
    return name


LAYOUTS = {
    "swin": ("swin_tiny_patch4_window7_224", SWIN, old_swin),
    "convnext": ("convnext_atto", CONVNEXT, old_convnext),
}


@pytest.mark.parametrize("prefix", ["", "module.", "model."])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_older_layouts_fit_after_translation(tmp_path, layout, prefix):
    architecture, args, old = LAYOUTS[layout]
    source, target = (timm.create_model(architecture, num_classes=5, **args) for _ in range(2))
    state = {prefix + old(name): tensor for name, tensor in source.state_dict().items()}
    assert set(state) != set(source.state_dict())
    notes = fit_weights(target, Weights(state, (), "torch"), tmp_path, architecture, TIMM.adapt)
    assert notes[-1] == "translated an older layout of names"
    assert all(torch.equal(target.state_dict()[n], t) for n, t in source.state_dict().items())


def test_a_linear_patch_embedding_is_the_convolution_it_is(tmp_path):
    source, target = timm.create_model("test_vit"), timm.create_model("test_vit")
    state = dict(source.state_dict())
    state["patch_embed.proj.weight"] = state["patch_embed.proj.weight"].flatten(1)
    fit_weights(target, Weights(state, (), "torch"), tmp_path, "test_vit", TIMM.adapt)
    assert torch.equal(target.patch_embed.proj.weight, source.patch_embed.proj.weight)


def test_older_layouts_of_another_image_size_are_refused_with_the_size_to_set(tmp_path):
    state = timm.create_model("test_vit", img_size=320).state_dict()
    target = timm.create_model("test_vit")
    before = target.pos_embed.clone()
    old = {f"visual.trunk.{name}": tensor for name, tensor in state.items()}
    with pytest.raises(CheckpointError) as caught:
        fit_weights(target, Weights(old, (), "torch"), tmp_path, "test_vit", TIMM.adapt)
    assert str(caught.value) == (
        f"checkpoint {tmp_path}: it is of another image or patch size: timm would resample "
        "pos_embed to 1 × 101 × 64, which changes weights; set model_args.img_size = 320"
    )
    assert torch.equal(target.pos_embed, before)


HINTS = {
    "pos_embed": ("test_vit", {"img_size": 320}, {}, "model_args.img_size = 320"),
    "window": (
        "swin_tiny_patch4_window7_224",
        {**SWIN, "window_size": 12, "img_size": 384},
        SWIN,
        "model_args.window_size = 12",
    ),
    "beit": (
        "beit_base_patch16_224",
        {"embed_dim": 24, "depth": 1, "num_heads": 2, "img_size": 64},
        {"embed_dim": 24, "depth": 1, "num_heads": 2, "img_size": 96},
        "model_args.img_size = 64",
    ),
    "channels and classes": (
        "test_resnet",
        {"in_chans": 1, "num_classes": 7},
        {},
        "model_args.in_chans = 1 and model_args.num_classes = 7",
    ),
}


@pytest.mark.parametrize("name", HINTS)
def test_other_sizes_are_answered_with_the_argument_to_set(tmp_path, name):
    architecture, given, wanted, hint = HINTS[name]
    state = timm.create_model(architecture, **given).state_dict()
    target = timm.create_model(architecture, **wanted)
    with pytest.raises(CheckpointError) as caught:
        fit_weights(target, Weights(state, (), "torch"), tmp_path, architecture, TIMM.adapt)
    assert str(caught.value).endswith(f"; set {hint}")


def test_a_layout_that_nobody_knows_stays_as_it_is():
    state = {"a": torch.ones(1)}
    assert TIMM.adapt(timm.create_model("test_vit"), state) == state
