"""timm as a source of networks."""

import json

import pytest
import timm
import torch

import audit_factory
import audit_timm
from audit.errors import CheckpointError, ConfigError
from audit.plugin import DataConfig
from audit.plugin.registry import Registry

REGISTRY = Registry({"timm": audit_timm, "factory": audit_factory})
TIMM = REGISTRY.models["timm"]
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    "reference",
    ["resnet18", "resnet18.a1_in1k", "hf-hub:a/b@c", "hf_hub:a/b@c", "local-dir:/some/where"],
)
def test_timm_matches_its_references(reference):
    assert REGISTRY.model_source(reference) is TIMM


@pytest.mark.parametrize("reference", ["", "resnet81", "package:build", "./resnet18", "timm/x"])
def test_timm_leaves_other_references(reference):
    assert not TIMM.matches(reference)


def test_unknown_model_suggests_the_nearest_names():
    with pytest.raises(ConfigError, match=r"^unknown model 'resnet81'; did you mean .*'resnet18'"):
        REGISTRY.model_source("resnet81")


def test_timm_names_every_architecture():
    assert list(TIMM.names()) == timm.list_models()
    assert TIMM.version == timm.__version__


def test_timm_create_passes_arguments():
    module = TIMM.create("test_resnet", {"num_classes": 7, "in_chans": 1}, False)
    assert module(torch.zeros(2, 1, 64, 64)).shape == (2, 7)


def test_timm_create_names_bad_arguments():
    with pytest.raises(ConfigError) as caught:
        TIMM.create("test_resnet", {"num_clases": 7}, False)
    assert str(caught.value) == (
        "timm cannot build 'test_resnet' with model_args {'num_clases': 7}: TypeError: "
        "ResNet.__init__() got an unexpected keyword argument 'num_clases'"
    )


def test_timm_create_names_bad_values():
    with pytest.raises(ConfigError, match=r"with model_args \{'num_classes': 'ten'\}: TypeError"):
        TIMM.create("test_resnet", {"num_classes": "ten"}, False)


def test_timm_create_names_unknown_tags():
    with pytest.raises(ConfigError) as caught:
        TIMM.create("test_resnet.r160_in2k", {}, False)
    assert str(caught.value) == (
        "unknown model 'test_resnet.r160_in2k'; did you mean 'test_resnet.r160_in1k'? "
        "test_resnet has the tags: test_resnet.r160_in1k"
    )


@pytest.mark.parametrize(
    "reference", ["hf-hub:org/name", "hf_hub:org/name@main", "hf-hub:name@" + COMMIT]
)
def test_timm_hub_models_must_be_pinned(reference):
    with pytest.raises(ConfigError) as caught:
        TIMM.create(reference, {}, True)
    assert str(caught.value) == (
        f"hub model '{reference}' must be pinned to a commit, for its files can change: "
        "write hf-hub:organization/model@commit with the 40 digits of the commit"
    )


def test_timm_says_what_the_network_was_needed_for(monkeypatch):
    def unreachable(*args, **kwargs):
        raise OSError("no connection")

    monkeypatch.setattr(timm, "create_model", unreachable)
    with pytest.raises(CheckpointError) as caught:
        TIMM.create(f"hf-hub:org/name@{COMMIT}", {}, False)
    assert str(caught.value) == (
        f"model 'hf-hub:org/name@{COMMIT}' needs its configuration, which could not be loaded: "
        "OSError: no connection; connect to the network"
    )


def test_timm_never_loads_pretrained_weights_itself():
    for args, wanted in (({}, True), ({"pretrained": True}, False)):
        with pytest.raises(ConfigError, match="pretrained weights are not loaded by timm, past"):
            TIMM.create("test_resnet", args, wanted)


def test_timm_pretrained_weights_that_do_not_exist():
    bare = {name for name in timm.list_models() if not timm.is_model_pretrained(name)}
    with pytest.raises(CheckpointError, match="has no pretrained weights in timm; give a file in"):
        TIMM.weights_file(min(name for name in bare if name.startswith("resnet")), {})


def test_timm_local_folder_is_built_from_its_configuration(tmp_path):
    config = {"architecture": "test_resnet", "num_classes": 5, "pretrained_cfg": {}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    reference = f"local-dir:{tmp_path}"
    module = TIMM.create(reference, {}, False)
    assert module.num_classes == 5
    first = TIMM.digest(reference)
    (tmp_path / "config.json").write_text(json.dumps({**config, "num_classes": 6}))
    assert len(first) == 64
    assert TIMM.digest(reference) != first
    assert TIMM.digest("resnet18") == ""


def test_timm_local_folder_without_configuration(tmp_path):
    with pytest.raises(ConfigError) as caught:
        TIMM.create(f"local-dir:{tmp_path}", {}, False)
    path = tmp_path / "config.json"
    assert str(caught.value) == f"model 'local-dir:{tmp_path}' needs {path}, which does not exist"
    with pytest.raises(ConfigError, match=r"needs .*config\.json"):
        TIMM.digest(f"local-dir:{tmp_path}")


def test_timm_data_config_is_timms_own():
    module = TIMM.create("test_resnet", {}, False)
    assert TIMM.data_config(module, {}) == DataConfig(
        (3, 160, 160), (0.5,) * 3, (0.5,) * 3, "bilinear", 0.95
    )


@pytest.mark.parametrize("args", [{"in_chans": 1}, {}])
def test_timm_data_config_follows_the_channels_of_the_network(args):
    module = TIMM.create("resnet18", {"in_chans": 1}, False)
    found = TIMM.data_config(module, args)
    assert found.input_size == (1, 224, 224)
    assert found.mean == pytest.approx((0.449,), abs=1e-3)
    assert found.std == pytest.approx((0.226,), abs=1e-9)


def test_timm_data_config_follows_the_image_size():
    args = {"img_size": 64}
    module = TIMM.create("test_vit", args, False)
    assert TIMM.data_config(module, args).input_size == (3, 64, 64)
    assert TIMM.data_config(module, {}).input_size == (3, 64, 64)
    assert TIMM.data_config(module, {"img_size": [64, 32]}).input_size == (3, 64, 32)


FAMILIES = [
    *("test_resnet", "test_vit", "tresnet_m", "swin_tiny_patch4_window7_224", "mobilevit_xxs"),
    *("levit_384_s8", "crossvit_9_240", "pit_xs_224", "naflexvit_base_patch16_siglip"),
    *("inception_v4", "nasnetalarge", "maxvit_tiny_tf_224", "hiera_tiny_224", "dla34"),
    *("volo_d1_224", "qwen3_vit_88m", "efficientvit_b0", "repvit_m1", "vgg11", "ghostnet_100"),
]


@pytest.mark.parametrize("name", FAMILIES)
def test_timm_data_config_gives_the_size_that_timm_resolves(name):
    if not timm.is_model(name):
        pytest.skip(f"this timm has no {name}")
    with torch.device("meta"):
        module, gray = timm.create_model(name), timm.create_model(name, in_chans=1)
    size = tuple(timm.data.resolve_model_data_config(module)["input_size"])
    assert TIMM.data_config(module, {}).input_size == size
    assert TIMM.data_config(gray, {}).input_size == (1, *size[1:])


def test_timm_remarks_on_what_its_own_preparation_does_otherwise():
    module = TIMM.create("test_resnet", {}, False)
    assert TIMM.remarks(module, {}) == []
    module.pretrained_cfg |= {"crop_mode": "squash", "test_input_size": (3, 288, 256)}
    assert TIMM.remarks(module, {}) == [
        "timm prepares images with crop_mode 'squash'; here the centre of the image is taken",
        "timm publishes results at 288 × 256 pixels too (test_input_size); here images have the "
        "size of training",
    ]


def test_timm_data_config_refuses_other_channels():
    module = TIMM.create("test_resnet", {"in_chans": 4}, False)
    with pytest.raises(ConfigError) as caught:
        TIMM.data_config(module, {"in_chans": 4})
    assert str(caught.value) == "images have 1 or 3 channels, but the network takes 4"


def test_timm_data_config_refuses_other_interpolations():
    module = TIMM.create("test_resnet", {}, False)
    module.pretrained_cfg["interpolation"] = "lanczos"
    with pytest.raises(ConfigError) as caught:
        TIMM.data_config(module, {})
    assert str(caught.value) == (
        "timm prepares images with 'lanczos' interpolation; set transform.interpolation in "
        "[dataset] to one of nearest, bilinear, bicubic"
    )


def test_timm_recognises_what_it_built_and_what_wraps_it():
    module = timm.create_model("test_resnet")
    wrapper = torch.nn.Sequential(module)
    assert TIMM.recognises(module)
    assert TIMM.recognises(timm.create_model("test_resnet", features_only=True))
    assert not TIMM.recognises(wrapper)
    wrapper.pretrained_cfg = module.pretrained_cfg
    assert TIMM.recognises(wrapper)
    assert REGISTRY.recognised_source(wrapper) is TIMM
