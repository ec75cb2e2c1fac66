"""Fallback: something else instead, for the errors that were named, in the order that was given."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from premortem.errors import ConfigurationError
from premortem.events import Event, listening
from premortem.policies.fallback import Fallback
from premortem.policies.policy import Policy
from premortem.policies.rejections import CircuitOpenError, RejectedError
from premortem.policies.stale import StaleCache
from premortem.policies.timing import TIME


@pytest.fixture
def clock() -> Iterator[list[float]]:
    before, now = TIME.monotonic, [1000.0]
    TIME.monotonic = lambda: now[0]
    yield now
    TIME.monotonic = before


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"on": ValueError}, "falls back to nothing"),
        ({"on": BaseException, "value": 1}, "has to be an exception type"),
        ({"on": KeyboardInterrupt, "value": 1}, "has to be an exception type"),
        ({"on": "ValueError", "value": 1}, "has to be an exception type"),
        ({"on": ValueError, "call": 3}, "has to be a function"),
        ({"on": ValueError, "call": list, "value": 3}, "one of the two"),
        ({"on": ValueError, "providers": [list]}, "tuple of functions"),
        ({"on": ValueError, "stale": 60}, "StaleCache"),
    ],
)
def test_nonsense_is_refused(said: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        Fallback(**said)


def fails(*_args: object, **_kwargs: object) -> Any:
    raise ConnectionError("down")


class Conformance:
    def call(self, policy: Policy, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError

    def test_a_good_answer_comes_through(self) -> None:
        assert self.call(Policy("p", Fallback(on=ValueError, value=0)), lambda x: x, 7) == 7

    def test_a_value_also_none(self) -> None:
        heard: list[Event] = []
        with listening(heard.append):
            assert self.call(Policy("p", Fallback(on=ConnectionError, value=None)), fails) is None
        assert [(event.name, event.get("to")) for event in heard] == [("policy.fallback", "value")]

    def test_what_is_not_named_goes_through_unchanged(self) -> None:
        with pytest.raises(ConnectionError) as caught:
            self.call(Policy("p", Fallback(on=RejectedError, value=0)), fails)
        assert not hasattr(caught.value, "__notes__")

    @pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, asyncio.CancelledError, GeneratorExit])
    def test_interruption_has_no_substitute(self, error: type[BaseException]) -> None:
        def interrupted() -> None:
            raise error

        with pytest.raises(error):
            self.call(Policy("p", Fallback(on=Exception, value=0)), interrupted)

    def test_a_rejected_call_has_one(self) -> None:
        def rejected() -> None:
            raise CircuitOpenError("p", "open")

        assert self.call(Policy("p", Fallback(on=RejectedError, value=0)), rejected) == 0

    def test_a_function_gets_the_error_if_it_wants_one(self) -> None:
        assert self.call(Policy("p", Fallback(on=ConnectionError, call=str)), fails) == ""
        policy = Policy("p", Fallback(on=ConnectionError, call=lambda error: f"instead of {error}"))
        assert self.call(policy, fails) == "instead of down"
        assert self.call(Policy("p", Fallback(on=ConnectionError, call=lambda: 5)), fails) == 5
        assert self.call(Policy("p", Fallback(on=ConnectionError, call=lambda error=None: error)), fails) is None

    def test_providers_in_order_with_the_calls_arguments(self) -> None:
        policy = Policy("p", Fallback(on=ConnectionError, providers=(fails, lambda a, b: (a, b), fails)))
        assert self.call(policy, fails, 1, b=2) == (1, 2)

    def test_after_the_providers_the_value(self) -> None:
        assert self.call(Policy("p", Fallback(on=ConnectionError, providers=(fails,), value=3)), fails) == 3

    def test_when_all_fail_the_first_error_is_raised_and_tells(self) -> None:
        first = ConnectionError("first")

        def one() -> None:
            raise first

        with pytest.raises(ConnectionError, match="first") as caught:
            self.call(Policy("p", Fallback(on=ConnectionError, providers=(fails, fails))), one)
        assert caught.value is first
        assert [note.split(": ", 2)[2] for note in first.__notes__] == [
            "fallback to provider 1: ConnectionError: down",
            "fallback to provider 2: ConnectionError: down",
        ]

    def test_another_error_of_a_provider_comes_out(self) -> None:
        with pytest.raises(ZeroDivisionError):
            self.call(Policy("p", Fallback(on=ConnectionError, providers=(lambda: 1 / 0,), value=3)), fails)

    def test_the_last_good_answer_per_key_up_to_its_age(self, clock: list[float]) -> None:
        up, heard = [True], list[Event]()

        def price(item: str) -> str:
            return f"price of {item}" if up[0] else fails()

        policy = Policy("p", Fallback(on=ConnectionError, stale=StaleCache(60)))
        guarded = self.guarded(policy, price)
        assert guarded("tea") == "price of tea"
        up[0] = False
        clock[0] += 59
        with listening(heard.append):
            assert guarded("tea") == "price of tea"
        assert [event.name for event in heard] == ["policy.stale", "policy.fallback"]
        assert heard[0].get("age_s") == 59
        with pytest.raises(ConnectionError):
            guarded("coffee")
        clock[0] += 1
        with pytest.raises(ConnectionError):
            guarded("tea")

    def test_stale_first_then_the_value(self, clock: list[float]) -> None:
        clock[0] += 1
        policy = Policy("p", Fallback(on=ConnectionError, stale=StaleCache(60), value="none"))
        assert self.guarded(policy, fails)("tea") == "none"

    def guarded(self, policy: Policy, function: Callable[..., Any]) -> Callable[..., Any]:
        raise NotImplementedError


class TestFunctions(Conformance):
    def call(self, policy: Policy, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return policy(function)(*args, **kwargs)

    def guarded(self, policy: Policy, function: Callable[..., Any]) -> Callable[..., Any]:
        return policy(function)

    def test_a_coroutine_function_as_fallback_of_a_function_is_refused(self) -> None:
        async def instead() -> None: ...

        with pytest.raises(ConfigurationError, match="coroutine function"):
            Policy("p", Fallback(on=ConnectionError, call=instead))(fails)


class TestCoroutines(Conformance):
    def call(self, policy: Policy, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return self.guarded(policy, function)(*args, **kwargs)

    def guarded(self, policy: Policy, function: Callable[..., Any]) -> Callable[..., Any]:
        async def inside(*args: Any, **kwargs: Any) -> Any:
            await asyncio.sleep(0)
            return function(*args, **kwargs)

        one = policy(inside)

        def call(*args: Any, **kwargs: Any) -> Any:
            return _run(one(*args, **kwargs))

        return call

    def test_coroutine_functions_as_fallbacks(self) -> None:
        async def instead(error: Exception) -> str:
            await asyncio.sleep(0)
            return f"instead of {error}"

        async def second(*_args: int) -> str:
            await asyncio.sleep(0)
            return fails()  # type: ignore[no-any-return]

        policy = Policy("p", Fallback(on=ConnectionError, providers=(second,), call=instead))
        assert self.call(policy, fails, 1) == "instead of down"


def _run(coroutine: Any) -> Any:
    """As asyncio.run, for coroutines that raise what a loop would rather not run into."""
    caught: list[BaseException] = []

    async def main() -> Any:
        try:
            return await coroutine
        except BaseException as error:  # noqa: BLE001 - raised again outside the loop
            caught.append(error)

    result = asyncio.run(main())
    if caught:
        raise caught[0]
    return result
