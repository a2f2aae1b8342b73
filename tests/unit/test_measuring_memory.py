"""Memory: batches are halved where it runs out, and what grows with the sample is set down."""

import gc
import os
import threading
import weakref

import numpy as np
import pytest
import torch
from test_measuring_passes import Network, forwarded, noting, view_of
from test_views import digits, network, registry_of, subject_of

from audit.data.renditions import FLIP
from audit.errors import DataError, StoreError
from audit.measuring import _births, checkpoint
from audit.measuring._ahead import one_ahead
from audit.measuring._births import KeptBirths
from audit.measuring._spool import Spool
from audit.measuring.checkpoint import CheckpointView
from audit.measuring.view import Wanted
from audit.plugin import PLAIN, FeatureReducer, MapReducer, ScoreReducer
from audit.store import Store

OUT = "CUDA out of memory. Tried to allocate 2.00 GiB"
ERRORS = [
    torch.OutOfMemoryError(OUT),
    MemoryError("Unable to allocate 2.00 GiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory"),
]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("os.fsync", lambda number: None)


class Scarce(Network):
    """Has memory for so many images in a stage: "conv" before any maps, or "head" after them."""

    def __init__(self, where, most, error=ERRORS[0]):
        super().__init__()
        getattr(self, where).register_forward_pre_hook(self._refuse)
        self.most, self.error = most, error

    def _refuse(self, part, inputs):
        if len(inputs[0]) > self.most:
            raise self.error


KINDS = (MapReducer, FeatureReducer, ScoreReducer)


def taken(module, batch_size, n=20):
    """All that reducers and the view keep of a pass."""
    kinds = [noting(kind, renditions) for kind in KINDS for renditions in ((PLAIN,), (FLIP,))]
    view = view_of(n, batch_size=batch_size, reducers=kinds, module=module)
    view._wanted = Wanted(("cubical", "clique"), True, tuple(kinds))
    view.run()
    return view, [view.reduced(kind).noted for kind in kinds]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("where", ["conv", "head"])
def test_batches_are_halved_and_nobody_is_given_anything_twice(where, error, caplog):
    plain, expected = taken(Network(), 4)
    view, found = taken(Scarce(where, 5, error), 16)
    assert view.batch_size == 4
    assert [n for n in view.module.seen if n not in (1, 2, 5)][:2] == [16, 8]
    for one, two in zip(found, expected, strict=True):
        assert [row for _, rows, _ in one for row in rows] == list(range(20))
        assert [rows for _, rows, _ in one] == [rows for _, rows, _ in two]
        assert all(torch.equal(a, b) for (*_, a), (*_, b) in zip(one, two, strict=True))
    assert np.array_equal(view.logits(), plain.logits())
    assert np.array_equal(view.features(), plain.features())
    for filtration in ("cubical", "clique"):
        [one], [two] = view.births(filtration), plain.births(filtration)
        assert np.array_equal(one.birth_levels, two.birth_levels)
        assert np.array_equal(one.flags, two.flags)
    said = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert said == [
        f"arrays: memory did not suffice for {n} images at a time: {n // 2} taken ({error})"
        for n in (16, 8)
    ]
    assert view.notes == tuple(
        f"memory did not suffice for {n} images at a time: {n // 2} taken" for n in (16, 8)
    )


@pytest.mark.parametrize("kind", KINDS)
def test_memory_that_runs_out_in_a_reducer_halves_batches_too(kind):
    class Greedy(kind):
        def __init__(self, view):
            self.rows = []

        def update(self, batch, *what):
            self.rows += batch.rows.tolist()  # before it fails: it must not be asked again
            if len(batch.images) > 3:
                raise torch.OutOfMemoryError(OUT)

    other = noting(ScoreReducer)
    view = view_of(batch_size=8, reducers=(Greedy, other), filtrations=("cubical",))
    assert view.reduced(Greedy).rows == list(range(20))
    assert [row for _, rows, _ in view.reduced(other).noted for row in rows] == list(range(20))
    assert view.births("cubical")[0].birth_levels.shape == (20, 4)
    assert view.batch_size == 2


def test_memory_that_runs_out_in_the_births_halves_batches(monkeypatch):
    plain = view_of(filtrations=("cubical",), batch_size=4).births("cubical")[0]
    real = _births.birth_levels

    def scarce(maps, filtration):
        if len(maps) > 4:
            raise MemoryError
        return real(maps, filtration=filtration)

    monkeypatch.setattr(_births, "birth_levels", scarce)
    view = view_of(filtrations=("cubical",), batch_size=16)
    assert np.array_equal(view.births("cubical")[0].birth_levels, plain.birth_levels)
    assert view.batch_size == 4


def test_a_single_image_without_memory_fails_as_it_is():
    view = view_of(batch_size=8, module=Scarce("conv", 0))
    with pytest.raises(torch.OutOfMemoryError, match="Tried to allocate"):
        view.logits()
    assert view.batch_size == 1


def test_a_single_image_without_memory_costs_its_reducer_alone():
    class Greedy(ScoreReducer):
        def __init__(self, view): ...

        def update(self, batch, scores):
            raise torch.OutOfMemoryError(OUT)

    good = noting(ScoreReducer)
    view = view_of(batch_size=4, reducers=(Greedy, good))
    assert [row for _, rows, _ in view.reduced(good).noted for row in rows] == list(range(20))
    with pytest.raises(torch.OutOfMemoryError):
        view.reduced(Greedy)


def test_an_error_that_is_not_memory_is_raised_at_once(caplog):
    module = Scarce("conv", 5, RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    view = view_of(batch_size=16, module=module)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        view.logits()
    assert (view.batch_size, forwarded(view), caplog.records) == (16, 16, [])


def test_a_measures_own_pass_is_made_again_with_smaller_batches(monkeypatch):
    view = view_of(batch_size=8, module=Scarce("head", 3))
    sizes = view.within_memory(lambda: [len(view.scores(images)) for images, _ in view.batches()])
    assert sizes == [2] * 10


def test_what_ran_out_of_memory_is_let_go():
    view = view_of(batch_size=16, module=Scarce("head", 5))
    seen = []
    view.module.relu.register_forward_hook(lambda m, i, output: seen.append(weakref.ref(output)))
    view.logits()
    gc.collect()
    assert [ref() for ref in seen if ref() is not None] == []


# one step ahead


def test_steps_are_made_one_ahead_and_in_order():
    begun = []

    def step(number):
        begun.append(number)
        return number, threading.current_thread().name

    results = one_ahead(lambda number=number: step(number) for number in range(6))
    for expected in range(6):
        number, thread = next(results)
        assert number == expected
        assert thread.startswith("ahead")
        assert len(begun) <= expected + 2
    assert list(results) == []
    assert begun == list(range(6))


def test_what_a_step_raises_comes_in_its_turn_and_nothing_is_begun_after_it():
    begun = []

    def step(number):
        begun.append(number)
        if number == 2:
            raise DataError("image 2 is corrupt")
        return number

    results = one_ahead(lambda number=number: step(number) for number in range(6))
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(DataError, match="image 2 is corrupt"):
        next(results)
    assert begun == [0, 1, 2]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_nothing_is_at_work_after_an_exception(error, tmp_path, monkeypatch):
    def refuse(batch, *what):
        raise error("stop")

    monkeypatch.setattr(_births.BirthReducer, "update", lambda self, *what: refuse(*what))
    view = CheckpointView(
        subject_of(None, batch_size=2),
        Store(tmp_path),
        Wanted(("cubical",)),
        registry_of(network),
    )
    checkpoint.forget_prepared()
    with pytest.raises(error, match="stop"):
        view.run()
    assert [thread.name for thread in threading.enumerate() if "ahead" in thread.name] == []


def test_an_image_that_cannot_be_read_fails_after_the_batches_before_it(tmp_path, monkeypatch):
    checkpoint.forget_prepared()
    monkeypatch.setattr(checkpoint, "_KEEP_BYTES", 0)
    view = CheckpointView(
        subject_of(None, batch_size=4), Store(tmp_path), Wanted(), registry_of(network)
    )
    load = view._load

    def failing(start, stop):
        if start == 8:
            raise DataError("image 9 is corrupt")
        return load(start, stop)

    view._load = failing
    batches = view.batches()
    assert [len(next(batches)[0]) for _ in range(2)] == [4, 4]
    with pytest.raises(DataError, match="image 9 is corrupt"):
        next(batches)


@pytest.mark.parametrize("keep", [0, 1 << 30])
def test_every_image_is_decoded_once_where_there_is_room(tmp_path, monkeypatch, keep):
    checkpoint.forget_prepared()
    monkeypatch.setattr(checkpoint, "_KEEP_BYTES", keep)
    _, split = digits()
    loaded = []
    real = type(split).load
    monkeypatch.setattr(type(split), "load", lambda s, i: loaded.append(i) or real(s, i))

    def images():
        view = CheckpointView(
            subject_of(None), Store(tmp_path), Wanted(("clique",)), registry_of(network)
        )
        view.run()
        return torch.cat([images for images, _ in view.batches()])

    one = images()
    assert len(set(loaded)) == 30
    assert torch.equal(images(), one)
    assert (len(loaded) == 30) == bool(keep)


# what grows with the sample


def test_a_spool_gives_back_what_was_set_down(tmp_path):
    spool = Spool(tmp_path / "folder")
    rng = np.random.default_rng(0)
    parts = [rng.integers(0, 99, (size, 3, 2)).astype(np.int16) for size in (4, 1, 7)]
    for part in parts:
        spool.append("a", part)
        spool.append("b", part[:, 0, 0].astype(np.uint8))
    whole = np.concatenate(parts)
    for start, stop in ((0, 12), (3, 6), (11, 12), (5, 5)):
        assert np.array_equal(spool.read("a", start, stop), whole[start:stop])
        assert np.array_equal(spool.read("b", start, stop), whole[start:stop, 0, 0])
    assert spool.read("a").dtype == np.int16
    assert (spool.length("a"), spool.length("c")) == (12, 0)


def test_a_spool_leaves_no_file_and_no_descriptor(tmp_path):
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    spool = Spool(tmp_path)
    spool.append("a", np.ones((1000, 3)))
    assert os.name != "posix" or list(tmp_path.iterdir()) == []
    del spool
    gc.collect()
    assert list(tmp_path.iterdir()) == []
    if before:
        assert len(os.listdir("/proc/self/fd")) == before


def test_a_spool_that_cannot_be_written_says_where(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError) as caught:
        Spool(tmp_path / "file").append("a", np.ones(1))
    assert str(caught.value) == (
        f"a temporary file in {tmp_path / 'file'} cannot be used: File exists; free space there or "
        "choose another folder (--cache)"
    )


@pytest.fixture
def small_parts(monkeypatch):
    """Entries hold no more than the births of a few images."""
    monkeypatch.setattr(_births, "_BYTES_PER_PART", 2000)


def births_in(store, build=network):
    """The births of a view on this store, and how many images it ran."""
    view = CheckpointView(subject_of(None), store, Wanted(("cubical", "clique")), build)
    return {f: list(view.births(f)) for f in ("cubical", "clique")}, view


def same(one, two):
    return all(
        np.array_equal(a.birth_levels, b.birth_levels)
        and np.array_equal(a.flags, b.flags)
        and (a.layer, a.height, a.width, a.tied_rate) == (b.layer, b.height, b.width, b.tied_rate)
        for f in one
        for a, b in zip(one[f], two[f], strict=True)
    )


def test_births_in_many_entries_are_those_of_one(tmp_path, monkeypatch):
    whole, _ = births_in(Store(tmp_path / "one"), registry_of(network))
    monkeypatch.setattr(_births, "_BYTES_PER_PART", 2000)
    spooled, _ = births_in(Store(tmp_path / "many"), registry_of(network))
    store = Store(tmp_path / "many")
    kept, view = births_in(store, registry_of(lambda: 1 / 0))
    assert len(list(store.paths())) > len(list(Store(tmp_path / "one").paths()))
    assert view.n_forwarded == 0
    assert same(whole, spooled)
    assert same(whole, kept)


def test_births_are_made_again_where_one_of_many_entries_is_damaged(tmp_path, small_parts, caplog):
    store = Store(tmp_path)
    before, view = births_in(store, registry_of(network))
    path = store.path(view._subject.trace_key("cubical/2"))
    path.write_bytes(path.read_bytes()[:-1])
    after, view = births_in(store, registry_of(network))
    assert view.n_forwarded == 30
    assert same(before, after)
    assert "is damaged" in caplog.text
    _, view = births_in(store, registry_of(lambda: 1 / 0))
    assert view.n_forwarded == 0


def test_a_layer_is_read_when_it_is_asked_for(small_parts):
    view = view_of(n=40, filtrations=("cubical",))
    births = view.births("cubical")
    read = []
    kept = KeptBirths(births.meta, lambda number: read.append(number) or births.part(number))
    assert (len(kept), read) == (1, [])
    assert kept[-1].layer == births[0].layer
    assert read == list(range(kept.n_parts))
    assert [layer.layer for layer in kept[:1]] == [births[0].layer]
    with pytest.raises(IndexError):
        kept[1]
