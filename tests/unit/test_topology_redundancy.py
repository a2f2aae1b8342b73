import numpy as np
import pytest
from scipy.stats import spearmanr

from audit.topology.redundancy import redundancy, repeated_units


def draws():
    return np.random.default_rng(0)


def test_redundancy_of_equal_units_is_that_of_one():
    births = np.repeat(draws().integers(1, 30, (50, 1)), 4, axis=1)
    found = redundancy(births, draws())
    assert found.correlation + found.by_chance == pytest.approx(1)
    assert found.effective_share == pytest.approx(1 / 4)


def test_redundancy_is_of_spearmans_rho_and_its_eigenvalues():
    births = draws().integers(1, 12, (60, 5)) + draws().integers(0, 12, (60, 1))
    rho = spearmanr(births).statistic
    above = np.triu_indices(5, 1)
    found = redundancy(births, draws())
    assert found.correlation + found.by_chance == pytest.approx(np.abs(rho[above]).mean(), rel=1e-9)
    corrected = np.eye(5)
    corrected[above] = np.sqrt(np.maximum(0, (rho[above] ** 2 - 1 / 59) / (1 - 1 / 59)))
    plain = np.linalg.eigvalsh(rho)
    # without the correction it is the participation ratio of the eigenvalues
    assert plain.sum() ** 2 / (plain**2).sum() == pytest.approx(25 / (rho**2).sum(), rel=1e-9)
    squares = 5 + 2 * ((rho[above] ** 2 - 1 / 59) / (1 - 1 / 59)).sum()
    assert found.effective_share == pytest.approx(5 / squares, rel=1e-9)


def test_the_expected_square_of_rho_is_exact_with_ties():
    births = np.array([[1, 1], [1, 4], [1, 4], [2, -1], [7, -1]])
    all_orders = redundancy_squares(births)
    assert np.mean(all_orders) == pytest.approx(1 / 4, rel=1e-9)


def redundancy_squares(births):
    """ρ² of two units under every order of the second."""
    import itertools

    first = births[:, 0]
    second = np.where(births[:, 1] < 0, 99, births[:, 1])
    return [
        spearmanr(first, second[list(order)]).statistic ** 2
        for order in itertools.permutations(range(5))
    ]


def test_independent_units_are_not_redundant():
    births = draws().integers(1, 40, (80, 60))
    births[draws().random((80, 60)) < 0.3] = -1
    births[:, :20] = -1
    births[:3, :20] = 5  # rarely born, so that ρ is far from normal
    births[:, :20] = draws().permuted(births[:, :20], axis=0)
    found = redundancy(births.astype(np.int32), draws())
    assert found.correlation == pytest.approx(0, abs=0.006)
    assert found.effective_share > 0.95


def test_redundancy_knows_no_order_of_images_or_units_and_no_scale():
    births = draws().integers(1, 12, (40, 9)) + draws().integers(0, 5, (40, 1))
    found = redundancy(births, draws())
    for other in (births[draws().permutation(40)], births[:, ::-1], births**3):
        assert redundancy(other, draws()) == pytest.approx(found, rel=1e-9)


def test_units_with_one_birth_do_not_count_and_one_unit_has_no_redundancy():
    births = np.array([[1, 3, -1], [2, 3, -1], [3, 3, -1]])
    assert np.isnan(redundancy(births, draws())[:3]).all()
    assert redundancy(births, draws()).n_units == 1
    assert redundancy(np.zeros((0, 4), int), draws()).n_units == 0


def test_a_unit_repeats_the_earlier_one_it_is_most_like_of_either_sign():
    births = draws().integers(1, 40, (60, 6))
    births[:, 3] = births[:, 1] * 3  # the same order
    births[:, 4] = 100 - births[:, 0]  # the opposite order
    births[:, 5] = births[:, 3]
    assert repeated_units(births).tolist() == [-1, -1, -1, 1, 0, 1]


def test_independent_units_repeat_none_but_with_a_small_probability():
    random = np.random.default_rng(4)
    wrong = 0
    for _ in range(60):
        births = random.integers(2, 12, (40, 80))
        births[random.random((40, 80)) > 0.3] = -1
        wrong += (repeated_units(births) >= 0).any()
    assert wrong <= 8  # of 60 at 5%: above it with probability 0.2%


def test_units_that_are_hardly_born_are_not_compared():
    births = np.full((100, 200), -1)
    births[7] = 5  # all born on one image: equal ranks, of which there are a hundred only
    assert (repeated_units(births) == -1).all()
    assert (repeated_units(draws().integers(1, 9, (10, 1)).repeat(3, 1)) == -1).all()
