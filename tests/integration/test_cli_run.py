"""`genaudit run` and its separate steps on a user's own folder."""

import json

import pandas as pd
import pytest

TABLES = ("measures.csv", "units.parquet", "accuracies.csv", "correlations.csv", "ranking.csv")


def test_run_writes_the_output_folder(user, genaudit, tmp_path):
    out = tmp_path / "out"
    done = genaudit("run", user / "audit.toml", "-o", out)
    assert done.code == 0
    assert {*TABLES, "report.html", "results.json", "run.json"} <= {p.name for p in out.iterdir()}

    measures = pd.read_csv(out / "measures.csv")
    columns = ["checkpoint", "measure", "version", "value", "status", "reason", "seconds", "doubt"]
    assert list(measures.columns) == columns
    assert measures["checkpoint"].nunique() == 10
    assert set(measures["status"]) <= {"ok", "undefined", "unavailable"}
    assert measures.loc[measures["status"] != "ok", "reason"].notna().all()
    assert measures.loc[measures["status"] != "ok", "value"].isna().all()

    ranking = pd.read_csv(out / "ranking.csv")
    assert list(ranking.columns) == [
        *("predicted_rank", "checkpoint", "score", "lower", "upper", "tied_with", "doubt")
    ]
    assert sorted(ranking["checkpoint"]) == sorted(measures["checkpoint"].unique())

    units = pd.read_parquet(out / "units.parquet")
    assert {"feature_entropy", "birth_entropy", "effective_rate", "status"} <= set(units.columns)
    assert set(units["filtration"]) == {"clique", "cubical"}
    never = units[units["effective_rate"] == 0]
    assert len(never)
    assert never["feature_entropy"].isna().all()

    run = json.loads((out / "run.json").read_text())
    assert run["dataset"]["n_sampled"] == 24
    assert len(run["checkpoints"]) == 10
    assert all(len(entry["weights_digest"]) == 64 for entry in run["checkpoints"])
    assert all(entry["layers"] for entry in run["checkpoints"])


def test_second_run_is_byte_identical_and_loads_no_network(user, genaudit, tmp_path, monkeypatch):
    out = tmp_path / "out"
    assert genaudit("run", user / "audit.toml", "-o", out).code == 0
    before = {name: (out / name).read_bytes() for name in (*TABLES, "run.json", "report.html")}

    def refuse(*arguments):
        raise AssertionError("a network was built although everything is cached")

    monkeypatch.setattr("audit.measuring.checkpoint.CheckpointView._network", refuse)
    assert genaudit("run", user / "audit.toml", "-o", out).code == 0
    assert {name: (out / name).read_bytes() for name in before} == before


def test_separate_steps_give_the_same_tables_as_run(user, genaudit, tmp_path):
    whole, steps = tmp_path / "whole", tmp_path / "steps"
    assert genaudit("run", user / "audit.toml", "-o", whole).code == 0
    assert genaudit("measure", user / "audit.toml", "-o", steps).code == 0
    assert not (steps / "ranking.csv").exists()
    assert genaudit("correlate", steps).code == 0
    assert genaudit("rank", steps).code == 0
    assert genaudit("report", steps).code == 0
    for name in (*TABLES, "report.html"):
        assert (steps / name).read_bytes() == (whole / name).read_bytes(), name


def test_json_output_is_one_document_on_stdout(user, genaudit, tmp_path):
    done = genaudit("run", user / "audit.toml", "-o", tmp_path / "out", "--json")
    result = json.loads(done.out)
    assert {"ranking", "correlations", "failed", "output"} <= set(result)
    assert len(result["ranking"]) == 10
    assert "NaN" not in done.out


def test_without_accuracies_the_declared_directions_rank(user, genaudit, tmp_path):
    text = (user / "audit.toml").read_text()
    (user / "audit.toml").write_text(text[: text.index("[held_out]")])
    out = tmp_path / "out"
    assert genaudit("run", user / "audit.toml", "-o", out).code == 0
    assert not (out / "correlations.csv").exists()
    assert len(pd.read_csv(out / "ranking.csv")) == 10
    assert "zero-shot" in json.loads((out / "run.json").read_text())["ranking"]["mode"]


@pytest.mark.parametrize("how", ["validate", "dry-run"])
def test_plan_says_what_is_cached_and_writes_nothing(user, genaudit, tmp_path, how):
    out = tmp_path / "out"
    words = ("validate",) if how == "validate" else ("run",)
    extra = () if how == "validate" else ("--dry-run",)
    done = genaudit(*words, user / "audit.toml", "-o", out, *extra)
    assert done.code == 0
    assert "24 of 36 images" in done.out
    assert "10, of which 10 are wholly cached" in done.out
    assert "nothing left to compute" in done.out
    assert not out.exists()


def test_plan_foresees_time_from_a_timed_sample(user, genaudit, tmp_path):
    text = (user / "audit.toml").read_text()
    (user / "audit.toml").write_text(text.replace("images_per_class = 8", "images_per_class = 7"))
    done = genaudit("validate", user / "audit.toml", "-o", tmp_path / "out", "--json")
    plan = json.loads(done.out)
    assert plan["n_cached"] == 0
    assert 0 < plan["seconds"] < 600
    assert plan["time"].startswith("about ")


def test_units_shows_the_unit_table(user, genaudit, tmp_path):
    out = tmp_path / "out"
    assert genaudit("measure", user / "audit.toml", "-o", out).code == 0
    done = genaudit("units", out, "--checkpoint", "test_resnet-0", "--rows", "3", "--json")
    rows = json.loads(done.out)
    assert len(rows) == 3
    assert {row["checkpoint"] for row in rows} == {"test_resnet-0"}
    assert genaudit("units", out, "--checkpoint", "test_resnet-00").code == 1


def test_one_checkpoint_is_reported_though_there_is_nothing_to_rank(user, genaudit, tmp_path):
    text = (user / "audit.toml").read_text()
    text = text[: text.index("[held_out]")].replace("test_resnet-*", "test_resnet-0")
    head, _, tail = text.rpartition("[[checkpoints]]")
    (user / "audit.toml").write_text(head + tail[tail.index("[measures]") :])
    out = tmp_path / "out"
    done = genaudit("run", user / "audit.toml", "-o", out)
    assert done.code == 0, done.err
    assert pd.read_csv(out / "ranking.csv")["predicted_rank"].tolist() == [1]
    assert "nothing to rank it against" in (out / "report.html").read_text()


def test_plan_names_every_checkpoint_that_would_fail(user, genaudit, tmp_path):
    for name in ("test_resnet-1", "test_resnet-3"):
        path = user / "checkpoints" / f"{name}.safetensors"
        path.write_bytes(path.read_bytes()[:1000])
    done = genaudit("validate", user / "audit.toml", "-o", tmp_path / "out", "--json")
    assert done.code == 3
    assert sorted(json.loads(done.out)["refused"]) == ["test_resnet-1", "test_resnet-3"]


def with_sections(user, text):
    """Add sections to the user's configuration."""
    path = user / "audit.toml"
    path.write_text(path.read_text() + text)
    return path


def test_reports_are_chosen_by_configuration_and_by_option(user, genaudit, tmp_path):
    config = with_sections(
        user,
        '[reports]\ninclude = ["json"]\n[reports.json]\nindent = 0\n[reports.html]\ntitle = "T?"\n',
    )
    out = tmp_path / "out"
    done = genaudit("run", config, "-o", out)
    assert done.code == 0
    assert f"Report: {out / 'results.json'}" in done.out
    assert not (out / "report.html").exists()
    assert (out / "results.json").read_text().startswith('{\n"schema": 1,\n')
    assert genaudit("report", out).out == f"Report: {out / 'results.json'}\n"
    assert genaudit("report", out, "--include", "html").out == f"Report: {out / 'report.html'}\n"
    assert "<h1>T?</h1>" in (out / "report.html").read_text()
    done = genaudit("report", out, "--include", "htm")
    assert done.code == 1
    assert done.err == (
        "error: unknown reporter 'htm'; did you mean 'html'? "
        "`genaudit plugins` lists every reporter\n"
    )


def test_a_report_that_fails_is_told_and_costs_nothing_else(user, genaudit, tmp_path):
    config = with_sections(user, "[reports.html]\ntitle = 3\n")
    out = tmp_path / "out"
    done = genaudit("run", config, "-o", out, "--json")
    reason = "[reports.html] title must be one line of text; found 3"
    assert done.code == 3
    assert done.err == f"failed: report 'html': {reason}\n"
    reports = {"written": {"json": ["results.json"]}, "failed": {"html": reason}}
    assert json.loads(done.out)["reports"] == reports
    assert json.loads((out / "run.json").read_text())["reports"] == reports
    assert (out / "results.json").exists()
    assert genaudit("report", out).code == 3
    assert genaudit("report", out, "--include", "json").code == 0


def test_what_decides_no_number_is_part_of_no_key(user, genaudit, tmp_path, monkeypatch):
    out = tmp_path / "out"
    assert genaudit("run", user / "audit.toml", "-o", out).code == 0
    before = {name: (out / name).read_bytes() for name in TABLES}

    def refuse(*arguments):
        raise AssertionError("a network was built although everything is cached")

    monkeypatch.setattr("audit.measuring.checkpoint.CheckpointView._network", refuse)
    config = with_sections(user, '[reports.html]\ntitle = "T"\n[engine]\nname = "local"\n')
    assert genaudit("run", config, "-o", out).code == 0
    assert {name: (out / name).read_bytes() for name in TABLES} == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[engine]\nname = "locl"\n', "unknown engine 'locl'; did you mean 'local'?"),
        ("[engine]\nretrys = 1\n", "unknown option of engine 'local': 'retrys'"),
        ('[reports]\ninclude = ["jsn"]\n', "unknown reporter 'jsn'; did you mean 'json'?"),
        ("[reports.html]\ntitel = 1\n", "unknown option of reporter 'html': 'titel'; did you mean"),
    ],
)
def test_unknown_engines_reporters_and_options_stop_before_computing(
    user, genaudit, tmp_path, text, message
):
    done = genaudit("run", with_sections(user, text), "-o", tmp_path / "out")
    assert done.code == 1
    assert done.err.startswith(f"error: {message}")
    assert not (tmp_path / "out").exists()
