"""A kernel kept on disk is compiled again when anything it calls changes."""

import os
import sys

from programs import run_program

from audit.topology._kernels import basics

KERNEL = """
from pathlib import Path
from audit.topology._kernels import basics
import called
basics._SOURCES = (Path(called.__file__), Path(__file__))

@basics.kept
def kernel(x):
    return called.twice(x)

print(kernel(3), sum(kernel.stats.cache_hits.values()))
"""
CALLED = """
from audit.topology._kernels.basics import compiled

@compiled
def twice(x):
    return {} * x
"""


def test_a_change_in_what_a_kernel_calls_compiles_it_again(tmp_path):
    def run(factor):
        (tmp_path / "called.py").write_text(CALLED.format(factor))
        answer = run_program(
            [sys.executable, "-B", tmp_path / "kernel.py"],  # Python's own cache sees whole seconds
            env=os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "cache")},
            cwd=tmp_path,
        )
        return answer.stdout.split()

    (tmp_path / "kernel.py").write_text(KERNEL)
    assert run(2) == ["6", "0"]
    assert run(2) == ["6", "1"]  # read from disk
    assert run(5) == ["15", "0"]


def test_where_nothing_can_be_kept_kernels_are_compiled_all_the_same(monkeypatch):
    def nowhere(*, nogil, cache=False):
        if cache:
            raise RuntimeError("cannot cache function 'twice': no locator available")
        return lambda function: function

    monkeypatch.setattr(basics, "njit", nowhere)
    assert basics.kept(lambda x: 2 * x)(3) == 6


def test_code_that_is_not_compiled_is_refused():
    code = "import numpy as np; from audit import birth_levels; birth_levels(np.eye(3))"
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1"}
    answer = run_program([sys.executable, "-c", code], env=environment, check=False)
    assert "ConfigError: births need compiled code; unset NUMBA_DISABLE_JIT" in answer.stderr


def test_every_file_of_the_kernels_is_watched():
    names = {path.name for path in basics._SOURCES}
    assert {
        "queue.py",
        "vectors.py",
        "flag_complex.py",
        "grid.py",
        "cubical.py",
        "_inputs.py",
    } < names
