"""Our end of the control channel: the proxy's process, questions and their answers, and what it tells unasked.

Laws:
- The process is not ours to share: it has no part in this one's GIL, and a fork of this process does not own it.
- Every request is answered within `ANSWER_S`, or it is a FaultError: the proxy never makes control wait for data.
"""

from __future__ import annotations

import itertools
import json
import os
import socket
import struct
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import suppress
from pathlib import Path
from typing import cast

import premortem
from premortem.errors import ConfigurationError, FaultError, MissingRequirementError

ANSWER_S = 10.0
_GOODBYE_S = 5.0
_START = "import sys; sys.path.insert(0, sys.argv[1]); from premortem.faults.proxy.process import main; "
_CALL = "main(int(sys.argv[2]), int(sys.argv[3]))"
_channels: weakref.WeakSet[Channel] = weakref.WeakSet()

Told = dict[str, object]


class Channel:
    """A process that serves proxies; `hear` is called with what it tells unasked, on a thread of the channel.

    Safe to use from many threads. MissingRequirementError where the system has no epoll.
    """

    def __init__(self, hear: Callable[[Told], None]) -> None:
        self._hear = hear
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._waiting: dict[int, Future[object]] = {}
        self._gone = ""
        self.closed = False
        """It was closed, or this process is a fork of the one whose it is."""
        self._socket, theirs = socket.socketpair()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("@ll", int(ANSWER_S), 0))
        with theirs:
            self._process = _started(theirs)
        self._thread = threading.Thread(target=self._listen, name="premortem-proxy", daemon=True)
        self._thread.start()
        _channels.add(self)

    @property
    def pid(self) -> int:
        """The process id of the proxy."""
        return self._process.pid

    @property
    def over(self) -> bool:
        """Whether there is nobody to ask any more."""
        return self.closed or bool(self._gone)

    @property
    def is_heard_here(self) -> bool:
        """Whether this is the thread that hears: it must not wait for an answer."""
        return threading.current_thread() is self._thread

    def number(self) -> int:
        """One that was never given before."""
        return next(self._numbers)

    def ask(self, do: str, **told: object) -> object:
        """One round trip. The errors are those of the other side; FaultError where there is none any more."""
        number = self.number()
        answer: Future[object] = Future()
        line = json.dumps({"id": number, "do": do, **told}).encode() + b"\n"
        with self._lock:
            if self.over:
                raise FaultError(f"{do}: {'the proxy was closed' if self.closed else self._gone}; open another one")
            self._waiting[number] = answer
            try:
                self._socket.sendall(line)
            except OSError:  # it has gone, or does not read and has heard half of it: from there nobody can go on
                self._process.kill()  # and the thread that listens says so to all who wait
        try:
            return answer.result(ANSWER_S)
        except FutureTimeoutError:
            with self._lock:
                self._waiting.pop(number, None)
            raise FaultError(
                f"{do}: the proxy (process {self.pid}) has not answered within {ANSWER_S:g} s; is it stopped, or the"
                " machine overloaded? Close it, and open another one"
            ) from None

    def close(self) -> None:
        """End the process, and with it every connection. Can be called again."""
        with self._lock:
            if self.closed:
                return
            self.closed = True
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        try:
            self._process.wait(_GOODBYE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if not self.is_heard_here:
            self._thread.join()
        self._socket.close()

    def disown(self) -> None:
        """In a fork of the owner: the channel is not ours, and must not keep the process alive."""
        self._lock = threading.Lock()  # a thread that is not here may have held the other one
        self.closed = True
        self._socket.close()
        self._process.returncode = 0  # not our child: nobody here is to wait for it

    def _listen(self) -> None:
        crash = ""
        with suppress(OSError), self._socket.makefile("rb") as lines:
            for line in lines:
                told = cast("Told", json.loads(line))
                if "crashed" in told:
                    crash = f": {told['crashed']}"
                elif "id" in told:
                    self._answered(told)
                else:
                    self._hear(told)
        with self._lock:
            self._gone = f"the proxy's process has gone{crash}"
            waiting = list(self._waiting.values())
            self._waiting.clear()
        for answer in waiting:
            answer.set_exception(FaultError(f"{self._gone}; open another one"))

    def _answered(self, told: Told) -> None:
        with self._lock:
            answer = self._waiting.pop(cast("int", told["id"]), None)
        if answer is None:  # nobody waits for it any more
            return
        if "error" in told:
            kind = ConfigurationError if told["error"] == "ConfigurationError" else FaultError
            answer.set_exception(kind(str(told["why"])))
        else:
            answer.set_result(told["value"])


def _started(theirs: socket.socket) -> subprocess.Popen[bytes]:
    if not sys.platform.startswith("linux"):
        raise MissingRequirementError(
            "the fault proxy", f"{sys.platform} has no epoll, timerfd and splice", "use Linux, or WSL on Windows"
        )
    root = str(Path(premortem.__file__).resolve().parents[1])
    try:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _START + _CALL, root, str(theirs.fileno()), str(os.getpid())],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()], start_new_session=True, cwd="/",
        )  # fmt: skip
    except OSError as error:
        raise MissingRequirementError(
            "the fault proxy", f"{sys.executable!r} does not start ({error})", "make it executable for this user"
        ) from None


def _disown_all() -> None:
    for channel in list(_channels):
        channel.disown()


os.register_at_fork(after_in_child=_disown_all)
