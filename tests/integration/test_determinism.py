"""Same input, same bytes: in other processes, with other hash seeds, and other workers.

The seconds that measures took are measured, and differ; once they are in the store they are kept.
"""

import os
import sys

import numpy as np
import pandas as pd
import pytest
from programs import run_program

from tests.campaigns.small_folder import TABLES, SmallFolder

#: Largest relative change of a value between batch sizes, as docs/measures.md states it.
BOUND = 1e-5


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    found = SmallFolder(tmp_path_factory.mktemp("same") / "user", ("default",))
    found.write({f"network {n}": {"seed": n} for n in range(3)})
    return found


def audit(folder, out, cache, workers, hash_seed):
    """One run, in a process of its own."""
    run_program(
        [
            *(sys.executable, "-m", "audit", "run", "audit.toml", "-o", out, "--cache", cache),
            *("--device", "cpu", "--workers", str(workers), "--quiet"),
        ],
        cwd=folder.path,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(folder.path), *filter(None, sys.path)]),
            "PYTHONHASHSEED": str(hash_seed),
        },
    )


def test_tables_are_the_same_bytes_in_other_processes(folder):
    audit(folder, "one", "cache one", workers=0, hash_seed=1)
    audit(folder, "two", "cache two", workers=2, hash_seed=2)
    assert folder.tables("one") == folder.tables("two")
    before = {name: (folder.path / "one" / name).read_bytes() for name in TABLES}
    folder.run("again", "cache one")  # from the store, in this process: seconds too
    assert {name: (folder.path / "again" / name).read_bytes() for name in TABLES} == before


def test_what_processes_write_does_not_hang_on_the_order_of_checkpoints(folder, tmp_path):
    folder.run("one", "cache one")
    turned = SmallFolder(tmp_path / "turned", ("default",))
    turned.write({f"network {n}": {"seed": n} for n in (2, 0, 1)})
    turned.run()
    rows = [
        pd.read_csv(path / "measures.csv")
        .drop(columns="seconds")
        .sort_values(["checkpoint", "measure"], ignore_index=True)
        for path in (folder.path / "one", turned.path / "out")
    ]
    assert rows[0].equals(rows[1])


@pytest.mark.parametrize("size", [1, 3])
def test_batch_sizes_change_values_by_less_than_is_stated(folder, tmp_path, size):
    folder.run("one", "cache one")
    other = SmallFolder(tmp_path / "user", ("default",), batch_size=size)
    other.write({f"network {n}": {"seed": n} for n in range(3)})
    other.run()
    tables = [
        pd.read_csv(path / "measures.csv").set_index(["checkpoint", "measure"])["value"]
        for path in (folder.path / "one", other.path / "out")
    ]
    assert tables[0].index.equals(tables[1].index)
    np.testing.assert_allclose(tables[1], tables[0], rtol=BOUND)
