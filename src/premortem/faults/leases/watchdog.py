"""The process that outlives us in order to take our faults out again: when it is told to, in time, or when we die.

Laws:
- It alone takes faults out, as long as it lives: the way that is taken when all goes wrong is the one of every day.
- Its standard input is the death pipe: only the owner holds the other end, so end-of-file means that the owner has
  gone, however it went. On Linux a pidfd says the same a second time, in case a fork of the owner holds the pipe.
- One thread, a session of its own, deaf to what a terminal sends: Ctrl-C does not reach it.
- A fault is undone first and marked as done in the journal second: killed in between, it is undone a second time.
- A lease that runs out is undone, and once more at its end: its owner may have been so slow that the fault went in
  after its time was up.

One request a line comes in as JSON, one answer a line goes out. `lease.py` is the other side. Started without
site-packages, and importing nothing but the standard library and its neighbours. Prior art: the death pipe of
daemontools; `premortem.servers.watcher` does the same for servers.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from premortem.errors import FaultError
from premortem.faults.leases import lease_journal
from premortem.faults.leases.identity import Owner
from premortem.faults.leases.undo import PutBack, Undo, from_fields

REQUESTS, ANSWERS = 0, 1
_IGNORED = (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP, signal.SIGPIPE)
_FAILURES = (OSError, FaultError)  # what an undo may fail with; it is told, and the others go on


@dataclass(slots=True)
class Armed:
    """A lease that it answers for. `due` is on its own monotonic clock, in seconds."""

    id: int
    undo: Undo
    due: float
    journal: Path | None
    expired: bool = False


class Watchdog:
    """The leases of one owner."""

    def __init__(self, owner: Owner) -> None:
        self.owner = owner
        self.armed: dict[int, Armed] = {}
        self.journals: set[Path] = set()
        self.over = False
        self.heard = b""
        self.poll = select.poll()
        self.poll.register(REQUESTS, select.POLLIN)
        self._signals()
        self._watch_owner()

    def _signals(self) -> None:
        for number in _IGNORED:
            signal.signal(number, signal.SIG_IGN)
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, lambda *_: None)  # its arrival makes `reading` readable, as the owner's end would
        self.poll.register(reading, select.POLLIN)

    def _watch_owner(self) -> None:
        if sys.platform == "linux":
            with suppress(OSError):  # an old kernel, or it has gone already: then the pipe says so too
                self.poll.register(os.pidfd_open(self.owner.pid), select.POLLIN)
            self.over = os.getppid() != self.owner.pid

    def serve(self) -> None:
        """Answer until the owner has gone, then take out whatever is still in, the last first."""
        while not self.over:
            self._turn()
            self._expire()
        for lease in reversed(list(self.armed.values())):
            self._end(lease, "watchdog, its owner has gone")
        for journal in self.journals:
            if journal.exists():
                lease_journal.tidy(lease_journal.read(journal))

    def _turn(self) -> None:
        """Wait for a request, for the next lease to run out, or for the end."""
        dues = [lease.due for lease in self.armed.values() if not lease.expired]
        wait_ms = max(0.0, min(dues) - time.monotonic()) * 1000 + 1 if dues else None
        for ready, _ in self.poll.poll(wait_ms):
            if ready != REQUESTS:
                self.over = True
                continue
            chunk = os.read(REQUESTS, 65536)
            self.over = self.over or not chunk
            *lines, self.heard = (self.heard + chunk).split(b"\n")
            for line in lines:
                self._answer(json.loads(line))

    def _answer(self, request: dict[str, object]) -> None:
        number, doing = request["id"], request["do"]
        assert isinstance(number, int)
        answer: dict[str, object] = {}
        if doing == "arm":
            self._arm(number, request)
        elif doing == "undo":
            answer = self._undo(number)
        else:
            answer = {"expired": number in self.armed and self.armed[number].expired}
        self._say({"n": request["n"], **answer})

    def _say(self, answer: dict[str, object]) -> None:
        try:
            os.write(ANSWERS, json.dumps(answer).encode() + b"\n")
        except BrokenPipeError:
            self.over = True

    def _arm(self, number: int, request: dict[str, object]) -> None:
        undo, ttl_s, journal = request["undo"], request["ttl_s"], request["journal"]
        assert isinstance(undo, dict)
        assert isinstance(ttl_s, int | float)
        path = Path(journal) if isinstance(journal, str) else None
        if path:
            self.journals.add(path)
        self.armed[number] = Armed(number, from_fields(undo), time.monotonic() + ttl_s, path)

    def _undo(self, number: int) -> dict[str, object]:
        if number not in self.armed:
            return {"failed": "it is not known to the watchdog"}
        lease = self.armed[number]
        said, failed = self._end(lease, "owner")
        return {"said": said, "failed": failed, "expired": lease.expired}

    def _expire(self) -> None:
        now = time.monotonic()
        for lease in [one for one in self.armed.values() if one.due <= now and not one.expired]:
            lease.expired = True
            with suppress(*_FAILURES):  # it is tried again, and told, at the end
                lease.undo.undo()

    def _end(self, lease: Armed, by: str) -> tuple[str, str]:
        """Take the fault out, then mark it as done; what was done, and why it failed. A failed one stays armed."""
        try:
            said = lease.undo.undo().said
            if lease.journal:
                lease_journal.write_done(lease.journal, lease.id, by, said)
            if isinstance(lease.undo, PutBack):
                lease.undo.forget()
        except _FAILURES as error:
            return "", f"{type(error).__name__}: {error}"
        del self.armed[lease.id]
        return said, ""


def main() -> int:
    """Watch until the owner goes; 1 when a fault could not be taken out, and stands in the journal."""
    os.chdir("/")
    watchdog = Watchdog(Owner(int(sys.argv[2]), sys.argv[3]))
    os.write(ANSWERS, b'{"n": 0}\n')
    watchdog.serve()
    return 1 if watchdog.armed else 0
