"""The ledger: every seeded bug is found, a correct system is never accused, and a killed worker's history survives."""

from __future__ import annotations

import itertools
import os
import random
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from math import inf
from pathlib import Path

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from premortem.errors import ConfigurationError, Violated
from premortem.experiment.judgement import Answer, NotEnoughEvidenceError
from premortem.experiment.ledger import Ledger
from premortem.experiment.ledger_judge import Fault, findings, judge
from premortem.experiment.operations import Key, Kind, Operation, State, Value
from premortem.ports import ManualClock
from premortem.servers import Servers

unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def op(kind: Kind, value: Value, began: float, ended: float | None, state: State = "acknowledged") -> Operation:
    return Operation(kind, "k", value, began, ended, state, there=kind != "delete")


@st.composite
def histories(draw: st.DrawFn, kinds: tuple[Kind, ...] = ("write", "write", "delete")) -> list[Operation]:
    """Up to five changes of one key, overlapping at will; values may repeat."""
    made = []
    for _ in range(draw(st.integers(0, 5))):
        began = draw(st.integers(0, 8))
        ended = began + draw(st.integers(1, 6))
        state: State = draw(st.sampled_from(("acknowledged", "acknowledged", "unknown", "failed")))
        came_back = state != "unknown" or draw(st.booleans())
        kind: Kind = draw(st.sampled_from(kinds))
        value = None if kind == "delete" else draw(st.integers(1, 4))
        # halves: no begin and end at the same moment, where the ledger is lenient and the oracle need not be
        made.append(op(kind, value, began, ended + 0.5 if came_back else None, state))
    return made


def end(one: Operation) -> float:
    return inf if one.state == "unknown" or one.ended_s is None else one.ended_s


def orders(history: Sequence[Operation]) -> Iterator[tuple[Operation, ...]]:
    """Brute force: every order of effects that real time allows, for every choice of what is unknown."""
    certain = [one for one in history if one.state == "acknowledged"]
    unknown = [one for one in history if one.state == "unknown"]
    for size in range(len(unknown) + 1):
        for chosen in itertools.combinations(unknown, size):
            for order in itertools.permutations([*certain, *chosen]):
                before = all(not end(later) < earlier.began_s for earlier, later in itertools.combinations(order, 2))
                if before:
                    yield order


def outcomes(history: Sequence[Operation], initial: list[Value]) -> set[tuple[Value, ...]]:
    """Every state that a correct system may be in at the end."""
    possible: set[tuple[Value, ...]] = set()
    for order in orders(history):
        last = order[-1] if order else None
        possible.add(tuple(initial) if last is None else () if last.kind == "delete" else (last.value,))
    return possible


def wrong_with(history: Sequence[Operation], rows: Sequence[Value], initial: Sequence[Value] = ()) -> list[Fault]:
    before: dict[Key, Value] = {"k": initial[0]} if initial else {}
    return [one.fault for one in findings(history, [("k", row) for row in rows], initial=before)]


@unhurried
@given(
    history=histories(),
    initial=st.sampled_from([[], [1], [9]]),
    seen=st.sampled_from([[], [1], [2], [3], [4], [9], [7]]),
)
def test_a_final_state_is_accused_exactly_when_no_order_explains_it(
    history: list[Operation], initial: list[Value], seen: list[Value]
) -> None:
    assert bool(wrong_with(history, seen, initial)) == (tuple(seen) not in outcomes(history, initial))


@unhurried
@given(
    history=histories(), seen=st.sampled_from([None, 1, 2, 3, 4, 7]), began=st.integers(0, 14), took=st.integers(1, 4)
)
def test_a_read_in_between_is_accused_exactly_when_no_order_explains_it(
    history: list[Operation], seen: int | None, began: int, took: int
) -> None:
    read = Operation("read", "k", seen, began + 0.25, began + took + 0.25, "acknowledged", there=seen is not None)
    explained = False
    for order in orders([*history, read]):
        before = order[: order.index(read)]
        last = before[-1] if before else None
        explained |= (None if last is None or last.kind == "delete" else last.value) == seen
    final = min(outcomes(history, []), key=repr)
    assert bool(wrong_with([*history, read], list(final))) == (not explained)


@unhurried
@given(history=histories(("append",)), seed=st.integers())
def test_a_list_with_any_choice_of_the_unknown_is_never_accused(history: list[Operation], seed: int) -> None:
    chance = random.Random(seed)
    rows = [
        one.value
        for one in history
        if one.state == "acknowledged" or (one.state == "unknown" and chance.random() < 0.5)
    ]
    chance.shuffle(rows)
    assert wrong_with(history, rows) == []


@unhurried
@given(history=histories(("append",)), rows=st.lists(st.integers(1, 5), max_size=6))
def test_a_list_is_accused_exactly_when_no_choice_explains_it(history: list[Operation], rows: list[int]) -> None:
    certain = [one.value for one in history if one.state == "acknowledged"]
    unknown = [one.value for one in history if one.state == "unknown"]
    choices = itertools.chain.from_iterable(itertools.combinations(unknown, size) for size in range(len(unknown) + 1))
    explained = any(sorted([*certain, *chosen], key=repr) == sorted(rows) for chosen in choices)
    assert bool(wrong_with(history, rows)) == (not explained)


@unhurried
@given(
    amounts=st.lists(st.tuples(st.integers(-5, 5), st.sampled_from(("acknowledged", "unknown", "failed"))), max_size=8),
    initial=st.sampled_from([[], [100]]),
    value=st.integers(60, 140),
)
def test_a_counter_is_accused_exactly_when_no_choice_explains_it(
    amounts: list[tuple[int, State]], initial: list[int], value: int
) -> None:
    history = [op("add", amount, at, at + 0.5, state) for at, (amount, state) in enumerate(amounts)]
    value -= 0 if initial else 100
    certain = sum(initial) + sum(amount for amount, state in amounts if state == "acknowledged")
    unknown = [amount for amount, state in amounts if state == "unknown"]
    sums = {
        certain + sum(chosen) for size in range(len(unknown) + 1) for chosen in itertools.combinations(unknown, size)
    }
    if not history:
        return
    assert bool(wrong_with(history, [value], initial)) == (value not in sums)


W1, W2 = op("write", 1, 0, 1), op("write", 2, 2, 3)
GONE = op("delete", None, 4, 5)


@pytest.mark.parametrize(
    ("history", "rows", "fault"),
    [
        ([W1], [], "lost"),
        ([W1], [1, 1], "duplicated"),
        ([W1, W2], [1], "stale"),
        ([W1, GONE], [1], "resurrected"),
        ([W1, op("write", 2, 2, 3, "failed")], [2], "resurrected"),
        ([op("write", 2, 2, 3, "failed")], [2], "resurrected"),
        ([W1], [7], "of unknown origin"),
        ([], [7], "of unknown origin"),
        ([op("append", 1, 0, 1), op("append", 2, 0, 1)], [1], "lost"),
        ([op("append", 1, 0, 1)], [1, 1], "duplicated"),
        ([op("append", 1, 0, 1), op("append", 2, 0, 1, "failed")], [1, 2], "resurrected"),
        ([op("append", 1, 0, 1)], [1, 9], "of unknown origin"),
        ([op("add", 5, 0, 1), op("add", 5, 0, 1)], [5], "lost"),
        ([op("add", 5, 0, 1)], [10], "duplicated"),
        ([op("add", 5, 0, 1), op("add", 3, 0, 1, "failed")], [8], "resurrected"),
        ([op("add", 5, 0, 1), op("add", 3, 0, 1, "unknown")], [6], "of unknown origin"),
        ([op("add", 5, 0, 1)], [], "lost"),
    ],
)
def test_every_kind_of_bug_has_its_name(history: list[Operation], rows: list[Value], fault: Fault) -> None:
    assert wrong_with(history, rows) == [fault]
    judgement = judge(history, [("k", row) for row in rows])
    assert judgement.answer is Answer.BROKEN
    assert fault in judgement.evidence


@pytest.mark.parametrize("rows", [[], [1], [2]])
def test_what_is_unknown_is_never_lost_nor_resurrected(rows: list[Value]) -> None:
    history = [op("write", 1, 0, 1, "unknown"), op("write", 2, 2, None, "unknown")]
    assert wrong_with(history, rows) == []
    assert judge(history, [("k", row) for row in rows]).answer is Answer.UNKNOWN


def test_the_answers_are_three_and_two_of_them_reach_the_lab() -> None:
    told: list[tuple[str, bool, str]] = []

    def check(invariant: str, holds: bool, evidence: str) -> None:
        told.append((invariant, holds, evidence))
        if not holds:
            raise Violated(invariant, evidence)

    judge([W1], {"k": 1}).check(check)
    with pytest.raises(Violated, match="lost"):
        judge([W1], {}).check(check)
    with pytest.raises(NotEnoughEvidenceError, match="0 acknowledged"):
        judge([], {}).check(check)
    assert [holds for _, holds, _ in told] == [True, False]


def test_the_evidence_reads_like_a_sentence() -> None:
    assert judge([W1, W2], {"k": 1}).evidence == (
        "2 acknowledged, 0 unknown of 2 operations; 1 stale\n"
        "'k' stale: 1 is there; its last change was write 2 at 2.000 s: acknowledged"
    )


def test_what_was_there_before_may_be_there_still() -> None:
    assert findings([], {"old": 3}, initial={"old": 3}) == ()
    assert [one.fault for one in findings([], {}, initial={"old": 3})] == ["lost"]


def test_a_key_is_of_one_kind() -> None:
    with pytest.raises(ConfigurationError, match="add and write"):
        judge([W1, op("add", 1, 2, 3)], {})


# --- recording


class RefusedError(Exception):
    """Nothing happened, for certain."""


def record(ledger: Ledger, error: BaseException | None, key: str = "k") -> None:
    with ledger.writing(key, 1):
        if error:
            raise error


@pytest.fixture(params=["memory", "file"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Ledger:
    file = tmp_path / "ledger.jsonl" if request.param == "file" else None
    return Ledger(file=file, definite=(RefusedError,), clock=ManualClock())


def test_what_is_raised_decides_what_is_known(ledger: Ledger) -> None:
    record(ledger, None)
    for error in (RefusedError("no"), TimeoutError("slow"), KeyboardInterrupt()):
        with pytest.raises(type(error)):
            record(ledger, error)
    assert [one.state for one in ledger.operations] == ["acknowledged", "failed", "unknown", "unknown"]
    assert ledger.operations[2].said == "TimeoutError: slow"


def test_an_operation_stands_there_before_it_ends(ledger: Ledger) -> None:
    with ledger.adding("k", 5):
        (one,) = ledger.operations
        assert (one.state, one.ended_s, one.cut_off) == ("unknown", None, False)
    assert ledger.operations[0].state == "acknowledged"


def test_every_operation_has_its_way_in(ledger: Ledger) -> None:
    with ledger.reading("k"):
        pass
    with ledger.writing("k", "a"):
        pass
    with ledger.reading("k") as reading:
        reading.saw("a")
    with ledger.deleting("k"):
        pass
    with ledger.appending("log", 2.5):
        pass
    kinds = [(one.kind, one.value, one.there) for one in ledger.operations]
    assert kinds == [
        ("read", None, False), ("write", "a", True), ("read", "a", True), ("delete", None, False), ("append", 2.5, True)
    ]  # fmt: skip
    assert ledger.judge([("log", 2.5)]).answer is Answer.HOLDS


def test_what_cannot_be_compared_is_refused(ledger: Ledger) -> None:
    for value in (float("nan"), [1], b"x"):
        with pytest.raises(ConfigurationError, match="turn it into a string"), ledger.writing("k", value):  # type: ignore[arg-type]
            pass
    assert ledger.operations == ()


def test_many_threads_record_into_one(ledger: Ledger) -> None:
    def work(number: int) -> None:
        for step in range(50):
            with ledger.appending(f"key {number}", step):
                pass

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rows = [(f"key {number}", step) for number in range(8) for step in range(50)]
    assert ledger.judge(rows).answer is Answer.HOLDS
    assert ledger.judge(rows[1:]).answer is Answer.BROKEN


def in_a_fork(act: Callable[[], object]) -> int:
    pid = os.fork()
    if not pid:
        try:
            act()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_killed_worker_s_history_survives_and_its_last_operation_is_unknown(tmp_path: Path) -> None:
    ledger = Ledger(file=tmp_path / "ledger.jsonl")

    def work_until_killed() -> None:
        for number in range(5):
            with ledger.writing(f"a{number}", number):
                pass
        with ledger.writing("last", 1):
            os.kill(os.getpid(), signal.SIGKILL)

    with ledger.writing("ours", 1):
        assert in_a_fork(work_until_killed) == -signal.SIGKILL
    assert [one.state for one in ledger.operations] == ["acknowledged"] * 6 + ["unknown"]
    assert ledger.operations[-1].cut_off
    rows = {f"a{number}": number for number in range(5)} | {"ours": 1}
    assert ledger.judge(rows).answer is Answer.HOLDS
    assert ledger.judge(rows | {"last": 1}).answer is Answer.HOLDS
    assert "lost" in Ledger(file=tmp_path / "ledger.jsonl").judge({"ours": 1}).evidence


def test_a_torn_line_takes_no_other_with_it(tmp_path: Path) -> None:
    file = tmp_path / "ledger.jsonl"
    ledger = Ledger(file=file)
    record(ledger, None, "a")
    file.write_bytes(file.read_bytes() + b'\n{"began": "tor')
    record(ledger, None, "b")
    assert [one.key for one in ledger.operations] == ["a", "b"]


# --- a real database, and a client that is killed

SETUP = (
    "CREATE TABLE account (id text PRIMARY KEY, balance bigint NOT NULL); CREATE TABLE payment (id text, cents bigint)"
)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with Servers() as servers:
        yield servers.new_postgres().url()


@pytest.fixture
def database(url: str) -> Iterator[str]:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(SETUP)
        yield url
        connection.execute("DROP TABLE account, payment")


def pay(url: str, ledger: Ledger, name: str, *, twice: bool = False, forget: bool = False) -> None:
    """Pay until killed; with a bug on request."""
    with psycopg.connect(url) as connection:
        for number in itertools.count():
            with ledger.appending(f"{name}-{number}", number):
                for _ in range(2 if twice and number == 3 else 0 if forget and number == 3 else 1):
                    connection.execute("INSERT INTO payment VALUES (%s, %s)", (f"{name}-{number}", number))
                connection.commit()


def payments(url: str) -> list[tuple[str, int]]:
    with psycopg.connect(url) as connection:
        return connection.execute("SELECT id, cents FROM payment").fetchall()


@pytest.mark.parametrize(("bug", "said"), [("", ""), ("twice", "1 duplicated"), ("forget", "1 lost")])
def test_clients_of_a_real_database_are_killed_and_only_the_buggy_one_is_accused(
    database: str, tmp_path: Path, bug: str, said: str
) -> None:
    ledger = Ledger(file=tmp_path / "ledger.jsonl")
    workers = []
    for name in ("a", "b"):
        pid = os.fork()
        if not pid:
            try:
                pay(
                    database, ledger, name, twice=bug == "twice" and name == "a", forget=bug == "forget" and name == "a"
                )
            finally:
                os._exit(1)
        workers.append(pid)
    while len([one for one in ledger.operations if one.state == "acknowledged"]) < 60:
        assert all(os.waitpid(pid, os.WNOHANG) == (0, 0) for pid in workers), "a worker ended by itself"
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    with psycopg.connect(database) as connection:  # what they had under way is over when the table can be locked
        connection.execute("LOCK TABLE payment IN ACCESS EXCLUSIVE MODE")
    judgement = ledger.judge(payments(database))
    assert (judgement.answer is Answer.BROKEN) == bool(bug), judgement
    assert said in judgement.evidence
