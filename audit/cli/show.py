"""Results on the terminal: tables for people, JSON for programs; always on standard output."""

from __future__ import annotations

import json
import math
import textwrap
from typing import TYPE_CHECKING, Any, Final

import click

from audit.cli import EXIT_ERROR, EXIT_PARTIAL
from audit.shown import one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    import pandas as pd

    from audit.plugin import AuditResult

#: Characters of a line on a terminal.
WIDTH: Final = 100
#: Said where accuracies are known, but not the images that they were taken on.
NOT_COMPARED: Final = (
    "note: the images that held-out accuracies were taken on were not given ([held_out] images), "
    "so it was not looked at whether training images are among them"
)


def plain(value: Any) -> Any:
    """A value as JSON can hold it: NaN becomes null, numpy numbers become numbers."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def print_json(value: Any) -> None:
    """Print one JSON document."""
    click.echo(json.dumps(plain(value), indent=1, ensure_ascii=False, default=str))


def rows_of(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """A table as a list of objects."""
    return [{str(k): v for k, v in row.items()} for row in frame.to_dict("records")]


def ranking_rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """A ranking as a list of objects; `tied_with` is a list of names, `doubt` one of kinds."""
    from audit.plugin.names import split_names

    rows = rows_of(frame)
    for row in rows:
        row["tied_with"] = split_names(row["tied_with"])
        row["doubt"] = [kind for kind in str(row.get("doubt", "")).split(";") if kind]
    return rows


def print_table(frame: pd.DataFrame, rows: int | None = None) -> None:
    """Print a table, its first rows only where it is long."""
    shown = frame if rows is None else frame.head(rows)
    text = shown.to_string(
        index=False, na_rep="–", float_format=lambda number: f"{number:.4g}", max_colwidth=72
    )
    click.echo(text)
    if len(shown) < len(frame):
        click.echo(f"… and {len(frame) - len(shown)} more")


def print_ranking(frame: pd.DataFrame, rows: int = 10) -> None:
    """Print the head of a ranking, with the number of ties in place of their names."""
    texts: dict[str, list[str]] = {
        "rank": [str(rank) for rank in frame["predicted_rank"]],
        "checkpoint": [str(name) for name in frame["checkpoint"]],
        "score": [_number(score) for score in frame["score"]],
        "interval": _intervals(frame["lower"], frame["upper"]),
        "tied with": [_counted(names) for names in frame["tied_with"]],
    }
    if "doubt" in frame and (frame["doubt"] != "").any():
        texts["doubt"] = [str(doubt) for doubt in frame["doubt"]]
    print_columns(texts, rows, left=("checkpoint", "doubt"))


def _counted(names: Any) -> str:
    """How many names there are in a cell that joins them."""
    from audit.plugin.names import split_names

    n_names = len(split_names(names))
    return f"{n_names} other{'s' if n_names > 1 else ''}" if n_names else "none"


def _number(value: float) -> str:
    return f"{value:.3g}" if math.isfinite(value) else "–"


def _intervals(lower: Iterable[float], upper: Iterable[float]) -> list[str]:
    ends = zip(lower, upper, strict=True)
    return [f"[{_number(low)}, {_number(high)}]" for low, high in ends]


def print_columns(
    texts: Mapping[str, Sequence[str]], rows: int, left: Sequence[str] = (), width: int = WIDTH
) -> None:
    """Print columns of text side by side within a width; the last one is folded where it is long.

    Args:
        texts: Heading → cells.
        rows: So many are printed, and how many more there are.
        left: Headings of the columns that stand at the left; the others stand at the right.
        width: Of a line, in characters; a line is longer only where the other columns fill it.
    """
    *others, last = texts
    widths = {name: max(map(len, [name, *map(one_line, texts[name][:rows])])) for name in others}
    room = max(width - sum(size + 2 for size in widths.values()), 16)
    n_rows = len(texts[last])
    for row in range(-1, min(rows, n_rows)):
        cells = {name: name if row < 0 else one_line(texts[name][row]) for name in texts}
        start = "".join(
            (cells[name].ljust if name in left else cells[name].rjust)(widths[name]) + "  "
            for name in others
        )
        for number, line in enumerate(textwrap.wrap(cells[last], room) or [""]):
            click.echo(((start if number == 0 else " " * len(start)) + line).rstrip())
    if rows < n_rows:
        click.echo(f"… and {n_rows - rows} more")


def print_correlations(frame: pd.DataFrame, rows: int = 12) -> None:
    """Print the measures that go with the target most, by the size of Kendall's τ."""
    order = frame["kendall"].abs().sort_values(ascending=False, na_position="last").index
    frame = frame.loc[order]
    texts = {
        "measure": [str(name) for name in frame["measure"]],
        "models": [str(n) for n in frame["n_models"]],
        "τ": [_number(value) for value in frame["kendall"]],
        "interval": _intervals(frame["kendall_lower"], frame["kendall_upper"]),
        "verdict": [str(verdict) for verdict in frame["verdict"]],
    }
    print_columns(texts, rows, left=("measure", "verdict"))


def print_advice(result: AuditResult) -> None:
    """Print what to do with a ranking."""
    from audit.plugin.names import split_names
    from audit.ranking.advice import advice

    fitted = str(result.run["ranking"].get("mode", "")).startswith("fitted")
    tied = split_names(result.ranking["tied_with"].iloc[0])
    known = None if fitted or result.held_out.empty else result.held_out
    for sentence in advice(result.ranking, tied, known):
        click.echo(textwrap.fill(sentence, WIDTH, break_on_hyphens=False))


def print_result(result: AuditResult, as_json: bool) -> None:
    """Print what a whole run found."""
    if as_json:
        print_json(
            {
                "schema": 1,
                "output": str(result.output),
                "ranking": ranking_rows(result.ranking),
                "about": result.run.get("ranking"),
                "overlap": result.run.get("overlap"),
                "correlations": rows_of(result.correlations),
                "failed": result.failed,
                "doubts": result.doubts,
                "notes": result.notes,
                "reports": result.run.get("reports"),
            }
        )
        return
    from audit.folder.tables import ALL_MEASURES

    if result.ranking.empty:
        click.echo("Nothing is ranked: every checkpoint failed.")
    else:
        click.echo(f"Ranking: {result.run['ranking']['mode']}")
        print_ranking(result.ranking)
    if not result.correlations.empty:
        target = result.correlations["target"].iloc[0]
        click.echo(f"\nKendall's τ with {target} (bootstrap intervals)")
        print_correlations(result.correlations)
    measures = result.measures
    rest = measures[(measures["status"] != "ok") & (measures["measure"] != ALL_MEASURES)]
    if len(rest):
        shown = next(iter(dict.fromkeys(rest["reason"].astype(str))))
        text = f"{len(rest)} numbers do not exist (measures.csv says why), such as: {shown}"
        click.echo("\n" + textwrap.fill(text, WIDTH, break_on_hyphens=False))
    if result.run.get("overlap"):
        click.echo()
        tell_overlap(result.run["overlap"])
    elif not result.held_out.empty:
        click.echo("\n" + textwrap.fill(NOT_COMPARED, WIDTH, break_on_hyphens=False))
    print_checkpoint_notes(result)
    print_doubts(result.doubts, result.notes)
    for name, reason in result.failed.items():
        click.echo(f"\nfailed: {name}: {reason}")
    click.echo()
    print_reports(result)
    if not result.ranking.empty:
        click.echo()
        print_advice(result)


def tell_overlap(overlap: dict[str, Any] | None) -> None:
    """Say how many training images are also held out, and the first of them by name."""
    if overlap is None:
        return
    n = max(1, overlap["n_sampled"])
    click.echo(
        f"held-out copies  {overlap['n_exact']} exact ({overlap['n_exact'] / n:.1%}) and "
        f"{overlap['n_near']} near ({overlap['n_near'] / n:.1%}) of {overlap['n_sampled']} "
        f"training images are among {overlap['n_held_out']} held-out images"
    )
    for kind in ("exact", "near"):
        for training, held_out, *bits in overlap[kind][:3]:
            apart = f", {bits[0]} of 256 bits apart" if bits else ""
            click.echo(f"  {kind:10}   {training} = {held_out}{apart}")
    if overlap["unreadable"]:
        click.echo(f"  {len(overlap['unreadable'])} held-out images cannot be read")


def tell_partial(folder: Path) -> None:
    """Say on standard error that checkpoints of an output folder are yet to be measured."""
    from audit.folder.result import read_result

    partial = read_result(folder).partial
    if partial:
        click.echo(f"note: {partial}", err=True)


def print_checkpoint_notes(result: AuditResult, most: int = 8) -> None:
    """Print what was chosen or converted on the way, those that hold of most checkpoints first."""
    found = sorted(result.checkpoint_notes.items(), key=lambda item: -len(item[1]))
    for number, (note, names) in enumerate(found[:most]):
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        text = textwrap.fill(f"note on {names[0]}{more}: {note}", WIDTH, break_on_hyphens=False)
        click.echo(text if number else f"\n{text}")
    if len(found) > most:
        click.echo(f"… and {len(found) - most} more notes, in run.json")


def print_doubts(doubts: Mapping[str, Sequence[str]], notes: Sequence[str]) -> None:
    """Print which checkpoints look untrained and why, those of the same reasons together."""
    for note in notes:
        click.echo(f"\nnote: {note}")
    alike: dict[tuple[str, ...], list[str]] = {}
    for name, reasons in doubts.items():
        alike.setdefault(tuple(reasons), []).append(name)
    for reasons, names in alike.items():
        click.echo(f"\ndoubtful: {', '.join(names)}")
        for reason in reasons:
            click.echo(f"  {reason}")


def print_reports(result: AuditResult) -> None:
    """Print the files that reporters wrote."""
    for files in result.run["reports"]["written"].values():
        for file in files:
            click.echo(f"Report: {result.output / file}")


def tell_failed_reports(result: AuditResult) -> None:
    """One line on standard error for every report that could not be written."""
    for name, reason in result.failed_reports.items():
        click.echo(f"failed: report {name!r}: {reason}", err=True)


def exit_code(result: AuditResult) -> int:
    """0 if all was audited and reported, 3 if some was not, 1 if no checkpoint could be audited."""
    if result.failed and result.ranking.empty:
        return EXIT_ERROR
    return EXIT_PARTIAL if result.failed or result.failed_reports else 0
