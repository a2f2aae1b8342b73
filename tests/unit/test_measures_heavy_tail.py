import logging
import random
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from audit.conformance import ArrayView, reference_view
from audit.errors import UnavailableError
from audit_measures import _weightwatcher, heavy_tail

ENTRIES = {entry.name.partition(".")[2]: entry for entry in heavy_tail.MEASURES}
COLUMNS = {
    "alpha": "alpha",
    "alpha_hat": "alpha_weighted",
    "log_alpha_norm": "log_alpha_norm",
    "stable_rank": "stable_rank",
    "rand_distance": "rand_distance",
}


@pytest.fixture(scope="module")
def view():
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 24, 3), nn.AdaptiveAvgPool2d(1))
    return ArrayView(
        nn.Sequential(*layers, nn.Flatten(), nn.Linear(24, 12)), torch.zeros(1, 3, 8, 8), [0]
    )


def number(measured):
    return measured[""] if isinstance(measured, dict) else measured


def test_heavy_tail_is_what_the_package_itself_says(view):
    found = {name: number(entry.compute(view)) for name, entry in ENTRIES.items()}
    with warnings.catch_warnings(), _weightwatcher._quiet():
        warnings.simplefilter("ignore")
        import weightwatcher

        seed = int(view.generator("weightwatcher").integers(2**32))
        with _weightwatcher._random_state_of(seed):
            table = weightwatcher.WeightWatcher(model=view.module).analyze()
    fits = ("alpha", "alpha_hat", "log_alpha_norm", "stable_rank")
    expected = {name: table[COLUMNS[name]].mean() for name in fits}
    assert {name: found[name] for name in fits} == pytest.approx(expected, rel=1e-9)
    assert 0 < found["rand_distance"] < np.sqrt(np.log(2))


def test_heavy_tail_says_and_changes_nothing(capfd):
    root = logging.getLogger()
    before = (root.level, list(root.handlers), str(np.random.get_state()), random.getstate())
    heavy_tail.alpha(reference_view())
    after = (root.level, list(root.handlers), str(np.random.get_state()), random.getstate())
    assert before == after
    assert not logging.root.manager.disable
    assert capfd.readouterr() == ("", "")


def test_one_run_serves_all_measures(view, monkeypatch):
    expected = _weightwatcher.layer_table(view)
    monkeypatch.setattr(_weightwatcher, "_library", lambda: pytest.fail("asked again"))
    assert _weightwatcher.layer_table(view) is expected


@pytest.fixture
def table(monkeypatch):
    """A table in which one layer has no fit."""
    rows = {name: [2.0, -1.0, 4.0] for name in COLUMNS.values()}
    rows |= {"status": ["success", "failed", "success"], "stable_rank": [1.0, 2.0, 6.0]}
    found = pd.DataFrame(rows)
    monkeypatch.setattr(heavy_tail, "layer_table", lambda view: found)
    return found


@pytest.mark.parametrize("name", ["alpha", "alpha_hat", "log_alpha_norm"])
def test_failed_fits_are_counted_and_left_out(name, table):
    assert ENTRIES[name].compute(None) == {"": 3.0, "failed": 1}


def test_what_needs_no_fit_is_averaged_over_all_layers(table):
    assert ENTRIES["stable_rank"].compute(None) == 3.0


def test_no_fit_at_all_is_undefined(table):
    table["status"] = "failed"
    found = heavy_tail.alpha(None)
    assert found[""].reason == "no power law could be fitted to any of 3 layers"
    assert found["failed"] == 3


def test_networks_of_small_layers_are_undefined():
    view = ArrayView(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), torch.zeros(1, 1, 2, 2), [0])
    reason = "no layer has ten eigenvalues or more"
    assert {entry.name: number(entry.compute(view)).reason for entry in ENTRIES.values()} == {
        entry.name: reason for entry in ENTRIES.values()
    }


def test_heavy_tail_without_its_package_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "weightwatcher", None)
    with pytest.raises(UnavailableError) as error:
        heavy_tail.alpha(reference_view())
    assert str(error.value) == "needs the package weightwatcher: pip install 'genaudit[heavy-tail]'"
