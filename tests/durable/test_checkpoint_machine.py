"""Any order of saves, loads, claims, expiries, crashes and damage, in every store, beside a model of a few lines."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from premortem.durable import Checkpoint, Claim, OwnedError, StaleOwnerError
from premortem.ports import ManualClock

_NAMES = itertools.count(1)
TTL_S = 10
WORKERS = st.integers(0, 2)


class Worker:
    """A process, as far as it matters: what it has loaded or saved last, and its claim."""

    def __init__(self, place: Any, name: str, clock: ManualClock) -> None:
        self.checkpoint = Checkpoint(place.store(), name, clock=clock)
        self.seen: int = 0  # the version that it knows as the newest
        self.claim: Claim | None = None


class Checkpoints(RuleBasedStateMachine):
    """Three workers of one checkpoint."""

    place: Any

    def __init__(self) -> None:
        super().__init__()
        self.name = f"machine-{next(_NAMES)}"
        self.clock = ManualClock()
        self.workers = [Worker(self.place, self.name, self.clock) for _ in range(3)]
        self.saved: list[int] = []  # the values, by version
        self.damaged: set[int] = set()
        self.fence = 0
        self.holder = -1
        self.until = 0.0
        self.numbers = itertools.count(1)

    def held(self) -> bool:
        return self.holder >= 0 and self.clock.monotonic() < self.until

    def newest_good(self) -> int:
        return max(version for version in range(len(self.saved) + 1) if version not in self.damaged)

    @rule(who=WORKERS)
    def load(self, who: int) -> None:
        worker, newest = self.workers[who], self.newest_good()
        found = worker.checkpoint.load()
        worker.seen = len(self.saved)
        assert (found.version if found else 0) == newest
        assert (found.value if found else 0) == (self.saved[newest - 1] if newest else 0)

    @rule(who=WORKERS)
    def save(self, who: int) -> None:
        worker, number = self.workers[who], next(self.numbers)
        if worker.claim:
            allowed = worker.claim.fence == self.fence
            refusal: type[Exception] = StaleOwnerError
        else:
            allowed = not self.held() and worker.seen == len(self.saved)
            refusal = OwnedError if self.held() else StaleOwnerError
        if not allowed:
            with pytest.raises(refusal):
                worker.checkpoint.save(number)
            return
        saved = worker.checkpoint.save(number)
        self.saved.append(number)
        worker.seen = len(self.saved)
        assert (saved.version, saved.fence) == (len(self.saved), worker.claim.fence if worker.claim else 0)
        self.place.settle()

    @rule(who=WORKERS)
    def claim(self, who: int) -> None:
        worker = self.workers[who]
        if self.held() and self.holder != who:
            with pytest.raises(OwnedError):
                worker.checkpoint.claim(f"worker-{who}", TTL_S)
            return
        worker.claim = worker.checkpoint.claim(f"worker-{who}", TTL_S)
        self.fence += 1
        self.holder, self.until = who, self.clock.monotonic() + TTL_S
        assert worker.claim.fence == self.fence
        self.place.settle()

    @rule(who=WORKERS)
    def renew(self, who: int) -> None:
        claim = self.workers[who].claim
        if claim is None:
            return
        if claim.fence == self.fence:
            claim.renew()
            self.until = self.clock.monotonic() + TTL_S
            self.place.settle()
        else:
            with pytest.raises(StaleOwnerError):
                claim.renew()

    @rule(who=WORKERS)
    def release(self, who: int) -> None:
        worker = self.workers[who]
        if worker.claim is None:
            return
        if worker.claim.fence == self.fence:
            worker.claim.release()
            self.holder = -1
            self.place.settle()
        else:
            with pytest.raises(StaleOwnerError):
                worker.claim.release()
        worker.claim = None

    @rule(who=WORKERS)
    def crash(self, who: int) -> None:
        self.workers[who] = Worker(self.place, self.name, self.clock)

    @rule(seconds=st.sampled_from([1, TTL_S - 1, TTL_S]))
    def wait(self, seconds: int) -> None:
        self.clock.advance(seconds)

    @precondition(lambda self: len(self.saved) >= 2 and not self.damaged & {len(self.saved), len(self.saved) - 1})
    @rule()
    def damage(self) -> None:
        self.place.alter_document(self.name, len(self.saved), lambda raw: raw[: len(raw) // 2])
        self.damaged.add(len(self.saved))

    @invariant()
    def no_more_are_kept_than_were_asked_for(self) -> None:
        if self.saved:
            assert self.place.versions(self.name) == list(range(max(1, len(self.saved) - 2), len(self.saved) + 1))


def test_any_order_of_events_in_every_store(place: Any) -> None:
    class Here(Checkpoints):
        pass

    Here.place = place
    quick = settings(
        max_examples=20, stateful_step_count=25, deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )  # fmt: skip
    run_state_machine_as_test(Here, settings=quick)
