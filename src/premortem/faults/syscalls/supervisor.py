"""The supervisor's loop: every watched call of a program waits until it is decided upon here.

Take a notification, read what it is about, decide, answer: two requests to the kernel, one poll and one readlink for
a clean call. Laws: it never waits without a deadline; a decision is told as a strike only when the kernel took the
answer.
"""

from __future__ import annotations

import heapq
import os
import select
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from fcntl import ioctl

from premortem.faults.strike import struck
from premortem.faults.syscalls import structs
from premortem.faults.syscalls.by_recipe import ByRecipe
from premortem.faults.syscalls.calls import Call
from premortem.faults.syscalls.decisions import GO, Decision, Kill, Pause
from premortem.faults.syscalls.effects import GO_ON, Answer, Struck, Waiting, carry_out, has_to_wait
from premortem.faults.syscalls.keeper import STATUS
from premortem.faults.syscalls.launch import Started
from premortem.faults.syscalls.marker import MARK
from premortem.faults.syscalls.operations import Operation
from premortem.faults.syscalls.output import Output
from premortem.faults.syscalls.reading import Reader

Decide = Callable[[Operation], Decision]

_POLLIN = select.POLLIN
_DYING_S = 10.0  # how long a family that is killed may take to be gone
_LOOK_AGAIN_S = 0.002  # at a call whose decision cannot take effect yet


@dataclass(slots=True, eq=False)
class Supervisor:
    """Answers the calls of what was `started`, until its keeper says that all have ended."""

    started: Started
    calls: Mapping[int, Call]
    reader: Reader
    decide: Decide
    blank: bytes  # a notification of the kernel's size: it has to be handed in cleared
    armed: bool = True
    told: bool = True
    operations: list[Operation] = field(default_factory=list)
    strikes: list[Struck] = field(default_factory=list)
    output: Output = field(default_factory=Output)
    status: int | None = None
    timed_out: bool = False
    _held: list[tuple[float, int, tuple[Decision, Waiting] | None]] = field(default_factory=list)

    def serve(self, deadline: float) -> None:
        """Answer until it has ended; at `deadline` (monotonic seconds) end it."""
        started, poll, monotonic = self.started, select.poll(), time.monotonic
        with suppress(OSError):  # Linux 6.6: the two sides hand the processor to each other
            ioctl(started.listener, structs.SET_FLAGS, structs.SYNC_WAKE_UP)
        for descriptor in (started.listener, started.output, started.status):
            poll.register(descriptor, _POLLIN)
        while self.status is None:
            left = deadline - monotonic()
            if left <= 0:
                self.timed_out = True
                return
            if self._held:
                left = min(left, self._release())
            for descriptor, event in poll.poll(left * 1000 + 1):
                if not event & _POLLIN and descriptor != started.status:
                    poll.unregister(descriptor)  # nobody is left at the other end
                elif descriptor == started.listener:
                    self._answer()
                elif descriptor == started.output:
                    self.output.take(started.output)
                else:
                    self._note_status()

    def close(self) -> None:
        """End the family, and let go of everything. Its status is known when this returns."""
        if self.status is None:
            self._end()
            waiting = select.poll()
            waiting.register(self.started.status, _POLLIN)
            if not waiting.poll(_DYING_S * 1000):
                os.kill(self.started.keeper, signal.SIGKILL)
            self._note_status()
        with suppress(ChildProcessError):  # somebody else has waited for it
            os.waitpid(self.started.keeper, 0)
        while self.output.take(self.started.output):
            pass
        for descriptor in (self.started.listener, self.started.status, self.started.output):
            os.close(descriptor)
        self.reader.descriptors.close()

    def _answer(self) -> None:
        """One call: read it, decide, answer. The hot path."""
        try:
            raw = ioctl(self.started.listener, structs.RECEIVE, self.blank)
        except OSError:  # it was killed meanwhile, or a signal came to us and it will be asked again
            return
        identity, thread, _, number, _, _, *rest = structs.NOTIFICATION.unpack_from(raw)
        call, arguments = self.calls[number], tuple(rest)
        if arguments[0] == MARK and call.name == "fsync":
            self.armed = True
            self._send(identity, Answer())
            return
        if not self.armed:
            self.reader.note(thread, call, arguments)
            self._send(identity, GO_ON)
            return
        operation = self.reader.read(thread, call, arguments)
        if operation is not None:
            self.operations.append(operation)
            decision = self.decide(operation)
            if decision is not GO:
                process = self.reader.descriptors.process(thread)
                self._strike(decision, Waiting(identity, thread, process, call, arguments, operation))
                return
        self._send(identity, GO_ON)

    def _strike(self, decision: Decision, waiting: Waiting) -> None:
        """Only while it still waits: its process number may belong to somebody else by now."""
        try:
            ioctl(self.started.listener, structs.IS_VALID, structs.IDENTITY.pack(waiting.identity))
        except OSError:
            return
        if isinstance(decision, Pause):
            heapq.heappush(self._held, (time.monotonic() + decision.seconds, waiting.identity, None))
            self._tell(decision, waiting.operation)
            return
        if has_to_wait(decision, waiting):
            again = (decision, waiting)
            heapq.heappush(self._held, (time.monotonic() + _LOOK_AGAIN_S, waiting.identity, again))
            return
        answer = carry_out(decision, waiting)
        if isinstance(decision, Kill):
            if decision.family:
                self._end()
            self._tell(decision, waiting.operation)
        elif answer is not None and self._send(waiting.identity, answer) and answer.strikes:
            self._tell(decision, waiting.operation)

    def _release(self) -> float:
        """Let go on whatever has waited long enough, or strike it now; the seconds until the next one."""
        now = time.monotonic()
        while self._held and self._held[0][0] <= now:
            _, identity, again = heapq.heappop(self._held)
            if again:
                self._strike(*again)
            else:
                self._send(identity, GO_ON)
        return self._held[0][0] - now if self._held else _DYING_S

    def _send(self, identity: int, answer: Answer) -> bool:
        """Whether it was still there to be answered."""
        flags = structs.CONTINUE if answer.go_on else 0
        try:
            ioctl(self.started.listener, structs.SEND, structs.ANSWER.pack(identity, answer.value, answer.error, flags))
        except OSError:  # ENOENT: it was killed while it waited
            return False
        return True

    def _tell(self, decision: Decision, operation: Operation) -> None:
        self.strikes.append(Struck(operation, decision))
        if isinstance(self.decide, ByRecipe):
            self.decide.hit = True
        if self.told:
            struck("system call", f"{operation}: {decision}")

    def _end(self) -> None:
        os.kill(self.started.keeper, signal.SIGTERM)  # ours until it is waited for, in `close`

    def _note_status(self) -> None:
        word = os.read(self.started.status, STATUS.size)
        self.status = int(STATUS.unpack(word)[0]) if len(word) == STATUS.size else -signal.SIGKILL
