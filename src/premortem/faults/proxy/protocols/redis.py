"""Redis and Valkey: cut, delay or answer any command, before it, once it is sent, or after it is done.

An answer that is made up has to come in its turn, after those of the commands before it, and a transaction (MULTI) in
which a command was refused must not be executed. So a stand-in takes the command's place, which the server refuses, and
that refusal is rewritten; EXEC is stood in for by DISCARD, because an EXEC that fails leaves no transaction behind.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from premortem.errors import ConfigurationError
from premortem.faults.proxy.protocols import Action, Cut, Direction, Pass
from premortem.faults.proxy.protocols.effects import Delay, End, common_effect
from premortem.faults.proxy.protocols.engine import Engine, Fate
from premortem.faults.proxy.protocols.redis_messages import (
    CONTAINERS,
    ENDLESS,
    NULL_ARRAY,
    SUBSCRIBING,
    Answer,
    Answers,
    Command,
    Commands,
    bulk_strings,
)
from premortem.faults.proxy.protocols.tally import Plan, Strike, Tally
from premortem.model.recipe import Recipe

_COMMAND = re.compile(r"[A-Z][A-Z0-9_.\-|]*")
FROM_SERVER: Final = frozenset(("Reply", "Push"))
_REFUSED = bulk_strings(b"PREMORTEM.FAULT")
_DISCARD = bulk_strings(b"DISCARD")
_EFFECTS = "cut, close, delay SECONDS, error TEXT or nil"


@dataclass(frozen=True, slots=True)
class MadeUpAnswer:
    """An error with `text`, or nothing (None)."""

    text: str | None

    @property
    def words(self) -> str:
        """How a hit is told."""
        return f"the answer was made up: {'nil' if self.text is None else self.text}"

    def response(self, command: str, *, resp3: bool) -> bytes:
        """As the server would write it to this command."""
        if self.text is not None:
            return f"-{self.text}\r\n".encode()
        if resp3:
            return b"_\r\n"
        return b"*-1\r\n" if command in NULL_ARRAY else b"$-1\r\n"


Effect = End | Delay | MadeUpAnswer


def plan(recipe: Recipe, options: Mapping[str, str]) -> Plan[Effect]:
    """Read one recipe; ConfigurationError says what is wrong with it."""
    if options:
        raise ConfigurationError(
            f"{recipe}: {', '.join(options)}: Redis has no options; write =error TEXT in the recipe"
        )
    effect = _effect(recipe)
    if recipe.what in FROM_SERVER:
        if isinstance(effect, MadeUpAnswer):
            raise ConfigurationError(
                f"{recipe}: what is made up answers a command, and the command is named; write redis:GET#1=nil"
            )
        return Plan(recipe, recipe.what, effect)
    command, _, argument = recipe.what.partition(" ")
    command = command.upper()
    if not _COMMAND.fullmatch(command):
        raise ConfigurationError(f"{recipe}: {recipe.what!r} is no command; write redis:SET#1, or redis:SET stock:7#1")
    if recipe.when == "sent" and not isinstance(effect, End):
        raise ConfigurationError(
            f"{recipe}: at `sent` nobody waits for an answer, so there is none to change; write :before or :after"
        )
    if recipe.when == "after" and command in SUBSCRIBING | ENDLESS:
        raise ConfigurationError(f"{recipe}: {command} is not answered once; write redis:Push#1:after, or :sent")
    argument = argument.upper() if command in CONTAINERS else argument
    return Plan(recipe, f"{command} {argument}" if argument else command, effect)


def _effect(recipe: Recipe) -> Effect:
    effect = common_effect(recipe.effect)
    if effect is not None:
        return effect
    word, _, text = recipe.effect.partition(" ")
    if recipe.effect == "nil":
        return MadeUpAnswer(None)
    if word == "error" and text.strip() and not set(text) & set("\r\n"):
        return MadeUpAnswer(text.strip())
    raise ConfigurationError(
        f"{recipe}: {recipe.effect!r} is no effect on Redis; write {_EFFECTS}, as in =error LOADING Redis is loading"
    )


@dataclass(slots=True)
class _Asked:
    """What the server has yet to answer, `times` over; `stand_in`: it was asked something else."""

    command: str
    strike: Strike[Effect] | None = None
    stand_in: bool = False
    times: int = 1
    hello3: bool = False


class RedisConversation(Engine[Command | Answer, Effect]):
    """One connection of a client to a Redis or Valkey server."""

    def __init__(self, tally: Tally[Effect]) -> None:
        self._answers = Answers()
        super().__init__(tally, Commands(), self._answers)
        self._asked: deque[_Asked] = deque()
        self._resp3 = False
        self._silent = False  # CLIENT REPLY OFF
        self._skipped = 0  # answers that CLIENT REPLY SKIP leaves out

    def judge(self, direction: Direction, message: Command | Answer, told: list[Action]) -> Fate | None:
        """What becomes of a command or an answer."""
        del direction  # it shows
        return self._said(message, told) if isinstance(message, Command) else self._answered(message, told)

    def _said(self, message: Command, told: list[Action]) -> Fate | None:
        words = message.words
        if not words:
            return None  # an empty line, which is not answered
        name = words[0]
        names = (name,) if len(words) == 1 else (name, f"{name} {words[1]}")
        strike = self.tally.meet(names, "up", told)
        asked = _Asked(name, hello3=words[:2] == ("HELLO", "3"))
        if name in SUBSCRIBING:
            asked.times = max(1, message.size - 1)
            self._answers.listening = True
        if strike is None or strike.when == "after":
            asked.strike = strike
            self._expect(asked, words)
            if name in ENDLESS:
                self.become_raw()
            return None
        return self._strike(asked, strike, words)

    def _strike(self, asked: _Asked, strike: Strike[Effect], words: tuple[str, ...]) -> Fate:
        """At `before` or `sent`."""
        effect = strike.effect
        if isinstance(effect, End):
            end: list[Action] = [strike.hit(), Cut(effect.reset)]
            return Fate(tuple(end), swallow=True) if strike.when == "before" else Fate(then=lambda: end)
        if isinstance(effect, Delay):
            self._expect(asked, words)
            return Fate(self.pause(strike, effect))
        asked = _Asked(asked.command, strike, stand_in=True)
        self._expect(asked, ())
        return Fate((Pass(_DISCARD if asked.command == "EXEC" else _REFUSED),), swallow=True)

    def _expect(self, asked: _Asked, words: tuple[str, ...]) -> None:
        """The server will answer this, unless the client has asked for silence."""
        if words[:2] == ("CLIENT", "REPLY"):
            mode = words[2] if len(words) > 2 else ""  # noqa: PLR2004 - the mode is the third word
            self._silent = mode == "OFF" or (self._silent and mode != "ON")
            self._skipped = 2 if mode == "SKIP" else 0
        if self._skipped:
            self._skipped -= 1
        elif not self._silent:
            self._asked.append(asked)

    def _answered(self, message: Answer, told: list[Action]) -> Fate | None:
        unasked = self._is_unasked(message)
        name = "Push" if unasked else "Reply"
        strike = self.tally.meet((name,), "down", told) if self.tally.minds(name) else None
        fate = None if unasked else self._answer(message)
        if strike is None or (fate is not None and fate.swallow):
            return fate
        effect = strike.effect
        if isinstance(effect, Delay):
            pause = self.pause(strike, effect)
            return Fate(pause) if strike.when == "before" else Fate(then=lambda: list(pause))
        end = (strike.hit(), Cut(getattr(effect, "reset", True)))
        return Fate(end, swallow=True) if strike.when == "before" else Fate(then=lambda: list(end))

    def _is_unasked(self, message: Answer) -> bool:
        """A push, or in RESP2 a list that looks like one; the confirmation of a subscription is neither."""
        if message.kind != ord(">") and not message.first:
            return False
        confirms = bool(self._asked) and message.first.decode("latin-1").upper() == self._asked[0].command
        if message.kind == ord(">"):
            return not confirms
        return not confirms and message.first in {b"message", b"pmessage", b"smessage", b"unsubscribe", b"punsubscribe"}

    def _answer(self, message: Answer) -> Fate | None:
        if not self._asked:
            return None
        asked = self._asked[0]
        asked.times -= 1
        if asked.times > 0 and message.kind != ord("-"):
            return None
        self._asked.popleft()
        self._resp3 = self._resp3 or (asked.hello3 and message.kind == ord("%"))
        strike = asked.strike
        if strike is None:
            return None
        effect = strike.effect
        if isinstance(effect, Delay):
            return Fate(self.pause(strike, effect))
        if isinstance(effect, End):
            return Fate((strike.hit(), Cut(effect.reset)), swallow=True)
        return Fate((Pass(effect.response(asked.command, resp3=self._resp3)), strike.hit()), swallow=True)
