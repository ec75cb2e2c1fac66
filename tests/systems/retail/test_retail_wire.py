"""The connection is cut at chosen messages: what was committed unheard is found, what was not is done again."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from premortem.events import Event, listening
from premortem.faults.proxy import Armed, FaultProxy
from premortem.systems.retail.run import run
from premortem.systems.retail.sample import write_sample
from premortem.systems.retail.settings import RetailSettings, read_settings
from premortem.systems.retail.transform import transform

CAMPAIGN = Path(__file__).parents[3] / "campaigns" / "retail_run.py"
Load = Callable[..., tuple[object, ...]]


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PREMORTEM_RETAIL_CHUNK_ROWS", "25")
    return write_sample(tmp_path / "a.csv", 100, seed=6).path


@pytest.fixture
def proxy(database_url: str) -> Iterator[FaultProxy]:
    parts = urlsplit(database_url)
    with FaultProxy((parts.hostname or "", parts.port or 0)) as made:
        yield made


def through(url: str, proxy: FaultProxy) -> RetailSettings:
    parts = urlsplit(url)
    there = f"{parts.username}:{parts.password}@127.0.0.1:{proxy.port}{parts.path}"
    return read_settings(f"postgresql://{there}", statement_timeout_s=5)


def sums(url: str) -> tuple[object, ...]:
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "select (select count(*) from bronze.batches where complete), count(*), sum(quantity * unitprice)::text,"
            " count(distinct source_row), (select sum(rows_read) from bronze.chunks)::text,"
            " (select count(*) from bronze.dead_letters) from bronze.raw_transactions"
        ).fetchone()
    assert row is not None
    return row


@pytest.mark.parametrize("when", ["before", "sent", "after"])
@pytest.mark.parametrize("nth", range(1, 11))
def test_cut_at_every_commit(nth: int, when: str, file: Path, proxy: FaultProxy, database_url: str) -> None:
    run([file], database_url)
    undisturbed = sums(database_url)
    with psycopg.connect(database_url) as connection:
        connection.execute("drop schema bronze cascade")
    heard: list[Event] = []
    with proxy.at(f"postgres:COMMIT#{nth}:{when}") as armed, listening(heard.append):
        report = run([file], settings=through(database_url, proxy))
    assert armed.hit
    assert report.files[0].state in {"loaded", "known"}
    assert sums(database_url) == undisturbed
    assert run([file], database_url).files[0].state == "known"
    assert sums(database_url) == undisturbed


def test_a_commit_without_an_answer_is_found(file: Path, proxy: FaultProxy, database_url: str) -> None:
    heard: list[Event] = []
    armed: list[Armed] = []

    def lose(event: Event) -> None:
        heard.append(event)
        if event.name == "retail.committing" and not armed:
            armed.append(proxy.at("postgres:COMMIT#1:after"))

    with listening(lose):
        report = run([file], settings=through(database_url, proxy))
    assert armed[0].hit
    armed[0].disarm()
    assert [event.name for event in heard].count("retail.commit_found") == 1
    assert (report.files[0].state, report.files[0].read) == ("loaded", 100)
    assert sums(database_url)[1:4:2] == (100 - report.files[0].dead, 100 - report.files[0].dead)


@pytest.mark.parametrize(
    "recipe",
    [
        "postgres:COMMIT#5=error 40001",
        "postgres:COMMIT#6:after=error 40003",
        "postgres:COPY#2=error 40P01",
        "postgres:COPY#2",
        "postgres:COPY#2:after",
        "postgres:UPDATE#2=error 57P01",
        "postgres:StartupMessage#1=error 53300",
        "postgres:StartupMessage#1=error 57P03",
    ],
)
def test_what_the_database_does_by_chance(recipe: str, file: Path, proxy: FaultProxy, database_url: str) -> None:
    with proxy.at(recipe) as armed:
        report = run([file], settings=through(database_url, proxy))
    assert armed.hit
    assert (report.files[0].state, report.files[0].read) == ("loaded", 100)
    assert sums(database_url)[1] == 100 - report.files[0].dead


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_step_whose_commit_is_cut(when: str, file: Path, proxy: FaultProxy, database_url: str) -> None:
    run([file], database_url)
    settings = through(database_url, proxy)
    with proxy.record("postgres") as recording:
        transform(settings=settings, layers=["silver"])
    last = [seen.point for seen in recording.seen if "COMMIT#" in seen.point][-1]
    with psycopg.connect(database_url) as connection:
        connection.execute("drop schema silver cascade")
    with proxy.at(f"{last}:{when}") as armed:
        transform(settings=settings, layers=["silver"])
    assert armed.hit
    with psycopg.connect(database_url) as connection:
        row = connection.execute(
            "select (select sum(lines) from silver.fact_sales_daily), (select count(*) from bronze.raw_transactions)"
        ).fetchone()
    assert row is not None
    assert row[0] == row[1] > 0


def test_the_campaign_in_short(tmp_path: Path) -> None:
    from premortem.faults import syscalls  # noqa: PLC0415 - for this test alone

    if syscalls.why_not():
        pytest.skip(f"system calls: {syscalls.why_not()}")
    command = [sys.executable, str(CAMPAIGN), "run", "--budget", "2", "--seed", "3", "--folder", str(tmp_path)]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.count("nothing wrong under") == 2, ran.stdout
    assert "0 rounds with other rows" in ran.stdout
