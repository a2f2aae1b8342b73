"""Options that several subcommands share."""

from __future__ import annotations

import contextlib
import json
import math
import tomllib
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


class _Amount(click.ParamType):
    """A number above 0."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number."""
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not 0 < number < math.inf:
            self.fail(f"{value!r} is not a number above 0.", param, ctx)
        return number


class _Size(click.ParamType):
    """A number of bytes, or a size in words."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number of bytes."""
        from pydantic import ByteSize, TypeAdapter, ValidationError

        try:
            size = TypeAdapter(ByteSize).validate_python(value)
        except ValidationError:
            size = ByteSize(0)
        if size <= 0:
            self.fail(f"{value!r} is neither a size, such as 4GiB, nor bytes.", param, ctx)
        return size


class _Setting(click.ParamType):
    """KEY=VALUE; the value as TOML has it, or as text where it is none."""

    name = "setting"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """(key, value)."""
        key, equals, text = value.partition("=")
        if not equals or not key or key == "name":
            self.fail(f"{value!r} is not KEY=VALUE, KEY an option of the engine.", param, ctx)
        with contextlib.suppress(ValueError):
            return key, tomllib.loads(f"value = {text}")["value"]
        return key, text


def limit_options(function: Function) -> Function:
    """What a run may take; `--engine-option` too, which says more of where it runs."""
    for option in (
        click.option(
            "--max-gpu-hours",
            type=_Amount(),
            metavar="HOURS",
            help="As --max-hours, of all CUDA devices together.",
        ),
        click.option(
            "--max-hours",
            type=_Amount(),
            metavar="HOURS",
            help="Stop measuring after so many, and go on with what is finished.",
        ),
        click.option(
            "--checkpoint-memory",
            type=_Size(),
            metavar="SIZE",
            help="What a checkpoint may hold in memory, such as 4GiB; else it is a failed row.",
        ),
        click.option(
            "--checkpoint-timeout",
            type=_Amount(),
            metavar="SECONDS",
            help="What a checkpoint may take; else it is a failed row.",
        ),
        click.option(
            "--engine-option",
            "engine_options",
            type=_Setting(),
            multiple=True,
            metavar="KEY=VALUE",
            help="An option of the engine, as in [engine]; repeat it for several.",
        ),
    ):
        function = option(function)
    return function


def machine_options(function: Function) -> Function:
    """What to run on."""
    for option in (
        click.option("--quiet", is_flag=True, help="Draw no progress bars."),
        click.option(
            "--workers", type=click.IntRange(0), help="Processes; 0 runs in this one. [cores]"
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
        args = json.loads(model_args)
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
    chosen["engine_options"] = dict(chosen.pop("engine_options", ()))
    address = chosen.pop("address", None)
    if address is not None:
        chosen["engine_options"]["address"] = address
    return RunOptions(**{name: value for name, value in chosen.items() if value is not None})
