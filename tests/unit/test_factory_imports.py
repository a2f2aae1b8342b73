"""The digest of a factory: all code of the user's that it imports, and nothing else."""

import sys
import zipfile
from importlib import metadata
from importlib.machinery import PathFinder

import pytest

import audit_factory
from audit.errors import ConfigError
from audit.plugin.registry import Registry
from audit_factory.imports import Code, code_of

FACTORY = Registry({"factory": audit_factory}).models["factory"]

TREE = {
    "nets.py": """
import json, os.path
import torch
from helpers.deep.blocks import block
def build():
    import late
    from helpers import widths as w, constant
    return torch.nn.Linear(block, w.width + late.extra)
""",
    "late.py": "extra = 1\nimport nets\n",  # a circle
    "helpers/__init__.py": "constant = 2\n",
    "helpers/widths.py": "from .deep import *\nwidth = 3\n",
    "helpers/deep/__init__.py": "__all__ = ['starred']\n",
    "helpers/deep/blocks.py": "from ..side import value\nfrom . import near\nblock = 4\n",
    "helpers/deep/near.py": "",
    "helpers/deep/starred.py": "",
    "helpers/side.py": "value = 1\n",
    "helpers/unused.py": "",
    "unrelated.py": "",
    "data.txt": "data",
}
IMPORTED = {
    *("nets", "late", "helpers", "helpers.widths", "helpers.deep", "helpers.deep.blocks"),
    *("helpers.deep.near", "helpers.deep.starred", "helpers.side"),
}


def write(folder, tree):
    for name, text in tree.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The user's folder; what was imported from it is forgotten again."""
    before = set(sys.modules)
    write(tmp_path, TREE)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def digest():
    return FACTORY.digest("nets:build")


def code(name, folder, monkeypatch):
    with monkeypatch.context() as patch:
        patch.syspath_prepend(folder)
        return code_of(name)


def test_code_is_all_that_is_imported_and_versions(folder, monkeypatch):
    found = code("nets", folder, monkeypatch)
    assert found.files.keys() == IMPORTED
    assert found.versions == (f"torch {metadata.version('torch')}",)


@pytest.mark.parametrize("name", [name for name in TREE if name.endswith(".py")])
def test_digest_changes_with_a_byte_of_what_is_imported(folder, name):
    module = name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    before = digest()
    with (folder / name).open("a") as file:
        file.write("#\n")
    assert (digest() != before) == (module in IMPORTED)


def test_digest_does_not_run_or_import_anything(folder):
    before = set(sys.modules)
    for name in ("nets.py", "helpers/__init__.py", "helpers/deep/blocks.py"):
        with (folder / name).open("a") as file:
            file.write("raise SystemExit\n")
    digest()
    assert {
        n for n in set(sys.modules) - before if n.partition(".")[0] in ("nets", "helpers")
    } == set()


def test_digest_is_the_same_in_another_folder(folder, tmp_path_factory, monkeypatch):
    before = digest()
    other = tmp_path_factory.mktemp("other")
    write(other, TREE)
    monkeypatch.chdir(other)
    assert digest() == before


def test_digest_changes_when_a_missing_import_appears(folder):
    (folder / "late.py").write_text("try:\n    import fast\nexcept ImportError:\n    pass\n")
    before = digest()
    (folder / "fast.py").write_text("")
    assert digest() != before


def test_digest_tells_apart_which_module_has_which_content(folder):
    before = digest()
    one, two = folder / "helpers/side.py", folder / "helpers/deep/near.py"
    texts = one.read_text(), two.read_text()
    one.write_text(texts[1])
    two.write_text(texts[0])
    assert digest() != before


@pytest.mark.parametrize(
    "line",
    [
        "import importlib; importlib.import_module('late')",
        "from importlib import import_module; import_module('late')",
        "__import__('late')",
        "if False:\n    import late",
        "class A:\n    def f(self):\n        import late",
        "import late.attribute",
        "from late import *",
    ],
)
def test_code_sees_imports_of_every_form(tmp_path, monkeypatch, line):
    write(tmp_path, {"nets.py": line, "late.py": ""})
    assert code("nets", tmp_path, monkeypatch).files.keys() == {"nets", "late"}


def test_code_resolves_calls_relative_to_the_package(tmp_path, monkeypatch):
    call = "import importlib\nimportlib.import_module('.b', __package__)\n"
    write(tmp_path, {"pack/__init__.py": "", "pack/a.py": call, "pack/b.py": ""})
    found = code("pack.a", tmp_path, monkeypatch)
    assert found.files.keys() == {"pack", "pack.a", "pack.b"}


def test_code_follows_namespace_packages(tmp_path, monkeypatch):
    tree = {
        "a/space/inner/one.py": "from . import two\nimport space.inner.deeper.three\n",
        "a/space/inner/two.py": "",
        "b/space/inner/deeper/three.py": "from ....above import nothing\n",
    }
    write(tmp_path, tree)
    monkeypatch.syspath_prepend(tmp_path / "b")
    found = code("space.inner.one", tmp_path / "a", monkeypatch)
    assert found.files.keys() == {
        *("space.inner.one", "space.inner.two", "space.inner.deeper.three"),
    }


def test_code_of_a_module_of_a_package_covers_the_packages_above(folder, monkeypatch):
    found = code("helpers.deep.near", folder, monkeypatch)
    assert found.files.keys() == {"helpers", "helpers.deep", "helpers.deep.near"}


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder of installed distributions: one of two modules, and a loose file beside them."""
    site = tmp_path / "lib" / "site-packages"
    info = "some_thing-1.5.dist-info/"
    tree = {
        "thing/__init__.py": "from thing import inner\n",
        "thing/inner.py": "",
        "loose.py": "",
        info + "METADATA": "Metadata-Version: 2.1\nName: some-thing\nVersion: 1.5\n",
        info + "RECORD": "thing/__init__.py,,\nthing/inner.py,,\n",
    }
    write(site, tree)
    monkeypatch.syspath_prepend(site)
    return site


def test_code_takes_the_version_for_installed_distributions(tmp_path, site, monkeypatch):
    write(tmp_path, {"nets.py": "from thing import inner\n"})
    assert code("nets", tmp_path, monkeypatch).versions == ("some-thing 1.5",)
    assert code("nets", tmp_path, monkeypatch).files.keys() == {"nets"}
    about = site / "some_thing-1.5.dist-info" / "METADATA"
    about.write_text(about.read_text().replace("1.5", "1.6"))
    assert code("nets", tmp_path, monkeypatch).versions == ("some-thing 1.6",)


@pytest.mark.usefixtures("site")
def test_code_digests_loose_files_and_what_shadows_a_distribution(tmp_path, monkeypatch):
    write(tmp_path, {"nets.py": "import thing, loose, json\n", "thing.py": "", "json.py": ""})
    found = code("nets", tmp_path, monkeypatch)
    assert found.files.keys() == {"nets", "thing", "loose", "json"}
    assert found.versions == ()


@pytest.mark.usefixtures("site")
def test_code_of_an_installed_module_is_its_own_file_and_version():
    found = code_of("thing.inner")
    assert found.files.keys() == {"thing.inner"}
    assert found.versions == ("some-thing 1.5",)


def test_code_of_a_standard_module_is_its_own_file_alone():
    assert code_of("json.decoder").files.keys() == {"json.decoder"}
    assert code_of("json.decoder").versions == ()
    assert code_of("sys") is None
    assert code_of("no.such.module") is None


def test_code_finds_what_is_installed_for_editing(tmp_path, monkeypatch):
    write(tmp_path, {"src/mine/__init__.py": "import mine.part\n", "src/mine/part.py": ""})
    monkeypatch.syspath_prepend(tmp_path / "src")

    class Finder:
        __module__ = "__editable___mine_finder"

        @staticmethod
        def find_spec(name, path):
            return specs.get(name)

    specs = {"mine": PathFinder.find_spec("mine")}
    monkeypatch.undo()
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Finder])
    assert code_of("mine").files.keys() == {"mine", "mine.part"}


def test_code_in_an_archive_is_digested(tmp_path, monkeypatch):
    path = tmp_path / "code.zip"
    digests = []
    for text in ("x = 1", "x = 2"):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("packed.py", f"import inside\n{text}\n")
            archive.writestr("inside.py", "")
        sys.path_importer_cache.pop(str(path), None)
        found = code("packed", str(path), monkeypatch)
        assert isinstance(found, Code)
        assert found.files.keys() == {"packed", "inside"}
        digests.append(found.files["packed"])
    assert len(set(digests)) == 2


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"def f(:\n", "invalid syntax (<unknown>, line 1)"),
        (b"x = 'a\0b'\n", "source code string cannot contain null bytes"),
        (b"x = '\xff'\n", "(unicode error) 'utf-8' codec can't decode byte 0xff"),
    ],
)
def test_digest_names_a_file_that_is_not_python(folder, content, reason):
    (folder / "helpers/side.py").write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        digest()
    expected = (
        f"model 'nets:build' depends on a file that cannot be used: {folder / 'helpers/side.py'} "
        f"is not valid Python: {reason}"
    )
    assert str(caught.value)[: len(expected)] == expected


def test_digest_of_a_file_with_odd_escapes_is_silent(folder):
    (folder / "helpers/side.py").write_text("value = '\\d'\n")
    assert len(digest()) == 64


@pytest.mark.parametrize("name", ["nets.py", "late.py", "helpers/deep/blocks.py"])
def test_factory_refuses_code_that_changed_after_it_was_imported(folder, name):
    assert FACTORY.create("nets:build", {}, False).out_features == 4
    assert FACTORY.create("nets:build", {}, False).out_features == 4
    with (folder / name).open("a") as file:
        file.write("#\n")
    module = name.removesuffix(".py").replace("/", ".")
    with pytest.raises(ConfigError) as caught:
        FACTORY.create("nets:build", {}, False)
    assert str(caught.value) == (
        f"model 'nets:build': the file of module {module!r} has changed since this process "
        "imported it; start Python again, so that the network is built by the new code"
    )


@pytest.mark.usefixtures("folder")
def test_factory_imports_in_its_function_from_the_current_folder():
    path = list(sys.path)
    FACTORY.create("nets:build", {}, False)
    assert "late" in sys.modules
    assert sys.path == path
