"""Reports of one audit: a page to read and one file to compute with.

A plugin like any third party's: everything it knows comes from the `AuditResult` it is given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from audit.plugin import AuditResult, ReporterEntry, hookimpl
from audit_reports.options import HTML, JSON, indent_of, title_of

VERSION = "2"


def write_html(result: AuditResult, folder: Path, options: Mapping[str, Any]) -> Sequence[Path]:
    """Write `report.html`; see `audit_reports.page`."""
    from audit_reports import page

    return [page.write(result, folder, title_of(options, page.TITLE))]


def write_json(result: AuditResult, folder: Path, options: Mapping[str, Any]) -> Sequence[Path]:
    """Write `results.json`; see `audit_reports.results`."""
    from audit_reports import results

    return [results.write(result, folder, indent_of(options, results.INDENT))]


@hookimpl
def genaudit_reporters() -> Sequence[ReporterEntry]:
    """The forms of output that come with genaudit."""
    return [
        ReporterEntry(
            name="html",
            summary="report.html: one self-contained page that answers, shows and explains",
            version=VERSION,
            write=write_html,
            options=HTML,
        ),
        ReporterEntry(
            name="json",
            summary="results.json: ranking, correlations, measures and run in one file",
            version=VERSION,
            write=write_json,
            options=JSON,
        ),
    ]
