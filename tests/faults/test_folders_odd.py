"""Output folders of strangers: every stage reads them, or refuses them with a typed error.

`GENAUDIT_CAMPAIGN` makes the leaves of `run.json` that are replaced all instead of some.
"""

import copy
import json
import os
import random
import re
import shutil

import numpy as np
import pandas as pd
import pytest

from audit.correlation.stage import correlate_folder
from audit.errors import AuditError, DataError
from audit.folder.record import read_run
from audit.folder.result import read_result
from audit.folder.unit_rows import folder_units
from audit.plugin.registry import installed
from audit.ranking.stage import rank_folder
from audit.runs.progress import read_progress
from audit.runs.reports import choose_reporters, recorded_choice, report_folder
from tests.campaigns.small_folder import SmallFolder

ALL = int(os.environ.get("GENAUDIT_CAMPAIGN", "1")) > 1
#: Of the cases that are read, so many go through the stages.
N_CASES, N_STAGED = 400, 3
DEEP = json.loads("[" * 500 + "]" * 500)
GONE = object()
VALUES = (None, -1, 1e308, "x", [], {}, DEEP, GONE)
SCRIPT = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The output folder of a small audit with accuracies and reports."""
    user = SmallFolder(tmp_path_factory.mktemp("odd") / "user", ("train_loss", "random"))
    user.write({name: {"seed": seed} for seed, name in enumerate(("one", "two", "three"))})
    (user.path / "held_out.csv").write_text(
        "checkpoint,held_out_accuracy,train_accuracy\none,0.5,0.9\ntwo,0.6,0.9\nthree,0.7,0.8\n"
    )
    config = (user.path / "audit.toml").read_text().replace('["json"]', '["json", "html"]')
    config = config.replace('"random"', '"random", "feature_entropy.cubical"')
    (user.path / "audit.toml").write_text(config + '\n[held_out]\ntable = "held_out.csv"\n')
    assert user.run().failed_reports == {}
    return user.path / "out"


@pytest.fixture
def folder(made, tmp_path):
    shutil.copytree(made, tmp_path / "out")
    return tmp_path / "out"


def places(value, place=()):
    """Every place in a value of JSON; of a list, those in its first entry."""
    if place:
        yield place
    if isinstance(value, dict | list):
        for name, child in value.items() if isinstance(value, dict) else enumerate(value[:1]):
            yield from places(child, (*place, name))


def put(content, place, value):
    """The content with another value at a place."""
    changed = copy.deepcopy(content)
    at = changed
    for name in place[:-1]:
        at = at[name]
    if value is GONE:
        del at[place[-1]]
    else:
        at[place[-1]] = value
    return changed


def report(folder):
    """Write the reports as the command does; none may fail."""
    result = report_folder(folder, choose_reporters(recorded_choice(folder), installed()))
    assert result.failed_reports == {}


def read(folder):
    """Read all that commands tell of a folder."""
    result = read_result(folder)
    return result.doubts, result.checkpoint_notes, result.notes, result.failed_reports


def refused(call, *given):
    """The typed error that a call ends with, or None."""
    try:
        call(*given)
    except AuditError as error:
        return error
    return None


def test_records_with_a_leaf_of_another_kind_are_read_or_refused(made, folder):
    record = json.loads((made / "run.json").read_text())
    cases = [(place, value) for place in places(record) for value in VALUES]
    assert len(cases) > N_CASES
    random.Random(0).shuffle(cases)
    staged = n_refused = 0
    for place, value in cases if ALL else cases[:N_CASES]:
        text = json.dumps(put(record, place, value))
        (folder / "run.json").write_text(text)
        if refused(read_run, folder) is not None:
            n_refused += 1
        elif ALL or staged < N_STAGED:
            staged += 1
            read(folder)
            for stage in (correlate_folder, rank_folder, report):
                refused(stage, folder)
                (folder / "run.json").write_text(text)
    assert n_refused > 100


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (("seed",), 1e308, "seed must be a whole number, found 1e+308"),
        (("seed",), True, "seed must be a whole number, found true"),
        (("seed",), -1, "seed must be at least 0, found -1"),
        (
            ("measures", "random", "direction"),
            "x" * 1000,
            "measures.random.direction must be 'higher', 'lower' or 'none', found \"xxx",
        ),
        (("measures", "random", "direction"), GONE, "measures.random.direction is missing"),
        (("checkpoints", 0, "layers"), {}, "checkpoints[0].layers must be a list, found an object"),
        (("dataset", "notes"), "x", 'dataset.notes must be a list, found "x"'),
        (("measures", "random", "more"), float("inf"), "measures must be without infinite"),
        (("more",), DEEP, "it is nested more than 64 levels deep"),
        (("schema",), 2, "schema must be 1, found 2"),
    ],
)
def test_a_record_that_does_not_fit_says_where_and_what_to_do(folder, place, value, said):
    record = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(put(record, place, value)))
    with pytest.raises(DataError) as caught:
        rank_folder(folder)
    assert str(caught.value).startswith(f"{folder / 'run.json'} cannot be read: {said}")
    assert len(str(caught.value)) < 600


def test_a_record_of_a_checkpoint_named_twice_is_refused(folder):
    record = json.loads((folder / "run.json").read_text())
    record["checkpoints"].append(record["checkpoints"][0])
    (folder / "run.json").write_text(json.dumps(record))
    with pytest.raises(DataError, match="checkpoints must be a list that names each checkpoint on"):
        read_result(folder)


def test_a_record_of_names_that_are_not_utf_8_and_of_later_fields_is_read_as_it_stands(folder):
    record = json.loads((folder / "run.json").read_text())
    record["checkpoints"][0]["weights"] = "weights/\udcff.pt"
    record["later"] = {"x": [1, None, "y"]}
    record["measures"]["random"]["parts"] = [{"name": "a", "summary": "s", "later": 1}]
    (folder / "run.json").write_text(json.dumps(record))
    assert read_result(folder).run == record
    for stage in (correlate_folder, rank_folder, report):
        stage(folder)


TABLES = {
    "measures.csv": ("value", "checkpoint"),
    "accuracies.csv": ("held_out_accuracy", "checkpoint"),
    "ranking.csv": ("score", "checkpoint"),
    "correlations.csv": ("kendall", "measure"),
}


@pytest.mark.parametrize("change", ["text", "infinite", "true", "column", "twice"])
@pytest.mark.parametrize("name", TABLES)
def test_a_table_that_does_not_fit_is_refused_by_name(folder, name, change):
    column, key = TABLES[name]
    frame = pd.read_csv(folder / name, keep_default_na=False, dtype=str)
    if change == "column":
        frame = frame.drop(columns=column)
    elif change == "twice":
        frame = pd.concat([frame, frame.head(1)])
    else:
        frame[column] = {"text": "much", "infinite": "-inf", "true": "True"}[change]
    frame.to_csv(folder / name, index=False)
    with pytest.raises(DataError) as caught:
        report(folder)
    said = {
        "text": "needs numbers in column",
        "infinite": "needs (finite )?numbers .*in column",
        "true": "needs numbers in column",
        "column": f"lacks the columns {column}",
        "twice": f"has two rows for {key} ",
    }[change]
    assert re.search(f"{re.escape(str(folder / name))} {said}", str(caught.value))


def test_a_measure_named_as_the_column_of_checkpoints_is_refused(folder):
    path = folder / "measures.csv"
    path.write_text(path.read_text().replace(",random,", ",checkpoint,"))
    with pytest.raises(DataError, match="has a measure 'checkpoint'"):
        rank_folder(folder)


@pytest.mark.parametrize("column", ["layer", "feature_entropy"])
def test_a_unit_table_without_a_column_or_with_text_for_numbers_is_refused(folder, column):
    frame = pd.read_parquet(folder / "units.parquet")
    frame.drop(columns=column).to_parquet(folder / "units.parquet")
    with pytest.raises(DataError, match=f"lacks the columns {column}"):
        folder_units(folder)
    frame.assign(feature_entropy="x").to_parquet(folder / "units.parquet")
    with pytest.raises(DataError, match="needs numbers in column 'feature_entropy'"):
        folder_units(folder)


def test_progress_with_a_leaf_of_another_kind_is_told_or_refused(folder):
    path = folder / "progress.json"
    whole = json.loads(path.read_text())
    whole["running"] = [{"checkpoint": "a", "since": 1.0}]
    whole["last_failures"] = [{"checkpoint": "a", "reason": "b"}]
    n_refused = 0
    for place in places(whole):
        for value in VALUES:
            path.write_text(json.dumps(put(whole, place, value)))
            n_refused += refused(read_progress, folder) is not None
    assert n_refused > 60


def example():
    """A unit as `unit_examples.json` holds it."""
    shown = {"image": "data:,", "map": "data:,", "level": 1, "outline": [[[0, 0], [0, 1]]]}
    return {
        "layer": SCRIPT, "unit": 1, "class_name": SCRIPT, "filtration": "clique", "stable": True,
        "height": 4, "width": 4, "n_images": 4, "effective_rate": 0.5, "feature_entropy": 0.5,
        "interval": [0.1, 0.9], "births": [[1, 2], [1, 1]],
        "shown": [{**shown, "edges": [[0, 1]], "cycle": [0, 1, 2, 3]}],
    }  # fmt: skip


@pytest.fixture
def examples(folder):
    """What is kept of units of the folder's first checkpoint."""
    record = json.loads((folder / "run.json").read_text())
    first = record["checkpoints"][0]
    return {
        "version": 1,
        "checkpoint": first["checkpoint"],
        "weights_digest": first["weights_digest"],
        "sample": record["dataset"]["fingerprint"],
        "units": [example()],
    }


def test_kept_units_with_a_leaf_of_another_kind_are_drawn_or_refused(folder, examples):
    from audit.folder.unit_examples import check_examples
    from audit_reports.tables import Tables
    from audit_reports.units import units

    tables, n_refused = Tables.of(read_result(folder)), 0
    for place in places(examples):
        for value in (*VALUES, 2**62, float("nan")):
            path = folder / "unit_examples.json"
            path.write_text(json.dumps(put(examples, place, value)))
            if refused(check_examples, folder) is None:
                units(tables, folder)
            else:
                n_refused += 1
    assert n_refused > 100
    (folder / "unit_examples.json").write_text(json.dumps(put(examples, ("units",), [1])))
    with pytest.raises(DataError, match=r"units\[0\] must be an object, found 1; remove it"):
        report(folder)


def test_a_report_of_names_that_hold_markup_has_none_of_it(folder, examples):
    for path in folder.glob("*.csv"):
        path.write_text(path.read_text().replace("one", SCRIPT).replace("random", SCRIPT))
    record = json.loads((folder / "run.json").read_text())
    text = json.dumps(record).replace('"one"', json.dumps(SCRIPT))
    record = json.loads(text.replace('"random"', json.dumps(SCRIPT)))
    record["dataset"] |= {"name": SCRIPT, "notes": [SCRIPT], "excluded": {SCRIPT: SCRIPT}}
    record["ranking"] |= {"mode": SCRIPT, "notes": [SCRIPT], "score_is": SCRIPT}
    record["versions"][SCRIPT] = SCRIPT
    (folder / "run.json").write_text(json.dumps(record))
    if examples["checkpoint"] == "one":
        examples["checkpoint"] = SCRIPT
    (folder / "unit_examples.json").write_text(json.dumps(examples))
    report(folder)
    page = (folder / "report.html").read_text("utf-8")
    assert SCRIPT not in page
    assert "alert(1)" in page
    assert page.count("<script") == 1


def test_numbers_of_any_size_in_a_record_are_written_as_text(folder):
    record = json.loads((folder / "run.json").read_text())
    record["dataset"]["options"] = {"n": 10**400, "m": float("inf")}
    record["ranking"]["score"] = 10**400
    (folder / "run.json").write_text(json.dumps(record))
    report(folder)
    assert np.isfinite(read_result(folder).measures["value"]).any()
