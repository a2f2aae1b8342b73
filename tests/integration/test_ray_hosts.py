"""Ray on several hosts, each with its own network, folders and name: what only they show."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from programs import lasting_program
from ray_hosts import Network, missing

from audit.network.saving import write_weights
from tests.campaigns.small_folder import SmallFolder

pytest.importorskip("ray", reason="needs Ray: pip install 'genaudit[ray]'")
pytest.importorskip("s3fs", reason="s3fs is not installed: pip install 'genaudit[test]'")
pytest.importorskip("moto", reason="moto is not installed: pip install 'genaudit[test]'")
if not os.environ.get("GENAUDIT_RAY_HOSTS"):
    pytest.skip("takes minutes: `tox -e ray-hosts` runs it", allow_module_level=True)
if missing():
    pytest.skip(f"needs hosts of its own: {missing()}", allow_module_level=True)

GCS_PORT, CLIENT_PORT, S3_PORT = 6379, 10001, 5000
HEAD = "10.77.0.1"
NAMES = ("a", "b", "c", "d")
BUCKET = "s3://zoo"
MAKE_BUCKET = """
import time, boto3, botocore.exceptions
for _ in range(200):
    try:
        boto3.client("s3").create_bucket(Bucket="zoo")
        break
    except botocore.exceptions.EndpointConnectionError:
        time.sleep(0.1)
"""


class Cluster:
    """A head that takes no tasks, two workers, and a laptop that is no part of the cluster."""

    def __init__(self, network, folder, marks):
        self.network, self.folder, self.marks = network, folder, marks
        self.head, self.one, self.two, self.laptop = (
            network.add(name) for name in ("head", "one", "two", "laptop")
        )
        from s3_server import ENVIRONMENT

        url = f"http://{HEAD}:{S3_PORT}"
        for host in network.hosts:
            (marks / host.name).mkdir()
            host.environment |= {**ENVIRONMENT, "AWS_ENDPOINT_URL": url}
            host.environment["SMALL_NETWORKS_MARKS"] = str(marks / host.name)

    def join(self, host):
        host.join("--address", f"{HEAD}:{GCS_PORT}", "--num-cpus", 1)

    def n_marks(self, host):
        """How many forward passes that sleep were begun on a host."""
        return len(list((self.marks / host.name).iterdir()))

    def words(self, out, cache=None, address=f"{HEAD}:{GCS_PORT}"):
        """The command that audits the folder on the cluster."""
        words = [sys.executable, "-c", "from audit import cli; cli.main()", "run"]
        words += [self.folder.path / "audit.toml", "-o", self.folder.path / out]
        words += ["--engine", "ray", "--address", address, "--cache", cache or f"{BUCKET}/{out}"]
        return [*words, "--quiet", "--device", "cpu"]

    def run(self, out, cache=None, code=0):
        """Audit from the head; what it says."""
        done = self.head.do(*self.words(out, cache), check=False)
        assert done.returncode == code, done.stderr
        return done.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Four networks in files, each forward pass of which sleeps, audited on one machine."""
    made = SmallFolder(tmp_path_factory.mktemp("hosts") / "user")
    from small_networks import build

    slow = {"what": "nap", "most": 5}
    networks = {}
    for seed, name in enumerate(NAMES):
        path = made.path / "weights" / f"{name}.safetensors"
        write_weights(build(seed), path)
        networks[name] = {**slow, "weights": f"weights/{name}.safetensors"}
    made.write(networks)
    made.run("local", "cache", workers=0)
    return made


@pytest.fixture(scope="module")
def cluster(folder, tmp_path_factory):
    marks = tmp_path_factory.mktemp("marks")
    with Network(Path(f"/tmp/ray-hosts-{os.getpid()}")) as network:
        made = Cluster(network, folder, marks)
        ports = ["--port", GCS_PORT, "--ray-client-server-port", CLIENT_PORT]
        made.head.join("--head", "--num-cpus", 0, "--include-dashboard", "false", *ports)
        made.join(made.one)
        made.join(made.two)
        server = [sys.executable, "-m", "moto.server", "-H", HEAD, "-p", S3_PORT]
        quiet = {
            "stdout": subprocess.DEVNULL,
            "stderr": subprocess.DEVNULL,
            "env": made.head.environment,
        }
        with lasting_program(made.head.words(*server), **quiet):
            made.head.do(sys.executable, "-c", MAKE_BUCKET)
            yield made


def test_tables_are_those_of_one_machine(cluster, folder):
    before = [cluster.n_marks(host) for host in (cluster.one, cluster.two)]
    cluster.run("joined")
    assert folder.tables("joined") == folder.tables("local")
    after = [cluster.n_marks(host) for host in (cluster.one, cluster.two)]
    assert all(a > b for a, b in zip(after, before, strict=True))


def test_a_host_without_weights_costs_rows_that_name_it_and_the_file(cluster, folder):
    with cluster.two.without(folder.path / "weights"):
        cluster.run("weightless", code=3)
    failed = folder.failed("weightless")
    assert failed == {
        name: f"weights file {folder.path}/weights/{name}.safetensors is not on machine two: put "
        "it into a folder that all machines share"
        for name in failed
    }
    assert 0 < len(failed) < len(NAMES)
    for name in set(NAMES) - set(failed):
        assert folder.values(name, "weightless") == folder.values(name, "local")


def test_a_host_without_the_training_set_ends_the_run(cluster, folder):
    with cluster.two.without(folder.path / "train"):
        said = cluster.run("blind", code=1)
    assert f"the training set {folder.path}/train is not on machine two: put it into" in said


def test_a_host_that_sees_another_store_ends_the_run(cluster, folder):
    store = folder.path / "store"
    store.mkdir()
    with cluster.two.without(store):
        said = cluster.run("apart", store, code=1)
    assert f"a worker on machine two does not see the store {store} of head, and its" in said


def test_a_host_that_is_cut_off_loses_and_doubles_nothing(cluster, folder):
    before = cluster.n_marks(cluster.one)
    program = cluster.head.start(*cluster.words("cut off"))
    while cluster.n_marks(cluster.one) == before:
        assert program.poll() is None
        time.sleep(0.02)
    cluster.network.cut_off(cluster.one)
    assert program.wait() == 0
    assert folder.tables("cut off") == folder.tables("local")
    cluster.network.cut_off(cluster.one, False)
    for _ in range(120):  # Ray ends there what it has given up
        if not cluster.one.finds("ray::NodeWorker"):
            return
        time.sleep(0.5)
    raise AssertionError("a task goes on where the cluster has given it up")


def test_a_machine_outside_joins_by_the_client(cluster, folder):
    plain = f"{HEAD}:{GCS_PORT}"
    done = cluster.laptop.do(*cluster.words("outside"), check=False)
    assert done.returncode == 1
    assert f"{plain} takes connections, but no Ray cluster answers there within" in done.stderr
    cluster.laptop.do(*cluster.words("outside", address=f"ray://{HEAD}:{CLIENT_PORT}"))
    assert folder.tables("outside") == folder.tables("local")
