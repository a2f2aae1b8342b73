"""Orders of units, areas under their curves, and what is concluded from these."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from torch import nn
from torch.nn import functional

import audit
from audit.conformance.views import ArrayView
from audit.errors import ConfigError, UnavailableError
from audit.units.ablation import silenced
from audit.units.ablation_orders import (
    Ranked,
    check_varied,
    chosen_orders,
    permutation,
    put_in_order,
)
from audit.units.cumulative import cumulative
from audit.units.curves import Plan, Resampled, ablated_counts, area, area_table, difference_table
from audit.units.importance import CRITERIA, UnitEvidence, criterion
from audit.units.masked import Outcomes
from audit.units.verdict import judge

SIZE = {"input_size": [1, 32, 32]}


def seeded(make):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make()


def network(n_units=5):
    return nn.Sequential(
        nn.Conv2d(2, n_units, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Flatten(),
        nn.Linear(36 * n_units, 3),
    ).eval()


@pytest.fixture
def view():
    batch = torch.randn(9, 2, 6, 6, generator=torch.Generator().manual_seed(3))
    return ArrayView(seeded(network), batch, np.arange(9) % 3, layers=("1",), batch_size=4)


@pytest.fixture
def evidence(view):
    return UnitEvidence(view, view.specs()[0], "cubical")


def score(name, evidence):
    return CRITERIA[name].score(evidence)


def activations(view):
    with torch.inference_mode():
        return view.module[:2](view._images.clone()).double().numpy()


# Criteria, each by its definition.


def test_criteria_of_activations_are_what_they_say(view, evidence):
    maps = activations(view)
    np.testing.assert_allclose(score("apoz", evidence), (maps == 0).mean((0, 2, 3)))
    np.testing.assert_allclose(score("mean_activation", evidence), maps.mean((0, 2, 3)), rtol=1e-6)
    means = np.stack([maps[view.labels == label].mean((0, 2, 3)) for label in range(3)])
    ordered = np.sort(means, axis=0)
    most, rest = ordered[-1], ordered[:-1].mean(0)
    index = (most - rest) / (most + rest)
    np.testing.assert_allclose(score("class_selectivity", evidence), index, rtol=1e-5)
    assert ((index >= 0) & (index <= 1)).all()


def test_class_selectivity_is_undefined_where_it_has_no_meaning(view):
    with torch.no_grad():
        view.module[0].weight[1], view.module[0].bias[1] = 0, -1
    found = score("class_selectivity", UnitEvidence(view, view.specs()[0]))
    assert np.isnan(found).tolist() == [False, True, False, False, False]
    signed = ArrayView(view.module, view._images, view.labels, layers=("0",))
    found = score("class_selectivity", UnitEvidence(signed, signed.specs()[0]))
    assert np.isnan(found[1])
    one = ArrayView(view.module, view._images, np.zeros(9, int), layers=("1",))
    with pytest.raises(UnavailableError, match="compares classes, and the sample has one"):
        score("class_selectivity", UnitEvidence(one, one.specs()[0]))


def test_l1_norm_is_of_the_filters_that_write_the_units(view, evidence):
    weight = view.module[0].weight
    np.testing.assert_allclose(score("l1_norm", evidence), weight.abs().sum((1, 2, 3)), rtol=1e-6)


def test_l1_norm_of_transposed_convolutions_goes_by_their_outputs():
    network = seeded(lambda: nn.Sequential(nn.ConvTranspose2d(4, 6, 2, 2, groups=2, bias=False)))
    view = ArrayView(network, torch.randn(2, 4, 4, 4), [0, 1], layers=("0",))
    found = score("l1_norm", UnitEvidence(view, view.specs()[0]))
    one = torch.zeros(1, 4, 1, 1)
    by_input = []
    for channel in range(4):  # what each input writes into each unit
        one.zero_()[0, channel] = 1
        with torch.inference_mode():
            by_input.append(network(one)[0].abs().sum((1, 2)))
    np.testing.assert_allclose(found, torch.stack(by_input).sum(0), rtol=1e-5)


def test_l1_norm_of_a_layer_that_nothing_writes_is_unavailable():
    network = nn.Sequential(nn.PixelUnshuffle(2), nn.Flatten(), nn.Linear(64, 2)).eval()
    view = ArrayView(network, torch.randn(2, 1, 8, 8), [0, 1], layers=("0",))
    with pytest.raises(UnavailableError) as caught:
        score("l1_norm", UnitEvidence(view, view.specs()[0]))
    assert str(caught.value) == (
        "no convolution or linear map with 4 outputs is called before layer '0' gives its 4 units"
    )


def test_taylor_is_the_slope_of_the_loss_along_each_unit(view, evidence):
    labels, step = torch.from_numpy(view.labels), 1e-4
    network = view.module.double()
    batch = view._images.double()
    with torch.inference_mode():
        maps = network[:2](batch.clone())

        def losses(unit, factor):
            scaled = maps.clone()
            scaled[:, unit] *= factor
            return functional.cross_entropy(network[2:](scaled), labels, reduction="none")

        slopes = [(losses(u, 1 + step) - losses(u, 1 - step)) / (2 * step) for u in range(5)]
    view.module.float()
    np.testing.assert_allclose(evidence.effects, torch.stack(slopes, 1), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(
        score("taylor", evidence), torch.stack(slopes).abs().mean(1), rtol=1e-4
    )
    assert not any(parameter.requires_grad for parameter in view.module.parameters())


def test_taylor_is_unavailable_where_nothing_can_be_differentiated():
    class Rounded(nn.Module):
        def forward(self, maps):
            with torch.no_grad():
                return maps.mean((2, 3))

    network = nn.Sequential(nn.Conv2d(1, 3, 1), Rounded()).eval()
    view = ArrayView(network, torch.randn(2, 1, 4, 4), [0, 1], layers=("0",))
    with pytest.raises(UnavailableError, match=r"^what follows layer '0' cannot be different"):
        score("taylor", UnitEvidence(view, view.specs()[0]))


def test_feature_entropy_is_the_mean_of_the_unit_table_and_has_none_of_uninformative_units():
    network = seeded(lambda: timm.create_model("test_resnet", num_classes=10, in_chans=1))
    options = {"images_per_class": 4, "transform": SIZE, "device": "cpu", "filtration": "cubical"}
    table = audit.unit_table(network, "digits", "layer1", **options)
    found = audit.cumulative_ablation(
        network, "digits", "layer1", ["feature_entropy"], 2, n_bootstrap=10, **options
    )
    mean = table.groupby("unit")["feature_entropy"].mean().to_numpy()
    informative = mean >= 0.1
    [highest_first] = found.orders["feature_entropy:highest"]
    n_undefined = int((~informative).sum())
    assert set(found.areas["n_undefined"]) == {n_undefined}
    assert set(highest_first[:n_undefined]) == set(np.flatnonzero(~informative))
    assert (np.diff(mean[highest_first[n_undefined:]]) <= 0).all()
    [lowest_first] = found.orders["feature_entropy:lowest"]
    assert set(lowest_first[len(mean) - n_undefined :]) == set(np.flatnonzero(~informative))


def test_feature_entropy_of_units_that_are_never_born_is_undefined(view):
    with torch.no_grad():
        view.module[0].weight[1], view.module[0].bias[1] = 0, 1  # one value everywhere
        view.module[0].weight[2], view.module[0].bias[2] = 0, -1  # zero everywhere
    found = score("feature_entropy", UnitEvidence(view, view.specs()[0], "cubical"))
    assert np.isnan(found[[1, 2]]).all()
    assert np.isfinite(found[[0, 3, 4]]).any()


def test_feature_entropy_needs_a_filtration_for_the_shape_of_maps():
    network = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1))
    view = ArrayView(network, torch.randn(2, 1, 12, 9), [0, 1], layers=("0",))
    with pytest.raises(UnavailableError) as caught:
        score("feature_entropy", UnitEvidence(view, view.specs()[0], "clique"))
    assert str(caught.value) == (
        "the clique filtration needs square feature maps, and no layer has them"
    )


def test_a_new_order_is_one_small_function(view):
    @criterion("number of the unit", least="lowest")
    def number(evidence):
        return np.arange(evidence.n_units, dtype=float)

    try:
        found = cumulative(view, chosen_orders(["number:highest"]), 5, n_bootstrap=10)
    finally:
        del CRITERIA["number"]
    assert found.orders["number:highest"].tolist() == [[4, 3, 2, 1, 0]]
    assert found.curves["n_ablated"].tolist() == [0, 1, 2, 3, 4, 5]


# Orders.

values = npst.arrays(
    np.float64, st.integers(1, 12), elements=st.sampled_from([0.0, 1.0, 2.0, np.nan])
)


@settings(deadline=None)
@given(values, st.sampled_from(["apoz:highest", "apoz:lowest", "taylor:highest", "taylor:lowest"]))
def test_orders_are_permutations_with_undefined_units_at_the_least_important_end(values, name):
    [order] = chosen_orders([name])
    ties = np.random.default_rng(0).random(len(values))
    found = permutation(values, order, ties)
    assert sorted(found) == list(range(len(values)))
    undefined = np.isnan(values[found])
    n = undefined.sum()
    assert undefined[:n].all() if order.least_first else undefined[len(values) - n :].all()
    known = values[found][~undefined]
    assert (np.diff(known) <= 0).all() if order.first == "highest" else (np.diff(known) >= 0).all()


@settings(deadline=None)
@given(values)
def test_orders_follow_their_units_to_other_numbers(values):
    order = chosen_orders(["apoz:lowest"])[0]
    ties = np.random.default_rng(0).random(len(values))
    moved = np.random.default_rng(1).permutation(len(values))
    assert (
        moved[permutation(values[moved], order, ties[moved])] == permutation(values, order, ties)
    ).all()


def test_ties_are_in_no_order_of_their_numbers():
    order = chosen_orders(["apoz:lowest"])[0]
    found = permutation(np.zeros(30), order, np.random.default_rng(0).random(30))
    assert found.tolist() != sorted(found)


@pytest.mark.parametrize(
    ("orders", "message"),
    [
        (
            ["apos"],
            "unknown order of units 'apos'; did you mean 'apoz'? known: " + ", ".join(CRITERIA),
        ),
        (["apoz:first"], "order of units 'apoz:first': apoz may be apoz:highest or apoz:lowest"),
        (["random:highest"], "order of units 'random:highest': random has no ends"),
    ],
)
def test_orders_that_are_unknown_are_named(orders, message):
    with pytest.raises(ConfigError) as caught:
        chosen_orders(orders)
    assert str(caught.value) == message


def test_every_criterion_is_tried_from_both_ends_by_default():
    names = [order.name for order in chosen_orders()]
    assert names[:2] == ["feature_entropy:highest", "feature_entropy:lowest"]
    assert len(names) == 2 * len(CRITERIA) - 1
    assert [order.name for order in chosen_orders(["apoz", "apoz:highest"])] == names[4:6]


def test_orders_that_do_not_exist_say_why(evidence, view):
    signed = ArrayView(view.module, view._images, view.labels, layers=("0",), batch_size=9)
    found = UnitEvidence(signed, signed.specs()[0])
    ranked = put_in_order(chosen_orders(["apoz", "random"]), found, 3, np.arange(5.0))
    assert [len(one.units) for one in ranked] == [0, 0, 3]
    assert ranked[0].reason == "apoz is 0 for each of the 5 units, which gives no order"
    with pytest.raises(UnavailableError) as caught:
        cumulative(signed, chosen_orders(["apoz"]), n_bootstrap=10)
    assert str(caught.value) == (
        "the units of layer '0' have none of these orders: apoz is 0 for each of the 5 units, "
        "which gives no order"
    )
    with pytest.raises(UnavailableError, match=r"^x has no value for any of the 2 units$"):
        check_varied(np.full(2, np.nan), "x")
    check_varied(np.array([1.0, np.nan]), "x")


# Curves and areas.


@settings(deadline=None)
@given(st.integers(1, 600), st.integers(1, 40))
def test_ablated_counts_go_from_none_to_all(n_units, steps):
    counts = ablated_counts(n_units, steps)
    assert (counts[0], counts[-1]) == (0, n_units)
    assert len(counts) == min(steps, n_units) + 1
    assert (np.diff(counts) >= 1).all()
    assert np.ptp(np.diff(counts)) <= 1


curves = st.integers(2, 9).flatmap(
    lambda n: st.tuples(
        npst.arrays(np.float64, n, elements=st.floats(0, 1)),
        st.lists(st.integers(1, 20), min_size=n - 1, max_size=n - 1),
    )
)


@settings(deadline=None)
@given(curves)
def test_areas_lie_between_the_least_and_the_greatest_value(drawn):
    curve, steps = drawn
    counts = np.concatenate([[0], np.cumsum(steps)])
    found = float(area(curve, counts))
    assert curve.min() - 1e-12 <= found <= curve.max() + 1e-12
    mirrored = float(area(curve[::-1], counts[-1] - counts[::-1]))
    assert found == pytest.approx(mirrored)
    assert float(area(1 - curve, counts)) == pytest.approx(1 - found)
    assert float(area(curve, 3 * counts)) == pytest.approx(found)


def test_area_of_a_straight_line_is_its_middle():
    assert float(area(np.linspace(1, 0, 5), np.array([0, 2, 4, 6, 8]))) == pytest.approx(0.5)
    steps = area(np.array([1.0, 1.0, 0.0, 0.0]), np.array([0, 4, 6, 10]))
    assert float(steps) == pytest.approx(0.5)


def ranked_by(**orders):
    """`Ranked` of permutations, by criterion."""
    found = []
    for name, units in orders.items():
        [order] = chosen_orders([name.replace("__", ":")])
        found.append(Ranked(order, np.atleast_2d(units)))
    return found


@settings(deadline=None)
@given(st.integers(1, 8), st.integers(1, 9), st.integers(0, 5))
def test_plans_hold_every_set_once_and_each_step_adds_units(n_units, steps, seed):
    rng = np.random.default_rng(seed)
    ranked = ranked_by(
        apoz__highest=rng.permutation(n_units),
        random=np.stack([rng.permutation(n_units) for _ in range(3)]),
    )
    counts = ablated_counts(n_units, steps)
    plan = Plan(ranked, counts, n_units)
    assert len(np.unique(plan.masks, axis=0)) == len(plan.masks)
    for one in ranked:
        for draw, positions in enumerate(plan.positions[one.order.name]):
            masks = plan.masks[positions]
            assert masks.sum(1).tolist() == counts.tolist()
            assert (masks[1:] >= masks[:-1]).all()
            for mask, count in zip(masks, counts, strict=True):
                assert set(np.flatnonzero(mask)) == set(one.units[draw, :count])


def resampled_of(ranked, correct, counts, n_bootstrap=400):
    """`Resampled` of answers: mask → which images are right."""
    plan = Plan(ranked, counts, counts[-1])
    right = np.array([correct(mask) for mask in plan.masks], bool)
    found = Outcomes(right, np.where(right, 0, 1).astype(np.float32), 1, 1, "")
    return Resampled(found, plan, counts, n_bootstrap, seed=0)


def test_intervals_of_areas_are_those_of_a_mean_over_images():
    ranked = ranked_by(apoz__highest=[0, 1], apoz__lowest=[1, 0])
    rng = np.random.default_rng(0)
    kept = {0: rng.random(200) < 0.8, 1: rng.random(200) < 0.3}

    def correct(mask):
        return {0: np.ones(200, bool), 2: np.zeros(200, bool)}.get(mask.sum(), kept[mask.argmax()])

    found = resampled_of(ranked, correct, np.array([0, 1, 2]), n_bootstrap=2000)
    areas = area_table(found, ranked)
    for row, unit in zip(areas.itertuples(), (0, 1), strict=True):
        each = 0.25 + kept[unit] / 2  # area of each image's own curve
        assert row.accuracy == pytest.approx(each.mean())
        half = 1.96 * each.std() / np.sqrt(200)
        assert row.accuracy_upper - row.accuracy_lower == pytest.approx(2 * half, rel=0.1)
        assert row.loss == pytest.approx(1 - each.mean())
    differences = difference_table(found, ranked).set_index(["order", "other"])
    row = differences.loc[("apoz:highest", "apoz:lowest")]
    each = (kept[0].astype(float) - kept[1]) / 2
    assert row["accuracy"] == pytest.approx(each.mean())
    half = 1.96 * each.std() / np.sqrt(200)
    assert row["accuracy_upper"] - row["accuracy_lower"] == pytest.approx(2 * half, rel=0.1)


def test_intervals_of_a_drawn_order_hold_the_spread_of_its_draws():
    draws = np.array([[0, 1], [1, 0], [0, 1], [0, 1]])
    ranked = ranked_by(random=draws)

    def correct(mask):
        return np.full(50, mask.sum() == 0 or (mask.sum() == 1 and mask[1]))

    found = area_table(resampled_of(ranked, correct, np.array([0, 1, 2])), ranked)
    row = found.iloc[0]
    assert row["accuracy"] == pytest.approx(0.25 + 0.5 / 4)
    assert row["accuracy_lower"] == pytest.approx(0.25)
    assert row["accuracy_upper"] >= 0.25 + 0.5 / 2


# The verdict.


def judged(**kept):
    """The verdict where an order has so many right images of 400 at its middle step."""
    ranked = ranked_by(
        **{name: [number, *np.delete(np.arange(9), number)] for number, name in enumerate(kept)}
    )
    shares = list(kept.values())
    draws = np.random.default_rng(0).random(400)

    def correct(mask):
        if mask.sum() in (0, 9):
            return np.full(400, mask.sum() == 0)
        return draws < shares[mask.argmax()]

    found = resampled_of(ranked, correct, np.array([0, 1, 9]))
    areas, differences = area_table(found, ranked), difference_table(found, ranked)
    return judge([one.order for one in ranked], areas, differences)


def test_verdict_holds_where_entropy_is_best_of_all():
    verdict = judged(
        feature_entropy__highest=0.9, feature_entropy__lowest=0.1, apoz__lowest=0.5, random=0.6
    )
    assert verdict.word == "holds"
    assert "not shown" not in verdict.sentence
    assert "; the first less the last +0.385 [" in verdict.sentence


def test_verdict_holds_weakly_where_a_rival_is_as_good():
    verdict = judged(
        feature_entropy__highest=0.8, feature_entropy__lowest=0.2, apoz__lowest=0.8, random=0.5
    )
    assert verdict.word == "holds weakly"
    assert verdict.sentence.endswith(
        "; not shown to hurt more than feature_entropy:highest: apoz:lowest"
    )


@pytest.mark.parametrize(
    "kept",
    [
        {"feature_entropy__highest": 0.3, "feature_entropy__lowest": 0.7},
        {"feature_entropy__highest": 0.8, "feature_entropy__lowest": 0.2, "random": 0.9},
        {"feature_entropy__highest": 0.8, "feature_entropy__lowest": 0.2, "random": 0.1},
        {"feature_entropy__highest": 0.5, "feature_entropy__lowest": 0.5},
    ],
)
def test_verdict_does_not_hold_where_the_direction_is_not_shown(kept):
    assert judged(**kept).word == "does not hold here"


def test_verdict_is_undefined_without_both_orders_or_anything_to_lose():
    assert judged(apoz__highest=0.5, random=0.2).word == "undefined"
    orders = chosen_orders(["feature_entropy"])
    areas = pd.DataFrame({"order": [order.name for order in orders], "reason": ["none", "none"]})
    assert judge(orders, areas, pd.DataFrame()) == ("undefined", "none")
    areas["reason"] = ""
    assert judge(orders, areas, pd.DataFrame(), is_guessing=True).sentence == (
        "the network is not told from guessing before any unit is gone"
    )


def test_silenced_masks_one_axis():
    found = silenced(torch.ones(2, 3, 4), torch.tensor([True, False, False, True]), -1)
    assert found.sum(dim=(0, 1)).tolist() == [0, 6, 6, 0]


# The entrance for users.


def test_docs_list_every_criterion():
    page = (Path(__file__).parents[2] / "docs" / "ablation.md").read_text("utf-8")
    rows = re.findall(r"^\| `(\w+)` \| .+ \| (highest|lowest|–) \|", page, re.MULTILINE)
    assert rows == [(name, "–" if c.drawn else c.least) for name, c in CRITERIA.items()]


def test_cumulative_ablation_is_the_same_in_memory_and_on_disk(tmp_path, monkeypatch):
    from audit.network.saving import write_weights

    monkeypatch.setattr("os.fsync", lambda number: None)
    network = seeded(lambda: timm.create_model("test_resnet", num_classes=10, in_chans=1)).train()
    path = tmp_path / "network.safetensors"
    write_weights(network, path, {})
    named = {
        "model": "test_resnet",
        "model_args": {"num_classes": 10, "in_chans": 1},
        "weights": str(path),
    }
    options = {"images_per_class": 2, "transform": SIZE, "device": "cpu", "n_bootstrap": 20}
    orders = ["l1_norm", "random"]
    found = audit.cumulative_ablation(network, "digits", "layer2", orders, 3, **options)
    again = audit.cumulative_ablation(named, "digits", "layer2", orders, 3, **options)
    pd.testing.assert_frame_equal(found.curves, again.curves)
    assert network.training
    assert found.n_images == 20
    assert found.verdict == "undefined"
    assert found.orders["random"].shape == (5, 48)
    # all units at zero: whatever the order, the network says one thing of all images
    last = found.curves[found.curves["n_ablated"] == 48]
    assert last["accuracy"].nunique() == 1
    assert last["accuracy"].iloc[0] == 0.1


def test_cumulative_ablation_takes_the_order_of_the_head_s_classes():
    network = seeded(lambda: timm.create_model("test_resnet", num_classes=10, in_chans=1))
    options = {"images_per_class": 2, "transform": SIZE, "device": "cpu", "n_bootstrap": 10}
    names = [str(number) for number in range(10)]
    orders = ["l1_norm:lowest"]
    found = audit.cumulative_ablation(network, "digits", "layer2", orders, 1, **options)
    turned = audit.cumulative_ablation(
        network, "digits", "layer2", orders, 1, class_order=names[::-1], **options
    )
    assert not found.curves["loss"].equals(turned.curves["loss"])
    with pytest.raises(ConfigError, match=r'^class_order = "checkpoint" needs a weights file; '):
        audit.cumulative_ablation(
            network, "digits", "layer2", orders, class_order="checkpoint", **options
        )


@pytest.mark.parametrize(
    ("layer", "more", "message"),
    [
        ("laier2", {}, "unknown layer 'laier2'; did you mean 'layer2'"),
        ("layer*", {}, "the units of one layer are ablated at a time; name one of 'layer1.0.conv"),
        ("layer2", {"steps": 0}, "steps must be at least 1; found 0"),
        ("layer2", {"draws": 0}, "draws must be at least 1; found 0"),
        ("layer2", {"n_bootstrap": 0}, "n_bootstrap must be at least 1; found 0"),
        ("layer2", {"filtration": "rips"}, "unknown filtration 'rips'"),
    ],
)
def test_cumulative_ablation_refuses_what_it_cannot_do(layer, more, message):
    network = timm.create_model("test_resnet", num_classes=10, in_chans=1)
    options = {"images_per_class": 2, "transform": SIZE, "device": "cpu", **more}
    with pytest.raises(ConfigError) as caught:
        audit.cumulative_ablation(network, "digits", layer, **options)
    assert str(caught.value).startswith(message)
