"""Who listens on this machine: asked of the kernel, so that no server sees a connection that is only a question.

A dump of the listening sockets by netlink (NETLINK_SOCK_DIAG, linux/inet_diag.h); /proc/net/tcp where that is not
allowed. What is not on loopback cannot be known, and counts as listening.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from premortem.faults.proxy.engine import Engine
    from premortem.faults.proxy.port import Port

LOOK_S = 0.05
_NETLINK_SOCK_DIAG, _SOCK_DIAG_BY_FAMILY = 4, 20
_REQUEST_DUMP, _ERROR, _DONE = 0x301, 2, 3
_LISTEN = 1 << 10
_V6ONLY = 11  # INET_DIAG_SKV6ONLY

Listening = set[tuple[str, int]]
"""(address, port); the address "*" is any, "*4" any of IPv4, "*6" any of IPv6."""


class Upstreams:
    """Tells every port, twenty times a second, whether its upstream listens."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._ports: list[Port] = []

    def watch(self, port: Port) -> None:
        """Tell this port from now on."""
        self._ports.append(port)
        if len(self._ports) == 1:
            self._engine.call_at(monotonic() + LOOK_S, self._look, sharp=False)

    def forget(self, port: Port) -> None:
        """No longer."""
        self._ports.remove(port)

    def listens(self, upstream: tuple[str, int]) -> bool:
        """Whether somebody does now, as far as can be known."""
        return _among(upstream, listening())

    def _look(self) -> None:
        if self._ports:
            found = listening()
            for port in self._ports:
                port.set_upstream(listens=_among(port.upstream, found))
            self._engine.call_at(monotonic() + LOOK_S, self._look, sharp=False)


def listening() -> Listening | None:
    """All listening TCP sockets; None where they cannot be known."""
    with suppress(OSError, AttributeError):
        return {one for family in (socket.AF_INET, socket.AF_INET6) for one in parsed(_dump(family))}
    with suppress(OSError):
        return {one for table in ("tcp", "tcp6") for one in _table(f"/proc/net/{table}")}
    return None


def parsed(dump: bytes) -> Listening:
    """The answer of the kernel, read."""
    found: Listening = set()
    start = 0
    while start + 16 <= len(dump):
        length, kind = struct.unpack_from("=IH", dump, start)
        if kind in (_DONE, _ERROR) or length < 16:  # noqa: PLR2004 - the header's own size
            break
        message = dump[start + 16 : start + length]
        family, (port,) = message[0], struct.unpack_from("!H", message, 4)
        address = message[8:12] if family == socket.AF_INET else message[8:24]
        found.add((_named(address, v6only=_v6only(message[72:])), port))
        start += (length + 3) & ~3
    return found


def _dump(family: int) -> bytes:
    request = struct.pack("=BBBxI48x", family, socket.IPPROTO_TCP, 0, _LISTEN)
    header = struct.pack("=IHHII", 16 + len(request), _SOCK_DIAG_BY_FAMILY, _REQUEST_DUMP, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as kernel:
        kernel.settimeout(1.0)  # it answers within the call, or not at all
        kernel.send(header + request)
        heard = b""
        while True:
            piece = kernel.recv(1 << 16)
            heard += piece
            kind = _last_kind(piece)
            if kind == _ERROR:
                raise OSError("netlink does not say who listens")
            if kind == _DONE:
                return heard


def _last_kind(piece: bytes) -> int:
    start = kind = 0
    while start + 16 <= len(piece):
        length, kind = struct.unpack_from("=IH", piece, start)
        if kind in (_DONE, _ERROR):
            break
        start += (length + 3) & ~3
    return kind


def _v6only(attributes: bytes) -> bool:
    start = 0
    while start + 4 <= len(attributes):
        length, kind = struct.unpack_from("=HH", attributes, start)
        if kind == _V6ONLY:
            return bool(attributes[start + 4])
        start += max(4, (length + 3) & ~3)
    return False


def _table(path: str) -> Listening:
    found: Listening = set()
    with open(path, encoding="ascii") as table:  # noqa: PTH123 - pathlib would be imported for this alone
        for line in table.readlines()[1:]:
            _, local, _, state, *_ = line.split()
            if state == "0A":
                address, _, port = local.partition(":")
                words = [int(address[at : at + 8], 16).to_bytes(4, "little") for at in range(0, len(address), 8)]
                found.add((_named(b"".join(words), v6only=False), int(port, 16)))
    return found


def _named(address: bytes, *, v6only: bool) -> str:
    if any(address):
        said = ipaddress.ip_address(address)
        return str(said.ipv4_mapped or said) if isinstance(said, ipaddress.IPv6Address) else str(said)
    if len(address) == 4:  # noqa: PLR2004 - IPv4
        return "*4"
    return "*6" if v6only else "*"


def _among(upstream: tuple[str, int], found: Listening | None) -> bool:
    host, port = upstream
    address = ipaddress.ip_address(host)
    if found is None or not address.is_loopback:
        return True
    return any((name, port) in found for name in (host, "*", f"*{address.version}"))
