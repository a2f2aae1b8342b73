import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audit.errors import ConfigError, DataError, StoreError
from audit.ranking import (
    Card,
    GeneralizationRanker,
    domain_of,
    fit_card,
    load_card,
    rank_by_card,
    rank_table,
    save_card,
    shipped_cards,
)
from audit.ranking.scores import normal_scores


def zoo(seed=0, n=30, shift=0.0):
    rng = np.random.default_rng(seed)
    quality = rng.normal(size=n)
    return pd.DataFrame(
        {
            "checkpoint": [f"c{i}" for i in range(n)],
            "good": np.exp(quality + 0.2 * rng.normal(size=n) + shift),
            "bad": -quality + 0.5 * rng.normal(size=n),
            "noise": rng.normal(size=n),
            "held_out_accuracy": 0.8 + 0.03 * quality,
        }
    )


MEASURES = ["good", "bad", "noise"]


@pytest.fixture(scope="module")
def card():
    zoos = {"one": zoo(1), "two": zoo(2), "three": zoo(3)}
    return fit_card(zoos, MEASURES, name="test", versions={"good": "2"})


def test_a_card_learns_signs_and_scores_on_zoos_left_out(card):
    weights = {m.name: m.coefficient for m in card.measures}
    assert weights["good"] > 0.3
    assert weights["bad"] < -0.1
    assert "noise" not in weights
    assert card.held_out_by == "zoos"
    assert all(z.kendall > 0.7 for z in card.zoos)


def test_a_card_survives_its_file(card, tmp_path):
    save_card(card, tmp_path / "card.json")
    assert load_card(tmp_path / "card.json") == card


def test_a_card_ranks_a_new_zoo_without_accuracies(card):
    new = zoo(9)
    ranking = rank_table(new.drop(columns="held_out_accuracy"), card=card)
    order = ranking.table.set_index("checkpoint").loc[new["checkpoint"], "score"]
    assert np.corrcoef(order, new["held_out_accuracy"])[0, 1] > 0.9
    assert ranking.about["mode"] == "zero-shot by card 'test'"
    assert ranking.about["inside_domain"]


def test_cards_cover_new_zoos_at_about_the_stated_rate():
    inside = []
    for repeat in range(5):
        zoos = {str(k): zoo(100 * repeat + k) for k in range(6)}
        fitted = fit_card(zoos, MEASURES, name="test")
        for seed in range(5000 + 10 * repeat, 5006 + 10 * repeat):
            new = zoo(seed).set_index("checkpoint")
            frame, _ = rank_by_card(new, fitted, list(new.index), confidence=0.9)
            truth = normal_scores(new.loc[frame["checkpoint"], "held_out_accuracy"].to_numpy())
            inside += list((frame["lower"] <= truth) & (truth <= frame["upper"]))
    assert 0.84 <= np.mean(inside) <= 0.96


def test_out_of_domain_says_by_how_much_and_abstains_when_asked(card):
    far = zoo(4, shift=30.0).drop(columns="bad")
    domain = domain_of(card, far)
    assert domain.missing == ["bad"]
    assert domain.excess["good"] > 3
    assert str(domain).startswith("outside the card's domain: good by ")
    told = rank_table(far, card=card)
    assert not told.about["abstained"]
    assert told.table["predicted_rank"].max() > 1
    silent = rank_table(far, card=card, abstain=True)
    assert silent.about["notes"][-1] == "abstained: every checkpoint is left tied"
    assert (silent.table["predicted_rank"] == 1).all()


def test_a_card_of_format_version_1_is_read_and_ranks_as_it_did(card, tmp_path):
    old = card.model_dump(exclude={"gap", "within"}) | {"format_version": 1}
    old["measures"] = [{k: v for k, v in m.items() if k != "group"} for m in old["measures"]]
    old["zoos"] = [{k: z[k] for k in ("name", "n_models", "kendall")} for z in old["zoos"]]
    (tmp_path / "old.json").write_text(json.dumps(old))
    loaded = load_card(tmp_path / "old.json")
    new = zoo(9)
    expected = sum(
        m["coefficient"] * normal_scores(new[m["name"]].to_numpy()) for m in old["measures"]
    )
    ranked = rank_table(new, card=loaded).table.set_index("checkpoint")["score"]
    assert ranked[new["checkpoint"]].to_numpy() == pytest.approx(expected)


def test_a_card_says_what_it_did_on_each_zoo_left_out(card):
    for told in card.zoos:
        assert 0 <= told.coverage <= 1
        assert 0 < told.apart < 1
        assert told.right > 0.9
    assert card.gap_at(0.9) <= 2 * card.width_at(0.9)


def test_a_card_weighs_families_and_leaves_sources_out_whole():
    zoos = {str(k): zoo(k).assign(family=[f"f{i % 3}" for i in range(30)]) for k in range(4)}
    sources = {"0": "a", "1": "a", "2": "b", "3": "c"}
    fitted = fit_card(zoos, MEASURES, name="test", sources=sources)
    assert fitted.held_out_by == "sources"
    assert [told.source for told in fitted.zoos] == ["a", "a", "b", "c"]
    assert all(told.kendall_within <= 1 for told in fitted.zoos)


def test_near_copies_stand_in_for_each_other():
    zoos = {str(k): zoo(k).assign(twin=lambda t: t["good"] * 2, good3=lambda t: t["good"] ** 3)
            for k in range(3)}  # fmt: skip
    fitted = fit_card(zoos, ["good", "twin", "bad"], name="test")
    groups = {m.name: m.group for m in fitted.measures}
    assert groups["good"] == groups["twin"] != ""
    assert groups["bad"] == ""
    new = zoo(9).assign(twin=lambda t: t["good"] * 2)
    whole, few = (rank_table(t, card=fitted) for t in (new, new.drop(columns="twin")))
    scores = [r.table.set_index("checkpoint")["score"].sort_index() for r in (whole, few)]
    assert scores[0].to_numpy() == pytest.approx(scores[1].to_numpy())
    assert few.about["notes"][0].startswith(
        "outside the card's domain: twin is missing, the others"
    )


def test_a_card_refuses_another_version_of_its_measures(card):
    with pytest.raises(DataError) as error:
        rank_table(zoo(5), card=card, versions={"good": "3"})
    assert str(error.value) == (
        "card 'test' was fitted on good version 2; the table holds version 3: measure again, or "
        "use another card"
    )


def test_a_card_needs_some_measure(card):
    with pytest.raises(DataError, match="card 'test' needs good, bad; the table has none"):
        rank_table(zoo(5)[["checkpoint"]], card=card)


def test_a_zoo_too_small_for_a_card_is_named():
    with pytest.raises(DataError) as error:
        fit_card({"tiny": zoo(1, n=5)}, MEASURES, name="test")
    assert str(error.value) == (
        "zoo 'tiny' needs 8 checkpoints with a known held_out_accuracy; found 5"
    )


def test_an_accuracy_card_predicts_as_the_ranker_it_came_from(tmp_path):
    table = zoo(1, n=60)
    X = table[MEASURES].copy()
    X.loc[::7, "bad"] = np.nan
    models = ("mean", "ridge", "elastic_net")
    ranker = GeneralizationRanker(models=models).fit(X, table["held_out_accuracy"])
    save_card(ranker.to_card("mine", "zoo one"), tmp_path / "mine.json")
    restored = GeneralizationRanker.from_card(tmp_path / "mine.json")
    assert restored.predict(X) == pytest.approx(ranker.predict(X), abs=1e-12)
    width = np.diff(restored.predict_interval(X), axis=1)
    assert width == pytest.approx(np.diff(ranker.predict_interval(X), axis=1), rel=0.4)
    assert restored.attributions(X).to_numpy() == pytest.approx(ranker.attributions(X).to_numpy())
    ranking = rank_table(table, card=load_card(tmp_path / "mine.json"))
    assert ranking.about["score_is"] == "predicted held_out_accuracy"


def test_a_ranker_without_coefficients_has_no_card():
    table = zoo(1, n=40)
    ranker = GeneralizationRanker(models=("kernel_ridge",))
    ranker.fit(table[MEASURES], table["held_out_accuracy"])
    with pytest.raises(ConfigError, match="a card carries coefficients, and kernel_ridge has none"):
        ranker.to_card("mine")


def test_an_order_card_is_not_a_ranker(card):
    with pytest.raises(DataError, match="card 'test' ranks within a zoo and predicts no"):
        GeneralizationRanker.from_card(card)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "other"},
         "card {path} needs \"format\": \"genaudit-calibrator-card\"; found 'other'"),
        ({"format_version": 3},
         "card {path} is not a card: format_version: Input should be 1 or 2"),
        ({"measures": []}, "card {path} is not a card: measures: List should have at least 1 item "
                           "after validation, not 0"),
        ({"code": "import os"},
         "card {path} is not a card: code: Extra inputs are not permitted"),
        ({"intercept": "nan"},
         "card {path} is not a card: intercept: Input should be a finite number"),
        ({"half_width": {"0.9": -1}},
         "card {path} is not a card: half_width.0.9: Input should be greater than 0"),
    ],
)  # fmt: skip
def test_a_damaged_card_is_refused(card, tmp_path, change, message):
    path = tmp_path / "card.json"
    path.write_text(json.dumps(card.model_dump() | change))
    with pytest.raises(DataError) as error:
        load_card(path)
    assert str(error.value) == message.format(path=path)


def test_a_file_that_is_no_card_is_refused(tmp_path):
    path = tmp_path / "card.json"
    path.write_text("[1]")
    with pytest.raises(DataError, match="must hold a JSON object; found list"):
        load_card(path)
    path.write_bytes(b"\x80\x04\x95")
    with pytest.raises(DataError, match="is not UTF-8 text"):
        load_card(path)
    path.write_text("{")
    with pytest.raises(DataError, match="is not JSON"):
        load_card(path)
    with pytest.raises(StoreError, match="cannot be read: No such file or directory"):
        load_card(tmp_path / "absent.json")


def test_shipped_cards_load_and_an_unknown_name_is_told():
    for name in shipped_cards():
        load_card(name)
    with pytest.raises(ConfigError) as error:
        load_card("nothing_like_it")
    assert str(error.value) == "unknown card 'nothing_like_it'; give a file ending in .json"


def test_a_card_has_no_interval_wider_than_it_was_fitted_for(card):
    assert card.width_at(0.85) == card.half_width["0.9"]
    with pytest.raises(DataError, match=r"needed 0\.99 or more"):
        card.width_at(0.99)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.dictionaries(st.sampled_from(sorted(Card.model_fields)), JSON, max_size=3))
def test_any_mapping_is_a_card_or_refused(card, changes):
    try:
        loaded = load_card(card.model_dump() | changes)
    except DataError:
        return
    rank_table(zoo(5), card=loaded, confidence=min(map(float, loaded.half_width)))


HOSTILE = {
    '"intercept": ' + "9" * 5000: "is not JSON: Exceeds the limit",
    '"intercept": 1e308': "is not a card: intercept: ",
    '"intercept": 0, "intercept": 1': "is not JSON: the key 'intercept' is there twice in one obj",
}


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_numbers_in_a_card_are_refused(card, tmp_path, text):
    path = tmp_path / "card.json"
    changed = {name for name in ("intercept", "half_width") if f'"{name}"' in text}
    rest = {k: v for k, v in card.model_dump().items() if k not in changed}
    path.write_text(json.dumps(rest)[:-1] + f", {text}}}")
    with pytest.raises(DataError, match=rf"card {path} {HOSTILE[text]}"):
        load_card(path)


def test_a_card_whose_range_is_upside_down_is_refused(card):
    content = card.model_dump()
    content["measures"][0] |= {"lower": 2.0, "upper": 1.0}
    with pytest.raises(DataError, match=r"lower = 2\.0 lies above upper = 1\.0"):
        load_card(content)


def test_a_card_with_a_measure_twice_is_refused(card):
    content = card.model_dump()
    content["measures"].append(content["measures"][0])
    with pytest.raises(DataError, match=r"the measure '.*' is there twice"):
        load_card(content)


def test_coefficients_that_would_overflow_are_refused(card):
    for key, number in (("coefficient", 1e308), ("spread", 1e-308)):
        content = card.model_dump()
        content["measures"][0][key] = number
        with pytest.raises(DataError, match=rf"measures\.0\.{key}"):
            load_card(content)
