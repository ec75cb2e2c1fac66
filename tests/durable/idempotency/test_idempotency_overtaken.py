"""Whoever was overtaken between its look and its write changes nothing: in the rules, and in each store.

A race that is made certain: the other one writes while the first one decides.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from premortem.durable.idempotency import rules
from premortem.durable.idempotency.fingerprints import fingerprint
from premortem.durable.idempotency.rules import GONE, Change, Record

AT = datetime(2026, 1, 1, tzinfo=UTC)
S = AT.timestamp()


def record(token: str, *, done: bool = False) -> Record:
    until = datetime.now(UTC).timestamp() + 600
    return Record("done" if done else "in_flight", "f", token, token, S, until, until, b"1" if done else None)


def test_only_its_own_claim_is_released_and_never_a_result() -> None:
    assert rules.released("ours", record("ours")) is GONE
    assert rules.released("ours", record("theirs")) is None
    assert rules.released("ours", record("ours", done=True)) is None
    assert rules.released("ours", None) is None


def test_only_its_own_claim_gets_a_result_which_is_remembered_from_then_on() -> None:
    later = AT + timedelta(seconds=50)
    kept = rules.kept("ours", b"2", 100.0, record("ours"), later)
    assert kept is not None
    assert (kept.state, kept.result, kept.forget_s) == ("done", b"2", S + 150)
    assert rules.kept("ours", b"2", 100.0, record("theirs"), later) is None
    assert rules.kept("ours", b"2", 100.0, None, later) is None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 1.0), (1, "1"), (1, True), (1, Decimal(1)), (1.0, Decimal("1.0")), (date(2026, 1, 1), Path("2026-01-01")),
        (None, "None"), ("a", b"a"), (["a", "b"], ["ab"]), ({}, []),
    ],
)  # fmt: skip
def test_values_of_two_kinds_are_two(one: object, other: object) -> None:
    assert fingerprint(one) != fingerprint(other)
    assert fingerprint([one]) != fingerprint([other])


@pytest.mark.parametrize(
    ("first", "wish"),
    [(None, record("ours")), (record("theirs"), record("ours")), (record("theirs"), GONE)],
    ids=["made", "replaced", "removed"],
)
@pytest.mark.parametrize("kind", ["postgres", "valkey"])  # the others let nobody in while one decides
def test_what_is_written_meanwhile_is_decided_on_again(
    kind: str, wish: Change, first: Record | None, opened_of: Callable[[str], Any]
) -> None:
    opened = opened_of(kind)
    store, other, seen = opened.open(), opened.open(), list[str]()
    if first is not None:
        store.change("order-1", lambda _, __: first)

    def decide(before: Record | None, _: datetime) -> Change:
        seen.append(before.token if before else "")
        if len(seen) == 1:
            other.change("order-1", lambda _, __: record("faster"))
            return wish
        return None

    store.change("order-1", decide)
    assert seen == [first.token if first else "", "faster"]
    left: list[Record | None] = []
    store.change("order-1", lambda before, _: left.append(before))
    assert left[0] is not None
    assert left[0].token == "faster"
