"""One network under several names, and what a test could have found."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from audit.statistics.copies import (
    copies,
    network_codes,
    one_row_each,
    say_copies,
)
from audit.statistics.power import increment_power


def table(**columns):
    usual = {"m": [1.0, 2.0, 1.0, 4.0], "held_out_accuracy": [0.9, 0.8, 0.9, 0.7]}
    return pd.DataFrame(usual | columns)


def test_equal_digests_are_one_network_whatever_their_measures():
    digests = ["AB ", "ab", "", None]
    found = network_codes(table(m=[1.0, 2, 3, 4], d=digests), ["m"], "d")
    assert found.tolist() == [0, 0, 1, 2]


def test_equal_measures_are_one_network_unless_accuracies_deny_it():
    assert network_codes(table(), ["m"]).tolist() == [0, 1, 0, 2]
    denied = table(held_out_accuracy=[0.9, 0.8, 0.6, 0.7])
    assert network_codes(denied, ["m"]).tolist() == [0, 1, 2, 3]
    unknown = table(held_out_accuracy=[0.9, 0.8, np.nan, 0.7])
    assert network_codes(unknown, ["m"]).tolist() == [0, 1, 0, 2]


def test_different_digests_deny_what_one_measure_says_but_not_what_three_say():
    three = {"k": [5.0, 2, 5, 1], "l": [0.5, 0, 0.5, 1], "d": list("abcd")}
    assert network_codes(table(**three), ["m"], "d").tolist() == [0, 1, 2, 3]
    assert network_codes(table(**three), ["m", "k", "l"], "d").tolist() == [0, 1, 0, 2]


def test_constant_and_missing_measures_say_nothing():
    assert network_codes(table(m=1.0), ["m"]).tolist() == [0, 1, 2, 3]
    assert network_codes(table(m=[np.nan, 2, np.nan, 1]), ["m"]).tolist() == [0, 1, 2, 3]
    assert network_codes(table(), []).tolist() == [0, 1, 2, 3]


def test_a_network_keeps_its_first_row_and_the_mean_of_its_accuracies():
    given = table(held_out_accuracy=[0.9, 0.8, 0.7, 0.6], d=list("xyxz"))
    kept = one_row_each(given, network_codes(given, [], "d"))
    assert kept["m"].tolist() == [1.0, 2.0, 4.0]
    assert kept["held_out_accuracy"].tolist() == pytest.approx([0.8, 0.8, 0.6])


def test_copies_are_named():
    assert copies(["a", "b", "c"], np.array([0, 1, 0])) == [["a", "c"]]
    assert say_copies(["a", "b", "c"], np.arange(3)) == []


@pytest.mark.parametrize("alpha", [0.05, 0.002])
def test_power_is_the_share_of_injected_increments_found(alpha):
    rng = np.random.default_rng(0)
    freedom, r = 35, np.sin(np.pi * 0.3 / 2)
    x, noise = rng.normal(size=(2, 4000, freedom + 1))
    y = r * x + np.sqrt(1 - r * r) * noise
    found = (x * y).sum(1) / np.sqrt((x * x).sum(1) * (y * y).sum(1))
    t = found * np.sqrt(freedom / (1 - found**2))
    share = np.mean(2 * stats.t.sf(np.abs(t), freedom) < alpha)
    assert increment_power(freedom, alpha) == pytest.approx(share, abs=0.03)


def test_power_falls_with_noise_and_correction_and_is_none_without_freedom():
    assert increment_power(50, 0.05) > increment_power(50, 0.05, 0.5) > increment_power(50, 0.05, 0)
    assert increment_power(50, 0.05, 0) == pytest.approx(0.05)
    assert increment_power(1, 0.05) == 0
