"""`genaudit layers`: what would be taken of an architecture, and what it costs."""

import json

import pytest
from click.testing import CliRunner

from audit.cli.layers import command
from audit.errors import ConfigError, UnavailableError
from audit.runs.layer_table import layer_table


def test_layer_table_gives_shapes_layouts_and_costs():
    table, about = layer_table("test_vit", model_args={"num_classes": 5})
    assert list(table.columns) == [
        "layer",
        "units",
        "height",
        "width",
        "layout",
        "megabytes",
        "births_ms",
    ]
    [*_, last] = table.to_dict("records")
    assert (last["layer"], last["units"], last["height"], last["width"]) == (
        "blocks.5|norm",
        64,
        10,
        10,
    )
    assert last["layout"] == "NLC, 1 prefix token"
    assert last["megabytes"] == round(64 * 100 * 4 / 1e6, 3)
    assert (table["births_ms"] >= 0).all()
    assert about["input_size"] == [3, 160, 160]
    assert about["forward_ms"] > 0


def test_layer_table_says_what_is_left_out():
    _, about = layer_table("resnet18", transform={"input_size": [3, 64, 64]})
    assert about["notes"] == ["layer4 (512 × 2 × 2): too small for a topology"]
    with pytest.raises(UnavailableError, match="no feature maps of at least 4 × 4 pixels"):
        layer_table("test_vit", model_args={"img_size": 32})
    with pytest.raises(ConfigError) as caught:
        layer_table("resnet81")
    assert str(caught.value).startswith("unknown model 'resnet81'; did you mean ")


def test_layers_command_prints_a_table_or_json():
    args = ["test_resnet", "last", "layer2*", "--size", "1,64,64", "--args", '{"in_chans": 1}']
    shown = CliRunner().invoke(command, args, catch_exceptions=False)
    assert shown.exit_code == 0
    assert "layer2.0.act1" in shown.output
    assert "images of 1 × 64 × 64" in shown.output
    found = json.loads(CliRunner().invoke(command, [*args, "--json"]).output)
    assert found["input_size"] == [1, 64, 64]
    assert {"layer2", "layer3"} <= {row["layer"] for row in found["layers"]}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--args", "[1]"], "--args must be a JSON object"),
        (["--size", "big"], "invalid literal for int() with base 10: 'big'"),
    ],
)
def test_layers_command_refuses_what_it_cannot_read(options, message):
    shown = CliRunner().invoke(command, ["test_resnet", *options])
    assert shown.exit_code == 2
    assert message in shown.output
