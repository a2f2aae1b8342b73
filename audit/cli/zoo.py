"""`genaudit zoo`: small zoos of known accuracy, trained from seeds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from audit.cli.options import as_json, machine_options, make_options

if TYPE_CHECKING:
    from audit.zoo.table import Labels

_task_argument = click.argument("task")


_folder_option = click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default="zoos",
    show_default=True,
    help="Holds a folder per task.",
)


@click.group("zoo")
def command() -> None:
    """Train small zoos of known held-out accuracy, and measure them.

    TASK is the name of a task that comes along (`genaudit zoo list`), or a TOML file of your own.
    """


@command.command("list")
@as_json
def list_tasks(as_json: bool) -> None:
    """List the tasks that come along."""
    from audit.cli.show import print_json
    from audit.zoo.tasks import read_task, shipped_tasks

    tasks = [read_task(name) for name in shipped_tasks()]
    if as_json:
        print_json([{**t.model_dump(mode="json"), "checkpoints": len(t.recipes())} for t in tasks])
        return
    for task in tasks:
        architectures = ", ".join(a.label for a in task.architectures)
        click.echo(f"{task.name}: {task.about}")
        click.echo(
            f"    {len(task.recipes())} checkpoints of {architectures}; source {task.source}"
        )


@command.command("train")
@_task_argument
@machine_options
@_folder_option
def train(task: str, output: Path, **chosen: Any) -> None:
    """Train every checkpoint of TASK that is not trained yet, from seeds."""
    from audit.zoo.tasks import read_task
    from audit.zoo.train_zoo import train_zoo

    found = read_task(task)
    folder = output / found.name
    options = make_options(output=folder, cache=folder / "cache", **chosen)
    table = train_zoo(found, folder, options)
    accuracy = table["held_out_accuracy"]
    click.echo(
        f"{len(table)} checkpoints in {folder / 'zoo'}, held-out accuracy "
        f"{accuracy.min():.3f} to {accuracy.max():.3f}"
    )
    click.echo(
        f"Next: genaudit zoo check {task} -o {output}; genaudit zoo measure {task} -o {output}"
    )


@command.command("check")
@_task_argument
@_folder_option
@as_json
def check(task: str, output: Path, as_json: bool) -> None:
    """Say whether the trained zoo of TASK is worth ranking; exit code 1 where it is not."""
    import dataclasses

    from audit.cli.show import print_json
    from audit.zoo.check import check_zoo
    from audit.zoo.tasks import read_task

    found = read_task(task)
    findings = check_zoo(found, output / found.name)
    if as_json:
        print_json([dataclasses.asdict(finding) for finding in findings])
    else:
        for finding in findings:
            click.echo(f"{'yes' if finding.holds else 'NO ':3} {finding.what}: {finding.found}")
    if not all(finding.holds for finding in findings):
        raise click.exceptions.Exit(1)


@command.command("measure")
@_task_argument
@machine_options
@_folder_option
@click.option(
    "--table",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for TASK.csv and TASK.json. [that of the zoo]",
)
@click.option("--include", default="all", show_default=True, help="Measures, joined by commas.")
@click.option("--exclude", default="", help="Measures to leave out, joined by commas.")
@click.option(
    "--labels",
    type=click.Choice(["both", "as_trained"]),
    default="both",
    show_default=True,
    help="What to audit against where labels were noisy.",
)
def measure(
    task: str,
    output: Path,
    table: Path | None,
    include: str,
    exclude: str,
    labels: str,
    **chosen: Any,
) -> None:
    """Measure the trained zoo of TASK into one table of numbers and accuracies.

    Where labels were noisy, networks are audited twice: against the labels they were trained on,
    which is what a user has, and against clean ones.
    """
    from audit.zoo.measuring import measure_zoo
    from audit.zoo.table import AS_TRAINED, CLEAN, write_zoo_table
    from audit.zoo.tasks import read_task

    found = read_task(task)
    folder = output / found.name
    options = make_options(output=folder, cache=folder / "cache", **chosen)
    names = [
        [word.strip() for word in text.split(",") if word.strip()] for text in (include, exclude)
    ]
    against: tuple[Labels, ...] = (AS_TRAINED, CLEAN) if labels == "both" else (AS_TRAINED,)
    measured = measure_zoo(found, folder, options, names[0], names[1], against=against)
    path = write_zoo_table(measured, table or folder)
    click.echo(f"{len(measured.table)} rows, {len(measured.measures)} columns of measures: {path}")
