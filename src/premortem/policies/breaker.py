"""Circuit breaker: a dependency that fails is left alone for a while, and tried by few calls before by all.

Laws:
- While it is closed a call reads one attribute: no clock, no lock, nothing built.
- What an ended era began changes nothing in the next one; every permit carries its era.
- Cancellation and whatever else is no failure are no success either: a probe then gives its slot back.
- No lock is held while the guarded function runs. `leave` never waits: a shared store hears from a thread.
"""

from __future__ import annotations

import contextvars
import math
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, ClassVar, TypeVar

from premortem.errors import ConfigurationError
from premortem.events import emit, heard
from premortem.policies import breaker_machine as machine
from premortem.policies import checks
from premortem.policies.breaker_machine import Admitted, Circuit, Refused, Rules, Signal, State
from premortem.policies.breaker_store import MemoryStore, SharedStore, Sure
from premortem.policies.rejections import CircuitOpenError, RejectedError
from premortem.policies.timing import TIME
from premortem.policies.windows import FailuresWithin, SlowCalls, Trip

if TYPE_CHECKING:
    from asyncio import Future
    from concurrent.futures import ThreadPoolExecutor

T = TypeVar("T")

# Bound once: looking a member up on its class, or its value up on the member, takes 0.1 us and more on Python 3.11.
_CLOSED, _OPEN, _HALF_OPEN = State.CLOSED, State.OPEN, State.HALF_OPEN
_REASONS = {
    State.OPEN: ("open", "the circuit is open"),
    State.HALF_OPEN: ("half_open", "the circuit is half-open, and all its probes are out"),
    State.ISOLATED: ("isolated", "the circuit is isolated until somebody closes it"),
}


@dataclass(frozen=True, slots=True)
class CircuitBreaker:
    """Opens when `trip` says so (default: 5 failures in 30 s), for `recovery_s` seconds (default 60).

    A failure is one of `failures` that is not one of `ignore` (default: what another policy rejected, since that says
    nothing about the dependency). After the recovery time up to `probes` calls at once are let through, and
    `successes` of them close it; a probe that is not back after `probe_limit_s` seconds is given up for lost. Each
    failed probe opens it anew, `growth` times as long as the last time, up to `recovery_cap_s`. `slow` opens it for
    slow calls as well. `store` shares the state between processes (`SharedByValkey`); each counts for itself.
    """

    kind: ClassVar[str] = "circuit_breaker"

    trip: Trip = field(default=FailuresWithin())
    recovery_s: float = 60.0
    failures: type[Exception] | tuple[type[Exception], ...] = Exception
    ignore: type[Exception] | tuple[type[Exception], ...] = (RejectedError,)
    probes: int = 1
    successes: int = 1
    probe_limit_s: float = 60.0
    growth: float = 1.0
    recovery_cap_s: float = 3600.0
    slow: SlowCalls | None = None
    store: SharedStore | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.trip, Trip):
            raise ConfigurationError(f"CircuitBreaker.trip = {self.trip!r}: has to be a window; write Consecutive(5)")
        if self.slow is not None and not isinstance(self.slow, SlowCalls):
            raise ConfigurationError(f"CircuitBreaker.slow = {self.slow!r}: has to be None or SlowCalls(over_s=2)")
        checks.seconds("CircuitBreaker.recovery_s", self.recovery_s)
        object.__setattr__(self, "failures", checks.exceptions("CircuitBreaker.failures", self.failures))
        if self.ignore != ():
            object.__setattr__(self, "ignore", checks.exceptions("CircuitBreaker.ignore", self.ignore))
        checks.whole("CircuitBreaker.probes", self.probes, 1, 1000)
        checks.whole("CircuitBreaker.successes", self.successes, 1, 1000)
        checks.seconds("CircuitBreaker.probe_limit_s", self.probe_limit_s)
        checks.number("CircuitBreaker.growth", self.growth, 1, 10)
        checks.seconds("CircuitBreaker.recovery_cap_s", self.recovery_cap_s, low=self.recovery_s)

    def layer(self, policy: str) -> CircuitBreakerLayer:
        """As `layer.Spec`."""
        return CircuitBreakerLayer(self, policy)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A look at a breaker. Times in seconds; `calls` is None where the window counts failures only."""

    state: State
    era: int
    failures: int
    calls: int | None
    opened_at: float | None
    next_probe_s: float | None


class Permit:
    """What a call is let in with: its era, its number as a probe (0: none), and when it began, where that matters."""

    __slots__ = ("began", "era", "probe")

    def __init__(self, era: int, probe: int = 0, began: float = 0.0) -> None:
        self.era = era
        self.probe = probe
        self.began = began


class CircuitBreakerLayer:
    """A breaker at work.

    `ticket` is the permit of every call while it is closed, one object for the whole era, and None while a call has
    to `admit` first: when it is not closed, measures slow calls, or is shared.
    """

    def __init__(self, spec: CircuitBreaker, policy: str) -> None:
        self.spec = spec
        self.policy = policy
        self.counts = checks.exceptions("CircuitBreaker.failures", spec.failures)
        self.shared = spec.store is not None
        self._ignore = spec.ignore if isinstance(spec.ignore, tuple) else (spec.ignore,)
        self._rules = Rules(
            spec.recovery_s, spec.growth, spec.recovery_cap_s, spec.probes, spec.successes, spec.probe_limit_s
        )
        self._store = Sure(spec.store.store(policy), policy, spec.store.refresh_s) if spec.store else MemoryStore()
        self._window = spec.trip.window()
        self._slow = spec.slow.window() if spec.slow else None
        self.on_success = self._window.on_success
        self._counting = threading.Lock()  # the windows
        self._changing = threading.Lock()  # the circuit; may be held while a shared store is asked
        self._reporter: tuple[int, ThreadPoolExecutor] | None = None
        self._circuit = Circuit()
        self._closed = Permit(0)
        self.ticket: Permit | None = None if self.shared or self._slow else self._closed
        self._until = 0.0  # of the open state, in this process's time
        # Until when every call is refused without asking the store, when to try again, and why: read as one.
        self._shut: tuple[float, float | None, State] = (0.0, None, _OPEN)
        self._stale_at = 0.0 if self.shared else math.inf

    @property
    def gate(self) -> CircuitBreakerLayer | None:
        """None while `ticket` lets everybody in, else who has to be asked."""
        return None if self.ticket is not None else self

    def enter(self) -> Permit:
        """As `layer.Admission`; CircuitOpenError where the call may not go."""
        return self.ticket or self.admit()

    async def enter_async(self) -> Permit:
        """As `enter`; a shared store is asked in a thread."""
        permit = self.ticket
        if permit is not None:
            return permit
        if self.shared and self._has_to_ask(self._circuit, TIME.monotonic()):
            return await self._admit_in_thread()
        return self.admit()

    def leave(self, permit: Permit | None, error: BaseException | None) -> None:
        """As `layer.Admission`."""
        if error is None:
            self.succeeded(permit)
        elif isinstance(error, self.counts):
            self.failed(permit, error)
        else:
            self.released(permit)

    def admit(self) -> Permit:
        """Let a call in that `ticket` does not: as an ordinary one, as a probe, or not at all (CircuitOpenError)."""
        now = TIME.monotonic()
        shut_until, again_at, state = self._shut
        if now < shut_until:
            raise self._refusal(state, None if again_at is None else again_at - now)
        circuit = self._circuit
        if circuit.state is _CLOSED and now < self._stale_at:
            return Permit(circuit.era, 0, now) if self._slow else self._closed
        answer = self._change(lambda circuit, then: machine.asked(circuit, self._rules, then))
        if isinstance(answer, Refused):
            raise self._refusal(answer.state, answer.retry_after_s)
        return Permit(answer.era, answer.probe, now)

    def succeeded(self, permit: Permit | None) -> None:
        """The call came back with a result."""
        ticket = self.ticket
        if permit is None or permit is ticket:
            if self.on_success is not None and ticket is not None:
                self.on_success()
            return
        slow = self.spec.slow is not None and TIME.monotonic() - permit.began > self.spec.slow.over_s
        if permit.probe:
            self._report(permit, succeeded=not slow)
        elif self._current(permit):
            if self.on_success is not None:
                self.on_success()
            if self._slow is not None:
                self._count(permit, failed=False, slow=slow)

    def failed(self, permit: Permit | None, error: BaseException) -> None:
        """The call failed with one of `counts`."""
        permit = permit or self._closed
        if isinstance(error, self._ignore):
            self.released(permit)
        elif permit.probe:
            self._report(permit, succeeded=False)
        else:
            slow = self.spec.slow is not None and TIME.monotonic() - permit.began > self.spec.slow.over_s
            self._count(permit, failed=True, slow=slow)

    def released(self, permit: Permit | None) -> None:
        """The call ended in a way that says nothing: only a probe has something to give back."""
        if permit is not None and permit.probe:
            self._report(permit, succeeded=None)

    def open(self) -> None:
        """Open it, whatever it was (but an isolated one stays isolated); the recovery time begins anew."""
        self._change(lambda circuit, now: (machine.moved(circuit, Signal.OPENED_BY_HAND, self._rules, now), None))

    def close(self) -> None:
        """Close it, an isolated one as well, and forget all failures."""
        self._change(lambda circuit, now: (machine.moved(circuit, Signal.CLOSED_BY_HAND, self._rules, now), None))

    def isolate(self) -> None:
        """Open it until `close` is called."""
        self._change(lambda circuit, now: (machine.moved(circuit, Signal.ISOLATED_BY_HAND, self._rules, now), None))

    def snapshot(self) -> Snapshot:
        """How it stands, as far as this process knows; `opened_at` is in the store's time, at home `TIME.monotonic`."""
        circuit, now = self._circuit, TIME.monotonic()
        failures, calls = self._statistics(now)
        next_probe_s = max(0.0, self._until - now) if circuit.state is _OPEN else None
        return Snapshot(circuit.state, circuit.era, failures, calls, circuit.opened_at, next_probe_s)

    def _has_to_ask(self, circuit: Circuit, now: float) -> bool:
        """Whether what is known here does not decide: it is old, or probes are to be given out."""
        state = circuit.state
        return now >= self._stale_at or state is _HALF_OPEN or (state is _OPEN and now >= self._until)

    def _current(self, permit: Permit) -> bool:
        circuit = self._circuit
        return circuit.state is _CLOSED and circuit.era == permit.era

    def _count(self, permit: Permit, *, failed: bool, slow: bool) -> None:
        """Count an ordinary call, and open when it was one too many."""
        now = TIME.monotonic()
        with self._counting:
            if not self._current(permit):
                return
            tripped = failed and self._window.failure(now)
            if self._slow is not None:
                if slow:
                    tripped = self._slow.failure(now) or tripped
                elif self._slow.on_success is not None:
                    self._slow.on_success()
            if not tripped:
                return
            statistics = self._window.counts(now)
        self._later(lambda: self._trip(permit.era, statistics))

    def _trip(self, era: int, statistics: tuple[int, int | None]) -> None:
        self._change(lambda circuit, now: (machine.tripped(circuit, era, self._rules, now), None), statistics)

    def _report(self, permit: Permit, *, succeeded: bool | None) -> None:
        admitted = Admitted(permit.era, permit.probe)

        def step(circuit: Circuit, now: float) -> tuple[Circuit, None]:
            return machine.probed(circuit, admitted, self._rules, now, succeeded=succeeded), None

        self._later(partial(self._change, step))

    def _statistics(self, now: float) -> tuple[int, int | None]:
        with self._counting:
            return self._window.counts(now)

    def _change(
        self, step: Callable[[Circuit, float], tuple[Circuit, T]], statistics: tuple[int, int | None] | None = None
    ) -> T:
        """Take one step, again if another process was faster, follow where it led, and tell."""
        with self._changing:
            while True:
                before, now = self._store.read()
                after, answer = step(before, now)
                if after is before or self._store.swap(before, after):
                    break
            seen = self._circuit
            self._follow(after, now)
        if isinstance(self._store, Sure):
            self._store.tell()
        for one, other in ((seen, before), (before, after)):
            if one.era != other.era or one.state is not other.state:
                self._tell(one, other, statistics, now)
        return answer

    def _follow(self, circuit: Circuit, now: float) -> None:
        """What calls read, in an order in which none of them takes the old era for the new one."""
        seen, here = self._circuit, TIME.monotonic()
        if self.spec.store is not None:
            self._stale_at = here + self.spec.store.refresh_s
        self._until = until = here + (circuit.until - now)
        if circuit.state is _OPEN:
            self._shut = min(until, self._stale_at), until, _OPEN
        else:
            self._shut = (self._stale_at if circuit.state is State.ISOLATED else 0.0), None, circuit.state
        if (circuit.era, circuit.state) == (seen.era, seen.state):
            self._circuit = circuit
            return
        closed = circuit.state is _CLOSED
        with self._counting:
            if closed:
                self._window.clear()
                if self._slow is not None:
                    self._slow.clear()
                self._closed = Permit(circuit.era)
            self._circuit = circuit
            self.ticket = self._closed if closed and not self.shared and self._slow is None else None

    def _tell(self, seen: Circuit, circuit: Circuit, statistics: tuple[int, int | None] | None, now: float) -> None:
        state, why = circuit.state, circuit.cause.value if circuit.cause else ""
        if state is _HALF_OPEN:
            emit("policy.breaker_half_open", policy=self.policy, era=circuit.era, probes=self.spec.probes)
        elif state is _CLOSED:
            open_for_s = 0.0 if seen.opened_at is None else now - seen.opened_at
            emit("policy.breaker_closed", policy=self.policy, era=circuit.era, why=why, open_for_s=open_for_s)
        else:
            failures, calls = statistics or self._statistics(TIME.monotonic())
            open_s = circuit.until - now if state is _OPEN else None
            emit(
                "policy.breaker_opened", policy=self.policy, era=circuit.era, why=why, state=state.value,
                failures=failures, calls=calls, openings=circuit.openings, open_s=open_s,
            )  # fmt: skip

    def _refusal(self, state: State, retry_after_s: float | None) -> CircuitOpenError:
        name, reason = _REASONS[state]
        if heard():
            emit("policy.breaker_rejected", policy=self.policy, state=name, retry_after_s=retry_after_s)
        return CircuitOpenError(self.policy, reason, retry_after_s)

    def _later(self, report: Callable[[], None]) -> None:
        """At once at home; from a thread of our own where a store has to be asked, one after the other."""
        if not self.shared:
            report()
            return
        if self._reporter is None or self._reporter[0] != os.getpid():  # a fork takes the threads away
            from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - only a shared breaker needs it

            self._reporter = os.getpid(), ThreadPoolExecutor(1, thread_name_prefix="premortem-breaker")
        self._reporter[1].submit(contextvars.copy_context().run, report)

    async def _admit_in_thread(self) -> Permit:
        import asyncio  # noqa: PLC0415 - 70 ms that a synchronous program must not pay

        asked = asyncio.ensure_future(asyncio.to_thread(self.admit))
        try:
            return await asyncio.shield(asked)
        except asyncio.CancelledError:
            asked.add_done_callback(self._give_back)
            raise

    def _give_back(self, asked: Future[Permit]) -> None:
        if not asked.cancelled() and asked.exception() is None:
            self.released(asked.result())
