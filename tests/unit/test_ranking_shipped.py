"""The card that comes with the package: whole, fitted on today's measures, and of use."""

import numpy as np
import pandas as pd
import pytest

from audit.errors import DataError
from audit.plugin.parts import owner_of
from audit.plugin.registry import installed
from audit.ranking import load_card, rank_table, shipped_cards


@pytest.fixture(scope="module")
def card():
    return load_card("default")


def typical(card, n=9, seed=0):
    """A table of checkpoints whose measures lie where the card's zoos had them."""
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(
        {m.name: rng.uniform(m.lower, m.upper, n) for m in card.measures},
    )
    return table.assign(checkpoint=[f"c{i}" for i in range(n)])


def test_the_default_card_is_shipped(card):
    assert "default" in shipped_cards()
    assert card.name == "default"
    assert card.kind == "order"
    assert card.held_out_by == "sources"
    assert len({zoo.source for zoo in card.zoos}) >= 5
    assert all(zoo.kendall is not None for zoo in card.zoos)
    assert all(zoo.coverage is not None for zoo in card.zoos)
    assert set(card.half_width) == {"0.5", "0.8", "0.9", "0.95"}
    assert card.description


def owners(card):
    """The registered measures that the card's columns belong to."""
    measures = installed().measures
    return {m.name: measures[owner_of(m.name, measures)] for m in card.measures}


def test_the_default_card_was_fitted_on_the_installed_versions(card):
    fitted = {m.name: m.version for m in card.measures}
    now = {name: entry.version for name, entry in owners(card).items()}
    assert fitted == now, "a measure's version moved: measure the zoos again, then fit the card"


def test_the_default_card_needs_few_measures_and_no_gradients(card):
    entries = owners(card)
    assert len(entries) <= 12
    for entry in entries.values():
        assert not entry.diagnostic
        assert entry.cost != "backward"
    assert not {"parameters", "macs", "random"} & {entry.name for entry in entries.values()}


def test_the_default_card_ranks_without_accuracies(card):
    table = typical(card)
    versions = {m.name: m.version for m in card.measures}
    ranking = rank_table(table, card=card, versions=versions)
    assert sorted(ranking.table["checkpoint"]) == sorted(table["checkpoint"])
    assert ranking.table["score"].is_monotonic_decreasing
    assert ranking.about["mode"] == "zero-shot by card 'default'"
    assert len(ranking.about["fitted_on"]) == len(card.zoos)
    assert ranking.about["inside_domain"]


def test_the_default_card_prefers_what_its_weights_prefer(card):
    table = typical(card, n=2)
    for measure in card.measures:
        best, worst = sorted(
            (measure.lower, measure.upper), key=lambda value: -measure.coefficient * value
        )
        table[measure.name] = [worst, best]
    assert rank_table(table, card=card).table["checkpoint"].tolist() == ["c1", "c0"]


def test_the_default_card_says_how_far_out_of_its_domain_a_table_lies(card):
    table, known = typical(card), card.measures[-1]
    table[known.name] = known.upper + 3 * (known.upper - known.lower) + np.arange(len(table))
    told = rank_table(table, card=card)
    assert not told.about["inside_domain"]
    assert set(told.about["outside_by"]) == {known.name}
    assert told.about["outside_by"][known.name] > 0
    assert told.about["notes"] == [
        "outside the card's domain: "
        f"{known.name} by {told.about['outside_by'][known.name]:.2g} widths of its range"
    ]
    silent = rank_table(table, card=card, abstain=True)
    assert silent.about["abstained"]
    assert (silent.table["predicted_rank"] == 1).all()


def test_the_default_card_names_the_measures_a_table_lacks(card):
    first = card.measures[0].name
    told = rank_table(typical(card).drop(columns=first), card=card)
    assert told.about["missing"] == [first]
    with pytest.raises(DataError, match=r"card 'default' needs .*; the table has none of them"):
        rank_table(pd.DataFrame({"checkpoint": ["a", "b"]}), card=card)
