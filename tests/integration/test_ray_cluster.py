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

import pandas as pd
import pytest
from programs import start_program
from ray_nodes import two_nodes

from audit.conformance.engines import check_engine
from audit.errors import ConfigError, MeasureError
from audit.plugin.registry import installed
from audit.runs import pipeline
from audit.runs.config import RunOptions
from audit.store import Store
from audit_engines.on_ray import cluster as joining
from audit_engines.on_ray.engine import run
from tests.campaigns.small_folder import MEASURES, SmallFolder

ray = pytest.importorskip("ray", reason="needs Ray: pip install 'genaudit[ray]'")
pytestmark = pytest.mark.filterwarnings("default")  # Ray's own threads and sockets

N_LOSSES = int(os.environ.get("GENAUDIT_RAY_LOSSES", "1"))
CHECKPOINTS = """
[[checkpoints]]
model = "test_resnet"
weights = "checkpoints/test_resnet-*.safetensors"
model_args = { num_classes = 3, in_chans = 1 }
"""
SETTINGS = '\n[measures]\nimages_per_class = 8\ninclude = ["feature_entropy.clique"]\n'


@pytest.fixture(scope="module")
def nodes(tmp_path_factory):
    with two_nodes(tmp_path_factory.mktemp("networks") / "user", os.path.dirname(__file__)) as here:
        yield here


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


def most_at_once(n_workers):
    """How many of four tasks were under way at a time, at most."""
    seen = []
    list(run(time.sleep, [1] * 4, n_workers, watch=lambda running: seen.append(len(running))))
    return max(seen)


def test_workers_bound_the_tasks_at_once_and_else_the_nodes_do(nodes):
    assert [most_at_once(n) for n in (1, None, 8)] == [1, 2, 2]


def test_a_worker_that_is_killed_is_tried_again_with_half_the_batch(nodes):
    folder = SmallFolder(nodes.networks, batch_size=8)
    once = {"seed": 1, "what": "kill", "most": 5}
    folder.write({"once": once, "sound": {"seed": 1}, "other": {"seed": 2}})
    folder.run(workers=1, engine="ray", engine_options={"retries": 1})
    assert folder.failed() == {}
    values = [folder.values(name) for name in ("once", "sound")]
    for measure in set(MEASURES) - {"random"}:  # which is drawn for each checkpoint
        assert values[0][measure] == pytest.approx(values[1][measure], rel=1e-5), measure
    assert "killed over 8 images at a time, perhaps for memory: 4 taken" in folder.notes("once")
    # All were in one slot, which keeps nothing of the kill for others.
    assert not any("killed" in note for name in ("sound", "other") for note in folder.notes(name))


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
    (user / "audit.toml").write_text(config + CHECKPOINTS + SETTINGS)
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
