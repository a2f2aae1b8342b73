"""A third party's package: installed with pip, found by its entry point, held to the contract."""

import importlib.util
import json
import os
import shutil
import sys
from pathlib import Path

import pytest
from programs import run_program

EXAMPLE = Path(__file__).parents[1] / "example_plugin"

FIND = """
import json
from audit.conformance import check_measure
from audit.plugin.listing import list_measures
from audit.plugin.registry import installed

registry = installed()
entry = registry.measures["weight_kurtosis"]
found = list_measures().set_index("name").loc["weight_kurtosis"]
print(json.dumps({
    "value": check_measure(entry)[""].value,
    "plugin": found["plugin"],
    "distribution": registry.distributions["weight_kurtosis"],
    "selected": [m.name for m in registry.select_measures(["weight_kurtosis"])],
    "ours": "path_norm" in registry.measures,
}))
"""


def python(*arguments, path=None):
    """Run this Python; its output, or a failure that shows what it said."""
    environment = {**os.environ, "GENAUDIT_PLUGINS": "weight_kurtosis" if path else ""}
    if path:
        inherited = environment.get("PYTHONPATH")
        environment["PYTHONPATH"] = os.pathsep.join([str(path), *filter(None, [inherited])])
    return run_program([sys.executable, *arguments], env=environment).stdout


def test_the_example_is_one_file_of_about_thirty_lines():
    assert len((EXAMPLE / "weight_kurtosis.py").read_text(encoding="utf-8").splitlines()) < 40


@pytest.mark.skipif(importlib.util.find_spec("pip") is None, reason="pip is not installed")
@pytest.mark.skipif(
    importlib.util.find_spec("hatchling") is None,
    reason="hatchling, which builds the example, is not installed (extra: test)",
)
def test_a_third_party_measure_is_found_after_pip_install(tmp_path):
    source, target = tmp_path / "source", tmp_path / "installed"
    shutil.copytree(EXAMPLE, source, ignore=shutil.ignore_patterns("__pycache__"))
    python(
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
        "--no-index",
        "--no-build-isolation",
        "--target",
        str(target),
        str(source),
    )
    assert (target / "weight_kurtosis.py").is_file()
    found = json.loads(python("-c", FIND, path=target).splitlines()[-1])
    assert found.pop("value") == pytest.approx(found_by_hand(), rel=1e-9)
    selected = found.pop("selected")
    assert {"weight_kurtosis", "parameters", "random"} <= set(selected)
    assert "path_norm" not in selected
    assert found == {
        "plugin": "weight_kurtosis",
        "distribution": "genaudit-weight-kurtosis 0.1.0",
        "ours": True,
    }


def found_by_hand():
    """The measure of the reference network, by scipy."""
    import numpy as np
    import scipy.stats

    from audit.conformance import ReferenceNetwork

    parameters = ReferenceNetwork().parameters()
    weights = [p.detach().double().numpy().ravel() for p in parameters if p.ndim > 1]
    return float(scipy.stats.kurtosis(np.concatenate(weights)))


def test_without_installation_it_is_not_there():
    names = python(
        "-c", "from audit.plugin.registry import installed; print(*installed().measures)"
    )
    assert "weight_kurtosis" not in names.split()
