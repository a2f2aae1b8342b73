"""Whatever is wrong with JSON or TOML is a `ValueError`, and a sentence where a person gave it."""

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from audit.cli import genaudit
from audit.errors import CheckpointError, ConfigError, DataError
from audit.folder.tables import read_measures
from audit.measuring.class_order import natural_order, read_class_map
from audit.network.weights import read_weights
from audit.notations import json_of, toml_of
from audit.reproduction.form import read_form
from audit.runs.config import AuditConfig
from audit.zoo.tasks import read_task

DEEP = "[" * 20_000
ENDLESS = "9" * 5000


@pytest.mark.parametrize("text", [DEEP, ENDLESS, "{", f'{{"a": {ENDLESS}}}', '{"a":' * 20_000])
def test_json_that_is_wrong_is_a_value_error(text):
    with pytest.raises(ValueError, match=r"."):
        json_of(text)


@pytest.mark.parametrize("text", [f"a = {DEEP}", f"a = {ENDLESS}", "a = ", "a = " + "{b=" * 20_000])
def test_toml_that_is_wrong_is_a_value_error(text):
    with pytest.raises(ValueError, match=r"."):
        toml_of(text)


@pytest.mark.parametrize("read", [read_task, AuditConfig.read, read_form])
@pytest.mark.parametrize("text", [f"a = {DEEP}", f"a = {ENDLESS}"])
def test_files_of_toml_that_is_wrong_are_refused_by_name(tmp_path, read, text):
    path = tmp_path / "file.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"file\.toml is not (valid )?TOML: "):
        read(path if read != read_form else str(path))


@pytest.mark.parametrize("value", [DEEP, ENDLESS])
def test_options_that_are_wrong_are_refused(value):
    ended = CliRunner().invoke(genaudit, ["layers", "resnet18", "--args", value])
    assert ended.exit_code == 2, ended.output
    assert "Invalid value" in ended.output


def test_a_class_map_with_an_endless_index_is_refused(tmp_path):
    path = tmp_path / "map.txt"
    path.write_text(f"a 0\nb {ENDLESS}\n")
    with pytest.raises(ConfigError, match="here"):
        read_class_map(path, ["a", "b"], "here")


def test_names_with_endless_numbers_have_an_order():
    names = ["a10", f"a{ENDLESS}", "a9"]
    assert natural_order(names) == ("a9", "a10", f"a{ENDLESS}")


def test_a_table_with_endless_integers_is_refused(tmp_path):
    frame = pd.DataFrame(
        {
            "checkpoint": ["a", "b"],
            "measure": "m",
            "version": "1",
            "value": [str(2**70), "True"],
            "status": "ok",
            "reason": "",
            "seconds": np.nan,
        }
    )
    frame.to_csv(tmp_path / "measures.csv", index=False)
    with pytest.raises(DataError, match="value"):
        read_measures(tmp_path / "measures.csv")


def test_a_shard_that_is_a_folder_is_refused(tmp_path):
    (tmp_path / "3").mkdir()
    index = tmp_path / "model.safetensors.index.json"
    index.write_text('{"weight_map": {"w": "3"}}')
    with pytest.raises(CheckpointError, match="its shard 3 is no plain file"):
        read_weights(index)
