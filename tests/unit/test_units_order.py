"""Rankings of units within a class and over classes, against counting by hand."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import friedmanchisquare

from audit.errors import ConfigError, DataError
from audit.units.order import class_concordance, rank_units


def table_of(numbers, layer="a", **columns):
    """A unit table of entropies (units, classes); NaN is never born."""
    n_units, n_classes = numbers.shape
    frame = pd.DataFrame(
        {
            "layer": layer,
            "unit": np.repeat(np.arange(n_units), n_classes),
            "class_name": np.tile([f"class {c}" for c in range(n_classes)], n_units),
            "effective_rate": np.where(np.isnan(numbers), 0, 0.5).ravel(),
            "feature_entropy": numbers.ravel(),
            "status": np.where(np.isnan(numbers), "never_born", "ok").ravel(),
        }
    )
    return frame.assign(**columns)


def test_ranks_count_units_of_lower_entropy_in_the_class():
    numbers = np.random.default_rng(0).normal(3, 1, (20, 3)).round(1)
    found = rank_units(table_of(numbers))
    for c, (_, group) in enumerate(found.groupby("class_name")):
        own = numbers[group["unit"], c]
        below = (numbers[:, c] < own[:, None]).sum(1)
        equal = (numbers[:, c] == own[:, None]).sum(1)
        np.testing.assert_array_equal(group["rank"], below + (equal + 1) / 2)
        assert group["rank"].is_monotonic_increasing
        assert (group["n_ranked"] == 20).all()


def test_units_that_say_nothing_are_not_ranked_and_it_says_why():
    frame = table_of(np.array([[1.0], [2.0], [np.nan], [0.0], [0.5]]))
    frame["effective_rate"] = [0.1, 1.0, 0.0, 0.02, 1.0]
    frame["repeats"] = [-1, -1, -1, -1, 1]
    frame.loc[4, "status"] = "redundant"
    frame["status"] = frame["status"].astype("category")
    found = rank_units(frame)
    assert found["unit"].tolist() == [0, 1, 2, 3, 4]
    assert found["rank"].tolist()[:2] == [1, 2]
    assert found["rank"][2:].isna().all()
    assert found["unranked"].tolist() == [
        "",
        "",
        "never born",
        "born on 2.0% of the images",
        "repeats unit 1",
    ]
    assert rank_units(frame, least_rate=0.0)["unit"].tolist()[:3] == [3, 0, 1]


def test_units_with_few_births_are_not_ranked():
    frame = table_of(np.array([[1.0], [2.0]]), n_images=[18, 60])
    assert rank_units(frame)["unranked"].tolist() == ["", "born on 9 images"]
    assert rank_units(frame, least_births=9)["rank"].tolist() == [1, 2]


def test_possible_ranks_are_those_that_the_intervals_leave_open():
    frame = table_of(np.array([[1.0], [2.0], [3.0], [4.0]]))
    frame["lower"] = [0.8, 1.5, 2.5, np.nan]
    frame["upper"] = [1.2, 2.8, 3.5, np.nan]
    found = rank_units(frame)
    # the fourth may lie anywhere: it keeps one place open on either side of the others
    assert found["rank_lower"].tolist() == [1, 2, 2, 1]
    assert found["rank_upper"].tolist() == [2, 4, 4, 4]


def test_over_classes_the_mean_percentile_ranks():
    numbers = np.array([[1, 30.0], [2, 20], [3, 10], [4, 40], [5, np.nan], [np.nan, np.nan]])
    found = rank_units(table_of(numbers), "layer").set_index("unit")
    # of 5 and of 4 units: (rank − ½) / n
    assert found.loc[0, "percentile"] == pytest.approx((0.5 / 5 + 2.5 / 4) / 2)
    assert found.loc[4, "percentile"] == pytest.approx(4.5 / 5)
    assert found.loc[4, "n_classes"] == 1
    assert np.isnan(found.loc[4, "lower"])
    assert found.loc[5, "unranked"] == "ranked in 0 of 2 classes; never born in others"
    assert np.isnan(found.loc[5, "rank"])
    assert found["n_ranked"].unique() == [5]
    assert found.index[:2].tolist() == [0, 1] if found.loc[0, "rank"] < found.loc[1, "rank"] else 1


def test_the_interval_over_classes_is_students():
    numbers = np.random.default_rng(1).normal(size=(30, 8))
    found = rank_units(table_of(numbers), "layer").set_index("unit")
    percentile = (numbers.argsort(0).argsort(0)[4] + 0.5) / 30
    half = 2.3646 * percentile.std(ddof=1) / np.sqrt(8)
    assert found.loc[4, "upper"] - found.loc[4, "percentile"] == pytest.approx(half, rel=1e-4)


def test_networks_layers_and_filtrations_are_ranked_apart():
    frames = [
        table_of(np.array([[1.0 + k], [2.0 - k]]), layer=f"l{k}", checkpoint=c, filtration="clique")
        for k in (0, 5)
        for c in ("x", "y")
    ]
    found = rank_units(pd.concat(frames))
    assert found["rank"].tolist() == [1, 2] * 4
    assert list(found)[-3:] == ["rank", "n_ranked", "unranked"]
    over = rank_units(pd.concat(frames), "layer")
    assert list(over)[:4] == ["checkpoint", "filtration", "layer", "unit"]
    assert len(over) == 8


def test_concordance_is_that_of_friedmans_test():
    random = np.random.default_rng(2)
    numbers = random.normal(size=(12, 1)) + random.normal(size=(12, 5)).round(1)
    row = class_concordance(table_of(numbers)).iloc[0]
    statistic = friedmanchisquare(*numbers).statistic
    assert row["concordance"] == pytest.approx(statistic / (5 * 11), rel=1e-9)
    assert row["p_value"] == 1 / 1000
    assert row["by_chance"] == pytest.approx(1 / 5, abs=0.02)


def test_concordance_by_chance_is_rejected_as_often_as_it_says():
    random = np.random.default_rng(3)
    rejected = 0
    for _ in range(100):
        numbers = random.normal(size=(8, 4)) + random.normal(size=4) * 5
        found = class_concordance(table_of(numbers), n_permutations=99)
        rejected += found["p_value"].iloc[0] <= 0.05
    assert rejected <= 13  # of 100 at 5%: above it with probability 0.05%


def test_concordance_of_one_class_is_undefined():
    row = class_concordance(table_of(np.ones((4, 1)))).iloc[0]
    assert row[["concordance", "by_chance", "p_value"]].isna().all()


def test_wrong_questions_are_refused():
    frame = table_of(np.ones((2, 2)))
    with pytest.raises(ConfigError) as caught:
        rank_units(frame, "clas")
    assert str(caught.value) == (
        "unknown ranking of units 'clas'; did you mean 'class'? known: class, layer"
    )
    with pytest.raises(ConfigError, match=r"^least_rate must lie between 0 and 1; found 10$"):
        rank_units(frame, least_rate=10)
    with pytest.raises(DataError, match=r"missing: \['status'\]$"):
        rank_units(frame.drop(columns="status"))
    with pytest.raises(DataError, match=r"^the unit table has no rows$"):
        rank_units(frame[:0])
