"""The public names, and how little it costs to import them."""

import statistics
import sys
import time

import pytest
from programs import run_program

import audit

NAMES = {
    *("birth_levels", "NO_BIRTH", "feature_entropy", "unit_table", "run", "AuditResult"),
    *("correlate", "statistics", "GeneralizationRanker", "list_plugins", "list_measures"),
    *("AuditError", "Follower", "__version__"),
}


def test_public_names_are_these():
    assert set(audit.__all__) >= NAMES
    assert set(dir(audit)) == set(audit.__all__)
    for name in audit.__all__:
        assert getattr(audit, name) is not None


def test_unknown_attribute_is_named():
    with pytest.raises(AttributeError, match=r"^module 'audit' has no attribute 'nothing'$"):
        audit.nothing  # noqa: B018


def run_python(code):
    return run_program([sys.executable, "-c", code]).stdout.strip()


def test_import_and_help_load_neither_torch_nor_timm():
    code = """
import sys
import audit
from audit import cli
try:
    cli.genaudit.main(["--help"], standalone_mode=False)
finally:
    print([name for name in ("torch", "timm", "pandas", "numba") if name in sys.modules])
"""
    assert run_python(code).endswith("[]")


def test_help_answers_at_once():
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        run_program([sys.executable, "-m", "audit", "--help"])
        seconds.append(time.perf_counter() - started)
    assert statistics.median(seconds) < 1.0  # 0.3 s on a quiet machine; benchmarks/startup.py says
