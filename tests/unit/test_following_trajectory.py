"""What a followed training says."""

import json

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from scipy import stats

from audit.cli import genaudit
from audit.errors import ConfigError
from audit.folder.csv_files import write_csv
from audit.following.figure import draw
from audit.following.logs import COLUMNS, TABLE
from audit.following.trajectory import (
    Stop,
    _block_weights,
    kendall_over_epochs,
    patience_stop,
    trajectory_of,
)


def table_of(n_epochs=12, loss=True, information=None):
    """Rows of a training whose entropy falls with its loss."""
    rows = []
    for epoch in range(n_epochs):
        for depth, layer in enumerate(("first", "last")):
            rows.append(
                dict.fromkeys(COLUMNS, 0.0)
                | {
                    "epoch": epoch,
                    "layer": layer,
                    "filtration": "cubical",
                    "reason": "",
                    "feature_entropy": 3 - depth - 0.1 * epoch,
                    "birth_class_information": 0.1 * epoch
                    if information is None
                    else information[epoch],
                    "sample_loss": 2 / (epoch + 1),
                    "loss": 1 / (epoch + 1) if loss else float("nan"),
                }
            )
    return pd.DataFrame(rows)


def test_kendall_over_epochs_is_that_of_scipy_with_an_interval_around_it():
    rng = np.random.default_rng(0)
    x = np.linspace(1, 0, 30) + 0.2 * rng.normal(size=30)
    y = np.linspace(1, 0, 30) + 0.2 * rng.normal(size=30)
    found = kendall_over_epochs(x, y)
    assert found.kendall == pytest.approx(stats.kendalltau(x, y).statistic)
    assert found.of_changes == pytest.approx(stats.kendalltau(np.diff(x), np.diff(y)).statistic)
    assert -1 <= found.lower < found.kendall < found.upper <= 1
    assert found.reason == ""
    assert found == kendall_over_epochs(x, y)


def test_kendall_over_epochs_leaves_epochs_without_a_number_out():
    x = [5.0, np.nan, 4, 3, 2, 1]
    y = [5.0, 1, 4, 3, 2, np.nan]
    found = kendall_over_epochs(x, y)
    assert found.n_epochs == 4
    assert found.kendall == 1
    assert np.isnan(found.of_changes)  # two changes between neighbouring epochs are too few
    assert np.isnan(found.lower)


@pytest.mark.parametrize(
    ("x", "y", "reason"),
    [
        ([1, 2], [1, 2], "Kendall's τ needs 3 epochs; there are 2"),
        ([1, 1, 1], [1, 2, 3], "a series does not change"),
    ],
)
def test_kendall_over_epochs_says_why_it_is_undefined(x, y, reason):
    found = kendall_over_epochs(x, y)
    assert np.isnan(found.kendall)
    assert found.reason == reason


def test_intervals_of_series_that_change_slowly_are_wider():
    """Blocks keep neighbours together, so that slow series have fewer independent parts."""
    rng = np.random.default_rng(1)
    widths = {True: [], False: []}
    for _ in range(20):
        x, y = np.cumsum(rng.normal(size=(2, 40)), axis=1)
        order = rng.permutation(40)
        for slow, (one, other) in ((True, (x, y)), (False, (x[order], y[order]))):
            found = kendall_over_epochs(one, other)
            widths[slow].append(found.upper - found.lower)
    assert np.mean(widths[True]) > 1.2 * np.mean(widths[False])


def test_blocks_are_of_neighbours_and_make_whole_series():
    weights = _block_weights(27, 50, seed=0)
    assert weights.shape == (27, 50)
    assert (weights.sum(0) == 27).all()
    alone = (weights > 0) & (np.roll(weights, 1, 0) == 0) & (np.roll(weights, -1, 0) == 0)
    assert not alone.any()


def test_patience_stops_at_the_first_wait_that_is_long_enough():
    values = [0.1, 0.3, 0.2, float("nan"), 0.3, 0.5]
    assert patience_stop(range(6), values, "higher", 3) == Stop(1, 4)
    assert patience_stop(range(6), values, "higher", 4) == Stop(None, None)
    assert patience_stop(range(6), [-v for v in values], "lower", 3) == Stop(1, 4)
    assert patience_stop(range(6), values, "higher", 4, least_change=0.25) == Stop(0, 4)
    assert patience_stop([3, 6], [float("nan")] * 2, "higher", 1) == Stop(None, None)
    with pytest.raises(ConfigError, match="a patience of at least 1 and a direction"):
        patience_stop([1], [1.0], "better")


def test_trajectory_sets_every_layer_beside_the_reported_loss():
    found = trajectory_of(table_of())
    assert found.loss == "loss"
    assert found.kendall["layer"].tolist() == ["first", "first", "last", "last"]
    assert found.kendall["kendall"].tolist() == pytest.approx([1, -1, 1, -1])
    assert found.stop == Stop(None, None)
    assert found.sentence().startswith("Go on: the birth–class information of last")
    assert trajectory_of(table_of(loss=False)).loss == "sample_loss"


def test_trajectory_suggests_a_stop_by_the_deepest_layer_with_numbers():
    information = [0, 1, 2, 5, 4, 4, 4, 4, 4, 9, 9, 9]
    table = table_of(information=information)
    found = trajectory_of(table)
    assert (found.layer, found.stop) == ("last", Stop(3, 8))
    assert found.sentence() == (
        "By the birth–class information of last alone, which the 5 looks up to epoch 8 did not "
        "better, training would stop there and epoch 3 be kept. On trainings of ours such stops "
        "lost accuracy (docs/training.md): do not stop by this alone."
    )
    table.loc[table["layer"] == "last", "birth_class_information"] = float("nan")
    assert trajectory_of(table).layer == "first"
    table["birth_class_information"] = float("nan")
    assert trajectory_of(table).sentence().startswith("No suggestion: no layer has")
    assert trajectory_of(table_of(5)).sentence() == (
        "No suggestion: 5 epochs were looked at; it needs 8."
    )


def test_command_prints_and_draws_a_trajectory(tmp_path):
    write_csv(table_of(information=[0, 1, 2, 5, 4, 4, 4, 4, 4, 9, 9, 9]), tmp_path / TABLE)
    plot = tmp_path / "figure.svg"
    call = ["trajectory", str(tmp_path), "--plot", str(plot)]
    shown = CliRunner().invoke(genaudit, call, catch_exceptions=False)
    assert "Kendall's τ with the training loss over 12 epochs" in shown.output
    assert "epoch 3 be kept" in " ".join(shown.output.split())
    first = plot.read_bytes()
    assert b"suggested stop" in first
    draw(trajectory_of(table_of(information=[0, 1, 2, 5, 4, 4, 4, 4, 4, 9, 9, 9])), plot)
    assert plot.read_bytes() == first
    with pytest.raises(ConfigError, match=r"a figure cannot be written as figure\.nothing"):
        draw(trajectory_of(table_of()), tmp_path / "figure.nothing")
    shown = CliRunner().invoke(genaudit, [*call[:2], "--json"], catch_exceptions=False)
    told = json.loads(shown.output)
    assert told["suggested_epoch"] == 3
    assert told["epochs"] == list(range(12))
    assert len(told["rows"]) == 24
