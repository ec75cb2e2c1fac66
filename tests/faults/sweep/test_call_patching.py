"""Named callables, struck in this process."""

from __future__ import annotations

import asyncio
import sys
import threading
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from premortem.errors import ConfigurationError, FaultError
from premortem.events import Event
from premortem.faults.sweep.call_effects import CallEffect
from premortem.faults.sweep.call_names import Spot
from premortem.faults.sweep.calls import counted, struck_at
from premortem.faults.sweep.here import sweep_calls
from premortem.model.recipe import Recipe


def at(text: str) -> Recipe:
    return Recipe.parse(text)


def test_the_nth_call_raises_and_no_other(bank: ModuleType, heard: list[Event]) -> None:
    with struck_at(at("call:shop_bank:charge#2=raise TimeoutError too slow")) as hits:
        bank.charge(1)
        with pytest.raises(TimeoutError, match="too slow"):
            bank.charge(2)
        bank.charge(3)
    assert hits == ["call:shop_bank:charge#2=raise TimeoutError too slow"]
    assert [event.name for event in heard] == ["fault.struck", "fault.lifted"]


def test_from_the_nth_on_every_call_raises(bank: ModuleType) -> None:
    with struck_at(at("call:shop_bank:charge#2+")) as hits:
        bank.charge(1)
        for _ in range(3):
            with pytest.raises(ConnectionError, match="made up by call:shop_bank:charge#"):
                bank.charge(2)
    assert len(hits) == 3


def test_after_means_that_it_took_place_and_nobody_heard(bank: ModuleType) -> None:
    account = bank.Account()
    with struck_at(at("call:shop_bank:Account.pay#1:after")), pytest.raises(ConnectionError):
        account.pay(7)
    assert account.paid == [7]


def test_another_answer_with_and_without_the_call(bank: ModuleType) -> None:
    account = bank.Account()
    with struck_at(
        at("call:shop_bank:Account.pay#1=return None"), at("call:shop_bank:Account.check#1:after=return 'no'")
    ):
        assert account.pay(7) is None
        assert account.check(1) == "no"
    assert account.paid == []


def test_static_class_inherited_and_dotted_names(bank: ModuleType) -> None:
    for name in ("shop_bank:Account.least", "shop_bank.Account.check", "shop_bank:Savings.pay"):
        with struck_at(at(f"call:{name}#1=return 'struck'")):
            assert "struck" in (bank.Account.least(), bank.Account.check(1), bank.Savings().pay(1))
    assert "pay" not in vars(bank.Savings)
    assert (bank.Account.least(), bank.Account.check(1), bank.Savings().pay(1)) == (10, True, "paid 1")


def test_a_coroutine_function_stays_one(bank: ModuleType) -> None:
    async def ask() -> list[object]:
        return [await bank.later(1), *await asyncio.gather(bank.later(2), return_exceptions=True)]

    with struck_at(at("call:shop_bank:later#2:after")):
        first, second = asyncio.run(ask())
    assert first == "later 1"
    assert isinstance(second, ConnectionError)


def test_whoever_imported_it_by_name_before_is_struck_too(bank: ModuleType) -> None:
    other = ModuleType("shop_page")
    other.buy = bank.charge  # type: ignore[attr-defined] # `from shop_bank import charge as buy`
    sys.modules["shop_page"] = other
    try:
        with struck_at(at("call:shop_bank:charge#1")), pytest.raises(ConnectionError):
            other.buy(1)
        assert other.buy is bank.charge
    finally:
        del sys.modules["shop_page"]


def test_calls_are_counted_over_all_threads(bank: ModuleType) -> None:
    numbers: list[int] = []
    with counted(("shop_bank:Account.check",), lambda _, nth: numbers.append(nth)):
        threads = [threading.Thread(target=lambda: [bank.Account.check(1) for _ in range(50)]) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(numbers) == list(range(1, 401))


@pytest.mark.parametrize("name", ["shop_bank:nothing", "no_such_module:f", "shop_bank:Account", "nowhere.at.all", "x"])
@pytest.mark.usefixtures("bank")
def test_what_is_no_function_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match=r"name (it|one) as package"):
        Spot.find(name)


def test_a_method_of_a_c_type_cannot_be_patched() -> None:
    with pytest.raises(FaultError, match="sweep the wire"), struck_at(at("call:sqlite3:Connection.execute#1")):
        pass


@pytest.mark.parametrize(
    "text",
    ["fall over", "raise", "delay soon", "delay -1", "delay nan", "return maybe", "raise os.path", "raise Nothing"],
)
def test_an_effect_that_is_none_says_so(text: str) -> None:
    with pytest.raises(ConfigurationError, match="write 'raise TimeoutError'"):
        CallEffect.parse(text).make("here")


def test_an_exception_that_wants_more_than_a_message_is_made_all_the_same() -> None:
    assert isinstance(CallEffect.parse("raise UnicodeDecodeError").make("here"), UnicodeDecodeError)


@given(calls=st.integers(0, 12), onward=st.booleans())
def test_the_sweep_strikes_every_call_once_and_ends_unstruck(calls: int, onward: bool) -> None:
    reached: list[int] = []

    def program() -> None:
        reached.append(0)
        for _ in range(calls):
            Target.step()
            reached[-1] += 1

    struck = list(sweep_calls(program, call=f"{__name__}:Target.step", onward=onward))
    assert [one.recipe.nth for one in struck] == list(range(1, calls + 1))
    assert reached == [*range(calls), calls]
    assert all(isinstance(one.error, ConnectionError) for one in struck)


class Target:
    @staticmethod
    def step() -> None:
        """Nothing."""


sys.modules.setdefault(__name__, sys.modules[Target.__module__])
