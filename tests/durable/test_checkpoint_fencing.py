"""Fencing under real concurrency: processes that claim, stall past their time, wake up and save, all at once."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from typing import Any

import pytest

from premortem.durable import Checkpoint, OwnedError, StaleOwnerError
from premortem.durable.checkpoint.stores import CheckpointStore
from premortem.durable.checkpoint.stores.file import FileStore
from premortem.durable.checkpoint.stores.postgres import PostgresStore
from premortem.durable.checkpoint.stores.sqlite import SqliteStore
from premortem.durable.checkpoint.stores.valkey import ValkeyStore
from premortem.durable.sessions.resp import Connection as Asked
from premortem.durable.sessions.resp import Server

FORK = multiprocessing.get_context("fork")
Open = Callable[[], CheckpointStore]


@pytest.fixture(params=["file", "sqlite", "postgres", "valkey"])
def opened(request: pytest.FixtureRequest, tmp_path: Any) -> Open:
    """How a process opens the one store of all."""
    if request.param == "file":
        return lambda: FileStore(tmp_path)
    if request.param == "sqlite":
        return lambda: SqliteStore(tmp_path / "work.db")
    if request.param == "postgres":
        url = request.getfixturevalue("postgres").url
        return lambda: PostgresStore(url)
    address = request.getfixturevalue("valkey")
    return lambda: ValkeyStore(address)


def _heard(here: Connection, there: Connection) -> tuple[Any, Any]:
    there.close()  # or the end of a worker that died would not be seen
    assert here.poll(60)
    told: tuple[Any, Any] = here.recv()
    return told


def _compete(opened: Open, who: int, told: Connection) -> None:
    """Claim for a moment, add to what is there, sometimes sleep past the claim first; tell what was acknowledged."""
    store = opened()
    checkpoint = Checkpoint(store, "job")
    kept, refused, turn = [], 0, 0
    ends = time.monotonic() + 3
    while time.monotonic() < ends:
        try:
            claim = checkpoint.claim(f"worker-{who}", 0.05)
        except OwnedError:
            time.sleep(0.002)
            continue
        turn += 1
        found = checkpoint.load()
        entries = list(found.value) if found and isinstance(found.value, list) else []
        if turn % 3 == 0:
            time.sleep(0.08)  # a pause of the garbage collector, a suspended laptop
        entry = f"{who}:{turn}"
        try:
            checkpoint.save([*entries, entry], fence=claim.fence)
            kept.append(entry)
            claim.release()
        except StaleOwnerError:
            refused += 1
    told.send((kept, refused))
    store.close()


def test_of_four_workers_that_stall_none_overwrites_another(opened: Open) -> None:
    pipes = [FORK.Pipe(duplex=False) for _ in range(4)]
    workers = [FORK.Process(target=_compete, args=(opened, who, pipe[1])) for who, pipe in enumerate(pipes)]
    for worker in workers:
        worker.start()
    told = [_heard(*pipe) for pipe in pipes]
    for worker in workers:
        worker.join(30)
    store = opened()
    found = Checkpoint(store, "job").load()
    store.close()
    assert found is not None
    assert isinstance(found.value, list)
    acknowledged = [entry for kept, _ in told for entry in kept]
    assert sorted(map(str, found.value)) == sorted(acknowledged)  # each on top of all before it: none was lost
    assert sum(refused for _, refused in told) > 0
    assert found.version == len(acknowledged)


def _race(opened: Open, told: Connection) -> None:
    """No claims: look and save, as often as it goes."""
    store = opened()
    checkpoint = Checkpoint(store, "job")
    kept = refused = 0
    for _ in range(40):
        found = checkpoint.load()
        count = found.value if found and isinstance(found.value, int) else 0
        try:
            checkpoint.save(count + 1)
            kept += 1
        except StaleOwnerError:
            refused += 1
    told.send((kept, refused))
    store.close()


def test_without_claims_no_update_is_lost_either(opened: Open) -> None:
    pipes = [FORK.Pipe(duplex=False) for _ in range(4)]
    workers = [FORK.Process(target=_race, args=(opened, pipe[1])) for pipe in pipes]
    for worker in workers:
        worker.start()
    told = [_heard(*pipe) for pipe in pipes]
    for worker in workers:
        worker.join(30)
    store = opened()
    found = Checkpoint(store, "job").load()
    store.close()
    assert found is not None
    assert found.value == sum(kept for kept, _ in told) == found.version


def test_threads_with_one_store_do_not_undo_each_others_swaps(own_valkey: Any) -> None:
    store, judge = ValkeyStore(own_valkey.url()), Asked(Server.of(own_valkey.url()), 5)

    def claim(_: int) -> None:
        Checkpoint(store, "job").claim("me", 60)

    def swaps() -> int:
        [told] = judge.ask(("INFO", "commandstats"))
        assert isinstance(told, bytes)
        return int(told.partition(b"cmdstat_eval:calls=")[2].partition(b",")[0])

    claim(0)
    before = swaps()
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(claim, range(200)))
    assert swaps() - before == 200
    judge.close()
    store.close()


def _save_for_ever(opened: Open) -> None:
    checkpoint = Checkpoint(opened(), "job")
    checkpoint.claim("doomed", 3600)
    number = 0
    while True:
        number += 1
        checkpoint.save({"n": number, "padding": "x" * 5000})


def test_a_worker_that_is_killed_in_the_middle_leaves_a_whole_checkpoint(opened: Open) -> None:
    last = 0
    for _ in range(6):
        worker = FORK.Process(target=_save_for_ever, args=(opened,))
        worker.start()
        store = opened()
        checkpoint = Checkpoint(store, "job")
        ends = time.monotonic() + 20
        while (found := checkpoint.load()) is None or found.version < last + 5:
            assert time.monotonic() < ends
            assert found is None or isinstance(found.value, dict)
        os.kill(worker.pid or 0, signal.SIGKILL)
        worker.join(20)
        claim = checkpoint.claim("next", 60, take_over=True)  # waits for a COMMIT that the dead one had sent
        found = checkpoint.load()
        assert found is not None
        assert isinstance(found.value, dict)
        last = found.version
        assert checkpoint.save({"n": -1}, fence=claim.fence).version == last + 1
        claim.release()
        store.close()
