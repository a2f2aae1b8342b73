"""The leaderboard: lines follow from the tables, and one file with one measure gets its own."""

import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from programs import run_program

from audit.errors import ConfigError
from audit.plugin.registry import installed
from audit.zoo.table import ZooTable
from benchmarks import leaderboard, leaderboard_file, zoo_statistics

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "tests" / "example_measures" / "active_share.py"
DIRECTIONS = {"train_loss": "lower", "snip": "none", "augmentation_consistency": "higher"}


def synthetic_zoo(name, source, seed):
    """Eight checkpoints; loss falls with accuracy, snip rises, consistency runs against it."""
    rng = np.random.default_rng(seed)
    accuracy = np.linspace(0.3, 0.9, 8) + rng.normal(0, 0.001, 8)
    table = pd.DataFrame({"checkpoint": [f"{name}-{i}" for i in range(8)], "labels": "as_trained"})
    table["family"] = list("aabbaabb")
    table["held_out_accuracy"], table["n_held_out"] = accuracy, 100
    table["hp.batch_size"], table["hp.weight_decay"] = [16, 64] * 4, [0.0] * 4 + [0.5] * 4
    table["train_loss"] = -accuracy
    table["snip"] = accuracy
    table["augmentation_consistency"] = 1 - accuracy
    measures = {
        column: {
            "measure": column,
            "version": "1",
            "direction": direction,
            "judged": True,
            "seconds": 0.25,
            "missing": {},
        }
        for column, direction in DIRECTIONS.items()
    }
    return ZooTable(name, table, {"task": name, "source": source, "measures": measures})


@pytest.fixture(scope="module")
def zoos():
    named = [("digits", "digits"), ("latin", "glyphs"), ("shapes", "drawn")]
    return {n: synthetic_zoo(n, s, i) for i, (n, s) in enumerate(named)}


@pytest.fixture(scope="module")
def lines(zoos):
    rows = zoo_statistics.statistics_of(zoos, ())
    return leaderboard.lines_of(zoos, rows, installed().measures)


def test_lines_are_held_to_the_declared_direction(lines):
    tau = {line.column: line.tau.mean for line in lines}
    assert tau == pytest.approx({"train_loss": 1.0, "snip": 1.0, "augmentation_consistency": -1.0})
    assert [line.column for line in lines] == ["snip", "train_loss", "augmentation_consistency"]


def test_lines_learn_a_direction_from_other_sources_alone():
    values = np.array([0.6, -0.2, -0.3])
    signs = leaderboard.signs_of("none", values, ["a", "b", "c"])
    assert signs.tolist() == [-1.0, 1.0, 1.0]
    assert leaderboard.signs_of("lower", values, ["a", "b", "c"]).tolist() == [-1.0] * 3


def test_lines_say_what_is_declared(lines):
    line = next(line for line in lines if line.column == "train_loss")
    assert (line.direction, line.invariance, line.seconds) == ("↓", "no", 0.25)
    snip = next(line for line in lines if line.column == "snip")
    assert snip.direction == "(learned)"


def test_lines_that_lack_values_come_last(zoos):
    rows = zoo_statistics.statistics_of(zoos, ())
    rows.loc[rows["column"] == "snip", "n_models"] = 3
    lines = leaderboard.lines_of(zoos, rows, installed().measures)
    assert [line.column for line in lines][-1] == "snip"
    assert "| – | `snip` |" in leaderboard.board(lines)


def test_page_has_a_line_per_measure(zoos, lines):
    text = leaderboard.page(zoos, lines)
    assert "nan" not in text
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len(table) == 2 + len(lines)
    assert len({line.count("|") for line in table}) == 1
    assert text == leaderboard.page(zoos, lines)


def test_board_shows_added_lines_in_bold(lines):
    text = leaderboard.board(lines, ["snip"])
    assert "| **`snip`** |" in text
    assert "| `train_loss` |" in text


def test_columns_join_the_same_checkpoints(zoos):
    zoo = zoos["digits"]
    known = {"measure": "mine", "direction": "higher", "judged": True}
    other = ZooTable("digits", zoo.table.assign(mine=1.0), {"measures": {"mine": known}})
    joined = leaderboard_file.with_columns(zoo, other, ["mine"])
    assert joined.measures == [*DIRECTIONS, "mine"]
    assert (joined.table["mine"] == 1.0).all()


def test_columns_refuse_checkpoints_of_another_training(zoos):
    zoo = zoos["digits"]
    table = zoo.table.assign(mine=1.0, held_out_accuracy=0.5)
    other = ZooTable("digits", table, {"measures": {"mine": {}}})
    message = "^the checkpoints of digits are not those of its table: their held-out accuracies"
    with pytest.raises(ConfigError, match=message):
        leaderboard_file.with_columns(zoo, other, ["mine"])


def test_tasks_that_are_not_trained_are_named_with_the_command(tmp_path):
    (tmp_path / "latin").mkdir()
    (tmp_path / "latin" / "held_out.csv").write_text("")
    expected = (
        f"1 of 2 tasks are not trained in {tmp_path}; train them with\n"
        f"  genaudit zoo train shapes -o {tmp_path}\nor choose some of the others with --tasks"
    )
    with pytest.raises(ConfigError) as raised:
        leaderboard_file.measured_by([], EXAMPLE, tmp_path, ["latin", "shapes"])
    assert str(raised.value) == expected


def test_file_of_one_measure_becomes_a_plugin(tmp_path):
    mine = tmp_path / "mine.py"
    mine.write_text(
        "from audit.plugin import MeasureEntry\n"
        "MEASURES = (MeasureEntry(name='mine', summary='one', compute=lambda view: 1.0,\n"
        "    version='1', direction='higher', invariance='none', cost='weights'),)\n"
    )
    program = (
        "import sys\nfrom pathlib import Path\nfrom benchmarks import leaderboard_file\n"
        "from audit.plugin.registry import installed\n"
        "for k, name in enumerate(sys.argv[2:]):\n"
        "    place = Path(sys.argv[1], str(k))\n"
        "    leaderboard_file.PLUGIN = f'plugin_{k}'\n"
        "    print([e.name for e in leaderboard_file.as_plugin(Path(name), place)])\n"
        "assert {'mine', 'active_share', 'train_loss'} <= set(installed().measures)\n"
    )
    run = run_program(
        [sys.executable, "-c", program, str(tmp_path), str(mine), str(EXAMPLE)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "plugins")))},
    )
    assert run.stdout == "['mine']\n['active_share']\n"


def test_file_that_is_missing_is_said_so(tmp_path):
    missing = tmp_path / "no.py"
    with pytest.raises(ConfigError, match=r"no\.py is no file; --measure needs a Python file"):
        leaderboard_file.as_plugin(missing, tmp_path)
