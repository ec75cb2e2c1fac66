"""`premortem retail ingest` and `premortem db`, as their user types them."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from premortem.systems.retail.sample import write_sample

# Whoever starts the tests may ignore SIGINT, and children inherit that.
FOREGROUND = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from premortem.cli import main; main()"
)


@pytest.fixture
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="premortem-cli-"))
    path.chmod(0o755)  # as root, the embedded server runs as somebody else and has to get to its data
    yield path
    premortem(path, "db", "stop")
    shutil.rmtree(path)


def premortem(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREMORTEM_POSTGRES_URL")}
    return subprocess.run(
        [sys.executable, "-m", "premortem", *arguments],
        cwd=folder,
        env={**kept, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_an_ingest_can_be_looked_at_afterwards(folder: Path) -> None:
    written = write_sample(folder / "invoices.xlsx", rows=300, seed=7)
    done = premortem(folder, "retail", "ingest", "invoices.xlsx")
    assert done.returncode == 0, done.stderr
    loaded = written.rows - written.dead
    assert f"{written.rows} read = {loaded} loaded + {written.dead} dead-lettered" in done.stdout

    assert premortem(folder, "db", "status").returncode == 3
    assert premortem(folder, "db", "start").returncode == 0
    assert premortem(folder, "db", "start").returncode == 0
    assert json.loads(premortem(folder, "db", "status", "--json").stdout)["running"]
    url = premortem(folder, "db", "url").stdout.strip()
    with psycopg.connect(url) as connection:
        counts = connection.execute(
            "SELECT (SELECT count(*) FROM bronze.raw_transactions), (SELECT count(*) FROM bronze.dead_letters)"
        ).fetchone()
    assert counts == (loaded, written.dead)

    again = premortem(folder, "retail", "ingest", "invoices.xlsx")
    assert again.returncode == 1
    assert "loaded as batch 1" in again.stderr
    report = json.loads(premortem(folder, "retail", "ingest", "invoices.xlsx", "--again", "--json").stdout)
    assert report["read"] == report["loaded"] + report["dead"] == written.rows

    assert "stopped" in premortem(folder, "db", "stop").stdout
    assert "does not run" in premortem(folder, "db", "status").stdout


def test_the_users_own_database_is_used_where_one_is_named(folder: Path) -> None:
    write_sample(folder / "invoices.csv", rows=30)
    assert premortem(folder, "db", "start").returncode == 0
    url = premortem(folder, "db", "url").stdout.strip()
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    done = premortem(elsewhere, "retail", "ingest", "../invoices.csv", PREMORTEM_POSTGRES_URL=url)
    assert done.returncode == 0, done.stderr
    assert not (elsewhere / ".premortem").exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "there is no such file"),
        (b"", "0 bytes"),
        (b"PK\x03\x04 half a workbook", "invoices.xlsx"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "invoices.xlsx"),
        (b"InvoiceNo,StockCode\n1,2\n", "Description, Quantity, InvoiceDate, UnitPrice, CustomerID, Country"),
    ],
)
def test_a_bad_file_is_one_clear_error(folder: Path, content: bytes | None, said: str) -> None:
    if content is not None:
        (folder / "invoices.xlsx").write_bytes(content)
    done = premortem(folder, "retail", "ingest", "invoices.xlsx")
    assert done.returncode == 1
    assert said in done.stderr
    assert done.stderr.count("error:") == 1
    assert "Traceback" not in done.stderr


def test_every_bad_setting_is_named_in_one_error(folder: Path) -> None:
    write_sample(folder / "invoices.csv", rows=30)
    done = premortem(
        folder,
        "retail",
        "ingest",
        "invoices.csv",
        PREMORTEM_POSTGRES_URL="mysql://me:topsecret@db/x",
        PREMORTEM_RETAIL_CHUNK_ROWS="yes",
        PREMORTEM_RETAIL_STATEMENT_TIMEOUT_S="nan",
    )
    assert done.returncode == 2
    for name in ("POSTGRES_URL", "RETAIL_CHUNK_ROWS", "RETAIL_STATEMENT_TIMEOUT_S"):
        assert f"PREMORTEM_{name}" in done.stderr
    assert "topsecret" not in done.stderr


def test_url_before_the_first_start_says_what_to_do(folder: Path) -> None:
    done = premortem(folder, "db", "url")
    assert done.returncode == 2
    assert "premortem db start" in done.stderr


def test_what_a_run_leaves_behind_is_told_with_its_way_out(folder: Path) -> None:
    lines = write_sample(folder / "invoices.csv", rows=100, dirty=False).path.read_text().splitlines()
    whole = "\n".join(lines) + "\n"
    lines[60] = lines[60].rsplit(",", 2)[0]
    (folder / "invoices.csv").write_text("\n".join(lines) + "\n")
    assert premortem(folder, "db", "start").returncode == 0
    few = {"PREMORTEM_RETAIL_CHUNK_ROWS": "25"}
    done = premortem(folder, "retail", "run", "invoices.csv", "--through", "gold", **few)
    assert done.returncode == 1
    assert "premortem retail withdraw 1" in done.stdout
    assert "gold: not made, since not all files are loaded" in done.stdout
    assert "or take it out (`premortem retail withdraw 1`)" in premortem(folder, "retail", "status").stdout

    out = premortem(folder, "retail", "withdraw", "1")
    assert out.returncode == 0, out.stderr
    assert "batch 1  invoices.csv: " in out.stdout
    (folder / "invoices.csv").write_text(whole)
    done = premortem(folder, "retail", "run", "invoices.csv", "--through", "gold", **few)
    assert "100 read = 100 loaded" in done.stdout
    assert "warning" not in done.stdout
    assert premortem(folder, "retail", "withdraw", "1").returncode == 2


def test_an_empty_file_is_told_as_what_it_is(folder: Path) -> None:
    (folder / "invoices.csv").write_text(
        "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"
    )
    assert premortem(folder, "retail", "run", "invoices.csv").returncode == 1
    assert "nothing of it is loaded" in premortem(folder, "retail", "status").stdout


def test_a_run_that_is_interrupted_says_what_is_kept(folder: Path) -> None:
    write_sample(folder / "invoices.csv", rows=20_000)
    assert premortem(folder, "db", "start").returncode == 0
    run = subprocess.Popen(
        [sys.executable, "-c", FOREGROUND, "retail", "run", "invoices.csv"],
        cwd=folder,
        env={**os.environ, "PREMORTEM_RETAIL_CHUNK_ROWS": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )
    while 'working": true' not in premortem(folder, "retail", "status", "--json").stdout and run.poll() is None:
        pass
    run.send_signal(signal.SIGINT)
    _, said = run.communicate(timeout=60)
    assert run.returncode == 130, said
    assert "what was committed is kept" in said
