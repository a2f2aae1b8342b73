"""`genaudit trajectory`: a training looked at over its epochs."""

from __future__ import annotations

import os
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from audit.cli.options import as_json

if TYPE_CHECKING:
    import pandas as pd

    from audit.following.checkpoints import CheckpointReader
    from audit.following.trajectory import Trajectory


@click.command("trajectory")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="An audit.toml whose [dataset] and first [[checkpoints]] say what was trained. "
    "[args.yaml in FOLDER, as timm's train.py writes it]",
)
@click.option("--watch", is_flag=True, help="Read checkpoints as they come, until training ends.")
@click.option("--every", type=click.IntRange(1), default=1, help="Of so many epochs one. [1]")
@click.option("--layers", multiple=True, help="As `genaudit layers` takes them. [stages]")
@click.option(
    "--filtration", type=click.Choice(["clique", "cubical"]), default="clique", show_default=True
)
@click.option(
    "--images-per-class", type=click.IntRange(0), default=20, show_default=True, help="0: all."
)
@click.option("--max-classes", type=click.IntRange(0), default=10, show_default=True)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where following.csv goes. [FOLDER]",
)
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), help="Figure to write.")
@as_json
def command(folder: Path, plot: Path | None, as_json: bool, **options: Any) -> None:
    """Show feature entropy beside the loss over the epochs of a training, and when to stop.

    FOLDER holds following.csv, as `audit.Follower` writes it; or checkpoints with epoch numbers in
    their names, such as those of timm's train.py, which are then looked at on a fixed sample of the
    training images, and following.csv is written beside them. Of what was held out nothing is read.
    """
    from audit.following.trajectory import trajectory_of

    found = trajectory_of(_table(folder, **options))
    if plot is not None:
        from audit.following.figure import draw

        draw(found, plot)
    _show(found, as_json)


def _table(
    folder: Path,
    config: Path | None,
    watch: bool,
    every: int,
    output: Path | None,
    **options: Any,
) -> pd.DataFrame:
    """The table of a follower, made from checkpoints where it is not there or is to go on."""
    from audit.following.logs import TABLE, read_table

    output = output or folder
    path = output / TABLE
    if path.exists() and not watch:
        return read_table(path)
    known = read_table(path) if path.exists() else None
    reader = _reader(folder, config, output, options)
    if watch:
        _watch(reader, folder, every, known)
    else:
        from audit.following.checkpoints import read_all
        from audit.following.training_runs import training_losses

        read_all(reader, folder, training_losses(folder), every)
    return read_table(path) if path.exists() else reader.follower.table


def _reader(
    folder: Path, config: Path | None, output: Path, options: dict[str, Any]
) -> CheckpointReader:
    """What reads the checkpoints of a folder."""
    from audit.following.checkpoints import CheckpointReader
    from audit.following.training_runs import run_of_arguments, run_of_config

    run = run_of_arguments(folder) if config is None else run_of_config(config)
    layers = options.pop("layers") or "stages"
    return CheckpointReader(run, output, layers, **options)


def _watch(reader: CheckpointReader, folder: Path, every: int, known: pd.DataFrame | None) -> None:
    """Read checkpoints as they come, out of the way of the training, until it ends."""
    import torch

    from audit.following.watching import FolderWatcher, watch

    if hasattr(os, "nice"):
        os.nice(10)
    torch.set_num_threads(1)
    epochs = frozenset() if known is None else frozenset(map(int, known["epoch"]))
    for rows in watch(FolderWatcher(reader, folder, every, epochs)):
        for row in rows:
            click.echo(
                f"epoch {row['epoch']}  {row['layer']}  entropy {row['feature_entropy']:.4g}  "
                f"information {row['birth_class_information']:.4g}",
                err=True,
            )


def _show(found: Trajectory, as_json: bool) -> None:
    """Print a trajectory."""
    from audit.cli.show import WIDTH, print_json, print_table, rows_of

    epochs = found.epochs
    if as_json:
        print_json(
            {
                "epochs": epochs,
                "loss": found.loss,
                "kendall": rows_of(found.kendall),
                "layer": found.layer,
                "suggested_epoch": found.stop.best_epoch,
                "stopped_epoch": found.stop.stopped_epoch,
                "suggestion": found.sentence(),
                "rows": rows_of(found.table),
            }
        )
        return
    shown = ["epoch", found.loss, "sample_accuracy", "layer", *found.kendall["quantity"].unique()]
    print_table(found.table[shown], 4 * found.table["layer"].nunique())
    name = "training loss" if found.loss == "loss" else "loss on the sample"
    click.echo(f"\nKendall's τ with the {name} over {len(epochs)} epochs (95% block bootstrap)")
    kendall = found.kendall
    print_table(kendall if kendall["reason"].any() else kendall.drop(columns="reason"))
    click.echo("\n" + textwrap.fill(found.sentence(), WIDTH, break_on_hyphens=False))
