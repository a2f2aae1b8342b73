"""`audit.toml`: what is accepted, what is refused, and in which words."""

import datetime
import math
from pathlib import Path

import pytest

from audit.errors import ConfigError
from audit.runs.config import AuditConfig, EngineConfig, RunOptions, default_cache

EXAMPLE = """
[dataset]
name = "image_folder"           # plugin
root = "data/train"
transform = { input_size = [1, 48, 48], mean = [0.5], std = [0.5], crop_pct = 1.0 }
[[checkpoints]]
model = "resnet18"              # timm name, hub id, or "module:factory"
weights = "checkpoints/resnet18-*.safetensors"
model_args = { num_classes = 16, in_chans = 1 }
[measures]
include = ["default"]           # or names
[held_out]                      # optional
table = "held_out.csv"
"""

MINIMAL = {"dataset": {"name": "digits"}, "checkpoints": [{"model": "resnet18"}]}


def parse(**changes):
    content = {name: part for name, part in {**MINIMAL, **changes}.items() if part is not None}
    return AuditConfig.parse(content, Path("/base"), "audit.toml")


def refusal(**changes):
    """The lines of the message below its first."""
    with pytest.raises(ConfigError) as caught:
        parse(**changes)
    first, *lines = str(caught.value).splitlines()
    assert first == "audit.toml cannot be used:"
    assert all(line.startswith("  ") for line in lines)
    return [line.removeprefix("  ") for line in lines]


def read(folder, text):
    path = folder / "audit.toml"
    path.write_text(text, encoding="utf-8")
    return AuditConfig.read(path)


def test_config_reads_the_documented_example(tmp_path):
    config = read(tmp_path, EXAMPLE)
    assert config.dataset.name == "image_folder"
    assert config.dataset.options == {"root": "data/train"}
    assert config.dataset_options == {"root": str(tmp_path / "data/train")}
    assert config.dataset.transform == {
        "input_size": [1, 48, 48],
        "mean": [0.5],
        "std": [0.5],
        "crop_pct": 1.0,
    }
    [checkpoint] = config.checkpoints
    assert checkpoint.model == "resnet18"
    assert checkpoint.model_args == {"num_classes": 16, "in_chans": 1}
    assert not checkpoint.pretrained
    assert checkpoint.name is None
    assert config.measures.include == ("default",)
    assert config.held_out.table == "held_out.csv"
    assert config.base == tmp_path


def test_config_has_documented_defaults():
    config = parse()
    assert config.measures.model_dump() == {
        "include": ("default",),
        "exclude": (),
        "images_per_class": 100,
        "max_classes": 20,
        "batch_size": 64,
        "precision": "float32",
        "layers": ("stages",),
        "on_doubt": "flag",
    }
    assert config.held_out is None
    assert config.reports.include is None
    assert config.reports.options == {}
    assert config.engine.name == "local"
    assert config.engine.options == {}
    assert config.seed == 0
    assert config.dataset.transform == {}


def test_config_reads_every_key(tmp_path):
    config = read(
        tmp_path,
        'seed = 7\n[dataset]\nname = "ñ"\nanything = { a = [1] }\n'
        '[[checkpoints]]\nmodel = "a:b"\nname = "x"\npretrained = true\n'
        '[[checkpoints]]\nmodel = "hf-hub:c/d@0"\nweights = "w.pt"\n'
        '[measures]\ninclude = ["all"]\nexclude = ["random"]\nimages_per_class = 0\n'
        'batch_size = "auto"\nprecision = "bfloat16"\nlayers = ["act1", "layer4.1"]\n'
        '[reports]\ninclude = ["json", "html"]\n[reports.html]\ntitle = "T"\n'
        '[engine]\nname = "ray"\nretries = 1\n',
    )
    assert config.seed == 7
    assert config.dataset.options == {"anything": {"a": [1]}}
    assert [entry.model for entry in config.checkpoints] == ["a:b", "hf-hub:c/d@0"]
    assert config.checkpoints[0].pretrained
    assert config.measures.layers == ("act1", "layer4.1")
    assert (config.measures.batch_size, config.measures.precision) == ("auto", "bfloat16")
    assert config.reports.include == ("json", "html")
    assert config.reports.options == {"html": {"title": "T"}}
    assert config.engine.name == "ray"
    assert config.engine.options == {"retries": 1}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("data", "{base}/data"),
        ("w/model-*.safetensors", "{base}/w/model-*.safetensors"),
        ("w/**/[ab]?.pt", "{base}/w/**/[ab]?.pt"),
        ("a b/é漢.csv", "{base}/a b/é漢.csv"),
        ("/elsewhere/data", "/elsewhere/data"),
        ("~/data", "{home}/data"),
    ],
)
def test_config_paths_start_from_the_folder_of_the_file(tmp_path, monkeypatch, text, expected):
    monkeypatch.setenv("HOME", "/home/someone")
    folder = tmp_path / "with space"
    folder.mkdir()
    monkeypatch.chdir(tmp_path)
    (folder / "audit.toml").write_text(EXAMPLE, encoding="utf-8")
    config = AuditConfig.read(Path("with space/audit.toml"))
    assert str(config.path(text)) == expected.format(base=folder, home="/home/someone")


def test_config_path_of_nobodys_home_is_refused():
    with pytest.raises(ConfigError) as caught:
        parse().path("~no-such-person/data")
    assert str(caught.value) == (
        "path '~no-such-person/data' names a home folder that does not exist"
    )


@pytest.mark.parametrize("init", [None, "init.pt", "init/{name}.pt", "a/{name}/{name}.safetensors"])
def test_config_takes_the_weights_before_training(init):
    section = {"model": "resnet18", **({"init": init} if init else {})}
    assert parse(checkpoints=[section]).checkpoints[0].init == init


@pytest.mark.parametrize(
    "init", ["{}", "{0}.pt", "{Name}.pt", "{name.upper}", "{name!r}", "{{name}}", "a{", "a}", "}{"]
)
def test_config_refuses_other_braces_in_the_weights_before_training(init):
    assert refusal(checkpoints=[{"model": "resnet18", "init": init}]) == [
        f"checkpoints.0.init: must have no braces but {{name}}, the checkpoint's name; "
        f"found {init!r}"
    ]


def test_config_cannot_be_changed():
    config = parse()
    with pytest.raises(ValueError, match="Instance is frozen"):
        config.seed = 3


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"mesures": {}}, "mesures: unknown key 'mesures'; did you mean 'measures'?"),
        ({"xyz": 1}, "xyz: unknown key 'xyz'"),
        ({"base": "/"}, "base: unknown key 'base'"),
        (
            {"measures": {"images_per_clas": 5}},
            "measures.images_per_clas: unknown key 'images_per_clas'; "
            "did you mean 'images_per_class'?",
        ),
        (
            {"checkpoints": [{"model": "a"}, {"model": "b", "wieghts": "c"}]},
            "checkpoints.1.wieghts: unknown key 'wieghts'; did you mean 'weights'?",
        ),
        (
            {"held_out": {"table": "a.csv", "tabel": "b"}},
            "held_out.tabel: unknown key 'tabel'; did you mean 'table'?",
        ),
        (
            {"reports": {"inclde": ["html"]}},
            "reports.inclde: unknown key 'inclde'; did you mean 'include'? a reporter's options "
            "stand in [reports.NAME]",
        ),
    ],
)
def test_config_unknown_key_is_refused_with_the_nearest(changes, line):
    assert refusal(**changes) == [line]


@pytest.mark.parametrize(
    ("changes", "lines"),
    [
        ({"dataset": None}, ["dataset: required, but not given"]),
        ({"checkpoints": None}, ["checkpoints: required, but not given"]),
        ({"checkpoints": []}, ["checkpoints: at least one is needed"]),
        ({"dataset": {}}, ["dataset.name: required, but not given"]),
        ({"checkpoints": [{}]}, ["checkpoints.0.model: required, but not given"]),
        ({"held_out": {}}, ["held_out: give `table`, `images`, or both"]),
        (
            {"held_out": {"images": 3}},
            ["held_out.images: must be a path, a table of a dataset's options, or true; found 3"],
        ),
        ({"measures": {"layers": []}}, ["measures.layers: at least one is needed"]),
    ],
)
def test_config_missing_section_or_key_is_refused(changes, lines):
    assert refusal(**changes) == lines


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"dataset": "digits"}, "dataset: must be a table; found 'digits'"),
        ({"dataset": {"name": 3}}, "dataset.name: must be a string; found 3"),
        (
            {"dataset": {"name": "digits", "transform": [1]}},
            "dataset.transform: must be a table; found [1]",
        ),
        (
            {"checkpoints": {"model": "a"}},
            "checkpoints: must be a list; write [[checkpoints]] before each",
        ),
        ({"checkpoints": ["a"]}, "checkpoints.0: must be a table; found 'a'"),
        (
            {"checkpoints": [{"model": "a", "model_args": 1}]},
            "checkpoints.0.model_args: must be a table; found 1",
        ),
        (
            {"checkpoints": [{"model": "a", "pretrained": 1}]},
            "checkpoints.0.pretrained: must be true or false; found 1",
        ),
        (
            {"checkpoints": [{"model": "a", "init": 1}]},
            "checkpoints.0.init: must be a string; found 1",
        ),
        ({"measures": []}, "measures: must be a table; found []"),
        ({"measures": {"include": "all"}}, "measures.include: must be a list; found 'all'"),
        ({"measures": {"include": [1]}}, "measures.include.0: must be a string; found 1"),
        (
            {"measures": {"batch_size": 0}},
            'measures.batch_size: must be a whole number of at least 1, or "auto"; found 0',
        ),
        (
            {"measures": {"batch_size": 2.0}},
            'measures.batch_size: must be a whole number of at least 1, or "auto"; found 2.0',
        ),
        (
            {"measures": {"images_per_class": -1}},
            "measures.images_per_class: must be greater than or equal to 0; found -1",
        ),
        ({"measures": {"layers": 3}}, "measures.layers: must be a list; found 3"),
        ({"seed": "3"}, "seed: must be a whole number; found '3'"),
        ({"seed": True}, "seed: must be a whole number; found True"),
        ({"seed": 1.5}, "seed: must be a whole number; found 1.5"),
        ({"held_out": "a.csv"}, "held_out: must be a table; found 'a.csv'"),
        ({"reports": ["html"]}, "reports: must be a table; found ['html']"),
        ({"reports": {"include": "html"}}, "reports.include: must be a list; found 'html'"),
        ({"engine": "local"}, "engine: must be a table; found 'local'"),
        ({"engine": {"name": 1}}, "engine.name: must be a string; found 1"),
    ],
)
def test_config_wrong_type_is_refused(changes, line):
    assert refusal(**changes) == [line]


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_config_values_no_cache_key_can_hold_are_refused(number):
    checkpoints = [{"model": "a", "model_args": {"rates": [0.5, number]}}]
    assert refusal(checkpoints=checkpoints) == [
        f"checkpoints.0.model_args.rates.1: must be a finite number; found {number}"
    ]
    assert refusal(dataset={"name": "digits", "since": datetime.date(2020, 1, 2)}) == [
        "dataset.since: dates and times must be written as strings; found 2020-01-02"
    ]


def test_config_lists_every_problem_at_once():
    assert refusal(seed=-1, extra=1, checkpoints=[{"model": 1}], measures={"include": 1}) == [
        "checkpoints.0.model: must be a string; found 1",
        "measures.include: must be a list; found 1",
        "seed: must be greater than or equal to 0; found -1",
        "extra: unknown key 'extra'",
    ]


def test_config_that_does_not_exist_says_so(tmp_path):
    path = tmp_path / "audit.toml"
    with pytest.raises(ConfigError) as caught:
        AuditConfig.read(path)
    assert str(caught.value) == (
        f"configuration {path} cannot be read: No such file or directory; "
        "`genaudit demo` writes an example"
    )


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"seed = ", "Invalid value (at end of document)"),
        (b"a = 1\na = 2", "Cannot overwrite a value (at end of document)"),
        (b"a = " + b"[" * 100_000, "it is nested too deeply"),
    ],
)
def test_config_that_is_not_toml_says_where(tmp_path, content, reason):
    path = tmp_path / "audit.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        AuditConfig.read(path)
    assert str(caught.value).startswith(f"configuration {path} is not valid TOML: {reason}")


def test_default_cache_follows_the_environment(monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.delenv("GENAUDIT_CACHE", raising=False)
    monkeypatch.delenv("GENAUDIT_LOCAL", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert default_cache() == Path("/home/someone/.cache/genaudit")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert default_cache() == Path("/xdg/genaudit")
    monkeypatch.setenv("GENAUDIT_CACHE", "/chosen")
    assert default_cache() == Path("/chosen")
    assert RunOptions().cache == Path("/chosen")


def test_run_options_refuse_what_nobody_reads():
    with pytest.raises(ValueError, match="Extra inputs are not permitted"):
        RunOptions(ouput="x")
    with pytest.raises(ValueError, match="greater than or equal to 0"):
        RunOptions(workers=-1)


def test_the_engine_of_a_call_goes_before_the_configurations():
    configured = EngineConfig(name="ray", address="auto")
    assert RunOptions().engine_of(configured) == configured
    assert RunOptions(engine="ray").engine_of(configured) == configured
    assert RunOptions(engine="local").engine_of(configured) == EngineConfig(name="local")


def test_tables_nested_without_end_are_refused(tmp_path):
    path = tmp_path / "audit.toml"
    path.write_text(f"[dataset]\nname = 'digits'\n[dataset.{'.'.join('x' * 3000)}]\ny = 1\n")
    with pytest.raises(ConfigError, match=r"nested too deep|not valid TOML"):
        AuditConfig.read(path)
