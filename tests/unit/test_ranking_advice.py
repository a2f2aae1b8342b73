"""What a ranking is summed up as."""

import pandas as pd

from audit.ranking.advice import advice

RANKING = pd.DataFrame({"checkpoint": ["a", "b", "c"], "score": [0.9, 0.8, 0.1]})


def known(**accuracies):
    return pd.DataFrame(
        {"checkpoint": list(accuracies), "held_out_accuracy": list(accuracies.values())}
    )


def test_advice_names_the_first_and_what_it_is_tied_with():
    assert advice(RANKING, ["b"]) == [
        "Take a.",
        "It cannot be told apart from 1 of the other 2: b; among these choose by cost.",
    ]


def test_advice_of_a_clear_first():
    assert advice(RANKING, []) == ["Take a.", "It is told apart from every other."]


def test_advice_where_nothing_can_be_told_apart_sends_for_accuracies():
    assert advice(RANKING, ["b", "c"])[1] == (
        "But none of the 3 can be told from any other: choose by cost, or find out the held-out "
        "accuracy of a few."
    )


def test_advice_says_how_the_choice_did():
    table = known(a=0.8, b=0.9, c=0.4).assign(train_accuracy=[0.9, 1.0, 1.0])
    assert advice(RANKING, [], table)[2] == (
        "Its held-out accuracy is 80.0%; the best has 90.0%, one taken at random 70.0% on "
        "average, the best on the training images 65.0%."
    )


def test_advice_does_not_judge_what_it_cannot():
    assert len(advice(RANKING, [], known(b=0.9, c=0.4))) == 2
    assert len(advice(RANKING, [], known(a=0.9))) == 2


def test_advice_of_one_checkpoint_and_of_none():
    assert advice(RANKING.head(1), []) == ["Take a."]
    assert advice(RANKING.head(0), []) == []


def doubted(*doubts):
    return RANKING.assign(doubt=list(doubts))


def test_advice_does_not_recommend_a_checkpoint_in_doubt():
    assert advice(doubted("chance;constant_scores", "input", ""), ["b"]) == [
        "a is first, but in doubt (chance, constant scores): find out what is wrong with it before "
        "you take it.",
        "The first that is not in doubt is c.",
        "a cannot be told apart from 1 of the other 2: b; among these choose by cost.",
    ]
    assert advice(doubted(None, "input", ""), [])[0] == "Take a."


def test_advice_where_all_are_in_doubt():
    assert advice(doubted("input", "input", "chance"), [])[:2] == [
        "a is first, but in doubt (input): find out what is wrong with it before you take it.",
        "So are all the others.",
    ]
    assert len(advice(doubted("input", "", "").head(1), [])) == 1
