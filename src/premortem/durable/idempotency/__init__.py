"""An effect takes place once for a key, however often it is asked for; every caller gets the same result.

    payments = Idempotency(SqliteKeys("work/keys.db"))
    receipt = payments.run(order.id, order, charge)       # charge(order) the first time, its kept result ever after

Laws: a key is claimed before the function runs and its result is kept after it; one of many that race runs, the others
are told so or wait; another payload under the same key is refused. Where the store is part of the caller's transaction
(`PostgresKeys(connection)`), key, effect and result commit together: exactly once. Elsewhere a process may die between
effect and result, and no library can know which it was: the key's outcome is then *unknown*, is said to be, and is not
run again unless that was asked for.
"""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Generic, TypeVar

from premortem.durable.errors import InFlightError, NothingDoneError, NotKeptError, StoreDownError
from premortem.durable.idempotency import rules
from premortem.durable.idempotency.fingerprints import fingerprint
from premortem.durable.idempotency.handover import Handover, apart
from premortem.durable.idempotency.results import JSON, Results, packed
from premortem.durable.idempotency.rules import GONE, Bid, Change, Record, Unknown
from premortem.durable.idempotency.settings import check, check_key
from premortem.durable.idempotency.stores import IdempotencyStore
from premortem.durable.telling import tell
from premortem.events import emit
from premortem.ports import Clock

P = TypeVar("P")
R = TypeVar("R")

_FIRST_PAUSE_S = 0.002
_LONGEST_PAUSE_S = 0.1
_PURGE_EACH = 16
_PURGED_AT_ONCE = 64
_TRIES = 2  # a claim or a result whose answer was lost is sent again: by its token, that changes nothing


@dataclass(frozen=True, slots=True)
class Outcome(Generic[R]):
    """What came of a key, and whether it was done before."""

    value: R
    replayed: bool


@dataclass(frozen=True, slots=True)
class Pending:
    """A key that is in flight; `unknown` where its time is over. Times in UTC."""

    key: str
    owner: str
    began: datetime
    until: datetime
    unknown: bool


class Idempotency:
    """Runs functions once for each key, over a store.

    `ttl_s`: for so many seconds a key is remembered after its last change; the same key later is a new one.
    `in_flight_s`: for so long a call may take; then its outcome counts as unknown. `wait_s`: how long a call waits for
    another one of the same key before InFlightError.
    `on_unknown`: "stop" raises UnknownOutcomeError, "again" runs the function again: for effects that may be repeated.
    `nothing_done`: errors after which nothing has been done, so that the key is free again, besides NothingDoneError;
    after any other one, and after a cancellation, the outcome is unknown. Name them narrowly where the effect is
    outside the caller's transaction: a time-out says nothing about what the other side did.
    `results`: how results become bytes, by default JSON; `most_bytes` is the limit for one. `clock`: the store's own
    time if None.
    """

    def __init__(  # noqa: PLR0913 - by keyword only, each with a default
        self,
        store: IdempotencyStore,
        *,
        ttl_s: float = 86_400.0,
        in_flight_s: float = 60.0,
        wait_s: float = 0.0,
        on_unknown: Unknown = "stop",
        nothing_done: type[BaseException] | tuple[type[BaseException], ...] = Exception,
        results: Results = JSON,
        most_bytes: int = 1 << 20,
        clock: Clock | None = None,
    ) -> None:
        check(
            store, ttl_s=ttl_s, in_flight_s=in_flight_s, wait_s=wait_s, on_unknown=on_unknown,
            nothing_done=nothing_done, most_bytes=most_bytes,
        )  # fmt: skip
        self.store = store
        self._ttl_s, self._in_flight_s, self._wait_s, self._on_unknown = ttl_s, in_flight_s, wait_s, on_unknown
        self._nothing_done, self._results, self._most_bytes, self._clock = nothing_done, results, most_bytes, clock
        self._kept = 0

    def run(self, key: str, payload: P, function: Callable[[P], R], *, wait_s: float | None = None) -> R:
        """`function(payload)` if `key` is new, else what that has returned, as it was kept.

        Raises InFlightError, UnknownOutcomeError, PayloadMismatchError, NotKeptError, StoreDownError, and what the
        function raises. A result comes back as `results` reads it, the first time, too: with JSON, a tuple as a list.
        """
        return self.outcome(key, payload, function, wait_s=wait_s).value

    def outcome(self, key: str, payload: P, function: Callable[[P], R], *, wait_s: float | None = None) -> Outcome[R]:
        """As `run`, and whether it was done before."""
        bid = self._bid(key, payload)
        with self.store.together():
            record = self._claimed(bid, self._wait_s if wait_s is None else wait_s)
            if record.state == "done":
                return self._replayed(bid, record)
            try:
                result = function(payload)
            except BaseException as error:
                self._failed(bid, error)
                raise
            return Outcome(self._finished(bid, result), replayed=False)

    async def run_async(
        self, key: str, payload: P, function: Callable[[P], Awaitable[R]], *, wait_s: float | None = None
    ) -> R:
        """As `run`, for a coroutine function. The store is asked in a thread, the caller's connection is not."""
        return (await self.outcome_async(key, payload, function, wait_s=wait_s)).value

    async def outcome_async(
        self, key: str, payload: P, function: Callable[[P], Awaitable[R]], *, wait_s: float | None = None
    ) -> Outcome[R]:
        """As `outcome`, for a coroutine function. One that is cancelled leaves an outcome that is unknown."""
        bid = self._bid(key, payload)
        inline = self.store.transactional
        with self.store.together():
            record = await self._claimed_async(bid, self._wait_s if wait_s is None else wait_s)
            if record.state == "done":
                return self._replayed(bid, record)
            try:
                result = await function(payload)
            except BaseException as error:
                await apart(partial(self._failed, bid, error), inline=inline)
                raise
            return Outcome(await apart(partial(self._finished, bid, result), inline=inline), replayed=False)

    def settle(self, key: str, payload: object, result: object) -> None:
        """Say what came of a key whose outcome was not known: from now on it is done, with `result`.

        InFlightError where its time is still running.
        """
        bid = self._bid(key, payload)
        raw = packed(self._results, result, self._most_bytes)

        def decide(record: Record | None, now: datetime) -> Change:
            _not_running(bid.key, record, now)
            at = now.timestamp()
            return Record("done", bid.fingerprint, bid.token, bid.owner, at, at, at + self._ttl_s, raw)

        self._change(key, decide)
        emit("idempotency.settled", key=key)

    def forget(self, key: str) -> None:
        """Free a key: the next call runs. InFlightError where somebody is working on it."""
        check_key(key)

        def decide(record: Record | None, now: datetime) -> Change:
            _not_running(key, record, now)
            return None if record is None else GONE

        self._change(key, decide)
        emit("idempotency.forgotten", key=key)

    def pending(self, limit: int = 1000) -> tuple[Pending, ...]:
        """Keys that are being worked on or whose outcome is not known, the oldest first."""
        now = self._now()
        return tuple(
            Pending(
                key, record.owner, datetime.fromtimestamp(record.began_s, UTC),
                datetime.fromtimestamp(record.lease_s, UTC), record.lease_s <= now.timestamp(),
            )
            for key, record in self.store.pending(limit)
        )  # fmt: skip

    def purge(self, limit: int = 10_000) -> int:
        """Remove up to `limit` keys whose time is over; how many. Some are removed with every few calls anyway."""
        return self.store.purge(self._clock.now() if self._clock else None, limit)

    def _bid(self, key: str, payload: object) -> Bid:
        check_key(key)
        token = secrets.token_hex(16)
        return Bid(key, fingerprint(payload), token, _owner(), self._in_flight_s, self._ttl_s, self._on_unknown)

    def _claimed(self, bid: Bid, wait_s: float) -> Record:
        ends, pause_s = time.monotonic() + wait_s, _FIRST_PAUSE_S
        while True:
            try:
                return self._claim(bid)
            except InFlightError:
                if (left_s := ends - time.monotonic()) <= 0:
                    raise
            time.sleep(min(pause_s, left_s))
            pause_s = min(pause_s * 1.5, _LONGEST_PAUSE_S)

    async def _claimed_async(self, bid: Bid, wait_s: float) -> Record:
        import asyncio  # noqa: PLC0415 - 70 ms that a synchronous program must not pay

        ends, pause_s = time.monotonic() + wait_s, _FIRST_PAUSE_S
        while True:
            claim = Handover(partial(self._claim, bid), partial(self._release, bid))
            try:
                return await claim.received(inline=self.store.transactional)
            except InFlightError:
                if (left_s := ends - time.monotonic()) <= 0:
                    raise
            await asyncio.sleep(min(pause_s, left_s))
            pause_s = min(pause_s * 1.5, _LONGEST_PAUSE_S)

    def _claim(self, bid: Bid) -> Record:
        found: list[Record] = []

        def decide(record: Record | None, now: datetime) -> Change:
            found[:] = [rules.claimed(bid, record, now)]
            if record is not None and record.state == "in_flight" and found[0].token != record.token:
                tell("idempotency.unknown_passed", key=bid.key, owner=record.owner, forgotten=record.gone(now))
            return found[0] if found[0] is not record else None

        self._insist(bid.key, decide)
        return found[0]

    def _replayed(self, bid: Bid, record: Record) -> Outcome[R]:
        emit("idempotency.replayed", key=bid.key)
        assert record.result is not None
        value: R = self._results.loads(record.result)
        return Outcome(value, replayed=True)

    def _finished(self, bid: Bid, result: R) -> R:
        """Keep the result; what comes back is what everybody else will get."""
        ours: list[bool] = []

        def decide(record: Record | None, now: datetime) -> Change:
            done = rules.kept(bid.token, raw, self._ttl_s, record, now)
            ours[:] = [done is not None]
            return done

        try:
            raw = packed(self._results, result, self._most_bytes)
            self._insist(bid.key, decide)
        except Exception as error:
            if self.store.transactional:
                raise  # and with it goes the effect
            raise NotKeptError(bid.key, result, str(error)) from error
        if not ours[0]:
            why = f"it took more than its {self._in_flight_s:g} s, and somebody else has begun anew or freed the key"
            raise NotKeptError(bid.key, result, why)
        self._sometimes_purge()
        value: R = self._results.loads(raw)
        return value

    def _failed(self, bid: Bid, error: BaseException) -> None:
        if self.store.transactional:
            return  # the block is rolled back, and the claim with it
        if not isinstance(error, self._nothing_done) and not isinstance(error, NothingDoneError):
            tell("idempotency.unknown", key=bid.key, why=type(error).__name__)
            return
        try:
            self._release(bid)
        except StoreDownError as down:  # what the function raised is what its caller has to know
            tell("idempotency.not_released", key=bid.key, why=str(down))

    def _release(self, bid: Bid) -> None:
        self._insist(bid.key, lambda record, _: rules.released(bid.token, record))

    def _insist(self, key: str, decide: rules.Decision) -> None:
        """Change, and once more where the store was lost on the way."""
        for attempt in range(_TRIES):
            try:
                return self._change(key, decide)
            except StoreDownError:
                if self.store.transactional or attempt == _TRIES - 1:
                    raise
        return None

    def _change(self, key: str, decide: rules.Decision) -> None:
        clock = self._clock
        self.store.change(key, decide if clock is None else lambda record, _: decide(record, clock.now()))

    def _now(self) -> datetime:
        return self._clock.now() if self._clock else datetime.now(UTC)

    def _sometimes_purge(self) -> None:
        self._kept += 1
        if self._kept % _PURGE_EACH:
            return
        try:
            self.store.purge(self._clock.now() if self._clock else None, _PURGED_AT_ONCE)
        except StoreDownError as down:  # the result is kept; the next one sweeps
            tell("idempotency.not_purged", why=str(down))


def _owner() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}"


def _not_running(key: str, record: Record | None, now: datetime) -> None:
    if record is not None and record.state == "in_flight" and not record.gone(now) and now.timestamp() < record.lease_s:
        raise InFlightError(key, record.owner, datetime.fromtimestamp(record.lease_s, UTC))
