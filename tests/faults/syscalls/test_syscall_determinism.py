"""Clean runs make the same calls in the same order, whatever makes them: C drivers, event loops, embedded databases."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from premortem.faults import syscalls
from premortem.faults.syscalls import Operation, sequence
from premortem.model.recipe import Recipe
from premortem.servers import Servers

RUNS = 5

FILES = """
import json, os
from pathlib import Path
for number in range(3):
    with open("draft", "w") as file:
        json.dump({"number": number}, file); file.flush(); os.fsync(file.fileno())
    os.replace("draft", "state")
Path("folder").mkdir(); Path("folder/a").write_bytes(bytes(100_000)); os.truncate("folder/a", 5)
os.link("state", "other")
os.unlink("folder/a"); os.rmdir("folder"); os.symlink("state", "link")
"""
SQLITE = """
import sqlite3
for mode in ("delete", "wal"):
    db = sqlite3.connect(f"{mode}.db"); db.execute(f"pragma journal_mode={mode}"); db.execute("create table t (x)")
    for x in range(5):
        with db: db.execute("insert into t values (?)", [x])
    db.close()
"""
PSYCOPG = """
import os, psycopg
with psycopg.connect(os.environ["URL"]) as db:
    db.execute("create temporary table t (x int)")
    for x in range(5):
        with db.transaction(): db.execute("insert into t values (%s)", [x])
"""
ASYNCPG = """
import asyncio, os, asyncpg
async def main():
    db = await asyncpg.connect(os.environ["URL"], ssl=False)
    await db.execute("create temporary table t (x int)")
    for x in range(5):
        async with db.transaction(): await db.execute("insert into t values ($1)", x)
    await db.close()
asyncio.run(main())
"""


def runs(program: str, folder: Path, environment: dict[str, str]) -> set[tuple[tuple[str, str], ...]]:
    sequences = set()
    for number in range(RUNS):
        place = folder / str(number)
        place.mkdir()
        ended = syscalls.run([sys.executable, "-c", program], folder=place, environment=environment, time_s=30)
        assert ended.status == 0, ended.output
        sequences.add(sequence(ended.operations))
    return sequences


@pytest.mark.parametrize(("program", "calls"), [(FILES, 20), (SQLITE, 100)])
def test_files(program: str, calls: int, tmp_path: Path) -> None:
    (only,) = runs(program, tmp_path, dict(os.environ))
    assert len(only) >= calls
    assert not [target for _, target in only if target.startswith("/")]


@pytest.mark.parametrize(("driver", "program"), [("psycopg", PSYCOPG), ("asyncpg", ASYNCPG)])
def test_connections(driver: str, program: str, tmp_path: Path, servers: Servers) -> None:
    pytest.importorskip(driver)
    url = servers.postgres().admin_url
    (only,) = runs(program, tmp_path, {**os.environ, "URL": url, "PYTHONPATH": os.pathsep.join(sys.path)})
    connection = [target for _, target in only if target.startswith("127")]  # the C library asks nscd, too
    assert set(connection) == {"127.0.0.1:port1"}
    assert len(connection) >= 15


def test_no_driver_hangs_on_a_connection_that_breaks_at_any_call(tmp_path: Path, servers: Servers) -> None:
    """A bare errno left libpq waiting for ever, twelve times of twelve."""
    url = servers.postgres().admin_url
    environment = {**os.environ, "URL": url}
    command = [sys.executable, "-c", PSYCOPG]
    clean = syscalls.run(command, folder=tmp_path, environment=environment, time_s=30)
    points = [one for one in clean.operations if one.call in {"sendto", "recvfrom"}]
    assert len(points) >= 12
    for effect in ("ECONNRESET", "EPIPE", "ETIMEDOUT", "sever"):
        for point in points[1:8:2]:
            recipe = syscalls.decide_by(_recipe(point, effect))
            ended = syscalls.run(command, recipe, folder=tmp_path, environment=environment, time_s=15)
            assert recipe.hit
            assert not ended.timed_out, recipe.recipe
            assert "OperationalError" in ended.output, (str(recipe.recipe), ended.output)


def _recipe(point: Operation, effect: str) -> Recipe:
    return Recipe("syscall", point.call, point.nth, effect=effect)
