"""What a save and a load of a checkpoint cost in each store, and a write and an append: medians of interleaved rounds.

    python bench/durable_checkpoint.py [--rounds 5] [--saves 50] [--json]

Embedded servers, fsync on; the floor is an fsync of 300 bytes on the same disk in the same run.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import psycopg

from premortem.durable import (
    AppendLog,
    Checkpoint,
    FileStore,
    PostgresStore,
    SqliteStore,
    ValkeyStore,
    write_atomically,
)
from premortem.durable.checkpoint.stores import CheckpointStore
from premortem.model.codec import Json
from premortem.servers import Servers

VALUE: Json = {"chunk": 1, "counters": [*range(20)]}


def measured(rounds: int, times: int) -> dict[str, float]:
    """Milliseconds for each operation."""
    with tempfile.TemporaryDirectory(dir=".") as name, Servers() as servers, ExitStack() as stack:
        actions = _actions(Path(name), servers, stack)
        seconds: dict[str, list[float]] = {what: [] for what in actions}
        for _ in range(rounds):
            for what, action in actions.items():
                began = time.perf_counter()
                for _ in range(times):
                    action()
                seconds[what].append((time.perf_counter() - began) / times)
        return {what: round(statistics.median(took) * 1000, 4) for what, took in seconds.items()}


def _actions(folder: Path, servers: Servers, stack: ExitStack) -> dict[str, Callable[[], object]]:
    file = stack.enter_context((folder / "floor").open("ab", buffering=0))
    url = servers.postgres().admin_url
    caller = stack.enter_context(psycopg.connect(url))
    stores: dict[str, CheckpointStore] = {
        "file": FileStore(folder / "work"),
        "sqlite": SqliteStore(folder / "work.db"),
        "postgres, own connection": PostgresStore(url),
        "postgres, caller's transaction": PostgresStore(caller),
        "valkey (in memory)": ValkeyStore(servers.valkey().admin_url),
    }

    def floor() -> None:
        file.write(b"x" * 300)
        os.fsync(file.fileno())

    actions: dict[str, Callable[[], object]] = {"an fsync": floor}
    for what, store in stores.items():
        stack.callback(store.close)
        checkpoint = Checkpoint(store, what)
        checkpoint.load()
        checkpoint.save(VALUE)
        actions[f"save, {what}"] = partial(checkpoint.save, VALUE)
        actions[f"load, {what}"] = checkpoint.load
    each, never = (AppendLog(folder / f"log-{sync}", sync=sync) for sync in ("each", "never"))
    stack.callback(each.close)
    stack.callback(never.close)
    actions["write_atomically, 300 bytes"] = lambda: write_atomically(folder / "file", b"x" * 300)
    actions["append, 300 bytes"] = lambda: each.append(b"x" * 300)
    actions["append, 300 bytes, sync never"] = lambda: never.append(b"x" * 300)
    return actions


def main() -> None:
    """Print them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--saves", type=int, default=50)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    took = measured(options.rounds, options.saves)
    if options.json:
        print(json.dumps(took))
        return
    for what, ms in took.items():
        print(f"{what:40} {ms:9.3f} ms {1000 / ms:9.0f}/s")


if __name__ == "__main__":
    main()
