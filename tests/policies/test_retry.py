"""Retry: who is tried again, when, how often, and what comes out."""

import asyncio
import dataclasses
import functools
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from premortem.errors import ConfigurationError
from premortem.policies import Backoff, Fixed, Policy, Retry, RetryBudget, ambient
from premortem.policies.rejections import DeadlineExceededError
from premortem.policies.testing import VirtualTime, captured, virtual_time
from premortem.policies.timing import TIME
from premortem.policies.waits import JITTERS


class Flaky:
    """Fails as often as told, with one error or a list of them, then answers."""

    def __init__(self, *errors: BaseException) -> None:
        self.errors = list(errors)
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "answer"


Run = Callable[[Policy, Callable[[], Any]], Any]


def _run(policy: Policy, function: Callable[[], Any]) -> Any:
    def plain() -> Any:
        return function()

    return policy(plain)()


def _run_async(policy: Policy, function: Callable[[], Any]) -> Any:
    async def plain() -> Any:
        await asyncio.sleep(0)
        return function()

    return asyncio.run(policy(plain)())


@pytest.fixture(params=["sync", "async", "sync closures", "async closures"])
def flavour(request: pytest.FixtureRequest) -> tuple[Run, bool]:
    return (_run_async if "async" in request.param else _run), "closures" not in request.param


@pytest.fixture
def run(flavour: tuple[Run, bool]) -> Run:
    return flavour[0]


@pytest.fixture
def policy(flavour: tuple[Run, bool]) -> Callable[..., Policy]:
    return functools.partial(Policy, fused=flavour[1])


@pytest.fixture(autouse=True)
def time() -> Iterator[VirtualTime]:
    with virtual_time() as time:
        yield time


class TestEveryFlavour:
    def test_a_failure_is_tried_again_until_it_answers(self, run: Run, policy: Any, time: VirtualTime) -> None:
        flaky = Flaky(ConnectionError(), ConnectionError())
        assert run(policy("p", Retry(3, on=ConnectionError, wait=Fixed(2))), flaky) == "answer"
        assert (flaky.calls, time.slept) == (3, [2, 2])

    def test_the_last_error_comes_out_itself_with_the_story(self, run: Run, policy: Any) -> None:
        last = ConnectionError("third")
        with captured() as events, pytest.raises(ConnectionError) as raised:
            run(policy("p", Retry(3, on=OSError, wait=Fixed(1))), Flaky(OSError(), OSError(), last))
        assert raised.value is last
        assert last.__notes__ == ["premortem: policy 'p': 3 attempt(s), 2 s of waiting, all attempts are used"]
        assert [event.name for event in events] == ["policy.retry", "policy.retry", "policy.retry_exhausted"]
        assert events[0].fields == (("policy", "p"), ("attempt", 1), ("wait_s", 1.0), ("why", "OSError: "))

    @pytest.mark.parametrize("error", [ValueError("permanent"), KeyboardInterrupt(), SystemExit(), GeneratorExit()])
    def test_what_on_does_not_name_is_never_tried_again(self, run: Run, policy: Any, error: BaseException) -> None:
        flaky = Flaky(error)
        with pytest.raises(type(error)):
            run(policy("p", Retry(3, on=OSError, wait=Fixed(0))), flaky)
        assert flaky.calls == 1

    def test_permanent_errors_are_never_tried_again(self, run: Run, policy: Any, time: VirtualTime) -> None:
        error = PermissionError("permanent")
        flaky = Flaky(error)
        with pytest.raises(PermissionError):
            run(policy("p", Retry(5, on=OSError, never=(PermissionError,))), flaky)
        assert (flaky.calls, time.slept, getattr(error, "__notes__", [])) == (1, [], [])

    def test_a_deadline_that_is_over_is_never_tried_again(self, run: Run, policy: Any) -> None:
        flaky = Flaky(DeadlineExceededError("p", 1))
        with pytest.raises(DeadlineExceededError):
            run(policy("p", Retry(5, on=Exception, wait=Fixed(0))), flaky)
        assert flaky.calls == 1

    def test_a_result_may_be_tried_again_and_the_last_one_comes_out(self, run: Run, policy: Any) -> None:
        results = iter(["busy", "busy", "done", "never"])
        spec = Retry(5, on=OSError, if_result=lambda result: result == "busy", wait=Fixed(0))
        assert run(policy("p", spec), lambda: next(results)) == "done"
        assert run(policy("p", dataclasses.replace(spec, attempts=2)), lambda: "busy") == "busy"

    def test_a_sleep_that_would_outlast_the_deadline_is_refused(self, run: Run, policy: Any, time: VirtualTime) -> None:
        token = ambient.set_until(time.monotonic() + 2.5)
        try:
            flaky = Flaky(*[OSError() for _ in range(9)])
            with pytest.raises(OSError) as raised:  # noqa: PT011 - the note tells
                run(policy("p", Retry(9, on=OSError, wait=Fixed(1))), flaky)
        finally:
            ambient.reset_until(token)
        assert (flaky.calls, time.slept) == (3, [1, 1])
        assert "after the deadline" in raised.value.__notes__[0]

    def test_three_retries_of_three_are_not_twenty_seven_calls(self, run: Run, policy: Any) -> None:
        flaky = Flaky(*[OSError(number) for number in range(99)])
        inner, middle, outer = (policy(name, Retry(3, on=OSError, wait=Fixed(0))) for name in ("in", "mid", "out"))
        with pytest.raises(OSError) as raised:  # noqa: PT011 - any
            run(outer, functools.partial(run if run is _run else _in_thread, middle, lambda: _run(inner, flaky)))
        assert flaky.calls == 3
        assert len(raised.value.__notes__) == 3

    def test_nested_retries_may_be_allowed(self, run: Run, policy: Any) -> None:
        flaky = Flaky(*[OSError(number) for number in range(99)])
        outer = policy("out", Retry(3, on=OSError, wait=Fixed(0), nested="allow"))
        with pytest.raises(OSError):  # noqa: PT011 - any
            run(outer, lambda: _run(policy("in", Retry(3, on=OSError, wait=Fixed(0))), flaky))
        assert flaky.calls == 9

    def test_a_budget_is_shared_by_all_that_hold_it(self, run: Run, policy: Any) -> None:
        budget = RetryBudget(share=0, floor_per_s=0.5, window_s=10)  # five in ten seconds, for all of them
        calls = 0
        for name in "abcd":
            flaky = Flaky(*[OSError() for _ in range(99)])
            with pytest.raises(OSError) as raised:  # noqa: PT011 - the note tells
                run(policy(name, Retry(4, on=OSError, wait=Fixed(0), budget=budget)), flaky)
            calls += flaky.calls
        assert calls == 4 + 5
        assert "the retry budget is used up" in raised.value.__notes__[0]

    def test_what_a_server_asks_for_comes_before_the_own_wait(self, run: Run, policy: Any, time: VirtualTime) -> None:
        error = OSError()
        error.retry_after = "7"  # type: ignore[attr-defined]
        run(policy("p", Retry(2, on=OSError, wait=Fixed(0.5))), Flaky(error))
        error.retry_after = 900  # type: ignore[attr-defined]
        run(policy("p", Retry(2, on=OSError, wait=Fixed(0), retry_after_cap_s=30)), Flaky(error))
        run(policy("p", Retry(2, on=OSError, wait=Fixed(0.25), retry_after_cap_s=0)), Flaky(error))
        assert time.slept == [7.5, 30, 0.25]

    def test_an_exception_object_that_is_raised_again_and_again(self, policy: Any) -> None:
        """As `Mock(side_effect=ConnectionError())` does: an earlier call's mark does not count, notes do not grow."""
        function = mock.Mock(side_effect=ConnectionError("always the same object"))
        guarded = policy("p", Retry(3, on=OSError, wait=Fixed(0)))
        for _ in range(5):
            with pytest.raises(ConnectionError) as raised:
                guarded.call(lambda: function())  # noqa: PLW0108 - a mock has no signature
        assert len(raised.value.__notes__) == 1
        assert function.call_count == 15


def _in_thread(policy: Policy, function: Callable[[], Any]) -> Any:
    """An event loop within one: a thread of its own."""
    outcome: list[Any] = []

    def work() -> None:
        try:
            outcome.append(_run_async(policy, function))
        except Exception as error:  # noqa: BLE001 - raised below
            outcome.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(10)
    if isinstance(outcome[0], Exception):
        raise outcome[0]
    return outcome[0]


def test_a_cancelled_task_is_not_tried_again() -> None:
    calls = 0

    @Policy("p", Retry(5, on=Exception, wait=Fixed(0)))
    async def hanging() -> None:
        nonlocal calls
        calls += 1
        await asyncio.Event().wait()

    async def main() -> None:
        task = asyncio.create_task(hanging())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert calls == 1


def test_keyboard_interrupt_during_the_wait_goes_out(monkeypatch: pytest.MonkeyPatch, time: VirtualTime) -> None:
    monkeypatch.setattr(TIME, "sleep", mock.Mock(side_effect=KeyboardInterrupt))
    flaky = Flaky(OSError())
    with pytest.raises(KeyboardInterrupt):
        _run(Policy("p", Retry(5, on=OSError, wait=Fixed(1))), flaky)
    assert flaky.calls == 1
    del time


@dataclasses.dataclass(frozen=True)
class FrozenError(Exception):
    code: int


class UnreadableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")

    @property
    def response(self) -> Any:
        raise RuntimeError("no response")

    def __getattr__(self, name: str) -> Any:
        return 99


@pytest.mark.parametrize("error", [FrozenError(3), UnreadableError()])
def test_awkward_exceptions_come_out_themselves(error: Exception) -> None:
    with pytest.raises(type(error)) as raised:
        _run(Policy("p", Retry(2, on=Exception, wait=Fixed(0), retry_after_cap_s=0)), Flaky(error, error))
    assert raised.value is error
    assert len(vars(error)["__notes__"]) == 1


@given(st.sampled_from(JITTERS), st.integers(1, 5000), st.floats(0.001, 60), st.floats(0, 120), st.integers())
def test_every_wait_is_within_its_bounds(jitter: Any, attempt: int, base_s: float, last_s: float, seed: int) -> None:
    wait = Backoff(base_s, base_s * 10, jitter)
    seconds = wait.seconds(attempt, last_s, random.Random(seed))
    most = min(wait.cap_s, base_s * 2 ** min(attempt - 1, 60))
    low, high = {
        "full": (0, most), "equal": (most / 2, most), "none": (most, most),
        "decorrelated": (base_s, min(wait.cap_s, max(base_s, last_s * 3))),
    }[jitter]  # fmt: skip
    assert low * 0.999999 <= seconds <= high * 1.000001


def test_attempt_two_thousand_does_not_overflow() -> None:
    for jitter in JITTERS:
        assert 0 <= Backoff(0.1, 10, jitter).seconds(2000, 10.0, random.Random(1)) <= 10  # type: ignore[arg-type]


def test_ten_thousand_clients_do_not_return_together() -> None:
    """An outage at t=0 and all fail: no tenth of a second sees more than 6 % of the returns of three attempts."""
    for asked in (None, 5):
        returns: Counter[int] = Counter()
        for _ in range(10_000):
            error = OSError()
            if asked is not None:
                error.retry_after = asked  # type: ignore[attr-defined]
            with virtual_time() as time, pytest.raises(OSError):  # noqa: PT011 - any
                _run_bare(Retry(4, on=OSError, wait=Backoff(1, 60)), error)
            at = 0.0
            for slept in time.slept:
                at += slept
                returns[int(at * 10)] += 1
        assert sum(returns.values()) == 30_000
        assert max(returns.values()) < 0.06 * 30_000


def _run_bare(spec: Retry, error: Exception) -> None:
    def fails() -> None:
        raise error

    spec.layer("p").wrap(fails)()


@dataclasses.dataclass(frozen=True)
class Growing:
    """A wait of one's own."""

    def seconds(self, attempt: int, last_s: float, chance: random.Random) -> float:
        del chance
        return attempt + last_s


def test_a_wait_of_ones_own(time: VirtualTime) -> None:
    _run(Policy("p", Retry(4, on=OSError, wait=Growing())), Flaky(OSError(), OSError(), OSError()))
    assert time.slept == [1, 3, 6]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"attempts": -1}, "Retry.attempts = -1: has to be a whole number from 1 to 100"),
        ({"attempts": True}, "Retry.attempts = True"),
        ({"attempts": "yes"}, "Retry.attempts = 'yes'"),
        ({"on": KeyboardInterrupt}, "has to be an exception type"),
        ({"on": asyncio.CancelledError}, "has to be an exception type"),
        ({"never": ("OSError",)}, "Retry.never"),
        ({"wait": 3}, "Retry.wait = 3: has to be a wait; write Backoff"),
        ({"wait": Fixed}, "Retry.wait"),
        ({"if_result": 1}, "Retry.if_result = 1"),
        ({"budget": 0.2}, "Retry.budget = 0.2: has to be a RetryBudget"),
        ({"retry_after_cap_s": float("nan")}, "Retry.retry_after_cap_s = nan"),
        ({"nested": "no"}, "Retry.nested = 'no'"),
    ],
)
def test_nonsense_is_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        Retry(**{"on": OSError, **fields})
    assert said in str(raised.value)


TEXT: Any = "yes"


@pytest.mark.parametrize("make", [
    lambda: Backoff(0), lambda: Backoff(0.00001), lambda: Backoff(999999), lambda: Backoff(float("nan")),
    lambda: Backoff(TEXT), lambda: Backoff(2, 1), lambda: Backoff(jitter=TEXT), lambda: Fixed(-1),
    lambda: Fixed(float("inf")), lambda: Fixed(True),
])  # fmt: skip
def test_nonsense_waits_are_refused(make: Callable[[], object]) -> None:
    with pytest.raises(ConfigurationError, match="has to be"):
        make()
