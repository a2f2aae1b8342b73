"""Options that several subcommands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from audit.runs.config import RunOptions

Function = TypeVar("Function", bound=Callable[..., Any])

as_json = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")

folder_argument = click.argument(
    "folder", type=click.Path(path_type=Path, file_okay=False), default="genaudit-output"
)

config_argument = click.argument("config", type=click.Path(path_type=Path))


def run_options(function: Function) -> Function:
    """What does not decide numbers: where to write, and what to run on."""
    for option in (
        click.option("--quiet", is_flag=True, help="Draw no progress bars."),
        click.option(
            "--workers", type=click.IntRange(0), help="Processes; 0 runs in this one. [cores]"
        ),
        click.option("--device", default="auto", help="auto, cpu or cuda.", show_default=True),
        click.option("--engine", help="Where tasks run. [the configuration's, or local]"),
        click.option(
            "--cache",
            type=click.Path(path_type=Path, file_okay=False),
            help="The store's folder. [$GENAUDIT_CACHE, or the user's cache folder]",
        ),
        click.option(
            "-o",
            "--output",
            type=click.Path(path_type=Path, file_okay=False),
            help="The output folder. [genaudit-output]",
        ),
    ):
        function = option(function)
    return function


def make_options(**chosen: Any) -> RunOptions:
    """`RunOptions` from command-line options; what was not given keeps its default."""
    from audit.runs.config import RunOptions

    chosen["progress"] = not chosen.pop("quiet", False)
    return RunOptions(**{name: value for name, value in chosen.items() if value is not None})
