"""The scaling benchmark: its fits, its simulated store, its counts, and the page made of them."""

import dataclasses
import json
import os
import time

import numpy as np
import pytest

from audit.plugin import EngineEntry
from audit.store import Store
from benchmarks.scaling import cost, hub, hub_tables, page, simulation, store, workers
from benchmarks.scaling.fits import exponent, line
from benchmarks.scaling.simulation import Limiter, Load, Simulation, saturation
from benchmarks.scaling.timed import Ran, timing
from benchmarks.scaling.traffic import counted


def test_exponent_finds_the_power_and_covers_it():
    counts = np.array([10, 20, 40, 80, 160])
    noise = np.random.default_rng(0).normal(0, 0.02, 5)
    slope = exponent(counts, 3 * counts**1.5 * np.exp(noise))
    assert slope.low < 1.5 < slope.high
    assert slope.value == pytest.approx(1.5, abs=0.05)
    assert not slope.is_linear


def test_exponent_of_two_points_has_no_interval():
    slope = exponent([1, 2], [5, 10])
    assert slope.value == pytest.approx(1)
    assert np.isnan(slope.low)


def test_exponent_refuses_costs_that_have_no_logarithm():
    with pytest.raises(ValueError, match="a power law needs positive counts and costs"):
        exponent([1, 2, 3], [1, 0, 1])


def test_line_finds_fixed_and_growing_cost():
    assert line([10, 20, 40], [7, 12, 22]) == pytest.approx((2, 0.5))


def test_limiter_serves_a_second_at_once_and_its_rate_from_then_on():
    limiter = Limiter(10)
    assert sum(limiter.takes(0.0) for _ in range(100)) == 10
    assert sum(limiter.takes(0.5) for _ in range(100)) == 5
    assert sum(limiter.takes(60.0) for _ in range(100)) == 10


def test_simulation_obeys_littles_law():
    found = Simulation(Load(10, 5, 1.0), workers=150, each=8).run()
    assert found["in_flight"] == pytest.approx(
        found["requests_per_second"] * found["mean_request"], rel=0.05
    )


def test_simulation_of_few_workers_is_not_held_up_by_the_store():
    load = Load(10, 10, 2.0)
    found = Simulation(load, workers=20, each=20).run()
    mean_latency = simulation.LATENCY * np.exp(simulation._SPREAD**2 / 2)
    assert found["refused"] == 0
    assert found["utilisation"] == pytest.approx(2 / (2 + 20 * mean_latency), rel=0.05)


def test_simulation_saturates_at_the_rate_of_the_store(monkeypatch):
    monkeypatch.setattr(simulation, "WRITES_PER_SECOND", 50.0)
    load = Load(0, 10, 1.0)
    assert saturation(load) == pytest.approx(5 * 1.3)
    found = Simulation(load, workers=40, each=12).run()
    assert found["refused"] > 0.2
    assert found["requests_per_second"] <= 51 + 50 / found["seconds"]
    assert found["checkpoints_per_second"] == pytest.approx(5, rel=0.25)
    assert found["utilisation"] < 0.3


def test_traffic_counts_what_a_store_is_asked(tmp_path):
    kept = Store(tmp_path)
    with counted() as seen:
        kept.get({"measure": "a"})
        kept.put({"measure": "a"}, {"x": np.zeros(4)})
        kept.get({"measure": "a"})
        kept.has({"part": "b"})
        kept.note({"stage": "passes"})
    kept.get({"measure": "a"})
    assert (seen.found, seen.missed, seen.missed_measures) == (1, 2, 1)
    assert (seen.written, seen.noted, seen.bytes_written) == (1, 1, 32)
    assert seen.reads == 3


def test_timed_engine_hands_results_on_and_says_when_they_ran():
    def run(function, tasks, n_workers, options):
        for position, task in enumerate(tasks):
            yield position, ValueError("broken") if task == 2 else function(task)

    engine = EngineEntry(name="here", summary="here", version="1", run=run)
    ran = []
    outcomes = dict(timing(engine, ran).run(abs, [-1, 2, -3], 0, {}))
    assert (outcomes[0], outcomes[2]) == (1, 3)
    assert isinstance(outcomes[1], ValueError)
    assert [one.worker for one in ran] == [os.getpid()] * 2
    assert all(one.began <= one.ended <= time.time() for one in ran)


def test_timed_engine_is_watched_as_the_engine_is():
    def run(function, tasks, n_workers, options, watch):
        watch({0: 1.0})
        yield 0, function(tasks[0])

    engine = EngineEntry(name="here", summary="here", version="1", run=run, watched=True)
    seen = []
    assert dict(timing(engine, []).run(abs, [-1], 0, {}, seen.append)) == {0: 1}
    assert seen == [{0: 1.0}]


def test_parts_of_a_run_add_up():
    ran = [Ran(1, 3, 8), Ran(1, 8, 10), Ran(2, 3, 7), Ran(2, 7, 9)]
    parts = workers.parts(ran, began=1, ended=10.5)
    assert parts == {"start": 2, "first": 2.5, "task": 2, "waiting": 0.5, "driver": 0.5}


def test_store_of_made_up_entries_is_whole(tmp_path):
    kept = Store(tmp_path)
    store.grow(kept, 0, 30)
    assert kept.verify() == (30, 0)
    assert kept.having([store.made_up_key(29), store.made_up_key(30)]) == [True, False]


def rows_of(coefficients, names=("a", "b", "c", "d", "e", "f", "g")):
    """Audits whose seconds follow the model exactly."""
    generator = np.random.default_rng(1)
    for name in names:
        each = generator.uniform(1, 10, 5)
        for images in (1, 2):
            terms = [1.0, *(images * each[1:4]), each[4]]
            yield {"model": name, "terms": terms, "seconds": float(np.dot(coefficients, terms))}


def test_cost_model_predicts_networks_it_has_not_seen():
    wanted = [0.5, 2.0, 0.0, 1.5, 0.25]
    rows = list(rows_of(wanted))
    assert cost.fitted(rows) == pytest.approx(wanted, abs=1e-8)
    assert cost.held_back(rows) == pytest.approx(dict.fromkeys("abcdefg", 0.0), abs=1e-8)


def test_births_of_a_network_are_those_of_its_layers():
    network = cost.Network("n", 1.0, 1.0, 1.0, ((10, 4, 4), (5, 8, 2)))
    table = {"clique": {4.0: 2.0, 16.0: 8.0}, "cubical": {4.0: 1.0, 16.0: 1.0}}
    assert network.maps == 15
    assert cost.births_seconds(network, table) == pytest.approx(10 * (2 + 1) + 5 * 1)


@pytest.fixture(scope="module")
def kept():
    return json.loads(page.newest().read_text("utf-8"))


def test_page_has_the_tables_of_the_kept_answers(kept):
    text = page.PAGE.read_text("utf-8")
    assert page.rendered(text, kept) == text


def test_page_shows_every_table():
    text = page.PAGE.read_text("utf-8")
    names = {match[2] for match in page._PLACE.finditer(text)}
    assert names == {*page.TABLES, *page.OF_ALL}


def test_page_says_what_was_not_measured():
    place = "<!-- table: total -->\n1\n<!-- end -->\n<!-- table: workers -->\n<!-- end -->\n"
    assert page.rendered(place, {}).count("*Not measured yet.*") == 2


SIZES = {"gmacs": 4.0, "moutputs": 10.0, "mparameters": 25.0, "layers": [[64, 56, 56]]}
ANSWERS = {
    "cost": {
        "coefficients": dict.fromkeys(cost.TERMS, 0.1),
        "passes": 4.0,
        "store": {"fixed": 1000.0, "per_map": 2.0},
        "hub_networks": [{"name": name, **SIZES} for name in hub.MIX],
    },
    "simulation": {"loads": {"one listing": {"reads": 2, "writes": 32, "seconds": 30.0}}},
}


def test_totals_are_numbers_of_checkpoints_times_the_mean_bill():
    mean = hub.mixed(hub.bills_of(ANSWERS))
    total = hub_tables.total_table(ANSWERS).splitlines()[-1]
    cells = [float(cell.replace(",", "")) for cell in total.split("|")[2:-1]]
    assert cells[0] == pytest.approx(mean.device_seconds * 1e6 / 3600, rel=0.05)
    assert cells[3] == pytest.approx(mean.requests * 1e6, rel=0.05)
    assert cells[5] == pytest.approx(100.0)


def test_mean_bill_is_that_of_the_mix():
    bills = hub.bills_of(ANSWERS)
    mean = hub.mixed(bills)
    assert sum(hub.MIX.values()) == pytest.approx(1)
    assert mean.download_bytes == pytest.approx(
        sum(share * bills[name].download_bytes for name, share in hub.MIX.items())
    )
    assert mean.held_seconds == mean.device_seconds + mean.host_seconds


def test_bill_follows_from_its_factors():
    flat = {"clique": {8.0: 1e-6}, "cubical": {8.0: 1e-6}}
    measured = hub.Measured(
        coefficients={"fixed": 2, "gmacs": 0.1, "moutputs": 0.01, "maps": 3, "mparameters": 0.5},
        passes=4,
        gmacs_per_second=1000,
        host_image_seconds=0.001,
        store_fixed=1000,
        store_per_map=2,
        reads=30,
        writes=31,
        cpu_maps=flat,
        cuda_maps=flat,
    )
    network = cost.Network("n", gmacs=5, moutputs=10, mparameters=20, layers=((50, 8, 8),))
    found = dataclasses.asdict(hub.bill(network, measured, images=100))
    assert found == pytest.approx(
        {
            "device_seconds": 400 * 5 / 1000 + 100 * 50 * 2e-6,
            "host_seconds": 2 + 10 + 2 * 0.01 + 0.1,
            "cpu_seconds": 12 + 400 * (0.5 + 0.1) + 3 * 0.01,
            "download_bytes": 80e6,
            "data_bytes": 100 * hub.IMAGE_BYTES,
            "store_bytes": 1000 + 2 * 5000,
            "requests": 61 + 4,
        }
    )


def test_numbers_of_models_keep_their_order():
    numbers = list(hub.numbers_of_models().values())
    assert numbers == sorted(numbers)
    assert numbers[0] == hub.CLASSIFIERS_2022
