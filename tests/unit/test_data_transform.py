"""The evaluation transform and the overrides of the data configuration."""

import dataclasses
import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from audit.data.pixels import standard_mode
from audit.data.transform import eval_transform, override_data_config, resolve_data_config
from audit.errors import ConfigError, DataError
from audit.plugin import DataConfig, ModelEntry

BASE = DataConfig((3, 224, 224), (0.4, 0.5, 0.6), (0.1, 0.2, 0.3), "bilinear", 0.9)


def random_image(mode="RGB", size=(37, 23), seed=0):
    shape = (size[1], size[0], 3) if mode == "RGB" else (size[1], size[0])
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize("crop_pct", [1.0, 0.95, 0.875])
@pytest.mark.parametrize("size", [(32, 32), (48, 32), (20, 40)])
@pytest.mark.parametrize("image_size", [(37, 23), (23, 90), (64, 64), (8, 8)])
def test_eval_transform_equals_timm(interpolation, crop_pct, size, image_size):
    from timm.data import create_transform
    from timm.data.transforms import ResizeKeepRatio, str_to_interp_mode

    config = DataConfig((3, *size), BASE.mean, BASE.std, interpolation, crop_pct)
    image = random_image(size=image_size)
    expected = create_transform(
        input_size=config.input_size,
        is_training=False,
        interpolation=interpolation,
        mean=config.mean,
        std=config.std,
        crop_pct=crop_pct,
    )
    for step in expected.transforms:
        if isinstance(step, ResizeKeepRatio):  # before 1.0.31 timm did not pass it on
            step.interpolation = str_to_interp_mode(interpolation)
    assert torch.equal(eval_transform(config)(image), expected(image))


def test_eval_transform_gives_one_channel_networks_grayscale():
    config = DataConfig((1, 2, 2), (0.5,), (0.25,))
    image = Image.fromarray(np.array([[0, 255], [51, 102]], dtype=np.uint8))
    found = eval_transform(config)(image)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, torch.tensor([[[-2.0, 2.0], [-1.2, -0.4]]]))


def test_eval_transform_repeats_grayscale_for_three_channels():
    config = DataConfig((3, 4, 4), (0.5,) * 3, (0.5,) * 3)
    found = eval_transform(config)(random_image("L", (4, 4)))
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_eval_transform_can_be_sent_to_another_process():
    image = random_image()
    transform = eval_transform(BASE)
    assert torch.equal(pickle.loads(pickle.dumps(transform))(image), transform(image))


def test_standard_mode_scales_sixteen_bits():
    values = np.array([[0, 128, 129, 257, 32768, 65535]], dtype=np.uint16)
    for image in (Image.fromarray(values), Image.fromarray(values.astype(np.int32))):
        assert np.asarray(standard_mode(image)).tolist() == [[0, 0, 1, 1, 128, 255]]


def test_standard_mode_refuses_pixels_of_unknown_range():
    with pytest.raises(DataError) as caught:
        standard_mode(Image.fromarray(np.array([[0, 70000]], dtype=np.int32)))
    assert str(caught.value) == (
        "integer pixels run from 0 to 70000; 8 or 16 bits were expected; "
        "convert the image to 8 bits"
    )
    with pytest.raises(DataError) as caught:
        standard_mode(Image.fromarray(np.array([[0.5, 300]], dtype=np.float32)))
    assert str(caught.value) == (
        "float pixels run from 0.5 to 300; [0, 1] or [0, 255] was expected; give the images as "
        "they were before normalisation, or convert them to 8 bits"
    )


@pytest.mark.parametrize("mode", ["1", "L", "LA"])
def test_standard_mode_keeps_grayscale_kinds_gray(mode):
    assert standard_mode(random_image("L").convert(mode)).mode == "L"


@pytest.mark.parametrize("mode", ["P", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV", "LAB"])
def test_standard_mode_turns_colour_kinds_to_rgb(mode):
    image = random_image()
    if mode == "RGBa":
        image = image.convert("RGBA")
    image = image.convert(mode) if mode != "LAB" else Image.merge("LAB", image.split())
    assert standard_mode(image).mode == "RGB"


def test_standard_mode_drops_alpha_without_compositing():
    image = Image.new("RGBA", (1, 1), (10, 20, 30, 0))
    assert standard_mode(image).getpixel((0, 0)) == (10, 20, 30)


def test_standard_mode_takes_palettes_with_transparent_colours():
    image = Image.new("P", (1, 1), 1)
    image.putpalette([1, 2, 3, 40, 50, 60])
    image.info["transparency"] = b"\x00\x80"
    assert standard_mode(image).getpixel((0, 0)) == (40, 50, 60)


def test_override_data_config_without_overrides_changes_nothing():
    assert override_data_config(BASE, {}) == BASE


def test_override_data_config_replaces_every_field():
    overrides = {
        "input_size": [1, 48, 40],
        "mean": [0.5],
        "std": [0.25],
        "crop_pct": 1,
        "interpolation": "nearest",
    }
    expected = DataConfig((1, 48, 40), (0.5,), (0.25,), "nearest", 1.0)
    assert override_data_config(BASE, overrides) == expected
    assert override_data_config(None, overrides) == expected


def test_override_data_config_adapts_mean_and_std_to_the_channels():
    one = override_data_config(BASE, {"input_size": [1, 32, 32]})
    assert one.mean == pytest.approx((0.5,))
    assert one.std == pytest.approx((0.2,))
    three = override_data_config(one, {"input_size": [3, 32, 32]})
    assert three.mean == pytest.approx((0.5, 0.5, 0.5))
    assert override_data_config(BASE, {"mean": [0.1]}).mean == (0.1, 0.1, 0.1)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            {"inputsize": [3, 8, 8]},
            "unknown transform key 'inputsize'; did you mean 'input_size'? "
            "known: input_size, mean, std, interpolation, crop_pct",
        ),
        (
            {"input_size": [32, 32]},
            "transform.input_size must be [channels, height, width] with 1 or 3 channels, "
            "such as [3, 224, 224]; found [32, 32]",
        ),
        (
            {"input_size": [2, 32, 32]},
            "transform.input_size must be [channels, height, width] with 1 or 3 channels, "
            "such as [3, 224, 224]; found [2, 32, 32]",
        ),
        (
            {"input_size": [3, 0, 32]},
            "transform.input_size must be [channels, height, width] with 1 or 3 channels, "
            "such as [3, 224, 224]; found [3, 0, 32]",
        ),
        (
            {"mean": [0.1, 0.2]},
            "transform.mean must have 1 or 3 numbers, one per channel of input_size; "
            "found [0.1, 0.2]",
        ),
        ({"std": [0.1, 0.0, 0.1]}, "transform.std must be positive; found [0.1, 0.0, 0.1]"),
        ({"mean": ["a"]}, "transform.mean must be a list of finite numbers; found ['a']"),
        ({"mean": []}, "transform.mean must be a list of finite numbers; found []"),
        ({"std": [float("nan")]}, "transform.std must be a list of finite numbers; found [nan]"),
        ({"crop_pct": 0}, "transform.crop_pct must be in (0, 1]; found 0"),
        ({"crop_pct": 1.5}, "transform.crop_pct must be in (0, 1]; found 1.5"),
        (
            {"interpolation": "cubic"},
            "transform.interpolation must be one of nearest, bilinear, bicubic; found 'cubic'",
        ),
    ],
)
def test_override_data_config_explains_what_cannot_be_used(overrides, message):
    with pytest.raises(ConfigError) as caught:
        override_data_config(BASE, overrides)
    assert str(caught.value) == message


def test_override_data_config_needs_size_mean_and_std_when_the_model_has_none():
    with pytest.raises(ConfigError) as caught:
        override_data_config(None, {"input_size": [3, 8, 8]})
    assert str(caught.value) == (
        "the model does not say how its images are prepared: set mean, std in "
        "[dataset].transform, such as { input_size = [3, 224, 224], mean = [0.5], std = [0.5] }"
    )


def source(data_config):
    return ModelEntry(
        name="own",
        summary="",
        version="1",
        matches=lambda reference: True,
        names=tuple,
        create=lambda reference, args, pretrained: torch.nn.Identity(),
        data_config=data_config,
    )


def test_resolve_data_config_uses_overrides_alone_when_the_model_has_none():
    def unknown(module, args):
        raise ConfigError("set the transform")

    complete = {"input_size": [3, 8, 8], "mean": [0.5], "std": [0.5]}
    found = resolve_data_config(source(unknown), torch.nn.Identity(), {}, complete)
    assert found == DataConfig((3, 8, 8), (0.5,) * 3, (0.5,) * 3, "bicubic", 1.0)
    with pytest.raises(ConfigError, match=r"^set the transform$"):
        resolve_data_config(source(unknown), torch.nn.Identity(), {}, {"mean": [0.5]})


def test_resolve_data_config_overrides_the_models_own():
    found = resolve_data_config(
        source(lambda module, args: BASE), torch.nn.Identity(), {}, {"crop_pct": 1.0}
    )
    assert found == dataclasses.replace(BASE, crop_pct=1.0)
