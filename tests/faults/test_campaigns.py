"""Each campaign with a small count; `GENAUDIT_CAMPAIGN=50` multiplies the counts by fifty.

The counts of the record are those of the environments of tox, such as `tox -e kills`.
"""

import os

from tests.campaigns import (
    benign,
    damaged,
    fuzz,
    hostile,
    io_faults,
    kills,
    maps_with_reference,
    relations,
    sweep,
    writers,
)

MORE = int(os.environ.get("GENAUDIT_CAMPAIGN", "1"))


def assert_none_failed(report, what, least):
    assert report.failures == []
    assert report.counts[what] >= least


def test_row_01_hostile_files_are_refused_and_run_nothing():
    report = hostile.run(60 * MORE, 1)
    assert_none_failed(report, "files", 60)
    if MORE > 5:
        assert report.counts["files"] >= 300
        assert sum(name.startswith("family") for name in report.counts) >= 12


def test_row_07_benign_files_load_without_an_opt_out():
    assert_none_failed(benign.run(12 * MORE, 1), "shapes that load", 12)
    assert len(benign.SHAPES) >= 60


def test_row_05_parsers_read_changed_files_or_refuse_them_with_a_typed_error():
    report = fuzz.run(600 * MORE, 1)
    assert_none_failed(report, "typed errors", 100)
    assert {name.partition(": ")[0] for name in report.counts if ": files" in name} == {
        *fuzz.PARSERS
    }


def test_row_09_runs_that_are_killed_lose_nothing_and_come_to_the_same_bytes():
    assert_none_failed(kills.run(4 * MORE, 1), "kills", 4)


def test_row_11_every_refused_call_leaves_the_old_or_the_new():
    assert_none_failed(io_faults.run(150 * MORE, 1), "faults in the store's steps", 100)


def test_row_13_damaged_entries_are_never_a_wrong_answer():
    report = damaged.run(300 * MORE, 1)
    assert_none_failed(report, "misses", 200)
    for region in ("magic", "length", "header", "digest", "payload header", "payload"):
        assert report.counts[f"changed in the {region}"] >= 50


def test_row_14_sixteen_writers_without_locks_never_show_a_torn_entry():
    report = writers.run(30 * MORE, 1)
    assert_none_failed(report, "operations", 16 * 30)
    assert report.counts["torn reads"] == 0


def test_row_18_poisoned_checkpoints_cost_their_own_rows_alone():
    assert_none_failed(sweep.run(8, 1), "rows with a reason", 4)


def test_relations_hold_and_maps_have_the_births_of_the_reference():
    report = relations.run(4 * MORE, 1)
    assert_none_failed(report, "relations", 20)
    for name in relations.RELATIONS:
        assert report.counts[f"relation: {name}"] == 4 * MORE
    for kind in maps_with_reference.KINDS:
        assert report.counts[f"maps: {kind}"] >= 50 * MORE
