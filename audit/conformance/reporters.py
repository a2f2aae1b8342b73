"""Reporters: files where they say, the same bytes twice, the result left as it was."""

from __future__ import annotations

from pathlib import Path

from audit.errors import ConfigError, PluginError
from audit.plugin import AuditResult, ReporterEntry

#: An option that no reporter has.
UNKNOWN = "no_such_option"


def check_reporter(entry: ReporterEntry, result: AuditResult, folder: Path) -> list[Path]:
    """Check that a reporter writes the files it names, repeatably, and changes no table.

    Also that it refuses an option it does not know, so that no typing error goes unseen.

    Args:
        entry: The reporter.
        result: What to report.
        folder: An existing empty folder to write in.

    Returns:
        The files.

    Raises:
        PluginError: A promise that is not kept.
    """
    owner = f"reporter {entry.name!r}"
    _check_refusal(entry, result, folder)
    tables = {
        name: getattr(result, name).copy()
        for name in ("measures", "ranking", "correlations", "held_out")
    }
    files = [Path(path) for path in entry.write(result, folder, {})]
    if not files:
        raise PluginError(f"{owner} must write at least one file; it wrote none")
    written = {path: path for path in folder.rglob("*") if path.is_file()}
    for path in files:
        if path not in written:
            raise PluginError(f"{owner} must write its files under {folder}; {path} is not there")
    before = {path: path.read_bytes() for path in files}
    entry.write(result, folder, {})
    for path, content in before.items():
        if path.read_bytes() != content:
            raise PluginError(f"{owner} must write the same bytes every time; {path.name} differs")
    for name, table in tables.items():
        if not table.equals(getattr(result, name)):
            raise PluginError(f"{owner} must leave the result as it is; it changed {name}")
    return files


def _check_refusal(entry: ReporterEntry, result: AuditResult, folder: Path) -> None:
    """Check that an option nobody knows is refused before anything is written."""
    owner = f"reporter {entry.name!r}"
    try:
        entry.write(result, folder, {UNKNOWN: True})
    except ConfigError:
        files = sorted(path.name for path in folder.rglob("*") if path.is_file())
        if files:
            raise PluginError(
                f"{owner} must refuse an unknown option before it writes; it wrote {files}"
            ) from None
        return
    raise PluginError(f"{owner} must refuse an unknown option with a ConfigError; it wrote")
