"""Which recipes make sense for PostgreSQL: names, moments and effects, checked before anything is armed."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Final

from premortem.errors import ConfigurationError
from premortem.faults.proxy.protocols.effects import Delay, End, common_effect
from premortem.faults.proxy.protocols.postgres_errors import MadeUpError, made_up
from premortem.faults.proxy.protocols.postgres_messages import ANSWERS, CANCEL_REQUEST, CLIENT_NAMES, SERVER_NAMES
from premortem.faults.proxy.protocols.postgres_statements import KEYWORDS, OTHER_WORDS, PAIRS, canonical
from premortem.faults.proxy.protocols.tally import Plan
from premortem.model.recipe import Recipe

Effect = End | Delay | MadeUpError

FROM_CLIENT: Final = frozenset((*CLIENT_NAMES.values(), CANCEL_REQUEST))
FROM_SERVER: Final = frozenset(SERVER_NAMES.values())
_ANSWERED = frozenset((*(CLIENT_NAMES[kind] for kind in ANSWERS), "CopyDone", "CopyFail"))
_CANNOT_FAIL = frozenset(("Terminate", "Flush", CANCEL_REQUEST))
_EFFECTS = "cut, close, delay SECONDS or error SQLSTATE"


def plan(recipe: Recipe, options: Mapping[str, str]) -> Plan[Effect]:
    """Read one recipe; ConfigurationError says what is wrong with it."""
    if options:
        raise ConfigurationError(
            f"{recipe}: {', '.join(options)}: PostgreSQL has no options; write =error 40001 TEXT in the recipe"
        )
    name, effect = _name(recipe), _effect(recipe)
    if name in FROM_SERVER - FROM_CLIENT:
        _check_server_message(recipe, effect)
    elif recipe.when == "after" and name in FROM_CLIENT - _ANSWERED:
        raise ConfigurationError(
            f"{recipe}: {name} has no answer of its own to wait for; write {recipe.what}#{recipe.nth}:sent"
        )
    if isinstance(effect, MadeUpError) and name in _CANNOT_FAIL:
        raise ConfigurationError(f"{recipe}: a server never answers {name} with an error; write =cut or =delay 1")
    if not isinstance(effect, End) and recipe.when == "sent" and name not in FROM_SERVER:
        raise ConfigurationError(
            f"{recipe}: at `sent` nobody waits for an answer, so there is none to change; write :before or :after"
        )
    return Plan(recipe, name, effect)


def _name(recipe: Recipe) -> str:
    what = " ".join(recipe.what.split())
    if what in FROM_CLIENT | FROM_SERVER:
        return what
    first, _, rest = what.partition(" ")
    pair = canonical(what.upper())
    if pair in PAIRS | KEYWORDS:
        return pair
    keyword = canonical(first.upper())
    if keyword in KEYWORDS and rest:
        return f"{keyword} {rest.upper() if keyword in {'CREATE', 'DROP', 'ALTER'} else _table(rest)}"
    known = sorted(FROM_CLIENT | FROM_SERVER | KEYWORDS | PAIRS | set(OTHER_WORDS))
    near = difflib.get_close_matches(what, known, 1) or difflib.get_close_matches(what.upper(), known, 1)
    hint = f"did you mean {near[0]}?" if near else "write a first keyword, as COMMIT or INSERT payments"
    raise ConfigurationError(f"{recipe}: {what!r} is neither a SQL command nor a message of PostgreSQL; {hint}")


def _table(name: str) -> str:
    last = name.rsplit(".", 1)[-1]
    return last.strip('"') if '"' in last else last.lower()


def _effect(recipe: Recipe) -> Effect:
    effect = common_effect(recipe.effect)
    if effect is not None:
        return effect
    if recipe.effect.partition(" ")[0] == "error":
        return made_up(recipe.effect)
    raise ConfigurationError(f"{recipe}: {recipe.effect!r} is no effect on PostgreSQL; write {_EFFECTS}")


def _check_server_message(recipe: Recipe, effect: Effect) -> None:
    if isinstance(effect, MadeUpError):
        raise ConfigurationError(
            f"{recipe}: {recipe.what} comes from the server, and an error answers what comes from the client; "
            "name the statement, as postgres:COMMIT#1:after=error 40001"
        )
