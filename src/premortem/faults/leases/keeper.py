"""Our side of the watchdog: one a process, started at the first lease, started again where somebody killed it.

It costs 40 ms once, and a round trip through two pipes (0.1 ms) for each lease that begins or ends. It is started
before the first fault goes in, so a process that has no descriptors, memory or threads left can still end its leases.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import select
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from premortem.errors import FaultError, WorkerDiedError
from premortem.faults.leases import lease_journal
from premortem.faults.leases.identity import Owner
from premortem.faults.leases.undo import Undo, as_fields

_START = "import sys; sys.path.append(sys.argv[1]); from premortem.faults.leases.watchdog import main; sys.exit(main())"
_ROOT = str(Path(__file__).parents[3])
_NOT_INHERITED = ("LD_PRELOAD", "DYLD_", "FAKETIME")  # another clock, or failing calls, are for the subject alone
_ANSWER_S = 20.0
_CLOSE_S = 20.0


@dataclass(frozen=True, slots=True)
class Request:
    """A lease as the watchdog has to know it. `due` is on our monotonic clock, in seconds."""

    id: int
    undo: Undo
    due: float
    journal: Path

    def line(self) -> dict[str, object]:
        """To arm it, with the time that it still has."""
        ttl_s = max(0.0, self.due - time.monotonic())
        return {"do": "arm", "id": self.id, "undo": as_fields(self.undo), "ttl_s": ttl_s, "journal": str(self.journal)}


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a lease: `said` in words, whether it had `expired` before, and why its undo `failed`."""

    said: str = ""
    expired: bool = False
    failed: str = ""


class Keeper:
    """The watchdog of this process, and what it has to know when it is started anew. Safe to use from many threads."""

    def __init__(self) -> None:
        self._owner = Owner.me()
        self._lock = threading.Lock()
        self._armed: dict[int, Request] = {}
        self._journals: set[Path] = set()
        self._process: subprocess.Popen[bytes] | None = None
        self._heard = b""
        self._asked = 0

    @property
    def pid(self) -> int:
        """The process id of the watchdog, 0 when none runs."""
        return self._process.pid if self._process and self._process.poll() is None else 0

    def arm(self, request: Request) -> None:
        """Make it answer for a lease. FaultError when no watchdog can be had: then no fault may go in."""
        with self._lock:
            try:
                self._living()
                self._ask(request.line())
            except WorkerDiedError:  # it was killed, which may happen: the next one takes over all that is armed
                self._restart()
                try:
                    self._ask(request.line())
                except WorkerDiedError as error:
                    raise FaultError(f"{error} twice, and no fault goes in unguarded; find out who kills it") from None
            self._armed[request.id] = request
            self._journals.add(request.journal)

    def undo(self, number: int) -> Answer:
        """Have a lease undone now. WorkerDiedError when no watchdog is left to do it."""
        with self._lock:
            self._armed.pop(number, None)
            try:
                return self._ask({"do": "undo", "id": number})
            except WorkerDiedError:
                with contextlib.suppress(FaultError, WorkerDiedError):  # the other leases: guarded as well as can be
                    self._restart()
                raise

    def expired(self, number: int) -> bool:
        """Whether the time of a lease was up. WorkerDiedError when nobody knows."""
        with self._lock:
            return self._ask({"do": "look", "id": number}).expired

    def close(self) -> None:
        """Let it undo whatever is left, and wait for its end. Can be called again; a later lease starts another."""
        with self._lock:
            self._let_go()
            self._armed.clear()
            for journal in self._journals:  # what one of several watchdogs has left: usually nothing
                if journal.exists():
                    lease_journal.tidy(lease_journal.read(journal))

    def forget(self) -> None:
        """In a fork: give up the copies of our pipe ends, or the watchdog would wait for the fork to end too."""
        if self._process:
            self._close_pipes(self._process)
            self._process.returncode = 0  # not our child here: nothing to wait for, nothing to warn of
            self._process = None

    def _living(self) -> None:
        if self._process is None:
            self._restart()

    def _restart(self) -> None:
        self._let_go()
        environment = {name: value for name, value in os.environ.items() if not name.startswith(_NOT_INHERITED)}
        argv = [sys.executable, "-I", "-S", "-c", _START, _ROOT, str(self._owner.pid), self._owner.birth]
        # subprocess makes both pipes close-on-exec, so no process that another thread starts can hold them.
        try:
            self._process = subprocess.Popen(
                argv, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                bufsize=0, start_new_session=True,
            )  # fmt: skip
            self._heard = b""
            self._receive(0)
            for request in self._armed.values():
                self._ask(request.line())
        except (OSError, WorkerDiedError) as error:
            self._let_go()
            raise FaultError(
                f"{sys.executable}: the watchdog of faults does not start ({error}), and without it no fault goes in; "
                "make room for one more process"
            ) from None

    def _let_go(self) -> None:
        """Drop the pipe, which is the only goodbye, and wait for what it does at its end."""
        process, self._process = self._process, None
        if process is None:
            return
        self._close_pipes(process)
        try:
            process.wait(_CLOSE_S)
        except subprocess.TimeoutExpired:  # somebody has stopped it
            process.kill()
            process.wait()

    def _close_pipes(self, process: subprocess.Popen[bytes]) -> None:
        for pipe in (process.stdin, process.stdout):
            if pipe:
                pipe.close()

    def _ask(self, request: dict[str, object]) -> Answer:
        self._asked += 1
        line = json.dumps({"n": self._asked, **request}).encode() + b"\n"
        if self._process is None or self._process.stdin is None:
            raise WorkerDiedError("the watchdog of faults", "it was closed")
        try:
            while line:
                line = line[self._process.stdin.write(line) or 0 :]
        except BrokenPipeError:
            raise WorkerDiedError("the watchdog of faults", "it was killed") from None
        return self._receive(self._asked)

    def _receive(self, wanted: int) -> Answer:
        """The answer to request `wanted`; one that an interrupted call left unread is skipped."""
        assert self._process
        assert self._process.stdout
        poll = select.poll()
        poll.register(self._process.stdout, select.POLLIN)
        while True:
            line, found, rest = self._heard.partition(b"\n")
            if found:
                self._heard = rest
                told = json.loads(line)
                if told.pop("n") == wanted:
                    return Answer(**told)
            elif not poll.poll(_ANSWER_S * 1000):
                raise WorkerDiedError("the watchdog of faults", f"it did not answer within {_ANSWER_S:g} s")
            elif chunk := os.read(self._process.stdout.fileno(), 65536):
                self._heard += chunk
            else:
                raise WorkerDiedError("the watchdog of faults", "it was killed")


_lock = threading.Lock()
_keeper: Keeper | None = None


def keeper() -> Keeper:
    """The one of this process."""
    global _keeper  # noqa: PLW0603 - a process has one owner of faults: itself
    with _lock:
        if _keeper is None:
            _keeper = Keeper()
            atexit.register(_keeper.close)
        return _keeper


def _forget() -> None:
    global _keeper, _lock  # noqa: PLW0603 - as above
    _lock = threading.Lock()  # another thread of the parent may have held it
    if _keeper is not None:
        atexit.unregister(_keeper.close)
        _keeper.forget()
        _keeper = None


os.register_at_fork(after_in_child=_forget)
