"""Names and messages from elsewhere are bounded, and steer no terminal, page or spreadsheet."""

import doctest
import io
import os

import pandas as pd
import pytest
import timm
import torch
from hypothesis import given
from hypothesis import strategies as st

from audit import cli, errors, shown
from audit.errors import AuditError, ConfigError, DataError
from audit.folder.cells import read_cells
from audit.folder.csv_files import read_csv, write_csv
from audit.folder.tables import measures_frame
from audit.measuring.task import explain
from audit.runs.config import RunOptions
from audit.runs.pipeline import measure, read_config
from audit.runs.study import resolve
from audit.shown import ShownStream, defused, undefused

SECRET = "$6$salt$T0pS3cretHash"
SHADOW = f"marvin:{SECRET}:19000:0:99999:7:::\ndaemon:*:19000:0:99999:7:::\n"
STEERING = "a\x1b[2J\x07b\u202ec\u2066d\x85e\udcff"


@pytest.mark.parametrize("module", [shown, errors])
def test_examples_of_the_docstrings_hold(module):
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize("length", [499, 500, 501, 1_300_000])
def test_reasons_in_tables_have_500_characters_at_most(length):
    row = {"checkpoint": "a", "measure": "all", "version": "", "status": "failed"}
    frame = measures_frame([{**row, "value": None, "reason": "x" * length, "seconds": None}])
    reason = frame["reason"][0]
    assert len(reason) <= 500
    assert (reason == "x" * length) == (length <= 500)
    assert length <= 500 or f"{length:,} characters" in reason


@pytest.mark.parametrize("text", [STEERING, "\ud800", "a\nb\0"])
def test_reasons_in_tables_are_one_line_that_a_file_can_hold(tmp_path, text):
    row = {"checkpoint": "a", "measure": "all", "version": "", "status": "failed"}
    frame = measures_frame([{**row, "value": None, "reason": text, "seconds": None}])
    assert frame["reason"][0] == shown.shown(" ".join(text.split()))
    write_csv(frame, tmp_path / "measures.csv")
    assert read_csv(tmp_path / "measures.csv", "measures", ("reason",))["reason"][0].isprintable()


def test_a_tensor_whose_name_no_file_can_hold_costs_one_row(tmp_path):
    network = timm.create_model("test_resnet", num_classes=10, in_chans=1)
    torch.save(network.state_dict(), tmp_path / "good.pth")
    torch.save({**network.state_dict(), "\ud800\x1b[2J": torch.ones(2)}, tmp_path / "odd.pth")
    model = {"model": "test_resnet", "model_args": {"num_classes": 10, "in_chans": 1}}
    config = {
        "dataset": {"name": "digits"},
        "measures": {"include": ["train_loss"], "layers": ["last"], "images_per_class": 2},
        "checkpoints": [{**model, "weights": str(tmp_path / "*.pth")}],
    }
    options = RunOptions(
        output=tmp_path / "out", cache=tmp_path / "cache", workers=0, progress=False
    )
    found = measure(resolve(read_config(config), options))
    failed = found[found["status"] == "failed"]
    assert failed["checkpoint"].tolist() == ["odd"]
    assert r"\ud800\u001b[2J" in failed["reason"].iloc[0]
    assert (found.loc[found["checkpoint"] == "good", "status"] == "ok").any()


@pytest.mark.parametrize("error", [ValueError, DataError])
def test_messages_of_any_length_become_short(error):
    assert len(explain(error("x" * 100_000_000))) < 10_100
    assert len(str(AuditError("x" * 1_000_000, 3))) < 10_100
    assert error("short").args == ("short",)


def test_streams_escape_what_steers_a_terminal():
    out = io.StringIO()
    stream = ShownStream(out, kept="\r")
    assert stream.write(STEERING + "\r\n\t") == len(STEERING) + 3
    stream.writelines(["\x9b", "ü"])
    escaped = r"a\u001b[2J\u0007b\u202ec\u2066d\u0085e\udcff"
    assert out.getvalue() == escaped + "\r\n\t" + r"\u009b" + "ü"
    assert not stream.isatty()
    with pytest.raises(TypeError):
        stream.write(b"")


def test_the_command_escapes_whatever_it_prints(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("sys.argv", ["genaudit", "run", str(tmp_path / "\x1b[2Jx\u202e.toml")])
    with pytest.raises(SystemExit):
        cli.main()
    said = capsys.readouterr().err
    assert r"\u001b[2Jx\u202e.toml cannot be read" in said
    assert not {"\x1b", "\u202e"} & set(said)


@given(st.text(alphabet="=+-@\t\r'a＝", max_size=4))
def test_defused_text_is_no_formula_and_comes_back(text):
    assert undefused(defused(text)) == text
    assert not defused(text).startswith(tuple("=+-@\t\r＝"))


def test_tables_for_spreadsheets_hold_no_formula_and_are_read_back(tmp_path):
    names = ["=1+1", "+a", "-b", "@c", "\td", "'e", "'=f", "g", "naïve\u202e"]
    frame = pd.DataFrame(
        {"checkpoint": names, "value": [-1.5] * len(names), "hp.a": names, "n": range(len(names))}
    )
    path = tmp_path / "measures.csv"
    write_csv(frame, path)
    cells = [line.split(",") for line in path.read_text("utf-8").splitlines()[1:]]
    assert [cell for row in cells for cell in (row[0], row[2]) if cell[0] in "=+-@\t"] == []
    assert {row[1] for row in cells} == {"-1.5"}
    pd.testing.assert_frame_equal(read_csv(path, "measures"), frame)
    assert [row[0] for row in read_cells(path, "it").rows] == names


@pytest.fixture
def shadow(tmp_path):
    path = tmp_path / "shadow"
    path.write_text(SHADOW)
    return path


def readers():
    """Everything that reads a file a user points at, by name."""
    from audit.correlation import read_held_out
    from audit.folder.record import read_run
    from audit.following.training_runs import run_of_arguments
    from audit.plugin.registry import installed
    from audit.ranking import cards
    from audit.runs.config import AuditConfig
    from audit.zoo.tasks import read_task

    def beside(name, read):
        def call(path):
            os.link(path, path.parent / name)
            read(path.parent)

        return call

    registry = installed()
    return {
        "configuration": AuditConfig.read,
        "held-out table": lambda path: read_held_out(path, ["a"]),
        "published results": lambda path: registry.held_out["timm_results"].read(path, []),
        "card": lambda path: cards.load_card(path.rename(path.with_suffix(".json"))),
        "record": beside("run.json", read_run),
        "measures": lambda path: read_csv(path, "measures", ("checkpoint",)),
        "arguments": beside("args.yaml", run_of_arguments),
        "csv": lambda path: registry.dataset("csv").open("train", {"path": str(path)}),
        "class map": class_map,
        "task": lambda path: read_task(path.rename(path.with_suffix(".toml"))),
    }


def class_map(path):
    from audit.measuring.class_order import read_class_map

    return read_class_map(path, ["cat", "dog"], "class_order")


@pytest.mark.parametrize("name", sorted(readers()))
def test_refusals_tell_nothing_of_the_file_they_were_pointed_at(name, shadow):
    with pytest.raises(AuditError) as caught:
        readers()[name](shadow)
    assert not any(word in str(caught.value) for word in ("marvin", "daemon", "$6", "19000"))


def test_values_of_a_configuration_are_told_in_short(tmp_path):
    path = tmp_path / "audit.toml"
    path.write_text(f'dataset = "{"x" * 100_000}"\n')
    from audit.runs.config import AuditConfig

    with pytest.raises(ConfigError) as caught:
        AuditConfig.read(path)
    assert len(str(caught.value)) < 500
