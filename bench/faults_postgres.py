"""PostgreSQL behind a proxy, as `pgbench -S` asks: simple protocol, one row by its key, with and without a fault armed.

A protocol-aware fault makes the proxy read every message; the armed one here waits for a COMMIT that never comes, so
what is measured is the reading alone. Clients are psycopg, each in a process of its own.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
from bench.faults_processes import on_one_processor, running
from bench.faults_rounds import Bench, Part, interleaved, proxies, start_all
from bench.faults_table import OURS, Column, Table, percent
from bench.proxies import At, Proxy, Running

from premortem.servers.pool import Servers

RECIPE = "postgres:COMMIT#999999999:after"
ARMED = f"{OURS}, `{RECIPE}` armed"
ROWS = 10_000
CLIENTS = 4
CLIENT = """
import os, random, sys, time, psycopg
url, seconds, pinned = sys.argv[1], float(sys.argv[2]), sys.argv[3] == "pinned"
with psycopg.connect(url, sslmode="disable", autocommit=True) as connection:
    if pinned:
        os.sched_setaffinity(connection.info.backend_pid, os.sched_getaffinity(0))
    ask, number = connection.pgconn.exec_, random.Random(1).randrange
    print("ready", flush=True)
    sys.stdin.readline()
    count, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        for _ in range(20):
            result = ask(b"SELECT balance FROM accounts WHERE id = %d" % number(10000))
            assert result.ntuples == 1, result.error_message
        count += 20
    print(count / (time.perf_counter() - began), flush=True)
"""


def postgres(bench: Bench) -> Part:
    """Selects a second, of one client on one processor and of four wherever they run."""
    one, many = "selects/s, 1 client, pinned", f"selects/s, {CLIENTS} clients"
    table = Table([Column(one, 0, percent), Column(many, 0, percent)])
    seconds = 0.5 * bench.size
    with Servers() as servers:
        url = servers.postgres().admin_url
        _fill(url)
        candidates = list(_candidates(urlsplit(url).port or 0, bench.folder))
        with ExitStack() as stack:
            with on_one_processor(True):
                pinned = start_all(stack, table, candidates)
            free = start_all(stack, table, candidates)
            clients = Clients(url, seconds, bench.folder / "clients.log")

            def both(name: str, at: Running) -> Sequence[float]:
                with on_one_processor(True):
                    alone = clients.selects_per_s(at.port, 1, "pinned")
                return alone, clients.selects_per_s(free[name].port, CLIENTS, "free")

            interleaved("postgres", bench.few(7), pinned, table, both)
    text = f"""\
## PostgreSQL behind it

`SELECT balance FROM accounts WHERE id = ...` over {ROWS:,} rows, simple protocol, psycopg {psycopg.__version__},
{seconds:g} s a round: one client with the proxy and its server process on one processor, and {CLIENTS} clients. An
armed fault makes the proxy read every message; no goal, and no figure of Toxiproxy, which cannot read them.

{table.text()}"""
    return Part(text)


def _fill(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE accounts (id int PRIMARY KEY, balance int NOT NULL)")
        connection.execute(f"INSERT INTO accounts SELECT n, 0 FROM generate_series(0, {ROWS - 1}) AS n")
        connection.execute("VACUUM ANALYZE accounts")


def _candidates(upstream: int, folder: Path) -> Iterator[tuple[str, Proxy, At]]:
    """Every proxy before the same server, and ours once more with a fault armed."""
    for proxy in proxies():
        yield proxy.NAME, proxy, At(upstream, folder)
        if proxy.NAME == OURS:
            yield ARMED, proxy, At(upstream, folder, armed=RECIPE)


@dataclass(frozen=True)
class Clients:
    """Programs that ask `url` for so many seconds, each a process of its own."""

    url: str
    seconds: float
    log: Path

    def selects_per_s(self, port: int, clients: int, where: str) -> float:
        """Of all clients together, through `port`; they begin at the same moment."""
        parts = urlsplit(self.url)
        through = urlunsplit(parts._replace(netloc=f"{parts.netloc.rpartition(':')[0]}:{port}"))
        command = [sys.executable, "-c", CLIENT, through, str(self.seconds), where]
        with ExitStack() as stack:
            started = [stack.enter_context(running(command, self.log, pipes=True)) for _ in range(clients)]
            for one in started:
                self._line(one)
            for one in started:
                assert one.stdin
                one.stdin.write("go\n")
                one.stdin.flush()
            return sum(float(self._line(one)) for one in started)

    def _line(self, client: subprocess.Popen[str]) -> str:
        assert client.stdout
        line = client.stdout.readline()
        if not line:
            raise RuntimeError(f"a client ended: {self.log.read_text().strip()[-300:]}")
        return line
