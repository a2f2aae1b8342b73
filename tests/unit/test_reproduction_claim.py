"""The rule by which claims are judged."""

import numpy as np
import pytest

from audit.reproduction.case import Cell
from audit.reproduction.claim import Claim, Quantity, Record, judge
from audit.reproduction.claims import CLAIMS

CELLS = (Cell("a", "x"), Cell("b", "x"))
STRONG, WEAK, NONE, OPPOSITE = (
    [0.8, 0.9, 0.85],
    [0.2, 0.21, 0.22],
    [-0.5, 0.6, 0.1],
    [-0.8, -0.9, -0.7],
)


def claim(*more):
    own = Quantity("own", "own", "the claim", "claim", least=0.5)
    control = Quantity("control", "control", "a control", "control")
    return Claim("c", "is so", "1", None, (own, control, *more), None)


def records(own, control, cells=CELLS):
    return [
        Record(cell, seed, {"own": own[seed], "control": control[seed]})
        for cell in cells
        for seed in range(len(own))
    ]


@pytest.mark.parametrize(
    ("own", "control", "word", "because"),
    [
        (STRONG, WEAK, "holds", "the claim and every control are shown"),
        (WEAK, WEAK, "holds weakly", "own: shown, but small"),
        (STRONG, NONE, "holds weakly", "control: not shown"),
        (STRONG, OPPOSITE, "holds weakly", "control: the opposite is shown"),
        (STRONG, [np.nan] * 3, "holds weakly", "control: no number"),
        (NONE, STRONG, "does not hold here", "own: not shown"),
        (OPPOSITE, STRONG, "does not hold here", "own: the opposite is shown"),
        ([np.nan] * 3, STRONG, "undefined", "own: no number"),
    ],
)
def test_a_claim_is_judged_by_its_own_number_and_its_controls(own, control, word, because):
    found = judge(claim(), records(own, control))
    assert {(v.word, v.sentence) for v in (*found.cells, found.overall)} == {(word, because)}


def test_a_claim_whose_opposite_is_shown_somewhere_holds_weakly_at_most():
    strong = records(STRONG, STRONG, [Cell(name, "x") for name in "abcde"])
    against = records([-0.2, -0.21, -0.22], STRONG, [Cell("f", "x")])
    found = judge(claim(), strong + against)
    assert found.overall.word == "holds weakly"
    assert found.overall.sentence == "the opposite is shown in f on x"
    assert [v.word for v in found.cells].count("holds") == 5


def test_a_single_network_is_judged_by_its_own_interval():
    own = {"own": (0.7, 0.9), "control": (0.1, 0.3)}
    one = Record(CELLS[0], 0, {"own": 0.8, "control": 0.2}, own)
    assert judge(claim(), [one]).overall.word == "holds"
    without = Record(CELLS[0], 0, {"own": 0.8, "control": 0.2})
    assert judge(claim(), [without]).overall.word == "does not hold here"


def test_a_limit_is_kept_by_every_network():
    exact = Quantity("changed", "changed", "births", "control", limit=0)
    some = records(STRONG, STRONG)
    changed = [Record(r.cell, r.seed, {**r.numbers, "changed": 0}) for r in some]
    assert judge(claim(exact), changed).overall.word == "holds"
    changed[3] = Record(changed[3].cell, 0, {**changed[3].numbers, "changed": 1})
    found = judge(claim(exact), changed)
    assert found.overall.word == "holds weakly"
    assert found.overall.sentence == "changed: not shown"
    assert found.cells[0].word == "holds"


def test_cases_without_numbers_are_counted_out_and_their_reason_is_told():
    some = [*records(STRONG, STRONG), Record(Cell("c", "x"), 0, reason="it has no maps")]
    found = judge(claim(), some)
    assert found.overall.word == "holds"
    assert found.overall.n_networks == 6
    assert found.cells[-1].word == "undefined"
    assert found.notes == ("c on x: it has no maps",)


@pytest.mark.parametrize("name", CLAIMS)
def test_each_claim_has_one_number_of_its_own_and_controls(name):
    roles = [quantity.role for quantity in CLAIMS[name].quantities]
    assert roles.count("claim") == 1
    assert roles.count("control") >= 1
    names = [quantity.name for quantity in CLAIMS[name].quantities]
    assert len(set(names)) == len(names)


def test_records_survive_json():
    record = Record(CELLS[0], 1, {"own": 0.5}, {"own": [0.1, 0.9]}, {"curve": [1, 2]})
    assert Record.from_json(record.as_json()) == record
