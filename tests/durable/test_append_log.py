"""A log that only grows: nothing acknowledged is lost, nothing torn is read, whoever dies and however many write."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from premortem.durable import AppendLog, DamagedError
from premortem.durable.append_records import MAGIC
from premortem.errors import ConfigurationError
from premortem.events import Event
from premortem.faults import syscalls
from premortem.faults.sweep.forks import every_crash

swept = pytest.mark.skipif(bool(syscalls.why_not()), reason=f"no system calls here: {syscalls.why_not()}")
RECORDS = [b"one", b"", b"\xf5rec" * 5, b"four\n" * 30]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def whole(path: Path) -> bytes:
    with AppendLog(path) as log:
        log.extend(RECORDS)
    return path.read_bytes()


def read(path: Path, on_damage: Literal["stop", "skip"] = "stop") -> list[bytes]:
    return list(AppendLog(path).records(on_damage=on_damage))


def test_records_come_back_in_order(path: Path) -> None:
    log = AppendLog(path, sync=0.5)
    assert list(log.records()) == []
    offsets = [log.append(record) for record in RECORDS]
    assert offsets == sorted(set(offsets))
    assert list(log.records()) == RECORDS
    log.close()
    log.append(b"after it was closed")
    assert read(path) == [*RECORDS, b"after it was closed"]
    log.close()


@pytest.mark.parametrize("sync", [0, -1.0, 4000.0, True, "sometimes"])
def test_a_policy_that_is_none_is_refused(path: Path, sync: float) -> None:
    with pytest.raises(ConfigurationError, match=r"AppendLog\.sync"):
        AppendLog(path, sync=sync)


def test_truncated_at_every_length_it_keeps_what_is_whole_and_goes_on(
    path: Path, whole: bytes, heard: list[Event]
) -> None:
    ends = [len(MAGIC)]
    for record in RECORDS:
        ends.append(ends[-1] + 12 + len(record))
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        kept = RECORDS[: sum(end <= length for end in ends[1:])]
        assert read(path) == kept, length
        del heard[:]
        with AppendLog(path) as log:
            log.append(b"next")
        told = [(event.name, event.get("cut")) for event in heard]
        assert told == ([] if length in ends or length < len(MAGIC) else [("log.torn_tail", True)]), length
        assert read(path) == [*kept, b"next"], length


def test_with_every_byte_flipped_no_wrong_record_is_read(path: Path, whole: bytes) -> None:
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :])
        found = read(path, "skip")
        assert not Counter(found) - Counter(RECORDS), at
        assert len(found) >= len(RECORDS) - 1, at
        if at < len(whole) - 12 - len(RECORDS[-1]):
            with pytest.raises(DamagedError, match=r"records\(on_damage=\"skip\"\)"):
                read(path)
        if at >= len(MAGIC):
            with AppendLog(path) as log:
                log.append(b"next")
            assert read(path, "skip") == [*found, b"next"], at


def test_a_foreign_file_is_not_touched(path: Path) -> None:
    path.write_text("somebody's table\n1,2,3\n")
    with pytest.raises(DamagedError, match="as no log does"):
        AppendLog(path).append(b"x")
    assert path.read_text() == "somebody's table\n1,2,3\n"
    with pytest.raises(ConfigurationError, match="67108864 at most"):
        AppendLog(path).append(bytes((64 << 20) + 1))


def test_a_log_that_was_moved_away_is_begun_anew(path: Path) -> None:
    with AppendLog(path) as log:
        log.append(b"one")
        path.rename(path.with_suffix(".1"))
        log.append(b"two")
    assert read(path.with_suffix(".1")) == [b"one"]
    assert read(path) == [b"two"]


def test_large_records_and_damage_across_blocks(path: Path) -> None:
    records = [bytes([number]) * (700_000 * number) for number in range(1, 6)]
    with AppendLog(path, sync="never") as log:
        log.extend(records)
    assert read(path) == records
    with path.open("r+b") as file:
        file.seek(700_000 + 1_400_000)
        file.write(b"\xf5rec")
    assert read(path, "skip") == [records[0], *records[2:]]


def _append(path: Path, *records: bytes) -> None:
    with AppendLog(path) as log:
        for record in records:
            log.append(record)
            (path.parent / f"said-{record.decode()}").mkdir()


@swept
@pytest.mark.parametrize("before", [b"", MAGIC], ids=["new", "begun"])
def test_every_crash_and_error_leaves_what_was_acknowledged(path: Path, before: bytes) -> None:
    if before:
        path.write_bytes(before)
    crashes = 0
    for crash in every_crash(_append, path, b"a", b"b", folder=path.parent, effects=("kill", "EIO", "ENOSPC", "short")):
        found = read(path)
        said = [name for name in ("a", "b") if (path.parent / f"said-{name}").exists()]
        assert [record.decode() for record in found][: len(said)] == said, crash
        assert found in ([], [b"a"], [b"a", b"b"]), crash
        with AppendLog(path) as log:
            log.append(b"next")
        assert read(path) == [*found, b"next"], crash
        crashes += 1
    assert crashes > 10


@swept
def test_every_power_loss_leaves_what_was_acknowledged(path: Path, losses: Any) -> None:
    promised = 0
    for loss in losses(lambda: _append(path, b"a", b"b")):
        found = read(path)
        assert tuple(record.decode() for record in found)[: len(loss.said)] == loss.said, loss
        with AppendLog(path) as log:
            log.append(b"next")
        assert read(path) == [*found, b"next"], loss
        promised += len(loss.said)
    assert promised > 3


def _append_many(path: Path, who: int, times: int) -> None:
    log = AppendLog(path, sync="never")
    for number in range(times):
        log.append(f"{who} {number} ".encode() + b"." * (number % 3000))


def test_many_appenders_of_whom_some_are_killed(path: Path) -> None:
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_append_many, args=(path, who, 400)) for who in range(4)]
    doomed = [context.Process(target=_append_many, args=(path, who, 10**9)) for who in (4, 5)]
    for worker in (*workers, *doomed):
        worker.start()
    for worker in doomed:
        while worker.is_alive() and not any(
            record.startswith(b"%d 20 " % (4 + doomed.index(worker))) for record in AppendLog(path).records()
        ):
            pass
        os.kill(worker.pid or 0, signal.SIGKILL)
    for worker in (*workers, *doomed):
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0, 0, 0]
    AppendLog(path).append(b"6 0 ")
    by_worker: dict[int, list[int]] = {}
    for record in read(path):
        who, number, *_ = record.split(b" ")
        by_worker.setdefault(int(who), []).append(int(number))
    assert {who: numbers for who, numbers in by_worker.items() if who < 4} == {
        who: list(range(400)) for who in range(4)
    }
    assert all(numbers == list(range(len(numbers))) for numbers in by_worker.values())


def test_a_fork_appends_with_a_lock_of_its_own(path: Path) -> None:
    log = AppendLog(path, sync="never")
    log.append(b"parent")
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=lambda: [log.append(b"child") for _ in range(50)]) for _ in range(3)]
    for child in children:
        child.start()
    for _ in range(50):
        log.append(b"parent")
    for child in children:
        child.join(60)
    log.close()
    assert Counter(read(path)) == {b"parent": 51, b"child": 150}


class Appenders(RuleBasedStateMachine):
    """Two appenders, crashes that tear the tail, and a list that knows better."""

    def __init__(self) -> None:
        super().__init__()
        import tempfile  # noqa: PLC0415 - here alone

        self.folder = tempfile.TemporaryDirectory(prefix="premortem-log-")
        self.path = Path(self.folder.name) / "log"
        self.logs = [AppendLog(self.path, sync="never"), AppendLog(self.path, sync="never")]
        self.model: list[bytes] = []

    @rule(who=st.integers(0, 1), records=st.lists(st.binary(max_size=40), min_size=1, max_size=3))
    def append(self, who: int, records: list[bytes]) -> None:
        self.logs[who].extend(records)
        self.model.extend(records)

    @rule(garbage=st.binary(min_size=1, max_size=30))
    def torn(self, garbage: bytes) -> None:
        if self.path.exists():
            with self.path.open("ab") as file:
                file.write(garbage)

    @rule(who=st.integers(0, 1))
    def restart(self, who: int) -> None:
        self.logs[who].close()

    @rule()
    def look(self) -> None:
        assert list(self.logs[0].records()) == self.model

    def teardown(self) -> None:
        assert list(self.logs[0].records()) == self.model
        for log in self.logs:
            log.close()
        self.folder.cleanup()


TestAppenders = Appenders.TestCase


@given(records=st.lists(st.binary(max_size=300)), cut=st.integers(0, 5000))
def test_any_cut_is_a_prefix(tmp_path_factory: pytest.TempPathFactory, records: list[bytes], cut: int) -> None:
    path = tmp_path_factory.mktemp("log") / "log"
    with AppendLog(path, sync="never") as log:
        log.extend(records)
    path.write_bytes(path.read_bytes()[:cut])
    found = read(path)
    assert found == records[: len(found)]
