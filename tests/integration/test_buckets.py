"""An audit whose store, weights and images lie in a bucket comes to the tables of a folder's."""

import shutil

import pytest

from audit.network.saving import write_weights
from audit.runs import pipeline
from audit.runs.config import RunOptions
from tests.campaigns.small_folder import SmallFolder


@pytest.fixture
def folder(tmp_path):
    """A folder with two networks, and the tables of an audit without any bucket."""
    made = SmallFolder(tmp_path / "user")
    from small_networks import build

    for seed, name in enumerate("ab"):
        write_weights(build(seed), made.path / "zoo" / f"{name}.safetensors", {})
    made.write({"": {"weights": "zoo/*.safetensors"}})
    text = (made.path / "audit.toml").read_text().replace('name = ""\n', "")
    (made.path / "audit.toml").write_text(text)
    made.run("plain", "plain cache")
    return made


def audit(folder, bucket, out):
    """Audit with the store in the bucket."""
    options = RunOptions(
        output=folder.path / out,
        cache=f"{bucket.url}/cache",
        workers=0,
        device="cpu",
        progress=False,
    )
    pipeline.run(folder.path / "audit.toml", options=options)


def test_a_store_in_a_bucket_serves_a_second_machine(folder, bucket, monkeypatch, tmp_path):
    audit(folder, bucket, "cold")
    entries = bucket.objects("cache/entries/")
    assert entries
    bucket.reset()
    monkeypatch.setenv("GENAUDIT_LOCAL", str(tmp_path / "another machine"))
    audit(folder, bucket, "warm")
    assert bucket.objects("cache/entries/") == entries
    assert bucket.requests == {"put": 1, "get": 2}  # may it be written; the rows of each network
    assert folder.tables("plain") == folder.tables("cold") == folder.tables("warm")


def test_weights_and_images_in_a_bucket_come_to_the_same_tables(folder, bucket):
    for path in sorted(folder.path.rglob("*.*")):
        if path.suffix in (".png", ".safetensors"):
            bucket.put(str(path.relative_to(folder.path)), path.read_bytes())
    shutil.rmtree(folder.path / "train")
    shutil.rmtree(folder.path / "zoo")
    text = (folder.path / "audit.toml").read_text()
    for name in ('train"', "zoo/"):
        text = text.replace(f'"{name}', f'"{bucket.url}/{name}')
    (folder.path / "audit.toml").write_text(text)
    audit(folder, bucket, "by URL")
    assert folder.tables("plain") == folder.tables("by URL")
