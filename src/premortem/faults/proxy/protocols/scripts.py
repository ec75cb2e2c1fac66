"""Recipes in, a script out: the one door to the protocols, where what makes no sense is refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from premortem.errors import ConfigurationError
from premortem.faults.proxy.protocols import Conversation, Script, http1, postgres, redis
from premortem.faults.proxy.protocols.tally import UNREADABLE, Tally
from premortem.model.recipe import Recipe

_Rehearse = Callable[[Sequence[Recipe], Mapping[str, str], bool, int], Script]


def script(recipes: Sequence[Recipe], *, protocol: str, record: bool, options: Mapping[str, str], seed: int) -> Script:
    """The script of one proxy: all its connections count together, from now on.

    `protocol` is postgres, redis or http; all recipes are of that world. `record` tells every message (`Seen`).
    `options` go with every recipe: headers and `body` of answers that are made up, HTTP alone. `seed` draws the
    delays that have a range. ConfigurationError says which recipe makes no sense, and what does.
    """
    rehearse = _PROTOCOLS.get(protocol)
    if rehearse is None:
        raise ConfigurationError(
            f"{protocol!r}: is no protocol of the proxy; it has to be one of {', '.join(_PROTOCOLS)}"
        )
    for recipe in recipes:
        if recipe.what == UNREADABLE:
            raise ConfigurationError(
                f"{recipe}: is what a recording tells of bytes that are not {protocol}, and cannot be struck; "
                "name a message, or let the client speak without encryption"
            )
        if recipe.world != protocol:
            raise ConfigurationError(
                f"{recipe}: this proxy speaks {protocol}, and one proxy speaks one protocol; open another one for it"
            )
    if not recipes and not record:
        raise ConfigurationError(
            "no recipe: a script without one does nothing; write postgres:COMMIT#1:after, or record"
        )
    return rehearse(recipes, options, record, seed)


@dataclass(frozen=True, slots=True)
class _Script:
    """A script is a tally that its conversations share."""

    begin: Callable[[], Conversation]

    def open(self) -> Conversation:
        """A connection begins, or is taken up between two messages."""
        return self.begin()


def _postgres(recipes: Sequence[Recipe], options: Mapping[str, str], record: bool, seed: int) -> Script:  # noqa: FBT001 - a row of the table below
    tally = Tally("postgres", [postgres.plan(recipe, options) for recipe in recipes], record=record, seed=seed)
    return _Script(lambda: postgres.PostgresConversation(tally))


def _redis(recipes: Sequence[Recipe], options: Mapping[str, str], record: bool, seed: int) -> Script:  # noqa: FBT001 - as above
    tally = Tally("redis", [redis.plan(recipe, options) for recipe in recipes], record=record, seed=seed)
    return _Script(lambda: redis.RedisConversation(tally))


def _http(recipes: Sequence[Recipe], options: Mapping[str, str], record: bool, seed: int) -> Script:  # noqa: FBT001 - as above
    tally = Tally("http", [http1.plan(recipe, options) for recipe in recipes], record=record, seed=seed)
    return _Script(lambda: http1.HttpConversation(tally))


_PROTOCOLS: dict[str, _Rehearse] = {"postgres": _postgres, "redis": _redis, "http": _http}
