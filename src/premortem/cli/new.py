"""`premortem new`: the skeleton of an exhibit, which fails until it is filled in."""

from __future__ import annotations

import re
from pathlib import Path

import click

from premortem.errors import ConfigurationError
from premortem.museum import SKELETON

_NAME = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")


@click.command("new")
@click.argument("name", metavar="GALLERY/SLUG")
def command(name: str) -> None:
    """Start an exhibit: writes GALLERY/SLUG.py, a skeleton that fails until it is filled in.

    GALLERY is a folder, made where it is missing; SLUG says in a few words, with dashes, what goes wrong.

    \b
    Examples:
      premortem new tests/failures/double-charge
      premortem prove tests/failures/double_charge.py
    """  # noqa: D301 - \b is click's mark for "leave these lines as they are"
    path = Path(name)
    slug = path.name.removesuffix(".py")
    if not _NAME.fullmatch(slug) or not path.parent.name:
        raise ConfigurationError(
            f"{name}: has to be GALLERY/SLUG, the slug in lower-case words with dashes between them; "
            "write for example tests/failures/double-charge"
        )
    file = path.with_name(slug.replace("-", "_") + ".py")
    file.parent.mkdir(parents=True, exist_ok=True)
    words = re.split("[-_]", slug)
    try:
        with file.open("x", encoding="utf-8") as stream:
            stream.write(SKELETON.read_text(encoding="utf-8").replace("{title}", " ".join(words).capitalize()))
    except FileExistsError as error:
        raise ConfigurationError(f"{file}: is there already, and is not written over; choose another slug") from error
    click.echo(f"{file} is written. Fill it in, then: premortem prove {file}")
