"""Two that make the tables at the same moment: the second waits for the first, and neither fails."""

from __future__ import annotations

import threading
import time
from types import ModuleType
from typing import Any

import psycopg
import pytest

from premortem.durable import inbox, outbox
from premortem.durable.checkpoint.stores import postgres as checkpoints
from premortem.durable.dead_letters.stores import postgres as dead_letters
from premortem.durable.idempotency.stores import postgres as idempotency

_WAITS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


@pytest.mark.parametrize("of", [outbox, inbox, checkpoints, idempotency, dead_letters], ids=lambda of: of.__name__)
def test_two_makers_do_not_trip_over_each_other(of: ModuleType, url: str) -> None:
    """IF NOT EXISTS does not see what another has made and not committed yet."""
    failed: list[Exception] = []

    def second() -> None:
        try:
            with psycopg.connect(url) as connection:
                of.create_tables(connection, schema="at_once")
        except psycopg.Error as error:
            failed.append(error)

    with psycopg.connect(url) as first, psycopg.connect(url, autocommit=True) as watcher:
        of.create_tables(first, schema="at_once")
        thread = threading.Thread(target=second)
        thread.start()
        until_it_waits(watcher)
        first.commit()
        thread.join(30)
    assert not thread.is_alive()
    assert failed == []


def until_it_waits(watcher: psycopg.Connection[Any]) -> None:
    deadline = time.monotonic() + 30
    while watcher.execute(_WAITS).fetchone() == (0,):
        assert time.monotonic() < deadline, "the second one does not wait for the first"
        time.sleep(0.01)
