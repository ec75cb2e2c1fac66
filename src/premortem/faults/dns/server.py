"""A name server on loopback that fails on demand, and processes whose resolver asks nobody else.

What runs inside sees its own /etc/resolv.conf and /etc/nsswitch.conf (Linux, a mount namespace) and so gets the true
errors of the C library, whatever language it is written in. Where port 53 can be had on loopback (root) it keeps the
machine's network; else it gets one of its own, with loopback and this server alone: `shares_network` says which.
"""

from __future__ import annotations

import contextvars
import math
import os
import select
import socket
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from premortem.errors import FaultError, MissingRequirementError
from premortem.faults import namespaces
from premortem.faults.children.inside import Inside
from premortem.faults.dns import answers
from premortem.faults.dns.answers import Question
from premortem.faults.namespaces import Namespaces
from premortem.faults.strike import lifted, struck

_PORT = 53  # /etc/resolv.conf has no place for another
_ADDRESSES = [f"127.0.53.{last}" for last in range(1, 255)]  # one each for servers that run at the same time
_FILES = {
    "resolv.conf": "nameserver {address}\noptions timeout:1 attempts:1\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",  # no daemon that would ask elsewhere
}


def why_not() -> str:
    """Empty where resolvers can be led to our name server, else the exact reason."""
    try:
        with NameServer({"doctor.test": "127.0.0.2"}) as server:
            server.run(socket.gethostbyname, "doctor.test")
    except MissingRequirementError as missing:
        return missing.reason
    except OSError as error:
        return f"{error}"
    return ""


_Late = tuple[float, bytes, tuple[str, int]]  # when which answer goes to whom


@dataclass(frozen=True, slots=True)
class _Trouble:
    kind: str
    delay_s: float = 0.0
    address: str = ""
    name: str = ""  # of one host; empty for all

    def __str__(self) -> str:
        return f"{self.delay_s:g} s late" if self.delay_s else f"{self.kind} {self.address}".rstrip()


class NameServer(Inside):
    """Answers for `hosts` (name to address on loopback), NXDOMAIN for all others, until it is closed.

    MissingRequirementError where processes cannot be led to it.
    """

    def __init__(self, hosts: Mapping[str, str]) -> None:
        self._hosts = {name.lower(): answers.on_loopback(address) for name, address in hosts.items()}
        self._trouble: _Trouble | None = None
        self._told: _Trouble | None = None
        self.asked: list[str] = []
        """Names that were asked for, in order; most resolvers ask twice (A and AAAA)."""
        self._folder = tempfile.TemporaryDirectory(prefix="premortem-names-")
        self._socket, self.address = _bound()
        try:
            self.shares_network = self._socket is not None
            self._namespaces = Namespaces(network=not self.shares_network, setup=self._set_up)
        except BaseException:
            if self._socket is not None:
                self._socket.close()
            self._folder.cleanup()
            raise
        if self._socket is None:
            self._socket = socket.socket(fileno=os.dup(self._namespaces.kept[0]))
        self._done, self._stop = socket.socketpair()
        context = contextvars.copy_context()  # a thread has no listeners of its own: strikes must still be heard
        self._thread = threading.Thread(target=context.run, args=(self._serve, self._socket), name="premortem-names")
        self._thread.start()

    def close(self) -> None:
        """Stop answering. Can be called again."""
        if self._socket is not None:
            self._stop.close()
            self._thread.join()
            self._done.close()
            self._socket.close()
            self._socket = None
            self._namespaces.close()
            self._folder.cleanup()

    @contextmanager
    def failing(self, kind: str = "SERVFAIL", name: str = "") -> Iterator[None]:
        """Answer SERVFAIL, NXDOMAIN, REFUSED, TRUNCATED, nothing at all (TIMEOUT) ..., for one `name` or for all."""
        with self._troubled(_Trouble(answers.known(kind), name=name.lower())):
            yield

    @contextmanager
    def slow(self, delay_s: float, name: str = "") -> Iterator[None]:
        """Answer rightly, `delay_s` seconds late; the resolver inside gives up after 1 s."""
        if not 0 < delay_s <= 60:  # noqa: PLR2004 - said in words
            raise FaultError(f"delay_s={delay_s}: has to be above 0 and up to 60 seconds; write slow(0.5)")
        with self._troubled(_Trouble("", delay_s, name=name.lower())):
            yield

    @contextmanager
    def wrong(self, address: str, name: str = "") -> Iterator[None]:
        """Answer with another address, on loopback: an old record, or somebody else's."""
        with self._troubled(_Trouble("NOERROR", address=answers.on_loopback(address), name=name.lower())):
            yield

    def enter(self) -> None:
        """As `Inside`: a resolver asks this server alone there."""
        self._namespaces.enter()

    @contextmanager
    def _troubled(self, trouble: _Trouble) -> Iterator[None]:
        before, self._trouble = self._trouble, trouble
        try:
            yield
        finally:
            self._trouble = before
            lifted("name server", f"{trouble}")

    def _serve(self, port: socket.socket) -> None:
        port.setblocking(False)
        poll = select.poll()
        for end in (port, self._done):
            poll.register(end, select.POLLIN)
        late: list[_Late] = []
        while True:
            wait_s = max(0.0, min(due for due, *_ in late) - time.monotonic()) if late else None
            ready = {end for end, _ in poll.poll(None if wait_s is None else math.ceil(wait_s * 1000))}
            if self._done.fileno() in ready:
                return
            if port.fileno() in ready:
                with suppress(OSError):  # whoever asked is gone
                    query, sender = port.recvfrom(4096)
                    late += self._answered(query, sender)
            for answer in [answer for answer in late if answer[0] <= time.monotonic()]:
                late.remove(answer)
                with suppress(OSError):
                    port.sendto(answer[1], answer[2])

    def _answered(self, query: bytes, sender: tuple[str, int]) -> Iterator[_Late]:
        if (question := Question.read(query)) is None:
            return
        self.asked.append(question.name)
        address, due = self._hosts.get(question.name, ""), time.monotonic()
        kind = "NOERROR" if address else "NXDOMAIN"
        trouble = self._trouble
        if trouble is not None and trouble.name in ("", question.name):
            if self._told is not trouble:
                self._told = trouble
                struck("name server", f"{question.name}: {trouble}")
            due += trouble.delay_s
            if trouble.kind:
                kind, address = trouble.kind, trouble.address
        if (said := answers.answer(question, kind, address)) is not None:
            yield due, said, sender

    def _set_up(self) -> tuple[int, ...]:
        """In the child that makes the namespaces: our files over the machine's; a port where it has its own network."""
        for name, text in _FILES.items():
            target, ours = Path("/etc") / name, Path(self._folder.name) / name
            ours.write_text(text.format(address=self.address), encoding="ascii")
            ours.chmod(0o644)
            if target.exists():
                namespaces.bind(ours, target.resolve())
        Path(self._folder.name).chmod(0o755)
        if self.shares_network:
            return ()
        port = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        port.bind((self.address, _PORT))
        return (port.detach(),)


def _bound() -> tuple[socket.socket | None, str]:
    """Port 53 of an address of loopback that nobody uses, or None where we may not have it."""
    for address in _ADDRESSES:
        port = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            port.bind((address, _PORT))
        except PermissionError:
            port.close()
            break
        except OSError:  # another server of ours is there
            port.close()
            continue
        return port, address
    return None, _ADDRESSES[0]
