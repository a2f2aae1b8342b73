"""Few known accuracies: rankers that start from a card."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.base import clone

from audit.errors import ConfigError, DataError
from audit.ranking import (
    Card,
    CardMeasure,
    CardZoo,
    GeneralizationRanker,
    learning_curve,
    rank_table,
)
from audit.ranking._from_card import CardPrior
from audit.ranking._posterior import CORRELATIONS, Posterior, Similarity, credibility

MEASURES = ["good", "other", "noise"]


def card(coefficient=1.0, kendall=0.7, measure="good"):
    """A card that weighs one measure."""
    return Card(
        name="one",
        kind="order",
        half_width={"0.9": 1.0},
        measures=[CardMeasure(name=measure, coefficient=coefficient, lower=-9.0, upper=9.0)],
        zoos=[CardZoo(name="elsewhere", n_models=40, kendall=kendall)],
    )


def zoo(seed=0, n=40):
    """Accuracies that follow `good` and, half as strongly, `other`."""
    rng = np.random.default_rng(seed)
    good, other, noise = rng.normal(size=(3, n))
    quality = good + 0.5 * other + 0.3 * rng.normal(size=n)
    return pd.DataFrame(
        {
            "checkpoint": [f"c{i}" for i in range(n)],
            "good": good,
            "other": other,
            "noise": noise,
            "held_out_accuracy": 0.8 + 0.03 * quality,
        }
    )


def fitted(table, n_known, card, **options):
    """A ranker fitted on the first accuracies of a table."""
    y = table["held_out_accuracy"].where(np.arange(len(table)) < n_known)
    ranker = GeneralizationRanker(models=("mean", "ridge"), conformal=False, card=card, **options)
    return ranker.fit(table[MEASURES], y)


def tau(table, n_known, predicted):
    """Kendall's τ on the checkpoints whose accuracy is not known."""
    accuracy = table["held_out_accuracy"]
    return stats.kendalltau(predicted[n_known:], accuracy[n_known:]).statistic


def test_posterior_interpolates_as_worked_out_by_hand():
    """Two checkpoints, no measures that differ: the card's slope is the one thing to learn."""
    similarity = Similarity(np.zeros((2, 1)))
    score, y = np.array([-1.0, 1.0]), np.array([0.7, 0.9])
    record = np.where(CORRELATIONS == 0.95, 1.0, 1e-300)
    posterior = Posterior(similarity, np.zeros((2, 1)), score, y, record)
    assert posterior.correlation == pytest.approx(0.95)
    low, middle, high = posterior.mean(np.zeros((3, 1)), np.array([-1.0, 0.0, 1.0]))
    assert middle == pytest.approx(0.8)
    assert high - middle == pytest.approx(middle - low)
    assert high > middle


def test_posterior_agrees_with_a_gaussian_process_regression():
    """One hypothesis of the grid, solved as universal kriging in its usual form."""
    table = zoo(n=12)
    X, y = table[MEASURES].to_numpy(), table["held_out_accuracy"].to_numpy()[:6]
    score = stats.zscore(table["good"].to_numpy())
    similarity = Similarity(X)
    posterior = Posterior(similarity, X[:6], score[:6], y, credibility([]), noise=1e-5)
    mean, variance = posterior._moments(X, score)
    which = int(np.flatnonzero(posterior._kind == 2)[57])
    cover = posterior._by_measures[which] * similarity(X, X)[1]
    known = cover[:6, :6] + posterior._by_luck[which] * np.eye(6)
    left = y - posterior._slope[which] * score[:6]
    inverse = np.linalg.inv(known)
    weigh = inverse.sum(axis=0) / inverse.sum()
    expected = posterior._slope[which] * score + weigh @ left
    expected += cover[:, :6] @ inverse @ (left - weigh @ left)
    assert mean[which] == pytest.approx(expected)
    missing = 1 - cover[:, :6] @ inverse.sum(axis=1)
    spread = np.diag(cover) + posterior._by_luck[which] + missing**2 / inverse.sum()
    spread -= np.einsum("ni,ij,nj->n", cover[:, :6], inverse, cover[:, :6])
    assert variance[which] == pytest.approx(spread)


def test_credibility_follows_the_record():
    unknown = credibility([])
    assert unknown == pytest.approx(1 / len(CORRELATIONS))
    assert credibility([0.9, 0.9]) @ CORRELATIONS > unknown @ CORRELATIONS
    assert credibility([-0.5]) @ CORRELATIONS < unknown @ CORRELATIONS


def test_three_known_accuracies_keep_the_order_of_a_good_card():
    taus = []
    for seed in range(8):
        table = zoo(seed)
        predicted = fitted(table, 3, card()).predict(table[MEASURES])
        taus.append(tau(table, 3, predicted) - tau(table, 3, table["good"]))
    assert np.mean(taus) > -0.01


def test_more_known_accuracies_rank_better_than_the_card_and_the_plain_fit():
    beyond_card, beyond_plain = [], []
    for seed in range(6):
        table = zoo(seed)
        both = tau(table, 12, fitted(table, 12, card()).predict(table[MEASURES]))
        plain = GeneralizationRanker(models=("mean", "ridge"), conformal=False)
        plain.fit(table[MEASURES][:12], table["held_out_accuracy"][:12])
        beyond_card.append(both - tau(table, 12, table["good"]))
        beyond_plain.append(both - tau(table, 12, plain.predict(table[MEASURES])))
    assert np.mean(beyond_card) > 0.03
    assert np.mean(beyond_plain) > -0.01


def test_a_card_that_the_accuracies_contradict_is_left():
    """At 3 it is hardly doubted, at 12 next to nothing of its order is left."""
    beliefs = {3: [], 12: []}
    taus = []
    for seed in range(6):
        table = zoo(seed)
        for n_known, found in beliefs.items():
            ranker = fitted(table, n_known, card(coefficient=-1.0))
            found.append(ranker.card_correlation_)
        taus.append(tau(table, 12, ranker.predict(table[MEASURES])))
    assert np.mean(beliefs[3]) > np.mean(beliefs[12])
    assert np.mean(beliefs[12]) < 0.25
    assert np.mean(taus) > 0.4


def test_intervals_of_few_known_accuracies_cover_and_narrow():
    covered, widths = [], {3: [], 8: []}
    for seed in range(12):
        table = zoo(seed)
        for n_known, found in widths.items():
            lower, upper = fitted(table, n_known, card()).predict_interval(table[MEASURES]).T
            accuracy = table["held_out_accuracy"]
            covered += list((lower <= accuracy)[n_known:] & (accuracy <= upper)[n_known:])
            found.append(np.median(upper - lower))
    assert 0.85 <= np.mean(covered) <= 0.99
    assert np.median(widths[3]) > np.median(widths[8])


def test_sampling_noise_widens_intervals():
    table = zoo()
    y = table["held_out_accuracy"].where(np.arange(len(table)) < 8)
    widths = []
    for n_held_out in (100_000, 50):
        ranker = GeneralizationRanker(models=("mean",), conformal=False, card=card())
        ranker.fit(table[MEASURES], y, n_held_out=n_held_out)
        widths.append(np.ptp(ranker.predict_interval(table[MEASURES]), axis=1).mean())
    assert widths[0] < widths[1]


def test_a_checkpoint_is_scored_the_same_alone_and_among_others():
    table = zoo()
    ranker = fitted(table, 5, card())
    new = pd.DataFrame([[0.1, 0.2, 0.3]], columns=MEASURES)
    together = ranker.predict(pd.concat([table[MEASURES], new]))
    assert together[7] == pytest.approx(ranker.predict(table[MEASURES][7:8])[0])
    assert together[-1] == pytest.approx(ranker.predict(new)[0])


def test_ranker_with_a_card_clones_and_says_what_it_did():
    table = zoo()
    ranker = clone(fitted(table, 12, card()))
    assert ranker.get_params()["card"] == card()
    ranker.set_params(conformal=True).fit(
        table[MEASURES], table["held_out_accuracy"].where(table.index < 12)
    )
    assert ranker.chosen_ == "ridge from card 'one'"
    assert ranker.conformal_ is not None
    added = ranker.attributions(table[MEASURES])
    assert list(added) == ["card one", *MEASURES]
    assert added["card one"].abs().mean() > added["noise"].abs().mean()
    with pytest.raises(ConfigError) as error:
        ranker.to_card("mine")
    assert str(error.value) == "a card holds no fit that starts from a card: fit without one"
    with pytest.raises(ValueError, match=r"^fit needs 2 known accuracies or more; found 1$"):
        fitted(table, 1, card())


def test_learning_curve_of_a_ranker_with_a_card_begins_at_the_card():
    table = zoo()
    ranker = GeneralizationRanker(models=("mean",), card=card())
    curve = learning_curve(
        ranker, table[MEASURES], table["held_out_accuracy"], sizes=[3], n_repeats=3
    )
    assert curve["kendall"][0] == pytest.approx(tau(table, 0, table["good"]), abs=0.2)


def test_a_card_that_tells_nothing_apart_is_refused():
    table = zoo()
    with pytest.raises(DataError) as error:
        CardPrior(card(measure="elsewhere"), table[MEASURES].to_numpy(), MEASURES)
    assert str(error.value) == (
        "card 'one' scores all 40 checkpoints the same; of its measures 0 of 1 are there: "
        "measure more, or rank without it"
    )


def few(n_known, **changed):
    """A ranking of a table of which few accuracies are known."""
    table = zoo()
    known = table.assign(
        held_out_accuracy=table["held_out_accuracy"].where(np.arange(40) < n_known),
        n_held_out=1000,
    )
    directions = {"good": "higher", "other": "higher", "noise": "lower"}
    return rank_table(known, directions=directions, **{"prior": card(), **changed})


def test_few_known_accuracies_rank_from_a_card_and_say_so():
    ranking = few(5)
    about = ranking.about
    assert about["mode"] == "fitted on 5 known accuracies from card 'one'"
    assert about["card"] == "one"
    assert 0 < about["card_correlation"] < 1
    assert about["left_out"] == "checkpoints"
    assert np.isnan([about[name] for name in ("kendall", "kendall_lower", "coverage")]).all()
    assert about["notes"] == ["5 known accuracies are too few to judge the ranker by: 8 needed"]
    assert ranking.to_dict()["kendall"] is None
    assert len(ranking.table) == 40
    assert (ranking.table["lower"] <= ranking.table["upper"]).all()


def test_a_known_checkpoint_is_predicted_without_its_own_accuracy():
    table = zoo()
    table["held_out_accuracy"] = table["held_out_accuracy"].where(np.arange(40) < 4)
    changed = table.copy()
    changed.loc[2, "held_out_accuracy"] = 0.1
    scores = [
        rank_table(t, directions=dict.fromkeys(MEASURES, "higher"), prior=card())
        .table.set_index("checkpoint")["score"]
        .sort_index()
        for t in (table, changed)
    ]
    assert scores[0]["c2"] == scores[1]["c2"]
    assert (scores[0] != scores[1]).sum() > 30


def test_a_card_that_does_not_suit_is_left_out_with_a_note():
    assert few(5, prior=card(measure="elsewhere")).about["notes"] == [
        "not started from card 'one': the table has 0 of its 1 measures, which tell no checkpoint "
        "from another",
        "5 known accuracies are too few to fit: 8 needed",
    ]
    other = card().model_copy(
        update={
            "measures": [CardMeasure(name="good", version="1", coefficient=1, lower=0, upper=1)]
        }
    )
    notes = few(5, prior=other, versions={"good": "2"}).about["notes"]
    assert notes[0].startswith("not started from a card: card 'one' was fitted on good version 1")
    assert few(2).about["notes"] == ["2 known accuracies are too few to fit: 3 needed"]
