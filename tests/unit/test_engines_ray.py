"""The Ray engine, as far as it needs no cluster: options, packing, addresses, refusals."""

import dataclasses
import http.server
import importlib.util
import json
import pickle
import socket
import sys
import threading
import time
from types import SimpleNamespace

import pytest
from programs import run_program

from audit.errors import CheckpointError, ConfigError, MeasureError
from audit_engines.on_ray import cluster, engine
from audit_engines.on_ray.options import ray_options
from audit_engines.on_ray.packing import Packer, Unpacker, unpack
from audit_engines.on_ray.slots import how_lost, lost_with_node

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="needs Ray: pip install 'genaudit[ray]'"
)


@pytest.fixture(autouse=True)
def _no_address(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


def refusal(given, on_cuda=False):
    with pytest.raises(ConfigError) as caught:
        ray_options(given, on_cuda)
    return str(caught.value)


def test_options_have_defaults_for_each_device():
    assert ray_options({}).room == {"CPU": 1}
    assert ray_options({}, on_cuda=True).room == {"CPU": 1, "GPU": 1}
    chosen = ray_options({"num_gpus": 0.25, "num_cpus": 0, "memory": "1KiB"}, on_cuda=True)
    assert chosen.room == {"GPU": 0.25, "memory": 1024}
    assert engine.n_devices(3, {"num_gpus": 0.5}) == 1.5
    assert engine.n_devices(3, {}) == 3


def test_devices_are_counted_where_it_is_said_how_many_tasks_run(monkeypatch):
    monkeypatch.setenv("GENAUDIT_THREADS", "2")
    assert engine.n_devices(None, {"num_gpus": 0.5}) == 1
    with pytest.raises(ConfigError) as caught:
        engine.n_devices(None, {"address": "head:6379"})
    assert str(caught.value) == (
        "a cluster that is joined runs as many tasks as it has room for, so that the CUDA devices "
        "they hold cannot be told before: say with --workers how many at a time"
    )


@pytest.mark.parametrize(
    "address",
    ["auto", "head:6379", "ray://head:10001", "10.0.0.1:6379", "[::1]:6379"],
)
def test_an_address_is_taken_from_the_option_or_from_rays_variable(address, monkeypatch):
    assert ray_options({"address": address}).address == address
    monkeypatch.setenv("RAY_ADDRESS", address)
    assert ray_options({}).address == address


def test_options_that_cannot_be_are_refused(monkeypatch):
    assert refusal({"adress": "auto"}).startswith(
        "unknown option 'adress'; did you mean 'address'?"
    )
    wanted = 'must be HOST:PORT of a head node, "auto", or ray://HOST:PORT; found '
    for address in ("head", "http://head:8265", "head:port", 6379, ""):
        assert refusal({"address": address}) == (
            f"option address of engine ray {wanted}{address!r}"
        )
    monkeypatch.setenv("RAY_ADDRESS", "http://head:8265")
    assert refusal({}) == f"the variable RAY_ADDRESS {wanted}'http://head:8265'"
    monkeypatch.delenv("RAY_ADDRESS")
    assert refusal({"num_cpus": -1}) == (
        "option num_cpus of engine ray must be a number, 0 or more; found -1"
    )
    assert refusal({"num_gpus": 1.5}) == (
        "option num_gpus of engine ray must be a share of one device or a whole number; found 1.5"
    )
    assert refusal({"num_gpus": 0}, on_cuda=True) == (
        "option num_gpus of engine ray must be above 0 on device cuda, as Ray hides devices that "
        "are not asked for: give a share of one, such as 0.25"
    )
    assert refusal({"num_cpus": 0}) == (
        "options num_cpus and num_gpus of engine ray must not both be 0: a task that takes nothing "
        "would fit everywhere any number of times"
    )


def test_without_ray_the_engine_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError) as caught:
        list(engine.run(len, ["abc"], 1))
    assert str(caught.value) == "engine ray needs Ray: pip install 'genaudit[ray]'"


def test_listing_engines_does_not_import_ray():
    code = (
        "import sys; from audit.plugin.registry import installed; installed().engine('ray'); "
        "sys.exit('ray' in sys.modules)"
    )
    run_program([sys.executable, "-c", code])


@dataclasses.dataclass(frozen=True)
class Part:
    name: str
    images: tuple


@dataclasses.dataclass(frozen=True)
class Work:
    part: Part
    number: int


def describe(task):
    if task.number == 2:
        raise CheckpointError("two")
    return task.part.images[task.number], id(task.part.images)


def give_lambda(_):
    return lambda: None


def test_what_tasks_share_travels_once():
    images = tuple(f"class/{number:06}.png" for number in range(1000))
    tasks = [Work(Part(f"part {number}", images), number) for number in range(3)]
    packer = Packer(describe, tasks)
    packed = [packer.pack(position) for position in range(3)]
    assert len(packer.shared) > 15_000
    assert max(map(len, packed)) < 300
    unpacker = pickle.loads(pickle.dumps(Unpacker(packer.shared)))
    (first, at), (second, there) = (unpack(unpacker(task)) for task in packed[:2])
    assert (first, second) == (images[0], images[1])
    assert at == there
    refused = unpack(unpacker(packed[2]))
    assert isinstance(refused, CheckpointError)
    assert str(refused) == "two"


def test_a_single_task_and_a_result_that_cannot_be_sent_are_packed_too():
    packer = Packer(give_lambda, ["only"])
    outcome = unpack(Unpacker(packer.shared)(packer.pack(0)))
    assert isinstance(outcome, MeasureError)
    assert str(outcome).startswith("the result of the task cannot be sent between processes")


def check(address):
    started = time.monotonic()
    with pytest.raises(ConfigError) as caught:
        cluster.check_address(address)
    assert time.monotonic() - started < 30
    return str(caught.value)


def test_an_address_that_answers_nothing_is_refused():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    advice = "give the address that `ray start --head` printed, or leave it out to start a cluster"
    assert check(address) == (
        f"nothing answers at {address} (Connection refused): {advice} on this machine"
    )
    assert check("nowhere.invalid:6379").startswith("nothing answers at nowhere.invalid:6379 (")
    assert check("127.0.0.1:99999").startswith("nothing answers at 127.0.0.1:99999 (")


def test_a_client_needs_its_library(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert check("ray://head:10001") == (
        "address ray://head:10001 needs Ray's client: pip install 'ray[client]', or run on a "
        "machine of the cluster and give HOST:PORT of its head node"
    )


class Website(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_error(404)


@needs_ray
def test_a_website_is_no_client_server():
    pytest.importorskip("grpc", reason="needs Ray's client: pip install 'ray[client]'")
    with http.server.HTTPServer(("127.0.0.1", 0), Website) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"ray://127.0.0.1:{server.server_port}"
        assert check(address) == (
            f"{address} takes connections, but no client server of a Ray cluster answers there: "
            "give ray:// with the port of the cluster's client server, which is mostly 10001"
        )
        server.shutdown()


@needs_ray
def test_an_address_of_something_else_is_refused(monkeypatch):
    monkeypatch.setattr(cluster, "_PROBE_SECONDS", 2)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        assert check(address) == (
            f"{address} takes connections, but no Ray cluster answers there within 2 s: give the "
            "address that `ray start --head` printed, on a machine of the cluster; from one "
            "outside, and with the port of a client server, ray:// goes before it"
        )


def answer(monkeypatch, kind, text):
    said = json.dumps({"kind": kind, "text": text}).encode()
    done = SimpleNamespace(returncode=0, stdout=b"\n" + said + b"\n", stderr=b"")
    monkeypatch.setattr("subprocess.run", lambda *_, **__: done)
    return check("auto")


def test_a_cluster_of_other_versions_is_refused_with_both_named(monkeypatch):
    text = (
        "Version mismatch: The cluster was started with:\n    Ray: 2.59.0\n    Python: 3.12.1\n"
        "This process on node 10.0.0.2 was started with:\n    Ray: 2.60.0\n    Python: 3.11.7\n"
    )
    assert answer(monkeypatch, "RuntimeError", text) == (
        "the Ray cluster at auto runs Ray 2.59.0 and Python 3.12.1, this process Ray 2.60.0 and "
        "Python 3.11.7: install the same versions on both"
    )


def test_what_a_cluster_refuses_is_said_with_what_to_do(monkeypatch):
    assert answer(monkeypatch, "ConnectionError", "RPC error: InvalidAuthToken: missing") == (
        "the Ray cluster at auto takes only processes that have its token: set "
        "RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH to that token or its file"
    )
    assert answer(monkeypatch, "ConnectionError", "Could not find any running Ray instance.") == (
        'no Ray cluster runs on this machine, which address "auto" asks for: start one with '
        "`ray start --head`, or leave the address out"
    )
    assert answer(monkeypatch, "UNAUTHENTICATED", "InvalidAuthToken") == (
        "the Ray cluster at auto takes only processes that have its token: set "
        "RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH to that token or its file"
    )
    text = "Initialization failure:\nTraceback (most recent call last):\n  File\nError: why\n"
    assert answer(monkeypatch, "ConnectionAbortedError", text) == (
        "the Ray cluster at auto cannot be joined: Error: why; see the logs of Ray there"
    )
    assert answer(monkeypatch, "OSError", "of another\nkind") == (
        "the Ray cluster at auto cannot be joined: of another kind"
    )


def test_a_lost_node_is_named_in_few_words():
    text = (
        "The actor died unexpectedly before finishing this task.\n\tpid: 1\n"
        "The actor died because its node has died. Node Id: 12ab"
    )
    assert how_lost(RuntimeError(text), "head") == "on node head: node has died"
    assert lost_with_node(RuntimeError(text))
    assert not lost_with_node(RuntimeError("The actor died because its worker process has died."))
    assert how_lost(RuntimeError("a  strange\nend"), "") == "a strange end"


@needs_ray
def test_a_cluster_that_cannot_be_started_is_said_in_a_sentence(monkeypatch):
    import ray

    def fail(*_, **__):
        raise Exception("The current node\ntimed out during startup.")

    monkeypatch.setattr(ray, "init", fail)
    with pytest.raises(ConfigError) as caught:
        list(engine.run(len, ["abc"], 1))
    assert str(caught.value) == (
        "a Ray cluster cannot be started on this machine: The current node timed out during "
        "startup."
    )
