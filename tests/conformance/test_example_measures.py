"""Five measures, one on each thing that a measure is given: one short file each, and no other."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from audit.conformance import check_measure, reference_view
from audit.plugin.registry import Registry

FOLDER = Path(__file__).parents[1] / "example_measures"
NAMES = sorted(path.stem for path in FOLDER.glob("*.py"))


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    yield
    for name in NAMES:
        sys.modules.pop(name, None)


def entry_of(name):
    return Registry({"example": importlib.import_module(name)}).measures[name]


def test_there_is_one_on_each_thing_a_measure_is_given():
    assert NAMES == [
        "active_share",
        "feature_norm",
        "flip_agreement",
        "gradient_norm",
        "weight_noise",
    ]


@pytest.mark.parametrize("name", NAMES)
def test_example_takes_25_lines_and_imports_from_the_plugin_package(name):
    lines = (FOLDER / f"{name}.py").read_text("utf-8").splitlines()
    assert len([line for line in lines if line.strip()]) <= 25
    ours = {line.split()[1] for line in lines if line.startswith("from audit")}
    assert ours <= {"audit.plugin", "audit.data.renditions"}


@pytest.mark.parametrize("name", NAMES)
def test_example_keeps_its_contract(name):
    assert check_measure(entry_of(name))[""].status == "ok"


def test_examples_agree_with_a_computation_by_hand():
    view = reference_view()
    module, images = view.module, torch.cat([batch for batch, _ in view.batches()])
    labels = torch.from_numpy(view.labels)
    with torch.no_grad():
        conv1 = module.conv1(images)
        conv2 = module.conv2(module.relu1(conv1))
        conv3 = module.conv3(module.pool(module.relu2(conv2)))
        scores = module(images)
        flipped = module(images.flip(-1))
    by_hand = {
        "active_share": np.mean([float((maps > 0).float().mean()) for maps in (conv2, conv3)]),
        "feature_norm": float(conv3.relu().mean((2, 3)).norm(dim=1).mean()),
        "flip_agreement": float((scores.argmax(1) == flipped.argmax(1)).float().mean()),
        "gradient_norm": np.mean(
            [gradient_norm(module, images, labels, k) for k in range(0, 24, 4)]
        ),
    }
    for name, expected in by_hand.items():
        found = entry_of(name).compute(view)
        found = found[""] if isinstance(found, dict) else found
        assert found == pytest.approx(expected, rel=1e-5), name


def gradient_norm(module, images, labels, k):
    """Squared norm of the gradient of one image's loss, by an ordinary backward pass."""
    parameters = [p.detach().clone().requires_grad_() for p in module.parameters()]
    names = [name for name, _ in module.named_parameters()]
    weights = dict(zip(names, parameters, strict=True))
    output = torch.func.functional_call(module, weights, (images[k : k + 1],))
    loss = torch.nn.functional.cross_entropy(output, labels[k : k + 1])
    return sum(float(g.double().square().sum()) for g in torch.autograd.grad(loss, parameters))
