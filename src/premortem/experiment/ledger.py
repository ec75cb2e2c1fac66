"""A ledger of what a system was asked to do and what it said: acknowledged, failed for certain, or unknown.

    ledger = Ledger(definite=(psycopg.errors.UniqueViolation,))
    with ledger.writing("order-1", "paid"):
        connection.execute(...)
    ledger.judge(connection.execute("SELECT id, state FROM orders")).check(lab.check)

Laws:
- What is not known to have failed may have happened, now or later: it is never counted as lost.
- An operation stands in the ledger before it begins. One that never ended, as its process was killed, is unknown.
- A ledger in a file is written by any number of processes: a line an event, each in one write at the end of the file.

Prior art: Jepsen's histories of `:ok`, `:fail` and `:info`.
"""

from __future__ import annotations

import itertools
import json
import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from premortem.errors import ConfigurationError
from premortem.experiment.judgement import Judgement
from premortem.experiment.ledger_judge import judge
from premortem.experiment.operations import Key, Kind, Operation, Rows, State, Value, Values
from premortem.faults.leases.identity import Owner
from premortem.ports import Clock, SystemClock

Line = dict[str, Value]
_SAID_CHARACTERS = 200


@dataclass(slots=True)
class Reading:
    """A read under way: say what it saw before its block ends."""

    value: Value = None
    there: bool = False

    def saw(self, value: Value) -> None:
        """The key had this value."""
        self.value, self.there = value, True


class Ledger:
    """Records operations from any thread, and with a `file` from any process.

    `definite` are the exceptions that say for certain that nothing happened; all others leave it unknown.
    """

    def __init__(
        self, *, file: Path | None = None, definite: tuple[type[BaseException], ...] = (), clock: Clock | None = None
    ) -> None:
        self._file = file.absolute() if file else None
        self._definite = definite
        self._clock = clock or SystemClock()
        self._lines: list[Line] = []
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._me = Owner.me()

    @contextmanager
    def writing(self, key: Key, value: Value) -> Iterator[None]:
        """`key` gets `value`, whatever it had before."""
        with self._operation("write", key, value):
            yield

    @contextmanager
    def deleting(self, key: Key) -> Iterator[None]:
        """`key` goes."""
        with self._operation("delete", key, None):
            yield

    @contextmanager
    def adding(self, key: Key, amount: int) -> Iterator[None]:
        """The counter `key` grows by `amount`, which may be negative."""
        with self._operation("add", key, amount):
            yield

    @contextmanager
    def appending(self, key: Key, value: Value) -> Iterator[None]:
        """`key` gets one more `value` beside those that it has: a row, a message, a line of a log."""
        with self._operation("append", key, value):
            yield

    @contextmanager
    def reading(self, key: Key) -> Iterator[Reading]:
        """A read in between, in which `reading.saw(value)` says what it saw; without that, `key` was not there."""
        reading = Reading()
        with self._operation("read", key, None, reading):
            yield reading

    @property
    def operations(self) -> tuple[Operation, ...]:
        """All of it so far, in the order in which it began; of every process, where there is a file."""
        return _folded(self._read() if self._file else list(self._lines))

    def judge(self, final: Rows, *, initial: Values | None = None) -> Judgement:
        """Judge what a final read found, as `ledger_judge.judge` says."""
        return judge(self.operations, final, initial=initial)

    @contextmanager
    def _operation(self, kind: Kind, key: Key, value: Value, reading: Reading | None = None) -> Iterator[None]:
        number = self._began(kind, key, value)
        try:
            yield
        except BaseException as error:
            state: State = "failed" if isinstance(error, self._definite) else "unknown"
            self._tell({"ended": number, "state": state, "said": f"{type(error).__name__}: {error}"[:_SAID_CHARACTERS]})
            raise
        told: Line = {"ended": number, "state": "acknowledged"}
        if reading is not None:
            told |= {"value": reading.value, "there": reading.there}
        self._tell(told)

    def _began(self, kind: Kind, key: Key, value: Value) -> str:
        _checked(key, value)
        with self._lock:
            if self._me.pid != os.getpid():  # a fork: its operations are its own
                self._me = Owner.me()
            number = f"{self._me.name}-{next(self._numbers)}"
        self._tell(
            {"began": number, "kind": kind, "key": key, "value": value, "pid": self._me.pid, "birth": self._me.birth}
        )
        return number

    def _tell(self, line: Line) -> None:
        line["at"] = self._clock.monotonic()
        if self._file is None:
            self._lines.append(line)
            return
        number = os.open(self._file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:  # one write, and a line of its own even after one that was torn
            os.write(number, b"\n" + json.dumps(line).encode() + b"\n")
        finally:
            os.close(number)

    def _read(self) -> list[Line]:
        assert self._file
        if not self._file.exists():
            return []
        told = (_parsed(line) for line in self._file.read_text(encoding="utf-8").split("\n") if line)
        return [line for line in told if line]


def _checked(key: object, value: object) -> None:
    if not isinstance(key, str | int) or not isinstance(value, Value) or value != value:  # noqa: PLR0124 - not a number
        raise ConfigurationError(
            f"{key!r}, {value!r}: a key is a string or a whole number, and a value is one of them, a fraction, a "
            "flag or None, which can be compared with what is read back; turn it into a string"
        )


def _parsed(line: str) -> Line | None:
    """None for a line whose writer was killed in the middle of it; such an operation has not begun."""
    try:
        told: object = json.loads(line)
    except ValueError:
        return None
    return told if isinstance(told, dict) else None


def _folded(lines: Iterable[Line]) -> tuple[Operation, ...]:
    begun: dict[Value, Line] = {}
    ended: dict[Value, Line] = {}
    for line in lines:
        (begun if "began" in line else ended)[line.get("began", line.get("ended"))] = line
    living: dict[Owner, bool] = {}
    return tuple(_operation(line, ended.get(number), living) for number, line in begun.items())


def _operation(line: Line, end: Line | None, living: dict[Owner, bool]) -> Operation:
    worker = Owner(cast("int", line["pid"]), cast("str", line["birth"]))
    if end is None and worker not in living:
        living[worker] = worker.lives()
    return Operation(
        kind=cast("Kind", line["kind"]),
        key=cast("Key", line["key"]),
        value=(end or line).get("value") if line["kind"] == "read" else line["value"],
        there=bool((end or {}).get("there", line["kind"] != "delete")),
        began_s=cast("float", line["at"]),
        ended_s=cast("float", end["at"]) if end else None,
        state=cast("Literal['acknowledged', 'failed', 'unknown']", end["state"]) if end else "unknown",
        cut_off=end is None and not living[worker],
        said=str((end or {}).get("said", "")),
    )
