"""Plugins are found, held to their contract and looked up by name."""

import os
import sys
import types

import pytest
from programs import run_program

from audit.errors import ConfigError, PluginError
from audit.plugin import (
    DatasetEntry,
    EngineEntry,
    MeasureEntry,
    ModelEntry,
    Part,
    ReporterEntry,
    hookimpl,
)
from audit.plugin.listing import list_measures, list_plugins
from audit.plugin.registry import HOOKS, Registry, installed


def measure(name, **changes):
    fields = {"version": "1", "direction": "lower", "invariance": "none", "cost": "weights"}
    return MeasureEntry(
        name=name, summary=f"The {name}.", compute=lambda view: 0.0, **{**fields, **changes}
    )


def dataset(name):
    return DatasetEntry(name=name, summary="", version="1", open=lambda split, options: None)


def source(name, references):
    return ModelEntry(
        name=name,
        summary="",
        version="1",
        matches=lambda reference: reference in references,
        names=lambda: references,
        create=lambda *_: None,
        data_config=lambda *_: None,
    )


def plugin(**hooks):
    """A module that implements hooks; each gives these entries."""
    module = types.ModuleType("plugin")
    for name, entries in hooks.items():
        # bound outside the signature, where pluggy would take it for an argument of the hook
        setattr(module, name, hookimpl((lambda found: lambda: found)(entries)))
    return module


def measures(*names, **changes):
    return plugin(genaudit_measures=[measure(name, **changes) for name in names])


def message(error, *arguments, call=Registry):
    with pytest.raises(error) as caught:
        call(*arguments)
    assert type(caught.value) is error
    return str(caught.value)


def test_registry_holds_every_kind_by_name_with_its_owner():
    engine = EngineEntry(name="e", summary="", version="1", run=lambda *_: [])
    reporter = ReporterEntry(name="r", summary="", version="1", write=lambda *_: [])
    registry = Registry(
        {
            "one": plugin(
                genaudit_measures=[measure("z"), measure("a")],
                genaudit_datasets=[dataset("d")],
                genaudit_models=[source("s", ["net"])],
            ),
            "two": plugin(genaudit_engines=[engine], genaudit_reporters=[reporter]),
        },
        {"one": "genaudit-one 1.0"},
    )
    assert list(registry.measures) == ["a", "z"]
    assert registry.dataset("d").name == "d"
    assert registry.engine("e") is engine
    assert registry.reporters == {"r": reporter}
    assert registry.model_source("net").name == "s"
    assert registry.owners["genaudit_measures", "a"] == "one"
    assert registry.owners["genaudit_engines", "e"] == "two"


def test_registry_does_not_depend_on_the_order_of_plugins():
    one, two = measures("b", "d"), measures("a", "c")
    assert list(Registry({"one": one, "two": two}).measures) == ["a", "b", "c", "d"]
    assert list(Registry({"two": two, "one": one}).measures) == ["a", "b", "c", "d"]


def test_registry_two_plugins_that_provide_one_name_are_refused():
    text = message(PluginError, {"first": measures("same"), "second": measures("a", "same")})
    assert text in {
        f"plugins {pair} both provide 'same' through genaudit_measures; uninstall or rename one"
        for pair in ("'first' and 'second'", "'second' and 'first'")
    }


def test_registry_one_name_of_two_kinds_is_allowed():
    registry = Registry(
        {"p": plugin(genaudit_measures=[measure("x")], genaudit_datasets=[dataset("x")])}
    )
    assert registry.measures["x"] is not registry.datasets["x"]


@pytest.mark.parametrize("hook", HOOKS)
def test_registry_entry_of_the_wrong_type_is_refused(hook):
    text = message(PluginError, {"p": plugin(**{hook: ["text"]})})
    assert text == (
        f"plugin 'p': {hook} must return {HOOKS[hook].__name__} objects, but one is a str"
    )


@pytest.mark.parametrize("decorate", [hookimpl, lambda function: function])
def test_registry_unknown_hook_is_refused(decorate):
    def misspelt():
        return []

    module = types.ModuleType("plugin")
    module.genaudit_mesures = decorate(misspelt)
    assert message(PluginError, {"p": module}) == (
        "plugin 'p' implements 'genaudit_mesures', which is not a hook; the hooks are "
        + ", ".join(HOOKS)
    )


def test_registry_unknown_hook_of_an_object_is_refused():
    class Plugin:
        @hookimpl
        def measures(self):
            return []

    assert message(PluginError, {"p": Plugin()}).startswith(
        "plugin 'p' implements 'measures', which is not a hook; "
    )


def test_registry_takes_objects_as_plugins():
    class Plugin:
        @hookimpl
        def genaudit_measures(self):
            return [measure("a")]

    assert list(Registry({"p": Plugin()}).measures) == ["a"]


def test_registry_hook_without_its_decorator_is_refused():
    module = types.ModuleType("plugin")
    module.genaudit_measures = lambda: [measure("a")]
    assert message(PluginError, {"p": module}) == (
        "plugin 'p': genaudit_measures is not decorated with @audit.plugin.hookimpl "
        "and would be passed over; decorate it"
    )


def test_registry_lets_a_plugin_import_packages_named_like_hooks():
    module = measures("a")
    module.genaudit_helpers = types.ModuleType("genaudit_helpers")
    module.genaudit_version = "1.0"
    assert list(Registry({"p": module}).measures) == ["a"]


def test_registry_hook_with_arguments_is_refused():
    module = types.ModuleType("plugin")
    module.genaudit_measures = hookimpl(lambda view: [])
    text = message(PluginError, {"p": module})
    assert text.startswith("plugin 'p': Plugin 'p' for hook 'genaudit_measures'")
    assert "{'view'}" in text


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda: 1 / 0, "ZeroDivisionError: division by zero"),
        (lambda: None, "TypeError: 'NoneType' object is not iterable"),
    ],
)
def test_registry_hook_that_fails_is_named(function, reason):
    module = types.ModuleType("plugin")
    module.genaudit_datasets = hookimpl(function)
    assert message(PluginError, {"p": module}) == (
        f"plugin 'p': genaudit_datasets failed: {reason}; repair or uninstall it"
    )


@pytest.fixture
def registry():
    return Registry(
        {
            "base": measures("random", "parameters", baseline=True),
            "extra": measures("path_norm", "feature_entropy", "feature_entropy.clique"),
            "rare": measures(
                "slow",
                default=False,
                direction="higher",
                parts=(Part(name="layer_*", summary="a layer", direction="lower"),),
            ),
        }
    )


@pytest.mark.parametrize(
    ("include", "exclude", "names"),
    [
        (
            ["default"],
            [],
            "feature_entropy feature_entropy.clique parameters path_norm random",
        ),
        (
            ["all"],
            [],
            "feature_entropy feature_entropy.clique parameters path_norm random slow",
        ),
        (["path_norm"], [], "parameters path_norm random"),
        ([], [], "parameters random"),
        (["slow", "slow", "path_norm"], [], "parameters path_norm random slow"),
        (
            ["all"],
            ["random", "slow"],
            "feature_entropy feature_entropy.clique parameters path_norm",
        ),
        (["path_norm"], ["parameters", "random"], "path_norm"),
    ],
)
def test_select_measures_by_group_and_name(registry, include, exclude, names):
    found = [entry.name for entry in registry.select_measures(include, exclude)]
    assert found == names.split()


def test_select_measures_refuses_unknown_names_with_the_nearest(registry):
    for arguments in ([["path_nrom"]], [["default"], ["path_nrom"]]):
        assert message(ConfigError, *arguments, call=registry.select_measures) == (
            "unknown measure 'path_nrom'; did you mean 'path_norm'? "
            "`genaudit measures` lists every measure"
        )


def test_select_measures_refuses_to_select_nothing(registry):
    assert message(ConfigError, [], ["random", "parameters"], call=registry.select_measures) == (
        "no measure is left: [measures] excludes every one it includes"
    )


def test_look_ups_name_the_nearest(registry):
    full = Registry({"p": plugin(genaudit_datasets=[dataset("digits")])})
    assert message(ConfigError, "digit", call=full.dataset) == (
        "unknown dataset 'digit'; did you mean 'digits'? `genaudit plugins` lists every dataset"
    )
    assert message(ConfigError, "ray", call=registry.engine) == (
        "unknown engine 'ray'; `genaudit plugins` lists every engine"
    )


def test_model_source_is_the_one_that_matches_and_unknown_names_get_the_nearest():
    registry = Registry(
        {
            "a": plugin(genaudit_models=[source("one", ["resnet18"])]),
            "b": plugin(genaudit_models=[source("two", ["vit_tiny"])]),
        }
    )
    assert registry.model_source("vit_tiny").name == "two"
    assert message(ConfigError, "resnet81", call=registry.model_source) == (
        "unknown model 'resnet81'; did you mean 'resnet18'? `genaudit models` lists them"
    )


@pytest.mark.parametrize(
    ("column", "name"),
    [
        ("feature_entropy", "feature_entropy"),
        ("feature_entropy.layer_1", "feature_entropy"),
        ("feature_entropy.clique", "feature_entropy.clique"),
        ("feature_entropy.clique.layer_1.mean", "feature_entropy.clique"),
        ("feature_entropy.cliques", "feature_entropy"),
        ("feature_entropy_2", None),
        ("hp.batch_size", None),
        ("", None),
    ],
)
def test_measure_of_is_the_longest_registered_prefix(registry, column, name):
    found = registry.measure_of(column)
    assert (found.name if found else None) == name


def test_direction_is_that_of_the_measure_and_of_each_part_its_own(registry):
    assert registry.direction("slow") == "higher"
    assert registry.direction("slow.layer_3") == "lower"
    assert registry.direction("slow.undeclared") == "none"
    assert registry.direction("path_norm") == "lower"
    assert registry.direction("held_out_accuracy") == "none"


def test_list_plugins_and_measures_show_what_is_installed():
    plugins, found = list_plugins(), list_measures()
    assert plugins.columns.tolist() == [
        "kind",
        "name",
        "version",
        "plugin",
        "distribution",
        "summary",
    ]
    assert {"model", "dataset", "measure", "engine", "reporter"} <= set(plugins["kind"])
    of_measures = plugins[plugins["kind"] == "measure"]
    assert of_measures["name"].tolist() == found["name"].tolist() == list(installed().measures)
    assert not found.isna().any().any()


def distribution(folder, name, module, points):
    """A package with a module and entry points, as an installer would leave it."""
    folder.mkdir(exist_ok=True)
    info = folder / f"{name.replace('-', '_')}-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
    lines = [f"{point} = {target}" for point, target in points.items()]
    (info / "entry_points.txt").write_text("\n".join(["[genaudit]", *lines, ""]))
    for file_name, content in module.items():
        (folder / file_name).write_text(content)


def load_installed(*folders, named=""):
    """Load plugins in a fresh process that also sees these folders."""
    script = (
        "from audit.errors import PluginError\nfrom audit.plugin.registry import installed\n"
        "try:\n    print(*sorted(installed().distributions.items()))\n"
        "except PluginError as error:\n    print(error)\n"
    )
    path = os.pathsep.join([*map(str, folders), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "GENAUDIT_PLUGINS": named}
    done = run_program([sys.executable, "-c", script], env=environment)
    assert done.stderr == ""
    return done.stdout.strip()


def test_installed_plugin_that_fails_to_import_is_named_with_what_brought_it(tmp_path):
    distribution(
        tmp_path, "genaudit-broken", {"broken.py": "import no_such_module\n"}, {"broken": "broken"}
    )
    assert load_installed(tmp_path, named="broken") == (
        "plugin 'broken' (broken, from genaudit-broken 1.2) cannot be imported: "
        "ModuleNotFoundError: No module named 'no_such_module'; repair or uninstall it"
    )


def test_installed_plugins_of_one_name_are_refused(tmp_path):
    for name in ("one", "two"):
        distribution(tmp_path / name, f"genaudit-{name}", {f"{name}.py": ""}, {"same": name})
    assert load_installed(tmp_path / "one", tmp_path / "two", named="same") in {
        f"two plugins are named 'same': one from genaudit-{first} 1.2, "
        f"one from genaudit-{second} 1.2; uninstall one"
        for first, second in (("one", "two"), ("two", "one"))
    }


def test_installed_plugin_is_found_once_however_often_its_folder_is_listed(tmp_path):
    distribution(tmp_path, "genaudit-extra", {"extra_plugin.py": ""}, {"extra": "extra_plugin"})
    found = load_installed(tmp_path, tmp_path, named="extra")
    assert "('extra', 'genaudit-extra 1.2')" in found
