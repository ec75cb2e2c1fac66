"""The forms of idempotency: decorator, HTTP handler, message consumer; and the fingerprint that they compare by."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from premortem.durable import (
    DeadLetters,
    Idempotency,
    PayloadMismatchError,
    SqliteKeys,
    SqliteLetters,
    fingerprint,
    idempotent,
)
from premortem.durable.idempotency.http import Answer, Request, answered, answered_async
from premortem.durable.idempotency.messages import consumed
from premortem.errors import ConfigurationError
from premortem.ports import ManualClock

# -- Fingerprints


class Colour(Enum):
    RED = 1


@dataclass
class Order:
    number: int
    lines: list[str]


DIFFERENT: tuple[object, ...] = (
    None, True, False, 0, 1, 1.0, "", "1", b"1", b"", "None", [], [1], ["1"], [[1]], [1, 1], {}, {"a": 1}, {"a": "1"},
    {1: "a"}, {"1": "a"}, set(), {1}, date(2026, 1, 1), datetime(2026, 1, 1, tzinfo=UTC), timedelta(1), Decimal(1),
    UUID(int=1), Colour.RED, Order(1, []), Order(1, ["a"]), Path("a"), ["ab", "c"], ["a", "bc"], ["a", ["b", "c"]],
    [["a", "b"], "c"], {"a": {"b": 1}}, {"a": 1, "b": 2}, {"a": 2, "b": 1}, "\ud800",
)  # fmt: skip


def test_different_values_have_different_fingerprints() -> None:
    assert len({fingerprint(value) for value in DIFFERENT}) == len(DIFFERENT)


def test_the_same_value_has_one_fingerprint() -> None:
    assert fingerprint({"a": 1, "b": [1, 2]}) == fingerprint(OrderedDict(b=(1, 2), a=1))
    assert fingerprint({3, 1, 2}) == fingerprint({2, 3, 1})
    assert fingerprint(Order(1, ["a"])) == fingerprint(Order(1, ["a"]))
    assert fingerprint(bytearray(b"a")) == fingerprint(memoryview(b"a")) == fingerprint(b"a")


def test_another_process_comes_to_the_same() -> None:
    script = "from premortem.durable import fingerprint; print(fingerprint({'a': {'x', 'y', 'z'}, 'b': 2.5}))"
    told = [subprocess.check_output([sys.executable, "-c", script], text=True).strip() for _ in range(2)]
    assert set(told) == {fingerprint({"b": 2.5, "a": {"z", "y", "x"}})}


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(_JSON, _JSON)
def test_values_are_equal_where_their_fingerprints_are(one: Any, other: Any) -> None:
    assert (fingerprint(one) == fingerprint(other)) == (repr(ordered(one)) == repr(ordered(other)))


def ordered(value: Any) -> Any:
    if isinstance(value, dict):
        return "mapping", sorted((key, ordered(item)) for key, item in value.items())
    return [ordered(item) for item in value] if isinstance(value, list) else value


def test_what_has_no_form_of_its_own_is_refused_by_name() -> None:
    with pytest.raises(ConfigurationError, match=r"payload\['lines'\]\[1\].* a object has no fingerprint"):
        fingerprint({"lines": ["a", object()]})
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(ConfigurationError, match="within itself"):
        fingerprint(endless)


# -- The decorator


@pytest.fixture
def once(opened_of: Any) -> Idempotency:
    return Idempotency(opened_of("sqlite").open(), wait_s=20)


def test_a_function_and_a_coroutine_function(once: Idempotency) -> None:
    ran: list[Any] = []

    @idempotent(once, key="order")
    def charge(order: str, pence: int, currency: str = "GBP") -> str:
        """Charge."""
        ran.append(pence)
        return f"{order} {pence} {currency}"

    @idempotent(once, key=lambda order, **_: f"refund {order}")
    async def refund(order: str, pence: int) -> str:
        ran.append(-pence)
        return f"refunded {order}"

    assert charge("o-1", 250) == charge(order="o-1", pence=250, currency="GBP") == "o-1 250 GBP"
    assert asyncio.run(refund("o-1", pence=250)) == asyncio.run(refund("o-1", pence=250)) == "refunded o-1"
    assert (ran, charge.__doc__) == ([250, -250], "Charge.")
    with pytest.raises(PayloadMismatchError):
        charge("o-1", 251)


def test_two_functions_never_share_a_result(once: Idempotency) -> None:
    @idempotent(once, key="order")
    def charge(order: str) -> str:
        return f"charged {order}"

    @idempotent(once, key="order")
    def refund(order: str) -> str:
        return f"refunded {order}"

    charge("o-1")
    with pytest.raises(PayloadMismatchError):
        refund("o-1")


def test_a_method_and_what_is_not_compared(once: Idempotency) -> None:
    class Till:
        @idempotent(once, key="order", ignore=("trace",))
        def charge(self, order: str, trace: object) -> str:
            return f"{order} {type(self).__name__} {trace}"

    assert Till().charge("o-1", 1) == Till().charge("o-1", 2) == "o-1 Till 1"


def test_a_parameter_that_is_not_there_is_told_at_once(once: Idempotency) -> None:
    with pytest.raises(ConfigurationError, match="there is no parameter 'ordre'"):
        idempotent(once, key="ordre")(lambda order: order)


# -- HTTP


def request(key: str | None = "k-1", body: bytes = b"250", **others: Any) -> Request:
    return Request(**({"method": "POST", "target": "/payments", "body": body, "key": key} | others))


class Handler:
    def __init__(self, answer: Answer | None = None) -> None:
        self.answer, self.requests = answer or Answer(201, b"\xff paid", (("X-Receipt", "7"),)), list[Request]()

    def __call__(self, request: Request) -> Answer:
        self.requests.append(request)
        return self.answer


def test_a_repetition_gets_the_same_answer_and_is_told(once: Idempotency) -> None:
    handler = Handler()
    first = answered(once, request('"k-1"'), handler)
    again = answered(once, request("k-1"), handler)
    assert first == handler.answer
    assert (again.status, again.body) == (first.status, first.body)
    assert again.headers == (*first.headers, ("Idempotent-Replayed", "true"))
    assert len(handler.requests) == 1


@pytest.mark.parametrize("other", [{"body": b"2500"}, {"target": "/refunds"}, {"method": "PATCH"}])
def test_another_request_under_the_same_key_is_422(once: Idempotency, other: Any) -> None:
    handler = Handler()
    answered(once, request(), handler)
    answer = answered(once, request(**other), handler)
    assert (answer.status, len(handler.requests)) == (422, 1)
    assert dict(answer.headers)["Content-Type"] == "application/problem+json"
    assert json.loads(answer.body)["status"] == 422


def test_in_flight_is_409_with_a_time_to_ask_again(opened_of: Any) -> None:
    once = Idempotency(opened_of("sqlite").open())
    inner: list[Answer] = []

    def slow(given: Request) -> Answer:
        inner.append(answered(once, given, Handler()))
        return Answer(201)

    assert answered(once, request(), slow).status == 201
    assert inner[0].status == 409
    assert 1 <= int(dict(inner[0].headers)["Retry-After"]) <= 60


@pytest.mark.parametrize("key", [None, "", '""', "x" * 256, "ключ", "a\tb"])
def test_a_key_that_is_none_is_400(once: Idempotency, key: str | None) -> None:
    handler = Handler()
    assert (answered(once, request(key), handler).status, handler.requests) == (400, [])


def test_what_changes_nothing_or_needs_no_key_passes(once: Idempotency) -> None:
    handler = Handler()
    for _ in range(2):
        answered(once, request(None, method="GET"), handler)
        answered(once, request(None), handler, required=False)
    assert len(handler.requests) == 4


def test_callers_have_keys_of_their_own(once: Idempotency) -> None:
    handler = Handler()
    for caller in ("ada", "bob", "ada"):
        answered(once, request(caller=caller), handler)
    assert len(handler.requests) == 2


@pytest.mark.parametrize("status", [500, 503, 429, 409])
def test_later_is_not_kept(once: Idempotency, status: int) -> None:
    assert answered(once, request(), Handler(Answer(status, b"later"))) == Answer(status, b"later")
    assert answered(once, request(), Handler()).status == 201


@pytest.mark.parametrize("status", [200, 400, 404, 422])
def test_a_no_is_kept(once: Idempotency, status: int) -> None:
    handler = Handler(Answer(status))
    assert [answered(once, request(), handler).status for _ in range(2)] == [status, status]
    assert len(handler.requests) == 1


def test_in_a_transaction_later_undoes_what_was_done(opened_of: Any) -> None:
    keys = opened_of("sqlite in a transaction")
    once = Idempotency(keys.open())
    connection = keys.connection
    connection.execute("CREATE TABLE payments (pence)")

    def half(_: Request) -> Answer:
        connection.execute("INSERT INTO payments VALUES (1)")
        return Answer(503)

    assert answered(once, request(), half).status == 503
    assert connection.execute("SELECT count(*) FROM payments").fetchone() == (0,)


def test_nobody_knows_is_500_and_a_store_that_is_down_503(opened_of: Any, tmp_path: Path) -> None:
    clock = ManualClock()
    once = Idempotency(opened_of("sqlite").open(), in_flight_s=10, clock=clock)

    def dies(_: Request) -> Answer:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        answered(once, request(), dies)
    clock.advance(11)
    handler = Handler()
    unknown = answered(once, request(), handler)
    assert (unknown.status, handler.requests) == (500, [])
    assert "process" not in unknown.body.decode()
    down = answered(Idempotency(SqliteKeys(tmp_path / "no" / "keys.db")), request(), handler)
    assert (down.status, dict(down.headers)["Retry-After"], handler.requests) == (503, "1", [])
    assert str(tmp_path) not in down.body.decode()


def test_coroutine_handlers(once: Idempotency) -> None:
    handler = Handler()

    async def handle(given: Request) -> Answer:
        await asyncio.sleep(0)
        return handler(given)

    async def story() -> list[Answer]:
        return await asyncio.gather(*(answered_async(once, request(), handle) for _ in range(5)))

    answers = asyncio.run(story())
    assert [answer.status for answer in answers] == [201] * 5
    assert len(handler.requests) == 1
    assert asyncio.run(answered_async(once, request(None), handle)).status == 400
    assert asyncio.run(answered_async(once, request(None, method="GET"), handle)).status == 201


# -- Messages


@pytest.fixture
def letters(tmp_path: Path) -> Any:
    store = SqliteLetters(tmp_path / "dead.db")
    yield DeadLetters(store)
    store.close()


def refuse(_: object) -> None:
    raise ValueError("as bad as ever")


def test_a_message_is_handled_once(once: Idempotency, letters: DeadLetters) -> None:
    handled: list[Any] = []
    came = [consumed(once, "m-1", {"n": 1}, handled.append, dead_letters=letters) for _ in range(3)]
    assert [one.what for one in came] == ["done", "replayed", "replayed"]
    assert all(one.acknowledge for one in came)
    assert handled == [{"n": 1}]


def test_a_message_that_fails_comes_again_and_is_dead_in_the_end(once: Idempotency, letters: DeadLetters) -> None:
    came = [consumed(once, "m-1", 1, refuse, dead_letters=letters, attempt=n, attempts=3) for n in (1, 2, 3)]
    assert [(one.what, one.acknowledge) for one in came] == [("later", False), ("later", False), ("dead", True)]
    [letter] = letters.letters()
    assert (letter.key, letter.why, letter.attempts, letter.payload) == ("m-1", "ValueError", 3, 1)
    assert letters.replay(lambda one: consumed(once, one.key, one.payload, lambda _: None)).replayed == 1


def test_without_dead_letters_it_stays_the_brokers(once: Idempotency) -> None:
    assert consumed(once, "m-1", 1, refuse, attempt=9, attempts=3).what == "later"


def test_what_another_attempt_cannot_help_is_dead_at_once(once: Idempotency, letters: DeadLetters) -> None:
    consumed(once, "m-1", 1, lambda _: None, dead_letters=letters)
    assert consumed(once, "m-1", 2, lambda _: None, dead_letters=letters).what == "dead"
    assert letters.counts() == {"PayloadMismatch": 1}


def test_in_flight_is_later(opened_of: Any, letters: DeadLetters) -> None:
    once = Idempotency(opened_of("sqlite").open())
    inner: list[str] = []

    def slow(_: object) -> None:
        inner.append(consumed(once, "m-1", 1, refuse, dead_letters=letters).what)

    assert consumed(once, "m-1", 1, slow, dead_letters=letters).what == "done"
    assert (inner, letters.counts()) == (["later"], {})


def test_a_store_that_is_down_is_later(tmp_path: Path, letters: DeadLetters) -> None:
    once = Idempotency(SqliteKeys(tmp_path / "no" / "keys.db"))
    assert consumed(once, "m-1", 1, refuse, dead_letters=letters, attempt=9).what == "later"
