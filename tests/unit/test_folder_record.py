"""`run.json` and the digests that say whether a table is up to date."""

import hashlib
import shutil
from pathlib import Path

import pytest

import audit.folder.currency as currency
from audit.errors import DataError, StoreError
from audit.folder.currency import file_sha256, is_current, stage_digest
from audit.folder.record import read_run, write_run


@pytest.fixture(autouse=True)
def unsynced(monkeypatch):
    monkeypatch.setattr("os.fsync", lambda number: None)


def test_run_record_round_trip(tmp_path):
    record = {"seed": 0, "names": ["é漢", 'a"b'], "nested": {"x": None, "y": 0.1}}
    write_run(tmp_path / "new" / "folder", record)
    assert read_run(tmp_path / "new" / "folder") == record


def test_run_record_writes_paths_as_text(tmp_path):
    write_run(tmp_path, {"base": Path("/data")})
    assert read_run(tmp_path) == {"base": "/data"}


def test_run_record_of_equal_content_is_equal_bytes(tmp_path):
    for name in ("a", "b"):
        write_run(tmp_path / name, {"x": [1, 2.5], "y": "é"})
    assert file_sha256(tmp_path / "a" / "run.json") == file_sha256(tmp_path / "b" / "run.json")


def test_run_record_that_is_missing_says_how_to_make_one(tmp_path):
    with pytest.raises(DataError) as caught:
        read_run(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path} holds no audit (run.json is missing); "
        f"`genaudit measure CONFIG -o {tmp_path}` writes one"
    )


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "Expecting value: line 1 column 1 (char 0)"),
        (b'{"seed": ', "Expecting value: line 1 column 10 (char 9)"),
        (b"\xff", "'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"),
        (b"[1, 2]", "a JSON object was expected, found a list"),
        (b"[" * 100_000, "it is nested too deeply"),
    ],
)
def test_run_record_that_is_damaged_says_why(tmp_path, content, reason):
    (tmp_path / "run.json").write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_run(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / 'run.json'} cannot be read: {reason}")


def test_run_record_that_cannot_be_written_says_where(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match=r"file/run\.json cannot be written \(15 bytes\): "):
        write_run(tmp_path / "file", {"seed": 0})


def test_file_sha256_is_of_the_bytes(tmp_path):
    path = tmp_path / "t.csv"
    assert file_sha256(path) == ""
    path.write_bytes(b"a,b\n")
    assert file_sha256(path) == hashlib.sha256(b"a,b\n").hexdigest()


def test_is_current_only_for_the_described_table_and_inputs(tmp_path):
    path = tmp_path / "ranking.csv"
    path.write_bytes(b"a\n")
    section = {"inputs": "i", "sha256": file_sha256(path)}
    assert is_current(section, "i", path)
    assert not is_current(section, "j", path)
    assert not is_current(None, "i", path)
    assert not is_current({}, "i", path)
    assert not is_current({"inputs": "i"}, "i", path)
    path.write_bytes(b"b\n")
    assert not is_current(section, "i", path)
    path.unlink()
    assert not is_current(section, "i", path)
    assert not is_current({"inputs": "i", "sha256": ""}, "i", path)


def test_stage_digest_changes_with_every_input():
    def digest(**changes):
        inputs = {"measures": "m", "accuracies": "a", "seed": 0, **changes}
        return stage_digest(("statistics",), **inputs)

    assert digest() == digest()
    changed = [digest(measures="n"), digest(accuracies="b"), digest(seed=1), digest(target="gap")]
    assert len({digest(), *changed}) == 5
    assert digest() != stage_digest(("ranking",), measures="m", accuracies="a", seed=0)


@pytest.fixture
def copied(tmp_path, monkeypatch):
    """A copy of the sources that decide a stage, and the stage's digest of it."""
    home = tmp_path / "audit"
    for package in ("statistics", "correlation"):
        shutil.copytree(currency.HOME / package, home / package)
    monkeypatch.setattr(currency, "HOME", home)

    def digest():
        currency.code_digest.cache_clear()
        return stage_digest(("statistics", "correlation"), seed=0)

    yield home, digest
    currency.code_digest.cache_clear()


def test_stage_digest_changes_with_the_code(copied):
    home, digest = copied
    digests = [digest(), digest()]
    assert digests[0] == digests[1]
    source = home / "statistics" / "rank.py"
    source.write_text(source.read_text() + "\n")
    digests.append(digest())
    (home / "correlation" / "new.py").write_text("")
    digests.append(digest())
    source.rename(home / "statistics" / "other.py")
    digests.append(digest())
    assert len(set(digests)) == 4


def test_stage_digest_changes_with_the_libraries(copied, monkeypatch):
    _, digest = copied
    before = digest()
    monkeypatch.setattr("audit.folder.currency.metadata.version", lambda name: "99")
    assert digest() != before


def test_stage_digest_needs_source_at_every_path(copied):
    home, _ = copied
    (home / "empty").mkdir()
    for path in ("statistic", "statistics/no.py", "empty"):
        with pytest.raises(ValueError, match="a stage's digest") as caught:
            stage_digest(("statistics", path), seed=0)
        assert str(caught.value) == (
            f"a stage's digest needs source files of audit; found none at {path!r} in {home}"
        )


def test_stage_digest_ignores_where_the_code_lies_and_what_is_not_code(copied):
    home, digest = copied
    before = digest()
    (home / "statistics" / "notes.txt").write_text("no code")
    (home / "ranking").mkdir()
    (home / "ranking" / "models.py").write_text("another stage's")
    assert digest() == before
