"""What a proxy costs and how exact it is: throughput, round trips, connects, latency and memory.

Each function measures one of them and gives its part of the page and its goals. The figures of Toxiproxy are quoted,
not measured here: it is a Go program that has to be built.
"""

from __future__ import annotations

from collections.abc import Sequence

from bench.faults_load import quantile
from bench.faults_processes import on_one_processor, resident_bytes
from bench.faults_rounds import Bench, Part, interleaved, proxies, standing
from bench.faults_table import DIRECT, OURS, Column, Table, goal, percent, times
from bench.proxies import Running

ELSEWHERE = "Toxiproxy, *measured elsewhere on another day, not in this run*"
LATENCY_S = 0.020
CONNECTIONS = 1000
MEGABYTE = 1_000_000
BULK_BAR, P99_BAR, CONNECTS_BAR, LATENCY_BAR_MS, MEMORY_BAR_MB = 0.55, 2.6, 0.45, 0.3, 30.0


def bulk(bench: Bench) -> Part:
    """Throughput of one connection."""
    table = Table([Column("GB/s", 2, percent)])
    size = int(400 * MEGABYTE * bench.size)
    with standing(bench, table, proxies()) as up:
        interleaved("bulk", bench.rounds, up, table, lambda _, at: [bench.load.bulk_bytes_per_s(at.port, size) / 1e9])
    claim = f"bulk throughput at least {BULK_BAR:.0%} of direct (Toxiproxy: 21%)"
    text = f"""\
## Bulk throughput

One connection, {size // MEGABYTE} MB in writes of 256 KB, one acknowledgement at the end.

{table.text(f"| {ELSEWHERE} | 0.54 | 21% |")}"""
    return Part(text, [table.goal(claim, "GB/s", BULK_BAR)])


def ping(bench: Bench) -> Part:
    """Round trips of 64 bytes, where the scheduler decides and on one processor."""
    count, parts, goals = int(4000 * bench.size), [], []
    quoted = {False: "| 72 | 1.71x | 191 | 1.87x |", True: "| 41 | 2.56x | 130 | 4.2x |"}
    for pinned in (False, True):
        table = Table([Column("p50 us", 1, times), Column("p99 us", 1, times)])
        where = "client, proxy and server on one processor" if pinned else "the scheduler decides where"

        def one(_: str, at: Running) -> Sequence[float]:
            took = bench.load.ping_s(at.port, count)
            return quantile(took, 0.5) * 1e6, quantile(took, 0.99) * 1e6

        with on_one_processor(pinned), standing(bench, table, proxies()) as up:
            interleaved("pinned round trips" if pinned else "round trips", bench.rounds, up, table, one)
        claim = f"64-byte round trip, {where}: p99 at most {P99_BAR:g}x direct"
        claim += " (Toxiproxy: 4.2x)" if pinned else ""
        goals.append(table.goal(claim, "p99 us", P99_BAR))
        parts.append(f"{where.capitalize()}:\n\n{table.text(f'| {ELSEWHERE} {quoted[pinned]}')}")
    head = f"## Round trips of 64 bytes\n\nOne connection, {count} round trips a round, one after the other.\n\n"
    return Part(head + "\n\n".join(parts), goals)


def connects(bench: Bench) -> Part:
    """How often a connection can be made and closed."""
    table = Table([Column("connects/s", 0, percent)])
    seconds = 0.6 * bench.size
    with standing(bench, table, proxies()) as up:
        interleaved("connects", bench.rounds, up, table, lambda _, at: [bench.load.connects_per_s(at.port, seconds)])
    claim = f"connects per second at least {CONNECTS_BAR:.0%} of direct (Toxiproxy: 26%)"
    text = f"""\
## Connects

Connect, one byte each way, close; four workers, {seconds:g} s a round.

{table.text(f"| {ELSEWHERE} | 2,700 | 26% |")}"""
    return Part(text, [table.goal(claim, "connects/s", CONNECTS_BAR)])


def latency(bench: Bench) -> Part:
    """How exact a delay is: of answers, by those that can delay."""
    table = Table([Column("error ms", 3), Column("p99 error ms", 3), Column("earliest ms", 3)])
    able = [proxy for proxy in proxies() if proxy.LATENCY]
    count = max(20, int(60 * bench.size))
    with standing(bench, table, able) as zero, standing(bench, table, able, LATENCY_S) as late:

        def one(name: str, at: Running) -> Sequence[float]:
            own = quantile(bench.load.ping_s(zero[name].port, 500), 0.5)
            took = [(rtt - LATENCY_S) * 1000 for rtt in bench.load.ping_s(at.port, count)]
            return quantile(took, 0.5) - own * 1000, quantile(took, 0.99) - own * 1000, took[0]

        interleaved("latency", bench.few(9), late, table, one)
    error, earliest = table.values(OURS, "error ms"), table.values(OURS, "earliest ms")
    text = f"""\
## A latency of 20 ms

Answers are delayed by 20 ms. The error is the round trip minus 20 ms minus the same proxy's own round trip without a
delay (both medians of a round, {count} and 500 round trips, one after the other). Earliest: the shortest round trip of
a round minus 20 ms; below 0 the answer came too early. The others have no latency to offer.

{table.text(f"| {ELSEWHERE} | 0.55 | | |")}"""
    return Part(
        text,
        [
            goal(
                f"error of a 20 ms latency at most {LATENCY_BAR_MS:g} ms at the median (Toxiproxy: 0.55 ms)",
                error,
                LATENCY_BAR_MS,
                lambda value: f"{value:.3f} ms",
                at_least=False,
            ),
            goal(
                "never early",
                [min(earliest)] if earliest else [],
                0.0,
                lambda value: f"earliest {value:+.3f} ms",
                at_least=True,
            ),
        ],
    )


def memory(bench: Bench) -> Part:
    """What a thousand open connections take."""
    titles = ("MB resident at rest", f"MB with {CONNECTIONS:,} connections", "of it, shared pages once")
    table = Table([Column(title, 1) for title in titles])
    for turn in range(bench.few(2)):
        with standing(bench, table, [proxy for proxy in proxies() if proxy.NAME != DIRECT]) as up:

            def one(_: str, at: Running) -> Sequence[float]:
                rest = resident_bytes(at.pids)[0]
                with bench.load.holding(at.port, CONNECTIONS):
                    resident, once = resident_bytes(at.pids)
                return rest / MEGABYTE, resident / MEGABYTE, once / MEGABYTE

            interleaved(f"memory {turn + 1}", 1, up, table, one)
    claim = f"resident memory under {MEMORY_BAR_MB:g} MB with {CONNECTIONS:,} open connections"
    text = f"""\
## Memory

Resident memory of all processes of a proxy, before and with {CONNECTIONS:,} open connections that have each carried 64
bytes both ways; and that again with each page that processes share counted once.

{table.text()}"""
    values = table.values(OURS, titles[1])
    return Part(text, [goal(claim, values, MEMORY_BAR_MB, lambda value: f"{value:.1f} MB", at_least=False)])
