"""Hedging: when the first call has not answered after a while, make a second one, and take whichever is first.

Against slow answers, not against errors: while another call is still on its way an error is waited out, but a call that
fails before its hedge has begun is a Retry's business. The same call may reach the dependency several times, so it has
to be idempotent, and the spec wants that said. Prior art: Dean and Barroso, "The Tail at Scale" (CACM 2013), where
hedging after the 95th percentile added 2 % of load and took the 99.9th percentile from 1,800 ms to 74 ms.

The losers are cancelled: a coroutine really, a function is left in its worker thread and goes on there.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import wraps
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, ClassVar

from premortem.errors import ConfigurationError
from premortem.events import emit
from premortem.policies import ambient, checks
from premortem.policies.budget import RetryBudget
from premortem.policies.latency import LivePercentile
from premortem.policies.layer import AsyncCall, Call
from premortem.policies.rejections import DeadlineExceededError
from premortem.policies.timing import TIME
from premortem.policies.workers import WORKERS, Job

if TYPE_CHECKING:
    import asyncio

LEAVE_S = 1.0
"""So long a cancelled loser may take to clean up before the winner's answer goes out without waiting for it."""

_stragglers: set[asyncio.Task[Any]] = set()  # losers that took longer: a task that nobody holds may vanish half done


@dataclass(frozen=True, slots=True)
class Hedge:
    """Up to `calls` calls (2 to 10), each begun when the one before has not answered after a delay.

    The delay is `delay_s` seconds or, with `percentile` (0.5 to 0.999), that percentile of the latest 256 latencies;
    then `delay_s` holds until 32 are known. `budget` bounds hedges as a share of the traffic, and may be the one of a
    Retry. `idempotent=True` has to be said: a hedge makes the call twice.
    """

    kind: ClassVar[str] = "hedge"

    delay_s: float
    calls: int = field(default=2, kw_only=True)
    percentile: float | None = field(default=None, kw_only=True)
    budget: RetryBudget | None = field(default=None, kw_only=True)
    idempotent: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        checks.seconds("Hedge.delay_s", self.delay_s)
        checks.whole("Hedge.calls", self.calls, 2, 10)
        if self.percentile is not None:
            checks.number("Hedge.percentile", self.percentile, 0.5, 0.999)
        if self.idempotent is not True:
            raise ConfigurationError(
                f"Hedge.idempotent = {self.idempotent!r}: a hedge makes the same call twice; "
                "say idempotent=True if that does no harm, else use a Timeout and a Retry"
            )

    def layer(self, policy: str) -> HedgeLayer:
        """As `layer.Spec`."""
        return HedgeLayer(self, policy)


class HedgeLayer:
    """Decides when a further call may begin; a race drives one hedged call."""

    def __init__(self, spec: Hedge, policy: str) -> None:
        self.spec = spec
        self.policy = policy
        self.latency = LivePercentile(spec.percentile) if spec.percentile is not None else None

    def delay_s(self) -> float:
        """Seconds after which the next call begins."""
        live_s = self.latency.value_s if self.latency is not None else None
        return self.spec.delay_s if live_s is None else max(0.001, live_s)

    def may_begin(self, number: int, delay_s: float) -> bool:
        """Whether call `number` may be made; pays for it from the budget."""
        if self.spec.budget is not None and not self.spec.budget.withdraw():
            emit("policy.hedge_refused", policy=self.policy, call=number, why="the retry budget is used up")
            return False
        emit("policy.hedge", policy=self.policy, call=number, delay_s=delay_s)
        return True

    def begin(self) -> float | None:
        """Note that a call is made; when, in seconds, if latencies are looked at."""
        if self.spec.budget is not None:
            self.spec.budget.deposit()
        return None if self.latency is None else TIME.monotonic()

    def end(self, began: float | None) -> None:
        """Note how long the first call took, when there is an answer.

        Also when a hedge has overtaken it: then it took at least so long, and at least the delay. If only the winners
        were noted, the percentile would sink with every hedge and there would be ever more of them.
        """
        if self.latency is not None and began is not None:
            self.latency.record(TIME.monotonic() - began)

    def wrap(self, inner: Call) -> Call:
        """As `layer.Wrapping`."""

        @wraps(inner)
        def hedged(*args: Any, **kwargs: Any) -> Any:
            answers: SimpleQueue[Job] = SimpleQueue()
            jobs: list[Job] = []
            try:
                return self._first_of(jobs, answers, lambda: Job(answers.put, inner, args, kwargs))
            finally:
                for job in jobs:
                    WORKERS.abandon(job)

        return hedged

    def _first_of(self, jobs: list[Job], answers: SimpleQueue[Job], another: Callable[[], Job]) -> Any:
        delay_s, failed, more = self.delay_s(), 0, True
        began = self.begin()
        self._start(jobs, another())
        while True:
            ended = self._wait(answers, delay_s if more else None)
            if ended is None:
                more = self.may_begin(len(jobs) + 1, delay_s)
                if more:
                    self._start(jobs, another())
                    more = len(jobs) < self.spec.calls
            elif ended.error is None:
                self.end(began)
                if ended is not jobs[0]:
                    emit("policy.hedge_won", policy=self.policy, call=jobs.index(ended) + 1)
                return ended.answer()
            elif not isinstance(ended.error, Exception):
                return ended.answer()
            else:
                failed += 1
                if failed == len(jobs):
                    return jobs[0].answer()

    def _start(self, jobs: list[Job], job: Job) -> None:
        WORKERS.start(self.policy, job)
        jobs.append(job)

    def _wait(self, answers: SimpleQueue[Job], delay_s: float | None) -> Job | None:
        """The next call that ends, None when the delay is over; DeadlineExceededError when the ambient deadline is."""
        left_s = ambient.remaining_s()
        ends = left_s is not None and (delay_s is None or left_s <= delay_s)
        try:
            return answers.get(timeout=max(0.0, left_s) if ends and left_s is not None else delay_s)
        except Empty:
            if not ends or left_s is None:
                return None
            emit("policy.deadline", policy=self.policy, limit_s=left_s)
            raise DeadlineExceededError(self.policy, left_s) from None

    def wrap_async(self, inner: AsyncCall) -> AsyncCall:
        """As `layer.Wrapping`."""
        import asyncio  # noqa: PLC0415 - 70 ms that a synchronous program must not pay

        cancelled, current, loop_of = asyncio.CancelledError, asyncio.current_task, asyncio.get_running_loop

        @wraps(inner)
        async def hedged(*args: Any, **kwargs: Any) -> Any:
            began = self.begin()
            task = current()
            assert task is not None, "a hedge needs a task"
            race = _Race(self, task, loop_of(), lambda: inner(*args, **kwargs))
            try:
                try:
                    result = await inner(*args, **kwargs)
                except cancelled:
                    if not race.overtaken():
                        raise
                    result = race.result()
                except Exception:
                    if not race.overtaken() and not await race.by_another():
                        raise
                    result = race.result()
                else:
                    if race.overtaken():  # it ignored that it was cancelled: the winner is decided
                        result = race.result()
                self.end(began)
                return result
            finally:
                race.stop()
                if race.hedges:
                    await race.clear()

        return hedged


class _Race:
    """One hedged coroutine: the first call runs in the caller's own task, so that it costs no task of its own."""

    __slots__ = (
        "_another",
        "_before",
        "_delay_s",
        "_handle",
        "_layer",
        "_loop",
        "_over",
        "_task",
        "_waiter",
        "hedges",
        "winner",
    )

    def __init__(
        self,
        layer: HedgeLayer,
        task: asyncio.Task[Any],
        loop: asyncio.AbstractEventLoop,
        another: Callable[[], Awaitable[Any]],
    ) -> None:
        self._layer, self._task, self._loop, self._another = layer, task, loop, another
        self._before = task.cancelling()
        self._over = False
        self._waiter: asyncio.Future[None] | None = None
        self.hedges: list[asyncio.Task[Any]] = []
        self.winner: asyncio.Task[Any] | None = None
        self._delay_s = layer.delay_s()
        self._handle: asyncio.TimerHandle | None = loop.call_later(self._delay_s, self._begin)

    def _begin(self) -> None:
        self._handle = None
        if not self._layer.may_begin(len(self.hedges) + 2, self._delay_s):
            return
        hedge = self._loop.create_task(_awaited(self._another))
        self.hedges.append(hedge)
        hedge.add_done_callback(self._ended)
        if len(self.hedges) + 1 < self._layer.spec.calls:
            self._handle = self._loop.call_later(self._delay_s, self._begin)

    def _ended(self, hedge: asyncio.Task[Any]) -> None:
        good = not hedge.cancelled() and hedge.exception() is None
        if good and self.winner is None and not self._over:
            self.winner = hedge
            if self._waiter is None:
                self._task.cancel()
        if self._waiter is not None and not self._waiter.done() and (good or self._none_left()):
            self._waiter.set_result(None)

    def _none_left(self) -> bool:
        return all(hedge.done() for hedge in self.hedges)

    def overtaken(self) -> bool:
        """Whether a hedge has won, and nobody else wants the task to end; takes back the cancellation."""
        return self.winner is not None and self._task.uncancel() <= self._before

    def result(self) -> Any:
        """What the winner returned."""
        assert self.winner is not None
        emit("policy.hedge_won", policy=self._layer.policy, call=self.hedges.index(self.winner) + 2)
        return self.winner.result()

    async def by_another(self) -> bool:
        """The first call has failed: whether one of the others, if there are any, answers."""
        if not self._none_left():
            self._waiter = self._loop.create_future()
            await self._waiter
        return self.winner is not None

    def stop(self) -> None:
        """No hedge begins any more, and a late one wins nothing."""
        self._over = True
        if self._handle is not None:
            self._handle.cancel()

    async def clear(self) -> None:
        """Cancel the losers, and let them clean up."""
        import asyncio  # noqa: PLC0415 - see wrap_async

        losers = {hedge for hedge in self.hedges if not hedge.done()}
        for loser in losers:
            loser.cancel()
        if losers:
            _, late = await asyncio.wait(losers, timeout=LEAVE_S)
            for loser in late:
                _stragglers.add(loser)
                loser.add_done_callback(_stragglers.discard)


async def _awaited(call: Callable[[], Awaitable[Any]]) -> Any:
    return await call()
