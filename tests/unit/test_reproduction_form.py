"""Forms of the experiments, and the networks that come along."""

import pytest
import torch

from audit.errors import ConfigError
from audit.network.layers import choose_layers
from audit.reproduction.form import VARIANTS, read_form, shipped_forms
from audit.reproduction.networks import resnet_like, vgg_like

FORM = """
about = "own"
seeds = 2
side = 24
[[sources]]
name = "own"
dataset = { name = "image_folder", root = "images" }
epochs = 3
[[architectures]]
name = "net"
model = "resnet18"
"""


@pytest.mark.parametrize("name", shipped_forms())
def test_forms_that_come_along_are_whole(name):
    form = read_form(name)
    assert {one.name for one in form.architectures} == {"vgg", "resnet"}
    recipes = [
        form.recipe(architecture, source, variant, 0)
        for architecture in form.architectures
        for source in form.sources
        for variant in VARIANTS
    ]
    assert len({(recipe.task, recipe.name) for recipe in recipes}) == len(recipes)


def test_the_full_form_has_three_sources():
    assert len(read_form("full").sources) == 3


def test_variants_differ_in_one_setting_from_one_to_the_next():
    form = read_form("quick")
    recipes = [form.recipe(form.architectures[0], form.sources[0], v, 0) for v in VARIANTS]
    settings = [(r.augmentation, r.weight_decay > 0, r.label_noise > 0) for r in recipes]
    assert settings == [
        (True, True, False),
        (False, True, False),
        (False, False, False),
        (False, False, True),
    ]


def test_a_form_of_one_s_own_finds_its_images_beside_it(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "mine.toml").write_text(FORM)
    form = read_form(tmp_path / "mine.toml")
    assert form.name == "mine"
    assert form.sources[0].dataset["root"] == str(tmp_path / "images")
    assert form.transform["input_size"] == [1, 24, 24]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (FORM + "[[architectures]]\nname = 'net'\nmodel = 'x'\n", "bear one name"),
        (FORM.replace("seeds = 2", "seeds = 0"), "seeds: Input should be greater than or equal"),
        ("about = ", "is not TOML"),
    ],
)
def test_a_form_that_cannot_be_used_says_why(tmp_path, text, message):
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_form(tmp_path / "mine.toml")


def test_an_unknown_form_names_those_there_are():
    with pytest.raises(ConfigError, match="the forms are full, quick, short"):
        read_form("fool")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_form("nowhere.toml")


@pytest.mark.parametrize("build", [vgg_like, resnet_like])
def test_the_last_convolution_sees_maps_of_the_paper_s_size(build):
    network = build(num_classes=5, in_chans=1).eval()
    images = torch.randn(2, 1, 56, 56)
    assert network(images).shape == (2, 5)
    layers = choose_layers(network, images, ("all-activations",)).specs
    assert [spec.reading.height for spec in layers[-2:]] == [14, 14]
    assert layers[0].reading.height == 56
    assert layers[-1].reading.units == 32
