"""PostgreSQL's protocol 3: cut, delay or fail any message or statement, before it, once sent, or after it is done.

How an error is made up. The server must not know better than the client, or the next COMMIT would commit what the
client believes to be lost. So a stand-in that cannot succeed takes the statement's place, the server fails it, and the
server's own error is rewritten. Answers then come in their order even in a pipeline, the transaction really is in the
failed state (its COMMIT is answered ROLLBACK), savepoints work. A struck COMMIT or PREPARE TRANSACTION is replaced by
a ROLLBACK and the stand-in, because a commit that fails leaves no transaction behind.

How an answer is lost. What the client sent is kept in a queue, as the server works it off. Outside a transaction block
a statement of the extended protocol is durable only when its Sync is: then `after` waits for ReadyForQuery.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from premortem.faults.proxy.protocols import Action, Cut, Direction, Pass, Reply
from premortem.faults.proxy.protocols import postgres_messages as pg
from premortem.faults.proxy.protocols.effects import Delay, End
from premortem.faults.proxy.protocols.engine import Engine, Fate
from premortem.faults.proxy.protocols.postgres_backlog import UNMARKED, Asked, Backlog
from premortem.faults.proxy.protocols.postgres_errors import MadeUpError
from premortem.faults.proxy.protocols.postgres_frames import ClientMessages, Message, ServerMessages
from premortem.faults.proxy.protocols.postgres_recipes import Effect, plan
from premortem.faults.proxy.protocols.postgres_statements import NOTHING, Statement, statements
from premortem.faults.proxy.protocols.tally import Strike, Tally

__all__ = ["PostgresConversation", "plan"]

_STAND_IN = b"premortem_fault"  # neither a portal nor a prepared statement of that name exists: to execute it fails
_FAILS = b"EXECUTE " + _STAND_IN
_SWALLOWED = Fate(swallow=True)
_SPEAKING = frozenset((pg.QUERY, pg.PARSE, pg.BIND, pg.EXECUTE, pg.CLOSE))  # a statement, or the name of one
_PLAIN = frozenset(
    (pg.PARSE, pg.BIND, pg.DESCRIBE, pg.CLOSE, pg.SYNC)
)  # of no statement: only its own name can be struck
_LEAVE_NO_TRANSACTION = frozenset(("COMMIT", "PREPARE TRANSACTION"))


class PostgresConversation(Engine[Message, Effect]):
    """One connection of a client to a PostgreSQL server."""

    def __init__(self, tally: Tally[Effect]) -> None:
        quiet = frozenset() if tally.minds("CopyData") else frozenset((pg.COPY_DATA,))
        self._answers = ServerMessages(frozenset() if tally.record else pg.routine(tally.wanted))
        super().__init__(tally, ClientMessages(quiet), self._answers)
        self._unminded = frozenset(kind for kind in _PLAIN if not tally.minds(pg.CLIENT_NAMES[kind]))
        self._minded = frozenset(name for name in pg.SERVER_NAMES.values() if tally.minds(name))
        self._tables = any(" " in name for name in tally.wanted)
        self._statements: dict[bytes, Statement] = {}
        self._portals: dict[bytes, Statement] = {}
        self._backlog = Backlog()
        self._parting: Strike[Effect] | None = None  # struck at `sent`: its Sync has yet to be sent
        self._ending: Strike[Effect] | None = None  # struck at `after`: its ReadyForQuery has yet to come
        self._muted = False  # the client has been told of an error: it hears nothing up to ReadyForQuery
        self._lied = False  # the server knows nothing of that error

    def judge(self, direction: Direction, message: Message, told: list[Action]) -> Fate | None:
        """What becomes of a message."""
        return self._said(message, told) if direction == "up" else self._answered(message, told)

    # What the client says

    def _said(self, message: Message, told: list[Action]) -> Fate | None:
        if message.name == pg.ENCRYPTION_REQUEST:
            return Fate((Reply(pg.NO_ENCRYPTION),), swallow=True)
        kind = message.kind
        meaning = self._meaning(message) if kind in _SPEAKING else []
        if kind in self._unminded and self._parting is None:
            self._backlog.expect(UNMARKED[kind])
            return None
        strike, place = self._meet(message, meaning, told)
        if kind in (pg.COPY_DONE, pg.COPY_FAIL):
            self._backlog.end_copy()
        if kind == pg.FLUSH and "after" in self.tally.moments:
            self._backlog.client_waits()
        if self._parting is not None and (kind in pg.ROUNDS or kind == pg.FLUSH):
            return Fate(then=self._last_words(self._parting))
        if self._ending is not None and kind == pg.FLUSH:
            return Fate(tuple(_Parting(self, self._ending, Reply)()), swallow=True)
        struck = meaning[place] if meaning else NOTHING
        if strike is None or strike.when == "after":
            self._expect(self._wanted_answer(kind, strike, meaning, place))
            return None
        return self._strike(message, strike, struck, place)

    def _meaning(self, message: Message) -> list[Statement]:
        """The statements that a message executes; what others prepare is remembered by its name."""
        kind, body = message.kind, message.body
        if kind == pg.QUERY:
            return statements(body.rstrip(b"\0"), tables=self._tables)
        if kind == pg.EXECUTE:
            statement = self._portals.get(body.partition(b"\0")[0], NOTHING)
            return [statement] if statement.names else []
        if kind == pg.PARSE:
            name, _, rest = body.partition(b"\0")
            found = statements(rest.partition(b"\0")[0], tables=self._tables)
            self._statements[name] = found[0] if found else NOTHING
        elif kind == pg.BIND:
            portal, _, rest = body.partition(b"\0")
            self._portals[portal] = self._statements.get(rest.partition(b"\0")[0], NOTHING)
        elif kind == pg.CLOSE:
            named = self._statements if body[:1] == b"S" else self._portals
            named.pop(body[1:].partition(b"\0")[0], None)
        return []

    def _meet(
        self, message: Message, meaning: list[Statement], told: list[Action]
    ) -> tuple[Strike[Effect] | None, int]:
        """The first strike on the statements of a message or on itself, and which statement that is."""
        name = message.name or pg.CLIENT_NAMES[message.kind]
        found, place = None, 0
        for number, statement in enumerate(meaning or (NOTHING,)):
            names = statement.names if number else (*statement.names, name)
            strike = self.tally.meet(names, "up", told)
            if found is None and strike is not None:
                found, place = strike, number
        return found, place

    def _wanted_answer(self, kind: int, strike: Strike[Effect] | None, meaning: list[Statement], place: int) -> Asked:
        if strike is None:
            return UNMARKED.get(kind) or Asked(kind)
        if kind in (pg.COPY_DONE, pg.COPY_FAIL):
            self._backlog.mark_copy(strike, stand_in=False)
        whole = kind == pg.QUERY and strike.plan.name == pg.CLIENT_NAMES[kind]
        index = len(meaning) - 1 if whole else place
        ends = bool(meaning) and meaning[index].ends_transaction
        return Asked(kind, strike, index, whole=whole, ends_transaction=ends)

    def _expect(self, asked: Asked) -> None:
        self._backlog.expect(asked)
        if asked.stand_in or asked.swallow:
            self._answers.heed(everything=True)

    def _strike(self, message: Message, strike: Strike[Effect], struck: Statement, place: int) -> Fate | None:
        """At `before` or `sent`."""
        effect, kind = strike.effect, message.kind
        if isinstance(effect, MadeUpError):
            return self._fail(message, strike, effect, struck, place)
        if isinstance(effect, End) and strike.when == "before":
            return Fate(tuple(self._last_words(strike)()), swallow=True)
        self._expect(Asked(kind))
        if isinstance(effect, Delay):
            return Fate(self.pause(strike, effect))
        if kind == pg.EXECUTE and strike.plan.name != pg.CLIENT_NAMES[kind]:
            self._parting = strike  # without its Sync the server would not commit it
            return None
        return Fate(then=self._last_words(strike))

    def _fail(
        self, message: Message, strike: Strike[Effect], error: MadeUpError, struck: Statement, place: int
    ) -> Fate | None:
        """Put something in its place that the server fails."""
        kind = message.kind
        if kind in (pg.STARTUP, pg.PASSWORD):
            response = error.response(str(strike.plan.recipe), fatal=True)
            return Fate((Reply(response), strike.hit(), Cut(reset=False)), swallow=True)
        if kind in (pg.COPY_DATA, pg.COPY_DONE, pg.COPY_FAIL):
            return self._fail_copy(strike)
        alone = bool(struck.names) and struck.names[0] in _LEAVE_NO_TRANSACTION
        if kind in (pg.QUERY, pg.FUNCTION):
            text = message.body[: struck.start] if place else b""
            self._expect(Asked(pg.QUERY, strike, place, stand_in=True))
            return Fate((Pass(pg.query(text + (b" ROLLBACK; " if alone else b" ") + _FAILS)),), swallow=True)
        stand_in = pg.execute(_STAND_IN)
        if alone:
            for ours in (pg.CLOSE, pg.PARSE, pg.BIND, pg.EXECUTE):
                self._expect(Asked(ours, strike, stand_in=True, swallow=True))
            stand_in = pg.close_statement(_STAND_IN) + pg.parse_and_bind(_STAND_IN, b"ROLLBACK") + 2 * stand_in
        self._expect(Asked(pg.EXECUTE, strike, stand_in=True))
        if kind == pg.SYNC:
            self._expect(Asked(kind))
        return Fate((Pass(stand_in),), swallow=kind != pg.SYNC)

    def _fail_copy(self, strike: Strike[Effect]) -> Fate | None:
        if not self._backlog.mark_copy(strike, stand_in=True):
            return None
        self._backlog.end_copy()
        self._answers.heed(everything=True)
        return Fate((Pass(pg.frame(pg.COPY_FAIL, _STAND_IN + b"\0")),), swallow=True)

    # What the server answers

    def _answered(self, message: Message, told: list[Action]) -> Fate | None:
        name = pg.SERVER_NAMES[message.kind]
        strike = self.tally.meet((name,), "down", told) if name in self._minded else None
        if strike is None:
            return self._answer(message)
        if isinstance(strike.effect, End) and strike.when == "before":
            return Fate(tuple(self._last_words(strike)()), swallow=True)
        fate = self._answer(message) or Fate()
        if fate.swallow:  # it was not for the client
            return fate
        if isinstance(strike.effect, Delay) and strike.when == "before":
            return replace(fate, first=(*self.pause(strike, strike.effect), *fate.first))
        return replace(fate, then=self._last_words(strike))

    def _answer(self, message: Message) -> Fate | None:
        kind = message.kind
        if kind in pg.UNASKED:
            return None
        if kind == pg.ERROR:
            return self._error()
        if kind == pg.READY:
            return self._ready(message)
        if kind in (pg.COPY_IN, pg.COPY_BOTH):
            self._backlog.begin_copy()
        first = self._backlog.first
        return self._part_of_answer(kind, first) if first else _SWALLOWED if self._muted else None

    def _part_of_answer(self, kind: int, asked: Asked) -> Fate | None:
        hidden = _SWALLOWED if self._muted or asked.is_ours else None
        if asked.kind == pg.QUERY:
            if kind not in (pg.COMPLETE, pg.EMPTY):
                return hidden
            asked.done += 1
            due = asked.index == asked.done - 1
        else:
            if kind not in pg.ANSWERS[asked.kind]:
                return hidden
            self._backlog.answered()
            due = True
        return self._after(asked) if due and asked.strike and not hidden else hidden

    def _after(self, asked: Asked) -> Fate:
        """The server has done what `asked` asked for."""
        strike, asked.strike = asked.strike, None
        assert strike is not None
        if isinstance(strike.effect, Delay):
            return Fate(self.pause(strike, strike.effect))
        at_startup = asked.kind in (pg.STARTUP, pg.PASSWORD)
        if isinstance(strike.effect, MadeUpError) and not strike.effect.fatal and not at_startup:
            self._lied = True
            self._mute()
            return _instead(strike, strike.effect)
        if asked.kind not in (pg.QUERY, pg.EXECUTE) or asked.ends_transaction or asked.flushed:
            return Fate(tuple(self._last_words(strike)()), swallow=True)
        self._ending = strike
        self._mute()
        return _SWALLOWED

    def _error(self) -> Fate | None:
        first = self._backlog.first
        fate = self._error_of(first) if first else None
        self._backlog.failed()
        return fate

    def _error_of(self, asked: Asked) -> Fate | None:
        strike = asked.strike
        if self._muted:
            return _SWALLOWED
        if strike is None:
            return _SWALLOWED if asked.swallow else None
        if not asked.is_struck_by_error:
            return None
        effect, asked.strike = strike.effect, None
        if isinstance(effect, Delay):
            return Fate(self.pause(strike, effect))
        if isinstance(effect, MadeUpError) and not effect.fatal:
            return _instead(strike, effect)
        return Fate(tuple(self._last_words(strike)()), swallow=True)

    def _ready(self, message: Message) -> Fate | None:
        asked = self._backlog.end_round()
        if self._ending is not None:
            return Fate(tuple(self._last_words(self._ending)()), swallow=True)
        lied, self._lied, self._muted = self._lied, False, False
        self._answers.heed(everything=self._backlog.has_stand_ins)
        if asked is not None and asked.swallow:
            return None if asked.client_waits else _SWALLOWED
        fate = None
        if asked is not None and asked.is_struck_by_ready:
            fate = replace(self._after(replace(asked, kind=pg.SYNC)), swallow=False)  # an error does not replace it
            lied, self._lied, self._muted = lied or self._lied, False, False
        return self._admit(fate) if lied and message.body == b"T" else fate

    def _admit(self, fate: Fate | None) -> Fate:
        """The client was told of an error in a transaction block: let the server fail it too, before anything else."""
        ahead = self._backlog.first is not None  # the client has sent more in a pipeline: those answers follow this one
        self._expect(Asked(pg.QUERY, swallow=True, client_waits=not ahead))
        ready = (Pass(pg.frame(pg.READY, b"E")),) if ahead else ()
        return Fate((*(fate.first if fate else ()), Reply(pg.query(_FAILS)), *ready), swallow=True)

    def _mute(self) -> None:
        self._muted = True
        self._answers.heed(everything=True)

    def _last_words(self, strike: Strike[Effect]) -> _Parting:
        return _Parting(self, strike)


def _instead(strike: Strike[Effect], error: MadeUpError) -> Fate:
    return Fate((Pass(error.response(str(strike.plan.recipe))), strike.hit()), swallow=True)


@dataclass(frozen=True, slots=True)
class _Parting:
    """The connection ends, after a fatal error if that is the effect; a delay is the mildest form."""

    conversation: PostgresConversation
    strike: Strike[Effect]
    tell: type[Pass | Reply] = Pass

    def __call__(self) -> list[Action]:
        strike, effect = self.strike, self.strike.effect
        if isinstance(effect, Delay):
            return list(self.conversation.pause(strike, effect))
        if isinstance(effect, End):
            return [strike.hit(), Cut(effect.reset)]
        return [self.tell(effect.response(str(strike.plan.recipe), fatal=True)), strike.hit(), Cut(reset=False)]
