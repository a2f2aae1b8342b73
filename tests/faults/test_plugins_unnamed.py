"""Row 31 of the faults: plugins nobody named are listed, not imported; a named one that fails is
fatal.

Packages are laid down as an installer leaves them, with a canary that writes a file when imported.
"""

import json
import sys

import pytest
from click.testing import CliRunner

from audit.cli import genaudit
from audit.errors import ConfigError, PluginError
from audit.plugin import discovery, registry
from audit.plugin.discovery import installed_plugins, name_configured, named_plugins, plugin_digest
from audit.plugin.registry import installed, installed_with

CANARY = """
from pathlib import Path

from audit.plugin import MeasureEntry, hookimpl

Path(__file__).with_suffix(".sang").touch()


@hookimpl
def genaudit_measures():
    return [
        MeasureEntry(
            name="canary_length",
            summary="how long it sang",
            compute=lambda view: 1.0,
            version="1",
            direction="none",
            invariance="none",
            varies_with=(),
            cost="weights",
        )
    ]
"""
RAISING = "raise RuntimeError('this plugin is broken')\n"


def install(folder, name, source):
    """A distribution with one plugin of its name."""
    info = folder / f"genaudit_{name}-1.2.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: genaudit-{name}\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(f"[genaudit]\n{name} = {name}_plugin\n")
    (info / "RECORD").write_text(f"{name}_plugin.py,,\n{info.name}/METADATA,,\n")
    (folder / f"{name}_plugin.py").write_text(source)


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder on Python's path with a canary and a plugin that raises; nothing is named."""
    folder = tmp_path / "site"
    install(folder, "canary", CANARY)
    install(folder, "raising", RAISING)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delenv("GENAUDIT_PLUGINS", raising=False)
    monkeypatch.setattr(discovery, "_named", set())
    monkeypatch.setattr(discovery, "_configured", set())
    registry._loaded.cache_clear()
    yield folder
    registry._loaded.cache_clear()
    sys.modules.pop("canary_plugin", None)


@pytest.fixture
def command(site):
    """Call the command in this process."""
    return lambda *arguments: CliRunner().invoke(genaudit, arguments)


def sang(site):
    return (site / "canary_plugin.sang").exists()


def test_row_31_plugins_nobody_named_are_listed_and_not_imported(site, command):
    rows = [row for row in json.loads(command("plugins", "--json").stdout) if not row["name"]]
    assert [(row["kind"], row["plugin"], row["distribution"]) for row in rows] == [
        ("not loaded", "canary", "genaudit-canary 1.2"),
        ("not loaded", "raising", "genaudit-raising 1.2"),
    ]
    assert rows[0]["summary"] == (
        "not loaded: name it in `plugins` of the configuration, --plugins or GENAUDIT_PLUGINS"
    )
    assert not sang(site)


def test_row_31_a_named_plugin_that_fails_to_import_is_named_and_fatal(site, command):
    done = command("plugins", "--plugins", "raising")
    assert isinstance(done.exception, PluginError)
    assert str(done.exception) == (
        "plugin 'raising' (raising_plugin, from genaudit-raising 1.2) cannot be imported: "
        "RuntimeError: this plugin is broken; repair or uninstall it"
    )
    assert not sang(site)


def test_row_31_a_named_plugin_is_loaded_by_option(site, command):
    assert "canary_length" in command("measures", "--plugins", "canary").stdout
    assert sang(site)


def test_row_31_a_named_plugin_is_loaded_by_variable(site, command, monkeypatch):
    monkeypatch.setenv("GENAUDIT_PLUGINS", "canary")
    assert "canary_length" in command("measures").stdout
    assert sang(site)


def test_unknown_names_say_which_plugins_are_not_loaded(site):
    with pytest.raises(ConfigError) as raised:
        installed().select_measures(["canary_length"])
    assert str(raised.value).endswith(
        "`genaudit measures` lists every measure; or name the plugin that has it in `plugins` of "
        "the configuration, --plugins or GENAUDIT_PLUGINS: 'canary', 'raising' is not loaded"
    )
    with pytest.raises(ConfigError, match=r"name the plugin that has it in .*'canary'"):
        installed().model_source("canary_net")
    assert not sang(site)


def test_a_plugin_that_is_not_installed_is_named(site):
    with pytest.raises(ConfigError) as raised:
        installed_with(["canry"])
    assert str(raised.value) == (
        "unknown plugin 'canry'; did you mean 'canary'? `genaudit plugins` lists what is installed"
    )


def test_a_configuration_gets_its_own_plugins_and_no_other_s(site):
    assert "canary_length" in installed_with(["canary"]).measures
    assert "canary_length" not in installed_with([]).measures
    assert "canary_length" in installed().measures  # what was read so far can be looked up


def test_tasks_carry_the_plugins_to_load(site, monkeypatch):
    from audit.zoo.recipes import TrainTask

    monkeypatch.setenv("GENAUDIT_PLUGINS", " raising, ,canary")
    name_configured(["other"])
    assert named_plugins() == ("canary", "other", "raising")
    assert named_plugins([]) == ("canary", "raising")
    assert TrainTask(None, site).plugins == named_plugins()


def test_run_json_tells_whose_code_was_loaded(site):
    from audit.runs.study import _describe_plugins

    told = {plugin["name"]: plugin for plugin in _describe_plugins(installed_with(["canary"]))}
    assert "raising" not in told
    assert (told["canary"]["distribution"], told["canary"]["version"]) == ("genaudit-canary", "1.2")
    assert {plugin["distribution"] for plugin in told.values()} == {"genaudit", "genaudit-canary"}
    digests = {plugin["digest"] for plugin in told.values()}
    assert len(digests) == len(told)
    assert all(len(digest) == 64 for digest in digests)


def test_digest_of_a_plugin_is_that_of_its_code_wherever_it_lies(site, tmp_path):
    def digest(name):
        found = {plugin.name: plugin for plugin in installed_plugins()}
        discovery._module_files.cache_clear()
        return plugin_digest(found[name])

    before = digest("canary")
    assert len(before) == 64
    assert before != digest("raising")
    assert digest("canary") == before
    (site / "canary_plugin.py").write_text(CANARY + "\n")
    assert digest("canary") != before
    assert not sang(site)
