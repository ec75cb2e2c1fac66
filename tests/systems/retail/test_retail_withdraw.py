"""A batch taken out again: all of it, in the star as well, and nothing that another file leans on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from premortem.errors import ConfigurationError
from premortem.events import Event, listening
from premortem.systems.retail import progress
from premortem.systems.retail.database import open_session
from premortem.systems.retail.ingest import ingest
from premortem.systems.retail.pieces import open_pieces
from premortem.systems.retail.run import run
from premortem.systems.retail.sample import write_sample
from premortem.systems.retail.settings import read_settings
from premortem.systems.retail.status import status
from premortem.systems.retail.target import parse_target
from premortem.systems.retail.transform import transform
from premortem.systems.retail.withdraw import Withdrawn, withdraw

Count = Callable[[], tuple[int, int, int]]
NET = (
    "select (select sum(quantity * unitprice) from bronze.raw_transactions), (select sum(net) from gold.daily_revenue)"
)


def one(url: str, query: str) -> tuple[object, ...]:
    with psycopg.connect(url) as connection:
        row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREMORTEM_RETAIL_CHUNK_ROWS", "25")


def ragged(path: Path) -> Path:
    """The same file with a line in its middle that is cut off."""
    lines = path.read_text().splitlines()
    lines[60] = lines[60].rsplit(",", 2)[0]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_file_that_came_in_part_is_corrected_and_there_once(tmp_path: Path, database_url: str, count: Count) -> None:
    path = write_sample(tmp_path / "a.csv", 100, dirty=False).path
    whole = path.read_bytes()
    (file,) = run([ragged(path)], database_url).files
    assert "line 61: has 6 fields" in file.error
    assert f"`premortem retail withdraw {file.batch}` first" in file.error
    assert file.loaded > 0
    transform(database_url)

    path.write_bytes(whole)  # and nobody has read the message
    (again,) = run([path], database_url).files
    assert again.state == "loaded"
    assert f"batch {file.batch} has {file.loaded} rows of another file of this name" in again.warnings[0]

    heard: list[Event] = []
    with listening(heard.append):
        assert withdraw([file.batch], database_url) == (Withdrawn(file.batch, "a.csv", file.loaded, 0),)
    assert [event.name for event in heard if event.name == "retail.withdrawn"]
    assert count()[0] == 100
    transform(database_url)
    bronze, gold = one(database_url, NET)
    assert bronze == gold
    assert status(database_url, verify=True).wrong == ()
    assert one(database_url, "select count(*) from bronze.withdrawn") == (0,)


def test_a_month_that_is_empty_afterwards_is_empty_in_the_star(tmp_path: Path, database_url: str) -> None:
    path = write_sample(tmp_path / "a.csv", 100, dirty=False).path
    batch = ingest(path, database_url).batch
    transform(database_url)
    withdraw([batch], database_url)
    (silver, _) = transform(database_url)
    assert silver.months
    assert one(
        database_url, "select (select count(*) from silver.fact_sales_daily), (select sum(net) from gold.daily_revenue)"
    ) == (0, None)
    assert ingest(path, database_url).loaded == 100  # as if it had never been


def test_what_was_counted_wrong_can_be_put_right(tmp_path: Path, database_url: str, count: Count) -> None:
    path = write_sample(tmp_path / "a.csv", 100, seed=3).path
    run([path], database_url)
    there = count()
    with psycopg.connect(database_url) as connection:
        connection.execute("delete from bronze.raw_transactions where source_row < 9")
    (wrong,) = status(database_url, verify=True).wrong
    withdraw([wrong], database_url)
    assert run([path], database_url).files[0].state == "loaded"
    assert count() == there
    assert status(database_url, verify=True).wrong == ()


def test_rows_that_others_count_as_known_are_not_taken_away(tmp_path: Path, database_url: str, count: Count) -> None:
    first = write_sample(tmp_path / "a.csv", 60, dirty=False).path
    second = tmp_path / "b.csv"
    second.write_bytes(first.read_bytes() + b"\r\n")
    batches = [run([path], database_url, by="content").files[0].batch for path in (first, second)]
    with pytest.raises(ConfigurationError, match="batches 2 were loaded by content"):
        withdraw(batches[:1], database_url)
    assert count()[0] == 60
    later = write_sample(tmp_path / "c.csv", 60, seed=1, dirty=False).path
    (file,) = run([later], database_url).files  # nobody can have counted on rows that came after all others
    assert withdraw([file.batch], database_url)[0].loaded == 60
    withdraw(batches, database_url)
    assert count() == (0, 0, 0)
    (file,) = run([second], database_url, by="content").files
    assert (file.loaded, file.known) == (60, 0)


def test_a_run_by_content_makes_its_keys_anew(tmp_path: Path, database_url: str, count: Count) -> None:
    """Another batch is withdrawn, and with it all keys, while a file is half loaded that has the rows of a third."""
    kept, other, late = (
        write_sample(tmp_path / f"{name}.csv", 100, seed=seed, dirty=False).path
        for name, seed in (("kept", 1), ("other", 2), ("late", 1))
    )
    late.write_bytes(late.read_bytes() + b"\r\n")
    run([kept], database_url)
    (taken,) = run([other], database_url).files
    seen: list[int] = []

    def listen(event: Event) -> None:
        if event.name == "retail.chunk" and not seen:
            seen.append(1)
            with psycopg.connect(database_url) as connection:  # what a withdrawal does to the keys
                connection.execute("delete from bronze.content_keys")
                connection.execute("delete from bronze.keyed_batches")

    with listening(listen):
        (file,) = run([late], database_url, by="content").files
    assert (file.loaded, file.known) == (0, 100)
    assert count()[0] == 200
    assert taken.loaded == 100


def test_what_is_not_there_or_at_work_is_refused(tmp_path: Path, database_url: str, count: Count) -> None:
    path = write_sample(tmp_path / "a.csv", 60, dirty=False).path
    (file,) = run([path], database_url).files
    with pytest.raises(ConfigurationError, match="batch 99: is not there"):
        withdraw([file.batch, 99], database_url)
    with pytest.raises(ConfigurationError, match=r"batch \(none\)"):
        withdraw([], database_url)
    session = open_session(parse_target(database_url), read_settings(database_url))
    try:
        with open_pieces(path) as pieces:
            assert progress.try_lock(session, pieces.sha256)
        with pytest.raises(ConfigurationError, match="is being loaded just now"):
            withdraw([file.batch], database_url)
    finally:
        session.close()
    assert count()[0] == 60
