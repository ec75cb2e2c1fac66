"""`premortem retail transform`: the star and the marts from what is in bronze."""

from __future__ import annotations

from typing import Literal

import click

from premortem.cli.retail.steps import print_steps
from premortem.cli.retail.surroundings import database
from premortem.systems.retail.transform import transform

_KINDS: dict[str, Literal[1, 2]] = {"1": 1, "2": 2}


@click.command("transform")
@click.option(
    "--scd",
    type=click.Choice(["1", "2"]),
    help="Descriptions of products: 1 overwrites them, 2 keeps their history. [default: as the star has it, else 1]",
)
@click.option("--rebuild", is_flag=True, help="Throw the star away first; needed to change --scd.")
def command(*, scd: str | None, rebuild: bool) -> None:
    """Make the star (schema silver) and the marts (schema gold) anew, as far as bronze has changed."""
    with database() as url:
        print_steps(transform(url, scd=_KINDS.get(scd or ""), rebuild=rebuild))
