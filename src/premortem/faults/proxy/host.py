"""Our end of the control channel: starts the proxy's process, asks it, and hears from it what has happened.

Laws:
- The process is not ours to share: it has no part in this one's GIL, and a fork of this process does not own it.
- Every request is answered within `ANSWER_S`, or it is a FaultError: the proxy never makes control wait for data.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import sys
import threading
import weakref
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self, cast

import premortem
from premortem.errors import ConfigurationError, FaultError, MissingRequirementError
from premortem.faults.proxy.armed import Armed, Strike
from premortem.faults.proxy.protocols import Direction, Seen
from premortem.faults.targets import AllowList, check_target

if TYPE_CHECKING:
    from premortem.faults.proxy.client import FaultProxy

ANSWER_S = 10.0
_GOODBYE_S = 5.0
_LAST_PORT = 65535
_START = "import sys; sys.path.insert(0, sys.argv[1]); from premortem.faults.proxy.process import main; "
_CALL = "main(int(sys.argv[2]), int(sys.argv[3]))"
_hosts: weakref.WeakSet[ProxyHost] = weakref.WeakSet()


class ProxyHost:
    """One process that serves any number of proxies, from one thread. `allow`: targets beyond loopback.

    Safe to use from many threads. MissingRequirementError where the system has no epoll.
    """

    def __init__(self, allow: AllowList | None = None) -> None:
        self._allow = allow
        self._lock = threading.Lock()
        self._asked = 0
        self._waiting: dict[int, Future[object]] = {}
        self._armed: dict[int, Armed] = {}
        self._proxies: dict[int, FaultProxy] = {}
        self._closed = False
        self._gone = ""
        self._channel, theirs = socket.socketpair()
        self._channel.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("@ll", int(ANSWER_S), 0))
        with theirs:
            self._process = _started(theirs)
        self._thread = threading.Thread(target=self._listen, name="premortem-proxy", daemon=True)
        self._thread.start()
        _hosts.add(self)

    @property
    def pid(self) -> int:
        """The process id of the proxy."""
        return self._process.pid

    def open(self, upstream: tuple[str, int], *, port: int = 0, name: str = "", seed: int = 0) -> FaultProxy:
        """Listen at 127.0.0.1:`port` (0: any that is free) for `upstream`. FaultError if that is not ours to strike."""
        from premortem.faults.proxy.client import FaultProxy  # noqa: PLC0415 - it makes a host of its own where it has none

        return FaultProxy(upstream, port=port, name=name, seed=seed, host=self)

    def opened(self, proxy: FaultProxy, upstream: tuple[str, int], port: int, seed: int) -> int:
        """For a proxy that begins: the port at which it listens from now on."""
        if not 0 <= port <= _LAST_PORT:
            raise ConfigurationError(f"port={port}: has to be from 0 (any that is free) to {_LAST_PORT}")
        address = check_target(upstream[0], upstream[1], self._allow)
        number = self.ask("open", host=address, upstream_port=upstream[1], port=port, seed=seed)
        with self._lock:
            self._proxies[cast("int", number)] = proxy
        return cast("int", number)

    def proxies(self) -> tuple[FaultProxy, ...]:
        """Those that are open, in the order in which they were opened."""
        with self._lock:
            return tuple(self._proxies.values())

    def forget(self, proxy: FaultProxy) -> None:
        """For a proxy that closes: its port is given back, and its faults go with it."""
        with self._lock:
            self._proxies.pop(proxy.port, None)
        if not (self._closed or self._gone):
            self.ask("close", port=proxy.port)
        with self._lock:
            self._armed = {number: armed for number, armed in self._armed.items() if armed.proxy is not proxy}

    @property
    def closed(self) -> bool:
        """Whether it was closed, or this process is a fork of the one whose it is."""
        return self._closed

    def number(self) -> int:
        """One that was never given before."""
        with self._lock:
            self._asked += 1
            return self._asked

    def expect(self, number: int, armed: Armed) -> None:
        """Tell `armed` of the strikes of the fault of this number."""
        with self._lock:
            self._armed[number] = armed

    def expect_no_more(self, number: int) -> None:
        """That fault is out, and all that it has hit was told."""
        with self._lock:
            self._armed.pop(number, None)

    def ask(self, do: str, **told: object) -> object:
        """One round trip. The errors are those of the other side; FaultError where there is none any more."""
        number = self.number()
        answer: Future[object] = Future()
        line = json.dumps({"id": number, "do": do, **told}).encode() + b"\n"
        with self._lock:
            if self._closed or self._gone:
                raise FaultError(f"{do}: {'the proxy was closed' if self._closed else self._gone}; open another one")
            self._waiting[number] = answer
            try:
                self._channel.sendall(line)
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

    def sync(self) -> None:
        """Wait until all that has happened by now was told."""
        if threading.current_thread() is not self._thread and not (self._closed or self._gone):
            self.ask("sync")

    def close(self) -> None:
        """End the process, and with it every connection. Can be called again."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        with suppress(OSError):
            self._channel.shutdown(socket.SHUT_RDWR)
        try:
            self._process.wait(_GOODBYE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if threading.current_thread() is not self._thread:
            self._thread.join()
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def disown(self) -> None:
        """In a fork of the owner: the channel is not ours, and must not keep the process alive."""
        self._closed = True
        self._channel.close()
        self._process.returncode = 0  # not our child: nobody here is to wait for it

    def _listen(self) -> None:
        crash = ""
        with suppress(OSError), self._channel.makefile("rb") as lines:
            for line in lines:
                told = cast("dict[str, object]", json.loads(line))
                if "crashed" in told:
                    crash = f": {told['crashed']}"
                else:
                    self._hear(told)
        with self._lock:
            self._gone = f"the proxy's process has gone{crash}"
            waiting = list(self._waiting.values())
            self._waiting.clear()
        for answer in waiting:
            answer.set_exception(FaultError(f"{self._gone}; open another one"))

    def _hear(self, told: dict[str, object]) -> None:
        if "id" in told:
            self._hear_answer(told)
            return
        event = next(iter(told))
        armed = self._armed.get(cast("int", told[event]))
        if armed is None:
            return
        if event == "struck":
            connection, what, recipe = cast("int", told["connection"]), str(told["what"]), str(told["recipe"])
            armed.has_struck(Strike(cast("float", told["at_s"]), connection, what, recipe))
        elif event == "seen":
            armed.has_seen(Seen(str(told["point"]), cast("Direction", told["direction"])))
        elif event == "expired":
            armed.expired = True

    def _hear_answer(self, told: dict[str, object]) -> None:
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
    for host in list(_hosts):
        host.disown()


os.register_at_fork(after_in_child=_disown_all)
