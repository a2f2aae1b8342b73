"""`genaudit invariance` and `genaudit measures NAME`, as a user calls them."""

import json

import pytest
import timm
import torch
from click.testing import CliRunner

from audit.cli import genaudit
from audit.errors import AuditError

SMALL = ("test_resnet", "--size", "3,32,32")


def call(*arguments):
    return CliRunner().invoke(genaudit, list(arguments))


def test_invariance_prints_a_matrix_and_says_why_a_cell_is_empty():
    wanted = (
        "--measure",
        "train_*",
        "--measure",
        "path_norm",
        "--measure",
        "log_product_frobenius",
    )
    found = call("invariance", *SMALL, *wanted, "--measure", "inverse_margin")
    assert found.exit_code == 0, found.output
    rows = {line.split()[0]: line.split()[1:] for line in found.output.splitlines() if line}
    head = (
        "node-wise layer-uniform permutation folding image-order batch-size duplicates relabelling"
    )
    assert rows["measure"] == [*head.split(), "dtype", "device"]
    assert rows["train_loss"][:9] == ["="] * 9
    assert rows["path_norm"][:9] == ["="] * 9
    assert rows["log_product_frobenius"][:2] == ["~", "~"]
    assert rows["inverse_margin"][0] == "–"
    assert "– inverse_margin: the margin's 10th percentile is" in found.output
    if not torch.cuda.is_available():
        assert "? device: there is no CUDA device here" in found.output


def test_invariance_gives_the_same_numbers_for_a_seed_and_others_for_another():
    options = ("--measure", "path_norm", "--change", "node-wise", "--json")
    first, again, other = (
        json.loads(call("invariance", *SMALL, *options, "--seed", seed).output)["observations"][0]
        for seed in ("1", "1", "2")
    )
    assert first == again
    assert first["before"] != other["before"]


def test_invariance_takes_a_weights_file(tmp_path):
    network = timm.create_model("test_resnet", num_classes=5)
    torch.save(network.state_dict(), tmp_path / "mine.pth")
    options = ("--weights", str(tmp_path / "mine.pth"), "--args", '{"num_classes": 5}')
    found = call(
        *("invariance", *SMALL, *options, "--measure", "parameter_norm"),
        *("--change", "node-wise", "--json"),
    )
    told = json.loads(found.output)["observations"][0]
    norm = sum(float(p.detach().double().square().sum()) for p in network.parameters()) ** 0.5
    assert told["before"] == pytest.approx(norm)
    assert told["outcome"] == told["declared"] == "moves"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("test_resnett",), "unknown"),
        ((*SMALL, "--measure", "path_nrom"), "did you mean 'path_norm'"),
        ((*SMALL, "--change", "fold"), "unknown change 'fold'; did you mean 'folding'"),
        (("test_resnet", "--size", "1,32,32"), "does not take images of 1 × 32 × 32"),
    ],
)
def test_invariance_says_what_was_wrong(arguments, message):
    found = call("invariance", *arguments)
    assert isinstance(found.exception, AuditError)
    assert message in str(found.exception)


def test_measures_tells_all_about_one_or_several():
    page = call("measures", "margin_p10").output
    assert page.startswith("margin_p10: 10th percentile of the output margin")
    assert "  formula     " in page
    several = json.loads(call("measures", "feature_entropy.*", "--json").output)
    assert [each["name"] for each in several] == [
        "feature_entropy.clique",
        "feature_entropy.cubical",
    ]
    assert all(each["claim"] and each["docstring"] for each in several)
