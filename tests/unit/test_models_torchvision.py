"""torchvision's networks by `torchvision.models:function`."""

import pytest
import torch
from PIL import Image
from torchvision import models
from torchvision.transforms._presets import ImageClassification

import audit_factory
import audit_timm
from audit.data.transform import eval_transform
from audit.errors import CheckpointError, ConfigError
from audit.network.fitting import fit_weights
from audit.network.weights import Weights
from audit.plugin import DataConfig
from audit.plugin.registry import Registry

REGISTRY = Registry({"timm": audit_timm, "factory": audit_factory})
FACTORY = REGISTRY.models["factory"]
IMAGENET = DataConfig(
    (3, 224, 224), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "bilinear", 224 / 256
)


def test_torchvision_networks_take_its_recipe_and_say_so():
    module = FACTORY.create("torchvision.models:resnet18", {"num_classes": 4}, False)
    assert REGISTRY.recognised_source(module) is FACTORY
    assert FACTORY.data_config(module, {}) == IMAGENET
    assert FACTORY.remarks(module, {}) == [
        "images are prepared by torchvision's recipe for ImageNet (bilinear, its mean and std), as "
        "model_args.weights names none; [dataset].transform goes before it"
    ]
    assert FACTORY.remarks(torch.nn.Linear(1, 1), {}) == []


@pytest.mark.parametrize(
    ("name", "args", "side"),
    [("inception_v3", {"aux_logits": False, "init_weights": False}, 299), ("vit_b_16", {}, 224)],
)
def test_torchvision_networks_take_the_size_they_were_built_for(name, args, side):
    with torch.device("meta"):
        module = getattr(models, name)(weights=None, **args)
    assert FACTORY.data_config(module, {}).input_size == (3, side, side)


def test_torchvision_vision_transformers_follow_the_image_size():
    with torch.device("meta"):
        module = models.vit_b_16(weights=None, image_size=64)
    assert FACTORY.data_config(module, {}).input_size == (3, 64, 64)


def entries():
    for name in models.list_models(module=models):
        yield from models.get_model_weights(name)


def test_every_weights_entry_of_torchvision_prepares_images_as_torchvision_does():
    torch.manual_seed(0)
    image = Image.fromarray(torch.randint(0, 256, (70, 91, 3), dtype=torch.uint8).numpy())
    module, seen = models.squeezenet1_0(weights=None), set()
    for entry in entries():
        config = FACTORY.data_config(module, {"weights": entry})
        if config in seen:
            continue
        seen.add(config)
        preset = entry.transforms()
        assert isinstance(preset, ImageClassification)
        assert torch.equal(eval_transform(config)(image), preset(image)), str(entry)
        assert FACTORY.data_config(module, {"weights": str(entry)}) == config
        assert FACTORY.remarks(module, {"weights": str(entry)}) == []
    assert len(seen) > 10


def test_weights_that_are_none_of_torchvisions_are_refused():
    with pytest.raises(ConfigError, match=r"^model_args\.weights = 'DEFAULT' must be the full"):
        FACTORY.data_config(models.squeezenet1_0(weights=None), {"weights": "DEFAULT"})


def test_torchvision_networks_of_other_channels_need_a_transform():
    module = models.squeezenet1_0(weights=None)
    module.features[0] = torch.nn.Conv2d(1, 96, 7)
    with pytest.raises(ConfigError, match=r"^torchvision prepares images with 3 channels, but"):
        FACTORY.data_config(module, {})


def test_torchvision_reads_the_names_of_its_first_densenets(tmp_path):
    def build():
        return models.DenseNet(growth_rate=4, block_config=(1, 1), num_init_features=8)

    source, target = build(), build()
    old = {}
    for name, tensor in source.state_dict().items():
        if "denselayer" in name:
            for part in ("norm1", "norm2", "conv1", "conv2"):
                name = name.replace(f".{part}.", f".{part[:-1]}.{part[-1]}.")
        old[name] = tensor
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    notes = fit_weights(target, Weights(old, (), "torch"), tmp_path, "", FACTORY.adapt)
    assert notes == ("translated an older layout of names",)
    assert all(torch.equal(target.state_dict()[n], t) for n, t in source.state_dict().items())


NAMED = {"weights": "ResNet18_Weights.IMAGENET1K_V1", "num_classes": 3}


def test_torchvision_networks_fetch_nothing_themselves(monkeypatch):
    def fetched(*args, **kwargs):
        raise AssertionError("weights were fetched")

    monkeypatch.setattr(models.WeightsEnum, "get_state_dict", fetched)
    module = FACTORY.create("torchvision.models:resnet18", NAMED, False)
    assert module.fc.out_features == 3
    for args, pretrained in ((NAMED, True), ({"pretrained": True}, False)):
        with pytest.raises(ConfigError, match="not loaded by torchvision, past the checks of weig"):
            FACTORY.create("torchvision.models:resnet18", args, pretrained)


def test_torchvision_weights_are_a_file_where_they_are_named(tmp_path, monkeypatch):
    with pytest.raises(CheckpointError) as caught:
        FACTORY.weights_file("torchvision.models:resnet18", {})
    assert str(caught.value) == (
        "model 'torchvision.models:resnet18' has several published weights: name one in "
        "model_args.weights: ResNet18_Weights.IMAGENET1K_V1"
    )
    asked = []

    def download(url, path, prefix, progress):
        asked.append((url.rpartition("/")[2], prefix))
        raise OSError("no connection")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    with pytest.raises(CheckpointError, match=r"could not be fetched from https://.*no connection"):
        FACTORY.weights_file("torchvision.models:resnet18", NAMED)
    assert asked == [("resnet18-f37072fd.pth", "f37072fd")]
    path = tmp_path / "checkpoints" / "resnet18-f37072fd.pth"
    path.touch()
    assert FACTORY.weights_file("torchvision.models:resnet18", NAMED) == path
    assert FACTORY.weights_file("my_models:build", {}) is None


def test_networks_that_torchvision_feeds_otherwise_with_its_weights_do_so_here(monkeypatch):
    args = {"weights": "Inception_V3_Weights.IMAGENET1K_V1", "init_weights": False}
    with torch.device("meta"):
        assert FACTORY.create("torchvision.models:inception_v3", args, False).transform_input
        del args["weights"]
        assert not FACTORY.create("torchvision.models:inception_v3", args, False).transform_input
