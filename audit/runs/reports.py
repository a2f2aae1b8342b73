"""The stage that writes the reports of an output folder."""

from __future__ import annotations

from pathlib import Path

from audit.folder.result import read_result
from audit.plugin import AuditResult
from audit.plugin.registry import Registry


def report_folder(folder: Path, registry: Registry) -> AuditResult:
    """Write every report of an output folder's tables.

    Raises:
        DataError: A table cannot be read.
        StoreError: A report cannot be written.
    """
    result = read_result(folder)
    for reporter in registry.reporters.values():
        reporter.write(result, folder, {})
    return result
