"""Tables of which nothing can be said, or too little, or that name what is not there."""

import numpy as np
import pandas as pd
import pytest

from audit.correlation import correlate, read_held_out
from audit.errors import ConfigError, DataError
from audit.folder.cells import read_cells
from audit.ranking import load_card
from audit.runs.config import AuditConfig
from audit.statistics import kendall
from tests.campaigns.small_folder import SmallFolder

# 30: nothing to correlate, nothing to rank


def table(n=12, **columns):
    rng = np.random.default_rng(0)
    given = {
        "checkpoint": [f"c{i}" for i in range(n)],
        "held_out_accuracy": np.linspace(0.5, 0.9, n),
        "norm": rng.normal(size=n),
    }
    return pd.DataFrame(given | columns)


UNDEFINED = {
    "constant target": table(held_out_accuracy=0.5),
    "constant measure": table(norm=1.0),
    "fewer than 3 models": table(2),
}


@pytest.mark.parametrize("reason", UNDEFINED)
def test_row_30_what_cannot_be_correlated_is_undefined_with_the_reason(reason):
    found = correlate(UNDEFINED[reason], n_bootstrap=50, n_permutations=99)
    row = found.set_index("measure").loc["norm"]
    assert np.isnan(row["kendall"])
    assert row["verdict"] == f"undefined: {reason}"
    result = kendall(UNDEFINED[reason], "norm")
    assert np.isnan(result.value)
    assert result.reason == f"undefined: {reason}"


def test_row_30_networks_that_are_all_the_same_are_not_ranked_and_keep_their_numbers(tmp_path):
    folder = SmallFolder(tmp_path / "user", ("path_norm",))
    folder.write({name: {"seed": 1} for name in ("one", "two")})
    with pytest.raises(DataError) as caught:
        folder.run()
    assert str(caught.value) == (
        "ranking without held-out accuracies needs a measure with direction 'higher' or 'lower' "
        "that differs between checkpoints; found none: measure more, or give held-out accuracies"
    )
    assert folder.values("one")["path_norm"] == folder.values("two")["path_norm"]


# 32: held-out tables that name what is not there


def refused(tmp_path, rows, checkpoints=("one", "two", "three")):
    path = tmp_path / "held_out.csv"
    path.write_text("\n".join(["checkpoint,held_out_accuracy", *rows, ""]))
    with pytest.raises(DataError) as caught:
        read_held_out(path, list(checkpoints))
    return str(caught.value).replace(f"{path}", "TABLE")


def test_row_32_names_that_were_not_measured_are_told_both_ways(tmp_path):
    assert refused(tmp_path, ["one,0.5", "tow,0.6"]) == (
        "held-out table TABLE has rows for checkpoints that were not measured: 'tow'; measured, "
        "but without a row: 'two', 'three'; known checkpoints: 'one', 'two', 'three'; nearest to "
        "'tow': 'two'"
    )


def test_row_32_names_with_two_accuracies_are_told_with_their_lines(tmp_path):
    assert refused(tmp_path, ["one,0.5", "two,0.6", "one,0.7"]) == (
        "held-out table TABLE names 'one' more than once, with different values: "
        "held_out_accuracy of 'one' is 0.5 in line 2 and 0.7 in line 4; keep one row each"
    )


def test_row_32_checkpoints_without_a_row_are_noted_and_ranked(tmp_path):
    path = tmp_path / "held_out.csv"
    path.write_text("checkpoint,held_out_accuracy\none,0.5\n")
    found = read_held_out(path, ["one", "two"])
    assert found.notes == ["no row for 'two': ranked, not used in correlation"]


@pytest.mark.parametrize("text", ["checkpoint,\rheld_out_accuracy\n", 'sep="\n', "sep=\r\n"])
def test_row_32_tables_with_odd_first_lines_are_refused(tmp_path, text):
    path = tmp_path / "held_out.csv"
    path.write_bytes((text + "one,0.5\n").encode())
    with pytest.raises(DataError, match="held-out table "):
        read_held_out(path, ["one"])


def test_an_unknown_key_of_any_section_is_named(tmp_path):
    for section in ("checkpoints", "measures", "held_out", "ranking"):
        path = tmp_path / "audit.toml"
        brackets = ("[[", "]]") if section == "checkpoints" else ("[", "]")
        path.write_text(f"{brackets[0]}{section}{brackets[1]}\nnonsense = 1\n")
        with pytest.raises(ConfigError, match="unknown key 'nonsense'"):
            AuditConfig.read(path)


def test_a_card_with_an_integer_of_five_thousand_digits_is_refused(tmp_path):
    path = tmp_path / "card.json"
    path.write_text('{"format": ' + "9" * 5000 + "}")
    with pytest.raises(DataError, match="is not JSON: Exceeds the limit"):
        load_card(path)


def test_row_32_a_table_of_endless_columns_is_refused(tmp_path):
    path = tmp_path / "held_out.csv"
    names = ["checkpoint", "held_out_accuracy", *(f"hp.{n}" for n in range(20_000))]
    path.write_text(f"{','.join(names)}\n{','.join(['1'] * len(names))}\n")
    with pytest.raises(DataError, match=r"has 20,002 columns; 2,000 are read at most"):
        read_cells(path, "the table")
