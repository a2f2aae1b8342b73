"""A Ray cluster of two nodes on this machine: the same tables as without, whatever is lost.

`GENAUDIT_RAY_LOSSES` says how many nodes are lost under one audit.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from programs import start_program

from audit.conformance.engines import check_engine
from audit.errors import ConfigError, MeasureError
from audit.plugin.registry import installed
from audit.runs import pipeline
from audit.runs.config import RunOptions
from audit.store import Store
from audit_engines.on_ray import cluster as joining
from audit_engines.on_ray.engine import run

ray = pytest.importorskip("ray", reason="needs Ray: pip install 'genaudit[ray]'")
pytestmark = pytest.mark.filterwarnings("default")  # Ray's own threads and sockets

N_LOSSES = int(os.environ.get("GENAUDIT_RAY_LOSSES", "1"))
TOKEN = "0" * 64
CHECKPOINTS = """
[[checkpoints]]
model = "test_resnet"
weights = "checkpoints/test_resnet-*.safetensors"
model_args = { num_classes = 3, in_chans = 1 }
"""
MEASURES = '\n[measures]\nimages_per_class = 8\ninclude = ["feature_entropy.clique"]\n'


class Nodes:
    """A cluster whose head takes no tasks, so that all are on nodes that can be lost."""

    def __init__(self, folder):
        from ray.cluster_utils import Cluster

        # Ray notes the cluster in this folder whatever its own is, and does not make it.
        Path(os.environ.get("RAY_TMPDIR") or "/tmp", "ray").mkdir(exist_ok=True)
        self.cluster = Cluster(shutdown_at_exit=True)
        head = {"num_cpus": 0, "include_dashboard": False, "temp_dir": str(folder)}
        self.cluster.add_node(**head)
        self.nodes = [self.add(), self.add()]

    def add(self):
        return self.cluster.add_node(num_cpus=1, num_gpus=1)

    def lose(self):
        """Lose the node that is the longest there, and get another."""
        self.cluster.remove_node(self.nodes.pop(0), allow_graceful=False)
        self.nodes.append(self.add())


@pytest.fixture(scope="module")
def nodes():
    changes = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": TOKEN,
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_health_check_period_ms": "1000",  # a lost node is missed sooner
        "RAY_health_check_failure_threshold": "3",
        "RAY_worker_niceness": "0",  # or tests starve where other work goes on
        "PYTHONPATH": os.pathsep.join([os.path.dirname(__file__), *filter(None, sys.path)]),
    }
    from ray._private.authentication_test_utils import reset_auth_token_state

    before = dict(os.environ)
    os.environ.update(changes)
    reset_auth_token_state()  # the variables count when Ray is imported, which it was above
    folder = f"/tmp/ray-test-{os.getpid()}"  # the paths of sockets must be short
    try:
        here = Nodes(folder)
        os.environ["RAY_ADDRESS"] = here.cluster.address
        yield here
        here.cluster.shutdown()
    finally:
        os.environ.clear()
        os.environ.update(before)
        reset_auth_token_state()
        shutil.rmtree(folder, ignore_errors=True)


def visible(_):
    return os.environ.get("CUDA_VISIBLE_DEVICES")


def act(how):
    if how == "abort":
        os.abort()
    if how == "sleep":
        time.sleep(60)
    return how


def test_engine_keeps_its_promises(nodes):
    check_engine(installed().engine("ray"))
    assert not ray.is_initialized()


def test_a_task_that_dies_or_hangs_costs_itself_alone(nodes):
    found = dict(run(act, ["abort", "sleep", "fine"], 2, {"retries": 1, "timeout": 8}))
    assert found[2] == "fine"
    assert all(isinstance(found[at], MeasureError) for at in (0, 1))
    assert str(found[0]) == (
        "worker process died (signal 6, SIGABRT), and again when it was tried again"
    )
    assert str(found[1]).startswith("not done after 8 s, the time limit per checkpoint")


def test_a_share_of_a_device_is_what_a_task_sees(nodes):
    assert list(run(visible, [0], 1, {"num_gpus": 0.5})) == [(0, "0")]


def test_a_task_that_fits_nowhere_is_refused(nodes):
    with pytest.raises(ConfigError) as caught:
        list(run(visible, [0], 1, {"num_gpus": 2, "wait": 0}))
    assert str(caught.value) == (
        "no node of the Ray cluster had room for a task (1 CPU, 2 GPU) within 0 s; its nodes "
        "have: 0 CPU, 0 GPU; 1 CPU, 1 GPU; 1 CPU, 1 GPU. Ask for less with num_cpus, num_gpus or "
        "memory in [engine], or give a cluster that grows by itself more time with `wait`"
    )


def test_a_process_without_the_token_is_refused(nodes, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN", "1" * 64)
    monkeypatch.setattr(joining, "_PROBE_SECONDS", 6)
    with pytest.raises(ConfigError, match="takes only processes that have its token: set RAY_AUTH"):
        list(run(visible, [0], 1))


def audited(user):
    """The folder with five checkpoints, or three times as many as nodes are lost."""
    digits = [path for path in user.glob("checkpoints/*") if "test_resnet" in path.name]
    for path in user.glob("checkpoints/*"):
        if path not in digits:
            path.unlink()
    for number in range(5, 3 * N_LOSSES):
        shutil.copy(digits[number % 5], user / f"checkpoints/test_resnet-{number}.safetensors")
    config = (user / "audit.toml").read_text().split("[[checkpoints]]")[0]
    (user / "audit.toml").write_text(config + CHECKPOINTS + MEASURES)
    return user / "audit.toml"


def lose_nodes(nodes, store, programs):
    """Lose a node whenever a checkpoint is half audited; how many were lost."""
    seen = n_lost = 0
    while n_lost < N_LOSSES and any(program.poll() is None for program in programs):
        halfway = sum(line.get("stage") == "passes" for line in store.ledger())
        if halfway > seen:
            seen = halfway
            nodes.lose()
            n_lost += 1
        time.sleep(0.02)
    return n_lost


def start_run(config, store, output):
    """A run on the cluster, as its user starts it."""
    words = [sys.executable, "-c", "from audit import cli; cli.main()", "run", str(config)]
    words += ["--cache", str(store.root), "-o", str(output), "--engine", "ray", "--quiet", "--json"]
    words += ["--engine-option", "retries=99", "--engine-option", "wait=120", "--device", "cpu"]
    with (
        output.with_suffix(".json").open("w") as said,
        output.with_suffix(".txt").open("w") as told,
    ):
        return start_program(words, stdout=said, stderr=told)


def tables(folder):
    """What is in the tables, less how long things took."""
    measures = pd.read_csv(folder / "measures.csv").drop(columns="seconds")
    return measures.to_csv(), (folder / "units.parquet").read_bytes()


def test_row_34_two_runs_on_one_store_lose_and_double_nothing_although_nodes_are_lost(
    nodes, user, tmp_path
):
    config = audited(user)
    store = Store(tmp_path / "shared")
    folders = [tmp_path / "first", tmp_path / "second"]
    programs = [start_run(config, store, folder) for folder in folders]
    n_nodes = lose_nodes(nodes, store, programs)
    for program, folder in zip(programs, folders, strict=True):
        assert program.wait() == 0, folder.with_suffix(".txt").read_text()
        assert json.loads(folder.with_suffix(".json").read_text())
    assert n_nodes == N_LOSSES

    alone = tmp_path / "alone"
    local = RunOptions(output=alone, cache=tmp_path / "own", device="cpu", progress=False)
    pipeline.run(config, options=local.model_copy(update={"workers": 0}))
    rows = pd.read_csv(alone / "measures.csv")[["checkpoint", "measure"]].value_counts()
    for folder in folders:
        found = pd.read_csv(folder / "measures.csv")[["checkpoint", "measure"]].value_counts()
        n_lost = int((rows.sub(found, fill_value=0) > 0).sum())
        n_doubled = int((found.sub(rows, fill_value=0) > 0).sum())
        sys.stdout.write(
            f"{folder.name}: {n_nodes} nodes lost, {len(rows)} rows, {n_lost} lost, "
            f"{n_doubled} doubled\n"
        )
        assert (n_lost, n_doubled) == (0, 0)
        assert tables(folder) == tables(alone)


OWN = """
import sys, time
from audit_engines.on_ray.engine import run

if __name__ == "__main__":
    for outcome in run(time.sleep, [0, 600, 600], 2):
        print(outcome, flush=True)
"""


def test_an_interrupt_ends_the_cluster_that_was_started(tmp_path):
    import psutil

    (tmp_path / "own.py").write_text(OWN)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    program = start_program([sys.executable, "own.py"], env=kept, cwd=tmp_path, **pipes)
    first = program.stdout.readline()
    assert first == "(0, None)\n", program.communicate()
    started = psutil.Process(program.pid).children(recursive=True)
    os.killpg(program.pid, signal.SIGINT)
    _, errors = program.communicate(timeout=60)
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert len(started) > 3
    _, alive = psutil.wait_procs(started, timeout=10)
    with contextlib.suppress(psutil.Error):
        alive = [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]
    assert alive == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["own.py"]
