"""What became of the steps of a transformation, a line each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from premortem.systems.retail.transform import StepReport


def print_steps(steps: Sequence[StepReport]) -> None:
    """Say it."""
    for step in steps:
        months = f", {len(step.months)} months made anew" if step.step == "silver" else ""
        click.echo(f"{step.step}: {step.statements} statements{months}, {step.seconds:.2f} s")
        if step.left_out:
            out = ", ".join(f"{month:%Y-%m}" for month in step.left_out)
            click.secho(
                f"  warning: {out}: taken out by retention, and left alone; what has changed there is in bronze only",
                fg="yellow",
            )
