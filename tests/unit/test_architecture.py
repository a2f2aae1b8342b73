"""The rules between layers, read off the imports of every module."""

import ast
import functools
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

#: Layers from the ground up; a module may import its own layer and those below.
LAYERS = [
    {"arrays", "notations", "shown", "errors", "search_path"},
    {"files", "parquet", "processors"},
    {"remote"},
    {"topology"},
    {"plugin"},
    {"store", "data", "network", "statistics", "transforms"},
    {"measuring", "folder"},
    {"conformance", "correlation", "ranking", "units"},
    {"runs"},
    {"following", "zoo"},
    {"reproduction"},
    {"cli", "__main__"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}

#: What plugins may use of `audit`, as the docstring of `audit.plugin` says.
FOR_PLUGINS = {
    *("plugin", "arrays", "errors", "notations", "processors", "topology"),
    *("data", "files", "parquet", "remote", "transforms"),
}

#: Library → where alone it may be imported.
OWNERS = {
    "pluggy": {"audit/plugin/hooks.py", "audit/plugin/registry.py"},
    "gudhi": {"audit/topology/diagrams.py"},
    "numba": {"audit/topology/"},
    "llvmlite": {"audit/topology/_kernels/vectors.py"},
    "timm": {"plugins/audit_timm/", "plugins/audit_datasets/timm_factory.py"},
    "click": {"audit/cli/"},
    "fsspec": {"audit/remote/"},
    "imagehash": {"audit/data/duplicates.py"},
    "sklearn": {
        *("audit/correlation/", "audit/ranking/", "audit/statistics/"),
        *("plugins/audit_measures/", "plugins/audit_datasets/"),
    },
}

SOURCES = sorted([*(ROOT / "audit").rglob("*.py"), *(ROOT / "plugins").rglob("*.py")])


def package_of(path, root=ROOT):
    """The dotted name of the package a file lies in."""
    parts = path.relative_to(root).parent.parts
    return ".".join(parts[1:] if parts[0] == "plugins" else parts)


def imports(tree, package):
    """Every module name a file imports, at any depth; relative names are made absolute."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")
            base = ".".join(parents[: len(parents) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


@functools.cache
def imports_of(path):
    return list(imports(ast.parse(path.read_text("utf-8")), package_of(path)))


def relative(path):
    return path.relative_to(ROOT).as_posix()


def is_module(parts):
    """Whether a dotted name is a module or package of this repository."""
    for root in (ROOT, ROOT / "plugins"):
        place = root.joinpath(*parts)
        if place.with_suffix(".py").is_file() or (place / "__init__.py").is_file():
            return True
    return False


def folders_used(path):
    """The modules and folders directly below `audit` that a file imports from."""
    parts = [name.split(".") for name in imports_of(path)]
    return {name[1] for name in parts if name[0] == "audit" and is_module(name[:2]) and name[1:]}


def problem(path):
    """What is wrong with the imports of one file, or ""."""
    used = folders_used(path)
    unknown = sorted(used - LEVEL.keys())
    if unknown:
        return f"imports {', '.join(unknown)}, which belong to no layer"
    parts = path.relative_to(ROOT).with_suffix("").parts
    if parts[0] == "plugins":
        return f"imports {sorted(used - FOR_PLUGINS)}" if used - FOR_PLUGINS else ""
    if parts[1] == "__init__":
        return ""
    if parts[1] not in LEVEL:
        return f"{parts[1]} belongs to no layer"
    above = sorted(name for name in used if LEVEL[name] > LEVEL[parts[1]])
    return f"imports {', '.join(above)} from above" if above else ""


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_imports_point_down(path):
    assert problem(path) == ""


def test_every_layer_exists():
    assert [name for name in LEVEL if not is_module(("audit", name))] == []


def test_relative_imports_are_read():
    tree = ast.parse("from . import a\nfrom .b import c\nfrom ..cli import show\n")
    found = set(imports(tree, "audit.topology"))
    assert {"audit.topology.a", "audit.topology.b.c", "audit.cli.show"} <= found


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_imported_modules_of_ours_exist(path):
    ours = [name.split(".") for name in imports_of(path)]
    for parts in ours:
        if parts[0] == "audit" or parts[0].startswith("audit_"):
            assert is_module(parts) or is_module(parts[:-1]), ".".join(parts)


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_private_modules_stay_in_their_folder(path):
    home = package_of(path)
    for name in imports_of(path):
        parts = name.split(".")
        private = [depth for depth, part in enumerate(parts) if part.startswith("_")]
        for depth in private:
            owner = ".".join(parts[:depth])
            if is_module(parts[: depth + 1]):
                assert home == owner or home.startswith(f"{owner}."), name


def test_what_plugins_may_use_stands_in_the_docstring_of_the_plugin_package():
    doc = ast.get_docstring(ast.parse((ROOT / "audit/plugin/__init__.py").read_text("utf-8")))
    page = (ROOT / "docs/plugins.md").read_text("utf-8")
    for name in FOR_PLUGINS - {"plugin"}:
        assert f"`audit.{name}`" in doc, name
        assert f"`audit.{name}`" in page, name


FOLDERS = ["data", "network", "topology", "measuring", "store", "folder", "runs", "zoo"]


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_docstring_of_a_folder_lists_its_public_modules_and_no_others(folder):
    home = ROOT / "audit" / folder
    doc = ast.get_docstring(ast.parse((home / "__init__.py").read_text("utf-8")))
    modules = [*home.glob("*.py"), *(path.parent for path in home.glob("*/__init__.py"))]
    public = {path.stem for path in modules if not path.stem.startswith("_")}
    assert {name for name in public if f"`{name}`" not in doc} == set()
    listed = {line.split("`")[1] for line in doc.splitlines() if line.startswith("- `")}
    assert listed <= public


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_audit_imports_no_plugin(path):
    if relative(path).startswith("audit/"):
        assert not [name for name in imports_of(path) if name.startswith("audit_")]


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_each_library_has_one_owner(path):
    for library, homes in OWNERS.items():
        if any(name.split(".")[0] == library for name in imports_of(path)):
            assert any(relative(path).startswith(home) for home in homes), library


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_torch_load_is_called_behind_the_door_alone(path):
    calls = [
        node
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Attribute)
        and node.attr == "load"
        and isinstance(node.value, ast.Name)
        and node.value.id == "torch"
    ]
    assert not calls or relative(path) == "audit/network/weights/_torch_archive.py"


def test_held_out_images_and_accuracies_stay_out_of_measures():
    """No measure, view or task mentions what was held out."""
    for path in SOURCES:
        name = relative(path)
        if name.startswith(("plugins/audit_measures/", "audit/measuring/")):
            words = ast.walk(ast.parse(path.read_text("utf-8")))
            strings = [n.value for n in words if isinstance(n, ast.Constant)]
            assert "held_out" not in strings, name
