"""`audit` names no measure, model source, dataset, engine or reporter: it looks them up."""

import ast
from pathlib import Path

import pytest

from audit.plugin.registry import installed

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "audit").rglob("*.py"))

#: Registered names that are ordinary words too, and may stand anywhere, with the reason.
ORDINARY = {"json": "the format; pydantic's `mode` as well"}
#: (file, word) → why the word stands there.
ALLOWED = {
    ("audit/runs/config.py", "local"): "the default engine: some engine has to be the default",
    ("audit/runs/forecast.py", "shapes"): "the shapes of weights, in what a forecast is kept by",
    ("audit/statistics/result.py", "train_accuracy"): "a column of held-out tables",
    ("audit/following/training_runs.py", "train_loss"): "a column of timm's summary.csv",
    ("audit/store/_format.py", "arrays"): "what an entry holds beside JSON, in its description",
    ("audit/conformance/views.py", "arrays"): "the checkpoint of a view of arrays in memory",
    (
        "audit/measuring/subject.py",
        "torchvision",
    ): "the distribution, whose version decides numbers",
    ("audit/cli/correlate.py", "train_accuracy"): "the option that names that column",
}


def docstrings(tree):
    """The constants that are docstrings, of attributes included, or stand as bare expressions."""
    return {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}


def words(tree):
    """Every text constant that a program can see, parts of f-strings included."""
    passed_over = docstrings(tree)
    constants = (node for node in ast.walk(tree) if isinstance(node, ast.Constant))
    for node in constants:
        if isinstance(node.value, str) and id(node) not in passed_over:
            yield node.value


@pytest.fixture(scope="module")
def registered():
    registry = installed()
    kinds = (
        registry.measures,
        registry.models,
        registry.datasets,
        registry.engines,
        registry.reporters,
    )
    return {name for kind in kinds for name in kind} - ORDINARY.keys()


@pytest.fixture(scope="module")
def named(registered):
    """(file, word) of every registered name in the sources."""
    return {
        (path.relative_to(ROOT).as_posix(), word)
        for path in SOURCES
        for word in words(ast.parse(path.read_text("utf-8")))
        if word in registered
    }


def test_audit_names_no_plugin_s_entry(named):
    assert named - ALLOWED.keys() == set()


def test_allowed_names_are_still_there(named):
    assert ALLOWED.keys() - named == set()


def test_words_are_read_but_docstrings_are_not():
    tree = ast.parse('"""timm"""\nx = "macs"\ndef f():\n    """digits"""\n    return f"local{x}"\n')
    assert set(words(tree)) == {"macs", "local"}
