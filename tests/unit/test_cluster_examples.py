"""The examples for clusters are well formed, and say what genaudit and Ray understand."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from audit.cli.run import command

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
SLURM = EXAMPLES / "slurm.sh"
JOB = yaml.safe_load((EXAMPLES / "ray-job.yaml").read_text("utf-8"))


def words_of_run(text):
    """What follows `genaudit run` in a command line."""
    words = shlex.split(text)
    at = words.index("genaudit")
    assert words[at + 1] == "run"
    return words[at + 2 :]


def options_of(words):
    context = command.make_context("run", words)
    return context.params


def test_the_slurm_script_is_bash():
    subprocess.run(["bash", "-n", SLURM], check=True)


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="needs shellcheck")
def test_the_slurm_script_passes_shellcheck():
    subprocess.run(["shellcheck", SLURM], check=True)


def test_the_slurm_script_runs_the_command_through_ray():
    text = SLURM.read_text("utf-8").replace("\\\n", " ")
    [line] = [line for line in text.splitlines() if "symmetric-run" in line and line[0] != "#"]
    options = options_of(words_of_run(line))
    assert options["engine"] == "ray"
    assert options["address"] == "$address"
    ours = line.index(" -- ")
    assert re.findall(r"--[a-z-]+", line[:ours]) == ["--address", "--min-nodes", "--num-cpus"]
    assert "RAY_AUTH_MODE=token" in text


def test_ray_has_the_command_of_the_slurm_script():
    scripts = pytest.importorskip("ray.scripts.symmetric_run", reason="needs Ray")
    names = {name for option in scripts.symmetric_run.params for name in option.opts}
    assert {"--address", "--min-nodes"} <= names


def test_the_job_for_kubernetes_runs_the_command():
    assert (JOB["apiVersion"], JOB["kind"]) == ("ray.io/v1", "RayJob")
    options = options_of(words_of_run(JOB["spec"]["entrypoint"]))
    assert (options["engine"], options["address"]) == ("ray", "auto")
    assert JOB["spec"]["shutdownAfterJobFinishes"] is True


def test_the_cluster_of_the_job_asks_for_a_token_and_shares_the_data():
    cluster = JOB["spec"]["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token"}
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    for group in groups:
        [container] = group["template"]["spec"]["containers"]
        assert {"name": "RAY_USAGE_STATS_ENABLED", "value": "0"} in container["env"]
        assert container["resources"]["limits"] == container["resources"]["requests"]
        [mount] = container["volumeMounts"]
        [volume] = group["template"]["spec"]["volumes"]
        assert mount["name"] == volume["name"]
        for option in ("--cache", "-o"):
            words = shlex.split(JOB["spec"]["entrypoint"])
            assert words[words.index(option) + 1].startswith(mount["mountPath"])
    for group in cluster["workerGroupSpecs"]:
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
