"""Weights by URL: copied once, fetched anew when they change, digested like files."""

import dataclasses
import functools
import http.server
import json
import threading

import fsspec
import pytest
import torch
from safetensors.torch import save_file
from test_measuring_task import REGISTRY
from test_views import network, subject_of

from audit.errors import CheckpointError, ConfigError
from audit.measuring.task import audit_checkpoint
from audit.network.saving import write_weights
from audit.network.weights import content_digest, read_weights
from audit.network.weights.remote import on_this_machine, place_digest, urls_matching
from audit.runs.checkpoints import expand_checkpoints
from audit.runs.config import AuditConfig
from audit.store import Store


@pytest.fixture(autouse=True)
def unsynced(monkeypatch):
    """Nothing waits for the disk."""
    monkeypatch.setattr("os.fsync", lambda number: None)


@pytest.fixture
def weights(tmp_path):
    """A weights file."""
    path = tmp_path / "zoo" / "a.safetensors"
    path.parent.mkdir()
    save_file({"weight": torch.arange(6.0)}, path)
    return path


def subject_at(url):
    """A subject whose weights lie at a URL."""
    return dataclasses.replace(subject_of(None), weights=url, weights_digest=place_digest(url))


def config_of(weights, folder):
    content = {
        "dataset": {"name": "digits"},
        "checkpoints": [{"model": "resnet18", "weights": weights}],
    }
    return AuditConfig.parse(content, folder, "the configuration")


def test_a_url_has_the_digest_of_its_content_and_is_fetched_once(bucket, weights):
    bucket.put("zoo/a.safetensors", weights.read_bytes())
    url = f"{bucket.url}/zoo/a.safetensors"
    digest = place_digest(url)
    assert digest == content_digest(weights)
    for _ in range(3):
        assert place_digest(url) == digest
    assert bucket.requests["get"] == 1
    here = on_this_machine(url, digest)
    assert here.name == "a.safetensors"
    assert read_weights(here, digest).state_dict["weight"].tolist() == list(range(6))
    heads = bucket.requests["head"]
    on_this_machine(url, digest)
    assert bucket.requests["head"] == heads


def test_a_file_that_changed_is_fetched_anew(bucket, weights):
    url = f"{bucket.url}/a.safetensors"
    bucket.put("a.safetensors", weights.read_bytes())
    first = place_digest(url)
    save_file({"weight": -torch.arange(6.0)}, weights)
    bucket.put("a.safetensors", weights.read_bytes())
    second = place_digest(url)
    assert second == content_digest(weights) != first
    assert on_this_machine(url, first) != on_this_machine(url, second)


def test_a_machine_without_the_file_fetches_it(bucket, weights, monkeypatch, tmp_path):
    url = f"{bucket.url}/a.safetensors"
    bucket.put("a.safetensors", weights.read_bytes())
    digest = place_digest(url)
    monkeypatch.setenv("GENAUDIT_LOCAL", str(tmp_path / "another machine"))
    here = on_this_machine(url, digest)
    assert (tmp_path / "another machine") in here.parents
    assert content_digest(here) == digest


def test_a_glob_of_urls_gives_one_checkpoint_for_each_file(bucket, weights, tmp_path):
    for key in ("zoo/b.safetensors", "zoo/a.safetensors", "zoo/notes.txt", "zoo/deep/c.pt"):
        bucket.put(key, weights.read_bytes())
    pattern = f"{bucket.url}/zoo/*.safetensors"
    found = expand_checkpoints(config_of(pattern, tmp_path))
    assert [(name, path) for name, _, path in found] == [
        ("a", f"{bucket.url}/zoo/a.safetensors"),
        ("b", f"{bucket.url}/zoo/b.safetensors"),
    ]
    with pytest.raises(ConfigError) as caught:
        expand_checkpoints(config_of(f"{bucket.url}/none/*.pt", tmp_path))
    assert str(caught.value) == (
        f"[[checkpoints]] weights = '{bucket.url}/none/*.pt': {bucket.url}/none/*.pt matches no "
        "file"
    )


def test_urls_of_one_name_are_told_apart_by_their_folders(bucket, weights, tmp_path):
    for key in ("one/model.pt", "two/model.pt"):
        bucket.put(key, weights.read_bytes())
    found = expand_checkpoints(config_of(f"{bucket.url}/*/model.pt", tmp_path))
    assert [name for name, _, _ in found] == ["one-model", "two-model"]


def test_a_folder_by_url_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="names a folder: give a file, or a glob such as"):
        urls_matching("s3://bucket/zoo/")


def test_an_index_brings_its_shards(bucket, weights, tmp_path):
    index = {"weight_map": {"weight": "model-00001-of-00001.safetensors"}}
    shard = weights.with_name("model-00001-of-00001.safetensors")
    weights.rename(shard)
    local = weights.with_name("model.safetensors.index.json")
    local.write_text(json.dumps(index))
    for path in (shard, local):
        bucket.put(f"zoo/{path.name}", path.read_bytes())
    url = f"{bucket.url}/zoo/{local.name}"
    digest = place_digest(url)
    assert digest == content_digest(local)
    read = read_weights(on_this_machine(url, digest), digest)
    assert read.state_dict["weight"].tolist() == list(range(6))
    bucket.remove(f"zoo/{shard.name}")
    bucket.put(f"zoo/{local.name}", local.read_bytes() + b" ")
    with pytest.raises(CheckpointError) as caught:
        place_digest(url)
    assert str(caught.value) == (
        f"checkpoint {url} names {shard.name}, which does not lie beside it"
    )


def test_a_file_over_the_limit_is_refused_before_it_is_fetched(bucket, weights, monkeypatch):
    bucket.put("a.safetensors", weights.read_bytes())
    monkeypatch.setenv("GENAUDIT_MAX_DOWNLOAD", "10")
    url, size = f"{bucket.url}/a.safetensors", weights.stat().st_size
    with pytest.raises(CheckpointError) as caught:
        place_digest(url)
    assert str(caught.value) == (
        f"checkpoint {url} has {size} bytes, more than the limit of 10; set "
        "GENAUDIT_MAX_DOWNLOAD to a larger number of bytes if it is what you want"
    )
    assert bucket.requests["get"] == 0


def test_a_url_that_names_nothing_says_so(bucket):
    with pytest.raises(CheckpointError) as caught:
        place_digest(f"{bucket.url}/none.pt")
    assert str(caught.value) == (
        f"checkpoint {bucket.url}/none.pt does not exist; check the address"
    )


def test_the_keys_of_a_stranger_lead_nowhere_else(bucket, weights, tmp_path):
    bucket.put("zoo/..%2F..%2F..%2Fout.safetensors", weights.read_bytes())
    [(_, _, url)] = expand_checkpoints(config_of(f"{bucket.url}/zoo/*.safetensors", tmp_path))
    here = on_this_machine(url, place_digest(url))
    assert here.resolve().is_relative_to((tmp_path / "local" / "copies").resolve())
    assert list(tmp_path.rglob("out.safetensors")) == []


def test_messages_name_the_url_and_not_its_copy(bucket):
    bucket.put("a.pt", b"nothing of the kind")
    url = f"{bucket.url}/a.pt"
    subject = subject_at(url)
    store = Store(f"{bucket.url}/cache")
    failure = audit_checkpoint(subject, [], store, REGISTRY).failure
    assert failure.startswith(f"checkpoint {url} ")
    assert [line["stage"] for line in store.ledger()] == ["failed"]


def test_a_checkpoint_by_url_has_the_keys_of_its_file(bucket, tmp_path):
    path = tmp_path / "w.safetensors"
    write_weights(network(), path, {})
    bucket.put("w.safetensors", path.read_bytes())
    url = f"{bucket.url}/w.safetensors"
    local = subject_of(path)
    remote = subject_at(url)
    assert remote.key == local.key
    measures = REGISTRY.select_measures(("path_norm",))
    store = Store(tmp_path / "cache")
    assert audit_checkpoint(remote, measures, store, REGISTRY).failures == {}
    n_entries = len(list(store.paths()))
    assert audit_checkpoint(local, measures, store, REGISTRY).failures == {}
    assert len(list(store.paths())) == n_entries


def test_processes_that_fetch_at_once_leave_one_copy(bucket, weights, tmp_path):
    bucket.put("a.safetensors", weights.read_bytes())
    url, found = f"{bucket.url}/a.safetensors", []
    threads = [
        threading.Thread(target=lambda: found.append(on_this_machine(url))) for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6
    assert len(set(found)) == 1
    copies = tmp_path / "local" / "copies"
    assert sorted(path.name for path in copies.iterdir()) == sorted(
        ["versions", content_digest(weights)]
    )


class Hub(fsspec.get_filesystem_class("memory")):
    """A hub that says what a file is by the digest of its blob."""

    protocol = "hf"
    store, pseudo_dirs = {}, [""]

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(path.replace("hf://", "memory://"))

    def info(self, path, **options):
        known = super().info(path, **options)
        blob = {"blob_id": hash(self.cat_file(path))} if known["type"] == "file" else {}
        return {**known, **blob}


def test_hub_files_take_the_same_door(weights, monkeypatch, tmp_path):
    monkeypatch.setenv("GENAUDIT_LOCAL", str(tmp_path / "local"))
    known = fsspec.get_filesystem_class("hf")
    fsspec.register_implementation("hf", Hub, clobber=True)
    try:
        fsspec.filesystem("hf").pipe_file("/org/name/model.safetensors", weights.read_bytes())
        url = "hf://org/name/model.safetensors"
        assert place_digest(url) == content_digest(weights)
        [(found, name)] = urls_matching("hf://org/name/*.safetensors").items()
        assert (found.replace(":///", "://"), name) == (url, "model")
    finally:
        fsspec.register_implementation("hf", known, clobber=True)


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Says nothing on standard error."""

    def log_message(self, *arguments):
        pass


def test_web_addresses_take_the_same_door(weights, monkeypatch, tmp_path):
    pytest.importorskip("aiohttp", reason="aiohttp is not installed: pip install 'genaudit[https]'")
    monkeypatch.setenv("GENAUDIT_LOCAL", str(tmp_path / "local"))
    handler = functools.partial(Quiet, directory=weights.parent)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        base = f"http://127.0.0.1:{server.server_port}"
        assert place_digest(f"{base}/a.safetensors?download=true") == content_digest(weights)
        with pytest.raises(CheckpointError, match=r"none\.pt does not exist; check the address"):
            place_digest(f"{base}/none.pt")
        server.shutdown()
    assert urls_matching(f"{base}/a.safetensors?x=1") == {f"{base}/a.safetensors?x=1": "a"}
