"""HTTP/1.1: cut, delay, answer instead of the server, or spoil what it answered, by method and path.

A made-up answer waits for its turn: in a pipeline it follows the answers to the requests before it.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from premortem.errors import ConfigurationError
from premortem.faults.proxy.protocols import Action, Cut, Direction, Pass, Reply
from premortem.faults.proxy.protocols.effects import Delay, End
from premortem.faults.proxy.protocols.engine import Engine, Fate
from premortem.faults.proxy.protocols.http1_effects import Effect, MadeUp, read_effect, with_options
from premortem.faults.proxy.protocols.http1_messages import SWITCHING, Head, Requests, Responses
from premortem.faults.proxy.protocols.tally import Plan, Strike, Tally
from premortem.model.recipe import Recipe

RESPONSE: Final = "Response"
_NAME = re.compile(r"(\*|[A-Za-z!#$%&'*+.^_`|~-]+) (\S+)")
_ORIGIN = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*")


def plan(recipe: Recipe, options: Mapping[str, str]) -> Plan[Effect]:
    """Read one recipe; ConfigurationError says what is wrong with it."""
    try:
        effect = read_effect(recipe.effect, options)
    except ConfigurationError as wrong:
        raise ConfigurationError(f"{recipe}: {wrong}") from None
    recipe = replace(recipe, effect=with_options(recipe.effect, options))
    simple = isinstance(effect, End | Delay)
    if recipe.what == RESPONSE:
        if not simple:
            raise ConfigurationError(
                f"{recipe}: a {RESPONSE} can be cut, closed or delayed; to change it, name its request: GET /orders#1"
            )
        return Plan(recipe, RESPONSE, effect)
    form = _NAME.fullmatch(" ".join(recipe.what.split()))
    if form is None:
        raise ConfigurationError(f"{recipe}: {recipe.what!r} is no request; write http:GET /orders#1, or http:GET *#1")
    if recipe.when == "sent" and not isinstance(effect, End):
        raise ConfigurationError(
            f"{recipe}: at `sent` nobody waits for an answer, so there is none to change; write :before or :after"
        )
    if recipe.when == "before" and not (simple or isinstance(effect, MadeUp)):
        after = replace(recipe, when="after")
        raise ConfigurationError(f"{recipe}: the server's answer is changed, so it has to be asked; write {after}")
    return Plan(recipe, f"{form[1].upper()} {_path(form[2])}", effect)


@dataclass(slots=True, eq=False)
class _Asked:
    """A request that is yet to be answered; by us, with `made_up`, once `all_said`."""

    method: str
    strike: Strike[Effect] | None = None
    made_up: tuple[bytes, tuple[Action, ...]] | None = field(default=None)
    all_said: bool = False


class HttpConversation(Engine[Head, Effect]):
    """One connection of a client to an HTTP server."""

    def __init__(self, tally: Tally[Effect]) -> None:
        self._asked: deque[_Asked] = deque()
        super().__init__(tally, Requests(), Responses(lambda: self._asked[0].method if self._asked else ""))

    def judge(self, direction: Direction, message: Head, told: list[Action]) -> Fate | None:
        """What becomes of a request or an answer."""
        return self._said(message, told) if direction == "up" else self._answered(message, told)

    def _said(self, head: Head, told: list[Action]) -> Fate | None:
        method, path = head.method.upper(), _path(head.target)
        names = dict.fromkeys((f"{method} {path}", f"{method} *", f"* {path}", "* *"))
        strike = self.tally.meet(names, "up", told)
        asked = _Asked(method, strike)
        if strike is None or strike.when == "after":
            self._asked.append(asked)
            return None
        effect = strike.effect
        if isinstance(effect, MadeUp):
            return self._answer_ourselves(head, asked, strike, effect)
        asked.strike = None
        self._asked.append(asked)
        if isinstance(effect, Delay):
            return Fate(self.pause(strike, effect))
        end = _end_of(strike)
        return Fate(tuple(end), swallow=True) if strike.when == "before" else Fate(then=lambda: end)

    def _answer_ourselves(self, head: Head, asked: _Asked, strike: Strike[Effect], effect: MadeUp) -> Fate:
        """Once the request is complete; a client that expects 100 Continue never sends the body, so it is let go."""
        close = "100-continue" in head.fields.get("expect", "").lower()
        then = (strike.hit(), Cut(reset=False)) if close else (strike.hit(),)
        asked.made_up, asked.strike = (effect.response(asked.method, close=close), then), None
        self._asked.append(asked)
        if close:
            return Fate(tuple(self._said_all(asked)), swallow=True)
        return Fate(swallow=True, then=lambda: self._said_all(asked))

    def _said_all(self, asked: _Asked) -> list[Action]:
        asked.all_said = True
        return self._made_up_answers(Reply)

    def _made_up_answers(self, tell: type[Pass | Reply]) -> list[Action]:
        """Those whose turn it is."""
        out: list[Action] = []
        while self._asked and self._asked[0].made_up and self._asked[0].all_said:
            response, then = self._asked.popleft().made_up or (b"", ())
            out += [tell(response), *then]
            if isinstance(out[-1], Cut):
                break
        return out

    def _answered(self, head: Head, told: list[Action]) -> Fate | None:
        asked = self._asked[0] if self._asked else _Asked("")
        if head.status == SWITCHING or (asked.method == "CONNECT" and 200 <= head.status < 300):  # noqa: PLR2004 - 2xx
            self.become_raw()
            return None
        if head.is_interim:
            return None
        struck = self.tally.meet((RESPONSE,), "down", told) if self.tally.minds(RESPONSE) else None
        fate = self._after(head, asked.strike) if asked.strike else Fate()
        if struck is not None and not fate.swallow:
            fate = self._strike_response(struck, fate)
        last = fate.then
        return replace(fate, then=lambda: [*self._answered_all(), *(last() if last else ())])

    def _after(self, head: Head, strike: Strike[Effect]) -> Fate:
        """The server has answered, and what the client hears is spoilt."""
        effect = strike.effect
        if isinstance(effect, End):
            return Fate(tuple(_end_of(strike)), swallow=True)
        if isinstance(effect, Delay):
            return Fate(self.pause(strike, effect))
        if isinstance(effect, MadeUp):
            return Fate((Pass(effect.response(head.method)), strike.hit()), swallow=True)
        return Fate(alter=effect.alter(head, strike.hit()))

    def _strike_response(self, strike: Strike[Effect], fate: Fate) -> Fate:
        effect = strike.effect
        if isinstance(effect, Delay):
            pause = self.pause(strike, effect)
            if strike.when == "before":
                return replace(fate, first=(*pause, *fate.first))
            return replace(fate, then=lambda: list(pause))
        end = _end_of(strike)
        return Fate(tuple(end), swallow=True) if strike.when == "before" else replace(fate, then=lambda: end)

    def _answered_all(self) -> list[Action]:
        if self._asked:
            self._asked.popleft()
        return self._made_up_answers(Pass)


def _end_of(strike: Strike[Effect]) -> list[Action]:
    effect = strike.effect
    return [strike.hit(), Cut(effect.reset if isinstance(effect, End) else True)]


def _path(target: str) -> str:
    """Without origin and query; what a recipe cannot hold is escaped."""
    origin = _ORIGIN.match(target)
    path = target[origin.end() :] if origin else target
    return (path.partition("?")[0] or "/").replace("#", "%23").replace("=", "%3D")
