"""`genaudit validate`: what a run would do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from audit.cli import EXIT_ERROR, EXIT_PARTIAL
from audit.cli.options import as_json, config_argument, make_options, run_options

if TYPE_CHECKING:
    from audit.runs.config import RunOptions


@click.command("validate")
@config_argument
@run_options
@as_json
def command(config: Path, as_json: bool, **chosen: Any) -> None:
    """Check CONFIG and everything it names; say what a run would do. Writes no result."""
    print_plan(config, make_options(**chosen), as_json)


def print_plan(config: Path, options: RunOptions, as_json: bool) -> None:
    """Print what a run would do, how much is cached, and how long the rest may take."""
    from audit.cli.show import print_json, tell_overlap
    from audit.runs.forecast import forecast

    plan = forecast(config, options)
    code = plan_code(plan)
    if as_json:
        print_json(plan)
        raise click.exceptions.Exit(code)
    click.echo(
        f"training set   {plan['dataset']}: {plan['n_sampled']} of {plan['n_images']} images, "
        f"{len(plan['images_of_class'])} of {plan['n_classes']} classes"
    )
    _print_counts("  passed over  ", plan["skipped"])
    _print_counts("  odd pixels   ", plan["oddities"])
    alone = [name for name, count in plan["images_of_class"].items() if count == 1]
    if alone:
        click.echo(f"  one image    {', '.join(alone)}: their entropies say nothing")
    tell_overlap(plan["overlap"])
    for name, reason in plan["excluded"].items():
        click.echo(f"  left out     {name}: {reason}")
    for note in plan["notes"]:
        click.echo(f"  note         {note}")
    click.echo(f"measures       {len(plan['measures'])}: {', '.join(plan['measures'])}")
    click.echo(f"passes         {plan['passes']:g} forward passes over the sample, at most")
    click.echo(
        f"checkpoints    {plan['n_checkpoints']}, of which {plan['n_cached']} are wholly cached; "
        f"{plan['n_tried']} tried"
    )
    for name, reason in plan["refused"].items():
        click.echo(f"  would fail   {name}: {reason}")
    for name, reasons in plan["doubts"].items():
        click.echo(f"  doubtful     {name}: {'; '.join(reasons)}")
    for note in plan["held_out_notes"]:
        click.echo(f"held out       {note}")
    click.echo(f"output         {plan['output']}")
    click.echo(f"time           {plan['time']}")
    raise click.exceptions.Exit(code)


def _print_counts(label: str, counts: dict[str, int]) -> None:
    """One line of counts, if there are any."""
    if counts:
        click.echo(label + "; ".join(f"{count} × {what}" for what, count in counts.items()))


def plan_code(plan: dict[str, Any]) -> int:
    """0 if every checkpoint would be audited, 3 if some would fail, 1 if all would."""
    if not plan["refused"]:
        return 0
    return EXIT_PARTIAL if len(plan["refused"]) < plan["n_checkpoints"] else EXIT_ERROR
