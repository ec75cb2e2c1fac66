"""Points at named callables of a Python program, which is started through `bootstrap.py`."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Self

from premortem.errors import ConfigurationError
from premortem.faults.sweep import commands
from premortem.faults.sweep.bootstrap import VARIABLE
from premortem.faults.sweep.call_effects import DEFAULT, CallEffect
from premortem.faults.sweep.effects import once_and_onward
from premortem.faults.sweep.source import Ended, Sighting, Start
from premortem.model.recipe import Recipe
from premortem.model.sweep import Point

_BOOTSTRAP = Path(__file__).with_name("bootstrap.py")
_PYTHON = re.compile(r"(python|pypy)[0-9.]*(\.exe)?")
_TAKING_A_VALUE = ("-W", "-X", "--check-hash-based-pycs")


class CallSource:
    """Sees and strikes the calls of `names`. What the program itself starts is not looked into."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = names

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def clean(self, start: Start) -> tuple[Ended, tuple[Sighting, ...]]:
        """Each call is a sighting."""
        ended, lines = self._run(start, "")
        seen = [Recipe("call", str(line["name"]), int(line["nth"])) for line in lines if "name" in line]
        return ended, tuple(Sighting(recipe) for recipe in seen)

    def points(self, seen: tuple[Sighting, ...], effects: tuple[str, ...]) -> tuple[Point, ...]:
        """Before each call, and after it; a delay only before."""
        wanted = [effect for effect in effects if effect.partition(" ")[0] in ("raise", "delay", "return")]
        for effect in wanted:
            parsed = CallEffect.parse(effect)
            if parsed.kind == "raise" and "." not in parsed.exception:  # others may be known to the program alone
                parsed.make(effect)
        points: list[Point] = []
        for one in seen:
            for effect in wanted or ([] if effects else [DEFAULT]):
                points += once_and_onward(one, "before", effect)
                if not effect.startswith("delay"):
                    points += once_and_onward(one, "after", effect)
        return tuple(points)

    def strike(self, start: Start, recipe: Recipe) -> Ended:
        """Run it with one callable patched."""
        ended, lines = self._run(start, str(recipe))
        return replace(ended, strikes=tuple(str(line["struck"]) for line in lines if "struck" in line))

    def _run(self, start: Start, recipe: str) -> tuple[Ended, list[dict[str, str]]]:
        with tempfile.NamedTemporaryFile(prefix="premortem-calls-") as report:
            told = json.dumps({"report": report.name, "names": self._names, "recipe": recipe})
            start = replace(start, argv=through_bootstrap(start.argv)).with_variables(**{VARIABLE: told})
            ended = commands.run(start)
            return ended, [json.loads(line) for line in report.read().splitlines()]


def through_bootstrap(argv: tuple[str, ...]) -> tuple[str, ...]:
    """The command line of a Python program, with the bootstrap in between. ConfigurationError where it is none."""
    python, *rest = _interpreter(argv)
    flags: list[str] = []
    while rest and rest[0].startswith("-") and rest[0] not in ("-c", "-m", "-"):
        flags.append(rest.pop(0))
        if flags[-1] in _TAKING_A_VALUE and rest:
            flags.append(rest.pop(0))
    if not rest or rest[0] == "-":
        raise ConfigurationError(f"{' '.join(argv)}: names no script, no -m and no -c; calls are swept in one of these")
    return (python, *flags, str(_BOOTSTRAP), *rest)


def _interpreter(argv: tuple[str, ...]) -> tuple[str, ...]:
    """`argv` as a call of Python: a script that is made for it is put behind its own interpreter."""
    if _PYTHON.fullmatch(Path(argv[0]).name):
        return argv
    if found := shutil.which(argv[0]):
        with Path(found).open("rb") as file:
            first = file.readline(256).decode(errors="replace").strip()
        words = first.removeprefix("#!").split()
        if first.startswith("#!") and words and _PYTHON.fullmatch(Path(words[-1]).name):
            return (words[-1], found, *argv[1:])
    raise ConfigurationError(
        f"{argv[0]!r}: is not started as `python ...`, and calls are swept in Python alone; "
        "write --watch file,socket for its system calls, or --wire for what it says to a server"
    )
