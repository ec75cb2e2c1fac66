"""Killed and cut off at every step: never twice, and where key and effect are apart, never in silence."""

from __future__ import annotations

import os
import signal
import sqlite3
import threading
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest

from premortem.durable import (
    DurableError,
    Idempotency,
    InFlightError,
    NotKeptError,
    PostgresKeys,
    SqliteKeys,
    StoreDownError,
    UnknownOutcomeError,
    ValkeyKeys,
)
from premortem.durable.idempotency.stores import postgres as in_postgres
from premortem.durable.idempotency.stores import sqlite as in_sqlite
from premortem.faults import syscalls
from premortem.faults.proxy import FaultProxy
from premortem.faults.sweep.forks import every_crash, every_power_loss
from premortem.faults.sweep.here import sweep_wire
from premortem.ports import ManualClock

KEY, PAYLOAD = "payment-1", {"pence": 250}

needs_syscalls = pytest.mark.skipif(bool(syscalls.why_not()), reason=syscalls.why_not())


# -- SQLite, the effect in the caller's transaction


def pay_in_transaction(path: Path) -> str:
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA synchronous=FULL")
    once = Idempotency(SqliteKeys(connection))

    def pay(payload: Any) -> str:
        connection.execute("INSERT INTO payments VALUES (?)", (payload["pence"],))
        return "paid"

    with connection:
        result = once.run(KEY, PAYLOAD, pay)
    connection.close()
    return result


def payments(path: Path) -> int:
    connection = sqlite3.connect(path)
    [(count,)] = connection.execute("SELECT count(*) FROM payments").fetchall()
    connection.close()
    return int(count)


@pytest.fixture
def bank(tmp_path: Path) -> Path:
    folder = tmp_path / "bank"
    folder.mkdir()
    connection = sqlite3.connect(folder / "bank.db")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("CREATE TABLE payments (pence INTEGER)")
    in_sqlite.create_tables(connection)
    connection.commit()
    connection.close()
    return folder / "bank.db"


@needs_syscalls
def test_sqlite_killed_at_every_system_call_pays_once(bank: Path) -> None:
    crashes = 0
    for crash in every_crash(pay_in_transaction, bank, folder=bank.parent):
        assert payments(bank) <= 1, crash
        assert pay_in_transaction(bank) == "paid", crash
        assert payments(bank) == 1, crash
        crashes += 1
    assert crashes > 10


@needs_syscalls
def test_sqlite_on_a_disk_that_fails_pays_once(bank: Path) -> None:
    for crash in every_crash(pay_in_transaction, bank, folder=bank.parent, effects=("EIO", "ENOSPC")):
        assert pay_in_transaction(bank) == "paid", crash
        assert payments(bank) == 1, crash


@needs_syscalls
def test_sqlite_after_a_power_loss_pays_once(bank: Path) -> None:
    for state in every_power_loss(pay_in_transaction, bank, folder=bank.parent):
        assert payments(bank) <= 1, state.name
        assert pay_in_transaction(bank) == "paid", state.name
        assert payments(bank) == 1, state.name


# -- SQLite, the effect elsewhere


def pay_elsewhere(folder: Path, clock: ManualClock) -> str:
    """The effect is a line in a file, which no store undoes."""
    once = Idempotency(SqliteKeys(folder / "keys.db"), in_flight_s=60, clock=clock)

    def pay(payload: Any) -> str:
        with (folder / "ledger").open("a") as ledger:
            ledger.write(f"{payload['pence']}\n")
        return "paid"

    return once.run(KEY, PAYLOAD, pay)


def lines(folder: Path) -> int:
    ledger = folder / "ledger"
    return len(ledger.read_text().splitlines()) if ledger.exists() else 0


@needs_syscalls
def test_sqlite_killed_with_the_effect_elsewhere_never_pays_twice_and_says_what_it_does_not_know(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    said: set[str] = set()
    for crash in every_crash(pay_elsewhere, folder, ManualClock(), folder=folder):
        before = lines(folder)
        told = outcome(lambda: pay_elsewhere(folder, ManualClock()))
        said.add(told)
        if told == "InFlightError":  # who died may still be at it, as far as anybody can know
            later = ManualClock()
            later.advance(61)
            assert outcome(partial(pay_elsewhere, folder, later)) == "UnknownOutcomeError", crash
            assert lines(folder) == before, crash
        else:
            assert told == "paid", crash
            assert lines(folder) == 1, crash
    assert said == {"paid", "InFlightError"}


def outcome(call: Any) -> str:
    try:
        return str(call())
    except DurableError as error:
        return type(error).__name__


# -- PostgreSQL, cut off at every statement

STATEMENTS = ("BEGIN", "SAVEPOINT", "SELECT", "INSERT", "UPDATE", "RELEASE", "COMMIT", "CommandComplete")


@pytest.fixture
def payments_url(postgres: Any) -> str:
    with psycopg.connect(postgres.url) as admin:
        admin.execute("CREATE TABLE payments (pence int)")
        in_postgres.create_tables(admin)
    return str(postgres.url)


def pay_by_postgres(url: str) -> str:
    with psycopg.connect(url, connect_timeout=5) as connection:
        once = Idempotency(PostgresKeys(connection))

        def pay(payload: Any) -> str:
            connection.execute("INSERT INTO payments VALUES (%s)", (payload["pence"],))
            return "paid"

        return once.run(KEY, PAYLOAD, pay)


def test_postgres_cut_off_at_every_statement_pays_once(payments_url: str) -> None:
    def clear() -> None:
        with psycopg.connect(payments_url) as admin:
            admin.execute("TRUNCATE payments, premortem.idempotency")

    cuts = 0
    for cut in sweep_wire(pay_by_postgres, payments_url, before=clear, only=STATEMENTS):
        once = eventually_paid(payments_url)
        assert once == 1, f"{cut}: {once} payments"
        cuts += 1
    assert cuts > 15


def eventually_paid(url: str) -> int:
    """A server may still be ending the session that was cut off: then the key is in flight for a moment."""
    for _ in range(200):
        try:
            assert pay_by_postgres(url) == "paid"
            break
        except InFlightError:
            threading.Event().wait(0.01)
    with psycopg.connect(url) as judge:
        row = judge.execute("SELECT count(*) FROM payments").fetchone()
    assert row is not None
    return int(row[0])


def test_postgres_cut_off_with_the_effect_elsewhere_never_pays_twice(postgres: Any) -> None:
    paid: list[int] = []
    key = iter(range(1000))
    current = [""]

    def pay(url: str) -> str:
        store = PostgresKeys(url)
        try:
            return Idempotency(store, in_flight_s=60).run(current[0], 1, lambda _: noted(paid))
        finally:
            store.close()

    def fresh() -> None:
        paid.clear()
        current[0] = f"payment-{next(key)}"

    seen = set()
    pay_with_tables(postgres.url)
    for cut in sweep_wire(pay, postgres.url, before=fresh, only=STATEMENTS):
        assert len(paid) <= 1, cut
        told = outcome(lambda: pay(postgres.url))
        assert told in ("paid", "InFlightError"), f"{cut}: {told}"
        assert len(paid) <= 1, cut
        seen.add((type(cut.error), told))
    assert (type(None), "paid") in seen  # a lost answer was asked for again


def pay_with_tables(url: str) -> None:
    store = PostgresKeys(url)
    store.pending(1)
    store.close()


def noted(paid: list[int]) -> str:
    """An effect that no store undoes."""
    paid.append(1)
    return "paid"


# -- Valkey


def test_valkey_cut_off_at_every_message_never_pays_twice(valkey: str, tmp_path: Path) -> None:
    paid: list[int] = []
    numbers = iter(range(1000))
    current = [""]

    def pay(url: str) -> str:
        store = ValkeyKeys(url, prefix=f"{tmp_path.name}:")
        try:
            return Idempotency(store).run(current[0], 1, lambda _: noted(paid))
        finally:
            store.close()

    def fresh() -> None:
        paid.clear()
        current[0] = f"payment-{next(numbers)}"

    cuts = 0
    for cut in sweep_wire(pay, valkey, before=fresh):
        assert len(paid) <= 1, cut
        told = outcome(lambda: pay(valkey))
        assert told in ("paid", "InFlightError"), f"{cut}: {told}"
        assert len(paid) <= 1, cut
        cuts += 1
    assert cuts > 5


@pytest.mark.parametrize("moment", ["before", "after"])
def test_valkey_a_client_that_is_killed_is_told_as_in_flight_and_then_as_unknown(
    valkey: str, tmp_path: Path, moment: str
) -> None:
    ledger = tmp_path / "ledger"
    clock = ManualClock()

    store = ValkeyKeys(valkey, prefix=f"{tmp_path.name}:")

    def once() -> Idempotency:
        return Idempotency(store, in_flight_s=60, clock=clock)

    def pay_and_die(_: object) -> None:
        if moment == "after":
            ledger.write_text("paid")
        os.kill(os.getpid(), signal.SIGKILL)

    child = os.fork()
    if child == 0:
        try:
            once().run(KEY, PAYLOAD, pay_and_die)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    never = once()
    with pytest.raises(InFlightError):
        never.run(KEY, PAYLOAD, lambda _: pytest.fail("it ran twice"))
    clock.advance(61)
    with pytest.raises(UnknownOutcomeError):
        never.run(KEY, PAYLOAD, lambda _: pytest.fail("it ran twice"))
    assert ledger.exists() == (moment == "after")
    never.settle(KEY, PAYLOAD, "found in the bank's books")
    assert never.run(KEY, PAYLOAD, lambda _: None) == "found in the bank's books"
    store.close()


# -- A store that is down


@pytest.mark.parametrize("kind", ["postgres", "valkey"])
def test_a_store_that_is_down_says_so_and_runs_nothing(request: pytest.FixtureRequest, kind: str) -> None:
    url = request.getfixturevalue("postgres").url if kind == "postgres" else request.getfixturevalue("valkey")
    address, through = routed(url)
    with FaultProxy(address) as proxy:
        store: Any = (PostgresKeys if kind == "postgres" else ValkeyKeys)(through(proxy.port))
        once, ran = Idempotency(store), list[int]()
        once.run(f"{os.getpid()}-warm", 1, lambda _: None)
        with proxy.down():
            with pytest.raises(StoreDownError, match="is down"):
                once.run("b", 1, ran.append)
            assert not ran
        assert once.run(f"{os.getpid()}-c", 1, lambda _: "back") == "back"

        def goes_down(_: object) -> str:
            proxy.down().__enter__()
            return "it was done"

        with pytest.raises(NotKeptError, match="is done, and its result could not be kept") as raised:
            once.run(f"{os.getpid()}-d", 1, goes_down)
        assert raised.value.result == "it was done"
        store.close()


def routed(url: str) -> tuple[tuple[str, int], Any]:
    from urllib.parse import urlsplit  # noqa: PLC0415

    parts = urlsplit(url)
    login = parts.netloc.rpartition("@")[0]
    return (parts.hostname or "", parts.port or 0), lambda port: parts._replace(
        netloc=f"{login}@127.0.0.1:{port}"
    ).geturl()


def test_a_sqlite_file_that_is_gone_says_so(tmp_path: Path) -> None:
    with pytest.raises(StoreDownError, match="unable to open"):
        Idempotency(SqliteKeys(tmp_path / "no" / "keys.db")).run("a", 1, lambda _: None)
