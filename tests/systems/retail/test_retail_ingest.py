"""A file in a real PostgreSQL: whole or not at all, once, and every row accounted for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from premortem.events import Event, emit, listening
from premortem.systems.retail.errors import AlreadyLoadedError, LostRowsError, TooManyDeadError
from premortem.systems.retail.ingest import IngestReport, ingest
from premortem.systems.retail.sample import write_sample
from premortem.systems.retail.settings import read_settings

Count = Callable[[], tuple[int, int, int]]
REAL_FILE = Path(__file__).parents[4] / "shared" / "data" / "online_retail.xlsx"


def all_rows(url: str, query: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(query.encode()).fetchall()


def test_a_dirty_workbook(tmp_path: Path, database_url: str, count: Count) -> None:
    sample = write_sample(tmp_path / "shop.xlsx", 300, seed=3)
    heard: list[Event] = []
    settings = read_settings(database_url, chunk_rows=100)
    with listening(heard.append):
        report = ingest(sample.path, settings=settings, now=datetime(2012, 1, 1, tzinfo=UTC))
    assert (report.read, report.loaded, report.dead) == (300, 300 - sample.dead, sample.dead)
    assert count() == (report.loaded, report.dead, 1)
    assert sum(number for _, number in report.dead_by_rule) == report.dead
    assert report.seconds.total >= report.seconds.read > 0
    assert [(event.name, event.get("rows"), event.get("total")) for event in heard] == [
        ("retail.opened", None, None),
        ("retail.read", 300, None),
        ("retail.sorted", 300, None),
        ("retail.loaded", 100, 297),
        ("retail.loaded", 200, 297),
        ("retail.loaded", 297, 297),
        ("retail.dead_lettered", 3, 3),
        ("retail.committing", None, None),
        ("retail.committed", None, None),
    ]
    batch = all_rows(
        database_url,
        "select id, source_file, sha256, rows_read, rows_loaded, rows_dead, again, finished_at >= started_at"
        " from bronze.batches",
    )
    assert batch == [(report.batch, "shop.xlsx", report.sha256, 300, 297, 3, False, True)]


def test_what_stands_in_the_tables(tmp_path: Path, database_url: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(
        "invoice_no,StockCode,Description,Quantity,InvoiceDate,UnitPrice,Customer ID,Country\n"
        '536365.0,85123A,"LAN\n\\.\nTERN, ""x"" é",6,12/1/2010 8:26,2.550,,EIRE\n'
        "C1,M,\\N,-1,2010-12-01 08:26,1e-7,17850.0, United Kingdom \n"
        "536366,M,a\0b,1,2010-12-01,nan,x,EIRE\n"
        "536366,M,b,1,2010-12-01,1,1,EIRE\n",
        encoding="utf-8",
    )
    report = ingest(path, database_url, settings=read_settings(database_url, max_dead_share=0.25))
    good = all_rows(
        database_url,
        "select invoiceno, stockcode, description, quantity, invoicedate::text, unitprice::text, customerid, country,"
        " source_file, source_row, batch from bronze.raw_transactions order by source_row",
    )
    at, b = "2010-12-01 08:26:00", report.batch
    assert good == [
        ("536365", "85123A", 'LAN\n\\.\nTERN, "x" é', 6, at, "2.550", None, "EIRE", "a.csv", 2, b),
        ("C1", "M", "\\N", -1, at, "0.0000001", 17850, "United Kingdom", "a.csv", 3, b),
        ("536366", "M", "b", 1, "2010-12-01 00:00:00", "1", 1, "EIRE", "a.csv", 5, b),
    ]
    dead = all_rows(
        database_url,
        "select rule, column_name, value, source_file, source_row, batch, failed_rules, raw->>'Description',"
        " raw->>'Customer ID' from bronze.dead_letters",
    )
    failed = ["unitprice_is_number", "customerid_is_integer", "description_without_nul"]
    assert dead == [("unitprice_is_number", "unitprice", "nan", "a.csv", 4, b, failed, "a␀b", "x")]


def test_the_same_bytes_are_loaded_once(tmp_path: Path, database_url: str, count: Count) -> None:
    one = write_sample(tmp_path / "one.csv", 50, dirty=False).path
    two = tmp_path / "renamed.csv"
    two.write_bytes(one.read_bytes())
    report = ingest(one, database_url)
    with pytest.raises(AlreadyLoadedError, match=f"loaded as batch {report.batch} from one.csv") as caught:
        ingest(two, database_url)
    assert caught.value.batch == report.batch
    assert count() == (50, 0, 1)
    assert ingest(two, database_url, again=True).batch > report.batch
    assert count() == (100, 0, 2)


def test_many_ingests_at_once_make_the_tables_and_load_once(tmp_path: Path, database_url: str, count: Count) -> None:
    path = write_sample(tmp_path / "a.csv", 2000, dirty=False).path
    start = threading.Barrier(6)
    done: list[IngestReport | Exception] = []

    def run() -> None:
        start.wait()
        try:
            done.append(ingest(path, database_url))
        except Exception as error:  # noqa: BLE001 - judged below
            done.append(error)

    threads = [threading.Thread(target=run) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(type(each).__name__ for each in done) == ["AlreadyLoadedError"] * 5 + ["IngestReport"]
    assert count() == (2000, 0, 1)


def test_too_many_dead_load_nothing(tmp_path: Path, database_url: str, count: Count) -> None:
    sample = write_sample(tmp_path / "a.csv", 100)
    settings = read_settings(database_url, max_dead_share=0.02)
    with pytest.raises(TooManyDeadError, match="3 of 100 rows") as caught:
        ingest(sample.path, settings=settings)
    assert (caught.value.read, caught.value.dead) == (100, 3)
    assert count() == (0, 0, 0)
    assert ingest(sample.path, settings=read_settings(database_url, max_dead_share=0.03)).dead == 3


def test_all_dead_may_be_allowed(tmp_path: Path, database_url: str, count: Count) -> None:
    sample = write_sample(tmp_path / "a.csv", 30, dirty=False)
    settings = read_settings(database_url, max_dead_share=1, price_max=0.01)
    report = ingest(sample.path, settings=settings)
    assert (report.loaded, report.dead) == (0, 30)
    assert count() == (0, 30, 1)


def test_rows_that_the_database_did_not_count_are_an_error(tmp_path: Path, database_url: str, count: Count) -> None:
    path = write_sample(tmp_path / "a.csv", 50, dirty=False).path
    ingest(path, database_url)
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "create function drop_one() returns trigger language plpgsql as"
            " $$ begin if new.source_row = 7 then return null; end if; return new; end $$;"
            "create trigger lossy before insert on bronze.raw_transactions for each row execute function drop_one()"
        )
    with pytest.raises(LostRowsError, match="50 rows were read, and the database counted 49 loaded"):
        ingest(path, database_url, again=True)
    assert count() == (50, 0, 1)


@pytest.mark.parametrize("chunk", [1, 3])
def test_killed_in_the_middle_loads_nothing(chunk: int, tmp_path: Path, database_url: str, count: Count) -> None:
    path = write_sample(tmp_path / "a.csv", 100, dirty=False).path
    story = (
        "import os, signal, sys\n"
        "from premortem.events import listening\n"
        "from premortem.systems.retail.ingest import ingest\n"
        "def strike(event):\n"
        f"    if event.name == 'retail.loaded' and event.get('rows') == {chunk * 30}:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "with listening(strike):\n"
        "    ingest(sys.argv[1], sys.argv[2])\n"
    )
    environment = {**os.environ, "PREMORTEM_RETAIL_CHUNK_ROWS": "30"}
    died = subprocess.run([sys.executable, "-c", story, str(path), database_url], env=environment, check=False)
    assert died.returncode == -signal.SIGKILL
    assert count() == (0, 0, 0)
    assert ingest(path, database_url).loaded == 100


def test_an_interrupt_loads_nothing(tmp_path: Path, database_url: str, count: Count) -> None:
    path = write_sample(tmp_path / "a.csv", 100, dirty=False).path

    def interrupt(event: Event) -> None:
        if event.name == "retail.loaded":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), listening(interrupt):
        ingest(path, database_url)
    assert count() == (0, 0, 0)
    emit("retail.heard_by_nobody")


def test_a_file_name_that_is_no_text(tmp_path: Path, database_url: str, count: Count) -> None:
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.csv"))
    try:
        odd.write_bytes(write_sample(tmp_path / "a.csv", 5, dirty=False).path.read_bytes())
    except OSError:
        pytest.skip("this file system takes only names in UTF-8")
    assert ingest(odd, database_url).source == "caf\ufffd.csv"
    assert count() == (5, 0, 1)


def test_in_a_forked_child(tmp_path: Path, database_url: str, count: Count) -> None:
    """The lab forks: importing the ingest must not start polars' pool, which a child would wait for in vain."""
    path = write_sample(tmp_path / "a.csv", 50, dirty=False).path
    story = (
        "import os, sys, polars, fastexcel\n"
        "threads = lambda: len(os.listdir('/proc/self/task'))\n"
        "before = threads()\n"  # polars 2.1 itself brings three, for its allocator and its files
        "import premortem.systems.retail.ingest as it\n"
        "assert threads() == before\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    os._exit(0 if it.ingest(sys.argv[1], sys.argv[2]).loaded == 50 else 1)\n"
        "sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
    )
    if not Path("/proc/self/task").exists():
        pytest.skip("threads are counted in /proc")
    subprocess.run([sys.executable, "-c", story, str(path), database_url], check=True, timeout=60)
    assert count() == (50, 0, 1)


def test_importing_the_package_is_light() -> None:
    code = (
        "import sys, premortem.systems.retail, premortem.systems.retail.errors, premortem.systems.retail.columns;"
        "print([m for m in ('polars', 'psycopg', 'fastexcel', 'pydantic', 'xlsxwriter') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.skipif(not REAL_FILE.exists(), reason=f"{REAL_FILE} is not here")
def test_the_real_file(database_url: str, count: Count) -> None:
    report = ingest(REAL_FILE, database_url, now=datetime(2026, 1, 1, tzinfo=UTC))
    assert report.read == 541_909
    assert report.dead_by_rule == (
        ("description_present", 1454),
        ("unitprice_not_above_max", 10),
        ("unitprice_not_negative", 2),
    )
    assert count() == (540_443, 1_466, 1)
    facts = all_rows(
        database_url,
        "select count(customerid), count(*) filter (where invoiceno like 'C%'), sum(quantity)::bigint,"
        " sum(unitprice)::text, count(distinct invoiceno), count(distinct stockcode),"
        " count(*) filter (where invoiceno like '%.%'), min(source_row), max(source_row), max(invoicedate)::text"
        " from bronze.raw_transactions",
    )
    # The same sums over the parquet file of the same data, by plain polars, without any code of this package.
    sums = (406_828, 9_280, 5_190_063, "2354032.564", 24_434, 3_957)
    assert facts == [(*sums, 0, 2, 541_910, "2011-12-09 12:50:00")]
