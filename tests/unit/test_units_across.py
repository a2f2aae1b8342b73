"""Two networks' units compared: distances, class orders, matches, and how often each is wrong."""

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import linear_sum_assignment
from scipy.stats import kendalltau, spearmanr, wasserstein_distance

from audit.errors import ConfigError, DataError
from audit.units.across import Answers, compare_layers, compare_tables
from audit.units.class_order import class_agreement, would_find
from audit.units.distributions import unit_distances
from audit.units.layers import LayerUnits, layers_of, pair_layers
from audit.units.matching import match_units, matched_by_chance
from audit.units.shared import Halves, halves_of, shared_entropy


def random(seed=0):
    return np.random.default_rng(seed)


def table_of(entropy, layer="a", n_images=50, rate=0.9, **columns):
    """A unit table of (classes, units)."""
    n_classes, n_units = entropy.shape
    return pd.DataFrame(
        {
            "layer": layer,
            "unit": np.tile(np.arange(n_units), n_classes),
            "class_name": np.repeat([f"c{c}" for c in range(n_classes)], n_units),
            "n_images": n_images,
            "effective_rate": np.where(np.isnan(entropy), 0, rate).ravel(),
            "feature_entropy": entropy.ravel(),
            "status": np.where(np.isnan(entropy), "never_born", "ok").ravel(),
            **columns,
        }
    )


def test_distances_are_scipys_and_p_the_share_of_exchanges_as_far():
    first, second = random().normal(size=(3, 8)), random(1).normal(0.7, 1, size=(3, 6))
    first[1, :3] = np.nan
    second[2, 1:] = np.nan
    found = unit_distances(first, second, n_permutations=199)
    for c in (0, 1):
        a, b = (x[c][np.isfinite(x[c])] for x in (first, second))
        assert found.distance[c] == pytest.approx(wasserstein_distance(a, b), rel=1e-9)
        assert found.spread[c] == pytest.approx(np.std([*a, *b], ddof=1), rel=1e-9)
    assert np.isnan([found.distance[2], found.p_value[2], found.detectable[2]]).all()
    expected = (found.distance[:2] / found.spread[:2]).mean()
    assert found.overall == pytest.approx(expected, rel=1e-9)
    a, b = first[0], second[0]
    pooled = np.concatenate([a, b])
    draws = []
    for _ in range(2000):
        order = random(len(draws)).permutation(14)
        draws.append(wasserstein_distance(pooled[order[:8]], pooled[order[8:]]))
    assert found.p_value[0] == pytest.approx(np.mean(np.array(draws) >= found.distance[0]), abs=0.1)


def test_units_of_one_distribution_differ_as_seldom_as_it_says_and_a_clear_shift_is_found():
    wrong = found = 0
    for seed in range(150):
        draws = random(seed)
        common = draws.normal(size=(1, 60))  # what the classes of a unit have in common
        units = common + draws.normal(size=(4, 60))
        first, second = units[:, :30], units[:, 30:]
        result = unit_distances(first, second, 99, seed)
        wrong += result.overall_p_value <= 0.05
        shifted = unit_distances(first[:1], second[:1] + result.detectable[0], 99, seed)
        found += shifted.p_value[0] <= 0.05
    assert wrong <= 16  # of 150 at 5%: above it with probability 0.1%
    assert 0.7 < found / 150 < 0.93  # 0.8


def test_classes_agree_as_scipy_says_and_few_classes_cannot_tell():
    x, y = random().normal(size=12), random(1).normal(size=12)
    found = class_agreement(x, y, n_bootstrap=200)
    assert found.kendall == pytest.approx(kendalltau(x, y).statistic, rel=1e-9)
    assert found.p_value == pytest.approx(kendalltau(x, y).pvalue, abs=0.02)
    assert found.lower <= found.kendall <= found.upper
    few = class_agreement(x[:4], y[:4])
    assert few.n_classes == 4
    assert np.isnan(few.kendall)
    assert np.isnan(class_agreement(np.ones(9), y[:9]).p_value)
    y[:2] = np.nan
    assert class_agreement(x, y, n_bootstrap=50).n_classes == 10


def test_what_would_be_found_is_found_four_times_in_five():
    n, rho = 20, np.sin(np.pi * 0.5 / 2)  # bivariate normal with τ = 0.5
    assert would_find(0.5, n, 0.05)
    assert not would_find(0.5, 14, 0.05)
    pairs = random(2).multivariate_normal([0, 0], [[1, rho], [rho, 1]], (300, n))
    p = [kendalltau(x, y).pvalue for x, y in pairs.transpose(0, 2, 1)]
    assert 0.75 < np.mean(np.array(p) <= 0.05) < 0.95


def test_matching_finds_units_in_another_order_beside_others():
    draws = random(3)
    first = draws.normal(size=(80, 20, 4)).astype(np.float32)
    order = draws.permutation(20)
    noise = draws.normal(size=(80, 25, 4))
    second = 0.7 * noise
    second[:, :20] += 5 * first[:, order]
    found = match_units(first, second)
    assert (order[found.second] == found.first).all()
    assert (found.correlation > 0.95).all()
    x, y = ((r - r.mean(0)).transpose(0, 2, 1).reshape(320, -1) for r in (first, second))
    correlations = np.corrcoef(x.T, y.T)[:20, 20:]
    rows, columns = linear_sum_assignment(correlations, maximize=True)
    np.testing.assert_array_equal(found.second, columns)
    np.testing.assert_allclose(found.correlation, correlations[rows, columns], atol=1e-5)


def test_a_common_border_and_units_that_never_change_make_no_match():
    draws = random(4)
    border = np.array([9.0, 0, 0, 9])
    first, second = (draws.normal(size=(200, 6, 4)) + border for _ in range(2))
    first[:, 2] = border
    found = match_units(first, second)
    assert 2 not in found.first
    assert len(found.first) == 5
    assert found.correlation.max() < 0.2
    labels = np.arange(200) % 4
    chance = matched_by_chance(first, second, labels)
    assert abs(found.correlation.mean() - chance.mean()) < 0.05


def test_matching_by_class_alone_is_chance():
    draws = random(5)
    labels = np.arange(120) % 6
    selective = 3 * draws.normal(size=(6, 10, 1))[labels]
    first, second = (selective + draws.normal(size=(120, 10, 2)) for _ in range(2))
    found = match_units(first, second).correlation.mean()
    chance = matched_by_chance(first, second, labels)
    assert found > 0.7
    assert found == pytest.approx(chance.mean(), abs=0.03)
    with pytest.raises(DataError, match=r"found \(120, 10, 2\) and \(60, 10, 2\)$"):
        match_units(first, second[:60])


def halves(status, draws, n_classes=4):
    """Units whose entropy is their status, the same on all images of a class, and noise."""
    shape = (2, n_classes, len(status))
    entropy = 3 + status + 0.5 * draws.normal(size=shape)
    entropy[draws.random(shape) < 0.1] = np.nan
    return Halves(entropy, draws.uniform(0.3, 1, shape))


def test_shared_status_is_the_rank_correlation_across_halves():
    draws = random(6)
    status = draws.normal(size=40)
    first, second = halves(status, draws), halves(status + 0.3 * draws.normal(size=40), draws)
    found = shared_entropy(first, second)
    crossed = [
        spearmanr(first.entropy[a, c], second.entropy[1 - a, c], nan_policy="omit").statistic
        for c in range(4)
        for a in (0, 1)
    ]
    assert found.spearman == pytest.approx(np.mean(crossed), abs=0.02)
    assert found.p_value == 0.001
    assert found.lower < found.spearman < found.upper
    assert found.spearman - 0.1 < found.ceiling < 1
    assert found.beyond_rate == pytest.approx(found.spearman, abs=0.1)
    assert (found.n_pairs, found.n_classes) == (40, 4)


def test_status_that_is_not_shared_is_found_as_seldom_as_it_says():
    wrong = 0
    for seed in range(100):
        draws = random(seed)
        own, other = (halves(draws.normal(size=40), draws) for _ in range(2))
        wrong += shared_entropy(own, other, 99, seed).p_value <= 0.05
    assert wrong <= 12  # of 100 at 5%: above it with probability 0.15%


def test_noise_of_the_same_images_is_not_shared_status():
    draws = random(7)
    noise = draws.normal(size=(2, 3, 60))  # of each half, the same for both networks
    rate = np.ones_like(noise)
    found = shared_entropy(Halves(3 + noise, rate), Halves(5 + noise, rate))
    assert abs(found.spearman) < 0.2
    assert found.p_value > 0.01


def test_what_effective_rate_explains_is_not_beyond_it():
    draws = random(8)
    rate = np.broadcast_to(draws.uniform(0.2, 1, 80), (2, 3, 80))
    own, other = (Halves(2 / rate + 0.2 * draws.normal(size=rate.shape), rate) for _ in range(2))
    found = shared_entropy(own, other)
    assert found.spearman > 0.8
    assert found.beyond_rate < 0.25
    nothing = shared_entropy(own.of(np.arange(5)), other.of(np.arange(5)))
    assert np.isnan([nothing.spearman, nothing.p_value, nothing.detectable]).all()
    assert nothing.n_classes == 0


def test_halves_are_every_other_image_of_a_class():
    births = np.array([[2], [2], [7], [2], [2], [8], [2], [9]])
    labels = np.array([0, 1, 0, 0, 1, 0, 1, 1])
    found = halves_of(births, labels, 2, 0.0)
    log2 = np.log(2)
    # class 0: 2, 2 and 7, 8; class 1: 2, 2 and 2, 9
    np.testing.assert_allclose(found.entropy[..., 0], [[0, 0], [log2, log2]], atol=1e-12)
    assert (found.rate == 1).all()


def test_layers_stand_beside_each_other_by_name_or_by_depth():
    assert pair_layers(["x", "y", "z"], ["z", "y", "x"]) == [(0, 2), (1, 1), (2, 0)]
    assert pair_layers(list("abcd"), list("pq")) == [(0, 0), (3, 1)]
    assert pair_layers(["only"], list("pqr")) == [(0, 2)]
    assert pair_layers([], list("pq")) == []


def test_layers_are_read_from_a_table_in_any_order():
    entropy = random().normal(3, 1, (2, 4))
    entropy[1, 2] = np.nan
    table = pd.concat([table_of(entropy, "b"), table_of(entropy + 1, "a")])
    table.attrs["sizes"] = {"a": [7, 7]}
    b, a = layers_of(table.sample(frac=1, random_state=0).sort_values("layer", ascending=False,
        kind="stable"), ["c1", "c0"])  # fmt: skip
    assert (a.layer, a.size, b.size) == ("a", (7, 7), None)
    np.testing.assert_array_equal(b.entropy, entropy[::-1])
    assert a.n_images.tolist() == [50, 50]
    with pytest.raises(DataError) as caught:
        layers_of(table.assign(checkpoint=["x", *["y"] * 15]), ["c0"])
    assert str(caught.value) == "a unit table of one checkpoint is needed; found x, y"
    with pytest.raises(DataError, match=r"^layer 'b' has two rows for one unit and class$"):
        layers_of(pd.concat([table, table]), ["c0"])


def test_tables_are_compared_with_a_verdict_on_every_question():
    draws = random(9)
    classes = np.linspace(0, 2, 15)[:, None]
    first = classes + draws.normal(4, 0.3, (15, 150))
    second = classes + draws.normal(4, 0.3, (15, 130))
    far = draws.normal(8, 0.3, (15, 130))
    own = pd.concat([table_of(first, "a"), table_of(first, "b"), table_of(first[:, :9], "c")])
    other = pd.concat([table_of(second, "a"), table_of(far, "b"), table_of(second[:, :8], "c")])
    found = compare_tables(own, other, ("x", "y"), n_permutations=199)
    assert found.layers["verdict"].tolist() == ["alike", "differ", "cannot tell"]
    assert found.layers["reason"].tolist()[:2] == ["", ""]
    assert found.layers["reason"][2].endswith("standard deviations would be found")
    assert found.class_order["verdict"].tolist() == ["agree", "cannot tell", "agree"]
    assert found.class_order["reason"][1] == "15 classes are too few for τ = 0.5"
    of_b = found.classes[found.classes["layer_first"] == "b"]
    assert (of_b["verdict"] == "differ").all()
    assert (of_b["p_adjusted"] >= of_b["p_value"]).all()
    assert found.matched.empty
    assert list(found.tables) == ["layers", "classes", "class_order"]
    assert set(found.to_dict()["hypotheses"]) == set(found.tables)
    page = found._repr_html_()
    assert "probability 0.05 at most" in page
    assert found.states[found.states["layer"] == "a"]["ok"].tolist() == [1, 1]
    again = compare_tables(own, other, ("x", "y"), n_permutations=199)
    pd.testing.assert_frame_equal(again.classes, found.classes)


def test_maps_of_different_sizes_are_not_compared_by_tables():
    one, other = (table_of(random(s).normal(3, 1, (6, 40))) for s in (0, 1))
    one.attrs["sizes"], other.attrs["sizes"] = {"a": [14, 14]}, {"a": [7, 7]}
    found = compare_tables(one, other, n_permutations=19)
    for name, table in found.tables.items():
        assert (table["verdict"] == "cannot tell").all(), name
        assert table["p_value"].isna().all()
        assert set(table["reason"]) == {
            "maps of 14 × 14 and of 7 × 7 pixels have different numbers of levels; give networks "
            "and not their tables, whose maps are then brought to one size"
        }


def test_units_that_all_have_one_number_cannot_tell():
    found = compare_tables(table_of(np.zeros((6, 9))), table_of(np.zeros((6, 8))))
    assert found.layers["reason"].tolist() == ["in every class all units have one number"]
    assert set(found.classes["verdict"]) == {"cannot tell"}
    assert found.class_order["reason"].tolist() == [
        "6 classes of 50 images have a number in both networks, all equal"
    ]


def test_classes_with_other_numbers_of_images_do_not_order_classes():
    table = table_of(random().normal(3, 1, (8, 30)))
    table.loc[table["class_name"].isin(["c1", "c2"]), "n_images"] = 20
    found = compare_tables(table, table, n_permutations=19)
    assert found.class_order["n_classes"].tolist() == [6]


def test_tables_of_other_images_are_refused():
    one = table_of(np.ones((2, 3)))
    with pytest.raises(DataError) as caught:
        compare_tables(one, table_of(np.ones((2, 3)), n_images=40))
    assert str(caught.value) == (
        "class 'c0' has 50 images in one table and 40 in the other, and feature entropy depends on "
        "their number: make both with the same images_per_class"
    )
    with pytest.raises(DataError) as caught:
        compare_tables(one, one.assign(class_name="z"))
    assert str(caught.value) == (
        "the unit tables have no class in common: one has 'c0', 'c1', the other 'z'"
    )
    with pytest.raises(ConfigError, match=r"^level must lie between 0 and 1; found 5$"):
        compare_tables(one, one, level=5)


def test_units_that_keep_no_order_on_other_images_cannot_tell():
    draws = random(10)
    births = draws.integers(2, 9, (60, 30)).astype(np.int32)  # no unit has a status
    responses = draws.normal(size=(60, 30, 2)).astype(np.float32)
    labels = np.arange(60) % 2
    answers = Answers(births, responses, labels, np.arange(60))
    entropy = draws.normal(3, 1, (2, 30))
    units = LayerUnits("a", (5, 5), entropy, np.ones((2, 30)), np.array([30, 30]))
    found = compare_layers(
        [(units, units)], ["x", "y"], ("p", "q"), answers=[(answers, answers)], n_permutations=99
    )
    row = found.matched.iloc[0]
    assert row["alike"] == pytest.approx(1, abs=1e-5)
    assert row["verdict"] != "shared"
