"""Options that several subcommands share."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from audit.notations import json_of, toml_of

if TYPE_CHECKING:
    from audit.runs.config import RunOptions

Function = TypeVar("Function", bound=Callable[..., Any])

as_json = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")

folder_argument = click.argument(
    "folder", type=click.Path(path_type=Path, file_okay=False), default="genaudit-output"
)

config_argument = click.argument("config", type=click.Path(path_type=Path))


class Number(click.FloatRange):
    """A finite number within bounds."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number; NaN lies within no bounds."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number.", param, ctx)
        return number


def _amount(context: click.Context, option: click.Parameter, text: str | None) -> float | None:
    """A number above 0."""
    if text is None:
        return None
    with contextlib.suppress(ValueError):
        if 0 < (number := float(text)) < math.inf:
            return number
    raise click.BadParameter(f"{text!r} is not a number above 0.")


def _size(context: click.Context, option: click.Parameter, text: str | None) -> int | None:
    """A number of bytes, given as such or as a size."""
    if text is None:
        return None
    from pydantic import ByteSize, TypeAdapter, ValidationError

    with contextlib.suppress(ValidationError):
        if (size := TypeAdapter(ByteSize).validate_python(text)) > 0:
            return size
    raise click.BadParameter(f"{text!r} is neither a size, such as 4GiB, nor a number of bytes.")


def _settings(
    context: click.Context, option: click.Parameter, texts: tuple[str, ...]
) -> dict[str, Any]:
    """KEY=VALUE, several times; a value as TOML has it, or as text where it is none."""
    found: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key or key == "name":
            raise click.BadParameter(f"{text!r} is not KEY=VALUE, KEY an option of the engine.")
        found[key] = value
        with contextlib.suppress(ValueError):
            found[key] = toml_of(f"value = {value}")["value"]
    return found


def _trusted(
    context: click.Context, parameter: click.Parameter, given: tuple[str, ...]
) -> tuple[str, ...]:
    """Digests of files, each after "sha256:"."""
    for text in given:
        if not re.fullmatch("sha256:[0-9a-f]{64}", text):
            raise click.BadParameter(
                f"{text!r} is not sha256: and the 64 digits that `genaudit inspect FILE` shows"
            )
    return given


def limit_options(function: Function) -> Function:
    """What a run may take; `--engine-option` too, which says more of where it runs."""
    for option in (
        click.option(
            "--max-gpu-hours",
            callback=_amount,
            metavar="HOURS",
            help="As --max-hours, of all CUDA devices together.",
        ),
        click.option(
            "--max-hours",
            callback=_amount,
            metavar="HOURS",
            help="Stop measuring after so many, and go on with what is finished.",
        ),
        click.option(
            "--checkpoint-memory",
            callback=_size,
            metavar="SIZE",
            help="What a checkpoint may hold in memory, such as 4GiB; else it is a failed row.",
        ),
        click.option(
            "--checkpoint-timeout",
            callback=_amount,
            metavar="SECONDS",
            help="What a checkpoint may take; else it is a failed row.",
        ),
        click.option(
            "--engine-option",
            "engine_options",
            callback=_settings,
            multiple=True,
            metavar="KEY=VALUE",
            help="An option of the engine, as in [engine]; repeat it for several.",
        ),
        click.option(
            "--trust-pickle",
            multiple=True,
            callback=_trusted,
            metavar="sha256:HASH",
            help="Let the pickle of this one weights file name code; repeat it for several.",
        ),
    ):
        function = option(function)
    return function


class _Place(click.Path):
    """A folder, or a URL, which stays text."""

    name = "folder or URL"

    def __init__(self) -> None:
        super().__init__(file_okay=False, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The folder's path, or the URL."""
        from audit.remote import is_url, location

        found = location(value) if is_url(value) else value
        return found if is_url(found) else super().convert(found, param, ctx)


cache_option = click.option(
    "--cache",
    type=_Place(),
    help="The store: a folder, or a URL such as s3://bucket/cache. [$GENAUDIT_CACHE, or the "
    "user's cache folder]",
)


def machine_options(function: Function) -> Function:
    """What to run on."""
    for option in (
        click.option("--quiet", is_flag=True, help="Draw no progress bars."),
        click.option(
            "--workers",
            type=click.IntRange(0),
            help="Processes; 0 runs in this one. [cores; of a cluster that is joined, all]",
        ),
        click.option("--device", default="auto", help="auto, cpu or cuda.", show_default=True),
    ):
        function = option(function)
    return function


def run_options(function: Function) -> Function:
    """What does not decide numbers: where to write, and what to run on."""
    function = limit_options(machine_options(function))
    for option in (
        click.option(
            "--address",
            metavar="HOST:PORT",
            help="A cluster to join: the engine's option `address`. [it starts one]",
        ),
        click.option("--engine", help="Where tasks run. [the configuration's, or local]"),
        cache_option,
        click.option(
            "-o",
            "--output",
            type=click.Path(path_type=Path, file_okay=False),
            help="The output folder. [genaudit-output]",
        ),
    ):
        function = option(function)
    return function


def network_options(function: Function) -> Function:
    """How an architecture is built that no configuration names; read by `network_chosen`."""
    function = click.option("--args", "model_args", default="{}", help="model_args, as JSON.")(
        function
    )
    return click.option("--size", help="Channels, height and width of images, such as 3,224,224.")(
        function
    )


def network_chosen(size: str | None, model_args: str) -> dict[str, Any]:
    """`model_args` and `transform`, as the functions behind commands take them.

    Raises:
        click.BadParameter: What is given is no JSON object, or no three numbers.
    """
    try:
        args = json_of(model_args)
        shape = [int(number) for number in size.split(",")] if size else None
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
    if not isinstance(args, dict):
        raise click.BadParameter("--args must be a JSON object")
    return {"model_args": args, "transform": {"input_size": shape} if shape else {}}


def make_options(**chosen: Any) -> RunOptions:
    """`RunOptions` from command-line options; what was not given keeps its default."""
    from audit.runs.config import RunOptions

    chosen["progress"] = not chosen.pop("quiet", False)
    address = chosen.pop("address", None)
    if address is not None:
        chosen["engine_options"] = {**chosen.get("engine_options", {}), "address": address}
    return RunOptions(**{name: value for name, value in chosen.items() if value is not None})
