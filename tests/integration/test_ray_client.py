"""The engine ray at the other end of a Ray client: `--address ray://HOST:PORT`."""

import importlib.util
import json
import os
import signal
import sys
import time

import psutil
import pytest
from programs import run_program, start_program
from ray_nodes import free_port, two_nodes

from audit.errors import ConfigError
from audit_engines.on_ray import cluster as joining
from tests.campaigns.small_folder import SmallFolder

pytest.importorskip("ray", reason="needs Ray: pip install 'genaudit[ray]'")
if importlib.util.find_spec("grpc") is None:
    pytest.skip("needs Ray's client: pip install 'ray[client]'", allow_module_level=True)
pytestmark = pytest.mark.filterwarnings("default")  # Ray's own threads and sockets

COMMAND = "from audit import cli; cli.main()"
CHECK = """
import sys
from audit.conformance.engines import check_engine
from audit.plugin.registry import installed

if __name__ == "__main__":
    check_engine(installed().engine("ray"))
    assert "ray" in sys.modules
"""


@pytest.fixture(scope="module")
def marks(tmp_path_factory):
    """A folder with a mark for each forward pass that does something on purpose."""
    return tmp_path_factory.mktemp("marks")


@pytest.fixture(scope="module")
def nodes(tmp_path_factory, marks):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SMALL_NETWORKS_MARKS", str(marks))
        with two_nodes(tmp_path_factory.mktemp("networks") / "user") as here:
            os.environ["RAY_ADDRESS"] = here.client
            yield here


@pytest.fixture(scope="module")
def folder(nodes):
    return SmallFolder(nodes.networks)


def words(folder, out):
    """The command that audits a folder on the cluster, from outside."""
    words = [sys.executable, "-c", COMMAND, "run"]
    words += [folder.path / "audit.toml", "-o", folder.path / out, "--cache", folder.path / "store"]
    return [*words, "--engine", "ray", "--quiet", "--json", "--device", "cpu"]


def refusal(address):
    with pytest.raises(ConfigError) as caught:
        joining.check_address(address)
    return str(caught.value)


def test_engine_keeps_its_promises(nodes, tmp_path):
    (tmp_path / "check.py").write_text(CHECK)
    run_program([sys.executable, "check.py"], cwd=tmp_path)


def test_tables_are_those_of_one_machine(folder):
    folder.write({name: {"seed": seed} for seed, name in enumerate("abc")})
    folder.run("local", "cache", workers=0)
    done = run_program(words(folder, "client"))
    assert folder.tables("client") == folder.tables("local")
    assert json.loads(done.stdout)
    assert done.stderr == ""


def test_an_interrupt_ends_what_runs_there(folder, marks):
    folder.write({"sleeps": {"what": "sleep", "most": 5}})
    program = start_program(words(folder, "stopped"))
    while not list(marks.iterdir()):
        assert program.poll() is None
        time.sleep(0.1)
    here = psutil.Process().children(recursive=True)
    sleeping = [process for process in here if "ray::NodeWorker" in process.name()]
    sleeping += [child for process in sleeping for child in process.children()]
    assert len(sleeping) > 1
    os.killpg(program.pid, signal.SIGINT)
    assert program.wait(20) == 130
    _, alive = psutil.wait_procs(sleeping, timeout=10)
    assert alive == []
    status = [sys.executable, "-c", COMMAND, "status", folder.path / "stopped"]
    assert run_program(status).stdout.startswith("was interrupted at")


def test_an_address_of_something_else_is_refused(nodes):
    advice = "give ray:// with the port of the cluster's client server, which is mostly 10001"
    wrong = f"ray://{nodes.cluster.address}"
    assert refusal(wrong) == (
        f"{wrong} takes connections, but no client server of a Ray cluster answers there: {advice}"
    )
    free = f"ray://127.0.0.1:{free_port()}"
    assert refusal(free) == (
        f"nothing answers at {free} (Connection refused): {advice}, or leave it out to start a "
        "cluster on this machine"
    )


@pytest.mark.parametrize("token", ["1" * 64, None])
def test_a_process_without_the_token_is_refused(nodes, monkeypatch, token):
    if token is None:
        monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
        monkeypatch.delenv("RAY_AUTH_TOKEN")
    else:
        monkeypatch.setenv("RAY_AUTH_TOKEN", token)
    assert refusal(nodes.client) == (
        f"the Ray cluster at {nodes.client} takes only processes that have its token: set "
        "RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH to that token or its file"
    )
