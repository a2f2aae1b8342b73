import numpy as np
import pandas as pd
import pytest

from audit.correlation import CORRELATION_COLUMNS, Evidence, correlate, measure_columns, verdict
from audit.correlation._controls import installed_controls
from audit.errors import DataError
from audit.statistics import Contradiction

FAST = {"n_bootstrap": 200, "n_permutations": 999}


def zoo(seed=0, repeats=3):
    """A factorial zoo whose accuracy has a design part and a part the design does not know."""
    rng = np.random.default_rng(seed)
    grid = [(a, b, c) for a in range(3) for b in range(3) for c in range(3)] * repeats
    table = pd.DataFrame(grid, columns=["hp.width", "hp.decay", "hp.batch"])
    n = len(table)
    luck = rng.normal(size=n)
    table["checkpoint"] = [f"c{i}" for i in range(n)]
    table["parameters"] = 1e5 * (1 + table["hp.width"])
    quality = table["hp.width"] - 0.7 * table["hp.decay"] + luck
    table["held_out_accuracy"] = 0.7 + 0.03 * quality
    table["train_accuracy"] = 0.99 + 0.001 * rng.random(n)
    table["informative"] = quality + 0.5 * luck + 0.3 * rng.normal(size=n)
    table["proxy"] = table["hp.width"] - 0.7 * table["hp.decay"] + 1e-6 * rng.normal(size=n)
    table["size"] = np.log(table["parameters"]) + 1e-3 * rng.normal(size=n)
    table["noise"] = rng.normal(size=n)
    table["two_faced"] = 3.0 * table["hp.width"] + 3.0 * table["hp.decay"] + rng.normal(size=n)
    return table


@pytest.fixture(scope="module")
def result():
    return correlate(zoo(), **FAST).set_index("measure")


def test_correlations_have_the_declared_columns():
    assert tuple(correlate(zoo(), **FAST).columns) == CORRELATION_COLUMNS


@pytest.mark.parametrize(
    ("measure", "words"),
    [
        ("informative", "adds information beyond the baselines and the hyperparameters"),
        ("proxy", "not beyond hyperparameters"),
        ("size", "not distinguishable from parameter count"),
        ("noise", "no evidence of association"),
        ("two_faced",
         "contradicts itself across environments (better along hp.width, worse along hp.decay)"),
        ("parameters", "baseline: associated with the target"),
    ],
)  # fmt: skip
def test_verdicts_in_plain_words(result, measure, words):
    assert result.loc[measure, "verdict"] == words


def test_baselines_are_the_installed_controls_cheapest_first():
    names, called = installed_controls()
    assert names == ("parameters", "macs", "train_accuracy", "train_loss")
    assert [called[name] for name in names] == [
        "parameter count", "MACs", "train accuracy", "train loss"
    ]  # fmt: skip
    table = zoo().assign(train_loss=np.arange(81.0))
    found = correlate(table, measures=["noise", "train_loss"], **FAST)
    assert found.attrs["controls"] == ["parameters", "train_accuracy", "train_loss"]
    assert found["controls"].tolist() == [
        "parameters, train_accuracy, train_loss", "parameters, train_accuracy"
    ]  # fmt: skip


def test_words_for_baselines_can_be_given():
    found = correlate(zoo(), measures=["size"], called={"parameters": "its size"}, **FAST)
    assert found["verdict"].tolist() == ["not distinguishable from its size"]


def test_intervals_hold_their_statistic(result):
    for name in ("kendall", "spearman", "pearson"):
        assert (result[f"{name}_lower"] <= result[name]).all()
        assert (result[name] <= result[f"{name}_upper"]).all()
    assert result.loc["noise", "kendall_lower"] < 0 < result.loc["noise", "kendall_upper"]
    assert result.loc["informative", "kendall_lower"] > 0.3


def test_same_seed_same_bytes():
    assert correlate(zoo(), **FAST).to_csv() == correlate(zoo(), **FAST).to_csv()


def test_the_gap_is_derived_and_turns_signs_round(result):
    gap = correlate(zoo(), "generalization_gap", **FAST).set_index("measure")
    assert gap.loc["informative", "kendall"] < -0.3
    assert gap.loc["informative", "cmi"] == result.loc["informative", "cmi"]
    assert gap.loc["informative", "verdict"] == result.loc["informative", "verdict"]


def test_measures_that_cannot_be_judged_stay_in_the_table():
    table = zoo()
    table["constant"] = 2.0
    table["rare"] = np.where(np.arange(len(table)) < 2, 1.5, np.nan)
    table["infinite"] = table["informative"].where(np.arange(len(table)) > 0, np.inf)
    table["twin"] = table["informative"]
    found = correlate(table, **FAST).set_index("measure")
    assert found.loc["constant", "verdict"] == "undefined: constant measure"
    assert found.loc["constant", "undefined"].startswith("constant measure: kendall, spearman, ")
    assert found.loc["rare", "verdict"] == "undefined: fewer than 3 models"
    assert found.loc["rare", "n_models"] == 2
    assert found.loc["infinite", "kendall"] > 0.3
    assert np.isnan(found.loc["infinite", "pearson"])
    assert "1 infinite values of the measure: pearson" in found.loc["infinite", "undefined"]
    assert found.loc["twin", "kendall"] == found.loc["informative", "kendall"]


def test_a_constant_target_leaves_everything_undefined():
    found = correlate(zoo().assign(held_out_accuracy=0.5), **FAST)
    assert (found["verdict"] == "undefined: constant target").all()


def test_fewer_models_than_measures():
    table = zoo()[:4]
    for i in range(8):
        table = table.assign(**{f"m{i}": np.random.default_rng(i).normal(size=4)})
    found = correlate(table, **FAST)
    assert (found["n_models"] == 4).all()
    assert not found["verdict"].str.startswith("adds").any()


def test_families_are_resampled_when_there_are_enough():
    table = zoo().assign(family=[f"f{i % 3}" for i in range(81)])
    assert correlate(table, **FAST).attrs["resampled"] == (
        "81 models (3 families are too few to resample)"
    )
    table["family"] = [f"f{i % 9}" for i in range(81)]
    found = correlate(table, **FAST)
    assert found.attrs["resampled"] == "9 families"
    assert found["within_family_kendall"].notna().any()
    assert found["leave_one_family_out_r2"].notna().any()


def test_a_table_made_elsewhere_is_read_by_naming_its_columns(tmp_path):
    table = zoo().rename(
        columns={"held_out_accuracy": "acc", "hp.width": "width", "hp.decay": "decay"}
    )
    table.drop(columns="hp.batch").to_csv(tmp_path / "foreign.csv", index=False)
    found = correlate(
        tmp_path / "foreign.csv",
        "acc",
        measures=["informative", "noise"],
        hyperparameters=["width", "decay"],
        baselines=["parameters"],
        directions={"informative": "higher"},
        **FAST,
    )
    assert found["measure"].tolist() == ["informative", "noise"]
    assert found["direction"].tolist() == ["higher", "none"]
    assert found["granulated_kendall"].notna().all()
    assert found["controls"].tolist() == ["parameters", "parameters"]


def test_columns_with_a_role_are_not_measures():
    table = zoo().assign(n_held_out=450, family="a", passed=True, note="x", generalization_gap=0.1)
    assert measure_columns(table) == [
        "parameters", "train_accuracy", "informative", "proxy", "size", "noise", "two_faced"
    ]  # fmt: skip


def test_unknown_columns_are_named():
    with pytest.raises(DataError, match="the table has no measure 'absent'; its columns are hp"):
        correlate(zoo(), measures=["absent"])
    with pytest.raises(DataError, match="the table has no target column 'absent'"):
        correlate(zoo(), "absent")
    with pytest.raises(DataError, match="the table has columns of the same name: 'noise'"):
        correlate(pd.concat([zoo(), zoo()[["noise"]]], axis=1))
    with pytest.raises(DataError, match="a direction is 'higher', 'lower' or 'none'; found 'up'"):
        correlate(zoo(), directions={"noise": "up"}, **FAST)


def evidence(**changes):
    usual = {
        "undefined": "", "association_p": 0.001, "contradiction": Contradiction([], []),
        "single_p": {"parameters": 0.001, "macs": 0.001}, "called": {"macs": "MACs"},
        "joint_p": 0.001, "design_p": 0.001, "design": "hyperparameters",
    }  # fmt: skip
    return Evidence(**(usual | changes))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "adds information beyond the baselines and the hyperparameters"),
        ({"design": ""}, "adds information beyond the baselines"),
        ({"association_p": float("nan")}, "no evidence of association"),
        ({"single_p": {"parameters": 0.2, "macs": 0.4}}, "not distinguishable from MACs"),
        ({"single_p": {"parameters": 0.4, "macs": 0.2}}, "not distinguishable from parameters"),
        ({"joint_p": 0.3}, "adds nothing beyond the baselines together"),
        ({"joint_p": float("nan")}, "associated; too few models to tell it from the baselines"),
        ({"design_p": 0.3}, "not beyond hyperparameters"),
        ({"design_p": 0.3, "design_power": 0.8}, "not beyond hyperparameters"),
        ({"design_p": 0.3, "design_power": 0.314},
         "cannot tell it from the hyperparameters: power 0.31 to see a partial τ of 0.3"),
        ({"design_power": 0.314}, "adds information beyond the baselines and the hyperparameters"),
        ({"joint_p": 0.3, "joint_power": 0.5},
         "cannot tell it from the baselines together: power 0.50 to see a partial τ of 0.3"),
        ({"design_p": float("nan"), "target_determined": (False, True)},
         "cannot tell it from the hyperparameters: they determine the target"),
        ({"joint_p": float("nan"), "target_determined": (True, False)},
         "cannot tell it from the baselines together: they determine the target"),
        ({"aside": "a copy of held_out_accuracy"}, "not judged: a copy of held_out_accuracy"),
        ({"design_p": 0.3, "design": "family"}, "not beyond family"),
        ({"design_p": float("nan")}, "adds information beyond the baselines; too few models to "
                                     "tell it from the hyperparameters"),
        ({"single_p": {}, "design": ""}, "associated; no baseline to compare with"),
        ({"single_p": {}}, "adds information beyond the hyperparameters; no baseline to compare "
                           "with"),
    ],
)  # fmt: skip
def test_each_verdict(changes, words):
    assert verdict(evidence(**changes)) == words


def test_a_measure_of_the_family_is_not_beyond_it():
    rng = np.random.default_rng(1)
    family = np.repeat(np.arange(8), 6)
    table = pd.DataFrame({"family": family, "m": family + 0.1 * rng.normal(size=48)})
    table["held_out_accuracy"] = 0.5 + 0.04 * family + 0.01 * rng.normal(size=48)
    assert correlate(table, **FAST)["verdict"].tolist() == ["not beyond family"]


def test_a_table_without_measures_gives_no_rows():
    table = zoo()[["checkpoint", "held_out_accuracy", "hp.width"]]
    assert correlate(table, **FAST).empty


def test_measures_known_on_other_rows_are_judged_on_theirs():
    table = zoo()
    table.loc[::4, "informative"] = np.nan
    table["hp.empty"] = np.nan
    whole = correlate(table, measures=["noise", "informative"], **FAST)
    rows = correlate(table.dropna(subset=["informative"]), measures=["informative"], **FAST)
    found = whole.set_index("measure").loc["informative"]
    for name in ("kendall", "spearman", "pearson", "granulated_kendall", "cmi", "n_models"):
        assert found[name] == rows[name][0]


@pytest.mark.parametrize(("luck", "repeats"), [(1.0, 1), (0.02, 3)])
def test_where_the_design_explains_the_target_it_cannot_be_told_what_measures_add(luck, repeats):
    rng = np.random.default_rng(0)
    table = zoo(repeats=repeats)
    design = table["hp.width"] - 0.7 * table["hp.decay"]
    table["held_out_accuracy"] = 0.7 + 0.03 * (design + luck * rng.normal(size=len(table)))
    table["tracks"] = design + 0.5 * rng.normal(size=len(table))
    table = table.drop(columns=["parameters", "train_accuracy"])
    found = correlate(table, measures=["tracks"], **FAST).iloc[0]
    why = "they determine the target" if luck < 1 else "power {:.2f} to see a partial τ of 0.3"
    assert found["verdict"] == "cannot tell it from the hyperparameters: " + why.format(
        found["beyond_hyperparameters_power"]
    )


def test_the_noise_of_few_held_out_images_costs_power():
    table = zoo()
    powers = [
        correlate(table, measures=["proxy"], n_held_out=n, **FAST)["beyond_hyperparameters_power"][
            0
        ]
        for n in (10**6, 1000, 100)
    ]
    assert powers[0] > 0.9
    assert powers[0] > powers[1] > powers[2]
