"""The measures of one file, computed on the checkpoints of the zoos."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from audit.errors import ConfigError
from audit.files import write_atomically
from audit.plugin import MeasureEntry
from audit.plugin.discovery import VARIABLE
from audit.plugin.registry import installed
from audit.zoo.table import ZooTable
from benchmarks.zoo_statistics import baselines

PLUGIN: Final = "leaderboard_measure"


_WRAPPER: Final = '''"""The measures of one file, as a plugin."""
import importlib.util
import sys

from audit.plugin import hookimpl

spec = importlib.util.spec_from_file_location({stem!r}, {path!r})
module = importlib.util.module_from_spec(spec)
sys.modules[{stem!r}] = module
spec.loader.exec_module(module)


@hookimpl
def genaudit_measures():
    if hasattr(module, "MEASURES"):
        return list(module.MEASURES)
    return module.genaudit_measures()
'''


def as_plugin(file: Path, folder: Path) -> list[MeasureEntry]:
    """Make the measures of a file a plugin of this process and of those it starts.

    Args:
        file: Has the hook `genaudit_measures`, or a sequence `MEASURES`.
        folder: Where the plugin's description is written; it must outlive the process.

    Returns:
        The file's measures.

    Raises:
        ConfigError: The file is not there, or has neither.
        PluginError: It cannot be imported, or a name is taken.
    """
    if not file.is_file():
        raise ConfigError(f"{file} is no file; --measure needs a Python file with one measure")
    described = folder / f"{PLUGIN}-0.dist-info"
    described.mkdir(parents=True, exist_ok=True)
    text = _WRAPPER.format(stem=file.stem, path=str(file.absolute()))
    write_atomically(folder / f"{PLUGIN}.py", text.encode())
    write_atomically(described / "METADATA", f"Name: {PLUGIN}\nVersion: 0\n".encode())
    points = f"[genaudit]\n{PLUGIN} = {PLUGIN}\n"
    write_atomically(described / "entry_points.txt", points.encode())
    sys.path.insert(0, str(folder))
    known = os.environ.get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = os.pathsep.join(part for part in (str(folder), known) if part)
    importlib.invalidate_caches()
    named = os.environ.get(VARIABLE, "")
    os.environ[VARIABLE] = ",".join(part for part in (named, PLUGIN) if part)
    registry = installed()
    names = registry.owners
    found = [e for n, e in registry.measures.items() if names["genaudit_measures", n] == PLUGIN]
    if not found:
        raise ConfigError(f"{file} has no measure: give it MEASURES = (MeasureEntry(...),)")
    return found


def measured_by(
    entries: Sequence[MeasureEntry], file: Path, trained: Path, tasks: Sequence[str]
) -> dict[str, ZooTable]:
    """The zoos' checkpoints measured by some measures and the baselines.

    Args:
        entries: To compute.
        file: That they come from; what was computed is kept as long as it does not change.
        trained: Folder of trained tasks.
        tasks: Their names.

    Raises:
        ConfigError: A task is not trained; the message says how to.
    """
    from audit.runs.config import RunOptions
    from audit.zoo.measuring import measure_zoo
    from audit.zoo.tasks import read_task

    missing = [name for name in tasks if not (trained / name / "held_out.csv").exists()]
    if missing:
        commands = "\n".join(f"  genaudit zoo train {name} -o {trained}" for name in missing)
        raise ConfigError(
            f"{len(missing)} of {len(tasks)} tasks are not trained in {trained}; train them with\n"
            f"{commands}\nor choose some of the others with --tasks"
        )
    digest = hashlib.sha256(file.read_bytes()).hexdigest()[:12]
    include = [*(entry.name for entry in entries), *baselines()]
    zoos = {}
    for name in tasks:
        folder = trained / name
        options = RunOptions(
            output=folder, cache=folder / f"cache-{digest}", progress=sys.stderr.isatty()
        )
        zoos[name] = measure_zoo(read_task(name), folder, options, include)
    return zoos


def with_columns(zoo: ZooTable, other: ZooTable, columns: Sequence[str]) -> ZooTable:
    """A table with columns of another audit of the same task.

    Raises:
        ConfigError: The checkpoints are others: trained on another machine, most likely.
    """
    keys = ["checkpoint", "labels"]
    joined = zoo.table.merge(
        other.table[[*keys, "held_out_accuracy", *columns]], on=keys, suffixes=("", ".theirs")
    )
    theirs = joined.pop("held_out_accuracy.theirs")
    if len(joined) < len(zoo.table) or not np.allclose(joined["held_out_accuracy"], theirs):
        raise ConfigError(
            f"the checkpoints of {zoo.name} are not those of its table: their held-out accuracies "
            "differ, as they do where another machine or version of torch trained them. Measure "
            f"all with `genaudit zoo measure {zoo.name} --table FOLDER` and give --zoos FOLDER"
        )
    described = {c: other.about["measures"][c] for c in columns}
    about: dict[str, Any] = {**zoo.about, "measures": {**zoo.about["measures"], **described}}
    return ZooTable(zoo.name, joined, about)
