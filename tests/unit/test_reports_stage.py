"""Reports are chosen by configuration, and one that fails costs its own report only."""

import json

import pytest

from audit.errors import ConfigError, DataError
from audit.folder.csv_files import write_csv
from audit.folder.record import read_run, write_run
from audit.folder.tables import measures_frame
from audit.plugin import ReporterEntry, hookimpl
from audit.plugin.registry import Registry
from audit.runs.config import ReportsConfig
from audit.runs.reports import check_options, choose_reporters, recorded_choice, report_folder


def note(result, folder, options):
    """Write what it was told."""
    path = folder / "note.json"
    path.write_text(json.dumps({"run": dict(result.run), "options": dict(options)}))
    return [path]


def breaks(result, folder, options):
    raise RuntimeError("no\nink")


def leaves(result, folder, options):
    raise KeyboardInterrupt


class Plugin:
    @hookimpl
    def genaudit_reporters(self):
        def entry(name, write, **more):
            return ReporterEntry(name=name, summary="s", version="1", write=write, **more)

        return [
            entry("note", note, options=("ink", "paper")),
            entry("breaks", breaks),
            entry("leaves", leaves, default=False),
        ]


@pytest.fixture
def registry():
    return Registry({"p": Plugin()})


@pytest.fixture
def folder(tmp_path):
    rows = [{"checkpoint": "a", "measure": "m", "value": 1.0, "status": "ok", "reason": ""}]
    write_csv(measures_frame(rows), tmp_path / "measures.csv")
    write_run(tmp_path, {"schema": 1, "config": {"reports": {"include": ["note"]}}})
    return tmp_path


def choose(registry, **content):
    return choose_reporters(ReportsConfig.model_validate(content), registry)


def names(reporters):
    return [reporter.entry.name for reporter in reporters]


def test_without_a_choice_those_that_write_by_default_are_chosen(registry):
    assert names(choose(registry)) == ["breaks", "note"]


def test_a_choice_keeps_its_order_and_names_each_once(registry):
    chosen = choose(registry, include=["note", "leaves", "note"], note={"ink": "red"})
    assert names(chosen) == ["note", "leaves"]
    assert [reporter.options for reporter in chosen] == [{"ink": "red"}, {}]
    assert choose(registry, include=[]) == ()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            {"include": ["nite"]},
            "unknown reporter 'nite'; did you mean 'note'? `genaudit plugins` lists every reporter",
        ),
        (
            {"nite": {"ink": "red"}},
            "unknown reporter 'nite'; did you mean 'note'? `genaudit plugins` lists every reporter",
        ),
        (
            {"include": [], "note": {"inc": "red"}},
            "unknown option of reporter 'note': 'inc'; did you mean 'ink'? its options are ink, "
            "paper",
        ),
        ({"breaks": {"ink": 1}}, "unknown option of reporter 'breaks': 'ink'; it has none"),
    ],
)
def test_an_unknown_reporter_or_option_is_refused_with_the_nearest(registry, content, message):
    with pytest.raises(ConfigError) as caught:
        choose(registry, **content)
    assert str(caught.value) == message


def test_an_unknown_option_of_an_engine_is_refused():
    check_options("engine 'local'", {"retries": 1}, ("retries",))
    with pytest.raises(ConfigError) as caught:
        check_options("engine 'local'", {"retrys": 1}, ("retries",))
    assert str(caught.value) == (
        "unknown option of engine 'local': 'retrys'; did you mean 'retries'? "
        "its options are retries"
    )


def test_a_reporter_that_fails_costs_its_own_report_only(registry, folder):
    result = report_folder(folder, choose(registry, include=["breaks", "note"]))
    assert (folder / "note.json").exists()
    assert result.failed_reports == {"breaks": "RuntimeError: no ink"}
    assert read_run(folder)["reports"] == {
        "written": {"note": ["note.json"]},
        "failed": {"breaks": "RuntimeError: no ink"},
    }
    assert result.run == read_run(folder)


def test_an_interrupt_is_no_failure_of_a_report(registry, folder):
    with pytest.raises(KeyboardInterrupt):
        report_folder(folder, choose(registry, include=["leaves"]))
    assert "reports" not in read_run(folder)


def test_reports_written_again_have_the_same_bytes(registry, folder):
    chosen = choose(registry, include=["note"], note={"ink": "red"})
    first = report_folder(folder, chosen)
    before = (folder / "note.json").read_bytes(), (folder / "run.json").read_bytes()
    assert report_folder(folder, chosen).failed_reports == first.failed_reports == {}
    assert ((folder / "note.json").read_bytes(), (folder / "run.json").read_bytes()) == before
    assert json.loads(before[0])["options"] == {"ink": "red"}


def test_the_choice_of_a_run_is_read_from_its_record(folder):
    assert recorded_choice(folder).include == ("note",)
    write_run(folder, {"schema": 1, "config": {}})
    assert recorded_choice(folder).include is None
    write_run(folder, {"schema": 1, "config": {"reports": {"include": "note"}}})
    with pytest.raises(DataError) as caught:
        recorded_choice(folder)
    assert str(caught.value) == (
        f"{folder / 'run.json'}: config.reports.include cannot be used; `genaudit run` writes the "
        "file anew"
    )
