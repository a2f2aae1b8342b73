"""Shared passes: one forward run for all who ride on a rendition, and nobody pays for another."""

import gc
import math
import weakref

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from audit.conformance import ArrayView
from audit.data.renditions import FLIP, MIXED, SATURATION
from audit.errors import MeasureError, PluginError
from audit.measuring import passes
from audit.measuring._riders import chosen_rows
from audit.measuring.passes import GRADIENT_PASSES, Passes, planned_passes
from audit.measuring.view import Wanted
from audit.network.features import FeatureTap
from audit.plugin import (
    PLAIN,
    Alteration,
    FeatureReducer,
    GradientReducer,
    MapReducer,
    MeasureEntry,
    Rendition,
    ScoreReducer,
)
from audit.plugin.registry import installed


class Network(nn.Module):
    """One layer of maps, a mean over each, and a linear head; counts what it is given."""

    def __init__(self, channels=1, width=4):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.conv, self.head = nn.Conv2d(channels, width, 3, padding=1), nn.Linear(width, 3)
        self.relu = nn.ReLU()
        self.seen = []

    def forward(self, images):
        if not self.training:
            self.seen.append(len(images))
        images.add_(0.0)  # in place, on whatever it is given
        return self.head(self.relu(self.conv(images)).mean((2, 3)))


def view_of(n=20, channels=1, batch_size=8, reducers=(), filtrations=(), module=None):
    images = torch.rand(n, channels, 8, 8, generator=torch.Generator().manual_seed(1))
    labels = np.arange(n) * 3 // n
    view = ArrayView(module or Network(channels), images, labels, batch_size=batch_size)
    view._wanted = Wanted(filtrations, False, tuple(reducers))
    return view


def noting(kind, renditions=(PLAIN,)):
    """A reducer that notes the rows and numbers it is given."""

    class Noting(kind):
        def __init__(self, view):
            self.noted = []

        def update(self, batch, *what):
            value = what[-1]
            if isinstance(value, dict):
                value = value["head.bias"]
            self.noted.append((batch.rendition, batch.rows.tolist(), value.clone()))

    Noting.renditions = renditions
    return Noting


def forwarded(view):
    """Images that went through the network, but for probes of a few."""
    return sum(n for n in view.module.seen if n not in (1, 2, 5))


def test_all_who_ride_on_the_sample_share_one_pass():
    maps, features, scores = (noting(k) for k in (MapReducer, FeatureReducer, ScoreReducer))
    view = view_of(reducers=(maps, features, scores), filtrations=("cubical", "clique"))
    view.logits()
    view.births("cubical")
    view.births("clique")
    found = [view.reduced(kind).noted for kind in (maps, features, scores)]
    assert forwarded(view) == view.n_forwarded == 20
    for noted in found:
        assert [row for _, rows, _ in noted for row in rows] == list(range(20))
    images = view._images
    hidden = view.module.relu(view.module.conv(images))
    torch.testing.assert_close(torch.cat([value for *_, value in found[0]]), hidden)
    torch.testing.assert_close(torch.cat([value for *_, value in found[1]]), hidden.mean((2, 3)))
    torch.testing.assert_close(torch.cat([v for *_, v in found[2]]).numpy(), view.logits())


def test_a_reducer_that_was_not_announced_has_a_pass_of_its_own():
    kind = noting(ScoreReducer)
    view = view_of()
    view.logits()
    view.reduced(kind)
    assert forwarded(view) == 40


@given(
    n=st.integers(1, 200),
    share=st.floats(0.01, 1.0),
    batch_size=st.integers(1, 50),
)
def test_a_share_is_evenly_spaced_whatever_the_batches(n, share, batch_size):
    rows = np.arange(n)
    used = chosen_rows(rows, share)
    parts = [chosen_rows(rows[k : k + batch_size], share) for k in range(0, n, batch_size)]
    assert np.array_equal(np.concatenate(parts), used)
    assert used[0]
    assert abs(used.sum() - n * share) <= 1
    gaps = np.diff(np.flatnonzero(used))
    assert gaps.size == 0 or gaps.max() - gaps.min() <= 1


def test_shares_of_one_rendition_are_passes_of_their_own():
    quarter = noting(ScoreReducer, (FLIP.on(1 / 4),))
    half = noting(ScoreReducer, (FLIP.on(1 / 2),))
    view = view_of(reducers=(quarter, half), batch_size=7)
    view.logits()
    for kind, step in ((quarter, 4), (half, 2)):
        noted = view.reduced(kind).noted
        assert [row for _, rows, _ in noted for row in rows] == list(range(0, 20, step))
        assert {rendition for rendition, *_ in noted} == set(kind.renditions)
        assert all(rows for _, rows, _ in noted)
    assert view.n_forwarded == 20 + 5 + 10


@pytest.mark.parametrize(("channels", "more"), [(1, 0), (3, 20)])
def test_renditions_that_are_alike_for_grey_images_are_run_once(channels, more):
    kind = noting(ScoreReducer, (PLAIN, SATURATION))
    view = view_of(reducers=(kind,), channels=channels)
    view.logits()
    assert view.n_forwarded == 20 + more
    renditions = [rendition.name for rendition, *_ in view.reduced(kind).noted]
    assert renditions == ["plain", "saturation"] * 3


def test_renditions_of_a_stretch_come_in_order():
    kind = noting(ScoreReducer, (PLAIN, FLIP))
    noted = view_of(reducers=(kind,)).reduced(kind).noted
    assert [rendition.name for rendition, *_ in noted] == ["plain", "flip"] * 3
    for (_, plain, _), (_, flipped, _) in zip(noted[::2], noted[1::2], strict=True):
        assert plain == flipped


def test_mixed_images_have_no_rows_and_all_pairs():
    kind = noting(ScoreReducer, (MIXED,))
    view = view_of(reducers=(kind,))
    view.logits()
    noted = view.reduced(kind).noted
    assert all(rows == [] for _, rows, _ in noted)
    assert sum(len(value) for *_, value in noted) == 20


def test_gradients_are_those_of_single_images():
    kind = noting(GradientReducer, (PLAIN.on(1 / 4),))
    view = view_of(reducers=(kind,))
    noted = view.reduced(kind).noted
    assert [row for _, rows, _ in noted for row in rows] == [0, 4, 8, 12, 16]
    probabilities = torch.from_numpy(view.logits()).softmax(1)[::4]
    expected = probabilities - nn.functional.one_hot(torch.from_numpy(view.labels[::4]), 3)
    torch.testing.assert_close(torch.cat([value for *_, value in noted]), expected)


def test_gradients_are_made_once_for_all_who_want_them_of_a_share(monkeypatch):
    made = []
    real = passes.image_gradients
    monkeypatch.setattr(
        passes,
        "image_gradients",
        lambda m, images, y: made.append(len(images)) or real(m, images, y),
    )
    kinds = [noting(GradientReducer, (PLAIN.on(share),)) for share in (1 / 4, 1 / 2, 1 / 2)]
    view = view_of(reducers=kinds, batch_size=3)
    view.logits()
    assert sum(made) == 20 / 4 + 20 / 2
    for kind, step in zip(kinds, (4, 2, 2), strict=True):
        noted = view.reduced(kind).noted
        assert [row for _, rows, _ in noted for row in rows] == list(range(0, 20, step))
        assert all(rows and len(rows) == len(value) for _, rows, value in noted)


def failing(where):
    """A reducer that raises on the way."""

    class Broken(Alteration):
        def feed(self, batch):
            if where == "feed":
                raise ValueError("in feed")
            yield batch

        def end(self):
            if where == "end":
                raise ValueError("in end")
            return ()

    def start(view):
        if where == "start":
            raise ValueError("in start")
        return Broken()

    def same_as(config):
        if where == "same_as":
            raise ValueError("in same_as")

    class Failing(ScoreReducer):
        renditions = (Rendition("broken", start=start, same_as=same_as),)

        def __init__(self, view):
            if where == "init":
                raise ValueError("in init")

        def update(self, batch, scores):
            if where == "update":
                raise ValueError("in update")

    return Failing


@pytest.mark.parametrize("where", ["init", "same_as", "start", "feed", "update", "end"])
def test_a_reducer_that_fails_costs_itself_alone(where):
    bad, good = failing(where), noting(ScoreReducer, (PLAIN, FLIP))
    view = view_of(reducers=(bad, good))
    assert view.logits().shape == (20, 3)
    assert len(view.reduced(good).noted) == 6
    for _ in range(2):
        with pytest.raises(ValueError, match=f"in {where}"):
            view.reduced(bad)


def test_activations_that_are_not_finite_fail_the_checkpoint_not_a_reducer():
    module = Network()
    module.conv.weight.data[0] = torch.inf
    view = view_of(filtrations=("cubical",), reducers=(noting(ScoreReducer),), module=module)
    with pytest.raises(MeasureError, match="layer relu gives activations that are not finite"):
        view.logits()


def test_nothing_is_left_behind():
    class Watching(MapReducer):
        def __init__(self, view):
            self.seen = []

        def update(self, batch, layer, maps):
            self.seen += [weakref.ref(maps), weakref.ref(batch.images)]

    view = view_of(reducers=(Watching, noting(FeatureReducer)), batch_size=4)
    before = view._images.clone()
    view.logits()
    gc.collect()
    # slices of the view's own images are made anew for each batch, and so are maps
    assert [ref() for ref in view.reduced(Watching).seen if ref() is not None] == []
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in view.module.modules())
    assert torch.equal(view._images, before)


def test_the_default_measures_take_four_and_a_half_passes_at_most():
    registry = installed()
    default = registry.select_measures()
    alone = registry.select_measures(
        ["feature_entropy.clique"], [name for name, e in registry.measures.items() if e.baseline]
    )
    assert planned_passes(default) == pytest.approx(4.45)
    assert planned_passes(alone) == 1


@pytest.mark.parametrize("channels", [1, 3])
def test_passes_are_as_planned(channels):
    default = installed().select_measures()
    view = view_of(n=60, channels=channels)
    view._wanted = Wanted.by(default)
    view.logits()
    planned = planned_passes(default, view.data_config)
    assert view.n_forwarded / 60 == pytest.approx(planned)
    assert planned == pytest.approx(4.45 if channels == 3 else 4.25)


def test_a_share_is_balanced_over_the_classes_of_a_sample():
    for per_class in (5, 8, 20):
        rows = np.flatnonzero(chosen_rows(np.arange(6 * per_class), 1 / 8))
        counts = np.bincount(rows // per_class, minlength=6)
        assert counts.max() - counts.min() <= 1


@pytest.mark.parametrize("share", [0, -0.1, 1.1, math.nan])
def test_a_share_outside_the_sample_is_refused(share):
    with pytest.raises(PluginError) as caught:
        FLIP.on(share)
    assert str(caught.value) == (
        f"rendition 'flip' must use a share of the sample in (0, 1]; found {share}"
    )


@settings(max_examples=20, deadline=None)
@given(
    n=st.integers(1, 20),
    shares=st.lists(st.sampled_from([0.07, 0.1, 1 / 8, 0.3, 0.5, 1.0]), min_size=1, max_size=3),
    batch_size=st.integers(1, 21),
    rendition=st.sampled_from([PLAIN, FLIP]),
)
def test_each_is_given_its_rows_and_what_is_done_for_it_is_counted(
    n, shares, batch_size, rendition
):
    kinds = [
        noting(kind, (rendition.on(share),))
        for share in shares
        for kind in (ScoreReducer, MapReducer, GradientReducer)
    ]
    view = view_of(n, batch_size=batch_size, reducers=kinds)
    for kind in kinds:
        used = np.flatnonzero(chosen_rows(np.arange(n), kind.renditions[0].share))
        noted = view.reduced(kind).noted
        assert [row for _, rows, _ in noted for row in rows] == used.tolist()
        assert all(len(rows) == len(value) > 0 for _, rows, value in noted)
    used = sum(chosen_rows(np.arange(n), share).sum() for share in set(shares))
    assert view.n_forwarded == n + used * (rendition != PLAIN) + GRADIENT_PASSES * used


@pytest.mark.parametrize("rendition", [PLAIN, FLIP, SATURATION])
@pytest.mark.parametrize("kind", [FeatureReducer, ScoreReducer, MapReducer, GradientReducer])
def test_numbers_do_not_depend_on_who_else_rides(rendition, kind):
    def noted(*others):
        view = view_of(n=80, batch_size=32, reducers=(one, *others), module=Network(width=64))
        return [value for *_, value in view.reduced(one).noted]

    one = noting(kind, (rendition.on(1 / 10),))
    others = [noting(ScoreReducer, (rendition,)), noting(MapReducer, (PLAIN.on(1 / 2),))]
    alone = noted()
    for among in (others, others[:1], [noting(GradientReducer, (rendition.on(1 / 2),))]):
        for expected, found in zip(alone, noted(*among), strict=True):
            assert expected.numpy().tobytes() == found.numpy().tobytes()


def test_a_forward_pass_runs_no_image_that_only_gradients_are_wanted_of():
    scores, gradients = (
        noting(ScoreReducer, (FLIP.on(1 / 10),)),
        noting(GradientReducer, (FLIP.on(1 / 2),)),
    )
    view = view_of(reducers=(scores, gradients))
    view.logits()
    assert view.n_forwarded == 20 + 2 + GRADIENT_PASSES * 10
    assert planned_passes([entry_of(scores, gradients)]) == pytest.approx(view.n_forwarded / 20)


def entry_of(*reducers, passes=0.0):
    return MeasureEntry(
        name="m",
        summary="",
        compute=lambda view: 0.0,
        version="1",
        direction="none",
        invariance="none",
        cost="forward",
        reducers=reducers,
        passes=passes,
    )


def test_planned_passes_add_gradients_of_each_rendition_and_own_passes():
    one = noting(GradientReducer, (PLAIN.on(0.1),))
    two = noting(GradientReducer, (PLAIN.on(0.2), FLIP.on(0.1)))
    half = noting(ScoreReducer, (FLIP.on(0.5),))
    assert planned_passes([entry_of(one)]) == pytest.approx(1.3)
    assert planned_passes([entry_of(one), entry_of(two, one)]) == pytest.approx(1 + 0.6 + 0.3 + 0.3)
    assert planned_passes([entry_of(half), entry_of(half), entry_of(passes=2.0)]) == 3.5


def test_planned_passes_count_what_a_reducer_runs_by_itself_once_for_all_who_share_it():
    costly = noting(ScoreReducer)
    costly.passes = 0.4
    assert planned_passes([entry_of(costly), entry_of(costly), entry_of(passes=1.0)]) == 2.4


def test_all_measures_that_need_no_gradients_take_six_and_a_half_passes_at_most():
    entries = [entry for entry in installed().measures.values() if entry.cost != "backward"]
    assert planned_passes(entries) <= 6.5


def test_a_plain_sample_comes_before_what_is_altered_however_declared():
    noted = view_of(reducers=(kind := noting(ScoreReducer, (FLIP, PLAIN)),)).reduced(kind).noted
    assert [rendition.name for rendition, *_ in noted] == ["plain", "flip"] * 3


def test_gradients_that_fail_cost_no_other_reducer():
    class Pair(nn.Module):
        """Takes no image alone."""

        def forward(self, images):
            if len(images) == 1:
                raise TypeError("one image alone")
            return images.mean((2, 3)).expand(-1, 3)

    bad, good = noting(GradientReducer), noting(ScoreReducer)
    view = view_of(reducers=(bad, good), module=Pair(), batch_size=10)
    assert len(view.reduced(good).noted) == 2
    with pytest.raises(TypeError, match="one image alone"):
        view.reduced(bad)


def test_what_is_essential_fails_the_passes():
    view = view_of()
    with pytest.raises(ValueError, match="in update"):
        Passes(view, view, {"key": failing("update")(view)}, frozenset({"key"})).run()


def test_features_that_need_a_second_pass_are_counted(monkeypatch):
    monkeypatch.setattr(
        "audit.network.features._timm_features", lambda module, images: images.mean((2, 3))
    )
    kind = noting(FeatureReducer)
    view = view_of(reducers=(kind,))
    view._tap = FeatureTap("")
    view.logits()
    assert view.n_forwarded == 40


def test_what_a_reducer_raised_holds_no_batch():
    bad = [failing(where) for where in ("same_as", "start", "feed", "update", "end")]
    view = view_of(reducers=bad)
    view.run()
    assert [type(error) for error in view._reduced.values()] == [ValueError] * 5
    held = set()
    for error in view._reduced.values():
        trace = error.__traceback__
        while trace is not None:
            held |= {name for name, value in trace.tb_frame.f_locals.items() if value is not None}
            trace = trace.tb_next
    assert held == set()
