"""Each statistic against its definition, spelt out pair by pair, and against scipy."""

import itertools
import math
from collections import Counter, defaultdict

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from audit import statistics

small = st.integers(0, 4)  # few values, so that ties are common
SETTINGS = settings(max_examples=40, deadline=None)


@st.composite
def columns(draw, least=3, most=12):
    n = draw(st.integers(least, most))
    x = draw(st.lists(small, min_size=n, max_size=n))
    y = draw(st.lists(small, min_size=n, max_size=n))
    return pd.DataFrame({"m": np.array(x, float), "held_out_accuracy": np.array(y) / 4})


@st.composite
def zoos(draw):
    """A small zoo, factorial or with holes and repeats, with ties."""
    grid = list(itertools.product(range(2), range(draw(st.integers(2, 3))), range(2)))
    rows = draw(st.lists(st.sampled_from(grid), min_size=4, max_size=14))
    if draw(st.booleans()):
        rows = grid
    n = len(rows)
    table = pd.DataFrame(rows, columns=["hp.a", "hp.b", "hp.c"])
    table["m"] = np.array(draw(st.lists(small, min_size=n, max_size=n)), float)
    table["held_out_accuracy"] = np.array(draw(st.lists(small, min_size=n, max_size=n))) / 4
    table["train_accuracy"] = 1.0
    return table


def varies(table, *names):
    return all(table[name].nunique() > 1 for name in names)


def same(value, expected):
    if math.isnan(expected):
        return math.isnan(value)
    return value == pytest.approx(expected, rel=1e-9, abs=1e-12)


@SETTINGS
@given(columns())
def test_rank_statistics_equal_scipy(table):
    x, y = table["m"], table["held_out_accuracy"]
    found = {
        name: getattr(statistics, name)(table, "m")
        for name in ("kendall", "spearman", "pearson", "weighted_kendall")
    }
    if not varies(table, "m", "held_out_accuracy"):
        for result in found.values():
            assert math.isnan(result.value)
            assert result.reason in ("undefined: constant measure", "undefined: constant target")
        return
    assert same(found["kendall"].value, stats.kendalltau(x, y).statistic)
    assert same(found["spearman"].value, stats.spearmanr(x, y).statistic)
    assert same(found["pearson"].value, stats.pearsonr(x, y).statistic)
    assert same(found["weighted_kendall"].value, stats.weightedtau(x, y).statistic)
    assert found["kendall"].n_pairs == len(list(itertools.combinations(x, 2)))


@SETTINGS
@given(columns(), st.integers(0, 5))
def test_bootstrap_draws_equal_statistics_of_the_repeated_rows(table, seed):
    x, y = (table[c].to_numpy() for c in ("m", "held_out_accuracy"))
    weights = statistics.bootstrap_weights(len(x), 6, seed)
    draws = [
        getattr(statistics, f"{name}_draws")(x, y, weights)
        for name in ("kendall", "spearman", "pearson")
    ]
    tests = [stats.kendalltau, stats.spearmanr, stats.pearsonr]
    for b in range(6):
        rows = np.repeat(np.arange(len(x)), weights[:, b].astype(int))
        assert len(rows) == len(x)
        for draw, test in zip(draws, tests, strict=True):
            if len(set(x[rows])) < 2 or len(set(y[rows])) < 2:
                assert math.isnan(draw[b])
            else:
                assert same(draw[b], test(x[rows], y[rows]).statistic)


def entropy(counter):
    total = sum(counter.values())
    return -sum(c / total * math.log2(c / total) for c in counter.values() if c)


def brute_cmi(table):
    gap = (table["train_accuracy"] - table["held_out_accuracy"]).tolist()
    m = table["m"].tolist()
    axes = [a for a in ("hp.a", "hp.b", "hp.c") if table[a].nunique() > 1]
    best = math.nan
    for size in range(3):
        for subset in itertools.combinations(axes, size):
            setting = list(zip(*(table[a] for a in subset), strict=True)) or [()] * len(m)
            cells = defaultdict(Counter)
            for i, j in itertools.permutations(range(len(m)), 2):
                v = np.sign(m[i] - m[j]), np.sign(round(gap[i] - gap[j], 9))
                cells[setting[i], setting[j]][v] += 1
            information = conditional = 0.0
            for joint in cells.values():
                mu, g = Counter(), Counter()
                for (a, b), count in joint.items():
                    mu[a] += count
                    g[b] += count
                weight = sum(joint.values())
                information += weight * (entropy(mu) + entropy(g) - entropy(joint))
                conditional += weight * entropy(g)
            if conditional > 1e-9:
                share = information / conditional
                best = share if math.isnan(best) else min(best, share)
    return best


def brute_pgdl(table):
    gap = (table["train_accuracy"] - table["held_out_accuracy"]).round(9).tolist()
    m = table["m"].tolist()
    axes = [a for a in ("hp.a", "hp.b", "hp.c") if table[a].nunique() > 1]
    best = math.nan
    for a, b in itertools.combinations(axes, 2):
        setting = list(zip(table[a], table[b], strict=True))
        cells = defaultdict(Counter)
        for i, j in itertools.product(range(len(m)), repeat=2):
            cells[setting[i], setting[j]][m[i] > m[j], gap[i] > gap[j]] += 1
        information, conditional = [], []
        for joint in cells.values():
            total = sum(joint.values())
            p = {k: c / total for k, c in joint.items()}
            mu = [sum(v for k, v in p.items() if k[0] == s) for s in (True, False)]
            g = [sum(v for k, v in p.items() if k[1] == s) for s in (True, False)]
            h = [-sum(q * math.log2(q + 1e-12) for q in part) for part in (mu, g, list(p.values()))]
            information.append(h[0] + h[1] - h[2])
            conditional.append(h[1])
        if np.mean(conditional) > 1e-9:
            share = np.mean(information) / np.mean(conditional)
            best = share if math.isnan(best) else min(best, share)
    return best


@SETTINGS
@given(zoos())
def test_conditional_informations_equal_their_definitions(table):
    if not varies(table, "m", "held_out_accuracy"):
        assert math.isnan(statistics.pgdl_score(table, "m"))
        return
    assert same(statistics.cmi(table, "m").value, brute_cmi(table))
    score = statistics.pgdl_score(table, "m")
    assert score == pytest.approx(brute_pgdl(table), abs=1e-9, nan_ok=True)


@SETTINGS
@given(zoos())
def test_granulated_kendall_equals_its_definition(table):
    if not varies(table, "m", "held_out_accuracy"):
        return
    axes = [a for a in ("hp.a", "hp.b", "hp.c") if table[a].nunique() > 1]
    by_axis = []
    for axis in axes:
        others = [a for a in axes if a != axis]
        groups = table.groupby(others) if others else [((), table)]
        taus = [
            stats.kendalltau(g["m"], g["held_out_accuracy"]).statistic if varies(g, "m") else 0.0
            for _, g in groups
            if g[axis].nunique() > 1 and varies(g, "held_out_accuracy")
        ]
        if taus:
            by_axis.append(np.mean(taus))
    expected = np.mean(by_axis) if by_axis else math.nan
    assert same(statistics.granulated_kendall(table, "m").value, expected)


@SETTINGS
@given(zoos(), st.sampled_from([1, -1]))
def test_sign_error_equals_its_definition(table, sign):
    if not varies(table, "m", "held_out_accuracy"):
        return
    direction = {1: "higher", -1: "lower"}[sign]
    axes = ["hp.a", "hp.b", "hp.c"]
    errors, weights = defaultdict(float), defaultdict(float)
    rows = list(table.itertuples(index=False, name=None))
    for (*s, m1, y1, _), (*t, m2, y2, _) in itertools.combinations(rows, 2):
        if sum(a != b for a, b in zip(s, t, strict=True)) != 1:
            continue
        p = max(0.0, 1 - 2 * math.exp(-2 * 50 * ((y1 - y2) / 2) ** 2))
        weight = max(p**2 - 0.5, 0)
        wrong = (1 - sign * np.sign(m1 - m2) * np.sign(y1 - y2)) / 2
        environment = frozenset([tuple(s), tuple(t)])
        errors[environment] += weight * wrong
        weights[environment] += weight
    found = statistics.sign_error(table, "m", direction=direction, axes=axes, n_held_out=50)
    shares = [errors[e] / weights[e] for e in errors if weights[e] > 0]
    if not shares:
        assert math.isnan(found.max.value)
        return
    assert same(found.mean.value, np.mean(shares))
    assert same(found.p90.value, np.percentile(shares, 90))
    assert same(found.max.value, max(shares))
    assert found.n_environments == len(shares)


@SETTINGS
@given(columns(least=5), st.data())
def test_partial_statistics_with_one_control_equal_the_closed_form(table, data):
    z = data.draw(st.lists(small, min_size=len(table), max_size=len(table)))
    table["z"] = np.array(z, float)
    if not varies(table, "m", "held_out_accuracy", "z"):
        return
    for name, test in (("kendall", stats.kendalltau), ("spearman", stats.spearmanr)):
        xy, xz, yz = (
            test(table[a], table[b]).statistic
            for a, b in (("m", "held_out_accuracy"), ("m", "z"), ("held_out_accuracy", "z"))
        )
        found = getattr(statistics, f"partial_{name}")(table, "m", controls=["z"])
        if (1 - xz**2) < 1e-7 or (1 - yz**2) < 1e-7:
            assert found.reason.startswith("undefined: the controls determine the")
        else:
            expected = (xy - xz * yz) / math.sqrt((1 - xz**2) * (1 - yz**2))
            assert found.value == pytest.approx(expected, abs=1e-9)


@SETTINGS
@given(columns(least=4), st.data())
def test_within_family_kendall_counts_pairs_of_one_family_only(table, data):
    table["family"] = data.draw(
        st.lists(st.sampled_from("ab"), min_size=len(table), max_size=len(table))
    )
    if not varies(table, "m", "held_out_accuracy"):
        return
    score = untied_x = untied_y = 0
    for _, group in table.groupby("family"):
        for i, j in itertools.combinations(range(len(group)), 2):
            s = np.sign(group["m"].iloc[i] - group["m"].iloc[j])
            t = np.sign(group["held_out_accuracy"].iloc[i] - group["held_out_accuracy"].iloc[j])
            score, untied_x, untied_y = score + s * t, untied_x + s * s, untied_y + t * t
    expected = score / math.sqrt(untied_x * untied_y) if untied_x * untied_y else math.nan
    assert same(statistics.within_family_kendall(table, "m").value, expected)


@SETTINGS
@given(columns(), st.integers(1, 4), st.sampled_from(["higher", "lower"]))
def test_top_k_regret_is_the_mean_over_tied_choices(table, k, direction):
    k = min(k, len(table))
    if not varies(table, "m", "held_out_accuracy"):
        return
    sign = 1 if direction == "higher" else -1
    merit = (sign * table["m"]).tolist()
    y = table["held_out_accuracy"].tolist()
    threshold = sorted(merit, reverse=True)[k - 1]
    surely = [i for i in range(len(y)) if merit[i] > threshold]
    edge = [i for i in range(len(y)) if merit[i] == threshold]
    regrets = [
        max(y) - max(y[i] for i in (*surely, *chosen))
        for chosen in itertools.combinations(edge, k - len(surely))
    ]
    found = statistics.top_k_regret(table, "m", direction=direction, k=k)
    assert found.value == pytest.approx(np.mean(regrets), abs=1e-12)


@SETTINGS
@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_equals_its_definition_and_keeps_order(p_values):
    adjusted = statistics.holm(np.array(p_values))
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    running = 0.0
    for step, i in enumerate(order):
        running = max(running, min(1.0, p_values[i] * (len(p_values) - step)))
        assert adjusted[i] == pytest.approx(running)
