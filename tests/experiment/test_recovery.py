"""Recovery: computed from samples alone, and measured on a real server that is killed and started again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
from collections.abc import Iterator

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from premortem.errors import ConfigurationError
from premortem.experiment.judgement import Answer
from premortem.experiment.liveness import nothing_hung
from premortem.experiment.operations import Operation, State
from premortem.experiment.probe import AsyncProbe, Probe
from premortem.experiment.recovery import STEADY, Recovery, Repetitions, Sample, Spread
from premortem.faults.strike import lifted, struck
from premortem.ports import ManualClock
from premortem.servers import Servers
from premortem.servers.postgres import PostgresServer


def seen(picture: str, *, struck_at: float, removed_at: float | None = None) -> Recovery:
    """One probe a second, 0.1 s each: `+` was good, `-` failed."""
    samples = tuple(Sample(at, at + 0.1, mark == "+", "" if mark == "+" else "no") for at, mark in enumerate(picture))
    return Recovery(samples, struck_at, removed_at)


@pytest.mark.parametrize(
    ("picture", "detected", "while_in", "after_removal"),
    [
        ("++++---+++++++", 0.6, 3.6, 0.0),  # struck at 3.5, removed at 11.5: it helped itself
        ("++++--------++++", 0.6, None, 0.6),
        ("++++-----------", 0.6, None, None),
        ("+++++++++++++++", None, 0.6, 0.0),  # not noticed
        ("++++--+++---++++", 0.6, None, 0.6),  # it came and went
        ("++++---+++++-+++", 0.6, 3.6, 1.6),  # the removal itself hurt for a moment
        ("++++--------++", 0.6, None, None),  # two good ones are not steady
    ],
)
def test_the_three_times(
    picture: str, detected: float | None, while_in: float | None, after_removal: float | None
) -> None:
    recovery = seen(picture, struck_at=3.5, removed_at=11.5)
    for measured, expected in (
        (recovery.detected_s, detected), (recovery.while_in_s, while_in), (recovery.after_removal_s, after_removal)
    ):  # fmt: skip
        assert measured == (None if expected is None else pytest.approx(expected))


def test_a_probe_under_way_when_the_fault_strikes_counts_as_one_that_saw_it() -> None:
    samples = (*(Sample(at, at + 0.1, ok=True) for at in range(3)), Sample(3, 5, ok=False))
    assert Recovery(samples, struck_s=3.5).detected_s == pytest.approx(1.5)


def test_a_probe_that_fails_while_the_fault_goes_in_is_no_sign_of_ill_health() -> None:
    assert seen("++++--+++", struck_at=4.9).was_healthy
    assert not seen("++++--+++", struck_at=5.9).was_healthy
    assert not seen("-------", struck_at=0.5).was_healthy


@pytest.mark.parametrize(
    ("picture", "removed_at", "seconds", "answer"),
    [
        ("++++----++++", 7.5, 1, Answer.HOLDS),
        ("++++----++++", 7.5, 0.5, Answer.BROKEN),
        ("++++----------", 7.5, 3, Answer.BROKEN),
        ("++++------", 7.5, 3, Answer.UNKNOWN),  # not watched for long enough
        ("+-++----++++", 7.5, 1, Answer.UNKNOWN),  # not healthy before
        ("----++++++++", 7.5, 1, Answer.UNKNOWN),
        ("++++--++++", None, 3, Answer.HOLDS),
        ("++++------", None, 3, Answer.BROKEN),
    ],
)
def test_recovered_in_time(picture: str, removed_at: float | None, seconds: float, answer: Answer) -> None:
    judgement = seen(picture, struck_at=3.5, removed_at=removed_at).within(seconds)
    assert judgement.answer is answer, judgement


@given(
    picture=st.text("+-", min_size=1, max_size=30), struck_at=st.floats(0, 20), stays_for=st.floats(0.1, 20) | st.none()
)
def test_the_times_are_never_negative_and_a_pass_is_always_earned(
    picture: str, struck_at: float, stays_for: float | None
) -> None:
    recovery = seen(picture, struck_at=struck_at, removed_at=None if stays_for is None else struck_at + stays_for)
    times = (recovery.detected_s, recovery.while_in_s, recovery.after_removal_s)
    assert all(time is None or time >= 0 for time in times)
    assert str(recovery)
    if recovery.within(5).answer is Answer.HOLDS:
        assert picture.endswith("+" * STEADY) or stays_for is None
        assert recovery.was_healthy


def test_the_spread_says_what_never_came() -> None:
    assert str(Spread.of([3.0, None, 1.0, 2.0])) == "2.000 s [1.000 .. 3.000] in 3, never in 1"
    assert str(Spread.of([None])) == "never in 1"


def test_repetitions_are_as_good_as_their_worst() -> None:
    good, bad = (seen(picture, struck_at=3.5, removed_at=7.5) for picture in ("++++----++++", "++++--------"))
    short = seen("++++------", struck_at=3.5, removed_at=7.5)
    healthy = seen("++++++++++++", struck_at=3.5, removed_at=7.5)
    assert Repetitions((good, good), (healthy,)).within(3).answer is Answer.HOLDS
    assert Repetitions((good, short)).within(3).answer is Answer.UNKNOWN
    assert Repetitions((good, short, bad)).within(3).answer is Answer.BROKEN
    assert Repetitions(()).within(3).answer is Answer.UNKNOWN
    assert Repetitions((good,), (bad,)).within(3).answer is Answer.UNKNOWN
    assert Repetitions((good,), (healthy,)).extra_failures == pytest.approx(0.5)
    assert str(Repetitions((good, bad), (healthy,))) == (
        "time to detect             0.600 s [0.600 .. 0.600] in 2\n"
        "to recover after removal   0.600 s [0.600 .. 0.600] in 1, never in 1\n"
        "to recover while it stays  never in 2\n"
        "beside runs without fault  +75.0% failed, +0.0 ms an answer"
    )


# --- nothing hung


def one(began: float, ended: float | None, state: State = "acknowledged", *, cut_off: bool = False) -> Operation:
    return Operation("write", "k", 1, began, ended, state, cut_off=cut_off)


@pytest.mark.parametrize(
    ("operations", "answer"),
    [
        ([one(0, 1), one(0, 2)], Answer.HOLDS),
        ([one(0, 1), one(0, 2.5)], Answer.BROKEN),
        ([one(0, 9, "failed")], Answer.BROKEN),  # an error that took too long hung, too
        ([one(0, None, "unknown")], Answer.BROKEN),
        ([one(9, None, "unknown")], Answer.UNKNOWN),
        ([one(0, 1), one(0, None, "unknown", cut_off=True)], Answer.HOLDS),
        ([one(0, None, "unknown", cut_off=True)], Answer.UNKNOWN),
        ([], Answer.UNKNOWN),
    ],
)
def test_nothing_hung(operations: list[Operation], answer: Answer) -> None:
    judgement = nothing_hung(operations, longer_than_s=2, now_s=10)
    assert judgement.answer is answer, judgement


# --- probes


def test_strikes_are_heard_from_any_thread() -> None:
    up = threading.Event()
    up.set()
    with Probe(up.is_set, every_s=0.002) as probe:
        assert probe.wait_for_health(within_s=20)
        thread = threading.Thread(target=lambda: (up.clear(), struck("frozen", "it")))  # type: ignore[func-returns-value]
        thread.start()
        thread.join()
        assert probe.wait_for_failure(within_s=20)
        assert not probe.is_healthy()
        up.set()
        lifted("frozen", "it")
        assert probe.wait_for_health(within_s=20)
    recovery = probe.recovery()
    assert recovery.detected_s is not None
    assert recovery.within(20).answer is Answer.HOLDS
    assert {sample.said for sample in recovery.samples if not sample.ok} == {"answered False"}


def test_a_question_that_hangs_is_a_failure() -> None:
    let_go, asked = threading.Event(), threading.Event()

    def hang() -> None:
        asked.set()
        let_go.wait(60)

    probe = Probe(hang, every_s=0.002)
    with probe:
        assert asked.wait(20)
        probe.struck()
    let_go.set()
    (sample,) = probe.recovery().samples
    assert "had not come back" in sample.said


def test_without_a_fault_there_is_nothing_to_recover_from() -> None:
    with pytest.raises(ConfigurationError, match="no fault struck"):
        Probe(lambda: None, clock=ManualClock()).recovery()
    with pytest.raises(ConfigurationError, match="above 0"):
        Probe(lambda: None, every_s=0)


def test_a_task_probes_a_loop() -> None:
    async def story() -> Recovery:
        up = True

        async def ask() -> None:
            await asyncio.sleep(0)
            if not up:
                raise ConnectionError("down")

        async with AsyncProbe(ask, every_s=0.002) as probe:
            assert await probe.wait_for_health(within_s=20)
            up = False
            probe.struck()
            assert not await probe.wait_for_health(within_s=0.02)
            up = True
            probe.removed()
            assert await probe.wait_for_health(within_s=20)
        return probe.recovery()

    recovery = asyncio.run(story())
    assert recovery.within(20).answer is Answer.HOLDS
    assert {sample.said for sample in recovery.samples if not sample.ok} == {"ConnectionError: down"}


# --- a real server


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with Servers() as servers:
        yield servers.new_postgres()


def answers(url: str) -> None:
    with psycopg.connect(url, connect_timeout=2) as connection:
        connection.execute("SELECT 1")


def test_a_real_server_is_killed_and_started_again_and_its_recovery_is_measured(server: PostgresServer) -> None:
    runs = []
    for _ in range(3):
        with Probe(lambda: answers(server.url()), every_s=0.01) as probe:
            assert probe.wait_for_health(within_s=30)
            server.kill()
            struck("killed", "PostgreSQL")
            assert probe.wait_for_failure(within_s=30)
            server.start()
            lifted("killed", "PostgreSQL")
            assert probe.wait_for_health(within_s=30)
        runs.append(probe.recovery())
    with Probe(lambda: answers(server.url()), every_s=0.01) as control:
        assert control.wait_for_health(within_s=30)
        control.struck()
        control.removed()
        assert control.wait_for_health(within_s=30)
    repetitions = Repetitions(tuple(runs), (control.recovery(),))
    assert repetitions.within(30).answer is Answer.HOLDS, repetitions
    assert repetitions.extra_failures > 0
    assert all(run.while_in_s is None for run in runs)


def test_a_real_server_that_is_frozen_is_noticed_by_the_time_limit_of_the_probe(server: PostgresServer) -> None:
    with Probe(lambda: answers(server.url()), every_s=0.01) as probe:
        assert probe.wait_for_health(within_s=30)
        os.kill(server.pid, signal.SIGSTOP)
        struck("frozen", "PostgreSQL")
        try:
            assert probe.wait_for_failure(within_s=30)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(server.pid, signal.SIGCONT)
        lifted("frozen", "PostgreSQL")
        assert probe.wait_for_health(within_s=30)
    detected = probe.recovery().detected_s
    assert detected is not None
    assert detected > 1  # connect_timeout, which libpq rounds to 2 s: a frozen server refuses nothing
