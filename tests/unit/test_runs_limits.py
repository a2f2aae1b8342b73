"""Options that limit a run, where they go, and in which order checkpoints are measured."""

import dataclasses
import json
import time
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from audit.cli.options import limit_options, make_options
from audit.errors import ConfigError
from audit.plugin import EngineEntry
from audit.runs.config import EngineConfig, RunOptions
from audit.runs.engines import check_engine_options, run_watched
from audit.runs.longest_first import expected_lengths, longest_first
from audit.runs.run_limits import RunLimits, RunStoppedError, check_limits


@click.command()
@limit_options
def show(**chosen):
    """Print what a command would pass on."""
    options = make_options(**chosen).model_dump(mode="json")
    names = ("engine_options", "checkpoint_timeout", "checkpoint_memory")
    click.echo(json.dumps({n: options[n] for n in (*names, "max_hours", "max_gpu_hours")}))


def given(*words):
    done = CliRunner().invoke(show, words)
    assert done.exit_code == 0, done.output
    return json.loads(done.output)


def test_limits_on_the_command_line():
    words = ("--checkpoint-timeout", "60", "--checkpoint-memory", "4GiB", "--max-hours", "1.5")
    options = ("num_gpus=0.5", "address=ray://host:1", "on=true", "names=['a']", "empty=")
    for option in options:
        words += ("--engine-option", option)
    assert given(*words, "--max-gpu-hours", "8") == {
        "engine_options": {
            "num_gpus": 0.5,
            "address": "ray://host:1",
            "on": True,
            "names": ["a"],
            "empty": "",
        },
        "checkpoint_timeout": 60.0,
        "checkpoint_memory": 4 << 30,
        "max_hours": 1.5,
        "max_gpu_hours": 8.0,
    }
    assert given() == dict.fromkeys(given()) | {"engine_options": {}}


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "long"])
@pytest.mark.parametrize("option", ["--checkpoint-timeout", "--max-hours", "--max-gpu-hours"])
def test_amounts_that_are_none_are_wrong_usage(option, value):
    done = CliRunner().invoke(show, [option, value])
    assert done.exit_code == 2
    assert f"{value!r} is not a number above 0." in done.output


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--checkpoint-memory", "much", "'much' is neither a size, such as 4GiB, nor a number"),
        ("--checkpoint-memory", "0", "'0' is neither a size"),
        ("--engine-option", "address", "'address' is not KEY=VALUE"),
        ("--engine-option", "=1", "'=1' is not KEY=VALUE"),
        ("--engine-option", "name=1", "'name=1' is not KEY=VALUE"),
    ],
)
def test_other_values_that_cannot_be_meant_are_wrong_usage(option, value, message):
    done = CliRunner().invoke(show, [option, value])
    assert done.exit_code == 2
    assert message in done.output


def test_limits_become_options_of_the_engine():
    configured = EngineConfig.model_validate({"name": "local", "retries": 2, "timeout": 10})
    options = RunOptions(checkpoint_timeout=60, checkpoint_memory="1KiB")
    assert options.engine_of(configured).options == {"retries": 2, "timeout": 60, "memory": 1024}
    assert RunOptions().engine_of(configured) == configured
    other = RunOptions(engine="ray", engine_options={"address": "x"}, checkpoint_timeout=60)
    assert other.engine_of(configured).name == "ray"
    assert other.engine_of(configured).options == {"address": "x", "timeout": 60}


def test_an_engine_without_limits_refuses_them():
    bare = EngineEntry(name="bare", summary="", version="1", run=lambda *given: [])

    class Known:
        def engine(self, name):
            return bare

    with pytest.raises(ConfigError) as error:
        check_engine_options(EngineConfig.model_validate({"name": "bare", "timeout": 1}), Known())
    assert str(error.value) == (
        "engine 'bare' keeps no limit on a checkpoint's time (it has no option 'timeout'): leave "
        "--checkpoint-timeout out, or choose another with --engine"
    )


def test_hours_of_devices_are_refused_where_none_is_used():
    check_limits(RunOptions(max_gpu_hours=1), "cuda")
    check_limits(RunOptions(max_hours=1), "cpu")
    with pytest.raises(ConfigError, match=r"this run is on processors: use --max-hours$"):
        check_limits(RunOptions(max_gpu_hours=1), "cpu")


def test_a_run_stops_after_its_hours(monkeypatch):
    now = [50.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    by_clock, by_device = RunLimits(2, None, 4), RunLimits(None, 6, 4)
    assert by_clock
    assert not RunLimits(None, None, 4)
    now[0] += 1.4 * 3600
    by_clock.check()
    by_device.check()
    now[0] += 0.2 * 3600
    by_clock.check()
    with pytest.raises(RunStoppedError) as stopped:
        by_device.check()
    assert str(stopped.value) == (
        "not audited: the run was stopped after 6 GPU hours (--max-gpu-hours); run again to go on"
    )
    now[0] += 0.5 * 3600
    with pytest.raises(RunStoppedError, match=r"stopped after 2 h \(--max-hours\); run again"):
        by_clock.check()


def test_an_engine_that_is_not_watched_is_driven_as_before():
    ended = []

    def run(function, tasks, n_workers, options):
        try:
            for at, task in enumerate(tasks):
                yield at, function(task)
        finally:
            ended.append(True)

    entry = EngineEntry(name="bare", summary="", version="1", run=run)
    watch = pytest.fail
    assert list(run_watched(entry, abs, [-1, 2], 1, {}, watch)) == [(0, 1), (1, 2)]
    ends = run_watched(entry, abs, [-1, 2], 1, {}, watch)
    next(ends)
    ended.clear()
    ends.close()
    assert ended == [True]
    assert list(run_watched(entry, abs, [], 1, {}, watch)) == []


@dataclasses.dataclass(frozen=True)
class Plain:
    """What the order looks at of a subject."""

    name: str
    model: str
    weights: Path | None = None


def line(model, seconds, images=10, **other):
    return {"stage": "audited", "model": model, "seconds": seconds, "images": images, **other}


def weights(folder, name, n_bytes):
    path = folder / name
    path.write_bytes(bytes(n_bytes))
    return path


def order(subjects, ledger=()):
    lengths = expected_lengths(subjects, ledger)
    return [subject.name for subject in longest_first(subjects, lengths)]


def test_checkpoints_of_slow_architectures_come_first():
    subjects = [Plain("a", "fast"), Plain("c", "slow"), Plain("b", "slow"), Plain("d", "middle")]
    ledger = [
        line("fast", 1.0),
        line("slow", 9.0),
        line("slow", 0.1),  # partly cached
        line("middle", 30.0, images=100),
        {"stage": "passes", "model": "fast", "seconds": 1000.0},
        line("fast", float("nan")),
        line("fast", "1e9"),
        line("fast", 1.0, images=0),
    ]
    assert order(subjects, ledger) == ["b", "c", "d", "a"]
    assert order(subjects[::-1], ledger) == ["b", "c", "d", "a"]


def test_sizes_of_weights_tell_where_the_ledger_does_not(tmp_path):
    subjects = [
        Plain("a", "one", weights(tmp_path, "a.safetensors", 100)),
        Plain("b", "two", weights(tmp_path, "b.safetensors", 300)),
        Plain("c", "three", weights(tmp_path, "c.safetensors", 200)),
    ]
    assert order(subjects) == ["b", "c", "a"]
    lengths = expected_lengths(subjects, [line("one", 5.0)])
    assert lengths == {"a": 0.5, "b": 1.5, "c": 1.0}


def test_what_nothing_tells_of_comes_first_with_the_longest(tmp_path):
    subjects = [
        Plain("a", "one", weights(tmp_path, "a.safetensors", 100)),
        Plain("z", "two"),
        Plain("y", "three", tmp_path / "absent.safetensors"),
    ]
    assert expected_lengths(subjects, []) == {"a": 100.0, "z": 100.0, "y": 100.0}
    assert expected_lengths([Plain("z", "two")], []) == {"z": 1.0}
    assert expected_lengths([], []) == {}


def test_shards_count_beside_their_index(tmp_path):
    weights(tmp_path, "model-00001.safetensors", 500)
    index = weights(tmp_path, "model.safetensors.index.json", 10)
    assert expected_lengths([Plain("a", "one", index)], []) == {"a": 510.0}
