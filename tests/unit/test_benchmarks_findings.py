"""The findings: their statistics are right, and their text follows from the tables alone."""

import itertools
import re

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from audit import statistics
from audit.zoo.table import ZooTable, write_zoo_table
from benchmarks import familywise, pooling, zoo_statistics
from benchmarks.findings import page as findings
from benchmarks.findings.figures import write_figures
from benchmarks.findings.layers import at_depth
from benchmarks.findings.overview import ceiling
from benchmarks.findings.votes import left_out_votes, pool_of
from benchmarks.findings.words import direction_said, learned, number, span

COLUMNS = {
    "parameters": "higher",
    "macs": "higher",
    "train_accuracy": "higher",
    "train_loss": "lower",
    "augmentation_consistency": "higher",
    "random": "none",
    "feature_entropy.clique": "lower",
    "feature_entropy.cubical": "lower",
    "feature_entropy.cubical.last": "none",
    "birth_class_information.cubical": "higher",
}
LAYERS = [f"feature_entropy.cubical.layer_{k}" for k in (1, 2, 3)]
AXES = ("label_noise", "augmentation", "weight_decay")


def synthetic_zoo(name, source, seed):
    """Sixteen checkpoints of two architectures: consistency and entropy follow accuracy."""
    rng = np.random.default_rng(seed)
    grid = list(itertools.product("ab", (0.0, 0.3), (0, 1), (0.0, 0.5)))
    table = pd.DataFrame(grid, columns=["family", *(f"hp.{axis}" for axis in AXES)])
    quality = 0.7 - table["hp.label_noise"] + 0.1 * table["hp.augmentation"]
    quality += rng.normal(0, 0.02, len(table))
    table.insert(0, "checkpoint", [f"{name}-{i}" for i in range(len(table))])
    table["held_out_accuracy"], table["n_held_out"] = quality, 500
    table["train_accuracy_as_trained"] = 1 - rng.uniform(0, 0.1, len(table))
    for column in (*COLUMNS, *LAYERS):
        table[column] = rng.normal(0, 1, len(table))
    table["parameters"] = table["macs"] = table["family"].map({"a": 1.0, "b": 2.0})
    table["augmentation_consistency"] = quality + rng.normal(0, 0.01, len(table))
    table["feature_entropy.cubical"] = quality + rng.normal(0, 0.05, len(table))
    table.loc[table["family"] == "b", LAYERS[-1]] = np.nan
    clean = table.assign(labels="clean", train_loss=-quality)
    both = pd.concat([table.assign(labels="as_trained"), clean], ignore_index=True)
    known = {
        column: {
            "measure": next((m for m in COLUMNS if column.startswith(m + ".")), column),
            "version": "1",
            "direction": COLUMNS.get(column, "none"),
            "judged": column in COLUMNS,
            "seconds": 0.5,
            "missing": {},
        }
        for column in (*COLUMNS, *LAYERS)
    }
    about = {"task": name, "source": source, "axes": [], "measures": known, "images_per_class": 20}
    return ZooTable(name, both, about)


@pytest.fixture(scope="module")
def zoos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("zoos")
    for seed, (name, source) in enumerate(
        [("digits", "digits"), ("greek", "glyphs"), ("latin", "glyphs"), ("shapes", "drawn")]
    ):
        write_zoo_table(synthetic_zoo(name, source, seed), folder)
    return zoo_statistics.read_zoos(folder)


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    return tmp_path_factory.mktemp("rows") / "rows.csv"


@pytest.fixture(scope="module")
def found(zoos, kept):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(findings, "MAIN", ("train_loss", "feature_entropy.cubical"))
        patch.setattr(zoo_statistics, "N_BOOTSTRAP", 200)
        return findings.findings_of(zoos, kept)


@pytest.fixture(scope="module")
def written(found, tmp_path_factory):
    folder = tmp_path_factory.mktemp("written")
    return findings.write_findings(found, folder, folder)


def test_pooled_counts_each_source_once():
    one = pooling.pooled([0.2, 0.4, 0.6, 0.9], ["a", "a", "b", "c"])
    means = np.array([0.3, 0.6, 0.9])
    half = stats.t.ppf(0.975, 2) * means.std(ddof=1) / np.sqrt(3)
    assert one[:3] == pytest.approx((0.6, 0.6 - half, 0.6 + half))
    assert (one.n_sources, one.n_zoos) == (3, 4)
    assert one.p_value == pytest.approx(stats.ttest_1samp(means, 0).pvalue)


def test_pooled_leaves_out_zoos_without_a_value():
    assert pooling.pooled([0.2, np.nan, 0.6], ["a", "a", "b"])[3:5] == (2, 2)


def test_pooled_has_no_interval_for_two_sources():
    one = pooling.pooled([0.2, 0.4], ["a", "b"])
    assert one.mean == pytest.approx(0.3)
    assert np.isnan([one.lower, one.upper, one.p_value]).all()


def test_pooled_is_never_surer_than_its_zoos():
    one = pooling.pooled([0.3, 0.3, 0.3], ["a", "b", "c"], [0.1, 0.1, 0.1])
    assert one.upper - one.mean == pytest.approx(stats.t.ppf(0.975, 2) * 0.1 / np.sqrt(3))


def test_taus_are_those_of_scipy():
    rng = np.random.default_rng(0)
    X = rng.integers(0, 5, (20, 6)).astype(float)
    X[0, 0], X[1, 1], X[2, 1], X[:, 2] = np.inf, np.nan, np.inf, 1.0
    Y = rng.integers(0, 7, (20, 2)).astype(float)
    expected = [
        [stats.kendalltau(x[~np.isnan(x)], y[~np.isnan(x)]).statistic for y in Y.T] for x in X.T
    ]
    np.testing.assert_allclose(familywise.taus(X, Y), expected, rtol=1e-6)


def test_taus_within_groups_are_those_of_one_family():
    rng = np.random.default_rng(1)
    x, y, family = rng.normal(size=20), rng.normal(size=20), np.arange(20) % 3
    table = pd.DataFrame({"m": x, "held_out_accuracy": y, "family": family})
    ours = familywise.taus(x[:, None], y[:, None], family)[0, 0]
    assert ours == pytest.approx(statistics.within_family_kendall(table, "m").value, rel=1e-6)


def test_partial_taus_are_those_of_the_statistics(zoos):
    table = zoo_statistics.table_of(zoos.main["digits"])
    table.loc[3, "random"] = np.nan
    controls = ["parameters", "macs", "train_accuracy", "train_loss"]
    ours = zoo_statistics.partial_taus(table, list(COLUMNS), controls)
    theirs = {c: statistics.partial_kendall(table, c, controls=controls).value for c in COLUMNS}
    assert ours == pytest.approx(theirs, rel=1e-5, nan_ok=True)


def test_familywise_names_the_column_that_means_something(zoos):
    tables = [zoo_statistics.table_of(zoo) for zoo in zoos.main.values()]
    columns = ["augmentation_consistency", "random"]
    frame = familywise.familywise(tables, zoos.sources, columns, 200).set_index("column")
    assert frame.loc["augmentation_consistency", "p_max"] == pytest.approx(1 / 201)
    assert frame.loc["random", "p_max"] > 0.05
    assert 0 < frame.attrs["threshold"] < 0.6


def test_familywise_within_groups_permutes_within_them():
    y = np.array([1.0, 2.0, 3.0, 4.0])
    groups = np.array([0, 0, 1, 1])
    drawn = familywise._permuted(y, groups, 50, np.random.default_rng(0))
    assert (drawn[:, 0] == y).all()
    assert set(drawn[:2].ravel()) == {1.0, 2.0}


def test_agreement_counts_zoos_of_the_mean_sign():
    assert pooling.agreement([0.2, 0.1, -0.1, np.nan, 0.0], 0.1)[:2] == (2, 3)


def test_heterogeneity_is_nothing_for_equal_zoos():
    assert pooling.heterogeneity([0.3, 0.3, 0.3], [0.1, 0.1, 0.1]) == (0.0, 0.0, 1.0)
    assert pooling.heterogeneity([-0.9, 0.9], [0.05, 0.05]).share > 0.9


def test_learned_takes_signs_from_other_sources():
    turned = learned([0.5, -0.1, -0.4, -0.6], ["a", "a", "b", "c"])
    assert turned.tolist() == [-0.5, 0.1, 0.4, 0.6]


def test_jackknife_needs_checkpoints(zoos):
    table = zoo_statistics.table_of(zoos.main["digits"])
    few = zoo_statistics.jackknife(zoo_statistics._blocks(table.head(6)), ["random"], COLUMNS)
    assert few.empty


def test_jackknife_holds_the_value(found):
    rows = found.rows[found.rows["granulated_kendall_lower"].notna()]
    assert len(rows)
    assert (rows["granulated_kendall_lower"] <= rows["granulated_kendall"]).all()
    assert (rows["granulated_kendall"] <= rows["granulated_kendall_upper"]).all()


def test_depth_reads_each_architectures_own_layers(zoos):
    table = zoo_statistics.table_of(zoos.main["digits"])
    deepest = at_depth(table, "feature_entropy.cubical", 1.0)
    is_a = table["family"] == "a"
    assert (deepest[is_a] == table.loc[is_a, LAYERS[2]]).all()
    assert (deepest[~is_a] == table.loc[~is_a, LAYERS[1]]).all()


def test_ceiling_falls_with_fewer_images(zoos):
    table = zoo_statistics.table_of(zoos.main["digits"])
    many = ceiling(table.assign(n_held_out=10**9))[0]
    assert many == pytest.approx(1.0)
    assert ceiling(table.assign(n_held_out=30))[0] < 0.8


def test_votes_find_the_measure_on_other_sources(found):
    pool = pool_of(found, ["augmentation_consistency", "random", "train_loss"])
    votes = left_out_votes(pool)
    assert set(votes) == {"digits", "glyphs", "drawn"}
    assert min(vote[0] for vote in votes.values()) > 0.7


def test_words_follow_intervals():
    assert direction_said(0.1, 0.3) == "rises with accuracy"
    assert direction_said(-0.3, -0.1) == "falls as accuracy rises"
    assert direction_said(-0.3, 0.1) == "has no sign that can be told from none"
    assert number(-0.001) == "0.00"
    assert number(-0.25) == "−0.25"
    assert span(-1.7, 0.2) == "[−1.00, 0.20]"


def test_page_says_what_the_tables_hold(written):
    text = written[0].read_text("utf-8")
    assert "nan" not in text
    assert "`feature_entropy.cubical` rises with accuracy" in text
    assert "`feature_entropy.cubical` is lower in networks trained on noisier labels" in text
    assert text.count("\n## ") == 14


def test_page_has_whole_tables(written):
    text = written[0].read_text("utf-8")
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        assert len({line.count("|") for line in table.splitlines()}) == 1, table


def test_figures_are_the_same_each_time(found, written, tmp_path):
    again = write_figures(found, tmp_path)
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in written[2:]]


def test_figures_are_small(written):
    sizes = [path.stat().st_size for path in written if path.suffix == ".svg"]
    assert len(sizes) == 3
    assert max(sizes) < 80_000


def test_rows_of_unchanged_tables_are_not_computed_again(zoos, kept, found, monkeypatch):
    monkeypatch.setattr(zoo_statistics, "_zoo_rows", None)
    monkeypatch.setattr(findings, "MAIN", ("train_loss", "feature_entropy.cubical"))
    again = findings.findings_of(zoos, kept)
    pd.testing.assert_frame_equal(again.rows, found.rows)


def test_rows_are_the_statistics_of_the_tables(found, zoos):
    row = found.rows[(found.rows["zoo"] == "latin") & (found.rows["labels"] == "as_trained")]
    row = row.set_index("column").loc["feature_entropy.cubical"]
    table = zoo_statistics.table_of(zoos.main["latin"])
    tau = statistics.kendall(table, "feature_entropy.cubical").value
    assert row["kendall"] == pytest.approx(tau, abs=1e-5)


def test_other_audits_of_a_task_are_kept_apart(tmp_path):
    zoo = synthetic_zoo("digits", "digits", 0)
    write_zoo_table(zoo, tmp_path)
    fewer = ZooTable("digits-images10", zoo.table, {**zoo.about, "images_per_class": 10})
    write_zoo_table(fewer, tmp_path)
    read = zoo_statistics.read_zoos(tmp_path)
    assert list(read.main) == ["digits"]
    assert [zoo_statistics.images_of(zoo) for zoo in read.others] == [10.0]


def test_committed_page_is_of_the_committed_tables():
    page = findings.ROOT / "docs" / "findings.md"
    if not findings.ZOOS.is_dir():
        pytest.skip("no zoo has been measured yet")
    zoos = zoo_statistics.read_zoos(findings.ZOOS)
    assert findings._digest(zoos) in page.read_text("utf-8")


def test_committed_rows_are_of_the_committed_tables():
    path = findings.RESULTS / f"findings-zoos-{findings.DATE}.csv"
    if not findings.ZOOS.is_dir():
        pytest.skip("no zoo has been measured yet")
    digests = set(pd.read_csv(path)["digest"])
    for zoo in zoo_statistics.read_zoos(findings.ZOOS).main.values():
        for labels in zoo_statistics.audits_of(zoo):
            assert zoo_statistics._digest(zoo, labels, findings.MAIN) in digests, zoo.name
