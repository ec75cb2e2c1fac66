"""Stages one after the other, without a socket and without a clock."""

from __future__ import annotations

from itertools import pairwise
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from premortem.faults.proxy.chain import Chain
from premortem.faults.proxy.draws import Draws, lot
from premortem.faults.proxy.kinds.bandwidth import Bandwidth
from premortem.faults.proxy.kinds.black_hole import BlackHole
from premortem.faults.proxy.kinds.corrupt import Corrupt
from premortem.faults.proxy.kinds.fault import Fault
from premortem.faults.proxy.kinds.latency import Latency
from premortem.faults.proxy.kinds.limit import Limit
from premortem.faults.proxy.kinds.slicer import Slicer
from premortem.faults.proxy.kinds.slow_close import SlowClose
from premortem.faults.proxy.protocols import Hit
from premortem.faults.proxy.stream import Aside, Item, Last, Stage

FAITHFUL = st.one_of(
    st.builds(lambda delay, part: Latency(delay, delay * part), st.floats(0, 2, width=32), st.floats(0, 1, width=32)),
    st.builds(Bandwidth, st.floats(10, 1e6, width=32)),
    st.builds(SlowClose, st.floats(0, 2, width=32)),
    st.builds(lambda size, pause: Slicer(size, size // 2, pause), st.integers(1, 50), st.floats(0, 0.5, width=32)),
)
PIECES = st.lists(st.binary(min_size=1, max_size=200), max_size=12)


def stage(fault: Fault, seed: int = 1) -> Stage:
    made = fault.stage(Draws(seed, 1, "test"))
    assert made is not None
    return made


def bytes_of(items: list[Item]) -> bytes:
    return b"".join(item for item in items if isinstance(item, bytes))


def drained(chain: Chain, now: float) -> list[tuple[float, Item]]:
    out: list[tuple[float, Item]] = []
    while (due := chain.due) is not None and due < inf:
        now = max(now, due)
        out += [(now, item) for item in chain.ready(now)]
    return out


@given(faults=st.lists(FAITHFUL, max_size=4), pieces=PIECES, gaps=st.lists(st.floats(0, 1, width=32), min_size=12))
def test_whatever_delays_loses_nothing_and_keeps_the_order(
    faults: list[Fault], pieces: list[bytes], gaps: list[float]
) -> None:
    chain = Chain()
    for number, fault in enumerate(faults):
        chain.add(number, stage(fault))
    now, out = 0.0, list[Item]()
    for piece, gap in zip(pieces, gaps, strict=False):
        out += chain.ready(now)
        out += chain.feed(now, piece)
        now += gap
    out += chain.finish(now, Last.END)
    out += [item for _, item in drained(chain, now)]
    assert bytes_of(out) == b"".join(pieces)
    assert [item for item in out if isinstance(item, Last)] == [Last.END]
    assert [item for item in out if not isinstance(item, Aside)][-1] is Last.END
    assert chain.empty
    assert chain.held_bytes == 0


@given(
    script=st.lists(
        st.one_of(
            st.binary(min_size=1, max_size=50),
            st.tuples(st.just("in"), FAITHFUL),
            st.tuples(st.just("out"), st.integers(0, 5)),
            st.tuples(st.just("change"), st.integers(0, 5), FAITHFUL),
            st.floats(0, 1, width=32),
        ),
        max_size=40,
    )
)
def test_faults_that_come_and_go_lose_nothing_and_keep_the_order(script: list[object]) -> None:
    chain, now, fed, out, number = Chain(), 0.0, b"", list[Item](), 0
    for step in script:
        out += chain.ready(now)
        if isinstance(step, bytes):
            fed += step
            out += chain.feed(now, step)
        elif isinstance(step, float):
            now += step
        elif isinstance(step, tuple) and step[0] == "in":
            chain.add(number, stage(step[1]))
            number += 1
        elif isinstance(step, tuple) and step[0] == "change":
            out += chain.replace(step[1], stage(step[2]), now)
        elif isinstance(step, tuple):
            out += chain.remove(step[1], now)
    for left in range(number):
        out += chain.remove(left, now)
    assert bytes_of(out) == fed
    assert chain.empty


@given(
    delay_s=st.floats(0, 5, width=32),
    jitter_s=st.floats(0, 9, width=32),
    arrivals=st.lists(st.floats(0, 10), max_size=20),
)
def test_latency_is_never_early_and_never_later_than_it_may_be(
    delay_s: float, jitter_s: float, arrivals: list[float]
) -> None:
    one = stage(Latency(delay_s, jitter_s))
    for now in sorted(arrivals):
        ((due, data),) = one.feed(now, b"x")
        assert data == b"x"
        assert now + max(0.0, delay_s - jitter_s) <= due + 1e-9
        assert due <= now + delay_s + jitter_s + 1e-9


def test_delays_of_stages_add_up_however_late_one_wakes_up() -> None:
    chain = Chain()
    chain.add(1, stage(Latency(1.0)))
    chain.add(2, stage(Latency(2.0)))
    chain.feed(0.0, b"x")
    assert chain.due == 1.0
    assert bytes_of(chain.ready(1.7)) == b""
    assert chain.due == 3.0
    assert bytes_of(chain.ready(3.0)) == b"x"


@given(rate=st.floats(100, 1e6, width=32), pieces=st.lists(st.integers(1, 10_000), min_size=1, max_size=20))
def test_bandwidth_is_never_above_what_it_is(rate: float, pieces: list[int]) -> None:
    chain = Chain()
    chain.add(1, stage(Bandwidth(rate)))
    for size in pieces:
        chain.feed(0.0, bytes(size))
    passed = 0
    for at, item in drained(chain, 0.0):
        passed += len(item) if isinstance(item, bytes) else 0
        assert passed <= rate * at * (1 + 1e-6) + 1e-3
    assert passed == sum(pieces)


def test_a_bandwidth_of_nothing_holds_all_until_it_is_taken_out() -> None:
    chain = Chain()
    chain.add(1, stage(Bandwidth(0)))
    assert bytes_of(chain.feed(0.0, b"held")) == b""
    assert chain.due == inf
    assert bytes_of(chain.remove(1, 5.0)) == b"held"


@given(size=st.integers(1, 50), pieces=PIECES)
def test_a_slicer_cuts_into_pieces_of_its_size(size: int, pieces: list[bytes]) -> None:
    one = stage(Slicer(size, size // 2))
    for piece in pieces:
        cut = [item for _, item in one.feed(0.0, piece) if isinstance(item, bytes)]
        assert b"".join(cut) == piece
        assert all(1 <= len(item) <= size + size // 2 for item in cut)
        assert all(len(item) >= size - size // 2 for item in cut[:-1])


def test_a_slicer_pauses_between_pieces() -> None:
    due = [at for at, _ in stage(Slicer(2, pause_s=0.5)).feed(10.0, b"abcdef")]
    assert due[0] == 10.0
    assert [after - before for before, after in pairwise(due)] == [0.5, 0.5]


@given(size=st.integers(0, 300), pieces=PIECES)
def test_a_limit_passes_so_many_bytes_and_then_the_end_of_the_connection(size: int, pieces: list[bytes]) -> None:
    chain = Chain()
    chain.add(1, stage(Limit(size)))
    out = [item for piece in pieces for item in chain.feed(0.0, piece)]
    whole = b"".join(pieces)
    assert bytes_of(out) == whole[:size]
    assert out.count(Last.CLOSE) == (1 if whole and len(whole) >= size else 0)


@given(every=st.integers(1, 40), pieces=PIECES)
def test_corruption_flips_one_bit_of_every_so_many_bytes_however_they_are_cut(every: int, pieces: list[bytes]) -> None:
    one, whole = stage(Corrupt(every)), b"".join(pieces)
    out = bytes_of([item for piece in pieces for _, item in one.feed(0.0, piece)])
    assert len(out) == len(whole)
    for index, (was, now) in enumerate(zip(whole, out, strict=True)):
        assert (was ^ now).bit_count() == (1 if index % every == every - 1 else 0)


def test_a_black_hole_that_swallowed_ends_with_a_reset_and_one_that_did_not_leaves_no_trace() -> None:
    for fed, left in ((b"lost", [Last.ABORT]), (b"", [])):
        chain = Chain()
        chain.add(1, stage(BlackHole()))
        if fed:
            out = chain.feed(0.0, fed)
            assert [item.action for item in out if isinstance(item, Aside)] == [Hit("", "4 bytes swallowed")]
            assert bytes_of(out) == b""
        assert chain.remove(1, 1.0) == left


@pytest.mark.parametrize("fault", [Latency(0.0), SlowClose(0.0), Slicer(100), Corrupt(1000)])
def test_a_fault_that_changed_nothing_has_not_struck(fault: Fault) -> None:
    one = stage(fault)
    assert one.feed(1.0, b"hello") == [(1.0, b"hello")]
    one.finish(1.0, Last.END)
    assert one.struck == ""


def test_a_strike_is_told_once_a_stage() -> None:
    chain = Chain()
    chain.add(7, stage(Latency(1.0)))
    out = [*chain.feed(0.0, b"a"), *chain.feed(0.1, b"b")]
    assert [item.fault for item in out if isinstance(item, Aside)] == [7]


@given(seed=st.integers(-(2**70), 2**70), connection=st.integers(1, 2**40))
def test_a_lot_is_from_nought_to_below_one_and_always_the_same(seed: int, connection: int) -> None:
    assert 0 <= lot(seed, connection) < 1
    assert lot(seed, connection) == lot(seed, connection)


def test_lots_are_even_and_differ_from_seed_to_seed() -> None:
    counts = [sum(lot(seed, number) < 0.3 for number in range(10_000)) for seed in range(5)]
    assert all(2800 < count < 3200 for count in counts)
    assert len(set(counts)) > 1
    assert [round(lot(42, number), 6) for number in (1, 2, 3)] == [0.737003, 0.130151, 0.028209]
