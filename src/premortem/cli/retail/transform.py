"""`premortem retail transform`: the star and the marts from what is in bronze."""

from __future__ import annotations

import click

from premortem.cli.retail.steps import print_steps
from premortem.cli.retail.surroundings import database
from premortem.systems.retail.transform import transform


@click.command("transform")
@click.option(
    "--scd",
    type=click.Choice(["1", "2"]),
    default="1",
    show_default=True,
    help="Descriptions of products: 1 overwrites them, 2 keeps their history.",
)
@click.option("--rebuild", is_flag=True, help="Throw the star away first; needed to change --scd.")
def command(*, scd: str, rebuild: bool) -> None:
    """Make the star (schema silver) and the marts (schema gold) anew, as far as bronze has changed."""
    with database() as url:
        print_steps(transform(url, scd=1 if scd == "1" else 2, rebuild=rebuild))
