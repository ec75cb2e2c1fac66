"""The keeper of one task: forks its worker, enforces its limits, leaves nothing of it behind.

A warden holds three things: the channel to the owner (its end is the order to stop), the worker's result, and
the worker's output. It is the reaper of every process that the worker leaves (Linux), so "nothing left behind"
is a loop until there are no children, and not a hope. It runs single-threaded in a fork of the fork server.
"""

from __future__ import annotations

import os
import pickle
import select
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from premortem.experiment import processes, wire
from premortem.experiment.limits import Limits
from premortem.model.codec import decode

_TICK_S = 0.05  # how often memory and process counts are looked at
_BATCH = 64  # how many are looked for before they are killed
_GRACE_S = 2.0  # for children that end by themselves when the worker has: the watcher of a server, stopping it
_GENTLE = ("time", "the run was ended")  # what ends the worker alone at first; anything else may grow meanwhile


def keep(channel: socket.socket) -> None:
    """Run one task to its end and tell the owner about it."""
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    processes.adopt_orphans()
    request = wire.receive(channel)
    if request is None:
        return
    wire.send(channel, {})  # from here on it is begun
    head, payload = request
    limits = decode(Limits, head["limits"], "limits")
    result_read, result_write = os.pipe()
    output_read, output_write = os.pipe()
    worker = os.fork()
    if worker == 0:
        channel.close()
        os.close(result_read)
        os.close(output_read)
        _work(payload, result_write, output_write)
    os.close(result_write)
    os.close(output_write)
    watch = _Watch(worker, channel, result_read, output_read, limits)
    watch.until_the_end()
    with suppress(OSError):  # an owner that is gone wants no answer
        wire.send(channel, watch.ending(), bytes(watch.result))


def _work(payload: bytes, result: int, output: int) -> None:
    """In the worker: run the task, write its result, and leave without running anybody's exit handlers twice."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    nowhere = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nowhere, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    if sys.platform == "linux":
        with suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text(
                "1000", encoding="ascii"
            )  # when memory runs out, it is the subject that the kernel picks
    status = 0
    try:
        function, args, kwargs = pickle.loads(payload)  # noqa: S301 - from our own owner, over our own socket
        answer = pickle.dumps((True, function(*args, **kwargs)))
    except BaseException as error:  # noqa: BLE001 - whatever it was, it is the task's answer
        status = 1
        answer = _pickled_error(error)
    wire.write_all(result, answer)
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # closed, replaced, None: a task does with its own streams what it likes
            stream.flush()
    os._exit(status)


def _pickled_error(error: BaseException) -> bytes:
    trace = "".join(traceback.format_exception(error))
    try:
        pickle.loads(pickled := pickle.dumps((False, error)))  # noqa: S301 - our own bytes: does it survive the trip?
    except Exception:  # noqa: BLE001 - user exceptions fail to pickle in every way there is
        return pickle.dumps((False, RuntimeError(trace)))
    return pickled


@dataclass
class _Watch:
    """What a warden knows about its worker while it watches."""

    worker: int
    channel: socket.socket
    result_end: int
    output_end: int
    limits: Limits
    result: bytearray = field(default_factory=bytearray)
    output: bytearray = field(default_factory=bytearray)
    output_bytes: int = 0
    peak_bytes: int = 0
    exceeded: str = ""
    status: int | None = None
    left_behind: list[str] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)

    def until_the_end(self) -> None:
        """Relay and measure until the worker ends, a limit is passed, or the owner goes away."""
        poll = select.poll()
        for end in (self.channel.fileno(), self.result_end, self.output_end):
            poll.register(end, select.POLLIN | select.POLLHUP)
        look_again = 0.0
        while self.status is None and not self.exceeded:
            ready = dict(poll.poll(_TICK_S * 1000))
            if self.channel.fileno() in ready:
                self.exceeded = "the run was ended"
                break
            for end in (self.result_end, self.output_end):
                if end in ready and not self._drain(end):
                    poll.unregister(end)
            if (now := time.monotonic()) >= look_again:
                look_again = now + _TICK_S
                self.exceeded = "time" if now - self.started > self.limits.time_s else self._excess()
            self._reap_worker()
        self._end_family()
        for end in (self.result_end, self.output_end):
            os.set_blocking(end, False)
            while self._drain(end):
                pass

    def _end_family(self) -> None:
        """Nobody of it is left afterwards; who could not be waited for is named where the worker ended by itself."""
        if self.exceeded in _GENTLE:
            with suppress(ProcessLookupError):
                os.kill(self.worker, signal.SIGKILL)
            self._await_stragglers()
        elif self.status is not None:
            self._await_stragglers()
            self.left_behind = [processes.command_of(pid) for pid in processes.descendants(os.getpid())]
        self._kill_all()

    def ending(self) -> wire.Head:
        """How it ended, for the owner."""
        return {
            "status": self.status,
            "exceeded": self.exceeded,
            "left_behind": [*self.left_behind],
            "output": self.output.decode("utf-8", "replace"),
            "output_bytes": self.output_bytes,
            "peak_bytes": self.peak_bytes,
            "elapsed_s": round(time.monotonic() - self.started, 4),
        }

    def _drain(self, end: int) -> bool:
        """Take what is there; False at the end of it."""
        try:
            piece = os.read(end, 1 << 16)
        except BlockingIOError:
            return False
        if end == self.result_end:
            self.result += piece
        else:
            self.output_bytes += len(piece)
            self.output += piece
            del self.output[: -self.limits.output_bytes]  # the tail says how it ended
        return bool(piece)

    def _excess(self) -> str:
        """The limit that the family passes, if any."""
        family = processes.descendants(os.getpid(), at_most=self.limits.processes + 1)
        if len(family) > self.limits.processes:  # first: to look closely at a process that forks means to wait for it
            return "processes"
        held = sum(map(processes.resident_bytes, family))
        if held > self.limits.memory_bytes:  # forks share most of what they hold: look again, closely
            held = sum(map(processes.proportional_bytes, family))
        self.peak_bytes = max(self.peak_bytes, held)
        return "memory" if held > self.limits.memory_bytes else ""

    def _reap_worker(self) -> None:
        with suppress(ChildProcessError):
            pid, status = os.waitpid(self.worker, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)

    def _await_stragglers(self) -> None:
        """Give what is ending anyway the time to end, and go on listening meanwhile: a full pipe would keep it."""
        deadline = time.monotonic() + _GRACE_S
        for end in (self.result_end, self.output_end):
            os.set_blocking(end, False)
        while processes.descendants(os.getpid()) and time.monotonic() < deadline and not self._excess():
            for end in (self.result_end, self.output_end):
                self._drain(end)
            _reap_all(self._note_status)
            time.sleep(0.005)

    def _kill_all(self) -> None:
        """Kill until there is nobody left; new forks of the dying come to us, so this ends.

        By whole groups, which the system kills at one stroke: whoever kills one by one is outrun by who forks.
        """
        with suppress(ProcessLookupError):
            os.killpg(self.worker, signal.SIGKILL)
        while family := processes.descendants(os.getpid(), at_most=_BATCH):
            for pid in family:
                _kill_with_group(pid)
            _reap_all(self._note_status)
            time.sleep(0.001)
        _reap_all(self._note_status)

    def _note_status(self, pid: int, status: int) -> None:
        if pid == self.worker:
            self.status = os.waitstatus_to_exitcode(status)


def _kill_with_group(pid: int) -> None:
    with suppress(ProcessLookupError):
        group = os.getpgid(pid)
        if group != os.getpgrp():  # ours: it was forked, and has no session of its own yet
            os.killpg(group, signal.SIGKILL)
        os.kill(pid, signal.SIGKILL)


def _reap_all(note: Callable[[int, int], None]) -> None:
    """Bury every child that has died, and tell `note` its process id and wait status."""
    with suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            note(pid, status)
