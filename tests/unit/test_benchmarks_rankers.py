"""Rankers that are tried: what they find in zoos of known truth, and what they may see."""

import itertools

import numpy as np
import pytest

from audit.ranking.scores import ZooScores, known_zoo, normal_scores
from benchmarks.rankers.agreement import dawid_skene, kemeny, spectral
from benchmarks.rankers.judging import judge, nested
from benchmarks.rankers.table import by_source, candidates, grid
from benchmarks.rankers.zoos import Columns

N = 24
SKILL = np.array([1.5, 1.0, -1.0, 0.0, 0.0])


def zoo(seed, source, n=N):
    """Measures that know the accuracy by `SKILL`, the third in the wrong declared direction."""
    rng = np.random.default_rng(seed)
    quality = rng.normal(size=n)
    columns = quality[:, None] * SKILL + rng.normal(size=(n, len(SKILL)))
    pooled = np.column_stack([normal_scores(column) for column in columns.T])
    scores = ZooScores(f"z{seed}", source, pooled, pooled, np.arange(n) % 3)
    return known_zoo(scores, 0.5 + 0.1 * quality)


def columns():
    names = [f"m{i}" for i in range(len(SKILL))]
    return Columns(names, names, np.array([1, 1, 1, 1, 0]), ["forward"] * 5, np.full(5, True), {})


@pytest.fixture(scope="module")
def zoos():
    return [zoo(seed, source) for seed, source in enumerate("aabcd")]


@pytest.mark.parametrize(
    "name", ["shrunk to equal votes", "votes by evidence", "shrunk × spectral", "Kemeny"]
)
def test_a_ranker_sees_nothing_of_the_source_it_ranks(zoos, name):
    make = candidates(columns())[name]
    changed = [zoo(0, "a")._replace(accuracy=zoos[0].accuracy[::-1]), *zoos[1:]]
    changed[0] = known_zoo(changed[0].scores, changed[0].accuracy)
    before, after = (judge(name, make, group) for group in (zoos, changed))
    for own in ("z0", "z1"):
        assert np.array_equal(before.scores[own], after.scores[own])


@pytest.mark.parametrize(
    "name",
    ["shrunk to equal votes", "ridge", "sparse votes (shipped)", "Bradley–Terry", "greedy votes"],
)
def test_fitted_rankers_learn_what_a_wrong_declaration_hides(zoos, name):
    found = judge(name, candidates(columns())[name], zoos)
    votes = judge("equal votes", candidates(columns())["equal votes"], zoos)
    assert found.mean > votes.mean
    assert found.mean > 0.5


def test_the_nested_estimate_picks_by_the_other_sources(zoos):
    lines = [judge(n, candidates(columns())[n], zoos) for n in ("equal votes", "ridge")]
    best = nested(lines, zoos)
    for rest, own in by_source(zoos):
        names = [z.scores.name for z in rest]
        expected = max(lines, key=lambda line, names=names: sum(line.worth[n] for n in names))
        for one in own:
            assert best.kendall[one.scores.name] == expected.kendall[one.scores.name]


def test_agreement_finds_the_skill_of_votes_that_err_alone():
    rng = np.random.default_rng(0)
    quality, skill = rng.normal(size=2000), np.array([0.9, 0.7, 0.5, 0.0])
    votes = quality[:, None] * skill + rng.normal(size=(2000, 4)) * np.sqrt(1 - skill**2)
    assert spectral(votes, np.ones(4)) == pytest.approx(skill, abs=0.08)
    odds = dawid_skene(votes[:80], np.ones(4))
    assert odds[0] > odds[2] > odds[3]


def test_kemeny_contradicts_as_few_votes_as_any_order():
    rng = np.random.default_rng(2)
    votes = rng.normal(size=(5, 3))
    margin = np.sign(votes[:, None] - votes[None]).sum(axis=2)

    def kept(order):
        return sum(margin[a, b] for a, b in itertools.combinations(order, 2))

    found = np.argsort(-kemeny(votes, np.ones(3)))
    assert kept(found) == max(kept(order) for order in itertools.permutations(range(5)))


def test_a_grid_is_every_combination():
    assert grid(a=(1, 2), b=(3,)) == [{"a": 1, "b": 3}, {"a": 2, "b": 3}]
