"""The pages for readers say all there is, and what they show works."""

import ast
import dataclasses
import re
import tomllib
import types
from pathlib import Path

import pandas as pd
import pytest

import audit.plugin
from audit.conformance import (
    check_dataset,
    check_engine,
    check_measure,
    check_model,
    check_reporter,
)
from audit.plugin import AuditResult, TrainView
from audit.plugin.registry import HOOKS, Registry, installed
from audit.runs.config import (
    AuditConfig,
    CheckpointConfig,
    DatasetConfig,
    EngineConfig,
    HeldOutConfig,
    MeasuresConfig,
    RankingConfig,
    ReportsConfig,
)

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
PLUGINS = (ROOT / "docs" / "plugins.md").read_text("utf-8")
LAYOUT = (ROOT / "docs" / "layout.md").read_text("utf-8")
CONFIGURATION = (ROOT / "docs" / "configuration.md").read_text("utf-8")

SECTIONS = {
    "dataset": DatasetConfig,
    "checkpoints": CheckpointConfig,
    "measures": MeasuresConfig,
    "held_out": HeldOutConfig,
    "reports": ReportsConfig,
    "engine": EngineConfig,
    "ranking": RankingConfig,
}


def blocks(page, language):
    """(line, text) of the fenced blocks in one language."""
    text = page.read_text("utf-8")
    found = re.finditer(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [(text.count("\n", 0, match.start()) + 2, match[1]) for match in found]


def shown(language, pages=PAGES):
    """Every such block as a test's parameter, named by its place."""
    return [
        pytest.param(text, id=f"{page.name}:{line}")
        for page in pages
        for line, text in blocks(page, language)
    ]


def is_explained(name, text):
    """Whether a heading, list item, paragraph or table row begins with a name, and says more."""
    start = r"^(?:#{2,4} |- |\| )?(?:`[^`\n]+`, )*"
    return re.search(start + re.escape(f"`{name}`") + r"(?:$|\W)", text, re.MULTILINE)


def rows(text):
    """First cell → the others, of every table row that begins with code."""
    found = re.findall(r"^\| `([^`]+)` \| (.+) \|$", text, re.MULTILINE)
    return {key: cells.split(" | ") for key, cells in found}


def section(text, heading):
    """What stands below a heading, up to the next."""
    return re.split(r"^#+ ", text.split(f"{heading}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]


@pytest.mark.parametrize("hook", HOOKS)
def test_docs_explain_every_hook(hook):
    assert is_explained(hook, PLUGINS)
    assert f"def {hook}(" in PLUGINS


@pytest.mark.parametrize("name", audit.plugin.__all__)
def test_docs_explain_every_name_for_plugins(name):
    assert is_explained(name, PLUGINS)


@pytest.mark.parametrize("entry", HOOKS.values(), ids=lambda entry: entry.__name__)
def test_docs_explain_every_field_of_an_entry(entry):
    known = rows(section(PLUGINS, f"### `{entry.__name__}`"))
    assert list(known) == [field.name for field in dataclasses.fields(entry)]


def test_docs_explain_every_member_of_the_view():
    members = {name for name in (*vars(TrainView), *TrainView.__annotations__) if name[0] != "_"}
    known = {
        re.split(r"\W", key.removeprefix("view."))[0] for key in rows(PLUGINS) if "view." in key
    }
    assert members <= known


def test_docs_list_what_plugins_may_import():
    table = rows(section(PLUGINS, "## What a plugin imports"))
    words = re.findall(r"`(audit\.[\w.]+)`", audit.plugin.__doc__)
    assert set(words) <= set(table)


def test_docs_name_every_folder():
    modules = [path.parent for path in (ROOT / "audit").rglob("*") if path.is_file()]
    folders = {path.relative_to(ROOT).as_posix() for path in modules if path.name != "__pycache__"}
    assert {f"{folder}/" for folder in folders - {"audit"}} == {
        key for key in rows(LAYOUT) if key.startswith("audit/") and key.endswith("/")
    }


def keys():
    """Every key of a configuration: (its name in the page, its default)."""
    for name, field in AuditConfig.model_fields.items():
        if name not in SECTIONS and not field.exclude:
            yield name, field
    for part, model in SECTIONS.items():
        for name, field in model.model_fields.items():
            yield f"{part}.{name}", field


@pytest.mark.parametrize(("key", "field"), [pytest.param(*pair, id=pair[0]) for pair in keys()])
def test_docs_give_every_key_with_its_default(key, field):
    _, default, meaning = rows(CONFIGURATION)[key]
    assert meaning
    if field.is_required():
        assert default.startswith("required")
    elif (value := field.get_default(call_default_factory=True)) is not None:
        said = tomllib.loads(f"value = {default.strip('`')}")["value"]
        several = list(value) if isinstance(value, tuple) else value
        assert said in (several, value[0] if key == "measures.layers" else several)
    else:
        assert not default.startswith(("`", "required"))


def test_docs_know_every_section():
    part_of_file = {name for name, field in AuditConfig.model_fields.items() if not field.exclude}
    assert set(SECTIONS) == part_of_file - {"seed", "plugins"}


@pytest.mark.parametrize(
    ("kind", "place"),
    [("datasets", "dataset.{1}"), ("engines", "engine.{1}"), ("reporters", "reports.{0}.{1}")],
)
def test_docs_give_the_options_of_the_plugins_that_come_along(kind, place):
    shipped = getattr(installed(), kind)
    wanted = {place.format(name, option) for name in shipped for option in shipped[name].options}
    assert wanted <= set(rows(CONFIGURATION))


@pytest.mark.parametrize("text", shown("python"))
def test_python_in_docs_compiles(text):
    assert ast.parse(text).body


@pytest.mark.parametrize("text", shown("python", [ROOT / "docs" / "plugins.md"]))
def test_examples_of_plugins_keep_their_contracts(text, tmp_path):
    if "from my_plugin" in text:
        pytest.skip("shows a test of the reader's own plugin")
    plugin = types.ModuleType("example")
    exec(compile(text, "plugins.md", "exec"), vars(plugin))
    registry = Registry({"example": plugin})
    assert len(registry.owners) == 1
    for measure in registry.measures.values():
        check_measure(measure)
    for model in registry.models.values():
        check_model(model, model.names()[0], {"num_classes": 2})
    for dataset in registry.datasets.values():
        check_dataset(dataset, {"n": 6})
    for engine in registry.engines.values():
        check_engine(engine)
    for reporter in registry.reporters.values():
        check_reporter(reporter, result(tmp_path), tmp_path)
    for held_out in registry.held_out.values():
        check_held_out(held_out, tmp_path)


def result(folder):
    empty = pd.DataFrame()
    ranking = pd.DataFrame({"checkpoint": ["a", "b"]})
    return AuditResult(
        measures=empty, ranking=ranking, correlations=empty, held_out=empty, run={}, output=folder
    )


def check_held_out(entry, folder):
    """Read the file the page describes."""
    (folder / "top1.csv").write_text("name,top1\na,50\nz,1\n")
    known = [audit.plugin.KnownCheckpoint("a", "m", None)]
    table, notes = entry.read(folder / "top1.csv", known)
    assert table[["checkpoint", "held_out_accuracy"]].to_numpy().tolist() == [["a", 0.5]]
    assert notes == ["not in this audit: z"]


@pytest.mark.parametrize("text", shown("toml"))
def test_toml_in_docs_is_valid(text):
    content = tomllib.loads(text)
    if {"dataset", "checkpoints"} <= set(content):
        assert AuditConfig.parse(content, Path("/base"), "the page")


def slug(heading):
    """The anchor of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    for link in re.findall(r"\]\(([^)]+)\)", text):
        if re.match(r"\w+://", link):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.+)$", target.read_text("utf-8"), re.MULTILINE)
            assert anchor in {slug(heading) for heading in headings}, link
