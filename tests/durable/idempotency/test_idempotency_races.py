"""Many at once with one key: one runs, all get its result."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from premortem.durable import Idempotency, InFlightError, PostgresKeys
from premortem.durable.idempotency.stores import postgres as in_postgres
from premortem.ports import ManualClock

THREADS, PROCESSES, KEYS = 16, 6, 12


def test_threads_with_one_object(own_keys: Any) -> None:
    results, ran = race(Idempotency(own_keys.open(), wait_s=60))
    assert len(ran) == KEYS
    assert {key: len(set(values)) for key, values in results.items()} == dict.fromkeys(range(KEYS), 1)


def test_threads_each_with_a_connection(own_keys: Any) -> None:
    ran: list[int] = []
    results: list[str] = []

    def one() -> None:
        once = Idempotency(own_keys.open(), wait_s=60)
        results.extend(once.run(f"key-{number}", number, lambda given: effect(ran, given)) for number in range(4))

    together(one, THREADS)
    assert sorted(ran) == [0, 1, 2, 3]
    assert len(results) == THREADS * 4
    assert len(set(results)) == 4


def test_many_that_take_over_an_unknown_key_run_it_once(own_keys: Any) -> None:
    clock = ManualClock()
    told: dict[str, Any] = {"on_unknown": "again", "in_flight_s": 10, "clock": clock, "wait_s": 60}

    def die(_: object) -> None:
        raise KeyboardInterrupt

    everybody = [Idempotency(own_keys.open(), **told) for _ in range(THREADS)]
    for number in range(KEYS):
        with pytest.raises(KeyboardInterrupt):
            everybody[0].run(f"key-{number}", number, die)
    clock.advance(10)
    ran: list[int] = []
    free, start = list(everybody), threading.Barrier(THREADS)

    def one() -> None:
        once = free.pop()
        for number in range(KEYS):
            start.wait(60)
            once.run(f"key-{number}", number, lambda given: effect(ran, given))

    together(one, THREADS)
    assert ran == list(range(KEYS))


def effect(ran: list[Any], given: int) -> str:
    ran.append(given)
    threading.Event().wait(0.01)
    return f"{given} by {threading.get_ident()}"


def race(once: Idempotency) -> tuple[dict[int, list[str]], list[int]]:
    results: dict[int, list[str]] = {number: [] for number in range(KEYS)}
    ran: list[int] = []

    def one() -> None:
        for number in range(KEYS):
            results[number].append(once.run(f"key-{number}", number, lambda given: effect(ran, given)))

    together(one, THREADS)
    return results, ran


def together(function: Callable[[], None], number: int) -> None:
    errors: list[BaseException] = []

    def told() -> None:
        try:
            function()
        except BaseException as error:  # noqa: BLE001 - a thread's error must not go unseen
            errors.append(error)

    threads = [threading.Thread(target=told) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not errors


WORKER = """
import os, sys, json
from pathlib import Path
from premortem.durable import Idempotency, PostgresKeys, SqliteKeys, ValkeyKeys

kind, where, ledger, run, keys = sys.argv[1:]
stores = {
    "sqlite": lambda: SqliteKeys(where, wait_s=60),
    "postgres": lambda: PostgresKeys(where),
    "valkey": lambda: ValkeyKeys(where, prefix="race:"),
}
once = Idempotency(stores[kind](), wait_s=60)


def pay(given):
    with Path(ledger).open("a") as file:
        file.write(f"{given}\\n")
    return f"{given} by {os.getpid()}"


sys.stdin.readline()
print(json.dumps([once.run(f"{run}-{number}", number, pay) for number in range(int(keys))]))
"""


@pytest.mark.parametrize("kind", ["sqlite", "postgres", "valkey"])
def test_processes(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    if kind == "sqlite":
        where = str(tmp_path / "keys.db")
    else:
        fixture = request.getfixturevalue(kind)
        where = fixture.url if kind == "postgres" else fixture
    ledger = tmp_path / "ledger"
    command = [sys.executable, "-c", WORKER, kind, where, str(ledger), tmp_path.name, str(KEYS)]
    children = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(PROCESSES)
    ]
    for child in children:  # all are up: go
        assert child.stdin
        child.stdin.write("go\n")
        child.stdin.flush()
    found = [json.loads(child.communicate(timeout=120)[0]) for child in children]
    assert all(child.returncode == 0 for child in children)
    assert sorted(map(int, ledger.read_text().split())) == list(range(KEYS))
    assert all(one == found[0] for one in found)


def test_postgres_transactions_at_once_book_once(postgres: Any) -> None:
    with psycopg.connect(postgres.url) as admin:
        admin.execute("CREATE TABLE payments (order_number int)")
        in_postgres.create_tables(admin)
    waited: list[int] = []

    def one() -> None:
        with psycopg.connect(postgres.url) as connection:
            once = Idempotency(PostgresKeys(connection), wait_s=60)
            for number in range(KEYS):
                with connection.transaction():
                    once.run(
                        f"order-{number}", number, lambda given: book(connection, given)
                    )  # fmt: skip
        waited.append(1)

    together(one, 8)
    with psycopg.connect(postgres.url) as judge:
        rows = judge.execute("SELECT order_number FROM payments ORDER BY 1").fetchall()
    assert rows == [(number,) for number in range(KEYS)]
    assert len(waited) == 8


def book(connection: Any, number: int) -> None:
    connection.execute("INSERT INTO payments VALUES (%s)", (number,))


def test_a_transaction_does_not_wait_for_another_unless_it_is_told_to(postgres: Any) -> None:
    with psycopg.connect(postgres.url) as admin:
        in_postgres.create_tables(admin)
    with psycopg.connect(postgres.url) as first, psycopg.connect(postgres.url) as second:
        Idempotency(PostgresKeys(first)).run("a", 1, lambda _: None)
        second.execute("SELECT 1")
        with pytest.raises(InFlightError):
            Idempotency(PostgresKeys(second)).run("a", 1, lambda _: None)
        second.execute("SELECT 1")  # its transaction is as good as before
