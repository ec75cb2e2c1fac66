"""A run in a real PostgreSQL: chunk by chunk, once, and on from where it was, whoever dies."""

from __future__ import annotations

import csv
import io
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from premortem.errors import ConfigurationError
from premortem.events import Event, listening
from premortem.systems.retail.errors import AlreadyLoadedError, DatabaseUnreachableError, SourceError
from premortem.systems.retail.ingest import ingest
from premortem.systems.retail.pieces import open_pieces, record_end
from premortem.systems.retail.reader import read_file
from premortem.systems.retail.run import RunReport, run
from premortem.systems.retail.sample import write_sample
from premortem.systems.retail.settings import read_settings

Count = Callable[[], tuple[int, int, int]]
REAL_FILE = Path(__file__).parents[4] / "shared" / "data" / "online_retail.xlsx"
SUMS = (
    "select (select array[sum(rows_read), sum(rows_loaded), sum(rows_dead)]::text from bronze.batches),"
    " (select count(*) from bronze.raw_transactions), (select count(*) from bronze.dead_letters),"
    " (select sum(quantity * unitprice)::text from bronze.raw_transactions),"
    " (select md5(string_agg(concat(source_file, source_row, invoiceno, description, unitprice), '|'"
    " order by source_file, source_row)) from bronze.raw_transactions)"
)
LOAD = (
    "import sys\n"
    "from premortem.systems.retail.run import run\n"
    "report = run(sys.argv[2:], sys.argv[1])\n"
    "sys.exit(1 if report.failed else 0)\n"
)


def one(url: str, query: str) -> tuple[object, ...]:
    with psycopg.connect(url) as connection:
        row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row


def empty(url: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("drop schema bronze cascade")


def small(monkeypatch: pytest.MonkeyPatch, rows: int = 25) -> None:
    monkeypatch.setenv("PREMORTEM_RETAIL_CHUNK_ROWS", str(rows))


@pytest.mark.parametrize("suffix", ["csv", "xlsx", "parquet"])
def test_all_that_a_file_holds(
    suffix: str, tmp_path: Path, database_url: str, count: Count, monkeypatch: pytest.MonkeyPatch
) -> None:
    small(monkeypatch)
    sample = write_sample(tmp_path / f"shop.{suffix}", 100, seed=3)
    heard: list[Event] = []
    with listening(heard.append):
        report = run([sample.path], database_url)
    (file,) = report.files
    assert (file.state, file.read, file.loaded, file.dead) == ("loaded", 100, 100 - sample.dead, sample.dead)
    assert count() == (100 - sample.dead, sample.dead, 1)
    assert file.chunks == len([event for event in heard if event.name == "retail.chunk"])
    assert file.chunks in {4, 5}
    whole = one(database_url, SUMS)
    again = run([sample.path], database_url).files[0]
    assert (again.state, again.chunks, again.read, again.batch) == ("known", 0, 100, file.batch)
    assert one(database_url, SUMS) == whole
    empty(database_url)
    ingest(sample.path, database_url)
    assert one(database_url, SUMS) == whole  # chunk by chunk and in one go are the same


def test_the_chunks_are_the_lineage(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    small(monkeypatch)
    sample = write_sample(tmp_path / "shop.csv", 100, seed=3)
    run([sample.path], database_url, owner="shop-1")
    with psycopg.connect(database_url) as connection:
        rows = connection.execute(
            "select chunk, begin_at, end_at, begin_row, end_row, rows_read, owner, epoch,"
            " (select count(*) from bronze.raw_transactions r where r.batch = c.batch and source_row >= begin_row"
            " and source_row < end_row) = rows_loaded from bronze.chunks c order by chunk"
        ).fetchall()
    assert [row[0] for row in rows] == list(range(len(rows)))
    assert rows[0][3] == 2
    assert rows[-1][2] == sample.path.stat().st_size
    assert all(before[2] == after[1] and before[4] == after[3] for before, after in pairwise(rows))
    assert sum(row[5] for row in rows) == 100
    assert {row[6:] for row in rows} == {("shop-1", 1, True)}


def test_a_file_of_another_name_is_the_same_file(tmp_path: Path, database_url: str, count: Count) -> None:
    first = write_sample(tmp_path / "a.csv", 50, dirty=False).path
    second = tmp_path / "b.csv"
    second.write_bytes(first.read_bytes())
    report = run([first, second, first], database_url)
    assert [file.state for file in report.files] == ["loaded", "known", "known"]
    assert count() == (50, 0, 1)
    with pytest.raises(AlreadyLoadedError, match="loaded as batch"):
        ingest(second, database_url)


def test_what_ingest_has_loaded_is_known_to_a_run(tmp_path: Path, database_url: str, count: Count) -> None:
    path = write_sample(tmp_path / "a.csv", 50, dirty=False).path
    batch = ingest(path, database_url).batch
    (file,) = run([path], database_url).files
    assert (file.state, file.batch, file.read) == ("known", batch, 50)
    assert count() == (50, 0, 1)


def test_one_bad_file_does_not_stop_the_others(tmp_path: Path, database_url: str, count: Count) -> None:
    good = write_sample(tmp_path / "a.csv", 50, dirty=False).path
    bad = tmp_path / "b.csv"
    bad.write_text("a,b\n1,2\n")
    report = run([bad, tmp_path / "none.csv", good, Path()], database_url)
    assert [file.state for file in report.files] == ["failed", "failed", "loaded", "failed"]
    assert (report.files[3].source, report.files[3].error[:16]) == (".", ".: is a folder, ")
    assert "missing columns" in report.files[0].error
    assert "there is no such file" in report.files[1].error
    assert report.failed == (*report.files[:2], report.files[3])
    assert count() == (50, 0, 1)


def test_a_file_that_is_cut_off_keeps_what_was_whole(
    tmp_path: Path, database_url: str, count: Count, monkeypatch: pytest.MonkeyPatch
) -> None:
    small(monkeypatch)
    path = write_sample(tmp_path / "a.csv", 100, dirty=False).path
    text = path.read_text()
    path.write_text(text[: text.rindex(",")] + '\n"')  # where the end does not show it
    (file,) = run([path], database_url).files
    assert file.state == "failed"
    assert "line 101: has 7 fields" in file.error
    assert file.loaded == count()[0] > 0
    with pytest.raises(AlreadyLoadedError, match="loaded in part"):
        ingest(path, database_url)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_file_whose_end_is_missing_is_refused_before_its_first_row(
    encoding: str, tmp_path: Path, database_url: str, count: Count, monkeypatch: pytest.MonkeyPatch
) -> None:
    small(monkeypatch)
    path = write_sample(tmp_path / "a.csv", 100, dirty=False).path
    text = path.read_text()
    path.write_bytes(text[: text.rindex(",")].encode(encoding))
    (file,) = run([path], database_url).files
    assert "line 101: has 7 fields" in file.error
    assert count()[0] == 0
    path.write_bytes(text[:-2].encode(encoding))  # within the last value: who can tell?
    (file,) = run([path], database_url).files
    assert "the last line has no line end" in file.warnings[-1]
    assert "the last line has no line end" in read_file(path).warnings[-1]
    assert count()[0] == 100


def test_too_many_dead_stop_at_their_chunk_and_go_on_when_allowed(
    tmp_path: Path, database_url: str, count: Count, monkeypatch: pytest.MonkeyPatch
) -> None:
    small(monkeypatch)
    path = write_sample(tmp_path / "a.csv", 100, dirty=False).path
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:61], *(line.rsplit(",", 1)[0] + "," for line in lines[61:])]) + "\n")
    (file,) = run([path], settings=read_settings(database_url, max_dead_share=0.1)).files
    assert "nothing was loaded from row" in file.error
    assert 0 < file.loaded == count()[0] < 61
    (file,) = run([path], settings=read_settings(database_url, max_dead_share=0.5)).files
    assert (file.state, file.resumed, file.read, file.dead) == ("loaded", True, 100, 40)
    assert count() == (60, 40, 1)


def test_files_and_workers_there_must_be(database_url: str) -> None:
    with pytest.raises(ConfigurationError, match="0 files"):
        run([], database_url)


# Text in pieces


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.lists(st.text('ab\n",', max_size=6), min_size=2, max_size=2), min_size=1, max_size=12),
    st.integers(1, 60),
)
def test_a_piece_ends_where_a_record_ends(records: list[list[str]], size: int) -> None:
    def written(record: list[str]) -> bytes:
        return ",".join('"' + field.replace('"', '""') + '"' for field in record).encode() + b"\n"

    text = b"".join(map(written, records))
    ends = {sum(len(written(record)) for record in records[: number + 1]) for number in range(len(records))}
    begin = 0
    while (end := record_end(text, begin, size)) is not None:
        assert end in ends
        assert end - begin >= size
        assert not [other for other in ends if begin + size <= other < end]
        begin = end


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
@pytest.mark.parametrize("rows", [1, 7, 1000])
def test_in_pieces_and_whole_are_the_same(encoding: str, rows: int, tmp_path: Path) -> None:
    with write_sample(tmp_path / "a.csv", 60, seed=5).path.open(encoding="utf-8", newline="") as file:
        records = list(csv.reader(file))
    for record in records[5:20:3]:
        record[2] = 'CAFÉ, "WHITE"\nLANTERN'
    text = io.StringIO()
    csv.writer(text).writerows([[], *records[:30], [""] * 8, *records[30:]])
    path = tmp_path / "b.csv"
    path.write_bytes(text.getvalue().encode(encoding))
    whole = read_file(path)
    parts = []
    with open_pieces(path) as pieces:
        for piece in pieces.read(None, rows):
            parts += piece.table.rows.rows()
            rest = [row for after in pieces.read(piece.end, 3) for row in after.table.rows.rows()]
            assert parts + rest == whole.rows.rows()
    assert parts == whole.rows.rows()
    assert piece.last


def test_a_file_that_changes_while_it_is_read(tmp_path: Path) -> None:
    path = write_sample(tmp_path / "a.csv", 60, dirty=False).path
    with open_pieces(path) as pieces:
        path.write_bytes(path.read_bytes().replace(b"United Kingdom", b"United Kingd0m"))
        with pytest.raises(SourceError, match="was changed while it was being loaded"):
            list(pieces.read(None, 10))


def test_a_quote_that_is_not_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("premortem.systems.retail.pieces.MAX_RECORD_BYTES", 1 << 16)
    path = write_sample(tmp_path / "a.csv", 60_000, dirty=False).path
    text = path.read_bytes()
    place = text.index(b"\n", 1000) + 1
    path.write_bytes(text[:place] + b'"' + text[place:])
    with open_pieces(path) as pieces, pytest.raises(SourceError, match="a quote is opened there and not closed"):
        list(pieces.read(None, 10))


# Deaths


def killed(url: str, event: str, nth: int, *files: Path) -> None:
    """A run that dies by SIGKILL at the nth event of a name."""
    strike = (
        "import itertools, os, signal\n"
        "from premortem.events import subscribe\n"
        "count = itertools.count(1)\n"
        "def strike(event):\n"
        f"    if event.name == {event!r} and next(count) == {nth}:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "subscribe(strike)\n"
    )
    died = subprocess.run([sys.executable, "-c", strike + LOAD, url, *map(str, files)], check=False)
    assert died.returncode == -signal.SIGKILL


@pytest.mark.parametrize(("event", "nth"), [("retail.file", 1), ("retail.committing", 2), ("retail.chunk", 2)])
def test_killed_and_run_again(
    event: str, nth: int, tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`retail.chunk` is after the commit and before anybody has noted it: where dlt was wedged for good."""
    small(monkeypatch)
    path = write_sample(tmp_path / "a.csv", 100, seed=2).path
    run([path], database_url)
    undisturbed = one(database_url, SUMS)
    empty(database_url)
    for again in range(2):  # two deaths at the same place, the second further on
        if again == 0 or event != "retail.file":
            killed(database_url, event, min(nth, 2 if again == 0 else 1), path)
    report = run([path], database_url)
    assert report.files[0].state == "loaded"
    assert one(database_url, SUMS) == undisturbed
    assert run([path], database_url).files[0].state == "known"


def test_two_workers_of_two_processes_on_the_same_files(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    small(monkeypatch)
    files = [write_sample(tmp_path / f"{name}.csv", 200, seed=name).path for name in range(3)]
    run(files, database_url)
    undisturbed = one(database_url, SUMS)
    empty(database_url)
    command = [sys.executable, "-c", LOAD, database_url, *map(str, files)]
    processes = [subprocess.Popen(command) for _ in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    assert one(database_url, SUMS) == undisturbed


def test_threads_of_one_process(
    tmp_path: Path, database_url: str, count: Count, monkeypatch: pytest.MonkeyPatch
) -> None:
    small(monkeypatch)
    files = [write_sample(tmp_path / f"{name}.csv", 100, seed=name, dirty=False).path for name in range(4)]
    heard: list[Event] = []
    with listening(heard.append):
        report = run([*files, *files], database_url, workers=4)
    states = [file.state for file in report.files]
    assert states.count("loaded") == 4
    assert states.count("known") == 4
    assert count() == (400, 0, 4)
    assert len({event.get("batch") for event in heard if event.name == "retail.chunk"}) == 4


def test_a_worker_that_was_overtaken_writes_nothing(
    tmp_path: Path, database_url: str, count: Count, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lock was lost with its session, and another has the file: it notices before it writes, and finds it done."""
    small(monkeypatch)
    path = write_sample(tmp_path / "a.csv", 100, dirty=False).path
    others: list[RunReport] = []

    def overtake(event: Event) -> None:
        if event.name == "retail.chunk" and event.get("chunk") == 1 and not others:
            with psycopg.connect(database_url) as connection:
                connection.execute(
                    "select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = current_database()"
                    " and application_name = 'premortem-retail'"
                )
            others.append(RunReport((), 0))
            other = threading.Thread(target=lambda: others.append(run([path], database_url, owner="other")))
            other.start()
            other.join()

    with listening(overtake):
        report = run([path], database_url, owner="first")
    assert others[1].files[0].state == "loaded"
    assert report.files[0].state == "known"
    assert count() == (100, 0, 1)


def test_a_session_that_dies_is_replaced(
    tmp_path: Path, database_url: str, count: Count, monkeypatch: pytest.MonkeyPatch
) -> None:
    small(monkeypatch)
    path = write_sample(tmp_path / "a.csv", 100, dirty=False).path
    deaths: list[str] = []

    def end(event: Event) -> None:
        if event.name in {"retail.chunk", "retail.committing"} and len(deaths) < 4:
            deaths.append(event.name)
            with psycopg.connect(database_url) as connection:
                connection.execute(
                    "select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = current_database()"
                    " and application_name = 'premortem-retail'"
                )

    with listening(end):
        (file,) = run([path], database_url).files
    assert len(deaths) == 4
    assert (file.state, file.read) == ("loaded", 100)
    assert count() == (100, 0, 1)


def test_a_database_that_stays_away_is_an_error_in_time(tmp_path: Path, database_url: str) -> None:
    path = write_sample(tmp_path / "a.csv", 100, dirty=False).path
    gone = database_url.rsplit(":", 1)[0] + ":1/none"
    began = time.monotonic()
    with pytest.raises(DatabaseUnreachableError) as caught:
        run([path], settings=read_settings(gone, attempts=3))
    assert "3 attempt" in "".join(caught.value.__notes__)
    assert time.monotonic() - began < 30


# Progress that somebody has changed


@pytest.mark.parametrize(
    "damage",
    [
        "update bronze.chunks set rows_loaded = rows_loaded + 1, rows_dead = rows_dead - 1 where chunk = 2",
        "update bronze.chunks set end_at = end_at + 40 where chunk = 3",
        "delete from bronze.chunks where chunk = 1",
        "delete from bronze.chunks where chunk = 3",
        "delete from bronze.chunks",
        "update bronze.claims set chunks = chunks + 1",
        "delete from bronze.chunks; delete from bronze.claims",
        "update bronze.chunks set seal = 'x' where chunk = 0",
    ],
)
@pytest.mark.parametrize("whole", [False, True])
def test_progress_that_was_changed_by_hand(
    damage: str, *, whole: bool, tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    small(monkeypatch, 15)
    path = write_sample(tmp_path / "a.csv", 100, seed=4).path
    if whole and damage.endswith("bronze.claims"):
        pytest.skip("a whole batch without progress is one that `ingest` has loaded")
    run([path], database_url)
    undisturbed = one(database_url, SUMS)
    if not whole:
        empty(database_url)
        killed(database_url, "retail.chunk", 4, path)
    with psycopg.connect(database_url) as connection:
        connection.execute("alter table bronze.chunks drop constraint chunks_check")
        connection.execute(damage.encode())
    heard: list[Event] = []
    with listening(heard.append):
        (file,) = run([path], database_url).files
    assert [event.name for event in heard].count("retail.progress_damaged") == 1
    assert file.state == "loaded"
    assert one(database_url, SUMS) == undisturbed
    assert run([path], database_url).files[0].state == "known"


@pytest.mark.skipif(not REAL_FILE.exists(), reason=f"{REAL_FILE} is not here")
def test_the_real_file_in_chunks(database_url: str, count: Count) -> None:
    (file,) = run([REAL_FILE.with_suffix(".parquet")], database_url).files
    assert (file.read, file.loaded, file.dead, file.chunks) == (541_909, 540_443, 1_466, 11)
    assert count() == (540_443, 1_466, 1)
    facts = one(
        database_url,
        "select count(customerid), sum(quantity)::bigint, sum(unitprice)::text, count(distinct invoiceno),"
        " min(source_row), max(source_row) from bronze.raw_transactions",
    )
    assert facts == (406_828, 5_190_063, "2354032.564", 24_434, 2, 541_910)


def test_the_clock_of_the_run_is_an_argument(tmp_path: Path, database_url: str) -> None:
    from premortem.ports import ManualClock  # noqa: PLC0415

    path = write_sample(tmp_path / "a.csv", 50, dirty=False).path
    settings = read_settings(database_url, max_dead_share=1)
    report = run([path], settings=settings, clock=ManualClock(datetime(2001, 1, 1, tzinfo=UTC)))
    assert report.files[0].dead == 50
