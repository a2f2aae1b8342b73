"""The `genaudit` command: one module per subcommand, imported when it is called."""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import os
import signal
import sys
from types import FrameType
from typing import Final, TextIO, cast

import click

import audit
from audit.errors import AuditError, Termination
from audit.files import refusals_typed
from audit.search_path import drop_empty_entries
from audit.shown import ShownStream, UnwrittenError, shown

#: Subcommand → module with a `command`, in the order a user meets them.
COMMANDS: Final = {
    "demo": "audit.cli.demo",
    "run": "audit.cli.run",
    "validate": "audit.cli.validate",
    "measure": "audit.cli.measure",
    "correlate": "audit.cli.correlate",
    "rank": "audit.cli.rank",
    "report": "audit.cli.report",
    "status": "audit.cli.status",
    "fit-card": "audit.cli.fit_card",
    "zoo": "audit.cli.zoo",
    "reproduce": "audit.cli.reproduce",
    "units": "audit.cli.units",
    "ablate": "audit.cli.ablate",
    "trajectory": "audit.cli.trajectory",
    "measures": "audit.cli.measures",
    "models": "audit.cli.models",
    "layers": "audit.cli.layers",
    "invariance": "audit.cli.invariance",
    "inspect": "audit.cli.inspect",
    "plugins": "audit.cli.plugins",
    "cache": "audit.cli.cache",
}

EXIT_ERROR: Final = 1
EXIT_PARTIAL: Final = 3
EXIT_SHUT: Final = 4
EXIT_INTERRUPTED: Final = 130
EXIT_TERMINATED: Final = 143


class _LazyGroup(click.Group):
    """A group whose subcommands are imported only when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(COMMANDS[cmd_name]).command
        _add_plugins(command)
        return command


def _add_plugins(command: click.Command) -> None:
    """Give a command, or each of a group's, the option that names plugins."""
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            _add_plugins(inner)
    elif all(parameter.name != "plugins" for parameter in command.params):
        command.params.append(
            click.Option(
                ["--plugins"],
                metavar="NAME,…",
                expose_value=False,
                is_eager=True,
                callback=_name_plugins,
                help="Installed plugins to load beside those that come along. [$GENAUDIT_PLUGINS]",
            )
        )


def _name_plugins(context: click.Context, option: click.Parameter, names: str | None) -> None:
    """Have plugins loaded from now on."""
    if names:
        from audit.plugin.discovery import name_plugins

        name_plugins(name.strip() for name in names.split(",") if name.strip())


@click.group(
    cls=_LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done; 1 error; 2 wrong usage; 3 some checkpoints or reports failed, the "
    "rest are there; 4 the gate of `rank --require-better-than` is shut; 130 interrupted.",
)
@click.version_option(audit.__version__, prog_name="genaudit")
def genaudit() -> None:
    """Rank trained image networks by how well they will generalize, from the training set alone."""


def main() -> None:
    """Run the command line; errors become one line on standard error and an exit code."""
    drop_empty_entries()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # what it cannot show is escaped, not an error
            stream.reconfigure(errors="backslashreplace")
    before = sys.stdout, sys.stderr
    # one place for all that is printed, logged or raised; progress bars return the carriage
    out = ShownStream(before[0] or io.StringIO())  # there is none where it was closed
    err = ShownStream(before[1] or io.StringIO(), kept="\r")
    sys.stdout, sys.stderr = cast(TextIO, out), cast(TextIO, err)
    try:
        logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
        signal.signal(signal.SIGTERM, _terminate)
        _run()
    finally:
        sys.stdout, sys.stderr = before


def _run() -> None:
    """Run the command that was called, and end with its exit code."""
    try:
        with refusals_typed():
            code = genaudit.main(standalone_mode=False)
            sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except AuditError as error:
        click.echo(f"error: {shown(str(error))}", err=True)
        sys.exit(EXIT_ERROR)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted: what was finished is kept; run again to go on", err=True)
        sys.exit(EXIT_INTERRUPTED)
    except UnwrittenError as error:
        _tell_unwritten(error)
        sys.exit(EXIT_ERROR)
    sys.exit(code or 0)


def _tell_unwritten(error: UnwrittenError) -> None:
    """Say that standard output takes nothing, where that can be said; nothing more is put there."""
    with contextlib.suppress(OSError):
        reason = error.strerror or str(error)
        click.echo(f"error: what is printed cannot be written: {reason}", err=True)
    with contextlib.suppress(OSError, ValueError):
        # or the interpreter tries again as it ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _terminate(number: int, frame: FrameType | None) -> None:
    """End as Ctrl-C does, with the exit code of SIGTERM."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    click.echo("terminated: what was finished is kept; run again to go on", err=True)
    raise Termination(EXIT_TERMINATED)
