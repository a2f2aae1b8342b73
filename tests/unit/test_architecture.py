"""The rules between layers, read off the imports of every module."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

#: Layers from the ground up; a module may import its own layer and those below.
LAYERS = [
    {"arrays", "errors", "files"},
    {"topology", "entropy", "contracts", "units"},
    {"hookspecs", "config", "images", "sample", "loading"},
    {"registry", "activations", "recorder", "store", "table", "record"},
    {"views", "statistics", "conformance"},
    {"work", "study", "correlation", "ranking", "inspection", "zoo"},
    {"stages"},
    {"pipeline"},
    {"demo", "forecast"},
    {"cli", "__main__"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}

#: What plugins may use of `audit`.
FOR_PLUGINS = {"arrays", "errors", "contracts", "hookspecs", "topology", "entropy", "units"}
FOR_PLUGINS |= {"images", "sample", "files"}

#: Library → where alone it may be imported.
OWNERS = {
    "pluggy": {"audit/hookspecs.py", "audit/registry.py"},
    "gudhi": {"audit/topology/diagrams.py"},
    "numba": {"audit/topology/"},
    "llvmlite": {"audit/topology/kernels/vectors.py"},
    "timm": {"plugins/audit_timm/"},
    "click": {"audit/cli/"},
    "sklearn": {
        *("audit/correlation/", "audit/ranking/", "audit/statistics/"),
        *("plugins/audit_measures/", "plugins/audit_datasets/digits.py"),
    },
}

SOURCES = sorted([*(ROOT / "audit").rglob("*.py"), *(ROOT / "plugins").rglob("*.py")])


def imports(path):
    """Every module name a file imports, at any depth."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module
            if node.module == "audit":
                yield from (f"audit.{alias.name}" for alias in node.names)


def relative(path):
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_imports_point_down(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    used = {name.split(".")[1] for name in imports(path) if name.startswith("audit.")}
    if parts[0] == "plugins":
        assert used <= FOR_PLUGINS
    elif len(parts) > 1 and parts[1] != "__init__":
        assert parts[1] in LEVEL, f"{relative(path)} belongs to no layer"
        above = {name for name in used if LEVEL.get(name, -1) > LEVEL[parts[1]]}
        assert not above


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_audit_imports_no_plugin(path):
    if relative(path).startswith("audit/"):
        assert not [name for name in imports(path) if name.startswith("audit_")]


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_each_library_has_one_owner(path):
    for library, homes in OWNERS.items():
        if any(name.split(".")[0] == library for name in imports(path)):
            assert any(relative(path).startswith(home) for home in homes), library


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_torch_load_is_called_in_loading_alone(path):
    calls = [
        node
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Attribute)
        and node.attr == "load"
        and isinstance(node.value, ast.Name)
        and node.value.id == "torch"
    ]
    assert not calls or relative(path) == "audit/loading.py"


def test_held_out_images_and_accuracies_stay_out_of_measures():
    """No measure, view or task mentions what was held out."""
    for path in SOURCES:
        name = relative(path)
        if name.startswith(("plugins/audit_measures/", "audit/views.py", "audit/work.py")):
            words = ast.walk(ast.parse(path.read_text("utf-8")))
            strings = [n.value for n in words if isinstance(n, ast.Constant)]
            assert "held_out" not in strings, name
