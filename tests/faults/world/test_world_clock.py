"""Clocks that are wrong: for who takes one by argument, and for a whole process."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from premortem.errors import FaultError
from premortem.faults import needs
from premortem.faults.clock import JumpingClock, SkewedClock
from premortem.ports import Clock, ManualClock

Told = Callable[[], list[tuple[str, str]]]
LOOSE_S = 300.0  # a busy machine may take its time; the jumps are larger

faketime = pytest.mark.skipif(bool(needs.why_not("faketime")), reason=needs.why_not("faketime"))

JUMPS = st.floats(-1e6, 1e6).filter(bool)


@given(st.lists(JUMPS | st.tuples(st.floats(0, 1e6))))
def test_jumps_move_the_calendar_and_nothing_else(moves: list[float | tuple[float]]) -> None:
    beneath = ManualClock()
    clock: Clock = JumpingClock(beneath)
    off = timedelta()
    for move in moves:
        if isinstance(move, tuple):
            beneath.advance(move[0])
        else:
            off += timedelta(seconds=move)
            assert isinstance(clock, JumpingClock)
            clock.jump(move)
        assert clock.now() == beneath.now() + off
        assert clock.monotonic() == beneath.monotonic()


def test_a_jump_that_nobody_saw_is_no_strike(told: Told) -> None:
    clock = JumpingClock(ManualClock())
    clock.jump(-60)
    assert told() == []
    clock.now()
    clock.now()
    assert told() == [("struck", "clock")]


@pytest.mark.parametrize("seconds", [0, float("nan"), float("inf"), 1e12])
def test_what_is_no_jump_is_refused(seconds: float) -> None:
    with pytest.raises(FaultError, match="is no jump"):
        JumpingClock().jump(seconds)


def both() -> tuple[float, float]:
    return time.time(), time.monotonic()


@faketime
def test_a_function_lives_by_the_wrong_clock_and_waits_by_the_right_one(told: Told) -> None:
    with SkewedClock(-86400) as clock:
        wall, steady = clock.run(both)
    assert abs(wall - time.time() + 86400) < LOOSE_S
    assert abs(steady - time.monotonic()) < LOOSE_S
    assert told() == [("struck", "clock"), ("lifted", "clock")]


@faketime
def test_a_command_lives_by_it_too() -> None:
    with SkewedClock() as clock:
        clock.set_to(datetime(2031, 5, 6, tzinfo=UTC))
        assert clock.run(["date", "-u", "+%Y-%m-%d"]).output == "2031-05-06\n"


@faketime
def test_it_jumps_under_a_process_that_runs(told: Told) -> None:
    code = "import sys, time\nfor _ in sys.stdin: print(time.time(), flush=True)"
    with SkewedClock() as clock:
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            env={**os.environ, **clock.environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

        def off() -> float:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(b"\n")
            process.stdin.flush()
            return float(process.stdout.readline()) - time.time()

        with process:
            assert abs(off()) < LOOSE_S
            clock.jump(-7200)
            assert told() == [("struck", "clock")]
            assert abs(off() + 7200) < LOOSE_S
            clock.jump(72000)
            assert abs(off() - 64800) < LOOSE_S
            clock.set_right()
            assert abs(off()) < LOOSE_S
            process.kill()


@faketime
def test_a_jump_under_nobody_is_no_strike(told: Told) -> None:
    with SkewedClock() as clock:
        clock.jump(3600)
        assert told() == []
        folder = Path(clock.environment["FAKETIME_TIMESTAMP_FILE"]).parent
    assert not folder.exists()
    clock.close()


@faketime
def test_a_time_without_a_zone_is_no_moment() -> None:
    with SkewedClock() as clock, pytest.raises(FaultError, match="has no time zone"):
        clock.set_to(datetime(2031, 5, 6))  # noqa: DTZ001 - that is what is refused
