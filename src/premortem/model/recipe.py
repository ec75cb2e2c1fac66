"""A recipe says in one line where a fault strikes and what it does, so that every hit can be made to happen again.

    postgres:COMMIT#1:after              the server has committed, and its answer is lost
    postgres:INSERT#3:before=error 40001 the third INSERT is not passed on; a made-up error answers it
    redis:SET#2:after                    the second SET is done, and nobody hears of it
    http:POST /orders#1=status 503       the first order is answered by a made-up 503
    syscall:fsync#2=EIO                  the second fsync fails
    syscall:write#4+=ENOSPC              the fourth write fails, and every one after it
    call:shop.pay#1=raise TimeoutError   the first call of shop.pay raises

The form is WORLD:WHAT#NTH[+][:WHEN][=EFFECT]. NTH counts from 1 over the whole run; `+` means "and from then on".
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal, Self, cast, get_args

from premortem.errors import ConfigurationError

World = Literal["postgres", "redis", "http", "syscall", "call"]
When = Literal["before", "sent", "after"]

_OTHER_NAMES = {"postgresql": "postgres", "pg": "postgres", "valkey": "redis", "https": "http"}
_FORM = re.compile(
    r"(?P<world>[a-z]+):(?P<what>[^#=]+)#(?P<nth>[0-9]{1,9})(?P<onward>\+?)(:(?P<when>[a-z]+))?(=(?P<effect>.+))?"
)
_EXAMPLE = "write postgres:COMMIT#1:after, or syscall:fsync#2+=EIO"


@dataclass(frozen=True, slots=True)
class Recipe:
    """One point and one effect. `str()` gives the line that `parse` reads.

    `when` is `before` (it never takes place), `sent` (it is passed on, and nobody waits for what comes of it) or
    `after` (it has taken place, and nobody hears of it). `effect` is empty for the world's own default: a cut
    connection on the wire, SIGKILL at a system call, ConnectionError from a call.
    """

    world: World
    what: str
    nth: int
    onward: bool = False
    when: When = "before"
    effect: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read one. ConfigurationError says which part is wrong."""
        form = _FORM.fullmatch(text.strip())
        if form is None:
            raise ConfigurationError(f"{text!r}: has to have the form WORLD:WHAT#NTH[+][:WHEN][=EFFECT]; {_EXAMPLE}")
        world, when = _OTHER_NAMES.get(form["world"], form["world"]), form["when"] or "before"
        if world not in get_args(World):
            raise ConfigurationError(
                f"{text!r}: {world!r} is no world; it has to be one of {', '.join(get_args(World))}; {_EXAMPLE}"
            )
        if when not in get_args(When):
            raise ConfigurationError(
                f"{text!r}: {when!r} is no moment; it has to be one of {', '.join(get_args(When))}; {_EXAMPLE}"
            )
        if not (nth := int(form["nth"])):
            raise ConfigurationError(f"{text!r}: #0 is nothing; the first one is #1; {_EXAMPLE}")
        effect = (form["effect"] or "").strip()
        return cls(cast("World", world), form["what"].strip(), nth, bool(form["onward"]), cast("When", when), effect)

    def strikes(self, nth: int) -> bool:
        """Whether the `nth` of its kind is struck."""
        return nth == self.nth or (self.onward and nth > self.nth)

    def with_effect(self, effect: str, *, onward: bool = False) -> Self:
        """The same point, struck otherwise."""
        return replace(self, effect=effect, onward=onward)

    def __str__(self) -> str:
        when = "" if self.when == "before" else f":{self.when}"
        effect = f"={self.effect}" if self.effect else ""
        return f"{self.world}:{self.what}#{self.nth}{'+' if self.onward else ''}{when}{effect}"
